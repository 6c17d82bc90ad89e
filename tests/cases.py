"""The shapes, cells, directions and readouts that every part is tried with.

Dimensions: B batch, T time, I input, H hidden, G gates, K classes, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from elman import layers, ops
from elman.data.batches import Examples
from elman.data.ragged import Ragged
from elman.models import ModelConfig, SequenceModel
from elman.ops import cells, reference
from elman.settings import CELL_NAMES
from elman.train.progress import Progress


@dataclass(frozen=True)
class Shape:
    """One batch: sizes and the rows' lengths; None means that all rows are T steps long."""

    name: str
    B: int
    T: int
    I: int
    H: int
    lengths: tuple[int, ...] | None = None

    def __str__(self) -> str:
        return self.name

    @property
    def ends(self) -> Tensor | None:
        """Lengths as a tensor, (B,), or None."""
        return None if self.lengths is None else torch.tensor(self.lengths, dtype=torch.int64)


FULL = Shape("full", 4, 7, 3, 5)
RAGGED = Shape("ragged", 5, 7, 3, 5, (7, 1, 4, 7, 2))
SHAPES = [
    FULL,
    RAGGED,
    Shape("all_shorter_than_T", 3, 7, 3, 5, (3, 1, 2)),
    Shape("equal_to_T", 3, 4, 3, 5, (4, 4, 4)),
    Shape("equal_below_T", 3, 7, 3, 5, (4, 4, 4)),
    Shape("B1", 1, 7, 3, 5),
    Shape("B1_padded", 1, 7, 3, 5, (3,)),
    Shape("T1", 3, 1, 3, 5),
    Shape("T2", 3, 2, 3, 5, (2, 1, 2)),
    Shape("T63", 4, 63, 3, 4, (63, 1, 62, 33)),
    Shape("H33", 3, 5, 3, 33, (5, 2, 1)),
    Shape("H1_I1", 3, 5, 1, 1, (2, 5, 1)),
]
# An op takes rows without steps and batches without rows; a model refuses them.
EMPTY_SHAPES = [
    Shape("length_0", 4, 5, 3, 5, (0, 3, 0, 5)),
    Shape("length_0_only", 2, 3, 3, 5, (0, 0)),
    Shape("T0", 3, 0, 3, 5),
    Shape("T0_lengths", 3, 0, 3, 5, (0, 0, 0)),
    Shape("B0", 0, 4, 3, 5),
    Shape("B0_lengths", 0, 4, 3, 5, ()),
]
DIRECTIONS = [False, True]
READOUTS = ["last", "mean", "max", "every"]
PADS = [0.0, 1e6, float("nan"), float("inf"), float("-inf")]
TOKEN_PADS = [0, 1, 2, -1, 10**9]


