#include "step_call.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "network_call.h"
#include "pool.h"
#include "work.h"

namespace elman {
namespace {

// Small arrays of a call, without an allocation: kept by the thread, as its scratch memory is.
struct Buffers {
    std::vector<Index> row, offset;
    std::vector<std::int64_t> tokens;
    std::vector<double> last;
    std::vector<char> seen;
    Arena numbers, encoded, logits;
};
Buffers& buffers() {
    thread_local Buffers buffers;
    return buffers;
}

}  // namespace

template <class T>
void probabilities(Outputs kind, Index rows, Index K, const T* z, double* to) {
    for (Index r = 0; r < rows; ++r, z += K, to += K) {
        if (kind == Outputs::sigmoid) {
            for (Index k = 0; k < K; ++k) {
                // Of the two forms the one whose exponential cannot overflow.
                const double e = std::exp(-std::fabs(double(z[k])));
                to[k] = (z[k] >= 0 ? 1 : e) / (1 + e);
                if (z[k] != z[k]) to[k] = double(z[k]);
            }
            continue;
        }
        double most = -INFINITY, sum = 0;
        for (Index k = 0; k < K; ++k) most = double(z[k]) > most ? double(z[k]) : most;
        for (Index k = 0; k < K; ++k) sum += to[k] = std::exp(double(z[k]) - most);
        for (Index k = 0; k < K; ++k) to[k] /= sum;
    }
}

template <class T>
Stepper<T>::Stepper(const Network& net, const std::vector<const T*>& parameters)
    : kernels_(active_kernels<T>()),
      tables_(net.tables, net.tables + net.table_count),
      parameters_(parameters) {
    for (Index k = 0; k < net.table_count; ++k) {
        const Index size = tables_[k].size * tables_[k].width;
        embeddings_.emplace_back(parameters[k], parameters[k] + size);
        parameters_[k] = embeddings_[k].data();
    }
    weights_.net = net;
    weights_.net.tables = tables_.data();
    layers_ = pack(net, parameters_.data(), false,
                   memory_.elements<T>(packed_size<T>(net, false)), &weights_);
    weights_.layers = layers_.data();
}

template <class T>
void Stepper<T>::advance(const StepRows& rows, const T* x, const std::int64_t* tokens,
                         const StepState<T>& state, T* logits, int threads) const {
    const Network& net = weights_.net;
    const Index numbers = net.numbers(), width = net.layers * net.H;
    Buffers& b = buffers();
    b.row.resize(rows.count);
    b.offset.resize(rows.count);
    for (Index r = 0; r < rows.count; ++r) {
        b.row[r] = rows.row ? rows.row[r] : r;
        b.offset[r] = b.row[r] * width;
        ++state.steps[b.row[r]];
    }
    const Index* const row = b.row.data();
    const Index* const offset = b.offset.data();
    const Index chunks = forward_chunks(rows.count, threads);
    // Also on one thread: it flushes denormal numbers to zero, as for whole sequences.
    const double work = step_work(net) * double(rows.count);
    parallel(int(chunks), worthwhile_threads(work, threads), [&](int i) {
        const Index first = i * rows.count / chunks;  // of the rows that take a step
        StepChunk<T> s;
        s.weights = &weights_;
        s.rows = (i + 1) * rows.count / chunks - first;
        s.row = row + first;
        s.state_offset = offset + first;
        s.x = x + first * numbers;
        s.tokens = tokens + first * net.table_count;
        s.h = state.h;
        s.c = state.c;
        s.pooled = state.pooled;
        s.steps = state.steps;
        s.logits = logits + first * net.K;
        s.scratch = workspace().scratch.elements<T>(kernels_.step_scratch(s));
        kernels_.step(s);
        workspace().scratch.trim();
    });
}

// Each row at most once: two steps of one row at once would be a race.
static void check_rows(const StepRows& rows, Index count) {
    if (!rows.row) {
        if (rows.count == count) return;
        throw std::out_of_range("x: got " + std::to_string(rows.count) + " rows, expected " +
                                std::to_string(count));
    }
    std::vector<char>& seen = buffers().seen;
    seen.assign(count, 0);
    for (Index r = 0; r < rows.count; ++r) {
        const std::int64_t row = rows.row[r];
        if (row < 0 || row >= count) {
            throw std::out_of_range("rows: got " + std::to_string(row) + ", expected 0 to " +
                                    std::to_string(count - 1));
        }
        if (seen[row]++) throw std::out_of_range("rows: got " + std::to_string(row) + " twice");
    }
}

template <class T>
void Stepper<T>::step(const StepRows& rows, const T* x, const std::int64_t* tokens,
                      const StepState<T>& state, T* logits, int threads) const {
    const Network& net = weights_.net;
    const Index numbers = net.numbers(), columns = numbers + net.table_count;
    check_rows(rows, state.rows);
    if (!net.table_count) return advance(rows, x, nullptr, state, logits, threads);
    Buffers& b = buffers();
    b.tokens.resize(rows.count * net.table_count);
    T* const to = b.numbers.elements<T>(rows.count * numbers);
    for (Index r = 0; r < rows.count; ++r) {
        for (Index k = 0; k < net.table_count; ++k) {
            b.tokens[r * net.table_count + k] =
                tokens ? checked_token(tokens[r], tables_[k])
                       : checked_token(x[r * columns + numbers + k], tables_[k], numbers + k);
        }
        for (Index i = 0; i < numbers; ++i) to[r * numbers + i] = x[r * columns + i];
    }
    advance(rows, to, b.tokens.data(), state, logits, threads);
}

template <class T>
bool Stepper<T>::step_raw(const NumberEncoder& e, const OutputTransform& outputs,
                          const StepRows& rows, const double* x, const std::int64_t* tokens,
                          const StepState<T>& state, double* last, double* to,
                          int threads) const {
    const Network& net = weights_.net;
    const Index C = e.channels(), numbers = net.numbers(), K = net.K;
    const Index codes = tokens ? 0 : net.table_count, columns = C + codes;
    check_rows(rows, state.rows);
    Buffers& b = buffers();
    b.last.resize(rows.count * C);
    T* const encoded = b.encoded.elements<T>(rows.count * (numbers + codes));
    for (Index r = 0; r < rows.count; ++r) {
        const double* const from = x + r * columns;
        const double* const before = last + (rows.row ? rows.row[r] : r) * C;
        T* const into = encoded + r * (numbers + codes);
        T* mask = into + C;
        for (Index i = 0; i < C; ++i) {
            const bool gap = std::isnan(from[i]);
            const double value = gap ? before[i] : from[i];
            const float scaled = float((value - e.mean[i]) / e.scale[i]);
            if ((gap && std::isnan(e.fill[i])) || !std::isfinite(scaled)) return false;
            b.last[r * C + i] = value;
            into[i] = T(scaled);
            if (!std::isnan(e.fill[i])) *mask++ = T(!gap);
        }
        for (Index k = 0; k < codes; ++k) into[numbers + k] = T(from[C + k]);
    }
    T* const logits = b.logits.elements<T>(rows.count * K);
    step(rows, encoded, tokens, state, logits, threads);
    for (Index r = 0; r < rows.count; ++r) {
        std::copy_n(b.last.data() + r * C, C, last + (rows.row ? rows.row[r] : r) * C);
    }
    if (outputs.kind != Outputs::scaled) {
        probabilities(outputs.kind, rows.count, K, logits, to);
        return true;
    }
    for (Index i = 0; i < rows.count * K; ++i) {
        to[i] = double(logits[i]) * outputs.scale[i % K] + outputs.mean[i % K];
    }
    return true;
}

#define ELMAN_INSTANTIATE(T)                                                       \
    template void probabilities<T>(Outputs, Index, Index, const T*, double*);      \
    template class Stepper<T>;
ELMAN_INSTANTIATE(float)
ELMAN_INSTANTIATE(double)

}  // namespace elman
