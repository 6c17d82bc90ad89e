"""Questions about a file that can be read in two ways, with the flags of both."""

from __future__ import annotations

from collections.abc import Sequence

from elman.data.faults import is_number, list_names
from elman.data.guessing import Guesser
from elman.data.roles import TEXT_NAMES, is_named
from elman.data.table import Table
from elman.errors import DataError


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


def ask_for_inputs(table: Table, inputs: list[str]) -> DataError:
    """Return the question which of several columns is the sequence."""
    return table.faults.error(
        "choice",
        f"several columns could be the sequence: {list_names(inputs)}"
        if inputs
        else f"no column is left to be the sequence; there are {list_names(table.names)}",
        "Choose a column of text with --text NAME, or of numbers with --values NAMES.",
    )
