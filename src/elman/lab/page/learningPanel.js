// How the network learned: its epochs, the curves of the training, and how far the gradient reaches.

import { logRange, makeCurves } from "./curves.js";
import { element, fill, formatNumber } from "./dom.js";
import {
  finalEpochOf, keptEpochsOf, lastEpochOf, makeEpochSlider, moveEpoch, showEpoch, shownEpochOf,
} from "./keptEpochs.js";
import { placesOf } from "./toolbar.js";

const EPOCH_PAUSE = 400; // milliseconds for each epoch when they are played
const LITTLE_LEFT = 0.01; // the share of the gradient that the text speaks of
const MOST_LOSS_RATIO = 100; // of losses on an axis without powers of ten
// Names in the history: of the training, and of the split that is held out.
const MEASURED_SPLITS = [
  ["", "training", "blue"], ["validation_", "validation", "orange"], ["test_", "test", "orange"],
];

/** Epoch slider, curves of loss and accuracy, and the gradient by distance at the epoch. */
export const learningPanel = {
  id: "learning",
  title: "Learning",
  help: "Move through the training: every panel shows the network with the weights of the epoch that is "
    + "chosen here. Press the curves, or use the arrow keys on them, to choose an epoch.",

  when(scene) {
    if (scene.run === null) return false;
    return keptEpochsOf(scene.run).length > 1 || trainingHistoryOf(scene).epoch.length > 0;
  },

  make(root, lab) {
    this.lab = lab;
    this.hovered = null;
    this.timer = null;
    this.slider = makeEpochSlider("learning-epoch", lab);
    this.play = element("button", { type: "button", class: "primary", onclick: () => this.toggle() }, "Play");
    this.final = element("button", { type: "button",
      onclick: () => lab.setState({ epoch: null }) }, "Final weights");
    this.controls = element("div", { class: "row epochs" }, this.play, this.slider.field, this.final);
    this.missing = element("p", { class: "help" }, "No weights were kept during this training, so only the "
      + "final network can be shown. Train with --keep-epochs 20 (in Python keep_epochs=20) to keep some.");
    this.text = element("p", { class: "reading two-lines" });
    const handlers = { onPick: (x) => this.pick(x), onKey: (event) => this.press(event) };
    const onHover = (x) => {
      const epoch = x === null ? null : Math.round(x);
      if (epoch === this.hovered) return;
      this.hovered = epoch;
      if (lab.scene.run !== null) fill(this.text, epochReadingOf(lab.scene, epoch));
    };
    this.loss = makeCurves({ ...handlers, onHover });
    this.score = makeCurves({ ...handlers, onHover });
    this.reach = makeCurves({ ...handlers, onPick: () => {} });
    this.distance = element("p", { class: "reading" });
    root.append(this.controls, this.missing, this.text,
      element("div", { class: "columns" }, this.loss.root, this.score.root), this.reach.root, this.distance);
  },

  pick(x) {
    if (keptEpochsOf(this.lab.scene.run).length > 1) showEpoch(this.lab, x);
  },

  press(event) {
    const { scene } = this.lab, kept = keptEpochsOf(scene.run);
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -kept.length, End: kept.length }[event.key];
    if (move === undefined || kept.length < 2) return;
    moveEpoch(this.lab, move);
    event.preventDefault();
    event.stopPropagation();
  },

  /** Play from the epoch shown, or from the first if it is the last; or stop. */
  toggle() {
    if (this.timer !== null) return this.stop();
    const kept = keptEpochsOf(this.lab.scene.run);
    if (shownEpochOf(this.lab.scene) === kept.at(-1)) showEpoch(this.lab, kept[0]);
    this.timer = setInterval(() => {
      if (this.lab.scene.run === null || !moveEpoch(this.lab, 1)) this.stop();
    }, EPOCH_PAUSE);
    return this.label();
  },

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    this.label();
  },

  label() {
    fill(this.play, this.timer === null ? "Play" : "Pause");
  },

  draw(scene) {
    const { run } = scene, kept = keptEpochsOf(run), history = trainingHistoryOf(scene);
    this.controls.hidden = kept.length < 2;
    this.missing.hidden = !this.controls.hidden;
    if (this.controls.hidden && this.timer !== null) this.stop();
    this.slider.update(scene);
    this.final.disabled = showsFinalEpoch(scene);
    fill(this.text, epochReadingOf(scene, this.hovered));
    this.loss.root.hidden = this.score.root.hidden = history.epoch.length === 0;
    if (history.epoch.length) {
      this.loss.draw(trainingCurvesOf(scene, "loss", "Loss", hasLossInNats(scene) ? "loss (nats)" : "loss"));
      const [name, title, unit] = trainingScoreOf(scene);
      this.score.root.hidden = name === null;
      if (name !== null) this.score.draw(trainingCurvesOf(scene, name, title, unit));
    }
    this.drawReach(scene);
  },

  /** The gradient by its distance from where it began, with that of the final weights behind it. */
  drawReach(scene) {
    const final = showsFinalEpoch(scene) ? null : scene.beside(scene.runIndex, null);
    const places = placesOf(scene.config);
    const curve = (lags, more) => ({ values: lags.remaining, ...more });
    const own = scene.lags, epoch = shownEpochOf(scene);
    const others = own.filter((_, place) => place !== scene.place);
    const name = places.length > 1 ? `layer ${places[scene.place]}` : "these weights";
    const curves = [
      curve(own[scene.place], { name: epoch === null ? name : `${name}, epoch ${epoch}`, colour: "blue",
        width: 2.5 }),
      ...(final === null ? [] : [curve(final.lags[scene.place], {
        name: `final weights (epoch ${finalEpochOf(scene.run)})`, colour: "ghost", dash: [4, 4] })]),
      ...others.map((lags, k) => curve(lags, { name: k ? "" : "the other layers and directions",
        colour: "faint", width: 1 })),
    ];
    const range = logRange(curves.flatMap(({ values }) => Array.from(values)));
    const shown = curves.map((each) => ({ ...each,
      values: Array.from(each.values, (value) => (value >= range[0] && value < Infinity ? value : null)) }));
    const words = describeReach(own[scene.place], scene.steps);
    this.reach.draw({ title: "How far back the gradient reaches", xLabel: "steps back",
      yLabel: "share left", log: true, range, x: Array.from({ length: scene.steps }, (_, lag) => lag),
      curves: shown,
      label: `Share of the gradient that is left by steps back, on a logarithmic axis. ${words}` });
    fill(this.distance, words);
  },
};

