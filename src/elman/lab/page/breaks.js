// What a training in the page is made of, and switches that break it, each in a way worth seeing.
import { appendSteps, scaleSplit } from "./tasks.js";

const LONGER = 100; // steps that are appended
const FEWER = 200; // sequences that are kept then, so that an epoch stays short
const CLOSED = -10; // first bias of a gate that is closed: sigmoid(-10) is 0.00005
const MEMORY_GATE = { lstm: "f", gru: "z" }; // the gate that keeps the old state

/**
 * The switches: {id, title, text: what it changes and what to look for, barrier(task, config): why it
 * does not apply, or null, apply(plan, task): changes the plan, causes: what the doctor finds then}.
 */
export const BREAKS = [
  {
    id: "fast",
    causes: ["learning_rate_too_high", "not_finite", "spectral_radius", "saturated_gates", "dead_units",
      "exploding_gradients", "constant_predictions", "constant_units"],
    title: "Learning rate 100 times as high",
    text: "Every step then goes far past the point that it aims at. Watch the loss jump about.",
    barrier: () => null,
    apply(plan) {
      plan.settings.learning_rate *= 100;
    },
  },
  {
    id: "slow",
    causes: ["learning_rate_too_low"],
    title: "Learning rate 1,000 times as low",
    text: "The weights hardly move. Watch a loss that is almost flat.",
    barrier: () => null,
    apply(plan) {
      plan.settings.learning_rate /= 1000;
    },
  },
  {
    id: "unscaled",
    causes: ["unscaled_inputs"],
    title: "No scaling of the inputs",
    text: "The numbers come in hundredths, 100 times as large, and are not standardised. Watch gates and "
      + "states that stay at the ends of their range.",
    barrier: (task, config) => (config.vocabulary_size ? "the task has tokens, which have no scale" : null),
    apply(plan, task) {
      plan.factor = 100;
      plan.channels = task.channels.map((channel) => ({ ...channel, mean: 0, scale: 1 }));
    },
  },
  {
    id: "forget",
    causes: ["saturated_gates", "vanishing_gradients"],
    title: "Gates that forget at first",
    text: "The bias of the forget gate f (LSTM) or of the update gate z (GRU) starts at −10, and "
      + "not at 1 (LSTM) or 0 (GRU): the old state is dropped at every step. Watch how little gradient comes "
      + "back.",
    barrier: (task, config) => (config.cell in MEMORY_GATE ? null : "a simple RNN has no gates"),
    apply(plan) {
      plan.biases = { [MEMORY_GATE[plan.config.cell]]: CLOSED };
    },
  },
  {
    id: "gates",
    causes: ["exploding_gradients", "saturated_gates", "not_finite"],
    title: "tanh for the gates",
    text: "A gate with sigmoid lets through a share from 0 to 1. With tanh it also turns signs. Watch states "
      + "that flip from step to step.",
    barrier: (task, config) => (config.cell in MEMORY_GATE ? null : "a simple RNN has no gates"),
    apply(plan) {
      plan.config.gate_activation = "tanh";
    },
  },
  {
    id: "long",
    causes: ["vanishing_gradients", "exploding_gradients", "constant_predictions"],
    title: "Longer sequences",
    text: "The network must remember for longer. Watch how far back the gradient reaches.",
    barrier: (task, config) =>
      (config.readout === "every" && !task.longer ? "every step of this file has its own label" : null),
    apply(plan, task) {
      if (task.longer) {
        [plan.train, plan.test] = [task.longer.train, task.longer.test];
        return;
      }
      const blank = plan.config.vocabulary_size ? [1] : task.channels.map((channel) => channel.mean);
      for (const name of ["train", "test"]) {
        plan[name] = appendSteps(firstOf(plan[name], FEWER), LONGER, blank);
      }
    },
  },
];

/** What "Longer sequences" does to a task, in words. */
export function describeLonger(task) {
  return task.longer?.text ?? `${LONGER} steps that say nothing follow each sequence, and the first ${FEWER} `
    + "are used";
}

/** The first sequences of a split with one target each. */
function firstOf(split, most) {
  const count = Math.min(most, split.count);
  const target = split.target.subarray(0, (split.target.length / split.count) * count);
  return { ...split, count, lengths: split.lengths.subarray(0, count), target };
}

/**
 * The plan of a training: what `makeTraining` takes.
 *
 * @param task from readTask
 * @param choices {cell, nonlinearity, hidden_size, num_layers, bidirectional, readout,
 *   seed, breaks: [id]}
 * @returns {config, settings, channels, factor, train, test, biases, outputs, breaks: those applied}
 */
export function planTraining(task, choices) {
  const { cell, nonlinearity, hidden_size, num_layers, bidirectional, readout, seed } = choices;
  const config = { ...task.config, cell, hidden_size, num_layers, bidirectional,
    readout: task.config.readout === "every" ? "every" : readout,
    nonlinearity: cell === "rnn" ? nonlinearity : "tanh" };
  const plan = {
    config, settings: { ...task.settings, seed }, channels: task.channels, factor: 1,
    train: task.train, test: task.test, biases: {}, outputs: task.outputs, breaks: [],
  };
  for (const each of BREAKS) {
    if (!choices.breaks.includes(each.id) || each.barrier(task, config)) continue;
    each.apply(plan, task);
    plan.breaks.push(each.id);
  }
  if (!config.vocabulary_size) {
    for (const name of ["train", "test"]) plan[name] = scaleSplit(plan[name], plan.channels, plan.factor);
  }
  return plan;
}
