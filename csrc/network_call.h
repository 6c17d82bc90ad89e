// A whole network on a whole batch of the caller's tensors: outputs, or loss and all gradients.
#pragma once

#include <vector>

#include "views.h"

namespace elman {

template <class T>
struct NetworkCall {
    Network net;
    Index rows, steps;                      // B, T
    const std::int64_t* lengths = nullptr;  // (B), 1 to T, or null for T
    // In the order of torch's model: embeddings, then weight_ih, weight_hh, bias_ih, bias_hh of each
    // layer and direction (biases null if there are none), then the output's weight and bias.
    std::vector<const T*> parameters;
    Strided<const T> x;                      // (T, B, C): numbers, then a code for each table
    Strided<const std::int64_t> tokens;      // or (T, B), ids for the only table
    Strided<const std::uint8_t> mask_input;  // dropout as in NetworkChunk, or none
    std::vector<Strided<const std::uint8_t>> masks;
    Strided<const std::uint8_t> mask_output;
    T keep = 1;
    // States before the first step, none for zeros, and after each row's last step, none if not
    // wanted: (layers * directions, B, H); c of an lstm only. They must not overlap.
    Strided<const T> h0, c0;
    Strided<T> h_n, c_n;
    Strided<T> logits;  // (1, B, K), or (T, B, K) if every, zero past each row's end
    int threads = 1;

    std::vector<T*> gradients;  // as parameters, written; empty: forward only
    Loss loss = Loss::cross_entropy;
    Strided<const std::int64_t> codes;  // (1, B) or (T, B): class, negative for none
    Strided<const T> values;            // (1, B, K) or (T, B, K)
    const T* class_weight = nullptr;    // (K), or null
    T smoothing = 0;
};

// Elements of the packed weights of all layers and the output, and those weights: in `into`, as the
// chunk's pointers have them; the layers' are returned, in the order of the parameters.
template <class T>
Index packed_size(const Network& net, bool backward);
template <class T>
std::vector<PackedWeights<T>> pack(const Network& net, const T* const* parameters, bool backward,
                                   T* into, NetworkChunk<T>* chunk);

// The token that `value` is, or the code in column `column`. Raises std::out_of_range.
template <class N>
std::int64_t checked_token(N value, const Table& table, Index column = -1);

// Multiplications and additions of one step of one row, forward.
double step_work(const Network& net);

// The mean loss, as torch.nn.functional.cross_entropy or mse_loss; 0 if forward only.
// Raises std::out_of_range for a token, code or class that the network does not have.
template <class T>
double run_network(const NetworkCall<T>& batch);

// Square root of the sum of squares, always summed in the same order: torch's own sum depends on
// its number of threads, and with it the factor that clips a step's gradients.
template <class T>
double norm(const T* x, Index n);

}  // namespace elman
