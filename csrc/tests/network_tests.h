// The whole network in one call against the naive one: every readout, loss, cell and direction.
#pragma once

#include "check.h"
#include "layer_tests.h"
#include "network_call.h"
#include "step_call.h"

namespace elman::tests {

struct NetworkCase {
    Network net;
    Index B, T;
    bool ragged, dropout;
    Loss loss;
    bool weighted;  // classes weighed and smoothed
    bool bias;
    std::uint64_t seed;
    bool states = false;  // with states before the first step

    std::string text(const char* isa, bool is_double) const {
        const char* const readouts[] = {"last", "mean", "max", "every"};
        return std::string(isa) + (is_double ? " double " : " float ") + name_of(net.cell) + " " +
               readouts[int(net.readout)] + " I=" + std::to_string(net.I) + " H=" +
               std::to_string(net.H) + " layers=" + std::to_string(net.layers) + " directions=" +
               std::to_string(net.directions) + " K=" + std::to_string(net.K) + " numbers=" +
               std::to_string(net.numbers()) + " tables=" + std::to_string(net.table_count) +
               " B=" + std::to_string(B) + " T=" +
               std::to_string(T) + " ragged " + std::to_string(ragged) + " dropout " +
               std::to_string(dropout) + " loss " + std::to_string(int(loss)) + " weighted " +
               std::to_string(weighted) + " bias " + std::to_string(bias) + " states " +
               std::to_string(states) + " seed " +
               std::to_string(seed);
    }
};

// A network, a batch, and what the call writes.
template <class T>
class NetworkProblem {
  public:
    explicit NetworkProblem(const NetworkCase& c) : c_(c), random_(c.seed) {
        const Network& net = c.net;
        const Index W = net.width(), G = gate_count(net.cell);
        model_.net = net;
        for (Index k = 0; k < net.table_count; ++k) {
            model_.embeddings.push_back(draw(net.tables[k].size * net.tables[k].width, 1));
        }
        for (Index l = 0; l < net.layers; ++l) {
            for (Index d = 0; d < net.directions; ++d) {
                const Layer layer = net.layer(l, d);
                naive::Weights w{layer, draw(G * net.H * layer.I, 1 / std::sqrt(double(layer.I))),
                                 draw(G * net.H * net.H, 1 / std::sqrt(double(net.H))), {}, {}, {}};
                if (c.bias) w.b = draw(G * net.H, 0.5), w.v = draw(G * net.H, 0.5);
                model_.layers.push_back(w);
            }
        }
        model_.V = draw(net.K * W, 1 / std::sqrt(double(W)));
        model_.output_bias = draw(net.K, 0.5);
        lengths_.reset(new std::int64_t[c.ragged ? c.B : 0]);
        for (Index b = 0; c.ragged && b < c.B; ++b) lengths_[b] = 1 + random_.below(c.T);
        draw_batch();
        if (c.states) {
            for (Tensor<T>* t : {&h0_, &c0_}) {
                *t = Tensor<T>(net.layers * net.directions, c.B, net.H, Layout(c.seed % 3));
                t->fill(random_, 1);
            }
        }
        target_.loss = c.loss;
        if (c.weighted && c.loss == Loss::cross_entropy) {
            target_.smoothing = double(T(0.1));
            target_.class_weight = draw(net.K, 0.5);
            for (double& w : target_.class_weight) w += 1;
            class_weight_ = tensor(target_.class_weight);
        }
    }

