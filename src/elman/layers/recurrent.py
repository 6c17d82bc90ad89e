"""RNN, GRU and LSTM in place of torch.nn's: the same weights and results, right about padding.

    layer l, direction d:   y[l, d] = cell(y[l-1])        y[l] = y[l, forward] beside y[l, backward]

Dimensions: B batch, T time, I input, H hidden, P projected, L layers, D directions (1 or 2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from elman.errors import SettingsError, ShapeError
from elman.ops._checks import check_lengths
from elman.ops._dispatch import is_native
from elman.ops._torch_layer import run_packed
from elman.ops.gru.op import gru_native
from elman.ops.lstm.op import lstm_native, lstm_op
from elman.ops.rnn.op import rnn_native

States = tuple[Tensor, ...]


class _Recurrent(nn.RNNBase):
    """L stacked layers in one or both directions; the subclass names the cell.

    Constructor, weights, copies, pickles and repr are torch's. The subclasses are no torch.nn.RNN,
    GRU or LSTM all the same: torch.compile refuses every instance of those three.
    """

    state_names: ClassVar[tuple[str, ...]] = ("h0",)
    gates: ClassVar[int]  # G
    _torch_forward: ClassVar[Callable[..., Any]]  # torch's whole stack, where elman has no kernel

    @property
    def num_directions(self) -> int:
        """D: 2 if bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    def forward(
        self,
        input: Tensor | PackedSequence,  # noqa: A002 - torch's name
        hx: Any = None,
        lengths: Tensor | None = None,
    ) -> tuple[Any, Any]:
        """Run over whole sequences.

        Args:
            input: (T, B, I), or (B, T, I) if batch_first; (T, I) for one sequence; or packed.
            hx: states before the first step, (L*D, B, H), or (L*D, H) for one sequence; for an
                LSTM the pair of hidden and cell states; None means zeros.
            lengths: valid steps of each row, (B,) integers on any device; None means all T.
        Returns: y (T, B, D*H), (B, T, D*H) or (T, D*H), as the input, zero past each row's end, or
            packed; h_n, for an LSTM (h_n, c_n), shaped as hx, after each row's own last step in the
            direction of travel. With proj_size P, hidden states and y have P units in place of H.
        Raises: ShapeError, in torch's words where torch refuses the same.
        """
        states = () if hx is None else self._states(hx)
        y: Tensor | PackedSequence
        if isinstance(input, PackedSequence):
            if lengths is not None:
                raise ShapeError("lengths: a PackedSequence has its own; give one or the other")
            y, final = self._run_packed(input, states)
        elif input.dim() == 3:
            self._check_dims(states, 3, "batched 3-D")
            y, final = self._run(input, states, lengths)
        elif input.dim() == 2:
            self._check_dims(states, 2, "unbatched 2-D")
            dim = 0 if self.batch_first else 1
            rows = tuple(s.unsqueeze(1) for s in states)
            y, final = self._run(input.unsqueeze(dim), rows, lengths)
            y, final = y.squeeze(dim), tuple(s.squeeze(1) for s in final)
        else:
            raise ShapeError(
                f"{type(self).__name__}: Expected input to be 2D or 3D, got {input.dim()}D tensor"
                f" instead: {tuple(input.shape)}"
            )
        return y, final if len(final) > 1 else final[0]

    def _one(
        self,
        x: Tensor,
        weights: list[Tensor],
        starts: Sequence[Tensor | None],
        lengths: Tensor | None,
        reverse: bool,
        batch_first: bool,
    ) -> tuple[Tensor, States]:
        """One layer in one direction by elman's kernels; x fits and so do starts, (B, H)."""
        raise NotImplementedError

    def _run(self, x: Tensor, states: States, lengths: Tensor | None) -> tuple[Tensor, States]:
        batch, time, _ = x.shape
        if not self.batch_first:
            batch, time = time, batch
        self._check(x, states, batch, time)
        if lengths is not None:
            check_lengths(lengths, batch, time)
        if is_native(x, self._weight("weight_ih_l0"), *states):
            return self._run_layers(x, states, lengths, self.batch_first)
        run = _outside_the_graph if torch.compiler.is_dynamo_compiling() else _Recurrent._run_torch
        return run(self, x, states, lengths if batch else None)

    def _run_packed(self, packed: PackedSequence, states: States) -> tuple[PackedSequence, States]:
        data, batch_sizes, order, back = packed
        self._check_dims(states, 3, "packed")
        self._check(data, states, int(batch_sizes[0]), len(batch_sizes))
        if not is_native(data, self._weight("weight_ih_l0"), *states):
            return self._run_torch(packed, states, None)
        if order is not None:
            states = tuple(s.index_select(1, order) for s in states)
        x, lengths = pad_packed_sequence(PackedSequence(data, batch_sizes))  # longest row first
        y, final = self._run_layers(x, states, lengths, batch_first=False)
        if back is not None:
            final = tuple(s.index_select(1, back) for s in final)
        out = pack_padded_sequence(y, lengths).data
        return PackedSequence(out, batch_sizes, order, back), final

    def _run_layers(
        self, x: Tensor, states: States, lengths: Tensor | None, batch_first: bool
    ) -> tuple[Tensor, States]:
        """All layers by elman.ops; x (B, T, I) or (T, B, I), states (L*D, B, H)."""
        count = len(self._all_weights)  # L*D
        starts: list[Sequence[Tensor | None]] = [s.unbind(0) for s in states]  # (B, H) each
        starts = starts or [[None] * count] * len(self.state_names)
        y, ends = x, []
        for layer in range(self.num_layers):
            if layer and self.dropout and self.training:
                y = functional.dropout(y, self.dropout, True)
            outputs = []
            for direction in range(self.num_directions):
                index = layer * self.num_directions + direction
                weights = [self._weight(name) for name in self._all_weights[index]]
                self._check_weights(weights, y)
                start = [s[index] for s in starts]
                out, end = self._one(y, weights, start, lengths, direction == 1, batch_first)
                outputs.append(out)
                ends.append(end)
            y = outputs[0] if len(outputs) == 1 else torch.cat(outputs, -1)
        if count == 1:
            return y, tuple([s.unsqueeze(0) for s in ends[0]])
        return y, tuple(torch.stack(s) for s in zip(*ends, strict=True))

    def _check_weights(self, weights: list[Tensor], x: Tensor) -> None:
        """Raise ShapeError unless the weights, which anyone may exchange, are as they were made."""
        width = self.proj_size or self.hidden_size
        rows = self.gates * self.hidden_size
        shapes = ((rows, x.shape[2]), (rows, width), (rows,), (rows,))
        for weight, shape in zip(weights[: 4 if self.bias else 2], shapes, strict=False):
            if weight.shape != shape or weight.dtype is not x.dtype:
                raise ShapeError(
                    f"weights: got {tuple(weight.shape)} {weight.dtype}, expected {shape} {x.dtype}"
                )

    def _weight(self, name: str) -> Tensor:
        """A weight by name: a parameter, or the tensor that a parametrisation puts in its place."""
        parameter = self._parameters.get(name)  # quicker than the attribute
        found: Tensor = getattr(self, name) if parameter is None else parameter
        return found

    def _run_torch(self, x: Any, states: States, lengths: Tensor | None) -> tuple[Any, States]:
        """All layers by torch, cuDNN where there is one; x padded or packed."""
        if lengths is not None:
            y, final = run_packed(
                lambda packed: self._run_torch(packed, states, None),
                x if self.batch_first else x.transpose(0, 1),
                states or (0.0,) * len(self.state_names),
                lengths,
            )
            return (y if self.batch_first else y.transpose(0, 1)), final
        hx = states if len(states) > 1 else states[0] if states else None
        y, final = self._torch_forward(x, hx)
        return y, final if isinstance(final, tuple) else (final,)

    def _states(self, hx: Any) -> States:
        """The initial states as a tuple."""
        if len(self.state_names) == 1 and isinstance(hx, Tensor):
            return (hx,)
        if isinstance(hx, Tensor) or len(hx) != len(self.state_names):
            raise ShapeError(f"hx: expected {' and '.join(self.state_names)}, one tensor each")
        return tuple(hx)

    def _check_dims(self, states: States, dims: int, what: str) -> None:
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

    def _check(self, x: Tensor, states: States, batch: int, time: int) -> None:
        """Raise ShapeError, in torch's words and ours, unless x (..., I) and (L*D, B, H) fit."""
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
        widths = (self.proj_size or self.hidden_size, self.hidden_size)
        for i, (state, width) in enumerate(zip(states, widths, strict=False)):
            if state.shape != (count, batch, width):
                what = "hidden" if len(states) == 1 else f"hidden[{i}]"
                raise ShapeError(
                    f"Expected {what} size {(count, batch, width)}, got {list(state.shape)}:"
                    f" {self.state_names[i]} is (L*D, B, units)"
                )


