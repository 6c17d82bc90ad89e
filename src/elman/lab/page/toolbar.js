// The bar at the top: which run, epoch and sequence, which step, layer, unit and output.

import { countOf, element, fill } from "./dom.js";
import { makeEpochSlider } from "./keptEpochs.js";

/** Make the bar; returns a function that brings it up to date. */
export function makeToolbar(parent, lab) {
  const choice = (id, label, onchange) => {
    const select = element("select", { id, onchange: () => onchange(Number(select.value)) });
    const field = element("label", { for: id, class: "field" }, element("span", {}, label), select);
    return { select, field };
  };
  const run = choice("choose-run", "Run", (value) => lab.setState({ run: value, epoch: null }));
  const example = choice("choose-example", "Sequence", (value) =>
    lab.setState({ example: value, edits: {}, erased: [] }));
  const layer = choice("choose-layer", "Layer", (value) => {
    const D = lab.scene.config.bidirectional ? 2 : 1;
    lab.setState({ layer: Math.floor(value / D), direction: value % D });
  });
  const output = choice("choose-output", "Output", (value) =>
    lab.setState({ output: value < 0 ? null : value }));
  const unit = element("input", { id: "choose-unit", type: "number", min: 1,
    oninput: () => lab.setState({ unit: Math.max(0, Number(unit.value) - 1) }) });
  const slider = element("input", { id: "choose-step", type: "range", min: 1,
    oninput: () => lab.setState({ step: Number(slider.value) - 1 }) });
  const place = element("output", { for: "choose-step", id: "cursor-text" });
  const epoch = makeEpochSlider("choose-epoch", lab);
  const undo = element("button", { type: "button", id: "undo-all",
    onclick: () => lab.setState({ edits: {}, clamps: [], erased: [] }) }, "Undo changes");
  fill(parent, run.field, example.field,
    element("label", { for: "choose-step", class: "field wide" },
      element("span", {}, "Step ", place), slider),
    layer.field,
    element("label", { for: "choose-unit", class: "field narrow" },
      element("span", {}, "Unit"), unit),
    output.field, epoch.field, undo);

  return (scene) => {
    options(run.select, lab.scene.runs.map((each) => each.name), scene.runIndex);
    run.field.hidden = lab.scene.runs.length < 2;
    options(example.select, scene.examples.map(describeExample), scene.exampleIndex);
    options(layer.select, placesOf(scene.config), scene.place);
    layer.field.hidden = placesOf(scene.config).length < 2;
    const names = scene.run.outputs.names;
    options(output.select, ["predicted", ...names], (scene.state.output ?? -1) + 1, -1);
    output.field.hidden = names.length < 2;
    unit.max = scene.config.hidden_size;
    if (document.activeElement !== unit) unit.value = scene.unit + 1;
    slider.max = scene.steps;
    slider.value = scene.at + 1;
    fill(place, `${scene.at + 1} of ${scene.steps}`);
    epoch.update(scene);
    undo.disabled = !scene.isTouched; // hidden, it would move the panels when it appears
  };
}

/** "layer 1, forward" for each place, in the order of `pass.layers`. */
export function placesOf(config) {
  const directions = config.bidirectional ? ["forward", "backward"] : ["forward"];
  return Array.from({ length: config.num_layers }, (_, layer) =>
    directions.map((name) => `${layer + 1}, ${name}`)).flat();
}

function describeExample(example, index) {
  const steps = example.tokens?.length ?? example.x.shape[0];
  const reason = example.reason ? `, ${example.reason}` : ""; // why it was chosen for the page
  return `${example.name || index + 1} (${countOf(steps, "step")}${reason})`;
}

/** Bring the options of a choice up to date without touching it where nothing changed. */
function options(select, texts, chosen, first = 0) {
  const signature = JSON.stringify(texts);
  if (select.dataset.texts !== signature) {
    select.dataset.texts = signature;
    fill(select, ...texts.map((text, i) => element("option", { value: i + first }, text)));
  }
  select.selectedIndex = chosen;
}
