// The text of the sequence, coloured by what one unit does at each step (Karpathy et al. 2015).

import { visibleToken } from "./changes.js";
import { css, signedColour } from "./colours.js";
import { element, fill, formatNumber } from "./dom.js";
import { largest } from "./heatmap.js";
import { pointCursor } from "./state.js";
import { nameOfStep, stepTexts } from "./stepTexts.js";
import { placesOf } from "./toolbar.js";

const NAMES_OF_VALUES = {
  h: "state h", c: "cell state c", r: "reset gate r", z: "update gate z", n: "candidate n",
  i: "input gate i", f: "forget gate f", g: "candidate g", o: "output gate o",
};

/** Tokens or categories with the values of a unit as their background. */
export const textPanel = {
  id: "text",
  title: "The text, coloured by one unit",
  help: "Blue is positive, orange is negative. Press a word to move the cursor there, choose another "
    + "unit at the top or with the arrow keys up and down.",

  make(root, lab) {
    this.lab = lab;
    this.choice = element("select", { id: "choose-colour",
      onchange: () => lab.setState({ colour: this.choice.value }) });
    this.text = element("div", { class: "text", role: "group", tabindex: 0, onkeydown: (event) =>
      this.move(event), onpointerleave: () => pointCursor({ kind: "leave" }) });
    this.reading = element("p", { class: "reading", "aria-live": "polite" });
    root.append(element("label", { class: "field inline", for: "choose-colour" },
      element("span", {}, "Colour by"), this.choice), this.text, this.reading);
  },

  when: (scene) => scene.run !== null && stepTexts(scene) !== null,

  draw(scene) {
    const names = scene.network.cell.traced;
    const name = names.includes(scene.state.colour) ? scene.state.colour : names.includes("c") ? "c" : "h";
    if (this.choice.dataset.names !== String(names)) {
      this.choice.dataset.names = String(names);
      fill(this.choice, ...names.map((each) =>
        element("option", { value: each }, NAMES_OF_VALUES[each] ?? each)));
    }
    this.choice.value = name;
    const values = valuesOf(scene, name), texts = stepTexts(scene);
    this.write(scene, texts, values);
    const where = `${NAMES_OF_VALUES[name]} of unit ${scene.unit + 1}, layer `
      + placesOf(scene.config)[scene.place];
    this.text.setAttribute("aria-label", `Text coloured by the ${where}`);
    fill(this.reading, `At step ${nameOfStep(scene, scene.at)}: ${where} = `
      + `${formatNumber(values[scene.at])}. Colours run from −${formatNumber(limitOf(values))} to `
      + `${formatNumber(limitOf(values))}.`);
  },

  /** One element a step; they are kept while only the colours change. */
  write(scene, texts, values) {
    const key = JSON.stringify(texts);
    if (key !== this.key) {
      this.key = key;
      const isText = texts.every((text) => [...text].length <= 1);
      this.text.classList.toggle("letters", isText);
      fill(this.text, ...texts.map((text, step) => element("span", {
        "data-step": step, onclick: () => pointCursor({ kind: "press", step }),
        onpointerenter: () => pointCursor({ kind: "hover", step }) },
      isText ? text.replace("\n", "⏎\n") : visibleToken(text))));
    }
    const limit = limitOf(values);
    [...this.text.children].forEach((word, t) => {
      const colour = signedColour(values[t] / limit);
      word.style.background = css(colour);
      word.style.color = isDark(colour) ? "#ffffff" : "#000000";
      word.title = formatNumber(values[t]);
      word.classList.toggle("cursor", t === scene.at);
      word.classList.toggle("erased", scene.changes.erased.has(t));
    });
  },

  move(event) {
    const { scene } = this.lab;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key], unit = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!step && !unit) return;
    const within = (value, count) => Math.max(0, Math.min(count - 1, value));
    this.lab.setState(step ? { step: within(scene.at + step, scene.steps) }
      : { unit: within(scene.unit + unit, scene.config.hidden_size) });
    event.preventDefault();
    event.stopPropagation();
  },
};

/** Values of the unit over the steps, (T). */
function valuesOf(scene, name) {
  const gate = scene.pass.layers[scene.place].gates[name], H = scene.config.hidden_size;
  return Float64Array.from({ length: scene.steps }, (_, t) => gate[t * H + scene.unit]);
}

/** The value of the darkest colour: 1, unless a state exceeds it. */
function limitOf(values) {
  return Math.max(1, largest(values));
}

/** Whether white has more contrast on a colour than black: its relative luminance, as in WCAG 2. */
function isDark(colour) {
  const [red, green, blue] = colour.map((value) => value / 255)
    .map((share) => (share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.179;
}
