"""What the tensors of a layer must be, and the checks of every tensor that a kernel reads.

A kernel receives raw addresses and checks nothing but the values of lengths. `check_layer` says
what does not fit, for tensors on any device. `read_layer` and `read_results` also ask where the
elements are: on the CPU, in memory that holds all of them, with their signs. In the usual case C++
asks this (csrc/tensors.h), in a fraction of the time that Python needs.

Dimensions: B batch, T time, I input, H hidden, P projected, G blocks of the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.nn import Parameter

from elman.errors import SettingsError, ShapeError, nearest
from elman.ops.cells import KERNELS, Cell

try:
    from elman import _core
except ImportError as error:
    raise ImportError(
        f"elman._core, the compiled kernels, cannot be loaded ({error}): build them with"
        " `pip install .`, or with `make setup` to work on elman"
    ) from error

# Kernels of cells with a second state; a set of their names, because every call looks one up.
HAS_C = {kernel for kernel, cell in KERNELS.items() if len(cell.states) > 1}

WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)  # integers of lengths
_core.use_tensors(getattr(Tensor, "__dlpack_c_exchange_api__", None), Tensor, Parameter)

# No subclasses: they need not hold their elements in memory that a kernel can read.
PLAIN = frozenset((Tensor, Parameter))
_NAMES = ("x", "weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "h0", "c0")
_DTYPES = (torch.float32, torch.float64)


def check_layer(
    cell: Cell,
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    initial: tuple[Tensor | None, ...],
    lengths: Tensor | None,
    batch_first: bool,
    weight_hr: Tensor | None = None,
) -> None:
    """Raise ShapeError unless the arguments of one recurrent layer fit together.

    Args:
        cell: its blocks are the G of the weights.
        x: (B, T, I), or (T, B, I) if not batch_first.
        weight_ih: (G*H, I).
        weight_hh: (G*H, H), or (G*H, P) with weight_hr.
        bias_ih, bias_hh: (G*H,), or None for both.
        initial: states before the first step, (B, H) or None, in the order of
            `cell.initial_states`; with weight_hr, h is (B, P).
        lengths: (B,) integers from 0 to T, or None.
        weight_hr: (P, H) with P < H, or None.
    """
    states = {f"{n}0": state for n, state in zip(cell.initial_states, initial, strict=True)}
    tensors: dict[str, Any] = {"x": x, "weight_ih": weight_ih, "weight_hh": weight_hh}
    optional = {"bias_ih": bias_ih, "bias_hh": bias_hh, "weight_hr": weight_hr, **states}
    tensors |= {name: tensor for name, tensor in optional.items() if tensor is not None}
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise ShapeError(f"{name}: got a {type(tensor).__name__}, expected a tensor")
        if tensor.is_nested:
            raise ShapeError(
                f"{name}: got a nested tensor, expected a padded one, such as "
                "torch.nested.to_padded_tensor(x, 0.0) with the lengths of its rows"
            )
    if x.dim() != 3:
        order = "(B, T, I)" if batch_first else "(T, B, I)"
        raise ShapeError(f"x: got {tuple(x.shape)}, expected 3 dimensions {order}")
    batch, time, size = x.shape
    gates = len(cell.blocks)
    if not batch_first:
        batch, time = time, batch
    if weight_hr is None:
        if weight_hh.dim() != 2 or weight_hh.shape[0] != gates * weight_hh.shape[1]:
            raise ShapeError(f"weight_hh: got {tuple(weight_hh.shape)}, expected ({gates}*H, H)")
        hidden = width = weight_hh.shape[1]
    else:
        if weight_hr.dim() != 2 or not 0 < weight_hr.shape[0] < weight_hr.shape[1]:
            raise ShapeError(f"weight_hr: got {tuple(weight_hr.shape)}, expected (P, H), P below H")
        width, hidden = weight_hr.shape
    rows = gates * hidden
    # x determines sizes, dtype and device, because it is the argument that varies between calls.
    dtype, device = x.dtype, x.device
    shapes = {"x": (*x.shape,), "weight_ih": (rows, size), "weight_hh": (rows, width)}
    shapes |= {"bias_ih": (rows,), "bias_hh": (rows,), "weight_hr": (width, hidden)}
    shapes |= {name: (batch, width if name == "h0" else hidden) for name in states}
    for name, tensor in tensors.items():
        if tensor.shape != shapes[name]:
            raise ShapeError(f"{name}: got {tuple(tensor.shape)}, expected {shapes[name]}")
        if tensor.dtype != dtype or tensor.device != device:
            raise ShapeError(
                f"{name}: got {tensor.dtype} on {tensor.device}, expected {dtype} on {device} as x"
            )
    if (bias_ih is None) != (bias_hh is None):
        raise ShapeError("bias_ih and bias_hh: give both or neither")
    if lengths is not None:
        check_lengths(lengths, batch, time)


def check_lengths(lengths: Tensor, batch: int, time: int) -> None:
    """Raise ShapeError unless lengths are (B,) integers from 0 to T.

    Their values are not read while torch compiles or exports: a graph cannot depend on them. The
    operator checks them when the graph runs.
    """
    if lengths.shape != (batch,) or lengths.dtype not in WHOLE:
        raise ShapeError(
            f"lengths: got {tuple(lengths.shape)} {lengths.dtype}, expected ({batch},) integers"
        )
    if lengths.is_meta:
        raise ShapeError("lengths: are on meta, where tensors have no values; expected cpu")
    if torch.compiler.is_compiling() or not batch:
        return
    # Both in one pass, which takes a single synchronisation on a GPU.
    least, most = (int(bound) for bound in torch.aminmax(lengths))
    if least < 0 or most > time:
        raise ShapeError(f"lengths: got {least} to {most}, expected 0 to T = {time}")


def kernel_cell(name: str) -> Cell:
    """Return the cell whose kernel has that name; SettingsError if there is none."""
    if name not in KERNELS:
        raise SettingsError(
            f"cell: got {name!r}, expected one of {', '.join(KERNELS)}.{nearest(name, KERNELS)}"
        )
    return KERNELS[name]


def sizes(
    x: Tensor, weight_hh: Tensor, weight_hr: Tensor | None, batch_first: bool
) -> tuple[int, int, int, int, int]:
    """Return B, T, I, H, and P, 0 where h is not projected."""
    first, second, size = x.shape
    batch, time = (first, second) if batch_first else (second, first)
    if weight_hr is None:
        return batch, time, size, weight_hh.shape[1], 0
    return batch, time, size, weight_hr.shape[1], weight_hr.shape[0]


def check_memory(name: str, tensor: Tensor) -> None:
    """Raise ShapeError unless the tensor's memory holds every element that its shape promises.

    It need not: a storage can be resized below its tensors, and tensors of some layouts have none.
    """
    if type(tensor) not in PLAIN:
        raise ShapeError(f"{name}: got a {type(tensor).__name__}, expected a plain tensor")
    found = 0
    try:
        count = tensor.numel()
        steps = zip(tensor.shape, tensor.stride(), strict=True)
        last = tensor.storage_offset() + sum((size - 1) * stride for size, stride in steps)
        if tensor.data_ptr():
            found = tensor.untyped_storage().nbytes()
    except (RuntimeError, TypeError) as error:  # sparse, or of a transform of torch.func
        raise ShapeError(
            f"{name}: is a tensor of layout {tensor.layout}, whose elements are not in memory one "
            "by one; expected a dense tensor"
        ) from error
    if count and found < (last + 1) * tensor.element_size():
        raise ShapeError(
            f"{name}: its memory has {found} bytes, too few for {tuple(tensor.shape)} "
            f"{tensor.dtype}; it was freed or resized"
        )


def read_tensor(
    name: str,
    tensor: Tensor,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    rows_only: bool = False,
) -> Tensor:
    """Return a tensor as a kernel reads it: contiguous, with its elements and signs in memory.

    Args:
        rows_only: only the elements of the last dimension need be adjacent. Steps and rows may have
            any strides: a transposed or sliced batch is read where it is.
    Raises: ShapeError unless it is a plain tensor of this shape and dtype on the CPU.
    """
    if (
        type(tensor) in PLAIN
        and tensor.shape == shape
        and tensor.dtype is dtype
        and tensor.is_cpu
        and tensor.is_contiguous()
        # Contiguous elements lie in one piece from the offset on.
        and tensor.data_ptr()
        and tensor.untyped_storage().nbytes()
        >= tensor.nbytes + ((offset := tensor.storage_offset()) and offset * dtype.itemsize)
        # A view that torch negates lazily, with the opposite signs in memory, is contiguous only if
        # its rows are single elements.
        and not ((rows_only or shape[-1] == 1) and tensor.is_neg())
    ):
        return tensor
    if type(tensor) not in PLAIN:
        raise ShapeError(f"{name}: got a {type(tensor).__name__}, expected a plain tensor")
    if tensor.shape != shape or tensor.dtype is not dtype or not tensor.is_cpu:
        raise ShapeError(
            f"{name}: got {tuple(tensor.shape)} {tensor.dtype} on {tensor.device}, expected "
            f"{tuple(shape)} {dtype} on cpu"
        )
    check_memory(name, tensor)
    # The stride of a dimension of size 1 has no meaning; torch may leave any number in it.
    adjacent = tensor.stride(-1) == 1 or tensor.shape[-1] == 1
    if rows_only and adjacent and not tensor.is_neg():
        return tensor
    return tensor.resolve_neg().contiguous()


_Layer = tuple[Tensor, Sequence[Tensor | None], Tensor | None, Tensor | None, Tensor | None]


def read_layer(
    cell: str, tensors: tuple[Tensor | None, ...], lengths: Tensor | None, batch_first: bool
) -> _Layer:
    """Check the tensors of one layer, and return them as a kernel reads them.

    Args:
        tensors: x, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, h0, c0.
    Returns: x, the weights, h0, c0, lengths. Where I is 0, x and weight_ih are a column of zeros,
        because a tensor without elements has no address.
    """
    # The usual case in C++: the same checks in Python take a fifth of a small layer's time.
    known = _core.read_layer(cell, tensors, batch_first) if cell in KERNELS else None
    if known and (lengths is None or _core.read_lengths(lengths, known[0])):
        return tensors[0], tensors[1:6], tensors[6], tensors[7], lengths  # type: ignore[return-value]
    definition = kernel_cell(cell)
    x, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, h0, c0 = tensors
    try:
        if x is None or weight_ih is None or weight_hh is None:
            raise ShapeError("x, weight_ih and weight_hh: expected a tensor each")
        batch, time, size, hidden, projected = sizes(x, weight_hh, weight_hr, batch_first)
        width, rows, dtype = projected or hidden, len(definition.blocks) * hidden, x.dtype
        if dtype not in _DTYPES:
            raise ShapeError(f"x: got {dtype}, expected {_DTYPES[0]} or {_DTYPES[1]}")
        if (bias_ih is None) != (bias_hh is None):
            raise ShapeError("bias_ih and bias_hh: give both or neither")
        if c0 is not None and cell not in HAS_C:
            raise ShapeError(f"c0: the cell {cell} has no second state; expected None")
        if weight_hr is not None and (cell not in HAS_C or not 0 < projected < hidden):
            raise ShapeError(
                f"weight_hr: got {tuple(weight_hr.shape)} with the cell {cell}, expected (P, H), P "
                "below H, with the cell lstm"
            )
        inputs = read_tensor("x", x, x.shape, dtype, True)
        shapes: tuple[tuple[int, ...], ...]
        shapes = ((rows, size), (rows, width), (rows,), (rows,), (projected, hidden))
        shapes += ((batch, width), (batch, hidden))
        *weights, h0, c0 = [
            None if tensor is None else read_tensor(name, tensor, shape, dtype)
            for name, tensor, shape in zip(_NAMES[1:], tensors[1:], shapes, strict=True)
        ]
        if lengths is not None:
            if lengths.dtype is not torch.int64 or not lengths.is_cpu:
                check_lengths(lengths, batch, time)
                lengths = lengths.to("cpu", torch.int64)
            lengths = read_tensor("lengths", lengths, (batch,), torch.int64)
    except (AttributeError, TypeError, ValueError, RuntimeError, IndexError) as error:
        _refuse(definition, tensors, lengths, batch_first, error)
    if not size:
        inputs, weights[0] = x.new_zeros(()).expand(*x.shape[:2], 1), x.new_zeros(rows, 1)
    return inputs, weights, h0, c0, lengths


def _refuse(
    cell: Cell, tensors: tuple[Any, ...], lengths: Any, batch_first: bool, error: Exception
) -> NoReturn:
    """Raise ShapeError for the first of a layer's tensors that does not fit."""
    *weights, weight_hr = tensors[1:6]
    states = tensors[6 : 6 + len(cell.states)]
    x, W, U, b, c = tensors[0], *weights
    check_layer(cell, x, W, U, b, c, states, lengths, batch_first, weight_hr)
    for name, tensor in zip((*_NAMES, "lengths"), (*tensors, lengths), strict=True):
        if tensor is not None:
            check_memory(name, tensor)
    if isinstance(error, ShapeError):
        raise error
    raise ShapeError(f"a kernel cannot read these tensors: {error}") from error


