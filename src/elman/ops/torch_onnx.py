"""Recurrent layers for torch's two ONNX exporters: a node RNN, GRU or LSTM for each layer.

    dynamo=True    translates the graph of torch.export; `_decompose` replaces `elman::recurrence`
    dynamo=False   traces a call by torch.jit.trace; while it does, a layer calls `run_as_onnx`

Both get the same operations: padding is masked, and the weights are put in ONNX's order, which the
exporters fold into constants. ONNX has no projected states, its nodes return zeros for empty rows,
and onnxruntime has none in float64: `run_as_onnx` computes these cases from other operations.

Dimensions: B batch, T time, I input, H hidden, P projected, G blocks of the weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._higher_order_ops.scan import scan_op
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from elman.errors import SettingsError
from elman.ops.cells import Cell
from elman.ops.checks import kernel_cell
from elman.ops.operators import fake_outputs

# Type of the node and, for each of its blocks, the index of the block of ours: ONNX orders z, r, h
# and i, o, f, c.
_NODES = {
    "rnn_tanh": ("RNN", (0,)),
    "rnn_relu": ("RNN", (0,)),
    "gru": ("GRU", (1, 0, 2)),
    "lstm": ("LSTM", (0, 3, 1, 2)),
}
Weights = tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]
States = tuple[Tensor | None, ...]


def is_traced_for_onnx() -> bool:
    """Whether torch.onnx.export(dynamo=False) is tracing this call."""
    return torch._C._get_tracing_state() is not None and torch.onnx.is_in_onnx_export()


def is_exported_to_onnx() -> bool:
    """Whether torch.onnx.export is capturing or tracing this call."""
    if torch._C._get_tracing_state() is not None:
        return torch.onnx.is_in_onnx_export()
    # torch.compile must not reach the last question, at which its graph would break.
    captured = torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling()
    return captured and torch.onnx.is_in_onnx_export()


def run_as_onnx(
    cell: Cell,
    x: Tensor,
    weights: Weights,
    initial: States,
    lengths: Tensor | None,
    reverse: bool,
    batch_first: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run one layer in one direction by operations that ONNX has.

    Args:
        weights: weight_ih, weight_hh, bias_ih, bias_hh, weight_hr; the last three may be None.
        Others as in `elman.ops.reference.run_reference`.
    Returns: y; the final states in the order of `initial`.
    Raises: SettingsError for the older exporter, if the layer has no node.
    """
    if batch_first:
        x = x.transpose(0, 1)  # (T, B, I), which the node reads
    mask = None
    if lengths is not None:
        lengths = lengths.to(device=x.device, dtype=torch.int64)
        mask = (torch.arange(x.shape[0], device=x.device)[:, None] < lengths)[
            :, :, None
        ]  # (T, B, 1)
        x = torch.where(mask, x, x.new_zeros(()))
    # onnxruntime 1.32 has no RNN in float64, and its GRU and LSTM raise "does not support double".
    looped = not cell.kernel or x.dtype is torch.float64
    run = _run_scan if looped else _run_node
    y, final = run(cell, x, weights, initial, lengths, mask, reverse)
    if mask is not None:
        y = torch.where(mask, y, y.new_zeros(()))
    if lengths is not None and not looped:
        # A node returns zeros for an empty row, whatever its initial state.
        empty = (lengths == 0)[:, None]
        final = tuple(
            torch.where(empty, end.new_zeros(()) if start is None else start, end)
            for start, end in zip(initial, final, strict=True)
        )
    return (y.transpose(0, 1) if batch_first else y).contiguous(), final


