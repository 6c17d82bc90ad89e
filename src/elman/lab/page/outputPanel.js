// The answer as it forms: the outputs as if the sequence ended at each step.

import { fillBars } from "./barTable.js";
import { seriesOf } from "./comparedRun.js";
import { targetOf } from "./data.js";
import { element, fill, formatNumber } from "./dom.js";
import { axisOf, drawLineChart, makeLineChart } from "./lineChart.js";
import { indexOfLargest } from "./linear.js";
import { pointCursor } from "./state.js";

const MOST_LINES = 4; // outputs with a colour of their own
const OUTPUT_COLOURS = ["blue", "orange", "green", "ink"];
const MOST_ROWS = 12, MOST_PALE = 40; // rows of the table, lines in all
const SLOW = 4e7; // multiplications for the answer at every step, after which it waits for a pause
const WAIT = 200; // milliseconds

/** Probabilities or values at each step, and those at the cursor beside the true ones. */
export const outputPanel = {
  id: "output",
  title: "The answer as it forms",
  help: "What the network would answer if the sequence ended at each step.",

  make(root, lab) {
    this.lab = lab;
    this.verdict = element("p", { class: "verdict", role: "status" });
    this.canvas = makeLineChart((point) => pointCursor(point));
    this.axisName = element("p", { class: "axis-name" });
    this.steps = element("p", { class: "reading" });
    this.table = element("table", { class: "bars" });
    root.append(this.verdict, this.axisName, this.canvas, this.steps, this.table);
  },

  draw(scene) {
    const { run, config, steps } = scene, K = config.num_outputs, hasClasses = config.task !== "regression";
    fill(this.verdict, answerInWords(scene));
    fill(this.axisName, hasClasses ? "probability" : `value${run.outputs.unit && `, ${run.outputs.unit}`}`);
    const now = this.ready(scene) ? scene.pass.distribution : null, former = now && scene.ghost?.distribution;
    this.canvas.classList.toggle("waiting", !now);
    if (!now) return;
    const truth = trueValues(scene), ranked = rankOutputs(scene, now, truth);
    const coloured = ranked.slice(0, MOST_LINES);
    const line = (values, k, style) => ({ values: seriesOf(values, K, k), ...style });
    const colour = (i) => ({ colour: OUTPUT_COLOURS[i] });
    const lines = [
      ...ranked.slice(MOST_LINES, MOST_PALE).map((k) => line(now, k, { colour: "line", width: 1 })),
      ...(former ? coloured.map((k) => line(former, k, { colour: "ghost", dash: [5, 4], width: 1.4 })) : []),
      ...(!hasClasses && truth ? coloured.map((k, i) => line(truth, k, { ...colour(i), dash: [1, 3] })) : []),
      ...coloured.map((k, i) => line(now, k, { ...colour(i), dots: steps <= 40 })),
    ];
    const axis = hasClasses ? { low: -0.03, high: 1.03 } : axisOf(lines.map(({ values }) => values));
    const said = coloured.map((k) => `${run.outputs.names[k]} ${formatNumber(now[scene.at * K + k])}`);
    drawLineChart(this.canvas, {
      ...axis, steps, cursor: scene.at, lines, height: 150,
      label: `${hasClasses ? "Probabilities" : "Values"} over ${steps} steps. At step ${scene.at + 1}: `
        + `${said.join(", ")}.`,
    });
    this.drawBars(scene, ranked, now, former, truth);
    fill(this.steps, stepsInWords(scene, now, truth));
    this.steps.hidden = !this.steps.textContent;
  },

  /** Whether the outputs at every step are known or cheap; if not, they come after a pause. */
  ready(scene) {
    const { config, steps, pass } = scene, units = config.hidden_size;
    const isSlow = config.bidirectional && config.readout !== "every"
      && steps * steps * config.num_layers * units * units * 4 > SLOW;
    if (!isSlow || pass === this.known) return true;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.known = this.lab.scene.pass;
      this.lab.redraw();
    }, WAIT);
    return false;
  },

  /** A row for each of the first outputs: its value at the cursor, the former and the true one. */
  drawBars(scene, ranked, now, former, truth) {
    const K = scene.config.num_outputs, { names, unit } = scene.run.outputs;
    const hasClasses = scene.config.task !== "regression";
    const text = (value) => (Number.isNaN(value) ? "none" // the step is erased
      : hasClasses ? value.toFixed(3) : `${formatNumber(value, 4)} ${unit}`.trim());
    const rows = ranked.slice(0, MOST_ROWS).map((k, i) => {
      const at = scene.at * K + k, was = former ? text(former[at]) : text(now[at]);
      const isTrue = truth && (hasClasses ? truth[at] === 1 : Number.isFinite(truth[at]));
      return {
        name: names[k], colour: OUTPUT_COLOURS[i] ?? "faint", above: now[at],
        former: former ? former[at] : null,
        text: was === text(now[at]) ? was : `${text(now[at])} (was ${was})`,
        note: !isTrue ? "" : hasClasses ? "true" : `true: ${text(truth[at])}`,
      };
    });
    const some = ranked.length > rows.length ? `, ${rows.length} of ${ranked.length}` : "";
    const ends = rows.flatMap(({ above, former: tick }) => [above, tick ?? 0]).filter(Number.isFinite);
    const range = hasClasses ? { low: 0, high: 1 }
      : { low: Math.min(0, ...ends), high: Math.max(1e-9, ...ends) };
    const signed = rows.map((each) => ({ ...each, below: Math.min(0, each.above) }));
    fillBars(this.table, `At step ${scene.at + 1}${some}`, signed, range);
  },
};

