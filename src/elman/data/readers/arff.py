"""Weka's dense `.arff` files: a table, or the relational attribute of the UEA archive.

Source: https://waikato.github.io/weka-wiki/formats_and_processing/arff_stable/; in the archive's
files the rows of the relational attribute are channels and its attributes are time steps.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from elman.data.columns import NumberColumn, TextColumn
from elman.data.faults import Faults, Place, format_count, is_missing, list_names, quote, to_numbers
from elman.data.forms import missing_marks
from elman.data.numbers import NumberForm, find_form
from elman.data.readers.ts import table_of_cases
from elman.data.roles import CASE_SETTINGS, ReadOptions, refuse_settings
from elman.data.table import MOST_COLUMNS, Column, Rows, Table
from elman.errors import nearest

# Possessive, because backtracking over a long line of blanks would take time quadratic in it.
_QUOTED = r"'(?:[^'\\]++|\\.)*+'|\"(?:[^\"\\]++|\\.)*+\""
_CELL = re.compile(rf"\s*+({_QUOTED}|[^,'\"]*+)\s*+(,|\Z)", re.DOTALL)
_ATTRIBUTE = re.compile(rf"@attribute\s+({_QUOTED}|[^\s{{]+)\s*(.*)$", re.IGNORECASE)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_NUMERIC = ("numeric", "real", "integer")


class _Attribute(NamedTuple):
    """A column: `kind` is numeric, nominal, string or relational."""

    name: str
    kind: str
    classes: tuple[str, ...] = ()
    inner: int = 0  # number of attributes inside a relational attribute


class _Row(NamedTuple):
    line: int
    cells: list[str]


def read_arff(
    text: str, faults: Faults, options: ReadOptions, form: str | None
) -> tuple[Table, str]:
    """Read the text of an `.arff` file; `form` is `rows`, `steps`, `ts` or None to guess.

    Returns: the table, and a note on ignored attributes, or an empty string.
    """
    lines = text.split("\n")
    attributes, start = _read_header(lines, faults)
    rows = _read_rows(lines, start, len(attributes), faults)
    if not rows:
        faults.stop()
        raise faults.error(
            "empty",
            "no row follows @data",
            "Check that the file was written to the end.",
            line=start,
        )
    relational = [i for i, a in enumerate(attributes) if a.kind == "relational"]
    if not relational:
        return _table(attributes, rows, faults, missing_marks(options)), ""
    if len(relational) > 1 or form in ("rows", "steps"):
        raise faults.error(
            "type",
            f"{format_count(len(relational), 'relational attribute')}, expected "
            + ("none for --format " + str(form) if form in ("rows", "steps") else "1"),
            "Leave --format out, and the other attributes.",
        )
    return _cases(attributes, relational[0], rows, faults, options)


def _read_header(lines: list[str], faults: Faults) -> tuple[list[_Attribute], int]:
    """Return the attributes and the line number of @data."""
    attributes: list[_Attribute] = []
    names: set[str] = set()
    bag: str | None = None
    inner = 0
    for line, content in enumerate(lines, 1):
        content = content.strip()
        word = content.split(None, 1)[0].lower() if content else ""
        if not content or content.startswith("%") or word == "@relation":
            continue
        if word == "@end" and bag is not None:
            attributes.append(_Attribute(bag, "relational", inner=inner))
            bag = None
        elif word == "@data":
            if bag is not None:
                raise faults.error(
                    "header",
                    f"@data is within the relational attribute {bag!r}",
                    f"Write @end {bag} before it.",
                    line,
                )
            if not attributes:
                raise faults.error("header", "no @attribute is before @data", "Declare them.", line)
            return attributes, line
        elif word == "@attribute":
            found = _attribute(content)
            if found is None:
                raise faults.error(
                    "header",
                    f"{quote(content, 60)} is no attribute, expected a name and numeric, string,"
                    " {a,b,...} or relational",
                    "Correct the header; elman reads no dates here.",
                    line,
                )
            if found.name in names:
                problem = f"two attributes are called {found.name!r}"
                raise faults.error("name twice", problem, "Give every one its own name.", line)
            if bag is None:
                names.add(found.name)
            if bag is not None:
                inner += 1
            elif found.kind == "relational":
                bag, inner = found.name, 0
            else:
                attributes.append(found)
            # Checked inside the loop, so that a header with a million attributes is refused before
            # it fills memory.
            if max(inner, len(attributes)) > MOST_COLUMNS:
                problem = f"over {MOST_COLUMNS:,} attributes"
                raise faults.error("columns", problem, "Cut the sequences.", line)
        else:
            known = ("@relation", "@attribute", "@data", "@end")
            raise faults.error(
                "header",
                f"{quote(content)} is before @data, expected @attribute",
                f"{nearest(word, known)} Write @data on a line before the first row.".strip(),
                line,
            )
    raise faults.error(
        "header",
        "no line says @data",
        "Write @data before the first row; other formats are named with --format.",
    )


def _attribute(content: str) -> _Attribute | None:
    match = _ATTRIBUTE.match(content)
    if not match:
        return None
    name, kind = _unquoted(match[1]), match[2].strip()
    if kind.startswith("{") and kind.endswith("}"):
        classes = _cells(kind[1:-1])
        return None if classes is None else _Attribute(name, "nominal", tuple(classes))
    kind = kind.lower()
    if kind in _NUMERIC:
        return _Attribute(name, "numeric")
    return _Attribute(name, kind) if kind in ("string", "relational") else None


def _cells(content: str) -> list[str] | None:
    """Return the cells of a line, empty if missing, or None if a quote is not closed."""
    cells = []
    at = 0
    while match := _CELL.match(content, at):
        cell = match[1].rstrip()
        cells.append("" if cell == "?" else _unquoted(cell))
        at = match.end()
        if not match[2]:
            return cells
    return None


def _unquoted(cell: str) -> str:
    if cell[:1] not in ("'", '"') or len(cell) < 2:
        return cell
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), cell[1:-1], flags=re.DOTALL)


def _read_rows(lines: list[str], start: int, width: int, faults: Faults) -> list[_Row]:
    """Return the rows after @data; rows that cannot be parsed are recorded and left out."""
    rows = []
    for line, content in enumerate(lines[start:], start + 1):
        content = content.strip()
        if not content or content.startswith("%"):
            continue
        cells = _cells(content)
        if content.startswith("{"):
            rule, problem = "sparse", "a sparse row {...}, expected a value for every attribute"
            remedy = "Convert it with Weka's SparseToNonSparse."
        elif cells is None:
            rule, problem = "quote", f"a quote is not closed where its cell ends: {content[:40]}"
            remedy = "Close it, and write a quote inside a cell as \\'."
        elif len(cells) != width:
            rule, problem = "width", f"{format_count(len(cells), 'cell')}, expected {width}"
            remedy = "Every row needs a value for every attribute; a missing one is written ?."
        else:
            rows.append(_Row(line, cells))
            continue
        faults.add(rule, problem, remedy, line=line)
    return rows


def _table(
    attributes: list[_Attribute], cells: list[_Row], faults: Faults, missing: tuple[str, ...]
) -> Table:
    """Return dense rows; a value that its nominal attribute does not list is a fault."""
    rows = Rows(faults, np.array([row.line for row in cells], np.int64))
    columns: dict[str, Column] = {}
    for k, attribute in enumerate(attributes):
        name, values = attribute.name, [row.cells[k] for row in cells]
        if attribute.kind == "numeric":
            numbers, bad = NumberForm().parse(values)
            columns[name] = NumberColumn(name, rows, numbers)
            if bad.any():
                columns[name] = _of_other_form(name, rows, values, missing)
            continue
        columns[name] = TextColumn(name, rows, values, attribute.classes)
    return Table("table", columns, rows, len(cells), "")


def _of_other_form(
    name: str, rows: Rows, values: list[str], missing: tuple[str, ...]
) -> TextColumn:
    """Return numbers that Python does not read; cells that are no numbers are faults."""
    form = find_form(values[:1000], None, missing) or NumberForm.plain(missing)

    def place(i: int) -> Place:
        return rows.place(i, name)

    if form.parse(values)[1].any():
        return NumberColumn(name, rows, to_numbers(values, place, rows.faults, form))
    column = TextColumn(name, rows, values)
    column.declared_numeric = True
    return column


def _cases(
    attributes: list[_Attribute], at: int, rows: list[_Row], faults: Faults, options: ReadOptions
) -> tuple[Table, str]:
    """Read one sequence from the relational attribute of each row."""
    what = "a relational attribute: its rows are channels, and the last nominal attribute the class"
    refuse_settings(options, CASE_SETTINGS, what)
    steps = attributes[at].inner
    # By Weka's convention the class is the last attribute.
    nominal = [i for i, a in enumerate(attributes) if a.kind == "nominal"]
    target = nominal[-1] if nominal else None
    if target is None and options.labelled:
        raise faults.error(
            "label",
            "no attribute is nominal, {a,b,...}, expected one of classes",
            "Declare the class as the last attribute.",
        )
    flat: list[str] = []
    ends, lines, labels, channels = [0], [], [], 0
    for line, cells in rows:
        case_rows = [part.split(",") for part in cells[at].split("\n")]
        channels = channels or len(case_rows)
        wrong = next((c for c in case_rows if len(c) != steps), None)
        if wrong is not None or len(case_rows) != channels:
            found = "channel" if wrong is None else "step"
            faults.add(
                "channels" if wrong is None else "length",
                f"{format_count(len(case_rows if wrong is None else wrong), found)}, expected"
                f" {channels if wrong is None else steps}",
                "In the relational attribute the lines, with \\n between them, are channels,"
                " and the values of a line are time steps, as many as it has attributes.",
                line=line,
            )
            continue
        if target is not None:
            labels.append(cells[target])
        # Rows of the attribute are channels; a step has one value from each.
        case = list(zip(*case_rows, strict=True))
        while len(case) > 1 and all(map(is_missing, case[-1])):
            case.pop()  # the UEA archive pads shorter sequences with ?
        for step in case:
            flat += step
        ends.append(ends[-1] + len(case))
        lines.append(line)
    if not lines:
        faults.stop()
    left = [a.name for i, a in enumerate(attributes) if i not in (at, target)]
    classes = () if target is None else attributes[target].classes
    own = None if target is None else labels
    missing = missing_marks(options)
    table = table_of_cases(flat, channels, ends, lines, own, classes, faults, missing)
    return table, f"left out: {list_names(left)}" if left else ""
