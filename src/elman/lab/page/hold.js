// Holding a gate or a state of one unit at a value over a span of steps.

import { makeNumberEntry } from "./columnInput.js";
import { chosenUnit, shownLayer } from "./comparedRun.js";
import { element, fill } from "./dom.js";

/** Hold a value; the same unit over the same steps is held once. */
export function setHold(lab, hold) {
  const place = ({ layer, direction, name, unit, from, to }) => `${[layer, direction, name, unit, from, to]}`;
  const others = lab.getState().clamps.filter((each) => place(each) !== place(hold));
  lab.setState({ clamps: [...others, hold], mark: hold.name, hover: null });
}

/** The steps that a value at `step` is held over: the marked span if it contains the step. */
export function spanAt(scene, step) {
  const { span } = scene.state, last = scene.steps - 1;
  const inside = span && step >= span[0] && step <= span[1];
  return inside ? { from: Math.max(0, span[0]), to: Math.min(last, span[1]) } : { from: step, to: step };
}

/** Where a value of the shown layer and unit is held: spans of steps, to shade them. */
export function heldSpans(scene, name) {
  return scene.state.clamps.filter((each) => each.layer === scene.layer && each.name === name
    && each.direction === scene.direction && each.unit === scene.unit);
}

/**
 * Make a form that holds a value; returns a function that brings it up to date.
 * @param id beginning of the ids of its fields
 * @param namesOf function of the scene: names of the gates or states to choose from
 */
export function makeHoldForm(parent, lab, id, namesOf) {
  const choose = element("select", { id: `${id}-name`, "aria-label": "what is held",
    onchange: () => lab.setState({ mark: choose.value }) });
  const asked = { value: null, from: null, to: null }; // what was typed, until it is held
  const type = (name) => (value) => { asked[name] = value; };
  const value = makeNumberEntry(`${id}-value`, "value to hold", type("value"));
  const from = makeNumberEntry(`${id}-from`, "first step", type("from"));
  const to = makeNumberEntry(`${id}-to`, "last step", type("to"));
  const unit = element("strong", {});
  const hold = () => {
    const { scene } = lab, name = choose.value, units = scene.config.hidden_size;
    const now = shownLayer(scene).layer.gates[name][scene.at * units + scene.unit];
    const span = spanAt(scene, scene.at), last = scene.steps - 1;
    const clip = (step) => Math.max(0, Math.min(last, Math.round(step)));
    const stepOf = (typed, step) => (typed === null ? step : clip(typed - 1));
    const ends = [stepOf(asked.from, span.from), stepOf(asked.to, span.to)];
    setHold(lab, { layer: scene.layer, direction: scene.direction, name, unit: scene.unit,
      value: asked.value ?? now, from: Math.min(...ends), to: Math.max(...ends) });
    Object.assign(asked, { value: null, from: null, to: null });
    document.activeElement?.blur?.(); // the fields follow the cursor again
  };
  const form = element("form", { class: "row hold", onsubmit: (event) => {
    event.preventDefault();
    // The field that has the focus has not reported its text yet when Enter is pressed.
    document.activeElement?.blur?.();
    hold();
  } }, "Hold", choose, element("span", {}, "of ", unit), labelled("at", value), labelled("from step", from),
  labelled("to step", to), element("button", { type: "submit" }, "Hold"));
  parent.append(form);
  return (scene) => {
    const names = namesOf(scene);
    if (choose.dataset.names !== names.join()) {
      choose.dataset.names = names.join();
      fill(choose, ...names.map((name) => element("option", { value: name }, name)));
    }
    choose.value = names.includes(scene.state.mark) ? scene.state.mark : names[0];
    fill(unit, chosenUnit(scene));
    const units = scene.config.hidden_size, span = spanAt(scene, scene.at);
    const now = shownLayer(scene).layer.gates[choose.value][scene.at * units + scene.unit];
    value.show(String(asked.value ?? Number(now.toPrecision(3))), scene.at);
    from.show(String(asked.from ?? span.from + 1), scene.at);
    to.show(String(asked.to ?? span.to + 1), scene.at);
  };
}

function labelled(text, entry) {
  return element("label", { for: entry.field.id, class: "inline" }, `${text} `, entry.field, entry.note);
}