def _run_node(
    cell: Cell,
    x: Tensor,
    weights: Weights,
    initial: States,
    lengths: Tensor | None,
    mask: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a layer over x, (T, B, I), by one node."""
    weight_ih, weight_hh, bias_ih, bias_hh, weight_hr = weights
    states = list(initial)
    if weight_hr is not None:
        # U (R h) = (U R) h: a node without projection, whose y is projected afterwards. h0 is
        # projected already and is the R h of no h, so U h0 enters with the input of the first step.
        if states[0] is not None:
            first = _first_steps(x, lengths, reverse)
            x = torch.cat([x, torch.where(first, states[0], x.new_zeros(()))], -1)
            weight_ih = torch.cat([weight_ih, weight_hh], 1)
            states[0] = None
        weight_hh = weight_hh @ weight_hr
    operator, order = _NODES[cell.kernel]

    bias = None
    if bias_ih is not None and bias_hh is not None:
        bias = torch.cat([_sort_blocks(bias_ih, order), _sort_blocks(bias_hh, order)])[None]
    inputs = (
        x,
        _sort_blocks(weight_ih, order)[None],
        _sort_blocks(weight_hh, order)[None],
        bias,
        None if lengths is None else lengths.to(torch.int32),
        *(None if s is None else s[None] for s in states),
    )
    hidden = weight_ih.shape[0] // len(order)
    attributes: dict[str, Any] = {"hidden_size": hidden}
    if reverse:
        attributes["direction"] = "reverse"
    if cell.kernel == "rnn_relu":
        attributes["activations"] = ["Relu"]
    if operator == "GRU":
        attributes["linear_before_reset"] = 1
    if torch._C._get_tracing_state() is not None:
        y, *final = _Node.apply(operator, attributes, *inputs)  # type: ignore[no-untyped-call]
    else:
        end = (1, x.shape[1], hidden)
        shapes = ((x.shape[0], *end), *[end] * len(states))
        y, *final = torch.onnx.ops.symbolic_multi_out(
            operator, inputs, attributes, dtypes=[x.dtype] * len(shapes), shapes=shapes
        )
    y, final = y.squeeze(1), [state.squeeze(0) for state in final]
    if weight_hr is not None:
        y, final[0] = y @ weight_hr.T, final[0] @ weight_hr.T
    return y, tuple(final)


def _sort_blocks(weight: Tensor, order: tuple[int, ...]) -> Tensor:
    """The blocks of rows of a weight in another order."""
    if len(order) == 1:
        return weight
    # Not by `chunk`: the exporters do not fold nodes with several outputs into the weight.
    blocks = weight.view(len(order), -1, *weight.shape[1:])
    return torch.stack([blocks[i] for i in order]).flatten(0, 1)


def _first_steps(x: Tensor, lengths: Tensor | None, reverse: bool) -> Tensor:
    """True at the step of each row that runs first, (T, B, 1) or (T, 1, 1)."""
    steps = torch.arange(x.shape[0], device=x.device)[:, None, None]
    if not reverse:
        return steps == 0
    if lengths is None:
        return steps == x.shape[0] - 1
    return steps == (lengths - 1)[:, None]


class _Node(torch.autograd.Function):
    """A node for the older exporter, which reads `symbolic`."""

    @staticmethod
    def forward(ctx: Any, operator: str, attributes: dict[str, Any], *inputs: Any) -> Any:
        """Zeros of the shapes of the outputs, as torch.onnx.ops has for the other exporter."""
        x, _, weight_hh, _, _, *states = inputs
        # Only of sizes of the inputs: a trace of `forward` has nothing else.
        end = (1, x.shape[1], weight_hh.shape[2])
        return x.new_zeros(x.shape[0], *end), *(x.new_zeros(end) for _ in states)

    @staticmethod
    def symbolic(g: Any, operator: str, attributes: dict[str, Any], *inputs: Any) -> Any:
        """Add the node to the graph."""
        places = []
        for value in inputs:
            place = value
            if value is None:  # an input that is left out
                place = g.op("prim::Constant")
                place.setType(torch._C.OptionalType.ofTensor())
            places.append(place)
        named: dict[str, Any] = {}
        for name, value in attributes.items():
            if isinstance(value, str | list):
                named[f"{name}_s"] = value
            else:  # a tensor where it comes from a shape
                named[f"{name}_i"] = int(value)
        return g.op(operator, *places, outputs=len(inputs) - 4, **named)


def _run_scan(
    cell: Cell,
    x: Tensor,
    weights: Weights,
    initial: States,
    lengths: Tensor | None,
    mask: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a layer over x, (T, B, I), step by step in a Scan node; as `run_reference`."""
    if is_traced_for_onnx():
        reason = f"cell {cell.name!r} has no node in ONNX"
        remedy = "Use torch.onnx.export(..., dynamo=True), which writes a loop (a Scan node)"
        if cell.kernel:
            reason = "onnxruntime has no RNN, GRU or LSTM node in float64"
            remedy += ", or export the model in float32 (model.float())"
        raise SettingsError(
            f"torch.onnx.export(..., dynamo=False): {reason}, and this exporter cannot write "
            f"a loop over the steps. {remedy}."
        )
    weight_ih, weight_hh, bias_ih, bias_hh, weight_hr = weights
    a = x @ weight_ih.T  # (T, B, G*H)
    if bias_ih is not None:
        a = a + bias_ih
    widths = dict.fromkeys(cell.states, weight_ih.shape[0] // len(cell.blocks))
    widths["h"] = weight_hh.shape[1]
    before = dict(zip(cell.initial_states, initial, strict=True))
    starts = [
        x.new_zeros(x.shape[1], width) if (state := before[name]) is None else state.contiguous()
        for name, width in widths.items()
    ]
    sequences = [a] if mask is None else [a, mask]
    if reverse:
        sequences = [s.flip(0) for s in sequences]
    constants = tuple(w for w in (weight_hh, bias_hh, weight_hr) if w is not None)

    def step(*values: Tensor) -> list[Tensor]:
        states = dict(zip(widths, values, strict=False))
        a, *valid = values[len(states) : len(states) + len(sequences)]
        U, *others = values[len(states) + len(sequences) :]
        u = states["h"] @ U.T
        if bias_hh is not None:
            u = u + others.pop(0)
        _, _, new = cell.step(cell.split(a), cell.split(u), states)
        if weight_hr is not None:
            new["h"] = new["h"] @ others[0].T
        if valid:
            new = {name: torch.where(valid[0], new[name], states[name]) for name in states}
        # `scan_op` refuses outputs that share memory.
        return [*(new[name].clone() for name in states), new["h"].clone()]

    *ends, y = scan_op(step, starts, sequences, constants)
    final = dict(zip(widths, ends, strict=True))
    return (y.flip(0) if reverse else y), tuple(final[name] for name in cell.initial_states)


def _decompose(*arguments: Any) -> Any:
    """Operations of `elman::recurrence` for the exporter that works on graphs of torch.export.

    torch's table of decompositions is also read elsewhere, where the operator must stay as it is.
    """
    if get_proxy_mode() is None:  # only the shapes are asked for
        return fake_outputs(*arguments)
    if not torch.onnx.is_in_onnx_export():
        return NotImplemented
    x, *weights, h0, c0, lengths, name, reverse, batch_first, _ = arguments
    cell = kernel_cell(name)
    initial = (h0, c0)[: len(cell.states)]
    y, final = run_as_onnx(cell, x, tuple(weights), initial, lengths, reverse, batch_first)
    # Empty in place of c_n and of what backward would read, as the operator returns them.
    return y, *final, *(x.new_empty(0) for _ in range(3 - len(final)))


torch._decomp.register_decomposition(torch.ops.elman.recurrence.default)(_decompose)
