"""How far apart two results may be, and why. Comparisons take their line from here."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tolerance:
    """Passes if |a - b| <= absolute + relative * |b|, with the reason for the two numbers."""

    relative: float
    absolute: float
    why: str


TOLERANCES = {
    "exact": Tolerance(0, 0, "the same operations in the same order: the same bits"),
    "float64": Tolerance(
        1e-11,
        1e-12,
        "eps 2e-16; sums of up to 63 steps and 33 units in another order cost about 4e-14",
    ),
    "float32": Tolerance(
        1e-5, 1e-5, "eps 1.2e-7; gradients sum 63 steps of 4 rows, which costs about 3e-6"
    ),
    "kernels float32": Tolerance(
        0,
        1e-5,
        "of numbers divided by their tensor's largest, or 1: chains of 500 products, summed one"
        " by one, cost 4.3e-6 measured",
    ),
    "kernels float64": Tolerance(
        0, 3e-14, "as kernels float32, in float64: 9.7e-15 measured, of gradients at H = 500"
    ),
    "batchings": Tolerance(
        0,
        1e-6,
        "float32 probabilities, at most 1, of a model whose modules torch runs one by one: BLAS may"
        " sum the linear layer of a batch of another size otherwise. In one native call: exact",
    ),
    "gradient of batchings": Tolerance(
        1e-4, 1e-6, "as batchings, but relative to the entry: gradients are not bounded by 1"
    ),
    "training": Tolerance(
        1e-5, 1e-6, "float32; a few steps of an optimiser carry differences of some eps along"
    ),
}


def assert_close(actual: Tensor, expected: Tensor, line: str, what: str = "") -> None:
    """Compare values, shape and dtype's width; NaN is equal to nothing, not even to NaN."""
    tolerance = TOLERANCES[line]
    torch.testing.assert_close(
        actual,
        expected.to(actual.dtype),
        rtol=tolerance.relative,
        atol=tolerance.absolute,
        equal_nan=False,
        msg=lambda text: f"{what} ({line}: {tolerance.why})\n{text}",
    )