    double run(int threads, bool train) {
        const Network& net = c_.net;
        NetworkCall<T> b;
        b.net = net;
        b.rows = c_.B;
        b.steps = c_.T;
        b.lengths = c_.ragged ? lengths_.get() : nullptr;
        parameters_.clear();
        gradients.clear();
        for (const naive::Numbers* p : model_.parameters()) {
            parameters_.push_back(p->empty() ? Tensor<T>() : tensor(*p));
            gradients.push_back(p->empty() ? Tensor<T>() : Tensor<T>(1, 1, Index(p->size())));
            b.parameters.push_back(parameters_.back().data());
            if (train) b.gradients.push_back(gradients.back().data());
        }
        b.x = x_.constant();
        b.tokens = tokens_.constant();
        b.mask_input = mask_input_.constant();
        for (const auto& mask : masks_) b.masks.push_back(mask.constant());
        b.mask_output = mask_output_.constant();
        b.keep = keep_;
        logits = Tensor<T>(net.every() ? c_.T : 1, c_.B, net.K, Layout::batch_first);
        b.logits = logits.strided();
        const bool lstm = net.cell == Cell::lstm;
        b.h0 = h0_.constant();
        if (lstm) b.c0 = c0_.constant();
        for (Tensor<T>* t : {&h_n, &c_n}) {
            *t = Tensor<T>(net.layers * net.directions, c_.B, net.H, Layout(c_.seed % 3));
        }
        b.h_n = h_n.strided();
        if (lstm) b.c_n = c_n.strided();
        b.threads = threads;
        b.loss = c_.loss;
        b.codes = codes_.constant();
        b.values = values_.constant();
        b.class_weight = class_weight_.data();
        b.smoothing = T(target_.smoothing);
        return run_network<T>(b);
    }

    void compare(double loss) {
        const Network& net = c_.net;
        naive::Model into = model_;
        for (naive::Numbers* p : into.parameters()) std::fill(p->begin(), p->end(), 0.0);
        target_.scale = 1 / total_weight();
        double expected = 0;
        Close scores, slopes, ends;
        bool zeros = true;
        for (Index r = 0; r < c_.B; ++r) {
            naive::Numbers z;
            std::vector<naive::States> last;
            naive::Sequence s = sequence(r);
            s.last = &last;
            expected += naive::run_model(model_, s, target_, &into, &z);
            for (Index i = 0; i < h_n.steps; ++i) {
                for (Index u = 0; u < net.H; ++u) {
                    ends.add(double(h_n.at(i, r, u)), last[i].h[u]);
                    if (net.cell == Cell::lstm) ends.add(double(c_n.at(i, r, u)), last[i].c[u]);
                }
            }
            for (Index t = 0; t < logits.steps; ++t) {
                for (Index k = 0; k < net.K; ++k) {
                    if (t < length(r)) scores.add(double(logits.at(t, r, k)), z[t * net.K + k]);
                    else zeros = zeros && logits.at(t, r, k) == 0;
                }
            }
        }
        CHECK(zeros);
        CHECK(scores.error() < tolerance<T>);
        CHECK(ends.error() < tolerance<T>);
        CHECK(h_n.gaps_intact() && c_n.gaps_intact());
        CHECK(std::fabs(loss - expected) < tolerance<T> * std::fmax(1, expected));
        for (std::size_t i = 0; i < gradients.size(); ++i) {
            const naive::Numbers& e = *into.parameters()[i];
            for (std::size_t n = 0; n < e.size(); ++n) {
                slopes.add(double(gradients[i].data()[n]), e[n]);
            }
        }
        CHECK(slopes.error() < tolerance<T>);
    }

