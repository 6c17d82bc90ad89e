// Units sorted and searched; a marked span of steps, the units that are on in it, and the other
// sequences in which they are on.

import { leftOf } from "./axis.js";
import { colours } from "./colours.js";
import { describeTarget } from "./answers.js";
import { sequenceOf, targetOf } from "./data.js";
import { countOf, element, fill, formatNumber } from "./dom.js";
import { drawHeatmap, makeHeatmap } from "./heatmap.js";
import { votes } from "./network.js";
import { SpanSearch } from "./spanMatches.js";
import { pointCursor } from "./state.js";
import { drawThumbnail } from "./thumbnail.js";
import {
  SPAN_OUTSIDES, UNIT_ORDERS, measureUnit, searchUnits, sortUnits, unitRows, unitsOn,
} from "./units.js";

const MOST_DRAWN = 160; // units in the picture
const MOST_CHIPS = 24; // units in the list
const MOST_MATCHES = 8;

/** The units of all layers, in an order of the reader's choice. */
export const unitsPanel = {
  id: "units",
  title: "Units",
  help: "The hidden states of all layers. Sort or search the units. Drag over some steps, or hold "
    + "Shift with the arrow keys, to mark a span: below stand the units that are on in it, and the "
    + "other sequences in which the same units are on.",

  make(root, lab) {
    this.lab = lab;
    this.search = new SpanSearch();
    this.canvas = makeHeatmap((point) => this.point(point));
    this.reading = element("p", { class: "reading" });
    this.on = element("div", { id: "units-on" });
    this.matches = element("div", { id: "units-matches", "aria-live": "polite" });
    root.append(this.makeChoices(), this.canvas, this.reading, this.makeSpan(), this.on,
      this.matches);
  },

  makeChoices() {
    const { lab } = this;
    this.order = choiceField("units-order", "Order by", Object.entries(UNIT_ORDERS)
      .map(([name, { title }]) => [name, title]), (sort) => lab.setState({ sort }));
    this.find = element("input", { id: "units-search", type: "search", autocomplete: "off",
      placeholder: "7, layer 2, peak > 0.5",
      oninput: () => lab.setState({ search: this.find.value }) });
    this.count = element("output", { for: "units-search", class: "help" });
    return element("div", { class: "row" }, this.order.field,
      labelField(this.find, "Search: number, words, or peak, variance, value, vote, step"),
      this.count);
  },

  makeSpan() {
    const { lab } = this;
    const change = () => {
      const ends = [this.from, this.to].map((input) => Number(input.value) - 1);
      if (ends.every((end) => end >= 0)) lab.setState({ span: ends.sort((a, b) => a - b) });
    };
    const number = (id) => element("input", { id, type: "number", min: 1, onchange: change });
    this.from = number("span-from");
    this.to = number("span-to");
    this.threshold = element("input", { id: "span-threshold", type: "range", min: 0, max: 1,
      step: 0.01, oninput: () => lab.setState({ threshold: Number(this.threshold.value) }) });
    this.level = element("output", { for: "span-threshold" });
    this.outside = choiceField("span-outside", "Outside the span", Object.entries(SPAN_OUTSIDES),
      (outside) => lab.setState({ outside }));
    this.clear = element("button", { type: "button", id: "span-clear",
      onclick: () => lab.setState({ span: null }) }, "Clear the span");
    return element("div", { class: "row" }, labelField(this.from, "From step", "narrow"),
      labelField(this.to, "to step", "narrow"),
      labelField(this.threshold, element("span", {}, "On from |h| ≥ ", this.level)),
      this.outside.field, this.clear);
  },

  /** Follow the mouse, a finger or a key in the picture. */
  point(point) {
    const { kind, row, step, extend } = point;
    if (kind === "leave" || kind === "hover" || kind === "release") return pointCursor(point);
    const { layer, direction, unit } = this.rows[row];
    const { span, step: before } = this.lab.getState();
    if (kind === "press") this.anchor = step;
    if (kind === "key" && !extend) this.anchor = null;
    if (kind === "key" && extend) this.anchor ??= Math.min(this.lab.scene.steps - 1, before);
    const marks = kind === "drag" ? step !== this.anchor || this.dragged : kind === "key" && extend;
    this.dragged = kind === "drag" && marks;
    return pointCursor(point, { layer, direction, unit,
      span: marks ? [this.anchor, step].sort((a, b) => a - b) : span });
  },

  draw(scene) {
    const { state, config } = scene;
    const voting = votes(scene.network, scene.pass, scene.output);
    const all = unitRows(config, scene.pass);
    for (const row of all) row.measures = measureUnit(row, config, voting, scene.at);
    const order = state.sort in UNIT_ORDERS ? state.sort : "peak";
    const found = sortUnits(searchUnits(all, String(state.search)), order);
    this.rows = found.slice(0, MOST_DRAWN);
    this.order.select.value = order;
    if (document.activeElement !== this.find) this.find.value = state.search;
    fill(this.count, found.length === all.length ? countOf(all.length, "unit")
      : `${found.length} of ${countOf(all.length, "unit")}`,
    found.length > MOST_DRAWN ? `; the first ${MOST_DRAWN} are drawn` : "");
    this.span = spanOf(scene);
    this.drawStates(scene);
    this.drawSpanChoices(scene, all);
    this.drawOn(scene, all);
  },

  drawStates(scene) {
    const { rows, span, canvas } = this;
    canvas.hidden = rows.length === 0;
    if (canvas.hidden) return fill(this.reading, "No unit matches the search.");
    const values = new Float64Array(rows.length * scene.steps);
    rows.forEach((row, r) => row.values.forEach((value, t) => {
      values[t * rows.length + r] = value;
    }));
    const chosen = rows.findIndex((row) => isChosenUnit(row, scene));
    const row = rows[chosen];
    const here = row ? `h of ${row.name} at step ${scene.at + 1} is ${formatNumber(row.measures.now)}`
      : "";
    drawHeatmap(canvas, {
      values, rows: rows.length, steps: scene.steps, scale: "signed", cursor: scene.at,
      rowHeight: Math.max(3, Math.min(18, Math.floor(360 / rows.length))),
      row: chosen < 0 ? undefined : chosen, labels: rows.map((each) => shortName(scene.config, each)),
      label: `Hidden states of ${countOf(rows.length, "unit")} over ${countOf(scene.steps, "step")}`
        + `, ordered by ${UNIT_ORDERS[this.order.select.value].title}. ${here}`,
    });
    if (span) shadeOutside(canvas, span, scene.steps);
    return fill(this.reading, row ? `${here}; largest |h| ${formatNumber(row.measures.peak)} at step `
      + `${row.measures.peakStep + 1}, variance ${formatNumber(row.measures.variance)}`
      + (row.measures.vote === null ? "" : `, vote for ${scene.run.outputs.names[scene.output]} `
        + `${formatNumber(row.measures.vote)}`)
      : "The chosen unit is not among those drawn.");
  },

  drawSpanChoices(scene, all) {
    const { state } = scene;
    const isBounded = scene.config.cell !== "rnn" || scene.config.nonlinearity !== "relu";
    this.threshold.max = isBounded ? 1 : Math.max(...all.map((row) => row.measures.peak));
    this.threshold.value = state.threshold;
    fill(this.level, formatNumber(state.threshold));
    this.outside.select.value = state.outside in SPAN_OUTSIDES ? state.outside : "any";
    for (const [end, input] of [["from", this.from], ["to", this.to]]) {
      input.max = scene.steps;
      if (document.activeElement !== input) input.value = this.span ? this.span[end] + 1 : "";
    }
    this.clear.hidden = !this.span;
  },

  drawOn(scene, all) {
    const { span, lab } = this;
    if (!span) {
      this.search.stop();
      fill(this.matches);
      return fill(this.on, element("p", { class: "help" }, "No span is marked."));
    }
    const { threshold } = scene.state;
    const pattern = unitsOn(all, span, threshold, this.outside.select.value);
    const where = span.from === span.to ? `at step ${span.from + 1}`
      : `at each of the steps ${span.from + 1} to ${span.to + 1}`;
    const chips = pattern.slice(0, MOST_CHIPS).map(({ row, sign }) => element("button", {
      type: "button", "aria-pressed": String(isChosenUnit(row, scene)),
      onclick: () => lab.setState({ layer: row.layer, direction: row.direction, unit: row.unit }),
    }, `${row.name} ${sign > 0 ? "+" : "−"}`));
    const more = pattern.length - chips.length;
    fill(this.on,
      element("p", {}, `${pattern.length} of ${countOf(all.length, "unit")} `
        + `${pattern.length === 1 ? "is" : "are"} on ${where}${pattern.length ? ":" : "."}`),
      element("div", { class: "chips" }, ...chips, more > 0 ? `and ${more} more` : null));
    if (!pattern.length) {
      this.search.stop();
      return fill(this.matches, element("p", { class: "help" },
        "Mark fewer steps, lower the threshold, or let the units be on elsewhere."));
    }
    const units = pattern.map(({ row, sign }) => [row.layer, row.direction, row.unit, sign]);
    const key = JSON.stringify([scene.weightsKey, scene.exampleIndex, span, threshold, units]);
    const { run, exampleIndex } = scene; // the scene changes before a search ends
    return this.search.start(key, scene, pattern, { span, threshold }, (found) =>
      this.showMatches({ run, exampleIndex, pattern, span, threshold }, found));
  },

  showMatches(asked, { matches, seen, count }) {
    const { run, pattern, span } = asked;
    if (seen < count) return fill(this.matches, element("p", { class: "help" },
      `Looked through ${seen} of ${countOf(count, "sequence")} …`));
    const whole = matches.filter(({ share }) => share === 1);
    const shown = matches.slice(0, MOST_MATCHES);
    const what = ["this unit", "both units"][pattern.length - 1] ?? `all ${pattern.length} units`;
    const length = countOf(span.to - span.from + 1, "step");
    return fill(this.matches,
      element("h3", {}, "The same units elsewhere"),
      element("p", {}, `In ${whole.length} of the ${countOf(count, "sequence")} of this page ${what} `
        + `${pattern.length === 1 ? "is" : "are"} on for ${length} outside the span. `
        + shareOfLabels(run, whole)),
      shown.length ? element("div", { class: "scroll" }, element("table", {},
        element("thead", {}, element("tr", {}, ...["Sequence", "Input, and units that are on",
          "Steps", "Units"].map((title) => element("th", { scope: "col" }, title)))),
        element("tbody", {}, ...shown.map((match) => this.matchRow(asked, match))))) : null);
  },

  matchRow({ run, exampleIndex, pattern, threshold }, match) {
    const example = run.examples[match.index];
    const sequence = sequenceOf(example);
    const label = describeTarget(run, targetOf(example));
    const on = Float32Array.from({ length: sequence.steps }, (_, t) =>
      pattern.filter(({ sign }, p) => sign * match.series[p][t] >= threshold).length / pattern.length);
    const steps = match.from === match.to ? `${match.from + 1}` : `${match.from + 1} to ${match.to + 1}`;
    const picture = element("canvas", { role: "img", class: "still", width: 180, height: 36 });
    drawThumbnail(picture, sequence, on, match, `Input of ${example.name}; steps ${steps} are framed, `
      + `where ${match.units.length} of ${countOf(pattern.length, "unit")} are on.`);
    const open = () => this.lab.setState({ example: match.index, step: match.from, edits: {},
      clamps: [], erased: [], span: [match.from, match.to] });
    return element("tr", {},
      element("td", {}, element("button", { type: "button", class: "link", onclick: open }, example.name),
        element("div", { class: "help" }, match.index === exampleIndex ? "this sequence" : label)),
      element("td", {}, example.tokens ? tokensAround(example.tokens, match) : null, picture),
      element("td", {}, steps),
      element("td", {}, `${match.units.length} of ${pattern.length}`));
  },
};

