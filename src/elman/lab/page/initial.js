// The first weights of a network: the same numbers as elman draws from the same seed.
import { findCell } from "./cells.js";
import { normalNumbers, uniformFloats } from "./random.js";

const FIRST_BIASES = { lstm: { f: 1 } };

/**
 * Draw the weights of a network of numbers or tokens, in the order of elman.layers.initialise.
 *
 * @param config as in the payload
 * @param generator from torchGenerator; advanced by what is drawn
 * @param biases {gate: first value of its biases}; elman's own, 1 for an LSTM's forget gate, if left out
 * @returns {name as in state_dict(): Float32Array}
 */
export function initialWeights(config, generator, biases = {}) {
  const weights = {};
  if (config.vocabulary_size) {
    const size = config.vocabulary_size * config.embedding_size;
    weights["embedding.weight"] = normalNumbers(generator, size);
  }
  const layers = recurrentLayers(config);
  for (const { names, sizes } of layers) {
    // torch.nn's constructor fills every layer before elman draws orthogonal weights.
    const bound = 1 / Math.sqrt(config.hidden_size);
    for (const [k, name] of names.entries()) {
      weights[name] = uniformFloats(generator, sizes[k], -bound, bound);
    }
  }
  if (config.initialization !== "torch") {
    const values = { ...FIRST_BIASES[config.cell], ...biases };
    for (const layer of layers) drawOrthogonal(weights, layer, config, generator, values);
  }
  const width = config.hidden_size * (config.bidirectional ? 2 : 1);
  const bound = 1 / Math.sqrt(width);
  weights["output.weight"] = uniformFloats(generator, config.num_outputs * width, -bound, bound);
  weights["output.bias"] = uniformFloats(generator, config.num_outputs, -bound, bound);
  return weights;
}

/** The names and sizes of the weights of each layer and direction, in torch's order. */
function recurrentLayers(config) {
  const units = config.hidden_size;
  const rows = findCell(config).blocks.length * units;
  const ends = config.bidirectional ? ["", "_reverse"] : [""];
  const layers = [];
  for (let layer = 0; layer < config.num_layers; layer++) {
    const embedded = config.vocabulary_size ? config.embedding_size : config.input_size;
    const inputs = layer ? units * ends.length : embedded;
    for (const end of ends) {
      const names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
        .map((name) => `recurrent.${name}_l${layer}${end}`);
      layers.push({ names, inputs, sizes: [rows * inputs, rows * units, rows, rows] });
    }
  }
  return layers;
}

/** Xavier's input weights, orthogonal recurrent ones, and biases; each gate's block by itself. */
function drawOrthogonal(weights, { names, inputs }, config, generator, biases) {
  const units = config.hidden_size;
  const blocks = findCell(config).blocks;
  const bound = Math.sqrt(6 / (inputs + units));
  for (let k = 0; k < blocks.length; k++) {
    weights[names[0]].set(uniformFloats(generator, units * inputs, -bound, bound), k * units * inputs);
  }
  for (let k = 0; k < blocks.length; k++) {
    weights[names[1]].set(orthogonalMatrix(generator, units), k * units * units);
  }
  blocks.forEach((name, k) => {
    // In one of the two biases only, because their sum enters the gate.
    weights[names[2]].fill(biases[name] ?? 0, k * units, (k + 1) * units);
  });
  weights[names[3]].fill(0);
}

/**
 * A random orthogonal matrix (n, n): the Q of a QR decomposition with a positive diagonal of R.
 * Gram and Schmidt's method in doubles, twice, gives what Householder's gives torch.
 */
function orthogonalMatrix(generator, n) {
  const matrix = Float64Array.from(normalNumbers(generator, n * n));
  for (let column = 0; column < n; column++) {
    for (let pass = 0; pass < 2; pass++) {
      for (let other = 0; other < column; other++) {
        let product = 0;
        for (let i = 0; i < n; i++) product += matrix[i * n + other] * matrix[i * n + column];
        for (let i = 0; i < n; i++) matrix[i * n + column] -= product * matrix[i * n + other];
      }
    }
    let square = 0;
    for (let i = 0; i < n; i++) square += matrix[i * n + column] ** 2;
    for (let i = 0; i < n; i++) matrix[i * n + column] /= Math.sqrt(square);
  }
  return Float32Array.from(matrix);
}
