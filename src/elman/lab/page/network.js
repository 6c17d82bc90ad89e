/**
 * A trained network and its forward pass: [embeddings] -> recurrent stack -> readout -> linear.
 *
 * The equations are those of elman.models.unrolled, in doubles over the float32 weights. Arrays are
 * row-major. T steps, I inputs of a layer, H hidden units, D directions, G blocks, K outputs, S
 * static inputs. A layer with two directions has two entries, the forward direction first.
 */
import { findCell } from "./cells.js";

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
    tables.push({ name: "embedding.weight", width: size });
    take("embedding.weight", config.vocabulary_size * size);
  }
  (config.category_sizes ?? []).forEach((count, k) => {
    const size = config.category_widths[k];
    tables.push({ name: `embeddings.${k}.weight`, width: size });
    take(`embeddings.${k}.weight`, count * size);
  });
  const inputSize = (config.input_size ?? 0) + tables.reduce((sum, table) => sum + table.width, 0);
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
    staticSize: S, setsState, joins, weights: all, tables, inputSize, layers, mean, scale };
}

/** Dot product of n numbers from two places; four sums, because one waits for each addition. */
function dotProduct(left, at, right, from, n) {
  let a = 0, b = 0, c = 0, d = 0, i = 0;
  for (; i + 3 < n; i += 4) {
    a += left[at + i] * right[from + i];
    b += left[at + i + 1] * right[from + i + 1];
    c += left[at + i + 2] * right[from + i + 2];
    d += left[at + i + 3] * right[from + i + 3];
  }
  for (; i < n; i++) a += left[at + i] * right[from + i];
  return a + b + (c + d);
}

/** out[to ...] = M x + bias for a matrix of contiguous rows, (rows, n), and x from `from`. */
export function multiply(M, rows, n, x, from, bias, out, to) {
  for (let r = 0; r < rows; r++) out[to + r] = dotProduct(M, r * n, x, from, n) + bias[r];
}

/** out[to ...] += M^T y: row by row, so that the matrix is read in its order. */
export function multiplyBack(M, rows, n, y, from, out, to) {
  for (let r = 0; r < rows; r++) {
    const factor = y[from + r];
    if (factor === 0) continue;
    for (let i = 0, at = r * n; i < n; i++) out[to + i] += factor * M[at + i];
  }
}

/** Input of the first layer, (T*I): numbers, then the embedding of each token or category. */
function embedSteps(network, { steps, x }) {
  const { config, tables, inputSize, weights } = network;
  const numbers = config.input_size ?? 0;
  const columns = config.vocabulary_size ? 1 : numbers + tables.length;
  const embedded = new Float64Array(steps * inputSize);
  for (let t = 0; t < steps; t++) {
    let at = t * inputSize;
    for (let c = 0; c < numbers; c++) embedded[at++] = x[t * columns + c];
    tables.forEach(({ name, width }, k) => {
      const code = x[t * columns + numbers + k];
      embedded.set(weights[name].subarray(code * width, (code + 1) * width), at);
      at += width;
    });
  }
  return embedded;
}

/** A s + a and the first states, softsign of it, (states, layers, H); null if they are zeros. */
export function firstStates(network, features) {
  if (!network.setsState) return null;
  const bias = network.weights["static_state.bias"];
  const raw = new Float64Array(bias.length);
  const A = network.weights["static_state.weight"];
  multiply(A, bias.length, network.staticSize, features, 0, bias, raw, 0);
  return { raw, states: raw.map((value) => value / (1 + Math.abs(value))) };
}

/** W x_t + b of every step of a layer, (T*G*H). */
function inputProducts({ W, b, inputSize }, inputs, steps) {
  const rows = b.length, a = new Float64Array(steps * rows);
  for (let t = 0; t < steps; t++) multiply(W, rows, inputSize, inputs, t * inputSize, b, a, t * rows);
  return a;
}

/** Run one layer in one direction; `a` from `inputProducts`, `first` from `firstStates`. */
function runLayer(network, place, inputs, a, steps, first, changes) {
  const { cell, units: H } = network, { layer, direction, U, bU } = network.layers[place];
  const rows = bU.length, u = new Float64Array(steps * rows);
  const clamps = {};
  for (const clamp of changes.clamps) {
    if (clamp.layer !== layer || clamp.direction !== direction) continue;
    (clamps[clamp.name] ??= []).push(clamp);
  }
  const gates = {}, previous = {};
  for (const name of cell.traced) gates[name] = new Float64Array(steps * H);
  for (const name of cell.states) previous[name] = new Float64Array(steps * H);
  const run = { layer, direction, inputs, size: H, a, u, gates, previous, clamps };
  for (let k = 0; k < steps; k++) {
    const t = direction ? steps - 1 - k : k, before = direction ? t + 1 : t - 1;
    cell.initialStates.forEach((name, s) => {
      const source = k ? gates[name] : first?.states;
      const at = (k ? before : s * network.layers.length + place) * H;
      if (source) previous[name].set(source.subarray(at, at + H), t * H);
    });
    if (changes.erased.has(t)) {
      for (const name of cell.gates) gates[name].fill(NaN, t * H, (t + 1) * H);
      for (const name of cell.states) {
        gates[name].set(previous[name].subarray(t * H, (t + 1) * H), t * H);
      }
    } else {
      multiply(U, rows, H, previous.h, t * H, bU, u, t * rows);
      cell.step(run, t);
    }
  }
  return run;
}

