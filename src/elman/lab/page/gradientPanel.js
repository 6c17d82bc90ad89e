// The gradient of the loss on its way back through the steps.

import { beside, chosenUnit, makeColourScale, unitOrder } from "./comparedRun.js";
import { element, fill, formatNumber } from "./dom.js";
import { drawHeatmap, largest, makeHeatmap } from "./heatmap.js";
import { axisOf, drawLineChart, makeLineChart } from "./lineChart.js";
import { pointCursor } from "./state.js";
import { placesOf } from "./toolbar.js";

const DECADES = 6; // powers of ten below the largest value that the heat map tells apart
const PLACE_COLOURS = ["blue", "orange", "green", "ink"];
const MOST_PLACES = 4; // layers and directions with a line of their own, the topmost

/** dL/dh of one layer as a heat map, and its norm at each step for every layer and direction. */
export const gradientPanel = {
  id: "gradient",
  title: "The gradient going back",
  help: "How much the loss would change with each state, dL/dh: it starts where the output layer reads the "
    + "states, and goes back step by step. Each layer's line shows whether it vanishes on its way.",

  make(root, lab) {
    this.canvas = makeHeatmap((point) => pointCursor(point, { unit: point.column }));
    this.text = element("p", { class: "reading" });
    this.what = element("p", { class: "verdict" });
    this.title = element("h3", {});
    const head = element("div", { class: "map-head" }, this.title);
    this.setScale = makeColourScale(head);
    this.lines = makeLineChart((point) => pointCursor(point));
    this.axisName = element("p", { class: "axis-name" });
    this.legend = element("p", { class: "legend" });
    root.append(this.what, head, this.canvas, this.text, this.axisName, this.lines, this.legend);
  },

  draw(scene) {
    const { steps } = scene, units = scene.config.hidden_size, at = scene.at * units + scene.unit;
    const { dh } = scene.back.layers[scene.place], former = scene.ghost ? scene.untouched.back : null;
    const where = placesOf(scene.config)[scene.place], most = largest(dh), order = unitOrder(scene);
    const unit = scene.config.task === "regression" ? "squared deviations" : "nats";
    fill(this.what, lossInWords(scene, former, unit));
    fill(this.title, `|dL/dh| of layer ${where}, ${unit} per unit of h`);
    this.setScale(`${formatNumber(most * 10 ** -DECADES, 1)} or less`, formatNumber(most, 2), false);
    const reading = `dL/dh of ${chosenUnit(scene)} at step ${scene.at + 1}: `
      + beside(dh[at], former ? former.layers[scene.place].dh[at] : null);
    drawHeatmap(this.canvas, {
      values: dh.map((value) => decades(value, most)), scale: "unit", rows: units, steps, order,
      cursor: scene.at, row: order.indexOf(scene.unit), erased: scene.state.erased,
      label: `${this.title.textContent}: ${units} units over ${steps} steps. ${reading}.`,
    });
    fill(this.text, reading);
    this.drawNorms(scene, former, unit);
  },

  /** The norm of dL/dh at each step, a line for each layer and direction. */
  drawNorms(scene, former, unit) {
    const { steps } = scene, units = scene.config.hidden_size, names = placesOf(scene.config);
    const places = names.map((_, place) => place).slice(-MOST_PLACES);
    const series = places.map((place) => normsOf(scene.back.layers[place].dh, units));
    const ghosts = former ? places.map((place) => normsOf(former.layers[place].dh, units)) : [];
    const positive = (values) => values.map((value) => (value > 0 ? value : NaN));
    const all = [...series, ...ghosts].map(positive), { low, high } = axisOf(all, 0);
    const floor = Math.max(low, high * 1e-12); // one tiny value would flatten all others
    const ghostLine = { colour: "ghost", dash: [5, 4], width: 1.4 };
    drawLineChart(this.lines, {
      low: Math.min(floor, high / 10) / 1.6, high: high * 1.6, log: true, height: 130,
      steps, cursor: scene.at,
      lines: [...ghosts.map((values) => ({ values: positive(values), ...ghostLine })),
        ...series.map((values, i) => ({ values: positive(values), colour: PLACE_COLOURS[i],
          width: places[i] === scene.place ? 2.4 : 1.4, dots: steps <= 40 }))],
      label: `Norm of dL/dh at each step; at step ${scene.at + 1}: ${places.map((place, i) =>
        `layer ${names[place]} ${formatNumber(series[i][scene.at])}`).join("; ")}.`,
    });
    fill(this.axisName, `norm of dL/dh, ${unit} per unit of h`);
    fill(this.legend, ...places.flatMap((place, i) => [element("span", { class: "line-name" },
      element("span", { class: `swatch ${PLACE_COLOURS[i]}` }),
      `layer ${names[place]}: ${beside(series[i][scene.at], ghosts[i]?.[scene.at] ?? null)}`)]));
  },
};

/** Place of a size on a scale of some decades below the largest: 1 for the largest, 0 for none. */
function decades(value, most) {
  if (!value) return 0;
  return Math.max(0, 1 + Math.log10(Math.abs(value) / most) / DECADES);
}

function normsOf(values, units) {
  return Float64Array.from({ length: values.length / units }, (_, t) => {
    let squares = 0;
    for (let at = t * units; at < (t + 1) * units; at++) squares += values[at] ** 2;
    return Math.sqrt(squares);
  });
}

/** The loss that is taken back, and of what. */
function lossInWords(scene, former, unit) {
  const { config, run } = scene, loss = beside(scene.back.loss, former ? former.loss : null);
  if (!scene.hasTarget && config.task === "regression") {
    return "The true value is not known: there is no loss, and no gradient to take back.";
  }
  const of = scene.hasTarget ? "for the true label" : "for the answer itself, because the label is not known";
  const isClass = config.task === "classification" && config.readout !== "every";
  const name = isClass ? ` ${run.outputs.names[scene.target]}` : "";
  return `Loss ${of}${name}: ${loss} ${unit}.`;
}
