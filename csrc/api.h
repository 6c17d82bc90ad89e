// Arguments and results of the kernels: plain numbers and pointers, the same for every instruction
// set. Nothing here depends on Python or torch, so a built module does not depend on torch's
// version.
//
// Dimensions: B batch, T time, I input, H hidden, Y units of h and y (H, or P where an LSTM projects
// its state), G gates, N packed rows (valid steps of all rows). "Padded" widths are rounded up to
// whole vectors of the instruction set; Hp is H padded.
//
// Words: a stride is the distance between two neighbours, an offset the distance from the
// beginning, both in elements; `ld` is the row stride of a matrix. Packed rows lie without gaps for
// padding steps.
#pragma once

#include <cstddef>
#include <cstdint>

namespace elman {

using Index = std::ptrdiff_t;

enum class Cell { rnn_tanh, rnn_relu, gru, lstm };

// G.
constexpr Index gate_count(Cell cell) {
    return cell == Cell::lstm ? 4 : cell == Cell::gru ? 3 : 1;
}

// Some rows of a batch, longest first. At step t the first active[t] of them are still running, and
// their valid steps lie packed step by step, row r of step t at offset[t] + r. Three rows of 4, 2
// and 2 steps, for instance:
//
//     step      0       1       2   3        active  3 3 1 1
//     packed  [a b c] [a b c]  [a] [a]       offset  0 3 6 7 8
struct Chunk {
    Index rows, steps;
    const Index* active;  // (steps)
    const Index* offset;  // (steps + 1), offset[0] = 0, offset[steps] = N
};

// A chunk's rows in memory: row r of step t begins at at(t, r). In one of two forms:
//     strided: anywhere in a caller's tensor, at step_offset[t] + row_offset[r];
//     packed:  as in Chunk, at (step_offset[t] + r) * row_stride, step_offset being Chunk's offset.
// Without step_offset there is a single step, without base there is no tensor.
template <class T>
struct View {
    T* base = nullptr;
    const Index* step_offset = nullptr;
    const Index* row_offset = nullptr;
    Index row_stride = 0;  // of packed rows; 0 for the strided form

    static View packed(T* base, const Index* step_offset, Index row_stride) {
        return {base, step_offset, nullptr, row_stride};
    }
    T* at(Index t, Index r) const {
        const Index step = step_offset ? step_offset[t] : 0;
        return base + (row_stride ? (step + r) * row_stride : step + row_offset[r]);
    }
    explicit operator bool() const { return base != nullptr; }
    View<const T> constant() const { return {base, step_offset, row_offset, row_stride}; }
};

// Weights of one layer and direction as torch stores them, gates one below the other.
template <class T>
struct Weights {
    const T* weight_ih;  // (G*H, I)
    const T* weight_hh;  // (G*H, Y)
    const T* bias_ih;    // (G*H), or null
    const T* bias_hh;    // (G*H), or null
    const T* weight_hr = nullptr;  // (P, H), or null: h_t = weight_hr (o tanh(c_t))
};

// Their gradients, out; weight_ih null: none, another null: that one not.
template <class T>
struct WeightGradients {
    T *weight_ih = nullptr, *weight_hh = nullptr;
    T *bias_ih = nullptr, *bias_hh = nullptr;
    T* weight_hr = nullptr;
};

// One layer in one direction: its equations and sizes.
struct Layer {
    Cell cell;
    Index I, H;
    bool reverse;
    Index P = 0;  // an LSTM's projected units, below H; 0: no projection

    Index Y() const { return P ? P : H; }
};

// The products that weights are packed for.
struct Products {
    bool forward;
    bool recurrent_back;  // dz_t U
    bool input_back;      // dz_t W
};

// The same weights as the kernels read them, in panels (gemm.h); from `pack`, `packed_size`
// elements.
template <class T>
struct PackedWeights {
    const T* input = nullptr;           // B of x_t W^T
    const T* recurrent = nullptr;       // B of h_{t-1} U^T
    const T* bias = nullptr;            // (Z*Hp): Z blocks of pre-activations (cells.h)
    const T* input_back = nullptr;      // B of dz_t W
    const T* recurrent_back = nullptr;  // B of dz_t U
    const T* projection = nullptr;       // B of (o tanh(c_t)) R^T
    const T* projection_back = nullptr;  // B of dh_t R
};

// One chunk forward through a layer.
template <class T>
struct ForwardChunk {
    Layer layer;
    PackedWeights<T> weights;
    Chunk chunk;
    View<const T> x;       // (T, rows, I)
    View<const T> h0, c0;  // (rows, Y) and (rows, H), null for zeros
    View<T> y;             // out: (T, rows, Y), at valid steps only
    View<T> h_n, c_n;      // out: (rows, Y) and (rows, H)
    T* gates = nullptr;    // out: (N, Z*Hp), saved for backward; null: not saved
    T* cells = nullptr;    // out: (N, Hp), saved for backward (lstm); null: not saved
    T* scratch = nullptr;  // forward_scratch elements
};

// The same chunk backward.
template <class T>
struct BackwardChunk {
    Layer layer;
    PackedWeights<T> weights;
    Chunk chunk;
    View<const T> x, h0, c0, y;  // as in forward
    const T* gates = nullptr;
    const T* cells = nullptr;
    View<const T> dy;          // (T, rows, Y), or null for zeros
    View<const T> dh_n, dc_n;  // (rows, Y) and (rows, H), or null for zeros
    View<T> dx;                // out: (T, rows, I), at valid steps only; null: not computed
    bool add_dx = false;       // add to the numbers in dx
    View<T> dh0, dc0;          // out: (rows, Y) and (rows, H); null: not computed
    T* gradients = nullptr;    // out: gradient_size elements; null: not computed
    T* scratch = nullptr;      // backward_scratch elements
};

enum class Readout { last, mean, max, every };
enum class Loss { cross_entropy, squared_error };

// An embedding: `width` numbers for each of `size` tokens, or codes of categories.
struct Table {
    Index size, width;
};

// [embeddings] -> recurrent layers -> readout -> linear: the standard model, elman.models.
struct Network {
    Cell cell;
    Index I;  // of the first layer: numbers, then the embeddings of the step's tokens
    Index H, layers, directions, K;
    Readout readout;
    const Table* tables = nullptr;
    Index table_count = 0;  // tokens of a step; 0: numbers only

