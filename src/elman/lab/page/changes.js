// The list of what a person changed: each change can be undone alone, the last one, or all.

import { featureValue, inputValue, placeOf, withoutEdit } from "./edits.js";
import { element, fill, formatNumber } from "./dom.js";

const PAUSE = 500; // milliseconds after which another value of the same place is a step of its own

/** Make the list; returns a function that brings it up to date with a scene. */
export function makeChanges(parent, lab) {
  const history = keepHistory(lab);
  const list = element("ul", { class: "changes" });
  const last = element("button", { type: "button", id: "undo-last", onclick: history.undo,
    title: "Ctrl+Z" }, "Undo last");
  const all = element("button", { type: "button", onclick: () => lab.setState(NO_CHANGES) }, "Undo all");
  const difference = element("input", { type: "checkbox", id: "show-difference", onchange: () =>
    lab.setState({ difference: difference.checked }) });
  const box = element("div", { class: "changes-box", role: "region", "aria-label": "Changes" },
    element("h3", {}, "Changes"), list, element("div", { class: "row" }, last, all,
      element("label", { class: "check" }, difference, "Heat maps show the change from the former run")));
  parent.append(box);
  addEventListener("keydown", (event) => {
    const isUndo = (event.ctrlKey || event.metaKey) && event.key === "z" && !event.shiftKey;
    if (!isUndo || event.target.matches("input, textarea") || !history.past.length) return;
    event.preventDefault();
    history.undo();
  });
  return (scene) => {
    last.disabled = !history.past.length;
    all.disabled = difference.disabled = !scene.isTouched;
    difference.checked = scene.state.difference;
    const { edits, clamps, erased } = scene.state;
    const signature = JSON.stringify([scene.exampleKey, edits, clamps, erased]);
    if (list.dataset.shown === signature) return;
    list.dataset.shown = signature;
    const none = element("li", { class: "help" }, "Nothing is changed: this is the sequence of the data.");
    fill(list, ...(scene.isTouched ? [] : [none]), ...changesOf(scene).map(({ text, rest }) =>
      element("li", {}, text, " ",
      element("button", { type: "button", class: "quiet", "aria-label": `Undo: ${text}`,
        onclick: () => lab.setState(rest) }, "undo"))));
  };
}

const NO_CHANGES = { edits: {}, clamps: [], erased: [] };

/** Each change in words, with the state that is left without it. */
function changesOf(scene) {
  const { edits, clamps, erased } = scene.state;
  return [
    ...Object.entries(edits).map(([key, value]) => ({
      text: describeEdit(scene, key, value), rest: { edits: withoutEdit(edits, key) } })),
    ...clamps.map((clamp, i) => ({
      text: describeClamp(scene, clamp), rest: { clamps: clamps.filter((_, k) => k !== i) } })),
    ...erased.map((step) => ({
      text: `Step ${step + 1}: erased`, rest: { erased: erased.filter((each) => each !== step) } })),
  ];
}

function describeEdit(scene, key, value) {
  const { run, original } = scene, place = placeOf(run, scene.steps, key);
  if (!place) return `${key}: not in this sequence`;
  if (place.feature !== undefined) {
    const feature = run.static[place.feature], former = featureValue(feature, original.static);
    return `${feature.name}: ${inWords(former)} → ${inWords(value)} ${feature.unit ?? ""}`.trim();
  }
  const { column, step } = place;
  const former = column.kind === "token" ? tokenText(scene, step) : inputValue(run, original, column, step);
  const name = column.kind === "token" ? "" : `${column.name} `;
  return `Step ${step + 1}: ${name}${inWords(former)} → ${inWords(value)} ${column.unit}`.trim();
}

function describeClamp(scene, { layer, direction, name, unit, value, from, to }) {
  const { config } = scene, where = [];
  if (config.num_layers > 1) where.push(`layer ${layer + 1}`);
  if (config.bidirectional) where.push(direction ? "backward" : "forward");
  const place = where.length ? ` (${where.join(", ")})` : "";
  const span = from === to ? `step ${from + 1}` : `steps ${from + 1} to ${to + 1}`;
  return `${name} of unit ${unit + 1}${place}, ${span}: held at ${formatNumber(value)}`;
}

function inWords(value) {
  if (value === null) return "missing";
  return typeof value === "number" ? formatNumber(value, 6) : visibleToken(value);
}

/** The text of a token of the data, also of one that is not in the vocabulary. */
export function tokenText(scene, step) {
  const { run, original, example } = scene;
  return example.tokens?.[step] ?? run.vocabulary?.[original.x[step]] ?? String(original.x[step]);
}

/** A token as it can be seen: spaces and line ends have signs of their own. */
export function visibleToken(text) {
  return text.replaceAll(" ", "␣").replaceAll("\n", "⏎").replaceAll("\t", "⇥");
}

/** The former changes, for undoing the last one; those of the same place in quick succession are one. */
function keepHistory(lab) {
  const past = [];
  const pick = ({ edits, clamps, erased }) => ({ edits, clamps, erased });
  const placesIn = ({ edits, clamps, erased }) => JSON.stringify([Object.keys(edits).sort(),
    clamps.map((clamp) => ({ ...clamp, value: null })), erased]);
  let now = pick(lab.getState()), changedAt = -Infinity, isUndoing = false;
  lab.onState((state) => {
    const next = pick(state);
    if (Object.keys(next).every((name) => next[name] === now[name])) return;
    const time = performance.now();
    const isSamePlace = time - changedAt < PAUSE && placesIn(next) === placesIn(now);
    if (!isUndoing && !isSamePlace) past.push(now);
    changedAt = isUndoing ? -Infinity : time;
    now = next;
  });
  const undo = () => {
    if (!past.length) return;
    isUndoing = true;
    lab.setState(past.pop());
    isUndoing = false;
  };
  return { past, undo };
}
