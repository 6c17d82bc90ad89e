// The recurrent stack of a network: the input of the first layer, and every layer step by step.
// Dimensions: T steps, I inputs of a layer, H hidden units, D directions, G blocks of the weights.

import { copyNumbers, multiply } from "./linear.js";

/** Input of the first layer, (T*I): numbers, then the embedding of each token or category. */
export function embedSteps(network, { steps, x }) {
  const { tables, inputSize, weights, numbers } = network, columns = numbers + tables.length;
  const embedded = new Float64Array(steps * inputSize);
  for (let t = 0; t < steps; t++) {
    let at = t * inputSize;
    for (let c = 0; c < numbers; c++) embedded[at++] = x[t * columns + c];
    tables.forEach(({ name, width, count }, k) => {
      const code = x[t * columns + numbers + k];
      if (!(code >= 0 && code < count && code === Math.floor(code))) {
        throw new Error(`x: step ${t + 1} has the code ${code}, expected a whole number from 0 to `
          + `${count - 1}`);
      }
      embedded.set(weights[name].subarray(code * width, (code + 1) * width), at);
      at += width;
    });
  }
  return embedded;
}

/** A s + a and the first states, softsign of it, (states * layers * H); null if they are zeros. */
export function firstStates(network, features) {
  if (!network.setsState) return null;
  const { "static_state.weight": A, "static_state.bias": bias } = network.weights;
  const raw = new Float64Array(bias.length);
  multiply(A, bias.length, network.staticSize, features, 0, bias, raw, 0);
  return { raw, states: raw.map((value) => value / (1 + Math.abs(value))) };
}

/** Memory of passes that are kept: every array is new. */
export const fresh = { take: (size) => new Float64Array(size) };

/**
 * Memory of a pass that is not needed after the next one: `reset` it between them. In a browser a new
 * array costs more than a step of a small network. Arrays hold former numbers.
 */
export function makeMemory() {
  let all = new Float64Array(0), used = 0;
  return {
    reset: () => {
      used = 0;
    },
    take: (size) => {
      if (used + size > all.length) {
        all = new Float64Array(2 * (used + size));
        used = 0;
      }
      used += size;
      return all.subarray(used - size, used);
    },
  };
}

/**
 * Run all layers.
 *
 * @param first what `firstStates` returns
 * @param changes complete, as in a pass
 * @param known {layers, low, high}: layers that ran before on inputs that differ at steps `low` to
 *   `high` only, or on more steps: what has not changed is copied
 * @param memory of the arrays: `fresh`, or that of `makeMemory`
 * @returns {layers: as in a pass, hidden: states of the top layer (T*D*H)}
 */
export function runStack(network, embedded, steps, first, changes, known, memory) {
  const { directions: D, units: H, width, config } = network, layers = [];
  let below = embedded, low = known ? known.low : 0, high = known ? known.high : steps - 1;
  for (let layer = 0; layer < config.num_layers; layer++) {
    const above = memory.take(steps * width);
    for (let d = 0; d < D; d++) {
      const place = layer * D + d, old = known ? known.layers[place] : null;
      const run = makeRun(network, place, below, steps, changes, old, memory);
      runSteps(network, place, run, steps, first, changes, old, low, high);
      const { h } = run.gates;
      for (let t = 0; t < steps; t++) copyNumbers(h, t * H, above, t * width + d * H, H);
      layers.push(run);
    }
    // A change goes on to all later steps, and through the other direction to all earlier ones.
    [low, high] = [D === 2 ? 0 : low, steps - 1];
    const isTop = layer === config.num_layers - 1;
    below = isTop ? above : dropOut(above, changes.dropout.between?.[layer]);
  }
  return { layers, hidden: below };
}

/** Multiply numbers by those of a dropout mask, if there is one, in place. */
export function dropOut(values, mask) {
  if (mask) for (let i = 0; i < values.length; i++) values[i] *= mask[i];
  return values;
}

/** The arrays of a layer and direction; copies of the first steps of `old`, if it ran before. */
function makeRun(network, place, inputs, steps, changes, old, memory) {
  const { cell, units: H } = network, { layer, direction, b } = network.layers[place];
  const make = (size, values) => {
    const own = memory.take(steps * size);
    if (values) own.set(values.length > own.length ? values.subarray(0, own.length) : values);
    return own;
  };
  const all = (names, values) =>
    Object.fromEntries(names.map((name) => [name, make(H, values?.[name])]));
  const clamps = {};
  for (const clamp of changes.clamps) {
    if (clamp.layer !== layer || clamp.direction !== direction) continue;
    (clamps[clamp.name] ??= []).push(clamp);
  }
  return { layer, direction, inputs, size: H, clamps,
    a: make(b.length, old?.a), u: make(b.length, old?.u),
    gates: all(cell.traced, old?.gates), previous: all(cell.states, old?.previous) };
}

/** Compute the steps of a run whose input at `low` to `high`, or whose past, is not that of `old`. */
function runSteps(network, place, run, steps, first, changes, old, low, high) {
  const { cell, units: H } = network, { W, U, b, bU, inputSize } = network.layers[place];
  const { direction, inputs, gates, previous, a, u } = run, rows = b.length;
  for (let t = low; t <= high; t++) multiply(W, rows, inputSize, inputs, t * inputSize, b, a, t * rows);
  const isShorter = old !== null && old.gates.h.length > steps * H;
  const end = direction ? -1 : steps, move = direction ? -1 : 1;
  for (let t = direction ? (isShorter ? steps - 1 : high) : low; t !== end; t += move) {
    const isFirst = t === (direction ? steps - 1 : 0);
    cell.initialStates.forEach((name, s) => {
      const source = isFirst ? first?.states : gates[name];
      const at = (isFirst ? s * network.layers.length + place : t - move) * H;
      if (source) copyNumbers(source, at, previous[name], t * H, H);
      else previous[name].fill(0, t * H, (t + 1) * H);
    });
    if (changes.erased.has(t)) {
      for (const name of cell.gates) gates[name].fill(NaN, t * H, (t + 1) * H);
      for (const name of cell.states) copyNumbers(previous[name], t * H, gates[name], t * H, H);
    } else {
      multiply(U, rows, H, previous.h, t * H, bU, u, t * rows);
      cell.step(run, t);
    }
  }
}
