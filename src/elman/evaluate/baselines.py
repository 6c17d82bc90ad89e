"""Answers that need no recurrence: what a network has to beat to have earned its keep."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.ragged import Ragged
from elman.errors import DataError, ModelFileError, ShapeError
from elman.evaluate import summaries
from elman.evaluate.measures import Floats, Ints

MAJORITY = "majority class"
LOGISTIC = "logistic regression"
TAG_OF_TOKEN = "most frequent tag of the token"

MOST_ITERATIONS = 300
MOST_ROWS = 20_000

Arrays = dict[str, NDArray[Any]]


class Baselines:
    """Two answers that need no recurrence: the majority class, and one from simple summaries.

    For a label a sequence, and for a label a step of numbers, the second is a logistic regression;
    for a label a step of tokens it is the most frequent tag of the token. It is fitted at the first
    `predict` or `to_arrays`, on the training sequences alone.
    """

    def __init__(self, arrays: Arrays | None, training: tuple[Ragged, Ints] | None = None) -> None:
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
    ) -> Baselines:
        """Keep the training data for a fit when it is needed.

        Args:
            inputs: n sequences of one step or more: (N, C) numbers, or (N,) token ids.
            target: codes, (n,) with a label a sequence or (N,) with a label a step.
            num_classes: K; codes run from 0 to K - 1.
            vocabulary_size: token ids run from 0 to below it; None for numbers.
            per_step: whether there is a label at every step; None means by the size of `target`,
                and a label a sequence where all sequences have one step.
        """
        summaries.check(inputs, vocabulary_size)
        codes = np.asarray(target)
        n, steps = len(inputs), len(inputs.values)
        tagger = len(codes) != n if per_step is None else per_step
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
        majority = np.bincount(codes, minlength=num_classes).argmax()
        arrays: Arrays = {
            "num_classes": _int(num_classes),
            "vocabulary_size": _int(-1 if vocabulary_size is None else vocabulary_size),
            "per_step": _int(tagger),
            "majority": _int(majority),
        }
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
            wanted = (
                {"tag_of_token": (result._number("vocabulary_size"),)}
                if result._kind == TAG_OF_TOKEN
                else {
                    "weights": wide,
                    "bias": wide[:1],
                    "centre": wide[1:],
                    "scale": wide[1:],
                    "iterations": (1,),
                    "rows": (1,),
                }
            )
            for name, shape in {**wanted, "majority": (1,)}.items():
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

    def predict(self, inputs: Ragged) -> dict[str, Ints]:
        """Return each baseline's codes: (n,) for a label a sequence, (N,) for a label a step."""
        self._fit()
        size = self._number("vocabulary_size")
        summaries.check(inputs, None if size < 0 else size)
        if self._kind == TAG_OF_TOKEN:
            second = self._arrays["tag_of_token"][inputs.values]
        else:
            self._check_channels(inputs)
            # argmax over classes that were never seen in training cannot win: their bias is -inf.
            rows = self._features(inputs)
            second = (rows @ self._arrays["weights"].T + self._arrays["bias"]).argmax(1)
        return {MAJORITY: np.full(len(second), self._number("majority")), self._kind: second}

    @property
    def description(self) -> dict[str, str]:
        """One sentence a baseline, saying what it uses; fits if needed."""
        self._fit()
        where = "step" if self._number("per_step") else "sequence"
        first = f"Answers every {where} with the most frequent class of the training data."
        if self._kind == TAG_OF_TOKEN:
            second = (
                "Answers each step with the most frequent tag of its token in the training data, "
                "and tokens not seen there with the most frequent tag of all."
            )
            return {MAJORITY: first, TAG_OF_TOKEN: second}
        uses = (
            "the step's own values, without its neighbours"
            if self._number("per_step")
            else f"the {', '.join(summaries.STATISTICS)} of each channel and the length"
            if self._number("vocabulary_size") < 0
            else "how often each token occurs and the length, but not the order"
        )
        second = f"Logistic regression (L2, C = 1) on {uses}"
        if self._number("rows"):
            second += f", fitted on {self._number('rows'):,} {where}s at even distances"
        if self._number("iterations") >= MOST_ITERATIONS:
            second += f", stopped after {MOST_ITERATIONS} iterations"
        return {MAJORITY: first, LOGISTIC: second + "."}

    @property
    def _kind(self) -> str:
        tokens = self._number("vocabulary_size") >= 0
        return TAG_OF_TOKEN if tokens and self._number("per_step") else LOGISTIC

    def _number(self, name: str) -> int:
        return int(self._arrays[name][0])

    def _width(self) -> int:
        """Columns of the features."""
        size = self._number("vocabulary_size")
        if size >= 0:
            return size + 1
        channels = len(self._arrays["fill"])
        return channels if self._number("per_step") else len(summaries.STATISTICS) * channels + 1

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
        else:
            self._fit_logistic(inputs, codes)
        self._training = None

    def _fit_logistic(self, inputs: Ragged, codes: Ints) -> None:
        if self._number("vocabulary_size") < 0:
            self._arrays["fill"] = summaries.channel_means(inputs.values.astype(np.float64))
        keep = None
        if len(codes) > MOST_ROWS:
            keep = np.linspace(0, len(codes) - 1, MOST_ROWS).astype(np.int64)
        features = self._raw_features(inputs, keep)
        codes = codes if keep is None else codes[keep]
        self._arrays["rows"] = _int(0 if keep is None else MOST_ROWS)
        self._arrays["centre"], self._arrays["scale"] = _centre_and_scale(features)
        weights, bias, iterations = _logistic(
            self._standardise(features), codes, self._number("num_classes")
        )
        self._arrays |= {"weights": weights, "bias": bias, "iterations": _int(iterations)}

    def _features(self, inputs: Ragged) -> Any:
        return self._standardise(self._raw_features(inputs, None))

    def _raw_features(self, inputs: Ragged, keep: Ints | None) -> Any:
        """Columns to regress on, (n or N, F), of the rows in `keep`; sparse for tokens."""
        if self._number("vocabulary_size") >= 0:
            inputs = inputs if keep is None else inputs.take(keep)
            return summaries.of_tokens(inputs, self._number("vocabulary_size"))
        fill = self._arrays["fill"]
        if self._number("per_step"):
            values = inputs.values if keep is None else inputs.values[keep]
            return np.where(np.isfinite(values), values, fill).astype(np.float64)
        return summaries.of_numbers(inputs if keep is None else inputs.take(keep), fill)

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
        centre = summaries.channel_means(finite)
        scale = np.sqrt(summaries.channel_means((finite - centre) ** 2))
    return centre, np.where(np.isfinite(scale) & (scale > 1e-12 * np.abs(centre)), scale, 1.0)


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
