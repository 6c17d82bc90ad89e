#include "network_call.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "dispatch.h"
#include "pool.h"
#include "sum.h"
#include "views.h"
#include "work.h"

namespace elman {

double step_work(const Network& net) {
    double work = 0;
    for (Index l = 0; l < net.layers; ++l) {
        work += double(net.directions) * step_work(net.layer(l, 0));
    }
    return work;
}

// Of layer l. The first one's input needs a gradient only where embeddings do.
static Products products(const Network& net, bool backward, Index l) {
    return {true, backward, backward && (l > 0 || net.table_count > 0)};
}

template <class T>
Index packed_size(const Network& net, bool backward) {
    const Kernels<T>& kernels = active_kernels<T>();
    Index size = kernels.output_size(net.K, net.width(), backward);
    for (Index l = 0; l < net.layers; ++l) {
        size += net.directions * kernels.packed_size(net.layer(l, 0), products(net, backward, l));
    }
    return size;
}

template <class T>
std::vector<PackedWeights<T>> pack(const Network& net, const T* const* p, bool backward, T* into,
                                   NetworkChunk<T>* chunk) {
    const Kernels<T>& kernels = active_kernels<T>();
    std::vector<PackedWeights<T>> packed;
    chunk->embeddings = p;
    p += net.table_count;
    for (Index l = 0; l < net.layers; ++l) {
        const Products needed = products(net, backward, l);
        for (Index d = 0; d < net.directions; ++d, p += 4) {
            const Layer layer = net.layer(l, d);
            packed.push_back(kernels.pack(layer, {p[0], p[1], p[2], p[3]}, needed, into));
            into += kernels.packed_size(layer, needed);
        }
    }
    kernels.pack_output(net.K, net.width(), p[0], p[1], backward, into, chunk);
    return packed;
}

// A whole number as one, anything else as it is.
template <class N>
static std::string text(N value) {
    return value == std::floor(value) && std::fabs(double(value)) < 1e15
               ? std::to_string(std::int64_t(value))
               : std::to_string(value);
}

// Fractions are cut off, as by Tensor.long().
template <class N>
std::int64_t checked_token(N value, const Table& table, Index column) {
    if (value > N(-1) && value < N(table.size)) return std::int64_t(value);
    throw std::out_of_range(
        (column < 0 ? "x: got token " + text(value)
                    : "x: got category code " + text(value) + " in column " +
                          std::to_string(column)) +
        ", expected 0 to " + std::to_string(table.size - 1));
}

namespace {

void check_lengths(const Batch& batch) {
    for (Index r = 0; r < batch.rows(); ++r) {
        if (batch.length(r) < 1) throw std::out_of_range("lengths: got 0, expected at least 1");
    }
}

// Every valid step's tokens (N, table_count), as the chunks are packed. Here and not in Python: a
// token indexes memory, and the range of a large batch costs a pass over it.
template <class T>
void read_tokens(const NetworkCall<T>& b, const Batch& batch, std::int64_t* into) {
    const Network& net = b.net;
    const Index numbers = net.numbers();
    for (Index i = 0; i < batch.chunks(); ++i) {
        const Chunk& chunk = batch.chunk(i);
        const Index* const row = batch.order().data() + batch.first_row(i);
        for (Index t = 0; t < chunk.steps; ++t) {
            for (Index r = 0; r < chunk.active[t]; ++r) {
                if (b.tokens.data) {
                    *into++ = checked_token(*b.tokens.at(t, row[r]), net.tables[0]);
                    continue;
                }
                const T* const step = b.x.at(t, row[r]);
                for (Index k = 0; k < net.table_count; ++k) {
                    *into++ = checked_token(step[numbers + k], net.tables[k], numbers + k);
                }
            }
        }
    }
}

// What a mean loss is divided by: the number of items, or the sum of their classes' weights.
template <class T>
double total_weight(const NetworkCall<T>& b, const Batch& batch) {
    if (b.loss == Loss::squared_error) {
        const Index items = b.net.every() ? batch.valid_steps() : batch.rows();
        return double(items) * double(b.net.K);
    }
    double sum = 0;
    for (Index r = 0; r < batch.rows(); ++r) {
        for (Index t = 0; t < (b.net.every() ? batch.length(r) : 1); ++t) {
            const std::int64_t code = *b.codes.at(t, r);
            if (code >= b.net.K) {
                throw std::out_of_range("target: got class " + std::to_string(code) +
                                        ", expected below " + std::to_string(b.net.K));
            }
            if (code >= 0) sum += b.class_weight ? double(b.class_weight[code]) : 1.0;
        }
    }
    return sum;
}

// Elements of the gradients of all layers and the output.
template <class T>
Index gradient_size(const Network& net) {
    const Kernels<T>& kernels = active_kernels<T>();
    Index size = kernels.output_gradient_size(net.K, net.width());
    for (Index l = 0; l < net.layers; ++l) {
        size += net.directions * kernels.gradient_size(net.layer(l, 0));
    }
    return size;
}

template <class T>
void unpack(const NetworkCall<T>& b, const T* from) {
    const Kernels<T>& kernels = active_kernels<T>();
    const Network& net = b.net;
    T* const* p = b.gradients.data() + net.table_count;
    for (Index l = 0; l < net.layers; ++l) {
        for (Index d = 0; d < net.directions; ++d, p += 4) {
            const Layer layer = net.layer(l, d);
            kernels.unpack_gradients(layer, from, {p[0], p[1], p[2], p[3]});
            from += kernels.gradient_size(layer);
        }
    }
    kernels.unpack_output(net.K, net.width(), from, p[0], p[1]);
}

// Gradients of the embeddings: steps that hold the same token add up, in the order of the chunks.
template <class T>
void add_embedded(const NetworkCall<T>& b, Index steps, const std::int64_t* tokens,
                  const T* d_embedded) {
    const Network& net = b.net;
    Index column = net.numbers();
    for (Index k = 0; k < net.table_count; ++k) {
        const Index size = net.tables[k].size, width = net.tables[k].width;
        T* const into = b.gradients[k];
        std::fill(into, into + size * width, T(0));
        for (Index n = 0; n < steps; ++n) {
            const T* const from = d_embedded + n * net.I + column;
            T* const row = into + tokens[n * net.table_count + k] * width;
            for (Index u = 0; u < width; ++u) row[u] += from[u];
        }
        column += width;
    }
}

// States (layers * directions, B, H) of every layer and direction as each chunk reads or writes them.
template <class T>
class StateViews {
  public:
    StateViews(const Strided<T>& states, const Batch& batch, Index layers)
        : layers_(states.data ? layers : 0) {
        for (Index l = 0; l < layers_; ++l) {
            // Each has a single step; the strides between its rows are the caller's.
            all_.emplace_back(Strided<T>{states.at(l, 0), 0, states.row_stride}, batch);
        }
        for (Index i = 0; i < batch.chunks(); ++i) {
            for (const auto& one : all_) views_.push_back(one.view(i));
        }
    }

