"""What a model got right on one part of the data, with intervals and baselines beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elman.errors import DataError, SettingsError, ShapeError
from elman.evaluate import measures, tables, text
from elman.evaluate.entities import EntityMetrics, entity_metrics, is_entity_tags
from elman.evaluate.intervals import bootstrap
from elman.evaluate.measures import Floats, Ints, Tallies

BASELINE_FIGURES = ("accuracy", "balanced_accuracy", "recall", "f1")
FOR_PICTURES = ("true", "predicted", "probabilities", "lengths", "owners")


@dataclass(frozen=True)
class ClassFigures:
    """Figures of one class; `support` is how often it is true."""

    label: Any
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, eq=False)
class Report:
    """Figures of one evaluated part, each computed as scikit-learn computes it.

    Args:
        classes: labels, in the order of the columns of `probabilities`.
        count: sequences.
        steps: labelled steps of a tagger; None where each sequence has one label.
        average: what `precision`, `recall` and `f1` are: `binary`, those of the second of two
            classes, or `macro`, the mean over the classes that are true or predicted somewhere.
        accuracy: share of right answers, (over steps for a tagger).
        balanced_accuracy: mean recall of the classes that are true somewhere.
        per_class: one entry a class, in the order of `classes`.
        confusion_matrix: (K, K) int64, rows true, columns predicted.
        roc_auc: area under the ROC curve: of the second of two classes; else the mean one-vs-rest
            area of the classes that are true somewhere. None where only one class is true, for
            then there is no pair to put in order.
        log_loss: mean of -log p(true class), in nats.
        calibration_error: expected calibration error of the top probability in 15 equal bins.
        intervals: 95 % bootstrap intervals over sequences, by figure; empty if not asked for.
            They cannot show errors of a kind that never occurred: without any error the interval
            of the accuracy is (1, 1), however few the sequences.
        baselines: name -> accuracy, balanced_accuracy, recall and f1 of a simpler answer.
        entities: of tags such as B-city, I-city, O, how many entities were found whole; else None.
        true, predicted: codes, (m,); m is the sequences, or the steps of a tagger.
        probabilities: (m, K) float64.
        lengths: steps of each sequence, (count,).
        owners: sequence of each step, (m,); None where each sequence has one label.
    """

    classes: tuple[Any, ...]
    count: int
    steps: int | None
    average: str
    accuracy: float
    balanced_accuracy: float
    precision: float
    recall: float
    f1: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    weighted_precision: float
    weighted_recall: float
    weighted_f1: float
    per_class: tuple[ClassFigures, ...] = field(repr=False)
    confusion_matrix: Ints = field(repr=False)
    roc_auc: float | None
    log_loss: float
    calibration_error: float
    intervals: dict[str, tuple[float, float]]
    baselines: dict[str, dict[str, float]]
    entities: EntityMetrics | None
    true: Ints = field(repr=False)
    predicted: Ints = field(repr=False)
    probabilities: Floats = field(repr=False)
    lengths: Ints = field(repr=False)
    owners: Ints | None = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as what JSON can hold; arrays kept for pictures are left out."""
        shown = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in FOR_PICTURES}
        return shown | {
            "classes": [_plain(c) for c in self.classes],
            "intervals": {name: list(pair) for name, pair in self.intervals.items()},
            "baselines": {name: dict(values) for name, values in self.baselines.items()},
            "per_class": [asdict(c) | {"label": _plain(c.label)} for c in self.per_class],
            "confusion_matrix": self.confusion_matrix.tolist(),
            "entities": None if self.entities is None else asdict(self.entities),
        }

    def __str__(self) -> str:
        return text.as_text(tables.parts(self))

    def _repr_html_(self) -> str:
        return text.as_html(tables.parts(self))


