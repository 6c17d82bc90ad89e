// What the doctor measures of a network in training: gates, units, recurrent matrices, gradients, answers.
import { lossesOf } from "./backward.js";
import { followBack } from "./lags.js";
import { forward } from "./network.js";
import { normalNumbers, torchGenerator } from "./random.js";
import { sequenceAt } from "./tasks.js";
import { namesOfPlace } from "./units.js";

const SAMPLE = 64; // sequences that are examined
const GRADIENTS = 32; // of them for gradients

/**
 * Measure a network on its first training sequences.
 *
 * @returns {steps: median length, deviation: of the outputs, skill: share of the best constant's loss
 *   that it removes, layers: [{place, saturation: {name: [share, share at the upper end]}, deviations
 *   (H) of the units, radius: of U for a cell without gates, byLag: share of a gradient left (T)}]}
 */
export function measure(training, limits) {
  const { plan, network } = training;
  const count = Math.min(SAMPLE, plan.train.count);
  const rows = Array.from({ length: count }, (_, i) => sequenceAt(plan.train, i, plan.config));
  const passes = rows.map(({ sequence }) => forward(network, sequence));
  const lengths = rows.map(({ sequence }) => sequence.steps);
  return {
    steps: median(lengths),
    ...measureAnswers(network, passes, rows),
    layers: network.layers.map((layer, place) => ({
      place: namesOfPlace(plan.config, layer.layer, layer.direction).join(", "),
      saturation: measureSaturation(network, passes, place, limits),
      deviations: measureDeviations(network, passes, place),
      radius: network.cell.gates.length ? null : spectralRadius(layer.U, network.units),
      byLag: measureLags(network, passes.slice(0, GRADIENTS), place),
    })),
  };
}

function median(values) {
  const sorted = Array.from(values).sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** Loss, skill, and the deviation of the outputs; of classes without what all outputs have in common. */
function measureAnswers(network, passes, rows) {
  const { outputs: K, config } = network;
  const classes = config.task === "classification";
  const outputs = [], targets = [];
  let loss = 0;
  passes.forEach((pass, i) => {
    const own = rows[i].target;
    lossesOf(network, pass, own).losses.forEach((each) => (loss += each));
    for (let row = 0; row < pass.final.length / K; row++) {
      const y = Array.from(pass.final.subarray(row * K, (row + 1) * K));
      const mean = classes ? y.reduce((a, b) => a + b) / K : 0;
      outputs.push(y.map((value) => value - mean));
      targets.push(network.perStep ? own[row] : own);
    }
  });
  const deviation = Math.max(...Array.from({ length: K }, (_, k) => deviationOf(outputs.map((y) => y[k]))));
  const constant = classes ? entropy(targets, K) : deviationOf(targets) ** 2;
  return { loss: loss / targets.length, constant, deviation,
    skill: constant > 0 ? 1 - loss / targets.length / constant : null };
}

function entropy(targets, K) {
  const shares = Array.from({ length: K }, (_, k) =>
    targets.filter((target) => target === k).length / targets.length);
  return -shares.reduce((sum, share) => sum + (share ? share * Math.log(share) : 0), 0);
}

function deviationOf(values) {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
}

/** Share of the values of each gate and state that are at an end of their range, and at the upper one. */
function measureSaturation(network, passes, place, { END }) {
  const shares = {};
  for (const name of network.cell.traced) {
    const activation = network.cell.activations[name];
    if (activation !== "sigmoid" && activation !== "tanh") continue;
    let low = 0, high = 0, count = 0;
    for (const pass of passes) {
      for (const value of pass.layers[place].gates[name]) {
        count++;
        if (activation === "sigmoid" ? value < END : value < 2 * END - 1) low++;
        if (activation === "sigmoid" ? value > 1 - END : value > 1 - 2 * END) high++;
      }
    }
    shares[name] = [(low + high) / count, high / count];
  }
  return shares;
}

/** Deviation of each unit's state over all steps. */
function measureDeviations(network, passes, place) {
  return Array.from({ length: network.units }, (_, j) => {
    const values = [];
    for (const pass of passes) {
      for (let t = 0; t < pass.steps; t++) values.push(pass.layers[place].gates.h[t * network.units + j]);
    }
    return deviationOf(values);
  });
}

/** The largest absolute eigenvalue of a matrix (n, n): |M^k|^(1/k) for k = 2^20, by repeated squaring. */
export function spectralRadius(matrix, n) {
  let power = Float64Array.from(matrix);
  let log = 0; // of the factor that was taken out of the power
  for (let doubling = 0; doubling <= 20; doubling++) {
    const norm = Math.sqrt(power.reduce((sum, value) => sum + value * value, 0));
    if (norm === 0) return 0;
    log += Math.log(norm) / 2 ** doubling;
    power = power.map((value) => value / norm);
    const square = new Float64Array(n * n);
    for (let i = 0; i < n; i++) {
      for (let k = 0; k < n; k++) {
        const factor = power[i * n + k];
        for (let j = 0; j < n; j++) square[i * n + j] += factor * power[k * n + j];
      }
    }
    power = square;
  }
  return Math.exp(log);
}

/** Share of a random gradient's norm that is left after k steps back: median over the sequences. */
function measureLags(network, passes, place) {
  const { units: H } = network;
  const sent = normalNumbers(torchGenerator(0), passes.length * H, true);
  const shares = passes.map((pass, row) => {
    const { steps } = pass;
    const order = Array.from({ length: steps }, (_, k) =>
      (network.layers[place].direction ? k : steps - 1 - k));
    const direct = new Float64Array(steps * H);
    direct.set(sent.subarray(row * H, (row + 1) * H), order[0] * H);
    const norms = followBack(network, place, pass, direct, order, 0);
    return norms.map((norm) => norm / norms[0]);
  });
  const most = Math.max(...shares.map((each) => each.length));
  return Array.from({ length: most }, (_, lag) =>
    median(shares.filter((each) => each.length > lag).map((each) => each[lag])));
}
