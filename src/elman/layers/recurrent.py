"""RNN, GRU and LSTM as nn.Modules: torch.nn's weights and results, right about padding.

    layer l, direction d:   y[l, d] = cell(y[l-1])        y[l] = y[l, forward] beside y[l, backward]

Dimensions: B batch, T time, I input, H hidden, G gates, L layers, D directions (1 or 2).
"""

from __future__ import annotations

import math
import warnings
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from elman import ops
from elman.errors import SettingsError, ShapeError

_Weights = tuple[Tensor, Tensor, Tensor | None, Tensor | None]


class _Recurrent(nn.Module):
    """L stacked layers in one or both directions; the subclass names the cell."""

    gates: ClassVar[int]
    state_names: ClassVar[tuple[str, ...]] = ("h0",)

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
    ) -> None:
        super().__init__()
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
        for name, value in sizes.items():
            if value < 1:
                raise SettingsError(f"{name}: got {value}, expected at least 1")
        if not 0 <= dropout < 1:
            raise SettingsError(f"dropout: got {dropout}, expected from 0 up to, not including, 1")
        if dropout and num_layers == 1:
            warnings.warn(
                f"dropout {dropout} has no effect: it acts between layers, and num_layers is 1",
                stacklevel=3,
            )
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = dropout
        self.bidirectional = bidirectional
        rows = self.gates * hidden_size
        for layer in range(num_layers):
            size = input_size if layer == 0 else hidden_size * self.num_directions
            for suffix in self._suffixes(layer):
                shapes: dict[str, tuple[int, ...]] = {
                    "weight_ih": (rows, size),
                    "weight_hh": (rows, hidden_size),
                }
                if bias:
                    shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
                for name, shape in shapes.items():
                    empty = torch.empty(shape, device=device, dtype=dtype)
                    self.register_parameter(f"{name}_{suffix}", nn.Parameter(empty))
        self.reset_parameters()

    @property
    def num_directions(self) -> int:
        """D: 2 if bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    def reset_parameters(self) -> None:
        """Draw every weight and bias uniformly from ±1/sqrt(H), as torch.nn does."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def _suffixes(self, layer: int) -> list[str]:
        return [f"l{layer}", f"l{layer}_reverse"][: self.num_directions]

    def _weights(self, suffix: str) -> _Weights:
        """Weights and biases of one layer and direction, `l0`, `l0_reverse`, `l1`, ..."""
        return (
            getattr(self, f"weight_ih_{suffix}"),
            getattr(self, f"weight_hh_{suffix}"),
            getattr(self, f"bias_ih_{suffix}", None),
            getattr(self, f"bias_hh_{suffix}", None),
        )

    def _run(
        self,
        x: Tensor,
        weights: _Weights,
        states: list[Tensor | None],
        lengths: Tensor | None,
        reverse: bool,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One layer, one direction: y (B, T, H) and the final states, each (B, H)."""
        raise NotImplementedError

    def _forward(
        self, x: Tensor, states: tuple[Tensor, ...] | None, lengths: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        if x.dim() != 3 or x.shape[-1] != self.input_size:
            order = "(B, T, I)" if self.batch_first else "(T, B, I)"
            raise ShapeError(
                f"input: got {tuple(x.shape)}, expected {order} with I = {self.input_size}"
            )
        if not self.batch_first:
            x = x.transpose(0, 1)
        total = self.num_layers * self.num_directions
        expected = (total, x.shape[0], self.hidden_size)
        if isinstance(states, Tensor) or len(states or self.state_names) != len(self.state_names):
            raise ShapeError(f"hx: expected a tuple ({', '.join(self.state_names)})")
        for name, state in zip(self.state_names, states or (), strict=False):
            if tuple(state.shape) != expected:
                raise ShapeError(
                    f"{name}: got {tuple(state.shape)}, expected {expected} = (L*D, B, H)"
                )
        final: list[tuple[Tensor, ...]] = []
        y = x
        for layer in range(self.num_layers):
            if layer and self.dropout:
                y = functional.dropout(y, self.dropout, self.training)
            outputs = []
            for direction, suffix in enumerate(self._suffixes(layer)):
                index = layer * self.num_directions + direction
                start: list[Tensor | None] = [None] * len(self.state_names)
                if states:
                    start = [s[index] for s in states]
                out, end = self._run(y, self._weights(suffix), start, lengths, direction == 1)
                outputs.append(out)
                final.append(end)
            y = torch.cat(outputs, -1) if self.bidirectional else outputs[0]
        if not self.batch_first:
            y = y.transpose(0, 1)
        return y, tuple(torch.stack(list(s)) for s in zip(*final, strict=True))

    def extra_repr(self) -> str:
        """Sizes and the options that are not at their default."""
        shown = [f"{self.input_size}, {self.hidden_size}"]
        for name, default in (
            ("num_layers", 1),
            ("bias", True),
            ("batch_first", False),
            ("dropout", 0.0),
            ("bidirectional", False),
        ):
            if getattr(self, name) != default:
                shown.append(f"{name}={getattr(self, name)}")
        return ", ".join(shown)


class RNN(_Recurrent):
    """Simple recurrent layers: h_t = f(W x_t + b_ih + U h_{t-1} + b_hh).

    Takes torch.nn.RNN's arguments and weights (`load_state_dict` works both ways) and, in addition,
    `lengths`.

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
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise SettingsError(f"nonlinearity: got {nonlinearity!r}, expected 'tanh' or 'relu'")
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device,
            dtype,
        )
        self.nonlinearity = nonlinearity

    def forward(
        self, x: Tensor, h0: Tensor | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run over whole sequences.

        Args:
            x: input, (T, B, I), or (B, T, I) if batch_first.
            h0: states before the first step, (L*D, B, H); None means zeros.
            lengths: valid steps of each row, (B,) integers; None means all T.
        Returns: y (T, B, D*H) or (B, T, D*H), zero past each row's end; h_n (L*D, B, H), after each
            row's own last step in the direction of travel.
        Raises: ShapeError.
        """
        y, (h_n,) = self._forward(x, None if h0 is None else (h0,), lengths)
        return y, h_n

    def _run(
        self,
        x: Tensor,
        weights: _Weights,
        states: list[Tensor | None],
        lengths: Tensor | None,
        reverse: bool,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        w, u, b, c = weights
        y, h_n = ops.rnn(
            x, w, u, b, c, states[0], lengths, nonlinearity=self.nonlinearity, reverse=reverse
        )
        return y, (h_n,)

    def extra_repr(self) -> str:
        """Sizes and the options that are not at their default."""
        relu = ", nonlinearity='relu'" if self.nonlinearity == "relu" else ""
        return super().extra_repr() + relu


class GRU(_Recurrent):
    """Gated recurrent layers; equations in `elman.ops.gru`.

    Takes torch.nn.GRU's arguments and weights (`load_state_dict` works both ways) and, in addition,
    `lengths`. Arguments, shapes and errors as `RNN`, without `nonlinearity`.
    """

    gates = 3

    def forward(
        self, x: Tensor, h0: Tensor | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run over whole sequences; arguments and results as `RNN.forward`."""
        y, (h_n,) = self._forward(x, None if h0 is None else (h0,), lengths)
        return y, h_n

    def _run(
        self,
        x: Tensor,
        weights: _Weights,
        states: list[Tensor | None],
        lengths: Tensor | None,
        reverse: bool,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        w, u, b, c = weights
        y, h_n = ops.gru(x, w, u, b, c, states[0], lengths, reverse=reverse)
        return y, (h_n,)


class LSTM(_Recurrent):
    """Long short-term memory layers; equations in `elman.ops.lstm`.

    Takes torch.nn.LSTM's arguments and weights (`load_state_dict` works both ways; no `proj_size`)
    and, in addition, `lengths`. Arguments, shapes and errors as `RNN`, without `nonlinearity`.
    """

    gates = 4
    state_names = ("h0", "c0")

    def forward(
        self,
        x: Tensor,
        hx: tuple[Tensor, Tensor] | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Run over whole sequences.

        Args:
            x: input, (T, B, I), or (B, T, I) if batch_first.
            hx: hidden and cell states before the first step, (L*D, B, H) each; None means zeros.
            lengths: valid steps of each row, (B,) integers; None means all T.
        Returns: y (T, B, D*H) or (B, T, D*H), zero past each row's end; (h_n, c_n), each
            (L*D, B, H).
        Raises: ShapeError.
        """
        y, (h_n, c_n) = self._forward(x, hx, lengths)
        return y, (h_n, c_n)

    def _run(
        self,
        x: Tensor,
        weights: _Weights,
        states: list[Tensor | None],
        lengths: Tensor | None,
        reverse: bool,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        w, u, b, c = weights
        return ops.lstm(x, w, u, b, c, states[0], states[1], lengths, reverse=reverse)
