/** Runs one case of engine_cases.py in a page; numbers that are not finite come back as texts. */
import { backward } from "./backward.js";
import { decodeWeights, sequenceOf, targetOf } from "./data.js";
import { influence } from "./influence.js";
import { gradientByLag } from "./lags.js";
import { forward, makeNetwork, votes } from "./network.js";

const plain = (values) => Array.from(values, (value) => (Number.isFinite(value) ? value : String(value)));

/** Everything that the engine computes of a case, {name: flat list}. */
function runCase(given) {
  const { config, steps, changes } = given;
  const weights = {};
  for (const name of Object.keys(given.weights)) weights[name] = Float32Array.from(given.weights[name]);
  const network = makeNetwork(config, weights, given.scaling);
  const x = config.vocabulary_size ? Int32Array.from(given.x) : Float32Array.from(given.x);
  const sequence = { steps, x, static: given.static && Float32Array.from(given.static) };
  const { embedded, between, read } = changes.dropout ?? {}, mask = (rows) => rows?.flat(2);
  const edits = { clamps: changes.clamps ?? [], erased: new Set(changes.erased ?? []),
    dropout: { embedded: mask(embedded), between: between?.map(mask), read: mask(read) } };
  const pass = forward(network, sequence, edits);
  const byStep = changes.dropout ? {} : { outputs: pass.outputs, distribution: pass.distribution };
  const found = { hidden: pass.hidden, readout: pass.readout.slice(-network.width),
    ...byStep, final: pass.final, answer: pass.answer };
  const label = Array.isArray(given.label) ? given.label.map((value) => value ?? NaN) : given.label;
  const back = backward(network, sequence, pass, label);
  Object.assign(found, { losses: back.losses, loss: [back.loss], dy: back.dy, dx: back.dx });
  for (let k = 0; k < network.outputs; k++) found[`votes ${k}`] = votes(network, pass, k);
  const lags = gradientByLag(network, pass, back);
  pass.layers.forEach((layer, i) => {
    const place = `${layer.layer} ${layer.direction ? "backward" : "forward"}`;
    for (const name of network.cell.traced) found[`${place} ${name}`] = layer.gates[name];
    for (const name of network.cell.states) found[`${place} before ${name}`] = layer.previous[name];
    for (const name of ["dh", "da", "du"]) found[`${place} ${name}`] = back.layers[i][name];
    for (const name of ["norms", "remaining"]) found[`${place} ${name}`] = lags[i][name];
    found[`${place} sources`] = [lags[i].sources];
  });
  for (const name of Object.keys(weights)) {
    found[`gradient ${name}`] = back.gradients[name];
    found[`contribution ${name}`] = back.contributions[name];
  }
  if (given.influence ?? true) found.influence = influence(network, sequence, edits).values;
  return Object.fromEntries(Object.entries(found).map(([name, values]) => [name, plain(values)]));
}

window.runCases = (cases) => cases.map(runCase);

/** What the engine computes of each example of a run in a payload, as `runCase` returns it. */
window.runPayload = (run) => run.examples.map((example) => {
  const network = makeNetwork(run.config, decodeWeights(run.weights), run.outputs);
  const sequence = sequenceOf(example), pass = forward(network, sequence);
  const back = backward(network, sequence, pass, targetOf(example));
  const gradients = Object.entries(back.gradients).map(([name, values]) => [`gradient ${name}`, values]);
  const found = { losses: back.losses, distribution: pass.distribution, votes: votes(network, pass, 0),
    influence: influence(network, sequence).values, ...Object.fromEntries(gradients) };
  return Object.fromEntries(Object.entries(found).map(([name, values]) => [name, plain(values)]));
});

/** The message of the error for a case. */
window.messageOf = (given) => {
  try {
    runCase(given);
    return "no error";
  } catch (error) {
    return error.message;
  }
};
