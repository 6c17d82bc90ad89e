"""Reading settings from TOML files and flags, and writing them as TOML."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elman.errors import SettingsError, nearest
from elman.settings import SECTIONS, DataSettings, ModelSettings, ReportSettings, TrainingSettings
from elman.validation import check_value, validate_settings

Values = dict[str, dict[str, Any]]
Check = Callable[[Mapping[str, Any]], Iterable[tuple[tuple[str, ...], str]]]
_STATEMENT = re.compile(r"""\s*(\[|[\w"'.-]+\s*=)""")  # the beginning of one


@dataclass(frozen=True)
class RunSettings:
    """All settings of `elman train`, and the content of config.toml, one field per section."""

    data: DataSettings = field(default_factory=DataSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    report: ReportSettings = field(default_factory=ReportSettings)


@dataclass(frozen=True)
class TomlFile:
    """Settings of a TOML file by section, and where they stand.

    Args:
        path: the file.
        values: values by section and name.
        lines: line, from 1, of each section, `(section,)`, and setting, `(section, name)`.
    """

    path: Path
    values: Values
    lines: dict[tuple[str, ...], int]

    def place(self, *names: str) -> str:
        """Return file and line of a section or setting, for a message."""
        return f"{self.path}, line {self.lines[names]}" if names in self.lines else f"{self.path}"


def read_toml(path: Path, wrong_values: Check | None = None) -> TomlFile:
    """Read settings by section.

    Args:
        wrong_values: finds wrong values; None means those that are none of their settings.
    Raises: SettingsError listing every fault with file and line: syntax errors, unknown sections,
        keys in the wrong section or in none. If there is one of these, wrong values are listed too;
        otherwise `merge` lists them, because a flag may take the place of a value.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        names = [p.name for p in path.parent.glob("*.toml")] if path.parent.is_dir() else []
        raise SettingsError(f"{path}: no such file.{nearest(path.name, names)}") from None
    except IsADirectoryError:
        inside = f", such as {path / 'config.toml'}" if (path / "config.toml").is_file() else ""
        raise SettingsError(f"{path}: is a folder, expected a TOML file{inside}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read as TOML: {error}") from error
    content, lines, faults = _read_statements(text)
    try:
        content, faults = tomllib.loads(text), []
    except tomllib.TOMLDecodeError as error:
        if not faults:  # a fault that no statement has by itself
            raise SettingsError(f"{path}: cannot be read as TOML: {error}") from error
    file = TomlFile(path, content, lines)
    misplaced = [(lines.get(names, 0), fault) for names, fault in _misplaced(content)]
    if faults or misplaced:
        values = (wrong_values or _wrong_values)(content)
        wrong = [(lines.get(names, 0), fault) for names, fault in values]
        listed = sorted([*faults, *misplaced, *wrong])
        places = [f"{path}, line {line}" if line else f"{path}" for line, _ in listed]
        raise SettingsError(
            "\n".join(f"{place}: {text}" for place, (_, text) in zip(places, listed, strict=True))
        )
    return file


def _read_statements(
    text: str,
) -> tuple[Values, dict[tuple[str, ...], int], list[tuple[int, str]]]:
    """Read a file statement by statement, so that a syntax error does not hide the other faults.

    Returns: the values of the statements that can be read; the line of each section and setting;
        and the syntax errors with their lines.
    """
    content: Values = {}
    lines: dict[tuple[str, ...], int] = {}
    faults: list[tuple[int, str]] = []
    seen: dict[tuple[bool, tuple[str, ...]], int] = {}
    rows, at, header = text.replace("\r\n", "\n").split("\n"), 0, ""
    while at < len(rows):
        start, at = at, at + 1
        is_header = rows[start].lstrip().startswith("[")
        before = "" if is_header else f"{header}\n"
        parsed, problem = _parse(before + rows[start])
        end = at
        while parsed is None and end < len(rows) and not _STATEMENT.match(rows[end]):
            end += 1  # a value in brackets or three quotes goes on
            parsed, _ = _parse(before + "\n".join(rows[start:end]))
            at = end if parsed is not None else at
        if parsed is None:
            faults.append((start + 1, f"cannot be read as TOML: {problem}"))
            continue
        names = _names(parsed)
        header = rows[start] if is_header else header
        blank = not rows[start].split("#")[0].strip()
        if blank or not names:
            continue
        first = seen.setdefault((is_header, names), start + 1)
        if first <= start and not isinstance(parsed.get(names[0]), list):
            what = f"[{'.'.join(names)}]" if is_header else names[-1]
            faults.append((start + 1, f"{what}: given twice, first in line {first}"))
        for depth in (1, 2):
            lines.setdefault(names[:depth], start + 1)
        _update(content, parsed)
    return content, lines, faults


def _parse(text: str) -> tuple[Values | None, str]:
    """Return the values of a piece of TOML, or None and what is wrong with it."""
    try:
        return tomllib.loads(text), ""
    except tomllib.TOMLDecodeError as error:
        problem = str(error).split(" (at ")[0]
        if problem == "Invalid value":
            problem = "the value is none of TOML's. Put text in quotes; write true and false small"
        return None, problem


def _names(values: Any) -> tuple[str, ...]:
    """Return the names that lead to the value of one statement."""
    names: list[str] = []
    while isinstance(values, dict) and len(values) == 1:
        ((name, values),) = values.items()
        names.append(name)
    return tuple(names)


def _update(values: dict[str, Any], other: Mapping[str, Any]) -> None:
    for name, value in other.items():
        if isinstance(value, dict) and isinstance(values.get(name), dict):
            _update(values[name], value)
        else:
            values[name] = value


def _misplaced(content: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Find unknown sections and settings, and those in the wrong section or in none."""
    home = {f.name: section for section, kind in SECTIONS.items() for f in dataclasses.fields(kind)}
    for name, section in content.items():
        if name not in SECTIONS:
            if name in home:
                yield (name,), f"{name}: belongs below [{home[name]}]"
            else:
                hint = nearest(name, [*SECTIONS, *home])
                yield (name,), f"{name}: no such section or setting.{hint}"
        elif not isinstance(section, dict):
            yield (name,), f"{name}: is a section, written [{name}]"
        else:
            keys = {f.name for f in dataclasses.fields(SECTIONS[name])}
            for key in section:
                if key not in keys and key in home:
                    yield (name, key), f"[{name}] {key}: belongs below [{home[key]}]"
                elif key not in keys:
                    yield (name, key), f"[{name}] {key}: no such setting.{nearest(key, home)}"


def _wrong_values(content: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Find known settings with values of the wrong type or out of bounds."""
    for name, kind in SECTIONS.items():
        section = content.get(name)
        keys = {f.name for f in dataclasses.fields(kind)}
        for key, value in section.items() if isinstance(section, dict) else ():
            if key in keys and (fault := check_value(kind, key, value)):
                yield (name, key), f"[{name}] {fault}"


def merge(*layers: Mapping[str, Mapping[str, Any]], file: TomlFile | None = None) -> RunSettings:
    """Merge layers of settings over those of a file, and check the result; later layers win.

    Raises: SettingsError listing every fault of every section, one per line; with the line in the
        file if the value is from there.
    """
    sections: dict[str, Any] = {}
    faults = []
    for name, kind in SECTIONS.items():
        values: dict[str, Any] = {}
        for layer in layers:
            values |= layer.get(name, {})
        stored = {} if file is None else file.values.get(name, {})
        try:
            sections[name] = validate_settings(kind, stored | values)
        except SettingsError as error:
            for fault in str(error).splitlines():
                setting = fault.split(":")[0]
                if file is not None and setting in stored and setting not in values:
                    fault = f"{file.place(name, setting)}: [{name}] {fault}"
                faults.append(fault)
    if faults:
        raise SettingsError("\n".join(faults))
    return RunSettings(**sections)


def to_toml(settings: RunSettings) -> str:
    """Return every setting as TOML; a setting without a value becomes a comment."""
    lines: list[str] = []
    for name in SECTIONS:
        section = getattr(settings, name)
        lines += ["", f"[{name}]"] if lines else [f"[{name}]"]
        for entry in dataclasses.fields(section):
            value = getattr(section, entry.name)
            # TOML has no null. The comment shows that the setting exists and can be set.
            lines.append(f"# {entry.name} =" if value is None else f"{entry.name} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def settings_hash(settings: RunSettings) -> str:
    """SHA-256 of all settings; equal if and only if every setting is equal."""
    # Sorted, so that reordering the fields does not change the hash.
    text = json.dumps(dataclasses.asdict(settings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _toml(value: str | bool | int | float | dict[Any, Any]) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_toml(str(k))} = {_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # A JSON string is a TOML basic string, except for one control character JSON leaves as is.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)  # for floats, the shortest text that reads back as the same number
