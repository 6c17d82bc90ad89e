"""Baselines: predictions without a recurrence, which a network has to beat."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.ragged import Ragged
from elman.errors import ModelFileError, ShapeError
from elman.evaluate.counts import Floats, Ints, check_codes
from elman.evaluate.features import (
    STATISTICS,
    centre_and_scale,
    channel_means,
    check_inputs,
    count_tokens,
    mean_values,
    most_frequent_tags,
    standardize,
    summarise_numbers,
)
from elman.tasks import OutputName

MAJORITY = "majority class"
LOGISTIC = "logistic regression"
TAG_OF_TOKEN = "most frequent tag of the token"
FREQUENT = "most frequent labels"
MEAN = "mean of training"
RIDGE = "ridge regression"
MEAN_OF_TOKEN = "mean of the token"

MOST_ITERATIONS = 300  # of a logistic regression; `description` reports a fit that reaches it
MOST_ROWS = 20_000  # more rows hardly change the fit, but can take longer than training the network

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Rule:
    """The two baselines for one type of target: a row of `RULES`.

    Args:
        constant: name of the baseline with a constant prediction.
        constant_words: description of that prediction.
        constant_array: name of the array that holds the prediction.
        fit_constant: computes that array from targets and K.
        check_target: converts targets for the fit, given K; raises on a wrong shape or type.
        linear: name of the baseline that is a linear model.
        linear_words: its description, written as the beginning of a sentence.
        fit_linear: computes weights (K, F), bias (K,) and iterations from features, targets and K.
        decide: converts the linear model's outputs, (m, K), to predictions.
        of_token: name of the baseline that replaces the linear model where each step is a token,
            and name of the array that holds its table; None if the target has no such baseline.
        fit_tokens: computes that table from tokens, targets, vocabulary size and the constant.
    """

    constant: str
    constant_words: str
    constant_array: str
    fit_constant: Callable[[NDArray[Any], int], NDArray[Any]]
    check_target: Callable[[NDArray[Any], int], NDArray[Any]]
    linear: str
    linear_words: str
    fit_linear: Callable[[Any, NDArray[Any], int], tuple[Floats, Floats, int]]
    decide: Callable[[Floats], NDArray[Any]]
    of_token: tuple[str, str] | None = None
    of_token_words: str = ""
    fit_tokens: Callable[[Ints, NDArray[Any], int, NDArray[Any]], NDArray[Any]] | None = None


class Baselines:
    """Two baselines: one that always predicts the same, and one that ignores the order of steps.

    The first predicts the majority class, the labels that more than half of the sequences have, or
    the mean. The second is a logistic regression for classes (one per label for multilabel
    targets) or a ridge regression for values. If each step is a token with its own target, the
    second baseline predicts the token's most frequent tag, or its mean value. Both are fitted on
    the training sequences alone, at the first call of `predict` or `to_arrays`.
    """

    def __init__(
        self, arrays: Arrays | None, training: tuple[Ragged, NDArray[Any]] | None = None
    ) -> None:
        self._arrays = arrays or {}
        self._training = training

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
    ) -> Baselines:
        """Create baselines that are fitted to the training data on first use.

        Args:
            inputs: n sequences with at least one step: (N, C) numbers, or (N,) token ids.
            target: class codes, (n,) for one per sequence or (N,) for one per step; or labels (0 or
                1) or values, (n, K) or (N, K).
            num_classes: K, the number of classes, labels or values; codes run from 0 to K - 1.
            vocabulary_size: token ids run from 0 to `vocabulary_size` - 1; None for numbers.
            per_step: whether there is a target at every step; None infers it from the size of
                `target`, and assumes one target per sequence if all sequences have one step.
            task: classification, multilabel or regression.
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
        arrays: Arrays = {
            "task": _int(list(RULES).index(task)),
            "num_classes": _int(num_classes),
            "vocabulary_size": _int(-1 if vocabulary_size is None else vocabulary_size),
            "per_step": _int(tagger),
        }
        targets = rule.check_target(targets, num_classes)
        arrays[rule.constant_array] = rule.fit_constant(targets, num_classes)
        return cls(arrays, (inputs, targets))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Baselines:
        """Rebuild baselines from the arrays of `to_arrays`.

        Raises: ModelFileError naming an array that is missing or has the wrong size.
        """
        result = cls({name: np.asarray(a) for name, a in arrays.items()})
        try:
            for name, shape in result._shapes().items():
                if (got := result._arrays[name].shape) != shape:
                    raise ModelFileError(f"baselines: {name} has shape {got}; expected {shape}")
        except KeyError as missing:
            raise ModelFileError(f"baselines: array {missing} is missing") from None
        return result

    def to_arrays(self) -> Arrays:
        """Return the float64 and int64 arrays that `predict` needs; fits the baselines first."""
        self._fit()
        return dict(self._arrays)

    def predict(self, inputs: Ragged) -> dict[str, NDArray[Any]]:
        """Return each baseline's predictions by its name.

        Class codes are (n,) or, per step, (N,); labels (0 or 1) and values are (n, K) or (N, K).
        """
        self._fit()
        rule, size = self._rule, self._number("vocabulary_size")
        check_inputs(inputs, None if size < 0 else size)
        if self._of_token is not None:
            second = self._arrays[self._of_token[1]][inputs.values]
        else:
            self._check_channels(inputs)
            features = self._standardize(self._features(inputs, None))
            second = rule.decide(features @ self._arrays["weights"].T + self._arrays["bias"])
        constant = self._arrays[rule.constant_array]
        if second.ndim == 1:  # codes
            constant = constant[0]
        return {rule.constant: np.broadcast_to(constant, second.shape), self._second: second}

    @property
    def description(self) -> dict[str, str]:
        """One sentence per baseline about what it predicts from; fits the baselines first."""
        self._fit()
        rule = self._rule
        unit = "step" if self._number("per_step") else "sequence"
        first = f"Predicts for every {unit} the {rule.constant_words} of the training data."
        if self._of_token is not None:
            return {rule.constant: first, self._second: rule.of_token_words}
        uses = (
            "the step's own values, without its neighbours"
            if self._number("per_step")
            else f"the {', '.join(STATISTICS)} of each channel and the length"
            if self._number("vocabulary_size") < 0
            else "how often each token occurs and the length, but not the order"
        )
        second = f"{rule.linear_words} on {uses}"
        if self._number("rows"):
            second += f", fitted on {self._number('rows'):,} {unit}s at even distances"
        if self._number("iterations") >= MOST_ITERATIONS:
            second += f", stopped after {MOST_ITERATIONS} iterations"
        return {rule.constant: first, self._second: second + "."}

    @property
    def _rule(self) -> Rule:
        return list(RULES.values())[self._number("task")]

    @property
    def _of_token(self) -> tuple[str, str] | None:
        """Names of the token baseline and of its array; None if the second baseline is linear."""
        each_is_token = self._number("vocabulary_size") >= 0 and self._number("per_step")
        return self._rule.of_token if each_is_token else None

    @property
    def _second(self) -> str:
        return self._rule.linear if self._of_token is None else self._of_token[0]

    def _number(self, name: str) -> int:
        return int(self._arrays[name][0])

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the arrays that a fit adds, and of the constant."""
        rule, k, size = self._rule, self._number("num_classes"), self._number("vocabulary_size")
        constant = (1,) if rule.constant_array == "majority" else (k,)
        if self._of_token is not None:
            of_each = () if rule.constant_array == "majority" else (k,)
            return {self._of_token[1]: (size, *of_each), rule.constant_array: constant}
        if size >= 0:
            width = size + 1
        else:
            channels = len(self._arrays["fill"])
            width = channels if self._number("per_step") else len(STATISTICS) * channels + 1
        return {
            "weights": (k, width),
            "bias": (k,),
            "centre": (width,),
            "scale": (width,),
            "iterations": (1,),
            "rows": (1,),
            rule.constant_array: constant,
        }

    def _check_channels(self, inputs: Ragged) -> None:
        if self._number("vocabulary_size") < 0:
            got, expected = inputs.values.shape[1], len(self._arrays["fill"])
            if got != expected:
                raise ShapeError(f"inputs have {got} channels; expected {expected} as in training")

    def _fit(self) -> None:
        if self._training is None:
            return
        inputs, targets = self._training
        rule = self._rule
        if self._of_token is not None and rule.fit_tokens is not None:
            size, constant = self._number("vocabulary_size"), self._arrays[rule.constant_array]
            table = rule.fit_tokens(inputs.values, targets, size, constant)
            self._arrays[self._of_token[1]] = table
        else:
            self._fit_linear(inputs, targets)
        self._training = None  # a fitted estimator must not keep its training data alive

    def _fit_linear(self, inputs: Ragged, targets: NDArray[Any]) -> None:
        if self._number("vocabulary_size") < 0:
            self._arrays["fill"] = channel_means(inputs.values.astype(np.float64))
        rows = None
        if len(targets) > MOST_ROWS:
            # Evenly spaced, not random: every run takes the same rows, from the whole file.
            rows = np.linspace(0, len(targets) - 1, MOST_ROWS).astype(np.int64)
            targets = targets[rows]
        features = self._features(inputs, rows)
        self._arrays["rows"] = _int(0 if rows is None else MOST_ROWS)
        self._arrays["centre"], self._arrays["scale"] = centre_and_scale(features)
        num_classes = self._number("num_classes")
        fitted = self._rule.fit_linear(self._standardize(features), targets, num_classes)
        weights, bias, iterations = fitted
        self._arrays |= {"weights": weights, "bias": bias, "iterations": _int(iterations)}

    def _features(self, inputs: Ragged, rows: Ints | None) -> Any:
        """Features of the given rows, or of all, (n or N, F); a sparse matrix for tokens."""
        if self._number("vocabulary_size") >= 0:
            inputs = inputs if rows is None else inputs.take(rows)
            return count_tokens(inputs, self._number("vocabulary_size"))
        fill = self._arrays["fill"]
        if self._number("per_step"):
            values = inputs.values if rows is None else inputs.values[rows]
            return np.where(np.isfinite(values), values, fill).astype(np.float64)
        return summarise_numbers(inputs if rows is None else inputs.take(rows), fill)

    def _standardize(self, features: Any) -> Any:
        return standardize(features, self._arrays["centre"], self._arrays["scale"])


def _int(value: Any) -> Ints:
    return np.array([value], dtype=np.int64)


def _check_rows(target: NDArray[Any], num_outputs: int) -> NDArray[Any]:
    if target.shape != (shape := (len(target), num_outputs)):
        raise ShapeError(f"target has shape {target.shape}; expected {shape}")
    return target.astype(np.float64)


def _ridge(features: Any, values: Floats, num_outputs: int) -> tuple[Floats, Floats, int]:
    """Weights (K, F), bias (K,), and 0 iterations: the solution has a closed form."""
    from sklearn.linear_model import Ridge

    model = Ridge(solver="auto" if isinstance(features, np.ndarray) else "sparse_cg")
    model.fit(features, values)
    return np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_), 0


def _logistic(features: Any, codes: Ints, num_classes: int) -> tuple[Floats, Floats, int]:
    """Weights (K, F), bias (K,), -inf for classes not in `codes`, and the iterations used."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    present = np.unique(codes)
    weights = np.zeros((num_classes, features.shape[1]))
    bias = np.full(num_classes, -np.inf)
    bias[present] = 0.0
    if len(present) == 1:
        return weights, bias, 0
    # Newton's method is faster for many thousand sparse columns, L-BFGS for a few dense ones.
    solver = "lbfgs" if isinstance(features, np.ndarray) else "newton-cg"
    model = LogisticRegression(solver=solver, max_iter=MOST_ITERATIONS)
    with warnings.catch_warnings():
        # Reaching the limit is expected and reported by `description`, not by a warning.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features, codes)
    if len(present) == 2:
        weights[present[1]], bias[present[1]] = model.coef_[0], model.intercept_[0]
    else:
        weights[present], bias[present] = model.coef_, model.intercept_
    return weights, bias, int(np.max(model.n_iter_))


