"""Faults of one file, collected and reported together, and the errors of other libraries."""

from __future__ import annotations

import functools
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from elman.data.dataset import Guess
from elman.data.numbers import NumberForm, look
from elman.data.ragged import Ragged
from elman.data.units import MISSING
from elman.errors import DataError, ElmanError, nearest

P = ParamSpec("P")
R = TypeVar("R")
_LONGEST = 160  # characters of another library's message
REPORTED = 20  # faults listed in one error
ALIKE = 5  # faults listed in one error that violate the same rule
_MANY = 0.1  # share of the rows from which on faults speak against the role of a column
_KEPT = 1000  # faults stored for one rule before later ones are dropped; there may be millions


class Faults:
    """Collects faults; used as a context manager, it raises one DataError for all of them on exit.

    A DataError raised inside the context stops reading. If it has a line, it is added to the faults
    collected so far. An error without a line may be their consequence, such as a table without
    rows, and is dropped if there are other faults.

    A fault of a column whose role was guessed may follow from the guess. Such an error starts with
    the guess, unless name and content of the column agree and only few of its cells are faulty.

    Args:
        source: name of the file in messages.

    Attributes:
        guesses: guesses made so far; whoever guesses appends to it.
        rows: number of rows of the file, once it is known.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.total = 0
        self.guesses: list[Guess] = []
        self.rows = 0
        self._following: Counter[str | int | None] = Counter()  # faults by column
        self._rules: dict[str, list[DataError]] = {}
        self._raised: DataError | None = None

    def error(
        self,
        rule: str,
        problem: str,
        remedy: str,
        line: int | None = None,
        column: str | int | None = None,
        source: str | None = None,
    ) -> DataError:
        """Return the error for a fault that makes the rest unreadable; the caller raises it.

        Args: as for `DataError`; `source` is needed only for a file other than this one.
        """
        source = source or self.source
        return DataError(problem, remedy=remedy, source=source, line=line, column=column, rule=rule)

    def add(
        self,
        rule: str,
        problem: str,
        remedy: str,
        line: int | None = None,
        column: str | int | None = None,
        source: str | None = None,
    ) -> None:
        """Record a fault that does not prevent further checks; arguments as for `error`."""
        self._keep(self.error(rule, problem, remedy, line, column, source))

    def take(self, error: DataError) -> None:
        """Add the faults of another file."""
        for fault in error.faults:
            self._keep(fault)
        self.total += error.total - len(error.faults)

    def stop(self) -> None:
        """Raise the collected faults, if any, because later faults would be their consequences."""
        if self.total:
            self._raised = self._all()
            raise self._raised

    def __enter__(self) -> Faults:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.stop()
        elif isinstance(error, DataError) and self.total and error is not self._raised:
            if error.line is not None:
                self._keep(error)
            raise self._all() from None
        elif isinstance(error, DataError) and error is not self._raised and self.guesses:
            # A choice that cannot be made may follow from any choice of a column before it.
            doubtful = (g for g in self.guesses if g.sure != "sure")
            causes = [g for g in doubtful if g.columns or g.role == "header"]
            raise tell_guesses(error, causes if error.rule == "choice" else ()) from None

    def _keep(self, fault: DataError) -> None:
        self.total += 1
        self._following[fault.column] += 1
        # Grouped by rule, so that many faults of one rule do not hide a fault of another.
        alike = self._rules.setdefault(fault.rule or fault.problem, [])
        alike.append(fault)
        if len(alike) > _KEPT:
            self._forget(alike)

    @staticmethod
    def _forget(alike: list[DataError]) -> None:
        """Keep the first faults of one rule, in file order."""
        alike.sort(key=_place)
        del alike[ALIKE:]

    def _all(self) -> DataError:
        for alike in self._rules.values():
            self._forget(alike)
        faults = sorted((f for alike in self._rules.values() for f in alike), key=_place)
        error = DataError.of_many(faults[:REPORTED], self.total, self.source)
        return tell_guesses(error, self._causes())

    def _causes(self) -> list[Guess]:
        """Return the guesses from which collected faults may follow."""
        causes = []
        for guess in self.guesses:
            count = max((self._following[name] for name in guess.columns), default=0)
            # Where name and content agree, a few bad cells are what they seem to be.
            if count and (guess.sure != "sure" or count > max(2, _MANY * self.rows)):
                causes.append(guess)
        return causes


def tell_guesses(error: DataError, guesses: Iterable[Guess]) -> DataError:
    """Return the error with its message preceded by the guesses that it may follow from."""
    told = [guess.sentence for guess in guesses]
    return error.preceded_by(told) if told else error


def _place(fault: DataError) -> tuple[str, float]:
    return fault.source, float("inf") if fault.line is None else fault.line


class Place(NamedTuple):
    """Where a value is in its file; `detail` starts the message about it."""

    line: int | None = None
    column: str | None = None
    detail: str = ""
    source: str | None = None

    def fault(self, faults: Faults, rule: str, problem: str, remedy: str) -> None:
        """Record a fault of the value at this place."""
        problem = self.detail + problem
        faults.add(rule, problem, remedy, self.line, self.column, self.source)


def is_missing(cell: str) -> bool:
    """Whether the cell is empty or one of the words for a missing value."""
    return cell.strip().lower() in MISSING


def is_number(cell: str) -> bool:
    """Whether the cell is a finite number; Python's 1_000 is not accepted."""
    try:
        return math.isfinite(float(cell)) and "_" not in cell
    except ValueError:
        return False


