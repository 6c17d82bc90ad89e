// The epochs whose weights the page has, and the slider that moves through them.

import { element, fill } from "./dom.js";

/** Epochs of a run whose weights can be shown, ascending; the final ones are among them. */
export function keptEpochsOf(run) {
  const epochs = (run.epochs ?? []).map((each) => each.epoch);
  const final = finalEpochOf(run);
  return [...new Set(final === null ? epochs : [...epochs, final])].sort((a, b) => a - b);
}

/** The epoch of the final weights: the one that was kept, or else the newest; null if unknown. */
export function finalEpochOf(run) {
  return run.kept_epoch ?? (run.epochs ?? []).at(-1)?.epoch ?? null;
}

/** The epoch that a scene shows; null if it is unknown. */
export function shownEpochOf(scene) {
  return scene.epoch ?? finalEpochOf(scene.run);
}

/** Number of epochs that were trained, as far as the run says. */
export function lastEpochOf(run) {
  return Math.max(0, ...(run.history?.epoch ?? []), ...keptEpochsOf(run));
}

/** Show the kept epoch that is nearest to a number of epochs. */
export function showEpoch(lab, epoch) {
  const { run } = lab.scene;
  const nearest = keptEpochsOf(run).reduce((best, each) =>
    (Math.abs(each - epoch) < Math.abs(best - epoch) ? each : best));
  // The final weights have no epoch in the address, so that it stays with a run that goes on.
  lab.setState({ epoch: nearest === finalEpochOf(run) ? null : nearest });
}

/** Show the kept epoch that is `places` behind the one shown. Returns whether there is one. */
export function moveEpoch(lab, places) {
  const kept = keptEpochsOf(lab.scene.run);
  const at = kept.indexOf(shownEpochOf(lab.scene)) + places;
  showEpoch(lab, kept[Math.max(0, Math.min(kept.length - 1, at))]);
  return at > 0 && at < kept.length - 1;
}

/** Make a slider over the kept epochs; returns the field, and a function that updates it. */
export function makeEpochSlider(id, lab) {
  const text = element("output", { for: id });
  const slider = element("input", { id, type: "range", min: 0, step: 1,
    oninput: () => showEpoch(lab, keptEpochsOf(lab.scene.run)[Number(slider.value)]) });
  const field = element("label", { for: id, class: "field wide" },
    element("span", {}, "Epoch ", text), slider);
  return { field, update(scene) {
    const kept = keptEpochsOf(scene.run), shown = shownEpochOf(scene);
    field.hidden = kept.length < 2;
    slider.max = kept.length - 1;
    slider.value = kept.indexOf(shown);
    const words = `${shown} of ${lastEpochOf(scene.run)}`;
    slider.setAttribute("aria-valuetext", `epoch ${words}`);
    fill(text, words);
  } };
}
