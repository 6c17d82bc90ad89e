"""scikit-learn's own checks of an estimator, all of them, for every estimator."""

import numpy as np
import pytest
from sklearn.base import ClassifierMixin, clone  # noqa: TID253
from sklearn.metrics import r2_score  # noqa: TID253
from sklearn.utils.estimator_checks import (  # noqa: TID253
    check_dataframe_column_names_consistency,
    check_sample_weight_equivalence_on_dense_data,
    parametrize_with_checks,
)
from sklearn.utils.validation import column_or_1d  # noqa: TID253

from elman import SequenceClassifier, SequenceRegressor, SequenceTagger

# Enough for what the checks ask for: accuracy .83 on three clouds of points, R2 .5 on a plane.
SMALL = {"hidden_size": 4, "epochs": 10, "learning_rate": 0.03, "random_state": 0}
LARGER = {**SMALL, "hidden_size": 16, "epochs": 30}

# Checks that cannot pass, and why; one that passes after all is a failed test.
ANY = {
    "check_sample_weight_equivalence_on_dense_data": "a batch of n sequences has n, however often "
    "each counts; channels and values are scaled by all sequences alike: see test_weights_repeat",
}
EVERY_STEP = {"check_sample_weights_shape": "weights (n, T), refused there, are one a step"}


def repeated(X, y):
    """One label a sequence, at each of its steps."""
    if y is None:
        return None
    shape = X.shape if hasattr(X, "shape") else np.shape(np.asarray(X))
    steps = shape[1] if len(shape) > 1 else 1
    return np.repeat(column_or_1d(np.asarray(y), warn=True)[:, None], steps, 1)


class EveryStep:
    """An estimator with an answer at every step that the checks can talk to.

    They know one label a sequence only: it trains on that label at every step, and answers with
    that of the last one.
    """

    def fit(self, X, y, sample_weight=None):
        return super().fit(X, repeated(X, y), sample_weight)

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        return super().partial_fit(X, repeated(X, y), classes, sample_weight)

    def predict(self, X):
        return np.array([labels[-1] for labels in super().predict(X)])


class Tagger(EveryStep, ClassifierMixin, SequenceTagger):  # type: ignore[misc]
    def predict_proba(self, X):
        return np.array([shares[-1] for shares in super().predict_proba(X)])


class Values(EveryStep, SequenceRegressor):
    def score(self, X, y, sample_weight=None):
        return r2_score(y, self.predict(X), sample_weight=sample_weight)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = False  # one value a step, as `repeated` gives
        return tags


ESTIMATORS = [
    SequenceClassifier(**SMALL),
    Tagger(**SMALL),
    SequenceRegressor(**LARGER),
    Values(**LARGER, readout="every"),
]


@parametrize_with_checks(
    ESTIMATORS,
    expected_failed_checks=lambda estimator: ANY | (EVERY_STEP if estimator.per_step else {}),
    xfail_strict=True,
)
def test_sklearn_check(estimator, check):
    """One is skipped by scikit-learn unless SCIPY_ARRAY_API=1: other array libraries than NumPy."""
    check(estimator)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_column_names(estimator):
    """Kept back by `parametrize_with_checks` for scikit-learn's own."""
    check_dataframe_column_names_consistency(type(estimator).__name__, estimator)


@pytest.mark.parametrize("estimator", ESTIMATORS[:2], ids=lambda e: type(e).__name__)
def test_weights_repeat(estimator):
    """In one batch, unscaled, a weight of 3 is the same as standing there three times."""
    whole = clone(estimator).set_params(batch_size="full", validation=0.0, scale=False, epochs=3)
    check_sample_weight_equivalence_on_dense_data(type(estimator).__name__, whole)
