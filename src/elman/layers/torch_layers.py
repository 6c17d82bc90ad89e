"""Drop-in replacements for torch.nn.RNN, GRU and LSTM: same weights and results, plus `lengths`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo
from torch.nn.utils.rnn import PackedSequence

from elman import _core
from elman.errors import SettingsError
from elman.layers.recurrent import Recurrent, RecurrentBase, States
from elman.ops import cells
from elman.ops.cells import Cell
from elman.ops.checks import check_lengths
from elman.ops.dispatch import is_eager, is_native
from elman.ops.operators import run_native
from elman.ops.torch_layer import run_packed
from elman.ops.torch_onnx import is_exported_to_onnx, is_traced_for_onnx, run_as_onnx


class _TorchLayers(RecurrentBase, nn.RNNBase):
    """Layers of one of torch's cells: elman's kernels if they apply, else torch's whole stack.

    Constructor, weights, copies, pickles and repr are torch's. The subclasses derive from RNNBase
    and not from torch.nn.RNN, GRU or LSTM, because torch.compile breaks its graph at every
    instance of those three, even if forward is overridden.
    """

    _torch_forward: ClassVar[Callable[..., Any]]  # torch's whole stack, where elman has no kernel

    def forward(
        self,
        input: Tensor | PackedSequence,  # noqa: A002 - torch's name
        hx: Any = None,
        lengths: Tensor | Sequence[int] | None = None,
    ) -> tuple[Any, Any]:
        """Run over whole sequences; see `RecurrentBase.forward`."""
        # Step by step the checks of the general path take several times as long as the step.
        if lengths is None and hx is not None and not torch.is_grad_enabled():
            result = self._step_once(input, hx)
            if result is not None:
                return result
        return super().forward(input, hx, lengths)

    def _step_once(self, x: Any, hx: Any) -> tuple[Tensor, Any] | None:
        """One step of one sequence in one native call, with the general path's bits.

        Returns: None, for the general path, if it is another call, or anything is unusual.
        """
        h, c = hx if type(hx) is tuple and len(hx) == 2 else (hx, None)
        width = self.proj_size or self.hidden_size
        if (
            type(x) is not Tensor
            or type(h) is not Tensor
            or not (c is None or type(c) is Tensor)
            or x.numel() != self.input_size
            or h.numel() != self.num_layers * width
            or self.bidirectional
            or (self.training and self.dropout)
            or not is_eager()
        ):
            return None
        h_n = torch.empty_like(h)
        c_n = None if c is None else torch.empty_like(c)
        y = h.new_empty(1, 1, width) if self.num_layers > 1 else torch.empty_like(h)
        stepped = _core.step_layers(
            self.cell.kernel,
            (x, h, c, y, h_n, c_n),
            self._parameters,
            self._all_weights,
            self.input_size,
            self.hidden_size,
            self.proj_size,
            self.bias,
        )
        if not stepped:
            return None
        return y, h_n if c_n is None else (h_n, c_n)

    def _run_padded(
        self, x: Tensor, states: States, lengths: Tensor | None
    ) -> tuple[Tensor, States]:
        # Testing one weight suffices: the operator compares the others with the input.
        if is_native(x, self._weight("weight_ih_l0"), *states) or is_exported_to_onnx():
            return self._run_layers(x, states, lengths, self.batch_first)
        batch, time = x.shape[:2] if self.batch_first else (x.shape[1], x.shape[0])
        if lengths is not None:
            check_lengths(lengths, batch, time)
        in_dynamo = torch.compiler.is_dynamo_compiling()
        run = _run_outside_graph if in_dynamo else _TorchLayers._run_torch
        return run(self, x, states, lengths if batch else None)  # packing raises for an empty batch

    def _run_packed(self, packed: PackedSequence, states: States) -> tuple[PackedSequence, States]:
        if is_native(packed.data, self._weight("weight_ih_l0"), *states):
            return super()._run_packed(packed, states)
        self._check_dims(states, 3, "packed")
        batch_sizes = packed.batch_sizes
        self._check_sizes(packed.data, states, int(batch_sizes[0]), len(batch_sizes))
        return self._run_torch(packed, states, None)

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
        # Not `run_layer`: `_run_padded` has tested once that the kernel takes all layers.
        W, U, *rest = weights
        b, c = rest[:2] if self.bias else (None, None)
        R = rest[-1] if self.proj_size else None
        if is_traced_for_onnx():
            return run_as_onnx(cell, x, (W, U, b, c, R), initial, lengths, reverse, batch_first)
        return run_native(cell, x, W, U, b, c, R, initial, lengths, reverse, batch_first)

    def _run_torch(self, x: Any, states: States, lengths: Tensor | None) -> tuple[Any, States]:
        """Run all layers in torch, with cuDNN if available; x is padded or packed."""
        if lengths is not None:
            y, final = run_packed(
                lambda packed: self._run_torch(packed, states, None),
                x if self.batch_first else x.transpose(0, 1),
                states or (0.0,) * len(self.cell.states),
                lengths,
            )
            return (y if self.batch_first else y.transpose(0, 1)), final
        hx = states if len(states) > 1 else states[0] if states else None
        y, final = self._torch_forward(x, hx)
        return y, final if isinstance(final, tuple) else (final,)


# torch.compile breaks its graph at torch's recurrent layers, and must do so here: if they are
# traced, they fail in its backends (aten::mkldnn_rnn_layer in torch 2.13).
_run_outside_graph = _disable_dynamo(_TorchLayers._run_torch)


class RNN(_TorchLayers):
    """Simple recurrent layers: h_t = f(W x_t + b_ih + U h_{t-1} + b_hh).

    Takes torch.nn.RNN's arguments, input and weights (`load_state_dict` works both ways) and, when
    called, also `lengths`.

    Args:
        input_size: I.
        hidden_size: H.
        num_layers: L.
        nonlinearity: f, `tanh` or `relu`.
        bias: whether the layers have biases.
        batch_first: input and output are (B, T, .) instead of (T, B, .).
        dropout: probability that an output between layers is dropped while training.
        bidirectional: also run each layer from each row's own last step to its first.
    """

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
        options = (bias, batch_first, dropout, bidirectional, _refuse_projection(proj_size))
        super().__init__(
            f"RNN_{nonlinearity.upper()}",
            input_size,
            hidden_size,
            num_layers,
            *options,
            device,
            dtype,
        )
        self.nonlinearity = nonlinearity

    @property
    def cell(self) -> Cell:
        """The equations of a step."""
        return cells.RNN if self.nonlinearity == "tanh" else cells.RNN_RELU


class GRU(_TorchLayers):
    """Gated recurrent layers; equations in `elman.ops.gru`.

    Arguments, input, weights and errors as `RNN`, without `nonlinearity`.
    """

    _cell = cells.GRU
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
        options = (bias, batch_first, dropout, bidirectional, _refuse_projection(proj_size))
        super().__init__("GRU", input_size, hidden_size, num_layers, *options, device, dtype)


class LSTM(_TorchLayers):
    """Long short-term memory layers; equations in `elman.ops.lstm`.

    Arguments, input, weights and errors as `RNN`, without `nonlinearity` and with `proj_size`: P,
    the size to which the hidden state is projected, 0 for no projection.
    """

    _cell = cells.LSTM
    _torch_forward = nn.LSTM.forward
    # torch's forward of an LSTM calls these on itself; RNNBase has other versions of them.
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
        options = (bias, batch_first, dropout, bidirectional, proj_size)
        super().__init__("LSTM", input_size, hidden_size, num_layers, *options, device, dtype)


def _refuse_projection(proj_size: int) -> int:
    """Raise SettingsError for a projection, which only an LSTM has, in torch's words."""
    if proj_size:
        raise SettingsError("proj_size argument is only supported for LSTM, not RNN or GRU")
    return 0


LAYERS: dict[str, type[_TorchLayers]] = {
    "rnn": RNN,
    "gru": GRU,
    "lstm": LSTM,
}  # by name of the cell; others are `Recurrent`


def make_recurrent(
    cell: Cell,
    input_size: int,
    hidden_size: int,
    num_layers: int,
    *,
    dropout: float,
    bidirectional: bool,
) -> RecurrentBase:
    """Make layers of a cell, batch first: of the class in torch's place if it has one."""
    make: Callable[..., RecurrentBase] = LAYERS.get(cell.name, partial(Recurrent, cell))
    if cell is cells.RNN_RELU:
        make = partial(RNN, nonlinearity="relu")
    return make(
        input_size,
        hidden_size,
        num_layers,
        batch_first=True,
        dropout=dropout,
        bidirectional=bidirectional,
    )


def is_plain_embedding(table: nn.Module) -> bool:
    """Whether this is an embedding without torch's further options."""
    return (
        type(table) is nn.Embedding
        and table.padding_idx is None
        and table.max_norm is None
        and not table.scale_grad_by_freq
        and not table.sparse
    )