# torch.compile breaks its graph at torch's recurrent layers, and so it does here: traced all the
# same, they fail in its backends (aten::mkldnn_rnn_layer in torch 2.13).
_outside_the_graph = _disable_dynamo(_Recurrent._run_torch)


class RNN(_Recurrent):
    """Simple recurrent layers: h_t = f(W x_t + b_ih + U h_{t-1} + b_hh).

    Takes torch.nn.RNN's arguments, input and weights (`load_state_dict` works both ways) and, when
    called, `lengths` besides.

    Args:
        input_size: I.
        hidden_size: H.
        num_layers: L.
        nonlinearity: f, `tanh` or `relu`.
        bias: whether there are biases.
        batch_first: input and output are (B, T, .) instead of (T, B, .).
        dropout: share of outputs dropped between layers while training.
        bidirectional: also run each layer from each row's own last step to its first.
    """

    gates = 1
    _torch_forward = nn.RNN.forward

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        proj_size: int = 0,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise SettingsError(
                f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'."
            )
        super().__init__(
            f"RNN_{nonlinearity.upper()}",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            _no_projection(proj_size),
            device,
            dtype,
        )
        self.nonlinearity = nonlinearity

    def _one(
        self,
        x: Tensor,
        weights: list[Tensor],
        starts: Sequence[Tensor | None],
        lengths: Tensor | None,
        reverse: bool,
        batch_first: bool,
    ) -> tuple[Tensor, States]:
        w, u, *biases = weights
        b, c = biases or (None, None)
        y, h_n = rnn_native(
            x, w, u, b, c, starts[0], lengths, self.nonlinearity, reverse, batch_first
        )
        return y, (h_n,)


