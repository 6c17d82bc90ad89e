// Training in the page: the loop of elman.train with its order of batches, dropout, loss and optimiser.
import { addGradients, lossesOf, propagate } from "./backward.js";
import { initialWeights } from "./initial.js";
import { indexOfLargest } from "./linear.js";
import { forward, makeNetwork } from "./network.js";
import { adamStep, clipGradients, learningRate, makeAdam } from "./optimizer.js";
import {
  keepMask, normalNumbers, numpyGenerator, permutation, randomDouble, torchGenerator,
} from "./random.js";
import { sequenceAt } from "./tasks.js";

const BUCKET = 16; // batches that are sorted by length together
const UNKNOWN = 1; // token id

/**
 * A training that has not begun.
 *
 * @param plan {config, settings, train, test: splits as the network reads them, biases: first values
 *   by gate, outputs}; see `planTraining` in breaks.js
 * @returns {plan, network, epoch: 1, batch: 0, step: 0, batches, steps, history: [], last: null,
 *   done: false, ...}
 */
export function makeTraining(plan) {
  const { config, settings, train } = plan;
  const generator = torchGenerator(settings.seed);
  const network = makeNetwork(config, doubles(initialWeights(config, generator, plan.biases)), plan.outputs);
  const batches = Math.ceil(train.count / settings.batch_size);
  const training = {
    plan, network, generator, batches, steps: settings.epochs * batches,
    adam: makeAdam(network.weights, settings.weight_decay),
    unknown: unknownProbabilities(plan),
    order: numpyGenerator(settings.seed),
    epoch: 1, batch: 0, step: 0, sums: null, history: [], last: null, done: false,
  };
  beginEpoch(training);
  return training;
}

/** Weights in doubles, so that steps that are smaller than a float's last digit add up. */
function doubles(weights) {
  return Object.fromEntries(
    Object.entries(weights).map(([name, values]) => [name, Float64Array.from(values)]));
}

function beginEpoch(training) {
  const { train, settings } = training.plan;
  training.batch = 0;
  training.sums = makeSums();
  training.norms = [];
  training.plans = planBatches(train.lengths, settings.batch_size, training.order);
}

/** Sums over predictions: of the losses, of those that are right, of squared errors, and their number. */
function makeSums() {
  return { loss: 0, right: 0, squares: 0, count: 0 };
}

/**
 * The sequences of each batch of an epoch, [Int32Array]: shuffled, each run of 16 batches sorted by
 * length, and the batches shuffled again, as elman.data.batches.batch_randomly.
 */
export function planBatches(lengths, size, generator) {
  const order = permutation(generator, lengths.length);
  for (let at = 0; at < order.length; at += size * BUCKET) {
    const run = order.subarray(at, at + size * BUCKET);
    run.set(Int32Array.from(Array.from(run).sort((i, j) => lengths[i] - lengths[j])));
  }
  const batches = [];
  for (let at = 0; at < order.length; at += size) batches.push(order.subarray(at, at + size));
  return Array.from(permutation(generator, batches.length), (i) => batches[i]);
}

/**
 * One step of the optimiser, on one batch. At the end of an epoch the test split is evaluated.
 *
 * @returns {loss, norm, rate} of the batch; `training.done` is true if it was the last, or if the loss
 *   or the gradient is no longer finite
 */
export function trainStep(training) {
  const { plan, network } = training;
  const { settings } = plan;
  const rate = learningRate(settings, training.step, training.steps);
  const batch = readBatch(training, training.plans[training.batch]);
  const gradients = emptyGradients(network);
  const sums = makeSums();
  const counted = labelledOf(network, batch);
  for (const row of batch) addSequence(training, row, counted, gradients, sums);
  const loss = sums.loss / sums.count;
  const norm = clipGradients(gradients, settings.clip_norm);
  training.last = { loss, norm, rate, epoch: training.epoch, batch: training.batch };
  training.norms.push(norm);
  if (!Number.isFinite(loss) || !Number.isFinite(norm)) {
    training.done = true;
    training.failed = true;
    return training.last;
  }
  adamStep(training.adam, gradients, rate);
  for (const key of Object.keys(sums)) training.sums[key] += sums[key];
  training.step++;
  training.batch++;
  if (training.batch === training.batches) endEpoch(training, rate);
  return training.last;
}

function endEpoch(training, rate) {
  const { plan } = training;
  const mean = training.norms.reduce((sum, norm) => sum + norm, 0) / training.norms.length;
  const record = { epoch: training.epoch, ...summarise(training.sums, plan), learning_rate: rate,
    gradient_norm: mean };
  const tested = evaluateSplit(training.network, plan.test, plan);
  for (const [name, value] of Object.entries(tested)) record[`test_${name}`] = value;
  training.history.push(record);
  training.done = training.epoch === plan.settings.epochs;
  training.epoch += training.done ? 0 : 1;
  if (!training.done) beginEpoch(training);
}

