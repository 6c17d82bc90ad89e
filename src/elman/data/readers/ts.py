"""The UCR/UEA archive's `.ts` files.

Source: https://www.aeon-toolkit.org/en/latest/api_reference/file_specifications/ts.html
"""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

import numpy as np

from elman.data.columns import TextColumn
from elman.data.faults import Faults, Place, format_count, quote, to_numbers
from elman.data.forms import missing_marks
from elman.data.numbers import NumberForm
from elman.data.ragged import Ragged
from elman.data.roles import ReadOptions
from elman.data.table import Column, Rows, SeriesColumn, Table
from elman.data.units import MISSING

SERIES, TARGET = "series", "class"  # the two columns of a table of cases
_BOOLEAN = ("timestamps", "missing", "univariate", "equallength", "targetlabel")


class _Header(NamedTuple):
    flags: dict[str, bool]
    sizes: dict[str, int]
    classes: tuple[str, ...]
    labelled: bool
    data_line: int


def read_ts(text: str, faults: Faults, options: ReadOptions) -> Table:
    """Read a `.ts` file: one case per line, channels separated by `:` and steps by `,`."""
    contents = text.split("\n")
    header = _read_header(contents, faults)
    if options.labelled and not header.labelled:
        raise faults.error(
            "label",
            "the header says @classLabel false, expected labels",
            "Use a file with class labels, or numbers and @targetLabel true.",
        )
    cells: list[str] = []
    ends = [0]
    lines: list[int] = []
    labels: list[str] = []
    channels = 1 if header.flags.get("univariate") else header.sizes.get("dimensions", 0)
    # The first case decides if @dimensions or @seriesLength is missing.
    length = header.sizes.get("serieslength") if header.flags.get("equallength") else None
    for line, content in enumerate(contents[header.data_line :], header.data_line + 1):
        content = content.strip()
        if not content or content.startswith("#"):
            continue
        parts = content.split(":")
        label = parts.pop().strip() if header.labelled else ""
        channels = channels or len(parts)
        case = [part.split(",") for part in parts]
        if fault := _find_wrong_shape(case, channels, length, header.labelled):
            rule, problem, remedy = fault
            faults.add(rule, problem, remedy, line=line)
            continue
        if header.flags.get("equallength"):
            length = length or len(case[0])
        for step in zip(*case, strict=True):
            cells += step
        ends.append(ends[-1] + len(case[0]))
        lines.append(line)
        labels.append(label)
    if not lines:
        faults.stop()
        raise faults.error(
            "empty",
            "no case follows @data",
            "Check that the file was written to the end.",
            line=header.data_line,
        )
    labels_or_none = labels if header.labelled else None
    missing, classes = missing_marks(options), header.classes
    return table_of_cases(cells, channels, ends, lines, labels_or_none, classes, faults, missing)


def table_of_cases(
    cells: list[str],
    channels: int,
    ends: list[int],
    lines: list[int],
    labels: list[str] | None,
    classes: tuple[str, ...],
    faults: Faults,
    missing: tuple[str, ...] = (),
) -> Table:
    """Return cases, one per line, as a table of two columns, the series and the target.

    Args:
        cells: cells of all cases, ordered by step and channel, (N * channels,).
        ends: where each case starts, and the end, in steps from 0 to N.
        lines: line of each case in the file.
        labels: label of each case, or None.
        classes: classes declared in the header; empty if the target is a number.
        missing: marks of missing values besides the usual ones.
    """
    rows = Rows(faults, np.array(lines, np.int64), named=False)

    def place(step: int, channel: int) -> Place:
        i = bisect_right(ends, step) - 1
        return Place(lines[i], None, f"channel {channel + 1}, step {step - ends[i] + 1}: ")

    columns: dict[str, Column] = {}
    if labels is not None:
        columns[TARGET] = target = TextColumn(TARGET, rows, labels, classes)
        target.task = "classification" if classes else "regression"
        # Messages name the header line because it is the reason that a number is expected.
        target.prefix = "" if classes else "@targetLabel true: "
    form = NumberForm(marks=MISSING.union(mark.lower() for mark in missing))
    flat = to_numbers(cells, lambda k: place(*divmod(k, channels)), faults, form)
    sequences = Ragged(flat.reshape(-1, channels), np.array(ends, np.int64))
    columns[SERIES] = SeriesColumn(SERIES, rows, sequences, place)
    return Table("ts", columns, rows, len(lines))


def _find_wrong_shape(
    case: list[list[str]], channels: int, length: int | None, labelled: bool
) -> tuple[str, str, str] | None:
    """Return rule, problem and remedy if a case lacks channels or steps."""
    if len(case) != channels or not case:
        return (
            "channels",
            f"{format_count(len(case), 'channel')}, expected {channels or 'at least 1'}",
            "Every case needs as many parts between ':' as the others"
            + (", and its class at the end." if labelled else "."),
        )
    steps = len(case[0])
    for c, values in enumerate(case, 1):
        if values == [""]:
            return "empty", f"an empty sequence: channel {c} has no values", "Remove the case."
        if len(values) != steps:
            return (
                "length",
                f"channel {c} has {format_count(len(values), 'step')}, expected {steps} as in the"
                " first",
                "All channels of a case need the same length.",
            )
    if length and steps != length:
        return (
            "length",
            f"{format_count(steps, 'step')}, expected {length} as the header says equal lengths",
            "Correct the case, or write @equalLength false.",
        )
    return None


def _read_header(contents: list[str], faults: Faults) -> _Header:
    flags: dict[str, bool] = {}
    sizes: dict[str, int] = {}
    classes: tuple[str, ...] = ()
    labelled = False
    for line, content in enumerate(contents, 1):
        words = content.split()
        if not words or words[0].startswith("#"):
            continue
        tag = words[0].lower()
        value = words[1].lower() if len(words) > 1 else ""
        if not tag.startswith("@"):
            raise faults.error(
                "header",
                f"{quote(content.strip())} is before @data, expected a line with @ or #",
                "Write @data on a line before the first case.",
                line,
            )
        # Both spellings occur in the archive.
        key = {"dimension": "dimensions"}.get(tag[1:], tag[1:])
        if key == "data":
            return _Header(flags, sizes, classes, labelled, line)
        if key in _BOOLEAN or key == "classlabel":
            if value not in ("true", "false"):
                raise faults.error(
                    "header",
                    f"{words[0]} is {value!r}, expected true or false",
                    "Correct the header.",
                    line,
                )
            flags[key] = value == "true"
        if flags.get("timestamps"):
            raise faults.error(
                "header",
                "the values carry time stamps, which elman does not read",
                "Write the values alone and @timestamps false.",
                line,
            )
        if key == "targetlabel" and flags[key]:
            labelled = True
        if key == "classlabel":
            labelled, classes = flags[key], tuple(words[2:])
            if labelled and not classes:
                raise faults.error(
                    "header", "@classLabel true names no classes", "List them after true.", line
                )
        if key in ("dimensions", "serieslength"):
            if not (value.isdecimal() and len(value) < 10 and int(value)):
                raise faults.error(
                    "header",
                    f"{words[0]} is {value!r}, expected a number",
                    "Correct the header.",
                    line,
                )
            sizes[key] = int(value)
    raise faults.error(
        "header",
        "no line says @data",
        "Write @data before the first case; other formats are named with --format.",
    )
