// The backward equations of one step of one unit, with their numbers; see equations.js.
//
// dx is short for dL/dx. The gradient of a state is the one that enters from above, where the
// output or the next layer reads it, plus the one that comes back from the following step.

import { blockSymbol, equationOf, equationPlace, inputsOf, isClamped } from "./equations.js";
import { combine, constant, dotLeaf, evaluate, leaf, minus, plus, squared, times } from "./expression.js";
import { indexOfLargest } from "./linear.js";
import { gradientFromAbove, lossEquations } from "./outputEquations.js";

/** The slope of tanh at its value v, 1 - v^2. */
const tanhSlope = (v) => minus(constant(1), squared(v));

/** The slope of a gate at its value v, as factors: v (1 - v) of a sigmoid. */
function gateSlope(at, name, v) {
  const isTanh = at.network.cell.activations[name] === "tanh";
  return isTanh ? [tanhSlope(v)] : [v, minus(constant(1), v)];
}

/** The gradient of block `name` of a or u at this step, as a leaf. */
function sumGradient(at, name, which = "da") {
  const value = at.reverse[which][at.step * at.rows + at.rowOf(name)];
  return leaf(blockSymbol(at, which, name, `${which}_{t}`), value, name);
}

/** What comes back through U from the sums of a step: sum over blocks and units U du. */
function throughU(at, t, label) {
  const { weights, H, rows, unit, reverse, layer, direction, network } = at;
  const parts = [];
  network.cell.blocks.forEach((name, block) => {
    for (let k = 0; k < H; k++) {
      const row = block * H + k;
      parts.push({
        label: `unit ${k + 1}${network.cell.gates.length ? `, ${name}` : ""}`,
        place: { layer, direction, unit: k },
        weight: weights.U[row * H + unit], factor: reverse.du[t * rows + row],
      });
    }
  });
  const name = network.cell.name === "gru" ? "du" : "da";
  return dotLeaf(`U⊤ ${name}_{${label}}`, parts);
}

/** dh of a step, or 0 where h is clamped: nothing goes back through a clamped value. */
function stateGradient(at, t = at.step, label = "t") {
  if (isClamped(at, "h", t)) return constant(0);
  return leaf(`dh_{${label}}`, at.reverse.dh[t * at.H + at.unit], "h");
}

/** What step t sends back to h of the step before it, as an expression. */
function backToState(at, t, label) {
  if (at.pass.changes.erased.has(t)) return leaf(`dh_{${label}}`, at.reverse.dh[t * at.H + at.unit], "h");
  const through = throughU(at, t, label);
  if (at.network.cell.name !== "gru") return through;
  const z = leaf(`z_{${label}}`, at.run.gates.z[t * at.H + at.unit], "z");
  return plus(times(stateGradient(at, t, label), z), through);
}

/** dc of every step of a unit of an lstm, (T), before a clamp removes it, and what came back to it. */
function cellGradients(at) {
  const { pass, direction, H, unit, run } = at;
  const dc = new Float64Array(pass.steps), returned = new Float64Array(pass.steps);
  for (let k = 0, coming = 0; k < pass.steps; k++) {
    const t = direction ? k : pass.steps - 1 - k, place = t * H + unit;
    returned[t] = dc[t] = coming;
    if (pass.changes.erased.has(t)) continue;
    const squashed = Math.tanh(run.gates.c[place]);
    dc[t] += stateGradient(at, t).value * run.gates.o[place] * (1 - squashed * squashed);
    coming = isClamped(at, "c", t) ? 0 : dc[t] * run.gates.f[place];
  }
  return { dc, returned };
}

/** An equation of da of a gate; a clamped gate sends nothing back. */
function slopeEquation(at, name, title, right, line = null) {
  const left = sumGradient(at, name);
  return isClamped(at, name)
    ? equationOf(`da_${name}`, title, left, constant(0), line, "clamped: nothing goes back through it")
    : equationOf(`da_${name}`, title, left, right, line);
}