    // After `run`, forward only: one step at a time, the rows in any order, and the same bits.
    void compare_steps(int threads) {
        const Network& net = c_.net;
        std::vector<const T*> parameters;
        for (const Tensor<T>& p : parameters_) parameters.push_back(p.data());
        const Stepper<T> stepper(net, parameters);
        for (Tensor<T>& p : parameters_) {  // it has its own copy
            if (p) std::fill(p.data(), p.data() + p.steps * p.rows * p.width, nothing<T>());
        }
        const auto zeros = [&](Index width, T value) {
            Tensor<T> t(1, c_.B, width);
            std::fill(t.data(), t.data() + c_.B * width, value);
            return t;
        };
        const bool maximum = net.readout == Readout::max;
        Tensor<T> h = zeros(net.layers * net.H, 0), c = zeros(net.layers * net.H, 0);
        for (Index r = 0; c_.states && r < c_.B; ++r) {
            for (Index l = 0; l < net.layers; ++l) {
                for (Index u = 0; u < net.H; ++u) {
                    h.at(0, r, l * net.H + u) = h0_.at(l, r, u);
                    c.at(0, r, l * net.H + u) = c0_.at(l, r, u);
                }
            }
        }
        Tensor<T> pooled = zeros(net.H, maximum ? -std::numeric_limits<T>::infinity() : T(0));
        std::vector<std::int64_t> steps(c_.B, 0);
        StepState<T> state{c_.B, h.data(), net.cell == Cell::lstm ? c.data() : nullptr,
                           maximum || net.readout == Readout::mean ? pooled.data() : nullptr,
                           steps.data()};
        bool same = true;
        for (Index t = 0; t < c_.T; ++t) {
            std::vector<std::int64_t> rows;
            for (Index r = c_.B - 1; r >= 0; --r) {
                if (t < length(r)) rows.push_back(r);
            }
            const Index count = Index(rows.size());
            if (!count) break;
            Tensor<T> x, out(1, count, net.K);
            Tensor<std::int64_t> ids;
            if (tokens_) ids = Tensor<std::int64_t>(1, count, 1);
            else x = Tensor<T>(1, count, x_.width);
            for (Index i = 0; i < count; ++i) {
                if (tokens_) ids.at(0, i, 0) = tokens_.at(t, rows[i], 0);
                for (Index k = 0; k < x.width; ++k) x.at(0, i, k) = x_.at(t, rows[i], k);
            }
            stepper.step({count, rows.data()}, x.data(), ids.data(), state, out.data(), threads);
            for (Index i = 0; i < count; ++i) {
                if (!net.every() && t + 1 < length(rows[i])) continue;
                const T* const whole = &logits.at(net.every() ? t : 0, rows[i], 0);
                same = same && std::memcmp(whole, &out.at(0, i, 0), net.K * sizeof(T)) == 0;
            }
        }
        CHECK(same);
        for (Index r = 0; r < c_.B; ++r) CHECK(steps[r] == length(r));
    }

    // The naive gradients against finite differences.
    void check_naive() {
        naive::Model into = model_;
        for (naive::Numbers* p : into.parameters()) std::fill(p->begin(), p->end(), 0.0);
        target_.scale = 1 / total_weight();
        const auto loss = [&](naive::Model* to) {
            double sum = 0;
            for (Index r = 0; r < c_.B; ++r) {
                sum += naive::run_model(model_, sequence(r), target_, to, nullptr);
            }
            return sum;
        };
        loss(&into);
        for (std::size_t i = 0; i < into.parameters().size(); ++i) {
            naive::Numbers& p = *model_.parameters()[i];
            for (std::size_t n = 0; n < p.size(); ++n) {
                const double was = p[n], step = 1e-6;
                p[n] = was + step;
                const double up = loss(nullptr);
                p[n] = was - step;
                const double slope = (up - loss(nullptr)) / (2 * step);
                p[n] = was;
                CHECK(std::fabs(slope - (*into.parameters()[i])[n]) < 1e-7);
            }
        }
    }

    bool same_bits(const NetworkProblem& other) const {
        bool same = logits.same_bits(other.logits) && h_n.same_bits(other.h_n) &&
                    c_n.same_bits(other.c_n);
        for (std::size_t i = 0; i < gradients.size(); ++i) {
            same = same && gradients[i].same_bits(other.gradients[i]);
        }
        return same;
    }

    Tensor<T> logits, h_n, c_n;
    std::vector<Tensor<T>> gradients;

  private:
    Index length(Index r) const { return c_.ragged ? lengths_[r] : c_.T; }

