/**
 * Backpropagation through time of one sequence, step by step, as in elman.explain.backward.
 *
 * The loss is that of `elman.explain.bptt`: cross-entropy or mean binary cross-entropy in nats, or
 * the mean squared error of standardised values; with an output at every step, the sum over the
 * steps. dx is short for dL/dx. Nothing goes back through a clamped value; an erased step hands the
 * gradient of its states on as it is.
 */
import { firstStates, joinBack, multiplyBack } from "./network.js";

/**
 * Loss of one row of outputs, (K); fills dy, (K), its gradient.
 *
 * @param target class code, below 0 for a step without a label; or K numbers, NaN for without
 */
function lossOfRow(task, y, target, dy) {
  const K = y.length;
  if (task === "classification") {
    if (target < 0) return 0;
    let largest = -Infinity, total = 0;
    for (const value of y) if (value > largest) largest = value;
    for (const value of y) total += Math.exp(value - largest);
    for (let k = 0; k < K; k++) dy[k] = Math.exp(y[k] - largest) / total - (k === target ? 1 : 0);
    return Math.log(total) + largest - y[target];
  }
  let loss = 0;
  if (task === "multilabel") {
    for (let k = 0; k < K; k++) {
      const x = y[k] * (1 - 2 * target[k]); // softplus(x) is finite for every x
      loss += (Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)))) / K;
      dy[k] = (1 / (1 + Math.exp(-y[k])) - target[k]) / K;
    }
    return loss;
  }
  if (target.some(Number.isNaN)) return 0;
  for (let k = 0; k < K; k++) {
    const error = y[k] - target[k];
    loss += (error * error) / K;
    dy[k] = (2 * error) / K;
  }
  return loss;
}

/** Losses by step, (T), and gradient of `pass.final`, (K) or (T*K), for a target. */
function lossesOf(network, pass, target) {
  const { outputs: K, config, perStep } = network, { final, steps } = pass;
  const losses = new Float64Array(steps), dy = new Float64Array(final.length);
  const codes = config.task === "classification";
  for (let t = perStep ? 0 : steps - 1; t < steps; t++) {
    if (perStep && pass.changes.erased.has(t)) continue; // it has no output
    const at = perStep ? t * K : 0;
    const own = codes ? (perStep ? target[t] : Number(target))
      : typeof target === "number" ? [target] : Array.from(target.slice(at, at + K));
    losses[t] = lossOfRow(config.task, final.subarray(at, at + K), own, dy.subarray(at, at + K));
  }
  return { losses, dy };
}

/** The share of each state that the output reads, (T*D*H): readout = sum of share_t * h_t. */
function outputShares(network, pass) {
  const { width, units: H, config } = network, { hidden, steps } = pass;
  const kept = (t) => !pass.changes.erased.has(t);
  const share = new Float64Array(hidden.length);
  for (let j = 0; j < width; j++) {
    if (config.readout === "last") {
      share[(j < H ? steps - 1 : 0) * width + j] = 1;
      continue;
    }
    let count = 0;
    for (let t = 0; t < steps; t++) {
      const at = t * width + j;
      const reads = config.readout !== "max" || hidden[at] === pass.readout[j];
      if (kept(t) && reads) count += share[at] = 1;
    }
    if (network.perStep) continue;
    for (let at = j; at < share.length; at += width) share[at] /= count || 1; // ties share equally
  }
  return share;
}

/** Buffers for `stepBack`: gradients of a step's states, of those before it, of a and of u. */
export function makeBuffers(network) {
  const states = () =>
    Object.fromEntries(network.cell.states.map((name) => [name, new Float64Array(network.units)]));
  const rows = network.cell.blocks.length * network.units;
  return { after: states(), before: states(), da: new Float64Array(rows), du: new Float64Array(rows) };
}

/** Take the gradient of the states after step t, `after`, back to those `before` it; fills da, du. */
export function stepBack(network, place, pass, t, { after, before, da, du }) {
  const { cell, units: H } = network;
  if (pass.changes.erased.has(t)) {
    for (const name of cell.states) before[name].set(after[name]);
    da.fill(0);
    du.fill(0);
    return;
  }
  cell.back(pass.layers[place], t, after, da, du, before);
  multiplyBack(network.layers[place].U, da.length, H, du, 0, before.h, 0);
}

