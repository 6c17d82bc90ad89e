// Units of a network as rows of a table: sorted, searched, and compared over spans of steps, as in
// LSTMVis (Strobelt et al. 2018, arXiv:1606.07461). Nothing here touches the page.
//
// A row is {layer, direction, unit, name, values (T)}; a unit is named from 1, arrays count from 0.

/** The names of a layer and a direction, each only where there are several. */
export function namesOfPlace(config, layer, direction) {
  const names = config.num_layers > 1 ? [`layer ${layer + 1}`] : [];
  return config.bidirectional ? [...names, direction ? "backward" : "forward"] : names;
}

/** The name of a unit, with its layer and direction only where there are several. */
export function nameOfUnit(config, layer, direction, unit) {
  return [...namesOfPlace(config, layer, direction), `unit ${unit + 1}`].join(", ");
}

/** The states h of all units of a pass, one row each: from the lowest layer up, forward first. */
export function unitRows(config, pass) {
  const units = config.hidden_size;
  return pass.layers.flatMap(({ layer, direction, gates }) =>
    Array.from({ length: units }, (_, unit) => ({
      layer,
      direction,
      unit,
      name: nameOfUnit(config, layer, direction, unit),
      values: Float64Array.from({ length: pass.steps }, (_, t) => gates.h[t * units + unit]),
    })));
}

/**
 * What rows are sorted and searched by: the largest |h| and its step, the variance over the steps,
 * the value and the vote at one step. `votes` is (T, D*H) of the top layer; lower layers have none.
 */
export function measureUnit(row, config, votes, step) {
  const { values } = row;
  const numbers = values.filter(Number.isFinite); // an erased step has no state of its own
  const mean = numbers.reduce((sum, value) => sum + value, 0) / numbers.length;
  const variance = numbers.reduce((sum, value) => sum + (value - mean) ** 2, 0) / numbers.length;
  const peak = numbers.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const peakStep = values.findIndex((value) => Math.abs(value) === peak);
  const width = config.hidden_size * (config.bidirectional ? 2 : 1);
  const column = row.direction * config.hidden_size + row.unit;
  const votesHere = votes && row.layer === config.num_layers - 1;
  return {
    peak,
    peakStep,
    variance,
    now: values[step],
    vote: votesHere ? votes[step * width + column] : null,
  };
}

/** The orders in which units can be shown: a title, and the key by which rows ascend. */
export const UNIT_ORDERS = {
  name: { title: "number", key: () => 0 },
  peak: { title: "largest |h|", key: ({ peak }) => -peak },
  peakStep: { title: "step of the largest |h|", key: ({ peakStep }) => peakStep },
  variance: { title: "variance over the steps", key: ({ variance }) => -variance },
  now: { title: "value at the cursor", key: ({ now }) => -now },
  vote: {
    title: "vote at the cursor",
    key: ({ vote }) => (vote === null ? Infinity : -vote),
  },
};

/** Rows in one of UNIT_ORDERS; rows that are equal in it stay in the order of their numbers. */
export function sortUnits(rows, order) {
  const { key } = UNIT_ORDERS[order];
  const keyed = rows.map((row, index) => ({ row, index, key: key(row.measures) }));
  keyed.sort((a, b) => (a.key === b.key ? a.index - b.index : a.key < b.key ? -1 : 1));
  return keyed.map(({ row }) => row);
}

const CONDITION = /^(peak|variance|value|vote|step)\s*(<=|>=|<|>|=)\s*(-?[\d.]+)$/;
const MEASURES = {
  peak: ({ peak }) => peak,
  variance: ({ variance }) => variance,
  value: ({ now }) => now,
  vote: ({ vote }) => (vote === null ? NaN : vote),
  step: ({ peakStep }) => peakStep + 1,
};
const COMPARISONS = {
  "<": (a, b) => a < b,
  ">": (a, b) => a > b,
  "<=": (a, b) => a <= b,
  ">=": (a, b) => a >= b,
  "=": (a, b) => a === b,
};

