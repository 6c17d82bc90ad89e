#include "layer_call.h"

#include "batch.h"
#include "places.h"
#include "pool.h"
#include "sum.h"
#include "tables.h"
#include "work.h"

namespace elman {
namespace {

// What forward keeps: gates of all chunks' packed steps, then cell states of all.
template <class T>
class Reserve {
  public:
    Reserve(const LayerCall<T>& call, const Batch& batch)
        : memory_(call.reserve),
          batch_(batch),
          gates_(table().of<T>().gates_width(call.layer)),
          cells_(table().of<T>().cells_width(call.layer)) {}

    T* gates(Index chunk) const {
        return memory_ && gates_ ? memory_ + batch_.first_step(chunk) * gates_ : nullptr;
    }
    T* cells(Index chunk) const {
        if (!memory_ || !cells_) return nullptr;
        return memory_ + batch_.steps() * gates_ + batch_.first_step(chunk) * cells_;
    }

  private:
    T* const memory_;
    const Batch& batch_;
    const Index gates_, cells_;
};

template <class T>
Packed<T> pack(const LayerCall<T>& call, const Products& products) {
    const Kernels<T>& kernels = table().of<T>();
    const Index size = kernels.packed_size(call.layer, products);
    return kernels.pack(call.layer, call.weights, products,
                        workspace().weights.numbers<T>(size));
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
    // What is kept for backward lies as backward cuts the batch.
    const Batch batch(call.B, call.T_, call.lengths,
                      call.reserve ? gradient_chunks(call.B)
                                   : forward_chunks(call.B, call.threads));
    const Packed<T> packed = pack(call, {true, false, false});
    const Reserve<T> reserve(call, batch);
    const Places<const T> x(call.x, batch), h0(call.h0, batch), c0(call.c0, batch);
    const Places<T> y(call.y, batch), h(h_n, batch), c(c_n, batch);

    const double work = step_work(layer) * double(batch.steps());
    parallel(int(batch.chunks()), worthwhile_threads(work, call.threads), [&](int i) {
        ForwardCall<T> f;
        f.layer = layer;
        f.weights = packed;
        f.chunk = batch.chunk(i);
        f.x = x.view(i);
        f.h0 = h0.view(i);
        f.c0 = c0.view(i);
        f.y = y.view(i);
        f.h_n = h.view(i);
        f.c_n = c.view(i);
        f.gates = reserve.gates(i);
        f.cells = reserve.cells(i);
        Arena& scratch = workspace().scratch;
        f.scratch = scratch.numbers<T>(kernels.forward_scratch(layer, f.chunk));
        kernels.forward(f);
        scratch.trim();
    });
    workspace().weights.trim();
    if (call.lengths) zero_padding(batch, call.y, layer.H);
}

template <class T>
void layer_backward(const LayerCall<T>& call, const LayerGradients<T>& want) {
    const Kernels<T>& kernels = table().of<T>();
    const Layer& layer = call.layer;
    const Batch batch(call.B, call.T_, call.lengths, gradient_chunks(call.B));
    const Packed<T> packed = pack(call, {false, true, want.dx.data != nullptr});
    const Reserve<T> reserve(call, batch);
    const Places<const T> x(call.x, batch), h0(call.h0, batch), c0(call.c0, batch),
        y({call.y.data, call.y.step, call.y.row}, batch), dy(want.dy, batch),
        dh_n(want.dh_n, batch), dc_n(want.dc_n, batch);
    const Places<T> dx(want.dx, batch), dh0(want.dh0, batch), dc0(want.dc0, batch);
    OrderedSum<T> sum(kernels.gradient_size(layer), batch.chunks());

    const double work = 2 * step_work(layer) * double(batch.steps());
    parallel(int(batch.chunks()), worthwhile_threads(work, call.threads), [&](int i) {
        BackwardCall<T> b;
        b.layer = layer;
        b.weights = packed;
        b.chunk = batch.chunk(i);
        b.x = x.view(i);
        b.h0 = h0.view(i);
        b.c0 = c0.view(i);
        b.y = y.view(i);
        b.gates = reserve.gates(i);
        b.cells = reserve.cells(i);
        b.dy = dy.view(i);
        b.dh_n = dh_n.view(i);
        b.dc_n = dc_n.view(i);
        b.dx = dx.view(i);
        b.dh0 = dh0.view(i);
        b.dc0 = dc0.view(i);
        if (want.weight_ih) b.gradients = sum.begin();
        Arena& scratch = workspace().scratch;
        b.scratch = scratch.numbers<T>(kernels.backward_scratch(layer, b.chunk));
        kernels.backward(b);
        scratch.trim();
        if (b.gradients) sum.end(i, b.gradients);
    });
    workspace().weights.trim();
    if (want.weight_ih) {
        kernels.unpack_gradients(layer, sum.total(), want.weight_ih, want.weight_hh, want.bias_ih,
                                 want.bias_hh);
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
