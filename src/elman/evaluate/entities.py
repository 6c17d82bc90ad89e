"""Whole entities of tags such as B-city, I-city, O: precision, recall and F1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.targets import Entity, find_entities, find_scheme
from elman.evaluate.comparison import Comparison, compare, ratio_of_sums
from elman.evaluate.counts import (
    Floats,
    Ints,
    ratio,
)
from elman.evaluate.metrics import Metric
from elman.evaluate.resampling import Resampling, interval_levels, resample_weights
from elman.evaluate.text import TextTable, format_share, one_line

ENTITY_F1 = Metric("entity_f1", "entity F1", "F1 of whole entities.", "counts", ratio_of_sums)


@dataclass(frozen=True)
class NameMetrics:
    """Metrics of the entities of one name, or of all; `support` is the number of true ones."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class EntityMetrics(NameMetrics):
    """Metrics of all entities of tags such as B-city, I-city, O; only whole matches count.

        precision = both / predicted    recall = both / true    F1 = 2 both / (true + predicted)

    Source: conlleval of the CoNLL-2000 shared task (Tjong Kim Sang & Buchholz 2000).

    Args:
        by_name: the metrics of each name, in order.
        interval: 95 % bootstrap interval of F1 over sequences; None without resamples.
    """

    by_name: tuple[NameMetrics, ...]
    interval: tuple[float, float] | None

    def table(self) -> TextTable:
        """Return the metrics of all entities, and of each name."""
        rows = [
            (name, *map(format_share, (row.precision, row.recall, row.f1)), f"{row.support:,}")
            for name, row in (("all", self), *((one_line(r.label), r) for r in self.by_name))
        ]
        note = "An entity is found if its first step, its last step and its name are right."
        if self.interval is not None and self.interval[0] < self.interval[1]:
            note += " F1 of all: 95 % interval {:.3f} to {:.3f}.".format(*self.interval)
        head = ("entity", "precision", "recall", "F1", "entities")
        return TextTable("Entities", head, tuple(rows), note)


def entities_of_steps(
    classes: Sequence[Any], true: Ints, predicted: Ints, resampling: Resampling
) -> EntityMetrics | None:
    """Compare entities if the classes of the steps are entity tags; else return None."""
    if resampling.owners is None or find_scheme(classes) is None:
        return None
    # Entities do not span sequences. Steps without a label are skipped, as in seqeval.
    ends = np.cumsum(np.bincount(resampling.owners))[:-1]
    tags = np.array(classes, dtype=object)
    true_tags, predicted_tags = (
        [row.tolist() for row in np.split(tags[codes], ends)] for codes in (true, predicted)
    )
    return entity_metrics(true_tags, predicted_tags, resampling)


def entity_metrics(
    true: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    resampling: Resampling | None = None,
) -> EntityMetrics:
    """Compare predicted with true tags: n sequences each, of the same lengths.

    Args:
        resampling: what is drawn for the interval; None, or no resamples, for no interval.
    """
    # Compared as sets: an entity counts as found only if its steps and its name are all equal.
    pairs = [
        (set(find_entities(a)), set(find_entities(b))) for a, b in zip(true, predicted, strict=True)
    ]
    names = sorted({name for pair in pairs for chunks in pair for _, _, name in chunks})
    place = {name: i for i, name in enumerate(names)}
    counts = np.zeros((3, len(pairs), len(names)), dtype=np.int64)  # both, predicted, true
    for i, (in_truth, in_prediction) in enumerate(pairs):
        both = in_truth & in_prediction
        for row, chunks in zip(counts, (both, in_prediction, in_truth), strict=True):
            for _, _, name in chunks:
                row[i, place[name]] += 1
    totals = counts.sum(1)  # (3, names)
    whole = _entity_metrics("", totals.sum(1))
    interval = None
    if resampling is not None and resampling.resamples:
        each = counts.sum(2).astype(np.float64)  # (3, n)
        if (group_of := resampling.group_of) is not None:
            each = np.stack([np.bincount(group_of, row, resampling.count) for row in each])
        sums = np.concatenate([weights @ each.T for weights in resample_weights(resampling)])
        scores = ratio(2 * sums[:, 0], sums[:, 1] + sums[:, 2])
        low, high = np.percentile(scores, interval_levels(resampling.count))
        interval = float(low), float(high)
    return EntityMetrics(
        **vars(whole),
        by_name=tuple(_entity_metrics(name, totals[:, i]) for i, name in enumerate(names)),
        interval=interval,
    )


def _entity_metrics(label: str, counts: NDArray[np.int64]) -> NameMetrics:
    """Compute metrics from counts of both, predicted and true; 0 where a denominator is 0."""
    both, predicted, true = (int(n) for n in counts)
    return NameMetrics(
        label,
        precision=both / predicted if predicted else 0.0,
        recall=both / true if true else 0.0,
        f1=2 * both / (predicted + true) if predicted + true else 0.0,
        support=true,
    )


def compare_entities(
    classes: Sequence[Any],
    true: Ints,
    network: Ints,
    baselines: Mapping[str, NDArray[Any]],
    lengths: Ints,
    resampling: Resampling,
) -> Comparison | None:
    """Compare the F1 of the network's entities with that of the best baseline.

    Args:
        classes: tags such as B-city, I-city, O.
        true, network: codes of the steps, (N,); baselines: name -> codes.
        lengths: steps of each sequence, (n,).
        resampling: what is drawn.
    Returns: None if there are no baselines.
    """
    tags = np.array(classes, dtype=object)
    first = np.cumsum(lengths) - lengths

    def found(codes: Ints) -> list[set[Entity]]:
        return [set(find_entities(row.tolist())) for row in np.split(tags[codes], first[1:])]

    in_truth = found(true)

    def sums(true: Ints, predicted: Ints, units: Ints, count: int) -> Floats:
        result = np.zeros((count, 2))
        for start, expected, answered in zip(first, in_truth, found(predicted), strict=True):
            both = len(expected & answered)
            result[units[start]] += 2 * both, len(expected) + len(answered)
        return result

    how = sums, ratio_of_sums
    return compare(ENTITY_F1, ENTITY_F1.title, true, network, baselines, resampling, how)
