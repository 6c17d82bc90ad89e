// The recurrences and the standard network in double, one sequence and one number at a time.
// Nothing here is shared with the kernels; finite differences check it in turn.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "api.h"

namespace elman::naive {

using Numbers = std::vector<double>;

inline double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// One layer in one direction. W (G*H, I), U (G*H, Y), b and v (G*H) of x and of h, or empty; R (P, H)
// of an lstm that projects, or empty.
struct Weights {
    Layer layer;
    Numbers W, U, b, v, R = {};
};

struct States {
    Numbers h, c;  // (Y), and the lstm's (H)
};

// One sequence: what goes in, and everything on its way.
struct Run {
    Index steps;
    Numbers x;                     // (steps, I)
    std::vector<Numbers> h, c;     // after s steps of travel, s = 0 .. steps
    std::vector<Numbers> a, un;    // activated gates (G*H) of step s of travel; the gru's U_n h (H)
    std::vector<Numbers> out;      // the cell's output (H), before it is projected
    Numbers y;                     // (steps, Y)
    double kink = 1;               // relu: how near to 0 any of its arguments is
};

inline Index place(const Layer& layer, Index steps, Index s) {
    return layer.reverse ? steps - 1 - s : s;
}

inline Run forward(const Weights& w, Index steps, const Numbers& x, const States& start) {
    const Index I = w.layer.I, H = w.layer.H, G = gate_count(w.layer.cell);
    const Index P = w.layer.P, Y = w.layer.Y();
    Run run{steps, x, {start.h}, {start.c}, {}, {}, {}, Numbers(steps * Y), 1};
    for (Index s = 0; s < steps; ++s) {
        const Index t = place(w.layer, steps, s);
        const Numbers& h = run.h.back();
        Numbers a(G * H), un(H), next(H), c(H);
        for (Index u = 0; u < H; ++u) {
            double fromx[4], fromh[4];
            for (Index g = 0; g < G; ++g) {
                const Index n = g * H + u;
                fromx[g] = w.b.empty() ? 0 : w.b[n];
                fromh[g] = w.v.empty() ? 0 : w.v[n];
                for (Index i = 0; i < I; ++i) fromx[g] += w.W[n * I + i] * x[t * I + i];
                for (Index j = 0; j < Y; ++j) fromh[g] += w.U[n * Y + j] * h[j];
            }
            switch (w.layer.cell) {
                case Cell::rnn_tanh: next[u] = a[u] = std::tanh(fromx[0] + fromh[0]); break;
                case Cell::rnn_relu:
                    next[u] = a[u] = std::max(0.0, fromx[0] + fromh[0]);
                    run.kink = std::min(run.kink, std::fabs(fromx[0] + fromh[0]));
                    break;
                case Cell::gru: {
                    const double r = a[u] = sigmoid(fromx[0] + fromh[0]);
                    const double z = a[H + u] = sigmoid(fromx[1] + fromh[1]);
                    const double n = a[2 * H + u] = std::tanh(fromx[2] + r * fromh[2]);
                    un[u] = fromh[2];
                    next[u] = (1 - z) * n + z * h[u];
                    break;
                }
                case Cell::lstm: {
                    const double i = a[u] = sigmoid(fromx[0] + fromh[0]);
                    const double f = a[H + u] = sigmoid(fromx[1] + fromh[1]);
                    const double g = a[2 * H + u] = std::tanh(fromx[2] + fromh[2]);
                    const double o = a[3 * H + u] = sigmoid(fromx[3] + fromh[3]);
                    c[u] = f * run.c.back()[u] + i * g;
                    next[u] = o * std::tanh(c[u]);
                    break;
                }
            }
        }
        run.out.push_back(next);
        if (P) next.assign(P, 0);
        for (Index p = 0; p < P; ++p) {
            for (Index u = 0; u < H; ++u) next[p] += w.R[p * H + u] * run.out.back()[u];
        }
        std::copy(next.begin(), next.end(), run.y.begin() + t * Y);
        run.a.push_back(a);
        run.un.push_back(un);
        run.h.push_back(next);
        run.c.push_back(c);
    }
    return run;
}

// Backpropagation through time. dy (steps, Y); `last` are the gradients of the final states, and
// become those of the initial ones; `into` is added to; returns dx (steps, I).
inline Numbers backward(const Weights& w, const Run& run, const Numbers& dy, States& last,
                        Weights& into) {
    const Index I = w.layer.I, H = w.layer.H, G = gate_count(w.layer.cell), steps = run.steps;
    const Index P = w.layer.P, Y = w.layer.Y();
    Numbers dx(steps * I);
    for (Index s = steps - 1; s >= 0; --s) {
        const Index t = place(w.layer, steps, s);
        const Numbers &a = run.a[s], &h = run.h[s];
        Numbers dfromx(G * H), dfromh(G * H), dh(Y), dout(Y);
        for (Index j = 0; j < Y; ++j) dout[j] = last.h[j] + dy[t * Y + j];
        if (P) {
            const Numbers dp = dout;
            dout.assign(H, 0);
            for (Index p = 0; p < P; ++p) {
                for (Index u = 0; u < H; ++u) {
                    dout[u] += dp[p] * w.R[p * H + u];
                    into.R[p * H + u] += dp[p] * run.out[s][u];
                }
            }
        }
        for (Index u = 0; u < H; ++u) {
            const double d = dout[u];
            double dz[4] = {};  // of the sum of both sides
            switch (w.layer.cell) {
                case Cell::rnn_tanh: dz[0] = d * (1 - a[u] * a[u]); break;
                case Cell::rnn_relu: dz[0] = a[u] > 0 ? d : 0; break;
                case Cell::gru: {
                    const double r = a[u], z = a[H + u], n = a[2 * H + u];
                    dz[2] = d * (1 - z) * (1 - n * n);
                    dz[1] = d * (h[u] - n) * z * (1 - z);
                    dz[0] = dz[2] * run.un[s][u] * r * (1 - r);
                    dh[u] = d * z;
                    break;
                }
                case Cell::lstm: {
                    const double i = a[u], f = a[H + u], g = a[2 * H + u], o = a[3 * H + u];
                    const double tc = std::tanh(run.c[s + 1][u]);
                    const double dc = last.c[u] + d * o * (1 - tc * tc);
                    dz[0] = dc * g * i * (1 - i);
                    dz[1] = dc * run.c[s][u] * f * (1 - f);
                    dz[2] = dc * i * (1 - g * g);
                    dz[3] = d * tc * o * (1 - o);
                    last.c[u] = dc * f;
                    break;
                }
            }
            for (Index g = 0; g < G; ++g) {
                const bool gated = w.layer.cell == Cell::gru && g == 2;
                dfromx[g * H + u] = dz[g];
                dfromh[g * H + u] = gated ? dz[g] * a[u] : dz[g];
            }
        }
        for (Index n = 0; n < G * H; ++n) {
            for (Index i = 0; i < I; ++i) {
                dx[t * I + i] += dfromx[n] * w.W[n * I + i];
                into.W[n * I + i] += dfromx[n] * run.x[t * I + i];
            }
            for (Index j = 0; j < Y; ++j) {
                dh[j] += dfromh[n] * w.U[n * Y + j];
                into.U[n * Y + j] += dfromh[n] * h[j];
            }
            if (!w.b.empty()) into.b[n] += dfromx[n];
            if (!w.v.empty()) into.v[n] += dfromh[n];
        }
        last.h = dh;
    }
    return dx;
}

inline Weights zeros_like(const Weights& w) {
    return {w.layer, Numbers(w.W.size()), Numbers(w.U.size()), Numbers(w.b.size()),
            Numbers(w.v.size()), Numbers(w.R.size())};
}

// The standard network. Masks multiply: 0, or what a kept number is multiplied by; empty: no mask.
struct Model {
    Network net;
    std::vector<Numbers> embeddings;  // (size, width) each
    std::vector<Weights> layers;  // layers * directions
    Numbers V, output_bias;       // (K, W), (K)

