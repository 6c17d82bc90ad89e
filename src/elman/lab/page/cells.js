// The four recurrent cells, forward and backward, as in elman.ops.cells and elman.explain.backward.
//
// A cell reads a = W x_t + b and u = U h_{t-1} + b', each cut into blocks of H numbers, and the
// states before the step. `step` fills row t of every gate and state of a layer. `back` takes the
// gradients of the states after step t and returns those of a, of u and of the states before it
// (without U^T du, which the caller adds).
//
// Loops go over one block at a time, so that a clamped gate or state is set before the next block
// reads it. A layer is one entry of a pass: see `forward` in network.js.

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
// What a gate applies to its sum, and its slope by the result. tanh is no cell of elman: it is there
// to see what becomes of a network whose gates can turn a state's sign.
const sigmoidGate = { f: sigmoid, slope: (y) => y * (1 - y) };
const tanhGate = { f: Math.tanh, slope: (y) => 1 - y * y };

/** Set the clamped units of one gate or state at step t. */
function hold(layer, name, t) {
  const values = layer.gates[name];
  for (const { from, to, unit, value } of layer.clamps[name] ?? []) {
    if (t < from || t > to) continue;
    if (unit === null) values.fill(value, t * layer.size, (t + 1) * layer.size);
    else values[t * layer.size + unit] = value;
  }
}

/** Remove the gradient of the clamped units, which do not depend on anything: H numbers from `at`. */
function release(layer, name, t, gradient, at = 0) {
  for (const { from, to, unit } of layer.clamps[name] ?? []) {
    if (t < from || t > to) continue;
    if (unit === null) gradient.fill(0, at, at + layer.size);
    else gradient[at + unit] = 0;
  }
}

/** A whole gate at step t: f(a + u) of its block, the `block`-th of `blocks`. */
function fillGate(layer, name, block, blocks, t, f) {
  const { a, u, size } = layer;
  const values = layer.gates[name], at = t * size, from = (t * blocks + block) * size;
  for (let j = 0; j < size; j++) values[at + j] = f(a[from + j] + u[from + j]);
  hold(layer, name, t);
}

/** h_t = f(a + u) */
const simpleCell = (f, slope) => ({
  step(layer, t) {
    fillGate(layer, "h", 0, 1, t, f);
  },
  back(layer, t, after, da, du, before) {
    const { h } = layer.gates, at = t * layer.size;
    release(layer, "h", t, after.h);
    for (let j = 0; j < layer.size; j++) {
      da[j] = du[j] = after.h[j] * slope(h[at + j]);
      before.h[j] = 0;
    }
  },
});

/** r, z = sigmoid(a + u)    n = tanh(a_n + r * u_n)    h_t = (1 - z) * n + z * h_{t-1} */
const gruCell = (gate) => ({
  step(layer, t) {
    const { a, u, size, gates, previous } = layer;
    const { r, z, n, h } = gates, at = t * size, from = (3 * t + 2) * size;
    fillGate(layer, "r", 0, 3, t, gate.f);
    fillGate(layer, "z", 1, 3, t, gate.f);
    for (let j = 0; j < size; j++) n[at + j] = Math.tanh(a[from + j] + r[at + j] * u[from + j]);
    hold(layer, "n", t);
    for (let j = 0; j < size; j++) {
      h[at + j] = (1 - z[at + j]) * n[at + j] + z[at + j] * previous.h[at + j];
    }
    hold(layer, "h", t);
  },
  back(layer, t, after, da, du, before) {
    const { u, size, gates, previous } = layer;
    const { r, z, n } = gates, at = t * size, u_n = (3 * t + 2) * size;
    release(layer, "h", t, after.h);
    for (let j = 0; j < size; j++) {
      const dh = after.h[j], Z = z[at + j], N = n[at + j];
      before.h[j] = dh * Z;
      da[size + j] = dh * (previous.h[at + j] - N) * gate.slope(Z);
      da[2 * size + j] = dh * (1 - Z) * (1 - N * N);
    }
    release(layer, "z", t, da, size);
    release(layer, "n", t, da, 2 * size);
    for (let j = 0; j < size; j++) {
      const R = r[at + j], da_n = da[2 * size + j];
      da[j] = da_n * u[u_n + j] * gate.slope(R);
      du[2 * size + j] = da_n * R;
    }
    release(layer, "r", t, da);
    for (let j = 0; j < 2 * size; j++) du[j] = da[j];
  },
});

