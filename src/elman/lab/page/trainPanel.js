// Train in the page: choose a task and a network, start, pause, step, break it, and see what becomes of it.

/* global WORKER_SOURCE: the script of the page, see elman.lab.page */
import { BREAKS, describeLonger, planTraining } from "./breaks.js";
import { makeCurves } from "./curves.js";
import { countOf, element, fill, formatNumber } from "./dom.js";
import { readTable } from "./ownFile.js";
import { readTask } from "./tasks.js";
import { makeTraining } from "./train.js";
import { trainedRun } from "./trainedRun.js";

const LARGEST = 32;
const CELL_CHOICES = [
  ["rnn tanh", "simple RNN (tanh)"], ["rnn relu", "simple RNN (ReLU)"], ["gru", "GRU"], ["lstm", "LSTM"],
];
const STATES = {
  ready: "Not started.", running: "Training.", paused: "Paused.", done: "All epochs are done.",
  failed: "Stopped: the loss is no longer a number.",
};

/** Controls, curves and the doctor of a training in the page. */
export const trainPanel = {
  id: "train",
  title: "Train in the page",
  help: "Choose a task and a network and press Start: it is trained here, by the same steps as elman train. "
    + "All other panels show the network as it learns. A step is one batch of sequences; an epoch is all of "
    + "them, once.",

  when(scene) {
    return this.lab.payload.tasks.length > 0;
  },

  make(root, lab) {
    this.lab = lab;
    this.tasks = new Map(lab.payload.tasks.map((task) => [task.name, task]));
    this.index = lab.payload.runs.length;
    this.report = null;
    this.losses = [];
    this.number = 0; // of the training
    this.isOn = lab.payload.runs.length === 0; // whether the page shows the network that trains
    if (!this.tasks.size) return;
    this.makeControls(root);
    this.loss = makeCurves({ onPick() {}, onKey() {} });
    this.accuracy = makeCurves({ onPick() {}, onKey() {} });
    root.append(element("div", { class: "columns" }, this.loss.root, this.accuracy.root), this.breaks,
      this.repeat);
    lab.onState(() => this.follow());
    this.follow();
  },

  makeControls(root) {
    const change = (name, read) => (event) => this.choose({ [name]: read(event.target) });
    const select = (id, label, options, onchange) => {
      const control = element("select", { id, onchange },
        ...options.map(([value, text]) => element("option", { value }, text)));
      return { control, field: element("label", { for: id, class: "field" },
        element("span", {}, label), control) };
    };
    const number = (id, label, min, max, name) => {
      const control = element("input", { id, type: "number", min, max, onchange: (event) => {
        const value = Math.round(Number(event.target.value));
        this.choose({ [name]: Math.max(min, Math.min(max, Number.isFinite(value) ? value : min)) });
      } });
      return { control, field: element("label", { for: id, class: "field narrow" },
        element("span", {}, label), control) };
    };
    const names = [...this.tasks.keys()].map((name) => [name, name]);
    this.fields = {
      task: select("train-task", "Task", names, (event) => this.lab.setState({ task: event.target.value })),
      cell: select("train-cell", "Cell", CELL_CHOICES, (event) => {
        const [cell, nonlinearity = "tanh"] = event.target.value.split(" ");
        this.choose({ cell, nonlinearity });
      }),
      hidden_size: number("train-units", `Units (1 to ${LARGEST})`, 1, LARGEST, "hidden_size"),
      num_layers: select("train-layers", "Layers", [[1, "1"], [2, "2"]],
        change("num_layers", ({ value }) => Number(value))),
      bidirectional: select("train-direction", "Reads", [["no", "forward"], ["yes", "in both directions"]],
        change("bidirectional", ({ value }) => value === "yes")),
      readout: select("train-readout", "Answers from", [["last", "the last state"],
        ["mean", "the mean of all states"], ["max", "the largest states"]],
      change("readout", ({ value }) => value)),
      seed: number("train-seed", "Seed", 0, 2 ** 32 - 1, "seed"),
    };
    const file = element("input", { id: "train-file", type: "file", accept: ".csv,.tsv,.txt",
      onchange: () => this.readFile(file.files[0]) });
    this.fields.file = { control: file, field: element("label", { for: "train-file", class: "field" },
      element("span", {}, "Your own file (CSV): a sequence a row, its label last"), file) };
    this.description = element("p", { class: "help", id: "train-description" });
    this.start = element("button", { type: "button", class: "primary", id: "train-start",
      onclick: () => this.toggle() });
    this.step = element("button", { type: "button", id: "train-step",
      onclick: () => this.send({ type: "step" }) }, "One step");
    this.again = element("button", { type: "button", id: "train-again",
      onclick: () => this.restart() }, "Start over");
    this.progress = element("progress", { max: 1, value: 0, "aria-label": "Share of all steps" });
    this.status = element("p", { class: "reading", id: "train-status" });
    this.doctor = element("p", { id: "train-doctor", role: "status" });
    this.makeBreaks();
    this.repeat = element("p", { class: "help", id: "train-repeat" });
    root.append(element("div", { class: "row" }, ...Object.values(this.fields).map(({ field }) => field)),
      this.description, element("div", { class: "row" }, this.start, this.step, this.again, this.progress),
      this.status, this.doctor);
  },

  makeBreaks() {
    this.switches = BREAKS.map((each) => {
      const box = element("input", { type: "checkbox", id: `train-break-${each.id}`, onchange: () =>
        this.choose({ breaks: this.switches.filter((one) => one.box.checked).map((one) => one.id) }) });
      const text = element("span", { class: "help" });
      return { ...each, box, note: text,
        field: element("label", { for: box.id, class: "break" }, box, element("span", {},
          element("strong", {}, each.title), " ", text)) };
    });
    this.breaks = element("fieldset", { class: "breaks" }, element("legend", {}, "Break it"),
      ...this.switches.map(({ field }) => field));
  },

  /** Add a file as a task and choose it, or say why it cannot be read. */
  async readFile(file) {
    if (!file) return;
    try {
      const task = readTable(await file.text(), file.name);
      if (!this.tasks.has(task.name)) {
        this.fields.task.control.append(element("option", { value: task.name }, task.name));
      }
      this.tasks.set(task.name, { ...task, doctor: this.lab.payload.tasks[0].doctor });
      this.asked = null; // a changed file may have the same name
      this.lab.setState({ task: task.name });
    } catch (error) {
      fill(this.description, element("strong", { role: "alert" }, error.message));
    }
  },

  /** The task of the state, or the first one. */
  taskNow() {
    return this.tasks.get(this.lab.getState().task) ?? this.tasks.values().next().value;
  },

  /** The choices of the state, with what the task says where nothing was chosen. */
  choices() {
    const { config, settings } = this.taskNow();
    const { cell, nonlinearity, hidden_size, num_layers, bidirectional, readout } = config;
    return { cell, nonlinearity, hidden_size, num_layers, bidirectional, readout,
      seed: settings.seed, breaks: [], ...this.lab.getState().train };
  },

  choose(changes) {
    this.lab.setState({ train: { ...this.lab.getState().train, ...changes } });
  },

  /** Start anew if the state asks for another task or network. */
  follow() {
    const asked = JSON.stringify([this.taskNow().name, this.choices()]);
    if (asked === this.asked) return;
    this.asked = asked;
    this.restart();
  },

  restart() {
    const choices = this.choices();
    this.task = readTask(this.taskNow());
    this.plan = planTraining(this.task, choices);
    this.losses = [];
    this.report = null;
    this.showControls(choices);
    const { network, history } = makeTraining(this.plan);
    this.show(network.weights, history, []);
    this.number += 1; // reports of an earlier training may still be on their way
    this.send({ type: "start", task: this.taskNow(), choices, number: this.number });
  },

  send(message) {
    if (!this.worker) {
      this.worker = new Worker(URL.createObjectURL(new Blob([WORKER_SOURCE], { type: "text/javascript" })));
      this.worker.onmessage = ({ data }) => this.receive(data);
    }
    if (message.type === "run" || message.type === "step") this.turnOn();
    this.worker.postMessage(message);
  },

  /** Show the network that trains in all panels. */
  turnOn() {
    if (this.isOn) return;
    this.isOn = true;
    this.show(this.weights, [], []);
    this.lab.setState({ run: this.index, epoch: null, example: 0, edits: {}, erased: [], clamps: [] });
  },

  toggle() {
    const isRunning = this.report?.state === "running";
    this.send({ type: isRunning ? "pause" : "run" });
    if (this.report && !isRunning) this.report.state = "running"; // the next report says when it has paused
    this.showStatus();
  },

  receive(report) {
    if (report.number !== this.number) return;
    this.report = report;
    this.losses.push(...report.losses);
    this.show(report.weights, report.history, report.kept ?? []);
    requestAnimationFrame(() => this.worker.postMessage({ type: "taken" }));
  },

  show(weights, history, kept) {
    this.weights = weights;
    if (this.isOn) this.lab.setRun(this.index, trainedRun(this.plan, this.task, weights, history, kept));
    else this.lab.redraw();
  },

  showControls(choices) {
    const { fields } = this;
    fields.task.control.value = this.task.name;
    fields.cell.control.value = choices.cell === "rnn" ? `rnn ${choices.nonlinearity}` : choices.cell;
    fields.bidirectional.control.value = choices.bidirectional ? "yes" : "no";
    for (const name of ["hidden_size", "num_layers", "readout", "seed"]) {
      fields[name].control.value = choices[name];
    }
    fields.readout.field.hidden = this.plan.config.readout === "every";
    const { train, test, settings } = this.plan;
    fill(this.description, `${this.task.name}: ${this.task.description}. `
      + `${countOf(train.count, "sequence")} to learn from, ${countOf(test.count, "sequence")} to test; `
      + `batches of ${settings.batch_size}, ${countOf(settings.epochs, "epoch")}. `
      + (this.task.rows ?? []).join(" "));
    for (const { box, id, note, text, barrier } of this.switches) {
      const why = barrier(this.task, this.plan.config);
      box.disabled = why !== null;
      box.checked = choices.breaks.includes(id) && !why;
      fill(note, why ? `Does not apply: ${why}.`
        : id === "long" ? `${capital(describeLonger(this.task))}. ${text}` : text);
    }
    fill(this.repeat, ...this.repeatText(choices));
  },

  /** The command that trains the same network, where there is one. */
  repeatText({ cell, nonlinearity, hidden_size, num_layers, bidirectional, readout, seed }) {
    if (this.plan.breaks.length || seed !== 0 || this.task.rows) return [];
    const more = [nonlinearity === "relu" && cell === "rnn" ? " --nonlinearity relu" : "",
      num_layers > 1 ? ` --num-layers ${num_layers}` : "",
      bidirectional ? " --bidirectional" : " --no-bidirectional",
      readout === "last" || readout === "every" ? "" : ` --readout ${readout}`];
    return ["The same training by the command: ", element("code", {},
      `elman train ${this.task.name} --cell ${cell} --hidden-size ${hidden_size}${more.join("")}`)];
  },

  draw() {
    this.showStatus();
    this.drawCurves();
  },

  showStatus() {
    const { report, start, step } = this;
    const state = report?.state ?? "ready";
    const isOver = state === "done" || state === "failed";
    fill(start, state === "running" ? "Pause" : report?.step ? "Go on" : "Start");
    start.disabled = step.disabled = isOver;
    this.progress.value = report ? report.step / report.steps : 0;
    fill(this.status, STATES[state], ...(report?.last ? [` ${describeStep(report)}`] : []));
    fill(this.doctor, ...describeFinding(report, this.plan));
    this.doctor.className = report?.finding?.severity ?? "calm";
  },

  drawCurves() {
    const { history = [], batches = 1 } = this.report ?? {};
    const count = this.losses.length;
    const x = Array.from({ length: count }, (_, i) => (i + 1) / batches);
    const at = (name) => x.map((_, i) =>
      ((i + 1) % batches ? null : history[(i + 1) / batches - 1]?.[name] ?? null));
    const batch = { name: "each batch", colour: "line", values: this.losses.map(finiteOrGap), width: 1 };
    const curves = (name) => [{ name: "training", colour: "blue", values: at(name) },
      { name: "test", colour: "orange", values: at(`test_${name}`) }];
    const loss = [batch, ...curves("loss")];
    const score = this.plan.config.task === "regression" ? "rmse" : "accuracy";
    const common = { x: count ? x : [0, 1], xLabel: "epoch", log: false };
    this.loss.draw({ ...common, title: "Loss", yLabel: "loss", curves: loss, range: [0, highestOf(loss)],
      label: describeCurve("Loss", history, "loss") });
    const right = curves(score);
    this.accuracy.draw({ ...common, title: score === "rmse" ? "Error" : "Accuracy",
      yLabel: score === "rmse" ? "RMSE" : "share right", curves: right,
      range: [0, score === "rmse" ? highestOf(right) : 1],
      label: describeCurve(score === "rmse" ? "Error" : "Accuracy", history, score) });
  },
};

