// What each input does to each output: a picture of inputs by outputs, and its row and column.

import { LEFT, RIGHT, drawCursor, drawSteps, leftOf } from "./axis.js";
import { colours } from "./colours.js";
import { element, fill, formatNumber, prepareCanvas } from "./dom.js";
import { drawHeatmap, largest, makeHeatmap } from "./heatmap.js";
import { influenceInParts } from "./influence.js";
import { pointCursor } from "./state.js";
import { nameOfStep, namesOfSteps } from "./stepTexts.js";

const EDIT_PAUSE = 120; // ms without a change before a sequence that is being edited is computed again
const SLICE = 25; // ms of computing between two frames
const PROFILE_HEIGHT = 54; // of a profile, in pixels
const PROFILE_TITLE = 24; // above it

/** T x T picture of influences, and the profiles of one input and one output. */
export const influencePanel = {
  id: "influence",
  title: "What each input does to each output",
  help: "Row: the input that is replaced. Column: the step whose output moves. The stronger the colour, "
    + "the more it moves. Point at the picture: the bars below are its column and its row.",

  make(root, lab) {
    this.lab = lab;
    this.input = null; // the row that is pointed at; its column is the cursor of the page
    this.key = null;
    const onPoint = (point) => {
      this.input = point.kind === "leave" ? null : point.row;
      pointCursor(point, { input: point.row });
    };
    this.canvas = makeHeatmap(onPoint);
    this.profiles = element("canvas", { role: "img", class: "still" });
    this.note = element("p", { class: "help" });
    this.text = element("p", { class: "reading", "aria-live": "polite" });
    root.append(this.note, this.canvas, this.profiles, this.text);
  },

  draw(scene) {
    if (scene.key !== this.key) this.begin(scene);
    if (this.found) this.paint(scene);
  },

  /** Compute the influences of a changed sequence, in slices, so that the page stays responsive. */
  begin(scene) {
    const isFirst = this.key === null || !this.found || this.found.steps !== scene.steps;
    this.key = scene.key;
    clearTimeout(this.timer);
    if (isFirst) this.found = null;
    this.canvas.parentElement.classList.toggle("outdated", !isFirst);
    const { network, sequence, changes } = scene;
    const parts = influenceInParts(network, sequence, changes);
    let cost = 0;
    const work = () => {
      const start = performance.now();
      let part;
      do part = parts.next(); while (!part.done && performance.now() < start + SLICE);
      cost += performance.now() - start;
      if (!part.done) {
        fill(this.note, `Computing: ${Math.floor(100 * part.value)} %`);
        this.timer = setTimeout(work, 0);
        return;
      }
      this.cost = cost;
      this.found = withPicture(part.value);
      this.canvas.parentElement.classList.remove("outdated");
      this.paint(this.lab.scene);
    };
    if (isFirst || this.cost < SLICE) work(); // a small network follows at once, also in training
    else this.timer = setTimeout(work, EDIT_PAUSE);
  },

  /** The input and output that are shown: pointed at, or chosen, or those of the cursor. */
  chosen(scene) {
    const last = scene.steps - 1, input = this.input ?? scene.state.input ?? scene.at;
    return { input: Math.min(last, input), output: this.found.complete ? scene.at : last };
  },

  paint(scene) {
    const { steps, complete, byOutput, most, peak } = this.found;
    if (steps !== scene.steps) return;
    const { input, output } = this.chosen(scene);
    fill(this.note, describeMeasure(scene, this.found));
    const reading = describePoint(scene, this.found, input, output);
    this.canvas.hidden = !complete;
    if (complete) {
      drawHeatmap(this.canvas, { values: byOutput, rows: steps, steps, scale: "signed", limit: most,
        rowHeight: Math.min(18, 420 / steps), cursor: output, row: input,
        labels: namesOfSteps(scene, 10),
        label: `Influence of ${steps} inputs, the rows, on the outputs at ${steps} steps, the columns. `
          + `The largest is ${formatNumber(peak)}. ${reading}` });
    }
    drawProfiles(this.profiles, this.found, input, output);
    this.profiles.setAttribute("aria-label", reading);
    fill(this.text, reading);
  },
};

