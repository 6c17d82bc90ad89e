"""Answers that need no recurrence: what a network has to beat to have earned its keep."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.ragged import Ragged
from elman.errors import DataError, ModelFileError, ShapeError
from elman.evaluate.counts import Floats, Ints
from elman.evaluate.features import (
    STATISTICS,
    channel_means,
    check_inputs,
    count_tokens,
    summarise_numbers,
)

MAJORITY = "majority class"
LOGISTIC = "logistic regression"
TAG_OF_TOKEN = "most frequent tag of the token"
FREQUENT = "most frequent labels"
MEAN = "mean of training"
RIDGE = "ridge regression"
MEAN_OF_TOKEN = "mean of the token"

MOST_ITERATIONS = 300
MOST_ROWS = 20_000
_TASKS = ("classification", "multilabel", "regression")
_CONSTANT = {"multilabel": FREQUENT, "regression": MEAN}

Arrays = dict[str, NDArray[Any]]


class Baselines:
    """Two answers that need no recurrence: one that is always the same, and one from features.

    The first is the majority class, the labels that more than half have, or the mean. The second,
    for a label a sequence, and for a label a step of numbers, is a logistic regression (one for
    each of several labels), or a ridge regression of values; for a label a step of tokens it is the
    token's most frequent tag, or mean value. It is fitted at the first `predict` or `to_arrays`, on
    the training sequences alone.
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
        task: str = "classification",
    ) -> Baselines:
        """Keep the training data for a fit when it is needed.

        Args:
            inputs: n sequences of one step or more: (N, C) numbers, or (N,) token ids.
            target: codes, (n,) with a label a sequence or (N,) with a label a step; or labels, 0 or
                1, or values, (n, K) or (N, K).
            num_classes: K; codes run from 0 to K - 1. As many labels or values.
            vocabulary_size: token ids run from 0 to below it; None for numbers.
            per_step: whether there is a label at every step; None means by the size of `target`,
                and a label a sequence where all sequences have one step.
            task: classification, multilabel or regression.
        """
        check_inputs(inputs, vocabulary_size)
        codes = np.asarray(target)
        n, steps = len(inputs), len(inputs.values)
        tagger = len(codes) != n if per_step is None else per_step
        arrays: Arrays = {
            "task": _int(_TASKS.index(task)),
            "num_classes": _int(num_classes),
            "vocabulary_size": _int(-1 if vocabulary_size is None else vocabulary_size),
            "per_step": _int(tagger),
        }
        if task != "classification":
            if codes.shape != (shape := (steps if tagger else n, num_classes)):
                raise ShapeError(f"target has shape {codes.shape}; expected {shape}")
            numbers = codes.astype(np.float64)
            mean = numbers.mean(0)
            arrays["constant"] = mean if task == "regression" else (mean > 0.5).astype(np.float64)
            return cls(arrays, (inputs, numbers))
        if codes.shape != ((steps if tagger else n),):
            raise ShapeError(
                f"target has shape {codes.shape}; expected ({n},), one a sequence, "
                f"or ({steps},), one a step"
            )
        if codes.dtype.kind not in "iu" or codes.min() < 0 or codes.max() >= num_classes:
            raise DataError(
                f"target holds {codes.dtype} from {codes.min()} to {codes.max()}; "
                f"expected whole numbers from 0 to {num_classes - 1}"
            )
        codes = codes.astype(np.int64)
        arrays["majority"] = _int(np.bincount(codes, minlength=num_classes).argmax())
        return cls(arrays, (inputs, codes))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Baselines:
        """Take up what `to_arrays` gave.

        Raises: ModelFileError naming an array that is missing or has the wrong size.
        """
        found = {name: np.asarray(a) for name, a in arrays.items()}
        result = cls(found)
        try:
            wide = (result._number("num_classes"), result._width())
            size = result._number("vocabulary_size")
            same = "majority" if result._task == "classification" else "constant"
            wanted = (
                {"tag_of_token": (size,)}
                if result._kind == TAG_OF_TOKEN
                else {"mean_of_token": (size, wide[0])}
                if result._kind == MEAN_OF_TOKEN
                else {
                    "weights": wide,
                    "bias": wide[:1],
                    "centre": wide[1:],
                    "scale": wide[1:],
                    "iterations": (1,),
                    "rows": (1,),
                }
            )
            for name, shape in {**wanted, same: (1,) if same == "majority" else wide[:1]}.items():
                if found[name].shape != shape:
                    raise ModelFileError(
                        f"baselines: {name} has shape {found[name].shape}; expected {shape}"
                    )
        except KeyError as missing:
            raise ModelFileError(f"baselines: array {missing} is missing") from None
        return result

    def to_arrays(self) -> Arrays:
        """Return all that `predict` needs, as float64 and int64 arrays; fits if needed."""
        self._fit()
        return dict(self._arrays)

    def predict(self, inputs: Ragged) -> dict[str, NDArray[Any]]:
        """Return each baseline's codes: (n,) for a label a sequence, (N,) for a label a step.

        Of several labels 0 or 1, and of values numbers, (n, K) or (N, K).
        """
        self._fit()
        size = self._number("vocabulary_size")
        check_inputs(inputs, None if size < 0 else size)
        if self._kind in (TAG_OF_TOKEN, MEAN_OF_TOKEN):
            table = "tag_of_token" if self._kind == TAG_OF_TOKEN else "mean_of_token"
            second = self._arrays[table][inputs.values]
        else:
            self._check_channels(inputs)
            second = self._features(inputs) @ self._arrays["weights"].T + self._arrays["bias"]
        if self._task != "classification":
            if self._task == "multilabel":
                second = (second > 0).astype(np.int64)
            constant = np.broadcast_to(self._arrays["constant"], second.shape)
            return {_CONSTANT[self._task]: constant, self._kind: second}
        if self._kind != TAG_OF_TOKEN:
            # argmax over classes that were never seen in training cannot win: their bias is -inf.
            second = second.argmax(1)
        return {MAJORITY: np.full(len(second), self._number("majority")), self._kind: second}

    @property
    def description(self) -> dict[str, str]:
        """One sentence a baseline, saying what it uses; fits if needed."""
        self._fit()
        where = "step" if self._number("per_step") else "sequence"
        always = {"multilabel": "labels that more than half have", "regression": "mean value"}
        same = always.get(self._task, "most frequent class")
        first = f"Answers every {where} with the {same} of the training data."
        if self._kind == TAG_OF_TOKEN:
            second = (
                "Answers each step with the most frequent tag of its token in the training data, "
                "and tokens not seen there with the most frequent tag of all."
            )
            return {MAJORITY: first, TAG_OF_TOKEN: second}
        if self._kind == MEAN_OF_TOKEN:
            second = (
                "Answers each step with the mean value of its token in the training data, and "
                "tokens not seen there with the mean of all."
            )
            return {MEAN: first, MEAN_OF_TOKEN: second}
        uses = (
            "the step's own values, without its neighbours"
            if self._number("per_step")
            else f"the {', '.join(STATISTICS)} of each channel and the length"
            if self._number("vocabulary_size") < 0
            else "how often each token occurs and the length, but not the order"
        )
        how = (
            "Ridge regression (alpha = 1)"
            if self._kind == RIDGE
            else "Logistic regression (L2, C = 1)"
        )
        second = f"{how}{', one a label,' * (self._task == 'multilabel')} on {uses}"
        if self._number("rows"):
            second += f", fitted on {self._number('rows'):,} {where}s at even distances"
        if self._number("iterations") >= MOST_ITERATIONS:
            second += f", stopped after {MOST_ITERATIONS} iterations"
        return {_CONSTANT.get(self._task, MAJORITY): first, self._kind: second + "."}

    @property
    def _task(self) -> str:
        return _TASKS[self._number("task")]

    @property
    def _kind(self) -> str:
        of_token = self._number("vocabulary_size") >= 0 and self._number("per_step")
        if self._task == "regression":
            return MEAN_OF_TOKEN if of_token else RIDGE
        return TAG_OF_TOKEN if of_token and self._task == "classification" else LOGISTIC

    def _number(self, name: str) -> int:
        return int(self._arrays[name][0])

    def _width(self) -> int:
        """Columns of the features."""
        size = self._number("vocabulary_size")
        if size >= 0:
            return size + 1
        channels = len(self._arrays["fill"])
        return channels if self._number("per_step") else len(STATISTICS) * channels + 1

    def _check_channels(self, inputs: Ragged) -> None:
        if self._number("vocabulary_size") < 0:
            got, wanted = inputs.values.shape[1], len(self._arrays["fill"])
            if got != wanted:
                raise ShapeError(f"inputs have {got} channels; expected {wanted} as in training")

    def _fit(self) -> None:
        if self._training is None:
            return
        inputs, codes = self._training
        if self._kind == TAG_OF_TOKEN:
            table = np.full(self._number("vocabulary_size"), self._number("majority"))
            table[:] = _most_frequent_tag(inputs.values, codes, table)
            self._arrays["tag_of_token"] = table
        elif self._kind == MEAN_OF_TOKEN:
            size = self._number("vocabulary_size")
            sums = np.stack([np.bincount(inputs.values, c, size) for c in codes.T], 1)
            met = np.bincount(inputs.values, minlength=size)[:, None]
            mean = self._arrays["constant"]
            self._arrays["mean_of_token"] = np.where(met > 0, sums / np.maximum(met, 1), mean)
        else:
            self._fit_regression(inputs, codes)
        self._training = None

    def _fit_regression(self, inputs: Ragged, codes: NDArray[Any]) -> None:
        if self._number("vocabulary_size") < 0:
            self._arrays["fill"] = channel_means(inputs.values.astype(np.float64))
        keep = None
        if len(codes) > MOST_ROWS:
            keep = np.linspace(0, len(codes) - 1, MOST_ROWS).astype(np.int64)
        features = self._raw_features(inputs, keep)
        codes = codes if keep is None else codes[keep]
        self._arrays["rows"] = _int(0 if keep is None else MOST_ROWS)
        self._arrays["centre"], self._arrays["scale"] = _centre_and_scale(features)
        features = self._standardise(features)
        if self._task == "regression":
            weights, bias, iterations = _ridge(features, codes)
        elif self._task == "multilabel":
            each = [_logistic(features, column.astype(np.int64), 2) for column in codes.T]
            # What only ever was there, or never, has one class: its bias says so.
            weights = np.stack([w[1] - w[0] for w, *_ in each])
            bias = np.array([np.clip(b[1] - b[0], -1e9, 1e9) for _, b, _ in each])
            iterations = max(i for *_, i in each)
        else:
            weights, bias, iterations = _logistic(features, codes, self._number("num_classes"))
        self._arrays |= {"weights": weights, "bias": bias, "iterations": _int(iterations)}

    def _features(self, inputs: Ragged) -> Any:
        return self._standardise(self._raw_features(inputs, None))

    def _raw_features(self, inputs: Ragged, keep: Ints | None) -> Any:
        """Columns to regress on, (n or N, F), of the rows in `keep`; sparse for tokens."""
        if self._number("vocabulary_size") >= 0:
            inputs = inputs if keep is None else inputs.take(keep)
            return count_tokens(inputs, self._number("vocabulary_size"))
        fill = self._arrays["fill"]
        if self._number("per_step"):
            values = inputs.values if keep is None else inputs.values[keep]
            return np.where(np.isfinite(values), values, fill).astype(np.float64)
        return summarise_numbers(inputs if keep is None else inputs.take(keep), fill)

    def _standardise(self, features: Any) -> Any:
        centre, scale = self._arrays["centre"], self._arrays["scale"]
        if not isinstance(features, np.ndarray):  # a sparse matrix stays sparse: not centred
            return features.multiply(1 / scale).tocsr()
        standard = (features - centre) / scale
        return np.clip(np.where(np.isfinite(standard), standard, 0), -1e6, 1e6)


