// A chunk of a batch through a whole network, loss and gradients included.
//
// Rows of a batch meet only in the loss's mean and in the sum of the weight gradients. So a chunk
// runs from its input to its gradients on one thread without waiting for any other, and a layer's
// output is still in the cache when the next layer, or backward, reads it. All is packed: row r of
// step t at offset[t] + r. Below 64 units the steps around the recurrent layer (readout, linear
// layer, loss, the autograd engine) cost more than the layer in torch, which is why they are here.
#pragma once

#include "layer.h"
#include "loss.h"
#include "output.h"
#include "readout.h"
#include "step.h"

namespace elman::ELMAN_ISA {

// One chunk's memory: constructed without memory it only adds up its size.
template <class T>
class NetworkScratch {
  public:
    const Index N, R, W, Wp, Kp, M;  // steps, rows, D*H, padded, K padded, rows of the output
    T *embedded, *readout, *logits, *d_readout, *d_upper, *d_lower, *ties, *zeros, *layer;

    explicit NetworkScratch(const NetworkChunk<T>& call)
        : N(call.chunk.offset[call.chunk.steps]),
          R(call.chunk.rows),
          W(call.net.width()),
          Wp(padded<T>(W)),
          Kp(padded<T>(call.net.K)),
          M(call.net.every() ? N : R),
          base_(call.scratch),
          directions_(call.net.directions),
          backward_(call.gradients != nullptr) {
        const Network& net = call.net;
        const Index outputs = backward_ ? net.layers : 2;  // forward alone needs the one before
        const bool in_place = net.every() && !call.mask_output;  // the output layer reads y
        gates_width_ = backward_ ? gates_width<T>(net.cell, net.H) : 0;
        cells_width_ = backward_ ? cells_width<T>(net.cell, net.H) : 0;
        embedded = take(net.table_count ? N * net.I : 0);
        y_ = take(outputs * N * W);
        dropped_ = take(call.masks ? outputs * N * W : 0);
        gates_ = take(net.layers * directions_ * N * gates_width_);
        cells_ = take(net.layers * directions_ * N * cells_width_);
        readout = take(in_place ? 0 : M * W);
        logits = take(M * Kp);
        d_readout = take(backward_ ? M * Wp : 0);
        d_upper = take(backward_ ? N * W : 0);
        d_lower = take(backward_ ? N * W : 0);
        ties = take(net.readout == Readout::max ? R * W : 0);
        zeros = take(backward_ ? (Wp > Kp ? Wp : Kp) : 0);
        Index most = 0;
        for (Index l = 0; l < net.layers; ++l) {
            const Index forward = forward_scratch<T>(net.layer(l, 0), call.chunk);
            const Index backward =
                backward_ ? backward_scratch<T>(net.layer(l, 0), call.chunk) : 0;
            most = most < forward ? forward : most;
            most = most < backward ? backward : most;
        }
        layer = take(most);
    }

    Index size() const { return size_; }
    // Output (N, W) of layer l, and what dropout leaves of it.
    T* y(Index l) const { return y_ + (backward_ ? l : l % 2) * N * W; }
    T* dropped(Index l) const { return dropped_ + (backward_ ? l : l % 2) * N * W; }
    T* gates(Index l, Index d) const { return of_layer(gates_, gates_width_, l, d); }
    T* cells(Index l, Index d) const { return of_layer(cells_, cells_width_, l, d); }

  private:
    T* take(Index n) {
        T* const at = base_ ? base_ + size_ : nullptr;
        size_ += (n + 15) / 16 * 16;  // whole cache lines: vectors then do not straddle two
        return at;
    }
    T* of_layer(T* all, Index width, Index l, Index d) const {
        return width ? all + (l * directions_ + d) * N * width : nullptr;
    }

    T* const base_;
    const Index directions_;
    const bool backward_;
    Index size_ = 0, gates_width_, cells_width_;
    T *y_, *dropped_, *gates_, *cells_;
};

template <class T>
Index network_scratch(const NetworkChunk<T>& call) {
    return NetworkScratch<T>(call).size();
}

// One chunk through the network; backward reads what forward has left in memory.
template <class T>
class NetworkRun {
  public:
    explicit NetworkRun(const NetworkChunk<T>& call)
        : call_(call), net_(call.net), chunk_(call.chunk), m_(call) {}

    void forward() {
        if (net_.table_count) embed();
        for (Index l = 0; l < net_.layers; ++l) {
            for (Index d = 0; d < net_.directions; ++d) forward_layer(l, d);
            if (has_dropout(l)) {
                drop<T>(chunk_, true, call_.masks[l], call_.keep, m_.W, packed(m_.y(l)),
                        packed(m_.dropped(l)));
            }
        }
        read_out();
        gemm<T>(m_.M, m_.Kp, m_.W, readout_, m_.W, call_.output, call_.output_bias, 0, m_.logits,
                m_.Kp);
        for_items([&](Index t, Index r, T* z) { copy(net_.K, z, call_.logits.at(t, r)); });
    }

