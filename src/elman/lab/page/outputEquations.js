// The equations of an output and of its loss, and the gradient that they send to the states.
//
// y = V readout + b_y; p = softmax(y) or sigmoid(y); dy is the gradient of the loss of elman.explain.

import { combine, constant, dotLeaf, leaf, minus, plus, times } from "./expression.js";

const READ_SYMBOLS = { last: "h_{T}", mean: "mean(h)", max: "max(h)", every: "h_{t}" };

/** What the output layer reads, as a symbol. */
function readSymbol({ network }) {
  return network.joins ? "m" : READ_SYMBOLS[network.config.readout];
}

/** Row of the outputs that belongs to a step: its own, or the only one. */
function rowAt({ network, step }) {
  return network.perStep ? step : 0;
}

/** Names of the numbers that the output layer reads: units of the top layer, or those that join. */
function readParts(at) {
  const { network, pass, output: k } = at, { width, units: H } = network;
  const V = network.weights["output.weight"], from = rowAt(at) * width;
  return Array.from({ length: width }, (_, j) => ({
    label: network.joins ? `joined unit ${j + 1}` : unitName(network, j),
    place: network.joins ? null
      : { layer: network.config.num_layers - 1, direction: Math.floor(j / H), unit: j % H },
    weight: V[k * width + j], factor: pass.read[from + j],
  }));
}

function unitName({ directions, units }, j) {
  const way = directions === 2 ? (j < units ? ", forward" : ", backward") : "";
  return `unit ${(j % units) + 1}${way}`;
}

/** The forward equations of output k: y_k, and its probability, or its value in the unit. */
export function outputEquations(at) {
  const { network, pass, output: k } = at, { outputs: K, config } = network;
  if (network.perStep && pass.changes.erased.has(at.step)) return [];
  const row = rowAt(at) * K, name = `y_{${k + 1}}`;
  const { weights, mean, scale } = network;
  const sum = dotLeaf(`V_{${k + 1}} ${readSymbol(at)}`, readParts(at), "h");
  const y = leaf(name, pass.final[row + k]);
  const found = [{
    key: "y", title: `output ${at.outputNames[k]}`, left: y,
    right: plus(sum, leaf(`b_{${k + 1}}`, weights["output.bias"][k])),
    line: "output", note: readNote(at),
  }];
  const p = leaf(`p_{${k + 1}}`, pass.answer[row + k]);
  if (config.task === "regression") {
    if (scale[k] === 1 && mean[k] === 0) return found;
    const right = plus(times(leaf("scale", scale[k]), y), leaf("mean", mean[k]));
    return [...found, { key: "p", title: "in the unit of the data", left: leaf("value", p.value),
      right, line: null, note: "" }];
  }
  const others = Array.from(pass.final.subarray(row, row + K), (value, l) => leaf(`y_{${l + 1}}`, value));
  others.splice(k, 1);
  const right = config.task === "multilabel" ? combine("sigmoid", y) : combine("softmax", y, ...others);
  return [...found, { key: "p", title: "probability", left: p, right, line: "probability", note: "" }];
}

function readNote({ network, pass, step }) {
  if (network.perStep) return "";
  const when = pass.changes.erased.size ? "over the steps that are not erased" : "over all steps";
  const what = {
    last: network.directions === 2
      ? "the states after the last step of each direction are read: h_T, and h_1 of the backward one"
      : step === pass.steps - 1 ? "" : "the state after the last step is read, not that of this one",
    mean: `the mean ${when} is read`, max: `the largest state of each unit ${when} is read`,
  }[network.config.readout];
  return network.joins ? `${what}; m joins it to the static features, relu(P readout + Q s + b)` : what;
}

