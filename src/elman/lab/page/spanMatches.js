// The sequences of the page in which a pattern of units is on: computed bit by bit, so that the page
// stays responsive, and kept as long as network and pattern stay the same.

import { matchSpan } from "./units.js";
import { forward } from "./network.js";
import { sequenceOf } from "./data.js";

const SEARCH_SLICE = 25; // milliseconds of work at a time
const MOST_STATES = 8e6; // numbers of states in memory, 32 MB

const statesByNetwork = new WeakMap();

/** The hidden states of one example, a Float32Array (T*H) for each layer and direction. */
export function statesOfExample(network, example, index) {
  if (!statesByNetwork.has(network)) statesByNetwork.set(network, { size: 0, states: new Map() });
  const kept = statesByNetwork.get(network);
  if (kept.states.has(index)) return kept.states.get(index);
  const { layers } = forward(network, sequenceOf(example));
  const states = layers.map(({ gates }) => Float32Array.from(gates.h));
  kept.size += states.reduce((sum, { length }) => sum + length, 0);
  if (kept.size <= MOST_STATES) kept.states.set(index, states);
  return states;
}

/** The values of a pattern's units in an example, one array (T) each. */
export function seriesOfPattern(network, config, pattern, example, index) {
  const states = statesOfExample(network, example, index);
  const { hidden_size: units, bidirectional } = config;
  return pattern.map(({ row }) => {
    const h = states[row.layer * (bidirectional ? 2 : 1) + row.direction];
    return Float32Array.from({ length: h.length / units }, (_, t) => h[t * units + row.unit]);
  });
}

/** Looks through all examples for a pattern; one search at a time. */
export class SpanSearch {
  constructor() {
    this.key = "";
    this.timer = 0;
  }

  /**
   * Start, unless the same search runs or is done; the former one is given up.
   *
   * @param show called with {matches: best first, seen, count: examples looked through, of all}.
   */
  start(key, scene, pattern, { span, threshold }, show) {
    if (key === this.key) return;
    clearTimeout(this.timer);
    this.key = key;
    const { network, config, examples, exampleIndex } = scene; // a scene changes with the state
    const length = span.to - span.from + 1;
    const matches = [];
    let index = 0;
    const work = () => {
      const end = performance.now() + SEARCH_SLICE;
      while (index < examples.length && performance.now() < end) {
        const series = seriesOfPattern(network, config, pattern, examples[index], index);
        const skip = index === exampleIndex ? span : null;
        const match = matchSpan(pattern, series, length, threshold, skip);
        if (match) matches.push({ index, series, ...match });
        index += 1;
      }
      if (index < examples.length) this.timer = setTimeout(work);
      matches.sort((a, b) => b.share - a.share || a.index - b.index);
      show({ matches, seen: index, count: examples.length });
    };
    this.timer = setTimeout(work, 60); // not at each move of a drag
  }

  /** Give up a search that runs. */
  stop() {
    clearTimeout(this.timer);
    this.key = "";
  }
}
