// The kernels of one instruction set: this file is compiled once for each, with its own flags.
//
// No inline function of the standard library may be used here or in the headers included: the
// linker keeps one copy of each, and an AVX-512 copy would end a plain processor's program with
// SIGILL. Link-time optimisation is off for the same reason (CMakeLists.txt); tests/test_build.py
// looks for such symbols.
#include "network.h"
#include "pack.h"
#include "step.h"
#include "dispatch.h"

namespace elman::ELMAN_ISA {

template <class T>
Kernels<T> make_kernels() {
    Kernels<T> k;
    k.lanes = lanes<T>;
    k.packed_size = [](const Layer& layer, const Products& products) {
        return with_cell<T>(layer.cell, [&](auto c) {
            return packed_size<T, decltype(c)>(layer, products);
        });
    };
    k.pack = [](const Layer& layer, const Weights<T>& weights, const Products& products, T* into) {
        return with_cell<T>(layer.cell, [&](auto c) {
            return pack<T, decltype(c)>(layer, weights, products, into);
        });
    };
    k.gates_width = [](const Layer& layer) { return gates_width<T>(layer.cell, layer.H); };
    k.cells_width = [](const Layer& layer) { return cells_width<T>(layer.cell, layer.H); };
    k.forward_scratch = forward_scratch<T>;
    k.forward = forward<T>;
    k.backward_scratch = backward_scratch<T>;
    k.backward = backward<T>;
    k.gradient_size = [](const Layer& layer) {
        return with_cell<T>(layer.cell,
                            [&](auto c) { return gradient_size<T, decltype(c)>(layer); });
    };
    k.unpack_gradients = [](const Layer& layer, const T* from, const WeightGradients<T>& into) {
        with_cell<T>(layer.cell,
                     [&](auto c) { unpack_gradients<T, decltype(c)>(layer, from, into); });
    };
    k.output_size = output_size<T>;
    k.pack_output = pack_output<T>;
    k.output_gradient_size = output_gradient_size<T>;
    k.unpack_output = unpack_output<T>;
    k.network_scratch = network_scratch<T>;
    k.network = run_network_chunk<T>;
    k.step_scratch = step_scratch<T>;
    k.step = run_step<T>;
    return k;
}

}  // namespace elman::ELMAN_ISA

#define ELMAN_JOIN_(a, b) a##b
#define ELMAN_JOIN(a, b) ELMAN_JOIN_(a, b)
#define ELMAN_TEXT_(a) #a
#define ELMAN_TEXT(a) ELMAN_TEXT_(a)

namespace elman {

const InstructionSet& ELMAN_JOIN(isa_, ELMAN_ISA)() {
    static const InstructionSet isa = {ELMAN_TEXT(ELMAN_ISA), ELMAN_ISA::make_kernels<float>(),
                                       ELMAN_ISA::make_kernels<double>()};
    return isa;
}

}  // namespace elman