/** The gradient of the loss for output k. */
export function lossEquations(at) {
  const { network, pass, back, target, output: k, step } = at, { outputs: K, config } = network;
  const row = rowAt(at) * K, dy = leaf(`dy_{${k + 1}}`, back.dy[step * K + k]);
  const y = leaf(`y_{${k + 1}}`, pass.final[row + k]), p = leaf(`p_{${k + 1}}`, pass.answer[row + k]);
  const title = `gradient of output ${at.outputNames[k]}`;
  const entry = { key: "dy", title, left: dy, line: "dy", note: "" };
  const codes = config.task === "classification";
  const own = codes ? (network.perStep ? target[step] : Number(target))
    : typeof target === "number" ? target : target[row + k];
  if (network.perStep && pass.changes.erased.has(step)) {
    return [{ ...entry, right: constant(0), note: "this step is erased, and has no output" }];
  }
  if (codes ? own < 0 : Number.isNaN(own)) {
    return [{ ...entry, right: constant(0), note: "this step has no label, and so no loss" }];
  }
  const isNumber = config.task === "regression";
  const share = leaf(isNumber ? "2/K" : "1/K", (isNumber ? 2 : 1) / K);
  const truth = codes ? leaf(`[the class is ${at.outputNames[k]}]`, Number(own === k))
    : leaf(`target_{${k + 1}}`, own);
  const error = minus(isNumber ? y : p, truth);
  return [{ ...entry, right: codes ? error : times(share, error) }];
}

/** The gradient that enters a state from above: from the output, or from the layer above. */
export function gradientFromAbove(at) {
  const { network, back, step, unit, layer, direction, reverse, H } = at, { width } = network;
  const j = direction * H + unit, left = leaf("above_{t}", reverse.direct[step * H + unit]);
  const entry = { key: "above", left, note: "" };
  if (layer < network.config.num_layers - 1) {
    return { ...entry, title: "from the layer above", line: null,
      right: dotLeaf("W⊤ da_{t}", partsFromLayer(at, j)) };
  }
  const sum = network.joins ? joinedGradient(at, j) : dotLeaf("V⊤ dy", outputParts(at, j));
  const share = back.share[step * width + j];
  const symbol = { mean: "1/T", max: "[is the maximum]", last: "[is read]" }[network.config.readout];
  return { ...entry, title: "from the output", line: "above",
    right: network.perStep ? sum : times(leaf(symbol, share), sum) };
}

/** V_kj dy_k of every output. */
function outputParts({ network, back, step, outputNames }, j) {
  const { outputs: K, width, weights } = network;
  return Array.from({ length: K }, (_, k) => ({
    label: `output ${outputNames[k]}`, place: null,
    weight: weights["output.weight"][k * width + j], factor: back.dy[step * K + k],
  }));
}

/** The same through the layer that joins static features: P^T of the gradient of its sums. */
function joinedGradient(at, j) {
  const { network, pass } = at, { width, staticSize: S, weights } = network;
  const from = rowAt(at) * width;
  const parts = Array.from({ length: width }, (_, m) => {
    const passes = pass.read[from + m] > 0;
    const factor = outputParts(at, m).reduce((sum, part) => sum + part.weight * part.factor, 0);
    return { label: `joined unit ${m + 1}`, place: null,
      weight: weights["static_join.weight"][m * (width + S) + j], factor: passes ? factor : 0 };
  });
  return dotLeaf("P⊤ dm", parts);
}

/** W da of every block and unit of both directions of the layer above. */
function partsFromLayer({ network, back, layer, step, H }, j) {
  const { directions: D, cell } = network, parts = [];
  for (let d = 0; d < D; d++) {
    const place = (layer + 1) * D + d, { W, inputSize } = network.layers[place];
    const { da } = back.layers[place], rows = cell.blocks.length * H;
    for (let row = 0; row < rows; row++) {
      const unit = row % H, block = cell.gates.length ? `, ${cell.blocks[Math.floor(row / H)]}` : "";
      const way = D === 2 ? (d ? ", backward" : ", forward") : "";
      parts.push({ label: `unit ${unit + 1} of layer ${layer + 2}${way}${block}`,
        place: { layer: layer + 1, direction: d, unit },
        weight: W[row * inputSize + j], factor: da[step * rows + row] });
    }
  }
  return parts;
}
