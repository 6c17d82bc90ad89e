// The gates of one layer and direction, and those of one unit as lines that can be dragged.

import { findCell } from "./cells.js";
import {
  beside, chosenUnit, makeColourScale, seriesOf, shownLayer, shownMatrix, unitOrder,
} from "./comparedRun.js";
import { element, fill } from "./dom.js";
import { drawHeatmap, largest, makeHeatmap } from "./heatmap.js";
import { heldSpans, makeHoldForm, setHold, spanAt } from "./hold.js";
import { drawLineChart, makeLineChart } from "./lineChart.js";
import { pointCursor } from "./state.js";
import { placesOf } from "./toolbar.js";

// What a gate is, and what it does at 0 and at 1, as in elman.ops.cells and elman.plots.trace.
const GATE_WORDS = {
  gru: {
    r: ["Reset gate r", "ignores the old state", "reads the old state"],
    z: ["Update gate z", "replaces the old state", "keeps the old state"],
    n: ["Candidate n"],
  },
  lstm: {
    i: ["Input gate i", "writes nothing", "writes the candidate"],
    f: ["Forget gate f", "erases the old state", "keeps the old state"],
    g: ["Candidate g"],
    o: ["Output gate o", "outputs nothing", "outputs the state"],
  },
};
const LINE_COLOURS = ["blue", "orange", "green", "ink"];
const MAP_HEIGHT = 110; // pixels of each heat map

/** A heat map of each gate, with the gates of the chosen unit as lines. */
export const gatesPanel = {
  id: "gates",
  title: "Gates",
  help: "A gate lies between 0 and 1 at each step and unit; a candidate lies between −1 and 1. Drag the "
    + "line of the chosen gate to hold it open or closed.",

  when: (scene) => scene.run !== null && gateNames(scene).length > 0,

  make(root, lab) {
    this.lab = lab;
    this.maps = element("div", {});
    this.text = element("p", { class: "reading" });
    this.choices = element("div", { class: "legend", role: "group",
      "aria-label": "Gate whose line can be dragged" });
    this.lines = makeLineChart((point) => this.pull(point), true);
    const below = element("div", {});
    root.append(this.maps, this.text, this.choices, this.lines, below);
    this.drawForm = makeHoldForm(below, lab, "hold-gate", gateNames);
  },

  /** Hold the gate that was dragged, between the values that it can take. */
  pull({ kind, step, value }) {
    const { lab } = this, { scene } = lab, name = chosenGate(scene), { pass } = scene;
    const at = step * scene.config.hidden_size + scene.unit, low = isSigmoid(scene, name) ? 0 : -1;
    const hold = (to) => setHold(lab, { layer: scene.layer, direction: scene.direction, name,
      unit: scene.unit, value: Number(Math.min(Math.max(to, low), 1).toFixed(3)), ...spanAt(scene, step) });
    if (kind === "pull") hold(value);
    else if (kind === "nudge") hold(pass.layers[scene.place].gates[name][at] + value);
    else if (kind === "hold") lab.setState({ step, hover: null });
    else if (kind !== "delete" && kind !== "let go") pointCursor({ kind, step });
  },

  /** A heat map for each gate; made again when another cell is shown. */
  makeMaps(scene) {
    const names = gateNames(scene);
    this.cell = scene.config.cell;
    this.drawn = names.map((name) => {
      const canvas = makeHeatmap((point) => pointCursor(point, { unit: point.column, mark: name }));
      const head = element("div", { class: "map-head" }, element("h3", {}, GATE_WORDS[this.cell][name][0]));
      return { name, canvas, setScale: makeColourScale(head), box: element("div", {}, head, canvas) };
    });
    this.buttons = names.map((name, k) => element("button", { type: "button", class: "line-choice",
      onclick: () => this.lab.setState({ mark: name }) },
    element("span", { class: `swatch ${LINE_COLOURS[k]}` }), element("span", {})));
    fill(this.maps, ...this.drawn.map(({ box }) => box));
    fill(this.choices, ...this.buttons);
  },

  draw(scene) {
    if (this.cell !== scene.config.cell) this.makeMaps(scene);
    const { layer, former } = shownLayer(scene), { steps } = scene, units = scene.config.hidden_size;
    const order = unitOrder(scene), at = scene.at * units + scene.unit;
    const where = placesOf(scene.config)[scene.place];
    const chosen = chosenGate(scene), names = gateNames(scene);
    const valueOf = (name) => beside(layer.gates[name][at], former ? former.gates[name][at] : null);
    for (const { name, canvas, setScale } of this.drawn) {
      const [title, closed, open] = GATE_WORDS[scene.config.cell][name];
      const scale = isSigmoid(scene, name) ? "unit" : "signed";
      const shown = shownMatrix(scene, layer.gates[name], former?.gates[name], scale, 1);
      drawHeatmap(canvas, {
        ...shown, rows: units, steps, order, cursor: scene.at, row: order.indexOf(scene.unit),
        rowHeight: Math.max(1, Math.min(14, Math.floor(MAP_HEIGHT / units))), erased: scene.state.erased,
        label: `${title} of layer ${where}: ${units} units over ${steps} steps. ${chosenUnit(scene)} at step `
          + `${scene.at + 1}: ${valueOf(name)}.`,
      });
      const end = largest(shown.values).toFixed(2);
      if (shown.isChange) setScale(`change −${end}`, end, true);
      else if (scale === "unit") setScale(`0 ${closed}`, `1 ${open}`, false);
      else setScale("−1", "1", true);
    }
    const gates = names.map((name) => `${name} = ${valueOf(name)}`).join(", ");
    fill(this.text, `${chosenUnit(scene)} at step ${scene.at + 1}: ${gates}`);
    this.drawLines(scene, layer, former, chosen, gates);
    this.drawForm(scene);
  },

  /** The gates of the chosen unit, that which can be dragged with dots and its former run. */
  drawLines(scene, layer, former, chosen, gates) {
    const units = scene.config.hidden_size, names = gateNames(scene);
    const series = names.map((name) => seriesOf(layer.gates[name], units, scene.unit));
    const low = names.every((name) => isSigmoid(scene, name)) ? 0 : -1;
    const ghost = former && seriesOf(former.gates[chosen], units, scene.unit);
    drawLineChart(this.lines, {
      low: low - 0.06, high: 1.06, steps: scene.steps, cursor: scene.at, height: 110,
      handles: series[names.indexOf(chosen)], bands: heldSpans(scene, chosen),
      lines: [...(ghost ? [{ values: ghost, colour: "ghost", dash: [5, 4] }] : []),
        ...names.map((name, k) => ({ values: series[k], colour: LINE_COLOURS[k],
          width: name === chosen ? 2.4 : 1.2, dots: name === chosen && scene.steps <= 80 }))],
      label: `Gates of ${chosenUnit(scene)}; at step ${scene.at + 1}: ${gates}. Up and down keys hold `
        + `${chosen} at another value.`,
    });
    names.forEach((name, k) => {
      this.buttons[k].setAttribute("aria-pressed", name === chosen);
      this.buttons[k].lastChild.textContent = GATE_WORDS[scene.config.cell][name][0];
    });
  },
};

function gateNames(scene) {
  return findCell(scene.config).gates;
}

function isSigmoid(scene, name) {
  return findCell(scene.config).activations[name] === "sigmoid";
}

function chosenGate(scene) {
  const names = gateNames(scene);
  return names.includes(scene.state.mark) ? scene.state.mark : names[0];
}