    const View<T>* chunk(Index i) const { return layers_ ? views_.data() + i * layers_ : nullptr; }

  private:
    const Index layers_;
    std::vector<ChunkViews<T>> all_;
    std::vector<View<T>> views_;  // (chunks, layers_)
};

// The caller's tensors as each chunk reads and writes them.
template <class T>
class NetworkViews {
  public:
    NetworkViews(const NetworkCall<T>& b, const Batch& batch)
        : x_(b.x, batch),
          values_(b.values, batch),
          codes_(b.codes, batch),
          mask_input_(b.mask_input, batch),
          mask_output_(b.mask_output, batch),
          logits_(b.logits, batch),
          h0_(b.h0, batch, b.net.layers * b.net.directions),
          c0_(b.c0, batch, b.net.layers * b.net.directions),
          h_n_(b.h_n, batch, b.net.layers * b.net.directions),
          c_n_(b.c_n, batch, b.net.layers * b.net.directions),
          masks_(Index(b.masks.size())) {
        for (const auto& mask : b.masks) between_.emplace_back(mask, batch);
        for (Index i = 0; i < batch.chunks(); ++i) {
            for (const auto& mask : between_) mask_views_.push_back(mask.view(i));
        }
    }

    void set(Index i, NetworkChunk<T>* c) const {
        c->x = x_.view(i);
        c->mask_input = mask_input_.view(i);
        c->masks = masks_ ? mask_views_.data() + i * masks_ : nullptr;
        c->mask_output = mask_output_.view(i);
        c->logits = logits_.view(i);
        c->h0 = h0_.chunk(i);
        c->c0 = c0_.chunk(i);
        c->h_n = h_n_.chunk(i);
        c->c_n = c_n_.chunk(i);
        c->codes = codes_.view(i);
        c->values = values_.view(i);
    }

