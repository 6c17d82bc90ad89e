"""Run folders and their files, which never overwrite another run or stay half-written."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elman import files
from elman.data.store import is_store
from elman.errors import ModelFileError, NonFiniteError, SettingsError, WriteError
from elman.estimators import EncodedSequences, Estimator, ablate_static
from elman.runs.unfinished import (
    CONFIG,
    EPOCHS,
    METRICS,
    UNFINISHED,
    Record,
    describe,
    describe_divergence,
    is_unfinished,
)
from elman.train import kept

CHECKPOINTS, TIMES, EXPORTS, LAB_PAGE = "checkpoints", "times.jsonl", "exports", "lab.html"
KEPT_EPOCHS = kept.FOLDER
# Where data are that do not fit into memory, until the run is complete.
STORED, DATA, ENCODED = "stored-data", "data", "encoded"
# What `elman.files` leaves in a folder if the process is killed; the next one removes it.
_TEMPORARY = re.compile(r"\..+\.(partial|partial-old|lock)")


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
    frozenset({CONFIG, EPOCHS}),
    frozenset({METRICS, TIMES, "predictions.csv", "report.html", "plots", "model"})
    | {"evaluations", "explanations", EXPORTS, LAB_PAGE, KEPT_EPOCHS}
    | {UNFINISHED, CHECKPOINTS, STORED},
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
    """Return runs/<date>-<name>."""
    name = folder_name(Path(data).stem) or "run"
    return Path("runs") / f"{today.isoformat()}-{name}"


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
    return next(candidate for candidate in _numbered(path) if not candidate.exists())


def _numbered(path: Path) -> Iterator[Path]:
    """Return `path`, `path-2`, `path-3`, ...; the ending of `lab.html` stays at the end."""
    yield path
    for number in itertools.count(2):
        ending = path.suffix if path.suffix == ".html" else ""
        yield path.with_name(f"{path.name.removesuffix(ending)}-{number}{ending}")


def check_output_folder(folder: Path, overwrite: bool, kind: FolderKind = RUN) -> None:
    """Raise SettingsError if `folder` must not be written to."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise SettingsError(f"{folder}: is a file, expected a folder. Name another with --out")
    entries = {path.name for path in folder.iterdir() if not _TEMPORARY.fullmatch(path.name)}
    if not entries:
        return
    if not overwrite:
        raise SettingsError(
            f"{folder}: exists already. Name another with --out, or replace it with --overwrite"
        )
    if Path.cwd().is_relative_to(folder.resolve()):
        raise SettingsError(f"{folder}: you are in it. Go to another folder to replace it")
    whole = entries >= kind.required or (kind is RUN and UNFINISHED in entries)
    problem = "" if whole else f"is not the folder of an {kind.name}"
    if foreign := sorted(entries - kind.required - kind.optional):
        problem = f"holds {', '.join(map(repr, foreign[:3]))}, which is no part of an {kind.name}"
    if problem:
        raise SettingsError(
            f"{folder}: {problem}, so --overwrite does not replace it. Name another with --out"
        )


def check_run_folder(folder: Path, overwrite: bool) -> None:
    """Raise SettingsError if a run must not be written to `folder`."""
    if is_unfinished(folder) and not overwrite:
        raise SettingsError(
            f"{folder}: holds an unfinished run, which stopped {describe(folder)}\n"
            "To give it up and start again, add --overwrite; to keep both, name another folder "
            "with --out"
        )
    check_output_folder(folder, overwrite)


# -- from the first file to the last ------------------------------------------------------------


