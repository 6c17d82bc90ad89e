// The hidden states of one layer and direction, unit by unit.

import { drawHeatmap, makeHeatmap } from "./heatmap.js";
import { element, fill, formatNumber } from "./dom.js";
import { placesOf } from "./toolbar.js";

/** States h_t as a heat map: a row for each unit, a column for each step. */
export const statesPanel = {
  id: "states",
  title: "Hidden states",
  help: "Each row is a unit, each column a step. Blue is positive, orange is negative.",

  make(root, lab) {
    this.canvas = makeHeatmap((point) => {
      if (point.kind !== "leave") lab.setState({ step: point.step, unit: point.column });
    });
    this.text = element("p", { class: "reading" });
    root.append(this.canvas, this.text);
  },

  draw(scene) {
    const { h } = scene.pass.layers[scene.place].gates;
    const units = scene.config.hidden_size;
    const value = h[scene.at * units + scene.unit];
    const where = placesOf(scene.config)[scene.place];
    drawHeatmap(this.canvas, {
      values: h, rows: units, steps: scene.steps, scale: "signed",
      cursor: scene.at, row: scene.unit,
      label: `Hidden states of layer ${where}: ${units} units over ${scene.steps} steps. Unit `
        + `${scene.unit + 1} at step ${scene.at + 1} is ${formatNumber(value)}.`,
    });
    fill(this.text, `Unit ${scene.unit + 1} at step ${scene.at + 1}: h = ${formatNumber(value)}`);
  },
};
