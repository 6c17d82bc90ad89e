// The payload: what elman wrote into the page, with its arrays decoded.

const NUMBERS = { float32: Float32Array, int32: Int32Array, uint8: Uint8Array };

/** Decode `{dtype, shape, data}` to a typed array with a property `shape`; float16 is widened. */
export function decodeArray(array) {
  if (array === null || array === undefined || ArrayBuffer.isView(array)) return array;
  const text = atob(array.data);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const values = array.dtype === "float16"
    ? widen(new Uint16Array(bytes.buffer))
    : new NUMBERS[array.dtype](bytes.buffer);
  values.shape = array.shape;
  return values;
}

/** Decode the weights of a network: arrays by name. */
export function decodeWeights(weights) {
  return Object.fromEntries(
    Object.entries(weights).map(([name, array]) => [name, decodeArray(array)]),
  );
}

/** Numbers of 16 bits (1 sign, 5 exponent, 10 fraction) as float32. */
function widen(halves) {
  const values = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i++) {
    const sign = halves[i] & 0x8000 ? -1 : 1;
    const exponent = (halves[i] >> 10) & 31;
    const fraction = halves[i] & 1023;
    if (exponent === 31) values[i] = fraction ? NaN : sign * Infinity;
    else if (exponent === 0) values[i] = sign * fraction * 2 ** -24;
    else values[i] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }
  return values;
}

/** The sequence of an example, as the engine takes it: steps, x, static. */
export function sequenceOf(example) {
  const x = decodeArray(example.x);
  return { steps: x.shape[0], x, static: decodeArray(example.static) };
}

/** The target of an example as the engine takes it: a number, an array, or null if unknown. */
export function targetOf(example) {
  const target = example.target;
  if (target === null || target === undefined || typeof target === "number") return target ?? null;
  return Array.isArray(target) ? Float64Array.from(target) : decodeArray(target);
}

/** The JSON that elman wrote into the page. */
export function readPayload() {
  return JSON.parse(document.getElementById("lab-data").textContent);
}
