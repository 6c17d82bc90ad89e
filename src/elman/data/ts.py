"""The UCR/UEA archive's `.ts` files.

Source: https://www.aeon-toolkit.org/en/latest/api_reference/file_specifications/ts.html
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from elman.data.cells import Place, to_numbers
from elman.data.dataset import Dataset, Layout
from elman.data.options import Options, listing, several, shorten
from elman.data.ragged import Ragged
from elman.data.target import objects
from elman.errors import DataError, nearest

TARGET = "class"
_BOOLEAN = ("timestamps", "missing", "univariate", "equallength", "targetlabel")


class _Header(NamedTuple):
    flags: dict[str, bool]
    sizes: dict[str, int]
    classes: tuple[str, ...]
    labelled: bool
    data_line: int


def read_ts(text: str, source: str, options: Options) -> Dataset:
    """Read the text of a `.ts` file: a case a line, channels between `:`, steps between `,`."""
    contents = text.split("\n")
    header = _read_header(contents, source)
    if options.labelled and not header.labelled:
        raise DataError(
            "the header says @classLabel false, expected labels",
            remedy="Use a file with class labels.",
            source=source,
        )
    cells: list[str] = []
    ends = [0]
    lines: list[int] = []
    labels: list[str] = []
    channels = 0
    length = header.sizes.get("serieslength") if header.flags.get("equallength") else None
    for line, content in enumerate(contents[header.data_line :], header.data_line + 1):
        content = content.strip()
        if not content or content.startswith("#"):
            continue
        parts = content.split(":")
        if header.labelled:
            labels.append(_check_label(parts.pop().strip(), header.classes, source, line))
        channels = channels or header.sizes.get("dimensions", 0) or len(parts)
        if header.flags.get("univariate"):
            channels = 1
        if len(parts) != channels:
            raise DataError(
                f"{several(len(parts), 'channel')}, expected {channels}",
                remedy="Every case needs as many parts between ':' as the others"
                + (", and its class at the end." if header.labelled else "."),
                source=source,
                line=line,
            )
        own = [part.split(",") for part in parts]
        steps = len(own[0])
        for c, values in enumerate(own, 1):
            if values == [""]:
                raise DataError(
                    f"an empty sequence: channel {c} has no values",
                    remedy="Remove the case.",
                    source=source,
                    line=line,
                )
            if len(values) != steps:
                raise DataError(
                    f"channel {c} has {several(len(values), 'step')}, expected {steps} as in the"
                    " first",
                    remedy="All channels of a case need the same length.",
                    source=source,
                    line=line,
                )
            cells += values
        if header.flags.get("equallength"):
            length = length or steps
            if steps != length:
                raise DataError(
                    f"{several(steps, 'step')}, expected {length} as the header says equal lengths",
                    remedy="Correct the case, or write @equalLength false.",
                    source=source,
                    line=line,
                )
        ends.append(ends[-1] + steps)
        lines.append(line)
    if not lines:
        raise DataError(
            "no case follows @data",
            remedy="Check that the file was written to the end.",
            source=source,
            line=header.data_line,
        )

    def place(k: int) -> Place:
        i = bisect_right(ends, k // channels) - 1
        start, steps = ends[i] * channels, ends[i + 1] - ends[i]
        c, t = divmod(k - start, steps)
        whole = slice(start, ends[i + 1] * channels)
        return Place(lines[i], None, whole, f"channel {c + 1}, step {t + 1}: ")

    flat = to_numbers(cells, place, source)
    # In the file a case is (C, T); a sequence is (T, C).
    cases = np.concatenate(
        [flat[a * channels : b * channels].reshape(channels, b - a).T for a, b in pairwise(ends)]
    )
    used = header.labelled and options.labelled is not False
    layout = Layout(
        format="ts",
        kind="numbers",
        target=TARGET if used else None,
        values=tuple(f"channel {c + 1}" for c in range(channels)),
    )
    return Dataset(
        Ragged(np.ascontiguousarray(cases), np.array(ends, np.int64)),
        objects(labels) if used else None,
        source,
        layout,
        np.array(lines, np.int64),
    )


def _read_header(contents: list[str], source: str) -> _Header:
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

        def fault(problem: str, remedy: str, line: int = line) -> DataError:
            return DataError(problem, remedy=remedy, source=source, line=line)

        if not tag.startswith("@"):
            raise fault(
                f"{shorten(content.strip())} stands before @data, expected a line with @ or #",
                "Write @data on a line before the first case.",
            )
        key = {"dimension": "dimensions"}.get(tag[1:], tag[1:])
        if key == "data":
            return _Header(flags, sizes, classes, labelled, line)
        if key in _BOOLEAN or key == "classlabel":
            if value not in ("true", "false"):
                raise fault(
                    f"{words[0]} is {value!r}, expected true or false", "Correct the header."
                )
            flags[key] = value == "true"
        if flags.get("timestamps"):
            raise fault(
                "the values carry time stamps, which elman does not read",
                "Write the values alone and @timestamps false.",
            )
        if flags.get("targetlabel"):
            raise fault(
                "the targets are numbers to predict (@targetLabel true); elman learns classes",
                "Use a file with @classLabel.",
            )
        if key == "classlabel":
            labelled, classes = flags[key], tuple(words[2:])
            if labelled and not classes:
                raise fault("@classLabel true names no classes", "List them after true.")
        if key in ("dimensions", "serieslength"):
            if not value.isdecimal() or int(value) < 1:
                raise fault(f"{words[0]} is {value!r}, expected a number", "Correct the header.")
            sizes[key] = int(value)
    raise DataError(
        "no line says @data",
        remedy="Write @data before the first case; other formats are named with --format.",
        source=source,
    )


def _check_label(label: str, classes: tuple[str, ...], source: str, line: int) -> str:
    if label in classes:
        return label
    problem = f"class {label!r} is not in the @classLabel list {listing(classes)}"
    if not label:
        problem = "the label is empty"
    raise DataError(
        problem,
        remedy=f"{nearest(label, classes)} Correct the class or the header.".strip(),
        source=source,
        line=line,
    )
