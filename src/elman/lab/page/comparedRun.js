// What the panels share that show a run beside the former one, on the data as they were.

import { element, fill, formatNumber } from "./dom.js";
import { largest } from "./heatmap.js";
import { nameOfUnit } from "./units.js";

const MOST_NUMBERED = 16; // units that stay in the order of their numbers

/** The gates and states of the layer and direction that is shown, and those of the former run or null. */
export function shownLayer(scene) {
  return { layer: scene.pass.layers[scene.place], former: scene.ghost?.layers[scene.place] ?? null };
}

/**
 * The order of the rows of units: by the step of the largest |h| where there are many, so that what
 * happens together stands together. It is that of the former run, so that no row moves in a drag.
 */
export function unitOrder(scene) {
  const units = scene.config.hidden_size, { steps } = scene;
  if (units <= MOST_NUMBERED) return Array.from({ length: units }, (_, unit) => unit);
  const { untouched } = scene;
  return scene.keep(`order ${untouched.key} ${scene.place}`, () => {
    const { h } = untouched.pass.layers[scene.place].gates;
    const peak = Array.from({ length: units }, (_, unit) => {
      let best = 0;
      for (let t = 1; t < steps; t++) {
        if (Math.abs(h[t * units + unit]) > Math.abs(h[best * units + unit])) best = t;
      }
      return best;
    });
    return peak.map((_, unit) => unit).sort((a, b) => peak[a] - peak[b] || a - b);
  });
}

/** Values of one unit, or other column, over the steps, (T). */
export function seriesOf(values, width, column) {
  return Float64Array.from({ length: values.length / width }, (_, t) => values[t * width + column]);
}

/**
 * What a heat map shows: the values, or with a former run and `state.difference` their change.
 * @returns {values, scale, limit, isChange}, as drawHeatmap takes them
 */
export function shownMatrix(scene, now, former, scale, limit) {
  if (!former || !scene.state.difference) return { values: now, scale, limit, isChange: false };
  const values = now.map((value, i) => value - former[i]);
  return { values, scale: "signed", limit: largest(values), isChange: true };
}

/** The name of the chosen unit, in words. */
export function chosenUnit(scene) {
  return nameOfUnit(scene.config, scene.layer, scene.direction, scene.unit);
}

/** A value with the former one beside it. */
export function beside(now, former) {
  const text = formatNumber(now);
  return former === null || former === now ? text : `${text} (was ${formatNumber(former)})`;
}

/** A heat map's colours as a strip with its ends in words; returns a function that sets them. */
export function makeColourScale(parent) {
  const low = element("span", {}), high = element("span", {}), strip = element("span", { class: "strip" });
  parent.append(element("div", { class: "colour-scale", "aria-hidden": "true" }, low, strip, high));
  return (lowText, highText, signed) => {
    fill(low, lowText);
    fill(high, highText);
    strip.className = signed ? "strip signed" : "strip";
  };
}
