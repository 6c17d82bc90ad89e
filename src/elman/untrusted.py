"""Reading JSON files that anybody may have written: capped in memory, and checked against a type.

`json.loads` alone accepts a key twice, NaN, and a file of 10 MB that takes up 700 MB once parsed;
what it returns may be of any type. Model folders, checkpoints and manifests are read with:

    data = read_file(path, most)                      only a regular file, of at most `most` bytes
    value = parse_json(data, place)                   refused before it unfolds
    history = read_as(History, value, place)          each field of the declared type, no other key
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import stat
import types
import typing
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar, get_args, get_origin

from elman.errors import ModelFileError, nearest

T = TypeVar("T")

# A parsed value takes up to 100 bytes: an empty list or object 64, a short string 60, a float 32,
# and 8 more for its place in a list or about 40 in an object.
_VALUE = 100
_SPARE = 32 * 2**20  # bytes that a small file may unfold to
_INT64 = 2**63  # larger integers fit no array, so no file of ours contains one
_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    types.NoneType: "null",
}


def read_file(path: Path, most: int) -> bytes:
    """Return the content of a regular file of at most `most` bytes.

    Raises: ModelFileError for anything else: a link, a directory, a pipe, a device, a larger file.
    """
    with open_file(path, most) as file:
        return file.read(os.fstat(file.fileno()).st_size)


def open_file(path: Path, most: int) -> typing.BinaryIO:
    """Open a regular file of at most `most` bytes for reading; errors as for `read_file`."""
    try:
        _refuse_special(path, path.lstat())  # before it is opened: to open a device may change it
        # Without O_NONBLOCK, opening a named pipe waits for somebody to write into it.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(path, flags)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        _refuse_special(path, status)
        if status.st_size > most:
            raise ModelFileError(
                f"{path}: {status.st_size:,} bytes, expected at most {most:,}. No file that elman "
                "writes here is so large"
            )
        return os.fdopen(descriptor, "rb")
    except BaseException:
        with suppress(OSError):  # Ctrl-C may come when the file object has closed it already
            os.close(descriptor)
        raise


def _refuse_special(path: Path, status: os.stat_result) -> None:
    mode = status.st_mode
    if stat.S_ISLNK(mode):
        raise ModelFileError(
            f"{path}: is a link, expected a file. Links in this folder are not followed: put a "
            "copy of the file in its place"
        )
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "named pipe", stat.S_IFSOCK: "socket"}
        raise ModelFileError(
            f"{path}: is a {kinds.get(stat.S_IFMT(mode), 'device')}, expected a file"
        )


def parse_json(data: bytes, place: str, around: int = 0) -> Any:
    """Return the value of a JSON text.

    Args:
        data: the file's content.
        place: its path, for messages.
        around: size in bytes of the files that belong to it. A large vocabulary comes with large
            weights, so a text beside large files may unfold to more.
    Raises: ModelFileError if it is not valid JSON, has a key twice in one object, NaN or Infinity,
        or would take up more memory than twice all these files and 32 MiB.
    """
    refuse_bomb(data, place, around)
    try:
        return json.loads(
            data.decode("utf-8"), object_pairs_hook=unique_keys, parse_constant=_refuse_constant
        )
    except RecursionError:
        raise ModelFileError(f"{place}: not valid JSON: nested too deeply") from None
    except ValueError as error:  # covers bad UTF-8, duplicate keys and integers of 5,000 digits
        raise ModelFileError(f"{place}: not valid JSON: {error!s:.200}") from None


def refuse_bomb(data: bytes, place: str, around: int = 0) -> None:
    """Raise ModelFileError if a JSON text would unfold to too much; arguments as `parse_json`."""
    needed, limit = _memory(data), 2 * (len(data) + around) + _SPARE
    if needed > limit:
        raise ModelFileError(
            f"{place}: would take up {needed / 2**20:,.0f} MiB of memory, expected at most "
            f"{limit / 2**20:,.0f} MiB for files of this size"
        )


def _memory(data: bytes) -> int:
    """Return an upper bound in bytes of the memory that parsing takes, beside `data` itself."""
    width = 1  # bytes a character of Python's string: decided by the widest character
    if data.translate(None, bytes(range(0xF0))):
        width = 4
    elif data.translate(None, bytes(range(0xC4))):
        width = 2
    values = sum(map(data.count, (b",", b":", b"[", b"{")))
    return 2 * width * len(data) + _VALUE * values  # the text and its strings, and the values


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs of a JSON object as a dictionary; ValueError if a key occurs twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {show(twice)} occurs twice in one object")
    return found


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


def show(value: Any) -> str:
    """Return a value of a file for a message: short, whatever it is."""
    if isinstance(value, Mapping):
        return f"an object with {len(value):,} keys"
    if isinstance(value, list | tuple):
        return f"a list of {len(value):,} values"
    if isinstance(value, str):
        return repr(value) if len(value) <= 60 else f"{value[:60]!r}... ({len(value):,} characters)"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    text = str(value)
    return text if len(text) <= 60 else f"{text[:60]}... ({len(text):,} digits)"


def refuse(place: str, value: Any, expected: str) -> NoReturn:
    """Raise ModelFileError for a value that is not what was expected."""
    raise ModelFileError(f"{place}: got {show(value)}, expected {expected}")


@typing.overload
def read_as(kind: type[T], value: Any, place: str) -> T: ...
@typing.overload
def read_as(kind: Any, value: Any, place: str) -> Any: ...
def read_as(kind: Any, value: Any, place: str) -> Any:
    """Return a value of a JSON file as a type, such as a dataclass; lists become its tuples.

    Nothing is converted, except that a number without a fraction may be a float: "3" is not 3, true
    is not 1. An object must have all fields of its dataclass that have no default, and no others.

    Args:
        kind: str, int, float, bool, None, Literal, a union, `tuple[X, ...]`, `list[X]`,
            `dict[str, X]`, Any, or a dataclass with fields of such types.
        value: as `parse_json` returns it.
        place: file and keys, for messages: `config.json: history`.
    Raises: ModelFileError with the place of the first fault.
    """
    origin = get_origin(kind)
    if origin is Annotated:
        return read_as(get_args(kind)[0], value, place)
    if origin is Literal:
        for choice in get_args(kind):
            if type(value) is type(choice) and value == choice:
                return choice
        refuse(place, value, _describe(kind))
    if origin in (typing.Union, types.UnionType):
        return _read_union(kind, value, place)
    if origin in (tuple, list):
        if not isinstance(value, list):
            refuse(place, value, _describe(kind))
        each = get_args(kind)[0]
        if not (each is str and all(type(item) is str for item in value)):  # for speed
            value = [read_as(each, item, f"{place}: {i}") for i, item in enumerate(value)]
        return origin(value)
    if origin is dict:
        if not isinstance(value, dict):
            refuse(place, value, _describe(kind))
        each = get_args(kind)[1]
        return {k: read_as(each, v, f"{place}: {k:.60}") for k, v in value.items()}
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, value, place)
    return _read_plain(kind, value, place)


def _read_plain(kind: Any, value: Any, place: str) -> Any:
    """Return text, a number, true, false or null, or for Any the value as it is."""
    if kind is Any:
        return value
    kind = types.NoneType if kind is None else kind
    if type(value) is int and not -_INT64 <= value < _INT64:
        refuse(place, value, "a number below 2^63")
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        refuse(place, value, _describe(kind))
    if kind is float and not math.isfinite(value):
        refuse(place, value, "a finite number")
    return value


def _read_union(kind: Any, value: Any, place: str) -> Any:
    members = get_args(kind)
    if type(value) in members:
        return _read_plain(type(value), value, place)
    faults = []
    for member in members:
        try:
            return read_as(member, value, place)
        except ModelFileError as error:
            faults.append(error)
    # A fault inside an object or a list says more than that it is of none of these types.
    inside = [fault for fault in faults if not str(fault).startswith(f"{place}: got ")]
    if inside:
        raise inside[0]
    refuse(place, value, _describe(kind))


def _read_dataclass(kind: Any, value: Any, place: str) -> Any:
    if not isinstance(value, dict):
        refuse(place, value, f"an object, the fields of {kind.__name__}")
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
    for name in value:
        if name not in fields:
            raise ModelFileError(f"{place}: {show(name)}: no such key.{nearest(name, fields)}")
    for name, field in fields.items():
        if name not in value and field.default is field.default_factory is dataclasses.MISSING:
            raise ModelFileError(f"{place}: no {name!r}")
    hints = _hints(kind)
    return kind(**{k: read_as(hints[k], v, f"{place}: {k}") for k, v in value.items()})


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def _describe(kind: Any) -> str:
    """Return what a type accepts, in words."""
    origin = get_origin(kind)
    if origin is Literal:
        return " or ".join(map(show, get_args(kind)))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(_describe, get_args(kind))))
    if origin in (tuple, list):
        return "a list"
    if origin is dict or dataclasses.is_dataclass(kind):
        return "an object"
    return _WORDS[types.NoneType if kind is None else kind]
