// Whether the kernels can read torch's tensors as they are, asked of the tensors themselves.
//
// Shapes, strides, dtypes, devices and addresses come through DLPack's exchange interface, which
// torch offers as a table of C functions: no torch header, and a fraction of the time that the same
// questions take in Python. Nothing here raises: for a tensor that is unusual in any way the answer
// is no, and Python then copies it or says what is wrong with it (elman.ops.native).
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>

#include "api.h"

namespace elman {

// As in dlpack.h, version 1.
struct DLTensor {
    void* data;
    std::int32_t device_type, device_id;  // 1: CPU
    std::int32_t ndim;
    std::uint8_t code, bits;  // 2: floating point, 0: integer
    std::uint16_t lanes;
    std::int64_t *shape, *strides;
    std::uint64_t byte_offset;
};

struct DLPackExchange {
    std::uint32_t major, minor;
    const void* previous;
    const void *allocate, *to_managed, *from_managed;
    int (*to_tensor)(void* object, DLTensor* out);  // 0 for success; may be null
};

class TensorReader {
  public:
    // exchange: torch.Tensor.__dlpack_c_exchange_api__, or None; no subclasses of the two types.
    void use(nanobind::object exchange, nanobind::object tensor, nanobind::object parameter) {
        const auto* api = static_cast<const DLPackExchange*>(
            exchange.is_none() ? nullptr
                               : PyCapsule_GetPointer(exchange.ptr(), "dlpack_exchange_api"));
        if (!api) PyErr_Clear();
        to_tensor_ = api && api->major == 1 ? api->to_tensor : nullptr;
        tensor_ = tensor.release().ptr();
        parameter_ = parameter.release().ptr();
        untyped_storage_ = PyUnicode_InternFromString("untyped_storage");
        nbytes_ = PyUnicode_InternFromString("nbytes");
        data_ptr_ = PyUnicode_InternFromString("data_ptr");
        is_neg_ = PyUnicode_InternFromString("is_neg");
    }

    // A plain tensor on the CPU with elements.
    bool read(PyObject* object, DLTensor* out) const {
        PyObject* const type = reinterpret_cast<PyObject*>(Py_TYPE(object));
        if (!to_tensor_ || (type != tensor_ && type != parameter_)) return false;
        if (to_tensor_(object, out) != 0) {
            PyErr_Clear();
            return false;
        }
        if (out->device_type != 1 || !out->data || out->lanes != 1 || out->ndim < 1) return false;
        out->data = static_cast<char*>(out->data) + out->byte_offset;
        for (int i = 0; i < out->ndim; ++i) {
            if (out->shape[i] < 1 || (out->shape[i] > 1 && out->strides[i] < 0)) return false;
        }
        return true;
    }

    // All of its elements lie in its storage, which may have been resized since, with their signs.
    bool holds(PyObject* object, const DLTensor& t, bool may_be_negated) const {
        std::uint64_t last = 0;
        for (int i = 0; i < t.ndim; ++i) {
            if (t.shape[i] == 1) continue;
            std::uint64_t span;
            if (__builtin_mul_overflow(std::uint64_t(t.shape[i] - 1), std::uint64_t(t.strides[i]),
                                       &span) ||
                __builtin_add_overflow(last, span, &last)) {
                return false;
            }
        }
        std::uint64_t bytes;
        if (__builtin_mul_overflow(last + 1, std::uint64_t(t.bits / 8), &bytes)) return false;
        PyObject* const storage = PyObject_CallMethodObjArgs(object, untyped_storage_, nullptr);
        const std::uint64_t size = number(storage, nbytes_), begin = number(storage, data_ptr_);
        Py_XDECREF(storage);
        const std::uint64_t address = reinterpret_cast<std::uintptr_t>(t.data);
        if (!size || !begin || address < begin || address - begin > size ||
            bytes > size - (address - begin)) {
            return false;
        }
        return !may_be_negated || !is_negated(object);
    }

    // torch negates some views lazily: their memory has the opposite signs.
    bool is_negated(PyObject* object) const {
        PyObject* const answer = PyObject_CallMethodObjArgs(object, is_neg_, nullptr);
        if (!answer) PyErr_Clear();
        Py_XDECREF(answer);  // True and False live on
        return answer != Py_False;
    }

    // Of this shape, contiguous, and holding all of its elements.
    bool is(PyObject* object, const DLTensor& t, const DLTensor& like, const Index* shape,
            int ndim) const {
        // A contiguous view that torch negates lazily has rows of single elements.
        return has_shape(t, like, shape, ndim) && holds(object, t, shape[ndim - 1] == 1);
    }