def evaluate(
    true: ArrayLike,
    probabilities: ArrayLike,
    classes: Sequence[Any],
    *,
    lengths: ArrayLike,
    owners: ArrayLike | None = None,
    baselines: Mapping[str, ArrayLike] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Report:
    """Compare predicted probabilities with the truth.

    Args:
        true: codes of the true classes, (m,), from 0 to K - 1; m is the sequences, or for a tagger
            the steps.
        probabilities: (m, K); the answer is the class with the largest, the first of equals.
        classes: K labels, K at least 2.
        lengths: steps of each sequence, (n,).
        owners: sequence of each step, (m,), from 0 to n - 1; None where each sequence has one
            label.
        baselines: name -> predicted codes, (m,).
        resamples: bootstrap draws for the intervals; 0 for none.
        seed: of these draws.
    Raises: ShapeError where sizes disagree; DataError where codes or probabilities cannot be.
    """
    if resamples < 0:
        raise SettingsError(f"resamples is {resamples}; expected 0 for no intervals, or more")
    num_classes = len(classes)
    p = np.asarray(probabilities)
    p = p if p.dtype in (np.float32, np.float64) else p.astype(np.float64)
    if p.ndim != 2 or num_classes < 2 or p.shape[1] != num_classes:
        raise ShapeError(
            f"probabilities have shape {p.shape} for {num_classes} classes; "
            "expected (m, K) with K = len(classes), at least 2"
        )
    m = len(p)
    if m == 0:
        raise DataError("nothing to evaluate: there are no answers")
    spoilt = ~(np.isfinite(p) & (p >= 0) & (p <= 1 + 1e-6)).all(1)
    if spoilt.any():
        row = int(np.flatnonzero(spoilt)[0])
        raise DataError(
            f"{int(spoilt.sum())} of {m} rows of probabilities hold NaN or values outside 0 to 1, "
            f"first row {row}: {p[row].tolist()[:5]}",
            remedy="If training diverged, lower the learning rate or clip gradients.",
        )
    codes = _codes("true", true, m, num_classes)
    steps_of = np.asarray(lengths, dtype=np.int64)
    count = len(steps_of)
    owner_of = None if owners is None else _codes("owners", owners, m, count)
    if owner_of is None and count != m:
        raise ShapeError(
            f"lengths has {count} sequences but probabilities {m} rows; give owners (m,) if a row "
            "is a step"
        )
    wide = p.astype(np.float64)
    predicted = wide.argmax(1)
    matrix = measures.confusion(codes, predicted, num_classes)
    tallies = Tallies.of(matrix)
    found = None
    if owner_of is not None and is_entity_tags(classes):
        ends = np.cumsum(steps_of)[:-1]
        tags = np.array(classes, dtype=object)
        of = [[row.tolist() for row in np.split(tags[c], ends)] for c in (codes, predicted)]
        found = entity_metrics(*of, resamples=resamples, seed=seed)
    return Report(
        classes=tuple(classes),
        count=count,
        steps=None if owner_of is None else m,
        average="binary" if num_classes == 2 else "macro",
        **{name: float(value) for name, value in measures.figures(tallies).items()},
        per_class=tuple(
            ClassFigures(label, float(a), float(b), float(c), int(n))
            for label, a, b, c, n in zip(
                classes, *measures.by_class(tallies), tallies.true, strict=True
            )
        ),
        confusion_matrix=matrix,
        roc_auc=measures.roc_auc(codes, wide),
        log_loss=measures.log_loss(codes, p),
        calibration_error=measures.calibration_error(codes, wide),
        intervals=bootstrap(
            codes,
            predicted,
            num_classes,
            owners=owner_of,
            count=count,
            resamples=resamples,
            seed=seed,
        )
        if resamples
        else {},
        baselines={
            name: _baseline(codes, _codes(f"baseline {name!r}", answers, m, num_classes), matrix)
            for name, answers in (baselines or {}).items()
        },
        entities=found,
        true=codes,
        predicted=predicted,
        probabilities=wide,
        lengths=steps_of,
        owners=owner_of,
    )


def _baseline(true: Ints, answers: Ints, matrix: Ints) -> dict[str, float]:
    found = measures.figures(Tallies.of(measures.confusion(true, answers, len(matrix))))
    return {name: float(found[name]) for name in BASELINE_FIGURES}


def _codes(name: str, values: ArrayLike, m: int, below: int) -> Ints:
    """Check whole numbers from 0 to `below` - 1, one for each of m rows."""
    codes: NDArray[Any] = np.asarray(values)
    if codes.shape != (m,):
        raise ShapeError(f"{name} has shape {codes.shape}; expected ({m},), one a row")
    if codes.dtype.kind not in "iub" or codes.min() < 0 or codes.max() >= below:
        raise DataError(
            f"{name} holds {codes.dtype} from {codes.min()} to {codes.max()}; "
            f"expected whole numbers from 0 to {below - 1}"
        )
    return codes.astype(np.int64)


def _plain(label: Any) -> Any:
    """Return a label as JSON can hold it."""
    value = label.item() if isinstance(label, np.generic) else label
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