def _int(value: Any) -> Ints:
    return np.array([value], dtype=np.int64)


def _most_frequent_tag(tokens: Ints, tags: Ints, otherwise: Ints) -> Ints:
    """Tag met most often with each token, the lower of equals; `otherwise` where never met."""
    width = int(tags.max()) + 1
    pairs, counts = np.unique(tokens * width + tags, return_counts=True)
    token, tag = np.divmod(pairs, width)
    order = np.lexsort((tag, -counts, token))
    met, first = np.unique(token[order], return_index=True)
    table = otherwise.copy()
    table[met] = tag[order][first]
    return table


def _centre_and_scale(features: Any) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each column; of sparse columns, what to divide by alone."""
    if not isinstance(features, np.ndarray):
        # Counts keep their size, as rare tokens would be blown up; the length, in the last column,
        # is brought down to theirs. Nothing is taken away, so that noughts stay noughts.
        scale = np.ones(features.shape[1])
        scale[-1] = features[:, -1].max()
        return np.zeros(features.shape[1]), scale
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.where(np.isfinite(features), features, np.nan)
        centre = channel_means(finite)
        scale = np.sqrt(channel_means((finite - centre) ** 2))
    return centre, np.where(np.isfinite(scale) & (scale > 1e-12 * np.abs(centre)), scale, 1.0)


def _ridge(features: Any, values: Floats) -> tuple[Floats, Floats, int]:
    """Weights (K, F), bias (K,), and no iterations to speak of."""
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
    # For many thousand sparse columns Newton's steps are faster, for a few dense ones L-BFGS.
    solver = "lbfgs" if isinstance(features, np.ndarray) else "newton-cg"
    model = LogisticRegression(solver=solver, max_iter=MOST_ITERATIONS)
    with warnings.catch_warnings():
        # The number of iterations is bounded on purpose, and `description` says when it is met.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features, codes)
    if len(present) == 2:
        weights[present[1]], bias[present[1]] = model.coef_[0], model.intercept_[0]
    else:
        weights[present], bias[present] = model.coef_, model.intercept_
    return weights, bias, int(np.max(model.n_iter_))
