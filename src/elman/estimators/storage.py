"""State of a fitted estimator, pickling and model folders. The files contain no code."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils import Tags, check_random_state
from torch import Tensor

from elman.data.dataset import Layout
from elman.errors import ModelFileError
from elman.estimators.columns import Columns, TrainedColumns
from elman.estimators.encoder import Encoder
from elman.estimators.parameters import Parameters, Settings, check_parameters
from elman.estimators.static import size_of
from elman.estimators.targets import TARGETS, Target
from elman.estimators.weights import plain_class_weight
from elman.evaluate import Baselines
from elman.models import ModelConfig, SequenceModel, save_folder
from elman.models.storage import (
    CARD,
    CONFIG,
    WEIGHTS,
    from_files,
    restore,
    to_files,
    write_atomically,
)
from elman.train import EpochRecord, History
from elman.validation import validate_settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

T = TypeVar("T")
_MODEL, _BASELINE, _OPTIMIZER = "model.", "baseline.", "optimizer."
# Attributes set by training, which `to_tensors` and `to_config` store.
_LEARNT = {"encoder_", "target_", "columns_", "layout_", "model_", "history_", "chosen_"}
_LEARNT |= {"baselines_", "_memory"}


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

    def check_parameters(self, readout: str) -> Settings:
        """Check every parameter; one SettingsError lists all faults.

        Args:
            readout: the readout of the network.
        """
        seed: Any = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(2**31 - 1)
        parameters = {f.name: getattr(self, f.name) for f in dataclasses.fields(Parameters)}
        return check_parameters(parameters, readout, self.readouts, int(seed))

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

    def to_tensors(self) -> dict[str, Tensor]:
        """Return all tensors by name: the weights, and the parameters of the baselines."""
        tensors = {_MODEL + k: v for k, v in self.model_.state_dict().items()}
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
            **self.target_.to_dict(),
            "columns": dataclasses.asdict(self.columns_),
            "chosen": self.chosen_,
            "history": {
                "epochs": [record.to_dict() for record in self.history_.epochs],
                "kept_epoch": self.history_.kept_epoch,
                "stopped": self.history_.stopped,
                "gradients": self.history_.gradients,
                "monitored": self.history_.monitored,
            },
            "layout": None if self.layout_ is None else dataclasses.asdict(self.layout_),
        }

    def restore(self, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
        """Restore the fitted state from the results of `to_tensors` and `to_config`.

        Raises: ModelFileError, or another error if an entry is damaged.
        """
        described = dict(config["model"])
        described["category_sizes"] = tuple(described.get("category_sizes", ()))  # JSON has lists
        network = validate_settings(ModelConfig, described, "config.json: model")
        if TARGETS[network.task] not in self.targets:
            raise ModelFileError(
                f"config.json: model: task {network.task!r}, which is no {config['estimator']}'s"
            )
        target = TARGETS[network.task].from_dict(config)
        columns = _checked(Columns, config.get("columns", {}))  # not in files of 0.1
        encoder = Encoder.from_dict(config["encoder"], columns.channel_names)
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
                    f"config.json: model: {name} is {getattr(network, name)}, but there are {size}"
                )
        history, layout = config["history"], config["layout"]
        weights = _strip(tensors, _MODEL)
        _refuse_other_sizes(network, weights)
        model = SequenceModel(network)
        restore(model, weights, WEIGHTS)
        self.encoder_ = encoder
        self.target_ = target
        self.columns_ = columns
        self.layout_ = None if layout is None else _checked(Layout, layout)
        self.model_ = model.eval()
        self.history_ = History(
            epochs=[_record(record) for record in history["epochs"]],
            kept_epoch=_checked(int, history["kept_epoch"]),
            stopped=_checked(str, history["stopped"]),
            gradients=_checked(str, history["gradients"]),
            monitored=_checked(str, history["monitored"]),
        )
        self.chosen_ = _checked(str, config["chosen"])
        arrays = {k: v.numpy() for k, v in _strip(tensors, _BASELINE).items()}
        self.baselines_ = Baselines.from_arrays(arrays)
        self._memory = _strip(tensors, _OPTIMIZER)

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
            self.restore(*from_files(state["_files"], Path("pickle")))

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
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def write_folder(folder: Path, estimator: FittedState, card: str) -> None:
    """Write a model folder.

    Args:
        folder: created if missing; an existing model in it is replaced.
        estimator: a fitted estimator.
        card: content of README.md.
    Raises: ModelFileError if the folder contains anything other than a model.
    """
    if folder.exists() and not folder.is_dir():
        raise ModelFileError(f"{folder}: is a file, expected a folder to write the model into")
    expected = {CONFIG, WEIGHTS, CARD}
    expected |= {f".{name}.partial" for name in expected}  # left behind if the process was killed
    strange = {p.name for p in folder.iterdir()} - expected if folder.exists() else ()
    if strange:
        raise ModelFileError(
            f"{folder}: holds {', '.join(sorted(strange)[:3])}, expected an empty folder or a model"
        )
    save_folder(folder, estimator.to_tensors(), estimator.to_config(), card)


def write_card(folder: Path, card: str) -> None:
    """Write the README.md of a model that is already saved."""
    write_atomically(folder / CARD, card.encode())


def _strip(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix`, by name without the prefix."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _refuse_other_sizes(network: ModelConfig, tensors: Mapping[str, Tensor]) -> None:
    """Check the shapes of the weights before memory is allocated for the network."""
    directions = 2 if network.bidirectional else 1
    shapes = {"output.weight": (network.num_outputs, network.hidden_size * directions)}
    if network.vocabulary_size:
        shapes["embedding.weight"] = (network.vocabulary_size, network.embedding_size)
    if network.joins_readout:
        shapes["static_join.weight"] = (network.width, network.width + network.static_size)
    if network.sets_state:
        units = network.width * network.num_layers * len(network.cell_definition.states)
        shapes["static_state.weight"] = (units, network.static_size)
    tables = zip(network.category_sizes, network.category_widths, strict=True)
    shapes |= {f"embeddings.{k}.weight": shape for k, shape in enumerate(tables)}
    found = {name: tuple(tensors[name].shape) for name in shapes if name in tensors}
    layers = sum(name.startswith("recurrent.weight_hh") for name in tensors) / directions
    if found != shapes or layers != network.num_layers:
        raise ModelFileError(
            f"the weights do not fit config.json: got {found} and {layers:g} layers, expected "
            f"{shapes} and {network.num_layers}"
        )


def _record(values: Mapping[str, Any]) -> EpochRecord:
    """Restore an epoch's record; the file omits metrics of other tasks."""
    return _checked(EpochRecord, {"accuracy": None, "validation_accuracy": None, **values})


def _checked(kind: type[T], value: Any) -> T:
    """Return the value as `kind`, with its fields checked; raise ModelFileError if invalid."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, (kind.__name__, *first["loc"])))
        raise ModelFileError(
            f"config.json: {place}: got {first['input']!r:.40}; {first['msg']}"
        ) from error
