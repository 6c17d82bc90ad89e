#include "batch.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <new>
#include <numeric>

namespace elman {

Arena::~Arena() { std::free(memory_); }

void* Arena::reserve(std::size_t n) {
    if (n <= size_) return memory_;
    std::free(memory_);
    memory_ = nullptr;
    size_ = 0;
    constexpr std::size_t huge = std::size_t(2) << 20;
    const bool large = n >= huge;
    const std::size_t unit = large ? huge : 64;
    n = (n + unit - 1) / unit * unit;
    if (posix_memalign(&memory_, unit, n) != 0) {
        memory_ = nullptr;
        throw std::bad_alloc();
    }
#if defined(MADV_HUGEPAGE)
    if (large) madvise(memory_, n, MADV_HUGEPAGE);  // a hint: a refusal changes nothing
#endif
    size_ = n;
    return memory_;
}

Index gradient_chunks(Index B) {
    // 16 rows keep the kernels' register blocks full; 16 chunks feed 16 threads.
    return std::clamp<Index>(B / 16, 1, 16);
}

Batch::Batch(Index B, Index T, const std::int64_t* lengths, Index chunks)
    : B_(B), T_(T), lengths_(lengths), order_(B) {
    std::iota(order_.begin(), order_.end(), Index(0));
    if (lengths) {
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
