"""Recurrent layers of any cell: stacked, in one or both directions; padding never changes a result.

    layer l, direction d:   y[l, d] = cell(y[l-1])        y[l] = y[l, forward] and y[l, backward]

Dimensions: B batch, T time, I input, H hidden, P projected, L layers, D directions (1 or 2).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from elman.errors import SettingsError, ShapeError
from elman.layers.random_numbers import dropout, initialise_as_torch
from elman.ops.cells import Cell, find_cell
from elman.ops.dispatch import run_layer
from elman.ops.functional import as_lengths
from elman.ops.torch_onnx import is_exported_to_onnx, is_traced_for_onnx

States = tuple[Tensor, ...]


class RecurrentBase(nn.Module):
    """L stacked layers in one or both directions, with the attributes and weights of torch.nn.

    A subclass defines the cell, creates the weights, and may add a faster path.
    """

    input_size: int
    hidden_size: int
    num_layers: int
    bias: bool
    batch_first: bool
    dropout: float
    bidirectional: bool
    proj_size: int
    _cell: Cell
    _all_weights: list[list[str]]  # names, a list for each layer and direction

    @property
    def cell(self) -> Cell:
        """The equations of a step."""
        return self._cell

    @property
    def num_directions(self) -> int:
        """D: 2 if bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    def forward(
        self,
        input: Tensor | PackedSequence,  # noqa: A002 - torch's name
        hx: Any = None,
        lengths: Tensor | Sequence[int] | None = None,
    ) -> tuple[Any, Any]:
        """Run over whole sequences.

        Args:
            input: (T, B, I), or (B, T, I) if batch_first; (T, I) for one sequence; or packed.
            hx: states before the first step, (L*D, B, H), or (L*D, H) for one sequence; a tuple
                for a cell with several states, such as an LSTM's (h, c); None means zeros.
            lengths: valid steps of each row, (B,) integers, a list or a tensor on any device; None
                means all T.
        Returns: y (T, B, D*H), (B, T, D*H) or (T, D*H), as the input, zero past each row's end, or
            packed; h_n, for an LSTM (h_n, c_n), shaped as hx, after each row's own last step in the
            direction in which it runs. With proj_size P, hidden states and y have P units, not H.
        Raises: ShapeError, with torch's message where torch raises for the same reason.
        """
        lengths = as_lengths(lengths)
        # Without hx no zeros are allocated: a kernel skips a missing state.
        states = () if hx is None else self._states(hx)
        y: Tensor | PackedSequence
        if isinstance(input, PackedSequence):
            if lengths is not None:
                raise ShapeError("lengths: a PackedSequence has its own; give one or the other")
            if torch.compiler.is_compiling() and is_exported_to_onnx():
                raise ShapeError(
                    "input: a PackedSequence cannot be exported to ONNX; pass the padded batch and "
                    "lengths=lengths instead"
                )
            y, final = self._run_packed(input, states)
        elif not isinstance(input, Tensor):
            raise ShapeError(f"input: got a {type(input).__name__}, expected a tensor")
        elif input.dim() == 3:
            self._check_dims(states, 3, "batched 3-D")
            y, final = self._run_batch(input, states, lengths)
        elif input.dim() == 2:
            self._check_dims(states, 2, "unbatched 2-D")
            dim = 0 if self.batch_first else 1
            rows = tuple(s.unsqueeze(1) for s in states)
            y, final = self._run_batch(input.unsqueeze(dim), rows, lengths)
            y, final = y.squeeze(dim), tuple(s.squeeze(1) for s in final)
        else:
            raise ShapeError(
                f"{type(self).__name__}: Expected input to be 2D or 3D, got {input.dim()}D tensor"
                f" instead: {tuple(input.shape)}"
            )
        return y, final if len(final) > 1 else final[0]

    def _run_batch(
        self, x: Tensor, states: States, lengths: Tensor | None
    ) -> tuple[Tensor, States]:
        batch, time, _ = x.shape
        if not self.batch_first:
            batch, time = time, batch
        # The older exporter to ONNX traces sizes as tensors, of which a graph cannot depend.
        if not is_traced_for_onnx():
            self._check_sizes(x, states, batch, time)
        return self._run_padded(x, states, lengths)

    def _run_padded(
        self, x: Tensor, states: States, lengths: Tensor | None
    ) -> tuple[Tensor, States]:
        """Run a padded batch of checked sizes."""
        return self._run_layers(x, states, lengths, self.batch_first)

    def _run_packed(self, packed: PackedSequence, states: States) -> tuple[PackedSequence, States]:
        """Run a packed batch by padding it, because cells take lengths."""
        data, batch_sizes, order, back = packed
        self._check_dims(states, 3, "packed")
        self._check_sizes(data, states, int(batch_sizes[0]), len(batch_sizes))
        if order is not None:
            states = tuple(s.index_select(1, order) for s in states)
        # The sort indices are dropped, so that rows stay sorted by length: packing would only undo
        # a return of x and y to the caller's order.
        x, lengths = pad_packed_sequence(PackedSequence(data, batch_sizes))
        y, final = self._run_layers(x, states, lengths, batch_first=False)
        if back is not None:
            final = tuple(s.index_select(1, back) for s in final)
        out = pack_padded_sequence(y, lengths).data
        return PackedSequence(out, batch_sizes, order, back), final

    def _run_layers(
        self, x: Tensor, states: States, lengths: Tensor | None, batch_first: bool
    ) -> tuple[Tensor, States]:
        """Run each layer and direction separately; x (B, T, I) or (T, B, I), states (L*D, B, H)."""
        cell = self.cell
        count = len(self._all_weights)  # L*D
        # unbind instead of indexing: one node in the autograd graph for all layers.
        initial: list[Sequence[Tensor | None]] = [s.unbind(0) for s in states]  # (B, H) each
        initial = initial or [[None] * count] * len(cell.initial_states)
        y, ends = x, []
        for layer in range(self.num_layers):
            # As in torch.nn: on the input from the layer below, so not after the last layer.
            if layer and self.dropout and self.training:
                y = dropout(y, self.dropout, True)
            outputs = []
            for direction in range(self.num_directions):
                index = layer * self.num_directions + direction
                weights = [self._weight(name) for name in self._all_weights[index]]
                if not is_traced_for_onnx():
                    self._check_units(weights)
                start = tuple([s[index] for s in initial])
                out, end = self._run_one(
                    cell, y, weights, start, lengths, direction == 1, batch_first
                )
                outputs.append(out)
                ends.append(end)
            y = outputs[0] if len(outputs) == 1 else torch.cat(outputs, -1)
        if count == 1:  # a view, which is quicker than stacking a single state
            return y, tuple([s.unsqueeze(0) for s in ends[0]])
        return y, tuple(torch.stack(s) for s in zip(*ends, strict=True))

    def _run_one(
        self,
        cell: Cell,
        x: Tensor,
        weights: list[Tensor],
        initial: tuple[Tensor | None, ...],
        lengths: Tensor | None,
        reverse: bool,
        batch_first: bool,
    ) -> tuple[Tensor, States]:
        """Run one layer in one direction; initial is (B, H)."""
        W, U, *rest = weights
        b, c = rest[:2] if self.bias else (None, None)
        R = weights[-1] if self.proj_size else None
        return run_layer(cell, x, W, U, b, c, initial, lengths, reverse, batch_first, R)

    def _check_units(self, weights: list[Tensor]) -> None:
        """Raise ShapeError unless the weights, which users may replace, have the layer's units.

        Only the one that determines the shapes of the others, which the operator compares.
        """
        name, shape = "weight_hh", (len(self.cell.blocks) * self.hidden_size, self.hidden_size)
        if self.proj_size:
            name, shape = "weight_hr", (self.proj_size, self.hidden_size)
        weight = weights[-1 if self.proj_size else 1]
        if weight.shape != shape:
            raise ShapeError(f"{name}: got {tuple(weight.shape)}, expected {shape}")

    def _weight(self, name: str) -> Tensor:
        """Return a weight by name: a parameter, or the tensor of a parametrization."""
        # Faster than Module.__getattr__, which is Python code and searches three dictionaries.
        parameter = self._parameters.get(name)
        tensor: Tensor = getattr(self, name) if parameter is None else parameter
        return tensor

    def _states(self, hx: Any) -> States:
        """The initial states as a tuple."""
        names = self.cell.initial_states
        if len(names) == 1 and isinstance(hx, Tensor):
            return (hx,)
        if (
            not isinstance(hx, (tuple, list))
            or len(hx) != len(names)
            or not all(isinstance(state, Tensor) for state in hx)
        ):
            expected = " and ".join(f"{name}0" for name in names)
            raise ShapeError(f"hx: expected {expected}, one tensor each")
        return tuple(hx)

    def _check_dims(self, states: States, dims: int, what: str) -> None:
        """Raise ShapeError, in torch's words, unless every state has `dims` dimensions."""
        for state in states:
            if state.dim() != dims:
                break
        else:
            return
        found = ", ".join(f"{s.dim()}-D" for s in states)
        if len(states) == 1:
            raise ShapeError(f"For {what} input, hx should also be {dims}-D but got {found} tensor")
        raise ShapeError(
            f"For {what} input, hx and cx should also be {dims}-D but got ({found}) tensors"
        )

    def _check_sizes(self, x: Tensor, states: States, batch: int, time: int) -> None:
        """Raise ShapeError unless x (..., I) and the states (L*D, B, H) have matching sizes."""
        if x.shape[-1] != self.input_size:
            raise ShapeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got"
                f" {x.shape[-1]}: the input is {tuple(x.shape)}"
            )
        if time == 0:
            raise ShapeError(
                "Expected sequence length to be larger than 0 in RNN: the input is"
                f" {tuple(x.shape)}, batch_first={self.batch_first}"
            )
        count = self.num_layers * self.num_directions
        for i, state in enumerate(states):
            # Only h, the first, is projected; the cell state of an LSTM keeps its H units.
            width = self.hidden_size if i else self.proj_size or self.hidden_size
            if state.shape != (count, batch, width):
                what = "hidden" if len(states) == 1 else f"hidden[{i}]"
                raise ShapeError(
                    f"Expected {what} size {(count, batch, width)}, got {list(state.shape)}:"
                    f" {self.cell.initial_states[i]}0 is (L*D, B, units)"
                )


