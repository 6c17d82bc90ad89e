// One layer in one direction over all time steps of a chunk of rows, forward and backward.
//
// Time is cut into blocks of steps. What does not depend on the state (x_t W^T, dz_t W, the weight
// gradients) is one product over all rows of a block; what does is one product a step. A finished row
// is past active[t] and costs nothing. What is saved, and why: src/elman/ops/<cell>/README.md.
#pragma once

#include "api.h"
#include "cells.h"

namespace elman::ELMAN_ISA {

// Steps whose rows together are at most so many that their dz, x and h stay in a core's L2 cache, yet
// enough that reading and writing the weight gradients once a block costs little. A
// block is where a sum over rows is put down and taken up again: its size must not depend on the
// width of a vector, so that gradients have the same bits with AVX2 and AVX-512.
template <class T>
Index block_rows(Index width, Index I, Index H) {
    const Index rows = 262144 / (Index(sizeof(T)) * (width + I + H));
    return rows < 192 ? 192 : rows > 512 ? 512 : rows;
}

// A row stride of dz that does not map all rows to the same few sets of the cache.
template <class T>
Index spread(Index width) {
    return width * Index(sizeof(T)) % 512 == 0 ? width + lanes<T> : width;
}

// Layer sizes in numbers of one element type.
template <class T, class C>
struct Sizes {
    Index I, H, Hp, width, dz, zeros, block;

    Sizes(const Layer& layer, const Chunk& chunk)
        : I(layer.I),
          H(layer.H),
          Hp(padded<T>(layer.H)),
          width(C::Z * Hp),
          dz(spread<T>(width)),
          zeros(width > I ? width : padded<T>(I)),
          block(block_rows<T>(C::Z * H, I, H)) {
        if (block < chunk.rows) block = chunk.rows;  // a block has at least one step
    }
    Index forward_scratch(Index rows) const { return block * (width + I) + 2 * rows * Hp; }
    Index backward_scratch(Index rows) const {
        return block * (dz + I + Hp + padded<T>(I)) + 2 * rows * Hp + zeros;
    }
};

// The blocks of a chunk in the order of travel, or against it.
class Blocks {
  public:
    Blocks(const Chunk& chunk, Index rows, bool down)
        : chunk_(chunk), rows_(rows), down_(down), begin_(down ? chunk.steps : 0), end_(begin_) {}

    bool next() {
        if (down_) {
            if (begin_ == 0) return false;
            end_ = begin_--;
            while (begin_ > 0 && size(begin_ - 1, end_) <= rows_) --begin_;
        } else {
            if (end_ == chunk_.steps) return false;
            begin_ = end_++;
            while (end_ < chunk_.steps && size(begin_, end_ + 1) <= rows_) ++end_;
        }
        return true;
    }
    Index begin() const { return begin_; }
    Index end() const { return end_; }
    Index rows() const { return size(begin_, end_); }
    Index first() const { return chunk_.offset[begin_]; }
    // Step number i of the block in its order.
    Index step(Index i) const { return down_ ? end_ - 1 - i : begin_ + i; }

