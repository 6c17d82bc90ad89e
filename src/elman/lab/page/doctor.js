// Why a network does not learn, in words: the findings of elman.explain.doctor that fit a network that is
// trained in the page. Limits, and what explains what, come from elman in the payload.
import { formatNumber } from "./dom.js";
import { measure } from "./measures.js";

const DEFAULT_RATE = 3e-3;
const SEVERITIES = ["error", "warning", "note"];

/**
 * Examine a training.
 *
 * @param training from makeTraining
 * @param doctor {limits, effects} of the payload
 * @returns {first: the most severe cause, or null; findings: [{name, severity, message, remedy, value,
 *   threshold, places}], from causes to effects; measured: see `measure`}
 */
export function diagnose(training, { limits, effects }) {
  const finite = Object.values(training.network.weights).every((values) => values.every(Number.isFinite));
  const measured = finite ? measure(training, limits) : null;
  const found = finite && !training.failed
    ? [findScale, findRates, findSaturation, findUnits, findMatrices, findGradients, findAnswers]
      .flatMap((find) => find(training, measured, limits))
    : findNotFinite(training);
  const findings = rank(found, Object.keys(effects), effects);
  const first = findings.find((each) => each.severity !== "note" && !each.explainedBy) ?? null;
  return { first, findings, measured };
}

/** Order findings from cause to effect, and name for each effect the finding that explains it. */
function rank(found, order, effects) {
  const sorted = merge(found).sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name));
  const ranked = [];
  for (const finding of sorted) {
    const explains = (each) => each.severity !== "note" && effects[each.name].includes(finding.name);
    const cause = ranked.find(explains);
    ranked.push({ ...finding, explainedBy: cause ? cause.explainedBy || cause.name : "" });
  }
  return ranked.sort((a, b) => SEVERITIES.indexOf(a.severity) - SEVERITIES.indexOf(b.severity));
}

/** One finding of each name, with all places of the most severe. */
function merge(found) {
  const byName = new Map();
  for (const finding of found) {
    const known = byName.get(finding.name);
    if (!known || SEVERITIES.indexOf(finding.severity) < SEVERITIES.indexOf(known.severity)) {
      byName.set(finding.name, finding);
    } else if (finding.severity === known.severity) {
      known.places.push(...finding.places);
    }
  }
  return [...byName.values()];
}


const makeFinding = (name, severity, message, value, threshold, remedy, place = "") =>
  ({ name, severity, message, value, threshold, remedy, places: place ? [place] : [] });

const percent = (share) => `${Math.round(100 * share)} %`;

function findNotFinite(training) {
  const { loss } = training.last;
  return [makeFinding("not_finite", "error",
    `the loss is ${loss}: a weight or state has grown beyond every number`, loss, 0,
    `Start again with a lower learning rate, ${formatNumber(DEFAULT_RATE)} for example.`)];
}

function findScale({ plan }, measured, { LOUD, FAINT }) {
  if (plan.config.vocabulary_size) return [];
  const C = plan.channels.length;
  const levels = plan.channels.map((_, c) => {
    const own = plan.train.x.filter((_value, i) => i % C === c);
    return Math.sqrt(own.reduce((sum, value) => sum + value * value, 0) / own.length);
  });
  const loud = levels.filter((level) => level > LOUD);
  const faint = levels.filter((level) => level < FAINT);
  const about = (which, value, threshold, effect) => makeFinding("unscaled_inputs", "warning",
    `${which.length} of ${C} channels reach the network with values of about ${formatNumber(value)}, `
    + effect,
    value, threshold, "Standardise every channel by the mean and deviation of the training split.");
  return [
    ...(loud.length ? [about(loud, Math.max(...loud), LOUD, "which drive its gates to their ends")] : []),
    ...(faint.length ? [about(faint, Math.min(...faint), FAINT, "too small to have an effect")] : []),
  ];
}

/** A learning rate that cannot move the weights, or makes them overshoot. */
function findRates(training, { skill }, limits) {
  const { plan: { settings }, history, steps } = training;
  const learnt = skill !== null && skill > limits.LEARNT;
  const rate = settings.learning_rate;
  const moved = rate * steps / 2; // the mean of a cosine is half its height
  if (!learnt && moved < limits.MOVED) {
    return [makeFinding("learning_rate_too_low", "warning",
      `${steps.toLocaleString("en")} updates with a learning rate of up to ${formatNumber(rate)} can change `
      + `a weight by about ${formatNumber(moved, 1)}, while new weights are of about `
      + `${formatNumber(1 / Math.sqrt(training.network.units), 1)}: the network ends almost as it began`,
      moved, limits.MOVED, `Try a learning rate of ${formatNumber(DEFAULT_RATE)}.`)];
  }
  if (!history.length) return [];
  const losses = history.map(({ loss }) => loss);
  const rises = losses.slice(1).filter((loss, i) => loss - losses[i] > limits.SWING * losses[0]);
  const swings = losses.length < 5 ? 0 : rises.length / (losses.length - 1);
  const highest = Math.max(...history.map(({ learning_rate }) => learning_rate));
  const high = highest >= limits.HIGH_RATE && !learnt;
  if (!high && swings <= limits.SWINGS) return [];
  const swung = swings > 0
    ? `: the loss rose by more than a tenth of its first value in ${percent(swings)} of the epochs`
    : `, and after ${losses.length} epochs the training loss is ${formatNumber(losses.at(-1))}, from `
      + `${formatNumber(losses[0])} in the first`;
  return [makeFinding("learning_rate_too_high", "warning",
    `a learning rate of ${formatNumber(highest, 2)} makes steps that overshoot${swung}`,
    swings > limits.SWINGS ? swings : highest, swings > limits.SWINGS ? limits.SWINGS : limits.HIGH_RATE,
    `Try ${formatNumber(high ? Math.min(highest / 10, DEFAULT_RATE) : highest / 10, 1)}.`)];
}

