// The texts of the steps of a sequence: tokens, or the values of a categorical column.

import { tokenText, visibleToken } from "./changes.js";
import { inputKey } from "./edits.js";

/** The text of each step, as it stands in the edits or in the data; null for numbers alone. */
export function stepTexts(scene) {
  const { config, run, sequence, steps, state: { edits } } = scene;
  const all = (textOf) => Array.from({ length: steps }, (_, t) => textOf(t));
  if (config.vocabulary_size) return all((t) => String(edits[inputKey(t, 0)] ?? tokenText(scene, t)));
  if (!config.category_sizes?.length) return null;
  const column = config.input_size, width = sequence.x.length / steps;
  const { values } = run.channels[column];
  return all((t) => {
    const code = sequence.x[t * width + column];
    return String(edits[inputKey(t, column)] ?? values?.[code] ?? code);
  });
}

/** "12 “word”" or "12" for each step: its number from 1, and its text, cut to a length. */
export function namesOfSteps(scene, length = 20) {
  const texts = stepTexts(scene);
  return Array.from({ length: scene.steps }, (_, t) => {
    if (texts === null) return String(t + 1);
    const cut = texts[t].length > length ? `${texts[t].slice(0, length - 1)}…` : texts[t];
    return `${t + 1} “${visibleToken(cut)}”`;
  });
}

/** The same for one step. */
export function nameOfStep(scene, step) {
  return namesOfSteps(scene)[step];
}
