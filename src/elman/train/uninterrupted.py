"""Sections of a training that no signal interrupts, and the state of its random generators."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

import torch
from torch import Tensor

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


class Uninterrupted:
    """A section of the training that signals wait for, so that no half of a step is saved."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator
        self._installed = False
        self.inside = False  # still True after an exception: the section is half done
        self.random: dict[str, Tensor] = {}
        self._waiting: int | None = None
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}

    def install(self) -> None:
        """Take over the handlers until `remove`; only the main thread is ever interrupted."""
        self._installed = True
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)):
            handler = signal.getsignal(number)
            if callable(handler):
                self._handlers[number] = handler
                signal.signal(number, self._receive)

    def remove(self) -> None:
        """Give the handlers back."""
        for number, handler in self._handlers.items():
            if signal.getsignal(number) == self._receive:
                signal.signal(number, handler)
        self._handlers.clear()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.inside and self._waiting is None:
            self._waiting = number
        else:
            self._handlers[number](number, frame)

    def __enter__(self) -> None:
        self.inside = True

    def __exit__(self, kind: object, *exception: object) -> None:
        if kind is not None or not self._installed:
            return
        self.random = random_state(self._generator)
        self.inside = False
        if self._waiting is not None:
            number, self._waiting = self._waiting, None
            self._handlers[number](number, None)


def random_state(generator: torch.Generator) -> dict[str, Tensor]:
    """Return the states of the training's generator and of the CUDA device's, by device."""
    states = {"cpu": generator.get_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def set_random_state(states: Mapping[str, Tensor], generator: torch.Generator) -> None:
    """Continue from the states that `random_state` returned."""
    generator.set_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
