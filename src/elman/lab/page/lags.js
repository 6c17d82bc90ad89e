// How a gradient shrinks or grows on its way back: elman.explain.backward.gradient_by_lag.

import { makeBuffers, stepBack } from "./backward.js";

const MOST_SOURCES = 64; // gradients that are followed, so that the time stays O(T)

/** Norms of the gradient of all states that enters at `order[place]`, by lag: 0 to the first step. */
export function followBack(network, place, pass, direct, order, from) {
  const { cell, units: H } = network, buffers = makeBuffers(network);
  const norms = new Float64Array(order.length - from);
  buffers.before.h.set(direct.subarray(order[from] * H, (order[from] + 1) * H));
  for (let lag = 0; lag < norms.length; lag++) {
    let squares = 0;
    for (const name of cell.states) {
      buffers.after[name].set(buffers.before[name]);
      for (const value of buffers.after[name]) squares += value * value;
    }
    norms[lag] = Number.isNaN(squares) ? Infinity : Math.sqrt(squares);
    if (lag + 1 < norms.length) stepBack(network, place, pass, order[from + lag], buffers);
  }
  return norms;
}

/** Steps back from the end of a layer's own order at which a gradient enters; at most 64 of them. */
function sourcesOf(direct, order, H) {
  const entries = [];
  order.forEach((t, place) => {
    if (direct.subarray(t * H, (t + 1) * H).some((value) => value !== 0)) entries.push(place);
  });
  if (entries.length <= MOST_SOURCES) return entries;
  const step = (entries.length - 1) / (MOST_SOURCES - 1);
  return Array.from({ length: MOST_SOURCES }, (_, i) => entries[Math.round(i * step)]);
}

/**
 * Norm of the gradient by time lag in each layer and direction, through its recurrence alone.
 *
 * Sources are the steps at which a gradient enters from above.
 *
 * @param back what `backward` returns
 * @returns [{layer, direction, norms: mean norm by lag (T), NaN where no source reaches, remaining:
 *   norm relative to that at lag 0 (T), sources}]
 */
export function gradientByLag(network, pass, back) {
  const { units: H } = network, { steps } = pass;
  return back.layers.map(({ layer, direction, direct }, place) => {
    const order = Array.from({ length: steps }, (_, k) => (direction ? k : steps - 1 - k));
    const entries = sourcesOf(direct, order, H);
    const sum = new Float64Array(steps), count = new Float64Array(steps);
    const before = new Float64Array(steps); // sum of the norms at a lag of the sources that go on
    for (const from of entries) {
      followBack(network, place, pass, direct, order, from).forEach((norm, lag, all) => {
        sum[lag] += norm;
        count[lag] += 1;
        if (lag + 1 < all.length) before[lag] += norm;
      });
    }
    const norms = sum.map((total, lag) => (count[lag] ? total / count[lag] : NaN));
    const remaining = new Float64Array(steps).fill(1);
    for (let lag = 1; lag < steps; lag++) {
      // The ratio is of sums over the same sources. A zero gradient stays zero, and one that has
      // overflowed stays infinite.
      const start = before[lag - 1];
      const ratio = !count[lag] ? NaN : start === 0 ? 0 : start === Infinity ? Infinity : sum[lag] / start;
      remaining[lag] = remaining[lag - 1] * ratio;
    }
    return { layer, direction, norms, remaining, sources: entries.length };
  });
}
