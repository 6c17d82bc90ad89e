"""Which of several labels were found, with intervals and baselines beside the figures.

n sequences, K labels, each there or not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elman.errors import DataError, SettingsError, ShapeError
from elman.evaluate import text
from elman.evaluate.measures import Floats, Ints, Tallies, by_class, ratio
from elman.evaluate.text import Table, one_line, plural, size, three

FOR_PICTURES = ("true", "predicted", "probabilities", "lengths")
TITLES = {
    "accuracy": "all labels right",
    "micro_f1": "F1 (micro)",
    "macro_f1": "F1 (macro)",
    "samples_f1": "F1 (samples)",
    "hamming_loss": "Hamming loss",
}
MOST_LABELS = 20


@dataclass(frozen=True)
class LabelFigures:
    """Figures of one label; `support` is how often it is there, and None where it never is."""

    label: Any
    precision: float
    recall: float
    f1: float
    average_precision: float | None
    support: int


@dataclass(frozen=True, eq=False)
class MultilabelReport:
    """Figures of one evaluated part, each computed as scikit-learn computes it.

    Args:
        classes: labels, in the order of the columns of `probabilities`.
        count: sequences, n.
        accuracy: share of sequences with all labels right (subset accuracy).
        micro_f1: F1 of all decisions together; macro_f1: mean over the labels; samples_f1: mean
            over the sequences. 0 where there is nothing to divide.
        hamming_loss: share of wrong decisions.
        per_label: one entry a label, in the order of `classes`.
        intervals: 95 % bootstrap intervals over sequences, by figure; empty if not asked for.
        baselines: name -> the same figures of a simpler answer.
        true, predicted: (n, K) int64, 0 or 1; predicted where the probability is above 1/2.
        probabilities: (n, K) float64.
        lengths: steps of each sequence, (n,).
    """

    classes: tuple[Any, ...]
    count: int
    accuracy: float
    micro_f1: float
    macro_f1: float
    samples_f1: float
    hamming_loss: float
    per_label: tuple[LabelFigures, ...] = field(repr=False)
    intervals: dict[str, tuple[float, float]]
    baselines: dict[str, dict[str, float]]
    true: Ints = field(repr=False)
    predicted: Ints = field(repr=False)
    probabilities: Floats = field(repr=False)
    lengths: Ints = field(repr=False)
    steps = None
    owners = None

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as what JSON can hold; arrays kept for pictures are left out."""
        shown = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in FOR_PICTURES}
        return shown | {
            "classes": list(self.classes),
            "intervals": {name: list(pair) for name, pair in self.intervals.items()},
            "baselines": {name: dict(values) for name, values in self.baselines.items()},
            "per_label": [asdict(label) for label in self.per_label],
        }

    def __str__(self) -> str:
        return text.as_text(_parts(self))

    def _repr_html_(self) -> str:
        return text.as_html(_parts(self))