/** Whether a scene shows the final weights. */
function showsFinalEpoch(scene) {
  return shownEpochOf(scene) === finalEpochOf(scene.run);
}

/** History of a run with every entry; empty where nothing is known. */
function trainingHistoryOf(scene) {
  return { epoch: [], loss: [], ...scene.run.history };
}

/** Name in the history, title and axis of what is measured beside the loss; null if nothing is. */
function trainingScoreOf(scene) {
  const history = trainingHistoryOf(scene);
  if (history.accuracy) return ["accuracy", "Accuracy", "share correct"];
  const { unit } = scene.run.outputs;
  return history.rmse ? ["rmse", "Error", unit ? `RMSE (${unit})` : "RMSE"] : [null, "", ""];
}

/** Whether the loss is a cross-entropy. */
function hasLossInNats(scene) {
  return scene.config.task !== "regression";
}

/** The picture of one measure over the epochs, for training and held-out split. */
function trainingCurvesOf(scene, name, title, yLabel) {
  const history = trainingHistoryOf(scene), { epoch } = history;
  const x = Array.from({ length: lastEpochOf(scene.run) + 1 }, (_, k) => k);
  const curves = MEASURED_SPLITS.map(([prefix, split, colour]) => {
    const values = x.map(() => null);
    (history[prefix + name] ?? []).forEach((value, k) => { values[epoch[k]] = value; });
    return { name: split, values, colour, dash: prefix ? [5, 3] : undefined };
  }).filter(({ values }) => values.some((value) => value !== null));
  const found = curves.flatMap(({ values }) => values).filter((value) => value !== null);
  const least = Math.min(...found), most = Math.max(...found);
  const log = name !== "accuracy" && least > 0 && most / least > MOST_LOSS_RATIO;
  const range = log ? logRange(found)
    : name === "accuracy" ? [Math.min(0.9, Math.floor(least * 10) / 10), 1]
      : [Math.min(0, least), most * 1.05 || 1];
  const shown = shownEpochOf(scene), final = finalEpochOf(scene.run);
  const marks = [];
  if (final !== null && final !== shown) marks.push({ x: final, colour: "ghost", dash: [2, 3] });
  if (shown !== null) marks.push({ x: shown, colour: "cursor" });
  return { title, xLabel: "epoch", yLabel, x, curves, marks, log, range, markPoints: true,
    label: `${title} over ${epoch.length} epochs. ${epochReadingOf(scene, null)}` };
}

/** What was measured at an epoch, in words. */
function epochReadingOf(scene, hovered) {
  const history = trainingHistoryOf(scene), epoch = hovered ?? shownEpochOf(scene);
  if (epoch === null) return "";
  if (epoch <= 0) return "Epoch 0: the initial weights, before the training.";
  const at = history.epoch.indexOf(epoch);
  const measured = (name) => MEASURED_SPLITS.map(([prefix, split]) => [history[prefix + name]?.[at], split])
    .filter(([value]) => typeof value === "number")
    .map(([value, split]) => `${formatNumber(value)} (${split})`).join(", ");
  const [score, title] = trainingScoreOf(scene);
  const parts = [["loss", measured("loss")], ...(score ? [[title.toLowerCase(), measured(score)]] : [])]
    .filter(([, text]) => text).map(([what, text]) => `${what} ${text}`);
  const used = epoch === finalEpochOf(scene.run) ? ", whose weights are used" : "";
  return `Epoch ${epoch} of ${lastEpochOf(scene.run)}${used}${parts.length ? `: ${parts.join("; ")}` : ""}.`;
}

/** After how many steps little of the gradient is left, in words. */
function describeReach({ norms, remaining }, steps) {
  const percent = `${LITTLE_LEFT * 100} %`;
  if (steps < 2) return "A sequence of one step: the gradient goes no step back.";
  if (!norms.some((norm) => norm > 0)) return "The loss has no gradient here: the output is its target.";
  if (remaining.some((value) => value === Infinity)) return "The gradient overflows on its way back.";
  const lag = remaining.findIndex((value) => value < LITTLE_LEFT);
  if (lag < 0) return `More than ${percent} of the gradient is left ${steps - 1} steps back.`;
  return `Less than ${percent} of the gradient is left ${lag} step${lag === 1 ? "" : "s"} back.`;
}
