// Backpropagation through time of one sequence, step by step, as in elman.explain.backward. dx is
// short for dL/dx. The loss is that of `elman.explain.bptt`: cross-entropy or mean binary
// cross-entropy in nats, or the mean squared error of standardised values; with an output at every
// step, the sum over the steps. Nothing goes back through a clamped value; an erased step hands the
// gradient of its states on as it is.

import { contributionNorms, factorsOf, sumFactors } from "./gradients.js";
import { dropOut } from "./layers.js";
import { multiplyBack } from "./linear.js";
import { joinBack } from "./network.js";

/**
 * Loss of one row of outputs, (K); fills dy, (K), its gradient.
 *
 * @param target class code, below 0 for a step without a label; or K numbers, NaN for without
 * @param smoothing share of a class target that is spread evenly over all classes, in a training
 */
function lossOfRow(task, y, target, dy, smoothing = 0) {
  const K = y.length;
  if (task === "classification") {
    if (target < 0) return 0;
    let largest = -Infinity, total = 0;
    for (const value of y) if (value > largest) largest = value;
    for (const value of y) total += Math.exp(value - largest);
    let loss = 0;
    for (let k = 0; k < K; k++) {
      const share = (k === target ? 1 - smoothing : 0) + smoothing / K;
      dy[k] = Math.exp(y[k] - largest) / total - share;
      if (share) loss += share * (Math.log(total) + largest - y[k]);
    }
    return loss;
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
export function lossesOf(network, pass, target, smoothing = 0) {
  const { outputs: K, config, perStep } = network, { final, steps } = pass;
  const losses = new Float64Array(steps), dy = new Float64Array(final.length);
  const codes = config.task === "classification";
  for (let t = perStep ? 0 : steps - 1; t < steps; t++) {
    if (perStep && pass.changes.erased.has(t)) continue; // it has no output
    const at = perStep ? t * K : 0;
    const own = codes ? (perStep ? target[t] : Number(target))
      : typeof target === "number" ? [target] : Array.from(target.slice(at, at + K));
    const y = final.subarray(at, at + K);
    losses[t] = lossOfRow(config.task, y, own, dy.subarray(at, at + K), smoothing);
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
  const { embedded, between, read: mask } = pass.changes.dropout;
  const readout = joinBack(network, pass, dropOut(read, mask)), share = outputShares(network, pass);
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
    above = dropOut(below, layer ? between?.[layer - 1] : embedded);
  }
  const repeated = perStep ? dy : Float64Array.from({ length: steps * K }, (_, i) => dy[i % K]);
  return { dy: repeated, share, layers, dx: above };
}

/** Add the gradient of every parameter to `into`, {name: Float64Array}; `back` from `propagate`. */
export function addGradients(network, sequence, pass, back, into) {
  sumFactors(factorsOf(network, sequence, pass, back), pass.steps, into);
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
  const back = propagate(network, pass, dy), gradients = {};
  for (const [name, { length }] of Object.entries(network.weights)) {
    gradients[name] = new Float64Array(length);
  }
  const factors = factorsOf(network, sequence, pass, back);
  sumFactors(factors, pass.steps, gradients);
  return { loss: losses.reduce((sum, each) => sum + each, 0), losses, ...back, gradients,
    contributions: contributionNorms(factors, pass.steps) };
}
