"""CPU kernels of elman, as csrc/module.cpp exports them; written by hand, checked by a test.

A `_Strided` tensor is its address, the stride of its steps and the stride of its rows, in elements
and not bytes; the elements of a row are adjacent. A bare address is of a contiguous tensor. Address
0 means that there is none. Nothing is checked here: elman.ops and elman.models check first.
csrc/layer_call.h and csrc/network_call.h say what is read and what is written.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor

_Strided = tuple[int, int, int]

def isa() -> str:
    """The instruction set in use."""

def isas() -> list[str]:
    """Instruction sets that are compiled in and run here, slowest first."""

def use_isa(name: str) -> None:
    """Use another instruction set from now on, to test it; ValueError where it does not run."""

def poison(on: bool) -> None:
    """For tests: fill working memory with NaN each time it is handed out."""

def reserve_width(cell: str, is_double: bool, hidden_size: int) -> int:
    """Elements that forward saves for backward at each step of a row."""

def reserve(n: int, is_double: bool) -> Tensor:
    """n uninitialised elements in memory that is reused once the tensor is freed."""

def use_tensors(exchange: object, tensor: type, parameter: type) -> None:
    """Set torch's table of functions for DLPack and its two types of plain tensors."""

def read_layer(
    cell: str, tensors: tuple[Tensor | None, ...], batch_first: bool
) -> tuple[int, int, int, int, int] | None:
    """B, T, I, H, P of a layer whose kernel can read its tensors as they are, else None."""

def read_lengths(lengths: Tensor, rows: int) -> bool:
    """Whether the kernels can read these lengths as they are."""

def read_tensors(
    tensors: Sequence[Tensor | None], shapes: Sequence[Sequence[int]], is_double: bool
) -> bool:
    """Whether tensors have these shapes, are contiguous and hold all their elements."""

class LayerCall:
    """One layer in one direction on one batch."""

    def __init__(
        self,
        *,
        cell: str,
        is_double: bool,
        reverse: bool,
        sizes: tuple[int, int, int, int, int],
        lengths: int,
        weights: Sequence[int],
        x: _Strided,
        y: _Strided,
        h0: int,
        c0: int,
        reserve: int,
        threads: int,
    ) -> None:
        """Args: sizes are B, T, I, H, P; weights are weight_ih, weight_hh, bias_ih, bias_hh,
        weight_hr. P is 0 where nothing is projected."""

    def forward(self, *, h_n: int, c_n: int) -> None:
        """Compute the outputs and last states."""

    def backward(
        self,
        *,
        dy: _Strided,
        dh_n: int,
        dc_n: int,
        dx: _Strided,
        dh0: int,
        dc0: int,
        gradients: Sequence[int],
    ) -> None:
        """Compute the gradients from those of the outputs and last states."""

class Network:
    """A standard model's shape: embeddings, recurrent layers, readout, linear layer."""

    def __init__(
        self,
        cell: str,
        is_double: bool,
        channels: int,
        hidden_size: int,
        layers: int,
        directions: int,
        outputs: int,
        tables: Sequence[tuple[int, int]],
        tokens: bool,
        readout: str,
    ) -> None:
        """Args: tables are sizes and widths of the embeddings, whose codes follow the channels in
        x; or of the only one, whose ids are x if tokens."""

    def forward(
        self,
        *,
        parameters: Sequence[int],
        sizes: tuple[int, int],
        lengths: int,
        x: _Strided,
        masks: tuple[_Strided, ...],
        keep: float,
        states: tuple[int, ...],
        logits: _Strided,
        threads: int,
    ) -> None:
        """Compute the logits.

        Args: sizes are B, T; masks are of input, output, and between layers; states are the
            addresses of h0, c0, h_n and c_n, (layers * directions, B, H), 0 for none, or ().
        """

    def loss_and_gradients(
        self,
        *,
        parameters: Sequence[int],
        sizes: tuple[int, int],
        lengths: int,
        x: _Strided,
        masks: tuple[_Strided, ...],
        keep: float,
        states: tuple[int, ...],
        logits: _Strided,
        threads: int,
        gradients: Sequence[int],
        loss: str,
        target: _Strided,
        class_weight: int,
        smoothing: float,
    ) -> float:
        """Compute the logits and the gradients of all parameters; returns the mean loss."""

class Stepper:
    """A network of one direction, one step at a time, with a copy of its weights."""

    def __init__(self, network: Network, parameters: Sequence[int]) -> None: ...
    def step(
        self,
        *,
        count: int,
        rows: int,
        x: int,
        state: tuple[int, int, int, int, int, int],
        logits: int,
        threads: int,
    ) -> None:
        """Take one step of `count` rows: those at the address `rows`, or all if it is 0.

        Args: state is B and the addresses of h, c, pooled, steps and, for `Stream`, last.
        """

class Stream:
    """A stepper of raw inputs, whose outputs are probabilities or values, with its state."""

    def __init__(
        self,
        stepper: Stepper,
        mean: Sequence[float],
        scale: Sequence[float],
        fill: Sequence[float],
        outputs: str,
        output_mean: Sequence[float],
        output_scale: Sequence[float],
        state: tuple[int, int, int, int, int, int],
    ) -> None: ...
    def step(self, x: object, to: object, rows: object | None, count: int, threads: int) -> bool:
        """Take one step of `count` rows, written to `to`; False for a refused gap or number."""

def step_layers(
    cell: str,
    tensors: tuple[object, object, object, object, object, object],
    parameters: Mapping[str, object],
    names: list[list[str]],
    input_size: int,
    hidden_size: int,
    proj_size: int,
    bias: bool,
) -> bool:
    """Take one step of one sequence through layers of one direction.

    Args: tensors are x, h0, c0, and y, h_n, c_n to be written; names are each layer's parameters.
    Returns: False if a kernel cannot read the tensors as they are; nothing is then written.
    """

def probabilities(logits: int, is_double: bool, outputs: str, rows: int, K: int, to: int) -> None:
    """Write the probabilities of contiguous logits, (rows, K), as float64."""

def norm(x: int, n: int, is_double: bool) -> float:
    """Euclidean norm of n numbers, summed in the same order for any number of threads."""