/** Mean loss, and accuracy or RMSE in the target's unit. */
function summarise(sums, { config, outputs }) {
  const loss = sums.loss / sums.count;
  if (config.task === "regression") {
    return { loss, rmse: Math.sqrt(sums.squares / sums.count) * outputs.scale[0] };
  }
  return { loss, accuracy: sums.right / sums.count };
}

/** The metrics of a split, without dropout and label smoothing: {loss, accuracy or rmse}. */
export function evaluateSplit(network, split, plan) {
  const sums = makeSums();
  for (let i = 0; i < split.count; i++) {
    const { sequence, target } = sequenceAt(split, i, plan.config);
    const pass = forward(network, sequence);
    countAnswers(network, pass, target, lossesOf(network, pass, target).losses, sums);
  }
  return summarise(sums, plan);
}

/** Gradients of zero for every weight. */
export function emptyGradients(network) {
  return Object.fromEntries(
    Object.entries(network.weights).map(([name, { length }]) => [name, new Float64Array(length)]));
}

/** The number of labels of a batch, by which its loss is divided. */
function labelledOf(network, batch) {
  if (!network.perStep) return batch.length;
  return batch.reduce((sum, { target }) => sum + target.filter((code) => code >= 0).length, 0);
}

function addSequence({ plan, network }, { sequence, target, dropout }, counted, gradients, sums) {
  const pass = forward(network, sequence, { dropout });
  const { losses, dy } = lossesOf(network, pass, target, plan.settings.label_smoothing);
  countAnswers(network, pass, target, losses, sums);
  for (let i = 0; i < dy.length; i++) dy[i] /= counted;
  addGradients(network, sequence, pass, propagate(network, pass, dy), gradients);
}

function countAnswers(network, pass, target, losses, sums) {
  const { outputs: K, perStep, config } = network;
  const first = perStep ? 0 : pass.steps - 1;
  for (let t = first; t < pass.steps; t++) {
    const y = pass.final.subarray((t - first) * K, (t - first + 1) * K);
    sums.loss += losses[t];
    if (config.task === "regression") {
      sums.squares += (y[0] - target) ** 2;
    } else {
      const code = perStep ? target[t] : target;
      if (code < 0) continue;
      if (indexOfLargest(y) === code) sums.right++;
    }
    sums.count++;
  }
}

/** The sequences of a batch with what is random about them, drawn in elman's order. */
function readBatch(training, index) {
  const { plan, generator, unknown } = training;
  const { config, settings } = plan;
  const rows = Array.from(index, (i) => sequenceAt(plan.train, i, config));
  const time = rows.reduce((most, { sequence }) => Math.max(most, sequence.steps), 0);
  if (unknown) {
    for (const { sequence } of rows) {
      const drawn = Array.from({ length: time }, () => randomDouble(generator));
      sequence.x = sequence.x.map((code, t) => (drawn[t] < unknown[code] ? UNKNOWN : code));
    }
  }
  if (settings.noise && !config.vocabulary_size) {
    const width = config.input_size;
    const noise = normalNumbers(generator, rows.length * time * width);
    rows.forEach(({ sequence }, row) => {
      const from = row * time * width;
      sequence.x = sequence.x.map((value, i) => value + settings.noise * noise[from + i]);
    });
  }
  if (settings.dropout) drawDropout(training, rows, time);
  return rows;
}

/** Draw the masks of a batch, (B, T, ...) each with padding, and cut out those of each sequence. */
function drawDropout({ plan, network, generator }, rows, time) {
  const { config, settings } = plan;
  const keep = 1 - settings.dropout;
  const draw = (steps, width) => {
    const mask = keepMask(generator, rows.length * steps * width, keep);
    return (row, { steps: own }) => {
      const from = row * steps * width;
      return Float64Array.from(mask.subarray(from, from + Math.min(own, steps) * width), (m) => m / keep);
    };
  };
  const embedded = config.vocabulary_size ? draw(time, config.embedding_size) : () => null;
  const between = Array.from({ length: config.num_layers - 1 }, () => draw(time, network.width));
  const read = draw(network.perStep ? time : 1, network.width);
  rows.forEach((row, i) => {
    row.dropout = {
      embedded: embedded(i, row.sequence),
      between: between.map((mask) => mask(i, row.sequence)),
      read: read(i, row.sequence),
    };
  });
}

/** Probability that a token is read as unknown in the training, by its id; null for numbers. */
function unknownProbabilities({ config, settings, train }) {
  if (!config.vocabulary_size || !settings.token_dropout) return null;
  const counts = new Float64Array(config.vocabulary_size);
  for (const code of train.x) counts[code]++;
  return counts.map((count, code) =>
    (code > UNKNOWN ? settings.token_dropout / (settings.token_dropout + count) : 0));
}
