// A small picture of a sequence: its input, below it how much of a pattern is on at each step.

import { colours, css, signedColour, unitColour } from "./colours.js";

const THUMBNAIL_HEIGHT = 36;
const STRIP = 7; // pixels for the pattern

/**
 * Draw a sequence into a small canvas that is only looked at.
 *
 * @param sequence {steps, x}; tokens have no picture of their own, only the strip of the pattern.
 * @param on share of the pattern that is on at each step, (T); span: {from, to}, framed.
 */
export function drawThumbnail(canvas, sequence, on, span, label) {
  const { width } = canvas;
  const context = canvas.getContext("2d");
  const { steps, x } = sequence;
  const shades = colours();
  const top = x instanceof Int32Array ? 0 : THUMBNAIL_HEIGHT - STRIP - 2;
  const bottom = top ? THUMBNAIL_HEIGHT : STRIP + 4;
  canvas.height = bottom;
  const left = (step) => 1 + ((width - 2) * step) / steps;
  if (top) drawInput(context, sequence, left, top);
  for (let t = 0; t < steps; t += 1) {
    context.fillStyle = css(unitColour(on[t]));
    context.fillRect(left(t), top + 1, left(t + 1) - left(t) + 0.5, bottom - top - 2);
  }
  context.strokeStyle = shades.cursor;
  context.strokeRect(left(span.from) + 0.5, 0.5, Math.max(2, left(span.to + 1) - left(span.from) - 1),
    bottom - 1);
  canvas.setAttribute("aria-label", label);
}

function drawInput(context, { steps, x }, left, height) {
  const columns = x.length / steps;
  const limit = x.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-9);
  if (columns > 1) {
    for (let t = 0; t < steps; t += 1) {
      for (let c = 0; c < columns; c += 1) {
        context.fillStyle = css(signedColour(x[t * columns + c] / limit));
        context.fillRect(left(t), (height * c) / columns, left(t + 1) - left(t) + 0.5,
          height / columns + 0.5);
      }
    }
    return;
  }
  context.strokeStyle = colours().faint;
  context.beginPath();
  x.forEach((value, t) => context.lineTo(left(t + 0.5), (height / 2 - 2) * (1 - value / limit) + 2));
  context.stroke();
}
