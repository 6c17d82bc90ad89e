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
    Index I, H, Hp, Ip, P, Y, Yp;
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
          P(C::has_c ? layer.P : 0),
          Y(P ? P : H),
          Yp(padded<T>(Y)),
          N(C::G * Hp),
          width(C::Z * Hp),
          dz_ld(spread<T>(width)),
          zeros(width > I ? width : Ip),
          block(block_rows<T>(C::Z * H, I, H)) {
        if (block < chunk.rows) block = chunk.rows;  // a block has at least one step
    }
    Index forward_scratch(Index rows) const {
        return block * (width + I) + rows * (Yp + Hp) + (P ? rows * Hp + Yp : 0);
    }
    Index backward_scratch(Index rows) const {
        return block * (dz_ld + I + Yp + Ip) + rows * (Yp + Hp) + zeros +
               (P ? rows * Hp + block * (Hp + Yp) : 0);
    }
};

template <class T, class C>
void forward(const ForwardChunk<T>& call) {
    const Chunk& chunk = call.chunk;
    const PackedWeights<T>& w = call.weights;
    const LayerSizes<T, C> size(call.layer, chunk);
    const Index Hp = size.Hp, H = size.H, Y = size.Y, Yp = size.Yp, N = size.N, width = size.width;
    const bool projects = C::has_c && size.P;  // known to the compiler where a cell never does
    T* const h = call.scratch;
    T* const c = h + chunk.rows * Yp;
    T* const xs = c + chunk.rows * Hp;
    T* const block_gates = xs + size.block * size.I;
    // The cell's output; its projection R, where there is one, makes h of it.
    T* const output = projects ? block_gates + size.block * width : h;
    T* const zeros = output + chunk.rows * Hp;
    if (projects) zero(Yp, zeros);
    read_state(call.h0, chunk.rows, Y, Yp, h);
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
            gemm<T>(n, N, Y, h, Yp, w.recurrent, sums, width, sums, width);
            for (Index r = 0; r < n; ++r) {
                C::forward(Hp, {z + r * width, output + r * Hp, c + r * Hp});
                if (call.y && !projects) copy(H, h + r * Hp, call.y.at(t, r));
            }
            if (projects) {
                gemm<T>(n, Yp, H, output, Hp, w.projection, zeros, 0, h, Yp);
                for (Index r = 0; call.y && r < n; ++r) copy(Y, h + r * Yp, call.y.at(t, r));
            }
            if (C::has_c && call.cells) copy(n * Hp, c, call.cells + chunk.offset[t] * Hp);
        }
    }
    write_state(h, chunk.rows, Y, Yp, call.h_n);
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
          dc_(dh_ + chunk_.rows * size_.Yp),
          zeros_(dc_ + chunk_.rows * size_.Hp),
          xs_(zeros_ + size_.zeros),
          dxs_(xs_ + size_.block * size_.I),
          h_prev_(dxs_ + size_.block * size_.Ip),
          dz_(h_prev_ + size_.block * size_.Yp),
          d_output_(projects() ? dz_ + size_.block * size_.dz_ld : dh_),
          outputs_(d_output_ + chunk_.rows * size_.Hp),
          dhs_(outputs_ + size_.block * size_.Hp) {}

    void run() {
        const Index H = size_.H, Hp = size_.Hp, Y = size_.Y, Yp = size_.Yp, rows = chunk_.rows;
        zero(size_.zeros, zeros_);
        zero(size_.block * Yp, h_prev_);  // its padding, which no step writes
        read_state(call_.dh_n, rows, Y, Yp, dh_);
        if (C::has_c) read_state(call_.dc_n, rows, H, Hp, dc_);
        if (call_.gradients) {
            if (chunk_.steps == 0) {
                zero((size_.I + Y) * size_.N, dW());
                if (projects()) zero(H * Yp, dR());
            }
            zero(size_.width, db());
        }
        TimeBlocks block(chunk_, size_.block, !reverse_);
        for (bool first = true; block.next(); first = false) {
            for (Index i = 0; i < block.steps(); ++i) step(block, block.step(i));
            if (call_.gradients) add_weight_gradients(block, first);
            if (call_.dx) write_dx(block);
        }
        write_state(dh_, rows, Y, Yp, call_.dh0);
        if (C::has_c) write_state(dc_, rows, H, Hp, call_.dc0);
    }

  private:
    bool projects() const { return C::has_c && size_.P; }

    // The gradients: (I, N), (Y, N), (Z*Hp), (H, Yp).
    T* dW() const { return call_.gradients; }
    T* dU() const { return dW() + size_.I * size_.N; }
    T* db() const { return dU() + size_.Y * size_.N; }
    T* dR() const { return db() + size_.width; }

    // dL/dz_t of the running rows, and from it dL/dh_{t-1} = (what bypasses U) + dz_t U.
    void step(const TimeBlocks& block, Index t) {
        const Index Hp = size_.Hp, Yp = size_.Yp, n = chunk_.active[t];
        const Index first = chunk_.offset[t] - block.first_row();
        T* const dz = dz_ + first * size_.dz_ld;
        T* const h_prev = h_prev_ + first * Yp;
        if (projects()) {
            for (Index r = 0; r < n; ++r) begin_row(t, r, h_prev + r * Yp);
            project_back(t, first);
            for (Index r = 0; r < n; ++r) row(t, r, h_prev + r * Yp, dz + r * size_.dz_ld);
        } else {
            for (Index r = 0; r < n; ++r) {
                begin_row(t, r, h_prev + r * Yp);
                row(t, r, h_prev + r * Yp, dz + r * size_.dz_ld);
            }
        }
        gemm<T>(n, Yp, size_.N, dz + C::h_block * Hp, size_.dz_ld, call_.weights.recurrent_back,
                C::bypasses_U ? dh_ : zeros_, C::bypasses_U ? Yp : 0, dh_, Yp);
    }

    // The gradient of the cell's output from that of its projection, dh_t R; and, for dR, both
    // factors of its product at their place in the block.
    void project_back(Index t, Index first) {
        const Index Hp = size_.Hp, Yp = size_.Yp, n = chunk_.active[t];
        gemm<T>(n, Hp, size_.P, dh_, Yp, call_.weights.projection_back, zeros_, 0, d_output_, Hp);
        if (!call_.gradients) return;
        copy(n * Yp, dh_, dhs_ + first * Yp);
        if constexpr (C::has_c) {
            for (Index r = 0; r < n; ++r) {
                const Index packed = chunk_.offset[t] + r;
                C::output(Hp, call_.gates + packed * size_.width, call_.cells + packed * Hp,
                          outputs_ + (first + r) * Hp);
            }
        }
    }

    // The step before t in forward's order.
    Index before(Index t) const { return reverse_ ? t + 1 : t - 1; }
    // Whether row r was running then; rows that end early begin late in the reverse direction.
    bool has_previous(Index t, Index r) const {
        return reverse_ ? before(t) < chunk_.steps && r < chunk_.active[before(t)] : t > 0;
    }

    // One row of a step: gather h_{t-1}, add dy_t to dh.
    ELMAN_INLINE void begin_row(Index t, Index r, T* h_prev) {
        const Index Y = size_.Y, Yp = size_.Yp;
        if (has_previous(t, r)) {
            copy<T>(Y, call_.y.at(before(t), r), h_prev);
        } else if (call_.h0) {
            copy<T>(Y, call_.h0.at(0, r), h_prev);
        } else {
            zero(Y, h_prev);
        }
        T* const dh = dh_ + r * Yp;
        if (call_.dy) {
            const T* dy = call_.dy.at(t, r);
            for (Index u = 0; u < Yp; u += lanes<T>) {
                store<T>(dh + u, load<T>(dh + u) + load<T>(dy + u, Y - u));
            }
        }
    }

    // The cell's derivative of one row of a step.
    ELMAN_INLINE void row(Index t, Index r, const T* h_prev, T* dz) {
        const Index H = size_.H, Hp = size_.Hp, packed = chunk_.offset[t] + r;
        StepBack<T> s;
        s.gates = C::saves_gates ? call_.gates + packed * size_.width : nullptr;
        s.y = call_.y.at(t, r);
        s.h_prev = h_prev;
        s.c = C::has_c ? call_.cells + packed * Hp : nullptr;
        s.c_prev = !C::has_c            ? nullptr
                   : has_previous(t, r) ? call_.cells + (chunk_.offset[before(t)] + r) * Hp
                   : call_.c0           ? call_.c0.at(0, r)
                                        : nullptr;
        s.dh = d_output_ + r * Hp;
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
        const Index I = size_.I, Hp = size_.Hp, Yp = size_.Yp, N = size_.N, rows = block.rows();
        Index ldx;
        const T* x = gather(call_.x, chunk_, block, I, xs_, &ldx);
        gemm_tn<T>(I, N, rows, x, ldx, dz_ + C::x_block * Hp, size_.dz_ld, first ? zeros_ : dW(),
                   first ? 0 : N, dW(), N);
        gemm_tn<T>(size_.Y, N, rows, h_prev_, Yp, dz_ + C::h_block * Hp, size_.dz_ld,
                   first ? zeros_ : dU(), first ? 0 : N, dU(), N);
        if (projects()) {
            gemm_tn<T>(size_.H, Yp, rows, outputs_, Hp, dhs_, Yp, first ? zeros_ : dR(),
                       first ? 0 : Yp, dR(), Yp);
        }
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
    T *const h_prev_, *const dz_;   // (block, Yp) and (block, dz_ld)
    // With a projection: the gradient of the cell's output at the step at hand (rows, Hp), and the
    // outputs (block, Hp) and dh (block, Yp) of a block. Else d_output_ is dh_.
    T *const d_output_, *const outputs_, *const dhs_;
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
