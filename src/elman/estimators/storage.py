"""A fitted estimator as a folder, and back. Files hold numbers and words, never code."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import torch

from elman.data.dataset import Layout
from elman.errors import ElmanError, ModelFileError
from elman.estimators.base import SequenceEstimator
from elman.estimators.card import model_card
from elman.estimators.classifier import SequenceClassifier
from elman.estimators.encoder import Encoder
from elman.estimators.tagger import SequenceTagger
from elman.evaluate import Baselines, Report
from elman.models import ModelConfig, SequenceModel, load_folder, save_folder
from elman.models.storage import CARD, CONFIG, WEIGHTS, restore
from elman.train import EpochRecord, History

# The only classes a file can name.
_ESTIMATORS: dict[str, type[SequenceClassifier] | type[SequenceTagger]] = {
    "SequenceClassifier": SequenceClassifier,
    "SequenceTagger": SequenceTagger,
}
_MODEL, _BASELINE = "model.", "baseline."


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
    strange = (
        {p.name for p in folder.iterdir()} - {CONFIG, WEIGHTS, CARD} if folder.exists() else ()
    )
    if strange:
        raise ModelFileError(
            f"{folder}: holds {', '.join(sorted(strange)[:3])}, expected an empty folder or a model"
        )
    parameters = estimator.get_params()
    if not isinstance(parameters["random_state"], int | None):
        parameters["random_state"] = None
    from elman import __version__

    config = {
        "elman": __version__,
        "estimator": type(estimator).__name__,
        "parameters": {k: _plain(v) for k, v in parameters.items()},
        "model": dataclasses.asdict(estimator.model_.config),
        "encoder": estimator.encoder_.to_dict(),
        "classes": estimator.classes_.tolist(),
        "history": {
            "epochs": [record.to_dict() for record in estimator.history_.epochs],
            "kept_epoch": estimator.history_.kept_epoch,
            "stopped": estimator.history_.stopped,
        },
        "layout": None if layout is None else dataclasses.asdict(layout),
    }
    tensors = {_MODEL + k: v for k, v in estimator.model_.state_dict().items()}
    for name, array in estimator.baselines_.to_arrays().items():
        tensors[_BASELINE + name] = torch.from_numpy(np.ascontiguousarray(array))
    save_folder(folder, tensors, config, model_card(estimator, data, report))


def load(folder: str | Path) -> SequenceClassifier | SequenceTagger:
    """Load an estimator that `save` or `elman train` wrote.

    Args:
        folder: of a model, or of a run.
    Raises: ModelFileError if something is missing, damaged, or not of this format.
    """
    return load_with_layout(folder)[0]


def load_with_layout(
    folder: str | Path,
) -> tuple[SequenceClassifier | SequenceTagger, Layout | None]:
    """As `load`, and how the files it was trained on were read, where that is known."""
    tensors, config = load_folder(Path(folder))
    try:
        kind = _ESTIMATORS[config["estimator"]]
        known = set(inspect.signature(kind).parameters)
        unknown = set(config["parameters"]) - known
        if unknown:
            raise ModelFileError(f"unknown parameters {sorted(unknown)}")
        estimator = kind(**config["parameters"])
        estimator.classes_ = np.array(config["classes"])
        estimator.encoder_ = Encoder.from_dict(config["encoder"])
        history = config["history"]
        estimator.history_ = History(
            epochs=[EpochRecord(**record) for record in history["epochs"]],
            kept_epoch=history["kept_epoch"],
            stopped=history["stopped"],
        )
        model = SequenceModel(ModelConfig(**config["model"]))
        layout = config["layout"]
        if layout is not None:
            lists = {k: tuple(v) for k, v in layout.items() if isinstance(v, list)}
            layout = Layout(**{**layout, **lists})
    except (KeyError, TypeError, ValueError, AttributeError, ElmanError) as error:
        detail = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ModelFileError(f"{folder}: config.json cannot be used: {detail}") from error
    own = {k.removeprefix(_MODEL): v for k, v in tensors.items() if k.startswith(_MODEL)}
    restore(model, own, str(folder))
    estimator.model_ = model.eval()
    estimator.baselines_ = Baselines.from_arrays(
        {k.removeprefix(_BASELINE): v.numpy() for k, v in tensors.items() if _BASELINE in k[:9]}
    )
    return estimator, layout


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
