// A matrix over the steps as a picture that can be pointed at.

import { LEFT, RIGHT, drawCursor, drawSteps, leftOf, stepAt } from "./axis.js";
import { colourTable, colours } from "./colours.js";
import { prepareCanvas } from "./dom.js";

/**
 * Draw values of `rows` rows over `steps` columns.
 *
 * @param {HTMLCanvasElement} canvas its parent's width is used.
 * @param {object} picture
 *   values: row-major by step, value of a row at a step is values[step * rows + order[row]];
 *   rows, steps; order: which column of `values` each row shows (default 0, 1, ...);
 *   scale: "signed" (-limit to limit) or "unit" (0 to 1); limit: default the largest size;
 *   erased: steps that are covered; labels: text beside each row, drawn where there is room;
 *   cursor: a step; row: a marked row;
 *   label: what is drawn, in words, for those who do not see it; rowHeight: pixels, 3 to 18.
 */
export function drawHeatmap(canvas, picture) {
  const { values, rows, steps } = picture;
  const order = picture.order ?? Array.from({ length: rows }, (_, row) => row);
  const rowHeight = picture.rowHeight ?? Math.max(3, Math.min(18, Math.floor(220 / rows)));
  const bottom = rows * rowHeight;
  const { context, width } = prepareCanvas(canvas, bottom + 20);
  const shades = colours();
  const limit = picture.scale === "unit" ? 1 : picture.limit ?? largest(values);
  context.imageSmoothingEnabled = false;
  context.drawImage(paint(values, rows, steps, order, picture.scale, limit),
    LEFT, 0, width - LEFT - RIGHT, bottom);
  for (const step of picture.erased ?? []) {
    context.fillStyle = shades.line;
    const left = leftOf(step, width, steps);
    context.fillRect(left, 0, leftOf(step + 1, width, steps) - left, bottom);
  }
  drawSteps(context, width, bottom, steps, shades);
  context.textAlign = "right";
  context.textBaseline = "middle";
  const every = Math.ceil(13 / rowHeight);
  for (let row = 0; row < rows; row++) {
    const marked = row === picture.row;
    if (!marked && row % every) continue;
    if (!marked && Math.abs(row - (picture.row ?? -Infinity)) * rowHeight < 13) continue;
    context.fillStyle = marked ? shades.ink : shades.faint;
    const text = picture.labels ? picture.labels[row] : String(order[row] + 1);
    const middle = Math.max(6, Math.min(bottom - 6, (row + 0.5) * rowHeight));
    context.fillText(text, LEFT - 6, middle, LEFT - 8);
  }
  if (picture.row !== undefined && picture.row >= 0) {
    context.strokeStyle = shades.cursor;
    context.strokeRect(LEFT + 0.5, picture.row * rowHeight + 0.5, width - LEFT - RIGHT - 1,
      rowHeight - 1);
  }
  if (picture.cursor !== undefined) {
    drawCursor(context, width, 0, bottom, steps, picture.cursor, shades);
  }
  canvas.setAttribute("aria-label", picture.label ?? "");
  canvas.heatmap = { rows, steps, rowHeight, order, cursor: picture.cursor ?? 0,
    row: picture.row ?? 0 };
}

/** The largest size of the finite values; 1 if all are 0. */
export function largest(values) {
  let most = 0;
  for (const value of values) {
    const size = Math.abs(value);
    if (size > most && size < Infinity) most = size;
  }
  return most || 1;
}

function paint(values, rows, steps, order, scale, limit) {
  const picture = document.createElement("canvas");
  picture.width = steps;
  picture.height = rows;
  const context = picture.getContext("2d");
  const image = context.createImageData(steps, rows);
  const table = colourTable(scale === "unit" ? "unit" : "signed");
  const pixels = new Uint32Array(image.data.buffer);
  for (let step = 0; step < steps; step++) {
    for (let row = 0; row < rows; row++) {
      const share = Math.max(-1, Math.min(1, values[step * rows + order[row]] / limit));
      pixels[row * steps + step] = table[Math.round((share || 0) * 256) + 256]; // NaN as 0
    }
  }
  context.putImageData(image, 0, 0);
  return picture;
}

/**
 * Make a canvas that reports where it is pointed at, by mouse, finger or arrow keys.
 *
 * @param {function} onPoint called with {row, column (of `values`), step, kind}; kind is "hover",
 *   "press", "drag", "release", "leave" or "key"; a key has extend: whether Shift is held.
 */
export function makeHeatmap(onPoint) {
  const canvas = document.createElement("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "Not drawn yet");
  canvas.tabIndex = 0;
  const report = (event, kind) => {
    const drawn = canvas.heatmap;
    if (!drawn) return;
    const box = canvas.getBoundingClientRect();
    const row = Math.floor((event.clientY - box.top) / drawn.rowHeight);
    const step = stepAt(event.clientX - box.left, box.width, drawn.steps);
    const held = Math.max(0, Math.min(drawn.rows - 1, row));
    onPoint({ row: held, column: drawn.order[held], step, kind });
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    report(event, "press");
  });
  canvas.addEventListener("pointermove", (event) => {
    report(event, event.buttons ? "drag" : "hover");
  });
  canvas.addEventListener("pointerup", (event) => report(event, "release"));
  canvas.addEventListener("pointerleave", () => onPoint({ kind: "leave" }));
  canvas.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const drawn = canvas.heatmap;
    if (!(event.key in move) || !drawn) return;
    const [down, right] = move[event.key];
    const row = Math.max(0, Math.min(drawn.rows - 1, drawn.row + down));
    const step = Math.max(0, Math.min(drawn.steps - 1, drawn.cursor + right));
    Object.assign(drawn, { row, cursor: step }); // a key that follows before the next frame counts too
    onPoint({ row, column: drawn.order[row], step, kind: "key",
      extend: event.shiftKey });
    event.preventDefault();
    event.stopPropagation();
  });
  return canvas;
}

