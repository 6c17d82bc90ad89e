// Lines over the steps, on the same axis of time and with the same cursor as the heat maps.

import { LEFT, RIGHT, drawCursor, drawSteps, leftOf, middleOf, stepAt } from "./axis.js";
import { colours } from "./colours.js";
import { formatNumber, prepareCanvas } from "./dom.js";

const TOP = 8, STEPS = 20; // pixels above the lines, and below them for the numbers of the steps
const REACH = 18; // pixels from a point within which a press takes hold of it; a finger is that wide

/**
 * Draw lines over the steps.
 *
 * @param {HTMLCanvasElement} canvas made by makeLineChart; its parent's width is used.
 * @param {object} picture
 *   lines: [{values (T), colour: a name of colours.js, dash, width, dots, points: whether there are
 *     dots only}], a value that is not finite is a gap; steps; low, high: ends of the axis;
 *   log: whether it is logarithmic; marks: [[value, text]] of an axis of categories;
 *   height: pixels of the lines; cursor: a step; handles: values (T) that can be taken hold of;
 *   bands: [{from, to}] shaded steps; label: what is drawn, for those who do not see it.
 */
export function drawLineChart(canvas, picture) {
  const { steps, low, high, cursor, log = false } = picture;
  const bottom = TOP + (picture.height ?? 90);
  const { context, width } = prepareCanvas(canvas, bottom + STEPS);
  const shades = colours();
  canvas.chart = { steps, low, high, log, bottom, cursor, handles: picture.handles };
  for (const { from, to } of picture.bands ?? []) {
    context.fillStyle = shades.line;
    const left = leftOf(from, width, steps);
    context.fillRect(left, TOP, leftOf(to + 1, width, steps) - left, bottom - TOP);
  }
  drawScale(context, canvas.chart, width, shades, picture.marks);
  for (const line of picture.lines) drawLine(context, canvas.chart, line, width, shades);
  drawSteps(context, width, bottom, steps, shades);
  if (cursor !== undefined) drawCursor(context, width, TOP, bottom, steps, cursor, shades);
  canvas.setAttribute("aria-label", picture.label ?? "");
}

function drawScale(context, chart, width, shades, named) {
  context.textAlign = "right";
  context.textBaseline = "middle";
  context.lineWidth = 1;
  const numbers = () => marksBetween(chart).map((mark) => [mark, formatNumber(mark)]);
  let free = Infinity; // texts go upwards and leave out what would overlap
  for (const [mark, text] of named ?? numbers()) {
    const y = Math.round(heightOf(mark, chart)) + 0.5;
    if (y > free) continue;
    free = y - 12;
    context.strokeStyle = shades.line;
    context.beginPath();
    context.moveTo(LEFT, y);
    context.lineTo(width - RIGHT, y);
    context.stroke();
    context.fillStyle = shades.faint;
    context.fillText(text, LEFT - 6, y, LEFT - 8);
  }
}

function drawLine(context, chart, line, width, shades) {
  context.strokeStyle = context.fillStyle = shades[line.colour];
  context.lineWidth = line.width ?? 1.8;
  context.setLineDash(line.dash ?? []);
  context.lineJoin = "round";
  context.beginPath();
  let drawing = false;
  const dots = [];
  for (let t = 0; t < chart.steps; t++) {
    if (!Number.isFinite(line.values[t])) {
      drawing = false;
      continue;
    }
    const x = middleOf(t, width, chart.steps), y = heightOf(line.values[t], chart);
    if (drawing) context.lineTo(x, y);
    else context.moveTo(x, y);
    // A step between two gaps would have no line at all.
    const alone = !drawing && !Number.isFinite(line.values[t + 1]);
    drawing = true;
    if (line.dots || line.points || alone) dots.push([x, y]);
  }
  if (!line.points) context.stroke();
  context.setLineDash([]);
  for (const [x, y] of dots) {
    context.beginPath();
    context.arc(x, y, line.dots || line.points ? 3.5 : 2, 0, 2 * Math.PI);
    context.fill();
  }
}

