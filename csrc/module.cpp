// elman._core: the kernels as Python sees them. With tensors.h and step_module.h, the only file that
// depends on Python.
//
// Tensors come as addresses and strides (in elements, not bytes); shapes, dtypes, devices and
// lifetimes are checked by the callers, elman.ops and elman.models. Address 0 means that there is
// no tensor. The interpreter's lock is released while a call computes.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <cstdint>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "dispatch.h"
#include "layer_call.h"
#include "memory.h"
#include "network_call.h"
#include "step_module.h"
#include "tensors.h"

namespace nb = nanobind;
using namespace elman;

namespace {

using Address = std::uintptr_t;

template <class T>
T* at(Address address) {
    return reinterpret_cast<T*>(address);
}

// A tensor (steps, rows, width) as Python passes it: (address, stride of steps, stride of rows).
struct StridedAddress {
    Address address = 0;
    Index step_stride = 0, row_stride = 0;

    StridedAddress() = default;
    StridedAddress(const nb::tuple& t)
        : address(nb::cast<Address>(t[0])),
          step_stride(nb::cast<Index>(t[1])),
          row_stride(nb::cast<Index>(t[2])) {}

    template <class T>
    Strided<T> of() const {
        return {at<T>(address), step_stride, row_stride};
    }
};

// A layer's weights, or their gradients: weight_ih, weight_hh, bias_ih, bias_hh, weight_hr.
using WeightAddresses = std::array<Address, 5>;

// The arguments that forward and backward share. The element type is not known to the compiler yet.
struct PyLayerCall {
    bool is_double;
    Layer layer;
    Index rows, steps;
    Address lengths;
    WeightAddresses weights;
    StridedAddress x, y;
    Address h0, c0, reserve;
    int threads;

    PyLayerCall(std::string_view cell, bool is_double, bool reverse, const nb::tuple& sizes,
                Address lengths, const WeightAddresses& weights, const nb::tuple& x,
                const nb::tuple& y, Address h0, Address c0, Address reserve, int threads)
        : is_double(is_double),
          layer{cell_of(cell), nb::cast<Index>(sizes[2]), nb::cast<Index>(sizes[3]), reverse,
                nb::cast<Index>(sizes[4])},
          rows(nb::cast<Index>(sizes[0])),
          steps(nb::cast<Index>(sizes[1])),
          lengths(lengths),
          weights(weights),
          x(x),
          y(y),
          h0(h0),
          c0(c0),
          reserve(reserve),
          threads(threads) {}

    // A contiguous (1, B, Y), of h; or (1, B, H), of c.
    template <class N>
    Strided<N> state_h(Address address) const {
        return {at<N>(address), 0, layer.Y()};
    }
    template <class N>
    Strided<N> state_c(Address address) const {
        return {at<N>(address), 0, layer.H};
    }

    template <class N>
    LayerCall<N> of() const {
        LayerCall<N> c;
        c.layer = layer;
        c.rows = rows;
        c.steps = steps;
        c.lengths = at<const std::int64_t>(lengths);
        c.weights = {at<const N>(weights[0]), at<const N>(weights[1]), at<const N>(weights[2]),
                     at<const N>(weights[3]), at<const N>(weights[4])};
        c.x = x.of<const N>();
        c.y = y.of<N>();
        c.h0 = state_h<const N>(h0);
        c.c0 = state_c<const N>(c0);
        c.reserve = at<N>(reserve);
        c.threads = threads;
        return c;
    }
};

template <class N>
void forward(const PyLayerCall& call, Address h_n, Address c_n) {
    layer_forward<N>(call.of<N>(), call.state_h<N>(h_n), call.state_c<N>(c_n));
}

template <class N>
void backward(const PyLayerCall& call, const StridedAddress& dy, Address dh_n, Address dc_n,
              const StridedAddress& dx, Address dh0, Address dc0,
              const WeightAddresses& gradients) {
    LayerGradients<N> g;
    g.dy = dy.of<const N>();
    g.dh_n = call.state_h<const N>(dh_n);
    g.dc_n = call.state_c<const N>(dc_n);
    g.dx = dx.of<N>();
    g.dh0 = call.state_h<N>(dh0);
    g.dc0 = call.state_c<N>(dc0);
    g.weights = {at<N>(gradients[0]), at<N>(gradients[1]), at<N>(gradients[2]),
                 at<N>(gradients[3]), at<N>(gradients[4])};
    layer_backward<N>(call.of<N>(), g);
}

Readout readout_of(std::string_view name) {
    if (name == "last") return Readout::last;
    if (name == "mean") return Readout::mean;
    if (name == "max") return Readout::max;
    if (name == "every") return Readout::every;
    throw std::invalid_argument("readout: got " + std::string(name));
}

Loss loss_of(std::string_view name) {
    if (name == "cross_entropy") return Loss::cross_entropy;
    if (name == "squared_error") return Loss::squared_error;
    throw std::invalid_argument("loss: got " + std::string(name));
}

// A network's shape; the parameters come with every call.
struct PyNetwork {
    bool is_double, tokens;
    Network net;
    std::vector<Table> tables;