class GRU(_Recurrent):
    """Gated recurrent layers; equations in `elman.ops.gru`.

    Arguments, input, weights and errors as `RNN`, without `nonlinearity`.
    """

    gates = 3
    _torch_forward = nn.GRU.forward

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        proj_size: int = 0,
    ) -> None:
        super().__init__(
            "GRU",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            _no_projection(proj_size),
            device,
            dtype,
        )

    def _one(
        self,
        x: Tensor,
        weights: list[Tensor],
        starts: Sequence[Tensor | None],
        lengths: Tensor | None,
        reverse: bool,
        batch_first: bool,
    ) -> tuple[Tensor, States]:
        w, u, *biases = weights
        b, c = biases or (None, None)
        y, h_n = gru_native(x, w, u, b, c, starts[0], lengths, reverse, batch_first)
        return y, (h_n,)


class LSTM(_Recurrent):
    """Long short-term memory layers; equations in `elman.ops.lstm`.

    Arguments, input, weights and errors as `RNN`, without `nonlinearity` and with `proj_size`: P
    units to which the hidden state is projected, 0 for no projection.
    """

    state_names = ("h0", "c0")
    gates = 4
    _torch_forward = nn.LSTM.forward
    # What torch's forward calls on itself.
    check_forward_args = nn.LSTM.check_forward_args  # type: ignore[assignment]
    get_expected_cell_size = nn.LSTM.get_expected_cell_size
    permute_hidden = nn.LSTM.permute_hidden  # type: ignore[assignment]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            "LSTM",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
        )

    def _one(
        self,
        x: Tensor,
        weights: list[Tensor],
        starts: Sequence[Tensor | None],
        lengths: Tensor | None,
        reverse: bool,
        batch_first: bool,
    ) -> tuple[Tensor, States]:
        w, u, *biases = weights[:4] if self.bias else weights[:2]
        b, c = biases or (None, None)
        h0, c0 = starts
        if self.proj_size:
            r = weights[-1]
            return lstm_op(x, w, u, b, c, r, h0, c0, lengths, reverse, batch_first)
        return lstm_native(x, w, u, b, c, h0, c0, lengths, reverse, batch_first)


def _no_projection(proj_size: int) -> int:
    """Refuse a projection as torch does: only an LSTM has one."""
    if proj_size:
        raise SettingsError("proj_size argument is only supported for LSTM, not RNN or GRU")
    return 0
