"""JSON text to values that know their lines: one object on each line, or one document."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from elman.data.dataset import Guess
from elman.data.evidence import time_tier
from elman.data.faults import Faults, describe_value, list_names
from elman.data.names import TARGET_NAMES, is_named
from elman.errors import DataError

DEEPEST = 3  # objects around the list of sequences
_SPACE = re.compile(r"[ \t\r\n\ufeff\x1e]*")  # concatenated files have byte order marks inside
_BETWEEN = re.compile(r"[ \t\r\n\ufeff\x1e,]*")
_SPLITS = ("train", "training", "test", "valid", "validation", "val", "dev", "eval")
_SAMPLE = 20  # lines that tell whether each holds an object
LINE = 'Write one whole object a line, as {"tokens": [...], "label": ...}.'


class Located(NamedTuple):
    """A value, its line, and the values in it, for lists and for objects near the top."""

    value: Any
    line: int
    items: tuple[Located, ...] = ()


class Document(NamedTuple):
    """The values of a file, one for each sequence or row.

    Args:
        items: the values, in order; those that come from no file have line 0.
        notes: how they were found in the file.
        names: names of the columns, where the file has them apart from the values.
    """

    items: tuple[Located, ...]
    notes: tuple[str, ...] = ()
    names: tuple[str, ...] | None = None


def parse_json(text: str, faults: Faults, form: str | None, known: Collection[str]) -> Document:
    """Return the values of a JSON text; what is not valid is a fault.

    Args:
        form: the format that the caller named, if any: with `jsonl`, an object with lists of equal
            length is one sequence; with `rows` or `steps`, the lists are columns.
        known: keys of ids, labels and groups; an object with one of them is a sequence.
    Raises: DataError if nothing in the file can be read.
    """
    if not is_document(text):
        found, notes = parse_lines(text, faults)
        # The only line of a file may hold all of its sequences.
        if len(found) > 1 or faults.total:
            return Document(tuple(found), notes)
    try:
        values = _Reader(text).read_all()
    except _UnusableError as error:
        raise faults.error("JSON", error.problem, LINE, line=error.line) from None
    except json.JSONDecodeError as error:
        line, column, problem, remedy = explain(error, text)
        remedy = "Correct the JSON there." if remedy == LINE else remedy
        raise faults.error("JSON", problem, remedy, line=line, column=column) from None
    if not values:
        raise faults.error("empty", "the file is empty", "Check that it was written to the end.")
    if len(values) > 1:
        return Document(tuple(values))
    return _unwrap(values[0], faults, form, known)


def is_document(text: str) -> bool:
    """Whether the text is one document, or several over many lines, and not an object a line."""
    start = _BETWEEN.match(text)
    rest = text[start.end() if start else 0 :]
    if rest.startswith("["):
        return True
    if not rest.startswith("{"):
        return False
    lines = [line for line in rest.split("\n", _SAMPLE)[:_SAMPLE] if line.strip()]
    if _is_object(lines[0].rstrip(" \t\r,")):
        return False
    # A broken first line is followed by whole objects, which in a list would end in commas.
    whole = sum(map(_is_object, lines[1:]))
    return 2 * whole < len(lines) or _is_object(rest)


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line.strip(" \t\r\ufeff\x1e")), dict)
    except (ValueError, RecursionError):
        return False


def _parse_constant(name: str) -> float:
    """Accept NaN, which many programs write for a gap although JSON does not define it."""
    if name == "NaN":
        return math.nan
    raise ValueError(f"{name} is no number in JSON")


DECODER = json.JSONDecoder(parse_constant=_parse_constant)


# One object a line.

Lines = tuple[list[Located], tuple[str, ...]]


def parse_lines(text: str, faults: Faults, before: int = 0) -> Lines:
    """Parse non-blank lines, after `before` others, into objects; invalid ones are faults."""
    found: list[Located] = []
    commas = 0
    for line, content in enumerate(text.split("\n"), before + 1):
        whole = content.strip(" \t\r\ufeff\x1e")
        if not whole:
            continue
        if whole.endswith("},"):
            whole, commas = whole[:-1], commas + 1
        column, remedy = None, LINE
        try:
            # decode() refuses text after the object: two objects on a line mean a missing line end.
            value = DECODER.decode(whole)
            refuse_halves(whole, value)
        except (ValueError, RecursionError) as error:
            _, column, problem, remedy = explain(error, whole)
            if column is not None:
                column += content.index(whole)
        else:
            if isinstance(value, dict):
                found.append(Located(value, line))
                continue
            problem = f"{describe_value(value)}, expected an object"
        faults.add("JSON", problem, remedy, line=line, column=column)
    if not found:
        faults.stop()
    return found, (f"{commas:,} lines end in a comma, which is not read",) if commas else ()


def refuse_halves(text: str, value: object) -> None:
    """Raise UnicodeEncodeError for half a surrogate pair, which decodes but cannot be written."""
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()


def explain(error: Exception, text: str) -> tuple[int | None, int | None, str, str]:
    """Return line, column, problem and remedy of an error that parsing raised."""
    if isinstance(error, UnicodeEncodeError):
        return 1, None, "half a surrogate pair: a \\u escape that is not a character", LINE
    if not isinstance(error, json.JSONDecodeError):
        # Infinity, more digits than Python converts (4,300), or lists nested a thousand deep.
        return 1, None, f"not usable as JSON: {error}", LINE
    place = error.lineno, error.colno
    before, after = text[: error.pos].rstrip(), text[error.pos :].lstrip()
    remedy = LINE
    if before.endswith(",") and after[:1] in ("]", "}", ""):
        remedy = f"Remove the comma before {after[:1] or 'the end'}."
    elif after.startswith("'"):
        remedy = "Write text in double quotes, as json.dumps does and Python's print does not."
    elif not after:
        remedy = "The file ends too early: check that it was written to the end."
    elif re.match(r"None|True|False|nan|inf", after):
        remedy = "Write null, true, false or NaN, as json.dumps does and Python's print does not."
    return *place, f"not valid JSON: {error.msg}", remedy


# One document.


class _Reader:
    """Reads a document from top to bottom, and counts lines on the way.

    Lists and objects near the top are read value by value, so that each knows its line; what is
    below is decoded as a whole, in C.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = self._counted = 0
        self.line = 1

    def read_all(self) -> list[Located]:
        """Return the values at the top, one after the other."""
        values = []
        self._skip(_BETWEEN)
        while self.at < len(self.text):
            values.append(self._read(0))
            self._skip(_BETWEEN)
        return values

    def _read(self, depth: int) -> Located:
        line = self._line()
        mark = self.text[self.at : self.at + 1]
        if mark == "[":
            items = self._read_list()
            return Located([item.value for item in items], line, tuple(items))
        if mark == "{" and depth < DEEPEST:
            return self._read_object(depth, line)
        return self._decode()

    def _decode(self) -> Located:
        line, start = self._line(), self.at
        try:
            value, self.at = DECODER.raw_decode(self.text, self.at)
            refuse_halves(self.text[start : self.at], value)
        except json.JSONDecodeError:
            raise
        except (ValueError, RecursionError) as error:
            raise _UnusableError(line, explain(error, "")[2]) from None
        return Located(value, line)

    def _read_list(self) -> list[Located]:
        items: list[Located] = []
        self.at += 1
        self._skip()
        while not self._take("]"):
            if items:
                self._expect(",")
            items.append(self._decode())
            self._skip()
        return items

    def _read_object(self, depth: int, line: int) -> Located:
        value: dict[str, Any] = {}
        items: dict[str, Located] = {}
        self.at += 1
        self._skip()
        while not self._take("}"):
            if items:
                self._expect(",")
            if not self.text.startswith('"', self.at):
                raise self._error("Expecting property name enclosed in double quotes")
            key = self._decode().value
            self._skip()
            self._expect(":")
            items[key] = self._read(depth + 1)
            value[key] = items[key].value
            self._skip()
        return Located(value, line, tuple(items.values()))

    def _skip(self, space: re.Pattern[str] = _SPACE) -> None:
        match = space.match(self.text, self.at)
        self.at = match.end() if match else self.at

    def _take(self, mark: str) -> bool:
        found = self.text.startswith(mark, self.at)
        self.at += found
        return found

    def _expect(self, mark: str) -> None:
        if not self._take(mark):
            raise self._error(f"Expecting {mark!r} delimiter")
        self._skip()

    def _error(self, message: str) -> json.JSONDecodeError:
        return json.JSONDecodeError(message, self.text, self.at)

    def _line(self) -> int:
        self.line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self.line


