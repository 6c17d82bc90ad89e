// What the kernels are told and what they hand back: plain numbers and pointers, the same for every
// instruction set. Nothing here knows Python or torch.
//
// Dimensions: B batch, T time, I input, H hidden, G gates, N packed rows (valid steps of all rows).
// "Padded" widths are rounded up to whole vectors of the instruction set; Hp is H padded.
#pragma once

#include <cstddef>
#include <cstdint>

namespace elman {

using Index = std::ptrdiff_t;

enum class Cell { rnn_tanh, rnn_relu, gru, lstm };

// G.
constexpr Index gates(Cell cell) {
    return cell == Cell::lstm ? 4 : cell == Cell::gru ? 3 : 1;
}

// Some rows of a batch, longest first. At step t the first active[t] of them are still running; the
// steps that are valid lie packed, step by step, row r of step t at offset[t] + r.
struct Chunk {
    Index rows, steps;
    const Index* active;  // (steps)
    const Index* offset;  // (steps + 1), offset[0] = 0, offset[steps] = N
};

// Where the numbers of row r at step t begin, in one of two forms: somewhere in a tensor of the
// caller's, at step[t] + row[r]; or packed as in Chunk, `packed` numbers apart, with step its offset.
// A null step stands for a single step, a null base for no numbers at all.
template <class T>
struct View {
    T* base = nullptr;
    const Index* step = nullptr;
    const Index* row = nullptr;
    Index packed = 0;

    T* at(Index t, Index r) const {
        const Index s = step ? step[t] : 0;
        return base + (packed ? (s + r) * packed : s + row[r]);
    }
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

// Which products the weights are packed for.
struct Products {
    bool forward;
    bool recurrent_back;  // dz_t U
    bool input_back;      // dz_t W
};

// The same weights as the kernels read them; from `pack`, `packed_size` numbers.
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
    T* gradients = nullptr;  // out, gradient_size numbers; or null: not wanted
    T* scratch = nullptr;    // backward_scratch numbers
};

enum class Readout { last, mean, max, every };
enum class Loss { cross_entropy, squared_error };

// [embedding] -> recurrent layers -> readout -> linear: the standard model, elman.models.
struct Network {
    Cell cell;
    Index I;           // channels, or the embedding's width if there are tokens
    Index H, layers, directions, K;
    Index vocabulary;  // 0: numbers, no embedding
    Readout readout;

    Index width() const { return directions * H; }  // of a layer's output
    Layer layer(Index l, Index d) const { return {cell, l ? width() : I, H, d == 1}; }
    bool every() const { return readout == Readout::every; }
};

// One chunk of a batch through a whole network, and back if gradients are wanted.
template <class T>
struct NetworkCall {
    Network net;
    Chunk chunk;
    const T* embedding = nullptr;         // (vocabulary, I)
    const Packed<T>* layers = nullptr;    // (layers * directions)
    const T *output = nullptr, *output_bias = nullptr, *output_back = nullptr;  // `pack_output`
    View<const T> x;                      // (T, rows, I)
    View<const std::int64_t> tokens;      // (T, rows, 1)
    // Dropout: 1 where a number is kept; kept numbers are multiplied by `keep`. Null: no dropout.
    View<const std::uint8_t> mask_input;           // (T, rows, I), on embedded tokens
    const View<const std::uint8_t>* masks = nullptr;  // (layers - 1) of (T, rows, D*H)
    View<const std::uint8_t> mask_output;          // (rows, D*H), or (T, rows, D*H) if every
    T keep = 1;
    View<T> logits;                       // out: (rows, K), or (T, rows, K) if every

    T* gradients = nullptr;               // out; null: forward only
    Loss loss = Loss::cross_entropy;
    View<const std::int64_t> codes;       // (rows) or (T, rows): class, or negative for none
    View<const T> values;                 // squared error: (rows, K) or (T, rows, K)
    const T* class_weight = nullptr;      // (K), or null for ones
    T smoothing = 0;                      // share of the target spread over all classes
    double scale = 1;                     // what an item's loss counts, before its class weight
    double* total = nullptr;              // out: this chunk's share of the loss
    T* d_embedded = nullptr;              // out: (N, I), dL/d embedded tokens
    T* scratch = nullptr;                 // network_scratch numbers
};

template <class T>
struct Kernels {
    Index lanes;
    Index (*packed_size)(const Layer&, const Products&);
    Packed<T> (*pack)(const Layer&, const Weights<T>&, const Products&, T* into);
    Index (*gates_width)(const Layer&);  // Z*Hp, or 0 if the cell keeps none
    Index (*cells_width)(const Layer&);  // Hp (lstm) or 0
    Index (*forward_scratch)(const Layer&, const Chunk&);
    void (*forward)(const ForwardCall<T>&);
    Index (*backward_scratch)(const Layer&, const Chunk&);
    void (*backward)(const BackwardCall<T>&);
    // Gradients as `backward` leaves them, to torch's layout.
    Index (*gradient_size)(const Layer&);
    void (*unpack_gradients)(const Layer&, const T* gradients, T* weight_ih, T* weight_hh,
                             T* bias_ih, T* bias_hh);

    // The linear layer at the end, weight (K, W), bias (K): packed, and its gradients.
    Index (*output_size)(Index K, Index W, bool backward);
    void (*pack_output)(Index K, Index W, const T* weight, const T* bias, bool backward, T* into,
                        NetworkCall<T>* call);
    Index (*output_gradient_size)(Index K, Index W);
    void (*unpack_output)(Index K, Index W, const T* gradients, T* weight, T* bias);
    Index (*network_scratch)(const NetworkCall<T>&);
    // Gradients: those of all layers and directions in order, then the output's.
    void (*network)(const NetworkCall<T>&);
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
