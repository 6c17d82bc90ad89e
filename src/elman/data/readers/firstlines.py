"""Whether the first lines of the tables in a folder are headers, where only all show it."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Sequence
from pathlib import Path

from elman.data.dataset import Guess
from elman.data.faults import Faults, is_number
from elman.data.readers import TextFile
from elman.data.readers.dialect import HEAD, find_dialect, large_cells, read_records
from elman.data.readers.header import LEAST, FirstRows, Row, judge
from elman.data.roles import ReadOptions
from elman.errors import DataError

_FILES = 20  # whose first lines are compared
_SHOWN = 20  # rows of each that are compared with them


def compare_first_lines(files: Sequence[Path], faults: Faults, options: ReadOptions) -> bool | None:
    """Return whether the first lines of several tables are names, where one alone does not show it.

    One file alone cannot show that `0,1` above measurements is a header; many that have it can.
    """
    some = files[:: max(1, len(files) // _FILES)]
    if options.header is not None or options.skip_lines is not None or len(some) < 2:
        return None
    tables: list[list[list[str]]] = []
    for file in some:
        try:
            head = TextFile(file, str(file)).head(HEAD)
            with large_cells(), Faults(str(file)) as own:
                dialect = find_dialect(head, own)
                lines = io.StringIO(head, newline="")
                records = list(read_records(lines, dialect.delimiter))
        except (DataError, csv.Error):
            return None  # reported when the file is read
        tables.append([[cell.strip() for cell in row] for row in records if "".join(row).strip()])
    first = _judge_first_lines(tables)
    if not first.reason:
        return None
    flag, change = (
        ("--no-header", "--header") if first.header is None else ("--header", "--no-header")
    )
    faults.guesses.append(Guess("header", (), first.reason, flag, change, first.sure))
    return first.header is not None


def _judge_first_lines(tables: Sequence[Sequence[Row]]) -> FirstRows:
    """Judge the first lines of several tables with a sequence each, if they hold numbers.

    Returns: no reason if each table shows by itself what its first line is.
    """
    alone = FirstRows(None, None, 0)
    firsts = {tuple(table[0]) for table in tables if len(table) > 1}
    rows = [row for table in tables for row in table[1 : 1 + _SHOWN]]
    if not firsts or not all(all(map(is_number, first)) for first in firsts):
        return alone
    first = min(firsts)
    if any(len(row) != len(first) for row in (*firsts, *rows)):
        return alone
    if len(firsts) > 1:
        named = any(judge(table).header is not None for table in tables if len(table) > 1)
        why = "the first lines of the files hold numbers and differ"
        return alone._replace(reason=why, sure="likely") if named else alone
    numbers = [float(cell) for cell in first]
    finer = not any("." in cell for cell in first) and all("." in c for row in rows for c in row)
    rising = all(a < b for a, b in itertools.pairwise(numbers))
    # Where a column counts on from the first line, as times do, that is the first step.
    first_step = any(map(_counts_on, tables)) and not finer
    why = f"the first line, {', '.join(first[:3])}{', ...' * (len(first) > 3)},"
    if len(tables) < 2 or len(set(first)) < len(first) or [*first] in rows or first_step:
        return alone
    if finer or (rising and len(first) > 1):
        return FirstRows(0, None, 1, f"{why} is the same in every file", "likely")
    return alone._replace(reason=f"{why} is the same in every file", sure="unsure")


def _counts_on(table: Sequence[Row]) -> bool:
    """Whether a column rises by the same amount from the first line on."""
    top = table[: 1 + LEAST]
    if not all(is_number(cell) for row in top for cell in row):
        return False
    columns = zip(*([float(cell) for cell in row] for row in top), strict=True)
    steps = [[b - a for a, b in itertools.pairwise(column)] for column in columns]
    return any(
        len(own) > 1 and own[0] > 0 and all(abs(s - own[0]) < 1e-6 * own[0] for s in own)
        for own in steps
    )
