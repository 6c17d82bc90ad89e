// One layer in one direction over all time steps of a chunk of rows, forward and backward.
//
// Time is the outer loop, in blocks of steps. What does not depend on the state (x_t W^T, dz_t W,
// the weight gradients) is one product over all rows of a block; what does is one product a step.
// Beginning each step's product with x instead gained 10 % on the smallest shapes and lost 10 % on
// larger ones (docs/log.md). A finished row is past active[t] and costs nothing. The equations, and
// what is saved for backward and why: src/elman/ops/<cell>/README.md.
#pragma once

#include "api.h"
#include "cells.h"
#include "rows.h"
#include "time_blocks.h"

namespace elman::ELMAN_ISA {

// A row stride of dz that is no multiple of 512 bytes: rows a power of two apart all map to the
// same few sets of the L1 cache, and the weight gradients read dz down its columns.
template <class T>
Index spread(Index width) {
    return width * Index(sizeof(T)) % 512 == 0 ? width + lanes<T> : width;
}

// Sizes of a layer, in elements.
template <class T, class C>
struct LayerSizes {
    Index I, H, Hp, Ip;
    Index N;       // columns of a product over all gates, G*Hp
    Index width;   // of the pre-activations, Z*Hp
    Index dz_ld;   // row stride of their gradients
    Index zeros;   // the zeros that products begin with
    Index block;   // packed rows of a time block at most