    Index numbers() const {
        Index n = I;
        for (Index k = 0; k < table_count; ++k) n -= tables[k].width;
        return n;
    }
    Index width() const { return directions * H; }  // of a layer's output
    Layer layer(Index l, Index d) const { return {cell, l ? width() : I, H, d == 1}; }
    bool every() const { return readout == Readout::every; }
};

// One chunk through a whole network, and back if there are gradients to write.
template <class T>
struct NetworkChunk {
    Network net;
    Chunk chunk;
    const T* const* embeddings = nullptr;       // (table_count) of (size, width)
    const PackedWeights<T>* layers = nullptr;   // (layers * directions)
    const T *output = nullptr, *output_bias = nullptr, *output_back = nullptr;  // `pack_output`
    View<const T> x;                            // (T, rows, numbers)
    const std::int64_t* tokens = nullptr;       // (N, table_count), in the tables' ranges
    // Dropout: 1 where an element is kept; kept elements are multiplied by `keep`. Null: no
    // dropout.
    View<const std::uint8_t> mask_input;        // (T, rows, I - numbers), of embedded tokens
    const View<const std::uint8_t>* masks = nullptr;  // (layers - 1) of (T, rows, D*H)
    View<const std::uint8_t> mask_output;       // (rows, D*H), or (T, rows, D*H) if every
    T keep = 1;
    // States before the first step, and after each row's last: (layers * directions) of (rows, H).
    // Null: zeros, and not written; c of an lstm only. Gradients stop at the first step.
    const View<const T> *h0 = nullptr, *c0 = nullptr;
    const View<T> *h_n = nullptr, *c_n = nullptr;
    View<T> logits;                       // out: (rows, K), or (T, rows, K) if every

    T* gradients = nullptr;               // out; null: forward only
    Loss loss = Loss::cross_entropy;
    View<const std::int64_t> codes;       // (rows) or (T, rows): class, or negative for no label
    View<const T> values;                 // squared error: (rows, K) or (T, rows, K)
    const T* class_weight = nullptr;      // (K), or null for ones
    T smoothing = 0;                      // share of the target spread over all classes
    double scale = 1;                     // weight of an item's loss, before its class weight
    double* total = nullptr;              // out: this chunk's share of the loss
    T* d_embedded = nullptr;              // out: (N, I), dL/d input if there are tables
    T* scratch = nullptr;                 // network_scratch elements
};

// One step of some rows of a stream: see step.h. Its weights are those of a NetworkChunk, and its
// state has a row for each sequence of the stream.
template <class T>
struct StepChunk {
    const NetworkChunk<T>* weights;       // net, embeddings, layers, output, output_bias
    Index rows;                           // that take a step
    const Index* row;                     // (rows): their places in the state
    const Index* state_offset;            // (rows): row * layers * H
    const T* x;                           // (rows, numbers)
    const std::int64_t* tokens;           // (rows, table_count), in the tables' ranges
    T *h, *c;                             // in and out: (B, layers, H); c null where there is none
    T* pooled;                            // in and out: (B, H), the sum or maximum over the steps
    const std::int64_t* steps;            // (B), with this one
    T* logits;                            // out: (rows, K)
    T* scratch;                           // step_scratch elements
};

// One instruction set's functions for one element type.
template <class T>
struct Kernels {
    Index lanes;
    Index (*packed_size)(const Layer&, const Products&);
    PackedWeights<T> (*pack)(const Layer&, const Weights<T>&, const Products&, T* into);
    Index (*gates_width)(const Layer&);  // Z*Hp, or 0 if the cell saves no gates
    Index (*cells_width)(const Layer&);  // Hp (lstm) or 0
    Index (*forward_scratch)(const Layer&, const Chunk&);
    void (*forward)(const ForwardChunk<T>&);
    Index (*backward_scratch)(const Layer&, const Chunk&);
    void (*backward)(const BackwardChunk<T>&);
    // Gradients as `backward` leaves them, to torch's layout.
    Index (*gradient_size)(const Layer&);
    void (*unpack_gradients)(const Layer&, const T* gradients, const WeightGradients<T>& into);

    // The linear layer at the end, weight (K, W), bias (K): packed, and its gradients.
    Index (*output_size)(Index K, Index W, bool backward);
    void (*pack_output)(Index K, Index W, const T* weight, const T* bias, bool backward, T* into,
                        NetworkChunk<T>* call);
    Index (*output_gradient_size)(Index K, Index W);
    void (*unpack_output)(Index K, Index W, const T* gradients, T* weight, T* bias);
    Index (*network_scratch)(const NetworkChunk<T>&);
    // Gradients: those of all layers and directions in order, then the output's.
    void (*network)(const NetworkChunk<T>&);
    Index (*step_scratch)(const StepChunk<T>&);
    void (*step)(const StepChunk<T>&);
};

struct InstructionSet {
    const char* name;
    Kernels<float> f32;
    Kernels<double> f64;

    template <class T>
    const Kernels<T>& of() const;
};

template <>
inline const Kernels<float>& InstructionSet::of<float>() const { return f32; }
template <>
inline const Kernels<double>& InstructionSet::of<double>() const { return f64; }

}  // namespace elman
