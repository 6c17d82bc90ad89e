"""Batches for the kernels, and what the references make of them in float64.

Arguments are drawn in float32, so that float32 and float64 solve the same problem.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from cases import (
    KERNELS,
    Arguments,
    Cell,
    Shape,
    converted,
    make_arguments,
    past_end,
    run_reference,
)
from torch import Tensor

from elman import _core

ROOT = Path(__file__).parents[2]
NAMES = ("y", "h_n", "c_n")


def drawn_lengths(B: int, T: int, seed: int = 0) -> tuple[int, ...]:
    """Random lengths among which are T, 0 and 1, as far as there are rows."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, T + 1, (B,), generator=generator).tolist()
    for place, length in ((0, T), (B // 2, min(T, 1)), (B - 1, 0)):
        if 0 <= place < B:
            lengths[place] = length
    return tuple(lengths)


def ragged(B: int, T: int, I: int, H: int) -> Shape:
    return Shape(f"B{B}_T{T}_I{I}_H{H}_ragged", B, T, I, H, drawn_lengths(B, T))


def full(B: int, T: int, I: int, H: int) -> Shape:
    return Shape(f"B{B}_T{T}_I{I}_H{H}", B, T, I, H)


def cell_named(name: str) -> Cell:
    return next(c for c in KERNELS if c.name == name)


def output_gradients(cell: Cell, shape: Shape, dtype: torch.dtype, past: float) -> list[Tensor]:
    """Of the loss by y, h_n and c_n; `past` each row's end in y."""
    generator = torch.Generator().manual_seed(7)
    width = cell.width(shape.H)
    sizes = [(shape.B, shape.T, width), (shape.B, width), (shape.B, shape.H)]
    sizes = sizes[: 1 + len(cell.states)]
    dy, *finals = (torch.randn(size, generator=generator).to(dtype) for size in sizes)
    if shape.ends is not None:
        dy[past_end(dy, shape.ends)] = past
    return [dy, *finals]


def by_name(found: tuple[Tensor | None, ...], arguments: Arguments) -> dict[str, Tensor]:
    """Gradients by argument; zeros where autograd says that there is no way there."""
    return {
        f"gradient of {name}": torch.zeros_like(tensor) if gradient is None else gradient
        for (name, tensor), gradient in zip(arguments.items(), found, strict=True)
    }


def solve(
    outputs: list[Tensor], arguments: Arguments, gradients: list[Tensor]
) -> dict[str, Tensor]:
    """Outputs, and gradients of all arguments, by name."""
    used = [(o, g) for o, g in zip(outputs, gradients, strict=True) if o.requires_grad]
    found = torch.autograd.grad(
        [o for o, _ in used], list(arguments.values()), [g for _, g in used], allow_unused=True
    )
    named = dict(zip(NAMES, outputs, strict=False))
    return {n: t.detach() for n, t in named.items()} | by_name(found, arguments)


def draw(cell: Cell, shape: Shape, bias: bool = True, states: bool = True) -> Arguments:
    """Arguments in float32, with NaN past the rows' ends."""
    arguments = make_arguments(cell, shape, torch.float32, bias=bias)
    if shape.ends is not None:
        with torch.no_grad():
            arguments["x"][past_end(arguments["x"], shape.ends)] = torch.nan
    if not states:
        arguments = {n: t for n, t in arguments.items() if n not in cell.states}
    return arguments


@functools.lru_cache(maxsize=1)
def expected(
    name: str, shape: Shape, reverse: bool, bias: bool = True, states: bool = True
) -> dict[str, Tensor]:
    """Outputs and gradients of the reference, float64."""
    cell = cell_named(name)
    arguments = converted(draw(cell, shape, bias, states), torch.float64)
    widths = {"h0": cell.width(shape.H), "c0": shape.H}
    zeros = {s: torch.zeros(shape.B, widths[s], dtype=torch.float64) for s in cell.states}
    outputs = run_reference(cell, zeros | arguments, shape.ends, reverse)
    return solve(outputs, arguments, output_gradients(cell, shape, torch.float64, 0.0))


@contextlib.contextmanager
def kernels(isa: str) -> Iterator[None]:
    """With the kernels of one instruction set."""
    before = _core.isa()
    _core.use_isa(isa)
    try:
        yield
    finally:
        _core.use_isa(before)


def compile_for(isa: str, *arguments: str, csrc: Path = ROOT / "csrc", source: str = "") -> str:
    """Run the compiler with the flags that CMakeLists.txt has for an instruction set."""
    compiler = os.environ.get("CXX") or shutil.which("c++")
    if not compiler:
        pytest.skip("no C++ compiler")
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    [common] = re.findall(r"target_compile_options\(kernels_\S+ PRIVATE \$\{ARGN\}([^)]*)\)", text)
    [own] = re.findall(rf"add_kernels\({isa}([^)]*)\)", text)
    flags = ["-std=c++17", "-Wno-psabi", f"-DELMAN_ISA={isa}", f"-I{csrc}"]
    command = [compiler, *flags, *own.split(), *common.split(), *arguments]
    return subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout
