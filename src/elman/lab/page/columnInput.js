// Numbers and categories of a sequence: a chart of each column, whose points are dragged up and
// down, and a field for the exact value under the cursor.

import { decodeArray } from "./data.js";
import { element, fill, formatNumber } from "./dom.js";
import { columnValues, inputKey, inputValue, unscaled, withEdit, withoutEdit } from "./edits.js";
import { drawHeatmap, makeHeatmap } from "./heatmap.js";
import { axisOf, drawLineChart, makeLineChart } from "./lineChart.js";
import { pointCursor } from "./state.js";

const MOST_CHARTS = 6; // columns with a chart of their own; of more, the chosen one has a chart

/** Make the charts; returns a function that brings them up to date with a scene. */
export function makeColumnInput(parent, lab) {
  const overview = element("div", {}), charts = element("div", {});
  const choose = element("select", { id: "choose-column", onchange: () =>
    lab.setState({ column: Number(choose.value) }) });
  const chooser = element("label", { for: "choose-column", class: "field" },
    element("span", {}, "Column"), choose);
  const picture = makeHeatmap((point) => pointCursor(point, { column: point.row }));
  overview.append(picture, chooser);
  parent.append(overview, charts);
  let shown = null, made = [];

  return (scene) => {
    const { columns } = scene, many = columns.length > MOST_CHARTS;
    const chosen = Math.min(columns.length - 1, scene.state.column);
    const signature = `${scene.runIndex} ${scene.run.version ?? 0} ${many ? chosen : ""}`;
    if (shown !== signature) {
      shown = signature;
      const drawn = many ? [columns[chosen]] : columns;
      made = drawn.map((column) => makeColumnChart(lab, column));
      fill(charts, ...made.map(({ box }) => box));
      fill(choose, ...columns.map((each, k) => element("option", { value: k }, each.name)));
    }
    overview.hidden = !many;
    if (many) {
      choose.value = chosen;
      drawOverview(picture, scene, chosen);
    }
    for (const { draw } of made) draw(scene);
  };
}

/** All columns at once, each as the network reads it. */
function drawOverview(canvas, scene, chosen) {
  const { columns, sequence, steps } = scene, rows = columns.length, width = sequence.x.length / steps;
  const values = new Float64Array(steps * rows);
  columns.forEach((column, k) => {
    const size = column.kind === "category" ? scene.run.channels[column.channel].values.length - 1 : 1;
    for (let t = 0; t < steps; t++) values[t * rows + k] = sequence.x[t * width + column.channel] / size;
  });
  drawHeatmap(canvas, {
    values, rows, steps, scale: "signed", cursor: scene.at, row: chosen, erased: scene.state.erased,
    labels: columns.map(({ name }) => name),
    label: `Input of ${rows} columns over ${steps} steps, scaled as the network reads it. `
      + `${columns[chosen].name} is chosen.`,
  });
}

function makeColumnChart(lab, column) {
  const control = column.kind === "category" ? categoryField(lab, column) : numberField(lab, column);
  const channel = lab.scene.run.channels[column.channel], range = rangeOf(lab.scene, column);
  let axis = null; // stays while a point is held
  const change = (step, value) => setValue(lab, column, step, toColumn(column, channel, value, range));
  const canvas = makeLineChart((point) => {
    if (point.kind === "nudge") {
      const [now] = shownValues(lab.scene, column).subarray(point.step);
      const by = column.kind === "category" ? Math.sign(point.value) : point.value;
      lab.setState({ step: point.step, hover: null });
      change(point.step, now + by);
    } else if (point.kind === "delete") toggleErased(lab, point.step);
    else if (point.kind === "hold") lab.setState({ step: point.step, hover: null });
    else if (point.kind === "pull") change(point.step, Math.min(Math.max(point.value, axis.low), axis.high));
    else if (point.kind === "let go") lab.redraw();
    else pointCursor(point);
  }, true);
  const box = element("div", { class: "column" }, control.box, canvas);

  const draw = (scene) => {
    control.draw(scene);
    const values = shownValues(scene, column), former = shownValues(scene.untouched, column);
    if (canvas.held === null) axis = axisOf([values, former, range], 0.12);
    const isChanged = values.some((value, t) => value !== former[t]);
    const style = { dots: scene.steps <= 80, points: column.kind === "category" };
    drawLineChart(canvas, {
      ...axis, steps: scene.steps, cursor: scene.at, handles: values, height: 96,
      bands: scene.state.erased.map((step) => ({ from: step, to: step })),
      marks: column.kind === "category" ? channel.values.slice(1).map((text, k) => [k + 1, text]) : null,
      lines: [...(isChanged ? [{ values: former, colour: "ghost", dash: [5, 4], points: style.points }] : []),
        { values, colour: "blue", ...style }],
      label: `${column.name} over ${scene.steps} steps; at step ${scene.at + 1} `
        + `${control.words(scene)}. Up and down keys change it, Delete erases the step.`,
    });
  };
  return { box, draw };
}

/** What the chart shows of a column: numbers in the user's unit, or the codes of categories. */
function shownValues(scene, column) {
  if (column.kind === "number") return columnValues(scene.run, scene.sequence, column);
  const width = scene.sequence.x.length / scene.steps;
  return Float64Array.from({ length: scene.steps }, (_, t) => scene.sequence.x[t * width + column.channel]);
}

