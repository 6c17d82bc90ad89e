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

Batch::Batch(Index rows, Index steps, const std::int64_t* lengths, Index chunks)
    : rows_(rows), steps_(steps), lengths_(lengths), order_(rows) {
    std::iota(order_.begin(), order_.end(), Index(0));
    if (lengths) {
        for (Index b = 0; b < rows; ++b) {
            if (lengths[b] < 0 || lengths[b] > steps) {
                throw std::out_of_range("lengths: got " + std::to_string(lengths[b]) +
                                        ", expected 0 to T = " + std::to_string(steps));
            }
        }
        sorted_ = std::is_sorted(lengths, lengths + rows, std::greater<std::int64_t>());
    }
    if (!sorted_) {
        // Stable: the order of equal rows, and with it the order of every sum, is the caller's.
        std::stable_sort(order_.begin(), order_.end(),
                         [&](Index a, Index b) { return lengths[a] > lengths[b]; });
    }
    chunks = std::max<Index>(1, std::min(chunks, rows));
    counts_.resize(chunks * (2 * steps + 1));
    chunk_.reserve(chunks);
    first_row_.reserve(chunks);
    steps_before_.reserve(chunks + 1);
    Index before = 0;
    for (Index i = 0; i < chunks; ++i) {
        const Index begin = i * rows / chunks, chunk_rows = (i + 1) * rows / chunks - begin;
        const Index chunk_steps = chunk_rows ? length(order_[begin]) : 0;
        Index* const active = counts_.data() + i * (2 * steps + 1);
        Index* const offset = active + steps;
        Index running = chunk_rows, sum = 0;
        for (Index t = 0; t < chunk_steps; ++t) {
            while (running && length(order_[begin + running - 1]) <= t) --running;
            active[t] = running;
            offset[t] = sum;
            sum += running;
        }
        offset[chunk_steps] = sum;
        chunk_.push_back({chunk_rows, chunk_steps, active, offset});
        first_row_.push_back(begin);
        steps_before_.push_back(before);
        before += sum;
    }
    steps_before_.push_back(before);
}

}  // namespace elman