const CELL_GRADIENTS = {
  rnn(at) {
    const h = at.gate("h"), tanh = at.network.cell.activations.h === "tanh";
    const slope = tanh ? tanhSlope(h) : leaf("[h_{t} > 0]", Number(h.value > 0), "h");
    return [slopeEquation(at, "h", "through the nonlinearity", times(stateGradient(at), slope), "da")];
  },
  gru(at) {
    const { gate, old } = at, dh = stateGradient(at), r = gate("r"), z = gate("z"), n = gate("n");
    const recurrent = leaf("u_{n}", at.run.u[at.step * at.rows + at.rowOf("n")]);
    const open = minus(constant(1), z);
    return [
      slopeEquation(at, "z", "through the update gate",
        times(dh, minus(old("h"), n), ...gateSlope(at, "z", z))),
      slopeEquation(at, "n", "through the candidate", times(dh, open, tanhSlope(n)), "da"),
      slopeEquation(at, "r", "through the reset gate",
        times(sumGradient(at, "n"), recurrent, ...gateSlope(at, "r", r))),
      equationOf("du_n", "to the old state in the candidate", sumGradient(at, "n", "du"),
        times(sumGradient(at, "n"), r)),
    ];
  },
  lstm(at) {
    const { gate, old } = at, [i, f, g, o, c] = ["i", "f", "g", "o", "c"].map((name) => gate(name));
    const gradients = cellGradients(at), dh = stateGradient(at), squashed = combine("tanh", c);
    const dc = leaf("dc_{t}", gradients.dc[at.step], "c");
    const returned = leaf(`back_{c,${at.after}}`, gradients.returned[at.step], "c");
    const held = isClamped(at, "c") ? constant(0) : dc;
    return [
      equationOf("dc", "gradient of the cell state", dc, plus(returned, times(dh, o, tanhSlope(squashed)))),
      slopeEquation(at, "i", "through the input gate", times(held, g, ...gateSlope(at, "i", i))),
      slopeEquation(at, "f", "through the forget gate", times(held, old("c"), ...gateSlope(at, "f", f))),
      slopeEquation(at, "g", "through the candidate", times(held, i, tanhSlope(g)), "da"),
      slopeEquation(at, "o", "through the output gate", times(dh, squashed, ...gateSlope(at, "o", o))),
      equationOf("back_c", "goes back to the old cell state", leaf("back_{c,t}", held.value * f.value, "c"),
        times(held, f)),
    ];
  },
};

/** What the step adds to the gradients of the largest weights of a unit, and of its bias. */
function weightEquations(at) {
  const { weights, run, step, H, network } = at, name = network.cell.blocks.at(2) ?? "h";
  const kind = network.cell.name === "gru" ? "du" : "da";
  const largestOf = (matrix, size) => {
    const row = Array.from(matrix.subarray(at.rowOf(name) * size, (at.rowOf(name) + 1) * size), Math.abs);
    return indexOfLargest(row);
  };
  const I = weights.inputSize, i = largestOf(weights.W, I), k = largestOf(weights.U, H);
  const x = leaf("x_{t}", run.inputs[step * I + i], at.layer ? "h" : "x");
  const h = leaf(`h_{${at.before}}`, run.previous.h[step * H + k], "h");
  const da = sumGradient(at, name), du = sumGradient(at, name, kind);
  const adds = (key, symbol, right, line, note) => equationOf(key, `adds to the gradient of ${key[1]}`,
    leaf(symbol, evaluate(right)), right, line, note);
  return [
    { ...adds("dW", blockSymbol(at, "dW", name), times(da, x), "dW",
      `the largest of the unit's weights W: that of ${inputsOf(at)[i].label}`), column: i },
    { ...adds("dU", blockSymbol(at, "dU", name), times(du, h), "dU",
      `the largest of the unit's weights U: that of unit ${k + 1}`), column: k },
    adds("db", `db_{${name}}`, da, "db", ""),
  ];
}

/** The backward equations of a step, in the order in which a gradient passes it. */
export function backwardEquations(situation) {
  const at = equationPlace(situation), { next } = at, { cell } = at.network;
  const above = gradientFromAbove(at), { step, H, unit } = at;
  const isTop = at.layer === at.network.config.num_layers - 1;
  const erased = at.pass.changes.erased.has(step);
  const returned = next === null ? constant(0) : backToState(at, next, at.after);
  const mark = cell.name === "lstm" ? "h," : "";
  const back = leaf(`back_{${mark}${at.after}}`, evaluate(returned), "h");
  const found = [
    ...(isTop ? lossEquations(at) : []),
    above,
    equationOf("back", "from the following step", back, returned, "back",
      next === null ? "no step follows in this direction" : ""),
    equationOf("dh", "gradient of the state", leaf("dh_{t}", at.reverse.dh[step * H + unit], "h"),
      plus(above.left, back)),
  ];
  if (erased) {
    found.at(-1).note = "this step is erased: its gradient goes on as it is";
    return found;
  }
  const on = backToState(at, step, "t");
  return [...found, ...CELL_GRADIENTS[cell.name](at), ...weightEquations(at),
    equationOf("goes_back", "goes back to the old state",
      leaf(`back_{${mark}t}`, evaluate(on), "h"), on, "back")];
}
