// Weights from torch's layout into panels, and weight gradients back.
//
// torch keeps the gates' (H, I) and (H, H) matrices one below the other. The kernels want, for each
// product, its right-hand side in panels, every gate padded to Hp columns. Gradients are summed
// transposed: dW (I, G*Hp), dU (H, G*Hp), then db (Z*Hp), gates in the kernels' order.
#pragma once

#include "api.h"
#include "cells.h"

namespace elman::ELMAN_ISA {

template <class T, class C>
Index packed_size(const Layer& layer, bool backward) {
    const Index I = layer.I, H = layer.H, Hp = padded<T>(H), columns = C::G * Hp;
    const Index forward = (I + H) * columns + C::Z * Hp;
    return forward + (backward ? columns * (padded<T>(I) + Hp) : 0);
}

// Row u of gate g of a matrix with `columns` columns, for the padded column or row n = b * Hp + u.
template <class T, class Gate>
const T* gate_row(const T* weight, Index n, Index columns, Index H, Index Hp, Gate gate) {
    const Index b = n / Hp, u = n % Hp;
    return u < H ? weight + (gate(b) * H + u) * columns : nullptr;
}

template <class T, class C>
Packed<T> pack(const Layer& layer, const Weights<T>& w, bool backward, T* into) {
    const Index I = layer.I, H = layer.H, Hp = padded<T>(H), Ip = padded<T>(I), N = C::G * Hp;
    Packed<T> packed;
    const T** rows_ih = new const T*[2 * N];
    const T** rows_hh = rows_ih + N;
    for (Index n = 0; n < N; ++n) {
        rows_ih[n] = gate_row(w.weight_ih, n, I, H, Hp, C::x_gate);
        rows_hh[n] = gate_row(w.weight_hh, n, H, H, Hp, C::h_gate);
    }
    packed.input = into;
    pack_columns<T>(I, N, rows_ih, into);
    into += I * N;
    packed.recurrent = into;
    pack_columns<T>(H, N, rows_hh, into);
    into += H * N;
    packed.bias = into;
    for (Index n = 0; n < C::Z * Hp; ++n) into[n] = T(0);
    if (w.bias_ih) {
        for (Index b = 0; b < C::G; ++b) {
            for (Index u = 0; u < H; ++u) {
                into[(C::x_block + b) * Hp + u] += w.bias_ih[C::x_gate(b) * H + u];
                into[(C::h_block + b) * Hp + u] += w.bias_hh[C::h_gate(b) * H + u];
            }
        }
    }
    into += C::Z * Hp;
    if (backward) {
        packed.input_back = into;
        pack_rows<T>(N, Ip, I, rows_ih, into);
        into += N * Ip;
        packed.recurrent_back = into;
        pack_rows<T>(N, Hp, H, rows_hh, into);
    }
    delete[] rows_ih;
    return packed;
}

template <class T, class C>
Index gradient_size(const Layer& layer) {
    const Index Hp = padded<T>(layer.H);
    return (layer.I + layer.H) * C::G * Hp + C::Z * Hp;
}

// to (G*H, K) = from (K, G*Hp), transposed, in tiles that stay in the cache.
template <class T, class Gate>
void unpack_matrix(Index K, Index H, Index Hp, Index G, const T* from, T* to, Gate gate) {
    constexpr Index tile = 32;
    for (Index b = 0; b < G; ++b) {
        for (Index u0 = 0; u0 < H; u0 += tile) {
            const Index u1 = u0 + tile < H ? u0 + tile : H;
            for (Index k0 = 0; k0 < K; k0 += tile) {
                const Index k1 = k0 + tile < K ? k0 + tile : K;
                for (Index u = u0; u < u1; ++u) {
                    T* row = to + (gate(b) * H + u) * K;
                    for (Index k = k0; k < k1; ++k) row[k] = from[k * G * Hp + b * Hp + u];
                }
            }
        }
    }
}

template <class T, class C>
void unpack_gradients(const Layer& layer, const T* from, T* weight_ih, T* weight_hh, T* bias_ih,
                      T* bias_hh) {
    const Index I = layer.I, H = layer.H, Hp = padded<T>(H), N = C::G * Hp;
    unpack_matrix<T>(I, H, Hp, C::G, from, weight_ih, C::x_gate);
    unpack_matrix<T>(H, H, Hp, C::G, from + I * N, weight_hh, C::h_gate);
    if (!bias_ih) return;
    const T* db = from + (I + H) * N;
    for (Index b = 0; b < C::G; ++b) {
        for (Index u = 0; u < H; ++u) {
            bias_ih[C::x_gate(b) * H + u] = db[(C::x_block + b) * Hp + u];
            bias_hh[C::h_gate(b) * H + u] = db[(C::h_block + b) * Hp + u];
        }
    }
}

}  // namespace elman::ELMAN_ISA
