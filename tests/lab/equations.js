// Checks the equations of a case of engine_cases.py at every step of every unit.

import { forwardEquations } from "./equations.js";
import { evaluate, lineOf } from "./expression.js";
import { backwardEquations } from "./gradientEquations.js";
import { makeNetwork, forward } from "./network.js";
import { backward } from "./backward.js";
import { outputEquations } from "./outputEquations.js";

/** The network of a case, its passes, and what equations read, but for a place. */
function situationFor(given) {
  const { config, steps } = given;
  const weights = Object.fromEntries(Object.entries(given.weights)
    .map(([name, values]) => [name, Float32Array.from(values)]));
  const network = makeNetwork(config, weights, given.scaling);
  const x = config.vocabulary_size ? Int32Array.from(given.x) : Float32Array.from(given.x);
  const sequence = { steps, x, static: given.static && Float32Array.from(given.static) };
  const clamps = given.changes.clamps ?? [], erased = new Set(given.changes.erased ?? []);
  const pass = forward(network, sequence, { clamps, erased }), target = given.label;
  return { network, pass, target, back: backward(network, sequence, pass, target),
    inputNames: Array.from({ length: network.inputSize }, (_, i) => `input ${i}`),
    outputNames: Array.from({ length: network.outputs }, (_, k) => `class ${k}`) };
}

function* placesIn(situation) {
  const { network, pass } = situation, K = network.outputs;
  for (const { layer, direction } of network.layers) {
    for (let unit = 0; unit < network.units; unit++) {
      for (let step = 0; step < pass.steps; step++) {
        yield { ...situation, layer, direction, unit, step, output: unit % K };
      }
    }
  }
}

const everyEquation = (place) => [...forwardEquations(place), ...outputEquations(place),
  ...backwardEquations(place)];

/**
 * {count, worst difference of `evaluate` from the pass, clamped: equations that differ by a clamp,
 * keys, values: by key of an equation, of every place, sums: [differences from the gradients]}
 */
export function checkEquations(given) {
  const situation = situationFor(given), { network, back } = situation, H = network.units;
  const found = { count: 0, worst: 0, clamped: 0, values: {}, sums: 0 }, adds = {};
  for (const place of placesIn(situation)) {
    const { layer, direction, unit } = place, index = layer * network.directions + direction;
    for (const { key, left, right, note, column } of everyEquation(place)) {
      const difference = Math.abs(evaluate(right) - left.value) / (1 + Math.abs(left.value));
      found.count++;
      if (note.startsWith("clamped to")) found.clamped++;
      else if (!(difference <= found.worst)) found.worst = difference;
      (found.values[`${layer} ${direction} ${key}`] ??= []).push(left.value);
      const kind = { dW: 0, dU: 1, db: 2 }[key];
      if (kind === undefined) continue;
      const block = network.cell.blocks.indexOf(network.cell.blocks.at(2) ?? "h");
      const width = [network.layers[index].inputSize, H, 1][kind];
      const at = (block * H + unit) * width + (column ?? 0), name = network.layers[index].names[kind];
      const sum = (adds[`${index} ${key} ${at}`] ??= { sum: 0, full: back.gradients[name][at] });
      sum.sum += left.value;
    }
  }
  // What the steps add to the gradient of a weight is all of that gradient.
  for (const { sum, full } of Object.values(adds)) {
    found.sums = Math.max(found.sums, Math.abs(sum - full) / (1 + Math.abs(full)));
  }
  found.added = Object.keys(adds).length;
  return found;
}

/** Every equation at one place as texts: [key, symbols, numbers with all digits, value, line]. */
export function writeEquations(given, place) {
  const digits = (value) => String(value).replace("-", "−").replace("e-", "e−");
  return everyEquation({ ...situationFor(given), ...place }).map(({ key, left, right, line }) =>
    [key, lineOf(right, "symbols"), lineOf(right, "numbers", digits), left.value, line]);
}
