"""What scikit-learn wants of an estimator beside fit and predict: columns, tags, pickling."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import Tags

from elman.estimators.containers import Columns


class Contract(BaseEstimator):  # type: ignore[misc]
    """Base of all estimators.

    Attributes:
        columns_: of the X that was trained with.
    """

    columns_: Columns

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Train by one pass over these sequences, going on from where the training stands.

        The first call decides what later ones have to keep to: classes, channels, vocabulary,
        scaling, and the baselines of `evaluate`. The optimizer goes on from where it stood, also
        after pickling; after `load` it begins anew. The learning rate stays `learning_rate`:
        `epochs`, `schedule`, `warmup`, `validation`, `patience` and `keep` are `fit`'s alone.

        Args:
            X, y, sample_weight: as for `fit`.
            classes: all labels there will be, for the first call; None for those of its y.
        """
        readout: str = getattr(self, "readout", "every")
        self._fit(X, y, readout, sample_weight, None, None, once=True, classes=classes)
        return self

    def _fit(self, *args: Any, **options: Any) -> None:
        raise NotImplementedError

    @property
    def n_features_in_(self) -> int:
        """Columns of the table, or of the frames, that were trained with; missing for others."""
        if (count := self._columns().count) is None:
            raise AttributeError("n_features_in_: the training's sequences had no columns")
        return count

    @property
    def feature_names_in_(self) -> NDArray[Any]:
        """Names of those columns, (n_features_in_,), where all are words."""
        if (names := self._columns().names) is None:
            raise AttributeError("feature_names_in_: the training's sequences had no names")
        return np.array(names, dtype=object)

    def _columns(self) -> Columns:
        return self.columns_ if "columns_" in self.__dict__ else Columns()

    def __getstate__(self) -> dict[str, Any]:
        """For pickling and copying: what `save` writes, as bytes, in place of live objects."""
        state: dict[str, Any] = super().__getstate__()
        if "columns_" in state:
            from elman.estimators.storage import to_bytes

            declared = {
                n for kind in type(self).__mro__ for n in vars(kind).get("__annotations__", ())
            }
            fitted = {name for name in declared if name.endswith("_")} | {"_memory"}
            state = {k: v for k, v in state.items() if k not in fitted}
            state["_files"] = to_bytes(self)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        from elman.estimators.storage import from_bytes

        super().__setstate__({k: v for k, v in state.items() if k != "_files"})
        if "_files" in state:
            found = vars(from_bytes(state["_files"]))
            self.__dict__.update(
                {k: v for k, v in found.items() if k.endswith("_") or k == "_memory"}
            )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        return tags