    std::size_t parameters() const {
        return tables.size() + 4 * net.layers * net.directions + 2;
    }
};

struct NetworkInputs {
    std::vector<Address> parameters;
    Index rows, steps;
    Address lengths;
    StridedAddress x, mask_input, mask_output, logits;
    std::vector<StridedAddress> masks;
    double keep;
    int threads;
    Address h0 = 0, c0 = 0, h_n = 0, c_n = 0;  // (layers * directions, B, H), contiguous
};

// Without gradients, forward only.
struct NetworkTargets {
    std::vector<Address> gradients;
    Loss loss = Loss::cross_entropy;
    StridedAddress target;
    Address class_weight = 0;
    double smoothing = 0;
};

template <class N>
double run(const PyNetwork& network, const NetworkInputs& in, const NetworkTargets& to) {
    NetworkCall<N> b;
    b.net = network.net;
    b.net.tables = network.tables.data();
    b.rows = in.rows;
    b.steps = in.steps;
    b.lengths = at<const std::int64_t>(in.lengths);
    for (const Address p : in.parameters) b.parameters.push_back(at<const N>(p));
    if (network.tokens) {
        b.tokens = in.x.of<const std::int64_t>();
    } else {
        b.x = in.x.of<const N>();
    }
    b.mask_input = in.mask_input.of<const std::uint8_t>();
    for (const StridedAddress& mask : in.masks) b.masks.push_back(mask.of<const std::uint8_t>());
    b.mask_output = in.mask_output.of<const std::uint8_t>();
    b.keep = N(in.keep);
    b.logits = in.logits.of<N>();
    const Index H = b.net.H, rows = H * in.rows;
    b.h0 = {at<const N>(in.h0), rows, H};
    b.c0 = {at<const N>(in.c0), rows, H};
    b.h_n = {at<N>(in.h_n), rows, H};
    b.c_n = {at<N>(in.c_n), rows, H};
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
    return run_network<N>(b);
}

double run_network(const PyNetwork& network, std::vector<Address> parameters,
                   const nb::tuple& sizes, Address lengths, const nb::tuple& x,
                   const nb::tuple& masks, double keep, const nb::tuple& states,
                   const nb::tuple& logits, int threads, NetworkTargets targets) {
    if (parameters.size() != network.parameters() ||
        (!targets.gradients.empty() && targets.gradients.size() != network.parameters())) {
        throw std::invalid_argument("expected " + std::to_string(network.parameters()) +
                                    " parameters and gradients");
    }
    NetworkInputs in;
    in.parameters = std::move(parameters);
    in.rows = nb::cast<Index>(sizes[0]);
    in.steps = nb::cast<Index>(sizes[1]);
    in.lengths = lengths;
    in.x = x;
    in.logits = logits;
    in.keep = keep;
    in.threads = threads;
    if (states.size() > 0) {
        const bool lstm = network.net.cell == Cell::lstm;
        if (states.size() != 4) throw std::invalid_argument("states: expected h0, c0, h_n, c_n");
        in.h0 = nb::cast<Address>(states[0]);
        in.c0 = nb::cast<Address>(states[1]);
        in.h_n = nb::cast<Address>(states[2]);
        in.c_n = nb::cast<Address>(states[3]);
        if ((in.c0 || in.c_n) && !lstm) throw std::invalid_argument("c: only an lstm has it");
    }
    if (masks.size() > 0) {
        in.mask_input = nb::cast<nb::tuple>(masks[0]);
        in.mask_output = nb::cast<nb::tuple>(masks[1]);
        for (std::size_t i = 2; i < masks.size(); ++i) {
            in.masks.push_back(nb::cast<nb::tuple>(masks[i]));
        }
        if (!in.masks.empty() && Index(in.masks.size()) != network.net.layers - 1) {
            throw std::invalid_argument("masks: expected one between layers");
        }
    }
    nb::gil_scoped_release release;
    return network.is_double ? run<double>(network, in, targets) : run<float>(network, in, targets);
}

// Recycled memory as a torch tensor, which returns it when it is freed.
template <class N>
using TorchTensor = nb::ndarray<nb::pytorch, N, nb::ndim<1>, nb::device::cpu>;

template <class N>
TorchTensor<N> tensor_of(Index n) {
    if (n < 0 || n > PTRDIFF_MAX / Index(2 * sizeof(N))) throw std::bad_alloc();
    RecycledMemory* memory = new RecycledMemory(n * sizeof(N));
    nb::capsule owner(memory, [](void* p) noexcept { delete static_cast<RecycledMemory*>(p); });
    const std::size_t shape[] = {std::size_t(n)};
    return TorchTensor<N>(memory->data(), 1, shape, owner);
}

std::vector<std::string> isa_names() {
    int count;
    const InstructionSet* const* isas = runnable_isas(&count);
    std::vector<std::string> names;
    for (int i = 0; i < count; ++i) names.emplace_back(isas[i]->name);
    return names;
}

// Arguments are never converted (noconvert): a float in place of an address must be an error. Those
// of calls have names only: twelve addresses in a row are too easy to confuse.

void bind_isas(nb::module_& m) {
    m.def("isa", [] { return std::string(active_isa().name); }, "The instruction set in use.");
    m.def("isas", &isa_names, "Instruction sets that are compiled in and run here, slowest first.");
    m.def(
        "use_isa",
        [](const std::string& name) {
            if (!use_isa(name.c_str())) {
                throw std::invalid_argument("isa: " + name + " does not run here");
            }
        },
        nb::arg("name").noconvert(), "Use another instruction set from now on, to test it.");
}

void bind_memory(nb::module_& m) {
    m.def("poison", &poison_memory, nb::arg("on").noconvert(),
          "For tests: fill working memory with NaN each time it is handed out.");

    m.def(
        "reserve_width",
        [](std::string_view cell, bool is_double, Index H) {
            const Layer layer{cell_of(cell), 1, H, false};
            return is_double ? reserve_width<double>(layer) : reserve_width<float>(layer);
        },
        nb::arg("cell").noconvert(), nb::arg("is_double").noconvert(),
        nb::arg("hidden_size").noconvert(),
        "Elements that forward saves for backward at each step of a row.");
    m.def(
        "reserve", [](Index n, bool is_double) {
            return is_double ? nb::cast(tensor_of<double>(n)) : nb::cast(tensor_of<float>(n));
        },
        nb::arg("n").noconvert(), nb::arg("is_double").noconvert(),
        "A torch tensor of n uninitialised elements in memory that is reused once it is freed.");
}

void bind_tensors(nb::module_& m) {
    m.def(
        "use_tensors",
        [](nb::object exchange, nb::object tensor, nb::object parameter) {
            tensor_reader().use(std::move(exchange), std::move(tensor), std::move(parameter));
        },
        nb::arg("exchange").none(), nb::arg("tensor"), nb::arg("parameter"),
        "Set torch's table of functions for DLPack and its two types of plain tensors.");
    m.def(
        "read_layer",
        [](std::string_view cell, nb::handle tensors, bool batch_first) -> nb::object {
            Index sizes[5];
            if (!read_layer(cell_of(cell), tensors.ptr(), batch_first, sizes)) return nb::none();
            return nb::make_tuple(sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]);
        },
        nb::arg("cell").noconvert(), nb::arg("tensors"), nb::arg("batch_first").noconvert(),
        "B, T, I, H, P of a layer whose kernel can read its tensors as they are, else None.");
    m.def(
        "read_lengths",
        [](nb::handle lengths, Index rows) { return read_lengths(lengths.ptr(), rows); },
        nb::arg("lengths"), nb::arg("rows").noconvert(),
        "Whether the kernels can read these lengths as they are.");
    m.def(
        "read_tensors",
        [](nb::handle tensors, nb::handle shapes, bool is_double) {
            return read_tensors(tensors.ptr(), shapes.ptr(), is_double);
        },
        nb::arg("tensors"), nb::arg("shapes"), nb::arg("is_double").noconvert(),
        "Whether tensors have these shapes, are contiguous and hold all their elements.");
}

