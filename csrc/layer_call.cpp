#include "layer_call.h"

#include <cstring>
#include <vector>

#include "batch.h"
#include "dispatch.h"
#include "pool.h"
#include "sum.h"
#include "views.h"
#include "work.h"

namespace elman {
namespace {

// What forward saves: first the gates of all chunks' packed steps, then the cell states of all. One
// piece of memory, so that autograd has one tensor to hold; packed, so that a ragged batch writes
// and reads only its valid steps; chunk after chunk, so that a thread works within a contiguous
// part. The size is that of B * T steps though, which are known before the lengths are read: pages
// past the last valid step are never touched.
template <class T>
class Reserve {
  public:
    Reserve(const LayerCall<T>& call, const Batch& batch)
        : memory_(call.reserve),
          batch_(batch),
          gates_(active_kernels<T>().gates_width(call.layer)),
          cells_(active_kernels<T>().cells_width(call.layer)) {}

    T* gates(Index chunk) const {
        return memory_ && gates_ ? memory_ + batch_.steps_before(chunk) * gates_ : nullptr;
    }
    T* cells(Index chunk) const {
        if (!memory_ || !cells_) return nullptr;
        return memory_ + batch_.valid_steps() * gates_ + batch_.steps_before(chunk) * cells_;
    }

  private:
    T* const memory_;
    const Batch& batch_;
    const Index gates_, cells_;
};

template <class T>
PackedWeights<T> pack(const LayerCall<T>& call, const Products& products) {
    const Kernels<T>& kernels = active_kernels<T>();
    const Index size = kernels.packed_size(call.layer, products);
    return kernels.pack(call.layer, call.weights, products,
                        workspace().weights.elements<T>(size));
}

// Packed weights of the layers that this thread has stepped lately, for calls of so few steps that
// packing would take most of their time. A copy of the weights says whether they are still the same:
// comparing is several times faster than packing, and no way of changing a weight escapes it.
template <class T>
class PackedStore {
  public:
    // Null for a layer that is too large: reading its weights costs as much as packing them.
    const PackedWeights<T>* find(const Layer& layer, const Weights<T>& w) {
        const Index G = gate_count(layer.cell) * layer.H;
        const struct {
            const T* data;
            Index size;
        } parts[] = {{w.weight_ih, G * layer.I},
                     {w.weight_hh, G * layer.Y()},
                     {w.bias_ih, w.bias_ih ? G : 0},
                     {w.bias_hh, w.bias_hh ? G : 0},
                     {w.weight_hr, layer.P * layer.H}};
        Index size = 0;
        for (const auto& part : parts) size += part.size;
        if (size > most / Index(sizeof(T))) return nullptr;
        const Kernels<T>& kernels = active_kernels<T>();
        Entry* entry = nullptr;
        // The copy decides; the address and the sizes only say which one to compare with.
        for (Entry& e : entries_) {
            if (e.weights == w.weight_ih && e.kernels == &kernels && e.biases == bool(w.bias_ih) &&
                e.layer.cell == layer.cell && e.layer.I == layer.I && e.layer.H == layer.H &&
                e.layer.P == layer.P) {
                entry = &e;
            }
        }
        bool same = entry != nullptr;
        const T* copy = entry ? entry->copy.data() : nullptr;
        for (const auto& part : parts) {
            same = same && (!part.size ||  // null where there is none
                            std::memcmp(copy, part.data, part.size * sizeof(T)) == 0);
            copy += part.size;
        }
        if (same) return &entry->packed;
        if (!entry) entry = &entries_[next_++ % count];
        entry->copy.clear();
        for (const auto& part : parts) {
            entry->copy.insert(entry->copy.end(), part.data, part.data + part.size);
        }
        const Products products{true, false, false};
        T* const into = entry->memory.template elements<T>(kernels.packed_size(layer, products));
        entry->packed = kernels.pack(layer, w, products, into);
        entry->layer = layer;
        entry->weights = w.weight_ih;
        entry->kernels = &kernels;
        entry->biases = bool(w.bias_ih);
        return &entry->packed;
    }

