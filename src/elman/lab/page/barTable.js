// Tables with a bar in each row, and a tick where it was in the former run.

import { element, fill } from "./dom.js";

/**
 * Fill a table with rows of bars.
 *
 * @param rows [{name, text: the value in words, below, above: ends of the bar, at most and at least 0,
 *   former: where the tick stands or null, colour, note: a word at the end, onclick, isChosen}]
 * @param range {low, high} of the bars; those of a range from 0 begin at the left
 */
export function fillBars(table, caption, rows, { low, high }) {
  const share = (value) => 100 * Math.min(1, Math.max(0, (value - low) / (high - low)));
  const made = rows.map(({ name, text, below = 0, above = 0, former, colour, note, onclick, isChosen }) => {
    const title = onclick ? element("button", { type: "button", class: "quiet", onclick }, name) : name;
    const swatch = colour ? element("span", { class: `swatch ${colour}` }) : null;
    const from = share(below), width = share(above) - from, zero = share(0);
    const bar = (left, right, kind) => element("div", { class: `bar ${kind}`,
      style: `left:${left.toFixed(2)}%;width:${(right - left).toFixed(2)}%` });
    const cell = element("td", { class: "bar-cell" },
      low < 0 ? element("div", { class: "zero", style: `left:${zero}%` }) : null,
      below < 0 ? bar(from, zero, "orange") : null,
      above > 0 ? bar(zero, from + width, colour ?? "blue") : null,
      former === null ? null : element("div", { class: "tick", title: "in the former run",
        style: `left:${share(former).toFixed(2)}%` }));
    return element("tr", { class: isChosen ? "chosen" : null },
      element("th", { scope: "row" }, swatch, title), element("td", { class: "number" }, text),
      cell, note === undefined ? null : element("td", { class: "true" }, note));
  });
  fill(table, element("caption", {}, caption), element("tbody", {}, ...made));
}
