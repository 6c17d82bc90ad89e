// Two runs, or two epochs of one run, side by side on the same sequence.

import { describeTarget, judgeAnswer, tallyAnswers } from "./answers.js";
import {
  compareSettings, convertSequence, sharedExamples, weightChanges, whyNotComparable,
} from "./comparison.js";
import { sequenceOf, targetOf } from "./data.js";
import { countOf, element, fill, formatNumber } from "./dom.js";
import { drawHeatmap, largest, makeHeatmap } from "./heatmap.js";
import { forward } from "./network.js";
import { pointCursor } from "./state.js";

const MOST_COMPARED = 6;
const MOST_LISTED = 12;

/** Settings, states and answers of two networks for one sequence, and how both do on all examples. */
export const comparePanel = {
  id: "compare",
  title: "Compare",
  help: "Two runs, or two epochs of one run, on the same sequence. Settings that differ are marked.",

  when: (scene) => scene.run !== null && choicesOf(scene).length > 0,

  make(root, lab) {
    this.lab = lab;
    this.choice = element("select", { id: "compare-with",
      onchange: () => lab.setState({ compare: JSON.parse(this.choice.value) }) });
    this.sides = ["left", "right"].map((name) => {
      const canvas = makeHeatmap((point) => this.point(name, point));
      const title = element("h3", {});
      const text = element("p", { class: "reading" });
      return { canvas, title, text, box: element("div", {}, title, canvas, text) };
    });
    this.problem = element("p", { class: "help" });
    this.answers = element("div", { id: "compare-answers" });
    this.examples = element("div", { id: "compare-examples" });
    this.settings = element("div", { id: "compare-settings" });
    this.restTitle = element("summary", {});
    this.restRows = element("div", {});
    this.rest = element("details", {}, this.restTitle, this.restRows); // stays open when it is drawn
    root.append(element("label", { for: "compare-with", class: "field" },
      element("span", {}, "Compare with"), this.choice), this.problem,
    element("div", { class: "pair" }, ...this.sides.map(({ box }) => box)),
    this.answers, this.examples, this.settings);
  },

  point(side, point) {
    pointCursor(point, side === "left" ? { unit: point.row, layer: null } : {});
  },

  draw(scene) {
    const other = besideOf(scene);
    this.drawChoice(scene, other);
    const names = [scene, other].map((each) => sideName(scene.run === other.run, each));
    const problem = whyNotComparable(scene.run, other.run);
    fill(this.problem, problem && `The sequences of the first run cannot be read by the second, because ${
      problem}. Only the settings are compared.`);
    for (const { box } of this.sides) box.hidden = Boolean(problem);
    this.answers.hidden = this.examples.hidden = Boolean(problem);
    if (!problem) {
      const passes = this.drawStates(scene, other, names);
      this.drawAnswers(scene, other, names, passes);
      this.drawExamples(scene, other, names);
    }
    this.drawSettings(scene, other, names);
  },

  drawChoice(scene, other) {
    const choices = choicesOf(scene);
    fill(this.choice, ...choices.map(({ value, text }) =>
      element("option", { value: JSON.stringify(value) }, text)));
    this.choice.value = JSON.stringify({ run: other.runIndex, epoch: other.epoch });
  },

  drawStates(scene, other, names) {
    const { sequence, unknown } = convertSequence(scene.sequence, scene.run, other.run);
    const key = `beside ${scene.key} ${other.weightsKey}`;
    const isSame = scene.run === other.run; // a clamp of one unit means nothing in another network
    const changes = isSame ? scene.changes : { erased: scene.changes.erased };
    const passes = [scene.pass, scene.keep(key, () => forward(other.network, sequence, changes))];
    const tops = passes.map((pass, side) => {
      const { bidirectional, num_layers: layers } = [scene, other][side].config;
      const direction = bidirectional ? scene.direction : 0;
      return pass.layers[(layers - 1) * (bidirectional ? 2 : 1) + direction];
    });
    const limit = Math.max(...tops.map(({ gates }) => largest(gates.h)));
    this.sides.forEach(({ canvas, title, text }, side) => {
      const { config } = [scene, other][side];
      fill(title, names[side]);
      const label = `Hidden states of the top layer of ${names[side]}: ${
        countOf(config.hidden_size, "unit")} over ${countOf(scene.steps, "step")}.`;
      drawHeatmap(canvas, { values: tops[side].gates.h, rows: config.hidden_size,
        steps: scene.steps, scale: "signed", limit, cursor: scene.at, label,
        row: side === 0 || isSame ? scene.unit : undefined });
      fill(text, `Top layer, ${tops[side].direction ? "backward" : "forward"}, |h| up to ${
        formatNumber(largest(tops[side].gates.h))}${side && unknown.length
        ? `; not known to this run: ${unknown.slice(0, 5).join(", ")}` : ""}${
        side && !isSame && scene.state.clamps.length ? "; without the clamped values" : ""}`);
    });
    return passes;
  },

  drawAnswers(scene, other, names, passes) {
    const runs = [scene.run, other.run];
    const outputs = [...new Set(runs.flatMap(({ outputs: { names: texts } }) => texts))];
    const at = (side, name) => {
      const { outputs: { names: texts }, config } = runs[side];
      const row = config.readout === "every" ? scene.at * texts.length : 0;
      const k = texts.indexOf(name);
      return k < 0 ? null : passes[side].answer[row + k];
    };
    const rows = outputs.map((name) => ({ name, left: at(0, name), right: at(1, name) }));
    const size = ({ left, right }) => Math.max(Math.abs(left ?? 0), Math.abs(right ?? 0));
    if (scene.config.task !== "regression") rows.sort((a, b) => size(b) - size(a));
    const label = describeTarget(scene.run, targetOf(scene.example), scene.at);
    const isEvery = scene.config.readout === "every";
    fill(this.answers,
      element("h3", {}, isEvery ? `Answers at step ${scene.at + 1}` : "Answers for this sequence"),
      element("p", { class: "help" }, label ? `The true answer is ${label}. ` : "",
        scene.config.task === "regression" ? scene.run.outputs.unit : "The table has probabilities."),
      tableWithTitles(["Output", ...names, "Difference"], rows.slice(0, MOST_COMPARED).map((row) =>
        [row.name, ...[row.left, row.right, differenceOf(row)].map((value) =>
          (value === null ? "no such output" : formatNumber(value)))])),
      rows.length <= MOST_COMPARED ? null : element("p", { class: "help" },
        `${rows.length - MOST_COMPARED} outputs with smaller values are left out.`));
  },

  drawExamples(scene, other, names) {
    const { run, network } = scene;
    const isSame = run.outputs.names.join("\n") === other.run.outputs.names.join("\n")
      && run.config.task === other.run.config.task && run.config.readout === "every"
      === (other.run.config.readout === "every");
    if (!isSame) {
      fill(this.examples, element("p", { class: "help" },
        "The two networks have different outputs, so their answers are not counted."));
      return;
    }
    const key = `answers ${scene.weightsKey} ${other.weightsKey}`;
    const { pairs, tally } = scene.keep(key, () => {
      const shared = run === other.run ? run.examples.map((_, i) => [i, i])
        : sharedExamples(run, other.run);
      const answerOf = (each, net, index) => judgeAnswer(each,
        forward(net, sequenceOf(each.examples[index])).final, targetOf(each.examples[index]));
      return { pairs: shared, tally: tallyAnswers(shared.map(([left, right]) =>
        [answerOf(run, network, left), answerOf(other.run, other.network, right)])) };
    });
    fill(this.examples, element("h3", {}, "On all sequences of this page"),
      ...this.describeTally(run, names, pairs, tally));
  },

  describeTally(run, names, pairs, tally) {
    if (!tally.count) return [element("p", {}, "No sequence with a label is in both.")];
    const isError = tally.measure === "error";
    const shown = (value) => (isError ? `${formatNumber(value)} ${run.outputs.unit}`.trim()
      : `${formatNumber(100 * value)} %`);
    const what = isError ? "Mean absolute error" : "Right labels";
    const isWhole = tally.neither.length + tally.both.length + tally.onlyLeft.length
      + tally.onlyRight.length === tally.count && !isError && run.config.readout !== "every";
    const titles = isWhole
      ? ["Both right", `Only ${names[0]}`, `Only ${names[1]}`, "Neither"]
      : ["Equally good", `${names[0]} is better`, `${names[1]} is better`, "Neither has a right label"];
    const links = (places) => element("span", {}, ...places.slice(0, MOST_LISTED).flatMap((place) => [
      element("button", { type: "button", class: "link", onclick: () => this.lab.setState({
        example: pairs[place][0], edits: {}, clamps: [], erased: [] }) },
      run.examples[pairs[place][0]].name), " "]),
    places.length > MOST_LISTED ? "…" : "");
    const groups = [tally.both, tally.onlyLeft, tally.onlyRight, tally.neither];
    const rows = groups.map((places, i) => [titles[i], String(places.length),
      i === 1 || i === 2 ? links(places) : ""]);
    return [
      element("p", {}, `${what} on ${countOf(tally.count, "sequence")}: ${names[0]} ${
        shown(tally.left)}, ${names[1]} ${shown(tally.right)}.`),
      tableWithTitles(["Answer", "Sequences", "Which"], isError ? rows.slice(0, 3) : rows)];
  },

  drawWeights(scene, other, names) {
    const changes = weightChanges(scene.network.weights, other.network.weights);
    const norm = (values) => Math.hypot(...values);
    const all = norm(changes.map(({ change }) => change)) / norm(changes.map(({ size }) => size));
    fill(this.settings, element("h3", {}, "Weights"),
      element("p", {}, `The settings are the same. The norm of the difference of all weights is ${
        formatNumber(100 * all)} % of the norm of the weights in ${names[0]}.`),
      this.fold("Weight by weight", tableWithTitles(
        ["Weight", "Norm of the difference", "Share of its norm"], changes.map((row) =>
          [row.name, formatNumber(row.change), row.size ? `${
            formatNumber(100 * row.change / row.size)} %` : "was 0"]))));
  },

  fold(title, rows) {
    fill(this.restTitle, title);
    fill(this.restRows, rows);
    return this.rest;
  },

  drawSettings(scene, other, names) {
    if (scene.run === other.run) {
      this.drawWeights(scene, other, names);
      return;
    }
    const rows = compareSettings(scene.run.settings, other.run.settings);
    const differing = rows.filter(({ differs }) => differs).length;
    const body = (some) => tableWithTitles(["Setting", ...names], some.map((row) => row.differs
      ? [row.name, element("mark", {}, row.left), element("mark", {}, row.right)]
      : [row.name, row.left, row.right]));
    fill(this.settings, element("h3", {}, "Settings"),
      element("p", {}, differing ? `${countOf(differing, "setting")} of ${rows.length} ${
        differing === 1 ? "differs" : "differ"}.` : "All settings are the same."),
      differing ? body(rows.filter(({ differs }) => differs)) : null,
      differing === rows.length ? null : this.fold("Settings that are the same",
        body(rows.filter(({ differs }) => !differs))));
  },
};

