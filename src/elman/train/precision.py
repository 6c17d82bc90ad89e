"""In which precision a training computes, and whether it gives the same bits again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from elman.settings import Precision


@contextlib.contextmanager
def matrix_precision(precision: Precision, model: nn.Module) -> Iterator[None]:
    """Set whether float32 matrices are multiplied as TF32 on a GPU, and restore it afterwards.

    By default torch lets cuDNN's recurrent layers use TF32, whose products have 10 bits in place of
    23. Here float32 means float32, and TF32 is used only where the setting names it.

    Args:
        precision: `tf32` for TF32; with any other, what is computed in float32 is exact to float32.
        model: the network; nothing is changed unless it is on a CUDA device.
    """
    if next(model.parameters()).device.type != "cuda":
        yield
        return
    cudnn: Any = torch.backends.cudnn  # torch's types do not know its parts
    backends: tuple[Any, ...] = (torch.backends.cuda.matmul, cudnn.rnn, cudnn.conv)
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "tf32" if precision == "tf32" else "ieee"
        yield
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.fp32_precision = value


def network_precision(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Return the context manager in which the network runs: torch's autocast for bfloat16.

    The weights, their gradients and the loss are float32 in every precision.
    """
    if precision != "bfloat16":
        return contextlib.nullcontext()  # an autocast of the caller's own stays as it is
    return torch.autocast(device.type, torch.bfloat16)


def describe_determinism(device: torch.device, *, native: bool) -> str:
    """Return whether the training gives the same bits again, in words, and what is needed if not.

    Args:
        device: where the training runs.
        native: whether the gradients are computed by native calls.
    """
    if native:
        return "deterministic: the same bits on every run, for any number of threads"
    if device.type != "cpu":
        if (
            torch.are_deterministic_algorithms_enabled()
            and not torch.is_deterministic_algorithms_warn_only_enabled()
        ):
            return (
                "deterministic: the same bits on every run on this kind of device, because "
                "torch.use_deterministic_algorithms is on"
            )
        return (
            f"not deterministic: on device {device.type} sums may be added in another order on "
            "every run. For the same bits train on the CPU, or call "
            "torch.use_deterministic_algorithms(True) before the training"
        )
    threads = torch.get_num_threads()
    if threads == 1:
        return "deterministic: the same bits on every run with one thread"
    return (
        f"not deterministic: torch may add sums in another order on {threads} threads. For the "
        "same bits on every run use one thread (--threads 1, threads=1)"
    )
