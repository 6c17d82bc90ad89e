"""The baselines for each type of target: what is constant, what is linear, and how both are fitted.

Dimensions: m rows (sequences or steps), F features, K classes, labels or values.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.errors import ShapeError
from elman.evaluate.counts import Floats, Ints, check_codes
from elman.tasks import OutputName

MAJORITY = "majority class"
LOGISTIC = "logistic regression"
TAG_OF_TOKEN = "most frequent tag of the token"
FREQUENT = "most frequent labels"
MEAN = "mean of training"
RIDGE = "ridge regression"
MEAN_OF_TOKEN = "mean of the token"


@dataclass(frozen=True)
class Rule:
    """The baselines for one type of target: a row of `RULES`.

    Args:
        constant: name of the baseline with a constant prediction.
        constant_words: description of that prediction.
        check_target: converts targets for the fit, given K; raises on a wrong shape or type.
        sum_by: sums the targets of the rows with each index, given the indices, the targets, the
            number of indices and K; classes are summed one-hot. Shape (indices, K).
        smoothing: how many targets like the mean of all are added to those of each token.
        linear: name of the linear model.
        linear_words: its description, written as the beginning of a sentence.
        fit_linear: computes weights (K, F), bias (K,) and iterations from features, targets, K and
            the largest number of iterations.
        answer: converts the linear model's outputs, (m, K), to probabilities or values.
        decide: converts probabilities or values, (m, K), to class codes, (m,), or to labels or
            values, (m, K).
        of_token: name of the baseline that predicts each step from its token.
    """

    constant: str
    constant_words: str
    check_target: Callable[[NDArray[Any], int], NDArray[Any]]
    sum_by: Callable[[Ints, NDArray[Any], int, int], Floats]
    smoothing: float
    linear: str
    linear_words: str
    fit_linear: Callable[[Any, NDArray[Any], int, int], tuple[Floats, Floats, int]]
    answer: Callable[[Floats], Floats]
    decide: Callable[[Floats], NDArray[Any]]
    of_token: str


def _check_rows(target: NDArray[Any], num_outputs: int) -> NDArray[Any]:
    if target.shape != (shape := (len(target), num_outputs)):
        raise ShapeError(f"target has shape {target.shape}; expected {shape}")
    return target.astype(np.float64)


def _count_by(index: Ints, codes: NDArray[Any], size: int, num_classes: int) -> Floats:
    counts = np.bincount(index * num_classes + codes, minlength=size * num_classes)
    return counts.reshape(size, num_classes).astype(np.float64)


def _sum_by(index: Ints, values: NDArray[Any], size: int, num_outputs: int) -> Floats:
    columns = [np.bincount(index, column, size) for column in values.T]
    return np.stack(columns, 1)


def _ridge(features: Any, values: Floats, num_outputs: int, limit: int) -> tuple[Any, Any, int]:
    """Weights (K, F), bias (K,), and 0 iterations: the solution has a closed form."""
    from sklearn.linear_model import Ridge

    model = Ridge(solver="auto" if isinstance(features, np.ndarray) else "sparse_cg")
    model.fit(features, values)
    weights = model.coef_.reshape(num_outputs, -1)
    return weights, np.broadcast_to(model.intercept_, num_outputs).copy(), 0


def _logistic(
    features: Any, codes: Ints, num_classes: int, limit: int
) -> tuple[Floats, Floats, int]:
    """Weights (K, F), bias (K,), -inf for classes not in `codes`, and the iterations used."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    present = np.unique(codes)
    weights = np.zeros((num_classes, features.shape[1]))
    bias = np.full(num_classes, -np.inf)
    bias[present] = 0.0
    if len(present) == 1:
        return weights, bias, 0
    # Newton's method is faster for many thousand sparse columns, L-BFGS for a few dense ones.
    solver = "lbfgs" if isinstance(features, np.ndarray) else "newton-cg"
    model = LogisticRegression(solver=solver, max_iter=limit)
    # One thread: an iteration is so short that BLAS threads wait for each other longer than they
    # compute, several times longer where another process runs, and its bits depend on their number.
    with warnings.catch_warnings(), threadpool_limits(1, "blas"):
        # Reaching the limit is expected and reported by `description`, not by a warning.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features, codes)
    if len(present) == 2:
        weights[present[1]], bias[present[1]] = model.coef_[0], model.intercept_[0]
    else:
        weights[present], bias[present] = model.coef_, model.intercept_
    return weights, bias, int(np.max(model.n_iter_))


