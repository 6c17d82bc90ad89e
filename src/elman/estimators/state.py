"""What an estimator keeps of a training: its attributes, their saving and pickling."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils import Tags, check_random_state
from torch import Tensor

from elman.data.dataset import Layout
from elman.estimators import card, storage
from elman.estimators.containers import Columns
from elman.estimators.encoder import Encoder
from elman.estimators.parameters import Parameters, Settings, check_parameters
from elman.estimators.storage import Fitted
from elman.estimators.targets import Target
from elman.evaluate import Baselines, Report
from elman.models import SequenceModel
from elman.train import History

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Attributes by the fields of Fitted: scikit-learn's sign of what was learnt is the last underscore.
_NAMES = {f.name: f"{f.name}_" for f in dataclasses.fields(Fitted)} | {"memory": "_memory"}


class FittedState(Parameters, BaseEstimator):  # type: ignore[misc]
    """Parameters, and the attributes that a training leaves behind.

    Attributes:
        encoder_, target_: how sequences and labels are read.
        columns_, layout_: of the X that was trained with, and of its files.
        model_, history_: the network and how it was trained.
        chosen_: what was chosen from the data, in words.
        baselines_: fitted on the training split.
    """

    saved_as: ClassVar[str]
    readouts: ClassVar[tuple[str, ...]]
    targets: ClassVar[tuple[type[Target], ...]]
    readout: str

    encoder_: Encoder
    target_: Target
    columns_: Columns
    layout_: Layout | None
    model_: SequenceModel
    history_: History
    chosen_: str
    baselines_: Baselines
    _memory: dict[str, Tensor]

    def check_parameters(self, readout: str) -> Settings:
        """Check every parameter, and say all that is wrong in one SettingsError.

        Args:
            readout: what the network's output reads.
        """
        seed: Any = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(2**31 - 1)
        parameters = {f.name: getattr(self, f.name) for f in dataclasses.fields(Parameters)}
        return check_parameters(parameters, readout, self.readouts, int(seed))

    def get_fitted(self) -> Fitted:
        """Return all that a training left behind."""
        self._check_fitted()
        return Fitted(**{field: getattr(self, name) for field, name in _NAMES.items()})

    def set_fitted(self, fitted: Fitted) -> None:
        """Become an estimator that was fitted so."""
        for field, name in _NAMES.items():
            setattr(self, name, getattr(fitted, field))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def _check_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet: call fit first")

    def plot_history(self) -> Figure:
        """Draw loss and accuracy, or error, over the epochs."""
        from elman import plots

        self._check_fitted()
        records = [record.to_dict() for record in self.history_.epochs]
        return plots.history(records, kept_epoch=self.history_.kept_epoch)

    def describe_model(self) -> str:
        """Say in one line what the network is."""
        self._check_fitted()
        return card.describe_model(self.model_, self.encoder_)

    def save(
        self,
        folder: str | Path,
        *,
        data: str = "",
        report: Report | None = None,
    ) -> None:
        """Write model.safetensors, config.json and README.md into `folder`; `elman.load` reads it.

        Args:
            folder: made if missing; a model that is there already is replaced.
            data: what the model was trained on, for the card.
            report: metrics for the card.
        Raises: ModelFileError if the folder holds something else.
        """
        fitted, parameters = self.get_fitted(), self.get_params()
        text = card.make_card(fitted, type(self).__name__, parameters, data, report)
        storage.save(Path(folder), self.saved_as, parameters, fitted, text)

    def save_card(
        self,
        folder: str | Path,
        *,
        data: str = "",
        report: Report | None = None,
    ) -> None:
        """Write the README.md of a model anew that `save` wrote; arguments as there."""
        name = type(self).__name__
        text = card.make_card(self.get_fitted(), name, self.get_params(), data, report)
        storage.save_card(Path(folder), text)

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
        if self.__sklearn_is_fitted__():
            state = {k: v for k, v in state.items() if k not in _NAMES.values()}
            state["_files"] = storage.to_bytes(self.saved_as, self.get_params(), self.get_fitted())
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({k: v for k, v in state.items() if k != "_files"})
        if "_files" in state:
            self.set_fitted(storage.from_bytes(state["_files"]))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        return tags
