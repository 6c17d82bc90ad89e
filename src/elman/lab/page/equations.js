// The equations of one step of one unit, forward and backward, with their numbers in place.
//
// They are those of elman/ops/cells.py and elman/explain/backward.py. An equation is
//   {key, title, left: leaf, right: node, line, note}
// where `evaluate(right)` is `left.value`, the number in the pass; a clamped value is not what its
// equation gives, and `note` says so. `line` is the name of a line in fromScratch.js, or null.
// x_t is the input of the layer: the columns of the file, an embedding, or the states below.

import { combine, constant, dotLeaf, leaf, minus, plus, times } from "./expression.js";

const GATE_TITLES = {
  rnn: { h: "state" },
  gru: { r: "reset gate", z: "update gate", n: "candidate", h: "state" },
  lstm: { i: "input gate", f: "forget gate", g: "candidate", o: "output gate", c: "cell state",
    h: "state" },
};

/**
 * What the equations of a unit read.
 *
 * @param situation {network, pass, back: null without a target, layer, direction, unit, step,
 *   output, target, inputNames: a name of each input of the first layer, outputNames}
 * @returns the situation with its place in the pass, and functions that make leaves
 */
export function equationPlace(situation) {
  const { network, pass, layer, direction, unit, step, back } = situation;
  const index = layer * network.directions + direction;
  const run = pass.layers[index], weights = network.layers[index];
  const H = network.units, rows = network.cell.blocks.length * H;
  const [before, after] = direction ? ["t+1", "t-1"] : ["t-1", "t+1"];
  const rowOf = (name) => network.cell.blocks.indexOf(name) * H + unit;
  return {
    ...situation, index, run, weights, H, rows, before, after, rowOf,
    reverse: back ? back.layers[index] : null,
    next: nextStep(pass, run, direction, step),
    isFirst: step === (direction ? pass.steps - 1 : 0),
    gate: (name, t = step) => leaf(`${name}_{t}`, run.gates[name][t * H + unit], name),
    old: (name) => leaf(`${name}_{${before}}`, run.previous[name][step * H + unit], name),
  };
}

/** The step after this one in the direction of a layer; null after the last. */
function nextStep(pass, run, direction, step) {
  const next = direction ? step - 1 : step + 1;
  return next < 0 || next >= pass.steps ? null : next;
}

/** Names of the inputs of a layer: {label, place} of each. */
export function inputsOf({ network, layer, inputNames, weights }) {
  return Array.from({ length: weights.inputSize }, (_, i) => {
    if (layer === 0) return { label: inputNames[i], place: null };
    const direction = Math.floor(i / network.units), unit = i % network.units;
    const way = network.directions === 2 ? (direction ? ", backward" : ", forward") : "";
    return { label: `unit ${unit + 1} of layer ${layer}${way}`,
      place: { layer: layer - 1, direction, unit } };
  });
}

/** The symbol of a block: W_{z}, or W alone of a cell with one block. */
export function blockSymbol({ network }, base, name, alone = base) {
  return network.cell.gates.length ? `${base}_{${name}}` : alone;
}

/** The product of a row of W with x_t, and of a row of U with the old state. */
function inputProduct(at, name) {
  const { weights, run, step } = at, I = weights.inputSize, row = at.rowOf(name) * I;
  const parts = inputsOf(at).map((input, i) => ({
    ...input, weight: weights.W[row + i], factor: run.inputs[step * I + i],
  }));
  return dotLeaf(`${blockSymbol(at, "W", name)} x_{t}`, parts, at.layer ? "h" : "x");
}

function stateProduct(at, name) {
  const { weights, run, step, H, layer, direction } = at, row = at.rowOf(name) * H;
  const parts = Array.from({ length: H }, (_, k) => ({
    label: `unit ${k + 1}`, place: { layer, direction, unit: k },
    weight: weights.U[row + k], factor: run.previous.h[step * H + k],
  }));
  return dotLeaf(`${blockSymbol(at, "U", name)} h_{${at.before}}`, parts, "h");
}

const bias = (at, name) => leaf(`b_{${name}}`, at.weights.b[at.rowOf(name)]);
const stateBias = (at, name) => leaf(`b′_{${name}}`, at.weights.bU[at.rowOf(name)]);
/** A number of a, W x_t + b, or of u, U h + b', of a block at this step. */
const sumAt = (at, which, name) => at.run[which][at.step * at.rows + at.rowOf(name)];

/** An equation; see the top of the module. */
export function equationOf(key, title, left, right, line = null, note = "") {
  return { key, title, left, right, line, note };
}

/** The equation of a gate or state, which may be clamped. */
function valueEquation(at, name, title, right, line = null) {
  const left = at.gate(name);
  return equationOf(name, title, left, right, line, isClamped(at, name)
    ? `clamped to ${left.value}: the network goes on with it instead of the result on the right` : "");
}

/** Whether a gate or state of the unit is clamped at a step. */
export function isClamped({ run, step, unit }, name, t = step) {
  return (run.clamps[name] ?? []).some((clamp) => t >= clamp.from && t <= clamp.to
    && (clamp.unit === null || clamp.unit === unit));
}

/** The sum that enters a gate, a = W x_t + b + U h + b', and the gate. */
function gateEquations(at, name) {
  const title = GATE_TITLES[at.network.cell.name][name];
  const sum = leaf(blockSymbol(at, "a", name, "a_{t}"), sumAt(at, "a", name) + sumAt(at, "u", name), name);
  const right = plus(inputProduct(at, name), bias(at, name), stateProduct(at, name), stateBias(at, name));
  const line = at.network.cell.name === "rnn" ? "step" : null;
  return [
    equationOf(`a_${name}`, `sum of the ${title}`, sum, right, line),
    valueEquation(at, name, title, combine(at.network.cell.activations[name], sum), line),
  ];
}

const CELL_EQUATIONS = {
  rnn: (at) => gateEquations(at, "h"),
  gru(at) {
    const { gate, old } = at;
    const recurrent = leaf("u_{n}", sumAt(at, "u", "n"));
    const { value } = gate("r");
    const sum = leaf("a_{n}", sumAt(at, "a", "n") + value * recurrent.value, "n");
    return [
      ...gateEquations(at, "r"),
      ...gateEquations(at, "z"),
      equationOf("u_n", "old state for the candidate", recurrent,
        plus(stateProduct(at, "n"), stateBias(at, "n"))),
      equationOf("a_n", "sum of the candidate", sum,
        plus(inputProduct(at, "n"), bias(at, "n"), times(gate("r"), recurrent))),
      valueEquation(at, "n", "candidate", combine("tanh", sum)),
      valueEquation(at, "h", "new state", plus(
        times(minus(constant(1), gate("z")), gate("n")), times(gate("z"), old("h"))), "step"),
    ];
  },
  lstm(at) {
    const { gate, old } = at;
    return [
      ...["i", "f", "g", "o"].flatMap((name) => gateEquations(at, name)),
      valueEquation(at, "c", "cell state", plus(times(gate("f"), old("c")), times(gate("i"), gate("g")))),
      valueEquation(at, "h", "new state", times(gate("o"), combine("tanh", gate("c"))), "step"),
    ];
  },
};

/** The forward equations of a step, in the order in which it computes them. */
export function forwardEquations(situation) {
  const at = equationPlace(situation);
  if (!at.pass.changes.erased.has(at.step)) return CELL_EQUATIONS[at.network.cell.name](at);
  return at.network.cell.states.map((name) => equationOf(name, "state", at.gate(name), at.old(name),
    null, "this step is erased: the state is carried over it"));
}
