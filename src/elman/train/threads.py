"""How many threads of the CPU torch may use, for a while."""

from __future__ import annotations

from contextlib import ContextDecorator

import torch


class TorchThreads(ContextDecorator):
    """Lets torch use `count` threads inside a `with` block, and as many as before after it.

    As a decorator it does so in every call of the function.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def _recreate_cm(self) -> TorchThreads:
        return TorchThreads(self.count)  # calls may stand within each other

    def __enter__(self) -> None:
        self._before = torch.get_num_threads()
        torch.set_num_threads(self.count)

    def __exit__(self, *exception: object) -> None:
        torch.set_num_threads(self._before)
