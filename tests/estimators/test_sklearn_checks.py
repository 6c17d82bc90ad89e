"""scikit-learn's own checks of an estimator, all of them, for every estimator."""

import numpy as np
import pytest
from sklearn.base import ClassifierMixin  # noqa: TID253
from sklearn.utils.estimator_checks import (  # noqa: TID253
    check_dataframe_column_names_consistency,
    parametrize_with_checks,
)
from sklearn.utils.validation import column_or_1d  # noqa: TID253

from elman import SequenceClassifier, SequenceTagger

# Enough for the accuracy of .83 on three clouds of points that the checks ask for.
SMALL = {"hidden_size": 4, "epochs": 10, "learning_rate": 0.03, "random_state": 0}

# Checks that no estimator passes, with the reason; one that passes after all is a failed test.
EXPECTED = {
    "check_estimators_nan_inf": "a message says nan where the check looks for NaN",
}


class EveryStep(ClassifierMixin, SequenceTagger):  # type: ignore[misc]
    """A tagger that the checks can talk to: they know one label a sequence only.

    It trains on that label at every step, and answers with the label of the last one.
    """

    def fit(self, X, y, *args, **kwargs):
        if y is not None:
            shape = X.shape if hasattr(X, "shape") else np.shape(np.asarray(X))
            steps = shape[1] if len(shape) > 1 else 1
            y = np.repeat(column_or_1d(np.asarray(y), warn=True)[:, None], steps, 1)
        return super().fit(X, y, *args, **kwargs)

    def predict(self, X):
        return np.array([labels[-1] for labels in super().predict(X)])

    def predict_proba(self, X):
        return np.array([shares[-1] for shares in super().predict_proba(X)])


ESTIMATORS = [SequenceClassifier(**SMALL), EveryStep(**SMALL)]


@parametrize_with_checks(
    ESTIMATORS, expected_failed_checks=lambda estimator: EXPECTED, xfail_strict=True
)
def test_sklearn_check(estimator, check):
    """One is skipped by scikit-learn unless SCIPY_ARRAY_API=1: other array libraries than NumPy."""
    check(estimator)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_column_names(estimator):
    """Kept back by `parametrize_with_checks` for scikit-learn's own."""
    check_dataframe_column_names_consistency(type(estimator).__name__, estimator)
