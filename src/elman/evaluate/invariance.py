"""Check that predictions do not depend on padding or on the rest of the batch.

Each check compares the prediction for every sequence alone with the prediction after one change
that must not matter, such as other padding or other sequences in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.batches import MOST_STEPS
from elman.errors import DataError

Probabilities = Callable[..., Tensor]

Rows = list[Tensor]
BATCH = 64
EXTRA_STEPS = (7, 50)
# Large numbers reveal a missing mask; NaN and inf also reveal one that multiplies by 0.
PAD_NUMBERS = (1e6, float("nan"), float("inf"))
# An embedding looked up before the mask is applied fails on these.
PAD_OUTSIDE = (-1, 10**9)


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Args:
        name: what was changed.
        detail: how it was changed, and what it was compared with.
        worst: largest absolute difference between a probability and that of the sequence alone;
            inf if either is not finite or the model failed.
        passed: whether `worst` is within the tolerance.
        tolerance: largest difference that passes.
    """

    name: str
    detail: str
    worst: float
    passed: bool
    tolerance: float


def check_invariance(
    probabilities: Probabilities,
    sequences: Sequence[NDArray[Any] | Tensor],
    *,
    tolerance: float = 1e-6,
    pad_ids: Sequence[int] = (),
    seed: int = 0,
    static: Tensor | None = None,
) -> list[Check]:
    """Predict every sequence alone, then in batches that must not change the prediction.

    Args:
        probabilities: function of padded input, (B, T, C) floating or (B, T) int64, and lengths,
            (B,) int64, on the CPU. It returns probabilities, (B, K), or (B, T, K) with a label
            per step; steps past a sequence's end are ignored. Its third argument is `static`.
        sequences: n sequences, each (T_i, C) or (T_i,) with at least one step.
        tolerance: largest difference that passes; 0 requires bit-identical results.
        pad_ids: for tokens, further valid ids to pad with, besides the smallest and largest in use.
        seed: seed of the shuffled order; static: features of each sequence, (n, S), or None.
    Returns: one Check per change; failed checks are returned, not raised.
    Raises: DataError if there are no sequences or a sequence has no steps.
    """
    rows = [torch.as_tensor(s) for s in sequences]
    if not rows or not all(map(len, rows)):
        raise DataError("invariance needs at least one sequence, each of one step or more")
    tokens = rows[0].ndim == 1
    ends = torch.stack([torch.stack(r.aminmax()) for r in rows]) if tokens else None
    valid = [0.0] if ends is None else [int(ends.min()), int(ends.max()), *pad_ids]

    def predict(members: list[int], pad: float, extra: int = 0, strided: bool = False) -> Rows:
        parts = () if static is None else (static[members],)
        batch = [rows[i] for i in members]
        return _predict(probabilities, batch, pad, *parts, extra=extra, strided=strided)

    alone = [p for i in range(len(rows)) for p in predict([i], valid[0])]
    checks: list[Check] = []

    def add(name: str, detail: str, predict: Callable[[], Iterator[tuple[int, Tensor]]]) -> None:
        worst = 0.0
        try:
            for i, prediction in predict():
                worst = max(worst, _distance(prediction, alone[i]))
        except Exception as failure:  # the model is the caller's: any failure is a finding
            worst, detail = float("inf"), f"{detail}; failed with {failure!r:.200}"
        checks.append(Check(name, detail, worst, worst <= tolerance, tolerance))

    size = max(2, min(BATCH, MOST_STEPS // max(map(len, rows))))  # fewer long ones: less memory
    order, random = torch.arange(len(rows)), torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(rows), generator=random)

    def batched(
        pad: float, *, index: Tensor = order, extra: int = 0, times: int = 1, strided: bool = False
    ) -> Callable[[], Iterator[tuple[int, Tensor]]]:
        def run() -> Iterator[tuple[int, Tensor]]:
            # Of about equal size, so that the last one is not a single sequence.
            for chunk in index.tensor_split(-(-len(rows) // size)):
                members = chunk.repeat(times).tolist()
                predictions = predict(members, pad, extra, strided)
                yield from zip(members, predictions, strict=True)

        return run

    def again() -> Iterator[tuple[int, Tensor]]:
        for i in range(len(rows)):
            yield i, predict([i], valid[0])[0]

    add("repeated", "each sequence alone a second time", again)
    add("other sequences", f"up to {size} in a batch", batched(valid[0]))
    add("order", "in batches of another order", batched(valid[0], index=shuffled))
    add("batch size", "every batch doubled", batched(valid[0], times=2))
    for extra in EXTRA_STEPS:
        add("extra padding", f"{extra} steps longer than needed", batched(valid[0], extra=extra))
    for value in dict.fromkeys(valid if tokens else PAD_NUMBERS):
        what = f"padded with {value}, 7 steps longer than needed"
        add("pad value", what, batched(value, extra=7))
    for value in PAD_OUTSIDE if tokens else ():
        what = f"padded with {value}, which is no token, 7 steps longer than needed"
        add("pad value outside the vocabulary", what, batched(value, extra=7))
    add("memory layout", "as a view with gaps between steps", batched(valid[0], strided=True))
    return checks


def _predict(
    probabilities: Probabilities,
    rows: list[Tensor],
    pad: float,
    *static: Tensor,
    extra: int = 0,
    strided: bool = False,
) -> list[Tensor]:
    """Predictions of one batch, each (K,) or (T_i, K), float64."""
    lengths = torch.tensor([len(r) for r in rows])
    longest = int(lengths.max()) + extra
    dtype = rows[0].dtype if rows[0].is_floating_point() else torch.int64
    shape = (len(rows), longest * (2 if strided else 1), *rows[0].shape[1:])
    x = torch.full(shape, pad, dtype=dtype)
    x = x[:, ::2] if strided else x  # a kernel that ignores strides would read the gaps
    for i, row in enumerate(rows):
        x[i, : len(row)] = row
    with torch.no_grad():
        output = torch.as_tensor(probabilities(x, lengths, *static)).detach().cpu().double()
    if len(output) != len(rows):
        raise DataError(f"the model gave {len(output)} predictions for {len(rows)} sequences")
    return [p[: len(r)] if output.ndim == 3 else p for p, r in zip(output, rows, strict=True)]


def _distance(one: Tensor, other: Tensor) -> float:
    if one.shape != other.shape:
        return float("inf")
    worst = float((one - other).abs().max())
    return worst if np.isfinite(worst) else float("inf")