    void backward() {
        *call_.total = loss_and_dlogits();
        T* gradients = call_.gradients;
        for (Index l = 0; l < net_.layers; ++l) gradients += layer_size(l) * net_.directions;
        backward_output(gradients);
        View<const T> dy, dh_n;
        backward_readout(&dy, &dh_n);
        // The gradient of a layer's input is written beside that of its output, then they swap.
        T *d_input = m_.d_upper, *d_output = m_.d_lower;
        for (Index l = net_.layers - 1; l >= 0; --l) {
            gradients -= layer_size(l) * net_.directions;
            for (Index d = 0; d < net_.directions; ++d) {
                backward_layer(l, d, dy, dh_n, d_input, gradients + d * layer_size(l));
            }
            if (l > 0 && has_dropout(l - 1)) {
                drop<T>(chunk_, true, call_.masks[l - 1], call_.keep, m_.W, packed(d_input),
                        packed(d_input));
            }
            dy = packed<const T>(d_input);
            dh_n = {};
            T* const swap = d_input;
            d_input = d_output;
            d_output = swap;
        }
        if (net_.table_count) drop_embedded(call_.d_embedded);
    }

  private:
    bool has_dropout(Index l) const { return call_.masks && l + 1 < net_.layers; }
    Index layer_size(Index l) const {
        const Layer layer = net_.layer(l, 0);
        return with_cell<T>(net_.cell,
                            [&](auto c) { return gradient_size<T, decltype(c)>(layer); });
    }

    // All steps of a packed (N, ld), or the rows of an (R, ld).
    template <class V>
    View<V> packed(V* base, Index ld) const {
        return View<V>::packed(base, chunk_.offset, ld);
    }
    template <class V>
    View<V> packed(V* base) const {
        return packed(base, m_.W);
    }
    template <class V>
    View<V> single(V* base, Index ld) const {
        return View<V>::packed(base, nullptr, ld);
    }
    // Rows of the output layer: those of all steps, or one for each sequence.
    View<T> items(T* base, Index ld) const {
        return net_.every() ? packed(base, ld) : single(base, ld);
    }
    template <class V>
    View<V> direction(View<V> v, Index d) const {
        if (v) v.base += d * net_.H;
        return v;
    }

    // f(t, r, logits) for every item that may have a label.
    template <class F>
    void for_items(F f) {
        T* z = m_.logits;
        for (Index t = 0; t < (net_.every() ? chunk_.steps : 1); ++t) {
            const Index n = net_.every() ? chunk_.active[t] : chunk_.rows;
            for (Index r = 0; r < n; ++r, z += m_.Kp) f(t, r, z);
        }
    }

    // The first layer's input: each step's numbers, then the embeddings of its tokens.
    void embed() {
        const Index numbers = net_.numbers();
        const std::int64_t* token = call_.tokens;
        T* to = m_.embedded;
        for (Index t = 0; t < chunk_.steps; ++t) {
            for (Index r = 0; r < chunk_.active[t]; ++r, token += net_.table_count) {
                const T* const x = numbers ? call_.x.at(t, r) : nullptr;
                to = embed_step(net_, numbers, call_.embeddings, x, token, to);
            }
        }
        drop_embedded(m_.embedded);
    }

    // Dropout of the embedded tokens in rows (N, I), or of their gradients; numbers stay.
    void drop_embedded(T* rows) const {
        if (!call_.mask_input) return;
        const Index numbers = net_.numbers();
        const View<T> embedded = packed(rows + numbers, net_.I);
        drop<T>(chunk_, true, call_.mask_input, call_.keep, net_.I - numbers, embedded, embedded);
    }

    // The output layer's input from the top layer's states; forward_layer has written the last
    // ones.
    void read_out() {
        T* const top = m_.y(net_.layers - 1);
        const bool maximum = net_.readout == Readout::max;
        if (maximum || net_.readout == Readout::mean) {
            pool(chunk_, maximum, m_.W, top, m_.readout);
        }
        readout_ = net_.every() && !call_.mask_output ? top : m_.readout;
        undropped_ = net_.every() ? top : m_.readout;
        if (!call_.mask_output) return;
        if (maximum && call_.gradients) {  // backward looks for the steps that attain the maxima
            copy(m_.R * m_.W, m_.readout, m_.d_upper);
            undropped_ = m_.d_upper;
        }
        drop<T>(chunk_, net_.every(), call_.mask_output, call_.keep, m_.W,
                items(net_.every() ? top : m_.readout, m_.W), items(m_.readout, m_.W));
    }

    // This chunk's share of the loss; its gradient takes the place of the logits.
    double loss_and_dlogits() {
        double total = 0;
        for_items([&](Index t, Index r, T* z) {
            total += call_.loss == Loss::cross_entropy
                         ? cross_entropy(net_.K, z, *call_.codes.at(t, r), call_.class_weight,
                                         call_.smoothing, call_.scale)
                         : squared_error(net_.K, z, call_.values.at(t, r), call_.scale);
        });
        return total;
    }

