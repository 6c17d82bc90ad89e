// A caller's tensor as the kernels see it, chunk by chunk.
#pragma once

#include <algorithm>
#include <vector>

#include "batch.h"

namespace elman {

// A tensor (steps, rows, width): consecutive numbers in a row, any strides between rows and steps.
template <class T>
struct Strided {
    T* data = nullptr;  // null: none
    Index step = 0, row = 0;
};

template <class T>
class Places {
  public:
    Places(const Strided<T>& tensor, const Batch& batch) : tensor_(tensor), batch_(&batch) {
        if (!tensor.data) return;
        // If all rows run to the end in the batch's own order, its steps lie packed already.
        packed_ = batch.chunks() == 1 && batch.in_order() && tensor.row > 0 &&
                  tensor.step == tensor.row * batch.B() &&
                  batch.first_step(1) == batch.T() * batch.B();
        if (packed_) return;
        step_.resize(batch.T());
        row_.resize(batch.B());
        for (Index t = 0; t < batch.T(); ++t) step_[t] = t * tensor.step;
        for (Index r = 0; r < batch.B(); ++r) row_[r] = batch.order()[r] * tensor.row;
    }

    // The rows of chunk i.
    View<T> view(Index i) const {
        if (!tensor_.data) return {};
        if (packed_) return {tensor_.data, batch_->chunk(i).offset, nullptr, tensor_.row};
        return {tensor_.data, step_.empty() ? nullptr : step_.data(),
                row_.data() + batch_->first_row(i), 0};
    }

  private:
    Strided<T> tensor_;
    const Batch* batch_;
    std::vector<Index> step_, row_;
    bool packed_ = false;
};

// Zeros past each row's end.
template <class T>
void zero_padding(const Batch& batch, const Strided<T>& tensor, Index width) {
    if (!tensor.data) return;
    for (Index b = 0; b < batch.B(); ++b) {
        for (Index t = batch.length(b); t < batch.T(); ++t) {
            T* row = tensor.data + t * tensor.step + b * tensor.row;
            std::fill(row, row + width, T(0));
        }
    }
}

}  // namespace elman
