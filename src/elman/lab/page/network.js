// A trained network and its forward pass: [embeddings] -> recurrent stack -> readout -> linear. The
// equations are those of elman.models.unrolled, in doubles over the float32 weights. Arrays are flat
// and row-major: (T*K) is T rows of K numbers. T steps, I inputs of a layer, H hidden units, D
// directions, G blocks, K outputs, S static inputs.

import { findCell } from "./cells.js";
import { dropOut, embedSteps, firstStates, fresh, makeMemory, runStack } from "./layers.js";
import { multiply, multiplyBack } from "./linear.js";

/**
 * A network from its config (as elman.models.ModelConfig) and weights.
 *
 * @param weights {name as in state_dict(): Float32Array, or Float64Array, which is not copied, so
 *   that a training may change it in place}
 * @param scaling {mean: [K], scale: [K]} of the outputs of a regression; without it 0 and 1
 * @returns {config, cell, units: H, directions: D, width: D*H, outputs: K, perStep, weights,
 *   inputSize, layers: [{layer, direction, inputSize, names, W, U, b, bU}], mean, scale}
 */
export function makeNetwork(config, weights, scaling = {}) {
  const cell = findCell(config);
  const units = config.hidden_size, directions = config.bidirectional ? 2 : 1;
  const width = units * directions, rows = cell.blocks.length * units, K = config.num_outputs;
  const all = {};
  const take = (name, size) => {
    const values = weights[name];
    if (!values || values.length !== size) {
      throw new Error(`weights: ${name} has ${values ? values.length : "no"} numbers, expected `
        + `${size}: config and weights are of different networks`);
    }
    return (all[name] = values instanceof Float64Array ? values : Float64Array.from(values));
  };
  const tables = [];
  if (config.vocabulary_size) {
    const size = config.embedding_size;
    tables.push({ name: "embedding.weight", width: size, count: config.vocabulary_size });
    take("embedding.weight", config.vocabulary_size * size);
  }
  (config.category_sizes ?? []).forEach((count, k) => {
    const size = config.category_widths[k];
    tables.push({ name: `embeddings.${k}.weight`, width: size, count });
    take(`embeddings.${k}.weight`, count * size);
  });
  const numbers = config.input_size ?? 0;
  const inputSize = numbers + tables.reduce((sum, table) => sum + table.width, 0);
  const layers = [];
  for (let layer = 0; layer < config.num_layers; layer++) {
    for (let direction = 0; direction < directions; direction++) {
      const end = `l${layer}${direction ? "_reverse" : ""}`, size = layer ? width : inputSize;
      const names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"].map((n) => `recurrent.${n}_${end}`);
      const sizes = [rows * size, rows * units, rows, rows];
      const [W, U, b, bU] = names.map((name, k) => take(name, sizes[k]));
      layers.push({ layer, direction, inputSize: size, names, W, U, b, bU });
    }
  }
  const S = config.static_size ?? 0, to = S ? config.static_to : null;
  const setsState = to === "state" || to === "both", joins = to === "readout" || to === "both";
  if (setsState) {
    const size = cell.states.length * layers.length * units;
    take("static_state.weight", size * S);
    take("static_state.bias", size);
  }
  if (joins) {
    take("static_join.weight", width * (width + S));
    take("static_join.bias", width);
  }
  take("output.weight", K * width);
  take("output.bias", K);
  const { mean = new Array(K).fill(0), scale = new Array(K).fill(1) } = scaling;
  return { config, cell, units, directions, width, outputs: K, perStep: config.readout === "every",
    staticSize: S, setsState, joins, weights: all, numbers, tables, inputSize, layers, mean, scale };
}

/** The readout as if the sequence ended at each step, (T*D*H); the last row is that of the sequence. */
function readoutByStep(network, hidden, steps, erased) {
  const { width, units: H, config } = network;
  const rows = hidden.slice(); // `every`; `last` in the forward direction: states are carried over
  for (let j = 0; j < width; j++) {
    let count = 0, total = 0, largest = -Infinity;
    for (let t = 0; t < steps; t++) {
      const at = t * width + j;
      if (!erased.has(t)) {
        count++;
        total += hidden[at];
        if (hidden[at] > largest) largest = hidden[at];
      }
      if (count && config.readout === "mean") rows[at] = total / count;
      if (count && config.readout === "max") rows[at] = largest;
    }
    // The last state of the backward direction is that at the first step, for the whole sequence.
    if (config.readout === "last" && j >= H) rows[(steps - 1) * width + j] = hidden[j];
  }
  return rows;
}

