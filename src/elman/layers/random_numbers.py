"""What a network draws at random, its initial weights and its dropout, and from which generator.

torch's global generator belongs to the whole process: two trainings that draw from it in two
threads take each other's numbers, and so does any other code. `draw_from` names another one for
the current thread alone.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# The generator of the current thread; None means torch's global one.
_GENERATOR: ContextVar[torch.Generator | None] = ContextVar("generator", default=None)
_GLOBAL = threading.RLock()  # held while the global generator stands in for another one


Part = tuple[slice, int, int]  # rows of a whole batch, and its sizes B and T

# The rows of a batch that this thread computes; None means that it computes whole batches.
_PART: ContextVar[Part | None] = ContextVar("part", default=None)


@contextlib.contextmanager
def draw_for(part: Part | None) -> Iterator[None]:
    """Inside, this thread draws numbers for whole batches and keeps those of its rows.

    Several processes that divide a batch then use the numbers of a process that computes all of it,
    and their generators stay in the same state.
    """
    token = _PART.set(part)
    try:
        yield
    finally:
        _PART.reset(token)


def draw_rows(
    draw: Callable[[tuple[int, ...]], Tensor], shape: tuple[int, ...], *, steps: bool
) -> Tensor:
    """Return random numbers of `shape`: `draw(shape)`, or the part of a whole batch.

    Args:
        draw: returns random numbers of a shape.
        shape: (B, T, ...) with `steps`, else (B, ...).
    """
    part = _PART.get()
    if part is None:
        return draw(shape)
    rows, batch, time = part
    if steps:
        drawn = draw((batch, time, *shape[2:]))[rows, : shape[1]]
    else:
        drawn = draw((batch, *shape[1:]))[rows]
    return drawn.contiguous()


def current_generator() -> torch.Generator | None:
    """Return the generator that `draw_from` has named; None means torch's global one."""
    return _GENERATOR.get()


class draw_from:  # noqa: N801 - used as a function
    """Context manager: inside, this thread draws dropout from `generator`.

    It can be entered again after it has been left, as the training loop does for every batch.

    Args:
        generator: on the CPU; advanced by what is drawn.
        everything: also redirect code that can only draw from torch's global generator, such as
            hooks, cells of the user's own and torch's layers on other devices. For the time of the
            block, the global generator then continues `generator`, and no other such block runs.
    """

    def __init__(self, generator: torch.Generator, *, everything: bool = False) -> None:
        self.generator = generator
        self._swaps = everything and generator is not torch.default_generator

    def __enter__(self) -> None:
        if self._swaps:
            _GLOBAL.acquire()
            self._token = _GENERATOR.set(None)
            self._before = torch.default_generator.get_state()
            torch.default_generator.set_state(self.generator.get_state())
        else:
            self._token = _GENERATOR.set(self.generator)

    def __exit__(self, *exception: object) -> None:
        _GENERATOR.reset(self._token)
        if self._swaps:
            self.generator.set_state(torch.default_generator.get_state())
            torch.default_generator.set_state(self._before)
            _GLOBAL.release()


@contextlib.contextmanager
def own_cuda_state(device: torch.device | str, seed: int | None = None) -> Iterator[None]:
    """Restore the state of a CUDA device's generator afterwards; do nothing for a CPU.

    Args:
        seed: of the generator inside; None means that it continues.
    """
    if torch.device(device).type != "cuda":
        yield
        return
    before = torch.cuda.get_rng_state(device)
    try:
        if seed is not None:
            torch.cuda.manual_seed(seed)
        yield
    finally:
        torch.cuda.set_rng_state(before, device)


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Return x with each element zeroed with probability p in training, others over 1 - p.

    With the same state of the generator, the result has the bits of torch's dropout on the CPU.
    """
    compiling = torch.compiler.is_compiling()
    generator = None if compiling or not x.is_cpu else _GENERATOR.get()
    whole = compiling or _PART.get() is None
    # torch's own function draws from the global generator only.
    if (generator is None and whole) or not training or not p or not x.numel():
        return functional.dropout(x, p, training)
    if p == 1:
        return x * torch.zeros((), dtype=x.dtype)

    def draw(shape: tuple[int, ...]) -> Tensor:
        # Like x in the order of its memory too, in which torch draws.
        keep = torch.empty_like(x) if shape == x.shape else x.new_empty(shape)
        return keep.bernoulli_(1 - p, generator=generator).div_(1 - p)

    return x * draw_rows(draw, tuple(x.shape), steps=x.dim() > 2)


@contextlib.contextmanager
def without_weights(module: nn.Module) -> Iterator[None]:
    """Inside, make layers for `module` whose weights are memory that is not yet filled.

    torch's constructors draw weights from the global generator, even if others follow.
    """
    with torch.device("meta"):
        yield
    module.to_empty(device=torch.get_default_device())


def initialise_as_torch(layer: nn.Module, generator: torch.Generator | None) -> None:
    """Draw the weights of a layer as its constructor in torch.nn does, with the same bits.

    Args:
        layer: an embedding, a linear layer or recurrent layers.
        generator: drawn from; None means torch's global one.
    """
    if isinstance(layer, nn.Embedding):
        nn.init.normal_(layer.weight, generator=generator)
    elif isinstance(layer, nn.Linear):
        nn.init.kaiming_uniform_(layer.weight, math.sqrt(5), generator=generator)
        _draw_uniform(layer.bias, layer.in_features, generator)
    else:
        for parameter in layer.parameters():
            _draw_uniform(parameter, layer.hidden_size, generator)


def _draw_uniform(weight: Tensor, inputs: Any, generator: torch.Generator | None) -> None:
    bound = 1 / math.sqrt(inputs)
    nn.init.uniform_(weight, -bound, bound, generator)
