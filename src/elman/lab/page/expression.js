// Expressions whose symbols carry numbers: they can be evaluated, and written on two lines.
//
// A node is a leaf {op: "leaf", symbol, value, mark, parts} or {op, args}: op is "sum", "product",
// "difference", "square" or the name of a function. A symbol is text with subscripts in braces,
// `h_{t-1}`. `mark` is the name of the array that the number stands in, as in state.js. `parts`
// are the products whose sum is the number, [{label, weight, factor, place}]; place is the unit
// that a part reads, {layer, direction, unit}, or null.

import { formatNumber } from "./dom.js";

/** A symbol with its number. */
export function leaf(symbol, value, mark = null, parts = null) {
  return { op: "leaf", symbol, value, mark, parts };
}

/** A number that stands in the equation itself. */
export function constant(value) {
  return leaf(String(value), value);
}

/** A node over others: combine("sum", a, b), combine("tanh", a). */
export function combine(op, ...args) {
  return { op, args };
}

export const plus = (...args) => combine("sum", ...args);
export const times = (...args) => combine("product", ...args);
export const minus = (a, b) => combine("difference", a, b);
export const squared = (a) => combine("square", a);

/** The leaf of a sum of products, sum_i weight_i factor_i, added in the order of the parts. */
export function dotLeaf(symbol, parts, mark = null) {
  let value = 0;
  for (const part of parts) value += part.weight * part.factor;
  return leaf(symbol, value, mark, parts);
}

const OPERATIONS = {
  sum: (...values) => values.reduce((a, b) => a + b),
  product: (...values) => values.reduce((a, b) => a * b),
  difference: (a, b) => a - b,
  square: (a) => a * a,
  sigmoid: (a) => 1 / (1 + Math.exp(-a)),
  tanh: Math.tanh,
  relu: (a) => Math.max(0, a),
  // A fraction of exponentials, exp(y_k) / sum_l exp(y_l), of which the first is the numerator.
  softmax: (own, ...others) => 1 / others.reduce((total, y) => total + Math.exp(y - own), 1),
};

/** The value of an expression, recomputed from its leaves. */
export function evaluate(node) {
  return node.op === "leaf" ? node.value : OPERATIONS[node.op](...node.args.map(evaluate));
}

/** A number as it stands in an equation, with four significant digits. */
export function showNumber(value) {
  return formatNumber(value, 4);
}

const OPERATION_SIGNS = { sum: "+", product: "·", difference: "−" };
const FUNCTION_SIGNS = { sigmoid: "σ" };

/**
 * The tokens of an expression from left to right: {sign} of an operation or bracket, which stands
 * on both lines, or {leaf, number}: the symbol above and the number below.
 */
export function tokensOf(node, show = showNumber, inProduct = false) {
  if (node.op === "leaf") return [{ leaf: node, number: show(node.value) }];
  const enclose = (tokens) => [{ sign: "(" }, ...tokens, { sign: ")" }];
  if (node.op === "square") {
    const tokens = tokensOf(node.args[0], show);
    if (tokens.length === 1) tokens[0].number = bracketed(tokens[0].number);
    return [...tokens, { sign: "²" }];
  }
  const sign = OPERATION_SIGNS[node.op];
  if (!sign) {
    const tokens = enclose(tokensOf(node.args[0], show));
    return [{ sign: FUNCTION_SIGNS[node.op] ?? node.op }, ...tokens];
  }
  const tokens = node.args.flatMap((arg, i) => {
    const each = tokensOf(arg, show, node.op === "product");
    // 0.3 + (−0.2): a minus after an operation would look like a second one.
    if (i > 0 && each[0].leaf) each[0].number = bracketed(each[0].number);
    return i > 0 ? [{ sign }, ...each] : each;
  });
  return inProduct && node.op !== "product" ? enclose(tokens) : tokens;
}

function bracketed(number) {
  return number.startsWith("−") ? `(${number})` : number;
}

/** One line of an expression as plain text: its "symbols", or its "numbers". */
export function lineOf(node, which, show = showNumber) {
  const words = tokensOf(node, show).map(({ sign, leaf, number }) =>
    sign ? ("+·−".includes(sign) ? ` ${sign} ` : sign)
    : which === "numbers" ? number
    : plainSymbol(leaf.symbol));
  return words.join("");
}

/** A symbol without braces, for a screen reader and a tooltip: h_{t-1} is "h_t-1". */
export function plainSymbol(symbol) {
  return symbol.replace(/[{}]/g, "");
}