class Recurrent(RecurrentBase):
    """Recurrent layers of a user's own cell, or of any cell of the table.

        h_t = step(W x_t + b_ih, U h_{t-1} + b_hh, h_{t-1})        see `elman.layers.Cell`

    Weights are named and initialised as in torch.nn, uniformly in [-1/sqrt(H), 1/sqrt(H)]. A cell
    without a kernel runs step by step in plain torch, on any device; autograd gives its gradients.

    Args:
        cell: a `Cell`, or the name of a registered one.
        input_size: I.
        hidden_size: H.
        num_layers: L.
        bias: whether the layers have biases.
        batch_first: input and output are (B, T, .) instead of (T, B, .).
        dropout: probability that an output between layers is dropped while training.
        bidirectional: also run each layer from each row's own last step to its first.
    Raises: SettingsError for a name that is not registered, or an invalid size.
    """

    def __init__(
        self,
        cell: Cell | str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
        for name, size in sizes.items():
            if not isinstance(size, int) or size < 1:
                raise SettingsError(f"{name}: got {size!r}, expected a whole number above 0")
        if isinstance(dropout, bool) or not 0 <= dropout <= 1:
            raise SettingsError(f"dropout: got {dropout!r}, expected a number from 0 to 1")
        if dropout and num_layers == 1:
            warnings.warn(
                f"dropout: got {dropout} with one layer, but it acts between layers only; a "
                "single layer has no dropout",
                stacklevel=2,
            )
        self._cell = find_cell(cell) if isinstance(cell, str) else cell
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional, self.proj_size = bidirectional, 0
        rows = len(self._cell.blocks) * hidden_size
        self._all_weights = []
        for layer in range(num_layers):
            width = hidden_size * self.num_directions if layer else input_size
            shapes: dict[str, tuple[int, ...]] = {
                "weight_ih": (rows, width),
                "weight_hh": (rows, hidden_size),
            }
            if bias:
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
            for end in ("", "_reverse")[: self.num_directions]:
                names = [f"{name}_l{layer}{end}" for name in shapes]
                for name, shape in zip(names, shapes.values(), strict=True):
                    # In torch's order and under its names, so that the same seed and the same
                    # state_dict serve both.
                    empty = torch.empty(shape, device=device, dtype=dtype)
                    self.register_parameter(name, nn.Parameter(empty))
                self._all_weights.append(names)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise all weights again, as torch.nn's layers do."""
        initialise_as_torch(self, None)

    def extra_repr(self) -> str:
        """Cell, sizes and arguments that differ from their defaults."""
        text = f"{self.cell.name}, {self.input_size}, {self.hidden_size}"
        defaults = {
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
            "dropout": 0.0,
            "bidirectional": False,
        }
        for name, default in defaults.items():
            if (value := getattr(self, name)) != default:
                text += f", {name}={value}"
        return text


def initialise(
    model: nn.Module, initialization: str, generator: torch.Generator | None = None
) -> None:
    """Draw the weights of all layers of a model, in the order of its modules.

    Args:
        initialization: `orthogonal` for `initialise_recurrent`, or `torch`.
        generator: drawn from; None means torch's global one.
    """
    for module in model.modules():
        if isinstance(module, nn.Embedding | nn.Linear | RecurrentBase):
            initialise_as_torch(module, generator)
        if isinstance(module, RecurrentBase) and initialization == "orthogonal":
            initialise_recurrent(module, generator)


@torch.no_grad()
def initialise_recurrent(layer: RecurrentBase, generator: torch.Generator | None = None) -> None:
    """Give `layer` orthogonal recurrent weights, Xavier input weights and the cell's first biases.

    Each gate's block is drawn separately: the blocks of an orthogonal (G*H, H) matrix are not
    orthogonal themselves.
    Biases are zero except those that the cell sets, such as 1 for the forget gate of an LSTM.

    Args:
        generator: drawn from; None means torch's global one.
    Source: orthogonal weights, Saxe et al. 2014, arXiv:1312.6120; Xavier's, Glorot & Bengio 2010.
    """
    cell = layer.cell
    for name, parameter in layer.named_parameters():
        for i, block in enumerate(torch.split(parameter, layer.hidden_size)):
            if name.startswith(("weight_hh", "weight_hr")):
                _orthogonal(block, generator)
            elif name.startswith("weight_ih"):
                nn.init.xavier_uniform_(block, generator=generator)
            else:
                # In one of the two biases only, because their sum enters the gate.
                is_first = name.startswith("bias_ih")
                nn.init.constant_(block, cell.biases.get(cell.blocks[i], 0.0) if is_first else 0.0)


def _orthogonal(block: Tensor, generator: torch.Generator | None) -> None:
    """Draw an orthogonal matrix, the same for any number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # QR rounds differently with more threads
    try:
        nn.init.orthogonal_(block, generator=generator)
    finally:
        torch.set_num_threads(threads)
