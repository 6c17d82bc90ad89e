"""Columns with one value per cell: text, as CSV files hold it, and numbers.

Whatever asks about a whole column asks it as a whole (`codes`, `different`, `missing`, `numbers`):
a loop over a million cells in Python takes seconds.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.cells import Cells, NumberCells, WholeCells
from elman.data.faults import ALIKE, Place, describe_value, list_names, to_numbers
from elman.data.numbers import NumberForm, find_form
from elman.data.ragged import Ragged, to_objects
from elman.data.table import Column, LabelCells, Rows, Steps, flatten_lists
from elman.data.units import MISSING, UNSAID
from elman.errors import nearest


class TextColumn(Column):
    """Cells of text, as CSV files hold them.

    Args:
        declared: values that the file header allows besides gaps; empty to allow any value.
    """

    def __init__(
        self, name: str, rows: Rows, cells: list[str] | Cells, declared: tuple[str, ...] = ()
    ) -> None:
        super().__init__(name, rows)
        self.cells = cells if isinstance(cells, Cells) else Cells(cells)
        self.declared_numeric = False  # the file says that the cells are numbers
        self._form: NumberForm | None = None
        self._settled = False
        self._parsed: NDArray[np.float64] | None = None
        self._faulty = False  # whether a cell of them is no number
        self._factors: tuple[NDArray[np.int32], list[str]] | None = None
        self._refuse_undeclared(declared)

    def _refuse_undeclared(self, declared: tuple[str, ...]) -> None:
        cells = self.texts() if declared else []
        unknown = {*cells} - {*declared, ""}
        wrong = [i for i, cell in enumerate(cells) if cell in unknown] if unknown else []
        for k, i in enumerate(wrong):
            cell, remedy = cells[i], "Correct the class or the header."
            if k < ALIKE:  # no others are printed, and the search takes milliseconds
                remedy = f"{nearest(cell, declared)} {remedy}".strip()
            problem = f"class {cell!r} is not among those of the header, {list_names(declared)}"
            self.fault(i, "label", problem, remedy)

    @property
    def form(self) -> NumberForm | None:
        """The form of the numbers in the cells, or None if they are no numbers."""
        if not self._settled:
            self.settle(find_form(self._written(), None, self.marks))
        return self._form

    def _written(self) -> list[str]:
        """Return the cells that show the form of the numbers."""
        return self.sample()

    def settle(self, form: NumberForm | None) -> None:
        """Set the form of the numbers, which the other columns of a file help to find."""
        self._form, self._settled, self._parsed = form, True, None
        self.unit = (form.unit if form is not None else "") or self.header_unit

    @property
    def is_numeric(self) -> bool:
        """Whether at least half of the non-missing cells hold a number.

        Half, not all: one bad number must be reported, not turn its column into text. A column
        without values counts as numeric: longer sequences of another file may reach it.
        """
        return self.form is not None

    def texts(self) -> list[str]:
        """Return the cells exactly as they are in the file; slow for a million rows."""
        return self.cells.texts()

    def first(self, rows: Rows, count: int) -> TextColumn:
        """Return the first cells, as a column of other rows."""
        column = TextColumn(self.name, rows, self.cells.first(count))
        column.unit, column.header_unit = self.unit, self.header_unit
        return column

    def sample(self) -> list[str]:
        """Return about 1,000 cells from all over the file, as they are in it."""
        return self.cells.sample()

    def head(self, count: int = 1000) -> list[str]:
        """Return the first cells as they are in the file."""
        return self.cells.head(count)

    def cell(self, row: int) -> str:
        """Return one cell as it is in the file, for messages."""
        return self.cells.cell(row)

    def codes(self) -> NDArray[np.int64]:
        """Return the index in `different()` of every cell, (n,)."""
        return self._factorize()[0].astype(np.int64)

    def small_codes(self) -> NDArray[np.int32]:
        """Return `codes()` in half the memory, for comparisons; not to be written to."""
        return self._factorize()[0]

    def different(self) -> list[str]:
        """Return the distinct cells without surrounding spaces, in order of appearance."""
        return self._factorize()[1]

    def count_different(self) -> int:
        """Return the number of distinct cells, of whole numbers without making text of them."""
        if self._factors is None and isinstance(self.cells, WholeCells):
            return self.cells.count_different()
        return len(self.different())

    def labels(self) -> NDArray[np.object_]:
        """Return every cell without surrounding spaces, (n,), equal ones as the same object."""
        return to_objects(self.different())[self.small_codes()]

    def missing(self) -> NDArray[np.bool_]:
        """Return which cells are empty or hold a word for a missing value, (n,)."""
        if self._plain is not None:
            return np.isnan(self.numbers())
        marks = self.form.marks if self.form is not None else MISSING.union(self.marks)
        return np.array([c.lower() in marks for c in self.different()], bool)[self.small_codes()]

    def is_void(self) -> bool:
        """Whether every cell is empty or a mark of a missing value, though no number is there."""
        marks = self._reading_form.marks
        return all(cell.strip().lower() in marks for cell in self.head()) and all(
            cell.lower() in marks for cell in self.different()
        )

    def count_marks(self) -> dict[str, int]:
        """Return how often each mark of a missing value occurs, apart from NA and empty cells."""
        values = self._plain
        if values is not None and not np.isnan(values).any():
            return {}
        said = self._reading_form.marks - UNSAID
        counts = np.bincount(self.codes(), minlength=len(self.different())).tolist()
        pairs = zip(self.different(), counts, strict=True)
        return {cell: count for cell, count in pairs if cell.lower() in said}

    def _factorize(self) -> tuple[NDArray[np.int32], list[str]]:
        if self._factors is None:
            self._factors = self.cells.factorize()
        return self._factors

    def numbers(self, detail: str = "") -> NDArray[np.float64]:
        """Return the cells as numbers, (n,), NaN where a value is missing."""
        values, form = self._plain, self._reading_form
        if values is None and self.cells.encoded:
            # Parsed once for each distinct cell, if there is no fault to report.
            own, bad = form.parse(self.different())
            values = None if bad.any() else own[self._factorize()[0]]
        if values is None and self._parsed is not None and not self._faulty:
            values = self._parsed.copy()
        if values is None:
            place = functools.partial(self._place_number, detail)
            values = to_numbers(self.cells.strings(), place, self.rows.faults, form)
        return self.blank(values)

    def parsed(self) -> NDArray[np.float64]:
        """Return the cells as numbers, (n,), NaN where a value is missing or no number."""
        values = self._plain
        if values is not None:
            return values
        if self.cells.encoded:
            return self._reading_form.parse(self.different())[0][self._factorize()[0]]
        if self._parsed is None:
            self._parsed, bad = self._reading_form.parse(self.cells.strings())
            self._faulty = bool(bad.any())
        return self._parsed

    @property
    def movable(self) -> NumberCells | None:
        """The cells, if they hold what `numbers()` returns."""
        plain = self._reading_form.is_plain and not self.sentinels
        return self.cells if plain and isinstance(self.cells, NumberCells) else None

    @property
    def _plain(self) -> NDArray[np.float64] | None:
        """The cells as numbers, (n,), if they were read as such."""
        if not self._reading_form.is_plain:
            return None
        values: NDArray[np.float64] | None = self.cells.values
        return values

    @property
    def _reading_form(self) -> NumberForm:
        """The form in which cells are read: a plain one if they do not look like numbers."""
        return self.form or NumberForm.plain(self.marks)

    def _place_number(self, detail: str, row: int) -> Place:
        return self.place(row, detail)

    def static_cells(self, categories: bool) -> NDArray[Any]:
        """Return the cells as numbers, (n,), or as text, empty for every mark of a gap."""
        if not categories:
            return self.numbers()
        return np.where(self.missing(), "", self.labels())

    def empty_cells(self) -> NDArray[np.bool_]:
        """Return which cells are empty, (n,)."""
        return self.cells.blank()

    def label_cells(self, steps: Steps | None, per_step: bool) -> LabelCells:
        """Return the label of each row, without surrounding spaces."""
        return LabelCells(self.labels().tolist(), None, self.place)

    def label_lists(self) -> LabelCells:
        """Return the labels of each row, separated by `|` in the cell."""
        parts = [[p.strip() for p in cell.split("|") if p.strip()] for cell in self.texts()]
        return flatten_lists(parts, self.place)

    def target_numbers(self, steps: Steps | None) -> NDArray[np.float64] | Ragged:
        """Return the number of each row, (n,); missing ones are faults."""
        numbers = self.numbers()
        # Other cells were reported by numbers().
        for i in np.flatnonzero(np.isnan(numbers) & self.missing()).tolist():
            problem, remedy = "the number is missing", "Write it or remove the row."
            self.fault(i, "no label", problem, remedy)
        return numbers

    def known_numbers(self) -> NDArray[np.float64] | None:
        """Return the distinct numbers of the column, or None if anything else is among them."""
        # 5% and 12 kg are labels unless --task regression says otherwise.
        if self.form is None or self.form.unit:
            return None
        numbers, bad = self._plain, np.zeros(1, dtype=bool)
        if numbers is None:
            numbers, bad = self.form.parse(self.different())
        return None if bad.any() else numbers[~np.isnan(numbers)]


class NumberColumn(TextColumn):
    """Numeric cells, with NaN where a value is missing; used as labels, they become text."""

    def __init__(self, name: str, rows: Rows, values: NDArray[Any]) -> None:
        super().__init__(name, rows, [])
        self.values = values

    def first(self, rows: Rows, count: int) -> TextColumn:
        """Return the first cells, as a column of other rows."""
        return NumberColumn(self.name, rows, self.values[:count])

    @property
    def is_numeric(self) -> bool:
        """Always."""
        return True

    def texts(self) -> list[str]:
        """Return the cells as a CSV file would store them."""
        return list(map(_write_number, self.values.tolist()))

    def head(self, count: int = 1000) -> list[str]:
        """Return the first cells as a CSV file would store them."""
        return list(map(_write_number, self.values[:count].tolist()))

    def sample(self) -> list[str]:
        """Return the first cells as a CSV file would store them."""
        return self.head()

    def _written(self) -> list[str]:
        # Numbers are all written alike; a thousand for each column of a piece would take longer
        # than to read the piece.
        values = self.values[:1000]
        known = values[values == values][:4]
        return list(map(_write_number, known.tolist())) or self.sample()

    def cell(self, row: int) -> str:
        """Return one cell as a CSV file would store it."""
        return _write_number(self.values[row].item())

    def missing(self) -> NDArray[np.bool_]:
        """Return which cells are NaN, (n,)."""
        return self.empty_cells()

    def is_void(self) -> bool:
        """Whether every cell is NaN."""
        return bool(self.empty_cells().all())

    def _factorize(self) -> tuple[NDArray[np.int32], list[str]]:
        if self._factors is None:
            # In order of appearance, as for text; -0.0 and 0.0 are the same text.
            values = self.values + 0 if self.values.dtype.kind == "f" else self.values
            distinct, first, codes = np.unique(values, return_index=True, return_inverse=True)
            order = np.argsort(first)
            place = np.empty_like(order)
            place[order] = np.arange(len(order))
            texts = list(map(_write_number, distinct[order].tolist()))
            self._factors = place[codes].astype(np.int32), texts
        return self._factors

    def numbers(self, detail: str = "") -> NDArray[np.float64]:
        """Return the cells, (n,)."""
        return self.blank(self.values.astype(np.float64))

    def parsed(self) -> NDArray[np.float64]:
        """Return the cells, (n,)."""
        return self.values.astype(np.float64)

    def empty_cells(self) -> NDArray[np.bool_]:
        """Return which cells are NaN, (n,)."""
        return np.asarray(self.values != self.values)


def _write_number(number: float) -> str:
    """Return a number as CSV text: whole numbers without a decimal point, NaN as empty text."""
    if number != number:
        return ""
    if isinstance(number, int):  # a float would merge large ids
        return str(number)
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)


def to_column(name: str, rows: Rows, values: list[Any]) -> Column:
    """Return values as a column: numbers if all are, else text as the file has it."""
    kinds = set(map(type, values))
    if kinds <= {int, float, type(None)} and kinds & {int, float}:
        if kinds == {int} and all(-(2**63) <= value < 2**63 for value in values):
            return NumberColumn(name, rows, np.array(values, np.int64))
        numbers = [math.nan if value is None else _to_float(value) for value in values]
        return NumberColumn(name, rows, np.array(numbers, np.float64))
    cells = []
    for i, value in enumerate(values):
        if isinstance(value, list | dict):
            problem = f"{name!r} is {describe_value(value)}, expected one value"
            rows.fault(i, None, "type", problem, "All objects need the same kind of value.")
        cells.append(write_value(value))
    return TextColumn(name, rows, cells)


def _to_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number of more than 308 digits
        return math.inf


def write_value(value: Any) -> str:
    """Return a value as the cell of a text file."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else str(value)