@contextmanager
def new_run(folder: Path, overwrite: bool, record: Record, config: str) -> Iterator[None]:
    """Make the folder of a run, with unfinished.json and config.toml, and hold it for the block.

    A run that is replaced stays complete beside the new one, as FOLDER.replaced, until `complete`.
    If the block fails before there is anything to continue from, all is as it was before.

    Args:
        folder: where to write.
        overwrite: replace a run that is there.
        record: what the run was started with.
        config: content of config.toml.
    Raises: SettingsError if the folder must not be written to, or another process writes there.
    """
    with files.lock(folder):
        check_run_folder(folder, overwrite)
        where = folder.resolve()  # a link or "." cannot be renamed, but its target can
        made = not where.exists()
        replaced = _put_in_place(where, record, config)

        def undo() -> None:
            if replaced is not None:
                _exchange(replaced, where)
                files.remove(replaced)
            elif made:
                files.remove(where)
            else:
                for path in list(where.iterdir()):
                    files.remove(path)

        with _kept(folder, undo):
            yield


def default_run(
    data: str, today: datetime.date, record: Record, config: str, stack: ExitStack
) -> tuple[Path, str]:
    """Enter `new_run` with the default folder, or the next name that is free.

    Returns: the folder; and a note if the run with the name before is unfinished.
    """
    note = ""
    for folder in _numbered(default_folder(data, today)):
        if not folder.exists():
            try:
                stack.enter_context(new_run(folder, False, record, config))
            except SettingsError:
                continue  # another process is making it
            break
        with suppress(SettingsError), files.lock(folder):  # else it is being trained
            if is_unfinished(folder):
                note = f"{folder} is unfinished; it stopped {describe(folder)}"
    return folder, note


@contextmanager
def resumed_run(folder: Path) -> Iterator[Record]:
    """Hold the folder of an unfinished run for the block, and yield its record.

    Raises: SettingsError if the run is complete, or another process writes there; ModelFileError
        if the folder holds no run.
    """
    if not folder.exists():
        raise ModelFileError(f"{folder}: no such folder. Expected that of an unfinished run")
    if not folder.is_dir():
        raise ModelFileError(f"{folder}: is a file, expected the folder of an unfinished run")
    with files.lock(folder):
        if (folder / METRICS).is_file():
            complete(folder)  # the process may have been killed within its last lines
            report = folder / "report.html"
            raise SettingsError(f"{folder}: is complete; there is nothing to resume. See {report}")
        if not is_unfinished(folder):
            raise ModelFileError(
                f"{folder}: holds no unfinished run, because there is no {UNFINISHED}. Expected "
                "the folder of a run that was stopped"
            )
        with _kept(folder, None):
            yield Record.read(folder)


def complete(folder: Path) -> None:
    """Remove what only an unfinished run needs, once metrics.json is written."""
    replaced = _replaced(folder.resolve())
    with suppress(WriteError):  # it is a folder too many, but the run is complete
        if replaced is not None:
            files.remove(replaced)
    files.remove(folder / UNFINISHED)
    for name in (CHECKPOINTS, STORED):
        with suppress(WriteError):
            files.remove(folder / name)


def _put_in_place(where: Path, record: Record, config: str) -> Path | None:
    """Write the first files of a run; return where the run is that it replaces, if there is one."""
    if (where / METRICS).is_file():
        complete(where)
    beside = where.with_name(f"{where.name}.replaced")
    if _replaced(beside) == beside:
        files.remove(beside)  # killed before it could take the place of the run
    old = _replaced(where)
    if old is not None:
        # The second --overwrite after a kill: the complete run is safe, this one is given up.
        with files.new_folder(where, replace=True) as new:
            _write_first(new, dataclasses.replace(record, replaces=old.name), config)
        return old
    if not where.exists():
        with files.new_folder(where, replace=False) as new:
            _write_first(new, record, config)
        return None
    if not any(where.iterdir()):
        _write_first(where, record, config)  # not renamed, because somebody may be in it
        return None
    beside = unused_path(beside)
    with files.new_folder(beside, replace=False) as new:
        _write_first(new, dataclasses.replace(record, replaces=beside.name), config)
    _exchange(beside, where)
    return beside


