"""Sequences of numbers in the cells of a table: `1.2 3.4 5`, `[1.2, 3.4]`, `[[1,2],[3,4]]`.

Cells are taken apart in whole-array operations, a part of the column at a time, because the split
text takes several times the memory of the numbers.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman.data.columns import NumberColumn, TextColumn
from elman.data.faults import Place, check_numbers, format_count, quote
from elman.data.names import TEXT_NAMES, is_named
from elman.data.ragged import Ragged
from elman.data.roles import ReadOptions, Schema
from elman.data.table import Table
from elman.data.units import MARKS

_PART = 1 << 24  # characters that are split at a time
_LOOKED_AT = 50  # cells that show the form
_CUT = 2000  # characters of a cell that show it
_LEAST = 3  # numbers in the longest cell; two may be a pair, such as a place
_GAPS = sorted(MARKS - {"", ".", "..", "..."})
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
# What Python, NumPy and torch write around lists of numbers.
_WRAPPING = r"(?:np\.|numpy\.|torch\.)?(?:array|tensor|list|float\d*|int\d*)\(|,?\s*dtype=[\w.]+"
_NESTED = re.compile(
    rf"\s*(?:{_WRAPPING})?\s*[\[(]\s*(?:(?:{_WRAPPING})?\s*[\[(]|[^\[\]()]*[\])]\s*,?\s*[\[(])"
)
_BETWEEN = r"[\])]\s*[,;]?\s*[\[(]"  # steps of several channels
_BRACKETS = r"[\[\](){}\"']"
_ODD_SPACES = "[\u00a0\u2009\u202f\u2007]"


class SeriesForm(NamedTuple):
    """How cells hold sequences.

    Args:
        decimal: decimal mark.
        between: regular expression of what separates steps of several channels; empty for one.
        whole: whether all numbers are whole, so that they may be codes of tokens.
    """

    decimal: str
    between: str
    whole: bool


def find_series(sample: Sequence[str], decimal: str | None = None) -> SeriesForm | None:
    """Return how cells hold sequences of numbers, or None if they do not.

    Args:
        sample: cells, of which the first ones decide.
        decimal: decimal mark; None for the one that the cells show.
    """
    cells = [cell for cell in sample if cell.strip() and cell.strip().lower() not in MARKS]
    cells = [_start_of(cell) for cell in cells[:_LOOKED_AT]]
    if not cells or not any(character.isdigit() for character in cells[0]):
        return None
    between = _BETWEEN if 2 * sum(bool(_NESTED.match(cell)) for cell in cells) > len(cells) else ""
    bare = [re.sub(_BRACKETS, "", re.sub(_WRAPPING, "", cell)) for cell in cells]
    # Commas in 1,5;2,5;3 are decimal marks; those in 1,2,3 and 1.5, 2.5 are not.
    joined = "\n".join(bare)
    other = re.search(r"\d[^\S\n]*[;|][^\S\n]*[\d+.-]|\d[^\S\n]+[\d+.-]", joined)
    inner = re.search(r"\d,\d", joined) and not re.search(r",[^\d]|[^\d\n],|\d,\d+,", joined)
    comma = bool(other and inner and "." not in joined and not between) and decimal != "."
    if not between and not comma and ";" in joined and re.search(r"\d[ ,]+[\d+.-]", joined):
        between = ";"
    marks = r"[\s;|]+" if comma else r"[\s,;|]+"
    lists = [[t for t in re.split(marks, cell.strip()) if t] for cell in bare]
    lists = [[t.replace(",", ".") for t in tokens] if comma else tokens for tokens in lists]
    good = [tokens for tokens in lists if tokens and all(map(_is_usual, tokens))]
    if 10 * len(good) < 9 * len(lists) or max(map(len, good), default=0) < _LEAST:
        return None
    whole = all(re.fullmatch(r"[+-]?\d+", token) for tokens in good for token in tokens)
    return SeriesForm("," if comma else ".", between, whole)


def _start_of(cell: str) -> str:
    """Return the start of a long cell, up to a separator."""
    if len(cell) <= _CUT:
        return cell
    return re.sub(r"[^\s,;|]*$", "", cell[:_CUT])


def _is_number_or_gap(token: str) -> bool:
    return bool(re.fullmatch(_NUMBER, token.replace("\u2212", "-"))) or token.lower() in _GAPS


def _is_usual(token: str) -> bool:
    """Whether a token may be among numbers; dots stand for numbers that NumPy left out."""
    return _is_number_or_gap(token) or token in ("...", "…")


class SeriesCells(TextColumn):
    """Cells that hold sequences of numbers.

    Args:
        text: the column as it was read.
        form: how its cells hold the numbers.
    """

    nested = True

    def __init__(self, text: TextColumn, form: SeriesForm) -> None:
        super().__init__(text.name, text.rows, text.cells)
        self.how = form
        self.sentinels = text.sentinels

    @property
    def is_numeric(self) -> bool:
        """Always."""
        return True

    def channel_names(self, count: int) -> list[str]:
        """Return the name of the column for one channel, name[1], name[2], ... for several."""
        return [self.name] if count == 1 else [f"{self.name}[{c + 1}]" for c in range(count)]

    @functools.cached_property
    def count(self) -> int:
        """Number of channels, that of the first cell with numbers."""
        if not self.how.between:
            return 1
        full = (cell for cell in self.head() if cell.strip() and cell.strip().lower() not in MARKS)
        widths = _split([next(full, "")], self.how)[2]
        return int(widths[0]) if len(widths) else 1

    def series(self) -> tuple[Ragged, str]:
        """Return the sequences, (N, C), checked; a cell without any number is a fault."""
        parts, lengths = [], []
        for start, cells in _parts(self.cells.strings()):
            values, bad, widths, steps = _split(cells, self.how)
            owners = np.repeat(np.arange(len(cells)), steps)  # of each step
            wrong = np.flatnonzero(widths != self.count)
            for step in wrong[np.unique(owners[wrong], return_index=True)[1]].tolist():
                self._refuse_width(start + int(owners[step]), int(widths[step]))
            self._refuse_tokens(start, cells, bad, np.repeat(owners, widths))
            if len(wrong):  # placeholders, so that later cells are checked as well
                values = np.zeros(len(widths) * self.count)
            parts.append(values.reshape(-1, self.count))
            lengths.append(steps)
        offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
        for row in np.flatnonzero(np.diff(offsets) == 0).tolist():
            problem = "an empty sequence: the cell holds no number"
            self.fault(row, "empty", problem, "Remove the row.")
        ragged = Ragged(self.blank(np.concatenate(parts)), offsets)

        def place(step: int, channel: int) -> Place:
            row = int(np.searchsorted(offsets, step, side="right")) - 1
            return self.place(row, f"step {step - offsets[row] + 1}: ")

        return check_numbers(ragged, place, self.rows.faults), ""

    def _refuse_width(self, row: int, width: int) -> None:
        count = format_count(width, "number")
        problem = f"a step has {count}, expected {self.count} as in the first cell"
        self.fault(row, "channels", problem, "Every step needs a value in every channel.")

    def _refuse_tokens(
        self, start: int, cells: Any, bad: NDArray[np.bool_], owners: NDArray[np.int64]
    ) -> None:
        """Record the first thing in each cell that is no number."""
        for i in np.unique(owners[bad]).tolist() if bad.any() else ():
            cell = cells[i].as_py()
            tokens = _tokens_of(cell, self.how)
            number = next(k for k, token in enumerate(tokens) if not _is_number_or_gap(token))
            token, remedy = tokens[number], "Correct it, or write nan for a missing value."
            if "..." in cell:
                token = "..."
                remedy = (
                    "The program that wrote it left numbers out; for NumPy, save the arrays with"
                    " numpy.savez, or call numpy.set_printoptions(threshold=sys.maxsize) first."
                )
            problem = f"number {number + 1}, {quote(token)}, is not a number"
            self.fault(start + i, "number", problem, remedy)


def _parts(cells: Any) -> Iterator[tuple[int, Any]]:
    """Yield arrays of cells that together are not too long, and the index of the first of them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = pa.array(cells, pa.large_string()) if isinstance(cells, list) else cells
    ends = np.cumsum(pc.binary_length(cells).to_numpy()) // _PART
    starts = [0, *(np.flatnonzero(np.diff(ends)) + 1).tolist(), len(cells)]
    for start, end in itertools.pairwise(starts):
        yield start, cells[start:end]


