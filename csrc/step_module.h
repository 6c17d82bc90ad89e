// The part of elman._core that steps: see module.cpp.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

#include "layer_call.h"
#include "network_call.h"
#include "step_call.h"
#include "tensors.h"

namespace elman {

namespace nb = nanobind;

inline Cell cell_of(std::string_view name) {
    if (name == "rnn_tanh") return Cell::rnn_tanh;
    if (name == "rnn_relu") return Cell::rnn_relu;
    if (name == "gru") return Cell::gru;
    if (name == "lstm") return Cell::lstm;
    throw std::invalid_argument("cell: got " + std::string(name));
}

// An array of doubles, or of 64-bit integers, that Python lends for the time of a call, row by row
// and without gaps: through the buffer protocol, which takes a fifth of DLPack's time for NumPy.
template <class N>
class LentArray {
  public:
    LentArray(nb::handle object, Index rows, Index columns, bool writable) {
        const int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0);
        if (PyObject_GetBuffer(object.ptr(), &view_, flags) != 0) throw nb::python_error();
        const std::string_view format = view_.format ? view_.format : "";
        const bool fits = std::is_floating_point_v<N> ? format == "d"
                                                      : format == "l" || format == "q";
        if (!fits || view_.itemsize != sizeof(N) ||
            view_.len != Py_ssize_t(rows * columns * Index(sizeof(N)))) {
            PyBuffer_Release(&view_);
            throw std::invalid_argument("array: expected " + std::to_string(rows) + " rows of " +
                                        std::to_string(columns) + " numbers of 64 bits");
        }
    }
    ~LentArray() { PyBuffer_Release(&view_); }
    LentArray(const LentArray&) = delete;
    LentArray& operator=(const LentArray&) = delete;
    N* data() const { return static_cast<N*>(view_.buf); }

  private:
    Py_buffer view_;
};

// A state's addresses: B, h, c, pooled, steps, last.
struct PyStepState {
    Index rows;
    std::uintptr_t h, c, pooled, steps, last;

    PyStepState(const nb::tuple& t)
        : rows(nb::cast<Index>(t[0])),
          h(nb::cast<std::uintptr_t>(t[1])),
          c(nb::cast<std::uintptr_t>(t[2])),
          pooled(nb::cast<std::uintptr_t>(t[3])),
          steps(nb::cast<std::uintptr_t>(t[4])),
          last(nb::cast<std::uintptr_t>(t[5])) {}

    template <class T>
    StepState<T> of() const {
        return {rows, reinterpret_cast<T*>(h), reinterpret_cast<T*>(c),
                reinterpret_cast<T*>(pooled), reinterpret_cast<std::int64_t*>(steps)};
    }
};

struct PyStepper {
    bool tokens;
    Index numbers, columns, outputs;  // columns: numbers and codes of a step; 1 for tokens
    double work;                      // of one step of one row
    std::variant<std::unique_ptr<Stepper<float>>, std::unique_ptr<Stepper<double>>> of;

    // Waiting for the interpreter's lock again costs more than a few steps of a small network.
    void release(std::optional<nb::gil_scoped_release>* lock, Index rows) const {
        if (work * double(rows) > 2e5) lock->emplace();
    }
};

// A stream: a stepper, how raw numbers are encoded and outputs are transformed, and a state.
struct PyStream {
    const PyStepper& stepper;
    NumberEncoder encoder;
    OutputTransform outputs;
    PyStepState state;

    bool step(nb::handle x, nb::handle to, nb::handle rows, Index count, int threads) const {
        const bool tokens = stepper.tokens;
        const Index columns = encoder.channels() + stepper.columns - stepper.numbers;
        std::optional<LentArray<const double>> numbers;
        std::optional<LentArray<const std::int64_t>> ids, places;
        if (tokens) ids.emplace(x, count, 1, false);
        else numbers.emplace(x, count, columns, false);
        const LentArray<double> out(to, count, stepper.outputs, true);
        if (!rows.is_none()) places.emplace(rows, count, 1, false);
        const StepRows which{count, places ? places->data() : nullptr};
        std::optional<nb::gil_scoped_release> lock;
        stepper.release(&lock, count);
        return std::visit(
            [&](const auto& of) {
                using T = typename std::decay_t<decltype(*of)>::Element;
                return of->step_raw(encoder, outputs, which, tokens ? nullptr : numbers->data(),
                                    tokens ? ids->data() : nullptr, state.of<T>(),
                                    reinterpret_cast<double*>(state.last), out.data(), threads);
            },
            stepper.of);
    }
};

template <class T>
void step_layers(Cell cell, const StepTensors& s) {
    const Index Y = s.P ? s.P : s.H;
    const T* x = static_cast<const T*>(s.x);
    for (Index l = 0; l < s.layers; ++l) {
        const auto at = [&](void* base, Index width) {
            return base ? static_cast<T*>(base) + l * width : nullptr;
        };
        const auto weight = [&](int k) { return static_cast<const T*>(s.weights[l][k]); };
        const Layer layer{cell, l ? Y : s.I, s.H, false, s.P};
        T* const h_n = at(s.h_n, Y);
        layer_step<T>(layer, {weight(0), weight(1), weight(2), weight(3), weight(4)}, x,
                      at(s.h0, Y), at(s.c0, s.H),
                      l + 1 == s.layers ? static_cast<T*>(s.y) : nullptr, h_n, at(s.c_n, s.H));
        x = h_n;
    }
}

inline Outputs outputs_of(std::string_view name) {
    if (name == "softmax") return Outputs::softmax;
    if (name == "sigmoid") return Outputs::sigmoid;
    if (name == "scaled") return Outputs::scaled;
    throw std::invalid_argument("outputs: got " + std::string(name));
}

