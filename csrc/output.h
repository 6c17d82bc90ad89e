// The linear layer at the end of a network, y = V x + b, x (M, W), y (M, Kp): packed, and its
// gradients.
#pragma once

#include "pack.h"

namespace elman::ELMAN_ISA {

template <class T>
Index output_size(Index K, Index W, bool backward) {
    return W * padded<T>(K) + padded<T>(K) + (backward ? padded<T>(K) * padded<T>(W) : 0);
}

template <class T>
void pack_output(Index K, Index W, const T* weight, const T* bias, bool backward, T* into,
                 NetworkChunk<T>* call) {
    const Index Kp = padded<T>(K), Wp = padded<T>(W);
    const T** rows = new const T*[Kp];  // no std::vector here: see kernels.cpp
    for (Index k = 0; k < Kp; ++k) rows[k] = k < K ? weight + k * W : nullptr;
    call->output = into;
    pack_columns<T>(W, Kp, rows, into);
    into += W * Kp;
    call->output_bias = into;
    for (Index k = 0; k < Kp; ++k) into[k] = k < K ? bias[k] : T(0);
    into += Kp;
    if (backward) {
        call->output_back = into;
        pack_rows<T>(Kp, Wp, W, rows, into);
    }
    delete[] rows;
}

// Gradients: dV (W, Kp) transposed, then db (Kp).
template <class T>
Index output_gradient_size(Index K, Index W) {
    return (W + 1) * padded<T>(K);
}

template <class T>
void unpack_output(Index K, Index W, const T* from, T* weight, T* bias) {
    const Index Kp = padded<T>(K);
    transpose<T>(W, K, from, Kp, weight);
    transpose<T>(1, K, from + W * Kp, Kp, bias);
}

}  // namespace elman::ELMAN_ISA
