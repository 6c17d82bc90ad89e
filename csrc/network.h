// A chunk of a batch through a whole network, loss and gradients included.
//
// Rows of a batch meet only in the loss's mean and in the sum of the weight gradients. So a chunk runs
// from its input to its gradients on one thread without waiting for any other, and what one layer
// leaves for the next, or for the way back, is still in the cache. Everything lies packed: row r of
// step t at offset[t] + r.
#pragma once

#include "layer.h"
#include "loss.h"
#include "pack.h"

namespace elman::ELMAN_ISA {

// The linear layer: y = V x + b, x (M, W), y (M, Kp).

template <class T>
Index output_size(Index K, Index W, bool backward) {
    return W * padded<T>(K) + padded<T>(K) + (backward ? padded<T>(K) * padded<T>(W) : 0);
}

template <class T>
void pack_output(Index K, Index W, const T* weight, const T* bias, bool backward, T* into,
                 NetworkCall<T>* call) {
    const Index Kp = padded<T>(K), Wp = padded<T>(W);
    const T** rows = new const T*[Kp];
    for (Index k = 0; k < Kp; ++k) rows[k] = k < K ? weight + k * W : nullptr;
    call->output = into;
    pack_columns<T>(W, Kp, rows, into);
    into += W * Kp;
    call->output_bias = into;
    for (Index k = 0; k < Kp; ++k) into[k] = k < K ? bias[k] : T(0);
    into += Kp;
    if (backward) {
        call->output_back = into;
        pack_rows<T>(Kp, Wp, W, rows, into);
    }
    delete[] rows;
}

// Gradients: dV (W, Kp) transposed, then db (Kp).
template <class T>
Index output_gradient_size(Index K, Index W) {
    return (W + 1) * padded<T>(K);
}

template <class T>
void unpack_output(Index K, Index W, const T* from, T* weight, T* bias) {
    const Index Kp = padded<T>(K);
    transpose<T>(W, K, from, Kp, weight);
    transpose<T>(1, K, from + W * Kp, Kp, bias);
}

// The working memory of one chunk: made with no scratch to learn its size, then with that much.
template <class T>
class Room {
  public:
    const Index N, R, W, Wp, Kp, M;  // steps, rows, D*H, padded, K padded, rows of the output
    T *embedded, *read, *logits, *d_read, *d_upper, *d_lower, *ties, *zeros, *scratch;

    explicit Room(const NetworkCall<T>& call)
        : N(call.chunk.offset[call.chunk.steps]),
          R(call.chunk.rows),
          W(call.net.width()),
          Wp(padded<T>(W)),
          Kp(padded<T>(call.net.K)),
          M(call.net.every() ? N : R),
          base_(call.scratch),
          directions_(call.net.directions),
          back_(call.gradients != nullptr) {
        const Network& net = call.net;
        const Index outputs = back_ ? net.layers : 2;
        const bool apart = net.every() && !call.mask_output;  // the output is read where it lies
        gates_width_ = back_ ? gates_width<T>(net.cell, net.H) : 0;
        cells_width_ = back_ ? cells_width<T>(net.cell, net.H) : 0;
        embedded = take(net.vocabulary ? N * net.I : 0);
        y_ = take(outputs * N * W);
        dropped_ = take(call.masks ? outputs * N * W : 0);
        gates_ = take(net.layers * directions_ * N * gates_width_);
        cells_ = take(net.layers * directions_ * N * cells_width_);
        read = take(apart ? 0 : M * W);
        logits = take(M * Kp);
        d_read = take(back_ ? M * Wp : 0);
        d_upper = take(back_ ? N * W : 0);
        d_lower = take(back_ ? N * W : 0);
        ties = take(net.readout == Readout::max ? R * W : 0);
        zeros = take(back_ ? (Wp > Kp ? Wp : Kp) : 0);
        Index most = 0;
        for (Index l = 0; l < net.layers; ++l) {
            const Layer layer = net.layer(l, 0);
            const Index forward = forward_scratch<T>(layer, call.chunk);
            const Index backward = back_ ? backward_scratch<T>(layer, call.chunk) : 0;
            most = most < forward ? forward : most;
            most = most < backward ? backward : most;
        }
        scratch = take(most);
    }

