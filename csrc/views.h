// From a caller's tensor to what each chunk's kernel reads of it.
//
//     Strided      the caller's whole tensor: address and strides, rows in the caller's order
//     ChunkViews   that tensor and a batch: the offsets of its steps and of its rows, longest first
//     View         the rows of one chunk, as the kernels address them (api.h)
#pragma once

#include <algorithm>
#include <vector>

#include "batch.h"

namespace elman {

// A tensor (steps, rows, width): adjacent elements in a row, any strides between steps and rows.
template <class T>
struct Strided {
    T* data = nullptr;  // null: no tensor
    Index step_stride = 0, row_stride = 0;

    T* at(Index step, Index row) const { return data + step * step_stride + row * row_stride; }
    Strided<const T> constant() const { return {data, step_stride, row_stride}; }
};

template <class T>
class ChunkViews {
  public:
    ChunkViews(const Strided<T>& tensor, const Batch& batch) : tensor_(tensor), batch_(&batch) {
        if (!tensor.data) return;
        // If every row runs to the end and the rows are in order, the tensor is packed as it lies,
        // and the kernels read it without copying. Never so with several chunks: each has a part of
        // a step.
        packed_ = batch.chunks() == 1 && batch.sorted() && tensor.row_stride > 0 &&
                  tensor.step_stride == tensor.row_stride * batch.rows() &&
                  batch.valid_steps() == batch.steps() * batch.rows();
        if (packed_) return;
        if (tensor.step_stride) {  // states have one step: no offsets of T steps for them
            step_offset_.resize(batch.steps());
            for (Index t = 0; t < batch.steps(); ++t) step_offset_[t] = t * tensor.step_stride;
        }
        row_offset_.resize(batch.rows());
        for (Index r = 0; r < batch.rows(); ++r) {
            row_offset_[r] = batch.order()[r] * tensor.row_stride;
        }
    }

    // The rows of chunk i.
    View<T> view(Index i) const {
        if (!tensor_.data) return {};
        if (packed_) {
            return View<T>::packed(tensor_.data, batch_->chunk(i).offset, tensor_.row_stride);
        }
        return {tensor_.data, step_offset_.empty() ? nullptr : step_offset_.data(),
                row_offset_.data() + batch_->first_row(i), 0};
    }

  private:
    Strided<T> tensor_;
    const Batch* batch_;
    std::vector<Index> step_offset_, row_offset_;
    bool packed_ = false;
};

// Write zeros past each row's end.
template <class T>
void zero_padding(const Batch& batch, const Strided<T>& tensor, Index width) {
    if (!tensor.data) return;
    for (Index b = 0; b < batch.rows(); ++b) {
        for (Index t = batch.length(b); t < batch.steps(); ++t) {
            T* const row = tensor.at(t, b);
            std::fill(row, row + width, T(0));
        }
    }
}

}  // namespace elman