/** True probabilities (0 or 1) or values at each step, (T*K), NaN where unknown; null without a label. */
function trueValues(scene) {
  const target = targetOf(scene.example), { config, steps } = scene, K = config.num_outputs;
  if (target === null) return null;
  const { mean, scale } = scene.run.outputs, found = new Float64Array(steps * K).fill(NaN);
  const perStep = config.readout === "every";
  for (let t = 0; t < steps; t++) {
    for (let k = 0; k < K; k++) {
      if (config.task === "classification") {
        const code = perStep ? target[t] : target;
        found[t * K + k] = code < 0 ? NaN : Number(code === k);
      } else {
        const value = target[(perStep ? t * K : 0) + k];
        found[t * K + k] = config.task === "regression" ? value * scale[k] + mean[k] : value;
      }
    }
  }
  return found;
}

/** Outputs in the order in which they are shown: the chosen one, true ones, then by their largest value. */
function rankOutputs(scene, now, truth) {
  const { config, steps } = scene, K = config.num_outputs;
  if (config.task === "regression") return Array.from({ length: K }, (_, k) => k);
  const key = `ranked outputs ${scene.untouched.key}`;
  return scene.keep(key, () => {
    const height = Array.from({ length: K }, (_, k) => {
      let most = 0, isTrue = 0;
      for (let t = 0; t < steps; t++) {
        most = Math.max(most, now[t * K + k] || 0);
        if (truth?.[t * K + k] === 1) isTrue = 10;
      }
      return most + (now[(steps - 1) * K + k] || 0) + isTrue;
    });
    return height.map((_, k) => k).sort((a, b) => height[b] - height[a]);
  });
}

/** The answer to the whole sequence, or at the cursor, and whether it changed and is true. */
function answerInWords(scene) {
  const { config, pass, ghost, run } = scene, K = config.num_outputs, perStep = config.readout === "every";
  const row = ({ answer }) => answer.subarray(perStep ? scene.at * K : 0, (perStep ? scene.at * K : 0) + K);
  const words = (values) => {
    if (values.some(Number.isNaN)) return "none: the step is erased";
    if (config.task === "regression") {
      const parts = run.outputs.names.map((name, k) => `${name} ${formatNumber(values[k], 4)}`);
      return `${parts.join(", ")} ${run.outputs.unit}`.trim();
    }
    if (config.task === "multilabel") {
      const on = run.outputs.names.filter((_, k) => values[k] > 0.5);
      return on.length ? on.join(", ") : "no label";
    }
    const best = indexOfLargest(values);
    return `${run.outputs.names[best]} (${values[best].toFixed(3)})`;
  };
  const when = perStep ? `Answer at step ${scene.at + 1}: ` : "Answer to the whole sequence: ";
  const now = words(row(pass)), before = ghost && words(row(ghost));
  return when + now + (before && before !== now ? `; in the former run: ${before}` : "");
}

/** With a class at every step: which steps are wrong. */
function stepsInWords(scene, now, truth) {
  const { config, steps } = scene, K = config.num_outputs;
  if (!truth || config.readout !== "every" || config.task !== "classification") return "";
  const wrong = [];
  for (let t = 0; t < steps; t++) {
    const best = indexOfLargest(now.subarray(t * K, (t + 1) * K));
    if (best >= 0 && truth[t * K + best] === 0) wrong.push(t + 1); // an erased step has no answer
  }
  const listed = wrong.slice(0, 12).join(", ") + (wrong.length > 12 ? ` and ${wrong.length - 12} more` : "");
  if (!wrong.length) return "Every labelled step is right.";
  return `Wrong at ${wrong.length === 1 ? "step" : "steps"} ${listed}.`;
}