    Index size() const { return size_; }
    // Output (N, W) of layer l, and what dropout leaves of it.
    T* y(Index l) const { return y_ + (back_ ? l : l % 2) * N * W; }
    T* dropped(Index l) const { return dropped_ + (back_ ? l : l % 2) * N * W; }
    T* gates(Index l, Index d) const { return kept(gates_, gates_width_, l, d); }
    T* cells(Index l, Index d) const { return kept(cells_, cells_width_, l, d); }

  private:
    T* take(Index n) {
        T* const at = base_ ? base_ + size_ : nullptr;
        size_ += (n + 15) / 16 * 16;
        return at;
    }
    T* kept(T* all, Index width, Index l, Index d) const {
        return width ? all + (l * directions_ + d) * N * width : nullptr;
    }

    T* const base_;
    const Index directions_;
    const bool back_;
    Index size_ = 0, gates_width_, cells_width_;
    T *y_, *dropped_, *gates_, *cells_;
};

template <class T>
Index network_scratch(const NetworkCall<T>& call) {
    return Room<T>(call).size();
}

// to = from where the mask is set, times `keep`; both (steps, rows, width). Rows as the mask's.
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

// read (R, W) = the mean, or the highest, of y (N, W) over each row's own steps.
template <class T>
void pool(const Chunk& chunk, bool highest, Index W, const T* y, T* read) {
    for (Index i = 0; i < chunk.rows * W; ++i) read[i] = highest ? T(-__builtin_inf()) : T(0);
    for (Index t = 0; t < chunk.steps; ++t) {
        const T* from = y + chunk.offset[t] * W;
        for (Index i = 0; i < chunk.active[t] * W; ++i) {
            if (highest) {
                read[i] = from[i] > read[i] || from[i] != from[i] ? from[i] : read[i];
            } else {
                read[i] += from[i];
            }
        }
    }
    if (highest) return;
    for (Index r = 0; r < chunk.rows; ++r) {
        const T length = T(row_length(chunk, r));
        for (Index i = r * W; i < (r + 1) * W; ++i) read[i] /= length;
    }
}

// dy (N, W) from d_read (R, ld): an equal share to each step of a mean, or to each highest step.
template <class T>
void pool_back(const Chunk& chunk, bool highest, Index W, const T* y, const T* read,
               const T* d_read, Index ld, T* ties, T* dy) {
    if (highest) {
        zero(chunk.rows * W, ties);
        for (Index t = 0; t < chunk.steps; ++t) {
            const T* from = y + chunk.offset[t] * W;
            for (Index i = 0; i < chunk.active[t] * W; ++i) ties[i] += from[i] == read[i];
        }
    }
    for (Index r = 0; r < chunk.rows; ++r) {
        const Index length = row_length(chunk, r);
        for (Index t = 0; t < length; ++t) {
            const Index at = (chunk.offset[t] + r) * W;
            for (Index i = 0; i < W; ++i) {
                const T d = d_read[r * ld + i];
                dy[at + i] = !highest                        ? d / T(length)
                             : y[at + i] == read[r * W + i] ? d / ties[r * W + i]
                                                            : T(0);
            }
        }
    }
}

// One chunk on its way through the network; what forward leaves, backward reads.
template <class T>
class NetworkRun {
  public:
    explicit NetworkRun(const NetworkCall<T>& call)
        : call_(call), net_(call.net), chunk_(call.chunk), room_(call) {}

