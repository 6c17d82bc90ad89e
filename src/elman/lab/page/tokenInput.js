// Tokens of a sequence as a row of buttons, and a field to replace the one under the cursor.

import { tokenText, visibleToken } from "./changes.js";
import { inputKey, tokenId, withEdit, withoutEdit } from "./edits.js";
import { element, fill } from "./dom.js";

const MOST_SUGGESTED = 200;

/** Make the row and the field; returns a function that brings them up to date with a scene. */
export function makeTokenInput(parent, lab) {
  const strip = element("div", { class: "tokens", role: "group", "aria-label": "Tokens" });
  const known = element("datalist", { id: "known-tokens" });
  const note = element("span", { class: "note", role: "status" });
  const label = element("span", {});
  const field = element("input", { id: "token-entry", type: "text", list: "known-tokens", size: 14,
    autocomplete: "off", spellcheck: "false" });
  parent.append(strip, element("div", { class: "row" },
    element("label", { for: "token-entry", class: "field" }, label, field), note), known);

  const commit = () => {
    const { scene } = lab, key = inputKey(scene.at, 0), text = field.value;
    if (text === "") field.value = tokenAt(scene, scene.at);
    else {
      const { edits } = lab.getState(), same = text === tokenText(scene, scene.at);
      lab.setState({ edits: same ? withoutEdit(edits, key) : withEdit(edits, key, text) });
    }
  };
  field.addEventListener("input", () => suggest(known, lab.scene.run.vocabulary ?? [], field.value));
  field.addEventListener("focus", () => {
    suggest(known, lab.scene.run.vocabulary ?? [], "");
    field.select();
  });
  field.addEventListener("change", commit);
  strip.addEventListener("click", (event) => {
    if (event.target.dataset.step === undefined) return;
    lab.setState({ step: Number(event.target.dataset.step), hover: null });
  });
  strip.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    field.focus();
  });

  return (scene) => {
    if (strip.dataset.shown !== scene.exampleKey) {
      strip.dataset.shown = scene.exampleKey;
      fill(strip, ...Array.from({ length: scene.steps }, (_, t) =>
        element("button", { type: "button", "data-step": t, tabindex: -1 })));
    }
    const hadFocus = strip.contains(document.activeElement);
    for (let t = 0; t < scene.steps; t++) drawToken(strip.children[t], scene, t);
    if (hadFocus) strip.children[scene.at].focus({ preventScroll: true });
    label.textContent = `Token at step ${scene.at + 1}: choose or type another`;
    const text = tokenAt(scene, scene.at);
    if (document.activeElement !== field || field.dataset.step !== String(scene.at)) field.value = text;
    field.dataset.step = scene.at;
    const isUnknown = tokenId(scene.run, text) === 1;
    note.textContent = isUnknown
      ? `“${visibleToken(text)}” is not in the vocabulary; the network reads an unknown token.` : "";
  };
}

/** The text of the token at a step, with the edits made. */
function tokenAt(scene, step) {
  return String(scene.state.edits[inputKey(step, 0)] ?? tokenText(scene, step));
}

function drawToken(button, scene, step) {
  const text = tokenAt(scene, step), former = tokenText(scene, step);
  const isErased = scene.state.erased.includes(step);
  const signature = JSON.stringify([text, former, isErased, step === scene.at]);
  if (button.dataset.shown === signature) return; // most tokens stay as they are
  button.dataset.shown = signature;
  const isEdited = text !== former;
  button.className = [isEdited && "edited", isErased && "erased"].filter(Boolean).join(" ");
  button.tabIndex = step === scene.at ? 0 : -1;
  if (step === scene.at) button.setAttribute("aria-current", "step");
  else button.removeAttribute("aria-current");
  const words = [`step ${step + 1}`, text, isEdited && `in the data ${former}`, isErased && "erased"];
  button.setAttribute("aria-label", words.filter(Boolean).join(", "));
  button.dataset.step = step;
  button.dataset.former = isEdited ? visibleToken(former) : "";
  button.textContent = visibleToken(text);
}

/** Offer the tokens that begin with a text, then those that contain it. */
function suggest(list, vocabulary, text) {
  const words = vocabulary.slice(2); // the first two are padding and the unknown token
  const first = words.filter((word) => word.startsWith(text));
  const others = text ? words.filter((word) => !word.startsWith(text) && word.includes(text)) : [];
  fill(list, ...[...first, ...others].slice(0, MOST_SUGGESTED).map((word) =>
    element("option", { value: word, label: visibleToken(word) })));
}
