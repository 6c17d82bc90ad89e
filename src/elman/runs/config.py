"""Reading settings from TOML files and flags, and writing them as TOML."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elman.errors import SettingsError, nearest
from elman.settings import SECTIONS, DataSettings, ModelSettings, ReportSettings, TrainingSettings
from elman.validation import validate_settings

Values = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class RunSettings:
    """All settings of `elman train`, and the content of config.toml, one field per section."""

    data: DataSettings = field(default_factory=DataSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    report: ReportSettings = field(default_factory=ReportSettings)


def read_toml(path: Path) -> Values:
    """Read settings by section.

    Raises: SettingsError naming the file and, for a syntax error, the line; also for unknown
        sections, and for keys in the wrong section or in none.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        names = [p.name for p in path.parent.glob("*.toml")] if path.parent.is_dir() else []
        raise SettingsError(f"{path}: no such file.{nearest(path.name, names)}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read as TOML: {error}") from error
    home = {f.name: section for section, kind in SECTIONS.items() for f in dataclasses.fields(kind)}
    faults = []
    for name, section in content.items():
        if name not in SECTIONS:
            if name in home:
                faults.append(f"{name}: belongs below [{home[name]}]")
            else:
                hint = nearest(name, [*SECTIONS, *home])
                faults.append(f"{name}: no such section or setting.{hint}")
        elif not isinstance(section, dict):
            faults.append(f"{name}: is a section, written [{name}]")
        else:
            keys = {f.name for f in dataclasses.fields(SECTIONS[name])}
            for key in section:
                if key not in keys and key in home:
                    faults.append(f"[{name}] {key}: belongs below [{home[key]}]")
                elif key not in keys:
                    faults.append(f"[{name}] {key}: no such setting.{nearest(key, home)}")
    if faults:
        raise SettingsError("\n".join(f"{path}: {fault}" for fault in faults))
    return content


def merge(*layers: Mapping[str, Mapping[str, Any]]) -> RunSettings:
    """Merge layers of settings and check the result; later layers take precedence.

    Raises: SettingsError listing every fault of every section, one per line.
    """
    sections: dict[str, Any] = {}
    faults = []
    for name, kind in SECTIONS.items():
        values: dict[str, Any] = {}
        for layer in layers:
            values |= layer.get(name, {})
        try:
            sections[name] = validate_settings(kind, values)
        except SettingsError as error:
            faults.append(str(error))
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