def _split(
    cells: Any, how: SeriesForm
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers, which are faulty, how many each step has, and the steps of each cell."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = pa.array(cells, pa.large_string()) if isinstance(cells, list) else cells
    lower = pc.utf8_lower(pc.utf8_trim_whitespace(text))
    text = pc.if_else(pc.is_in(lower, value_set=pa.array(sorted(MARKS))), "", text)
    text = _bare(text, how)
    steps = np.ones(len(cells), np.int64)
    if how.between:
        parts = pc.split_pattern(text, "#")
        steps = pc.list_value_length(parts).to_numpy().astype(np.int64)
        text = pc.utf8_trim(parts.flatten(), " ")
    tokens = pc.split_pattern(text, " ")
    widths = pc.list_value_length(tokens).to_numpy().astype(np.int64)
    flat = tokens.flatten()
    empty = pc.equal(flat, "").to_numpy(zero_copy_only=False)
    if empty.any():  # an empty cell is split into one empty token
        owners = np.repeat(np.arange(len(widths)), widths)
        widths = widths - np.bincount(owners[empty], minlength=len(widths))
        flat = flat.filter(pa.array(~empty))
    good = pc.match_substring_regex(flat, f"^{_NUMBER}$")
    gap = pc.is_in(pc.utf8_lower(flat), value_set=pa.array(_GAPS))
    values = pc.cast(pc.if_else(good, flat, None), pa.float64())
    bad = ~pc.or_(good, gap).to_numpy(zero_copy_only=False)
    numbers = np.array(values.to_numpy(zero_copy_only=False), np.float64)
    if not how.between:  # every number is a step
        return numbers, bad, np.ones(len(numbers), np.int64), widths
    kept = widths > 0
    owners = np.repeat(np.arange(len(steps)), steps)
    return numbers, bad, widths[kept], np.bincount(owners[kept], minlength=len(steps))


def _bare(text: Any, how: SeriesForm) -> Any:
    """Return cells of pyarrow with spaces between numbers and # between steps."""
    import pyarrow.compute as pc

    replace = pc.replace_substring_regex
    text = replace(replace(text, _ODD_SPACES, " "), "[\u2212\u2013]", "-")
    text = replace(text, _WRAPPING, "")
    text = replace(text, how.between, "#") if how.between else text
    text = replace(text, _BRACKETS, "")
    marks = "[;|]" if how.decimal == "," else "[,;|]"
    for _ in range(2):  # 1,,3 has a gap; the second time for those that share a mark
        text = replace(text, rf"({marks})\s*({marks})", r"\1nan\2")
    text = replace(text, rf"(?:\s|{marks})+", " ")
    text = replace(text, ",", ".") if how.decimal == "," else text
    return pc.utf8_trim(replace(text, " *# *", "#"), " #")


def _tokens_of(cell: str, how: SeriesForm) -> list[str]:
    """Return what a cell holds between separators, for a message."""
    import pyarrow as pa

    return [t for t in re.split("[ #]", _bare(pa.array([cell]), how)[0].as_py()) if t]


def find_series_cells(table: Table, options: ReadOptions) -> dict[str, SeriesCells]:
    """Return the columns of a table whose cells hold sequences of numbers, by name."""
    layout = options.layout
    taken = {options.text, options.id, options.time, options.group, *options.categories}
    taken |= {options.target, *(options.target or "").split(",")}
    # Channels of steps are called name[1], name[2], ... after their column.
    bases = {re.sub(r"\[\d+\]$", "", name) for name in layout.values} if layout else set()
    found = {}
    for name, column in table.columns.items():
        if not isinstance(column, TextColumn) or name in taken:
            continue
        known = name in bases and bool(layout and (layout.in_cells or name not in layout.values))
        if (column.is_numeric or (layout is not None and not known)) and not known:
            continue
        form = find_series(column.sample()[:1000], options.decimal)
        if form is None and known:
            form = SeriesForm(".", "", False)
        # Whole numbers in a column called text are codes of words.
        named = name in options.values or known or name.lower() == "sequence"
        if form is None or (form.whole and not named and is_named(name, TEXT_NAMES)):
            continue
        found[name] = SeriesCells(column, form)
    return found


def use_series(schema: Schema, table: Table, options: ReadOptions, inputs: Sequence[str]) -> bool:
    """Set the columns of sequences as values; return whether there are any."""
    named = options.values or (options.layout.values if options.layout else ())
    found = [n for n in named or inputs if isinstance(table.columns.get(n), SeriesCells)]
    if not found or options.text:
        return False
    columns = [column for name in found if isinstance(column := table.columns[name], SeriesCells)]
    schema.values = tuple(found)
    schema.wide = tuple(name for c in columns for name in c.channel_names(c.count))
    if named:
        return True
    whole = all(column.how.whole for column in columns)
    why = "each cell holds a sequence of numbers"
    schema.guess("values", found, why, "likely" if whole else "sure")
    if any(column.how.decimal == "," for column in columns):
        why = "numbers within the cells have decimal commas"
        schema.guess("decimal", found, why, "likely", flag="--decimal ,", change="--decimal .")
    for name in inputs:
        if name not in found:
            schema.guess(
                "unused",
                [name],
                "one value for each sequence, not a step",
                "likely",
                flag=f"left out {name}",
                change=f"--static {name} reads it as a feature of the sequence",
            )
    return True


def expand_steps(table: Table, names: Sequence[str]) -> tuple[Table, tuple[str, ...]]:
    """Return a table with a row per step in which each number of these cells is a channel.

    Args:
        names: the columns of values, of which those of sequences are expanded.
    Returns: the table, and the names of the columns of values in it.
    """
    columns, values = dict(table.columns), []
    for name in names:
        column = table.columns[name]
        if not isinstance(column, SeriesCells):
            values.append(name)
            continue
        sequences = column.series()[0]
        width = int(sequences.lengths[0])
        for row in np.flatnonzero(sequences.lengths != width).tolist():
            count = format_count(int(sequences.lengths[row]), "number")
            problem = f"{count}, expected {width} as in the first row: each is a channel of a step"
            remedy = "If each row is a whole sequence, say --format rows."
            column.fault(row, "channels", problem, remedy)
        table.faults.stop()
        numbers = sequences.values.reshape(len(table), -1)
        for c, own in enumerate(numbers.T, 1):
            columns[f"{name}[{c}]"] = NumberColumn(f"{name}[{c}]", table.rows, own)
            values.append(f"{name}[{c}]")
        del columns[name]
    return dataclasses.replace(table, columns=columns), tuple(values)
