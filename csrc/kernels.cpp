// The kernels of one instruction set: this file is compiled once for each, with its own flags.
//
// No inline function of the standard library may be used here or in what is included: the linker
// keeps one copy of each, and it could be one that another processor cannot run.
#include "layer.h"
#include "pack.h"
#include "tables.h"

namespace elman::ELMAN_ISA {

// Call f with the type of the layer's cell.
template <class T, class F>
auto with_cell(const Layer& layer, F f) {
    switch (layer.cell) {
        case Cell::rnn_relu: return f(SimpleCell<T, true>{});
        case Cell::gru: return f(GruCell<T>{});
        case Cell::lstm: return f(LstmCell<T>{});
        default: return f(SimpleCell<T, false>{});
    }
}

template <class T>
Kernels<T> kernels() {
    Kernels<T> k;
    k.lanes = lanes<T>;
    k.packed_size = [](const Layer& layer, bool backward) {
        return with_cell<T>(layer, [&](auto c) {
            return packed_size<T, decltype(c)>(layer, backward);
        });
    };
    k.pack = [](const Layer& layer, const Weights<T>& weights, bool backward, T* into) {
        return with_cell<T>(layer, [&](auto c) {
            return pack<T, decltype(c)>(layer, weights, backward, into);
        });
    };
    k.gates_width = [](const Layer& layer) {
        return with_cell<T>(layer, [&](auto c) {
            return c.keeps_gates ? c.Z * padded<T>(layer.H) : Index(0);
        });
    };
    k.cells_width = [](const Layer& layer) {
        return with_cell<T>(layer, [&](auto c) { return c.has_c ? padded<T>(layer.H) : Index(0); });
    };
    k.forward_scratch = [](const Layer& layer, const Chunk& chunk) {
        return with_cell<T>(layer, [&](auto c) {
            return Sizes<T, decltype(c)>(layer, chunk).forward_scratch(chunk.rows);
        });
    };
    k.forward = [](const ForwardCall<T>& call) {
        with_cell<T>(call.layer, [&](auto c) { forward<T, decltype(c)>(call); });
    };
    k.backward_scratch = [](const Layer& layer, const Chunk& chunk) {
        return with_cell<T>(layer, [&](auto c) {
            return Sizes<T, decltype(c)>(layer, chunk).backward_scratch(chunk.rows);
        });
    };
    k.backward = [](const BackwardCall<T>& call) {
        with_cell<T>(call.layer, [&](auto c) { backward<T, decltype(c)>(call); });
    };
    k.gradient_size = [](const Layer& layer) {
        return with_cell<T>(layer, [&](auto c) { return gradient_size<T, decltype(c)>(layer); });
    };
    k.unpack_gradients = [](const Layer& layer, const T* from, T* weight_ih, T* weight_hh,
                            T* bias_ih, T* bias_hh) {
        with_cell<T>(layer, [&](auto c) {
            unpack_gradients<T, decltype(c)>(layer, from, weight_ih, weight_hh, bias_ih, bias_hh);
        });
    };
    return k;
}

}  // namespace elman::ELMAN_ISA

#define ELMAN_JOIN_(a, b) a##b
#define ELMAN_JOIN(a, b) ELMAN_JOIN_(a, b)
#define ELMAN_TEXT_(a) #a
#define ELMAN_TEXT(a) ELMAN_TEXT_(a)

namespace elman {

const Table& ELMAN_JOIN(table_, ELMAN_ISA)() {
    static const Table table = {ELMAN_TEXT(ELMAN_ISA), ELMAN_ISA::kernels<float>(),
                                ELMAN_ISA::kernels<double>()};
    return table;
}

}  // namespace elman
