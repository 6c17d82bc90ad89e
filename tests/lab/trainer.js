/** Runs trainings of test_lab_training.py in the page's own modules. */
import { planTraining } from "./breaks.js";
import { diagnose } from "./doctor.js";
import { readTask } from "./tasks.js";
import { makeTraining, trainStep } from "./train.js";

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
