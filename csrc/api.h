// What the kernels are told and what they hand back: plain numbers and pointers, the same for every
// instruction set. Nothing here knows Python or torch.
//
// Dimensions: B batch, T time, I input, H hidden, G gates, N packed rows (valid steps of all rows).
// "Padded" widths are rounded up to whole vectors of the instruction set; Hp is H padded.
#pragma once

#include <cstddef>

namespace elman {

using Index = std::ptrdiff_t;

enum class Cell { rnn_tanh, rnn_relu, gru, lstm };

// Some rows of a batch, longest first. At step t the first active[t] of them are still running; the
// steps that are valid lie packed, step by step, row r of step t at offset[t] + r.
struct Chunk {
    Index rows, steps;
    const Index* active;  // (steps)
    const Index* offset;  // (steps + 1), offset[0] = 0, offset[steps] = N
};

// Numbers of row r at step t begin at base + step[t] + row[r]. A null base means that there are none.
template <class T>
struct View {
    T* base = nullptr;
    const Index* step = nullptr;  // (steps), or null if there is only one step
    const Index* row = nullptr;   // (rows)
    Index packed = 0;  // > 0: rows lie packed as in Chunk, this many numbers apart

    T* at(Index t, Index r) const { return base + (step ? step[t] : 0) + row[r]; }
    explicit operator bool() const { return base != nullptr; }
};

// Weights of one layer and direction as torch keeps them, gates one below the other.
template <class T>
struct Weights {
    const T* weight_ih;  // (G*H, I)
    const T* weight_hh;  // (G*H, H)
    const T* bias_ih;    // (G*H), or null
    const T* bias_hh;    // (G*H), or null
};

// One layer in one direction: which equations, and how large.
struct Layer {
    Cell cell;
    Index I, H;
    bool reverse;
};

// The same weights as the kernels read them; from `pack`, at most `packed_size` numbers.
template <class T>
struct Packed {
    const T* input = nullptr;         // B of x_t W^T
    const T* recurrent = nullptr;     // B of h_{t-1} U^T
    const T* bias = nullptr;          // (Z*Hp): Z blocks of pre-activations
    const T* input_back = nullptr;    // B of dz_t W
    const T* recurrent_back = nullptr;  // B of dz_t U
};

template <class T>
struct ForwardCall {
    Layer layer;
    Packed<T> weights;
    Chunk chunk;
    View<const T> x;       // (T, rows, I)
    View<const T> h0, c0;  // (rows, H), null for zeros
    View<T> y;             // (T, rows, H): written at valid steps only
    View<T> h_n, c_n;      // (rows, H)
    T* gates = nullptr;    // (N, Z*Hp) kept for backward, or null: not kept
    T* cells = nullptr;    // (N, Hp) kept for backward (lstm), or null
    T* scratch = nullptr;  // forward_scratch numbers
};

template <class T>
struct BackwardCall {
    Layer layer;
    Packed<T> weights;
    Chunk chunk;
    View<const T> x, h0, c0, y;  // as in forward
    const T* gates = nullptr;
    const T* cells = nullptr;
    View<const T> dy;        // (T, rows, H), or null for zeros
    View<const T> dh_n, dc_n;  // (rows, H), or null for zeros
    View<T> dx;              // (T, rows, I), or null: not wanted; written at valid steps only
    bool add_dx = false;     // add to what is in dx
    View<T> dh0, dc0;        // (rows, H), or null: not wanted
    T* gradients = nullptr;  // gradient_size numbers, added to; or null: not wanted
    T* scratch = nullptr;    // backward_scratch numbers
};

template <class T>
struct Kernels {
    Index lanes;
    // Numbers that hold all of a layer's packed weights, with or without those for backward.
    Index (*packed_size)(const Layer&, bool backward);
    Packed<T> (*pack)(const Layer&, const Weights<T>&, bool backward, T* into);
    Index (*gates_width)(const Layer&);  // Z*Hp, or 0 if the cell keeps none
    Index (*cells_width)(const Layer&);  // Hp (lstm) or 0
    Index (*forward_scratch)(const Layer&, const Chunk&);
    void (*forward)(const ForwardCall<T>&);
    Index (*backward_scratch)(const Layer&, const Chunk&);
    void (*backward)(const BackwardCall<T>&);
    // Gradients as `backward` sums them, to torch's layout.
    Index (*gradient_size)(const Layer&);
    void (*unpack_gradients)(const Layer&, const T* gradients, T* weight_ih, T* weight_hh,
                             T* bias_ih, T* bias_hh);
};

// One instruction set's kernels.
struct Table {
    const char* isa;
    Kernels<float> f32;
    Kernels<double> f64;

    template <class T>
    const Kernels<T>& of() const;
};

template <>
inline const Kernels<float>& Table::of<float>() const { return f32; }
template <>
inline const Kernels<double>& Table::of<double>() const { return f64; }

}  // namespace elman
