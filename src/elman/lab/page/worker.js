// The worker that trains: it takes a task and choices, trains while it is told to, and reports.
import { planTraining } from "./breaks.js";
import { diagnose } from "./doctor.js";
import { readTask } from "./tasks.js";
import { makeTraining, trainStep } from "./train.js";

const REPORT = 100; // milliseconds of training between two reports
const PATIENCE = 2000; // milliseconds after which a report is made even if the page is busy
const KEPT_EPOCHS = 20; // epochs whose weights are kept

let task = null;
let number = 0; // of the training, which the page has given it
let training = null;
let running = false;
let finding = null;
let examined = -1; // number of epochs that were done at the last diagnosis
let losses = []; // of the batches since the last report
let kept = [];
let digits = 30; // binary digits before the zeros that a kept epoch has at most
let reported = 0;
let awaited = false; // for the page to take the last report
let busy = 0; // milliseconds of training in all

const weightsNow = () => Object.fromEntries(Object.entries(training.network.weights)
  .map(([name, values]) => [name, Float32Array.from(values)]));

/** Whether all binary digits of an epoch but the first few are 0, as in elman.train.kept. */
function isRound(epoch) {
  const zeros = epoch ? Math.log2(epoch & -epoch) : 0;
  return epoch < 2 ** digits || epoch < 2 ** (digits + zeros);
}

/** Keep the weights of this epoch if it is due; thin out, the late epochs more than the first. */
function keepEpoch() {
  const epoch = training.history.length;
  if (!isRound(epoch) || kept.some((each) => each.epoch === epoch)) return;
  kept.push({ epoch, weights: weightsNow() });
  while (kept.length > KEPT_EPOCHS + 1) {
    digits -= 1;
    kept = kept.filter((each) => isRound(each.epoch));
  }
}

function beginTraining(message) {
  task = readTask(message.task);
  number = message.number;
  training = makeTraining(planTraining(task, message.choices));
  running = false;
  [finding, examined, losses, kept, digits, busy] = [null, -1, [], [], 30, 0];
  keepEpoch();
  report("ready");
}

/** Train for a while, and go on as long as nobody says pause. */
function work() {
  if (!running) return;
  const begun = performance.now();
  do {
    losses.push(trainStep(training).loss);
    if (training.batch === 0 || training.done) keepEpoch();
  } while (!training.done && performance.now() - begun < REPORT / 2);
  busy += performance.now() - begun;
  if (training.done) running = false;
  const age = performance.now() - reported;
  if (!running || (age > REPORT && (!awaited || age > PATIENCE))) report(stateNow());
  if (running) setTimeout(work, 0);
}

function stateNow() {
  return training.failed ? "failed" : training.done ? "done" : running ? "running" : "paused";
}

function report(state) {
  if (examined !== training.history.length || state !== "running") {
    const found = diagnose(training, task.doctor);
    finding = found.first ?? null;
    examined = training.history.length;
  }
  postMessage({
    number, state, finding, losses, busy,
    weights: weightsNow(), history: training.history, last: training.last,
    step: training.step, steps: training.steps, epoch: training.epoch, batch: training.batch,
    batches: training.batches, epochs: training.plan.settings.epochs,
    kept: state === "running" ? null : kept,
  });
  losses = [];
  reported = performance.now();
  awaited = true;
}

onmessage = ({ data }) => {
  if (data.type === "start") beginTraining(data);
  else if (data.type === "taken") awaited = false;
  else if (data.type === "run" && !training.done && !running) {
    running = true;
    work();
  } else if (data.type === "pause") {
    running = false;
    report(stateNow());
  } else if (data.type === "step" && !training.done) {
    running = false;
    losses.push(trainStep(training).loss);
    if (training.batch === 0 || training.done) keepEpoch();
    report(stateNow());
  }
};