  private:
    const ChunkViews<const T> x_, values_;
    const ChunkViews<const std::int64_t> codes_;
    const ChunkViews<const std::uint8_t> mask_input_, mask_output_;
    const ChunkViews<T> logits_;
    const StateViews<const T> h0_, c0_;
    const StateViews<T> h_n_, c_n_;
    const Index masks_;
    std::vector<ChunkViews<const std::uint8_t>> between_;  // masks between layers
    std::vector<View<const std::uint8_t>> mask_views_;     // their views, (chunks, masks_)
};

}  // namespace

template <class T>
double run_network(const NetworkCall<T>& b) {
    const Kernels<T>& kernels = active_kernels<T>();
    const Network& net = b.net;
    const bool train = !b.gradients.empty();
    const Batch batch(b.rows, b.steps, b.lengths,
                      train ? gradient_chunks(b.rows) : forward_chunks(b.rows, b.threads));
    check_lengths(batch);
    std::int64_t* tokens = nullptr;
    if (net.table_count) {
        const Index count = batch.valid_steps() * net.table_count;
        tokens = workspace().tokens.elements<std::int64_t>(count);
        read_tokens(b, batch, tokens);
    }
    NetworkChunk<T> shared;
    const std::vector<PackedWeights<T>> packed =
        pack(net, b.parameters.data(), train,
             workspace().weights.elements<T>(packed_size<T>(net, train)), &shared);
    shared.net = net;
    shared.layers = packed.data();
    shared.keep = b.keep;
    shared.loss = b.loss;
    shared.class_weight = b.class_weight;
    shared.smoothing = b.smoothing;

    const NetworkViews<T> views(b, batch);
    T* d_embedded = nullptr;
    std::vector<double> totals(batch.chunks(), 0.0);
    if (train) {
        if (net.table_count) {
            d_embedded = workspace().embedded.elements<T>(batch.valid_steps() * net.I);
        }
        shared.scale = 1.0 / total_weight(b, batch);
    }
    OrderedSum<T> sum(train ? gradient_size<T>(net) : 0, batch.chunks());
    const double work = step_work(net) * double(batch.valid_steps()) * (train ? 3 : 1);
    parallel(int(batch.chunks()), worthwhile_threads(work, b.threads), [&](int i) {
        NetworkChunk<T> c = shared;
        c.chunk = batch.chunk(i);
        views.set(i, &c);
        if (tokens) c.tokens = tokens + batch.steps_before(i) * net.table_count;
        if (train) {
            c.gradients = sum.begin();
            c.total = &totals[i];
            if (d_embedded) c.d_embedded = d_embedded + batch.steps_before(i) * net.I;
        }
        Arena& scratch = workspace().scratch;
        c.scratch = scratch.elements<T>(kernels.network_scratch(c));
        kernels.network(c);
        scratch.trim();
        if (train) sum.end(i, c.gradients);
    });

    workspace().weights.trim();
    if (net.every() && b.lengths) zero_padding(batch, b.logits, net.K);
    if (train) {
        unpack(b, sum.total());
        // After the chunks and on one thread: rows of different chunks may hold the same token.
        if (tokens) add_embedded(b, batch.valid_steps(), tokens, d_embedded);
    }
    workspace().embedded.trim();
    workspace().tokens.trim();
    double total = 0;
    for (const double t : totals) total += t;
    return total;
}

template <class T>
double norm(const T* x, Index n) {
    constexpr Index ways = 16;  // independent sums: the compiler may not reorder one sum of its own
    double sums[ways] = {};
    Index i = 0;
    for (; i + ways <= n; i += ways) {
        for (Index k = 0; k < ways; ++k) sums[k] += double(x[i + k]) * double(x[i + k]);
    }
    for (; i < n; ++i) sums[0] += double(x[i]) * double(x[i]);
    double total = 0;
    for (const double s : sums) total += s;
    return std::sqrt(total);
}

#define ELMAN_INSTANTIATE(T)                                                                  \
    template Index packed_size<T>(const Network&, bool);                                      \
    template std::vector<PackedWeights<T>> pack<T>(const Network&, const T* const*, bool, T*, \
                                                   NetworkChunk<T>*);                         \
    template std::int64_t checked_token<T>(T, const Table&, Index);                           \
    template double run_network<T>(const NetworkCall<T>&);                                    \
    template double norm<T>(const T*, Index);
ELMAN_INSTANTIATE(float)
ELMAN_INSTANTIATE(double)
template std::int64_t checked_token<std::int64_t>(std::int64_t, const Table&, Index);

}  // namespace elman
