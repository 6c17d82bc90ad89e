"""Run folders and their files, which never overwrite another run or stay half-written."""

from __future__ import annotations

import datetime
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from elman.errors import NonFiniteError, SettingsError
from elman.estimators import EncodedSequences, Estimator, ablate_static
from elman.files import write_file


@dataclass(frozen=True)
class FolderKind:
    """A folder that elman writes: its name, its required entries and its optional ones.

    A folder is replaced only if it has every required entry and no entry that is not listed.
    """

    name: str
    required: frozenset[str]
    optional: frozenset[str]


RUN = FolderKind(
    "elman run",
    frozenset({"config.toml", "metrics.jsonl"}),
    frozenset({"metrics.json", "predictions.csv", "report.html", "plots", "model"})
    | {"evaluations", "explanations"},
)
EVALUATION = FolderKind(
    "evaluation",
    frozenset({"metrics.json", "predictions.csv"}),
    frozenset({"plots", "report.html"}),
)
EXPLANATION = FolderKind(
    "explanation",
    frozenset({"index.html", "trace.png", "gates"}),
    frozenset(
        f"{name}.png"
        for name in ("bptt", "distance", "attribution", "memory", "influence", "doctor")
    ),
)


def default_folder(data: str, today: datetime.date) -> Path:
    """Return runs/<date>-<name>, with a number appended if that exists."""
    name = folder_name(Path(data).stem) or "run"
    return unused_path(Path("runs") / f"{today.isoformat()}-{name}")


def default_output(
    model: Path, kind: FolderKind, name: str, overwrite: bool
) -> tuple[Path, tuple[str, ...]]:
    """Return the default folder of an evaluation or explanation: in the model's run, else here.

    Returns: the folder, with a number appended if it exists and is not to be overwritten; and then
        a note that says so.
    """
    in_run = (model / "config.toml").is_file()
    wanted = model / f"{kind.name}s" / name if in_run else Path(f"{kind.name}-{name}")
    if overwrite or not wanted.exists():
        return wanted, ()
    free = unused_path(wanted)
    return free, (
        f"{wanted} exists already, so this {kind.name} is called {free.name}; --overwrite replaces "
        "it, --out names another folder",
    )


def folder_name(text: str) -> str:
    """Return the characters of a text that are allowed in a folder name; may be empty."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.")


def unused_path(path: Path) -> Path:
    """Return `path`, or `path-2`, `path-3`, ... if it exists."""
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate


def check_output_folder(folder: Path, overwrite: bool, kind: FolderKind = RUN) -> None:
    """Raise SettingsError if `folder` must not be written to."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise SettingsError(f"{folder}: is a file, expected a folder. Name another with --out")
    entries = {path.name for path in folder.iterdir()}
    if not entries:
        return
    if not overwrite:
        raise SettingsError(
            f"{folder}: exists already. Name another with --out, or replace it with --overwrite"
        )
    if Path.cwd().is_relative_to(folder.resolve()):
        raise SettingsError(f"{folder}: you are in it. Go to another folder to replace it")
    problem = "" if entries >= kind.required else f"is not the folder of an {kind.name}"
    if foreign := sorted(entries - kind.required - kind.optional):
        problem = f"holds {', '.join(map(repr, foreign[:3]))}, which is no part of an {kind.name}"
    if problem:
        raise SettingsError(
            f"{folder}: {problem}, so --overwrite does not replace it. Name another with --out"
        )


@contextmanager
def new_folder(folder: Path, overwrite: bool, kind: FolderKind = RUN) -> Iterator[Path]:
    """Make `folder` for the duration of a `with` block; undo everything if the block fails.

    A folder to be replaced is kept next to the new one until that is complete. If the block fails
    after a model was saved, or because the training diverged, the new folder is kept, without a
    metrics.json, so that the training is not lost, and is renamed if the name belongs to an older
    run. A note on the exception says where it is.
    """
    check_output_folder(folder, overwrite, kind)
    where = folder.resolve()  # a link or "." cannot be renamed, but its target can
    with ExitStack() as undo:
        replaced = _set_aside(where) if overwrite else None
        if replaced is not None:
            undo.callback(replaced.replace, where)
        missing = [path for path in (where, *where.parents) if not path.exists()]
        undo.callback(_remove_empty, missing)
        # If another process made the folder meanwhile, this fails before anything is removed.
        where.mkdir(parents=True, exist_ok=not missing)
        undo.callback(_empty, where)
        try:
            yield folder
        except BaseException as error:
            trained = (where / "model" / "config.json").is_file()
            if trained or isinstance(error, NonFiniteError):
                if replaced is None:
                    undo.pop_all()
                else:
                    where = where.replace(unused_path(where.with_name(f"{where.name}-unfinished")))
                error.add_note(
                    f"The model trained so far is in {where / 'model'}"
                    if trained
                    else f"{where} is kept. It holds the settings (config.toml) and the epochs "
                    "before this (metrics.jsonl), but no model"
                )
            raise
        undo.pop_all()
    if replaced is not None:
        shutil.rmtree(replaced)


def _set_aside(where: Path) -> Path | None:
    """Rename the folder to be replaced, and return its new path; None if there is none."""
    aside = where.with_name(f".{where.name}.replaced")
    if aside.exists() and not (where / "metrics.json").is_file():
        # A process was killed while replacing a run: the new folder is incomplete, the old one not.
        shutil.rmtree(where, ignore_errors=True)
    elif where.exists() and any(where.iterdir()):
        shutil.rmtree(aside, ignore_errors=True)
        where.replace(aside)
    return aside if aside.exists() else None


def _empty(folder: Path) -> None:
    """Remove the content of a folder if it exists."""
    for path in list(folder.glob("*")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders that are empty, the innermost first."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def append_line(file: TextIO, values: Mapping[str, Any]) -> None:
    """Write one JSON object as a line and flush it, so that other processes can read it at once."""
    # NaN is not valid JSON and other readers would reject the line, so it is an error here.
    file.write(json.dumps(values, allow_nan=False) + "\n")
    file.flush()


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write indented JSON. Raises WriteError."""
    write_file(path, json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def note_static(estimator: Estimator, encoded: EncodedSequences, target: Any) -> tuple[str, ...]:
    """Return what the static features are worth on a data set, in words; empty without any."""
    return () if encoded.static is None else (f"{ablate_static(estimator, encoded, target)}",)


def note_unknown_tokens(encoded: EncodedSequences, source: str) -> tuple[str, ...]:
    """Return how many tokens of a data set are not in the vocabulary, in words; empty if none.

    Args:
        source: name of the data set.
    """
    features: tuple[str, ...] = ()
    static = encoded.encoder.static
    if static is not None and encoded.static is not None:
        count = static.count_unknown(encoded.static)
        named = ", ".join(repr(name) for name, _ in count.most_common(5))
        if count:
            features = (
                f"{count.total():,} categories of static features of {source} were not seen in"
                f" training and are read as unknown: {named}",
            )
    unknown = encoded.encoder.count_unknown(encoded.steps)
    if not unknown:
        return features
    total = len(encoded.steps.values)
    most_common = ", ".join(repr(token) for token, _ in unknown.most_common(5))
    more = ", ..." if len(unknown) > 5 else ""
    return (
        *features,
        f"{unknown.total():,} of {total:,} tokens ({unknown.total() / total:.1%}) of "
        f"{source} were not seen in training and are read as unknown: {most_common}{more}",
    )