/** i, f, o = sigmoid(a + u)    g = tanh(a + u)    c_t = f * c_{t-1} + i * g    h_t = o * tanh(c_t) */
const lstmCell = (gate) => ({
  step(layer, t) {
    const { size, gates, previous } = layer;
    const { i, f, g, o, c, h } = gates, at = t * size;
    fillGate(layer, "i", 0, 4, t, gate.f);
    fillGate(layer, "f", 1, 4, t, gate.f);
    fillGate(layer, "g", 2, 4, t, Math.tanh);
    fillGate(layer, "o", 3, 4, t, gate.f);
    for (let j = at; j < at + size; j++) c[j] = f[j] * previous.c[j] + i[j] * g[j];
    hold(layer, "c", t);
    for (let j = at; j < at + size; j++) h[j] = o[j] * Math.tanh(c[j]);
    hold(layer, "h", t);
  },
  back(layer, t, after, da, du, before) {
    const { size, gates, previous } = layer;
    const { i, f, g, o, c } = gates, at = t * size, dc = before.c;
    release(layer, "h", t, after.h);
    for (let j = 0; j < size; j++) {
      const O = o[at + j], squashed = Math.tanh(c[at + j]);
      dc[j] = after.c[j] + after.h[j] * O * (1 - squashed * squashed);
      da[3 * size + j] = after.h[j] * squashed * gate.slope(O);
      before.h[j] = 0;
    }
    release(layer, "c", t, dc);
    for (let j = 0; j < size; j++) {
      const I = i[at + j], F = f[at + j], G = g[at + j];
      da[j] = dc[j] * G * gate.slope(I);
      da[size + j] = dc[j] * previous.c[at + j] * gate.slope(F);
      da[2 * size + j] = dc[j] * I * (1 - G * G);
      dc[j] *= F;
    }
    lstm.blocks.forEach((name, block) => release(layer, name, t, da, block * size));
    for (let j = 0; j < 4 * size; j++) du[j] = da[j];
  },
});

const relu = (x) => (x > 0 ? x : 0);
const rnn = { name: "rnn", title: "simple RNN", blocks: ["h"], states: ["h"],
  activations: { h: "tanh" }, ...simpleCell(Math.tanh, (h) => 1 - h * h) };
const rnnRelu = { ...rnn, title: "simple RNN with ReLU",
  activations: { h: "relu" }, ...simpleCell(relu, (h) => (h > 0 ? 1 : 0)) };
const gru = { name: "gru", title: "GRU", blocks: ["r", "z", "n"], states: ["h"],
  activations: { r: "sigmoid", z: "sigmoid", n: "tanh" }, ...gruCell(sigmoidGate) };
const lstm = { name: "lstm", title: "LSTM", blocks: ["i", "f", "g", "o"], states: ["c", "h"],
  activations: { i: "sigmoid", f: "sigmoid", g: "tanh", o: "sigmoid" }, ...lstmCell(sigmoidGate) };
const gruTanh = { ...gru, title: "GRU with tanh for its gates",
  activations: { r: "tanh", z: "tanh", n: "tanh" }, ...gruCell(tanhGate) };
const lstmTanh = { ...lstm, title: "LSTM with tanh for its gates",
  activations: { i: "tanh", f: "tanh", g: "tanh", o: "tanh" }, ...lstmCell(tanhGate) };

/**
 * The cell that a config names: {name, title, blocks, gates, states, traced, activations, step,
 * back}. `blocks` is the order of the weights' rows, `traced` every gate and state in the order in
 * which a step computes them; `initialStates` is torch's order of the first states. With
 * `gate_activation` "tanh", which only networks that are trained in the page have, it is no cell of
 * elman.
 */
export function findCell(config) {
  const relus = config.cell === "rnn" && config.nonlinearity === "relu";
  const gated = config.gate_activation === "tanh" ? { gru: gruTanh, lstm: lstmTanh } : { gru, lstm };
  const cell = { rnn: relus ? rnnRelu : rnn, ...gated }[config.cell];
  if (!cell) {
    throw new Error(`cell: got "${config.cell}", expected rnn, gru or lstm: this page has no `
      + "equations for another cell");
  }
  const gates = cell.blocks.filter((name) => !cell.states.includes(name));
  const others = cell.states.filter((name) => name !== "h");
  return { ...cell, gates, traced: [...gates, ...cell.states], initialStates: ["h", ...others] };
}
