/** Runs trainings of test_lab_training.py in the page's own modules. */
import { addGradients, lossesOf, propagate } from "./backward.js";
import { planTraining } from "./breaks.js";
import { diagnose } from "./doctor.js";
import { forward } from "./network.js";
import { readTable } from "./ownFile.js";
import { readTask, sequenceAt } from "./tasks.js";
import { emptyGradients, makeTraining, trainStep } from "./train.js";

const known = {};

/** Train for some steps: losses, norms and rates of each, records of the epochs, and the weights. */
export function runTraining(task, choices, steps) {
  const read = (known[task.name] ??= readTask(task));
  const training = makeTraining(planTraining(read, choices));
  const first = asLists(training.network.weights);
  const trained = [];
  while (trained.length < steps && !training.done) trained.push({ ...trainStep(training) });
  return { steps: trained, history: training.history, first, weights: asLists(training.network.weights),
    failed: Boolean(training.failed) };
}

/** What the doctor says after some steps, and what it has measured. */
export function runDoctor(task, choices, steps) {
  const read = (known[task.name] ??= readTask(task));
  const training = makeTraining(planTraining(read, choices));
  for (let step = 0; step < steps && !training.done; step++) trainStep(training);
  const { first, findings, measured } = diagnose(training, read.doctor);
  return { first: first?.name ?? null, findings: findings.map(({ name, severity }) => [name, severity]),
    measured, weights: asLists(training.network.weights), last: training.last };
}

function asLists(weights) {
  return Object.fromEntries(Object.entries(weights).map(([name, values]) => [name, Array.from(values)]));
}

/** What becomes of a training whose weights are so large that the loss overflows. */
export function runSpoilt(task, choices) {
  const training = makeTraining(planTraining(readTask(task), choices));
  for (const values of Object.values(training.network.weights)) values.fill(1e200);
  trainStep(training);
  return { first: diagnose(training, task.doctor).first.name, done: training.done, steps: training.step };
}

/** The gradient of some weights of each matrix for one sequence, and by differences of the loss. */
export function checkGradients(task, choices) {
  const { network, plan } = makeTraining(planTraining(readTask(task), choices));
  const { sequence, target } = sequenceAt(plan.train, 0, plan.config);
  const lossOf = () => lossesOf(network, forward(network, sequence), target).losses.at(-1);
  const pass = forward(network, sequence);
  const gradients = emptyGradients(network);
  addGradients(network, sequence, pass, propagate(network, pass, lossesOf(network, pass, target).dy), gradients);
  const own = [], numerical = [];
  for (const [name, values] of Object.entries(network.weights)) {
    for (let i = 0; i < values.length; i += Math.ceil(values.length / 20)) {
      const value = values[i];
      values[i] = value + 1e-5;
      const above = lossOf();
      values[i] = value - 1e-5;
      numerical.push((above - lossOf()) / 2e-5);
      values[i] = value;
      own.push(gradients[name][i]);
    }
  }
  return { own, numerical };
}

/** A file of the user's own, as the page reads it; or what it says about it. */
export function readOwn(text) {
  try {
    const task = readTable(text, "data.csv");
    known[task.name] = task;
    const plain = ({ lengths, x, target }) => ({ lengths: Array.from(lengths), x: Array.from(x),
      target: Array.from(target) });
    return { ...task, train: plain(task.train), test: plain(task.test) };
  } catch (error) {
    return { error: error.message };
  }
}
