// elman._core: the kernels as Python sees them. The only file that knows Python.
//
// Tensors come as addresses and strides (in numbers, not bytes); shapes, dtypes, devices and lifetimes
// are checked by the caller, src/elman/ops/_native.py. Address 0 means "none". The interpreter's lock
// is released while a call computes.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "batch.h"
#include "layer_call.h"
#include "memory.h"
#include "network_call.h"
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
    Address h0, c0, reserve;
    int threads;

    Call(const std::string& cell, bool is_double, bool reverse, const nb::tuple& sizes,
         Address lengths, std::vector<Address> weights, const nb::tuple& x, const nb::tuple& y,
         Address h0, Address c0, Address reserve, int threads)
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
          reserve(reserve),
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
        c.reserve = at<N>(reserve);
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

Readout readout_of(const std::string& name) {
    if (name == "last") return Readout::last;
    if (name == "mean") return Readout::mean;
    if (name == "max") return Readout::max;
    if (name == "every") return Readout::every;
    throw std::invalid_argument("readout: got " + name);
}

Loss loss_of(const std::string& name) {
    if (name == "cross_entropy") return Loss::cross_entropy;
    if (name == "squared_error") return Loss::squared_error;
    throw std::invalid_argument("loss: got " + name);
}

// A network's shape; the parameters come with every call.
struct PyNetwork {
    bool is_double;
    Network net;

    std::size_t parameters() const {
        return std::size_t(net.vocabulary ? 1 : 0) + 4 * net.layers * net.directions + 2;
    }
};

struct Targets {
    std::vector<Address> gradients;
    Loss loss = Loss::cross_entropy;
    Tensor target;
    Address class_weight = 0;
    double smoothing = 0;
};

struct Inputs {
    std::vector<Address> parameters;
    Index B, T;
    Address lengths;
    Tensor x, mask_input, mask_output, logits;
    std::vector<Tensor> masks;
    double keep;
    int threads;
};

template <class N>
double run(const PyNetwork& network, const Inputs& in, const Targets& to) {
    NetworkBatch<N> b;
    b.net = network.net;
    b.B = in.B;
    b.T_ = in.T;
    b.lengths = at<const std::int64_t>(in.lengths);
    for (const Address p : in.parameters) b.parameters.push_back(at<const N>(p));
    if (network.net.vocabulary) {
        b.tokens = in.x.of<const std::int64_t>();
    } else {
        b.x = in.x.of<const N>();
    }
    b.mask_input = in.mask_input.of<const std::uint8_t>();
    for (const Tensor& mask : in.masks) b.masks.push_back(mask.of<const std::uint8_t>());
    b.mask_output = in.mask_output.of<const std::uint8_t>();
    b.keep = N(in.keep);
    b.logits = in.logits.of<N>();
    b.threads = in.threads;
    for (const Address g : to.gradients) b.gradients.push_back(at<N>(g));
    b.loss = to.loss;
    if (to.loss == Loss::cross_entropy) {
        b.codes = to.target.of<const std::int64_t>();
    } else {
        b.values = to.target.of<const N>();
    }
    b.class_weight = at<const N>(to.class_weight);
    b.smoothing = N(to.smoothing);
    return run_batch<N>(b);
}

double run_network(const PyNetwork& network, std::vector<Address> parameters,
                   const nb::tuple& sizes, Address lengths, const nb::tuple& x,
                   const nb::tuple& masks, double keep, const nb::tuple& logits, int threads,
                   Targets targets) {
    if (parameters.size() != network.parameters() ||
        (!targets.gradients.empty() && targets.gradients.size() != network.parameters())) {
        throw std::invalid_argument("expected " + std::to_string(network.parameters()) +
                                    " parameters and gradients");
    }
    Inputs in;
    in.parameters = std::move(parameters);
    in.B = nb::cast<Index>(sizes[0]);
    in.T = nb::cast<Index>(sizes[1]);
    in.lengths = lengths;
    in.x = tensor(x);
    in.logits = tensor(logits);
    in.keep = keep;
    in.threads = threads;
    if (masks.size() > 0) {
        in.mask_input = tensor(nb::cast<nb::tuple>(masks[0]));
        in.mask_output = tensor(nb::cast<nb::tuple>(masks[1]));
        for (std::size_t i = 2; i < masks.size(); ++i) {
            in.masks.push_back(tensor(nb::cast<nb::tuple>(masks[i])));
        }
        if (!in.masks.empty() && Index(in.masks.size()) != network.net.layers - 1) {
            throw std::invalid_argument("masks: expected one between layers");
        }
    }
    nb::gil_scoped_release release;
    return network.is_double ? run<double>(network, in, targets) : run<float>(network, in, targets);
}