def evaluate_labels(
    true: ArrayLike,
    probabilities: ArrayLike,
    classes: Sequence[Any],
    *,
    lengths: ArrayLike,
    owners: None = None,
    baselines: Mapping[str, ArrayLike] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> MultilabelReport:
    """Compare predicted probabilities of each label with the truth.

    Args:
        true: 0 or 1, (n, K).
        probabilities: (n, K); a label is given where its own is above 1/2.
        classes: K labels.
        lengths: steps of each sequence, (n,).
        owners: None; there are no labels of steps.
        baselines: name -> 0 or 1, (n, K).
        resamples: bootstrap draws for the intervals; 0 for none.
        seed: of these draws.
    Raises: ShapeError where sizes disagree; DataError where there is nothing, or no probability.
    """
    if resamples < 0:
        raise SettingsError(f"resamples is {resamples}; expected 0 for no intervals, or more")
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or p.shape[1] != len(classes):
        raise ShapeError(f"probabilities have shape {p.shape}; expected (n, {len(classes)})")
    if len(p) == 0:
        raise DataError("nothing to evaluate: there are no answers")
    if not (np.isfinite(p) & (p >= 0) & (p <= 1)).all():
        raise DataError(
            "probabilities hold NaN or values outside 0 to 1",
            remedy="If training diverged, lower the learning rate or clip gradients.",
        )
    steps_of = np.asarray(lengths, dtype=np.int64)
    y = _indicator("true", true, p.shape)
    if len(steps_of) != len(p):
        raise ShapeError(f"lengths has {len(steps_of)} sequences but probabilities {len(p)} rows")
    predicted = (p > 0.5).astype(np.int64)
    tallies = Tallies(*(a.sum(0).astype(np.float64) for a in (y, predicted, y * predicted)))
    each = zip(classes, *by_class(tallies), tallies.true, strict=True)
    return MultilabelReport(
        classes=tuple(classes),
        count=len(p),
        **_whole(y, predicted),
        per_label=tuple(
            LabelFigures(
                label, float(a), float(b), float(c), average_precision(y[:, k], p[:, k]), int(n)
            )
            for k, (label, a, b, c, n) in enumerate(each)
        ),
        intervals=_intervals(y, predicted, resamples, seed) if resamples else {},
        baselines={
            name: _whole(y, _indicator(f"baseline {name!r}", answers, p.shape))
            for name, answers in (baselines or {}).items()
        },
        true=y,
        predicted=predicted,
        probabilities=p,
        lengths=steps_of,
    )


def average_precision(positive: NDArray[Any], scores: Floats) -> float | None:
    """Area under precision over recall, as steps; None where the label never is there."""
    if not positive.any():
        return None
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    hits = np.cumsum(positive[order])[last].astype(np.float64)
    return float((np.diff(hits, prepend=0.0) / hits[-1] * hits / (last + 1)).sum())


def _figures(drawn: Floats, true: Ints, predicted: Ints) -> dict[str, Floats]:
    """Figures of r draws: how often each sequence, (r, n), to (r,)."""
    both = true * predicted
    sums = Tallies(drawn @ true, drawn @ predicted, drawn @ both)
    count = drawn.sum(1)
    own = ratio(2.0 * both.sum(1), (true + predicted).sum(1))
    micro = ratio(2 * sums.both.sum(1), (sums.true + sums.predicted).sum(1))
    return {
        "accuracy": drawn @ (true == predicted).all(1) / count,
        "micro_f1": micro,
        "macro_f1": by_class(sums)[2].mean(1),
        "samples_f1": drawn @ own / count,
        "hamming_loss": drawn @ (true != predicted).mean(1) / count,
    }


def _whole(true: Ints, predicted: Ints) -> dict[str, float]:
    found = _figures(np.ones((1, len(true))), true, predicted)
    return {name: float(values[0]) for name, values in found.items()}


def _intervals(
    true: Ints, predicted: Ints, resamples: int, seed: int
) -> dict[str, tuple[float, float]]:
    rng = np.random.default_rng(seed)
    n = len(true)
    found: dict[str, list[Floats]] = {name: [] for name in TITLES}
    for start in range(0, resamples, 50):  # in pieces: n may be large
        times = min(50, resamples - start)
        drawn = rng.multinomial(n, np.full(n, 1 / n), size=times).astype(np.float64)
        for name, values in _figures(drawn, true, predicted).items():
            found[name].append(values)
    ends = {name: np.percentile(np.concatenate(v), [2.5, 97.5]) for name, v in found.items()}
    return {name: (float(low), float(high)) for name, (low, high) in ends.items()}


def _indicator(name: str, values: ArrayLike, shape: tuple[int, ...]) -> Ints:
    found = np.asarray(values)
    if found.shape != shape:
        raise ShapeError(f"{name} has shape {found.shape}; expected {shape}")
    if not np.isin(found, (0, 1)).all():
        raise DataError(f"{name} holds other numbers than 0 and 1")
    return found.astype(np.int64)


def _parts(report: MultilabelReport) -> list[str | Table]:
    head = ["", "model"] + ["95 % interval"] * bool(report.intervals) + list(report.baselines)
    rows = []
    for name, title in TITLES.items():
        row = [title, three(getattr(report, name))]
        if report.intervals:
            row.append(" to ".join(three(end) for end in report.intervals[name]))
        rows.append(row + [three(b[name]) for b in report.baselines.values()])
    order = np.argsort([-label.support for label in report.per_label], kind="stable")
    kept = set(order[:MOST_LABELS].tolist())
    labels = [
        [
            one_line(f.label),
            *map(three, (f.precision, f.recall, f.f1)),
            "" if f.average_precision is None else three(f.average_precision),
            f"{f.support:,}",
        ]
        for k, f in enumerate(report.per_label)
        if k in kept
    ]
    hidden = len(report.classes) - len(labels)
    found: list[str | Table] = [
        f"{size(report.count, None)}, {len(report.classes)} {plural('label', len(report.classes))}",
        (head, rows),
        (["label", "precision", "recall", "F1", "average precision", "sequences"], labels),
    ]
    if hidden:
        found.append(f"{hidden} rarer {plural('label', hidden)} not shown; `per_label` has them.")
    return found
