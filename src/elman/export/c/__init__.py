"""A trained model as C99: NAME.h, NAME.c, and NAME_test.c, which checks them where they run."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from elman import files
from elman.data import Dataset, Ragged
from elman.errors import SettingsError
from elman.estimators import EncodedSequences, Estimator
from elman.estimators.labels import refuse_other_lengths
from elman.export.c.arithmetic import simulate
from elman.export.c.source import Program
from elman.export.c.tables import Tables, make_tables, refuse_foreign
from elman.export.parity import (
    ExportReport,
    Floats,
    Parity,
    check,
    compare,
    sample_lengths,
    sample_sequences,
)
from elman.export.raw_inputs import RawInputs

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
# Files of this name would hide those of the compiler.
_HEADERS = [
    "assert",
    "complex",
    "ctype",
    "errno",
    "fenv",
    "float",
    "inttypes",
    "iso646",
    "limits",
    "locale",
    "math",
    "setjmp",
    "signal",
    "stdalign",
    "stdarg",
    "stdatomic",
    "stdbool",
    "stddef",
    "stdint",
    "stdio",
    "stdlib",
    "stdnoreturn",
    "string",
    "tgmath",
    "threads",
    "time",
    "uchar",
    "wchar",
    "wctype",
]
_TEST_SEQUENCES, _TEST_STEPS, _TEST_LONGEST = 8, 400, 100  # in NAME_test.c; about 30 kB


_Given = tuple[EncodedSequences, Any, str]  # sequences, labels or None, and a name


@dataclass(frozen=True)
class _Tested:
    """Sequences that the program is compared with elman on.

    Args:
        encoded: the sequences that it can read.
        labels: their labels; None if they are not known.
        expected, exported: the answers of elman and of the program, (n, K) or (N, K).
        name: what they are, such as `the test part of data.csv`.
        longer: number of sequences that are too long for it.
    """

    encoded: EncodedSequences
    labels: Any
    expected: Floats
    exported: Floats
    name: str
    longer: int


def write_program(
    estimator: Estimator,
    folder: Path,
    *,
    name: str,
    int8: bool,
    max_length: int | None,
    test_data: Any,
    longest: int | None,
    overwrite: bool,
) -> ExportReport:
    """Write the program into a folder; arguments as for `elman.export.to_c`."""
    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(estimator)
    paths = check_files(folder, name, overwrite)
    if max_length is not None and not estimator.model_.config.bidirectional:
        raise SettingsError(
            "max_length: this model reads one step at a time, and sequences of any length. Leave "
            "--max-length (max_length) out"
        )
    if max_length is not None and max_length < 1:
        raise SettingsError(f"max_length: got {max_length}, expected at least 1")
    refuse_foreign(estimator.model_)
    is_double = estimator.model_.output.weight.dtype is torch.float64
    if is_double:  # elman predicts numbers in the weights' dtype, which a program has in float32
        estimator = copy.copy(estimator)
        estimator.model_ = copy.deepcopy(estimator.model_).float()
    tables = make_tables(estimator, int8=int8)
    given = None if test_data is None else _encode(estimator, test_data)
    max_length = _find_max_length(estimator, given, max_length)
    tested = None if given is None else _read(estimator, tables, given, max_length)
    lengths = [min(length, max_length or length) for length in sample_lengths(longest)]
    parity = _compare(estimator, tables, tested, lengths)
    if not int8:
        check(parity)
    quality = _measure(estimator, tested, int8=int8)
    origin = "a trained model" if tested is None else f"a model tested on {tested.name}"
    program = Program(name, tables, estimator, max_length, quality, origin)
    sequences = _choose(estimator, tested, max_length)
    raw = RawInputs.of(sequences)
    expected = simulate(tables, raw) if int8 else estimator.predict_encoded(sequences)
    source = "" if tested is None else f" of {tested.name}, cut to {_TEST_LONGEST} steps"
    texts = program.header(), program.source(), program.test(raw, expected, source)
    files.make_folder(folder)
    written = []
    for path, text in zip(paths, texts, strict=True):
        content = text.encode("utf-8", "replace")
        files.write_file(path, content)
        written.append((path, len(content)))
    notes = (*_describe(program, parity), *quality, *_advise(program, tested))
    notes += ("The weights are float64 and were rounded to float32 first.",) * is_double
    title = "C99, int8 weights" if int8 else "C99, float32"
    return ExportReport(title, tuple(written), None if int8 else parity, notes)


def check_files(folder: Path, name: str, overwrite: bool) -> tuple[Path, Path, Path]:
    """Return the files to write: header, source, test. Raises SettingsError if they must not be."""
    if not _NAME.fullmatch(name) or name.lower() in _HEADERS:
        raise SettingsError(
            f"name: got {name!r}, expected a letter and up to 39 letters, digits and underscores, "
            "and no header of C such as math, because it is the name of the files and begins every "
            "name in them"
        )
    if os.path.lexists(folder) and not folder.is_dir():
        raise SettingsError(f"{folder}: is a file, expected a folder for {name}.h and {name}.c")
    paths = folder / f"{name}.h", folder / f"{name}.c", folder / f"{name}_test.c"
    for path in paths:
        if path.is_dir():
            raise SettingsError(f"{path}: is a folder, and a file of that name is to be written")
        if os.path.lexists(path) and not overwrite:
            raise SettingsError(
                f"{path}: exists already. Name another folder or other files (--out, --name), or "
                "replace it: overwrite=True, in a command --overwrite"
            )
    return paths


def _find_max_length(estimator: Estimator, given: _Given | None, max_length: int | None) -> int:
    """Return the steps that the program reads at most; 0 for a model with one direction."""
    if not estimator.model_.config.bidirectional:
        return 0
    if max_length is not None:
        return max_length
    if given is None:
        raise SettingsError(
            "max_length: this model reads each sequence from both ends, so the program keeps all "
            "of it, and C needs to know the longest. Give --max-length (max_length), or sequences "
            "to test it with (--data, test_data), whose longest is then the limit"
        )
    return int(given[0].inputs.lengths.max(initial=1))


def _encode(estimator: Estimator, test_data: Any) -> _Given:
    """Return test data as the network reads it, its labels or None, and its name."""
    if isinstance(test_data, Dataset):
        return estimator.encode(test_data), test_data.target, f"{test_data.source}"
    if isinstance(test_data, tuple) and 1 <= len(test_data) <= 4:
        X, y, _, static = (*test_data, None, None, None)[:4]
        return estimator.encode(X, static=static), y, "test_data"
    return estimator.encode(test_data), None, "test_data"


def _read(estimator: Estimator, tables: Tables, given: _Given, max_length: int) -> _Tested:
    """Return the sequences that the program can read, with their labels and all answers."""
    encoded, y, name = given
    labels = None if y is None else estimator.read_labels(encoded, y)
    if labels is not None:
        refuse_other_lengths(encoded.inputs, labels)
    fits = encoded.inputs.lengths <= (max_length or np.inf)
    longer = int((~fits).sum())
    if longer:
        kept = np.flatnonzero(fits)
        encoded = encoded.take(kept)
        if labels is not None:
            labels = labels.take(kept) if isinstance(labels, Ragged) else labels[kept]
    if not len(encoded):
        raise SettingsError(
            f"none of the {longer:,} sequences of {name} has at most {max_length:,} steps. Give a "
            "larger --max-length (max_length)"
        )
    expected, exported = estimator.predict_encoded(encoded), _ask(tables, encoded)
    return _Tested(encoded, labels, expected, exported, name, longer)


def _ask(tables: Tables, encoded: EncodedSequences) -> Floats:
    """Return the program's answers."""
    return simulate(tables, RawInputs.of(encoded))


