// Labels in words, and how good answers are. Nothing here touches the page.

import { formatNumber } from "./dom.js";
import { indexOfLargest } from "./linear.js";

/** A target in words, at one step if it has one at every step; an empty text without a label. */
export function describeTarget(run, target, step = null) {
  const { task, readout, num_outputs: K } = run.config;
  if (target === null || (readout === "every" && step === null)) return "";
  const width = task === "classification" ? 1 : K;
  const start = readout === "every" ? step * width : 0;
  const values = typeof target === "number" ? [target] : Array.from(target.slice(start, start + width));
  if (values.some((value) => Number.isNaN(value) || (value < 0 && task !== "regression"))) return "";
  const { names, mean, scale, unit } = run.outputs;
  if (task === "classification") return names[values[0]];
  if (task === "multilabel") return names.filter((_, k) => values[k] > 0.5).join(", ") || "no label";
  return values.map((value, k) => `${names.length > 1 ? `${names[k]} ` : ""}${
    formatNumber(value * scale[k] + mean[k])}${unit ? ` ${unit}` : ""}`).join(", ");
}

/**
 * How good an answer is: the share of right labels, or the mean absolute error of numbers.
 *
 * @param final logits or standardised values, (K) or (T*K), and target in the form of the payload:
 *   a code, K numbers, or the same for each step, with -100 or NaN where a step has no label.
 * @returns {share} of 0 to 1, or {error} in the target's unit; null without a label.
 */
export function judgeAnswer(run, final, target) {
  const { num_outputs: K, task } = run.config;
  if (target === null) return null;
  const flat = typeof target === "number" ? [target] : target;
  let sum = 0;
  let count = 0;
  if (task === "classification") {
    flat.forEach((code, t) => {
      if (code < 0) return;
      sum += indexOfLargest(final.slice(t * K, (t + 1) * K)) === code ? 1 : 0;
      count += 1;
    });
    return count ? { share: sum / count } : null;
  }
  flat.forEach((value, at) => {
    if (Number.isNaN(value) || value < 0 && task === "multilabel") return;
    sum += task === "multilabel"
      ? Number((final[at] > 0) === (value > 0.5))
      : Math.abs(final[at] - value) * run.outputs.scale[at % K];
    count += 1;
  });
  if (!count) return null;
  return task === "multilabel" ? { share: sum / count } : { error: sum / count };
}

/**
 * Two networks on the same examples, from their answers as judgeAnswer returns them.
 *
 * @returns {count, left, right: means, measure: "share" or "error", both, onlyLeft, onlyRight,
 *   neither: positions of the examples; with errors, or shares between 0 and 1, the better one
 *   counts as the only one, and equal ones as both}
 */
export function tallyAnswers(answers) {
  const known = answers.map(([left, right], at) => ({ at, left, right }))
    .filter(({ left, right }) => left && right);
  const tally = { count: known.length, both: [], onlyLeft: [], onlyRight: [], neither: [] };
  tally.measure = known.length && "error" in known[0].left ? "error" : "share";
  for (const side of ["left", "right"]) {
    tally[side] = known.reduce((sum, each) => sum + each[side][tally.measure], 0) / known.length;
  }
  for (const { at, left, right } of known) {
    const [a, b] = [left[tally.measure], right[tally.measure]];
    const gain = tally.measure === "error" ? b - a : a - b;
    if (gain === 0) tally[tally.measure === "share" && a === 0 ? "neither" : "both"].push(at);
    else tally[gain > 0 ? "onlyLeft" : "onlyRight"].push(at);
  }
  return tally;
}
