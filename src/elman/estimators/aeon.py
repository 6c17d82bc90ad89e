"""Adapters to aeon: a classifier and a regressor for its pipelines and benchmarks, channels first.

They take the arguments of `SequenceClassifier` and `SequenceRegressor` and wrap them: the fitted
estimator is `estimator_`, which has `evaluate`, `check`, `save` and all other methods. This is the
only module of elman that needs the package aeon.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from elman.errors import DataWarning
from elman.estimators.conversions import from_channels_first
from elman.estimators.estimators import SequenceClassifier, SequenceRegressor
from elman.estimators.parameters import Parameters

try:
    from aeon.classification.base import BaseClassifier
    from aeon.regression.base import BaseRegressor
except ImportError as error:
    raise ImportError(
        f"elman.estimators.aeon needs aeon, which cannot be imported ({error}). "
        "Install it: pip install aeon"
    ) from error

_TAGS: dict[str, Any] = {
    "capability:multivariate": True,
    "capability:unequal_length": True,
    "capability:missing_values": True,
    "X_inner_type": ["np-list", "numpy3D"],
    "algorithm_type": "deeplearning",
}


def _test_parameters() -> dict[str, Any]:
    """Return parameters for aeon's checks: a small network without a validation split."""
    return {"hidden_size": 4, "epochs": 2, "validation": 0.0}


@dataclass(kw_only=True, eq=False, repr=False)
class AeonClassifier(Parameters, BaseClassifier):  # type: ignore[misc]
    """`SequenceClassifier` for aeon: X is (n, C, T), (n, T), or a list of (C, T_i) arrays.

    Args: the same as `SequenceClassifier`.

    Attributes:
        estimator_: the fitted `SequenceClassifier`.

    Examples:
        >>> import numpy as np
        >>> from elman.estimators.aeon import AeonClassifier
        >>> X = [np.sin(np.arange(n) * step)[None] for n in (9, 12) for step in (0.5, 1.0) * 10]
        >>> y = np.array(["slow", "fast"] * 20)
        >>> AeonClassifier(epochs=40, random_state=0).fit(X, y).predict(X[:2]).tolist()
        ['slow', 'fast']
    """

    _tags: ClassVar[dict[str, Any]] = _TAGS

    readout: str = SequenceClassifier.readout

    def __post_init__(self) -> None:
        BaseClassifier.__init__(self)

    def _fit(self, X: Any, y: Any) -> AeonClassifier:
        estimator = SequenceClassifier(**self.get_params(deep=False))
        with warnings.catch_warnings():  # aeon's own format says which axis is which
            warnings.filterwarnings("ignore", ".*more channels than steps", DataWarning)
            self.estimator_ = estimator.fit(from_channels_first(X), y)
        return self

    def _predict(self, X: Any) -> NDArray[Any]:
        labels: NDArray[Any] = self.estimator_.predict(from_channels_first(X))
        return labels

    def _predict_proba(self, X: Any) -> NDArray[np.float64]:
        found: NDArray[np.float64] = self.estimator_.predict_proba(from_channels_first(X))
        return found

    @classmethod
    def _get_test_params(cls, parameter_set: str = "default") -> dict[str, Any]:
        return _test_parameters()


@dataclass(kw_only=True, eq=False, repr=False)
class AeonRegressor(Parameters, BaseRegressor):  # type: ignore[misc]
    """`SequenceRegressor` for aeon: X is (n, C, T), (n, T), or a list of (C, T_i) arrays.

    Args: the same as `SequenceRegressor`; the target is one number per sequence.

    Attributes:
        estimator_: the fitted `SequenceRegressor`.
    """

    _tags: ClassVar[dict[str, Any]] = _TAGS

    readout: str = SequenceRegressor.readout

    def __post_init__(self) -> None:
        BaseRegressor.__init__(self)

    def _fit(self, X: Any, y: Any) -> AeonRegressor:
        estimator = SequenceRegressor(**self.get_params(deep=False))
        with warnings.catch_warnings():  # aeon's own format says which axis is which
            warnings.filterwarnings("ignore", ".*more channels than steps", DataWarning)
            self.estimator_ = estimator.fit(from_channels_first(X), y)
        return self

    def _predict(self, X: Any) -> NDArray[np.float64]:
        found: NDArray[np.float64] = self.estimator_.predict(from_channels_first(X))
        return found

    @classmethod
    def _get_test_params(cls, parameter_set: str = "default") -> dict[str, Any]:
        return _test_parameters()
