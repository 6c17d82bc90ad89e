"""Labels and predictions of an explained sequence in words, one row for each kind of output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.evaluate.text import one_line
from elman.explain import Trace


def _likeliest_class(traced: Trace) -> Any:
    """Return the likeliest class; for predictions at every step, the class of each step, (T,)."""
    if not traced.per_step:
        return traced.classes[int(traced.prediction.argmax())]
    classes = np.empty(len(traced.classes), dtype=object)
    classes[:] = traced.classes
    tags: NDArray[Any] = classes[traced.distribution.argmax(1)]
    return tags


def _describe_class(traced: Trace, label: Any) -> str:
    if traced.per_step:  # a step without a label is a dash, as in `elman data`
        label = " ".join("-" if one is None else str(one) for one in label)
    return one_line(label, 80)


def _describe_likeliest_class(traced: Trace) -> str:
    label = _likeliest_class(traced)
    if traced.per_step:
        return _describe_class(traced, label)
    return f"{one_line(label, 60)}, with probability {traced.prediction.max():.3f}"


def _likely_labels(traced: Trace) -> frozenset[Any]:
    likely = np.flatnonzero(traced.prediction > 0.5).tolist()
    return frozenset(traced.classes[k] for k in likely)


def _describe_labels(traced: Trace, labels: Any) -> str:
    return one_line("|".join(sorted(map(str, labels))) or "none", 80)


def _describe_values(traced: Trace, values: Any) -> str:
    numbers = np.atleast_1d(np.asarray(values, dtype=np.float64)).ravel()
    return one_line(", ".join(f"{number:.4g}" for number in numbers), 80)


@dataclass(frozen=True)
class OutputWords:
    """Describes labels and predictions of one kind of output, on one line.

    Args:
        likeliest: returns the predicted label in the format of a true label; None for numbers, as
            the loss of a predicted number against itself is 0.
        describe: describes a label of a sequence.
        describe_prediction: describes the prediction for a sequence.
    """

    likeliest: Callable[[Trace], Any] | None
    describe: Callable[[Trace, Any], str]
    describe_prediction: Callable[[Trace], str]


# By the network's kind of output, `Trace.task`.
OUTPUTS: dict[str, OutputWords] = {
    "classification": OutputWords(_likeliest_class, _describe_class, _describe_likeliest_class),
    "multilabel": OutputWords(
        _likely_labels,
        _describe_labels,
        lambda traced: _describe_labels(traced, _likely_labels(traced)),
    ),
    "regression": OutputWords(
        None,
        _describe_values,
        lambda traced: _describe_values(
            traced, traced.distribution if traced.per_step else traced.prediction
        ),
    ),
}
