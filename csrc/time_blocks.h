// A chunk's time steps cut into blocks, within which everything that does not depend on the state
// is one matrix product over all rows of the block.
#pragma once

#include "api.h"
#include "simd.h"

namespace elman::ELMAN_ISA {

// How many packed rows a block has at most: their dz, x and h should stay in a core's L2 cache,
// hence 256 KB. At least 192, because backward reads and writes the weight gradients once a block:
// at H = 512 those are 8 MB, and blocks of 48 rows cost 10 % (docs/log.md). At most 512, which
// bounds the scratch memory of narrow layers. A block's end is where a sum over rows is stored and
// taken up again, so this must not depend on the width of a vector: gradients would differ in bits
// between AVX2 and AVX-512.
template <class T>
Index block_rows(Index width, Index I, Index H) {
    const Index rows = 262144 / (Index(sizeof(T)) * (width + I + H));
    return rows < 192 ? 192 : rows > 512 ? 512 : rows;
}

// The blocks of a chunk from its first step to its last, or the other way round (down).
class TimeBlocks {
  public:
    TimeBlocks(const Chunk& chunk, Index rows, bool down)
        : chunk_(chunk), rows_(rows), down_(down), begin_(down ? chunk.steps : 0), end_(begin_) {}

    // Go to the next block; false after the last.
    bool next() {
        if (down_) {
            if (begin_ == 0) return false;
            end_ = begin_--;
            while (begin_ > 0 && size(begin_ - 1, end_) <= rows_) --begin_;
        } else {
            if (end_ == chunk_.steps) return false;
            begin_ = end_++;
            while (end_ < chunk_.steps && size(begin_, end_ + 1) <= rows_) ++end_;
        }
        return true;
    }
    Index begin() const { return begin_; }  // first step
    Index end() const { return end_; }      // past the last step
    Index steps() const { return end_ - begin_; }
    Index rows() const { return size(begin_, end_); }
    Index first_row() const { return chunk_.offset[begin_]; }  // as packed in the chunk
    // The i-th step to be computed.
    Index step(Index i) const { return down_ ? end_ - 1 - i : begin_ + i; }

  private:
    Index size(Index t0, Index t1) const { return chunk_.offset[t1] - chunk_.offset[t0]; }
    const Chunk& chunk_;
    const Index rows_;
    const bool down_;
    Index begin_, end_;
};

}  // namespace elman::ELMAN_ISA
