// A network that is trained in the page, as a RUN of the payload.

const SHOWN = 24; // test sequences that can be looked at
const CELL_TITLES = { gru: "GRU", lstm: "LSTM", rnn: "simple RNN" };

/**
 * A RUN for a plan and weights.
 *
 * @param plan from planTraining
 * @param task from readTask
 * @param history records of the epochs; kept: [{epoch, weights}]
 */
export function trainedRun(plan, task, weights, history, kept) {
  const { config, settings } = plan;
  const names = ["loss", "accuracy", "rmse", "test_loss", "test_accuracy", "test_rmse", "learning_rate",
    "gradient_norm"];
  const curves = { epoch: history.map(({ epoch }) => epoch) };
  for (const name of names) {
    if (history[0]?.[name] !== undefined) curves[name] = history.map((record) => record[name]);
  }
  const asInput = ({ mean, scale, ...channel }) =>
    ({ ...channel, mean: mean / plan.factor, scale: scale / plan.factor });
  return {
    name: `${task.name}, trained here: ${CELL_TITLES[config.cell]}, ${config.hidden_size} units`,
    settings: { ...settings, cell: config.cell, hidden_size: config.hidden_size,
      num_layers: config.num_layers, bidirectional: config.bidirectional,
      ...(plan.breaks.length ? { broken: plan.breaks.join(", ") } : {}) },
    config, channels: plan.channels.map(asInput), vocabulary: task.vocabulary, static: [],
    outputs: completeOutputs(plan), weights, epochs: kept, kept_epoch: null, history: curves,
    examples: examplesOf(plan, task),
  };
}

function completeOutputs({ outputs, config }) {
  const K = config.num_outputs;
  return { unit: "", mean: new Array(K).fill(0), scale: new Array(K).fill(1), ...outputs };
}

function examplesOf({ test, config }, task) {
  const count = Math.min(SHOWN, test.count);
  return Array.from({ length: count }, (_, i) => {
    const [from, to] = [test.starts[i], test.starts[i + 1]];
    const x = test.x.slice(from * test.width, to * test.width);
    x.shape = config.vocabulary_size ? [to - from] : [to - from, test.width];
    const each = config.readout === "every";
    const K = test.target.length / test.count;
    return {
      name: `test ${i + 1}`, split: "test", x, static: null,
      tokens: config.vocabulary_size ? Array.from(x, (code) => task.vocabulary[code]) : null,
      target: each ? test.target.slice(from, to)
        : K === 1 ? test.target[i] : Array.from(test.target.slice(i * K, (i + 1) * K)),
    };
  });
}
