"""The common form into which every file, folder and frame is read: named columns of cells.

A cell holds one value, or the sequence of a whole row (lists in JSON lines, arrays, `.ts` cases).
`schema` chooses the role of each column. Its cells are converted to numbers, tokens or labels only
afterwards, so that errors in unused columns are not reported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from elman.data.cells import NumberCells, move_numbers
from elman.data.dataset import InputKind
from elman.data.faults import Faults, Place, check_numbers, unknown_name
from elman.data.ragged import Ragged
from elman.tasks import TaskName

MOST_COLUMNS = 100_000

# Placeholder for a label whose row has a fault already, so that it is not reported twice.
UNREADABLE = object()

TableFormat = Literal["table", "jsonl", "ts", "arrays"]


@dataclass(frozen=True, eq=False)
class Rows:
    """Where the rows of a table are in a file, and where their faults are collected.

    Args:
        faults: collects the faults of cells.
        lines: line of the file on which each row starts, (n,), or None if the file has no lines.
        files: file of each row; empty if all rows are from `faults.source`.
        noun: word for a row in messages about rows without a line number.
        ids: names of the rows; empty if they have none.
        named: whether the file names its columns, so that messages can use the names.
        before: rows of the file before these, which may be a piece of it.
        faulty: rows with a fault, recorded while cells are read.
    """

    faults: Faults
    lines: NDArray[np.int64] | None = None
    files: tuple[str, ...] = ()
    noun: str = "row"
    named: bool = True
    ids: tuple[str, ...] = ()
    before: int = 0
    faulty: set[int] = field(default_factory=set)

    def place(self, row: int, name: str | None = None, detail: str = "") -> Place:
        """Return the place of a cell; without lines, rows are counted from 1."""
        name = name if self.named else None
        if self.lines is None:
            return Place(None, name, f"{self.noun} {self.before + row + 1}: {detail}")
        return Place(int(self.lines[row]), name, detail, self.files[row] if self.files else None)

    def fault(self, row: int, name: str | None, rule: str, problem: str, remedy: str) -> None:
        """Record a fault of a row, or of its cell in column `name`."""
        self.faulty.add(row)
        self.place(row, name).fault(self.faults, rule, problem, remedy)


class Steps(NamedTuple):
    """Lengths of the sequences to which labels belong.

    Args:
        lengths: steps of each sequence, (n,).
        padded: steps of every sequence in the file, if the file pads shorter ones.
    """

    lengths: NDArray[np.int64]
    padded: int | None = None


class LabelCells(NamedTuple):
    """Unchecked labels of a column.

    Args:
        values: labels as stored in the file, text or Python values, concatenated over all rows.
        offsets: where the labels of each row start, (n + 1,); None for one label per row.
        place: returns the place of label i.
    """

    values: list[Any]
    offsets: NDArray[np.int64] | None
    place: Callable[[int], Place]


class Column:
    """The cells of one column.

    A subclass implements the conversions that its cells support; the others raise an error.

    Args:
        name: name, unique in its table.
        rows: places of the rows.
    """

    nested = False  # whether a cell holds the sequence of its row
    padded: int | None = None  # steps to which the file pads all sequences
    task: TaskName | None = None  # task of this target, if the file declares it
    prefix = ""  # start of the messages about its cells
    unit = ""  # of its numbers, as its cells or a line below the header show it
    header_unit = ""  # as that line shows it
    sentinels: tuple[float, ...] = ()  # numbers that mean a missing value
    marks: tuple[str, ...] = ()  # text that means one, besides the usual marks

    def __init__(self, name: str, rows: Rows) -> None:
        self.name, self.rows = name, rows

    def place(self, row: int, detail: str = "") -> Place:
        """Return the place of the cell in a row."""
        return self.rows.place(row, self.name, self.prefix + detail)

    def fault(self, row: int, rule: str, problem: str, remedy: str) -> None:
        """Record a fault of the cell in a row."""
        self.rows.fault(row, self.name, rule, problem, remedy)

    def __str__(self) -> str:
        return repr(self.name)

    def blank(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return numbers with NaN in place of those that mean a missing value."""
        found = np.isin(values, self.sentinels) if self.sentinels else np.zeros(1, dtype=bool)
        return np.where(found, np.nan, values) if found.any() else values

    @property
    def is_numeric(self) -> bool:
        """Whether the column is numeric; a few invalid cells do not change that."""
        return True

    def texts(self) -> list[str]:
        """Return the cells as text, top to bottom."""
        self._refuse("text")

    def cell(self, row: int) -> str:
        """Return one cell as text, for messages."""
        self._refuse("text")

    def numbers(self, detail: str = "") -> NDArray[np.float64]:
        """Return the cells as numbers, (n,), NaN where a value is missing."""
        self._refuse("a number a row")

    @property
    def movable(self) -> NumberCells | None:
        """The cells, if they hold what `numbers()` returns as numbers."""
        return None

    def empty_cells(self) -> NDArray[np.bool_]:
        """Return which cells are empty, (n,)."""
        self._refuse("a value a row")

    def static_cells(self, categories: bool) -> NDArray[Any]:
        """Return one value per row, (n,): numbers, or categories as text, empty for a gap."""
        self._refuse("one value a row")

    def series(self) -> tuple[Ragged, str]:
        """Return one sequence of numbers per row, (N, C), and a note on assumptions, or ''."""
        self._refuse("a sequence of numbers a row")

    def tokens(self) -> Ragged:
        """Return one sequence of tokens per row, (N,) text."""
        self._refuse("a list of tokens a row")

    def categories(self) -> Ragged:
        """Return one sequence of categories per row, (N,) text, with empty text for a gap."""
        self._refuse("a list of categories a row")

    def channel_names(self, count: int) -> list[str]:
        """Return names for the channels of `series`."""
        return [f"channel {c + 1}" for c in range(count)]

    def guess_kind(self, named: str) -> InputKind:
        """Return the input kind of the sequences; `named` is the flag that chose the column."""
        return "numbers"

    def label_cells(self, steps: Steps | None, per_step: bool) -> LabelCells:
        """Return one label per row or, with `per_step`, one for each of `steps`."""
        self._refuse("labels")

    def label_lists(self) -> LabelCells:
        """Return any number of labels per row."""
        self._refuse("lists of labels")

    def target_numbers(self, steps: Steps | None) -> NDArray[np.float64] | Ragged:
        """Return numbers to predict: one per row (n,), several (n, K), or one per step."""
        self._refuse("numbers to predict")

    def plain_texts(self) -> list[str] | None:
        """Return the cells as text, empty for a gap, or None if they are not one value a row."""
        return None

    def known_numbers(self) -> NDArray[np.float64] | None:
        """Return the distinct numbers of the column, or None if anything else is among them."""
        return None

    def _refuse(self, expected: str) -> NoReturn:
        raise self.rows.faults.error(
            "type", f"{self} does not hold {expected}", "Name another column."
        )


