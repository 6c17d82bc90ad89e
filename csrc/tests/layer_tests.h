// One layer against the naive one: every cell, direction, precision and instruction set, on ragged
// batches in tensors of exactly their own size.
#pragma once

#include <optional>

#include "check.h"
#include "layer_call.h"
#include "memory.h"
#include "naive.h"
#include "dispatch.h"

namespace elman::tests {

constexpr Cell cells[] = {Cell::rnn_tanh, Cell::rnn_relu, Cell::gru, Cell::lstm};

inline const char* name_of(Cell cell) {
    const char* const names[] = {"rnn_tanh", "rnn_relu", "gru", "lstm"};
    return names[int(cell)];
}

struct Case {
    Layer layer;
    Index B, T;
    std::vector<std::int64_t> lengths;  // or empty: all T
    bool bias = true, states = true;    // passed
    bool dy = true, finals = true;      // gradients of the outputs, passed
    bool dx = true, weights = true, initial = true;  // gradients to compute
    Layout layout = Layout::time_first;
    std::uint64_t seed = 0;

    Index length(Index b) const { return lengths.empty() ? T : lengths[b]; }
    std::string text(const char* isa, bool is_double) const {
        std::string s = std::string(isa) + (is_double ? " double " : " float ") +
                        name_of(layer.cell) + (layer.reverse ? " reverse" : "") + " B=" +
                        std::to_string(B) + " T=" + std::to_string(T) + " I=" +
                        std::to_string(layer.I) + " H=" + std::to_string(layer.H) + " P=" +
                        std::to_string(layer.P) + " lengths";
        for (const std::int64_t n : lengths) s += " " + std::to_string(n);
        return s + " bias " + std::to_string(bias) + " states " + std::to_string(states) + " dy " +
               std::to_string(dy) + " finals " + std::to_string(finals) + " layout " +
               std::to_string(int(layout)) + " seed " + std::to_string(seed);
    }
};

// A layer's tensors, as a caller has them.
template <class T>
struct Problem {
    explicit Problem(const Case& c) : c(c) {
        Random random(c.seed);
        const Index I = c.layer.I, H = c.layer.H, rows = gate_count(c.layer.cell) * H;
        const Index P = c.layer.P, Y = c.layer.Y();
        const bool lstm = c.layer.cell == Cell::lstm;
        x = padded(c.T, c.B, I, random);
        W = random_tensor(1, rows, I, random, 1 / std::sqrt(double(I)));
        U = random_tensor(1, rows, Y, random, 1 / std::sqrt(double(Y)));
        if (P) R = random_tensor(1, P, H, random, 1 / std::sqrt(double(H)));
        if (c.bias) {
            b = random_tensor(1, 1, rows, random, 0.5);
            v = random_tensor(1, 1, rows, random, 0.5);
        }
        if (c.states) h0 = random_tensor(1, c.B, Y, random, 1);
        if (c.states && lstm) c0 = random_tensor(1, c.B, H, random, 1);
        if (c.dy) dy = padded(c.T, c.B, Y, random);
        if (c.finals) dh_n = random_tensor(1, c.B, Y, random, 1);
        if (c.finals && lstm) dc_n = random_tensor(1, c.B, H, random, 1);
        lengths.reset(new std::int64_t[c.lengths.size()]);
        std::copy(c.lengths.begin(), c.lengths.end(), lengths.get());
    }
    // Random where a row runs, NaN past its end.
    Tensor<T> padded(Index steps, Index rows, Index width, Random& random) const {
        Tensor<T> tensor(steps, rows, width, c.layout);
        for (Index t = 0; t < steps; ++t) {
            for (Index r = 0; r < rows; ++r) {
                for (Index i = 0; i < width && t < c.length(r); ++i) {
                    tensor.at(t, r, i) = T(random.uniform());
                }
            }
        }
        return tensor;
    }
    static Tensor<T> random_tensor(Index steps, Index rows, Index width, Random& random,
                                   double scale) {
        Tensor<T> tensor(steps, rows, width);
        tensor.fill(random, scale);
        return tensor;
    }