class _UnusableError(ValueError):
    """Valid JSON that cannot be used: its line and the problem."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line, self.problem = line, problem


# What a document holds.


def _unwrap(top: Located, faults: Faults, form: str | None, known: Collection[str]) -> Document:
    """Return the values in a document of one value."""
    if not isinstance(top.value, dict):
        return Document(top.items if isinstance(top.value, list) else (top,))
    value: dict[str, Any] = top.value
    columns, data = value.get("columns"), value.get("data")
    if isinstance(columns, list) and isinstance(data, list):
        # pandas, to_json(orient="split")
        rows = next(i for k, i in zip(value, top.items, strict=True) if k == "data").items
        return Document(rows, names=tuple(map(str, columns)))
    if form != "jsonl" and not _is_record(value, known):
        found = list(_find_lists(top, ()))
        if len(found) > 1:
            keys = [".".join(path) for path, _ in found]
            raise _several(keys, "lists of objects", faults)
        if found:
            path, inner = found[0]
            key = ".".join(path)
            left = [name for name in value if name != path[0]]
            beside = f"; left out beside it: {list_names(left, 4)}" if left else ""
            return Document(inner.items, (f"the objects are those under {key!r}{beside}",))
    return _of_object(top, faults, form)


def _several(keys: list[str], what: str, faults: Faults) -> DataError:
    remedy = f"Write each to a file of its own: jq .{keys[0]} FILE > {keys[0]}.json"
    return faults.error("choice", f"{len(keys)} keys hold {what}: {list_names(keys)}", remedy)


def _is_record(value: dict[str, Any], known: Collection[str]) -> bool:
    """Whether an object with a list of objects is one sequence with its label."""
    return any(
        (key in known or is_named(key, TARGET_NAMES)) and not isinstance(own, list | dict)
        for key, own in value.items()
    )


def _find_lists(
    located: Located, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Located]]:
    """Yield the path and value of each list of objects."""
    for key, item in zip(located.value, located.items, strict=False):
        own = item.value
        if key == "schema":  # a description of the fields, as pandas writes it beside the data
            continue
        if isinstance(own, list) and own and all(isinstance(v, dict) for v in own):
            yield (*path, key), item
        elif isinstance(own, dict) and len(path) < DEEPEST:
            yield from _find_lists(item, (*path, key))


def _of_object(top: Located, faults: Faults, form: str | None) -> Document:
    """Return the objects of one object: its columns, its objects by name, or itself."""
    value: dict[str, Any] = top.value
    inner = list(value.values())
    splits = [
        key for key in value if key.lower() in _SPLITS and isinstance(value[key], dict | list)
    ]
    if len(splits) > 1:
        raise _several(splits, "splits", faults)
    if form != "jsonl" and len(value) > 1 and all(isinstance(v, dict) and v for v in inner):
        keys = inner[0].keys()
        counted = all(key.isdecimal() for key in keys)
        if counted and all(own.keys() == keys for own in inner):
            # pandas, to_json(): {"x": {"0": 1.5, "1": 2.5}, "label": {"0": "a", "1": "b"}}
            return _of_columns({k: list(own.values()) for k, own in value.items()}, top)
        # pandas, to_json(orient="index"), or objects by name
        named = "id" not in inner[0] and not all(key.isdecimal() for key in value)
        ids: list[dict[str, Any]] = [{"id": key} if named else {} for key in value]
        objects = (
            Located({**own, **item.value}, item.line)
            for own, item in zip(ids, top.items, strict=True)
        )
        return Document(tuple(objects), ("the objects are named by their keys",))
    if len(value) == 1 and isinstance(inner[0], dict):
        return _of_object(top.items[0], faults, form)
    lists = {k: own for k, own in value.items() if isinstance(own, list)}
    if len(lists) == len(value) and _are_columns(lists, faults, form):
        return _of_columns(lists, top)
    return Document((top,))


def _are_columns(lists: dict[str, list[Any]], faults: Faults, form: str | None) -> bool:
    """Whether the lists of an object are the columns of a table, and not one sequence.

    Raises: DataError if both are possible.
    """
    sizes = set(map(len, lists.values()))
    if len(sizes) != 1 or max(sizes) < 2 or form == "jsonl":
        return False
    if form in ("rows", "steps") or len(lists) < 2:
        return form in ("rows", "steps")
    nested = [own for own in lists.values() if any(isinstance(v, list) for v in own)]
    if not nested:
        # Words with their tags are one sequence; a column of texts is none.
        return not ("tokens" in lists or "tags" in lists)
    widths = {len(v) if isinstance(v, list) else -1 for own in nested for v in own}
    words = any(isinstance(v, list) and v and isinstance(v[0], str | list) for v in nested[0])
    if len(widths) > 1 or words:
        return True
    # A time for each step.
    if "tags" in lists or any(time_tier(k) and own not in nested for k, own in lists.items()):
        return False
    if any(is_named(k, TARGET_NAMES) and own not in nested for k, own in lists.items()):
        why = f"{len(nested[0])} lists and as many labels"
        guess = Guess("format", (), why, "--format rows", "--format jsonl", "likely")
        faults.guesses.append(guess)
        return True
    count, width = len(nested[0]), widths.pop()
    raise faults.error(
        "choice",
        f"the lists of the only object could be {count} sequences of {width} steps or one sequence"
        f" of {count} steps and {width} channels",
        f"Are these {count} sequences? Then say --format rows. Is it one? Then say --format jsonl.",
    )


def _of_columns(lists: dict[str, list[Any]], top: Located) -> Document:
    """Return the rows of columns of equal length."""
    rows = [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    note = f"the object holds columns of {len(rows):,} values"
    return Document(tuple(Located(row, top.line) for row in rows), (note,))
