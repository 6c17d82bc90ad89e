"""A fitted estimator as a folder, and back. Files hold numbers and words, never code."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from elman.data.dataset import Layout
from elman.errors import ModelFileError, nearest
from elman.estimators.base import SequenceEstimator
from elman.estimators.card import model_card
from elman.estimators.classifier import SequenceClassifier
from elman.estimators.containers import Columns
from elman.estimators.encoder import Encoder
from elman.estimators.regressor import SequenceRegressor
from elman.estimators.tagger import SequenceTagger
from elman.estimators.targets import TARGETS
from elman.evaluate import Baselines, Report
from elman.models import ModelConfig, SequenceModel, load_folder, save_folder
from elman.models.storage import CARD, CONFIG, WEIGHTS, from_files, restore, to_files
from elman.train import EpochRecord, History
from elman.validation import validate_settings

T = TypeVar("T")

# The only classes a file can name.
Estimator = SequenceClassifier | SequenceRegressor | SequenceTagger
_ESTIMATORS: dict[str, type[Estimator]] = {
    "SequenceClassifier": SequenceClassifier,
    "SequenceRegressor": SequenceRegressor,
    "SequenceTagger": SequenceTagger,
}
_MODEL, _BASELINE, _OPTIMIZER = "model.", "baseline.", "optimizer."


def save(
    estimator: SequenceEstimator,
    folder: Path,
    *,
    data: str,
    layout: Layout | None,
    report: Report | None,
) -> None:
    """Write a model folder; arguments as `SequenceEstimator.save`."""
    if folder.exists() and not folder.is_dir():
        raise ModelFileError(f"{folder}: is a file, expected a folder to write the model into")
    own = {CONFIG, WEIGHTS, CARD}
    own |= {f".{name}.partial" for name in own}  # left by a process that was killed
    strange = {p.name for p in folder.iterdir()} - own if folder.exists() else ()
    if strange:
        raise ModelFileError(
            f"{folder}: holds {', '.join(sorted(strange)[:3])}, expected an empty folder or a model"
        )
    tensors, config = _taken_apart(estimator, layout)
    save_folder(folder, tensors, config, model_card(estimator, data, report))


def to_bytes(estimator: SequenceEstimator) -> dict[str, bytes]:
    """A fitted estimator as what its files would hold, and its optimizer's memory."""
    tensors, config = _taken_apart(estimator, None)
    tensors |= {_OPTIMIZER + k: v for k, v in estimator._memory.items()}
    return to_files(tensors, config)


def from_bytes(files: Mapping[str, bytes]) -> SequenceEstimator:
    """Undo `to_bytes`. Raises ModelFileError."""
    tensors, config = from_files(files, Path("pickle"))
    estimator = _restored(tensors, config)[0]
    estimator._memory = {
        k.removeprefix(_OPTIMIZER): v for k, v in tensors.items() if k.startswith(_OPTIMIZER)
    }
    return estimator


def _taken_apart(
    estimator: SequenceEstimator, layout: Layout | None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An estimator's tensors by name, and all else, JSON-ready."""
    parameters = estimator.get_params()
    if not isinstance(parameters["random_state"], int | np.integer | None):
        parameters["random_state"] = None
    from elman import __version__

    config = {
        "elman": __version__,
        "estimator": next(n for n, kind in _ESTIMATORS.items() if isinstance(estimator, kind)),
        "parameters": {k: _without_numpy(v) for k, v in parameters.items()},
        "model": dataclasses.asdict(estimator.model_.config),
        "encoder": estimator.encoder_.to_dict(),
        **estimator.target_.to_dict(),
        "columns": dataclasses.asdict(estimator.columns_),
        "chosen": estimator.chosen_,
        "history": {
            "epochs": [record.to_dict() for record in estimator.history_.epochs],
            "kept_epoch": estimator.history_.kept_epoch,
            "stopped": estimator.history_.stopped,
            "gradients": estimator.history_.gradients,
        },
        "layout": None if layout is None else dataclasses.asdict(layout),
    }
    tensors = {_MODEL + k: v for k, v in estimator.model_.state_dict().items()}
    for name, array in estimator.baselines_.to_arrays().items():
        tensors[_BASELINE + name] = torch.from_numpy(np.ascontiguousarray(array))
    return tensors, config


def load(folder: str | Path) -> Estimator:
    """Load an estimator that `save` or `elman train` wrote.

    Args:
        folder: of a model, or of a run.
    Raises: ModelFileError if something is missing, damaged, or not of this format.
    """
    return load_with_layout(folder)[0]


def load_with_layout(
    folder: str | Path,
) -> tuple[Estimator, Layout | None]:
    """As `load`, and how the files it was trained on were read, where that is known."""
    tensors, config = load_folder(Path(folder))
    try:
        return _restored(tensors, config)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, MemoryError) as error:
        detail = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ModelFileError(f"{folder}: the model cannot be used: {detail}") from error