  private:
    static constexpr Index most = 2 << 20;  // bytes of a layer's weights
    static constexpr unsigned count = 8;    // layers
    struct Entry {
        Layer layer{};
        const T* weights = nullptr;
        const Kernels<T>* kernels = nullptr;
        bool biases = false;
        std::vector<T> copy;
        Arena memory;
        PackedWeights<T> packed;
    };
    Entry entries_[count];
    unsigned next_ = 0;
};

}  // namespace

template <class T>
void layer_step(const Layer& layer, const Weights<T>& weights, const T* x, const T* h0, const T* c0,
                T* y, T* h_n, T* c_n) {
    thread_local PackedStore<T> store;
    const Kernels<T>& kernels = active_kernels<T>();
    const PackedWeights<T>* packed = store.find(layer, weights);
    const Products products{true, false, false};
    const Index active[] = {1}, offset[] = {0, 1};
    ForwardChunk<T> f;
    f.layer = layer;
    f.chunk = {1, 1, active, offset};
    if (packed) {
        f.weights = *packed;
    } else {
        const Index size = kernels.packed_size(layer, products);
        f.weights = kernels.pack(layer, weights, products, workspace().weights.elements<T>(size));
    }
    f.x = View<const T>::packed(x, offset, layer.I);
    f.h0 = View<const T>::packed(h0, nullptr, layer.Y());
    f.c0 = View<const T>::packed(c0, nullptr, layer.H);
    f.y = View<T>::packed(y, offset, layer.Y());
    f.h_n = View<T>::packed(h_n, nullptr, layer.Y());
    f.c_n = View<T>::packed(c_n, nullptr, layer.H);
    f.scratch = workspace().scratch.elements<T>(kernels.forward_scratch(layer, f.chunk));
    parallel(1, 1, [&](int) { kernels.forward(f); });  // it flushes denormal numbers to zero
}

template <class T>
Index reserve_width(const Layer& layer) {
    return active_kernels<T>().gates_width(layer) + active_kernels<T>().cells_width(layer);
}

template <class T>
void layer_forward(const LayerCall<T>& call, const Strided<T>& h_n, const Strided<T>& c_n) {
    const Kernels<T>& kernels = active_kernels<T>();
    const Layer& layer = call.layer;
    // The reserve's layout follows the chunks, so forward must cut the batch as backward will.
    const Batch batch(call.rows, call.steps, call.lengths,
                      call.reserve ? gradient_chunks(call.rows)
                                   : forward_chunks(call.rows, call.threads));
    const PackedWeights<T> packed = pack(call, {true, false, false});
    const Reserve<T> reserve(call, batch);
    const ChunkViews<const T> x(call.x, batch), h0(call.h0, batch), c0(call.c0, batch);
    const ChunkViews<T> y(call.y, batch), h(h_n, batch), c(c_n, batch);

    const double work = step_work(layer) * double(batch.valid_steps());
    parallel(int(batch.chunks()), worthwhile_threads(work, call.threads), [&](int i) {
        ForwardChunk<T> f;
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
        f.scratch = scratch.elements<T>(kernels.forward_scratch(layer, f.chunk));
        kernels.forward(f);
        scratch.trim();
    });
    workspace().weights.trim();
    if (call.lengths) zero_padding(batch, call.y, layer.Y());
}

template <class T>
void layer_backward(const LayerCall<T>& call, const LayerGradients<T>& g) {
    const Kernels<T>& kernels = active_kernels<T>();
    const Layer& layer = call.layer;
    const Batch batch(call.rows, call.steps, call.lengths, gradient_chunks(call.rows));
    const PackedWeights<T> packed = pack(call, {false, true, g.dx.data != nullptr});
    const Reserve<T> reserve(call, batch);
    const ChunkViews<const T> x(call.x, batch), h0(call.h0, batch), c0(call.c0, batch),
        y(call.y.constant(), batch), dy(g.dy, batch),
        dh_n(g.dh_n, batch), dc_n(g.dc_n, batch);
    const ChunkViews<T> dx(g.dx, batch), dh0(g.dh0, batch), dc0(g.dc0, batch);
    OrderedSum<T> sum(kernels.gradient_size(layer), batch.chunks());

    const double work = 2 * step_work(layer) * double(batch.valid_steps());
    parallel(int(batch.chunks()), worthwhile_threads(work, call.threads), [&](int i) {
        BackwardChunk<T> b;
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
        if (g.weights.weight_ih) b.gradients = sum.begin();
        Arena& scratch = workspace().scratch;
        b.scratch = scratch.elements<T>(kernels.backward_scratch(layer, b.chunk));
        kernels.backward(b);
        scratch.trim();
        if (b.gradients) sum.end(i, b.gradients);
    });
    workspace().weights.trim();
    if (g.weights.weight_ih) kernels.unpack_gradients(layer, sum.total(), g.weights);
    if (call.lengths) zero_padding(batch, g.dx, layer.I);
}

#define ELMAN_INSTANTIATE(T)                                                                \
    template Index reserve_width<T>(const Layer&);                                          \
    template void layer_step<T>(const Layer&, const Weights<T>&, const T*, const T*, const T*, T*, \
                                T*, T*);                                                      \
    template void layer_forward<T>(const LayerCall<T>&, const Strided<T>&, const Strided<T>&); \
    template void layer_backward<T>(const LayerCall<T>&, const LayerGradients<T>&);
ELMAN_INSTANTIATE(float)
ELMAN_INSTANTIATE(double)

}  // namespace elman