    static bool has_shape(const DLTensor& t, const DLTensor& like, const Index* shape, int ndim) {
        if (t.ndim != ndim || t.code != like.code || t.bits != like.bits) return false;
        Index stride = 1;
        for (int i = ndim - 1; i >= 0; --i) {
            if (t.shape[i] != shape[i] || (shape[i] > 1 && t.strides[i] != stride)) return false;
            stride *= shape[i];
        }
        return true;
    }

  private:
    static std::uint64_t number(PyObject* object, PyObject* method) {
        PyObject* const answer =
            object ? PyObject_CallMethodObjArgs(object, method, nullptr) : nullptr;
        const std::uint64_t value = answer ? PyLong_AsUnsignedLongLong(answer) : 0;
        Py_XDECREF(answer);
        if (PyErr_Occurred()) {
            PyErr_Clear();
            return 0;
        }
        return value;
    }

    int (*to_tensor_)(void*, DLTensor*) = nullptr;
    PyObject *tensor_ = nullptr, *parameter_ = nullptr;
    PyObject *untyped_storage_ = nullptr, *nbytes_ = nullptr, *data_ptr_ = nullptr,
             *is_neg_ = nullptr;
};

inline TensorReader& tensor_reader() {
    static TensorReader reader;
    return reader;
}

// B, T, I, H and P of a layer whose kernel can read `tensors` as they are: x, weight_ih, weight_hh,
// bias_ih, bias_hh, weight_hr, h0, c0, None where there is none. False if it cannot, or if there is
// nothing to compute.
inline bool read_layer(Cell cell, PyObject* tensors, bool batch_first, Index sizes[5]) {
    enum { x, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, h0, c0, count };
    const TensorReader& reader = tensor_reader();
    if (!PyTuple_Check(tensors) || PyTuple_Size(tensors) != count) return false;
    DLTensor t[count];
    PyObject* objects[count];
    bool has[count];
    for (int i = 0; i < count; ++i) {
        objects[i] = PyTuple_GetItem(tensors, i);
        has[i] = objects[i] != Py_None;
        if (has[i] && !reader.read(objects[i], &t[i])) return false;
    }
    if (!has[x] || !has[weight_ih] || !has[weight_hh] || has[bias_ih] != has[bias_hh]) return false;
    if (cell != Cell::lstm && (has[c0] || has[weight_hr])) return false;
    if (t[x].code != 2 || (t[x].bits != 32 && t[x].bits != 64) || t[x].ndim != 3) return false;
    if (t[weight_hh].ndim != 2 || (has[weight_hr] && t[weight_hr].ndim != 2)) return false;
    const Index B = t[x].shape[batch_first ? 0 : 1], T = t[x].shape[batch_first ? 1 : 0];
    const Index I = t[x].shape[2];
    const Index H = t[has[weight_hr] ? weight_hr : weight_hh].shape[1];
    const Index P = has[weight_hr] ? t[weight_hr].shape[0] : 0, Y = P ? P : H;
    if (P >= H && P) return false;
    const Index rows = gate_count(cell) * H;
    const struct {
        Index shape[2];
        int ndim;
    } expected[count] = {{{0, 0}, 0},    {{rows, I}, 2}, {{rows, Y}, 2}, {{rows, 0}, 1},
                         {{rows, 0}, 1}, {{P, H}, 2},    {{B, Y}, 2},    {{B, H}, 2}};
    for (int i = weight_ih; i < count; ++i) {
        if (has[i] && !reader.is(objects[i], t[i], t[x], expected[i].shape, expected[i].ndim)) {
            return false;
        }
    }
    // Steps and rows of x may have any strides.
    if (I > 1 && t[x].strides[2] != 1) return false;
    if (!reader.holds(objects[x], t[x], true)) return false;
    sizes[0] = B;
    sizes[1] = T;
    sizes[2] = I;
    sizes[3] = H;
    sizes[4] = P;
    return true;
}

// The addresses of one step of one sequence through stacked layers of one direction.
struct StepTensors {
    static constexpr Index most_layers = 8;

    bool is_double;
    Index layers, I, H, P;
    void *x, *h0, *c0, *y, *h_n, *c_n;  // (1, 1, I), (L, 1, Y), (L, 1, H); (1, 1, Y), h0, c0
    void* weights[most_layers][5];      // as in `read_layer`, null where there is none