/** Input of the output layer, rows of D*H: the readout, and the static features joined to it. */
function joinFeatures(network, readout, features) {
  if (!network.joins) return readout.slice();
  const { width, staticSize: S } = network, size = width + S;
  const { "static_join.weight": M, "static_join.bias": bias } = network.weights;
  const both = new Float64Array(size), read = new Float64Array(readout.length);
  both.set(features, width);
  for (let at = 0; at < read.length; at += width) {
    both.set(readout.subarray(at, at + width));
    multiply(M, width, size, both, 0, bias, read, at);
  }
  return read.map((value) => (value > 0 ? value : 0));
}

/** V read + b_y of each row of D*H numbers: logits or values, K a row; NaN for a row without steps. */
function outputsOf(network, read, isBlank) {
  const { width, outputs: K, weights } = network, rows = read.length / width;
  const outputs = new Float64Array(rows * K);
  const { "output.weight": V, "output.bias": bias } = weights;
  for (let t = 0; t < rows; t++) {
    if (isBlank(t)) outputs.fill(NaN, t * K, (t + 1) * K);
    else multiply(V, K, width, read, t * width, bias, outputs, t * K);
  }
  return outputs;
}

/** Probabilities of rows of K outputs, or values in the target's unit. */
export function distributionOf(network, outputs) {
  const { outputs: K, config, mean, scale } = network;
  if (config.task === "regression") {
    return outputs.map((value, i) => value * scale[i % K] + mean[i % K]);
  }
  if (config.task === "multilabel") return outputs.map((value) => 1 / (1 + Math.exp(-value)));
  const shares = new Float64Array(outputs.length);
  for (let at = 0; at < outputs.length; at += K) {
    let largest = -Infinity, total = 0;
    for (let k = at; k < at + K; k++) if (outputs[k] > largest) largest = outputs[k];
    for (let k = at; k < at + K; k++) total += shares[k] = Math.exp(outputs[k] - largest);
    for (let k = at; k < at + K; k++) shares[k] /= total;
  }
  return shares;
}

/** Changes with every field: clamps of steps `from` to `to`, and a Set of erased steps. */
function completeChanges({ clamps = [], erased = [], dropout = {} }, steps) {
  const complete = ({ from = 0, to = steps - 1, unit = null, direction = 0, ...clamp }) =>
    ({ ...clamp, from, to, unit, direction });
  return { clamps: clamps.map(complete), erased: new Set(erased), dropout };
}

/**
 * The forward pass of one sequence, with every gate and state; row t of every array is for x_t.
 *
 * @param sequence {steps: T, x: numbers and category codes (T*C), or token ids (T), static: (S)}
 * @param changes {clamps: [{layer, direction, name, unit, value, from, to}], erased: steps}. A
 *   clamped gate or state takes the value at the steps `from` to `to`, and what follows reads it;
 *   unit null clamps all units. An erased step does not happen: the states are carried over it in
 *   both directions and it is not in the readout; its gates, and an output of its own, are NaN. In a
 *   training also dropout: {embedded (T*I), between: [(T*D*H) after each layer but the last], read
 *   (D*H or T*D*H)}, masks of 0 and 1 / (1 - p) that multiply these values.
 * @returns {steps, embedded (T*I), layers: [{layer, direction, inputs (T*I), size: H, a: W x_t + b
 *   and u: U h_{t-1} + b' (T*G*H), gates: {name: (T*H)}, previous: {name: (T*H)}, clamps}],
 *   hidden (T*D*H), readout and read (D*H or T*D*H), final (K or T*K) outputs, answer (K or T*K)
 *   their distribution, outputs and distribution (T*K) as if the sequence ended at each step (NaN
 *   where all steps so far are erased), changes}. With two directions and one output a sequence,
 *   the last two are computed when they are first read, which takes T passes.
 */
export function forward(network, sequence, changes = {}) {
  const complete = completeChanges(changes, sequence.steps);
  const embedded = dropOut(embedSteps(network, sequence), complete.dropout.embedded);
  return finishPass(network, sequence, embedded, complete, null, fresh);
}