/** All layers over the first `steps` steps; `products` are those of the lowest layer. */
function runStack(network, embedded, products, steps, first, changes) {
  const { directions: D, units: H, width, config } = network;
  const layers = [];
  let below = embedded;
  for (let layer = 0; layer < config.num_layers; layer++) {
    const above = new Float64Array(steps * width);
    for (let d = 0; d < D; d++) {
      const place = layer * D + d;
      const a = layer ? inputProducts(network.layers[place], below, steps) : products[d];
      const run = runLayer(network, place, below, a, steps, first, changes);
      for (let t = 0; t < steps; t++) {
        above.set(run.gates.h.subarray(t * H, (t + 1) * H), t * width + d * H);
      }
      layers.push(run);
    }
    below = above;
  }
  return { layers, hidden: below };
}

/**
 * The readout as if the sequence ended at each step, (T*D*H): the last row is that of the sequence.
 *
 * Of the backward direction only the last row of `last` is meaningful. Rows without any step that
 * is not erased are NaN; so are erased steps where every step has an output.
 */
function readoutByStep(network, hidden, steps, erased) {
  const { width, units: H, config } = network, rows = new Float64Array(steps * width);
  for (let j = 0; j < width; j++) {
    let count = 0, total = 0, largest = -Infinity;
    for (let t = 0; t < steps; t++) {
      const at = t * width + j, here = !erased.has(t);
      if (here) {
        count++;
        total += hidden[at];
        if (hidden[at] > largest) largest = hidden[at];
      }
      const known = network.perStep ? here : count > 0;
      const value = config.readout === "mean" ? total / count
        : config.readout === "max" ? largest : hidden[at];
      rows[at] = known ? value : NaN;
    }
    const end = (steps - 1) * width + j;
    if (config.readout === "last" && j >= H && count) rows[end] = hidden[j];
  }
  return rows;
}

/** Input of the output layer, rows of D*H: the readout, and the static features joined to it. */
function joinFeatures(network, readout, features) {
  if (!network.joins) return readout;
  const { width, staticSize: S } = network, M = network.weights["static_join.weight"];
  const bias = network.weights["static_join.bias"], rows = readout.length / width;
  const read = new Float64Array(readout.length);
  for (let j = 0; j < width; j++) {
    const at = j * (width + S), fixed = dotProduct(M, at + width, features, 0, S) + bias[j];
    for (let t = 0; t < rows; t++) {
      const sum = dotProduct(M, at, readout, t * width, width) + fixed;
      read[t * width + j] = sum < 0 ? 0 : sum;
    }
  }
  return read;
}

