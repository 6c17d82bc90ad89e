"""What the recurrent stack reads, and the network's answer when it reads something else.

    e_t = x_t, or the embedding of token x_t, or numbers and embedded categories end to end

A token or a category can be moved towards another only between their embeddings: they stand in one
array with the numbers, and the network is run on it through its own layers.

Dimensions: B rows, T steps, C channels and columns of categories, E numbers that a step has in e.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from elman.models import SequenceModel
from elman.models.unrolled import embed

_AT_ONCE = 2**24  # gate values that a pass may keep for its gradient: 128 MB in float64


class Embedded:
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
        inside = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        return embed(self.network, x, inside).detach()

    def outputs(self, e: Tensor) -> Tensor:
        """Return the network's outputs, (B, K), or (B, T, K) with one a step, for e, (B, T, E).

        Every row has T steps. A gradient reaches e.
        """
        rows, steps, _ = e.shape
        lengths = torch.full((rows,), steps, device="cpu")
        if not self.tables:
            return self._run(e, lengths)
        given = torch.split(e[:, :, self.numbers :], [t.embedding_dim for t in self.tables], -1)
        if self.network.config.vocabulary_size:
            x = torch.zeros(rows, steps, dtype=torch.int64, device=e.device)
        else:
            codes = e.new_zeros(rows, steps, len(self.tables))
            x = torch.cat([e[:, :, : self.numbers], codes], -1)
        with ExitStack() as hooks:
            for table, part in zip(self.tables, given, strict=True):
                hooks.enter_context(_answering(table, part))
            return self._run(x, lengths)

    def rows_at_once(self, steps: int) -> int:
        """How many sequences of so many steps go through the network together."""
        config = self.network.config
        gates = len(config.cell_definition.blocks)
        each = steps * max(config.num_layers * config.width * gates, len(self.columns))
        return max(1, _AT_ONCE // each)

    def _run(self, x: Tensor, lengths: Tensor) -> Tensor:
        # cuDNN runs backward only through what it ran in training mode, which is not what is asked
        # about here: torch's own kernels take its place.
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
def _answering(table: nn.Embedding, part: Tensor) -> Iterator[None]:
    """Let a table answer with `part`, (B, T, width), whatever it is asked."""
    hook = table.register_forward_hook(lambda *_: part)
    try:
        yield
    finally:
        hook.remove()