/** Round numbers between the ends of an axis: at most five, or powers of ten. */
function marksBetween({ low, high, log }) {
  const marks = [];
  if (log) {
    const first = Math.ceil(Math.log10(low)), last = Math.floor(Math.log10(high));
    const stride = Math.max(1, Math.ceil((last - first) / 4));
    for (let power = first; power <= last; power += stride) marks.push(10 ** power);
    return marks;
  }
  const rough = (high - low) / 4, power = 10 ** Math.floor(Math.log10(rough));
  const stride = [1, 2, 5, 10].map((size) => size * power).find((size) => size >= rough * 0.999);
  for (let k = Math.ceil(low / stride); k * stride <= high; k++) {
    marks.push(Number((k * stride).toPrecision(12)));
  }
  return marks;
}

function heightOf(value, { low, high, log, bottom }) {
  const share = log
    ? Math.log(Math.max(value, low) / low) / Math.log(high / low)
    : (value - low) / (high - low);
  return bottom - share * (bottom - TOP);
}

/** The ends of an axis that holds all values of some lines, with a margin of a share of its length. */
export function axisOf(lines, margin = 0.06) {
  let low = Infinity, high = -Infinity;
  for (const values of lines) {
    for (const value of values) {
      if (Number.isFinite(value)) {
        low = Math.min(low, value);
        high = Math.max(high, value);
      }
    }
  }
  if (low > high) return { low: 0, high: 1 };
  const length = high - low || Math.abs(high) || 1;
  return { low: low - margin * length, high: high + margin * length };
}

/**
 * Make a canvas of lines that reports where it is pointed at, by mouse, finger or keys.
 *
 * @param {function} onPoint called with {kind, step, value}; kind is "hover", "press", "drag",
 *   "release", "leave" or "key", which move the cursor, or with `draggable` also "hold", "pull" and
 *   "let go" (a point is taken hold of, moved up or down to `value`, and left), "nudge" (`value` is
 *   the amount: a fortieth of the axis, with Shift a tenth of that) and "delete".
 */
export function makeLineChart(onPoint, draggable = false) {
  const canvas = document.createElement("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "Not drawn yet");
  canvas.tabIndex = 0;
  canvas.style.touchAction = "pan-y"; // a finger beside the points still scrolls the page
  canvas.held = null; // step of the point that is held
  const read = (x, y) => {
    const { steps, low, high, bottom, handles } = canvas.chart, box = canvas.getBoundingClientRect();
    const step = stepAt(x - box.left, box.width, steps);
    const value = low + ((bottom - (y - box.top)) / (bottom - TOP)) * (high - low);
    const distance = handles ? Math.abs(heightOf(handles[step], canvas.chart) - (y - box.top)) : Infinity;
    return { step, value, near: draggable && distance <= REACH };
  };
  const report = (event, kind) => {
    if (!canvas.chart) return;
    const { step, value, near } = read(event.clientX, event.clientY);
    if (kind === "press" && near) canvas.held = step;
    canvas.style.cursor = canvas.held !== null || near ? "ns-resize" : "crosshair";
    const of = { press: "hold", drag: "pull", release: "let go" };
    const { held } = canvas;
    if (kind === "release") canvas.held = null;
    onPoint({ kind: held === null ? kind : of[kind], step: held ?? step, value });
  };
  canvas.addEventListener("touchstart", (event) => {
    const [finger] = event.touches;
    if (canvas.chart && read(finger.clientX, finger.clientY).near) event.preventDefault();
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    report(event, "press");
  });
  canvas.addEventListener("pointermove", (event) => report(event, event.buttons ? "drag" : "hover"));
  canvas.addEventListener("pointerup", (event) => report(event, "release"));
  canvas.addEventListener("pointercancel", (event) => report(event, "release"));
  canvas.addEventListener("pointerleave", () => { if (canvas.held === null) onPoint({ kind: "leave" }); });
  canvas.addEventListener("keydown", (event) => chartKey(event, canvas.chart, draggable, onPoint));
  return canvas;
}

function chartKey(event, chart, draggable, onPoint) {
  if (!chart || event.ctrlKey || event.metaKey || event.altKey) return;
  const step = chart.cursor ?? 0, amount = (chart.high - chart.low) / (event.shiftKey ? 400 : 40);
  const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
  const nudges = { ArrowUp: amount, ArrowDown: -amount };
  if (event.key in moves) {
    onPoint({ kind: "key", step: Math.max(0, Math.min(chart.steps - 1, step + moves[event.key])) });
  } else if (draggable && event.key in nudges) onPoint({ kind: "nudge", step, value: nudges[event.key] });
  else if (draggable && event.key === "Delete") onPoint({ kind: "delete", step });
  else return;
  event.preventDefault();
  event.stopPropagation();
}
