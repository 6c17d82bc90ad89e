// One layer in one direction over a whole batch of the caller's tensors.
#pragma once

#include <cstdint>

#include "api.h"

namespace elman {

// A tensor (steps, rows, width): consecutive numbers in a row, any strides between rows and steps.
template <class T>
struct Strided {
    T* data = nullptr;  // null: none
    Index step = 0, row = 0;
};

template <class T>
struct LayerCall {
    Layer layer;
    Index B, T_;
    const std::int64_t* lengths = nullptr;  // (B) from 0 to T, or null for T
    Weights<T> weights;
    Strided<const T> x, h0, c0;  // (T, B, I), (1, B, H), (1, B, H)
    Strided<T> y;                // (T, B, H)
    T* gates = nullptr;          // reserve_gates numbers, written by forward, read by backward
    T* cells = nullptr;          // reserve_cells numbers
    int threads = 1;
};

// What forward keeps for backward: numbers for each valid step (gates, cells).
template <class T>
Index reserve_gates(const Layer& layer);
template <class T>
Index reserve_cells(const Layer& layer);

// y: zero past each row's end. h_n, c_n (1, B, H): after each row's own last step. Gates and cells
// are kept if call.gates or call.cells is given.
template <class T>
void layer_forward(const LayerCall<T>& call, const Strided<T>& h_n, const Strided<T>& c_n);

template <class T>
struct LayerGradients {
    Strided<const T> dy, dh_n, dc_n;  // of the loss, or none for zeros
    Strided<T> dx, dh0, dc0;          // wanted, or none; dx is zero past each row's end
    T *weight_ih = nullptr, *weight_hh = nullptr;  // wanted together, or none
    T *bias_ih = nullptr, *bias_hh = nullptr;
};

template <class T>
void layer_backward(const LayerCall<T>& call, const LayerGradients<T>& gradients);

}  // namespace elman