def _logistic_of_each(
    features: Any, labels: Floats, num_labels: int, limit: int
) -> tuple[Floats, Floats, int]:
    """One logistic regression per label: weights (K, F), bias (K,), and the most iterations."""
    each = [_logistic(features, column.astype(np.int64), 2, limit) for column in labels.T]
    # With two classes, the decision depends only on the difference of their outputs.
    weights = np.stack([w[1] - w[0] for w, *_ in each])
    # A label that is always present, or always absent, has one class, so its bias is infinite.
    bias = np.array([np.clip(b[1] - b[0], -1e9, 1e9) for _, b, _ in each])
    return weights, bias, max(iterations for *_, iterations in each)


def _softmax(outputs: Floats) -> Floats:
    # A class that does not occur in training is never predicted: its bias is -inf.
    powers = np.exp(outputs - outputs.max(1, keepdims=True))
    shares: Floats = powers / powers.sum(1, keepdims=True)
    return shares


def _sigmoid(outputs: Floats) -> Floats:
    from scipy.special import expit

    shares: Floats = expit(outputs)
    return shares


# Model files store the position of a row in this table, so the order must not change.
RULES: dict[OutputName, Rule] = {
    "classification": Rule(
        constant=MAJORITY,
        constant_words="most frequent class",
        check_target=lambda codes, k: check_codes("target", codes, len(codes), k),
        sum_by=_count_by,
        smoothing=1.0,
        linear=LOGISTIC,
        linear_words="Logistic regression (L2, C = 1)",
        fit_linear=_logistic,
        answer=_softmax,
        decide=lambda answers: answers.argmax(1),
        of_token=TAG_OF_TOKEN,
    ),
    "multilabel": Rule(
        constant=FREQUENT,
        constant_words="labels that more than half have",
        check_target=_check_rows,
        sum_by=_sum_by,
        smoothing=1.0,
        linear=LOGISTIC,
        linear_words="Logistic regression (L2, C = 1), one a label,",
        fit_linear=_logistic_of_each,
        answer=_sigmoid,
        decide=lambda answers: (answers > 0.5).astype(np.int64),
        of_token="most frequent labels of the token",
    ),
    "regression": Rule(
        constant=MEAN,
        constant_words="mean value",
        check_target=_check_rows,
        sum_by=_sum_by,
        smoothing=0.0,
        linear=RIDGE,
        linear_words="Ridge regression (alpha = 1)",
        fit_linear=_ridge,
        answer=lambda outputs: outputs,
        decide=lambda answers: answers,
        of_token=MEAN_OF_TOKEN,
    ),
}


def channel_means(values: Floats) -> Floats:
    """Mean of the finite values of each channel of (N, C); 0 if there are none. Shape (C,)."""
    finite = np.isfinite(values)
    total: Floats = np.where(finite, values, 0).sum(0)
    means: Floats = total / np.maximum(finite.sum(0), 1)
    return means


def centre_and_scale(features: Any) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each column; sparse columns are only scaled."""
    if not isinstance(features, np.ndarray):
        # Dividing counts by their standard deviation would amplify rare tokens, so only the length,
        # in the last column, is scaled, to at most 1. Subtracting means would fill in the zeros.
        scale = np.ones(features.shape[1])
        scale[-1] = features[:, -1].max()
        return np.zeros(features.shape[1]), scale
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.where(np.isfinite(features), features, np.nan)
        centre = channel_means(finite)
        scale = np.sqrt(channel_means((finite - centre) ** 2))
    return centre, np.where(np.isfinite(scale) & (scale > 1e-12 * np.abs(centre)), scale, 1.0)


def standardize(features: Any, centre: Floats, scale: Floats) -> Any:
    """Standardise each column; a sparse matrix is only scaled and stays sparse."""
    if not isinstance(features, np.ndarray):
        return features.multiply(1 / scale).tocsr()
    standard = (features - centre) / scale
    # A new sequence can be far outside the training range; the linear model must stay finite.
    return np.clip(np.where(np.isfinite(standard), standard, 0), -1e6, 1e6)
