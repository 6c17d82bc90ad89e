// elman._core: the kernels as Python sees them. The only file that knows Python.
//
// Tensors come as addresses and strides (in numbers, not bytes); shapes, dtypes, devices and lifetimes
// are checked by the caller, src/elman/ops/_native.py. Address 0 means "none". The interpreter's lock
// is released while a call computes.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "batch.h"
#include "layer_call.h"
#include "tables.h"

namespace nb = nanobind;
using namespace elman;

namespace {

using Address = std::uintptr_t;

template <class T>
T* at(Address address) {
    return reinterpret_cast<T*>(address);
}

Cell cell_of(const std::string& name) {
    if (name == "rnn_tanh") return Cell::rnn_tanh;
    if (name == "rnn_relu") return Cell::rnn_relu;
    if (name == "gru") return Cell::gru;
    if (name == "lstm") return Cell::lstm;
    throw std::invalid_argument("cell: got " + name);
}

// A tensor (steps, rows, width): address, stride of steps, stride of rows.
struct Tensor {
    Address address = 0;
    Index step = 0, row = 0;

    template <class T>
    Strided<T> of() const {
        return {at<T>(address), step, row};
    }
};

Tensor tensor(const nb::tuple& t) {
    return {nb::cast<Address>(t[0]), nb::cast<Index>(t[1]), nb::cast<Index>(t[2])};
}

Tensor state(Address address, Index H) { return {address, 0, H}; }

// What forward and backward are both told.
struct Call {
    Cell cell;
    bool is_double, reverse;
    Index B, T, I, H;
    Address lengths;
    std::vector<Address> weights;
    Tensor x, y;
    Address h0, c0, gates, cells;
    int threads;

    Call(const std::string& cell, bool is_double, bool reverse, const nb::tuple& sizes,
         Address lengths, std::vector<Address> weights, const nb::tuple& x, const nb::tuple& y,
         Address h0, Address c0, Address gates, Address cells, int threads)
        : cell(cell_of(cell)),
          is_double(is_double),
          reverse(reverse),
          B(nb::cast<Index>(sizes[0])),
          T(nb::cast<Index>(sizes[1])),
          I(nb::cast<Index>(sizes[2])),
          H(nb::cast<Index>(sizes[3])),
          lengths(lengths),
          weights(std::move(weights)),
          x(tensor(x)),
          y(tensor(y)),
          h0(h0),
          c0(c0),
          gates(gates),
          cells(cells),
          threads(threads) {
        if (this->weights.size() != 4) throw std::invalid_argument("weights: expected 4 addresses");
    }

    template <class N>
    LayerCall<N> of() const {
        LayerCall<N> c;
        c.layer = {cell, I, H, reverse};
        c.B = B;
        c.T_ = T;
        c.lengths = at<const std::int64_t>(lengths);
        c.weights = {at<const N>(weights[0]), at<const N>(weights[1]), at<const N>(weights[2]),
                     at<const N>(weights[3])};
        c.x = x.of<const N>();
        c.y = y.of<N>();
        c.h0 = state(h0, H).of<const N>();
        c.c0 = state(c0, H).of<const N>();
        c.gates = at<N>(gates);
        c.cells = at<N>(cells);
        c.threads = threads;
        return c;
    }
};

template <class N>
void forward(const Call& call, Address h_n, Address c_n) {
    layer_forward<N>(call.of<N>(), state(h_n, call.H).of<N>(), state(c_n, call.H).of<N>());
}

template <class N>
void backward(const Call& call, const Tensor& dy, Address dh_n, Address dc_n, const Tensor& dx,
              Address dh0, Address dc0, const std::vector<Address>& gradients) {
    LayerGradients<N> g;
    g.dy = dy.of<const N>();
    g.dh_n = state(dh_n, call.H).of<const N>();
    g.dc_n = state(dc_n, call.H).of<const N>();
    g.dx = dx.of<N>();
    g.dh0 = state(dh0, call.H).of<N>();
    g.dc0 = state(dc0, call.H).of<N>();
    g.weight_ih = at<N>(gradients[0]);
    g.weight_hh = at<N>(gradients[1]);
    g.bias_ih = at<N>(gradients[2]);
    g.bias_hh = at<N>(gradients[3]);
    layer_backward<N>(call.of<N>(), g);
}

std::vector<std::string> isas() {
    int count;
    const Table* const* tables = runnable_tables(&count);
    std::vector<std::string> names;
    for (int i = 0; i < count; ++i) names.emplace_back(tables[i]->isa);
    return names;
}

}  // namespace