    void forward() {
        if (net_.vocabulary) embed();
        for (Index l = 0; l < net_.layers; ++l) {
            for (Index d = 0; d < net_.directions; ++d) forward_layer(l, d);
            if (has_dropout(l)) {
                drop<T>(chunk_, true, call_.masks[l], call_.keep, room_.W, steps(room_.y(l)),
                        steps(room_.dropped(l)));
            }
        }
        T* const top = room_.y(net_.layers - 1);
        if (net_.readout == Readout::mean || net_.readout == Readout::max) {
            pool(chunk_, net_.readout == Readout::max, room_.W, top, room_.read);
        }
        read_ = room_.read;
        unmasked_ = net_.every() ? top : room_.read;
        if (call_.mask_output) {
            if (net_.readout == Readout::max && call_.gradients) {  // the way back needs the maxima
                copy(room_.R * room_.W, room_.read, room_.d_upper);
                unmasked_ = room_.d_upper;
            }
            drop<T>(chunk_, net_.every(), call_.mask_output, call_.keep, room_.W,
                    net_.every() ? steps(top) : rows(room_.read, room_.W),
                    net_.every() ? steps(room_.read) : rows(room_.read, room_.W));
        } else if (net_.every()) {
            read_ = top;
        }
        gemm<T>(room_.M, room_.Kp, room_.W, read_, room_.W, call_.output, call_.output_bias, 0,
                room_.logits, room_.Kp);
        for_items([&](Index t, Index r, T* z) { copy(net_.K, z, call_.logits.at(t, r)); });
    }

    void backward() {
        double total = 0;
        for_items([&](Index t, Index r, T* z) {
            total += call_.loss == Loss::cross_entropy
                         ? cross_entropy(net_.K, z, *call_.codes.at(t, r), call_.class_weight,
                                         call_.smoothing, call_.scale)
                         : squared_error(net_.K, z, call_.values.at(t, r), call_.scale);
        });
        *call_.total = total;
        T* gradients = call_.gradients;
        for (Index l = 0; l < net_.layers; ++l) gradients += layer_size(l) * net_.directions;
        zero(room_.Wp > room_.Kp ? room_.Wp : room_.Kp, room_.zeros);
        gemm_tn<T>(room_.W, room_.Kp, room_.M, read_, room_.W, room_.logits, room_.Kp, room_.zeros,
                   0, gradients, room_.Kp);
        T* const d_bias = gradients + room_.W * room_.Kp;
        zero(room_.Kp, d_bias);
        add_columns(room_.M, room_.Kp, room_.logits, room_.Kp, d_bias);
        gemm<T>(room_.M, room_.Wp, room_.Kp, room_.logits, room_.Kp, call_.output_back, room_.zeros,
                0, room_.d_read, room_.Wp);
        const View<T> d_read =
            net_.every() ? steps(room_.d_read, room_.Wp) : rows(room_.d_read, room_.Wp);
        if (call_.mask_output) {
            drop<T>(chunk_, net_.every(), call_.mask_output, call_.keep, room_.W, d_read,
                    d_read);
        }
        View<const T> dy, dh_n;
        if (net_.every()) {
            dy = constant(d_read);
        } else if (net_.readout == Readout::last) {
            dh_n = constant(d_read);
        } else {
            pool_back(chunk_, net_.readout == Readout::max, room_.W, room_.y(net_.layers - 1),
                      unmasked_, room_.d_read, room_.Wp, room_.ties, room_.d_lower);
            dy = steps<const T>(room_.d_lower);
        }
        T *into = room_.d_upper, *other = room_.d_lower;
        for (Index l = net_.layers - 1; l >= 0; --l) {
            gradients -= layer_size(l) * net_.directions;
            for (Index d = 0; d < net_.directions; ++d) {
                backward_layer(l, d, dy, dh_n, into, gradients + d * layer_size(l));
            }
            if (l > 0 && has_dropout(l - 1)) {
                drop<T>(chunk_, true, call_.masks[l - 1], call_.keep, room_.W,
                        steps(into), steps(into));
            }
            dy = steps<const T>(into);
            dh_n = {};
            T* const swap = into;
            into = other;
            other = swap;
        }
        if (net_.vocabulary && call_.mask_input) {
            drop<T>(chunk_, true, call_.mask_input, call_.keep, net_.I,
                    steps(call_.d_embedded, net_.I), steps(call_.d_embedded, net_.I));
        }
    }