def _compare(
    estimator: Estimator, tables: Tables, tested: _Tested | None, lengths: Sequence[int]
) -> Parity:
    """Compare the program's arithmetic with elman on random and test sequences.

    Args:
        lengths: steps of the random ones.
    Returns: the comparison with the larger difference.
    """
    sample = sample_sequences(estimator, lengths)
    parities = [compare(estimator, sample, lambda encoded: _ask(tables, encoded))]
    if tested is not None:
        exported = tested.exported
        parities.append(
            compare(estimator, tested.encoded, lambda encoded: exported, tested.expected)
        )
    return max(parities, key=lambda each: each.difference)


def _measure(estimator: Estimator, tested: _Tested | None, *, int8: bool) -> tuple[str, ...]:
    """Say how good elman and the program are on the test data."""
    what = "with int8 weights" if int8 else "in C"
    if tested is None or tested.labels is None:
        why = "no labelled test data were given" if tested is None else (
            f"{tested.name} has no labels"
        )  # fmt: skip
        return (f"How good it is {what} was not measured, because {why} (--data FILE, test_data).",)
    inputs, found = tested.encoded.inputs, []
    for predictions in (tested.expected, tested.exported):
        report = estimator.target_.evaluate(
            tested.labels,
            predictions,
            lengths=inputs.lengths,
            owners=inputs.owners if estimator.per_step else None,
            resamples=0,
        )
        metric = report.ranked(report.headline_metric)
        found.append((metric.title, metric.write(metric.value)))
    (title, before), (_, after) = found
    return (
        f"On {len(inputs):,} sequences of {tested.name}: {title} {before} in elman, "
        f"{after} {what}.",
    )