function findSaturation(training, { layers, skill }, limits) {
  const { network, history } = training;
  const learnt = history.length > 0 && skill !== null && skill > limits.LEARNT;
  return layers.flatMap(({ place, saturation }) => Object.entries(saturation)
    .filter(([, [share]]) => share > limits.SATURATED)
    .map(([name, [share, upper]]) => {
      const ends = network.cell.activations[name] === "tanh" ? ["at −1", "at 1"] : ["closed", "open"];
      const noun = network.cell.states.includes(name) ? "state" : "gate";
      const what = upper > 0.8 * share ? `stays ${ends[1]} at ${percent(upper)} of its steps and units`
        : upper < 0.2 * share ? `stays ${ends[0]} at ${percent(share - upper)} of its steps and units`
          : `is ${ends[0]} at ${percent(share - upper)} of its steps and units, and ${ends[1]} at `
            + percent(upper);
      return makeFinding("saturated_gates", learnt ? "note" : "warning",
        `${noun} ${name} ${what}, where inputs and weights hardly change it`, share, limits.SATURATED,
        learnt ? "" : "Start again with a lower learning rate.", place);
    }));
}

function findUnits({ network }, { layers }, limits) {
  const relu = network.cell.activations.h === "relu";
  return layers.flatMap(({ place, deviations }) => {
    const still = deviations.filter((value) => (relu ? value === 0 : value < limits.STILL)).length;
    if (!still) return [];
    const share = still / deviations.length;
    const threshold = relu ? limits.DEAD : limits.STILL_SHARE;
    return [makeFinding(relu ? "dead_units" : "constant_units", share > threshold ? "warning" : "note",
      `${still} of ${deviations.length} units ${relu
        ? "are 0 at every step of every sequence: they carry no information and no gradient"
        : "never change: they carry no information"}`,
      share, threshold,
      relu ? "Lower the learning rate, or use tanh." : "Lower the weight decay, or use fewer units.", place)];
  });
}

function findMatrices({ network }, { layers }, limits) {
  const activation = network.cell.activations.h;
  return layers.flatMap(({ place, radius }) => {
    if (radius === null || radius <= limits.RADIUS[activation]) return [];
    const end = activation === "tanh" ? "tanh saturates" : "it exceeds every bound";
    return [makeFinding("spectral_radius", "warning",
      `the largest eigenvalue of U has the absolute value ${formatNumber(radius)}: small differences grow by `
      + `that factor at every step, until ${end}`,
      radius, limits.RADIUS[activation], "Start again with a lower learning rate, or use a GRU.", place)];
  });
}

function findGradients({ network, history }, { layers, steps, skill }, limits) {
  const learnt = skill !== null && skill > limits.LEARNT;
  const remedy = !network.cell.gates.length ? "Use a GRU or LSTM, whose gates carry gradients further."
    : network.config.readout === "last"
      ? "elman train --readout mean or max gives every step a short path to the output."
      : "Cut the sequences into shorter windows.";
  return layers.flatMap(({ place, byLag }) => {
    const back = Math.floor(steps) - 1;
    if (back < 2 || byLag.length <= back) return [];
    const left = byLag[back];
    const most = Math.max(...byLag.slice(0, back + 1));
    if (most > limits.EXPLODED) {
      return [makeFinding("exploding_gradients", "warning",
        `a gradient grows by a factor of ${formatNumber(most, 2)} on its way back over ${back} steps`,
        most, limits.EXPLODED, "Lower the learning rate.", place)];
    }
    if (left >= limits.VANISHED) return [];
    const reach = byLag.findIndex((share) => share < limits.REACH);
    const harmful = !learnt && (history.length > 0 || left ** (1 / back) < limits.FACTOR);
    const then = harmful ? ": the network cannot learn from steps further back"
      : learnt ? ". The network has learnt nevertheless" : "; its gates may still learn to carry it further";
    return [makeFinding("vanishing_gradients", harmful ? "warning" : "note",
      `the gradient is ${left === 0 ? "0" : `down to ${formatNumber(left, 2)} of its size`} after ${back} `
      + `steps back, and below a thousandth after ${reach}${then}`,
      left, limits.VANISHED, harmful ? remedy : "", place)];
  });
}

function findAnswers(training, { deviation }, limits) {
  const found = [];
  if (deviation < limits.VARIES) {
    found.push(makeFinding("constant_predictions", "warning",
      "the answers to all sequences are almost the same", deviation, limits.VARIES,
      "Start again with another learning rate."));
  }
  const losses = training.history.map(({ test_loss }) => test_loss);
  const least = Math.min(...losses);
  if (losses.length >= 3 && least > 0 && losses.at(-1) / least > limits.OVERFIT) {
    found.push(makeFinding("overfitting", "warning",
      `the loss on the test sequences was lowest in epoch ${losses.indexOf(least) + 1}, at `
      + `${formatNumber(least)}, and has risen to ${formatNumber(losses.at(-1))}`,
      losses.at(-1) / least, limits.OVERFIT, "Stop earlier, use fewer units, or collect more sequences."));
  }
  return found;
}
