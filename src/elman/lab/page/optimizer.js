// The optimiser: AdamW, clipping and the learning rate schedule, as in elman.train.

/** The learning rate of a step (from 0) of `steps`: a linear warm-up, then half a cosine. */
export function learningRate(settings, step, steps) {
  const rising = settings.warmup * steps;
  if (step < rising) return (settings.learning_rate * (step + 1)) / (Math.floor(rising) + 1);
  if (settings.schedule === "constant") return settings.learning_rate;
  const share = (step - rising) / Math.max(1, steps - rising);
  return settings.learning_rate * 0.5 * (1 + Math.cos(Math.PI * share));
}

/** Scale gradients {name: Float64Array} down to the norm `limit` if theirs is above; return theirs. */
export function clipGradients(gradients, limit) {
  let square = 0;
  for (const values of Object.values(gradients)) for (const value of values) square += value * value;
  const norm = Math.sqrt(square);
  if (limit && norm > limit) {
    const factor = limit / (norm + 1e-6);
    for (const values of Object.values(gradients)) {
      for (let i = 0; i < values.length; i++) values[i] *= factor;
    }
  }
  return norm;
}

/** Weights without decay: a bias is no measure of complexity, and rare tokens should stay. */
function hasDecay(name) {
  return !name.includes("bias") && !name.startsWith("embedding");
}

/**
 * The state of AdamW for weights {name: Float64Array}, which `adamStep` changes in place.
 * Source: Loshchilov & Hutter 2019, arXiv:1711.05101.
 */
export function makeAdam(weights, weightDecay) {
  const moments = Object.entries(weights).map(([name, values]) => ({
    name,
    decay: hasDecay(name) ? weightDecay : 0,
    mean: new Float64Array(values.length),
    square: new Float64Array(values.length),
  }));
  return { weights, moments, step: 0 };
}

/**
 * One step:  w -= lr decay w    m = b1 m + (1 - b1) g    v = b2 v + (1 - b2) g^2
 *            w -= lr / (1 - b1^t) * m / (sqrt(v / (1 - b2^t)) + eps)
 */
export function adamStep(adam, gradients, rate) {
  const [b1, b2, eps] = [0.9, 0.999, 1e-8];
  adam.step++;
  const size = rate / (1 - b1 ** adam.step);
  const correction = Math.sqrt(1 - b2 ** adam.step);
  for (const { name, decay, mean, square } of adam.moments) {
    const weight = adam.weights[name];
    const gradient = gradients[name];
    for (let i = 0; i < weight.length; i++) {
      const g = gradient[i];
      mean[i] = b1 * mean[i] + (1 - b1) * g;
      square[i] = b2 * square[i] + (1 - b2) * g * g;
      weight[i] -= rate * decay * weight[i];
      weight[i] -= (size * mean[i]) / (Math.sqrt(square[i]) / correction + eps);
    }
  }
}
