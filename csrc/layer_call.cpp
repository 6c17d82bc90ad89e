#include "layer_call.h"

#include <algorithm>
#include <vector>

#include "batch.h"
#include "pool.h"
#include "tables.h"

namespace elman {
namespace {

// Below so many multiplications and additions a call stays on one thread; see docs/kernels.md.
constexpr double least_work = 2e7;

thread_local Arena weights_arena, scratch_arena, gradients_arena;

template <class T>
T* numbers(Arena& arena, Index n) {
    return static_cast<T*>(arena.reserve(n * sizeof(T)));
}

int threads_for(const Layer& layer, const Batch& batch, double passes, int threads) {
    const double gates = layer.cell == Cell::lstm ? 4 : layer.cell == Cell::gru ? 3 : 1;
    const double steps = double(batch.first_step(batch.chunks()));
    const double work = 2.0 * steps * gates * double(layer.H) * double(layer.I + layer.H) * passes;
    return work < least_work ? 1 : threads;
}

// Where the rows of a batch, in its order, and the steps of a tensor begin.
template <class T>
class Places {
  public:
    Places(const Strided<T>& tensor, const Batch& batch, bool packable)
        : tensor_(tensor), step_(batch.T()), row_(batch.B()) {
        if (!tensor.data) return;
        for (Index t = 0; t < batch.T(); ++t) step_[t] = t * tensor.step;
        for (Index r = 0; r < batch.B(); ++r) row_[r] = batch.order()[r] * tensor.row;
        // All rows run to the end in the batch's own order: steps lie one behind the other.
        packed_ = packable && batch.chunks() == 1 && tensor.row > 0 &&
                          tensor.step == tensor.row * batch.B() &&
                          std::is_sorted(batch.order().begin(), batch.order().end()) &&
                          batch.first_step(1) == batch.T() * batch.B()
                      ? tensor.row
                      : 0;
    }
    View<T> view(Index first_row) const {
        return {tensor_.data, step_.data(), row_.data() + first_row, packed_};
    }

