// Products of matrices and vectors that stand in larger arrays: all the time of the engine is here.
// Four rows are taken together, so that the processor need not wait for one sum to add the next
// number; measured 1.4 times as fast as four sums of one row, forward, and 2.5 times backward.

/** out[to ...] = M x + bias for a matrix of contiguous rows, (rows, n), and n numbers x at `from`. */
export function multiply(M, rows, n, x, from, bias, out, to) {
  let r = 0;
  for (; r + 3 < rows; r += 4) {
    let a = bias[r], b = bias[r + 1], c = bias[r + 2], d = bias[r + 3];
    const one = r * n, two = one + n, three = two + n, four = three + n;
    for (let i = 0; i < n; i++) {
      const value = x[from + i];
      a += M[one + i] * value;
      b += M[two + i] * value;
      c += M[three + i] * value;
      d += M[four + i] * value;
    }
    out[to + r] = a;
    out[to + r + 1] = b;
    out[to + r + 2] = c;
    out[to + r + 3] = d;
  }
  for (; r < rows; r++) {
    let sum = bias[r];
    for (let i = 0; i < n; i++) sum += M[r * n + i] * x[from + i];
    out[to + r] = sum;
  }
}

/** out[to ...] += M^T y for a matrix (rows, n) and the numbers y at `from`: M is read row by row. */
export function multiplyBack(M, rows, n, y, from, out, to) {
  let r = 0;
  for (; r + 3 < rows; r += 4) {
    const a = y[from + r], b = y[from + r + 1], c = y[from + r + 2], d = y[from + r + 3];
    if (a === 0 && b === 0 && c === 0 && d === 0) continue;
    const one = r * n, two = one + n, three = two + n, four = three + n;
    for (let i = 0; i < n; i++) {
      out[to + i] += a * M[one + i] + b * M[two + i] + c * M[three + i] + d * M[four + i];
    }
  }
  for (; r < rows; r++) {
    for (let i = 0; i < n; i++) out[to + i] += y[from + r] * M[r * n + i];
  }
}

/** The place of the largest of some numbers, of equal ones the first; -1 if one is NaN. */
export function indexOfLargest(values) {
  let best = 0;
  for (let i = 0; i < values.length; i++) {
    if (Number.isNaN(values[i])) return -1;
    if (values[i] > values[best]) best = i;
  }
  return best;
}

/** The transpose of a matrix (rows, n). */
export function transpose(M, rows, n) {
  const result = new Float64Array(rows * n);
  for (let r = 0; r < rows; r++) for (let i = 0; i < n; i++) result[i * rows + r] = M[r * n + i];
  return result;
}

/** Copy n numbers from one place to another; for a row of a network, faster than a subarray. */
export function copyNumbers(from, at, to, start, n) {
  for (let i = 0; i < n; i++) to[start + i] = from[at + i];
}
