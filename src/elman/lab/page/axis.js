// The axis of time that all panels share, so that a step stands in the same place in each.

export const LEFT = 72; // pixels for the labels of rows
export const RIGHT = 10;

/** Left edge of step t in a canvas of that width. */
export function leftOf(step, width, steps) {
  return LEFT + ((width - LEFT - RIGHT) * step) / steps;
}

/** Middle of step t. */
export function middleOf(step, width, steps) {
  return leftOf(step + 0.5, width, steps);
}

/** The step at a place, clipped to 0 ... steps - 1. */
export function stepAt(x, width, steps) {
  const step = Math.floor(((x - LEFT) * steps) / (width - LEFT - RIGHT));
  return Math.max(0, Math.min(steps - 1, step));
}

/** Steps, from 0, that get a label: at most one in `space` pixels, at round numbers from 1. */
export function ticks(width, steps, space = 44) {
  const most = Math.max(2, Math.floor((width - LEFT - RIGHT) / space));
  const stride = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000]
    .find((size) => steps / size <= most) ?? steps;
  const marked = [];
  for (let step = stride === 1 ? 0 : stride - 1; step < steps; step += stride) marked.push(step);
  if (stride > 1) marked.unshift(0);
  return marked;
}

/** Draw the numbers of the steps below a panel, counted from 1. */
export function drawSteps(context, width, top, steps, colours) {
  context.fillStyle = colours.faint;
  context.textAlign = "center";
  context.textBaseline = "top";
  for (const step of ticks(width, steps)) {
    context.fillText(String(step + 1), middleOf(step, width, steps), top + 3);
  }
}

/** Draw the cursor: a frame around its step, from top to bottom. */
export function drawCursor(context, width, top, bottom, steps, step, colours) {
  const left = leftOf(step, width, steps);
  const wide = Math.max(2, leftOf(step + 1, width, steps) - left);
  context.strokeStyle = colours.cursor;
  context.lineWidth = 1.5;
  context.strokeRect(left + 0.5, top + 0.5, wide - 1, bottom - top - 1);
}
