"""A fitted estimator as a folder, and back. Files hold numbers and words, never code."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from elman.data.dataset import Layout
from elman.errors import ModelFileError
from elman.estimators.containers import Columns
from elman.estimators.encoder import Encoder
from elman.estimators.targets import TARGETS, Target
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

T = TypeVar("T")
_MODEL, _BASELINE, _OPTIMIZER = "model.", "baseline.", "optimizer."


@dataclass(frozen=True)
class Fitted:
    """What a training leaves behind: the attributes of an estimator that end in an underscore.

    Args:
        encoder: how sequences are read.
        target: what is predicted.
        columns: of the X that was trained with.
        layout: how its files were read; None where it did not come from files.
        model: the network, on the CPU.
        history: of the training.
        chosen: what was chosen from the data, in words.
        baselines: fitted on the training split.
        memory: of the optimizer, by name, for a partial_fit that continues; not saved to a folder.
    """

    encoder: Encoder
    target: Target
    columns: Columns
    layout: Layout | None
    model: SequenceModel
    history: History
    chosen: str
    baselines: Baselines
    memory: dict[str, Tensor]


def save(folder: Path, name: str, parameters: Mapping[str, Any], fitted: Fitted, card: str) -> None:
    """Write a model folder.

    Args:
        folder: made if missing; a model that is there already is replaced.
        name: of the estimator's class.
        parameters: of the estimator.
        fitted: all else.
        card: README.md.
    Raises: ModelFileError if the folder holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise ModelFileError(f"{folder}: is a file, expected a folder to write the model into")
    own = {CONFIG, WEIGHTS, CARD}
    own |= {f".{name}.partial" for name in own}  # left by a process that was killed
    strange = {p.name for p in folder.iterdir()} - own if folder.exists() else ()
    if strange:
        raise ModelFileError(
            f"{folder}: holds {', '.join(sorted(strange)[:3])}, expected an empty folder or a model"
        )
    save_folder(folder, _to_tensors(fitted), _to_config(name, parameters, fitted), card)


def save_card(folder: Path, card: str) -> None:
    """Write the README.md of a model that was saved already."""
    write_atomically(folder / CARD, card.encode())


def to_bytes(name: str, parameters: Mapping[str, Any], fitted: Fitted) -> dict[str, bytes]:
    """What the files of `save` would hold, and the optimizer's memory; for pickling."""
    memory = {_OPTIMIZER + k: v for k, v in fitted.memory.items()}
    return to_files(_to_tensors(fitted) | memory, _to_config(name, parameters, fitted))


def from_bytes(files: Mapping[str, bytes]) -> Fitted:
    """Undo `to_bytes`. Raises ModelFileError."""
    return restore_fitted(*from_files(files, Path("pickle")))


def _to_tensors(fitted: Fitted) -> dict[str, Tensor]:
    """All numbers by name: weights, and what the baselines have learnt."""
    tensors = {_MODEL + k: v for k, v in fitted.model.state_dict().items()}
    for name, array in fitted.baselines.to_arrays().items():
        tensors[_BASELINE + name] = torch.from_numpy(np.ascontiguousarray(array))
    return tensors


def _to_config(name: str, parameters: Mapping[str, Any], fitted: Fitted) -> dict[str, Any]:
    """All else, JSON-ready."""
    from elman import __version__

    parameters = {k: v.item() if isinstance(v, np.generic) else v for k, v in parameters.items()}
    if not isinstance(parameters["random_state"], int | None):
        parameters["random_state"] = None
    return {
        "elman": __version__,
        "estimator": name,
        "parameters": parameters,
        "model": dataclasses.asdict(fitted.model.config),
        "encoder": fitted.encoder.to_dict(),
        **fitted.target.to_dict(),
        "columns": dataclasses.asdict(fitted.columns),
        "chosen": fitted.chosen,
        "history": {
            "epochs": [record.to_dict() for record in fitted.history.epochs],
            "kept_epoch": fitted.history.kept_epoch,
            "stopped": fitted.history.stopped,
            "gradients": fitted.history.gradients,
        },
        "layout": None if fitted.layout is None else dataclasses.asdict(fitted.layout),
    }


def restore_fitted(
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
    targets: tuple[type[Target], ...] = tuple(TARGETS.values()),
) -> Fitted:
    """Undo `save` or `to_bytes`.

    Args:
        targets: kinds of target that the estimator has.
    Raises: ModelFileError, or another error if a part is damaged.
    """
    described = dict(config["model"])
    described["category_sizes"] = tuple(described.get("category_sizes", ()))  # JSON has lists
    network = validate_settings(ModelConfig, described, "config.json: model")
    if TARGETS[network.task] not in targets:
        raise ModelFileError(
            f"config.json: model: task {network.task!r}, which is no {config['estimator']}'s"
        )
    target = TARGETS[network.task].from_dict(config)
    encoder = Encoder.from_dict(config["encoder"])
    sizes = {
        "num_outputs": target.num_outputs,
        "input_size": encoder.input_size,
        "vocabulary_size": encoder.vocabulary_size,
        "category_sizes": encoder.category_sizes,
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
    return Fitted(
        encoder=encoder,
        target=target,
        columns=_checked(Columns, config.get("columns", {})),  # not in files of 0.1
        layout=None if layout is None else _checked(Layout, layout),
        model=model.eval(),
        history=History(
            epochs=[_record(record) for record in history["epochs"]],
            kept_epoch=_checked(int, history["kept_epoch"]),
            stopped=_checked(str, history["stopped"]),
            gradients=_checked(str, history["gradients"]),
        ),
        chosen=_checked(str, config["chosen"]),
        baselines=Baselines.from_arrays(
            {k: v.numpy() for k, v in _strip(tensors, _BASELINE).items()}
        ),
        memory=_strip(tensors, _OPTIMIZER),
    )


def _strip(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, by the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


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
