// Two networks side by side: their settings, one sequence as each of them reads it, and how both
// answer for the same examples. Nothing here touches the page.

function settingText(value) {
  if (value === undefined || value === null) return "not set";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** Settings of two runs, [{name, left, right, differs}]: those that differ first. */
export function compareSettings(left, right) {
  const names = [...new Set([...Object.keys(left), ...Object.keys(right)])];
  const rows = names.map((name) => {
    const texts = [settingText(left[name]), settingText(right[name])];
    return { name, left: texts[0], right: texts[1], differs: texts[0] !== texts[1] };
  });
  return [...rows.filter((row) => row.differs), ...rows.filter((row) => !row.differs)];
}

function sameTexts(left, right) {
  return JSON.stringify(left) === JSON.stringify(right);
}

// The code of each text in another list; a text that is not in it is unknown, code 1.
function codesIn(from, to, unknown) {
  return (code) => {
    const text = from[code];
    const other = to.lastIndexOf(text); // a value may be called as codes 0 and 1 are: "unknown"
    if (other < 0) unknown.add(text);
    return other < 0 ? 1 : other;
  };
}

function convertColumns(x, from, to, unknown) {
  const width = from.length;
  from.forEach((channel, c) => {
    const other = to[c];
    const code = channel.values && codesIn(channel.values, other.values, unknown);
    for (let at = c; at < x.length; at += width) {
      x[at] = code ? code(x[at]) : rescale(x[at], channel, other);
    }
  });
}

function rescale(value, from, to) {
  if (from.mean === to.mean && from.scale === to.scale) return value;
  return (value * from.scale + from.mean - to.mean) / to.scale;
}

// Static features: a category has one column for each of its texts, a number stands in its first.
function convertStatic(values, from, to, unknown) {
  if (!values) return values;
  const converted = new Float32Array(to.reduce((sum, { columns }) => sum + columns.length, 0));
  from.forEach((feature, k) => {
    const other = to[k];
    feature.columns.forEach((column, i) => {
      if (!feature.values) {
        const value = values[column];
        converted[other.columns[i]] = i ? value : rescale(value, feature, other);
      } else if (values[column]) {
        const place = other.values.indexOf(feature.values[i]);
        if (place < 0) unknown.add(feature.values[i]);
        else converted[other.columns[place]] = values[column];
      }
    });
  });
  return converted;
}

/** Why sequences of one run cannot be read by another; an empty text if they can. */
export function whyNotComparable(left, right) {
  if (Boolean(left.vocabulary) !== Boolean(right.vocabulary)) {
    return "one of the two networks reads tokens and the other numbers";
  }
  const columns = (run) => run.channels.map(({ name, values }) => [name, Boolean(values)]);
  if (!left.vocabulary && !isSame(columns(left), columns(right))) {
    return "the two networks have different input columns";
  }
  const features = (run) => run.static.map(({ name, columns: places, values }) =>
    [name, values ? "category" : places.length]);
  if (!isSame(features(left), features(right))) {
    return "the two networks have different static features";
  }
  return "";
}

function isSame(left, right) {
  return JSON.stringify(left) === JSON.stringify(right);
}

/**
 * A sequence of one run in the form in which the network of another takes it.
 *
 * Numbers go back to the unit of the data and are standardised as in the other run; tokens and
 * categories are looked up by their texts.
 *
 * @returns {sequence, unknown: texts that the other run has not seen in its training}
 */
export function convertSequence(sequence, from, to) {
  const unknown = new Set();
  const x = sequence.x.slice();
  if (from.vocabulary) x.forEach((id, t) => { x[t] = codesIn(from.vocabulary, to.vocabulary, unknown)(id); });
  else convertColumns(x, from.channels, to.channels, unknown);
  const fixed = convertStatic(sequence.static, from.static, to.static, unknown);
  return { sequence: { ...sequence, x, static: fixed }, unknown: [...unknown] };
}

/** Indices of the examples that both runs have, [[left, right]]: same name, split and length. */
export function sharedExamples(left, right) {
  const keyOf = ({ name, split, x }) => `${split}\n${name}\n${x.shape[0]}`;
  const places = new Map(right.examples.map((example, index) => [keyOf(example), index]));
  return left.examples.flatMap((example, index) => {
    const place = places.get(keyOf(example));
    return place === undefined ? [] : [[index, place]];
  });
}

/** How far each weight is apart in two epochs: norm of the difference, and of the first one. */
export function weightChanges(first, second) {
  return Object.keys(first).map((name) => ({
    name,
    change: Math.sqrt(first[name].reduce((sum, value, i) => sum + (value - second[name][i]) ** 2, 0)),
    size: Math.sqrt(first[name].reduce((sum, value) => sum + value ** 2, 0)),
  }));
}
