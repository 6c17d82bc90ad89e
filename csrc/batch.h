// A ragged batch cut into chunks of rows, each of which one thread can run alone.
//
// Rows are ordered longest first, so that at every step the running ones come first: a chunk's step
// is then one matrix product over a prefix of its rows, without a mask. How many chunks there are
// depends on the batch alone: weight gradients are summed within each chunk and the chunks' sums in
// order, so their bits do not depend on the number of threads.
#pragma once

#include <cstdint>
#include <vector>

#include "api.h"

namespace elman {

class Batch {
  public:
    // lengths: (rows), 0 to steps, or null if all rows have all steps. Raises std::out_of_range.
    Batch(Index rows, Index steps, const std::int64_t* lengths, Index chunks);

    Index rows() const { return rows_; }    // B
    Index steps() const { return steps_; }  // T, padding included
    Index length(Index row) const { return lengths_ ? lengths_[row] : steps_; }
    Index valid_steps() const { return steps_before_.back(); }  // the sum of all lengths

    Index chunks() const { return Index(chunk_.size()); }
    const Chunk& chunk(Index i) const { return chunk_[i]; }
    // Row 0 of chunk i is the batch's row order()[first_row(i)]; the chunk's others follow it.
    Index first_row(Index i) const { return first_row_[i]; }
    // Valid steps in all chunks before chunk i.
    Index steps_before(Index i) const { return steps_before_[i]; }
    // The batch's rows, longest first; sorted() if that is the order in which they came.
    const std::vector<Index>& order() const { return order_; }
    bool sorted() const { return sorted_; }

  private:
    Index rows_, steps_;
    const std::int64_t* lengths_;
    std::vector<Index> order_, first_row_, steps_before_, counts_;
    std::vector<Chunk> chunk_;
    bool sorted_ = true;
};

// The number of chunks for B rows when gradients are summed.
Index gradient_chunks(Index B);

}  // namespace elman