function choiceField(id, label, options, onchange) {
  const select = element("select", { id, onchange: () => onchange(select.value) },
    ...options.map(([value, title]) => element("option", { value }, title)));
  return { select, field: labelField(select, label) };
}

function labelField(input, text, kind = "") {
  return element("label", { for: input.id, class: `field ${kind}` }, element("span", {}, text), input);
}

function isChosenUnit(row, scene) {
  return row.layer === scene.layer && row.direction === scene.direction && row.unit === scene.unit;
}

/** The marked span within the sequence, {from, to}; null if none is marked. */
function spanOf({ state, steps }) {
  if (!Array.isArray(state.span)) return null;
  const [from, to] = state.span.map((step) => Math.max(0, Math.min(steps - 1, Math.round(step))));
  return from <= to ? { from, to } : null;
}

/** A name that fits beside a row: layer, direction as an arrow, number. */
function shortName(config, { layer, direction, unit }) {
  return [config.num_layers > 1 ? `L${layer + 1}` : "",
    config.bidirectional ? (direction ? "←" : "→") : "", unit + 1].filter(Boolean).join(" ");
}

function shadeOutside(canvas, span, steps) {
  const context = canvas.getContext("2d");
  const width = canvas.clientWidth;
  const { rows, rowHeight } = canvas.heatmap;
  const [left, right] = [leftOf(span.from, width, steps), leftOf(span.to + 1, width, steps)];
  context.globalAlpha = 0.6;
  context.fillStyle = colours().paper;
  context.fillRect(leftOf(0, width, steps), 0, left - leftOf(0, width, steps), rows * rowHeight);
  context.fillRect(right, 0, leftOf(steps, width, steps) - right, rows * rowHeight);
  context.globalAlpha = 1;
}

/** Which labels the sequences with a pattern have, beside those of all sequences. */
function shareOfLabels(run, matches) {
  if (run.config.task !== "classification" || run.config.readout === "every") return "";
  const count = (examples, k) => examples.filter((example) => example.target === k).length;
  const among = matches.map(({ index }) => run.examples[index]);
  if (!among.length) return "";
  const parts = run.outputs.names.map((name, k) => ({ name, here: count(among, k),
    all: count(run.examples, k) })).filter(({ here }) => here).sort((a, b) => b.here - a.here);
  return `Their labels: ${parts.slice(0, 5).map(({ name, here, all }) =>
    `${name} ${here} (of ${all})`).join(", ")}${parts.length > 5 ? ", …" : ""}.`;
}

/** The tokens of a match, marked, with two on either side. */
function tokensAround(tokens, { from, to }) {
  const start = Math.max(0, from - 2);
  const end = Math.min(tokens.length, to + 3);
  return element("div", { class: "tokens" }, start ? "… " : "", tokens.slice(start, from).join(" "), " ",
    element("mark", {}, tokens.slice(from, to + 1).join(" ")), " ", tokens.slice(to + 1, end).join(" "),
    end < tokens.length ? " …" : "");
}
