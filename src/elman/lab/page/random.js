// Random numbers with the bits of torch (mt19937) and numpy (PCG64): a network that starts and is
// trained here from a seed gets the weights, the dropout and the order of batches that elman gives it.

/**
 * torch.Generator().manual_seed(seed): the Mersenne twister.
 * Source: Matsumoto & Nishimura 1998, doi:10.1145/272991.272995.
 */
export function torchGenerator(seed) {
  const state = new Uint32Array(624);
  state[0] = seed;
  for (let i = 1; i < 624; i++) {
    const before = state[i - 1] ^ (state[i - 1] >>> 30);
    state[i] = Math.imul(1812433253, before) + i;
  }
  return { state, at: 624, spareNormal: null };
}

function twist(state) {
  for (let i = 0; i < 624; i++) {
    const y = (state[i] & 0x80000000) | (state[(i + 1) % 624] & 0x7fffffff);
    state[i] = state[(i + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
  }
}

/** The next 32 random bits, as a number from 0 to 2^32 - 1. */
export function randomBits(generator) {
  if (generator.at === 624) {
    twist(generator.state);
    generator.at = 0;
  }
  let y = generator.state[generator.at++];
  y ^= y >>> 11;
  y ^= (y << 7) & 0x9d2c5680;
  y ^= (y << 15) & 0xefc60000;
  return (y ^ (y >>> 18)) >>> 0;
}

/** torch.rand(dtype=float64): a number in [0, 1) of 53 random bits. */
export function randomDouble(generator) {
  const high = randomBits(generator) & 0x1fffff; // the upper 32 bits are drawn first
  return (high * 2 ** 32 + randomBits(generator)) * 2 ** -53;
}

/** Tensor.uniform_(low, high) in float32: Float32Array (n). */
export function uniformFloats(generator, count, low = 0, high = 1) {
  const span = Math.fround(high - low);
  return Float32Array.from(
    { length: count },
    () => (randomBits(generator) & 0xffffff) * 2 ** -24 * span + low,
  );
}

/** Tensor.normal_() in float32, or float64: (n) numbers by Box and Muller's method, 16 at a time. */
export function normalNumbers(generator, count, doubles = false) {
  const draw = (size) => (doubles
    ? Float64Array.from({ length: size }, () => randomDouble(generator))
    : uniformFloats(generator, size));
  if (count < 16) {
    const values = Array.from({ length: count }, () => normalDouble(generator));
    return doubles ? Float64Array.from(values) : Float32Array.from(values);
  }
  const values = draw(count);
  for (let start = 0; start + 16 <= count; start += 16) boxMuller(values, start);
  if (count % 16) {
    // torch draws the last 16 again, so that it always has a whole block.
    values.set(draw(16), count - 16);
    boxMuller(values, count - 16);
  }
  return values;
}

function boxMuller(values, start) {
  for (let i = start; i < start + 8; i++) {
    const radius = Math.sqrt(-2 * Math.log(1 - values[i]));
    const angle = 2 * Math.PI * values[i + 8];
    values[i] = radius * Math.cos(angle);
    values[i + 8] = radius * Math.sin(angle);
  }
}

/** One normal number, as torch draws them for fewer than 16: two at a time, one kept for later. */
function normalDouble(generator) {
  const spare = generator.spareNormal;
  if (spare !== null) {
    generator.spareNormal = null;
    return spare;
  }
  const angle = 2 * Math.PI * randomDouble(generator);
  const radius = Math.sqrt(-2 * Math.log1p(-randomDouble(generator)));
  generator.spareNormal = radius * Math.sin(angle);
  return radius * Math.cos(angle);
}

/**
 * Tensor.bernoulli_(keep) of a bool tensor: Uint8Array (n), 1 where a number is kept.
 * As torch draws it everywhere but on Intel's CPUs, where it calls a generator of MKL.
 */
export function keepMask(generator, count, keep) {
  return Uint8Array.from({ length: count }, () => (randomDouble(generator) < keep ? 1 : 0));
}

const MASK32 = 0xffffffffn;
const MASK64 = (1n << 64n) - 1n;
const MASK128 = (1n << 128n) - 1n;
const PCG_MULTIPLIER = 0x2360ed051fc65da44385df649fccf645n;

/**
 * numpy.random.default_rng(seed): PCG64 seeded by SeedSequence.
 * Source: O'Neill 2014, HMC-CS-2014-0905; SeedSequence as in numpy.random.bit_generator.
 */
export function numpyGenerator(seed) {
  const [a, b, c, d] = seedSequence(seed);
  const step = ((((c << 64n) | d) << 1n) | 1n) & MASK128;
  const first = (step + ((a << 64n) | b)) & MASK128;
  return { state: (first * PCG_MULTIPLIER + step) & MASK128, step, spare: null };
}

/** SeedSequence(seed).generate_state(4, uint64). */
function seedSequence(seed) {
  let constant = 0x43b0d7e5;
  const hash = (value, multiplier) => {
    let mixed = value ^ constant;
    constant = Math.imul(constant, multiplier);
    mixed = Math.imul(mixed, constant);
    return (mixed ^ (mixed >>> 16)) >>> 0;
  };
  const mix = (x, y) => {
    const mixed = Math.imul(0xca01f9dd, x) - Math.imul(0x4973f715, y);
    return (mixed ^ (mixed >>> 16)) >>> 0;
  };
  const pool = [seed, 0, 0, 0].map((value) => hash(value, 0x931e8875));
  for (let from = 0; from < 4; from++) {
    for (let to = 0; to < 4; to++) {
      if (from !== to) pool[to] = mix(pool[to], hash(pool[from], 0x931e8875));
    }
  }
  constant = 0x8b51f9dd;
  const words = Array.from({ length: 8 }, (_, i) => BigInt(hash(pool[i % 4], 0x58f38ded)));
  return [0, 2, 4, 6].map((i) => words[i] | (words[i + 1] << 32n));
}

function pcgBits(generator) {
  if (generator.spare !== null) {
    const bits = generator.spare;
    generator.spare = null;
    return bits;
  }
  generator.state = (generator.state * PCG_MULTIPLIER + generator.step) & MASK128;
  const turn = generator.state >> 122n;
  const folded = (generator.state >> 64n) ^ (generator.state & MASK64);
  const bits = ((folded >> turn) | (folded << (64n - turn))) & MASK64;
  generator.spare = Number(bits >> 32n);
  return Number(bits & MASK32);
}

/** Generator.permutation(n): Int32Array (n). */
export function permutation(generator, count) {
  const order = Int32Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const mask = 2 ** (32 - Math.clz32(i)) - 1;
    let j = i + 1;
    while (j > i) j = (pcgBits(generator) & mask) >>> 0;
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}
