// The data that a network is trained on in the page: a TASK of the payload, ready for use.
import { decodeArray } from "./data.js";

/** A TASK with its arrays decoded; `longer` too. One of a file of the user's own is ready already. */
export function readTask(task) {
  if (task.rows) return task;
  const width = task.config.vocabulary_size ? 1 : task.channels.length;
  const splits = ({ train, test }) => ({ train: readSplit(train, width), test: readSplit(test, width) });
  const longer = task.longer && { text: task.longer.text, ...splits(task.longer) };
  return { ...task, ...splits(task), longer };
}

function readSplit({ lengths, x, target }, width) {
  return makeSplit(decodeArray(lengths), decodeArray(x), decodeArray(target), width);
}

/**
 * Sequences one after the other.
 *
 * @param lengths steps of each (n)
 * @param x numbers (N*C) or token ids (N) of all N steps
 * @param target one for each sequence, (n) or (n*K), or for each step, (N) or (N*K)
 */
export function makeSplit(lengths, x, target, width) {
  const starts = new Int32Array(lengths.length + 1);
  lengths.forEach((length, i) => (starts[i + 1] = starts[i] + length));
  return { count: lengths.length, lengths, starts, x, target, width };
}

/** Sequence i of a split and its target, as `forward` and `backward` take them. */
export function sequenceAt(split, i, config) {
  const from = split.starts[i];
  const to = split.starts[i + 1];
  const sequence = {
    steps: to - from, x: split.x.subarray(from * split.width, to * split.width), static: null,
  };
  if (config.readout === "every") return { sequence, target: split.target.subarray(from, to) };
  const K = split.target.length / split.count;
  return { sequence, target: K === 1 ? split.target[i] : split.target.subarray(i * K, (i + 1) * K) };
}

/** The numbers of a split as the network reads them, (x * factor - mean) / scale of each channel. */
export function scaleSplit(split, channels, factor = 1) {
  const C = channels.length;
  const x = Float32Array.from(split.x, (value, i) =>
    (value * factor - channels[i % C].mean) / channels[i % C].scale);
  return { ...split, x };
}

/** Append steps to every sequence that say nothing: `blank` numbers or a token id, (C). */
export function appendSteps(split, steps, blank) {
  const { count, starts, width } = split;
  const lengths = split.lengths.map((length) => length + steps);
  const x = new split.x.constructor(split.x.length + count * steps * width);
  let at = 0;
  for (let i = 0; i < count; i++) {
    const own = split.x.subarray(starts[i] * width, starts[i + 1] * width);
    x.set(own, at);
    at += own.length;
    for (let k = 0; k < steps * width; k++) x[at++] = blank[k % width];
  }
  return makeSplit(lengths, x, split.target, width);
}
