"""What the first piece of a file has settled, so that the later pieces are read alike.

A reader settles much by looking at whole columns: the form of their numbers, which of them hold
sequences, which words mean that there is no label. Where a file is read piece by piece the first
piece settles it. A later piece that would have led to another choice is an error, because some of
the sequences are on disk already; it says where, and which flag settles the choice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from elman.data.columns import NumberColumn, TextColumn
from elman.data.dataset import Layout
from elman.data.faults import is_number, quote
from elman.data.forms import missing_marks, settle_forms
from elman.data.numbers import NumberForm
from elman.data.ragged import Ragged, flatten, to_objects
from elman.data.roles import ReadOptions, Schema
from elman.data.schema import choose_schema
from elman.data.series import SeriesCells, SeriesForm, expand_steps
from elman.data.table import Column, Table
from elman.data.targets import has_fractions, match_classes, without_point
from elman.data.times import UNEVEN, time_deltas
from elman.data.unlabelled import CodedLabels, unlabel
from elman.errors import DataError


@dataclass
class Continued:
    """What earlier pieces of a file have settled.

    Attributes:
        given: whether the layout of another file settles everything.
        first: whether the first piece is read, which settles everything.
        last: whether the file ends with this piece.
        rows: rows of the pieces before this one.
        kept: rows of this piece that are read: the others belong to a sequence that goes on.
        next_line: line of the first of those others.
        forms: form of the numbers of each column of text, None for no numbers.
        series: how the cells of a column hold sequences, and their channels.
        filled: columns in which a sequence is named in its first row only.
        names: the columns of a table; empty for other formats.
        void: columns without any value so far.
        known: what was seen of a key of JSON objects, by the key and a word for it.
        step: median time between steps while nobody said whether the time since the last step is a
            channel and the steps are even; None otherwise.
        whole: whether the labels so far are whole numbers that were taken for classes.
        labels: what each distinct cell of the target was read as, None for no label, in order.
    """

    given: bool = False
    first: bool = True
    last: bool = False
    rows: int = 0
    kept: int = 0
    next_line: int | None = None
    forms: dict[str, NumberForm | None] = field(default_factory=dict)
    series: dict[str, tuple[SeriesForm, int]] = field(default_factory=dict)
    filled: set[str] = field(default_factory=set)
    names: tuple[str, ...] = ()
    void: set[str] = field(default_factory=set)
    known: dict[tuple[str, str], Any] = field(default_factory=dict)
    step: float | None = None
    labels: dict[str, Any] = field(default_factory=dict)
    whole: bool = False

    def settle(self, table: Table, marks: Sequence[str], of_steps: bool) -> Table:
        """Return a later piece with the forms of the first.

        Args:
            marks: of missing values, which the caller added to the usual ones.
            of_steps: whether a row is a step, of which sequences in cells are the channels.
        """
        columns = dict(table.columns)
        for name, column in table.columns.items():
            column.sentinels = tuple(float(mark) for mark in marks if is_number(mark))
            column.marks = tuple(marks)
            if not isinstance(column, TextColumn) or isinstance(column, NumberColumn):
                continue
            column.settle(self.forms.get(name, NumberForm.plain(marks)))
            if name in self.series:
                form, count = self.series[name]
                columns[name] = SeriesCells(column, form)
                vars(columns[name])["count"] = count
        table = dataclasses.replace(table, columns=columns)
        return expand_steps(table, tuple(self.series))[0] if of_steps else table

    def keep(self, table: Table) -> None:
        """Keep the forms that the first piece has settled."""
        # The keys of an object with lists are those of the first one.
        self.names = table.names if table.format == "table" else ()
        for name, column in table.columns.items():
            if isinstance(column, SeriesCells):
                self.series[name] = column.how, column.count
            if isinstance(column, TextColumn):
                self.forms[name] = column.form
                if column.is_void():
                    self.void.add(name)

    def check_columns(self, table: Table, aside: Sequence[str]) -> None:
        """Refuse a value in a column that was left out because it had none, and a new key."""
        for name in [n for n in table.names if n not in self.names] if self.names else ():
            new = table.columns[name]
            row = int(np.argmin(new.missing())) if isinstance(new, TextColumn) else 0
            raise self._contradiction(
                new,
                row,
                f"the first value of key {name!r}, which none of {self._before} has",
                f"Name the keys to read with --values NAMES, with or without {name!r}.",
            )
        for name in self.void.intersection(aside):
            column = table.columns.get(name)
            if not isinstance(column, TextColumn) or column.is_void():
                continue
            row = int(np.argmin(column.missing()))
            raise self._contradiction(
                column,
                row,
                f"the first value of column {name!r}, which was left out because it had none in"
                f" {self._before}",
                f"Name the columns to read with --values NAMES, with or without {name!r}.",
            )

    @property
    def _before(self) -> str:
        return f"the first {self.rows:,} rows"

    def _contradiction(self, column: Column, row: int, problem: str, remedy: str) -> DataError:
        place = column.place(row)
        problem = place.detail + problem
        return column.rows.faults.error("first piece", problem, remedy, place.line, column.name)

    def check_times(self, times: Ragged, column: Column) -> None:
        """Refuse uneven times where the first ones were even, so that they are no channel.

        Args:
            times: of the steps, (N,).
            column: the times as they are in the file.
        """
        passed = time_deltas(times)
        passed[times.offsets[:-1]] = np.nan
        if not (~np.isnan(passed)).any():
            return
        if self.step is None:
            self.step = float(np.nanmedian(passed))
        wrong = np.abs(passed - self.step) > UNEVEN * self.step
        if self.first or not wrong.any():
            return
        row = int(np.argmax(wrong))
        raise self._contradiction(
            column,
            row,
            f"this step is {passed[row]:.6g} after the last, and those of {self._before} are"
            f" {self.step:.6g} apart, so that the time since the last step was no channel",
            "Say --time-difference to make it one, or --no-time-difference.",
        )

    def read_labels(self, column: Column) -> CodedLabels:
        """Return the label of every row of a table with a row per step.

        Whether a word such as NA is a class depends on the others, so those of earlier pieces are
        looked at as well.
        """
        assert isinstance(column, TextColumn)  # a row is a step
        different = column.different()
        every = list(dict.fromkeys([*self.labels, *different]))
        found = dict(zip(every, unlabel(every, column.marks).tolist(), strict=True))
        for label, value in self.labels.items():
            if found[label] != value:
                new = next(i for i, own in enumerate(different) if own not in self.labels)
                row = int(np.argmax(column.small_codes() == new))
                one, two = (
                    "no label" if own is None else "a class" for own in (value, found[label])
                )
                raise self._contradiction(
                    column,
                    row,
                    f"beside the label {quote(different[new])} the label {quote(label)} is {two};"
                    f" in {self._before} it was read as {one}",
                    f"Say --missing {label or 'NAME'} if it means that there is no label, else"
                    " rename it.",
                )
        self.labels = found
        codes = to_objects([found[label] for label in different])
        return CodedLabels(column.small_codes(), to_objects(different)).renamed(codes)

    def check_task(self, column: Column) -> None:
        """Refuse the first number with a fraction among classes that are whole numbers."""
        if not isinstance(column, TextColumn) or (numbers := column.known_numbers()) is None:
            self.whole = False
            return
        if self.first:
            self.whole = not self.given
        elif self.whole and has_fractions(numbers):
            fractions = column.parsed() % 1 != 0
            row = int(np.argmax(fractions & ~np.isnan(column.parsed())))
            raise self._contradiction(
                column,
                row,
                f"{quote(column.cell(row).strip())} has a fraction; the labels of {self._before}"
                " are whole numbers, and were read as classes",
                "Say --task regression to predict numbers, or --task classification.",
            )

    def renamed_classes(self, layout: Layout | None) -> dict[Any, Any]:
        """Return other names of classes: 1 for 1.0 if some steps of the file have no label.

        Args:
            layout: of another file, whose classes are meant where the numbers are equal.
        """
        final = without_point(to_objects([*self.labels.values()]))
        if layout is not None and layout.target:
            final = flatten(match_classes(final, layout.class_names))
        pairs = zip(self.labels.values(), final.tolist(), strict=True)
        return {old: new for old, new in pairs if old is not None and old != new}


def read_whole_sequences(
    table: Table, options: ReadOptions, form: str | None
) -> tuple[Table, Schema]:
    """Return the rows of a piece without those of a sequence that goes on, and their roles.

    Args: as for `choose_schema`.
    Raises: LongSequenceError if the piece ends before its first sequence.
    """
    continued, layout = options.continued, options.layout
    assert continued is not None
    guesses = len(table.faults.guesses)
    while True:
        if continued.first:
            settled = settle_forms(table, options)
        else:
            of_steps = layout is not None and layout.format == "steps"
            settled = continued.settle(table, missing_marks(options), of_steps)
        schema = choose_schema(settled, options, form)
        if continued.kept or continued.last or schema.format != "steps" or schema.id is None:
            break
        ids = settled.cells(schema.id)
        assert isinstance(ids, TextColumn)
        others = np.flatnonzero(ids.small_codes() != ids.small_codes()[-1])
        if not len(others):
            raise LongSequenceError
        count = int(others[-1]) + 1
        del table.faults.guesses[guesses:]
        lines = table.rows.lines
        continued.kept, continued.next_line = count, None if lines is None else int(lines[count])
        table = first_rows(table, count)
    continued.kept = continued.kept or len(table)
    if continued.first:
        continued.keep(settled)
    elif layout is not None:
        named = options.values or options.text or options.categories or continued.given
        if not named:
            continued.check_columns(settled, layout.aside)
    return settled, schema


class LongSequenceError(Exception):
    """A piece of a file ends before its first sequence does: a larger one is needed."""


def first_rows(table: Table, count: int) -> Table:
    """Return the first rows of a table with one value per cell."""
    rows = table.rows
    lines = None if rows.lines is None else rows.lines[:count]
    kept = dataclasses.replace(
        rows, lines=lines, files=rows.files[:count], ids=rows.ids[:count], faulty=set()
    )
    columns = {
        name: column.first(kept, count)
        for name, column in table.columns.items()
        if isinstance(column, TextColumn)
    }
    return dataclasses.replace(table, columns=columns, rows=kept, size=count, joined={})