    LayerSizes(const Layer& layer, const Chunk& chunk)
        : I(layer.I),
          H(layer.H),
          Hp(padded<T>(layer.H)),
          Ip(padded<T>(layer.I)),
          N(C::G * Hp),
          width(C::Z * Hp),
          dz_ld(spread<T>(width)),
          zeros(width > I ? width : Ip),
          block(block_rows<T>(C::Z * H, I, H)) {
        if (block < chunk.rows) block = chunk.rows;  // a block has at least one step
    }
    Index forward_scratch(Index rows) const { return block * (width + I) + 2 * rows * Hp; }
    Index backward_scratch(Index rows) const {
        return block * (dz_ld + I + Hp + Ip) + 2 * rows * Hp + zeros;
    }
};

template <class T, class C>
void forward(const ForwardChunk<T>& call) {
    const Chunk& chunk = call.chunk;
    const PackedWeights<T>& w = call.weights;
    const LayerSizes<T, C> size(call.layer, chunk);
    const Index Hp = size.Hp, H = size.H, N = size.N, width = size.width;
    T* const h = call.scratch;
    T* const c = h + chunk.rows * Hp;
    T* const xs = c + chunk.rows * Hp;
    T* const block_gates = xs + size.block * size.I;
    read_state(call.h0, chunk.rows, H, Hp, h);
    if (C::has_c) read_state(call.c0, chunk.rows, H, Hp, c);

    TimeBlocks block(chunk, size.block, call.layer.reverse);
    while (block.next()) {
        const Index rows = block.rows();
        // The gates are computed where backward will read them; without backward the same block of
        // memory serves every time block, and stays in the cache.
        T* const gates = call.gates ? call.gates + block.first_row() * width : block_gates;
        Index ldx;
        const T* x = gather(call.x, chunk, block, size.I, xs, &ldx);
        gemm<T>(rows, N, size.I, x, ldx, w.input, w.bias + C::x_block * Hp, 0,
                gates + C::x_block * Hp, width);
        if (C::Z > C::G) {  // the GRU's U_n h: x has no part in it, so it begins with its bias
            for (Index i = 0; i < rows; ++i) {
                copy((C::Z - C::G) * Hp, w.bias + N, gates + i * width + N);
            }
        }
        for (Index i = 0; i < block.steps(); ++i) {
            const Index t = block.step(i), n = chunk.active[t];
            T* const z = gates + (chunk.offset[t] - block.first_row()) * width;
            T* const sums = z + C::h_block * Hp;
            gemm<T>(n, N, H, h, Hp, w.recurrent, sums, width, sums, width);
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

// Backpropagation through time over one chunk. Steps are taken against forward's order. A block's
// dz is written by its steps, then read by the products for the weight gradients and dx while it is
// in the cache, then overwritten by the next block: dz of all T steps never exists.
template <class T, class C>
class LayerBackward {
  public:
    explicit LayerBackward(const BackwardChunk<T>& call)
        : call_(call),
          chunk_(call.chunk),
          size_(call.layer, call.chunk),
          reverse_(call.layer.reverse),
          dh_(call.scratch),
          dc_(dh_ + chunk_.rows * size_.Hp),
          zeros_(dc_ + chunk_.rows * size_.Hp),
          xs_(zeros_ + size_.zeros),
          dxs_(xs_ + size_.block * size_.I),
          h_prev_(dxs_ + size_.block * size_.Ip),
          dz_(h_prev_ + size_.block * size_.Hp) {}

    void run() {
        const Index H = size_.H, Hp = size_.Hp, rows = chunk_.rows;
        zero(size_.zeros, zeros_);
        zero(size_.block * Hp, h_prev_);  // its padding, which no step writes
        read_state(call_.dh_n, rows, H, Hp, dh_);
        if (C::has_c) read_state(call_.dc_n, rows, H, Hp, dc_);
        if (call_.gradients) {
            if (chunk_.steps == 0) zero((size_.I + H) * size_.N, dW());
            zero(size_.width, db());
        }
        TimeBlocks block(chunk_, size_.block, !reverse_);
        for (bool first = true; block.next(); first = false) {
            for (Index i = 0; i < block.steps(); ++i) step(block, block.step(i));
            if (call_.gradients) add_weight_gradients(block, first);
            if (call_.dx) write_dx(block);
        }
        write_state(dh_, rows, H, Hp, call_.dh0);
        if (C::has_c) write_state(dc_, rows, H, Hp, call_.dc0);
    }

  private:
    // The gradients: (I, N), (H, N), (Z*Hp).
    T* dW() const { return call_.gradients; }
    T* dU() const { return dW() + size_.I * size_.N; }
    T* db() const { return dU() + size_.H * size_.N; }

    // dL/dz_t of the running rows, and from it dL/dh_{t-1} = (what bypasses U) + dz_t U.
    void step(const TimeBlocks& block, Index t) {
        const Index Hp = size_.Hp, n = chunk_.active[t];
        const Index first = chunk_.offset[t] - block.first_row();
        T* const dz = dz_ + first * size_.dz_ld;
        T* const h_prev = h_prev_ + first * Hp;
        for (Index r = 0; r < n; ++r) row(t, r, h_prev + r * Hp, dz + r * size_.dz_ld);
        gemm<T>(n, Hp, size_.N, dz + C::h_block * Hp, size_.dz_ld, call_.weights.recurrent_back,
                C::bypasses_U ? dh_ : zeros_, C::bypasses_U ? Hp : 0, dh_, Hp);
    }

    // One row of a step: gather h_{t-1}, add dy_t to dh, apply the cell's derivative.
    ELMAN_INLINE void row(Index t, Index r, T* h_prev, T* dz) {
        const Index H = size_.H, Hp = size_.Hp, packed = chunk_.offset[t] + r;
        // The step before t in forward's order, if this row was running then; rows that end early
        // begin late in the reverse direction.
        const Index before = reverse_ ? t + 1 : t - 1;
        const bool has_previous =
            reverse_ ? before < chunk_.steps && r < chunk_.active[before] : t > 0;
        if (has_previous) {
            copy<T>(H, call_.y.at(before, r), h_prev);
        } else if (call_.h0) {
            copy<T>(H, call_.h0.at(0, r), h_prev);
        } else {
            zero(H, h_prev);
        }
        T* const dh = dh_ + r * Hp;
        if (call_.dy) {
            const T* dy = call_.dy.at(t, r);
            for (Index u = 0; u < Hp; u += lanes<T>) {
                store<T>(dh + u, load<T>(dh + u) + load<T>(dy + u, H - u));
            }
        }
        StepBack<T> s;
        s.gates = C::saves_gates ? call_.gates + packed * size_.width : nullptr;
        s.y = call_.y.at(t, r);
        s.h_prev = h_prev;
        s.c = C::has_c ? call_.cells + packed * Hp : nullptr;
        s.c_prev = !C::has_c      ? nullptr
                   : has_previous ? call_.cells + (chunk_.offset[before] + r) * Hp
                   : call_.c0     ? call_.c0.at(0, r)
                                  : nullptr;
        s.dh = dh;
        s.dc = dc_ + r * Hp;
        s.dz = dz;
        C::backward(H, Hp, s);
        for (Index b = 0; b < (H < Hp ? C::Z : 0); ++b) {
            // Nothing of the padding may reach a sum: after an infinite input it is NaN.
            zero(Hp - H, dz + b * Hp + H);
        }
    }

    // dW += dz^T x, dU += dz^T h_prev, db += the columns of dz; stored transposed, as pack.h says.
    // The first block starts from zeros instead of reading uninitialised memory.
    void add_weight_gradients(const TimeBlocks& block, bool first) {
        const Index I = size_.I, H = size_.H, Hp = size_.Hp, N = size_.N, rows = block.rows();
        Index ldx;
        const T* x = gather(call_.x, chunk_, block, I, xs_, &ldx);
        gemm_tn<T>(I, N, rows, x, ldx, dz_ + C::x_block * Hp, size_.dz_ld, first ? zeros_ : dW(),
                   first ? 0 : N, dW(), N);
        gemm_tn<T>(H, N, rows, h_prev_, Hp, dz_ + C::h_block * Hp, size_.dz_ld,
                   first ? zeros_ : dU(), first ? 0 : N, dU(), N);
        add_columns(rows, size_.width, dz_, size_.dz_ld, db());
    }

    // dx_t = dz_t W.
    void write_dx(const TimeBlocks& block) {
        gemm<T>(block.rows(), size_.Ip, size_.N, dz_ + C::x_block * size_.Hp, size_.dz_ld,
                call_.weights.input_back, zeros_, 0, dxs_, size_.Ip);
        scatter(dxs_, size_.Ip, chunk_, block, size_.I, call_.add_dx, call_.dx);
    }

    const BackwardChunk<T>& call_;
    const Chunk& chunk_;
    const LayerSizes<T, C> size_;
    const bool reverse_;
    T *const dh_, *const dc_;  // (rows, Hp), of the step at hand
    T* const zeros_;
    T *const xs_, *const dxs_;      // (block, I) and (block, Ip)
    T *const h_prev_, *const dz_;   // (block, Hp) and (block, dz_ld)
};

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
void forward(const ForwardChunk<T>& call) {
    with_cell<T>(call.layer.cell, [&](auto c) { forward<T, decltype(c)>(call); });
}

template <class T>
void backward(const BackwardChunk<T>& call) {
    with_cell<T>(call.layer.cell, [&](auto c) { LayerBackward<T, decltype(c)>(call).run(); });
}

template <class T>
Index forward_scratch(const Layer& layer, const Chunk& chunk) {
    return with_cell<T>(layer.cell, [&](auto c) {
        return LayerSizes<T, decltype(c)>(layer, chunk).forward_scratch(chunk.rows);
    });
}

template <class T>
Index backward_scratch(const Layer& layer, const Chunk& chunk) {
    return with_cell<T>(layer.cell, [&](auto c) {
        return LayerSizes<T, decltype(c)>(layer, chunk).backward_scratch(chunk.rows);
    });
}

// Elements that forward saves for backward at each step: activated gates, and cell states.
template <class T>
Index gates_width(Cell cell, Index H) {
    return with_cell<T>(cell,
                        [&](auto c) { return c.saves_gates ? c.Z * padded<T>(H) : Index(0); });
}

template <class T>
Index cells_width(Cell cell, Index H) {
    return with_cell<T>(cell, [&](auto c) { return c.has_c ? padded<T>(H) : Index(0); });
}

}  // namespace elman::ELMAN_ISA