def reserve_size(x: Tensor, weight_hh: Tensor, weight_hr: Tensor | None, cell: str) -> int:
    """Number of values that forward keeps for backward.

    These are the gates and other values that backward would have to recompute. None for a
    simple RNN, whose derivative follows from y: tanh' = 1 - y^2.
    """
    hidden = (weight_hh if weight_hr is None else weight_hr).shape[1]
    width = _core.reserve_width(cell, x.dtype == torch.float64, hidden)
    return x.shape[0] * x.shape[1] * width


def read_results(
    x: Tensor,
    weights: Sequence[Tensor | None],
    results: tuple[Tensor | None, ...],
    cell: str,
    batch_first: bool,
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """Check y, the reserve and the gradients of y, h_n and c_n, and return them as kernels read."""
    weight_hh, weight_hr = weights[1], weights[4]
    assert weight_hh is not None
    batch, time, _, hidden, projected = sizes(x, weight_hh, weight_hr, batch_first)
    width, dtype = projected or hidden, x.dtype
    outputs = (batch, time, width) if batch_first else (time, batch, width)
    y, reserve, dy, dh_n, dc_n = results
    count = reserve_size(x, weight_hh, weight_hr, cell)
    if y is None or (count and reserve is None):
        raise ShapeError("y and reserve: expected what the forward pass returned with keep=True")
    if dc_n is not None and cell not in HAS_C:
        raise ShapeError(f"dc_n: the cell {cell} has no second state; expected None")
    shapes = {"dy": outputs, "dh_n": (batch, width), "dc_n": (batch, hidden)}
    if _core.read_tensors(
        (y, dy, dh_n, dc_n, reserve if count else None),
        (outputs, *shapes.values(), (count,)),
        dtype is torch.float64,
    ):
        return y, reserve, dy, dh_n, dc_n
    dy, dh_n, dc_n = (
        None if tensor is None else read_tensor(name, tensor, shape, dtype, name == "dy")
        for (name, shape), tensor in zip(shapes.items(), (dy, dh_n, dc_n), strict=True)
    )
    y = read_tensor("y", y, outputs, dtype, True)
    if count and reserve is not None:
        reserve = read_tensor("reserve", reserve, (count,), dtype)
    return y, reserve, dy, dh_n, dc_n
