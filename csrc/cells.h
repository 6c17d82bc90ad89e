// The equations of one step, a row at a time: what happens between two matrix products.
//
// A cell's pre-activations are Z blocks of Hp elements. x_t W^T adds to G of them from block
// `x_block` on, h_{t-1} U^T to G from block `h_block` on. In the simple cell and the LSTM all
// blocks get both. The GRU multiplies U_n h by r before W_n x is added, so the two parts of n must
// stay apart: it has G = 3 gates but Z = 4 blocks, arranged so that each product still writes three
// adjacent ones.
//
//     block        0               1              2              3
//     x product    W_n x + b_in    W_r x + b_r    W_z x + b_z    -               x_block = 0
//     h product    -               + U_r h        + U_z h        b_hn + U_n h    h_block = 1
//     saved        n               r              z              b_hn + U_n h
//     dz           dL/da_n         dL/da_r        dL/da_z        r * dL/da_n
//
// Backward needs U_n h again (for dr), and computing it again would be a third of the recurrent
// product, so block 3 is saved as it is. x_gate(b) is the number of block x_block + b among torch's
// gates, h_gate(b) that of block h_block + b. Derivations: src/elman/ops/<cell>/README.md.
#pragma once

#include "activations.h"
#include "gemm.h"

namespace elman::ELMAN_ISA {

// One row at one step, Hp elements each (padded with zeros); null where a cell has none.
template <class T>
struct Step {
    T* gates;  // (Z*Hp), in pre-activations, out activations
    T* h;      // in h_{t-1}, out h_t
    T* c;      // in c_{t-1}, out c_t
};

template <class T>
struct StepBack {
    const T* gates;   // (Z*Hp), activations
    const T* y;       // h_t, H elements
    const T* h_prev;  // h_{t-1}
    const T* c;       // c_t
    const T* c_prev;  // c_{t-1}, or null for zeros
    T* dh;            // in dL/dh_t, out the part of dL/dh_{t-1} that does not go through U
    T* dc;            // in dL/dc_t, out dL/dc_{t-1}
    T* dz;            // out (Z*Hp), dL/d pre-activations
};

// h_t = f(W x_t + U h_{t-1} + b). Nothing is saved for backward but the output: both derivatives
// follow from h_t alone.
template <class T, bool relu>
struct SimpleCell {
    static constexpr Index G = 1, Z = 1, x_block = 0, h_block = 0;
    static constexpr bool saves_gates = false, has_c = false;
    static constexpr bool bypasses_U = false;  // part of dL/dh_{t-1} does not go through U
    static constexpr Index x_gate(Index b) { return b; }
    static constexpr Index h_gate(Index b) { return b; }

    static ELMAN_INLINE void forward(Index Hp, const Step<T>& s) {
        for (Index u = 0; u < Hp; u += lanes<T>) {
            const Vec<T> z = load<T>(s.gates + u);
            store<T>(s.h + u, relu ? (z < T(0) ? Vec<T>{} : z) : tanh<T>(z));
        }
    }
    static ELMAN_INLINE void backward(Index H, Index Hp, const StepBack<T>& s) {
        for (Index u = 0; u < Hp; u += lanes<T>) {
            const Vec<T> h = load<T>(s.y + u, H - u), dh = load<T>(s.dh + u);
            store<T>(s.dz + u, relu ? (h <= T(0) ? Vec<T>{} : dh) : dh * (T(1) - h * h));
        }
    }
};

// r, z = sigmoid(W x_t + U h_{t-1} + b)   n = tanh(W_n x_t + b + r (U_n h_{t-1} + b_hn))
// h_t = (1 - z) n + z h_{t-1}
template <class T>
struct GruCell {
    static constexpr Index G = 3, Z = 4, x_block = 0, h_block = 1;
    static constexpr bool saves_gates = true, has_c = false, bypasses_U = true;
    static constexpr Index x_gate(Index b) { return b == 0 ? 2 : b - 1; }  // n, r, z
    static constexpr Index h_gate(Index b) { return b; }                   // r, z, n

