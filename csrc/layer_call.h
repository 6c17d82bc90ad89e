// One layer in one direction over a whole batch of the caller's tensors.
#pragma once

#include <cstdint>

#include "views.h"

namespace elman {

template <class T>
struct LayerCall {
    Layer layer;
    Index rows, steps;           // B, T
    const std::int64_t* lengths = nullptr;  // (B), 0 to T, or null for T
    Weights<T> weights;
    Strided<const T> x, h0, c0;  // (T, B, I), (1, B, Y), (1, B, H)
    Strided<T> y;                // (T, B, Y)
    T* reserve = nullptr;        // out of forward, into backward: B * T * reserve_width elements
    int threads = 1;
};

// Elements that forward saves for backward at each step of a row; 0 if y is all it needs.
template <class T>
Index reserve_width(const Layer& layer);

// y: zero past each row's end. h_n (1, B, Y), c_n (1, B, H): after each row's own last step.
template <class T>
void layer_forward(const LayerCall<T>& call, const Strided<T>& h_n, const Strided<T>& c_n);

template <class T>
struct LayerGradients {
    Strided<const T> dy, dh_n, dc_n;  // in; none for zeros
    Strided<T> dx, dh0, dc0;          // out; none: not computed; dx is zero past each row's end
    WeightGradients<T> weights;
};

// One step of one row: x (I), h0 (Y), c0 (H), to y (Y), null for none, h_n (Y) and c_n (H).
template <class T>
void layer_step(const Layer& layer, const Weights<T>& weights, const T* x, const T* h0, const T* c0,
                T* y, T* h_n, T* c_n);

template <class T>
void layer_backward(const LayerCall<T>& call, const LayerGradients<T>& gradients);

}  // namespace elman