def _describe(program: Program, parity: Parity) -> list[str]:
    """Say how large the program is, and what its comparison with elman means."""
    sizes, memory = program.sizes, "for each sequence that is read at the same time"
    lines = [
        f"Flash: {sizes.flash:,} bytes of constants, and less than 4 KB of code. RAM: "
        f"{sizes.state:,} bytes {memory}, and {sizes.stack:,} bytes of arrays on the stack."
    ]
    if program.max_length:
        lines.append(f"Sequences have at most {program.max_length:,} steps (--max-length).")
    if program.tables.int8:
        lines.append(f"Rounding to int8 changes the answers: {parity}.")
    return lines


def _advise(program: Program, tested: _Tested | None) -> list[str]:
    """Say what was not checked, and what cannot be looked up."""
    name = program.name
    lines = [
        "The comparison computes what the program computes, in NumPy; elman starts no compiler. To "
        f"check the program itself, where it will run: cc -std=c99 -O2 {name}_test.c {name}.c -lm "
        "&& ./a.out"
    ]
    if tested is not None and tested.longer:
        lines.append(
            f"{tested.longer:,} sequences of {tested.name} are longer than {program.max_length:,} "
            "steps and were left out."
        )
    encoder = program.estimator.encoder_
    known = [encoder.vocabulary, *encoder.categories.values()]
    known += [
        dict.fromkeys(each, 0) for each in (encoder.static.categories if encoder.static else ())
    ]
    for names in known:
        for text, code in names.items():
            if "\0" in text:
                lines.append(
                    f"The name {text!r} holds a NUL, which ends a string in C, so it cannot be "
                    f"looked up; its code is {code}."
                )
    return lines


def _choose(estimator: Estimator, tested: _Tested | None, max_length: int) -> EncodedSequences:
    """Return a few short sequences for NAME_test.c."""
    if tested is None:
        lengths = [min(n, max_length or n) for n in (1, 2, 3, 5, 9, 17, 33, 64)]
        return sample_sequences(estimator, lengths)
    encoder, whole = estimator.encoder_, tested.encoded
    ends = np.minimum(whole.inputs.lengths[:_TEST_SEQUENCES], _TEST_LONGEST)
    count = max(1, int((np.cumsum(ends) <= _TEST_STEPS).sum()))
    steps = Ragged.from_list([whole.steps[i][: ends[i]] for i in range(count)])
    encoded = EncodedSequences(list(steps), steps, encoder.encode_steps(steps), encoder)
    static = None if whole.static is None else whole.static.take(np.arange(count))
    return encoded.with_static(static)
