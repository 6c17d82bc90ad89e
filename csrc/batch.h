// A ragged batch cut into chunks of rows, each of which a thread can run alone.
//
// Rows are ordered longest first, so that at every step those still running come first. How many
// chunks there are depends on the batch alone: weight gradients are summed in each chunk and the
// chunks' sums in order, so their bits do not depend on the number of threads.
#pragma once

#include <cstdint>
#include <vector>

#include "api.h"

namespace elman {

class Batch {
  public:
    // lengths: (B) from 0 to T, or null if all rows have T steps. Raises std::out_of_range.
    Batch(Index B, Index T, const std::int64_t* lengths, Index chunks);

    Index chunks() const { return Index(chunk_.size()); }
    // Rows and steps of chunk i.
    const Chunk& chunk(Index i) const { return chunk_[i]; }
    // The batch's row that is row 0 of chunk i; the next ones follow in `order`.
    Index first_row(Index i) const { return first_row_[i]; }
    // Valid steps in all chunks before chunk i; chunks() gives all of them.
    Index first_step(Index i) const { return first_step_[i]; }
    // Rows of the batch, longest first.
    const std::vector<Index>& order() const { return order_; }
    bool in_order() const { return in_order_; }  // rows are as long as, or longer than, the next
    Index steps() const { return first_step_.back(); }  // valid steps of all rows
    Index length(Index row) const { return lengths_ ? lengths_[row] : T_; }
    Index B() const { return B_; }
    Index T() const { return T_; }

  private:
    Index B_, T_;
    const std::int64_t* lengths_;
    std::vector<Index> order_, first_row_, first_step_, counts_;
    std::vector<Chunk> chunk_;
    bool in_order_ = true;
};

// Into how many chunks B rows are cut when gradients are wanted.
Index gradient_chunks(Index B);

}  // namespace elman
