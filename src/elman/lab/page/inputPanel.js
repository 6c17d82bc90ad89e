// The input of the sequence, where everything that can be touched is changed.

import { makeChanges } from "./changes.js";
import { inTheData, makeColumnInput, makeNumberEntry, toggleErased } from "./columnInput.js";
import { element, fill } from "./dom.js";
import { featureKey, featureValue, withEdit, withoutEdit } from "./edits.js";
import { makeTokenInput } from "./tokenInput.js";

/** Numbers, categories, tokens and static features of the sequence; erased steps; the changes. */
export const inputPanel = {
  id: "input",
  title: "Input",
  help: "Drag a point up or down, type a value, replace a token, or erase a step: every panel follows, "
    + "and the run on the data as they were stays as a dashed grey line.",

  make(root, lab) {
    this.columns = element("div", {});
    this.tokens = element("div", {});
    this.features = element("div", { class: "features" });
    this.erase = element("button", { type: "button", id: "erase-step", onclick: () =>
      toggleErased(lab, lab.scene.at) });
    root.append(this.columns, this.tokens, element("div", { class: "row" }, this.erase), this.features);
    this.drawColumns = makeColumnInput(this.columns, lab);
    this.drawTokens = makeTokenInput(this.tokens, lab);
    this.drawFeatures = makeFeatures(this.features, lab);
    this.drawChanges = makeChanges(root, lab);
  },

  draw(scene) {
    const hasTokens = scene.config.vocabulary_size > 0;
    this.tokens.hidden = !hasTokens;
    this.columns.hidden = hasTokens;
    if (hasTokens) this.drawTokens(scene);
    else this.drawColumns(scene);
    const isErased = scene.state.erased.includes(scene.at);
    this.erase.textContent = isErased ? `Bring back step ${scene.at + 1}` : `Erase step ${scene.at + 1}`;
    this.erase.disabled = !isErased && scene.state.erased.length >= scene.steps - 1;
    this.drawFeatures(scene);
    this.drawChanges(scene);
  },
};

/** Fields for the static features; returns a function that brings them up to date. */
function makeFeatures(parent, lab) {
  let shown = null, fields = [];
  return (scene) => {
    const features = scene.original.static ? scene.run.static : [];
    parent.hidden = !features.length;
    const signature = `${scene.runIndex} ${scene.run.version ?? 0}`;
    if (shown !== signature) {
      shown = signature;
      fields = features.map((feature, k) => makeFeature(lab, feature, k));
      fill(parent, element("h3", {}, "Of the whole sequence"),
        element("div", { class: "row" }, ...fields.map(({ box }) => box)));
    }
    for (const field of fields) field.draw(scene);
  };
}

function makeFeature(lab, feature, k) {
  const id = `static-${k}`, key = featureKey(k), former = element("span", { class: "former" });
  const commit = (value) => {
    const { edits } = lab.getState(), own = featureValue(feature, lab.scene.original.static);
    lab.setState({ edits: value === own ? withoutEdit(edits, key) : withEdit(edits, key, value) });
  };
  const entry = makeNumberEntry(id, feature.name, commit);
  const missing = element("input", { type: "checkbox", onchange: () => commit(missing.checked
    ? null : featureValue(feature, lab.scene.original.static) ?? feature.mean) });
  const texts = feature.values ? [...new Set([...feature.values, "unknown"])] : [];
  const select = element("select", { id, onchange: () => commit(select.value) },
    ...texts.map((text) => element("option", { value: text }, text)));
  const control = feature.values ? select : entry.field;
  const hasGaps = !feature.values && feature.columns.length > 1;
  const box = element("div", { class: "field" },
    element("label", { for: id }, feature.unit ? `${feature.name} (${feature.unit})` : feature.name),
    control, hasGaps ? element("label", { class: "check" }, missing, " missing") : null, former, entry.note);
  const draw = (scene) => {
    const value = featureValue(feature, scene.sequence.static);
    const own = featureValue(feature, scene.original.static);
    if (feature.values) select.value = value;
    else entry.show(value === null ? "" : String(value), 0);
    missing.checked = value === null;
    former.textContent = value === own ? "" : inTheData(own);
  };
  return { box, draw };
}
