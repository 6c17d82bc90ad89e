// The hidden states of one layer and direction, unit by unit.

import {
  beside, chosenUnit, makeColourScale, seriesOf, shownLayer, shownMatrix, unitOrder,
} from "./comparedRun.js";
import { element, fill, formatNumber } from "./dom.js";
import { drawHeatmap, makeHeatmap } from "./heatmap.js";
import { heldSpans, makeHoldForm, setHold, spanAt } from "./hold.js";
import { axisOf, drawLineChart, makeLineChart } from "./lineChart.js";
import { pointCursor } from "./state.js";
import { placesOf } from "./toolbar.js";

/** States as a heat map, and those of one unit as lines that can be dragged. */
export const statesPanel = {
  id: "states",
  title: "Hidden states",
  help: "Each row is a unit, each column a step. Choose a unit, then drag its line to hold its state: "
    + "what follows is computed from the value that is held.",

  make(root, lab) {
    this.canvas = makeHeatmap((point) => pointCursor(point, { unit: point.column }));
    this.text = element("p", { class: "reading" });
    this.legend = element("p", { class: "legend" });
    this.lines = makeLineChart((point) => this.pull(lab, point), true);
    const top = element("div", {}), below = element("div", {});
    this.setScale = makeColourScale(top);
    root.append(top, this.canvas, this.text, this.lines, this.legend, below);
    this.drawForm = makeHoldForm(below, lab, "hold-state", statesOf);
  },

  /** Hold the state that was dragged: h, or of an LSTM the one that is marked. */
  pull(lab, { kind, step, value }) {
    const { scene } = lab, name = chosenState(scene);
    const hold = (to) => setHold(lab, { layer: scene.layer, direction: scene.direction, name,
      unit: scene.unit, value: Number(to.toFixed(3)), ...spanAt(scene, step) });
    if (kind === "pull") hold(Math.min(Math.max(value, this.axis.low), this.axis.high));
    else if (kind === "nudge") hold(this.series[step] + value);
    else if (kind === "hold") lab.setState({ step, hover: null });
    else if (kind === "let go") lab.redraw();
    else if (kind !== "delete") pointCursor({ kind, step });
  },

  draw(scene) {
    const { layer, former } = shownLayer(scene), { steps } = scene;
    const units = scene.config.hidden_size, at = scene.at * units + scene.unit;
    const name = chosenState(scene), values = layer.gates[name], order = unitOrder(scene);
    const isBounded = name === "h" && scene.config.nonlinearity !== "relu";
    const shown = shownMatrix(scene, values, former?.gates[name], "signed", isBounded ? 1 : undefined);
    const where = placesOf(scene.config)[scene.place];
    const reading = `${chosenUnit(scene)} at step ${scene.at + 1}: ${name} = `
      + beside(values[at], former ? former.gates[name][at] : null);
    drawHeatmap(this.canvas, {
      ...shown, rows: units, steps, order, cursor: scene.at, row: order.indexOf(scene.unit),
      erased: scene.state.erased,
      label: `${name} of layer ${where}: ${units} units over ${steps} steps. ${reading}.`,
    });
    const end = formatNumber(shown.limit ?? Math.max(...values.map(Math.abs)));
    this.setScale(`${shown.isChange ? `change of ${name}` : name}: −${end}`, end, true);
    fill(this.text, reading);

    this.series = seriesOf(values, units, scene.unit);
    const ghost = former && seriesOf(former.gates[name], units, scene.unit);
    const known = isBounded ? [-1, 1] : [0];
    if (this.lines.held === null) this.axis = axisOf([this.series, ghost ?? [], known], 0.08);
    drawLineChart(this.lines, {
      ...this.axis, steps, cursor: scene.at, handles: this.series, bands: heldSpans(scene, name), height: 110,
      lines: [...(ghost ? [{ values: ghost, colour: "ghost", dash: [5, 4] }] : []),
        { values: this.series, colour: "blue", dots: steps <= 80 }],
      label: `${name} of ${reading}. Up and down keys hold it at another value.`,
    });
    fill(this.legend, `Line: ${name} of ${chosenUnit(scene)}`, ghost ? "; dashed: in the former run" : "",
      heldSpans(scene, name).length ? "; shaded: held" : "");
    this.drawForm(scene);
  },
};

function statesOf(scene) {
  return scene.config.cell === "lstm" ? ["h", "c"] : ["h"];
}

function chosenState(scene) {
  return statesOf(scene).includes(scene.state.mark) ? scene.state.mark : "h";
}
