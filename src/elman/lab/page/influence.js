/** What each input does to each output, by replacing one input at a time: elman.explain.influence. */
import { forward } from "./network.js";

const UNKNOWN_CODE = 1; // of tokens and categories
const ROUNDING = 1e-12; // a smaller difference is one of rounding errors
const MOST_PRODUCTS = 3e9; // of weights and numbers, which take seconds: beyond, the last column only

/** The sequence with step s replaced by zeros, or by the unknown token or categories. */
function withReference(network, sequence, s) {
  const numbers = network.config.input_size ?? 0, x = sequence.x.slice();
  const columns = x.length / sequence.steps;
  for (let c = 0; c < columns; c++) x[s * columns + c] = c < numbers ? 0 : UNKNOWN_CODE;
  return { ...sequence, x };
}

/** Distance of two rows of a distribution, K numbers at `at` and `from`. */
function distanceOf(network, one, at, other, from) {
  const { outputs: K, config } = network;
  let total = 0;
  for (let k = 0; k < K; k++) {
    // Several values are compared on the scale of the network's outputs, a single one in its unit.
    const unit = config.task === "regression" && K > 1 ? 1 / network.scale[k] : 1;
    const difference = Math.abs(one[at + k] - other[from + k]) * unit;
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
 *   network with two directions needs T passes for each row; the others are NaN then, reference:
 *   the replacement in words}
 */
export function influence(network, sequence, changes = {}) {
  const { outputs: K, config } = network, T = sequence.steps;
  const weights = Object.values(network.layers).reduce((sum, { W, U }) => sum + W.length + U.length, 0);
  const prefixes = network.directions === 2 && !network.perStep;
  const complete = !prefixes || weights * T ** 3 / 2 < MOST_PRODUCTS;
  const rows = (pass) => (complete ? pass.distribution : pass.answer);
  const values = new Float64Array(T * T).fill(complete ? 0 : NaN);
  const own = rows(forward(network, sequence, changes));
  for (let s = 0; s < T; s++) {
    const replaced = rows(forward(network, withReference(network, sequence, s), changes));
    for (let t = complete ? 0 : T - 1; t < T; t++) {
      const at = complete ? t * K : 0;
      values[s * T + t] = distanceOf(network, replaced, at, own, at);
    }
  }
  const reference = config.vocabulary_size ? "the unknown token"
    : network.tables.length ? "zero and unknown categories" : "zero";
  return { values, steps: T, complete, reference };
}