/** What a scene can be compared with: every other run, and the kept epochs of each. */
function choicesOf(scene) {
  return scene.runs.flatMap((run, index) => [null, ...(run.epochs ?? []).map(({ epoch }) => epoch)]
    .filter((epoch) => index !== scene.runIndex || epoch !== scene.epoch)
    .map((epoch) => ({ value: { run: index, epoch },
      text: sideName(scene.runs.length === 1, { run, epoch }) })));
}

/** The scene that the state, or else the first choice, puts beside another. */
function besideOf(scene) {
  const choices = choicesOf(scene).map(({ value }) => value);
  const chosen = scene.state.compare;
  const known = chosen && choices.find((value) =>
    value.run === chosen.run && value.epoch === chosen.epoch);
  const first = choices.find(({ run }) => run !== scene.runIndex) ?? choices[0];
  const { run, epoch } = known ?? first;
  return scene.beside(run, epoch);
}

function sideName(isOneRun, { run, epoch }) {
  const when = epoch === null ? "final weights" : epoch === 0 ? "before the training"
    : `epoch ${epoch}`;
  if (isOneRun) return when;
  return epoch === null ? run.name : `${run.name}, ${when}`;
}

function differenceOf({ left, right }) {
  return left === null || right === null ? null : right - left;
}

function tableWithTitles(titles, rows) {
  return element("div", { class: "scroll" }, element("table", {},
    element("thead", {}, element("tr", {}, ...titles.map((title) =>
      element("th", { scope: "col" }, title)))),
    element("tbody", {}, ...rows.map(([first, ...others]) => element("tr", {},
      element("th", { scope: "row" }, first), ...others.map((cell) => element("td", {}, cell)))))));
}