    // Numbers that are the same in T.
    naive::Numbers draw(Index n, double scale) {
        naive::Numbers v(n);
        for (double& a : v) a = double(T(scale * random_.uniform()));
        return v;
    }
    static Tensor<T> tensor(const naive::Numbers& v) {
        Tensor<T> t(1, 1, Index(v.size()));
        for (std::size_t i = 0; i < v.size(); ++i) t.data()[i] = T(v[i]);
        return t;
    }
    // A tensor whose numbers at valid steps come from f; `nothing` past the ends.
    template <class V, class F>
    Tensor<V> random_rows(Index steps, Index width, F f) {
        Tensor<V> t(steps, c_.B, width, Layout(c_.seed % 3));
        for (Index s = 0; s < steps; ++s) {
            for (Index r = 0; r < c_.B; ++r) {
                for (Index i = 0; i < width && (steps == 1 || s < length(r)); ++i) {
                    t.at(s, r, i) = f();
                }
            }
        }
        return t;
    }
    void draw_batch() {
        const Network& net = c_.net;
        const Index items = net.every() ? c_.T : 1, W = net.width();
        const auto draw_mask = [&] { return std::uint8_t(random_.below(4) != 0); };
        const Index numbers = net.numbers(), tables = net.table_count;
        if (tables == 1 && !numbers && c_.seed % 2) {  // ids of their own; else codes in x
            const auto draw_token = [&] { return random_.below(net.tables[0].size); };
            tokens_ = random_rows<std::int64_t>(c_.T, 1, draw_token);
        } else {
            Index column = 0;
            x_ = random_rows<T>(c_.T, numbers + tables, [&] {
                const Index k = column++ % (numbers + tables) - numbers;
                return k < 0 ? T(random_.uniform()) : T(random_.below(net.tables[k].size));
            });
        }
        if (c_.dropout) {
            keep_ = T(1 / 0.75);
            if (tables) {
                mask_input_ = random_rows<std::uint8_t>(c_.T, net.I - numbers, draw_mask);
            }
            for (Index l = 0; l + 1 < net.layers; ++l) {
                masks_.push_back(random_rows<std::uint8_t>(c_.T, W, draw_mask));
            }
            mask_output_ = random_rows<std::uint8_t>(items, W, draw_mask);
        }
        if (c_.loss == Loss::cross_entropy) {
            codes_ = random_rows<std::int64_t>(items, 1, [&] {
                return random_.below(5) ? random_.below(net.K) : -1;
            });
            codes_.at(0, 0, 0) = 0;  // one label at least
        } else {
            values_ = random_rows<T>(items, net.K, [&] { return T(random_.uniform()); });
        }
    }
    naive::Numbers multipliers(const Tensor<std::uint8_t>& mask, Index r, Index steps) const {
        naive::Numbers m;
        for (Index t = 0; mask && t < steps; ++t) {
            for (const double one : mask.row(t, r)) m.push_back(one ? double(keep_) : 0);
        }
        return m;
    }
    naive::Sequence sequence(Index r) const {
        const Index n = length(r), items = c_.net.every() ? n : 1;
        naive::Sequence s;
        s.steps = n;
        for (Index t = 0; t < n; ++t) {
            if (tokens_) s.tokens.push_back(tokens_.at(t, r, 0));
            for (Index i = 0; i < x_.width; ++i) {
                const double value = double(x_.at(t, r, i));
                if (i < c_.net.numbers()) s.x.push_back(value);
                else s.tokens.push_back(std::int64_t(value));
            }
        }
        for (Index i = 0; c_.states && i < h0_.steps; ++i) {
            s.first.push_back({h0_.row(i, r), c0_.row(i, r)});
        }
        s.mask_input = multipliers(mask_input_, r, n);
        for (const auto& mask : masks_) s.masks.push_back(multipliers(mask, r, n));
        s.mask_output = multipliers(mask_output_, r, items);
        for (Index t = 0; t < items; ++t) {
            if (codes_) s.codes.push_back(codes_.at(t, r, 0));
            for (Index k = 0; k < values_.width; ++k) {
                s.values.push_back(double(values_.at(t, r, k)));
            }
        }
        return s;
    }
    double total_weight() const {
        double sum = 0;
        for (Index r = 0; r < c_.B; ++r) {
            for (Index t = 0; t < (c_.net.every() ? length(r) : 1); ++t) {
                const std::int64_t code = codes_ ? codes_.at(t, r, 0) : 0;
                if (!codes_) sum += double(c_.net.K);
                else if (code >= 0) sum += naive::weight_of(target_, code);
            }
        }
        return sum;
    }