    static ELMAN_INLINE void forward(Index Hp, const Step<T>& s) {
        for (Index u = 0; u < Hp; u += lanes<T>) {
            const Vec<T> r = sigmoid<T>(load<T>(s.gates + Hp + u));
            const Vec<T> z = sigmoid<T>(load<T>(s.gates + 2 * Hp + u));
            const Vec<T> n =
                tanh<T>(load<T>(s.gates + u) + r * load<T>(s.gates + 3 * Hp + u));
            store<T>(s.gates + u, n);
            store<T>(s.gates + Hp + u, r);
            store<T>(s.gates + 2 * Hp + u, z);
            // (1 - z) n + z h with one product less.
            store<T>(s.h + u, n + z * (load<T>(s.h + u) - n));
        }
    }
    static ELMAN_INLINE void backward(Index, Index Hp, const StepBack<T>& s) {
        for (Index u = 0; u < Hp; u += lanes<T>) {
            const Vec<T> n = load<T>(s.gates + u), r = load<T>(s.gates + Hp + u);
            const Vec<T> z = load<T>(s.gates + 2 * Hp + u), un = load<T>(s.gates + 3 * Hp + u);
            const Vec<T> dh = load<T>(s.dh + u);
            const Vec<T> dn = dh * (T(1) - z) * (T(1) - n * n);
            store<T>(s.dz + u, dn);
            store<T>(s.dz + Hp + u, dn * un * r * (T(1) - r));
            store<T>(s.dz + 2 * Hp + u, dh * (load<T>(s.h_prev + u) - n) * z * (T(1) - z));
            store<T>(s.dz + 3 * Hp + u, dn * r);
            store<T>(s.dh + u, dh * z);
        }
    }
};

// i, f, o = sigmoid(.)   g = tanh(.)   c_t = f c_{t-1} + i g   h_t = o tanh(c_t), or R (o tanh(c_t)),
// where layer.h multiplies by R. tanh(c_t) is computed again in backward: saving it would be another
// Hp elements a step, and memory is what long sequences wait for.
template <class T>
struct LstmCell {
    static constexpr Index G = 4, Z = 4, x_block = 0, h_block = 0;
    static constexpr bool saves_gates = true, has_c = true, bypasses_U = false;
    static constexpr Index x_gate(Index b) { return b; }  // i, f, g, o
    static constexpr Index h_gate(Index b) { return b; }

    static ELMAN_INLINE void forward(Index Hp, const Step<T>& s) {
        for (Index u = 0; u < Hp; u += lanes<T>) {
            const Vec<T> i = sigmoid<T>(load<T>(s.gates + u));
            const Vec<T> f = sigmoid<T>(load<T>(s.gates + Hp + u));
            const Vec<T> g = tanh<T>(load<T>(s.gates + 2 * Hp + u));
            const Vec<T> o = sigmoid<T>(load<T>(s.gates + 3 * Hp + u));
            const Vec<T> c = f * load<T>(s.c + u) + i * g;
            store<T>(s.gates + u, i);
            store<T>(s.gates + Hp + u, f);
            store<T>(s.gates + 2 * Hp + u, g);
            store<T>(s.gates + 3 * Hp + u, o);
            store<T>(s.c + u, c);
            store<T>(s.h + u, o * tanh<T>(c));
        }
    }
    // o tanh(c_t) again, for the gradient of the projection that reads it.
    static ELMAN_INLINE void output(Index Hp, const T* gates, const T* c, T* out) {
        for (Index u = 0; u < Hp; u += lanes<T>) {
            store<T>(out + u, load<T>(gates + 3 * Hp + u) * tanh<T>(load<T>(c + u)));
        }
    }
    static ELMAN_INLINE void backward(Index H, Index Hp, const StepBack<T>& s) {
        for (Index u = 0; u < Hp; u += lanes<T>) {
            const Vec<T> i = load<T>(s.gates + u), f = load<T>(s.gates + Hp + u);
            const Vec<T> g = load<T>(s.gates + 2 * Hp + u), o = load<T>(s.gates + 3 * Hp + u);
            const Vec<T> tc = tanh<T>(load<T>(s.c + u)), dh = load<T>(s.dh + u);
            const Vec<T> c_prev = s.c_prev ? load<T>(s.c_prev + u, H - u) : Vec<T>{};
            const Vec<T> dc = load<T>(s.dc + u) + dh * o * (T(1) - tc * tc);
            store<T>(s.dz + u, dc * g * i * (T(1) - i));
            store<T>(s.dz + Hp + u, dc * c_prev * f * (T(1) - f));
            store<T>(s.dz + 2 * Hp + u, dc * i * (T(1) - g * g));
            store<T>(s.dz + 3 * Hp + u, dh * tc * o * (T(1) - o));
            store<T>(s.dc + u, dc * f);
        }
    }
};

}  // namespace elman::ELMAN_ISA
