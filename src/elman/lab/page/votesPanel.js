// Votes of the units: what each one adds to an output if the output layer reads one step alone.

import { fillBars } from "./barTable.js";
import { beside, makeColourScale, shownMatrix } from "./comparedRun.js";
import { element, fill, formatNumber } from "./dom.js";
import { drawHeatmap, largest, makeHeatmap } from "./heatmap.js";
import { votes } from "./network.js";
import { pointCursor } from "./state.js";

const MOST_UNITS = 12, MOST_OUTPUTS = 12;

/** Votes V_kj h_tj of the top layer: over the steps, for each output, and of each unit at the cursor. */
export const votesPanel = {
  id: "votes",
  title: "Votes of the units",
  help: "The vote of a unit is its state times its weight in the output layer, V_k h: what it adds to an "
    + "output if the output layer reads that step alone.",

  make(root, lab) {
    this.lab = lab;
    this.canvas = makeHeatmap((point) => pointCursor(point, chosenColumn(lab.scene, point.column)));
    this.title = element("h3", {});
    const head = element("div", { class: "map-head" }, this.title);
    this.setScale = makeColourScale(head);
    this.outputs = element("table", { class: "bars" });
    this.units = element("table", { class: "bars" });
    root.append(head, this.canvas, element("div", { class: "columns" }, this.outputs, this.units));
  },

  draw(scene) {
    const { network, steps, config, output, run } = scene, { width, units } = network;
    const cast = votesOf(scene), former = scene.ghost && votesOf(scene.untouched, output);
    const shown = shownMatrix(scene, cast, former, "signed", largest(cast));
    const order = byLargest(former ?? cast, width);
    const names = order.map((j) => columnName(config, j, units));
    const unit = run.outputs.unit || "target's unit", name = run.outputs.names[output];
    const of = config.task === "regression" ? `${name}, ${unit}` : `the logit of ${name}`;
    const what = shown.isChange ? "Change of the votes" : "Votes";
    fill(this.title, `${what} for ${of}; sorted by the largest vote`);
    this.setScale(`−${formatNumber(shown.limit)}`, formatNumber(shown.limit), true);
    const isTop = scene.layer === config.num_layers - 1, from = scene.at * width;
    const first = bySize(cast, width, scene.at).slice(0, MOST_UNITS);
    const said = Array.from(first.slice(0, 3), (j) =>
      `unit ${columnName(config, j, units)} ${formatNumber(cast[from + j])}`);
    drawHeatmap(this.canvas, {
      ...shown, rows: width, steps, order, labels: names, cursor: scene.at, erased: scene.state.erased,
      row: isTop ? order.indexOf(scene.direction * units + scene.unit) : -1,
      label: `${this.title.textContent}: ${width} units of the top layer over ${steps} steps. The largest `
        + `at step ${scene.at + 1}: ${said.join(", ")}.`,
    });
    this.drawOutputs(scene);
    this.drawUnits(scene, first, cast, former);
  },

  /** For each output the votes against it and those for it, and what all of them add up to. */
  drawOutputs(scene) {
    const K = scene.config.num_outputs, sums = sumsOf(scene), before = scene.ghost && sumsOf(scene.untouched);
    const total = ({ above, below }) => above + below;
    const ranked = Array.from({ length: K }, (_, k) => k).sort((a, b) => total(sums[b]) - total(sums[a]));
    const shown = ranked.slice(0, MOST_OUTPUTS);
    const limit = Math.max(1e-9, ...shown.flatMap((k) => [sums[k].above, -sums[k].below]));
    const rows = shown.map((k) => ({
      name: scene.run.outputs.names[k], isChosen: k === scene.output, ...sums[k],
      text: beside(total(sums[k]), before ? total(before[k]) : null),
      former: before ? total(before[k]) : null, onclick: () => this.lab.setState({ output: k }),
    }));
    fillBars(this.outputs, `Sum of all votes for each output at step ${scene.at + 1}; bars: against and for`,
      rows, { low: -limit, high: limit });
  },

  /** The units with the largest votes at the cursor for the chosen output. */
  drawUnits(scene, columns, cast, former) {
    const { width, units } = scene.network, from = scene.at * width;
    const limit = Math.max(1e-9, Math.abs(cast[from + columns[0]] || 0));
    const rows = Array.from(columns, (j) => ({
      name: `unit ${columnName(scene.config, j, units)}`,
      below: Math.min(0, cast[from + j]), above: Math.max(0, cast[from + j]),
      text: beside(cast[from + j], former ? former[from + j] : null),
      former: former ? former[from + j] : null,
      onclick: () => this.lab.setState(chosenColumn(scene, j)),
    }));
    const some = width > MOST_UNITS ? `, ${MOST_UNITS} of ${width} units` : "";
    const name = scene.run.outputs.names[scene.output];
    fillBars(this.units, `Largest votes for ${name} at step ${scene.at + 1}${some}`, rows,
      { low: -limit, high: limit });
  },
};

/** The votes of a scene for an output, (T*D*H). */
function votesOf(scene, output = scene.output) {
  return scene.keep(`votes ${scene.key} ${output}`, () => votes(scene.network, scene.pass, output));
}

/** Sums of the positive and of the negative votes at the cursor for each output. */
function sumsOf(scene) {
  const { width, outputs } = scene.network, from = scene.at * width;
  return scene.keep(`vote sums ${scene.key} ${scene.at}`, () => Array.from({ length: outputs }, (_, k) => {
    let above = 0, below = 0;
    for (const vote of votes(scene.network, scene.pass, k).subarray(from, from + width)) {
      if (vote > 0) above += vote;
      else below += vote;
    }
    return { above, below };
  }));
}

/** Columns in the order of the size of their votes at a step. */
function bySize(cast, width, step) {
  const sizes = cast.subarray(step * width, (step + 1) * width).map((value) => -Math.abs(value));
  return Uint32Array.from(sizes.keys()).sort((a, b) => sizes[a] - sizes[b] || a - b);
}

/** Columns in the order of their largest vote at any step. */
function byLargest(cast, width) {
  const sizes = new Float64Array(width);
  cast.forEach((value, i) => { sizes[i % width] = Math.min(sizes[i % width], -Math.abs(value)); });
  return Array.from(sizes.keys()).sort((a, b) => sizes[a] - sizes[b] || a - b);
}

/** "7", or with two directions "7 →" and "7 ←" for the one that reads backward. */
function columnName(config, column, units) {
  const side = config.bidirectional ? (column < units ? " →" : " ←") : "";
  return `${(column % units) + 1}${side}`;
}

/** The state that chooses a column of the top layer: a unit and its direction. */
function chosenColumn(scene, column) {
  const units = scene.config.hidden_size;
  return { unit: column % units, direction: Math.floor(column / units), layer: scene.config.num_layers - 1 };
}
