// A small file of the user's own as a TASK: one sequence a row, its label in the last column or in "label".
import { countOf } from "./dom.js";
import { numpyGenerator, permutation } from "./random.js";
import { makeSplit } from "./tasks.js";

const FILE_ROWS = 5000;
const FILE_STEPS = 500;
const FEWEST_ROWS = 10;
const TEST_SHARE = 0.2;
const UNKNOWN_TOKEN = 1;
const NUMBER = /^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$/;

/**
 * Read a table; the numbers of a row are the steps of one channel, other cells are tokens, and a single
 * column of text is read by its characters.
 *
 * @returns a TASK whose arrays are decoded, with `rows`: how the file was read, in sentences
 * @throws Error that says what is wrong, where, and what was expected
 */
export function readTable(text, name) {
  const table = cutRows(text);
  const { labelAt, rows, said } = findLabels(table);
  if (rows.length < FEWEST_ROWS || rows.length > FILE_ROWS) {
    throw new Error(`${name} has ${countOf(rows.length, "row")} of data, expected ${FEWEST_ROWS} to `
      + `${FILE_ROWS.toLocaleString("en")}. elman train reads larger files.`);
  }
  const cells = rows.map(({ line, row }) => stepsOf(row.filter((_, c) => c !== labelAt), line));
  const isText = cells.every((row) => row.length === 1) && !cells.every(([cell]) => NUMBER.test(cell));
  const sequences = isText ? cells.map(([cell]) => [...cell]) : cells;
  checkSteps(sequences, rows);
  const numbers = !isText && sequences.every((row) => row.every((cell) => NUMBER.test(cell)));
  const order = Array.from(permutation(numpyGenerator(0), rows.length));
  const tests = Math.max(1, Math.round(TEST_SHARE * rows.length));
  const parts = { test: order.slice(0, tests), train: order.slice(tests) };
  const target = readTargets(rows.map(({ row }) => row[labelAt] ?? ""), rows, parts.train);
  const input = numbers ? readNumbers(sequences, parts.train) : readTokens(sequences, parts.train);
  const lengths = sequences.map((row) => row.length);
  const split = (index) => makeSplit(Int32Array.from(index, (i) => lengths[i]),
    input.encode(index.flatMap((i) => sequences[i])), target.encode(index), 1);
  const steps = parts.train.reduce((sum, i) => sum + lengths[i], 0) / parts.train.length;
  return {
    name: `own file: ${name}`, description: "from your own file; it does not leave this page",
    settings: chooseSettings(parts.train.length, steps, numbers, target.task),
    config: { ...input.config, ...target.config, cell: "gru", nonlinearity: "tanh", hidden_size: 16,
      num_layers: 1, bidirectional: false, readout: "last", category_sizes: [], category_widths: [],
      embedding_size: 64, static_size: 0, static_to: null },
    channels: input.channels, vocabulary: input.vocabulary, outputs: target.outputs, longer: null,
    train: split(parts.train), test: split(parts.test),
    rows: [...said, isText ? "Each sequence is the characters of its text."
      : numbers ? "The other columns are the steps of a sequence of numbers."
        : "The other columns are the steps of a sequence of tokens.", target.said,
    `${countOf(tests, "row")}, chosen at random, ${tests === 1 ? "is" : "are"} held out as test.`],
  };
}

/** The rows of a table: cells with the number of their line; decimal commas are made points. */
function cutRows(text) {
  const lines = text.replace(/^\uFEFF/, "").split(/\r\n|\n|\r/)
    .map((line, i) => ({ line: i + 1, text: line }))
    .filter(({ text: own }) => own.trim());
  if (!lines.length) throw new Error("The file is empty, expected one sequence a row.");
  const count = (mark) => lines[0].text.split(mark).length;
  const mark = ["\t", ";", ","].reduce((best, each) => (count(each) > count(best) ? each : best), "\t");
  if (count(mark) < 2) {
    throw new Error("Line 1 has a single cell, expected values and a label, separated by commas, "
      + "semicolons or tabs.");
  }
  const comma = mark !== "," && /\d,\d/.test(text);
  return lines.map(({ line, text: own }) => ({ line, row: cutCells(own, mark)
    .map((cell) => (comma && /^\s*-?\d+,\d+\s*$/.test(cell) ? cell.replace(",", ".") : cell.trim())) }));
}

/** The cells of a line; quotes may hold the mark, and stand twice for themselves. */
function cutCells(line, mark) {
  const cells = [""];
  let quoted = false;
  for (let i = 0; i < line.length; i++) {
    const sign = line[i];
    if (sign === '"' && quoted && line[i + 1] === '"') cells[cells.length - 1] += line[i++];
    else if (sign === '"') quoted = !quoted;
    else if (sign === mark && !quoted) cells.push("");
    else cells[cells.length - 1] += sign;
  }
  return cells;
}