def to_numbers(
    cells: Any, place: Callable[[int], Place], faults: Faults, form: NumberForm | None = None
) -> NDArray[np.float64]:
    """Return the cells as numbers, (N,) float64, NaN where a value is missing.

    Args:
        place: returns the place of cell i, called only for a faulty one.
        faults: collects every cell that is neither missing nor a finite number.
        form: the form of the numbers; None for one that Python reads.
    """
    form = form or NumberForm()
    numbers, bad = form.parse(cells)
    for i in np.flatnonzero(bad).tolist():
        # Zero, so that what follows from the fault, such as a sequence without values, is not one.
        cell, numbers[i] = str(cells[i]), 0.0
        if form.is_plain and is_number(cell):  # digits of another script
            numbers[i] = float(cell)
        elif _is_infinite(cell):
            _refuse_infinite(quote(cell), place(i), faults)
        else:
            place(i).fault(faults, "number", *_explain(cell, form))
    return numbers


def _explain(cell: str, form: NumberForm) -> tuple[str, str]:
    """Return what is wrong with a cell that is not a number in this form, and the remedy."""
    cell = cell.strip()
    seen, shown = look(cell), quote(cell)
    if seen is not None and seen.unit != form.unit:
        others = f"are in {form.unit}" if form.unit else "have no unit"
        own = f"is in {seen.unit}" if seen.unit else "has no unit"
        remedy = f"Convert it to {form.unit}" if form.unit and seen.unit else "Write all alike"
        return f"{shown} {own}, and the other numbers of the column {others}", (
            f"{remedy}, or name the column with --categories."
        )
    if seen is not None and "," in seen.body and form.decimal == ".":
        return f"{shown} is not a number", "Write decimals with a point."
    if seen is not None and "." in seen.body and form.decimal == ",":
        return f"{shown} is not a number", "Write decimals with a comma, as the other cells."
    remedy = "Correct the cell"
    if re.match(r"[<>≤≥]\s*\d", cell):
        remedy = "It is a limit: write a number in its place"
    if len(cell) > 20 or "," in cell or '"' in cell:
        return f"{shown} is not a number", f"{remedy}."
    shell = cell if re.fullmatch(r"[\w.%+-]+", cell) else f'"{cell}"'
    return f"{shown} is not a number", (
        f"{remedy}; if it marks a missing value, say --missing {shell}."
    )


def check_numbers(
    values: Ragged, place: Callable[[int, int], Place], faults: Faults, *, whole: bool = True
) -> Ragged:
    """Return `values`, (N, C), after recording infinite values and sequences without any value.

    Args:
        place: returns the place of a step, counted over all sequences, and channel.
        whole: whether steps hold no values other than these numbers, such as categories.
    """
    numbers = values.values
    if np.isfinite(numbers).all():
        return values
    for step, channel in np.argwhere(np.isinf(numbers)).tolist():
        _refuse_infinite(repr(float(numbers[step, channel])), place(step, channel), faults)
    gaps = np.isnan(numbers) if whole else np.zeros(numbers.shape, dtype=bool)
    # Counted by prefix sums, which avoids a loop over sequences.
    bare = np.concatenate([[0], np.cumsum(gaps.all(axis=1))])
    void = (np.diff(bare[values.offsets]) == values.lengths) & (values.lengths > 0)
    for i in np.flatnonzero(void).tolist():
        problem = "every value of this sequence is missing"
        place(int(values.offsets[i]), 0).fault(faults, "no value", problem, "Drop the sequence.")
    return values


