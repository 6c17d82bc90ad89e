"""Model folders: model.safetensors, config.json, README.md and manifest.json, which seals them.

No pickle, no code in a file. A folder may come from anybody: sizes and shapes are checked before
anything is allocated, and what is read is compared with the sums in manifest.json.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import shlex
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import torch
from torch import Tensor

from elman.errors import ModelFileError, nearest
from elman.files import MANIFEST, new_folder, recover, seal, write_file
from elman.guards import check_names, damaged, make_manifest
from elman.untrusted import open_file, parse_json, read_as, read_file, refuse_bomb, show

FORMAT = 2
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
MOST_CONFIG = 2**28  # bytes: the vocabulary of ten million words
_MOST_HEADER = 2**23  # bytes of the header of model.safetensors
_MOST_TENSORS = 4096  # an LSTM of 500 layers in both directions has 4,000
_MOST_AXES = 8
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class _TensorEntry:
    """An entry of the header of a safetensors file."""

    dtype: Literal["F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"]
    shape: tuple[int, ...]
    data_offsets: tuple[int, ...]


def save_folder(
    folder: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any], card: str
) -> None:
    """Write a model folder in one step: complete under its name, or as it was before.

    Args:
        folder: made if missing, else replaced with everything in it.
        tensors: weights by name.
        config: JSON-ready description; `format` is added.
        card: README.md of the model.
    Raises: WriteError.
    """
    _write_files(folder, {**_contents(tensors, config), CARD: encode(card)})


def _write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder of these files, sealed, in one step. Raises WriteError."""
    with new_folder(folder, replace=True) as new:
        for name, data in files.items():
            write_file(new / name, data)
        seal(new)


def replace_card(folder: Path, card: str) -> None:
    """Replace the README.md of a model folder; errors as `load_folder` and `save_folder`."""
    sums, _ = check_names(folder, may_differ=(CARD,))
    files = {name: read_file(folder / name, 2**62) for name in sorted({*sums} - {CARD})}
    for name, data in files.items():
        if hashlib.sha256(data).hexdigest() != sums[name]:
            raise damaged(folder / name)
    _write_files(folder, {**files, CARD: encode(card)})


def encode(text: str) -> bytes:
    r"""Return UTF-8. A lone surrogate, which has no UTF-8, becomes \ud800, as JSON escapes it."""
    return text.encode("utf-8", "backslashreplace")


def to_files(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, bytes]:
    """Contents of the files of weights and config and their manifest; arguments as `save_folder`.

    Raises: ModelFileError if the config is so large that it could not be read back.
    """
    files = _contents(tensors, config)
    return {**files, MANIFEST: make_manifest(files)}


def _contents(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, bytes]:
    """Contents of the files of weights and config; as `to_files`, without their manifest."""
    from safetensors.torch import save  # imported here to keep `import elman` fast

    weights = save({name: t.detach().cpu().contiguous() for name, t in tensors.items()})
    text = json.dumps({"format": FORMAT, **config}, indent=2, ensure_ascii=False, allow_nan=False)
    files = {WEIGHTS: weights, CONFIG: encode(text + "\n")}
    refuse_bomb(files[CONFIG], CONFIG, len(weights))
    return files