  private:
    bool has_dropout(Index l) const { return call_.masks && l + 1 < net_.layers; }
    Index layer_size(Index l) const {
        return with_cell<T>(net_.cell,
                            [&](auto c) { return gradient_size<T, decltype(c)>(net_.layer(l, 0)); });
    }

    // All steps of a packed (N, ld), or the rows of an (R, ld).
    template <class V>
    View<V> steps(V* base, Index ld) const {
        return {base, chunk_.offset, nullptr, ld};
    }
    template <class V>
    View<V> steps(V* base) const {
        return steps(base, room_.W);
    }
    template <class V>
    View<V> rows(V* base, Index ld) const {
        return {base, nullptr, nullptr, ld};
    }
    static View<const T> constant(const View<T>& v) { return {v.base, v.step, v.row, v.packed}; }
    template <class V>
    View<V> direction(View<V> v, Index d) const {
        if (v) v.base += d * net_.H;
        return v;
    }

    // f(t, r, logits) for every item that may have a label.
    template <class F>
    void for_items(F f) {
        T* z = room_.logits;
        for (Index t = 0; t < (net_.every() ? chunk_.steps : 1); ++t) {
            const Index n = net_.every() ? chunk_.active[t] : chunk_.rows;
            for (Index r = 0; r < n; ++r, z += room_.Kp) f(t, r, z);
        }
    }

    void embed() {
        T* to = room_.embedded;
        for (Index t = 0; t < chunk_.steps; ++t) {
            for (Index r = 0; r < chunk_.active[t]; ++r, to += net_.I) {
                copy(net_.I, call_.embedding + *call_.tokens.at(t, r) * net_.I, to);
            }
        }
        if (call_.mask_input) {
            drop<T>(chunk_, true, call_.mask_input, call_.keep, net_.I,
                    steps(room_.embedded, net_.I), steps(room_.embedded, net_.I));
        }
    }

    View<const T> input(Index l) const {
        if (l > 0) {
            return steps<const T>(has_dropout(l - 1) ? room_.dropped(l - 1) : room_.y(l - 1));
        }
        return net_.vocabulary ? steps<const T>(room_.embedded, net_.I) : call_.x;
    }

    void forward_layer(Index l, Index d) {
        const bool last = net_.readout == Readout::last && l + 1 == net_.layers;
        ForwardCall<T> c;
        c.layer = net_.layer(l, d);
        c.weights = call_.layers[l * net_.directions + d];
        c.chunk = chunk_;
        c.x = input(l);
        if (!last || call_.gradients) c.y = direction(steps(room_.y(l)), d);
        if (last) c.h_n = direction(rows(room_.read, room_.W), d);
        c.gates = room_.gates(l, d);
        c.cells = room_.cells(l, d);
        c.scratch = room_.scratch;
        ELMAN_ISA::forward(c);
    }

    void backward_layer(Index l, Index d, const View<const T>& dy, const View<const T>& dh_n,
                        T* into, T* gradients) {
        BackwardCall<T> c;
        c.layer = net_.layer(l, d);
        c.weights = call_.layers[l * net_.directions + d];
        c.chunk = chunk_;
        c.x = input(l);
        c.y = direction(steps<const T>(room_.y(l)), d);
        c.gates = room_.gates(l, d);
        c.cells = room_.cells(l, d);
        c.dy = direction(dy, d);
        c.dh_n = direction(dh_n, d);
        if (l > 0) {
            c.dx = steps(into);
        } else if (net_.vocabulary) {
            c.dx = steps(call_.d_embedded, net_.I);
        }
        c.add_dx = d > 0;
        c.gradients = gradients;
        c.scratch = room_.scratch;
        ELMAN_ISA::backward(c);
    }

    const NetworkCall<T>& call_;
    const Network& net_;
    const Chunk& chunk_;
    const Room<T> room_;
    const T *read_ = nullptr, *unmasked_ = nullptr;  // what the output reads, and before dropout
};

template <class T>
void run_network(const NetworkCall<T>& call) {
    NetworkRun<T> run(call);
    run.forward();
    if (call.gradients) run.backward();
}

}  // namespace elman::ELMAN_ISA