function matchesTerm(row, term) {
  const condition = CONDITION.exec(term);
  if (condition) {
    const [, measure, comparison, number] = condition;
    return COMPARISONS[comparison](MEASURES[measure](row.measures), Number(number));
  }
  if (/^\d+$/.test(term)) return row.unit + 1 === Number(term);
  const parts = row.name.split(/[ ,]+/);
  const words = term.split(/\s+/); // in a row: "layer 2" is not unit 2 of layer 1
  return parts.some((_, start) => words.every((word, i) => isWord(parts[start + i], word)));
}

function isWord(part, word) {
  return /^\d+$/.test(word) ? part === word : Boolean(part?.startsWith(word));
}

/**
 * Rows that match every term of a text. Terms are separated by commas: a number ("7"), words of the
 * name ("layer 2", "backward") or a condition ("peak > 0.5", "vote < 0", "value >= 0.3").
 */
export function searchUnits(rows, text) {
  const terms = text.toLowerCase().split(",").map((term) => term.trim()).filter(Boolean);
  return rows.filter((row) => terms.every((term) => matchesTerm(row, term)));
}

/** What a unit must be beside the span that it is on in. */
export const SPAN_OUTSIDES = {
  any: "may be on elsewhere",
  edges: "off just before and just after",
  elsewhere: "off at every other step",
};

/**
 * Units that are on at every step of a span: h >= threshold (sign 1), or h <= -threshold (sign -1).
 *
 * @param span {from, to}, steps, both included.
 * @param outside one of SPAN_OUTSIDES: where else the unit must be off.
 * @returns [{row, sign, contrast}], contrast: mean of sign * h in the span less that outside it;
 *   the largest comes first.
 */
export function unitsOn(rows, span, threshold, outside) {
  const found = [];
  for (const row of rows) {
    const first = row.values.subarray(span.from, span.to + 1).find(Number.isFinite);
    if (first === undefined) continue; // all steps of the span are erased
    const sign = first >= 0 ? 1 : -1;
    const isOn = (t) => sign * row.values[t] >= threshold;
    const sums = [0, 0];
    const counts = [0, 0];
    let fits = true;
    row.values.forEach((value, t) => {
      if (!Number.isFinite(value)) return;
      const inside = t >= span.from && t <= span.to;
      const beside = t === span.from - 1 || t === span.to + 1;
      if (inside) fits &&= isOn(t);
      else if (outside === "elsewhere" || (outside === "edges" && beside)) fits &&= !isOn(t);
      sums[Number(inside)] += sign * value;
      counts[Number(inside)] += 1;
    });
    if (!fits) continue;
    found.push({ row, sign, contrast: sums[1] / counts[1] - sums[0] / Math.max(1, counts[0]) });
  }
  return found.sort((a, b) => b.contrast - a.contrast);
}

/**
 * The steps of a sequence in which most of a pattern is on, for longest.
 *
 * A match is a set of units that are all on through a run of steps, at most as long as the span. Its
 * share is units * steps over those of the marked span; the largest share is taken, and of equal
 * ones the one with more units.
 *
 * @param pattern [{sign}], P of them, and series: their values in the sequence, P arrays (T).
 * @param skip span that does not count, or null: the marked one in its own sequence.
 * @returns {share, from, to, units: indices into the pattern}, or null if no unit is on anywhere.
 */
export function matchSpan(pattern, series, length, threshold, skip) {
  const steps = series.length ? series[0].length : 0;
  const runs = new Int32Array(pattern.length); // for how many steps, from t on, a unit stays on
  let best = null;
  for (let t = steps - 1; t >= 0; t -= 1) {
    const counts = skip && t >= skip.from && t <= skip.to;
    pattern.forEach(({ sign }, p) => {
      runs[p] = !counts && sign * series[p][t] >= threshold ? Math.min(runs[p] + 1, length) : 0;
    });
    const ordered = Array.from(runs).sort((a, b) => b - a);
    ordered.forEach((run, p) => {
      const area = (p + 1) * run;
      if (run && (!best || area > best.area || (area === best.area && p + 1 >= best.count))) {
        best = { area, count: p + 1, from: t, run, runs: Array.from(runs) };
      }
    });
  }
  if (!best) return null;
  const units = best.runs.flatMap((run, p) => (run >= best.run ? [p] : []));
  const share = best.area / (pattern.length * length);
  return { share, from: best.from, to: best.from + best.run - 1, units };
}
