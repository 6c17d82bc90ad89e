// Lines of a Python file, of which some can be pointed at.

import { element } from "./dom.js";

/**
 * Functions of a file with the numbers of their lines.
 *
 * @param functions [{name, first, text}]
 * @param active Set of the numbers of the lines that can be pointed at
 * @param onLine called with the number of such a line, or null
 */
export function codePart(functions, active, onLine) {
  const lines = functions.flatMap(({ first, text }) =>
    text.split("\n").map((line, i) => [first + i, line]));
  const code = element("pre", { class: "code", tabindex: 0, "aria-label": "Python code" },
    ...lines.map(([number, line]) => {
      const row = element("span", { "data-number": number, class: active.has(number) ? "active" : null },
        element("span", { class: "line-number", "aria-hidden": "true" }, String(number)), `${line}\n`);
      if (active.has(number)) {
        row.addEventListener("pointerenter", () => onLine(number));
        row.addEventListener("pointerleave", () => onLine(null));
      }
      return row;
    }));
  return element("div", { class: "code-part" }, code);
}

/** Mark the line on which an equation stands, or none. */
export function markLines(code, equation) {
  for (const row of code.querySelectorAll("[data-number]")) {
    row.classList.toggle("marked", equation?.dataset.line === row.dataset.number);
  }
}
