// Rows moved between a caller's tensors and the kernels' own memory.
#pragma once

#include "time_blocks.h"

namespace elman::ELMAN_ISA {

// Loops over vectors, because rows are short: at 1 to 16 elements a row, calls of memcpy took 3 to
// 8 % of a training step (docs/log.md).
template <class T>
ELMAN_INLINE void copy(Index n, const T* from, T* to) {
    Index i = 0;
    for (; i + lanes<T> <= n; i += lanes<T>) store<T>(to + i, load<T>(from + i));
    for (; i < n; ++i) to[i] = from[i];
}

template <class T>
ELMAN_INLINE void zero(Index n, T* to) {
    Index i = 0;
    for (; i + lanes<T> <= n; i += lanes<T>) store<T>(to + i, Vec<T>{});
    for (; i < n; ++i) to[i] = T(0);
}

// The rows of a block as one matrix with row stride *ld: in place if they are packed, else copied
// into `copied`.
template <class T>
const T* gather(const View<const T>& x, const Chunk& chunk, const TimeBlocks& block, Index width,
                T* copied, Index* ld) {
    if (x.row_stride) {
        *ld = x.row_stride;
        return x.base + block.first_row() * x.row_stride;
    }
    *ld = width;
    T* to = copied;
    for (Index t = block.begin(); t < block.end(); ++t) {
        for (Index r = 0; r < chunk.active[t]; ++r, to += width) copy(width, x.at(t, r), to);
    }
    return copied;
}

// The reverse: the first `width` columns of a block's rows (rows, ld) to their places, or added
// there.
template <class T>
void scatter(const T* from, Index ld, const Chunk& chunk, const TimeBlocks& block, Index width,
             bool add, const View<T>& x) {
    for (Index t = block.begin(); t < block.end(); ++t) {
        for (Index r = 0; r < chunk.active[t]; ++r, from += ld) {
            T* const to = x.at(t, r);
            for (Index i = 0; i < width; ++i) to[i] = add ? to[i] + from[i] : from[i];
        }
    }
}

// Initial or final states of all rows, padded with zeros to Hp.
template <class T>
void read_state(const View<const T>& from, Index rows, Index H, Index Hp, T* to) {
    zero(rows * Hp, to);
    if (!from) return;
    for (Index r = 0; r < rows; ++r) copy(H, from.at(0, r), to + r * Hp);
}

template <class T>
void write_state(const T* from, Index rows, Index H, Index Hp, const View<T>& to) {
    if (!to) return;
    for (Index r = 0; r < rows; ++r) copy(H, from + r * Hp, to.at(0, r));
}

// Add each column of a (rows, width), row stride ld, to `sum` (width).
template <class T>
void add_columns(Index rows, Index width, const T* a, Index ld, T* sum) {
    for (Index u = 0; u < width; u += lanes<T>) {
        Vec<T> total = load<T>(sum + u);
        for (Index r = 0; r < rows; ++r) total += load<T>(a + r * ld + u);
        store<T>(sum + u, total);
    }
}

}  // namespace elman::ELMAN_ISA
