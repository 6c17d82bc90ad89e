// What each input does to each output, by replacing one input at a time: elman.explain.influence.

import { makeMemory } from "./layers.js";
import { forward, forwardPrefix, forwardReplaced } from "./network.js";

const UNKNOWN_CODE = 1; // of tokens and categories
const ROUNDING = 1e-12; // a smaller difference is one of rounding errors
const MOST_PRODUCTS = 3e9; // of weights and numbers, which take seconds: beyond, the last column only

/** What replaces an input: zeros and the unknown token or categories. */
function referenceInput({ numbers, tables }) {
  const input = new Float64Array(numbers + tables.length).fill(UNKNOWN_CODE);
  return input.fill(0, 0, numbers);
}

/** Distance of two distributions in a row of K numbers at `at`. */
function distanceOf(network, one, other, at) {
  const { outputs: K, config } = network;
  let total = 0;
  for (let k = 0; k < K; k++) {
    // Several values are compared on the scale of the network's outputs, a single one in its unit.
    const unit = config.task === "regression" && K > 1 ? 1 / network.scale[k] : 1;
    const difference = Math.abs(one[at + k] - other[at + k]) * unit;
    if (difference > ROUNDING) total += difference;
  }
  return config.task === "classification" ? total / 2 : total / K;
}

/**
 * Influence of every input on every output.
 *
 * The distance is the total variation of the probabilities, the mean absolute difference of the
 * labels' probabilities, or the absolute change of the value.
 *
 * @returns {values (T*T): row s, column t: change of the output at t, as if the sequence ended there,
 *   when input s is replaced; steps: T, complete: false if only the last column was computed, as a
 *   network with two directions needs a pass for every pair of steps; the others are NaN then,
 *   reference: the replacement in words}
 */
export function influence(network, sequence, changes = {}) {
  const parts = influenceInParts(network, sequence, changes);
  for (;;) {
    const { done, value } = parts.next();
    if (done) return value;
  }
}

/** The same in parts, between which a page can draw: yields the share that is computed. */
export function* influenceInParts(network, sequence, changes = {}) {
  const { outputs: K, config } = network, T = sequence.steps;
  const pass = forward(network, sequence, changes), values = new Float64Array(T * T);
  const size = network.layers.reduce((sum, { W, U }) => sum + W.length + U.length, 0);
  const byPrefix = network.directions === 2 && !network.perStep;
  const complete = !byPrefix || (size * T ** 3) / 4 < MOST_PRODUCTS;
  const reference = referenceInput(network), memory = makeMemory(), memoryOfOwn = makeMemory();
  if (!complete) values.fill(NaN);
  for (let t = complete && byPrefix ? 0 : T - 1; t < T; t++) {
    memoryOfOwn.reset();
    const own = t < T - 1 ? forwardPrefix(network, sequence, pass, t + 1, memoryOfOwn) : pass;
    for (let s = 0; s <= t; s++) {
      memory.reset();
      const replaced = forwardReplaced(network, sequence, own, s, reference, memory);
      if (byPrefix) values[s * T + t] = distanceOf(network, replaced.answer, own.answer, 0);
      else for (let k = 0; k < T; k++) {
        const to = distanceOf(network, replaced.distribution, own.distribution, k * K);
        values[s * T + k] = to;
      }
      yield complete && byPrefix ? (t * t + 2 * s) / (T * T) : s / T;
    }
  }
  const words = config.vocabulary_size ? "the unknown token"
    : network.tables.length ? "zero and unknown categories" : "zero";
  return { values, steps: T, complete, reference: words };
}