    const NetworkCase c_;
    Random random_;
    naive::Model model_;
    naive::Target target_;
    std::unique_ptr<std::int64_t[]> lengths_;
    Tensor<T> x_, values_, class_weight_, h0_, c0_;
    Tensor<std::int64_t> tokens_, codes_;
    Tensor<std::uint8_t> mask_input_, mask_output_;
    std::vector<Tensor<std::uint8_t>> masks_;
    std::vector<Tensor<T>> parameters_;
    T keep_ = 1;
};

// What a network may read: numbers; ids, or a column of codes; numbers and columns of codes.
struct Inputs {
    Index I;
    std::vector<Table> tables;
};
inline const Inputs inputs[] = {
    {1, {}}, {4, {}}, {5, {{7, 5}}}, {3, {{2, 1}, {5, 2}}}, {9, {{7, 4}, {3, 2}}},
};

inline Network network(Cell cell, const Inputs& in, Index H, Index layers, Index directions,
                       Index K, Readout readout) {
    return {cell, in.I, H, layers, directions, K, readout, in.tables.data(),
            Index(in.tables.size())};
}

constexpr Readout readouts[] = {Readout::last, Readout::mean, Readout::max, Readout::every};

inline NetworkCase draw_network(Cell cell, Readout readout, std::uint64_t seed) {
    Random random(seed * 4 + std::uint64_t(readout));
    NetworkCase c;
    c.net = network(cell, inputs[random.below(5)], 1 + random.below(20), 1 + random.below(3),
                    1 + random.below(2), 1 + random.below(5), readout);
    c.B = random.below(3) ? 1 + random.below(12) : 33;
    c.T = 1 + random.below(7);
    c.ragged = random.below(3);
    c.dropout = random.below(2);
    c.loss = random.below(3) ? Loss::cross_entropy : Loss::squared_error;
    c.weighted = random.below(2);
    c.bias = random.below(4);
    c.seed = seed;
    c.states = random.below(2);
    return c;
}

template <class T>
void test_networks(int count) {
    for (const Cell cell : cells) {
        // Where relu's gradient jumps, rounding decides: not a question for many random cases.
        if (cell == Cell::rnn_relu && sizeof(T) == 4) continue;
        for (const Readout readout : readouts) {
            for (int seed = 0; seed < count; ++seed) {
                const NetworkCase c = draw_network(cell, readout, std::uint64_t(seed));
                NetworkProblem<T> p(c), only(c);
                trying = c.text(active_isa().name, sizeof(T) == 8);
                p.compare(p.run(1 + seed % 3, true));
                only.run(1 + seed % 2, false);
                CHECK(only.logits.same_bits(p.logits) && only.h_n.same_bits(p.h_n) &&
                      only.c_n.same_bits(p.c_n));
                if (c.net.directions == 1 && !c.dropout) only.compare_steps(1 + seed % 3);
            }
        }
    }
}

inline void test_naive_network() {
    for (const Readout readout : readouts) {
        for (const Inputs& in : inputs) {
            const bool embeds = !in.tables.empty();
            NetworkCase c;
            c.net = network(embeds ? Cell::gru : Cell::lstm, in, 3, 2, 2, 3, readout);
            c.B = 3;
            c.T = 4;
            c.ragged = c.dropout = c.weighted = c.bias = true;
            c.loss = embeds ? Loss::cross_entropy : Loss::squared_error;
            c.seed = 1;
            c.states = true;
            trying = "naive " + c.text("", true);
            NetworkProblem<double>(c).check_naive();
        }
    }
}

}  // namespace elman::tests