  private:
    Strided<T> tensor_;
    std::vector<Index> step_, row_;
    Index packed_ = 0;
};

template <class T>
void zero_padding(const Batch& batch, const Strided<T>& tensor, Index width) {
    if (!tensor.data) return;
    for (Index b = 0; b < batch.B(); ++b) {
        for (Index t = batch.length(b); t < batch.T(); ++t) {
            T* row = tensor.data + t * tensor.step + b * tensor.row;
            std::fill(row, row + width, T(0));
        }
    }
}

}  // namespace

template <class T>
Index reserve_gates(const Layer& layer) {
    return table().of<T>().gates_width(layer);
}

template <class T>
Index reserve_cells(const Layer& layer) {
    return table().of<T>().cells_width(layer);
}

template <class T>
void layer_forward(const LayerCall<T>& call, const Strided<T>& h_n, const Strided<T>& c_n) {
    const Kernels<T>& kernels = table().of<T>();
    const Layer& layer = call.layer;
    const bool keep = call.gates || call.cells;
    // Without anything kept for backward the rows may be cut to suit the threads.
    const Index chunks = keep               ? gradient_chunks(call.B)
                         : call.threads > 1 ? std::min<Index>(2 * call.threads, call.B / 8)
                                            : 1;
    const Batch batch(call.B, call.T_, call.lengths, chunks);
    const int threads = threads_for(layer, batch, 1, call.threads);
    const Packed<T> packed = kernels.pack(
        layer, call.weights, false, numbers<T>(weights_arena, kernels.packed_size(layer, false)));
    const Places<const T> x(call.x, batch, true), h0(call.h0, batch, false),
        c0(call.c0, batch, false);
    const Places<T> y(call.y, batch, false), hn(h_n, batch, false), cn(c_n, batch, false);
    const Index width = kernels.gates_width(layer), cells = kernels.cells_width(layer);

    parallel(int(batch.chunks()), threads, [&](int i) {
        const Index row = batch.first_row(i), step = batch.first_step(i);
        ForwardCall<T> c;
        c.layer = layer;
        c.weights = packed;
        c.chunk = batch.chunk(i);
        c.x = x.view(row);
        c.h0 = h0.view(row);
        c.c0 = c0.view(row);
        c.y = y.view(row);
        c.h_n = hn.view(row);
        c.c_n = cn.view(row);
        c.gates = call.gates ? call.gates + step * width : nullptr;
        c.cells = call.cells ? call.cells + step * cells : nullptr;
        c.scratch = numbers<T>(scratch_arena, kernels.forward_scratch(layer, c.chunk));
        kernels.forward(c);
    });
    if (call.lengths) zero_padding(batch, call.y, layer.H);
}

template <class T>
void layer_backward(const LayerCall<T>& call, const LayerGradients<T>& want) {
    const Kernels<T>& kernels = table().of<T>();
    const Layer& layer = call.layer;
    const Batch batch(call.B, call.T_, call.lengths, gradient_chunks(call.B));
    const int threads = threads_for(layer, batch, 2, call.threads);
    const Packed<T> packed = kernels.pack(
        layer, call.weights, true, numbers<T>(weights_arena, kernels.packed_size(layer, true)));
    const Places<const T> x(call.x, batch, true), h0(call.h0, batch, false),
        c0(call.c0, batch, false), y({call.y.data, call.y.step, call.y.row}, batch, false),
        dy(want.dy, batch, false), dh_n(want.dh_n, batch, false), dc_n(want.dc_n, batch, false);
    const Places<T> dx(want.dx, batch, false), dh0(want.dh0, batch, false),
        dc0(want.dc0, batch, false);
    const Index width = kernels.gates_width(layer), cells = kernels.cells_width(layer);
    const Index size = want.weight_ih ? kernels.gradient_size(layer) : 0;
    T* const sums = numbers<T>(gradients_arena, size * batch.chunks());

    parallel(int(batch.chunks()), threads, [&](int i) {
        const Index row = batch.first_row(i), step = batch.first_step(i);
        BackwardCall<T> c;
        c.layer = layer;
        c.weights = packed;
        c.chunk = batch.chunk(i);
        c.x = x.view(row);
        c.h0 = h0.view(row);
        c.c0 = c0.view(row);
        c.y = y.view(row);
        c.gates = call.gates ? call.gates + step * width : nullptr;
        c.cells = call.cells ? call.cells + step * cells : nullptr;
        c.dy = dy.view(row);
        c.dh_n = dh_n.view(row);
        c.dc_n = dc_n.view(row);
        c.dx = dx.view(row);
        c.dh0 = dh0.view(row);
        c.dc0 = dc0.view(row);
        if (size) {
            c.gradients = sums + i * size;
            std::fill(c.gradients, c.gradients + size, T(0));
        }
        c.scratch = numbers<T>(scratch_arena, kernels.backward_scratch(layer, c.chunk));
        kernels.backward(c);
    });
    if (size) {
        for (Index i = 1; i < batch.chunks(); ++i) {
            const T* from = sums + i * size;
            for (Index n = 0; n < size; ++n) sums[n] += from[n];
        }
        kernels.unpack_gradients(layer, sums, want.weight_ih, want.weight_hh, want.bias_ih,
                                 want.bias_hh);
    }
    if (call.lengths) zero_padding(batch, want.dx, layer.I);
}

#define ELMAN_INSTANTIATE(T)                                                                \
    template Index reserve_gates<T>(const Layer&);                                          \
    template Index reserve_cells<T>(const Layer&);                                          \
    template void layer_forward<T>(const LayerCall<T>&, const Strided<T>&, const Strided<T>&); \
    template void layer_backward<T>(const LayerCall<T>&, const LayerGradients<T>&);
ELMAN_INSTANTIATE(float)
ELMAN_INSTANTIATE(double)

}  // namespace elman