def strip(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix`, by name without the prefix."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def load_folder(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a model folder, or a run folder that holds one: its weights and its config.

    Warns if README.md was edited or removed: nothing is read from it.

    Raises: ModelFileError if anything is missing, added, damaged, a link or of another format.
    """
    folder = find_model(folder)
    config, tensors, changed = read_sealed(folder, CONFIG, WEIGHTS, may_differ=(CARD,))
    config = _check_format(config, folder / CONFIG)
    if changed:
        warnings.warn(
            f"{folder / CARD}: is not the text that was saved with this model: it was edited or "
            "removed. The model itself is unchanged",
            stacklevel=3,
        )
    return tensors, config


def read_sealed(
    folder: Path,
    text: str,
    weights: str,
    *,
    may_differ: tuple[str, ...] = (),
) -> tuple[Any, dict[str, Tensor], list[str]]:
    """Read a sealed folder of a JSON file, a safetensors file and files that nothing is read from.

    What is returned is what was compared with the sums in manifest.json: each file is read once.

    Args:
        text, weights: names of the two files.
        may_differ: names of the others, which may be changed or missing.
    Returns: the value of the JSON file, the tensors by name, and which of `may_differ` differ.
    Raises: ModelFileError if anything is missing, added, damaged or a link.
    """
    sums, changed = check_names(folder, may_differ=may_differ)
    if set(sums) - set(may_differ) != {text, weights}:
        raise ModelFileError(
            f"{folder / MANIFEST}: lists {sorted(sums)!s:.100}, expected {text} and {weights}"
        )
    try:
        data = read_file(folder / text, MOST_CONFIG)
        if hashlib.sha256(data).hexdigest() != sums[text]:
            raise damaged(folder / text)
        with open_file(folder / weights, 2**62) as file:
            size = os.fstat(file.fileno()).st_size
            value = parse_json(data, str(folder / text), size)
            tensors, found = read_tensors(file, size, str(folder / weights))
        if found != sums[weights]:
            raise damaged(folder / weights)
        for name in set(sums) & set(may_differ) - set(changed):
            if hashlib.sha256(read_file(folder / name, MOST_CONFIG)).hexdigest() != sums[name]:
                changed.append(name)
    except OSError as error:
        raise ModelFileError(f"{folder}: cannot be read: {error}") from error
    return value, tensors, changed


def find_model(folder: Path) -> Path:
    """Return the model folder that is `folder`, or in it."""
    if not folder.exists():
        recover(folder)  # a process may have died while it replaced the folder
    if not folder.exists():
        siblings = [p.name for p in folder.parent.iterdir()] if folder.parent.is_dir() else []
        raise ModelFileError(f"{folder}: no such folder.{nearest(folder.name, siblings)}")
    if not (folder / CONFIG).is_file() and (folder / "model" / CONFIG).is_file():
        folder = folder / "model"
        if folder.is_symlink():
            raise ModelFileError(f"{folder}: is a link, expected a folder. Name its target instead")
    if folder.is_file():
        place = f", such as {folder.parent}" if (folder.parent / WEIGHTS).is_file() else ""
        raise ModelFileError(
            f"{folder}: is a file, expected the folder of a model or run{place}. In a command the "
            "model comes before the data: elman predict MODEL DATA"
        )
    if (folder / "config.toml").is_file() and not (folder / "model").exists():
        if not (folder / "unfinished.json").is_file():
            raise ModelFileError(
                f"{folder}: this run has no model, because it was removed. Train again: elman "
                f"train --config {folder / 'config.toml'}"
            )
        resume = shlex.join(["elman", "train", "--resume", str(folder)])
        raise ModelFileError(
            f"{folder}: this run has no model yet, because its training diverged or was stopped. "
            f"Continue it: {resume}; or keep the best weights so far: {resume} --finish"
        )
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).exists():
            raise ModelFileError(
                f"{folder}: no {name} there. Expected a model folder, which `save` writes, or "
                "a run folder, which `elman train` writes"
            )
    return folder


def from_files(files: Mapping[str, bytes], place: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the weights and the config that `to_files` wrote; error messages name `place`."""
    contents = {name: data for name, data in files.items() if name != MANIFEST}
    if set(contents) != {WEIGHTS, CONFIG} or make_manifest(contents) != files.get(MANIFEST):
        raise ModelFileError(f"{place}: damaged: its files are not those of its {MANIFEST}")
    weights = contents[WEIGHTS]
    config = parse_json(contents[CONFIG], f"{place}: {CONFIG}", len(weights))
    tensors, _ = read_tensors(io.BytesIO(weights), len(weights), f"{place}: {WEIGHTS}")
    return tensors, _check_format(config, f"{place}: {CONFIG}")


def _check_format(config: Any, place: str | Path) -> dict[str, Any]:
    """Return the content of a config.json without its format, which must be ours."""
    version = config.get("format") if isinstance(config, dict) else None
    if type(version) is not int or version != FORMAT:
        raise ModelFileError(
            f"{place}: format {show(version)}, this version of elman reads {FORMAT}"
        )
    return {name: value for name, value in config.items() if name != "format"}


def read_tensors(file: BinaryIO, size: int, place: str) -> tuple[dict[str, Tensor], str]:
    """Read a safetensors file, checked before anything is allocated.

    Args:
        file: open at its start.
        size: its size in bytes.
        place: its path, for messages.
    Returns: the tensors by name, and the SHA-256 of all bytes read.
    Raises: ModelFileError if it is damaged: with gaps, overlaps, other sizes or unknown types.
    """
    digest = hashlib.sha256()
    start = file.read(8)
    digest.update(start)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > min(_MOST_HEADER, size - 8):
        raise ModelFileError(f"{place}: damaged: no header of a safetensors file")
    header = file.read(length)
    digest.update(header)
    described = parse_json(header, f"{place}: header", size)
    if isinstance(described, dict) and len(described) > _MOST_TENSORS:
        raise ModelFileError(
            f"{place}: {len(described):,} tensors, expected at most {_MOST_TENSORS:,}"
        )
    entries = _check_header(described, size - 8 - length, place)
    tensors = {}
    for name, entry in entries.items():
        try:
            tensor = torch.empty(entry.shape, dtype=_DTYPES[entry.dtype])
        except (RuntimeError, MemoryError) as error:
            raise ModelFileError(f"{place}: {show(name)}: {error!s:.200}") from error
        if tensor.numel():
            values = memoryview(tensor.reshape(-1).view(torch.uint8).numpy().data)
            if file.readinto(values) != len(values):  # type: ignore[attr-defined]
                raise ModelFileError(f"{place}: damaged: it ends within {show(name)}")
            digest.update(values)
            if tensor.dtype == torch.bool and tensor.view(torch.uint8).max() > 1:
                raise ModelFileError(f"{place}: damaged: {show(name)} holds no truth values")
        tensors[name] = tensor
    if file.read(1):
        raise ModelFileError(f"{place}: damaged: there are bytes after the last tensor")
    return tensors, digest.hexdigest()


def _check_header(header: Any, size: int, place: str) -> dict[str, _TensorEntry]:
    """Return the entries in the order of their bytes, which are exactly the `size` bytes."""
    entries = read_as(dict[str, _TensorEntry], header, f"{place}: header")
    for name, entry in entries.items():
        width = _DTYPES[entry.dtype].itemsize
        expected = width * math.prod(entry.shape)
        sizes = all(0 <= axis <= 2**40 for axis in entry.shape) and len(entry.shape) <= _MOST_AXES
        if (
            len(entry.data_offsets) != 2
            or not sizes
            or entry.data_offsets[1] - entry.data_offsets[0] != expected
        ):
            raise ModelFileError(
                f"{place}: damaged: {show(name)} of shape {entry.shape!s:.60} does not fill its "
                "place in the file"
            )
    entries = dict(sorted(entries.items(), key=lambda item: item[1].data_offsets))
    end = 0
    for name, entry in entries.items():
        if entry.data_offsets[0] != end:
            raise ModelFileError(f"{place}: damaged: a gap or an overlap before {show(name)}")
        end = entry.data_offsets[1]
    if end != size:
        raise ModelFileError(
            f"{place}: damaged: its header describes {end:,} bytes of weights, but there are "
            f"{size:,}"
        )
    return entries


def restore(module: torch.nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Make tensors the weights of a module, which may be on torch's meta device.

    Every name and shape must match. Raises ModelFileError.
    """
    own = {name: tuple(t.shape) for name, t in module.state_dict().items()}
    found = {name: tuple(t.shape) for name, t in tensors.items()}
    if own != found:
        names = sorted(n for n in own.keys() | found.keys() if own.get(n) != found.get(n))
        first = ", ".join(
            f"{show(n)} is {found.get(n, 'missing')}, expected {own.get(n, 'none')}"
            for n in names[:3]
        )
        raise ModelFileError(f"{source}: the weights do not fit config.json: {first}")
    kinds = {tensor.dtype for tensor in tensors.values()}
    if len(kinds) > 1 or not all(kind.is_floating_point for kind in kinds):
        raise ModelFileError(
            f"{source}: the weights do not fit config.json: got {', '.join(map(str, kinds))}, "
            "expected floating-point numbers of one type"
        )
    for name, tensor in tensors.items():
        if tensor.numel() and not torch.stack(torch.aminmax(tensor)).isfinite().all():
            raise ModelFileError(f"{source}: {show(name)} holds NaN or infinity")
    module.load_state_dict(dict(tensors), assign=True)
