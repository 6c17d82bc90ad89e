// The state of the page: small JSON values by name, all of them in the address.

import { hasForm } from "./stateForms.js";

const DEFAULTS = {
  run: 0, // index of the run
  example: 0, // index of the sequence
  epoch: null, // epoch whose weights are shown; null for the final weights
  step: 0, // the cursor
  layer: null, // null for the top layer
  direction: 0, // 1 for backward
  unit: 0, // of the layer and direction
  output: null, // index of the output; null for the predicted one
  edits: {}, // values of the input in the user's unit or as texts: see edits.js
  clamps: [], // {layer, direction, name, unit, value, from, to}
  erased: [], // steps
  input: null, // the input whose influence is shown; null for that at the cursor
  colour: null, // gate or state that colours the text; null for the state, c where there is one
  span: null, // [from, to], marked steps
  threshold: 0.3, // size of h from which on a unit counts as on
  outside: "any", // where a unit must be off: see SPAN_OUTSIDES in units.js
  sort: "peak", // order of the units
  search: "", // of the units
  column: 0, // of the input, where there are too many to draw each of them
  difference: false, // whether heat maps show the change from the former run
  mark: null, // a term of the equation that is marked in the panels: name of a gate or state
  compare: null, // {run, epoch} beside the other
  task: null, // name of the task that is trained in the page
  train: {}, // its settings
};

let current = readAddress();
const listeners = [];

/** The state; do not change it, call setState. */
export function getState() {
  return current;
}

/**
 * Change some values; the address and all who listen follow. `hover`, the step that is pointed at, is
 * not part of the address; it ends when a step is chosen.
 */
export function setState(changes) {
  current = { ...current, ...("step" in changes ? { hover: null } : {}), ...changes };
  writeAddress();
  for (const listener of listeners) listener(current);
}

/**
 * Let the cursor follow what a canvas reports: it shows the step that is pointed at, and stays at one
 * that is pressed or reached by a key, with other changes that this makes.
 */
export function pointCursor({ kind, step }, changes = {}) {
  if (kind === "leave") setState({ hover: null });
  else if (kind === "hover") setState({ hover: step });
  else if (kind === "release") setState({ hover: null });
  else setState({ step, ...changes });
}

const written = []; // times of the last changes of the address
let waiting = 0;

/** Browsers refuse more than 100 to 200 changes in 30 seconds, which a drag makes in two. */
function writeAddress() {
  if (location.protocol === "about:") return; // the frame of a notebook has no address of its own
  const address = addressOf(current), now = performance.now();
  if (waiting || address === `${location.pathname}${location.search}${location.hash}`) return;
  while (written.length && now - written[0] > 30000) written.shift();
  if (written.length >= 60) {
    waiting = setTimeout(() => {
      waiting = 0;
      history.replaceState(null, "", addressOf(current));
    }, 1000);
    return;
  }
  written.push(now);
  history.replaceState(null, "", address);
}

/** Call a function with the state after each change. */
export function onState(listener) {
  listeners.push(listener);
}

/** The part of the address that holds a state: what differs from the defaults. */
export function addressOf(state) {
  const parts = Object.keys(DEFAULTS)
    .filter((name) => JSON.stringify(state[name]) !== JSON.stringify(DEFAULTS[name]))
    .map((name) => `${name}=${encodeURIComponent(JSON.stringify(state[name]))}`);
  return `${location.pathname}${location.search}#${parts.join("&")}`;
}

function readAddress() {
  const state = { ...DEFAULTS };
  for (const part of location.hash.slice(1).split("&")) {
    const [name, value] = part.split("=");
    if (!(name in DEFAULTS) || value === undefined) continue;
    try {
      const read = JSON.parse(decodeURIComponent(value));
      if (hasForm(name, read, DEFAULTS[name])) state[name] = read;
    } catch {
      // An address that was cut or typed wrongly: the default stays.
    }
  }
  return state;
}

addEventListener("hashchange", () => {
  current = readAddress();
  for (const listener of listeners) listener(current);
});
