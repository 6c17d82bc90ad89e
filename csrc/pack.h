// Weights from torch's layout into panels, and weight gradients back.
//
// torch stores the gates' (H, I) and (H, H) matrices one below the other. The kernels read, for
// each product, its right-hand side in panels, every gate padded to Hp columns. Gradients are
// summed transposed, dW (I, G*Hp), dU (Y, G*Hp), then db (Z*Hp) and dR (H, Yp), gates in the kernels'
// order: so the vectors of a register block run along dz, which is there without a transposition.
// They are transposed once a call.
#pragma once

#include "api.h"
#include "cells.h"

namespace elman::ELMAN_ISA {

template <class T, class C>
Index packed_size(const Layer& layer, const Products& products) {
    const Index I = layer.I, Hp = padded<T>(layer.H), Yp = padded<T>(layer.Y()), N = C::G * Hp;
    return (products.forward ? (I + layer.Y()) * N + C::Z * Hp : 0) +
           (products.recurrent_back ? N * Yp : 0) + (products.input_back ? N * padded<T>(I) : 0) +
           (products.forward && layer.P ? layer.H * Yp : 0) +
           (products.recurrent_back ? layer.P * Hp : 0);
}

// The row of torch's matrix (`columns` wide) that belongs to unit u of block b, n = b * Hp + u;
// null for padding.
template <class T, class Gate>
const T* gate_row(const T* weight, Index n, Index columns, Index H, Index Hp, Gate gate) {
    const Index b = n / Hp, u = n % Hp;
    return u < H ? weight + (gate(b) * H + u) * columns : nullptr;
}

// Both biases added up where both products reach a block, else the one whose product does.
template <class T, class C>
void pack_bias(Index H, Index Hp, const Weights<T>& w, T* into) {
    for (Index n = 0; n < C::Z * Hp; ++n) into[n] = T(0);
    if (!w.bias_ih) return;
    for (Index b = 0; b < C::G; ++b) {
        for (Index u = 0; u < H; ++u) {
            into[(C::x_block + b) * Hp + u] += w.bias_ih[C::x_gate(b) * H + u];
            into[(C::h_block + b) * Hp + u] += w.bias_hh[C::h_gate(b) * H + u];
        }
    }
}

template <class T, class C>
PackedWeights<T> pack(const Layer& layer, const Weights<T>& w, const Products& products, T* into) {
    const Index I = layer.I, H = layer.H, Hp = padded<T>(H), Ip = padded<T>(I), N = C::G * Hp;
    const Index Y = layer.Y(), Yp = padded<T>(Y);
    PackedWeights<T> packed;
    const T** rows_ih = new const T*[2 * N + Yp];
    const T** rows_hh = rows_ih + N;
    const T** rows_hr = rows_hh + N;
    for (Index n = 0; n < N; ++n) {
        rows_ih[n] = gate_row(w.weight_ih, n, I, H, Hp, C::x_gate);
        rows_hh[n] = gate_row(w.weight_hh, n, Y, H, Hp, C::h_gate);
    }
    for (Index p = 0; p < Yp; ++p) rows_hr[p] = p < layer.P ? w.weight_hr + p * H : nullptr;
    if (products.forward) {
        packed.input = into;
        pack_columns<T>(I, N, rows_ih, into);
        into += I * N;
        packed.recurrent = into;
        pack_columns<T>(Y, N, rows_hh, into);
        into += Y * N;
        packed.bias = into;
        pack_bias<T, C>(H, Hp, w, into);
        into += C::Z * Hp;
        if (layer.P) {
            packed.projection = into;
            pack_columns<T>(H, Yp, rows_hr, into);
            into += H * Yp;
        }
    }
    if (products.recurrent_back) {
        packed.recurrent_back = into;
        pack_rows<T>(N, Yp, Y, rows_hh, into);
        into += N * Yp;
        packed.projection_back = into;
        pack_rows<T>(layer.P, Hp, H, rows_hr, into);
        into += layer.P * Hp;
    }
    if (products.input_back) {
        packed.input_back = into;
        pack_rows<T>(N, Ip, I, rows_ih, into);
    }
    delete[] rows_ih;
    return packed;
}

template <class T, class C>
Index gradient_size(const Layer& layer) {
    const Index Hp = padded<T>(layer.H);
    return (layer.I + layer.Y()) * C::G * Hp + C::Z * Hp +
           (layer.P ? layer.H * padded<T>(layer.P) : 0);
}

// to (rows, K) = the first `rows` columns of from (K, ld), transposed; in squares, so that both
// sides are read and written a cache line at a time.
template <class T>
void transpose(Index K, Index rows, const T* from, Index ld, T* to) {
    constexpr Index L = lanes<T>, tile = 16;
    T square[tile * L];
    for (Index u = 0; u < rows; u += L) {
        const Index width = rows - u < L ? rows - u : L;
        for (Index k = 0; k < K; k += tile) {
            const Index depth = K - k < tile ? K - k : tile;
            for (Index i = 0; i < depth; ++i) {
                store<T>(square + i * L, load<T>(from + (k + i) * ld + u));
            }
            for (Index n = 0; n < width; ++n) {
                T* row = to + (u + n) * K + k;
                for (Index i = 0; i < depth; ++i) row[i] = square[i * L + n];
            }
        }
    }
}

template <class T, class C>
void unpack_gradients(const Layer& layer, const T* from, const WeightGradients<T>& into) {
    const Index I = layer.I, H = layer.H, Y = layer.Y(), Hp = padded<T>(H), N = C::G * Hp;
    const T* dU = from + I * N;
    const T* db = dU + Y * N;
    for (Index b = 0; b < C::G; ++b) {
        const Index x = C::x_gate(b) * H, h = C::h_gate(b) * H;
        transpose<T>(I, H, from + b * Hp, N, into.weight_ih + x * I);
        transpose<T>(Y, H, dU + b * Hp, N, into.weight_hh + h * Y);
        if (!into.bias_ih) continue;
        transpose<T>(1, H, db + (C::x_block + b) * Hp, Hp, into.bias_ih + x);
        transpose<T>(1, H, db + (C::h_block + b) * Hp, Hp, into.bias_hh + h);
    }
    if (layer.P) transpose<T>(H, layer.P, db + C::Z * Hp, padded<T>(layer.P), into.weight_hr);
}

}  // namespace elman::ELMAN_ISA