@dataclass(frozen=True)
class Cell:
    """One recurrence in its three forms: its entry in the table, the op and torch's layer."""

    name: str
    definition: cells.Cell
    op: Callable[..., Any]
    layer: type[nn.Module]
    torch_layer: type[nn.Module]
    options: dict[str, Any] = field(default_factory=dict)
    projects: bool = False  # h is projected to half of its units

    def __str__(self) -> str:
        return self.name

    def layer_options(self, H: int) -> dict[str, Any]:
        """What to give a layer of H units for this cell."""
        return self.options | ({"proj_size": H // 2} if self.projects else {})

    def width(self, H: int) -> int:
        """Units of h and y."""
        return (H // 2 if self.projects else 0) or H

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the initial states."""
        return tuple(f"{name}0" for name in self.definition.initial_states)

    @property
    def gates(self) -> int:
        """G, blocks of the weights."""
        return len(self.definition.blocks)


CELLS = [
    Cell("rnn_tanh", cells.RNN, ops.rnn, layers.RNN, nn.RNN, {"nonlinearity": "tanh"}),
    Cell("rnn_relu", cells.RNN_RELU, ops.rnn, layers.RNN, nn.RNN, {"nonlinearity": "relu"}),
    Cell("gru", cells.GRU, ops.gru, layers.GRU, nn.GRU),
    Cell("lstm", cells.LSTM, ops.lstm, layers.LSTM, nn.LSTM),
]
# What elman's kernels compute: the cells, and the LSTM whose state is projected.
KERNELS = [
    *CELLS,
    Cell("lstm_projected", cells.LSTM, ops.lstm, layers.LSTM, nn.LSTM, projects=True),
]

Arguments = dict[str, Tensor]


def make_arguments(
    cell: Cell,
    shape: Shape,
    dtype: torch.dtype = torch.float64,
    *,
    bias: bool = True,
    projected: int | None = None,
) -> Arguments:
    """Draw x, weights, biases and initial states, all leaves that want a gradient.

    Args:
        projected: P of an lstm whose hidden state is projected, 0 for none; None for what the
            cell does.
    """
    if projected is None:
        projected = shape.H // 2 if cell.projects else 0
    generator = torch.Generator().manual_seed(shape.B * 1000 + shape.T * 10 + shape.H)
    rows = cell.gates * shape.H
    sizes: dict[str, tuple[int, ...]] = {
        "x": (shape.B, shape.T, shape.I),
        "weight_ih": (rows, shape.I),
        "weight_hh": (rows, projected or shape.H),
    }
    if bias:
        sizes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
    sizes |= dict.fromkeys(cell.states, (shape.B, shape.H))
    if projected:
        sizes |= {"weight_hr": (projected, shape.H), "h0": (shape.B, projected)}
    # Small weights: a relu recurrence over 63 steps must not grow without end.
    scale = {"weight_hh": 0.5 / shape.H**0.5}
    return {
        name: (torch.randn(size, generator=generator, dtype=torch.float64) * scale.get(name, 1.0))
        .to(dtype)
        .requires_grad_()
        for name, size in sizes.items()
    }


def converted(arguments: Arguments, dtype: torch.dtype) -> Arguments:
    """Copy to another precision, as leaves."""
    return {name: t.detach().to(dtype).requires_grad_() for name, t in arguments.items()}


def flat(result: tuple[Any, ...]) -> list[Tensor]:
    """y, h_n and, for the lstm, c_n."""
    y, final = result
    return [y, *final] if isinstance(final, tuple) else [y, final]


def run_op(
    cell: Cell,
    arguments: Arguments,
    lengths: Tensor | None = None,
    reverse: bool = False,
    batch_first: bool = True,
) -> list[Tensor]:
    """The op on these arguments: y, h_n[, c_n]."""
    how = {"lengths": lengths, "reverse": reverse, "batch_first": batch_first}
    return flat(cell.op(**arguments, **how, **cell.options))


def run_reference(
    cell: Cell,
    arguments: Arguments,
    lengths: Tensor | None = None,
    reverse: bool = False,
    batch_first: bool = True,
) -> list[Tensor]:
    """The reference on these arguments: y, h_n[, c_n]."""
    names = ("x", "weight_ih", "weight_hh", "bias_ih", "bias_hh")
    y, final = reference.run_reference(
        cell.definition,
        *(arguments.get(name) for name in names),
        tuple(arguments.get(name) for name in cell.states),
        lengths,
        reverse,
        batch_first,
        arguments.get("weight_hr"),
    )
    return [y, *final]


def gradients(outputs: list[Tensor], arguments: Arguments) -> Arguments:
    """Gradient of a random weighted sum over all outputs, final states included, by argument."""
    generator = torch.Generator().manual_seed(7)
    total = torch.zeros((), dtype=outputs[0].dtype, device=outputs[0].device)
    for out in outputs:
        weight = torch.randn(out.shape, generator=generator, dtype=torch.float64)
        total = total + (out * weight.to(out)).sum()
    found = torch.autograd.grad(total, list(arguments.values()), allow_unused=True)
    return {
        name: torch.zeros_like(argument) if gradient is None else gradient
        for (name, argument), gradient in zip(arguments.items(), found, strict=True)
    }


def past_end(x: Tensor, lengths: Tensor) -> Tensor:
    """True past each row's end, (B, T)."""
    return torch.arange(x.shape[1], device=x.device) >= lengths.to(x.device)[:, None]


def padded_with(x: Tensor, lengths: Tensor | None, value: float) -> Tensor:
    """Copy x, (B, T, ...), with `value` past each row's end, as a leaf."""
    copy = x.detach().clone()
    if lengths is not None:
        copy[past_end(x, lengths)] = value
    return copy.requires_grad_(x.requires_grad)


CLASSES, CHANNELS, VOCABULARY = 3, 2, 9
CATEGORIES = (7, 3)  # sizes of the columns of codes that follow the channels in mixed input


def make_model(
    cell: str = "gru",
    readout: str = "last",
    *,
    tokens: bool = False,
    mixed: bool = False,
    seed: int = 0,
    kind: type[SequenceModel] = SequenceModel,
    **options: Any,
) -> SequenceModel:
    """A small model in evaluation mode, its biases drawn as well.

    A new network's biases are zero, and then zeros in the padding leave a zero state as it is:
    reading them would go unnoticed.
    """
    sizes = {"vocabulary_size": VOCABULARY} if tokens else {"input_size": CHANNELS}
    if mixed:
        sizes["category_sizes"] = CATEGORIES
    small = {"num_outputs": CLASSES, "hidden_size": 6, "embedding_size": 4, "bidirectional": False}
    config = ModelConfig(
        **{**small, **sizes, **options},
        cell=cell,
        readout=readout,
    )
    torch.manual_seed(seed)
    model = kind(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.normal_(0, 0.5)
    return model


def add_categories(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """x (..., C) with a random code of each column of `CATEGORIES` after its channels."""
    codes = [torch.randint(0, n, x.shape[:-1], generator=generator) for n in CATEGORIES]
    return torch.cat([x, torch.stack(codes, -1).to(x)], -1)


def make_sequences(
    lengths: list[int], *, tokens: bool = False, mixed: bool = False, seed: int = 0
) -> list[Tensor]:
    """Random sequences, each (T_i, C) float32 or (T_i,) int64 without padding and unknown."""
    generator = torch.Generator().manual_seed(seed)
    if tokens:
        return [torch.randint(2, VOCABULARY, (n,), generator=generator) for n in lengths]
    rows = [torch.randn(n, CHANNELS, generator=generator) for n in lengths]
    return [add_categories(row, generator) for row in rows] if mixed else rows


def stack_rows(rows: list[Tensor], *, extra: int = 0, pad: float = 0) -> tuple[Tensor, Tensor]:
    """One batch, (B, T + extra, ...), with `pad` past each end; and its lengths, (B,)."""
    lengths = torch.tensor([len(row) for row in rows])
    x = torch.full((len(rows), int(lengths.max()) + extra, *rows[0].shape[1:]), pad).to(rows[0])
    for i, row in enumerate(rows):
        x[i, : len(row)] = row
    return x, lengths


def make_examples(
    n: int = 40,
    *,
    tokens: bool = False,
    mixed: bool = False,
    per_step: bool = False,
    seed: int = 0,
    longest: int = 9,
) -> Examples:
    """Sequences that can be learnt: the class is the sign of the first channel's, or token's, mean.

    With a label at every step, the step's own sign.
    """
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest + 1, n)
    if tokens:
        rows: list[Any] = [rng.integers(2, VOCABULARY, m) for m in lengths]
        steps = [(r > VOCABULARY // 2).astype(np.int64) for r in rows]
    else:
        rows = [rng.normal(size=(m, CHANNELS)).astype(np.float32) for m in lengths]
        steps = [(r[:, 0] > 0).astype(np.int64) for r in rows]
    if mixed:
        generator = torch.Generator().manual_seed(seed)
        rows = [add_categories(torch.from_numpy(r), generator).numpy() for r in rows]
    if per_step:
        return Examples(Ragged.from_list(rows), Ragged.from_list(steps))
    return Examples(Ragged.from_list(rows), np.array([int(s.mean() > 0.5) for s in steps]))


def by_modules(model: SequenceModel) -> SequenceModel:
    """The same model with a hook that does nothing, so that its gradients come by autograd."""
    model.register_forward_pre_hook(lambda *_: None)
    return model


def unregister_cell(cell: cells.Cell) -> None:
    """Undo `register_cell`."""
    del cells.CELLS[cell.name]
    CELL_NAMES.remove(cell.name)


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """A copy of every parameter, by name."""
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two sets of weights are equal to the last bit."""
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def assert_released(model: nn.Module) -> None:
    """Each parameter has memory of its own, just enough for it, and no gradient."""
    parameters = list(model.parameters())
    assert all(p.grad is None for p in parameters)
    assert len({p.untyped_storage().data_ptr() for p in parameters}) == len(parameters)
    for p in parameters:
        assert p.untyped_storage().nbytes() == p.numel() * p.element_size()
        assert p.is_leaf


class Hook(Progress):
    """Calls functions from inside a training: once before it, and after every step."""

    def __init__(self, start=None, batch=None):
        self.start = start or self.start
        self.batch = batch or self.batch