// Memory from `recycled`, as a torch tensor that gives it back.
template <class N>
nb::ndarray<nb::pytorch, N, nb::ndim<1>, nb::device::cpu> tensor_of(Index n) {
    Recycled* memory = new Recycled(n * sizeof(N));
    nb::capsule owner(memory, [](void* p) noexcept { delete static_cast<Recycled*>(p); });
    const std::size_t shape[] = {std::size_t(n)};
    return nb::ndarray<nb::pytorch, N, nb::ndim<1>, nb::device::cpu>(memory->data(), 1, shape, owner);
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

    m.def("poison", &poison_memory, nb::arg("on").noconvert(),
          "For tests: fill working memory with NaN each time it is handed out.");

    m.def(
        "reserve_width",
        [](const std::string& cell, bool is_double, Index H) {
            const Layer layer{cell_of(cell), 1, H, false};
            return is_double ? reserve_width<double>(layer) : reserve_width<float>(layer);
        },
        nb::arg("cell").noconvert(), nb::arg("is_double").noconvert(),
        nb::arg("hidden_size").noconvert(),
        "Numbers a step of a row that forward keeps for backward.");
    m.def(
        "reserve", [](Index n, bool is_double) {
            return is_double ? nb::cast(tensor_of<double>(n)) : nb::cast(tensor_of<float>(n));
        },
        nb::arg("n").noconvert(), nb::arg("is_double").noconvert(),
        "A torch tensor of n uninitialised numbers in memory that is used again when it is freed.");

    nb::class_<Call>(m, "LayerCall", "One layer, one direction, one batch: see layer_call.h.")
        .def(nb::init<const std::string&, bool, bool, const nb::tuple&, Address,
                      std::vector<Address>, const nb::tuple&, const nb::tuple&, Address, Address,
                      Address, int>(),
             nb::kw_only(), nb::arg("cell").noconvert(), nb::arg("is_double").noconvert(),
             nb::arg("reverse").noconvert(), nb::arg("sizes").noconvert(),
             nb::arg("lengths").noconvert(), nb::arg("weights").noconvert(),
             nb::arg("x").noconvert(), nb::arg("y").noconvert(), nb::arg("h0").noconvert(),
             nb::arg("c0").noconvert(), nb::arg("reserve").noconvert(),
             nb::arg("threads").noconvert())
        .def(
            "forward",
            [](const Call& call, Address h_n, Address c_n) {
                nb::gil_scoped_release release;
                (call.is_double ? forward<double> : forward<float>)(call, h_n, c_n);
            },
            nb::kw_only(), nb::arg("h_n").noconvert(), nb::arg("c_n").noconvert())
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
            nb::kw_only(), nb::arg("dy").noconvert(), nb::arg("dh_n").noconvert(), nb::arg("dc_n").noconvert(),
            nb::arg("dx").noconvert(), nb::arg("dh0").noconvert(), nb::arg("dc0").noconvert(),
            nb::arg("gradients").noconvert());

    nb::class_<PyNetwork>(m, "Network", "A standard model's shape: see network_call.h.")
        .def(
            "__init__",
            [](PyNetwork* self, const std::string& cell, bool is_double, Index input_size,
               Index hidden_size, Index layers, Index directions, Index outputs, Index vocabulary,
               const std::string& readout) {
                new (self) PyNetwork{is_double,
                                     {cell_of(cell), input_size, hidden_size, layers, directions,
                                      outputs, vocabulary, readout_of(readout)}};
            },
            nb::arg("cell").noconvert(), nb::arg("is_double").noconvert(),
            nb::arg("input_size").noconvert(), nb::arg("hidden_size").noconvert(),
            nb::arg("layers").noconvert(), nb::arg("directions").noconvert(),
            nb::arg("outputs").noconvert(), nb::arg("vocabulary").noconvert(),
            nb::arg("readout").noconvert())
        .def(
            "forward",
            [](const PyNetwork& network, std::vector<Address> parameters, const nb::tuple& sizes,
               Address lengths, const nb::tuple& x, const nb::tuple& masks, double keep,
               const nb::tuple& logits, int threads) {
                run_network(network, std::move(parameters), sizes, lengths, x, masks, keep, logits,
                            threads, {});
            },
            nb::kw_only(), nb::arg("parameters").noconvert(), nb::arg("sizes").noconvert(),
            nb::arg("lengths").noconvert(), nb::arg("x").noconvert(), nb::arg("masks").noconvert(),
            nb::arg("keep"), nb::arg("logits").noconvert(), nb::arg("threads").noconvert())
        .def(
            "loss_and_gradients",
            [](const PyNetwork& network, std::vector<Address> parameters, const nb::tuple& sizes,
               Address lengths, const nb::tuple& x, const nb::tuple& masks, double keep,
               const nb::tuple& logits, int threads, std::vector<Address> gradients,
               const std::string& loss, const nb::tuple& target, Address class_weight,
               double smoothing) {
                return run_network(network, std::move(parameters), sizes, lengths, x, masks, keep,
                                   logits, threads,
                                   {std::move(gradients), loss_of(loss), tensor(target),
                                    class_weight, smoothing});
            },
            nb::kw_only(), nb::arg("parameters").noconvert(), nb::arg("sizes").noconvert(),
            nb::arg("lengths").noconvert(), nb::arg("x").noconvert(), nb::arg("masks").noconvert(),
            nb::arg("keep"), nb::arg("logits").noconvert(), nb::arg("threads").noconvert(),
            nb::arg("gradients").noconvert(), nb::arg("loss").noconvert(),
            nb::arg("target").noconvert(), nb::arg("class_weight").noconvert(),
            nb::arg("smoothing"));

    m.def(
        "norm",
        [](Address x, Index n, bool is_double) {
            nb::gil_scoped_release release;
            return is_double ? norm(at<const double>(x), n) : norm(at<const float>(x), n);
        },
        nb::arg("x").noconvert(), nb::arg("n").noconvert(), nb::arg("is_double").noconvert(),
        "Euclidean norm of n numbers, summed in the same order for any number of threads.");
}