const capital = (text) => text[0].toUpperCase() + text.slice(1);

const finiteOrGap = (value) => (Number.isFinite(value) ? value : null);

/** The top of an axis from 0: a little over the values, of which single outliers may be cut off. */
function highestOf(curves) {
  const values = curves.flatMap((curve) => curve.values).filter((value) => value !== null);
  const sorted = values.sort((a, b) => a - b);
  return 1.1 * (sorted[Math.floor(0.99 * (sorted.length - 1))] || 1);
}

function describeCurve(title, history, name) {
  const last = history.at(-1);
  if (!last) return `${title} by epoch: no epoch is done yet.`;
  return `${title} by epoch, of training and test sequences. After epoch ${last.epoch}: `
    + `${formatNumber(last[name])} and ${formatNumber(last[`test_${name}`])}.`;
}

/** Where the training is, and its last step, in words. */
function describeStep({ last, step, steps, epoch, epochs, history, busy }) {
  const count = (number) => number.toLocaleString("en");
  const parts = [`Epoch ${epoch} of ${epochs}, step ${count(step)} of ${count(steps)}: `
    + `loss of the batch ${formatNumber(last.loss)}, gradient norm ${formatNumber(last.norm)}, `
    + `learning rate ${formatNumber(last.rate, 2)}.`];
  const record = history.at(-1);
  if (record) {
    const score = record.accuracy === undefined ? ["RMSE", "rmse"] : ["accuracy", "accuracy"];
    parts.push(`After epoch ${record.epoch}: ${score[0]} ${formatNumber(record[score[1]])} in training, `
      + `${formatNumber(record[`test_${score[1]}`])} on the test sequences.`);
  }
  if (busy) parts.push(`${formatNumber(busy / 1000, 2)} s of computing.`);
  return parts.join(" ");
}

/** The doctor's first finding and what to do, in words. */
function describeFinding(report, plan) {
  if (!report) return ["Doctor: looks at the network before the first step and after every epoch."];
  if (!report.finding) {
    return [`Doctor: no fault was found${report.step ? "" : " before the first step"}.`];
  }
  const { name, places, message, remedy, severity } = report.finding;
  const cause = BREAKS.find((each) => plan.breaks.includes(each.id) && each.causes.includes(name));
  const where = places.length ? ` (${places.join("; ")})` : "";
  return [element("strong", {}, `Doctor: ${name.replaceAll("_", " ")}${where} (${severity}).`),
    ` ${capital(message)}. `,
    cause ? `This comes from the switch “${cause.title}”: switch it off.` : remedy];
}