def _write_first(folder: Path, record: Record, config: str) -> None:
    files.write_file(folder / UNFINISHED, record.to_json())
    files.write_file(folder / CONFIG, config)


def _exchange(new: Path, where: Path) -> None:
    """Swap two folders, in one step where the system can do that."""
    if not files.exchange(new, where):
        third = unused_path(where.with_name(f"{where.name}.new"))
        files.move(new, third)
        files.move(where, new)
        files.move(third, where)


def _replaced(where: Path) -> Path | None:
    """Return the folder of the run that a run replaces; None if there is none."""
    if not (where / UNFINISHED).is_file():
        return None
    try:
        name = Record.read(where).replaces
        # The folders may have been moved or renamed since.
        if name != where.name and not name.startswith(f"{where.name}.replaced"):
            return None
        path = where.with_name(name)
        check_output_folder(path, True)
    except (ModelFileError, SettingsError):
        return None
    return path if path.is_dir() else None


def has_checkpoint(folder: Path) -> bool:
    """Whether the training of a run can be continued behind its first batch."""
    return any(path.name.strip("0") for path in (folder / CHECKPOINTS).glob("[0-9]*"))


def _has_progress(folder: Path) -> bool:
    """Whether there is anything that a resumed run would not have to do again."""
    with suppress(OSError):
        if files.read_lines(folder / EPOCHS):
            return True
    stored = is_store(folder / STORED / DATA)  # which may have taken hours
    return stored or (folder / "model").exists() or has_checkpoint(folder)


@contextmanager
def _kept(folder: Path, undo: Callable[[], None] | None) -> Iterator[None]:
    """Say on an error of the block what is kept and how to go on; without progress, undo all."""
    try:
        yield
    except BaseException as error:
        diverged = isinstance(error, NonFiniteError)
        if undo is not None and not _has_progress(folder) and not diverged:
            undo()
        elif diverged:
            error.add_note(describe_divergence(folder))
        elif not isinstance(error, KeyboardInterrupt):  # of which the command says where it was
            error.add_note(f"The run stopped {describe(folder)}")
        raise


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write indented JSON. Raises WriteError."""
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
    files.write_file(path, text + "\n")


def note_static(estimator: Estimator, encoded: EncodedSequences, target: Any) -> tuple[str, ...]:
    """Return what the static features are worth on a data set, in words; empty without any."""
    return () if encoded.static is None else (f"{ablate_static(estimator, encoded, target)}",)


def note_unknown_tokens(encoded: EncodedSequences, source: str) -> tuple[str, ...]:
    """Return how many tokens of a data set are not in the vocabulary, in words; empty if none.

    Args:
        source: name of the data set.
    """
    static, features = encoded.encoder.static, Counter[str]()
    if static is not None and encoded.static is not None:
        features = static.count_unknown(encoded.static)
    unknown = encoded.encoder.count_unknown(encoded.steps)
    return describe_unknown(unknown, len(encoded.steps.values), features, source)


def describe_unknown(
    tokens: Counter[str], total: int, features: Counter[str], source: str
) -> tuple[str, ...]:
    """Say how many tokens and categories were not seen in training; empty if all were.

    Args:
        tokens: how often each unknown token occurs, among `total` tokens.
        features: how often each unknown category of static features occurs.
        source: name of the data set.
    """
    notes = []
    if features:
        named = ", ".join(repr(name) for name, _ in features.most_common(5))
        notes.append(
            f"{features.total():,} categories of static features of {source} were not seen in"
            f" training and are read as unknown: {named}"
        )
    if tokens:
        most_common = ", ".join(repr(token) for token, _ in tokens.most_common(5))
        more = ", ..." if len(tokens) > 5 else ""
        notes.append(
            f"{tokens.total():,} of {total:,} tokens ({tokens.total() / total:.1%}) of "
            f"{source} were not seen in training and are read as unknown: {most_common}{more}"
        )
    return tuple(notes)
