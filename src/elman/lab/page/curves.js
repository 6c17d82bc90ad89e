// Curves over epochs or lags, drawn by uPlot in the colours of the page.

/* global uPlot */
import { colours } from "./colours.js";
import { element, fill } from "./dom.js";

const CURVES_HEIGHT = 210; // pixels
const CURVE_FONT = "12px system-ui, sans-serif";
// Distances of the ticks of an axis of whole numbers.
const WHOLE_TICKS = [0, 1, 2, 3, 4].flatMap((power) => [1, 2, 5].map((digit) => digit * 10 ** power));
const SUPERSCRIPTS = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷",
  8: "⁸", 9: "⁹" };

/**
 * Make a chart that `draw` fills.
 *
 * @param {object} handlers onPick(x): a place was pressed or dragged over; onHover(x): pointed
 *   at, null at the end; onKey(event): a key was pressed while the chart has the focus.
 * @returns {{root: HTMLElement, draw: function}} draw({title, x, xLabel, yLabel, curves, marks,
 *   log, range, markPoints, label}): x (n) ascending; curves [{name, values (n) with null for gaps,
 *   colour, dash, width}]; marks [{x, colour, dash}], vertical lines; log: powers of ten on the
 *   y axis; range [low, high] of y; markPoints: mark the points of curves that have few; label: what
 *   is drawn, in words.
 */
export function makeCurves(handlers) {
  const title = element("h3", {});
  const place = element("div", {});
  const key = element("p", { class: "key" });
  const root = element("div", { class: "curves" }, title, place, key);
  let plot = null, form = "", drawn = null;
  const look = () => drawn;

  function draw(picture) {
    drawn = picture;
    fill(title, picture.title);
    const shape = JSON.stringify([picture.xLabel, picture.yLabel, picture.log,
      picture.curves.map(({ colour, dash, width }) => [colour, dash, width])]);
    const width = Math.max(160, Math.floor(root.clientWidth));
    const data = [picture.x, ...picture.curves.map((curve) => curve.values)];
    if (shape !== form) {
      plot?.destroy();
      form = shape;
      plot = makeCurvePlot(place, picture, width, data, look, handlers);
    } else {
      if (plot.width !== width) plot.setSize({ width, height: CURVES_HEIGHT });
      plot.setData(data);
    }
    plot.ctx.canvas.setAttribute("aria-label", picture.label);
    fill(key, ...picture.curves.filter((curve) => curve.name).map(({ name, colour, dash }) =>
      element("span", {}, element("i", { class: dash ? "dashed" : null,
        style: `color: var(--${colour})` }), name)));
  }
  return { root, draw };
}

function makeCurvePlot(place, picture, width, data, look, handlers) {
  const axis = (label, more) => ({ label, labelSize: 16, labelGap: 0, font: CURVE_FONT,
    labelFont: CURVE_FONT, stroke: () => colours().faint,
    grid: { stroke: () => colours().line, width: 1 },
    ticks: { stroke: () => colours().line, width: 1, size: 4 }, ...more });
  const powers = picture.log
    ? { splits: (plot, at, low, high) => powersOfTen(low, high), filter: (plot, values) => values,
      values: (plot, values) => values.map(powerText) }
    : {};
  const plot = new uPlot({
    width, height: CURVES_HEIGHT, padding: [8, 16, 0, 0], legend: { show: false },
    cursor: { y: false, points: { show: false }, drag: { setScale: false, x: false, y: false } },
    select: { show: false },
    scales: { x: { time: false, range: (made, low, high) => rangeOfEpochs(low, high) },
      y: { distr: picture.log ? 3 : 1, range: () => look().range } },
    axes: [axis(picture.xLabel, { size: 24, space: 40, incrs: WHOLE_TICKS }),
      axis(picture.yLabel, { size: 46, space: 30, ...powers })],
    series: [{}, ...picture.curves.map(({ colour, dash, width: thick }, k) => ({
      stroke: () => colours()[colour], dash, width: thick ?? 1.75, spanGaps: true,
      points: { size: 5, show: () => hasFewPoints(look(), k) } }))],
    hooks: { draw: [(made) => drawCurveMarks(made, look().marks ?? [])],
      setCursor: [(made) => handlers.onHover?.(
        made.cursor.left < 0 ? null : made.posToVal(made.cursor.left, "x"))] },
  }, data, place);
  const { canvas } = plot.ctx;
  canvas.setAttribute("role", "img");
  canvas.tabIndex = 0;
  canvas.addEventListener("keydown", handlers.onKey);
  const pick = (event) => handlers.onPick(plot.posToVal(event.offsetX, "x"));
  plot.over.addEventListener("pointerdown", (event) => {
    plot.over.setPointerCapture(event.pointerId);
    pick(event);
  });
  plot.over.addEventListener("pointermove", (event) => {
    if (event.buttons & 1) pick(event);
  });
  return plot;
}

/** Whether the points of a curve are marked: a few of them, or those of single epochs. */
function hasFewPoints({ curves, markPoints }, k) {
  const count = curves[k].values.filter((value) => value !== null).length;
  return count < 2 || (markPoints && count <= 60);
}

function rangeOfEpochs(low, high) {
  return low === high ? [low - 0.5, high + 0.5] : [low, high];
}

/** Vertical lines, over the curves. */
function drawCurveMarks(plot, marks) {
  const { ctx: context, bbox: box } = plot;
  const ratio = window.devicePixelRatio || 1;
  context.save();
  for (const { x, colour, dash } of marks) {
    const left = Math.round(plot.valToPos(x, "x", true)) + 0.5;
    context.strokeStyle = colours()[colour];
    context.lineWidth = 1.5 * ratio;
    context.setLineDash((dash ?? []).map((length) => length * ratio));
    context.beginPath();
    context.moveTo(left, box.top);
    context.lineTo(left, box.top + box.height);
    context.stroke();
  }
  context.restore();
}

/** At most six powers of ten in a range. */
function powersOfTen(low, high) {
  const first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9);
  const stride = Math.ceil((last - first + 1) / 6);
  const powers = [];
  for (let power = last; power >= first; power -= stride) powers.unshift(10 ** power);
  return powers;
}

function powerText(value) {
  const power = Math.round(Math.log10(value));
  return power === 0 ? "1" : `10${[...String(power)].map((sign) => SUPERSCRIPTS[sign]).join("")}`;
}

/** A range of whole powers of ten around positive values, [low, high]. */
export function logRange(values, least = 1e-12) {
  const sizes = values.filter((value) => value >= least && value < Infinity);
  if (!sizes.length) return [0.1, 1];
  const low = Math.floor(Math.log10(Math.min(...sizes)) + 1e-9);
  const high = Math.ceil(Math.log10(Math.max(...sizes)) - 1e-9);
  return [10 ** low, 10 ** Math.max(high, low + 1)];
}