void bind_layer(nb::module_& m) {
    nb::class_<PyLayerCall>(m, "LayerCall", "One layer in one direction: see layer_call.h.")
        .def(nb::init<std::string_view, bool, bool, const nb::tuple&, Address,
                      const WeightAddresses&, const nb::tuple&, const nb::tuple&, Address, Address,
                      Address, int>(),
             nb::kw_only(), nb::arg("cell").noconvert(), nb::arg("is_double").noconvert(),
             nb::arg("reverse").noconvert(), nb::arg("sizes").noconvert(),
             nb::arg("lengths").noconvert(), nb::arg("weights").noconvert(),
             nb::arg("x").noconvert(), nb::arg("y").noconvert(), nb::arg("h0").noconvert(),
             nb::arg("c0").noconvert(), nb::arg("reserve").noconvert(),
             nb::arg("threads").noconvert())
        .def(
            "forward",
            [](const PyLayerCall& call, Address h_n, Address c_n) {
                nb::gil_scoped_release release;
                (call.is_double ? forward<double> : forward<float>)(call, h_n, c_n);
            },
            nb::kw_only(), nb::arg("h_n").noconvert(), nb::arg("c_n").noconvert())
        .def(
            "backward",
            [](const PyLayerCall& call, const nb::tuple& dy, Address dh_n, Address dc_n,
               const nb::tuple& dx, Address dh0, Address dc0, const WeightAddresses& gradients) {
                const StridedAddress from(dy), to(dx);
                nb::gil_scoped_release release;
                (call.is_double ? backward<double> : backward<float>)(call, from, dh_n, dc_n, to,
                                                                      dh0, dc0, gradients);
            },
            nb::kw_only(), nb::arg("dy").noconvert(), nb::arg("dh_n").noconvert(),
            nb::arg("dc_n").noconvert(), nb::arg("dx").noconvert(), nb::arg("dh0").noconvert(),
            nb::arg("dc0").noconvert(), nb::arg("gradients").noconvert());
}