def _restored(
    tensors: Mapping[str, Tensor], config: Mapping[str, Any]
) -> tuple[Estimator, Layout | None]:
    if config["estimator"] not in _ESTIMATORS:
        raise ModelFileError(
            f"config.json: estimator {config['estimator']!r}, expected one of "
            f"{', '.join(_ESTIMATORS)}"
        )
    kind = _ESTIMATORS[config["estimator"]]
    known = inspect.signature(kind).parameters
    for name in config["parameters"]:
        if name not in known:
            raise ModelFileError(
                f"config.json: parameters: {name}: no such parameter.{nearest(name, known)}"
            )
    estimator = kind(**config["parameters"])
    if not isinstance(estimator.random_state, int | None):
        raise ModelFileError(f"config.json: random_state {estimator.random_state!r}")
    described = dict(config["model"])
    described["category_sizes"] = tuple(described.get("category_sizes", ()))  # JSON has lists
    network = validate_settings(ModelConfig, described, "config.json: model")
    estimator.check_parameters(network.readout, 0)
    if network.task not in kind.tasks:
        raise ModelFileError(
            f"config.json: model: task {network.task!r}, which is no {kind.__name__}'s"
        )
    target = TARGETS[network.task].from_dict(config)
    estimator._set_target(target)
    estimator.encoder_ = Encoder.from_dict(config["encoder"])
    sizes = {
        "num_outputs": target.num_outputs,
        "input_size": estimator.encoder_.input_size,
        "vocabulary_size": estimator.encoder_.vocabulary_size,
        "category_sizes": estimator.encoder_.category_sizes,
    }
    for name, size in sizes.items():
        if getattr(network, name) != size:
            raise ModelFileError(
                f"config.json: model: {name} is {getattr(network, name)}, but there are {size}"
            )
    estimator._memory = {}
    estimator.columns_ = _checked(Columns, config.get("columns", {}))  # not in files of 0.1
    history = config["history"]
    estimator.chosen_ = _checked(str, config["chosen"])
    estimator.history_ = History(
        epochs=[_record(record) for record in history["epochs"]],
        kept_epoch=_checked(int, history["kept_epoch"]),
        stopped=_checked(str, history["stopped"]),
        gradients=_checked(str, history["gradients"]),
    )
    own = {k.removeprefix(_MODEL): v for k, v in tensors.items() if k.startswith(_MODEL)}
    _refuse_other_sizes(network, own)
    model = SequenceModel(network)
    restore(model, own, WEIGHTS)
    estimator.model_ = model.eval()
    estimator.baselines_ = Baselines.from_arrays(
        {
            k.removeprefix(_BASELINE): v.numpy()
            for k, v in tensors.items()
            if k.startswith(_BASELINE)
        }
    )
    layout = config["layout"]
    return estimator, None if layout is None else _checked(Layout, layout)


def _refuse_other_sizes(network: ModelConfig, tensors: Mapping[str, Tensor]) -> None:
    """Look whether the weights can be this network's, before memory is asked for it."""
    directions = 2 if network.bidirectional else 1
    shapes = {"output.weight": (network.num_outputs, network.hidden_size * directions)}
    if network.vocabulary_size:
        shapes["embedding.weight"] = (network.vocabulary_size, network.embedding_size)
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
    """An epoch's record, whose figures for another task are left out of the file."""
    return _checked(EpochRecord, {"accuracy": None, "validation_accuracy": None, **values})


def _checked(kind: type[T], value: Any) -> T:
    """The value as its type, whose fields are checked too; raises ModelFileError."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, (kind.__name__, *first["loc"])))
        raise ModelFileError(
            f"config.json: {place}: got {first['input']!r:.40}; {first['msg']}"
        ) from error


def _without_numpy(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
