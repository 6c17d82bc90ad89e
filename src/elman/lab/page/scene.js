// What the panels show: computed from the state of the page when asked for, and kept until it changes.

import { backward } from "./backward.js";
import { decodeWeights, sequenceOf, targetOf } from "./data.js";
import { editedSequence, inputColumns } from "./edits.js";
import { gradientByLag } from "./lags.js";
import { indexOfLargest } from "./linear.js";
import { forward, makeNetwork } from "./network.js";
import { clampsWithin } from "./stateForms.js";

const KEPT = 40; // networks and passes that stay in memory

/** The runs of the page, and everything that is computed for the current state. */
export class Scene {
  constructor(runs) {
    this.runs = runs;
    this.state = null;
    this.kept = new Map();
  }

  /** Take over a state; values that it does not have (an example too many) are clipped. */
  update(state) {
    this.state = state;
    return this;
  }

  /** A scene of the same sequence and changes with another run or epoch. */
  beside(run, epoch) {
    return this.having({ run, epoch });
  }

  /** A scene with some values of the state replaced. */
  having(changes) {
    const other = new Scene(this.runs);
    other.kept = this.kept; // keys name what was computed for what
    return other.update({ ...this.state, ...changes });
  }

  get runIndex() {
    return Math.max(0, Math.min(this.runs.length - 1, this.state.run));
  }

  /** The run that is shown; null if the page has none yet. */
  get run() {
    return this.runs[this.runIndex] ?? null;
  }

  get config() {
    return this.run.config;
  }

  get examples() {
    return this.run.examples;
  }

  get exampleIndex() {
    return Math.max(0, Math.min(this.examples.length - 1, this.state.example));
  }

  get example() {
    return this.examples[this.exampleIndex];
  }

  /** The epoch whose weights are shown; null for the final ones. */
  get epoch() {
    const epochs = (this.run.epochs ?? []).map((each) => each.epoch);
    return epochs.includes(this.state.epoch) ? this.state.epoch : null;
  }

  get network() {
    return this.keep(this.weightsKey, () => {
      const { weights } = this.epoch === null
        ? this.run
        : this.run.epochs.find((each) => each.epoch === this.epoch);
      return makeNetwork(this.config, decodeWeights(weights), this.run.outputs);
    });
  }

  /** The sequence as in the data. */
  get original() {
    return this.keep(`original ${this.exampleKey}`, () => sequenceOf(this.example));
  }

  /** The sequence with the edits of the state. */
  get sequence() {
    return this.keep(`sequence ${this.exampleKey} ${JSON.stringify(this.state.edits)}`, () =>
      editedSequence(this.run, this.original, this.state.edits));
  }

  /** The columns of the input as a person knows them: see inputColumns. */
  get columns() {
    return this.keep(`columns ${this.runIndex} ${this.run.version ?? 0}`, () => inputColumns(this.run));
  }

  get steps() {
    return this.original.steps;
  }

  /** Erased steps, and those clamps that fit this network, as the engine takes them. */
  get changes() {
    const clamps = clampsWithin(this.state.clamps, this.config, this.network.cell.traced);
    return { clamps, erased: new Set(this.state.erased) };
  }

  get isTouched() {
    return Object.keys(this.state.edits).length + this.state.clamps.length
      + this.state.erased.length > 0;
  }

  get pass() {
    return this.keep(`pass ${this.key}`, () => forward(this.network, this.sequence, this.changes));
  }

  /** The pass of the untouched sequence; null if nothing is touched. */
  get ghost() {
    return this.isTouched ? this.untouched.pass : null;
  }

  /** The scene without edits, clamps and erased steps. */
  get untouched() {
    return this.having({ edits: {}, clamps: [], erased: [] });
  }

  /** The label of the loss: the true one, or else the predicted one. */
  get target() {
    return targetOf(this.example) ?? this.predicted;
  }

  get hasTarget() {
    return targetOf(this.example) !== null;
  }

  /** The prediction in the form of a target. */
  get predicted() {
    const { config, pass } = this;
    const K = config.num_outputs;
    if (config.task === "regression") return pass.final;
    const decide = (logits) => (config.task === "multilabel"
      ? Array.from(logits, (value) => Number(value > 0))
      : [indexOfLargest(logits)]);
    const rows = Array.from({ length: pass.final.length / K }, (_, row) =>
      decide(pass.final.subarray(row * K, (row + 1) * K))).flat();
    return rows.length === 1 ? rows[0] : Float64Array.from(rows);
  }

  get back() {
    return this.keep(`back ${this.key}`, () =>
      backward(this.network, this.sequence, this.pass, this.target));
  }

  get lags() {
    return this.keep(`lags ${this.key}`, () => gradientByLag(this.network, this.pass, this.back));
  }

  /** The step of the cursor: the one that is pointed at, or else the chosen one. */
  get at() {
    return Math.max(0, Math.min(this.steps - 1, this.state.hover ?? this.state.step));
  }

  get layer() {
    return Math.max(0, Math.min(this.config.num_layers - 1, this.state.layer ?? Infinity));
  }

  get direction() {
    return this.config.bidirectional ? Math.min(1, this.state.direction) : 0;
  }

  /** Index of the layer and direction in `pass.layers` and `back.layers`. */
  get place() {
    return this.layer * (this.config.bidirectional ? 2 : 1) + this.direction;
  }

  get unit() {
    return Math.max(0, Math.min(this.config.hidden_size - 1, this.state.unit));
  }

  /** The output that votes and influence are about: chosen, or else the predicted one. */
  get output() {
    const K = this.config.num_outputs;
    if (Number.isInteger(this.state.output)) return Math.max(0, Math.min(K - 1, this.state.output));
    if (this.config.task === "regression") return 0;
    const { final } = this.pass;
    const start = final.length > K ? this.at * K : 0;
    return Math.max(0, indexOfLargest(final.subarray(start, start + K))); // NaN at an erased step
  }

  get weightsKey() {
    return `network ${this.runIndex} ${this.epoch} ${this.run.version ?? 0}`;
  }

  get exampleKey() {
    return `${this.runIndex} ${this.exampleIndex} ${this.run.version ?? 0}`;
  }

  get key() {
    const { edits, clamps, erased } = this.state;
    return `${this.weightsKey} ${this.exampleIndex} ${JSON.stringify([edits, clamps, erased])}`;
  }

  /** Return what was computed for a key before, or compute it; the longest unused is forgotten. */
  keep(key, compute) {
    const value = this.kept.has(key) ? this.kept.get(key) : compute();
    this.kept.delete(key);
    this.kept.set(key, value); // a Map is in the order in which its keys were set
    if (this.kept.size > KEPT) this.kept.delete(this.kept.keys().next().value);
    return value;
  }
}