    // Every parameter, in the order of network_call.h.
    std::vector<Numbers*> parameters() {
        std::vector<Numbers*> all;
        for (Numbers& table : embeddings) all.push_back(&table);
        for (Weights& w : layers) all.insert(all.end(), {&w.W, &w.U, &w.b, &w.v});
        all.insert(all.end(), {&V, &output_bias});
        return all;
    }
};

struct Sequence {
    Index steps;
    Numbers x;                         // (steps, numbers)
    std::vector<std::int64_t> tokens;  // (steps, tables)
    Numbers mask_input;                // (steps, I - numbers)
    std::vector<Numbers> masks;        // (steps, W) each
    Numbers mask_output;               // (W), or (steps, W) if every
    std::vector<std::int64_t> codes;   // one, or (steps)
    Numbers values;                    // (K), or (steps, K)
    std::vector<States> first;         // (layers * directions), or none for zeros
    std::vector<States>* last = nullptr;  // written: the states after the last step
};

struct Target {
    Loss loss;
    Numbers class_weight;  // (K), or empty
    double smoothing = 0;
    double scale = 1;  // what an item counts, before its class weight
};

inline double weight_of(const Target& target, Index k) {
    return target.class_weight.empty() ? 1 : target.class_weight[k];
}

inline Numbers times(const Numbers& x, const Numbers& mask) {
    Numbers result = x;
    for (std::size_t n = 0; n < mask.size(); ++n) result[n] = mask[n] ? x[n] * mask[n] : 0;
    return result;
}

// Step t's part of a mask (steps, width), which may be empty.
inline Numbers step_of(const Numbers& mask, Index t, Index width) {
    if (mask.empty()) return mask;
    return Numbers(mask.begin() + t * width, mask.begin() + (t + 1) * width);
}

// The loss of one item and, in the place of its logits, their gradient.
inline double item_loss(const Target& target, Index K, double* z, std::int64_t code,
                        const double* values) {
    double loss = 0;
    if (target.loss == Loss::squared_error) {
        for (Index k = 0; k < K; ++k) {
            const double e = z[k] - values[k];
            loss += e * e * target.scale;
            z[k] = 2 * e * target.scale;
        }
        return loss;
    }
    if (code < 0) {
        std::fill(z, z + K, 0.0);
        return 0;
    }
    double sum = 0;
    const double highest = *std::max_element(z, z + K);
    for (Index k = 0; k < K; ++k) sum += std::exp(z[k] - highest);
    Numbers p(K), share(K);
    double all = 0;
    for (Index k = 0; k < K; ++k) {
        p[k] = std::exp(z[k] - highest) / sum;
        share[k] = target.smoothing / double(K) * weight_of(target, k);
        if (k == code) share[k] += (1 - target.smoothing) * weight_of(target, k);
        all += share[k];
        loss -= share[k] * (z[k] - highest - std::log(sum)) * target.scale;
    }
    for (Index k = 0; k < K; ++k) z[k] = (all * p[k] - share[k]) * target.scale;
    return loss;
}

// One sequence's loss, added gradients (unless null), and logits (items, K).
inline double run_model(const Model& model, const Sequence& in, const Target& target, Model* into,
                        Numbers* logits) {
    const Network& net = model.net;
    const Index H = net.H, W = net.width(), K = net.K, n = in.steps, D = net.directions;
    const States zeros{Numbers(H), Numbers(H)};
    Numbers x = in.x;
    const Index numbers = net.numbers(), tables = net.table_count;
    if (tables) {
        x.clear();
        for (Index t = 0; t < n; ++t) {
            x.insert(x.end(), in.x.begin() + t * numbers, in.x.begin() + (t + 1) * numbers);
            Numbers embedded;
            for (Index k = 0; k < tables; ++k) {
                const Index width = net.tables[k].width;
                const auto row = model.embeddings[k].begin() + in.tokens[t * tables + k] * width;
                embedded.insert(embedded.end(), row, row + width);
            }
            embedded = times(embedded, step_of(in.mask_input, t, net.I - numbers));
            x.insert(x.end(), embedded.begin(), embedded.end());
        }
    }
    std::vector<Run> runs;
    Numbers top;
    for (Index l = 0; l < net.layers; ++l) {
        top.assign(n * W, 0);
        for (Index d = 0; d < D; ++d) {
            const States& start = in.first.empty() ? zeros : in.first[l * D + d];
            runs.push_back(forward(model.layers[l * D + d], n, x, start));
            if (in.last) in.last->push_back({runs.back().h.back(), runs.back().c.back()});
            for (Index t = 0; t < n; ++t) {
                for (Index u = 0; u < H; ++u) top[t * W + d * H + u] = runs.back().y[t * H + u];
            }
        }
        x = l + 1 < net.layers && !in.masks.empty() ? times(top, in.masks[l]) : top;
    }
    const Index items = net.every() ? n : 1;
    Numbers read(items * W), ties(W);
    for (Index w = 0; w < W; ++w) {
        const Index d = w / H;
        if (net.readout == Readout::last) read[w] = top[(d ? 0 : n - 1) * W + w];
        if (net.readout == Readout::max) read[w] = top[w];
        for (Index t = 0; t < n; ++t) {
            if (net.every()) read[t * W + w] = top[t * W + w];
            if (net.readout == Readout::mean) read[w] += top[t * W + w] / double(n);
            if (net.readout == Readout::max) read[w] = std::max(read[w], top[t * W + w]);
        }
        for (Index t = 0; t < n; ++t) ties[w] += top[t * W + w] == read[w];
    }
    const Numbers seen = times(read, in.mask_output);
    Numbers z(items * K);
    for (Index m = 0; m < items; ++m) {
        for (Index k = 0; k < K; ++k) {
            z[m * K + k] = model.output_bias[k];
            for (Index w = 0; w < W; ++w) z[m * K + k] += model.V[k * W + w] * seen[m * W + w];
        }
    }
    if (logits) *logits = z;
    double loss = 0;
    for (Index m = 0; m < items; ++m) {
        loss += item_loss(target, K, &z[m * K], in.codes.empty() ? 0 : in.codes[m],
                          in.values.empty() ? nullptr : &in.values[m * K]);
    }
    if (!into) return loss;

    Numbers d_seen(items * W);
    for (Index m = 0; m < items; ++m) {
        for (Index k = 0; k < K; ++k) {
            into->output_bias[k] += z[m * K + k];
            for (Index w = 0; w < W; ++w) {
                into->V[k * W + w] += z[m * K + k] * seen[m * W + w];
                d_seen[m * W + w] += z[m * K + k] * model.V[k * W + w];
            }
        }
    }
    const Numbers d_read = times(d_seen, in.mask_output);
    Numbers dy(n * W);
    for (Index w = 0; w < W; ++w) {
        for (Index t = 0; t < n; ++t) {
            double& d = dy[t * W + w];
            switch (net.readout) {
                case Readout::last: d = t == (w / H ? 0 : n - 1) ? d_read[w] : 0; break;
                case Readout::mean: d = d_read[w] / double(n); break;
                case Readout::max: d = top[t * W + w] == read[w] ? d_read[w] / ties[w] : 0; break;
                case Readout::every: d = d_read[t * W + w]; break;
            }
        }
    }
    for (Index l = net.layers - 1; l >= 0; --l) {
        Numbers dx;
        for (Index d = 0; d < D; ++d) {
            Numbers mine(n * H);
            for (Index t = 0; t < n; ++t) {
                for (Index u = 0; u < H; ++u) mine[t * H + u] = dy[t * W + d * H + u];
            }
            States last{Numbers(H), Numbers(H)};
            const Index i = l * D + d;
            const Numbers part = backward(model.layers[i], runs[i], mine, last, into->layers[i]);
            dx.resize(part.size());
            for (std::size_t j = 0; j < part.size(); ++j) dx[j] += part[j];
        }
        if (l > 0) dy = in.masks.empty() ? dx : times(dx, in.masks[l - 1]);
        for (Index t = 0; l == 0 && tables && t < n; ++t) {
            const auto begin = dx.begin() + t * net.I + numbers;
            const Numbers d = times(Numbers(begin, begin + net.I - numbers),
                                    step_of(in.mask_input, t, net.I - numbers));
            for (Index k = 0, at = 0; k < tables; ++k) {
                const Index width = net.tables[k].width, token = in.tokens[t * tables + k];
                for (Index i = 0; i < width; ++i) into->embeddings[k][token * width + i] += d[at++];
            }
        }
    }
    return loss;
}

}  // namespace elman::naive
