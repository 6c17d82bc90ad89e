"""Every setting in one list, read from the classes of `elman.settings`.

Flags of the command, parameters of the estimators and their help are made from it.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

from elman.settings import SECTIONS
from elman.validation import Help, OneOf


@dataclass(frozen=True)
class Setting:
    """Description of one setting for the command.

    Args:
        section: section of the TOML file.
        name: name of the setting, the same everywhere.
        default: default value; None if it is chosen later.
        help: meaning of the setting, one sentence.
        default_text: the default in words; may be empty.
        choices: words that the setting accepts.
        types: types of other values that it accepts.
    """

    section: str
    name: str
    default: Any
    help: str
    default_text: str
    choices: tuple[str, ...]
    types: tuple[type, ...]


def list_settings() -> list[Setting]:
    """Return every setting, section by section."""
    return [s for section, owner in SECTIONS.items() for s in list_fields(section, owner)]


def list_fields(section: str, owner: type[Any]) -> list[Setting]:
    """Return the settings that one dataclass declares."""
    settings = []
    hints = typing.get_type_hints(owner, include_extras=True)
    for field in dataclasses.fields(owner):
        hint = hints[field.name]
        mark = next(mark for mark in hint.__metadata__ if isinstance(mark, Help))
        default_text = mark.default or ("" if field.default is None else str(field.default))
        choices, types = _accepted_values(hint)
        settings.append(
            Setting(section, field.name, field.default, mark.text, default_text, choices, types)
        )
    return settings


def _accepted_values(hint: Any) -> tuple[tuple[str, ...], tuple[type, ...]]:
    """Return the words and types that a type hint accepts."""
    origin = get_origin(hint)
    if origin is Annotated:
        for mark in hint.__metadata__:
            if isinstance(mark, OneOf):
                return tuple(mark.names), ()
        return _accepted_values(get_args(hint)[0])
    if origin is Literal:
        return get_args(hint), ()
    if origin in (typing.Union, types.UnionType):
        parts = [_accepted_values(part) for part in get_args(hint)]
        return sum((p[0] for p in parts), ()), sum((p[1] for p in parts), ())
    if origin is dict:  # can be set in files only
        return (), ()
    return (), (() if hint is types.NoneType else (hint,))
