"""The forward pass of one sequence, with every gate and state kept, laid out as the sequence lies.

The equations are those of the cell in `elman.ops.cells`, run step by step by
`elman.models.unrolled`; `check_forward` makes sure that a network computes what they say.

A token or a category can be moved towards another only between their embeddings. `EmbeddedNetwork`
is the network seen from there:

    e_t = x_t, or the embedding of token x_t, or numbers and embedded categories end to end

Dimensions: B rows, T steps, C channels and columns of categories, E numbers that a step has in e, I
what a layer reads, H hidden, G blocks of the weights, D directions, K outputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from elman.errors import ElmanError
from elman.explain.network import ExplainedSequence
from elman.models import SequenceModel
from elman.models.unrolled import LayerSteps, embed, unroll, weights_of
from elman.ops.cells import Cell

Direction = Literal["forward", "backward"]
DIRECTIONS: tuple[Direction, ...] = ("forward", "backward")

_GATE_VALUES = 2**24  # that a batch may keep for its gradient: 128 MB in float64


@dataclass(frozen=True)
class LayerForward:
    """What one layer did in one direction, in the order of the sequence: row t belongs to x_t.

    Args:
        layer: counted from 0, as in torch's names of the weights.
        direction: `forward` or `backward`.
        cell: its equations.
        weights: W (G*H, I), U (G*H, H) and their biases b and b', (G*H,) each.
        inputs: what it read, (T, I).
        gates: every gate and state by name, each (T, H), all that `Cell.traced` lists.
        previous: the states from which each step started, by name, each (T, H): those of the step
            before in this direction, zero for the first.
    """

    layer: int
    direction: Direction
    cell: Cell
    weights: tuple[Tensor, Tensor, Tensor, Tensor]
    inputs: Tensor
    gates: dict[str, Tensor]
    previous: dict[str, Tensor]

    @property
    def h(self) -> Tensor:
        """Hidden states, (T, H)."""
        return self.gates["h"]

    @property
    def place(self) -> tuple[int, Direction]:
        """Which layer and direction this is."""
        return self.layer, self.direction

    @property
    def state_size(self) -> int:
        """N: numbers that all states of one step have together, H or, of an lstm, 2*H."""
        return len(self.cell.states) * self.h.shape[1]

    @property
    def backwards(self) -> Iterable[int]:
        """Steps in the order in which a gradient goes back: against the layer's own."""
        steps = range(len(self.h))
        return steps if self.direction == "backward" else reversed(steps)


@dataclass(frozen=True)
class ForwardPass:
    """The whole forward pass of one sequence.

    Args:
        embedded: what the first layer reads, (T, I).
        layers: from the lowest up, in each the forward direction first.
        hidden: the states of the top layer, both directions end to end, (T, D*H).
        read: what the output reads, (D*H,), or (T, D*H) with an output at every step.
        outputs: logits, or values, (K,), or (T, K) with an output at every step.
    """

    embedded: Tensor
    layers: tuple[LayerForward, ...]
    hidden: Tensor
    read: Tensor
    outputs: Tensor


def run_forward(model: SequenceModel, x: Tensor) -> ForwardPass:
    """Run one sequence through the network, as in evaluation mode; autograd follows all of it.

    Args:
        x: (T, C) numbers or (T,) token ids.
    """
    steps = unroll(model, x[None], torch.tensor([len(x)]))
    layers = tuple(_in_order_of_sequence(model, layer) for layer in steps.layers)
    top = layers[-1 - model.config.bidirectional :]
    hidden = torch.cat([layer.h for layer in top], -1)
    return ForwardPass(steps.embedded[0], layers, hidden, steps.read[0], steps.outputs[0])


def _in_order_of_sequence(model: SequenceModel, steps: LayerSteps) -> LayerForward:
    cell = model.config.cell_definition
    gates = {name: steps.over_time(name)[0] for name in cell.traced}
    previous = {}
    for name in cell.states:
        start, state = torch.zeros_like(gates[name][:1]), gates[name]
        previous[name] = torch.cat([state[1:], start] if steps.reverse else [start, state[:-1]])
    W, U, b, b_hh = weights_of(model, steps.layer, steps.reverse)
    return LayerForward(
        steps.layer,
        DIRECTIONS[steps.reverse],
        cell,
        (W, U, b, b_hh),
        steps.inputs[0],
        gates,
        previous,
    )