/** V read + b_y of each row of D*H numbers: logits or values, K a row. */
function outputsOf(network, read) {
  const { width, outputs: K, weights } = network, rows = read.length / width;
  const outputs = new Float64Array(rows * K);
  const V = weights["output.weight"], bias = weights["output.bias"];
  for (let t = 0; t < rows; t++) multiply(V, K, width, read, t * width, bias, outputs, t * K);
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
function completeChanges({ clamps = [], erased = [] }, steps) {
  const complete = ({ from = 0, to = steps - 1, unit = null, direction = 0, ...clamp }) =>
    ({ ...clamp, from, to, unit, direction });
  return { clamps: clamps.map(complete), erased: new Set(erased) };
}

/**
 * The forward pass of one sequence, with every gate and state; row t of every array is for x_t.
 *
 * @param sequence {steps: T, x: numbers and category codes (T*C), or token ids (T), static: (S)}
 * @param changes {clamps: [{layer, direction, name, unit, value, from, to}], erased: Set of steps}.
 *   A clamped gate or state takes the value from step `from` to `to`, and what follows reads it; unit
 *   null clamps all units. An erased step does not happen: the states are carried over it in both
 *   directions, it is not in the readout, its gates are NaN and so is an output of its own.
 * @returns {steps, embedded (T*I), layers: [{layer, direction, inputs (T*I), size: H, a: W x_t + b
 *   and u: U h_{t-1} + b' (T*G*H), gates: {name: (T*H)}, previous: {name: (T*H)}, clamps}],
 *   hidden (T*D*H), readout and read (D*H or T*D*H), final (K or T*K) outputs, answer (K or T*K)
 *   their distribution, outputs and distribution (T*K) as if the sequence ended at each step,
 *   changes}. With two directions and one output a sequence, the last two are computed when they
 *   are first read, which takes T passes.
 */
export function forward(network, sequence, changes = {}) {
  const complete = completeChanges(changes, sequence.steps);
  return runEmbedded(network, sequence, embedSteps(network, sequence), complete);
}

/** The same from the input of the first layer and complete changes. */
function runEmbedded(network, sequence, embedded, changes) {
  const { steps } = sequence, { directions: D, width, perStep } = network;
  const first = firstStates(network, sequence.static);
  const products = network.layers.slice(0, D).map((layer) => inputProducts(layer, embedded, steps));
  const { layers, hidden } = runStack(network, embedded, products, steps, first, changes);
  const rows = readoutByStep(network, hidden, steps, changes.erased);
  const end = (steps - 1) * width;
  const readout = perStep ? rows : rows.slice(end);
  const read = joinFeatures(network, readout, sequence.static);
  const final = outputsOf(network, read), answer = distributionOf(network, final);
  const pass = { steps, embedded, layers, hidden, readout, read, final, answer, changes };
  const byStep = () => {
    if (perStep) return final;
    if (D === 1) return outputsOf(network, joinFeatures(network, rows, sequence.static));
    return outputsOfPrefixes(network, sequence, embedded, products, first, changes);
  };
  let outputs = null, distribution = null;
  Object.defineProperties(pass, {
    outputs: { enumerable: true, get: () => (outputs ??= byStep()) },
    distribution: {
      enumerable: true, get: () => (distribution ??= distributionOf(network, pass.outputs)),
    },
  });
  return pass;
}

/** Outputs of every beginning of the sequence, (T*K): all backward states depend on its end. */
function outputsOfPrefixes(network, sequence, embedded, products, first, changes) {
  const { width, outputs: K } = network, outputs = new Float64Array(sequence.steps * K);
  for (let steps = 1; steps <= sequence.steps; steps++) {
    const { hidden } = runStack(network, embedded, products, steps, first, changes);
    const rows = readoutByStep(network, hidden, steps, changes.erased);
    const read = joinFeatures(network, rows.slice((steps - 1) * width), sequence.static);
    outputs.set(outputsOf(network, read), (steps - 1) * K);
  }
  return outputs;
}

/** {outputs, distribution}, (T*K) each: row t as if the sequence ended there, as in a Trace. */
export function outputsByStep(network, sequence, changes = {}) {
  const { outputs, distribution } = forward(network, sequence, changes);
  return { outputs, distribution };
}

/**
 * Votes of the units for output k, (T*D*H): V_kj h_tj, in the target's unit.
 *
 * Static features joined to the readout pass through a relu, at which the votes are exact for this
 * sequence: V_k is then that of `Trace.output_weight`, at every step its own if each has an output.
 */
export function votes(network, pass, k) {
  const { width, scale } = network, found = new Float64Array(pass.hidden.length);
  const rows = pass.read.length / width, weight = effectiveWeights(network, pass, k);
  for (let t = 0; t < pass.steps; t++) {
    const from = rows > 1 ? t * width : 0;
    for (let j = 0; j < width; j++) {
      found[t * width + j] = weight[from + j] * scale[k] * pass.hidden[t * width + j];
    }
  }
  return found;
}

/** Weight of the readout in output k for each row that the output layer reads, (rows*D*H). */
function effectiveWeights(network, pass, k) {
  const { width } = network, gradient = new Float64Array(pass.read.length);
  const V = network.weights["output.weight"].subarray(k * width, (k + 1) * width);
  for (let at = 0; at < gradient.length; at += width) gradient.set(V, at);
  return joinBack(network, pass, gradient);
}

/** Gradient of the readout from that of the output layer's input, (rows*D*H). */
export function joinBack(network, pass, gradient) {
  if (!network.joins) return gradient;
  const { width, staticSize: S } = network, M = network.weights["static_join.weight"];
  const back = new Float64Array(gradient.length);
  for (let at = 0; at < gradient.length; at += width) {
    for (let j = 0; j < width; j++) {
      if (!(pass.read[at + j] > 0)) continue;
      const factor = gradient[at + j], row = j * (width + S);
      for (let i = 0; i < width; i++) back[at + i] += factor * M[row + i];
    }
  }
  return back;
}
