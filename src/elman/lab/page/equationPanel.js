// The equations of the step under the cursor, for one unit, with their numbers below the symbols.

import { visibleToken } from "./changes.js";
import { codePart, markLines } from "./codeView.js";
import { element, fill, formatNumber } from "./dom.js";
import { forwardEquations } from "./equations.js";
import { lineOf, plainSymbol, tokensOf } from "./expression.js";
import { fromScratch } from "./fromScratch.js";
import { backwardEquations } from "./gradientEquations.js";
import { outputEquations } from "./outputEquations.js";
import { stepTexts } from "./stepTexts.js";
import { placesOf } from "./toolbar.js";

const MOST_PARTS = 5; // products of a sum that are listed; the others are added up

/** The step under the cursor as equations, forward and backward. */
export const equationPanel = {
  id: "equation",
  title: "The equation of this step",
  help: "Symbols above, their numbers below, for the unit and step that are chosen at the top. Point "
    + "at a number to mark its row in the other panels; press an underlined one to see its terms.",

  make(root, lab) {
    this.lab = lab;
    this.former = null; // what was marked before a term was pointed at
    this.open = new Set(); // sums whose terms are listed
    this.where = element("p", { class: "reading" });
    this.forward = element("div", {});
    this.backward = element("div", {});
    root.append(this.where, element("div", { class: "columns" },
      element("div", {}, element("h3", {}, "Forward"), this.forward),
      element("div", {}, element("h3", {}, "Backward"), this.backward)));
  },

  draw(scene) {
    const { state } = scene;
    const key = JSON.stringify([scene.key, scene.place, scene.unit, scene.at, scene.output,
      [...this.open]]);
    // The elements stay while only a mark changes: the pointer stands on one of them.
    if (key !== this.key) {
      this.key = key;
      this.write(scene);
    }
    for (const term of this.forward.parentElement.parentElement.querySelectorAll("[data-mark]")) {
      term.classList.toggle("marked", term.dataset.mark === state.mark);
    }
  },

  write(scene) {
    const situation = situationOf(scene);
    fill(this.where, describePlace(scene));
    const forward = [...forwardEquations(situation), ...outputEquations(situation)];
    const backward = backwardEquations(situation);
    const [own, loss, gradients] = fromScratch.functions;
    fill(this.forward, ...forward.map((each) => this.equation(each, "forward")),
      this.code(scene, [own], forward));
    fill(this.backward, scene.hasTarget ? null : element("p", { class: "help" },
      "The sequence has no label: these are gradients for the predicted one."),
    ...backward.map((each) => this.equation(each, "backward")),
    this.code(scene, [loss, gradients], backward));
  },

  /** One equation: its title, its two lines, and the terms of opened sums. */
  equation(each, side) {
    const { key, title, left, right, note, line } = each;
    const tokens = [...tokensOf(left), { sign: "=" }, ...tokensOf(right)];
    const spoken = `${title}: ${lineOf(left, "symbols")} = ${lineOf(right, "symbols")} = `
      + `${lineOf(right, "numbers")} = ${lineOf(left, "numbers")}`;
    const opened = tokens.filter(({ leaf }) => leaf && this.open.has(nameOf(side, key, leaf)));
    const place = line === null ? null : element("span", { class: "line" },
      `line ${fromScratch.lines[line]}`);
    const box = element("div", { class: "equation", "data-key": key,
      "data-line": line === null ? null : fromScratch.lines[line] },
    element("div", { class: "name" }, title, place),
    element("div", { class: "formula", role: "group", "aria-label": spoken },
      ...tokens.map((token) => this.token(token, side, key))),
    ...opened.map(({ leaf }) => this.terms(leaf)),
    note ? element("p", { class: "help" }, `${note[0].toUpperCase()}${note.slice(1)}.`) : null);
    box.addEventListener("pointerenter", () => markLines(this.lines(side), box));
    box.addEventListener("pointerleave", () => markLines(this.lines(side), null));
    return box;
  },

  lines(side) {
    return this[side].querySelector(".code");
  },

  /** A symbol above its number; signs stand on both lines. */
  token({ sign, leaf, number }, side, key) {
    if (sign) {
      const text = "+·−=".includes(sign) ? ` ${sign} ` : sign;
      return element("span", { class: "term", "aria-hidden": "true" },
        element("span", {}, text), element("span", {}, text));
    }
    const attributes = { class: "term", "data-mark": leaf.mark };
    if (leaf.mark) {
      attributes.onpointerenter = () => {
        this.former = this.lab.getState().mark;
        this.lab.setState({ mark: leaf.mark });
      };
      attributes.onpointerleave = () => this.lab.setState({ mark: this.former });
    }
    const symbol = element("span", { class: "symbol" }, ...symbolParts(leaf.symbol));
    if (!leaf.parts) {
      return element("span", { ...attributes, "aria-hidden": "true" }, symbol,
        element("span", { class: "number" }, number));
    }
    const name = nameOf(side, key, leaf);
    return element("button", { ...attributes, class: "term sum", type: "button",
      "aria-expanded": String(this.open.has(name)),
      "aria-label": `${plainSymbol(leaf.symbol)} is ${number}; show its terms`,
      onclick: () => {
        if (!this.open.delete(name)) this.open.add(name);
        this.lab.redraw();
      } }, symbol, element("span", { class: "number" }, number));
  },

  /** The largest products of a sum, and the others together. */
  terms(leaf) {
    const sizes = leaf.parts.map((part) => ({ ...part, value: part.weight * part.factor }))
      .sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
    const shown = sizes.slice(0, MOST_PARTS), rest = sizes.slice(MOST_PARTS);
    const row = (...cells) => element("tr", {}, ...cells.map((cell) => element("td", {}, cell)));
    const others = rest.reduce((sum, { value }) => sum + value, 0);
    return element("div", { class: "scroll terms" }, element("table", {},
      element("thead", {}, element("tr", {}, ...["from", "weight", "value", "product"].map((name) =>
        element("th", { scope: "col" }, name)))),
      element("tbody", {}, ...shown.map(({ label, place, weight, factor, value }) => row(
        place ? element("button", { type: "button", class: "link",
          onclick: () => this.lab.setState(place) }, label) : label,
        formatNumber(weight, 4), formatNumber(factor, 4), formatNumber(value, 4))),
      rest.length ? row(`${rest.length} others together`, "", "", formatNumber(others, 4)) : null)));
  },

  /** The functions of rnn_from_scratch.py in which the equations stand. */
  code(scene, functions, equations) {
    const numbers = new Set(equations.filter(({ line }) => line !== null)
      .map(({ line }) => fromScratch.lines[line]));
    const part = codePart(functions, numbers, (line) => {
      for (const box of part.parentElement.querySelectorAll(".equation")) {
        box.classList.toggle("marked", line !== null && Number(box.dataset.line) === line);
      }
    });
    const gated = scene.config.cell === "rnn" && scene.config.nonlinearity !== "relu" ? ""
      : ` It has a simple RNN with tanh: the equations above replace its lines ${fromScratch.lines.step}`
        + ` and ${fromScratch.lines.da}.`;
    part.prepend(element("p", { class: "help" }, `In ${fromScratch.file}.${gated}`));
    return part;
  },
};