void bind_network(nb::module_& m) {
    nb::class_<PyNetwork>(m, "Network", "A standard model's shape: see network_call.h.")
        .def(
            "__init__",
            [](PyNetwork* self, std::string_view cell, bool is_double, Index channels,
               Index hidden_size, Index layers, Index directions, Index outputs,
               const std::vector<std::array<Index, 2>>& tables, bool tokens,
               std::string_view readout) {
                if (tokens && (tables.size() != 1 || channels)) {
                    throw std::invalid_argument("tables: expected one, of all tokens");
                }
                new (self) PyNetwork{is_double, tokens, {}, {}};
                for (const auto& [size, width] : tables) {
                    self->tables.push_back({size, width});
                    channels += width;
                }
                self->net = {cell_of(cell), channels, hidden_size, layers, directions, outputs,
                             readout_of(readout), nullptr, Index(tables.size())};
            },
            nb::arg("cell").noconvert(), nb::arg("is_double").noconvert(),
            nb::arg("channels").noconvert(), nb::arg("hidden_size").noconvert(),
            nb::arg("layers").noconvert(), nb::arg("directions").noconvert(),
            nb::arg("outputs").noconvert(), nb::arg("tables").noconvert(),
            nb::arg("tokens").noconvert(), nb::arg("readout").noconvert())
        .def(
            "forward",
            [](const PyNetwork& network, std::vector<Address> parameters, const nb::tuple& sizes,
               Address lengths, const nb::tuple& x, const nb::tuple& masks, double keep,
               const nb::tuple& states, const nb::tuple& logits, int threads) {
                run_network(network, std::move(parameters), sizes, lengths, x, masks, keep, states,
                            logits, threads, {});
            },
            nb::kw_only(), nb::arg("parameters").noconvert(), nb::arg("sizes").noconvert(),
            nb::arg("lengths").noconvert(), nb::arg("x").noconvert(), nb::arg("masks").noconvert(),
            nb::arg("keep"), nb::arg("states").noconvert(), nb::arg("logits").noconvert(),
            nb::arg("threads").noconvert())
        .def(
            "loss_and_gradients",
            [](const PyNetwork& network, std::vector<Address> parameters, const nb::tuple& sizes,
               Address lengths, const nb::tuple& x, const nb::tuple& masks, double keep,
               const nb::tuple& states, const nb::tuple& logits, int threads,
               std::vector<Address> gradients, std::string_view loss, const nb::tuple& target,
               Address class_weight, double smoothing) {
                return run_network(network, std::move(parameters), sizes, lengths, x, masks, keep,
                                   states, logits, threads,
                                   {std::move(gradients), loss_of(loss), StridedAddress(target),
                                    class_weight, smoothing});
            },
            nb::kw_only(), nb::arg("parameters").noconvert(), nb::arg("sizes").noconvert(),
            nb::arg("lengths").noconvert(), nb::arg("x").noconvert(), nb::arg("masks").noconvert(),
            nb::arg("keep"), nb::arg("states").noconvert(), nb::arg("logits").noconvert(),
            nb::arg("threads").noconvert(), nb::arg("gradients").noconvert(),
            nb::arg("loss").noconvert(), nb::arg("target").noconvert(),
            nb::arg("class_weight").noconvert(), nb::arg("smoothing"));

    m.def(
        "norm",
        [](Address x, Index n, bool is_double) {
            nb::gil_scoped_release release;
            return is_double ? norm(at<const double>(x), n) : norm(at<const float>(x), n);
        },
        nb::arg("x").noconvert(), nb::arg("n").noconvert(), nb::arg("is_double").noconvert(),
        "Euclidean norm of n numbers, summed in the same order for any number of threads.");
}

}  // namespace

NB_MODULE(_core, m) {
    m.doc() = "CPU kernels of elman; used through elman.ops and elman.models.";
    bind_isas(m);
    bind_memory(m);
    bind_tensors(m);
    bind_layer(m);
    bind_network(m);
    bind_step<PyNetwork>(m);
}