/** Backpropagate through one layer and direction; `direct` enters from above, (T*H). */
function layerBack(network, place, pass, direct) {
  const { cell, units: H } = network, { layer, direction } = pass.layers[place];
  const { steps } = pass, buffers = makeBuffers(network), rows = buffers.da.length;
  const dh = new Float64Array(steps * H);
  const da = new Float64Array(steps * rows), du = new Float64Array(steps * rows);
  for (let k = 0; k < steps; k++) {
    const t = direction ? k : steps - 1 - k;
    for (const name of cell.states) buffers.after[name].set(buffers.before[name]);
    for (let j = 0; j < H; j++) dh[t * H + j] = buffers.after.h[j] += direct[t * H + j];
    stepBack(network, place, pass, t, buffers);
    da.set(buffers.da, t * rows);
    du.set(buffers.du, t * rows);
  }
  return { layer, direction, direct, dh, da, du, start: buffers.before };
}

/**
 * Take the gradient of the outputs back to every state and input.
 *
 * @param dy gradient of `pass.final`, (K) or (T*K)
 * @returns {dy: (T*K), share (T*D*H), layers: [{layer, direction, direct, dh (T*H), da, du (T*G*H),
 *   start: {state: (H)}}], dx (T*I)}; with one output a sequence, dy is repeated for every step
 */
export function propagate(network, pass, dy) {
  const { directions: D, units: H, width, outputs: K, perStep } = network, { steps } = pass;
  const read = new Float64Array(pass.read.length), rows = read.length / width;
  const V = network.weights["output.weight"];
  for (let t = 0; t < rows; t++) multiplyBack(V, K, width, dy, t * K, read, t * width);
  const readout = joinBack(network, pass, read), share = outputShares(network, pass);
  let above = share.map((part, i) => part && part * readout[perStep ? i : i % width]);
  const layers = new Array(network.layers.length);
  for (let layer = network.config.num_layers - 1; layer >= 0; layer--) {
    const size = network.layers[layer * D].inputSize, below = new Float64Array(steps * size);
    for (let place = layer * D; place < (layer + 1) * D; place++) {
      const direct = new Float64Array(steps * H), d = place % D;
      for (let t = 0; t < steps; t++) {
        const from = t * width + d * H;
        direct.set(above.subarray(from, from + H), t * H);
      }
      const back = (layers[place] = layerBack(network, place, pass, direct));
      const { W, b } = network.layers[place];
      for (let t = 0; t < steps; t++) {
        multiplyBack(W, b.length, size, back.da, t * b.length, below, t * size);
      }
    }
    above = below;
  }
  const repeated = perStep ? dy : Float64Array.from({ length: steps * K }, (_, i) => dy[i % K]);
  return { dy: repeated, share, layers, dx: above };
}

/**
 * What every step contributes to the gradient of each parameter, as factors.
 *
 * @returns {name: {left, m, right, n}}: step t contributes the outer product of left_t (m) and
 *   right_t (n); without `right` left_t itself; with `rows`, left_t to row rows[t] of a table
 */
function factorsOf(network, sequence, pass, back) {
  const { width, outputs: K, units: H, staticSize: S, config } = network, { steps } = pass;
  const factors = {}, I = network.inputSize;
  const columns = config.vocabulary_size ? 1 : (config.input_size ?? 0) + network.tables.length;
  let start = config.input_size ?? 0;
  network.tables.forEach(({ name, width: m }, k) => {
    const rows = Array.from({ length: steps },
      (_, t) => sequence.x[t * columns + (config.input_size ?? 0) + k]);
    factors[name] = { left: columnsOf(back.dx, I, start, m), m, rows };
    start += m;
  });
  back.layers.forEach(({ da, du }, place) => {
    const { names: [W, U, b, bU], inputSize } = network.layers[place], run = pass.layers[place];
    const m = da.length / steps;
    factors[W] = { left: da, m, right: run.inputs, n: inputSize };
    factors[U] = { left: du, m, right: run.previous.h, n: H };
    factors[b] = { left: da, m };
    factors[bU] = { left: du, m };
  });
  // The readout is the sum over the steps of share_t * h_t. With one output a sequence the gradient
  // of b_y comes from no step; it is given to the last.
  const parts = back.share.map((share, i) => share * pass.hidden[i]);
  const atEnd = network.perStep ? back.dy : lastRowOnly(back.dy, K);
  if (network.setsState) addStateFactors(network, sequence, pass, back, factors);
  if (network.joins) addJoinFactors(network, sequence, pass, back, parts, factors);
  const read = network.joins && !network.perStep
    ? parts.map((_, i) => pass.read[i % width]) : network.joins ? pass.read : parts;
  factors["output.weight"] = { left: network.joins ? atEnd : back.dy, m: K, right: read, n: width };
  factors["output.bias"] = { left: atEnd, m: K };
  return factors;
}