NB_MODULE(_core, m) {
    m.doc() = "CPU kernels of elman; used through elman.ops and elman.train.";

    m.def("isa", [] { return std::string(table().isa); }, "The instruction set in use.");
    m.def("isas", &isas, "Instruction sets that are compiled in and run here, slowest first.");
    m.def(
        "use_isa",
        [](const std::string& name) {
            if (!use_table(name.c_str())) {
                throw std::invalid_argument("isa: " + name + " does not run here");
            }
        },
        nb::arg("name").noconvert(), "Use another instruction set from now on, to test it.");

    m.def(
        "reserve",
        [](const std::string& cell, bool is_double, Index H) {
            const Layer layer{cell_of(cell), 1, H, false};
            return is_double ? nb::make_tuple(reserve_gates<double>(layer),
                                              reserve_cells<double>(layer))
                             : nb::make_tuple(reserve_gates<float>(layer),
                                              reserve_cells<float>(layer));
        },
        nb::arg("cell").noconvert(), nb::arg("is_double").noconvert(),
        nb::arg("hidden_size").noconvert(),
        "Numbers a valid step that forward keeps for backward: (gates, cells).");

    nb::class_<Call>(m, "LayerCall", "One layer, one direction, one batch: see layer_call.h.")
        .def(nb::init<const std::string&, bool, bool, const nb::tuple&, Address,
                      std::vector<Address>, const nb::tuple&, const nb::tuple&, Address, Address,
                      Address, Address, int>(),
             nb::arg("cell").noconvert(), nb::arg("is_double").noconvert(),
             nb::arg("reverse").noconvert(), nb::arg("sizes").noconvert(),
             nb::arg("lengths").noconvert(), nb::arg("weights").noconvert(),
             nb::arg("x").noconvert(), nb::arg("y").noconvert(), nb::arg("h0").noconvert(),
             nb::arg("c0").noconvert(), nb::arg("gates").noconvert(), nb::arg("cells").noconvert(),
             nb::arg("threads").noconvert())
        .def(
            "forward",
            [](const Call& call, Address h_n, Address c_n) {
                nb::gil_scoped_release release;
                (call.is_double ? forward<double> : forward<float>)(call, h_n, c_n);
            },
            nb::arg("h_n").noconvert(), nb::arg("c_n").noconvert())
        .def(
            "backward",
            [](const Call& call, const nb::tuple& dy, Address dh_n, Address dc_n,
               const nb::tuple& dx, Address dh0, Address dc0,
               const std::vector<Address>& gradients) {
                if (gradients.size() != 4) {
                    throw std::invalid_argument("gradients: expected 4 addresses");
                }
                const Tensor from = tensor(dy), to = tensor(dx);
                nb::gil_scoped_release release;
                (call.is_double ? backward<double> : backward<float>)(call, from, dh_n, dc_n, to,
                                                                      dh0, dc0, gradients);
            },
            nb::arg("dy").noconvert(), nb::arg("dh_n").noconvert(), nb::arg("dc_n").noconvert(),
            nb::arg("dx").noconvert(), nb::arg("dh0").noconvert(), nb::arg("dc0").noconvert(),
            nb::arg("gradients").noconvert());
}