/** A value that was dragged to: a number with as many digits as the axis tells apart, or a category. */
function toColumn(column, channel, value, range) {
  if (column.kind === "category") {
    return channel.values[Math.min(Math.max(Math.round(value), 1), channel.values.length - 1)];
  }
  const digits = 3 - Math.floor(Math.log10(range[1] - range[0] || 1));
  return Number(value.toFixed(Math.min(Math.max(digits, 0), 20)));
}

/** The smallest and the largest value of a column in all examples, so that the axis stays the same. */
function rangeOf(scene, column) {
  const channel = scene.run.channels[column.channel];
  if (column.kind === "category") return [1, channel.values.length - 1];
  let low = Infinity, high = -Infinity;
  for (const example of scene.examples) {
    const x = decodeArray(example.x), width = x.shape[1];
    for (let at = column.channel; at < x.length; at += width) {
      low = Math.min(low, x[at]);
      high = Math.max(high, x[at]);
    }
  }
  return [unscaled(low, channel), unscaled(high, channel)];
}

/** Change a value; the value of the data is no change. */
function setValue(lab, column, step, value) {
  const { scene } = lab, { edits } = lab.getState(), key = inputKey(step, column.channel);
  const same = value === inputValue(scene.run, scene.original, column, step);
  lab.setState({ edits: same ? withoutEdit(edits, key) : withEdit(edits, key, value) });
}

/** Erase a step, or bring it back; at least one step stays. */
export function toggleErased(lab, step) {
  const { erased } = lab.getState(), isErased = erased.includes(step);
  if (!isErased && erased.length >= lab.scene.steps - 1) return;
  lab.setState({ erased: isErased ? erased.filter((each) => each !== step) : [...erased, step] });
}

function numberField(lab, column) {
  const id = `input-${column.channel}`, former = element("span", { class: "former" });
  const commit = (value) => setValue(lab, column, lab.scene.at, value);
  const entry = makeNumberEntry(id, `${column.name} at the cursor`, commit);
  const missing = element("input", { type: "checkbox", id: `${id}-missing`, onchange: () => {
    const { scene } = lab, own = inputValue(scene.run, scene.original, column, scene.at);
    // Without a value of its own, a step takes the one that the network read in the gap.
    commit(missing.checked ? null : own ?? columnValues(scene.run, scene.sequence, column)[scene.at]);
  } });
  const box = element("div", { class: "column-head" },
    element("label", { for: id }, column.name), entry.field, element("span", {}, column.unit),
    column.flag < 0 ? null : element("label", { class: "check" }, missing, " missing"), former, entry.note);
  const words = (scene) => {
    const value = inputValue(scene.run, scene.sequence, column, scene.at);
    return value === null ? "missing" : `${formatNumber(value, 6)} ${column.unit}`.trim();
  };
  const draw = (scene) => {
    const value = inputValue(scene.run, scene.sequence, column, scene.at);
    const own = inputValue(scene.run, scene.original, column, scene.at);
    entry.show(value === null ? "" : String(value), scene.at);
    missing.checked = value === null;
    former.textContent = value === own ? "" : inTheData(own);
  };
  return { box, draw, words };
}

/** The value before the changes, in words. */
export function inTheData(value) {
  const text = value === null ? "missing" : typeof value === "number" ? formatNumber(value, 6) : value;
  return `in the data: ${text}`;
}

function categoryField(lab, column) {
  const id = `input-${column.channel}`, former = element("span", { class: "former" });
  const texts = lab.scene.run.channels[column.channel].values.slice(1);
  if (!texts.includes("missing")) texts.push("missing");
  const select = element("select", { id, onchange: () =>
    setValue(lab, column, lab.scene.at, select.value) },
  ...texts.map((text) => element("option", { value: text }, text)));
  const box = element("div", { class: "column-head" },
    element("label", { for: id }, column.name), select, former);
  const words = (scene) => inputValue(scene.run, scene.sequence, column, scene.at);
  const draw = (scene) => {
    const own = inputValue(scene.run, scene.original, column, scene.at);
    const asked = scene.state.edits[inputKey(scene.at, column.channel)];
    select.value = asked ?? words(scene);
    former.textContent = select.value === own ? "" : inTheData(own);
  };
  return { box, draw, words };
}

/** A field for a number, which says what is wrong with a text that is none. */
export function makeNumberEntry(id, label, commit) {
  const note = element("span", { class: "note", role: "status" });
  const field = element("input", { id, type: "text", inputmode: "decimal", size: 9,
    autocomplete: "off", "aria-label": label });
  const check = () => {
    const value = parseNumber(field.value);
    field.setAttribute("aria-invalid", value === null);
    note.textContent = value === null ? "Enter a number, such as 12.5." : "";
    return value;
  };
  field.addEventListener("change", () => {
    const value = check();
    if (value !== null) commit(value);
  });
  const show = (text, step) => {
    // What a person is typing stays, unless the cursor has gone on to another step.
    if (document.activeElement === field && field.dataset.step === String(step)) return;
    field.dataset.step = step;
    field.value = text;
    field.removeAttribute("aria-invalid");
    note.textContent = "";
  };
  return { field, note, show };
}

/** A number as people write it, with a point or a comma; null if it is none that the network can read. */
export function parseNumber(text) {
  const plain = text.trim().replace("−", "-").replace(/^(-?\d*),(\d+)$/, "$1.$2");
  const value = plain === "" ? NaN : Number(plain);
  return Number.isFinite(value) && Math.abs(value) < 1e30 ? value : null;
}