/**
 * The same pass with the input of one step replaced; what has not changed is not computed again.
 *
 * @param x number and category codes, or the token id, of step s
 */
export function forwardReplaced(network, sequence, pass, s, x, memory) {
  const { inputSize } = network, embedded = memory.take(pass.embedded.length);
  embedded.set(pass.embedded);
  embedded.set(embedSteps(network, { steps: 1, x }), s * inputSize);
  const known = { layers: pass.layers, low: s, high: s };
  return finishPass(network, { ...sequence, steps: pass.steps }, embedded, pass.changes, known, memory);
}

/** Run the stack and the output layer; `known` and `memory` as in `runStack`. */
function finishPass(network, sequence, embedded, changes, known, memory) {
  const { steps } = sequence, { directions, width, perStep } = network;
  const first = firstStates(network, sequence.static);
  const { layers, hidden } = runStack(network, embedded, steps, first, changes, known, memory);
  const rows = readoutByStep(network, hidden, steps, changes.erased);
  const readout = perStep ? rows : rows.slice((steps - 1) * width);
  const read = dropOut(joinFeatures(network, readout, sequence.static), changes.dropout.read);
  let start = 0; // of the steps that happen
  while (changes.erased.has(start)) start++;
  const isBlank = (t) => (perStep ? changes.erased.has(t) : t < start);
  const final = outputsOf(network, read, perStep ? isBlank : () => start >= steps);
  const pass = { steps, embedded, layers, hidden, readout, read, final,
    answer: distributionOf(network, final), changes };
  const byStep = () => {
    if (perStep) return final;
    if (directions === 1) {
      return outputsOf(network, joinFeatures(network, rows, sequence.static), isBlank);
    }
    return outputsOfPrefixes(network, sequence, pass);
  };
  let outputs = null, distribution = null;
  return Object.defineProperties(pass, {
    outputs: { enumerable: true, get: () => (outputs ??= byStep()) },
    distribution: {
      enumerable: true, get: () => (distribution ??= distributionOf(network, pass.outputs)),
    },
  });
}

/** The pass of the first steps of a sequence: the states of the backward direction are others. */
export function forwardPrefix(network, sequence, pass, steps, memory) {
  const known = { layers: pass.layers, low: steps, high: -1 };
  const embedded = pass.embedded.subarray(0, steps * network.inputSize);
  return finishPass(network, { ...sequence, steps }, embedded, pass.changes, known, memory);
}

/** Outputs of every beginning of the sequence, (T*K). */
function outputsOfPrefixes(network, sequence, pass) {
  const { outputs: K } = network, outputs = new Float64Array(sequence.steps * K);
  const memory = makeMemory();
  for (let steps = 1; steps < sequence.steps; steps++) {
    memory.reset();
    outputs.set(forwardPrefix(network, sequence, pass, steps, memory).final, (steps - 1) * K);
  }
  outputs.set(pass.final, (sequence.steps - 1) * K);
  return outputs;
}

/**
 * Votes of the units for output k, (T*D*H): V_kj h_tj, in the target's unit.
 *
 * Static features joined to the readout pass through a relu, at which the votes are exact for this
 * sequence: V_k is then that of `Trace.output_weight`, at every step its own if each has an output.
 */
export function votes(network, pass, k) {
  const { width, scale, perStep } = network;
  const V = network.weights["output.weight"].subarray(k * width, (k + 1) * width);
  const weight = joinBack(network, pass, pass.read.map((_, i) => V[i % width] * scale[k]));
  return pass.hidden.map((h, i) => h * weight[perStep ? i : i % width]);
}

/** Gradient of the readout from that of the output layer's input, rows of D*H. */
export function joinBack(network, pass, gradient) {
  if (!network.joins) return gradient;
  const { width, staticSize: S } = network, size = width + S, rows = gradient.length / width;
  const passed = gradient.map((value, i) => (pass.read[i] > 0 ? value : 0));
  const both = new Float64Array(size), back = new Float64Array(gradient.length);
  for (let t = 0; t < rows; t++) {
    both.fill(0);
    multiplyBack(network.weights["static_join.weight"], width, size, passed, t * width, both, 0);
    back.set(both.subarray(0, width), t * width);
  }
  return back;
}