def check_forward(sequence: ExplainedSequence, forward: ForwardPass) -> None:
    """Raise ElmanError unless the network itself gives the outputs of this pass.

    It may hold what its config does not tell: a hook, a replaced layer, a forward of a subclass.
    """
    config = sequence.model.config
    with torch.no_grad():
        outputs = sequence.model(sequence.x, lengths=sequence.lengths)[0]
        difference = (outputs - forward.outputs).abs().max()
    # The kernels sum in another order than the equations here.
    tolerance = 1e-8 if outputs.dtype is torch.float64 else 1e-4
    if not difference <= tolerance * (1 + outputs.abs().max()):
        raise ElmanError(
            f"model: its own forward pass differs by {float(difference):.1e} from the equations of "
            f"its config ({config.cell}, {config.num_layers} layers). Only a network that computes "
            "what its config says can be explained: remove hooks and replaced parts"
        )


class EmbeddedNetwork:
    """A network seen from behind its embeddings.

    Args:
        network: in evaluation mode.
    """

    def __init__(self, network: SequenceModel) -> None:
        config = network.config
        self.network = network
        self.tables: list[nn.Embedding] = []
        if config.vocabulary_size:
            self.tables = [network.embedding]
        elif config.category_sizes:
            self.tables = [table for table in network.embeddings if isinstance(table, nn.Embedding)]
        widths = [table.embedding_dim for table in self.tables]
        self.numbers = config.input_size
        sizes = [1] * self.numbers + widths
        #: For each of the E numbers, the column of the input that it comes from, (E,).
        self.columns: NDArray[np.int64] = np.repeat(np.arange(len(sizes)), sizes)

    def embed(self, x: Tensor) -> Tensor:
        """From input, (B, T, C), or token ids, (B, T), to what the stack reads, (B, T, E)."""
        mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        return embed(self.network, x, mask).detach()

    def outputs(self, e: Tensor) -> Tensor:
        """Return the network's outputs, (B, K), or (B, T, K) with one a step, for e, (B, T, E).

        Every row has T steps. A gradient reaches e.
        """
        rows, steps, _ = e.shape
        lengths = torch.full((rows,), steps, device="cpu")
        if not self.tables:
            return self._run(e, lengths)
        parts = torch.split(e[:, :, self.numbers :], [t.embedding_dim for t in self.tables], -1)
        if self.network.config.vocabulary_size:
            x = torch.zeros(rows, steps, dtype=torch.int64, device=e.device)
        else:
            codes = e.new_zeros(rows, steps, len(self.tables))
            x = torch.cat([e[:, :, : self.numbers], codes], -1)
        # The network runs through its own layers, whatever they are; only what its tables return
        # is put in their place.
        with ExitStack() as hooks:
            for table, part in zip(self.tables, parts, strict=True):
                hooks.enter_context(_returning(table, part))
            return self._run(x, lengths)

    def rows_at_once(self, steps: int) -> int:
        """How many sequences of so many steps go through the network together."""
        config = self.network.config
        blocks = len(config.cell_definition.blocks)
        values = steps * max(config.num_layers * config.width * blocks, len(self.columns))
        return max(1, _GATE_VALUES // values)

    def _run(self, x: Tensor, lengths: Tensor) -> Tensor:
        # cuDNN runs backward only through what it ran in training mode, which is not what is
        # explained here: torch's own kernels take its place.
        without = x.is_cuda and torch.is_grad_enabled()
        with without_cudnn() if without else nullcontext():
            outputs: Tensor = self.network(x, lengths)
        return outputs


@contextmanager
def without_cudnn() -> Iterator[None]:
    """Let torch run without cuDNN.

    torch.backends.cudnn.flags would do, but it reads and writes the TF32 settings as well, and
    fails where a user has set them for convolutions or recurrent layers alone.
    """
    before = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = False
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = before


@contextmanager
def _returning(table: nn.Embedding, values: Tensor) -> Iterator[None]:
    """Let a table return `values`, (B, T, width), whatever it is given."""
    hook = table.register_forward_hook(lambda *_: values)
    try:
        yield
    finally:
        hook.remove()
