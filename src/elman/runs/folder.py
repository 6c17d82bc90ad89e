"""The run folder: made late, never over another run, never left half-written."""

from __future__ import annotations

import csv
import datetime
import io
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from elman.data.ragged import Ragged
from elman.errors import SettingsError

_MARKS = ("config.toml", "metrics.json")


def default_folder(data: str, today: datetime.date) -> Path:
    """Return runs/<date>-<name>, with a number behind it if it is taken."""
    name = re.sub(r"[^\w.-]+", "-", Path(data).stem).strip("-.") or "run"
    return unused(Path("runs") / f"{today.isoformat()}-{name}")


def unused(path: Path) -> Path:
    """Return `path`, or `path-2`, `path-3`, ... if it exists."""
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate


def refuse_taken(folder: Path, overwrite: bool) -> None:
    """Raise SettingsError if `folder` must not be written to."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise SettingsError(f"{folder}: is a file, expected a folder. Name another with --out")
    if not any(folder.iterdir()):
        return
    if not overwrite:
        raise SettingsError(
            f"{folder}: exists already. Name another with --out, or replace it with --overwrite"
        )
    if not any((folder / mark).is_file() for mark in _MARKS):
        raise SettingsError(
            f"{folder}: is not a folder that elman wrote, so --overwrite does not replace it. Name "
            "another with --out"
        )


@contextmanager
def new_folder(folder: Path, overwrite: bool) -> Iterator[Path]:
    """Make `folder` for the time of a run; if the run fails, all is as it was before.

    A folder that is replaced is kept beside it until the new one is complete. Once a model has been
    saved in the new one, that is worth more than tidiness: it stays, without a metrics.json.
    """
    refuse_taken(folder, overwrite)
    kept = folder.with_name(f".{folder.name}.replaced")
    if kept.exists():
        shutil.rmtree(kept)
    if folder.exists():
        folder.replace(kept)
    try:
        folder.mkdir(parents=True)
        yield folder
    except BaseException:
        if (folder / "model" / "config.json").is_file():
            raise
        shutil.rmtree(folder, ignore_errors=True)
        if kept.exists():
            kept.replace(folder)
        raise
    if kept.exists():
        shutil.rmtree(kept)


def append_line(file: TextIO, values: Mapping[str, Any]) -> None:
    """Write one JSON object and make sure that it is there to be read."""
    file.write(json.dumps(values, allow_nan=False) + "\n")
    file.flush()


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write indented JSON."""
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def predictions_csv(
    probabilities: NDArray[np.float64],
    classes: Sequence[Any],
    *,
    names: Sequence[Any],
    true: NDArray[Any] | Ragged | None,
    steps: Ragged | None,
) -> str:
    """Return predictions as CSV text.

    A row a sequence: `sequence`, `true` where it is known, `predicted`, `probability` of the
    predicted class, and the probability of each class. A row a step for a tagger, without the last.

    Args:
        probabilities: (n, K), or (N, K) for a tagger.
        classes: K labels.
        names: what each sequence is called, (n,).
        true: labels, or None.
        steps: for a tagger, the sequences as read; numbers are not repeated in the file.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    best = probabilities.argmax(1)
    known = None if true is None else (true.values if isinstance(true, Ragged) else true)
    truth = ["true"] if known is not None else []
    if steps is None:
        writer.writerow(["sequence", *truth, "predicted", "probability", *classes])
        for i, name in enumerate(names):
            row = [name, *([known[i]] if known is not None else []), classes[best[i]]]
            figures = [probabilities[i, best[i]], *probabilities[i]]
            writer.writerow([*row, *(f"{p:.6f}" for p in figures)])
        return out.getvalue()
    tokens = steps.values.ndim == 1
    middle = ["token"] if tokens else []
    writer.writerow(["sequence", "step", *middle, *truth, "predicted", "probability"])
    for j, owner in enumerate(steps.owners.tolist()):
        row = [names[owner], j - int(steps.offsets[owner])]
        row += [steps.values[j]] if tokens else []
        row += [known[j]] if known is not None else []
        writer.writerow([*row, classes[best[j]], f"{probabilities[j, best[j]]:.6f}"])
    return out.getvalue()