    // False if a kernel cannot read them as they are. objects: x, h0, c0, y, h_n, c_n, None for
    // the cell states of a cell without; parameters: a dictionary; names: each layer's in it.
    bool read(Cell cell, PyObject* objects, PyObject* parameters, PyObject* names, Index input_size,
              Index hidden_size, Index proj_size, bool bias) {
        const TensorReader& reader = tensor_reader();
        I = input_size, H = hidden_size, P = proj_size;
        const Index Y = P ? P : H, rows = gate_count(cell) * H;
        if (!PyTuple_Check(objects) || PyTuple_Size(objects) != 6 || !PyDict_Check(parameters) ||
            !PyList_Check(names)) {
            return false;
        }
        layers = PyList_Size(names);
        if (layers < 1 || layers > most_layers) return false;
        DLTensor like;
        if (!reader.read(PyTuple_GetItem(objects, 0), &like)) return false;
        if (like.code != 2 || (like.bits != 32 && like.bits != 64)) return false;
        is_double = like.bits == 64;
        const Index one[] = {1, 1, I}, out[] = {1, 1, Y}, h[] = {layers, 1, Y}, c[] = {layers, 1, H};
        const Index* const shapes[] = {one, h, c, out, h, c};
        void** const addresses[] = {&x, &h0, &c0, &y, &h_n, &c_n};
        for (int i = 0; i < 6; ++i) {
            PyObject* const object = PyTuple_GetItem(objects, i);
            *addresses[i] = nullptr;
            if (i % 3 == 2 && cell != Cell::lstm) {
                if (object != Py_None) return false;
                continue;
            }
            DLTensor t;
            if (!reader.read(object, &t) || !reader.has_shape(t, like, shapes[i], 3)) return false;
            if (i < 3 && !reader.holds(object, t, true)) return false;  // outputs are new
            *addresses[i] = t.data;
        }
        for (Index l = 0; l < layers; ++l) {
            const Index shape[][2] = {
                {rows, l ? Y : I}, {rows, Y}, {rows, 0}, {rows, 0}, {P, H}};
            PyObject* const own = PyList_GetItem(names, l);
            const Index count = 2 + 2 * bias + (P > 0);
            if (!PyList_Check(own) || PyList_Size(own) != count) return false;
            Index n = 0;
            for (int k = 0; k < 5; ++k) {
                weights[l][k] = nullptr;
                if ((k == 2 || k == 3) && !bias) continue;
                if (k == 4 && !P) continue;
                PyObject* const tensor = PyDict_GetItem(parameters, PyList_GetItem(own, n++));
                DLTensor t;
                const int ndim = k == 2 || k == 3 ? 1 : 2;
                if (!tensor || !reader.read(tensor, &t) ||
                    !reader.is(tensor, t, like, shape[k], ndim)) {
                    return false;
                }
                weights[l][k] = t.data;
            }
        }
        return true;
    }
};

// Whether these are `rows` whole numbers of 64 bits as the kernels read them.
inline bool read_lengths(PyObject* lengths, Index rows) {
    DLTensor like{}, t;
    like.code = 0;
    like.bits = 64;
    return tensor_reader().read(lengths, &t) && tensor_reader().is(lengths, t, like, &rows, 1);
}

// Whether these tensors have these shapes, are contiguous and hold all their elements. None passes.
inline bool read_tensors(PyObject* tensors, PyObject* shapes, bool is_double) {
    const TensorReader& reader = tensor_reader();
    DLTensor like{};
    like.code = 2;
    like.bits = is_double ? 64 : 32;
    const Py_ssize_t count = PySequence_Size(tensors);
    if (count != PySequence_Size(shapes)) return false;
    for (Py_ssize_t i = 0; i < count; ++i) {
        const nanobind::object tensor = nanobind::steal(PySequence_GetItem(tensors, i));
        if (tensor.is_none()) continue;
        const nanobind::object shape = nanobind::steal(PySequence_GetItem(shapes, i));
        DLTensor t;
        Index sizes[4];
        const Py_ssize_t ndim = PySequence_Size(shape.ptr());
        if (ndim < 1 || ndim > 4 || !reader.read(tensor.ptr(), &t)) return false;
        for (Py_ssize_t k = 0; k < ndim; ++k) {
            const nanobind::object size = nanobind::steal(PySequence_GetItem(shape.ptr(), k));
            sizes[k] = PyLong_AsSsize_t(size.ptr());
        }
        if (PyErr_Occurred()) {
            PyErr_Clear();
            return false;
        }
        if (!reader.is(tensor.ptr(), t, like, sizes, int(ndim))) return false;
    }
    return true;
}

}  // namespace elman