// PyNetwork: module.cpp's.
template <class PyNetwork>
void bind_step(nb::module_& m) {
    nb::class_<PyStepper>(m, "Stepper", "A network one step at a time: see step_call.h.")
        .def(
            "__init__",
            [](PyStepper* self, const PyNetwork& network,
               const std::vector<std::uintptr_t>& parameters) {
                if (parameters.size() != network.parameters() || network.net.directions != 1) {
                    throw std::invalid_argument("expected " +
                                                std::to_string(network.parameters()) +
                                                " parameters of one direction");
                }
                Network net = network.net;
                net.tables = network.tables.data();
                const auto make = [&](auto like) {
                    using T = decltype(like);
                    std::vector<const T*> p;
                    for (const auto a : parameters) p.push_back(reinterpret_cast<const T*>(a));
                    return std::make_unique<Stepper<T>>(net, p);
                };
                const Index numbers = net.numbers();
                new (self) PyStepper{network.tokens,
                                     numbers,
                                     network.tokens ? 1 : numbers + net.table_count,
                                     net.K,
                                     step_work(net),
                                     {}};
                if (network.is_double) self->of = make(double());
                else self->of = make(float());
            },
            nb::arg("network"), nb::arg("parameters").noconvert())
        .def(
            "step",
            [](const PyStepper& self, Index count, std::uintptr_t rows, std::uintptr_t x,
               const nb::tuple& state, std::uintptr_t logits, int threads) {
                const PyStepState s(state);
                const StepRows which{count, reinterpret_cast<const std::int64_t*>(rows)};
                std::optional<nb::gil_scoped_release> lock;
                self.release(&lock, count);
                std::visit(
                    [&](const auto& of) {
                        using T = typename std::decay_t<decltype(*of)>::Element;
                        of->step(which, self.tokens ? nullptr : reinterpret_cast<const T*>(x),
                                 reinterpret_cast<const std::int64_t*>(self.tokens ? x : 0),
                                 s.of<T>(), reinterpret_cast<T*>(logits), threads);
                    },
                    self.of);
            },
            nb::kw_only(), nb::arg("count").noconvert(), nb::arg("rows").noconvert(),
            nb::arg("x").noconvert(), nb::arg("state").noconvert(), nb::arg("logits").noconvert(),
            nb::arg("threads").noconvert());

    nb::class_<PyStream>(m, "Stream", "Raw inputs to probabilities or values, step by step.")
        .def(
            "__init__",
            [](PyStream* self, const PyStepper& stepper, std::vector<double> mean,
               std::vector<double> scale, std::vector<double> fill, std::string_view outputs,
               std::vector<double> output_mean, std::vector<double> output_scale,
               const nb::tuple& state) {
                Index inputs = Index(mean.size());
                for (const double value : fill) inputs += value == value;
                const std::size_t K = outputs == "scaled" ? std::size_t(stepper.outputs) : 0;
                if (scale.size() != mean.size() || fill.size() != mean.size() ||
                    inputs != stepper.numbers || output_mean.size() != K ||
                    output_scale.size() != K) {
                    throw std::invalid_argument("mean, scale, fill: not those of this network");
                }
                new (self) PyStream{
                    stepper,
                    {std::move(mean), std::move(scale), std::move(fill)},
                    {outputs_of(outputs), std::move(output_mean), std::move(output_scale)},
                    PyStepState(state)};
            },
            nb::keep_alive<1, 2>(), nb::arg("stepper"), nb::arg("mean"), nb::arg("scale"),
            nb::arg("fill"), nb::arg("outputs"), nb::arg("output_mean"), nb::arg("output_scale"),
            nb::arg("state"))
        .def("step", &PyStream::step, nb::arg("x"), nb::arg("to"), nb::arg("rows").none(),
             nb::arg("count").noconvert(), nb::arg("threads").noconvert());

    m.def(
        "step_layers",
        [](std::string_view name, nb::handle tensors, nb::handle parameters, nb::handle names,
           Index input_size, Index hidden_size, Index proj_size, bool bias) {
            const Cell cell = cell_of(name);
            StepTensors s;
            if (!s.read(cell, tensors.ptr(), parameters.ptr(), names.ptr(), input_size, hidden_size,
                        proj_size, bias)) {
                return false;
            }
            (s.is_double ? step_layers<double> : step_layers<float>)(cell, s);
            return true;
        },
        nb::arg("cell").noconvert(), nb::arg("tensors"), nb::arg("parameters"), nb::arg("names"),
        nb::arg("input_size").noconvert(), nb::arg("hidden_size").noconvert(),
        nb::arg("proj_size").noconvert(), nb::arg("bias").noconvert(),
        "One step of one sequence through layers of one direction; false if a kernel cannot read"
        " the tensors as they are.");

    m.def(
        "probabilities",
        [](std::uintptr_t logits, bool is_double, std::string_view outputs, Index rows, Index K,
           std::uintptr_t to) {
            const Outputs kind = outputs_of(outputs);
            double* const into = reinterpret_cast<double*>(to);
            nb::gil_scoped_release release;
            if (is_double) {
                probabilities(kind, rows, K, reinterpret_cast<const double*>(logits), into);
            } else {
                probabilities(kind, rows, K, reinterpret_cast<const float*>(logits), into);
            }
        },
        nb::arg("logits").noconvert(), nb::arg("is_double").noconvert(), nb::arg("outputs"),
        nb::arg("rows").noconvert(), nb::arg("K").noconvert(), nb::arg("to").noconvert(),
        "Probabilities (rows, K), float64, of contiguous logits: softmax, or sigmoid of each.");
}

}  // namespace elman
