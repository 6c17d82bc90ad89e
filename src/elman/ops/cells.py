"""The table of recurrent cells: the equations and the weights of each one.

A cell reads the product of the input, `a = W x_t + b`, and that of the previous state,
`u = U h_{t-1} + b'`, both cut into blocks of H numbers by name, and the old states. From these its
step computes the sums that enter the gates, the gates, and the new states. Layers, models,
explanations, first weights and settings read everything they know about a cell from here.

Dimensions: B batch, H hidden, G blocks of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from elman.errors import SettingsError, nearest
from elman.settings import CELL_NAMES

Values = Mapping[str, Tensor]  # by name of a block, gate or state, (B, H) each
# From a, u and the states before a step: what enters each block's nonlinearity, the gates, and the
# states after the step, in the order of `Cell.states`. a and u come apart, because a GRU multiplies
# u alone by its reset gate.
StepFunction = Callable[
    [Values, Values, Values], tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]
]


@dataclass(frozen=True, eq=False)
class Cell:
    """Definition of a recurrent cell.

    Args:
        name: name in settings, files and messages.
        blocks: names of the blocks of H rows in weights and biases, from the top. A block that is
            not a state is a gate; the block of a cell without gates has the name of its state.
        step: the equations of one step in torch operations that autograd follows.
        states: in the order in which a step computes them. The last is `h`, which U multiplies and
            the layer outputs.
        title: title in reports and plots; if empty, the name in capitals.
        activations: nonlinearity of each block, `sigmoid`, `tanh` or `relu`, which defines where a
            gate saturates; a block without one is never reported as saturated.
        biases: initial value of the biases of a block, zero if omitted; see `initialise_recurrent`.
        gate_ends: what a sigmoid gate does at 0 and what it does at 1, in words for figures and
            messages; a gate without words is named only.
        kernel: name of the cell in `elman._core`; empty if it has no kernel.
        torch_kernel: the function of torch._VF that runs the same cell; empty if torch has none.
        kept: values that the kernel's forward pass keeps for backward, in addition to the output.
        gates: the blocks that are gates, in the order of the weights.
        traced: every gate and state, in the order in which a step computes them.
        initial_states: the states in the order of torch's layers: h, then the others.
    Raises: SettingsError if the names and the step are inconsistent.
    """

    name: str
    blocks: tuple[str, ...]
    step: StepFunction
    states: tuple[str, ...] = ("h",)
    title: str = ""
    activations: Mapping[str, str] = field(default_factory=dict)
    biases: Mapping[str, float] = field(default_factory=dict)
    gate_ends: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    kernel: str = ""
    torch_kernel: str = ""
    kept: tuple[str, ...] = ()
    # Attributes and not cached properties, which torch.compile cannot trace.
    gates: tuple[str, ...] = field(init=False)
    traced: tuple[str, ...] = field(init=False)
    initial_states: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        words = (self.name, *self.blocks, *self.states)
        if not all(isinstance(word, str) and word.isidentifier() for word in words):
            raise SettingsError(
                f"cell: got names {words}, expected words of letters, digits and underscores"
            )
        for what, names in (("blocks", self.blocks), ("states", self.states)):
            if not names or len(set(names)) != len(names):
                raise SettingsError(
                    f"cell {self.name}: {what}: got {names}, expected one name or more, each once"
                )
        if self.states[-1] != "h":
            raise SettingsError(
                f"cell {self.name}: states: got {self.states}, expected h as the last: the layer "
                "outputs it and U multiplies it"
            )
        for what, named in (
            ("activations", self.activations),
            ("biases", self.biases),
            ("gate_ends", self.gate_ends),
        ):
            for name in named:
                if name not in self.blocks:
                    raise SettingsError(
                        f"cell {self.name}: {what}: {name!r} is none of the blocks {self.blocks}"
                        f".{nearest(name, self.blocks)}"
                    )
        gates = tuple(name for name in self.blocks if name not in self.states)
        object.__setattr__(self, "gates", gates)
        object.__setattr__(self, "traced", (*gates, *self.states))
        object.__setattr__(self, "initial_states", ("h", *self.states[:-1]))
        self._check_step()

    def _check_step(self) -> None:
        """Raise SettingsError unless one step of two rows returns what the other fields promise."""
        # Every tensor holds different numbers of both signs, so that a mixed-up row or sign shows.
        names = {"a": self.blocks, "u": self.blocks, "old": self.states}
        values = {
            which: {
                name: torch.linspace(-1.0 - i, 2.0 + len(which), 6, dtype=torch.float64).view(2, 3)
                for i, name in enumerate(each)
            }
            for which, each in names.items()
        }
        alone = {which: {n: v[1:] for n, v in each.items()} for which, each in values.items()}
        place = f"cell {self.name}: step:"
        try:
            with torch.no_grad():
                sums, gates, states = self.step(*values.values())
                _, _, states_alone = self.step(*alone.values())
        except Exception as error:
            raise SettingsError(
                f"{place} fails on blocks {self.blocks} and states {self.states}, (B, H) each: "
                f"{type(error).__name__}: {error}"
            ) from error
        for what, found, expected in (
            ("sums", sums, self.blocks),
            ("gates", gates, self.gates),
            ("states", states, self.states),
        ):
            if set(found) != set(expected):
                raise SettingsError(f"{place} {what}: got {tuple(found)}, expected {expected}")
            for name, value in found.items():
                if value.shape != (2, 3):
                    raise SettingsError(
                        f"{place} {what}: {name} is {tuple(value.shape)} for inputs of (2, 3); "
                        "expected (B, H) as the inputs"
                    )
        for name, value in states_alone.items():
            # Otherwise a sequence's result would depend on its batch, and padding would change it.
            if not torch.allclose(value, states[name][1:]):
                raise SettingsError(
                    f"{place} state {name} of a row depends on the other rows of the batch, or is "
                    "random; expected a function of the row's own a, u and states"
                )

    def __str__(self) -> str:
        return self.title or self.name.upper()

    def __deepcopy__(self, memo: dict[int, Any]) -> Cell:
        return self  # immutable, and a copied layer must find the same cell in the table

    def split(self, sums: Tensor) -> dict[str, Tensor]:
        """Cut (..., G*H) into its blocks by name, (..., H) each."""
        return dict(zip(self.blocks, sums.chunk(len(self.blocks), -1), strict=True))


def _tanh_step(a: Values, u: Values, states: Values) -> Any:
    """h_t = tanh(W x_t + b + U h_{t-1} + b')"""
    total = a["h"] + u["h"]
    return {"h": total}, {}, {"h": torch.tanh(total)}


def _relu_step(a: Values, u: Values, states: Values) -> Any:
    """h_t = relu(W x_t + b + U h_{t-1} + b')"""
    total = a["h"] + u["h"]
    return {"h": total}, {}, {"h": torch.relu(total)}


def _gru_step(a: Values, u: Values, states: Values) -> Any:
    """r, z = sigmoid(a + u)    n = tanh(a_n + r * u_n)    h_t = (1 - z) * n + z * h_{t-1}

    The reset gate acts after the product with U_n, as in cuDNN and torch: one product with U then
    serves all three blocks. In Cho et al. (2014), version 3, it acts before.
    """
    sums = {name: a[name] + u[name] for name in ("r", "z")}
    r, z = torch.sigmoid(sums["r"]), torch.sigmoid(sums["z"])
    sums["n"] = a["n"] + r * u["n"]
    n = torch.tanh(sums["n"])
    return sums, {"r": r, "z": z, "n": n}, {"h": (1 - z) * n + z * states["h"]}


def _lstm_step(a: Values, u: Values, states: Values) -> Any:
    """i, f, o = sigmoid(a + u)    g = tanh(a_g + u_g)    c_t = f * c_{t-1} + i * g

    h_t = o * tanh(c_t)
    """
    sums = {name: a[name] + u[name] for name in ("i", "f", "g", "o")}
    i, f, o = (torch.sigmoid(sums[name]) for name in ("i", "f", "o"))
    g = torch.tanh(sums["g"])
    c = f * states["c"] + i * g
    return sums, {"i": i, "f": f, "g": g, "o": o}, {"c": c, "h": o * torch.tanh(c)}


RNN = Cell(
    "rnn",
    ("h",),
    _tanh_step,
    title="simple RNN",
    activations={"h": "tanh"},
    kernel="rnn_tanh",
    torch_kernel="rnn_tanh",
)
# Both have the same name in settings and files, which also state the `nonlinearity`.
RNN_RELU = Cell(
    "rnn",
    ("h",),
    _relu_step,
    title="simple RNN with ReLU",
    activations={"h": "relu"},
    kernel="rnn_relu",
    torch_kernel="rnn_relu",
)
GRU = Cell(
    "gru",
    ("r", "z", "n"),
    _gru_step,
    activations={"r": "sigmoid", "z": "sigmoid", "n": "tanh"},
    gate_ends={
        "r": ("ignores the old state", "reads the old state"),
        "z": ("replaces the old state", "keeps the old state"),
    },
    kernel="gru",
    torch_kernel="gru",
    # u_n = U_n h_{t-1} + b'_n, the factor of r in dr; everything else follows from the gates and y.
    kept=("n", "r", "z", "u_n"),
)
LSTM = Cell(
    "lstm",
    ("i", "f", "g", "o"),
    _lstm_step,
    states=("c", "h"),
    activations={"i": "sigmoid", "f": "sigmoid", "g": "tanh", "o": "sigmoid"},
    gate_ends={
        "i": ("writes nothing", "writes the candidate"),
        "f": ("erases the old state", "keeps the old state"),
        "o": ("outputs nothing", "outputs the state"),
    },
    # A forget gate that starts open lets gradients reach far back from the first epoch on:
    # Gers et al. 2000, doi:10.1162/089976600300015015; Jozefowicz et al. 2015.
    biases={"f": 1.0},
    kernel="lstm",
    torch_kernel="lstm",
    kept=("i", "f", "g", "o", "c"),
)

CELLS: dict[str, Cell] = {cell.name: cell for cell in (RNN, GRU, LSTM)}
KERNELS = {cell.kernel: cell for cell in (RNN, RNN_RELU, GRU, LSTM)}


def register_cell(cell: Cell, *, replace: bool = False) -> None:
    """Let layers, models, estimators and settings find `cell` by its name in this process.

    Files name the cell and hold no code, so a process that loads a model registers the cell first.

    Args:
        replace: whether to replace a cell registered under the same name, for example when a
            notebook is run again. Models of the former cell can then no longer be explained.
    Raises: SettingsError if another cell has that name.
    """
    known = CELLS.get(cell.name, cell)
    if known is not cell and (known.kernel or not replace):
        remedy = "" if known.kernel else ", or pass replace=True"
        raise SettingsError(
            f"cell: {cell.name!r} is the name of another cell; choose another name{remedy}"
        )
    CELLS[cell.name] = cell
    if cell.name not in CELL_NAMES:
        CELL_NAMES.append(cell.name)


def find_cell(name: str, nonlinearity: str = "tanh") -> Cell:
    """Return the cell of that name.

    Args:
        nonlinearity: nonlinearity of the cell `rnn`, `tanh` or `relu`.
    Raises: SettingsError that lists the names in the table.
    """
    if name == "rnn" and nonlinearity == "relu":
        return RNN_RELU
    if name not in CELLS:
        *others, last = map(repr, CELLS)
        raise SettingsError(
            f"cell: got {name!r}, expected {', '.join(others)} or {last}.{nearest(name, CELLS)} To "
            "use a cell of your own, register it: elman.layers.register_cell(cell)"
        )
    return CELLS[name]