/** Which column is the label, and the rows below a header, if there is one. */
function findLabels(table) {
  const [first, second] = table;
  const named = first.row.findIndex((cell) => cell.toLowerCase() === "label");
  const isNamed = (cell, c) => cell && !NUMBER.test(cell) && NUMBER.test(second?.row[c] ?? "");
  const header = named >= 0 || first.row.slice(0, -1).some(isNamed);
  const rows = header ? table.slice(1) : table;
  const labelAt = named >= 0 ? named : first.row.length - 1;
  const column = header ? `column "${first.row[labelAt]}"` : `the last column, number ${labelAt + 1},`;
  return { labelAt, rows, said: [header ? "Line 1 names the columns." : "There is no line of names.",
    `The label is ${column}.`.replace(",.", ".")] };
}

/** The steps of a row: empty cells at its end make it shorter; a gap between values is an error. */
function stepsOf(cells, line) {
  const end = cells.findLastIndex((cell) => cell !== "") + 1;
  const gap = cells.slice(0, end).indexOf("");
  if (gap >= 0) {
    throw new Error(`Line ${line}, value ${gap + 1} is empty, expected a value. Fill the gap; elman train `
      + "also learns from sequences with gaps.");
  }
  return cells.slice(0, end);
}

function checkSteps(sequences, rows) {
  sequences.forEach((row, i) => {
    if (row.length >= 1 && row.length <= FILE_STEPS) return;
    throw new Error(`Line ${rows[i].line} has ${countOf(row.length, "step")}, expected 1 to ${FILE_STEPS}. `
      + "elman train reads longer sequences.");
  });
}

/** Classes, or numbers if any label has a fraction; scaled by those of the training rows. */
function readTargets(labels, rows, train) {
  const missing = labels.indexOf("");
  if (missing >= 0) throw new Error(`Line ${rows[missing].line} has no label, expected one for each row.`);
  const isNumber = labels.every((label) => NUMBER.test(label));
  if (isNumber && !labels.every((label) => Number.isInteger(Number(label)))) {
    const { mean, scale } = momentsOf(train.map((i) => Number(labels[i])));
    return {
      task: "regression", config: { task: "regression", num_outputs: 1 },
      outputs: { names: ["value"], mean: [mean], scale: [scale] },
      said: "The label is a number to predict.",
      encode: (index) => Float32Array.from(index, (i) => (Number(labels[i]) - mean) / scale),
    };
  }
  const names = [...new Set(labels)].sort(isNumber ? (a, b) => a - b : undefined);
  if (names.length < 2) throw new Error(`Every label is "${names[0]}", expected two classes or more.`);
  const codes = new Map(names.map((label, code) => [label, code]));
  const listed = names.slice(0, 5).join(", ") + (names.length > 5 ? " ..." : "");
  return {
    task: "classification", config: { task: "classification", num_outputs: names.length },
    outputs: { names },
    said: `There are ${names.length} classes: ${listed}.`,
    encode: (index) => Int32Array.from(index, (i) => codes.get(labels[i])),
  };
}

/** Mean and deviation; a deviation of 0 counts as 1. */
function momentsOf(values) {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  return { mean, scale: Math.sqrt(variance) || 1 };
}

function readNumbers(sequences, train) {
  const moments = momentsOf(train.flatMap((i) => sequences[i].map(Number)));
  return {
    config: { input_size: 1, vocabulary_size: 0 }, vocabulary: null,
    channels: [{ name: "value", unit: "", ...moments, values: null }],
    encode: (cells) => Float64Array.from(cells, Number),
  };
}

function readTokens(sequences, train) {
  const tokens = [...new Set(train.flatMap((i) => sequences[i]))].sort();
  const ids = new Map(tokens.map((token, i) => [token, i + 2]));
  return {
    config: { input_size: 0, vocabulary_size: tokens.length + 2 }, channels: [],
    vocabulary: ["<pad>", "<unknown>", ...tokens],
    encode: (cells) => Int32Array.from(cells, (cell) => ids.get(cell) ?? UNKNOWN_TOKEN),
  };
}

/**
 * The settings that elman chooses for so many training sequences of so many steps: see
 * elman.estimators.defaults, which a test compares with this.
 */
export function chooseSettings(count, steps, numbers, task) {
  const affordable = 4e6 / (count * steps);
  let batch = count <= 128 ? 8 : count <= 512 ? 16 : 32;
  let epochs = Math.max(25, Math.floor(3000 / Math.ceil(count / batch)));
  epochs = Math.min(400, epochs, Math.max(3, Math.round(affordable)));
  while (batch > 8 && epochs * Math.ceil(count / batch) < 2000) batch = Math.floor(batch / 2);
  const needed = Math.min(Math.ceil(2000 / Math.ceil(count / batch)), 400, Math.floor(10 * affordable));
  const classes = task === "classification";
  return {
    epochs: Math.max(epochs, needed), batch_size: batch, learning_rate: 0.003, weight_decay: 0.3,
    schedule: "cosine", warmup: 0.05, clip_norm: 1, label_smoothing: !numbers && classes ? 0.1 : 0,
    token_dropout: 0.25, noise: numbers && classes && count <= 512 ? 0.3 : 0, seed: 0,
    dropout: numbers ? 0 : 0.3, initialization: "orthogonal",
  };
}