class SeriesColumn(Column):
    """One sequence of numbers per row, as in the cases of `.ts` and relational `.arff` files.

    Args:
        sequences: steps of all sequences, (N, C).
        at: returns the place of a step, counted over all sequences, and channel.
    """

    nested = True

    def __init__(
        self, name: str, rows: Rows, sequences: Ragged, at: Callable[[int, int], Place]
    ) -> None:
        super().__init__(name, rows)
        self.sequences, self.at = sequences, at

    def series(self) -> tuple[Ragged, str]:
        """Return the sequences, (N, C), checked."""
        sequences = self.sequences.with_values(self.blank(self.sequences.values))
        return check_numbers(sequences, self.at, self.rows.faults), ""


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of equal length.

    Args:
        format: `table` has one value per cell; the other formats have a whole sequence in a cell.
        columns: columns by name, in the order of the file.
        rows: places of the rows.
        size: number of rows.
        delimiter: separator of the cells in a text file; empty for a frame.
        header: whether the first line names the columns.
        unnamed: columns without a name in the header; they are named by their number.
        noun: word for a column in messages.
        blocks: whether a blank line ended each sequence.
        joined: columns that `join_columns` made of others; they are no columns of the file.
    """

    format: TableFormat
    columns: Mapping[str, Column]
    rows: Rows
    size: int
    delimiter: str = ","
    header: bool = True
    unnamed: frozenset[str] = frozenset()
    noun: str = "column"
    blocks: bool = False
    joined: dict[str, Column] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.size

    def cells(self, name: str) -> Column:
        """Return a column of the file, or the one that `join_columns` made."""
        return self.joined[name] if name in self.joined else self.columns[name]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, left to right."""
        return tuple(self.columns)

    @property
    def faults(self) -> Faults:
        """The collected faults of the file."""
        return self.rows.faults

    def column(self, name: str, flag: str) -> Column:
        """Return a column; `flag` is the option that named it.

        Raises: DataError with the nearest name if there is none.
        """
        if name not in self.columns:
            raise unknown_name(name, self.names, flag, self.noun, self.faults.source)
        return self.columns[name]

    def resolve(self, items: Sequence[str], flag: str) -> tuple[str, ...]:
        """Return the columns selected by names and by ranges `first:last`, both ends included.

        The names of columns that hold whole sequences are returned as they are.
        """
        items = rejoin_names(items, self.names)
        if self.format != "table":
            return items
        names: list[str] = []
        for item in items:
            first, colon, last = item.partition(":")
            if item not in self.columns and colon:
                ends = (self.names.index(self.column(end, flag).name) for end in (first, last))
                i, j = ends
                names += self.names[i : j + 1]
            else:
                names.append(self.column(item, flag).name)
        return tuple(names)


def stack_numbers(columns: Sequence[Column], rows: int) -> NDArray[np.float64]:
    """Return columns of numbers as an array, (n, C), which is not to be changed: they share it."""
    values = np.empty((rows, len(columns)))
    cells = [column.movable for column in columns]
    # Two views of an array could not be filled from each other.
    movable = [own for own in cells if own is not None]
    if len(movable) == len(columns) == len({*map(id, movable)}):
        move_numbers(movable, values)
        return values
    for c, column in enumerate(columns):
        values[:, c] = column.numbers()
    return values


def rejoin_names(parts: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Return the parts of a list that was split at commas, joined where a name has commas itself.

    Args:
        names: of the columns; the longest one wins, with any blanks round its commas.
    """
    if not any("," in name for name in names):
        return tuple(parts)
    known = {",".join(part.strip() for part in name.split(",")): name for name in names}
    joined: list[str] = []
    i = 0
    while i < len(parts):
        for j in range(len(parts), i, -1):
            name = parts[i] if j == i + 1 else known.get(",".join(parts[i:j]))
            if name is not None:
                joined.append(name)
                break
        i = j
    return tuple(joined)


def flatten_lists(lists: Sequence[list[Any]], place: Callable[[int], Place]) -> LabelCells:
    """Return the labels of all rows; each label has the place of its row."""
    offsets = np.cumsum([0, *map(len, lists)], dtype=np.int64)

    def at(i: int) -> Place:
        return place(int(np.searchsorted(offsets, i, side="right")) - 1)

    return LabelCells([value for cells in lists for value in cells], offsets, at)