    const Case c;
    Tensor<T> x, W, U, b, v, R, h0, c0, dy, dh_n, dc_n;
    std::unique_ptr<std::int64_t[]> lengths;
};

// What a layer's forward and backward pass write.
template <class T>
struct Results {
    Tensor<T> y, h_n, c_n, dx, dh0, dc0, dW, dU, db, dv, dR;

    bool same_bits(const Results& o) const {
        return y.same_bits(o.y) && h_n.same_bits(o.h_n) && c_n.same_bits(o.c_n) &&
               dx.same_bits(o.dx) && dh0.same_bits(o.dh0) && dc0.same_bits(o.dc0) &&
               dW.same_bits(o.dW) && dU.same_bits(o.dU) && db.same_bits(o.db) &&
               dv.same_bits(o.dv) && dR.same_bits(o.dR);
    }
};

template <class T>
Results<T> solve(const Problem<T>& p, int threads, bool keep = true, bool backward = true) {
    const Case& c = p.c;
    const Index I = c.layer.I, H = c.layer.H, rows = gate_count(c.layer.cell) * H;
    const Index P = c.layer.P, Y = c.layer.Y();
    const bool lstm = c.layer.cell == Cell::lstm;
    Results<T> r;
    r.y = Tensor<T>(c.T, c.B, Y, c.layout);
    r.h_n = Tensor<T>(1, c.B, Y);
    if (lstm) r.c_n = Tensor<T>(1, c.B, H);
    Tensor<T> reserve(1, c.B * c.T, reserve_width<T>(c.layer));

    LayerCall<T> call;
    call.layer = c.layer;
    call.rows = c.B;
    call.steps = c.T;
    call.lengths = c.lengths.empty() ? nullptr : p.lengths.get();
    call.weights = {p.W.data(), p.U.data(), p.b.data(), p.v.data(), p.R.data()};
    call.x = p.x.constant();
    call.h0 = p.h0.constant();
    call.c0 = p.c0.constant();
    call.y = r.y.strided();
    call.reserve = keep && reserve.width ? reserve.data() : nullptr;
    call.threads = threads;
    layer_forward<T>(call, r.h_n.strided(), r.c_n.strided());
    if (!keep || !backward) return r;

    LayerGradients<T> g;
    g.dy = p.dy.constant();
    g.dh_n = p.dh_n.constant();
    g.dc_n = p.dc_n.constant();
    if (c.dx) r.dx = Tensor<T>(c.T, c.B, I, c.layout);
    if (c.initial) r.dh0 = Tensor<T>(1, c.B, Y);
    if (c.initial && lstm) r.dc0 = Tensor<T>(1, c.B, H);
    if (c.weights) r.dW = Tensor<T>(1, rows, I), r.dU = Tensor<T>(1, rows, Y);
    if (c.weights && P) r.dR = Tensor<T>(1, P, H);
    if (c.weights && c.bias) r.db = Tensor<T>(1, 1, rows), r.dv = Tensor<T>(1, 1, rows);
    g.dx = r.dx.strided();
    g.dh0 = r.dh0.strided();
    g.dc0 = r.dc0.strided();
    g.weights = {r.dW.data(), r.dU.data(), r.db.data(), r.dv.data(), r.dR.data()};
    layer_backward<T>(call, g);
    return r;
}

template <class T>
naive::Numbers numbers(const Tensor<T>& t) {
    return naive::Numbers(t.data(), t.data() + t.steps * t.rows * t.width);
}

template <class T>
naive::Numbers state_of(const Tensor<T>& t, Index r, Index H) {
    return t ? t.row(0, r) : naive::Numbers(H);
}

template <class T>
void compare(const Problem<T>& p, const Results<T>& r, bool backward = true) {
    const Case& c = p.c;
    const Index I = c.layer.I, H = c.layer.H, Y = c.layer.Y();
    const bool lstm = c.layer.cell == Cell::lstm;
    naive::Weights w{c.layer, numbers(p.W), numbers(p.U), {}, {}, {}};
    if (c.layer.P) w.R = numbers(p.R);
    if (c.bias) w.b = numbers(p.b), w.v = numbers(p.v);
    naive::Weights dw = naive::zeros_like(w);
    Close y, h_n, c_n, dx, dh0, dc0, weights, biases;
    const auto add = [](Close& close, const std::vector<double>& found, const double* expected) {
        for (std::size_t i = 0; i < found.size(); ++i) close.add(found[i], expected[i]);
    };
    bool zeros = true;
    for (Index b = 0; b < c.B; ++b) {
        const Index n = c.length(b);
        naive::Numbers x, d;
        for (Index t = 0; t < n; ++t) {
            const auto x_t = p.x.row(t, b), d_t = p.dy ? p.dy.row(t, b) : naive::Numbers(Y);
            x.insert(x.end(), x_t.begin(), x_t.end());
            d.insert(d.end(), d_t.begin(), d_t.end());
        }
        const naive::Run run =
            naive::forward(w, n, x, {state_of(p.h0, b, Y), state_of(p.c0, b, H)});
        if (run.kink < (sizeof(T) == 4 ? 2e-6 : 1e-13)) return;  // either side of it is right
        naive::States last{state_of(p.dh_n, b, Y), state_of(p.dc_n, b, H)};
        const naive::Numbers dx_b = naive::backward(w, run, d, last, dw);
        for (Index t = 0; t < c.T; ++t) {
            if (t < n) {
                add(y, r.y.row(t, b), &run.y[t * Y]);
                if (r.dx) add(dx, r.dx.row(t, b), &dx_b[t * I]);
            } else {
                for (const double a : r.y.row(t, b)) zeros = zeros && a == 0;
                for (Index i = 0; i < r.dx.width; ++i) zeros = zeros && r.dx.at(t, b, i) == 0;
            }
        }
        add(h_n, r.h_n.row(0, b), run.h[n].data());
        if (lstm) add(c_n, r.c_n.row(0, b), run.c[n].data());
        if (r.dh0) add(dh0, r.dh0.row(0, b), last.h.data());
        if (r.dc0) add(dc0, r.dc0.row(0, b), last.c.data());
    }
    CHECK(zeros);
    CHECK(y.error() < tolerance<T>);
    CHECK(h_n.error() < tolerance<T>);
    CHECK(c_n.error() < tolerance<T>);
    CHECK(r.y.gaps_intact());
    if (!backward) return;
    if (r.dW) {
        add(weights, numbers(r.dW), dw.W.data());
        add(weights, numbers(r.dU), dw.U.data());
        if (r.dR) add(weights, numbers(r.dR), dw.R.data());
    }
    if (r.db) {
        add(biases, numbers(r.db), dw.b.data());
        add(biases, numbers(r.dv), dw.v.data());
    }
    CHECK(dx.error() < tolerance<T>);
    CHECK(dh0.error() < tolerance<T>);
    CHECK(dc0.error() < tolerance<T>);
    CHECK(weights.error() < tolerance<T>);
    CHECK(biases.error() < tolerance<T>);
    CHECK(r.dx.gaps_intact());
}

// Sizes on and off the vectors, register blocks, chunks and time blocks; the rest random.
inline Case draw_case(Cell cell, std::uint64_t seed) {
    Random random(seed);
    Case c;
    c.seed = seed;
    const Index units[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 65};
    const Index rows[] = {0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 13, 17, 25, 33, 50};
    const Index steps[] = {0, 1, 2, 3, 5, 9, 17};
    c.layer = {cell, random.below(4) ? 1 + random.below(7) : 15 + random.below(26),
               units[random.below(16)], random.below(2) == 1};
    if (cell == Cell::lstm && c.layer.H > 1 && random.below(2)) {
        c.layer.P = 1 + random.below(c.layer.H - 1);
    }
    c.B = rows[random.below(15)];
    c.T = steps[random.below(7)];
    const Index kind = random.below(4);  // of lengths: none, all whole, any, any but 0
    for (Index b = 0; kind && b < c.B; ++b) {
        c.lengths.push_back(kind == 1                ? c.T
                            : kind == 3 && c.T > 0 ? 1 + random.below(c.T)
                                                   : random.below(c.T + 1));
    }
    c.bias = random.below(4);
    c.states = random.below(3);
    c.dy = random.below(4);
    c.finals = random.below(4);
    c.dx = random.below(4);
    c.weights = random.below(4);
    c.initial = random.below(4);
    c.layout = Layout(random.below(3));
    return c;
}

template <class T>
void test_layers(int count) {
    const char* isa = active_isa().name;
    for (const Cell cell : cells) {
        for (int seed = 0; seed < count; ++seed) {
            const Problem<T> p(draw_case(cell, std::uint64_t(seed)));
            trying = p.c.text(isa, sizeof(T) == 8);
            const Results<T> r = solve(p, 1 + seed % 3);
            compare(p, r);
            Results<T> light = solve(p, 1 + seed % 2, false);
            CHECK(light.y.same_bits(r.y) && light.h_n.same_bits(r.h_n) &&
                  light.c_n.same_bits(r.c_n));
        }
    }
}

// Chunks of several blocks of time: too large to draw many of.
template <class T>
void test_long_layers(Index steps) {
    for (const Cell cell : cells) {
        for (const bool reverse : {false, true}) {
            Case c;
            c.layer = {cell, 3, 33, reverse, cell == Cell::lstm && reverse ? 17 : 0};
            c.B = 40;
            c.T = steps;
            Random random(5);
            for (Index b = 0; b < c.B; ++b) c.lengths.push_back(random.below(steps + 1));
            const Problem<T> p(c);
            trying = c.text(active_isa().name, sizeof(T) == 8);
            compare(p, solve(p, 2));
        }
    }
}

// A row has the same bits alone and in a batch.
// One step a call, with weights that change on the way and back: the bits of `whole`.
template <class T>
void check_steps(Problem<T>& p, const Results<T>& whole) {
    const Layer& layer = p.c.layer;
    const Index Y = layer.Y();
    Tensor<T> h = copy_of(p.h0), c = p.c0 ? copy_of(p.c0) : Tensor<T>(), x(1, 1, layer.I);
    Tensor<T> y(1, 1, Y), h_n(1, 1, Y), c_n = c ? Tensor<T>(1, 1, layer.H) : Tensor<T>();
    const Weights<T> weights{p.W.data(), p.U.data(), p.b.data(), p.v.data(), p.R.data()};
    bool same = true, changed = true;
    for (Index t = 0; t < p.c.T; ++t) {
        for (Index i = 0; i < layer.I; ++i) x.at(0, 0, i) = p.x.at(t, 0, i);
        const auto step = [&] {
            layer_step<T>(layer, weights, x.data(), h.data(), c.data(), y.data(), h_n.data(),
                          c_n.data());
        };
        Tensor<T>& weight = t % 3 == 0 ? p.v : t % 3 == 1 ? p.U : p.b;
        const T before = weight.at(0, 0, 0);
        weight.at(0, 0, 0) += T(2);
        step();
        const T other = y.at(0, 0, 0);
        weight.at(0, 0, 0) = before;
        step();
        step();  // with the same weights as before
        changed = changed && (other != y.at(0, 0, 0) || layer.cell == Cell::rnn_relu || layer.P);
        same = same && !std::memcmp(&whole.y.at(t, 0, 0), y.data(), Y * sizeof(T)) &&
               h_n.same_bits(y);
        std::swap(h, h_n);
        std::swap(c, c_n);
    }
    CHECK(same);
    CHECK(changed || p.c.T == 0);
}

template <class T>
void test_alone_and_in_a_batch() {
    for (const Cell cell : cells) {
        for (const Index H : {Index(5), Index(33), Index(70)}) {
            Case c;
            c.layer = {cell, 3, H, H == 33, cell == Cell::lstm && H > 5 ? H / 2 : 0};
            const Index Y = c.layer.Y();
            c.B = 37;
            c.T = 6;
            Random random(9);
            for (Index b = 0; b < c.B; ++b) c.lengths.push_back(random.below(c.T + 1));
            const Problem<T> p(c);
            const Results<T> all = solve(p, 2);
            trying = c.text(active_isa().name, sizeof(T) == 8);
            for (Index b = 0; b < c.B; ++b) {
                Case one = c;
                one.B = 1;
                one.lengths.clear();
                one.T = c.lengths[b];
                Problem<T> q(one);
                for (Index t = 0; t < one.T; ++t) {
                    std::copy(&p.x.at(t, b, 0), &p.x.at(t, b, 0) + 3, &q.x.at(t, 0, 0));
                }
                q.W = copy_of(p.W), q.U = copy_of(p.U), q.b = copy_of(p.b), q.v = copy_of(p.v);
                if (q.R) q.R = copy_of(p.R);
                std::copy(&p.h0.at(0, b, 0), &p.h0.at(0, b, 0) + Y, q.h0.data());
                if (q.c0) std::copy(&p.c0.at(0, b, 0), &p.c0.at(0, b, 0) + H, q.c0.data());
                const Results<T> alone = solve(q, 1, b % 2, false);
                if (!c.layer.reverse) check_steps(q, alone);
                const auto same = [&](const T* a, const T* e, Index width) {
                    return !std::memcmp(a, e, width * sizeof(T));
                };
                for (Index t = 0; t < one.T; ++t) {
                    CHECK(same(&alone.y.at(t, 0, 0), &all.y.at(t, b, 0), Y));
                }
                CHECK(same(alone.h_n.data(), &all.h_n.at(0, b, 0), Y));
                if (q.c0) CHECK(same(alone.c_n.data(), &all.c_n.at(0, b, 0), H));
            }
        }
    }
}

// The naive gradients against finite differences of the naive loss: the check of the reference
// itself.
inline void test_naive_layer() {
    const Layer layers[] = {{Cell::rnn_tanh, 2, 3, true}, {Cell::rnn_relu, 2, 3, true},
                            {Cell::gru, 2, 3, true}, {Cell::lstm, 2, 3, true},
                            {Cell::lstm, 2, 3, true, 2}};
    for (const Layer& layer : layers) {
        const Cell cell = layer.cell;
        const Index G = gate_count(cell), P = layer.P, Y = layer.Y(), n = 4;
        Random random(3);
        const auto draw = [&](Index size) {
            naive::Numbers v(size);
            for (double& a : v) a = random.uniform();
            return v;
        };
        naive::Weights w{layer, draw(G * 6), draw(G * 3 * Y), draw(G * 3), draw(G * 3), draw(P * 3)};
        naive::Numbers x = draw(n * 2), dy = draw(n * Y);
        naive::States start{draw(Y), draw(3)}, ends{draw(Y), draw(3)};
        const auto loss = [&] {
            const naive::Run run = naive::forward(w, n, x, start);
            double sum = 0;
            for (Index i = 0; i < n * Y; ++i) sum += run.y[i] * dy[i];
            for (Index j = 0; j < Y; ++j) sum += run.h[n][j] * ends.h[j];
            for (Index u = 0; u < 3 && cell == Cell::lstm; ++u) sum += run.c[n][u] * ends.c[u];
            return sum;
        };
        naive::Weights dw = naive::zeros_like(w);
        naive::States d = ends;
        if (cell != Cell::lstm) d.c.assign(3, 0);
        const naive::Numbers dx = naive::backward(w, naive::forward(w, n, x, start), dy, d, dw);
        const auto differences = [&](naive::Numbers& of, const naive::Numbers& expected) {
            for (std::size_t i = 0; i < of.size(); ++i) {
                const double was = of[i], step = 1e-6;
                of[i] = was + step;
                const double up = loss();
                of[i] = was - step;
                const double slope = (up - loss()) / (2 * step);
                of[i] = was;
                CHECK(std::fabs(slope - expected[i]) < 1e-7);
            }
        };
        trying = std::string("naive ") + name_of(cell);
        differences(x, dx);
        differences(w.W, dw.W);
        differences(w.U, dw.U);
        differences(w.b, dw.b);
        differences(w.v, dw.v);
        differences(w.R, dw.R);
        differences(start.h, d.h);
        if (cell == Cell::lstm) differences(start.c, d.c);
    }
}

}  // namespace elman::tests
