"""Encoder and target of a training split that is read part by part.

The figures are those of `Encoder.fit_encode` and `from_labels` for all of the split: the same
vocabulary, categories and classes, and the same mean and deviation but for rounding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from elman.data.dataset import InputKind, Static
from elman.data.ragged import (
    Ragged,
    category_columns,
    category_names,
    extract_numbers,
    flatten,
    is_labelled,
    to_objects,
)
from elman.data.text import Unit, UnitChoice
from elman.errors import DataError
from elman.estimators.columns import by_frequency, name_columns, numbered
from elman.estimators.encoder import Encoder
from elman.estimators.figures import Moments, Scaling
from elman.estimators.inputs import as_mixed, as_numbers, as_tokens, cut
from elman.estimators.labels import Labels, as_labels, known_labels
from elman.estimators.static import StaticEncoder
from elman.estimators.targets import ClassTarget, MultilabelTarget, NumericTarget, Target


class EncoderFigures:
    """What an encoder needs to know of a training split.

    Args:
        kind: kind of the sequences.
        tokens: what text is split into.
        scale: whether numbers are standardised.
        names: names of the columns, for messages.
    """

    def __init__(
        self,
        kind: InputKind,
        tokens: Unit | Literal["auto"],
        scale: bool,
        names: Sequence[str] = (),
    ) -> None:
        self.kind, self.scale, self.names = kind, scale, names
        self._unit: Unit | None = None
        if kind == "text" and tokens != "auto":
            self._unit = tokens
        self._choice = UnitChoice()
        self._coded: set[int] = set()  # columns of categories
        self._categories: dict[int, Counter[str]] = {}
        self._columns = 0
        self._moments: Moments | None = None
        self._vocabulary: set[str] = set()
        self._static: _StaticFigures | None = None

    @property
    def looks_first(self) -> bool:
        """Whether all sequences go through `look` before the first `add`."""
        return self.kind == "mixed" or (self.kind == "text" and self._unit is None)

    def look(self, X: Any) -> None:
        """See which columns of a part are categories, or what its texts could be split into."""
        if isinstance(X, Ragged):
            self._coded.update(category_columns(X.values))
        else:
            self._choice.add(X)

    def add(self, X: Any, static: Static | None) -> None:
        """Add the sequences of a part with their static features."""
        if self.kind in ("numbers", "mixed"):
            self._add_columns(as_numbers(X) if self.kind == "numbers" else as_mixed(X))
        else:
            if self.looks_first:
                self._unit = self._choice.unit
            steps = as_tokens(X) if self._unit is None else cut(X, self._unit)
            self._vocabulary.update(steps.values.tolist())
        if static is not None:
            if self._static is None:
                self._static = _StaticFigures(static)
            self._static.add(static)

    def _add_columns(self, steps: Ragged) -> None:
        coded = tuple(sorted(self._coded))
        self._columns = steps.values.shape[1]
        for column in coded:
            counts = self._categories.setdefault(column, Counter())
            counts.update(category_names(steps.values[:, column]))
        numbers = extract_numbers(steps, coded) if self.kind == "mixed" else steps
        if self._moments is None:
            self._moments = Moments(numbers.values.shape[1])
        self._moments.add(numbers.values)

    def encoder(self) -> Encoder:
        """Return the encoder. Raises DataError for a column that cannot be standardised."""
        static = None if self._static is None else self._static.encoder(self.scale)
        if self._moments is None:
            vocabulary = numbered(sorted(self._vocabulary))
            return Encoder(self.kind, unit=self._unit, vocabulary=vocabulary, static=static)
        labels = name_columns(self._columns, self.names)
        labels = [label for c, label in enumerate(labels) if c not in self._coded]
        mean, scale, fill = self._moments.scaling(self.scale, labels)
        return Encoder(
            self.kind,
            mean=mean,
            scale=scale,
            fill=fill,
            categories={c: by_frequency(own) for c, own in self._categories.items()},
            names=self.names,
            static=static,
        )


class _StaticFigures:
    """What an encoder needs to know of static features; made for the first of them."""

    def __init__(self, static: Static) -> None:
        self._numbers = static.number_names
        self._moments = Moments(len(self._numbers))
        self._counts: dict[str, Counter[str]] = {name: Counter() for name in static.category_names}
        self._sequences = 0

    def add(self, static: Static) -> None:
        self._sequences += len(static)
        self._moments.add(static.numbers)
        for counts, column in zip(self._counts.values(), static.categories.T, strict=True):
            counts.update(column.tolist())

    def encoder(self, scale: bool) -> StaticEncoder:
        def scaling(labels: list[str]) -> Scaling:
            return self._moments.scaling(scale, labels)

        return StaticEncoder.of(self._numbers, scaling, self._counts, self._sequences)


class TargetFigures:
    """What a target needs to know of a training split.

    Args:
        targets: target types of the estimator; the first that recognises the labels is used.
    """

    def __init__(self, targets: tuple[type[Target], ...]) -> None:
        self._targets = targets
        self._kind: type[Target] | None = None
        self._labels: set[Any] = set()
        self._numbers: NumericTarget | None = None
        self._moments: Moments | None = None

    def add(self, labels: Labels) -> None:
        """Add the labels, or values, of a part."""
        if self._kind is None:
            self._kind = next(kind for kind in self._targets if kind.recognises(labels))
        if self._kind is ClassTarget:
            self._labels.update(np.unique(known_labels(labels)).tolist())
        elif self._kind is MultilabelTarget:
            self._labels.update(*flatten(labels))
        else:
            self._add_numbers(labels)

    def _add_numbers(self, labels: Labels) -> None:
        if self._numbers is None or self._moments is None:
            self._numbers = NumericTarget.from_labels(labels)
            self._moments = Moments(self._numbers.num_outputs)
        values = self._numbers.to_array(labels)
        self._moments.add(values[is_labelled(values)])

    def target(self) -> Target:
        """Return the target. Raises DataError for fewer than two classes, or mixed types."""
        if self._numbers is not None and self._moments is not None:
            return self._numbers.with_scaling(self._moments)
        labels = sorted(self._labels, key=lambda label: (type(label).__name__, label))
        if self._kind is MultilabelTarget:
            return MultilabelTarget.from_labels(to_objects([frozenset(labels)]))
        if not labels:
            raise DataError("y is empty", remedy="Expected at least two classes to tell apart.")
        return ClassTarget.from_labels(as_labels(labels, "y"))
