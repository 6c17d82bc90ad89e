"""State of a fitted estimator, pickling and model folders. The files contain no code."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils import Tags, check_random_state
from torch import Tensor

from elman.data.dataset import Layout
from elman.data.readers.dialect import DELIMITERS
from elman.errors import ModelFileError
from elman.estimators.columns import Columns, TrainedColumns
from elman.estimators.encoder import Encoder
from elman.estimators.parameters import Parameters, Settings, check_parameters
from elman.estimators.static import size_of
from elman.estimators.targets import TARGETS, Target
from elman.estimators.weights import plain_class_weight
from elman.evaluate import Baselines
from elman.files import MANIFEST, is_internal
from elman.models import ModelConfig, SequenceModel, save_folder
from elman.models.storage import CARD, CONFIG, WEIGHTS, from_files, restore, strip, to_files
from elman.train import EpochRecord, History
from elman.train.kept import stack_epochs, unstack_epochs
from elman.untrusted import read_as, refuse, show
from elman.validation import validate_settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MODEL, _BASELINE, _OPTIMIZER, _EPOCHS = "model.", "baseline.", "optimizer.", "epochs."
# Attributes set by training, which `to_tensors` and `to_config` store.
_LEARNT = {"encoder_", "target_", "columns_", "layout_", "model_", "history_", "chosen_"}
_LEARNT |= {"baselines_", "_memory"}
_SIZES = ("num_outputs", "hidden_size", "input_size", "vocabulary_size", "static_size")


_Plain = str | int | float | bool | None


@dataclass(frozen=True)
class _SavedHistory:
    """Entry `history` of config.json; a record lacks the metrics of other tasks."""

    epochs: tuple[dict[str, int | float | None], ...]
    kept_epoch: int
    stopped: str
    gradients: str
    labelled: str
    monitored: str
    determinism: str = ""  # models of earlier versions do not say


@dataclass(frozen=True)
class SavedEstimator:
    """What config.json holds, beside `format`; `encoder` and `target` are checked by their own."""

    elman: str
    estimator: str
    parameters: dict[str, _Plain | dict[str, int | float]]
    model: dict[str, _Plain | tuple[int, ...]]
    encoder: dict[str, Any]
    target: dict[str, Any]
    columns: Columns
    chosen: str
    history: _SavedHistory
    layout: Layout | None


class FittedState(Parameters, BaseEstimator):  # type: ignore[misc]
    """Parameters, and the attributes set by training.

    Attributes:
        encoder_, target_: the encoders of sequences and labels.
        columns_, layout_: columns of the training data, and how its files were read, or None.
        model_, history_: the network and the record of its training.
        chosen_: a sentence listing the settings chosen from the data.
        baselines_: baselines fitted on the training split.
        _memory: optimizer state by name, for the next `partial_fit`; pickled, but not saved.
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

    @property
    def per_step(self) -> bool:
        """Whether there is a prediction at every step."""
        return self.readouts == ("every",)

    def check_parameters(self, readout: str, seed: int | None = None) -> Settings:
        """Check every parameter; one SettingsError lists all faults.

        Args:
            readout: the readout of the network.
            seed: replaces `random_state` if that is no number; None draws one.
        """
        state: Any = self.random_state
        if isinstance(state, int | np.integer):
            seed = int(state)
        elif seed is None:
            seed = int(check_random_state(state).randint(2**31 - 1))
        parameters = {f.name: getattr(self, f.name) for f in dataclasses.fields(Parameters)}
        return check_parameters(parameters, readout, self.readouts, seed)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def _check_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet: call fit first")

    def plot_history(self) -> Figure:
        """Plot the loss and the accuracy or error against the epoch."""
        from elman import plots

        self._check_fitted()
        records = [record.to_dict() for record in self.history_.epochs]
        return plots.history(records, kept_epoch=self.history_.kept_epoch)

    @property
    def n_features_in_(self) -> int:
        """Number of columns of the training tables or frames; undefined for other containers."""
        if (count := self._columns().count) is None:
            raise AttributeError("n_features_in_: the training's sequences had no columns")
        return count

    @property
    def feature_names_in_(self) -> NDArray[Any]:
        """Names of those columns, (n_features_in_,), if all names are strings."""
        if (names := self._columns().names) is None:
            raise AttributeError("feature_names_in_: the training's sequences had no names")
        return np.array(names, dtype=object)

    def trained_columns(self) -> TrainedColumns:
        """What this fitted estimator knows of the columns of its training data."""
        return TrainedColumns.of(self.columns_, self.layout_, type(self).__name__)

    def _columns(self) -> Columns:
        return self.columns_ if "columns_" in self.__dict__ else Columns()

    @property
    def kept_epochs_(self) -> dict[int, dict[str, Tensor]]:
        """Weights by name of the epochs that `keep_epochs` keeps; epoch 0 is before training."""
        if not self.__sklearn_is_fitted__():
            raise AttributeError("kept_epochs_: this estimator is not fitted yet: call fit first")
        return self.history_.kept_epochs

    def to_tensors(self, kept_epochs: bool = True) -> dict[str, Tensor]:
        """Return all tensors by name: weights, also of kept epochs, and those of baselines."""
        tensors = {_MODEL + k: v for k, v in self.model_.state_dict().items()}
        if kept_epochs:
            tensors |= {_EPOCHS + k: v for k, v in stack_epochs(self.kept_epochs_).items()}
        for name, array in self.baselines_.to_arrays().items():
            tensors[_BASELINE + name] = torch.from_numpy(np.ascontiguousarray(array))
        return tensors

    def to_config(self) -> dict[str, Any]:
        """Return everything that is not in `to_tensors`, JSON-ready."""
        from elman import __version__

        parameters = {
            k: v.item() if isinstance(v, np.generic) else v for k, v in self.get_params().items()
        }
        if "class_weight" in parameters:
            parameters["class_weight"] = plain_class_weight(parameters["class_weight"])
        if not isinstance(parameters["random_state"], int | None):
            parameters["random_state"] = None
        return {
            "elman": __version__,
            "estimator": self.saved_as,
            "parameters": parameters,
            "model": dataclasses.asdict(self.model_.config),
            "encoder": self.encoder_.to_dict(),
            "target": self.target_.to_dict(),
            "columns": dataclasses.asdict(self.columns_),
            "chosen": self.chosen_,
            "history": {
                "epochs": [record.to_dict() for record in self.history_.epochs],
                "kept_epoch": self.history_.kept_epoch,
                "stopped": self.history_.stopped,
                "gradients": self.history_.gradients,
                "labelled": self.history_.labelled,
                "monitored": self.history_.monitored,
                "determinism": self.history_.determinism,
            },
            "layout": None if self.layout_ is None else dataclasses.asdict(self.layout_),
        }

    def restore(self, tensors: Mapping[str, Tensor], saved: SavedEstimator) -> None:
        """Restore the fitted state from the results of `to_tensors` and `to_config`.

        Nothing is allocated for a network before its sizes are known to be those of the weights.

        Raises: ModelFileError or SettingsError if an entry is damaged.
        """
        network = read_network(saved.model)
        if TARGETS[network.task] not in self.targets:
            raise ModelFileError(
                f"{CONFIG}: model: task {network.task!r}, which is no {saved.estimator}'s"
            )
        if self.per_step != network.per_step:
            raise ModelFileError(
                f"{CONFIG}: model: readout {network.readout!r} is not the estimator's"
            )
        target = TARGETS[network.task].from_dict(saved.target)
        saved.columns.check(CONFIG)
        _check_layout(saved.layout)
        encoder = Encoder.from_dict(saved.encoder, saved.columns.channel_names)
        sizes = {
            "num_outputs": target.num_outputs,
            "input_size": encoder.input_size,
            "vocabulary_size": encoder.vocabulary_size,
            "category_sizes": encoder.category_sizes,
            "static_size": size_of(encoder.static),
        }
        for name, size in sizes.items():
            if getattr(network, name) != size:
                raise ModelFileError(
                    f"{CONFIG}: model: {name} is {getattr(network, name)!r:.60}, but there are "
                    f"{size!r:.60}"
                )
        history = _read_history(saved.history)
        parts = {part: strip(tensors, part) for part in (_MODEL, _BASELINE, _OPTIMIZER, _EPOCHS)}
        if strange := [name for name in tensors if not name.startswith(tuple(parts))]:
            raise ModelFileError(f"{WEIGHTS}: {show(strange[0])}: no such tensor")
        self.model_ = _restore_network(network, parts[_MODEL])
        self.baselines_ = Baselines.from_arrays({k: v.numpy() for k, v in parts[_BASELINE].items()})
        self.baselines_.check_form(
            num_classes=target.num_outputs,
            vocabulary_size=encoder.vocabulary_size or -1,
            per_step=int(network.per_step),
            static=network.static_size,
        )
        history.kept_epochs = unstack_epochs(parts[_EPOCHS], WEIGHTS, self.model_.state_dict())
        if history.kept_epochs and max(history.kept_epochs) > len(history.epochs):
            refuse(f"{WEIGHTS}: kept epochs", max(history.kept_epochs), "an epoch of the training")
        self.encoder_, self.target_ = encoder, target
        self.columns_, self.layout_ = saved.columns, saved.layout
        self.history_, self.chosen_ = history, saved.chosen
        self._memory = parts[_OPTIMIZER]

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for pickling and copying: the files that `save` writes, as bytes."""
        state: dict[str, Any] = super().__getstate__()
        if self.__sklearn_is_fitted__():
            state = {k: v for k, v in state.items() if k not in _LEARNT}
            memory = {_OPTIMIZER + k: v for k, v in self._memory.items()}
            state["_files"] = to_files(self.to_tensors() | memory, self.to_config())
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({k: v for k, v in state.items() if k != "_files"})
        if "_files" in state:
            tensors, config = from_files(state["_files"], "pickle")
            self.restore(tensors, read_as(SavedEstimator, config, f"pickle: {CONFIG}"))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        return tags


@contextmanager
def evaluation_mode(model: SequenceModel) -> Iterator[None]:
    """Predict without dropout, also if the user has called `model_.train()`, and restore it."""
    training = [module for module in model.modules() if module.training]
    if training:  # setting the mode of every module takes longer than a short sequence
        model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def write_folder(folder: Path, estimator: FittedState, card: str, kept_epochs: bool) -> None:
    """Write a model folder.

    Args:
        folder: created if missing; an existing model in it is replaced.
        estimator: a fitted estimator.
        card: content of README.md.
        kept_epochs: whether the weights of kept epochs are written too.
    Raises: ModelFileError if the folder contains anything other than a model.
    """
    if folder.exists() and not folder.is_dir():
        raise ModelFileError(f"{folder}: is a file, expected a folder to write the model into")
    expected = {CONFIG, WEIGHTS, CARD, MANIFEST}
    names = {p.name for p in folder.iterdir()} if folder.exists() else set()
    strange = {name for name in names - expected if not is_internal(name)}
    if strange:
        raise ModelFileError(
            f"{folder}: holds {', '.join(sorted(strange)[:3])}, expected an empty folder or a model"
        )
    save_folder(folder, estimator.to_tensors(kept_epochs), estimator.to_config(), card)


def read_network(values: Mapping[str, Any]) -> ModelConfig:
    """Return the description of a network; every entry must be there, of its own type."""
    place = f"{CONFIG}: model"
    for field in dataclasses.fields(ModelConfig):
        if field.name not in values:
            raise ModelFileError(f"{place}: no {field.name!r}")
    network = validate_settings(ModelConfig, values, place)
    sizes = (*network.category_sizes, *(getattr(network, name) for name in _SIZES))
    if min(sizes) < 0:
        refuse(place, min(sizes), "sizes from 0")
    return network


def _restore_network(network: ModelConfig, weights: dict[str, Tensor]) -> SequenceModel:
    """Return the network with these weights. Raises ModelFileError if they do not fit.

    It is made on torch's meta device, which allocates nothing, and then takes the weights as its
    own. Each size is a side of some matrix of weights, and every layer has weights of its own.
    """
    most = sum(tensor.numel() for tensor in weights.values())
    sizes = {name: getattr(network, name) for name in _SIZES}
    if network.vocabulary_size:
        sizes["embedding_size"] = network.embedding_size
    sizes["num_layers"] = network.num_layers
    for name, size in sizes.items():
        if size > (len(weights) if name == "num_layers" else most):
            raise ModelFileError(
                f"{WEIGHTS}: the weights do not fit config.json: {name} is {size:,}, but there are "
                f"{most:,} numbers in {len(weights):,} tensors"
            )
    with torch.device("meta"):
        model = SequenceModel(network)
    restore(model, weights, WEIGHTS)
    return model.eval()


def _check_layout(layout: Layout | None) -> None:
    """Raise ModelFileError for a layout that no reader could have chosen."""
    if layout is None:
        return
    place = f"{CONFIG}: layout"
    for name in ("window", "stride", "skip_lines"):
        if not 0 <= (size := getattr(layout, name) or 0) <= 2**40:
            refuse(f"{place}: {name}", size, "a number of steps or lines")
    if bool(layout.window) != bool(layout.stride):
        refuse(f"{place}: stride", layout.stride, f"one that fits window {layout.window}")
    if len(layout.melted) not in (0, 2):
        refuse(f"{place}: melted", layout.melted, "the columns of variables and values, or none")
    if layout.decimal not in (None, ".", ","):
        refuse(f"{place}: decimal", layout.decimal, "'.' or ',' or null")
    if layout.delimiter not in ("", *DELIMITERS):
        refuse(f"{place}: delimiter", layout.delimiter, "one of comma, semicolon, tab, | and blank")
    if layout.text is not None and layout.kind in ("numbers", "mixed"):
        refuse(f"{place}: text", layout.text, f"null, because the steps are {layout.kind}")


def _read_history(saved: _SavedHistory) -> History:
    """Return the history of a training; its epochs are numbered from 1."""
    place = f"{CONFIG}: history"
    gaps = {"accuracy": None, "validation_accuracy": None}  # regressions have none
    epochs = [
        read_as(EpochRecord, gaps | record, f"{place}: epochs: {k}")
        for k, record in enumerate(saved.epochs)
    ]
    if [record.epoch for record in epochs] != list(range(1, len(epochs) + 1)):
        raise ModelFileError(f"{place}: epochs: not numbered from 1")
    if not 0 <= saved.kept_epoch <= len(epochs):
        refuse(f"{place}: kept_epoch", saved.kept_epoch, f"at most {len(epochs)}")
    return History(**vars(saved) | {"epochs": epochs})