/** The influences also column by column, as the heat map takes them, and the largest of them. */
function withPicture(found) {
  const { values, steps } = found, byOutput = new Float64Array(steps * steps);
  for (let s = 0; s < steps; s++) {
    for (let t = 0; t < steps; t++) byOutput[t * steps + s] = values[s * steps + t];
  }
  const moves = values.some((value) => value > 0);
  return { ...found, byOutput, most: largest(values), peak: moves ? largest(values) : 0 };
}

function describeMeasure(scene, { reference, complete, peak }) {
  const { task, num_outputs: K } = scene.config, { perStep } = scene.network;
  const unit = task === "classification" ? "total variation distance of the probabilities, from 0 to 1"
    : task === "multilabel" ? "mean change of the labels’ probabilities"
    : K === 1 ? "change of the value, in its unit" : "mean change of the values, in standard deviations";
  const when = perStep ? "" : " The output at a step is the answer if the sequence ended there.";
  const only = complete ? "" : " The network reads in both directions and the sequence is long, so only "
    + "the answer after the last step was computed.";
  return `Each input is replaced by ${reference}; measured is the ${unit}. The largest is `
    + `${formatNumber(peak)}.${when}${only}`;
}

/** What the pointed input and output have to do with each other, and what matters more. */
function describePoint(scene, { values, steps, complete }, input, output) {
  const at = (s, t) => values[s * steps + t];
  const all = Array.from({ length: steps }, (_, i) => i);
  const largestOf = (value) => all.reduce((best, i) => (value(i) > value(best) ? i : best), 0);
  const source = largestOf((s) => at(s, output)), target = largestOf((t) => at(input, t));
  const name = `Input ${nameOfStep(scene, input)}`;
  const own = `${name} moves the output at step ${output + 1} by ${formatNumber(at(input, output))}.`;
  const inputs = at(source, output) > 0
    ? ` That output depends most on input ${nameOfStep(scene, source)} (${formatNumber(at(source, output))}).`
    : " No input moves that output.";
  if (!complete) return own + inputs;
  return own + inputs + (at(input, target) > 0
    ? ` ${name} moves the output at step ${target + 1} most (${formatNumber(at(input, target))}).`
    : ` ${name} moves no output.`);
}

/** Bars over the steps: the row of an input, and the column of an output. */
function drawProfiles(canvas, { values, steps, complete, most }, input, output) {
  const end = (complete ? 2 : 1) * (PROFILE_HEIGHT + PROFILE_TITLE);
  const { context, width } = prepareCanvas(canvas, end + 20), shades = colours();
  const column = (s) => values[s * steps + output], row = (t) => values[input * steps + t];
  const profile = (top, title, value, colour, mark) => {
    const bottom = top + PROFILE_TITLE + PROFILE_HEIGHT;
    context.textAlign = "left";
    context.textBaseline = "top";
    context.fillStyle = shades.ink;
    context.fillText(title, LEFT, top + 8);
    context.textAlign = "right";
    context.fillStyle = shades.faint;
    context.fillText(formatNumber(most), LEFT - 6, top + PROFILE_TITLE);
    context.fillText("0", LEFT - 6, bottom - 10);
    context.strokeStyle = shades.line;
    context.lineWidth = 1;
    context.strokeRect(LEFT, bottom + 0.5, width - LEFT - RIGHT, 0);
    context.fillStyle = colour;
    for (let i = 0; i < steps; i++) {
      if (!(value(i) > 0)) continue;
      const left = leftOf(i, width, steps), wide = leftOf(i + 1, width, steps) - left;
      const high = (PROFILE_HEIGHT * value(i)) / most;
      context.fillRect(left, bottom - high, Math.max(1, wide - (wide > 4 ? 1 : 0)), high);
    }
    drawCursor(context, width, top + PROFILE_TITLE, bottom, steps, mark, shades);
  };
  profile(0, `Inputs behind the output at step ${output + 1}`, column, shades.blue, input);
  const second = PROFILE_HEIGHT + PROFILE_TITLE;
  if (complete) profile(second, `Outputs that input ${input + 1} moves`, row, shades.green, output);
  drawSteps(context, width, end, steps, shades);
}
