// Gradients of the parameters of a network, as sums over the steps: elman.explain.contributions.

import { firstStates } from "./layers.js";
import { multiplyBack, transpose } from "./linear.js";

/**
 * What every step contributes to the gradient of each parameter, as factors.
 *
 * @param back what `propagate` returns
 * @returns {name: {left, m, right, n, rows}}: step t contributes the outer product of left_t, m
 *   numbers, and right_t, n numbers; without `right` left_t itself, to row rows[t] if there are rows
 */
export function factorsOf(network, sequence, pass, back) {
  const { width, outputs: K, units: H, perStep, joins } = network, factors = {};
  addTableFactors(network, sequence, back, factors);
  back.layers.forEach(({ da, du }, place) => {
    const { names: [W, U, b, bU], inputSize } = network.layers[place], run = pass.layers[place];
    const m = da.length / pass.steps;
    factors[W] = { left: da, m, right: run.inputs, n: inputSize };
    factors[U] = { left: du, m, right: run.previous.h, n: H };
    factors[b] = { left: da, m };
    factors[bU] = { left: du, m };
  });
  // The readout is the sum over the steps of share_t * h_t. With one output a sequence the gradient
  // of b_y comes from no step; it is given to the last.
  const { read: mask } = pass.changes.dropout;
  const parts = back.share.map((share, i) => share * pass.hidden[i]);
  const atEnd = perStep ? back.dy : lastRowOnly(back.dy, K);
  if (network.setsState) addStateFactors(network, sequence, pass, back, factors);
  if (joins) addJoinFactors(network, sequence, pass, back, parts, factors);
  // What the output layer reads is no sum over the steps once it went through a relu.
  const read = joins ? parts.map((_, i) => pass.read[perStep ? i : i % width])
    : parts.map((part, i) => part * (mask ? mask[i % mask.length] : 1));
  factors["output.weight"] = { left: joins ? atEnd : back.dy, m: K, right: read, n: width };
  factors["output.bias"] = { left: atEnd, m: K };
  return factors;
}

/** The last row of a matrix with rows of `width`; zeros above it. */
function lastRowOnly(matrix, width) {
  return matrix.map((value, i) => (i >= matrix.length - width ? value : 0));
}

/** Factors of the embeddings of tokens and categories: their columns of dx. */
function addTableFactors({ numbers, tables, inputSize }, { steps, x }, { dx }, factors) {
  let start = numbers;
  tables.forEach(({ name, width: m }, k) => {
    const left = new Float64Array(steps * m), rows = [];
    for (let t = 0; t < steps; t++) {
      left.set(dx.subarray(t * inputSize + start, t * inputSize + start + m), t * m);
      rows.push(x[t * (numbers + tables.length) + numbers + k]);
    }
    factors[name] = { left, m, rows };
    start += m;
  });
}

/** Factors of the layer that sets the first states: all of it at each direction's first step. */
function addStateFactors(network, sequence, { steps }, { layers }, factors) {
  const { units: H, cell, staticSize: n } = network;
  const { raw } = firstStates(network, sequence.static), m = raw.length;
  const left = new Float64Array(steps * m), right = new Float64Array(steps * n);
  layers.forEach(({ start, direction }, place) => {
    const row = direction ? steps - 1 : 0;
    cell.initialStates.forEach((name, s) => {
      left.set(start[name], row * m + (s * layers.length + place) * H);
    });
  });
  for (let i = 0; i < left.length; i++) left[i] /= (1 + Math.abs(raw[i % m])) ** 2;
  for (let t = 0; t < steps; t++) right.set(sequence.static, t * n);
  factors["static_state.weight"] = { left, m, right, n };
  factors["static_state.bias"] = { left, m };
}

/** Factors of the layer that joins static features to the readout. */
function addJoinFactors(network, sequence, { steps, read, changes }, { dy }, parts, factors) {
  const { width: m, outputs: K, staticSize: S, perStep, weights } = network, n = m + S;
  const left = new Float64Array(steps * m), right = new Float64Array(steps * n);
  for (let t = 0; t < steps; t++) {
    multiplyBack(weights["output.weight"], K, m, dy, t * K, left, t * m);
    right.set(parts.subarray(t * m, (t + 1) * m), t * n);
    if (perStep || t === steps - 1) right.set(sequence.static, t * n + m);
  }
  for (let i = 0; i < left.length; i++) {
    const j = perStep ? i : i % m;
    left[i] *= read[j] > 0 ? changes.dropout.read?.[j] ?? 1 : 0;
  }
  factors["static_join.weight"] = { left, m, right, n };
  factors["static_join.bias"] = { left: perStep ? left : lastRowOnly(left, m), m };
}

/** Add the gradient of every parameter, the sum over the steps, to `into`, {name: Float64Array}. */
export function sumFactors(factors, steps, into) {
  for (const [name, { left, m, right, n, rows }] of Object.entries(factors)) {
    if (right) {
      const columns = transpose(left, steps, m); // the gradient is left^T right, row by row
      for (let i = 0; i < m; i++) multiplyBack(right, steps, n, columns, i * steps, into[name], i * n);
      continue;
    }
    for (let t = 0; t < steps; t++) {
      const to = rows ? rows[t] * m : 0;
      for (let i = 0; i < m; i++) into[name][to + i] += left[t * m + i];
    }
  }
}

/** Norm of each step's contribution to each parameter, {name: (T)}: |left_t| |right_t|. */
export function contributionNorms(factors, steps) {
  const normOf = (values, t, n) => {
    let sum = 0;
    for (let i = t * n; i < (t + 1) * n; i++) sum += values[i] * values[i];
    return Math.sqrt(sum);
  };
  return Object.fromEntries(Object.entries(factors).map(([name, { left, m, right, n }]) => [
    name, Float64Array.from({ length: steps }, (_, t) =>
      normOf(left, t, m) * (right ? normOf(right, t, n) : 1)),
  ]));
}
