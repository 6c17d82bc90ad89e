// What the output layer reads of a recurrent layer's states, dropout included, and its gradient.
//
// A chunk's states y (N, W) are packed: row r of step t at offset[t] + r.
#pragma once

#include "rows.h"

namespace elman::ELMAN_ISA {

// to = from * `keep` where the mask is set, else 0; rows as the mask has them, `width` wide.
template <class T>
void drop(const Chunk& chunk, bool all_steps, const View<const std::uint8_t>& mask, T keep,
          Index width, const View<T>& from, const View<T>& to) {
    for (Index t = 0; t < (all_steps ? chunk.steps : 1); ++t) {
        for (Index r = 0; r < (all_steps ? chunk.active[t] : chunk.rows); ++r) {
            const std::uint8_t* m = mask.at(t, r);
            const T* a = from.at(t, r);
            T* b = to.at(t, r);
            for (Index i = 0; i < width; ++i) b[i] = m[i] ? a[i] * keep : T(0);
        }
    }
}

// Valid steps of row r.
inline Index row_length(const Chunk& chunk, Index r) {
    Index low = 0, high = chunk.steps;  // active is non-increasing
    while (low < high) {
        const Index middle = (low + high) / 2;
        if (chunk.active[middle] > r) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

// Add a step's states y (n) to the sum of those before it, or take the maximum. NaN wins the maximum,
// as in torch: a fault in one state must not disappear.
template <class T>
ELMAN_INLINE void pool_step(bool maximum, Index n, const T* y, T* pooled) {
    for (Index i = 0; i < n; ++i) {
        if (maximum) {
            pooled[i] = y[i] > pooled[i] || y[i] != y[i] ? y[i] : pooled[i];
        } else {
            pooled[i] += y[i];
        }
    }
}

// readout (rows, W) = the mean, or the maximum, of y (N, W) over each row's own steps.
template <class T>
void pool(const Chunk& chunk, bool maximum, Index W, const T* y, T* readout) {
    for (Index i = 0; i < chunk.rows * W; ++i) readout[i] = maximum ? T(-__builtin_inf()) : T(0);
    for (Index t = 0; t < chunk.steps; ++t) {
        pool_step(maximum, chunk.active[t] * W, y + chunk.offset[t] * W, readout);
    }
    if (maximum) return;
    for (Index r = 0; r < chunk.rows; ++r) {
        const T length = T(row_length(chunk, r));
        for (Index i = r * W; i < (r + 1) * W; ++i) readout[i] /= length;
    }
}

// dy (N, W) from d_readout (rows, ld): an equal share to every step of a mean; of a maximum an
// equal share to every step that attains it, as torch.amax has it. ties (rows, W) is scratch.
template <class T>
void pool_back(const Chunk& chunk, bool maximum, Index W, const T* y, const T* readout,
               const T* d_readout, Index ld, T* ties, T* dy) {
    if (maximum) {
        zero(chunk.rows * W, ties);
        for (Index t = 0; t < chunk.steps; ++t) {
            const T* from = y + chunk.offset[t] * W;
            for (Index i = 0; i < chunk.active[t] * W; ++i) ties[i] += from[i] == readout[i];
        }
    }
    for (Index r = 0; r < chunk.rows; ++r) {
        const Index length = row_length(chunk, r);
        for (Index t = 0; t < length; ++t) {
            const Index at = (chunk.offset[t] + r) * W;
            for (Index i = 0; i < W; ++i) {
                const T d = d_readout[r * ld + i];
                dy[at + i] = !maximum                        ? d / T(length)
                             : y[at + i] == readout[r * W + i] ? d / ties[r * W + i]
                                                            : T(0);
            }
        }
    }
}

}  // namespace elman::ELMAN_ISA