def _refuse_infinite(value: str, where: Place, faults: Faults) -> None:
    remedy = "Replace it with a number or drop the sequence."
    where.fault(faults, "finite", f"{value} is not finite, expected a number", remedy)


def _is_infinite(cell: str) -> bool:
    try:
        return math.isinf(float(cell))
    except ValueError:
        return False


def list_names(names: Sequence[object], limit: int = 8) -> str:
    """Return the first `limit` names in quotes, with the total number if some are left out."""
    shown = ", ".join(repr(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown}, ... ({len(names)} in all)"


def format_count(n: int, noun: str) -> str:
    """Return `1 cell` or `2 cells`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def quote(text: str, limit: int = 40) -> str:
    """Return `text` in quotes, cut to about `limit` characters."""
    return repr(text if len(text) <= limit else text[: limit - 3] + "...")


def unknown_name(name: str, names: Sequence[str], flag: str, what: str, source: str) -> DataError:
    """Return the error for a column or key that the file does not have."""
    return DataError(
        f"there is no {what} {name!r}",
        remedy=f"{nearest(name, names)} The {what}s are {list_names(names)}; choose one with"
        f" {flag}.".strip(),
        source=source,
        rule="name",
    )


_TYPES = (
    (bool, "true or false"),
    (str, "text"),
    (int, "a whole number"),
    (float, "a number"),
    (list, "a list"),
    (dict, "an object"),
)


def describe_value(value: object) -> str:
    """Return the type of a value in words, followed by the value if short: `text ('a')`."""
    name = next((name for kind, name in _TYPES if isinstance(value, kind)), "null")
    short = isinstance(value, str | int | float) and len(str(value)) <= 40
    return f"{name} ({value!r})" if short and not isinstance(value, bool) else name


@contextmanager
def refuse_damaged(problem: str, remedy: str, source: str) -> Iterator[None]:
    """Raise a DataError with the rule `damaged` for every exception of the block.

    A decoder raises what it happens to meet in a damaged file: errors of its own, of Python's
    numbers and text, of the operating system. They differ by version, so none is listed.

    Args:
        problem: what cannot be read; what the library says follows.
        remedy: what to do.
    """
    try:
        yield
    except (ElmanError, Warning):  # a warning that the user asked to be raised
        raise
    except MemoryError:
        raise DataError(
            f"{problem}: it says that it needs more memory than there is",
            remedy=remedy,
            source=source,
            rule="memory",
        ) from None
    except Exception as error:
        raise DataError(
            f"{problem}: {reason_of(error)}", remedy=remedy, source=source, rule="damaged"
        ) from None


def reason_of(error: Exception) -> str:
    """Return another library's message on one line, with the type of the error if it is short."""
    text = " ".join(str(error).split())
    if len(text) < 8 or text.isdigit():
        text = f"{type(error).__name__} {text}".strip()
    return text.rstrip(".") if len(text) <= _LONGEST else quote(text, _LONGEST)


def guard(read: Callable[P, R]) -> Callable[P, R]:
    """Let only errors of elman out of a function whose first argument is what it reads.

    What this catches is a fault of elman, because nothing has foreseen it, and says so. Errors of
    the call itself, such as a wrong name of an argument, are the caller's and go out as they are.
    """

    @functools.wraps(read)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return read(*args, **kwargs)
        except (ElmanError, Warning):
            raise
        except MemoryError as error:
            raise DataError(
                "reading needs more memory than there is",
                remedy="Divide the file, or leave columns out.",
                source=_name(args),
                rule="memory",
            ) from error
        except Exception as error:
            if error.__traceback__ is None or error.__traceback__.tb_next is None:
                raise
            raise DataError(
                f"reading stopped at something that no check has foreseen ({reason_of(error)})",
                remedy="The file may be damaged, or unusual. Please report it as a fault of elman,"
                " with the file: a message should say what is wrong and where.",
                source=_name(args),
                rule="unexpected",
            ) from error

    return guarded


def _name(args: tuple[object, ...]) -> str:
    """Return the path that is read, or words for a frame."""
    path = isinstance(args[0], str | os.PathLike) if args else False
    return str(Path(args[0])) if path else "the frame"  # type: ignore[arg-type]
