"""Saving and loading: model.safetensors + config.json + README.md. No pickle, no code in a file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from elman.errors import ModelFileError, nearest

FORMAT = 1
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` so that a crash leaves either the old file or the new one, never half of it."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        # Without fsync, a power failure may leave an empty file under the new name.
        os.fsync(file.fileno())
    partial.replace(path)


def save_folder(
    folder: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any], card: str
) -> None:
    """Write a model folder.

    Args:
        folder: made if missing; files of the same names are replaced.
        tensors: weights by name.
        config: JSON-ready description; `format` and the weights' SHA-256 are added.
        card: README.md of the model.
    """
    files = to_files(tensors, config)
    folder.mkdir(parents=True, exist_ok=True)
    # The config is written last: its SHA-256 of the weights lets `load_folder` detect a crash in
    # between.
    for name in (WEIGHTS, CONFIG):
        write_atomically(folder / name, files[name])
    write_atomically(folder / CARD, card.encode())


def to_files(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, bytes]:
    """Contents of the files of weights and config, by file name; arguments as `save_folder`."""
    from safetensors.torch import save  # imported here to keep `import elman` fast

    weights = save({name: t.detach().cpu().contiguous() for name, t in tensors.items()})
    whole = {"format": FORMAT, "weights_sha256": hashlib.sha256(weights).hexdigest(), **config}
    text = json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False)
    return {WEIGHTS: weights, CONFIG: (text + "\n").encode()}


def load_folder(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a model folder, or a run folder that holds one: its weights and its config.

    Raises: ModelFileError if anything is missing, damaged or of a newer format.
    """
    if not folder.exists():
        siblings = [p.name for p in folder.parent.iterdir()] if folder.parent.is_dir() else []
        raise ModelFileError(f"{folder}: no such folder.{nearest(folder.name, siblings)}")
    if not (folder / CONFIG).is_file() and (folder / "model" / CONFIG).is_file():
        folder = folder / "model"
    if folder.is_file():
        place = f", such as {folder.parent}" if (folder.parent / WEIGHTS).is_file() else ""
        raise ModelFileError(
            f"{folder}: is a file, expected the folder of a model or run{place}. In a command the "
            "model comes before the data: elman predict MODEL DATA"
        )
    if (folder / "config.toml").is_file() and not (folder / "model").exists():
        raise ModelFileError(
            f"{folder}: this run has no model, because its training diverged or was stopped. Train "
            f"again with other settings: elman train --config {folder / 'config.toml'}"
        )
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise ModelFileError(
                f"{folder}: no {name} there. Expected a model folder, which `save` writes, or "
                "a run folder, which `elman train` writes"
            )
    return from_files({name: (folder / name).read_bytes() for name in (CONFIG, WEIGHTS)}, folder)


def from_files(
    files: Mapping[str, bytes], folder: Path
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the weights and the config that `to_files` wrote; error messages name `folder`."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        config = json.loads(files[CONFIG].decode("utf-8"))
    except (ValueError, RecursionError) as error:  # ValueError covers bad UTF-8 as well
        raise ModelFileError(f"{folder / CONFIG}: not valid JSON: {error}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        version = config.get("format") if isinstance(config, dict) else None
        raise ModelFileError(
            f"{folder / CONFIG}: format {version!r}, this version of elman reads {FORMAT}"
        )
    weights = files[WEIGHTS]
    try:
        tensors = load(weights)
    except SafetensorError as error:
        raise ModelFileError(f"{folder / WEIGHTS}: damaged: {error}") from error
    if hashlib.sha256(weights).hexdigest() != config.get("weights_sha256"):
        raise ModelFileError(
            f"{folder / WEIGHTS}: not the weights that {CONFIG} belongs to: saving was cut "
            "off, or a file was replaced. Save the model again"
        )
    return tensors, config


def restore(module: torch.nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Load weights into a module; every name and shape must match. Raises ModelFileError."""
    try:
        module.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise ModelFileError(f"{source}: the weights do not fit config.json: {error}") from error