function nameOf(side, key, leaf) {
  return `${side} ${key} ${leaf.symbol}`;
}

/** A symbol with its subscripts: `h_{t-1}` is h with a small t−1. */
function symbolParts(symbol) {
  return symbol.split(/(_\{[^}]*\})/).filter(Boolean).map((part) => part.startsWith("_{")
    ? element("sub", {}, part.slice(2, -1).replace("-", "−"))
    : part);
}

/** What the equations read of a scene. */
function situationOf(scene) {
  const { network, pass, back, target, layer, direction, unit, output, run } = scene;
  return { network, pass, back, target, layer, direction, unit, output, step: scene.at,
    inputNames: inputNamesOf(run), outputNames: run.outputs.names };
}

/** Names of the numbers that the first layer reads: channels, and numbers of embeddings. */
function inputNamesOf({ config, channels }) {
  const names = channels.slice(0, config.input_size).map(({ name }) => name);
  const tables = config.vocabulary_size ? [["token", config.embedding_size]]
    : (config.category_widths ?? []).map((width, k) => [channels[config.input_size + k].name, width]);
  for (const [name, width] of tables) {
    for (let i = 1; i <= width; i++) names.push(`number ${i} of the embedding of ${name}`);
  }
  return names;
}

function describePlace(scene) {
  const { config, at, steps, network } = scene;
  const input = scene.layer > 0 ? `x_t is the states of layer ${scene.layer} at this step.`
    : config.vocabulary_size ? `x_t is the embedding of “${visibleToken(stepTexts(scene)[at])}”, `
      + `${config.embedding_size} numbers.`
    : network.tables.length ? "x_t is the numbers and the embedded categories of this step."
    : "x_t is the input of this step, as the network reads it.";
  const first = at === (scene.direction ? steps - 1 : 0)
    ? ` It is the first step in this direction; before it the states are ${network.setsState
      ? "those that the static features set" : "0"}.` : "";
  return `Unit ${scene.unit + 1} of layer ${placesOf(config)[scene.place]}, step ${at + 1} of `
    + `${steps}, ${network.cell.title}. ${input}${first}`;
}
