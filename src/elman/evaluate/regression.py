"""How far predicted numbers are from the truth, with intervals and baselines beside them.

n sequences, m answers (the sequences, or the steps inside them), K values each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from elman.errors import DataError, SettingsError, ShapeError
from elman.evaluate import text
from elman.evaluate.measures import Floats, Ints
from elman.evaluate.text import Table, one_line, size, three

FOR_PICTURES = ("true", "predicted", "lengths", "owners")
NAMES = ("rmse", "mae", "r2")  # with intervals, and of baselines
TITLES = {"rmse": "RMSE", "mae": "MAE", "r2": "R2", "median_absolute_error": "median abs. error"}


@dataclass(frozen=True)
class ValueFigures:
    """Figures of one predicted value, in its own unit but for `r2`."""

    name: str
    rmse: float
    mae: float
    r2: float
    median_absolute_error: float


@dataclass(frozen=True, eq=False)
class RegressionReport:
    """Figures of one evaluated part, each computed as scikit-learn computes it.

    Args:
        names: of the K values.
        count: sequences, n.
        steps: steps with a value; None where each sequence has its own.
        rmse: root of the mean squared error; of several values the mean of their own.
        mae: mean absolute error.
        r2: share of the variance that is explained: 0 for always answering the mean of the truth.
        median_absolute_error: half of the errors are smaller.
        per_value: one entry a value, in the order of `names`.
        intervals: 95 % bootstrap intervals over sequences, by figure; empty if not asked for.
        baselines: name -> rmse, mae and r2 of a simpler answer.
        true, predicted: (m, K) float64.
        lengths: steps of each sequence, (n,).
        owners: sequence of each step, (m,); None where each sequence has its own values.
    """

    names: tuple[str, ...]
    count: int
    steps: int | None
    rmse: float
    mae: float
    r2: float
    median_absolute_error: float
    per_value: tuple[ValueFigures, ...] = field(repr=False)
    intervals: dict[str, tuple[float, float]]
    baselines: dict[str, dict[str, float]]
    true: Floats = field(repr=False)
    predicted: Floats = field(repr=False)
    lengths: Ints = field(repr=False)
    owners: Ints | None = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as what JSON can hold; arrays kept for pictures are left out."""
        shown = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in FOR_PICTURES}
        return shown | {
            "names": list(self.names),
            "intervals": {name: list(pair) for name, pair in self.intervals.items()},
            "baselines": {name: dict(values) for name, values in self.baselines.items()},
            "per_value": [asdict(value) for value in self.per_value],
        }

    def __str__(self) -> str:
        return text.as_text(_parts(self))

    def _repr_html_(self) -> str:
        return text.as_html(_parts(self))