def _logistic_of_each(features: Any, labels: Floats, num_labels: int) -> tuple[Floats, Floats, int]:
    """One logistic regression per label: weights (K, F), bias (K,), and the most iterations."""
    each = [_logistic(features, column.astype(np.int64), 2) for column in labels.T]
    # With two classes, the decision depends only on the difference of their outputs.
    weights = np.stack([w[1] - w[0] for w, *_ in each])
    # A label that is always present, or always absent, has one class, so its bias is infinite.
    bias = np.array([np.clip(b[1] - b[0], -1e9, 1e9) for _, b, _ in each])
    return weights, bias, max(iterations for *_, iterations in each)


# Model files store the position of a row in this table, so the order must not change.
RULES: dict[OutputName, Rule] = {
    "classification": Rule(
        constant=MAJORITY,
        constant_words="most frequent class",
        constant_array="majority",
        fit_constant=lambda codes, k: _int(np.bincount(codes, minlength=k).argmax()),
        check_target=lambda codes, k: check_codes("target", codes, len(codes), k),
        linear=LOGISTIC,
        linear_words="Logistic regression (L2, C = 1)",
        fit_linear=_logistic,
        # A class that does not occur in training is never predicted: its bias is -inf.
        decide=lambda outputs: outputs.argmax(1),
        of_token=(TAG_OF_TOKEN, "tag_of_token"),
        of_token_words="Predicts for each step the most frequent tag of its token in the training "
        "data, and for tokens not seen there the most frequent tag of all.",
        fit_tokens=most_frequent_tags,
    ),
    "multilabel": Rule(
        constant=FREQUENT,
        constant_words="labels that more than half have",
        constant_array="constant",
        fit_constant=lambda labels, k: (labels.mean(0) > 0.5).astype(np.float64),
        check_target=_check_rows,
        linear=LOGISTIC,
        linear_words="Logistic regression (L2, C = 1), one a label,",
        fit_linear=_logistic_of_each,
        decide=lambda outputs: (outputs > 0).astype(np.int64),
    ),
    "regression": Rule(
        constant=MEAN,
        constant_words="mean value",
        constant_array="constant",
        fit_constant=lambda values, k: values.mean(0),
        check_target=_check_rows,
        linear=RIDGE,
        linear_words="Ridge regression (alpha = 1)",
        fit_linear=_ridge,
        decide=lambda outputs: outputs,
        of_token=(MEAN_OF_TOKEN, "mean_of_token"),
        of_token_words="Predicts for each step the mean value of its token in the training data, "
        "and for tokens not seen there the mean of all.",
        fit_tokens=mean_values,
    ),
}
