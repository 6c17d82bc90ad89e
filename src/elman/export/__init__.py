"""A trained model as a file for other programs, checked against elman before it is written."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elman import files
from elman.errors import ExportError, SettingsError

if TYPE_CHECKING:
    from elman.data import Dataset
    from elman.estimators import Estimator
    from elman.export.parity import ExportReport


@dataclass(frozen=True)
class ExportOptions:
    """What a user asks of an export, beside its format and its place.

    Args:
        overwrite: replace what is there.
        data: sequences to compare the exported model with elman on, in addition to random ones.
        int8: weights in int8 with a scale per row.
        name: of the C files, and the prefix of the names in them.
        max_length: steps that a C program reads at most, for a bidirectional model.
        longest: most steps of the random sequences; None for 1,000.
        streaming: reads sequences in pieces, with the state as inputs and outputs.
    """

    overwrite: bool = False
    data: Dataset | None = None
    int8: bool = False
    name: str = "elman"
    max_length: int | None = None
    longest: int | None = None
    streaming: bool = False


@dataclass(frozen=True)
class Format:
    """One row of `FORMATS`.

    Args:
        title: the format in words.
        output: name of the file or folder that is written by default.
        options: names of the fields of `ExportOptions` that it takes.
        write: writes a fitted estimator to a path.
        tests: whether the test part of a run is its data, if the user names no other.
    """

    title: str
    output: str
    options: tuple[str, ...]
    write: Callable[[Estimator, Path, ExportOptions], ExportReport]
    tests: bool = False


def to_onnx(
    estimator: Estimator,
    path: str | Path,
    *,
    overwrite: bool = False,
    sequences: Any = None,
    longest: int | None = None,
    streaming: bool = False,
) -> ExportReport:
    """Write a fitted estimator as one ONNX file, from raw numbers or ids to probabilities.

    It is compared with the estimator in onnxruntime first, on random sequences of 1 to 1,000
    steps; nothing is written if an answer differs by more than 1e-5. docs/export.md describes the
    file's inputs and outputs.

    Args:
        path: the file to write; its folder is made if missing.
        overwrite: replace a file of that name.
        sequences: sequences to compare as well, in any form that `predict` accepts.
        longest: most steps of the random sequences, for a network that is not used on longer ones
            and amplifies rounding errors on them; None for 1,000.
        streaming: whether the file reads sequences in pieces of any length: the state of each row
            is an input and an output. The network must have one direction.
    Raises: ExportError if the network has no form in ONNX, if the packages of `elman[onnx]` are
        missing, or if the answers differ; SettingsError if the file exists; WriteError.
    """
    path = Path(path)
    check_file(path, overwrite)
    try:
        from elman.export.onnx import make_file
        from elman.export.parity import ExportReport
    except ImportError as error:
        raise ExportError(
            f"an ONNX file is written and checked with the package {error.name}, which is not "
            "installed: pip install 'elman[onnx]'"
        ) from error
    encoded = None if sequences is None else estimator.encode(sequences)
    content, parity = make_file(estimator, encoded, longest, streaming=streaming)
    files.make_folder(path.parent)
    files.write_file(path, content)
    return ExportReport("ONNX", ((path, len(content)),), parity)


def to_c(
    estimator: Estimator,
    folder: str | Path,
    *,
    name: str = "elman",
    int8: bool = False,
    max_length: int | None = None,
    test_data: Any = None,
    longest: int | None = None,
    overwrite: bool = False,
) -> ExportReport:
    """Write a fitted estimator as C99: NAME.h, NAME.c, and NAME_test.c, which checks them.

    The program needs no library but the math functions of C, and allocates no memory. What it
    computes is compared with the estimator first, on random sequences and the test data; with
    float32 weights nothing is written if an answer differs by more than 1e-5. docs/export-c.md
    describes the functions.

    Args:
        folder: where to write; it is made if missing.
        name: of the files, and the prefix of all names in them, so that one program can have
            several models.
        int8: round weights to int8 with a scale per row, a quarter of the size; the report says
            how good the model is on the test data before and after.
        max_length: steps of the longest sequence that a bidirectional model can read; None means
            the longest of the test data.
        test_data: (X, y) or (X, y, None, static) as for `fit`, or a data set.
        longest: most steps of the random sequences; None for 1,000.
        overwrite: replace files of these names.
    Raises: ExportError if the model has no form in C, or if the answers differ; SettingsError;
        WriteError.
    """
    from elman.export.c import write_program

    return write_program(
        estimator,
        Path(folder),
        name=name,
        int8=int8,
        max_length=max_length,
        test_data=test_data,
        longest=longest,
        overwrite=overwrite,
    )


def _write_c(estimator: Estimator, path: Path, options: ExportOptions) -> ExportReport:
    return to_c(
        estimator,
        path,
        name=options.name,
        int8=options.int8,
        max_length=options.max_length,
        test_data=options.data,
        longest=options.longest,
        overwrite=options.overwrite,
    )


def _write_onnx(estimator: Estimator, path: Path, options: ExportOptions) -> ExportReport:
    return to_onnx(
        estimator,
        path,
        overwrite=options.overwrite,
        sequences=options.data,
        longest=options.longest,
        streaming=options.streaming,
    )


# By the name that `elman export --to` takes.
FORMATS: dict[str, Format] = {
    "onnx": Format(
        "one ONNX file", "model.onnx", ("overwrite", "data", "longest", "streaming"), _write_onnx
    ),
    "c": Format(
        "C99 source",
        "c",
        ("overwrite", "data", "longest", "int8", "name", "max_length"),
        _write_c,
        tests=True,
    ),
}


def refuse_options(name: str, options: ExportOptions) -> None:
    """Raise SettingsError for an option that the format of this name does not take."""
    for field in dataclasses.fields(options):
        if getattr(options, field.name) == field.default or field.name in FORMATS[name].options:
            continue
        others = [f"--to {other}" for other, kind in FORMATS.items() if field.name in kind.options]
        flag = f"--{field.name.replace('_', '-')}"
        raise SettingsError(
            f"{flag}: an export --to {name} has no such option, only {' and '.join(others)}. Leave "
            "it out"
        )


def check_file(path: Path, overwrite: bool) -> None:
    """Raise SettingsError if a file of this name must not be written."""
    if path.is_dir():
        raise SettingsError(f"{path}: is a folder, expected a file. Name a file in it")
    if os.path.lexists(path) and not overwrite:
        raise SettingsError(
            f"{path}: exists already. Name another file, or replace it: overwrite=True, in a "
            "command --overwrite"
        )