  private:
    Index size(Index t0, Index t1) const { return chunk_.offset[t1] - chunk_.offset[t0]; }
    const Chunk& chunk_;
    const Index rows_;
    const bool down_;
    Index begin_, end_;
};

// Rows are short: a call of memcpy would cost more than the copy.
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

// The rows of a block's steps side by side: in place if they lie so already, else copied to `into`.
template <class T>
const T* gather(const View<const T>& x, const Chunk& chunk, const Blocks& block, Index width,
                T* into, Index* ld) {
    if (x.packed) {
        *ld = x.packed;
        return x.base + block.first() * x.packed;
    }
    *ld = width;
    T* to = into;
    for (Index t = block.begin(); t < block.end(); ++t) {
        for (Index r = 0; r < chunk.active[t]; ++r, to += width) copy(width, x.at(t, r), to);
    }
    return into;
}

// Initial or final states of all rows, padded with zeros.
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

template <class T, class C>
void forward(const ForwardCall<T>& call) {
    const Chunk& chunk = call.chunk;
    const Packed<T>& w = call.weights;
    const Sizes<T, C> size(call.layer, chunk);
    const Index Hp = size.Hp, H = size.H, width = size.width;
    T* const h = call.scratch;
    T* const c = h + chunk.rows * Hp;
    T* const xs = c + chunk.rows * Hp;
    T* const own_gates = xs + size.block * size.I;
    read_state(call.h0, chunk.rows, H, Hp, h);
    if (C::has_c) read_state(call.c0, chunk.rows, H, Hp, c);

    Blocks block(chunk, size.block, call.layer.reverse);
    while (block.next()) {
        const Index rows = block.rows();
        T* const gates = call.gates ? call.gates + block.first() * width : own_gates;
        Index ldx;
        const T* x = gather(call.x, chunk, block, size.I, xs, &ldx);
        gemm<T>(rows, C::G * Hp, size.I, x, ldx, w.input, w.bias + C::x_block * Hp, 0,
                gates + C::x_block * Hp, width);
        if (C::Z > C::G) {  // the block that x has no part in begins at its bias
            for (Index i = 0; i < rows; ++i) {
                copy((C::Z - C::G) * Hp, w.bias + C::G * Hp, gates + i * width + C::G * Hp);
            }
        }
        for (Index i = 0; i < block.end() - block.begin(); ++i) {
            const Index t = block.step(i), n = chunk.active[t];
            T* const z = gates + (chunk.offset[t] - block.first()) * width;
            T* const into = z + C::h_block * Hp;
            gemm<T>(n, C::G * Hp, H, h, Hp, w.recurrent, into, width, into, width);
            for (Index r = 0; r < n; ++r) {
                C::forward(Hp, {z + r * width, h + r * Hp, c + r * Hp});
                if (call.y) copy(H, h + r * Hp, call.y.at(t, r));
            }
            if (C::has_c && call.cells) copy(n * Hp, c, call.cells + chunk.offset[t] * Hp);
        }
    }
    write_state(h, chunk.rows, H, Hp, call.h_n);
    if (C::has_c) write_state(c, chunk.rows, H, Hp, call.c_n);
}

// Whether row r runs at the step before t in the order of travel.
inline bool has_previous(const Chunk& chunk, bool reverse, Index t, Index r) {
    return reverse ? t + 1 < chunk.steps && r < chunk.active[t + 1] : t > 0;
}

// Sum the columns of dz (rows, width) into db (width).
template <class T>
void add_columns(Index rows, Index width, const T* dz, Index ld, T* db) {
    for (Index u = 0; u < width; u += lanes<T>) {
        Vec<T> sum = load<T>(db + u);
        for (Index r = 0; r < rows; ++r) sum += load<T>(dz + r * ld + u);
        store<T>(db + u, sum);
    }
}

template <class T, class C>
void backward(const BackwardCall<T>& call) {
    const Chunk& chunk = call.chunk;
    const Packed<T>& w = call.weights;
    const bool reverse = call.layer.reverse;
    const Sizes<T, C> size(call.layer, chunk);
    const Index Hp = size.Hp, H = size.H, I = size.I, Ip = padded<T>(I), width = size.width;
    const Index before = reverse ? 1 : -1;  // from a step to the one before it in travel
    T* const dh = call.scratch;
    T* const dc = dh + chunk.rows * Hp;
    T* const zeros = dc + chunk.rows * Hp;
    T* const xs = zeros + size.zeros;
    T* const dxs = xs + size.block * I;
    T* const h_prev = dxs + size.block * Ip;
    T* const dz = h_prev + size.block * Hp;
    T* const dW = call.gradients;
    T* const dU = dW + I * C::G * Hp;
    T* const db = dU + H * C::G * Hp;
    zero(size.zeros, zeros);
    zero(size.block * Hp, h_prev);
    read_state(call.dh_n, chunk.rows, H, Hp, dh);
    if (C::has_c) read_state(call.dc_n, chunk.rows, H, Hp, dc);

    if (call.gradients && chunk.steps == 0) zero((I + H) * C::G * Hp, dW);
    if (call.gradients) zero(width, db);
    bool first = true;  // block, whose weight gradients begin at zero
    Blocks block(chunk, size.block, !reverse);
    while (block.next()) {
        const Index rows = block.rows();
        for (Index i = 0; i < block.end() - block.begin(); ++i) {
            const Index t = block.step(i), n = chunk.active[t], at = chunk.offset[t];
            T* const dz_t = dz + (at - block.first()) * size.dz;
            T* const h_t = h_prev + (at - block.first()) * Hp;
            for (Index r = 0; r < n; ++r) {
                const bool previous = has_previous(chunk, reverse, t, r);
                T* const h = h_t + r * Hp;
                if (previous) {
                    copy<T>(H, call.y.at(t + before, r), h);
                } else if (call.h0) {
                    copy<T>(H, call.h0.at(0, r), h);
                } else {
                    zero(H, h);
                }
                T* const dh_r = dh + r * Hp;
                if (call.dy) {
                    const T* dy = call.dy.at(t, r);
                    for (Index u = 0; u < Hp; u += lanes<T>) {
                        store<T>(dh_r + u, load<T>(dh_r + u) + load<T>(dy + u, H - u));
                    }
                }
                StepBack<T> s;
                s.gates = C::keeps_gates ? call.gates + (at + r) * width : nullptr;
                s.y = call.y.at(t, r);
                s.h_prev = h;
                s.c = C::has_c ? call.cells + (at + r) * Hp : nullptr;
                s.c_prev = !C::has_c  ? nullptr
                           : previous ? call.cells + (chunk.offset[t + before] + r) * Hp
                           : call.c0  ? call.c0.at(0, r)
                                      : nullptr;
                s.dh = dh_r;
                s.dc = dc + r * Hp;
                s.dz = dz_t + r * size.dz;
                C::backward(H, Hp, s);
                for (Index b = 0; b < (H < Hp ? C::Z : 0); ++b) {
                    // Nothing of the padding may reach a sum: after an infinite input it is NaN.
                    zero(Hp - H, s.dz + b * Hp + H);
                }
            }
            gemm<T>(n, Hp, C::G * Hp, dz_t + C::h_block * Hp, size.dz, w.recurrent_back,
                    C::keeps_dh ? dh : zeros, C::keeps_dh ? Hp : 0, dh, Hp);
        }
        if (call.gradients) {
            Index ldx;
            const T* x = gather(call.x, chunk, block, I, xs, &ldx);
            const Index N = C::G * Hp;
            gemm_tn<T>(I, N, rows, x, ldx, dz + C::x_block * Hp, size.dz, first ? zeros : dW,
                       first ? 0 : N, dW, N);
            gemm_tn<T>(H, N, rows, h_prev, Hp, dz + C::h_block * Hp, size.dz, first ? zeros : dU,
                       first ? 0 : N, dU, N);
            add_columns(rows, width, dz, size.dz, db);
            first = false;
        }
        if (call.dx) {
            gemm<T>(rows, Ip, C::G * Hp, dz + C::x_block * Hp, size.dz, w.input_back, zeros, 0, dxs,
                    Ip);
            const T* from = dxs;
            for (Index t = block.begin(); t < block.end(); ++t) {
                for (Index r = 0; r < chunk.active[t]; ++r, from += Ip) {
                    T* to = call.dx.at(t, r);
                    for (Index i = 0; i < I; ++i) to[i] = call.add_dx ? to[i] + from[i] : from[i];
                }
            }
        }
    }
    write_state(dh, chunk.rows, H, Hp, call.dh0);
    if (C::has_c) write_state(dc, chunk.rows, H, Hp, call.dc0);
}

// Call f with the type of the layer's cell.
template <class T, class F>
auto with_cell(Cell cell, F f) {
    switch (cell) {
        case Cell::rnn_relu: return f(SimpleCell<T, true>{});
        case Cell::gru: return f(GruCell<T>{});
        case Cell::lstm: return f(LstmCell<T>{});
        default: return f(SimpleCell<T, false>{});
    }
}

template <class T>
void forward(const ForwardCall<T>& call) {
    with_cell<T>(call.layer.cell, [&](auto c) { forward<T, decltype(c)>(call); });
}

template <class T>
void backward(const BackwardCall<T>& call) {
    with_cell<T>(call.layer.cell, [&](auto c) { backward<T, decltype(c)>(call); });
}

template <class T>
Index forward_scratch(const Layer& layer, const Chunk& chunk) {
    return with_cell<T>(layer.cell, [&](auto c) {
        return Sizes<T, decltype(c)>(layer, chunk).forward_scratch(chunk.rows);
    });
}

template <class T>
Index backward_scratch(const Layer& layer, const Chunk& chunk) {
    return with_cell<T>(layer.cell, [&](auto c) {
        return Sizes<T, decltype(c)>(layer, chunk).backward_scratch(chunk.rows);
    });
}

// Numbers a step that backward needs kept: activations of the gates, and cell states.
template <class T>
Index gates_width(Cell cell, Index H) {
    return with_cell<T>(cell,
                        [&](auto c) { return c.keeps_gates ? c.Z * padded<T>(H) : Index(0); });
}

template <class T>
Index cells_width(Cell cell, Index H) {
    return with_cell<T>(cell, [&](auto c) { return c.has_c ? padded<T>(H) : Index(0); });
}

}  // namespace elman::ELMAN_ISA
