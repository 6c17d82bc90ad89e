#include "batch.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <stdexcept>
#include <string>

namespace elman {

Index gradient_chunks(Index B) {
    // 16 rows keep the kernels' register blocks full; 16 chunks feed 16 threads.
    return std::clamp<Index>(B / 16, 1, 16);
}

Batch::Batch(Index B, Index T, const std::int64_t* lengths, Index chunks)
    : B_(B), T_(T), lengths_(lengths), order_(B) {
    std::iota(order_.begin(), order_.end(), Index(0));
    if (lengths) {
        for (Index b = 0; b < B; ++b) {
            if (lengths[b] < 0 || lengths[b] > T) {
                throw std::out_of_range("lengths: got " + std::to_string(lengths[b]) +
                                        ", expected 0 to T = " + std::to_string(T));
            }
        }
        in_order_ = std::is_sorted(lengths, lengths + B, std::greater<std::int64_t>());
    }
    if (!in_order_) {
        std::stable_sort(order_.begin(), order_.end(),
                         [&](Index a, Index b) { return lengths[a] > lengths[b]; });
    }
    chunks = std::max<Index>(1, std::min(chunks, B));
    counts_.resize(chunks * (2 * T + 1));
    chunk_.reserve(chunks);
    Index before = 0;
    for (Index i = 0; i < chunks; ++i) {
        const Index begin = i * B / chunks, rows = (i + 1) * B / chunks - begin;
        const Index steps = rows ? length(order_[begin]) : 0;
        Index* const active = counts_.data() + i * (2 * T + 1);
        Index* const offset = active + T;
        Index running = rows, sum = 0;
        for (Index t = 0; t < steps; ++t) {
            while (running && length(order_[begin + running - 1]) <= t) --running;
            active[t] = running;
            offset[t] = sum;
            sum += running;
        }
        offset[steps] = sum;
        chunk_.push_back({rows, steps, active, offset});
        first_row_.push_back(begin);
        first_step_.push_back(before);
        before += sum;
    }
    first_step_.push_back(before);
}

}  // namespace elman