    // Gradients of the output layer's weights and of its input.
    void backward_output(T* gradients) {
        zero(m_.Wp > m_.Kp ? m_.Wp : m_.Kp, m_.zeros);
        gemm_tn<T>(m_.W, m_.Kp, m_.M, readout_, m_.W, m_.logits, m_.Kp, m_.zeros, 0, gradients,
                   m_.Kp);
        T* const d_bias = gradients + m_.W * m_.Kp;
        zero(m_.Kp, d_bias);
        add_columns(m_.M, m_.Kp, m_.logits, m_.Kp, d_bias);
        gemm<T>(m_.M, m_.Wp, m_.Kp, m_.logits, m_.Kp, call_.output_back, m_.zeros, 0, m_.d_readout,
                m_.Wp);
        if (call_.mask_output) {
            const View<T> d_readout = items(m_.d_readout, m_.Wp);
            drop<T>(chunk_, net_.every(), call_.mask_output, call_.keep, m_.W, d_readout,
                    d_readout);
        }
    }

    // Gradients of the top layer's outputs, or of its last states.
    void backward_readout(View<const T>* dy, View<const T>* dh_n) {
        if (net_.every()) {
            *dy = items(m_.d_readout, m_.Wp).constant();
        } else if (net_.readout == Readout::last) {
            *dh_n = items(m_.d_readout, m_.Wp).constant();
        } else {
            pool_back(chunk_, net_.readout == Readout::max, m_.W, m_.y(net_.layers - 1), undropped_,
                      m_.d_readout, m_.Wp, m_.ties, m_.d_lower);
            *dy = packed<const T>(m_.d_lower);
        }
    }

    View<const T> input(Index l) const {
        if (l > 0) return packed<const T>(has_dropout(l - 1) ? m_.dropped(l - 1) : m_.y(l - 1));
        return net_.table_count ? packed<const T>(m_.embedded, net_.I) : call_.x;
    }

    void forward_layer(Index l, Index d) {
        const bool last = net_.readout == Readout::last && l + 1 == net_.layers;
        ForwardChunk<T> c;
        c.layer = net_.layer(l, d);
        c.weights = call_.layers[l * net_.directions + d];
        c.chunk = chunk_;
        c.x = input(l);
        // Without gradients only the last of the top layer's states are read.
        if (!last || call_.gradients) c.y = direction(packed(m_.y(l)), d);
        const Index at = l * net_.directions + d;
        read_first_states(at, &c);
        if (call_.h_n) c.h_n = call_.h_n[at];
        if (call_.c_n) c.c_n = call_.c_n[at];
        if (last) c.h_n = direction(single(m_.readout, m_.W), d);
        c.gates = m_.gates(l, d);
        c.cells = m_.cells(l, d);
        c.scratch = m_.layer;
        ELMAN_ISA::forward(c);
        if (!last || !call_.h_n) return;
        for (Index r = 0; r < chunk_.rows; ++r) {
            copy(net_.H, c.h_n.at(0, r), call_.h_n[at].at(0, r));
        }
    }

    template <class C>
    void read_first_states(Index at, C* c) const {
        if (call_.h0) c->h0 = call_.h0[at];
        if (call_.c0) c->c0 = call_.c0[at];
    }

    void backward_layer(Index l, Index d, const View<const T>& dy, const View<const T>& dh_n,
                        T* d_input, T* gradients) {
        BackwardChunk<T> c;
        c.layer = net_.layer(l, d);
        c.weights = call_.layers[l * net_.directions + d];
        c.chunk = chunk_;
        c.x = input(l);
        c.y = direction(packed<const T>(m_.y(l)), d);
        c.gates = m_.gates(l, d);
        c.cells = m_.cells(l, d);
        read_first_states(l * net_.directions + d, &c);
        c.dy = direction(dy, d);
        c.dh_n = direction(dh_n, d);
        if (l > 0) {
            c.dx = packed(d_input);
        } else if (net_.table_count) {
            c.dx = packed(call_.d_embedded, net_.I);
        }
        c.add_dx = d > 0;  // both directions read the same input
        c.gradients = gradients;
        c.scratch = m_.layer;
        ELMAN_ISA::backward(c);
    }

    const NetworkChunk<T>& call_;
    const Network& net_;
    const Chunk& chunk_;
    const NetworkScratch<T> m_;  // memory
    const T* readout_ = nullptr;    // the output layer's input
    const T* undropped_ = nullptr;  // the same before dropout
};

template <class T>
void run_network_chunk(const NetworkChunk<T>& call) {
    NetworkRun<T> run(call);
    run.forward();
    if (call.gradients) run.backward();
}

}  // namespace elman::ELMAN_ISA
