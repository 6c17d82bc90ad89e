// The texts of the steps of a sequence: tokens, or the values of a categorical column.

const SIGNS = { " ": "␣", "\n": "⏎", "\t": "⇥", "": "∅" };

/** The text of each step, with edited tokens and categories replaced; null for numbers alone. */
export function stepTexts(scene) {
  const { config, run, sequence, original, example, steps } = scene;
  if (config.vocabulary_size) {
    return Array.from({ length: steps }, (_, t) =>
      (example.tokens && sequence.x[t] === original.x[t] ? example.tokens[t]
        : run.vocabulary?.[sequence.x[t]] ?? String(sequence.x[t])));
  }
  if (!config.category_sizes?.length) return null;
  const column = config.input_size, width = sequence.x.length / steps;
  const { values } = run.channels[column];
  return Array.from({ length: steps }, (_, t) => {
    const code = sequence.x[t * width + column];
    return values?.[code] ?? String(code);
  });
}

/** A text as it can be seen: a space and the end of a line as signs. */
export function visibleText(text) {
  return SIGNS[text] ?? text;
}

/** "12 “word”" or "12": the number of a step from 1, and its text, cut to a length. */
export function nameOfStep(scene, step, length = 20) {
  const text = stepTexts(scene)?.[step];
  if (text === undefined) return String(step + 1);
  const cut = text.length > length ? `${text.slice(0, length - 1)}…` : visibleText(text);
  return `${step + 1} “${cut}”`;
}
