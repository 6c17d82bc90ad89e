"""Guess the roles of the columns of a table from their names and contents together.

What can be guessed is recorded with its reason and the flag that overrides it. Where two readings
of a file are both likely, the caller is asked, with the flags of both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from elman.data.dataset import Sure
from elman.data.evidence import (
    Evidence,
    find_pair,
    find_restart,
    id_tier,
    is_counter_name,
    refuse_restart,
    time_tier,
)
from elman.data.faults import is_number, list_names
from elman.data.keys import join_columns
from elman.data.names import TEXT_NAMES, TOKEN_NAMES, is_named
from elman.data.roles import ReadOptions, Schema
from elman.data.table import Table
from elman.data.wide import counts_steps, find_wide
from elman.errors import DataError

FEW = 20  # rows; with fewer, a column may rise or count by chance
RISING = 0.95  # share of steps at which a column that holds times increases


class Guesser:
    """Guesses the roles of the columns that the caller did not name.

    Args:
        schema: filled in.
        rest: columns without a role: no label, no group.
        form: `rows` or `steps`, if the caller or the kind of file says so.
    """

    def __init__(
        self,
        schema: Schema,
        table: Table,
        options: ReadOptions,
        rest: Sequence[str],
        form: str | None,
    ) -> None:
        self.schema, self.table, self.options = schema, table, options
        self.known_form = form
        self.evidence = Evidence(table, options.dates)
        self.rest = list(rest)
        self.chosen = {options.text, options.id, options.time, *options.values, *options.categories}

    # The form: whether a row is a sequence or a step.

    def guess_form(self) -> str:
        """Return `rows` or `steps`, and set the column of ids where it decides."""
        schema, options = self.schema, self.options
        if options.id or options.time:
            own = options.id and self.evidence.distinct(options.id) == len(self.table) > 1
            return "rows" if own and not options.time else "steps"
        if any(self.table.columns[name].nested for name in self.rest):
            why = "a cell holds a whole sequence"
            schema.guess("format", (), why, "sure", flag="--format rows", change="--format steps")
            return "rows"
        schema.id = self.find_id()
        if schema.id is not None:
            why = f"column {schema.id!r} repeats"
            schema.guess("format", (), why, "sure", flag="--format steps", change="--format rows")
            return "steps"
        if self._is_one_recording():
            return "steps"
        texts = [n for n in self._textual() if is_named(n, TEXT_NAMES)]
        texts += filter(self.evidence.is_free_text, self._textual())
        sure: Sure = "sure" if texts or find_wide(self._numeric()) else "likely"
        why = "no column of sequence ids repeats"
        schema.guess("format", (), why, sure, flag="--format rows", change="--format steps")
        return "rows"

    def find_id(self) -> str | None:
        """Return the column that identifies sequences: named so, or repeated as times restart."""
        evidence, size = self.evidence, len(self.table)
        names = [name for name in self.rest if name not in self.chosen]
        clocks = self._clocks()
        wide = find_wide(self._numeric())
        # A row of a table with numbered steps is a sequence, whatever it belongs to; so is a text.
        if wide and counts_steps(wide.columns):
            return None
        numbers = [n for n in self._numeric() if not id_tier(n) and not self.evidence.time_tier(n)]
        usual = [word for word in TEXT_NAMES if word not in TOKEN_NAMES]
        texts = [n for n in self._textual() if evidence.is_free_text(n) or is_named(n, usual)]
        best: tuple[tuple[bool, bool, int, int], str] | None = None
        for name in names:
            tier = id_tier(name)
            if len(self.rest) < 2 or name in clocks or (not tier and not clocks):
                continue
            # Measurements repeat as well, but no id has fractions.
            if not tier and (evidence.has_fractions(name) or name in self.schema.target):
                continue
            different = evidence.distinct(name)
            # A few repeats are duplicates; if there is also a time column, they are time steps.
            if not (different < size if clocks else 2 * different <= size):
                continue
            if different < 2 and tier < 2:
                continue
            starts = evidence.starts(name)
            contiguous = evidence.is_contiguous(name)
            timed = any(evidence.rises(clock, starts) >= RISING for clock in clocks)
            restarts = timed and any(evidence.restarts(c, starts) >= RISING for c in clocks)
            # Without a usual name, only times that restart with every value speak for an id.
            if not tier and not (contiguous and restarts and 2 * different <= size):
                continue
            if not timed and ((texts and not numbers) or (tier < 2 and not (contiguous or clocks))):
                continue
            # The finer of two columns: a recording, not the subject that it is of.
            rank = (timed, contiguous, different if contiguous else 0, tier)
            if best is None or rank > best[0]:
                best = rank, name
        return best[1] if best else None

    def tell_id(self) -> None:
        """Record the guess of the column of ids, and the columns that could be it as well."""
        name = self.schema.id
        assert name is not None
        evidence, starts = self.evidence, self.evidence.starts(name)
        times = [c for c in self._clocks() if c != name]
        clocks = [c for c in times if evidence.rises(c, starts) >= RISING]
        contiguous = evidence.is_contiguous(name)
        restart = find_restart(evidence, name, times)
        if restart or not clocks or not contiguous:
            pair = find_pair(evidence, name, self.rest)
            if pair:
                self._join_ids(pair)
                return
        if restart:
            raise refuse_restart(evidence, name, restart)
        why = "by its name" if id_tier(name) else f"{clocks[0]!r} starts again with each value"
        sure: Sure = "likely"
        if id_tier(name) and contiguous and (clocks or id_tier(name) > 1):
            sure = "sure"
        elif not contiguous:
            sure, why = "unsure", f"{why}, but its rows are scattered over the file"
        others = [
            n
            for n in self.rest
            if n not in (name, *self.chosen)
            and id_tier(n)
            and evidence.distinct(n) > 1
            and 2 * evidence.distinct(n) <= len(self.table)
        ]
        if others:
            why += f"; {list_names(others, 2)} could be it as well"
            sure = "likely" if sure == "sure" else sure
        self.schema.guess("id", [name], why, sure)

    def _join_ids(self, names: tuple[str, ...]) -> None:
        """Set several columns that name a sequence together."""
        self.schema.id = ",".join(names)
        join_columns(self.table, self.schema.id)
        *others, last = map(repr, names)
        why = f"only {', '.join(others)} and {last} together tell sequences apart"
        self.schema.guess("id", names, why, flag=f"--id {self.schema.id}")
        for guess in self.schema.guesses:
            if guess.role == "format" and guess.flag == "--format steps":
                at = self.schema.guesses.index(guess)
                reason = f"columns {', '.join(others)} and {last} repeat"
                self.schema.guesses[at] = dataclasses.replace(guess, reason=reason)
        # The last one only counts within the others; those are groups.
        self.rest.remove(names[-1])

    def _is_one_recording(self) -> bool:
        """Whether all rows are steps of one recording: the time rises from the first to the last.

        Raises: DataError if the time starts again, so that there are several without an id, or if
            it may also be the time of whole sequences.
        """
        evidence = self.evidence
        numeric = [
            n for n in self._numeric() if not self.evidence.time_tier(n) and not is_counter_name(n)
        ]
        clocks = [name for name in self._clocks() if not is_counter_name(name)]
        if not clocks or not numeric or self.options.text:
            return False
        wide = find_wide(numeric)
        if wide and counts_steps(wide.columns):
            return False
        whole = np.zeros(len(self.table), dtype=bool)
        whole[:1] = True
        rising = [name for name in clocks if evidence.rises(name, whole) == 1.0]
        if rising and len(self.table) >= FEW and not wide:
            return True
        back = {
            name: round((1 - evidence.rises(name, whole)) * (len(whole) - 1)) for name in clocks
        }
        clock = min(clocks, key=back.__getitem__)
        if self.options.values and not rising:
            return False
        if 0 < back[clock] < 0.5 * len(whole):
            raise self._ask(
                f"column {clock!r} looks like the time of a step and starts again"
                f" {back[clock]:,} times, but no column says which recording a row belongs to",
                "--format steps",
            )
        if rising:
            raise self._ask(
                f"column {clock!r} looks like the time of a step, but no column is known to say"
                " which sequence a row belongs to",
                f"--time {clock}",
            )
        return False

    def _ask(self, problem: str, one: str) -> DataError:
        return self.table.faults.error(
            "choice",
            problem,
            "Is each row a time step? Name the column that tells recordings apart with --id NAME,"
            f" or read all rows as one recording with {one}, and cut it with --window."
            " Is each row a whole sequence? Say so with --format rows.",
        )

    # Steps: the time, and the columns that are no inputs.

    def guess_time(self) -> None:
        """Set the column of times: named so, and rising within every sequence."""
        schema, evidence = self.schema, self.evidence
        starts = evidence.starts(schema.id)
        if self._join_times(starts):
            return
        clocks = [name for name in self._clocks() if name != schema.id]
        rising = [name for name in clocks if evidence.rises(name, starts) >= RISING]
        named = [
            name for name in clocks if self.evidence.time_tier(name) == 2 and schema.id is not None
        ]
        # A column with a usual name is the time even if some steps are out of order; they are
        # faults then. A clock that repeats within sequences, such as the date, is no time of steps.
        found = [name for name in rising if self.evidence.time_tier(name) == 2] or rising or named
        if len(found) > 1:
            listed = " or ".join(f"--time {name}" for name in found[:4])
            raise self.table.faults.error(
                "choice",
                f"{len(found)} columns could be the time: {list_names(found)}",
                f"Choose one with --time NAME: {listed}; the others are left out.",
            )
        if found:
            self._tell_time(found[0], found[0] in rising)
        else:
            schema.guess("time", (), "none found, so steps are in the order of the file")

    def _join_times(self, starts: NDArray[np.bool_]) -> bool:
        """Set a column of dates and one of clock times as the time, if they are it together."""
        evidence = self.evidence
        free = [name for name in self.rest if name not in self.chosen]
        dates = [n for n in free if evidence.is_dated(n) and evidence.rises(n, starts) < RISING]
        clocks = [n for n in free if evidence.is_clock(n)] if len(dates) == 1 else []
        if len(clocks) != 1:
            return False
        name = f"{dates[0]},{clocks[0]}"
        if not join_columns(self.table, name, " "):  # a name with a comma in it
            return False
        found = evidence.moments(name)
        if found is None or not found.form.is_dated or evidence.rises(name, starts) < RISING:
            return False
        self.schema.time = name
        why = f"a date and a clock time, which rise together; {found.form.words}"
        self.schema.guess("time", [dates[0], clocks[0]], why, "sure", flag=f"--time {name}")
        return True

    def _tell_time(self, name: str, rises: bool) -> None:
        """Set the column of times, and record why and how its cells are read."""
        schema = self.schema
        schema.time = name
        why = "by its name" if time_tier(name) else "by its content"
        if not rises:
            why += ", though it does not rise at every step"
        elif time_tier(name) < 2:
            why += ", and it rises at every step"
        moments = self.evidence.moments(name)
        if moments and moments.form.words:
            why += f"; {moments.form.words}"
        if moments and moments.form.period:
            continued = moments.across_midnight(self.evidence.starts(schema.id))
            if continued is not moments.values:
                why += "; a fall to the early hours is midnight"
        schema.guess("time", [name], why, "sure" if rises else "unsure")

    def accept_one_recording(self) -> None:
        """Record that all rows are steps of one sequence, or refuse it if nothing speaks for it."""
        numbers = [name for name in self._numeric() if not self.evidence.time_tier(name)]
        if not self._clocks() and not self.options.time and not numbers:
            raise self.table.faults.error(
                "choice",
                "no column is known to say which sequence a row belongs to;"
                f" the columns are {list_names(self.table.names, 12)}",
                "Name it with --id NAME.",
            )
        why = "no column says which sequence a row belongs to, so all rows are one recording"
        self.schema.guess("id", (), why, flag="--format steps", change="--id NAME")

    # Rows: columns that are no inputs, and the channels of a wide table.

    def is_counter(self, name: str) -> bool:
        """Whether a column of a table with a row per sequence names, counts or dates the rows."""
        if name in self.chosen:
            return False
        if id_tier(name) == 1 and self.evidence.holds_letters(name, is_named(name, TEXT_NAMES)):
            return False  # a column of sequences may be called sequence, sentence or protein
        return bool(
            id_tier(name)
            or time_tier(name) == 2
            or is_counter_name(name)
            or self.evidence.is_dated(name)
        )

    # Columns by kind.

    def _numeric(self) -> list[str]:
        return [
            n for n in self.rest if self.table.columns[n].is_numeric and n not in self.schema.target
        ]

    def _textual(self) -> list[str]:
        return [n for n in self.rest if not self.table.columns[n].is_numeric]

    def _clocks(self) -> list[str]:
        """Return the columns with a name of a time and cells that are numbers or dates."""
        return [
            name
            for name in self.rest
            if name not in self.chosen
            and self.evidence.time_tier(name)
            and self.evidence.times(name) is not None
        ]


def ask_rows_or_steps(guesser: Guesser, numeric: Sequence[str]) -> None:
    """Ask whether a row is a step or a sequence, unless a flag or the names say it."""
    known = guesser.known_form or not guesser.table.header or guesser.options.channels
    # 0.1, 0.2, ... are times, and a, b, c count the columns.
    letters = "abcdefghijklmnopqrstuvwxyz"[: len(numeric)]
    if known or all(map(is_number, numeric)) or [n.lower() for n in numeric] == [*letters]:
        return
    count = len(numeric)
    raise guesser.table.faults.error(
        "choice",
        f"the columns {list_names(numeric, 5)} could be {count} channels of a time step or"
        f" {count} time steps of a sequence",
        f"Is each row a sequence of {count} steps? Then say --format rows. Is it a time step?"
        " Then say --id NAME with the column that tells the sequences apart, or --format steps"
        " to read all rows as one recording, which --window cuts.",
    )


def ask_text_or_steps(guesser: Guesser, name: str) -> None:
    """Ask what a single column of numbers is, unless it holds digits to be read as text."""
    column = guesser.table.columns[name]
    if not column.is_numeric or guesser.known_form or is_named(name, TEXT_NAMES):
        return
    if not guesser.evidence.has_fractions(name):
        cells = guesser.evidence.head(name)
        # 0101 is no number; -3 is none of digits.
        if any(cell.strip().startswith("0") and len(cell.strip()) > 1 for cell in cells):
            return
    raise guesser.table.faults.error(
        "choice",
        f"the only input column, {name!r}, holds one number in each row, which could be a step"
        " of one recording or digits to be read as text",
        "For time steps: --format steps, or --id NAME with the column that says which sequence"
        f" a row belongs to. For text: --text {name}.",
    )


def ask_person_or_rows(guesser: Guesser) -> None:
    """Ask whether the rows of a person are the steps of one sequence, or a sequence each."""
    name, table = guesser.schema.id, guesser.table
    if guesser.known_form or name not in table.columns:
        return
    free = (n for n in guesser.rest if n != name and n not in guesser.schema.target)
    count = sum(table.columns[n].is_numeric for n in free)
    if count < 2:
        return
    raise table.faults.error(
        "choice",
        f"the rows of each {name!r} could be the steps of one sequence, or each row a sequence of"
        f" {count} steps, and no column holds times",
        f"Is each row a time step? Then say --id {name}. Is each row a sequence of {count} steps?"
        f" Then say --format rows; --group {name} keeps those of one {name} in one split.",
    )