def evaluate_values(
    true: ArrayLike,
    predicted: ArrayLike,
    names: Sequence[str],
    *,
    lengths: ArrayLike,
    owners: ArrayLike | None = None,
    baselines: Mapping[str, ArrayLike] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> RegressionReport:
    """Compare predicted numbers with the truth.

    Args:
        true, predicted: (m, K), in the target's unit.
        names: of the K values.
        lengths: steps of each sequence, (n,).
        owners: sequence of each step, (m,); None where each sequence has its own values.
        baselines: name -> predicted numbers, (m, K).
        resamples: bootstrap draws for the intervals; 0 for none.
        seed: of these draws.
    Raises: ShapeError where sizes disagree; DataError where there is nothing, or no number.
    """
    if resamples < 0:
        raise SettingsError(f"resamples is {resamples}; expected 0 for no intervals, or more")
    y = np.asarray(true, dtype=np.float64)
    if y.ndim != 2 or y.shape[1] != len(names):
        raise ShapeError(f"true has shape {y.shape}; expected (m, {len(names)})")
    if len(y) == 0:
        raise DataError("nothing to evaluate: there are no answers")
    z = _numbers("predicted", predicted, y)
    _numbers("true", y, y)
    steps_of = np.asarray(lengths, dtype=np.int64)
    owner_of = None if owners is None else np.asarray(owners, dtype=np.int64)
    if len(y) != (len(steps_of) if owner_of is None else len(owner_of)):
        raise ShapeError(
            f"lengths has {len(steps_of)} sequences but there are {len(y)} answers; give owners "
            "(m,) if an answer is a step's"
        )
    sequences = np.arange(len(y)) if owner_of is None else owner_of
    sums = _Sums.of(y, z, sequences, len(steps_of))
    whole = sums.figures(np.ones((1, len(steps_of))))
    medians = np.median(np.abs(z - y), axis=0)
    return RegressionReport(
        names=tuple(names),
        count=len(steps_of),
        steps=None if owner_of is None else len(y),
        **{name: float(whole[name].mean()) for name in NAMES},
        median_absolute_error=float(medians.mean()),
        per_value=tuple(
            ValueFigures(name, float(rmse), float(mae), float(r2), float(median))
            for name, rmse, mae, r2, median in zip(
                names, *(whole[n][0] for n in NAMES), medians, strict=True
            )
        ),
        intervals=_intervals(sums, resamples, seed) if resamples else {},
        baselines={
            name: {
                n: float(v.mean())
                for n, v in _Sums.of(
                    y, _numbers(f"baseline {name!r}", b, y), sequences, len(steps_of)
                )
                .figures(np.ones((1, len(steps_of))))
                .items()
            }
            for name, b in (baselines or {}).items()
        },
        true=y,
        predicted=z,
        lengths=steps_of,
        owners=owner_of,
    )


@dataclass(frozen=True)
class _Sums:
    """Sums over each sequence, (n, K) but for `count`, (n,): enough for the figures of a draw."""

    count: Floats
    squares: Floats
    distances: Floats
    values: Floats  # less the mean of all, so that nothing is lost where it is large
    values_squared: Floats

    @classmethod
    def of(cls, true: Floats, predicted: Floats, owners: Ints, n: int) -> _Sums:
        error, centred = predicted - true, true - true.mean(0)

        def by_sequence(values: Floats) -> Floats:
            return np.stack([np.bincount(owners, column, n) for column in values.T], 1)

        return cls(
            np.bincount(owners, minlength=n).astype(np.float64),
            *map(by_sequence, (error**2, np.abs(error), centred, centred**2)),
        )

    def figures(self, drawn: Floats) -> dict[str, Floats]:
        """Return RMSE, MAE and R2, each (r, K), of r draws: how often each sequence, (r, n)."""
        count = (drawn @ self.count)[:, None]
        residual = drawn @ self.squares
        total = drawn @ self.values_squared - (drawn @ self.values) ** 2 / count
        # As scikit-learn: a truth that never changes gives 0, or 1 if it is met.
        flat = total <= 1e-12 * np.maximum(drawn @ self.values_squared, 1e-300)
        share = np.divide(residual, total, out=(residual > 0).astype(float), where=~flat)
        return {
            "rmse": np.sqrt(residual / count),
            "mae": drawn @ self.distances / count,
            "r2": 1 - share,
        }


def _intervals(sums: _Sums, resamples: int, seed: int) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals: whole sequences are drawn, as the steps of one hang together."""
    rng = np.random.default_rng(seed)
    n = len(sums.count)
    found: dict[str, list[Floats]] = {name: [] for name in NAMES}
    for start in range(0, resamples, 50):  # in pieces: n may be large
        times = min(50, resamples - start)
        drawn = rng.multinomial(n, np.full(n, 1 / n), size=times).astype(np.float64)
        for name, values in sums.figures(drawn).items():
            found[name].append(values.mean(1))
    spread = {name: np.concatenate(parts) for name, parts in found.items()}
    ends = {name: np.percentile(values, [2.5, 97.5]) for name, values in spread.items()}
    return {name: (float(low), float(high)) for name, (low, high) in ends.items()}


def _numbers(name: str, values: ArrayLike, like: Floats) -> Floats:
    found = np.asarray(values, dtype=np.float64)
    if found.shape != like.shape:
        raise ShapeError(f"{name} has shape {found.shape}; expected {like.shape}")
    if not np.isfinite(found).all():
        raise DataError(
            f"{name} holds numbers that are not finite",
            remedy="If training diverged, lower the learning rate or clip gradients.",
        )
    return found


def shown(name: str, value: float) -> str:
    """Return a figure for reading: shares with three decimals, others with four digits."""
    return three(value) if name == "r2" else f"{value:.4g}"


def _parts(report: RegressionReport) -> list[str | Table]:
    several = len(report.names) > 1
    what = f"{len(report.names)} values" if several else one_line(report.names[0])
    head = ["", "model"] + ["95 % interval"] * bool(report.intervals) + list(report.baselines)
    rows = []
    for name, title in TITLES.items():
        row = [title, shown(name, getattr(report, name))]
        if report.intervals:
            ends = report.intervals.get(name, ())
            row.append(" to ".join(shown(name, end) for end in ends))
        rows.append(
            row + [shown(name, b[name]) if name in b else "" for b in report.baselines.values()]
        )
    found: list[str | Table] = [f"{size(report.count, report.steps)}, {what}", (head, rows)]
    if several:
        found.append(
            (
                ["value", *TITLES.values()],
                [
                    [one_line(v.name), *(shown(n, getattr(v, n)) for n in TITLES)]
                    for v in report.per_value
                ],
            )
        )
        found.append("The figures above are means over the values, each in its own unit.")
    return found
