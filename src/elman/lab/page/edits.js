// Changes to the input of a sequence, as small values that fit into the address of the page.
//
//   "step,channel": value    a number in the user's own unit, the text of a token or of a category
//   "s,feature": value       a static feature
//
// The value null is a missing one.

const PADDING_INPUT = 0, UNKNOWN_INPUT = 1;

/**
 * The columns of the input as a person knows them. A channel that tells whether a number is missing
 * belongs to the column of that number.
 * @returns [{kind: "token" | "number" | "category", name, unit, channel, flag}]; flag is the channel
 *   that tells whether the number is observed, or -1.
 */
export function inputColumns(run) {
  if (run.config.vocabulary_size) return [{ kind: "token", name: "token", unit: "", channel: 0, flag: -1 }];
  const flags = new Map();
  run.channels.forEach((each, c) => { if (isGapFlag(each)) flags.set(each.name, c); });
  const columns = [];
  run.channels.forEach((each, c) => {
    if (isGapFlag(each)) return;
    const kind = each.values ? "category" : "number";
    const flag = flags.get(`whether ${each.name} is missing`) ?? -1;
    columns.push({ kind, name: each.name, unit: each.unit || "", channel: c, flag });
  });
  return columns;
}

function isGapFlag(channel) {
  return channel.values?.length === 2 && channel.values[0] === "missing" && channel.values[1] === "observed";
}

/** Number of input channels of a network, numbers and codes together; 1 for tokens. */
export function channelCount(run) {
  return run.config.vocabulary_size ? 1 : run.channels.length;
}

/** Place of an input in the edits. */
export function inputKey(step, channel) {
  return `${step},${channel}`;
}

/** Place of a static feature in the edits. */
export function featureKey(feature) {
  return `s,${feature}`;
}

/** What an edit is of: {step, column} or {feature}, an index; null if the sequence has no such place. */
export function placeOf(run, steps, key) {
  const [first, second] = key.split(",");
  if (first === "s") return run.static?.[second] ? { feature: Number(second) } : null;
  const column = inputColumns(run).find((each) => each.channel === Number(second)), step = Number(first);
  return column && Number.isInteger(step) && step >= 0 && step < steps ? { step, column } : null;
}

/** The sequence {steps, x, static} with the edits made; the same object if there are none. */
export function editedSequence(run, sequence, edits) {
  if (!Object.keys(edits).length) return sequence;
  const edited = { ...sequence, x: sequence.x.slice(), static: sequence.static && sequence.static.slice() };
  for (const [key, value] of Object.entries(edits)) {
    const place = placeOf(run, sequence.steps, key);
    if (place?.column) setInput(run, place.column, edited.x, place.step, value);
    else if (place) setFeature(run.static[place.feature], edited.static, value);
  }
  for (const column of inputColumns(run)) if (column.flag >= 0) carryOverGaps(run, column, edited);
  return edited;
}

function setInput(run, column, x, step, value) {
  const width = channelCount(run), at = step * width + column.channel;
  if (column.kind === "token") x[at] = tokenId(run, value);
  else if (column.kind === "category") x[at] = categoryCode(run.channels[column.channel], value);
  else {
    const { mean, scale } = run.channels[column.channel];
    if (value !== null && !Number.isFinite(value)) return; // an address that was typed wrongly
    if (value !== null) x[at] = (value - mean) / scale;
    // A gap without a value before it takes the value for gaps, as in training.
    else if (step === 0) x[at] = gapFill(run.channels[column.channel]);
    if (column.flag >= 0) x[step * width + column.flag] = value === null ? 0 : 1;
  }
}

/** A missing number repeats the one before it, so an edit also reaches the gaps that follow. */
function carryOverGaps(run, column, sequence) {
  const width = channelCount(run);
  for (let t = 1; t < sequence.steps; t += 1) {
    if (sequence.x[t * width + column.flag] === 0) {
      sequence.x[t * width + column.channel] = sequence.x[(t - 1) * width + column.channel];
    }
  }
}

function gapFill(channel) {
  return ((channel.fill ?? channel.mean) - channel.mean) / channel.scale;
}

function setFeature(feature, values, value) {
  if (feature.values) {
    feature.columns.forEach((column, k) => {
      values[column] = feature.values[k] === (value ?? "missing") ? 1 : 0;
    });
    return;
  }
  values[feature.columns[0]] = value === null ? gapFill(feature) : (value - feature.mean) / feature.scale;
  if (feature.columns.length > 1) values[feature.columns[1]] = value === null ? 0 : 1;
}

/** Id of a token by its text; texts that the network never saw have the id of unknown tokens. */
export function tokenId(run, text) {
  if (!run.vocabulary) {
    const id = Number(text);
    return Number.isInteger(id) && id > PADDING_INPUT && id < run.config.vocabulary_size ? id : UNKNOWN_INPUT;
  }
  const id = run.vocabulary.indexOf(text);
  return id > PADDING_INPUT ? id : UNKNOWN_INPUT;
}

/** Code of a category by its text; a missing value is a category of its own, if training had any. */
export function categoryCode(channel, text) {
  const code = channel.values.indexOf(text ?? "missing");
  return code > PADDING_INPUT ? code : UNKNOWN_INPUT;
}

/** The input at a step as a person reads it: a number in its unit, a text, or null if missing. */
export function inputValue(run, sequence, column, step) {
  const width = channelCount(run), value = sequence.x[step * width + column.channel];
  if (column.kind === "token") return run.vocabulary ? run.vocabulary[value] : String(value);
  const channel = run.channels[column.channel];
  if (column.kind === "category") return channel.values[value] ?? String(value);
  if (column.flag >= 0 && sequence.x[step * width + column.flag] === 0) return null;
  return unscaled(value, channel);
}

/** The values of a column of numbers at all steps in its unit, gaps as the network reads them, (T). */
export function columnValues(run, sequence, column) {
  const width = channelCount(run), channel = run.channels[column.channel];
  return Float64Array.from({ length: sequence.steps }, (_, t) =>
    unscaled(sequence.x[t * width + column.channel], channel));
}

/** The value of a static feature: a number in its unit, the text of its category, or null. */
export function featureValue(feature, values) {
  if (feature.values) {
    const k = feature.columns.findIndex((column) => values[column] > 0.5);
    return k < 0 ? "unknown" : feature.values[k];
  }
  if (feature.columns.length > 1 && values[feature.columns[1]] === 0) return null;
  return unscaled(values[feature.columns[0]], feature);
}

/** A number in the user's unit. Inputs are float32: unrounded, 0.1 would come back as 0.10000000149. */
export function unscaled(value, { mean, scale }) {
  const digits = 5 - Math.floor(Math.log10(scale * Math.max(1, Math.abs(value))));
  return Number((value * scale + mean).toFixed(Math.min(Math.max(digits, 0), 20)));
}

/** The edits with one more, which replaces a former one of the same place and becomes the last. */
export function withEdit(edits, key, value) {
  return { ...withoutEdit(edits, key), [key]: value };
}

/** The edits without the one of this place. */
export function withoutEdit(edits, key) {
  return Object.fromEntries(Object.entries(edits).filter(([each]) => each !== key));
}