/** Columns `from` to `from + n` of a matrix with rows of `width`, as a matrix of their own. */
function columnsOf(matrix, width, from, n) {
  const part = new Float64Array((matrix.length / width) * n);
  for (let i = 0; i < part.length; i++) part[i] = matrix[Math.floor(i / n) * width + from + (i % n)];
  return part;
}

/** The last row of a matrix with rows of `width`; zeros above it. */
function lastRowOnly(matrix, width) {
  return matrix.map((value, i) => (i >= matrix.length - width ? value : 0));
}

/** Factors of the layer that sets the first states: all of it at each direction's first step. */
function addStateFactors(network, sequence, pass, back, factors) {
  const { units: H, cell, staticSize: n } = network, { steps } = pass;
  const { raw } = firstStates(network, sequence.static), m = raw.length;
  const left = new Float64Array(steps * m);
  back.layers.forEach(({ start, direction }, place) => {
    const row = direction ? steps - 1 : 0;
    cell.initialStates.forEach((name, s) => {
      const at = (s * back.layers.length + place) * H;
      left.set(start[name], row * m + at);
    });
  });
  for (let i = 0; i < left.length; i++) left[i] /= (1 + Math.abs(raw[i % m])) ** 2;
  const right = Float64Array.from({ length: steps * n }, (_, i) => sequence.static[i % n]);
  factors["static_state.weight"] = { left, m, right, n };
  factors["static_state.bias"] = { left, m };
}

/** Factors of the layer that joins static features to the readout. */
function addJoinFactors(network, sequence, pass, back, parts, factors) {
  const { width: m, outputs: K, staticSize: S, perStep } = network, { steps } = pass;
  const V = network.weights["output.weight"], n = m + S;
  const left = new Float64Array(steps * m), right = new Float64Array(steps * n);
  for (let t = 0; t < steps; t++) {
    multiplyBack(V, K, m, back.dy, t * K, left, t * m);
    right.set(parts.subarray(t * m, (t + 1) * m), t * n);
    if (perStep || t === steps - 1) right.set(sequence.static, t * n + m);
  }
  for (let i = 0; i < left.length; i++) if (!(pass.read[perStep ? i : i % m] > 0)) left[i] = 0;
  factors["static_join.weight"] = { left, m, right, n };
  factors["static_join.bias"] = { left: perStep ? left : lastRowOnly(left, m), m };
}

/** Add the gradient of every parameter to `into`, {name: Float64Array}. */
export function addGradients(network, sequence, pass, back, into) {
  const factors = factorsOf(network, sequence, pass, back);
  for (const [name, { left, m, right, n, rows }] of Object.entries(factors)) {
    const sum = into[name];
    for (let t = 0; t < pass.steps; t++) {
      for (let i = 0; i < m; i++) {
        const factor = left[t * m + i];
        if (factor === 0) continue;
        if (rows) sum[rows[t] * m + i] += factor;
        else if (!right) sum[i] += factor;
        else for (let j = 0, at = i * n; j < n; j++) sum[at + j] += factor * right[t * n + j];
      }
    }
  }
}

/** Norm of a row of n numbers. */
function rowNorm(values, at, n) {
  let sum = 0;
  for (let i = at; i < at + n; i++) sum += values[i] * values[i];
  return Math.sqrt(sum);
}

/**
 * The loss of one sequence and its gradient for every state, input and parameter.
 *
 * @param target class code, or K standardised values or 0 and 1; one of these for each step, (T) or
 *   (T*K), if every step has an output: as `ExplainedSequence.target`
 * @returns {loss, losses (T), dy (T*K), share, layers: [{dh, da, du, direct, ...}], dx (T*I),
 *   gradients: {name: (its shape)}, contributions: {name: norm of each step's part (T)}}
 */
export function backward(network, sequence, pass, target) {
  const { losses, dy } = lossesOf(network, pass, target);
  const back = propagate(network, pass, dy), gradients = {}, contributions = {};
  for (const name of Object.keys(network.weights)) {
    gradients[name] = new Float64Array(network.weights[name].length);
  }
  addGradients(network, sequence, pass, back, gradients);
  const factors = factorsOf(network, sequence, pass, back);
  for (const [name, { left, m, right, n }] of Object.entries(factors)) {
    contributions[name] = new Float64Array(pass.steps).map((_, t) => {
      const norm = rowNorm(left, t * m, m); // 0 at an erased step, whose output is NaN
      return norm && right ? norm * rowNorm(right, t * n, n) : norm;
    });
  }
  return { loss: losses.reduce((sum, each) => sum + each, 0), losses, ...back, gradients, contributions };
}
