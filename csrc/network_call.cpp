#include "network_call.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "pool.h"
#include "sum.h"
#include "tables.h"
#include "work.h"

namespace elman {
namespace {

// Multiplications and additions of one step of one row, forward.
double step_work(const Network& net) {
    double work = 0;
    for (Index l = 0; l < net.layers; ++l) {
        work += double(net.directions) * step_work(net.layer(l, 0));
    }
    return work;
}

// Packed weights of all layers and the output.
template <class T>
std::vector<Packed<T>> pack(const NetworkBatch<T>& b, bool backward, NetworkCall<T>* call) {
    const Kernels<T>& kernels = table().of<T>();
    const Network& net = b.net;
    const auto products = [&](Index l) {
        return Products{true, backward, backward && (l > 0 || net.vocabulary > 0)};
    };
    Index size = kernels.output_size(net.K, net.width(), backward);
    for (Index l = 0; l < net.layers; ++l) {
        size += net.directions * kernels.packed_size(net.layer(l, 0), products(l));
    }
    T* into = workspace().weights.numbers<T>(size);
    std::vector<Packed<T>> packed;
    const T* const* p = b.parameters.data();
    if (net.vocabulary) call->embedding = *p++;
    for (Index l = 0; l < net.layers; ++l) {
        for (Index d = 0; d < net.directions; ++d, p += 4) {
            const Layer layer = net.layer(l, d);
            packed.push_back(kernels.pack(layer, {p[0], p[1], p[2], p[3]}, products(l), into));
            into += kernels.packed_size(layer, products(l));
        }
    }
    kernels.pack_output(net.K, net.width(), p[0], p[1], backward, into, call);
    return packed;
}

void check_tokens(const Batch& batch, const Strided<const std::int64_t>& tokens, Index vocabulary) {
    for (Index b = 0; b < batch.B(); ++b) {
        for (Index t = 0; t < batch.length(b); ++t) {
            const std::int64_t token = tokens.data[t * tokens.step + b * tokens.row];
            if (token < 0 || token >= vocabulary) {
                throw std::out_of_range("x: got token " + std::to_string(token) +
                                        ", expected 0 to " + std::to_string(vocabulary - 1));
            }
        }
    }
}

// What all items count together: their number, or the sum of their classes' weights.
template <class T>
double total_weight(const NetworkBatch<T>& b, const Batch& batch) {
    if (b.loss == Loss::squared_error) {
        const Index items = b.net.every() ? batch.steps() : batch.B();
        return double(items) * double(b.net.K);
    }
    double sum = 0;
    for (Index r = 0; r < batch.B(); ++r) {
        for (Index t = 0; t < (b.net.every() ? batch.length(r) : 1); ++t) {
            const std::int64_t code = b.codes.data[t * b.codes.step + r * b.codes.row];
            if (code >= b.net.K) {
                throw std::out_of_range("target: got class " + std::to_string(code) +
                                        ", expected below " + std::to_string(b.net.K));
            }
            if (code >= 0) sum += b.class_weight ? double(b.class_weight[code]) : 1.0;
        }
    }
    return sum;
}

template <class T>
void unpack(const NetworkBatch<T>& b, const T* from) {
    const Kernels<T>& kernels = table().of<T>();
    const Network& net = b.net;
    T* const* p = b.gradients.data() + (net.vocabulary ? 1 : 0);
    for (Index l = 0; l < net.layers; ++l) {
        for (Index d = 0; d < net.directions; ++d, p += 4) {
            const Layer layer = net.layer(l, d);
            kernels.unpack_gradients(layer, from, p[0], p[1], p[2], p[3]);
            from += kernels.gradient_size(layer);
        }
    }
    kernels.unpack_output(net.K, net.width(), from, p[0], p[1]);
}

// Gradient of the embedding: steps that hold the same token add up, in the order of the batch.
template <class T>
void add_embedded(const NetworkBatch<T>& b, const Batch& batch, const T* d_embedded) {
    const Index I = b.net.I;
    T* const into = b.gradients[0];
    std::fill(into, into + b.net.vocabulary * I, T(0));
    const Places<const std::int64_t> tokens(b.tokens, batch);
    for (Index i = 0; i < batch.chunks(); ++i) {
        const Chunk& chunk = batch.chunk(i);
        const View<const std::int64_t> view = tokens.view(i);
        for (Index t = 0; t < chunk.steps; ++t) {
            for (Index r = 0; r < chunk.active[t]; ++r, d_embedded += I) {
                T* const row = into + *view.at(t, r) * I;
                for (Index n = 0; n < I; ++n) row[n] += d_embedded[n];
            }
        }
    }
}

}  // namespace

template <class T>
double run_batch(const NetworkBatch<T>& b) {
    const Kernels<T>& kernels = table().of<T>();
    const Network& net = b.net;
    const bool train = !b.gradients.empty();
    const Batch batch(b.B, b.T_, b.lengths,
                      train ? gradient_chunks(b.B) : forward_chunks(b.B, b.threads));
    for (Index r = 0; r < b.B; ++r) {
        if (batch.length(r) < 1) throw std::out_of_range("lengths: got 0, expected at least 1");
    }
    if (net.vocabulary) check_tokens(batch, b.tokens, net.vocabulary);
    NetworkCall<T> shared;
    const std::vector<Packed<T>> packed = pack(b, train, &shared);
    shared.net = net;
    shared.layers = packed.data();
    shared.keep = b.keep;
    shared.loss = b.loss;
    shared.class_weight = b.class_weight;
    shared.smoothing = b.smoothing;

    const Places<const T> x(b.x, batch), values(b.values, batch);
    const Places<const std::int64_t> tokens(b.tokens, batch), codes(b.codes, batch);
    const Places<const std::uint8_t> mask_input(b.mask_input, batch),
        mask_output(b.mask_output, batch);
    std::vector<Places<const std::uint8_t>> masks;
    for (const auto& mask : b.masks) masks.emplace_back(mask, batch);
    const Places<T> logits(b.logits, batch);
    std::vector<View<const std::uint8_t>> mask_views;
    for (Index i = 0; i < batch.chunks(); ++i) {
        for (const auto& mask : masks) mask_views.push_back(mask.view(i));
    }

    Index size = 0;
    T* d_embedded = nullptr;
    std::vector<double> totals(batch.chunks(), 0.0);
    if (train) {
        for (Index l = 0; l < net.layers; ++l) {
            size += net.directions * kernels.gradient_size(net.layer(l, 0));
        }
        size += kernels.output_gradient_size(net.K, net.width());
        if (net.vocabulary) d_embedded = workspace().embedded.numbers<T>(batch.steps() * net.I);
        shared.scale = 1.0 / total_weight(b, batch);
    }

    OrderedSum<T> sum(size, batch.chunks());
    const double work = step_work(net) * double(batch.steps()) * (train ? 3 : 1);
    parallel(int(batch.chunks()), worthwhile_threads(work, b.threads), [&](int i) {
        NetworkCall<T> c = shared;
        c.chunk = batch.chunk(i);
        c.x = x.view(i);
        c.tokens = tokens.view(i);
        c.mask_input = mask_input.view(i);
        c.masks = masks.empty() ? nullptr : mask_views.data() + i * Index(masks.size());
        c.mask_output = mask_output.view(i);
        c.logits = logits.view(i);
        c.codes = codes.view(i);
        c.values = values.view(i);
        if (train) {
            c.gradients = sum.begin();
            c.total = &totals[i];
            if (d_embedded) c.d_embedded = d_embedded + batch.first_step(i) * net.I;
        }
        Arena& scratch = workspace().scratch;
        c.scratch = scratch.numbers<T>(kernels.network_scratch(c));
        kernels.network(c);
        scratch.trim();
        if (train) sum.end(i, c.gradients);
    });

    workspace().weights.trim();
    if (net.every() && b.lengths) zero_padding(batch, b.logits, net.K);
    if (!train) return 0;
    unpack(b, sum.total());
    if (net.vocabulary) add_embedded(b, batch, d_embedded);
    workspace().embedded.trim();
    double total = 0;
    for (const double t : totals) total += t;
    return total;
}

template <class T>
double norm(const T* x, Index n) {
    constexpr Index ways = 16;  // independent sums, so that the compiler may add them side by side
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

template double run_batch<float>(const NetworkBatch<float>&);
template double run_batch<double>(const NetworkBatch<double>&);
template double norm<float>(const float*, Index);
template double norm<double>(const double*, Index);

}  // namespace elman
