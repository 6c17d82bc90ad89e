"""Baselines: predictions without a recurrence, which a network has to beat."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.ragged import NOT_LABELLED, Ragged, is_target
from elman.errors import DataError, ModelFileError, ShapeError
from elman.evaluate.counts import Floats, Ints
from elman.evaluate.features import (
    FEATURES,
    FeatureMap,
    Form,
    adjacent_pairs,
    frequent,
    join_static,
    look_up,
)
from elman.evaluate.rules import RULES, Rule, centre_and_scale, standardize
from elman.tasks import OutputName

TOKEN, TOKEN_PAIR = "token", "token_pair"  # prefixes of the arrays of their tables

MOST_ITERATIONS = 300  # of a logistic regression; `description` reports a fit that reaches it
LEAST_ITERATIONS = 100  # rather fewer rows than fewer iterations
MOST_ROWS = 20_000  # more rows hardly change the fit, but can take longer than training the network
# Multiplications allowed for all linear models together, about a second.
BUDGET = 2e9
BUDGET_SHARE = 0.05  # of the multiplications of the network's training, if these are more

Arrays = dict[str, NDArray[Any]]
_NUMBERS = ("task", "num_classes", "vocabulary_size", "per_step", "static")
_WHOLE = {*_NUMBERS, "size", "pairs", "longest", "shifts", "iterations", "limit", "rows", "failed"}


class Baselines:
    """Predictions without a recurrence: a constant one, and simple models of fixed-size features.

    The constant one predicts the majority class, the labels that more than half of the sequences
    have, or the mean. The others are a logistic regression for classes (one per label for
    multilabel targets) or a ridge regression for values, one on each row of
    `elman.evaluate.features.FEATURES` that applies to the data: on summaries of the sequence, on
    its values by position if the sequences have about the same length, on counts of tokens and of
    their pairs, on a window of steps; and on static features, which also stand beside each of the
    others. If each step is a token with its own target, they predict what the token, and the pair
    of it and the token before, mostly have. All are fitted on the training sequences alone, at the
    first call of `predict` or `to_arrays`.
    """

    def __init__(
        self,
        arrays: Arrays | None,
        training: tuple[Ragged, NDArray[Any], NDArray[np.bool_], Form] | None = None,
        budget: float = BUDGET,
    ) -> None:
        self._arrays = arrays or {}
        self._training = training
        self._budget = budget

    @classmethod
    def from_training(
        cls,
        inputs: Ragged,
        target: NDArray[Any],
        num_classes: int,
        *,
        vocabulary_size: int | None,
        per_step: bool | None = None,
        task: OutputName = "classification",
        both_sides: bool = False,
        budget: float = BUDGET,
    ) -> Baselines:
        """Create baselines that are fitted to the training data on first use.

        Args:
            inputs: n sequences with at least one step: (N, C) numbers, or (N,) token ids.
            target: class codes, (n,) for one per sequence or (N,) for one per step; or labels (0 or
                1) or values, (n, K) or (N, K). Steps with a negative code or NaN are left out.
            num_classes: K, the number of classes, labels or values; codes run from 0 to K - 1.
            vocabulary_size: token ids run from 0 to `vocabulary_size` - 1; None for numbers.
            per_step: whether there is a target at every step; None infers it from the size of
                `target`, and assumes one target per sequence if all sequences have one step.
            task: classification, multilabel or regression.
            both_sides: whether a prediction at a step may use the steps after it.
            budget: multiplications allowed for fitting the linear models, all together; the rows
                and iterations of large data sets are reduced to keep it.
        """
        check_inputs(inputs, vocabulary_size)
        targets = np.asarray(target)
        n, steps = len(inputs), len(inputs.values)
        tagger = len(targets) != n if per_step is None else per_step
        if len(targets) != (steps if tagger else n):
            raise ShapeError(
                f"target has shape {targets.shape}; expected {n:,} entries, one a sequence, or "
                f"{steps:,}, one a step"
            )
        rule = RULES[task]
        known = is_target(targets)
        checked = rule.check_target(targets[known], num_classes)
        whole = np.zeros(len(checked), dtype=np.int64)
        arrays: Arrays = {
            "task": _int(list(RULES).index(task)),
            "num_classes": _int(num_classes),
            "vocabulary_size": _int(-1 if vocabulary_size is None else vocabulary_size),
            "per_step": _int(tagger),
            "static": _int(0 if inputs.static is None else inputs.static.shape[1]),
            "constant": rule.sum_by(whole, checked, 1, num_classes)[0] / len(checked),
        }
        targets = np.full((len(known), *checked.shape[1:]), NOT_LABELLED, checked.dtype)
        targets[known] = checked
        form = Form.of(inputs, vocabulary_size, tagger, both_sides)
        return cls(arrays, (inputs, targets, known, form), budget)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Baselines:
        """Rebuild baselines from the arrays of `to_arrays`.

        Raises: ModelFileError naming an array that is missing or has the wrong size.
        """
        result = cls({name: np.asarray(a) for name, a in arrays.items()})
        try:
            for name in _NUMBERS:
                _check_shape(name, result._arrays[name], (1,))
            for name, array in result._arrays.items():
                dtype = np.int64 if name.rpartition(".")[2] in _WHOLE else np.float64
                if array.dtype != dtype or np.isnan(array).any():
                    raise ModelFileError(f"baselines: {name} holds {array.dtype} or NaN")
            if not 0 <= result._number("task") < len(RULES):
                raise ModelFileError(f"baselines: task is {result._number('task')}, expected a row")
            for name, shape in result._shapes():
                _check_shape(name, result._arrays[name], shape)
        except KeyError as missing:
            raise ModelFileError(f"baselines: array {missing} is missing") from None
        return result

    def check_form(self, **numbers: int) -> None:
        """Raise ModelFileError unless the arrays of these names hold these numbers."""
        for name, number in numbers.items():
            if self._number(name) != number:
                raise ModelFileError(f"baselines: {name} is {self._number(name)}, not {number}")

    def to_arrays(self) -> Arrays:
        """Return the float64 and int64 arrays that `predict` needs; fits the baselines first."""
        self._fit()
        return dict(self._arrays)

    def predict(self, inputs: Ragged) -> dict[str, Floats]:
        """Return each baseline's predictions by its name, the constant one first.

        Returns: probabilities of the classes or labels, or values: (n, K) or, per step, (N, K).
        """
        self._fit()
        rule, size = self._rule, self._number("vocabulary_size")
        check_inputs(inputs, None if size < 0 else size)
        rows = len(inputs.values) if self._number("per_step") else len(inputs)
        constant = self._arrays["constant"]
        answers: dict[str, Floats] = {rule.constant: np.tile(constant, (rows, 1))}
        if TOKEN in self._kinds:
            answers[rule.of_token] = self._arrays[f"{TOKEN}.table"][inputs.values]
        if TOKEN_PAIR in self._kinds:
            pairs, second = adjacent_pairs(inputs, size)
            found = look_up(pairs, self._arrays[f"{TOKEN_PAIR}.pairs"])
            of_pair = answers[rule.of_token].copy()
            of_pair[second[found >= 0]] = self._arrays[f"{TOKEN_PAIR}.table"][found[found >= 0]]
            answers[_of_pair(rule)] = of_pair
        for kind in self._linear:
            own = self._of(kind)
            features = self._transform(FEATURES[kind], inputs, own, None)
            features = standardize(features, own["centre"], own["scale"])
            outputs = features @ own["weights"].T + own["bias"]
            answers[f"{rule.linear} {FEATURES[kind].phrase}"] = rule.answer(outputs)
        return answers

    def _transform(
        self, feature: FeatureMap, inputs: Ragged, own: Arrays, rows: Ints | None
    ) -> Any:
        """Return features with the static features beside them, for all steps or for `rows`."""
        features = feature.transform(inputs, own, rows)
        per_step = bool(self._number("per_step"))
        return join_static(inputs, features, self._number("static"), per_step, rows)

    def decide(self, inputs: Ragged) -> dict[str, NDArray[Any]]:
        """Return each baseline's decisions by its name, the constant one first.

        Returns: class codes, (n,) or, per step, (N,); or labels (0 or 1) or values, with an axis K.
        """
        return {name: self._rule.decide(p) for name, p in self.predict(inputs).items()}

    @property
    def description(self) -> dict[str, str]:
        """One sentence per baseline about what it predicts from; fits the baselines first."""
        self._fit()
        rule = self._rule
        unit = "step" if self._number("per_step") else "sequence"
        words = {
            rule.constant: f"Predicts for every {unit} the {rule.constant_words} of the training "
            "data."
        }
        seen = "has in the training data; where it was not seen there,"
        if TOKEN in self._kinds:
            words[rule.of_token] = f"Predicts for each step what its token mostly {seen} the "
            words[rule.of_token] += f"{rule.constant_words} of all."
        if TOKEN_PAIR in self._kinds:
            words[_of_pair(rule)] = (
                "Predicts for each step what the pair of its token and the token before mostly "
                f"{seen} as the {rule.of_token}."
            )
        for kind, feature in FEATURES.items():
            name = f"{rule.linear} {feature.phrase}"
            if f"{kind}.failed" in self._arrays:
                words[name] = "It could not be fitted to these data and is left out."
            elif kind in self._linear:
                words[name] = self._describe_linear(feature, self._of(kind), unit)
        return words

    def _describe_linear(self, feature: FeatureMap, own: Arrays, unit: str) -> str:
        text = f"{self._rule.linear_words} on {feature.words}"
        if self._number("static") and feature is not FEATURES["static"]:
            text += ", and the static features"
        if rows := int(own["rows"][0]):
            text += f", fitted on {rows:,} {unit}s at even distances"
        if (iterations := int(own["iterations"][0])) >= int(own["limit"][0]) > 0:
            text += f", stopped after {iterations} iterations"
        return f"{text}."

    @property
    def _rule(self) -> Rule:
        return list(RULES.values())[self._number("task")]

    @property
    def _kinds(self) -> set[str]:
        """The prefixes of the arrays: rows of `FEATURES`, and tables of tokens."""
        return {name.partition(".")[0] for name in self._arrays if "." in name}

    @property
    def _linear(self) -> list[str]:
        """The rows of `FEATURES` on which a linear model was fitted."""
        return [k for k in FEATURES if k in self._kinds and f"{k}.failed" not in self._arrays]

    def _of(self, kind: str) -> Arrays:
        """The arrays of one kind, by their names without the prefix."""
        prefix = f"{kind}."
        return {n.removeprefix(prefix): a for n, a in self._arrays.items() if n.startswith(prefix)}

    def _number(self, name: str) -> int:
        return int(self._arrays[name][0])

    def _shapes(self) -> Iterator[tuple[str, tuple[int | None, ...]]]:
        """Expected shapes of the arrays; None for an axis of any length."""
        k, size = self._number("num_classes"), self._number("vocabulary_size")
        yield "constant", (k,)
        if size >= 0 and self._number("per_step"):
            yield f"{TOKEN}.table", (size, k)
            yield f"{TOKEN_PAIR}.pairs", (None,)
            yield f"{TOKEN_PAIR}.table", (len(self._arrays[f"{TOKEN_PAIR}.pairs"]), k)
        elif not self._kinds & FEATURES.keys():
            raise KeyError("weights")
        for kind in self._linear:
            for name, shape in FEATURES[kind].shapes.items():
                yield f"{kind}.{name}", shape
            width = FEATURES[kind].width(self._of(kind)) + self._number("static")
            yield f"{kind}.weights", (k, width)
            yield f"{kind}.bias", (k,)
            for name in ("centre", "scale"):
                yield f"{kind}.{name}", (width,)
            for name in ("iterations", "limit", "rows"):
                yield f"{kind}.{name}", (1,)

    def _fit(self) -> None:
        if self._training is None:
            return
        inputs, targets, known, form = self._training
        if form.vocabulary_size and form.per_step:
            self._fit_tables(inputs, targets, known)
        kinds = [kind for kind, feature in FEATURES.items() if feature.applies(form)]
        for kind in kinds:
            try:
                fitted = self._fit_linear(FEATURES[kind], inputs, targets, known, form, len(kinds))
            except (ValueError, np.linalg.LinAlgError):
                # Numbers near the limit of float64, say. The network was trained: a baseline that
                # cannot be is left out, and `description` says so.
                fitted = {"failed": _int(1)}
            self._arrays |= {f"{kind}.{name}": array for name, array in fitted.items()}
        self._training = None  # a fitted estimator must not keep its training data alive

    def _fit_tables(self, inputs: Ragged, targets: NDArray[Any], known: NDArray[np.bool_]) -> None:
        """Mean targets of each token and of each frequent pair of neighbours, smoothed."""
        rule, k, size = self._rule, self._number("num_classes"), self._number("vocabulary_size")

        def table(index: Ints, values: NDArray[Any], count: int, prior: Floats) -> Floats:
            numbers = np.bincount(index, minlength=count)[:, None]
            weight = np.where(numbers > 0, rule.smoothing, 1.0)
            sums = rule.sum_by(index, values, count, k) + weight * prior
            means: Floats = sums / (numbers + weight)
            return means

        of_token = table(inputs.values[known], targets[known], size, self._arrays["constant"])
        pairs, second = adjacent_pairs(inputs, size)
        pairs, second = pairs[known[second]], second[known[second]]
        usual = frequent(pairs)
        place = look_up(pairs, usual)
        # A pair that was seen once says little, so it is smoothed towards its second token.
        prior = of_token[usual % size] if len(usual) else np.zeros((0, k))
        kept = place >= 0
        of_pair = table(place[kept], targets[second[kept]], len(usual), prior)
        self._arrays |= {
            f"{TOKEN}.table": of_token,
            f"{TOKEN_PAIR}.pairs": usual,
            f"{TOKEN_PAIR}.table": of_pair,
        }

    def _fit_linear(
        self,
        feature: FeatureMap,
        inputs: Ragged,
        targets: NDArray[Any],
        known: NDArray[np.bool_],
        form: Form,
        share: int,
    ) -> Arrays:
        """Fit a linear model on one kind of features, within its share of the budget."""
        own = dict(feature.fit(inputs, form))
        k, width = self._number("num_classes"), feature.width(own) + form.static
        # Sparse rows have as many entries as the sequence has steps, and twice that with pairs.
        # Newton's method multiplies about ten times as often in an iteration as L-BFGS.
        entries = width if form.channels else 20 * min(width, 2 * form.longest + 1)
        each = 2.0 * entries * k  # multiplications of one row in one iteration
        most = int(self._budget / share / (each * LEAST_ITERATIONS))
        rows = _evenly(known, max(100, min(MOST_ROWS, most)))
        if rows is not None:
            targets = targets[rows]
            if not form.per_step:
                inputs = inputs.take(rows)
        features = self._transform(feature, inputs, own, rows if form.per_step else None)
        centre, scale = centre_and_scale(features)
        afford = int(self._budget / share / (each * len(targets)))
        limit = min(MOST_ITERATIONS, max(10, afford))
        weights, bias, iterations = self._rule.fit_linear(
            standardize(features, centre, scale), targets, k, limit
        )
        numbers = {
            "iterations": iterations,
            "limit": limit,
            "rows": 0 if rows is None or len(rows) == known.sum() else len(rows),
        }
        return (
            own
            | {"centre": centre, "scale": scale, "weights": weights, "bias": bias}
            | {name: _int(value) for name, value in numbers.items()}
        )


def check_inputs(inputs: Ragged, vocabulary_size: int | None) -> Ragged:
    """Check that sequences can be summarised.

    Raises: ShapeError for the wrong number of axes; DataError for no steps or an unknown token id.
    """
    axes = 2 if vocabulary_size is None else 1
    if inputs.values.ndim != axes:
        shape = "(N, C) numbers" if axes == 2 else "(N,) token ids"
        raise ShapeError(f"inputs hold values of shape {inputs.values.shape}; expected {shape}")
    if len(inputs) == 0 or inputs.lengths.min() < 1:
        raise DataError("a sequence has no steps, or there are no sequences")
    if vocabulary_size is not None:
        ids: Ints = inputs.values
        if ids.min() < 0 or ids.max() >= vocabulary_size:
            raise DataError(
                f"token ids run from {ids.min()} to {ids.max()}; "
                f"expected 0 to {vocabulary_size - 1}"
            )
    return inputs


def _evenly(known: NDArray[np.bool_], most: int) -> Ints | None:
    """At most `most` of the labelled rows; None for all rows.

    Evenly spaced, not random: every run takes the same rows, from the whole file.
    """
    places = np.flatnonzero(known)
    if len(places) > most:
        return places[np.linspace(0, len(places) - 1, most).astype(np.int64)]
    return None if len(places) == len(known) else places


def _of_pair(rule: Rule) -> str:
    return f"{rule.of_token} pair"


def _int(value: Any) -> Ints:
    return np.array([value], dtype=np.int64)


def _check_shape(name: str, array: NDArray[Any], shape: tuple[int | None, ...]) -> None:
    got = array.shape
    if len(got) != len(shape) or any(b not in (None, a) for a, b in zip(got, shape, strict=True)):
        raise ModelFileError(f"baselines: {name} has shape {got}; expected {shape}")
