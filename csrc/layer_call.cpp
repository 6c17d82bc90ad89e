#include "layer_call.h"

#include <algorithm>

#include "batch.h"
#include "memory.h"
#include "places.h"
#include "pool.h"
#include "tables.h"

namespace elman {
namespace {

// Below so many multiplications and additions a call stays on one thread; see docs/kernels.md.
constexpr double least_work = 2e7;

thread_local Arena weights_arena, scratch_arena, gradients_arena;

int threads_for(const Layer& layer, const Batch& batch, double passes, int threads) {
    const double gates = layer.cell == Cell::lstm ? 4 : layer.cell == Cell::gru ? 3 : 1;
    const double steps = double(batch.first_step(batch.chunks()));
    const double work = 2.0 * steps * gates * double(layer.H) * double(layer.I + layer.H) * passes;
    return work < least_work ? 1 : threads;
}

}  // namespace

template <class T>
Index reserve_width(const Layer& layer) {
    return table().of<T>().gates_width(layer) + table().of<T>().cells_width(layer);
}

template <class T>
void layer_forward(const LayerCall<T>& call, const Strided<T>& h_n, const Strided<T>& c_n) {
    const Kernels<T>& kernels = table().of<T>();
    const Layer& layer = call.layer;
    // Without anything kept for backward the rows may be cut to suit the threads.
    const Index chunks = call.reserve       ? gradient_chunks(call.B)
                         : call.threads > 1 ? std::min<Index>(2 * call.threads, call.B / 8)
                                            : 1;
    const Batch batch(call.B, call.T_, call.lengths, chunks);
    const int threads = threads_for(layer, batch, 1, call.threads);
    const Products products{true, false, false};
    const Packed<T> packed = kernels.pack(
        layer, call.weights, products, weights_arena.numbers<T>(kernels.packed_size(layer, products)));
    const Places<const T> x(call.x, batch), h0(call.h0, batch),
        c0(call.c0, batch);
    const Places<T> y(call.y, batch), hn(h_n, batch), cn(c_n, batch);
    const Index width = kernels.gates_width(layer), cells = kernels.cells_width(layer);
    T* const all_cells = call.reserve + call.B * call.T_ * width;

    parallel(int(batch.chunks()), threads, [&](int i) {
        const Index step = batch.first_step(i);
        ForwardCall<T> c;
        c.layer = layer;
        c.weights = packed;
        c.chunk = batch.chunk(i);
        c.x = x.view(i);
        c.h0 = h0.view(i);
        c.c0 = c0.view(i);
        c.y = y.view(i);
        c.h_n = hn.view(i);
        c.c_n = cn.view(i);
        c.gates = call.reserve ? call.reserve + step * width : nullptr;
        c.cells = call.reserve ? all_cells + step * cells : nullptr;
        c.scratch = scratch_arena.numbers<T>(kernels.forward_scratch(layer, c.chunk));
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
    const Products products{false, true, want.dx.data != nullptr};
    const Packed<T> packed = kernels.pack(
        layer, call.weights, products, weights_arena.numbers<T>(kernels.packed_size(layer, products)));
    const Places<const T> x(call.x, batch), h0(call.h0, batch),
        c0(call.c0, batch), y({call.y.data, call.y.step, call.y.row}, batch),
        dy(want.dy, batch), dh_n(want.dh_n, batch), dc_n(want.dc_n, batch);
    const Places<T> dx(want.dx, batch), dh0(want.dh0, batch),
        dc0(want.dc0, batch);
    const Index width = kernels.gates_width(layer), cells = kernels.cells_width(layer);
    T* const all_cells = call.reserve + call.B * call.T_ * width;
    const Index size = want.weight_ih ? kernels.gradient_size(layer) : 0;
    T* const sums = gradients_arena.numbers<T>(size * batch.chunks());

    parallel(int(batch.chunks()), threads, [&](int i) {
        const Index step = batch.first_step(i);
        BackwardCall<T> c;
        c.layer = layer;
        c.weights = packed;
        c.chunk = batch.chunk(i);
        c.x = x.view(i);
        c.h0 = h0.view(i);
        c.c0 = c0.view(i);
        c.y = y.view(i);
        c.gates = call.reserve ? call.reserve + step * width : nullptr;
        c.cells = call.reserve ? all_cells + step * cells : nullptr;
        c.dy = dy.view(i);
        c.dh_n = dh_n.view(i);
        c.dc_n = dc_n.view(i);
        c.dx = dx.view(i);
        c.dh0 = dh0.view(i);
        c.dc0 = dc0.view(i);
        if (size) c.gradients = sums + i * size;
        c.scratch = scratch_arena.numbers<T>(kernels.backward_scratch(layer, c.chunk));
        kernels.backward(c);
    });
    if (size) {
        kernels.unpack_gradients(layer, sums, batch.chunks(), size, want.weight_ih, want.weight_hh,
                                 want.bias_ih, want.bias_hh);
    }
    if (call.lengths) zero_padding(batch, want.dx, layer.I);
}

#define ELMAN_INSTANTIATE(T)                                                                \
    template Index reserve_width<T>(const Layer&);                                          \
    template void layer_forward<T>(const LayerCall<T>&, const Strided<T>&, const Strided<T>&); \
    template void layer_backward<T>(const LayerCall<T>&, const LayerGradients<T>&);
ELMAN_INSTANTIATE(float)
ELMAN_INSTANTIATE(double)

}  // namespace elman
