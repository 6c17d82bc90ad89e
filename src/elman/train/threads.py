"""How many threads of the CPU torch may use, for a while."""

from __future__ import annotations

import torch


class TorchThreads:
    """Lets torch use `count` threads inside a `with` block, and as many as before after it."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __enter__(self) -> None:
        self._before = torch.get_num_threads()
        torch.set_num_threads(self.count)

    def __exit__(self, *exception: object) -> None:
        torch.set_num_threads(self._before)
