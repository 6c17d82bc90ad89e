"""Flags shared by several commands, and flags made from the settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from elman.errors import nearest
from elman.formats import FILLS
from elman.setting_list import Setting, list_fields, list_settings
from elman.settings import READING_SETTINGS

F = TypeVar("F", bound=Callable[..., Any])


class _Value(click.ParamType[Any]):
    """Click type for a setting that accepts numbers and words."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        names = {int: "INTEGER", float: "NUMBER", str: "TEXT"}
        self.name = "|".join([*(names[t] for t in setting.types), *setting.choices])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str) or value in self.setting.choices:
            return value
        for number in (int, float):
            if number in self.setting.types:
                try:
                    return number(value)
                except ValueError:
                    continue
        if str in self.setting.types:
            return value
        return self.fail(f"{value!r} is not {self.name}.", param, ctx)


class Choice(click.Choice[str]):
    """Click choice whose message names the nearest choice."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the choice."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            return self.fail(f"{error.message}{nearest(str(value), self.choices)}", param, ctx)


def setting_options(function: F) -> F:
    """Add a flag for every setting; flags that are not set are None."""
    for setting in reversed(list_settings()):
        if setting.name != "data":  # the argument of the command
            function = _flag(setting, setting.default_text)(function)
    return function


def field_options(owner: type[Any], without: tuple[str, ...] = ()) -> Callable[[F], F]:
    """Return a decorator that adds a flag for every field of a dataclass but `without`."""

    def add(function: F) -> F:
        for setting in reversed(list_fields("", owner)):
            if setting.name not in without:
                function = _flag(setting, setting.default_text)(function)
        return function

    return add


def reading_options(function: F) -> F:
    """Add the flags that say how a file is read; unset flags are as in training."""
    option = click.option(
        "--fill",
        type=Choice(FILLS),
        help="What to do with a missing value in a channel that had none in training: refuse the "
        "file; or fill in the previous value of the sequence (at its start the next), the mean of "
        "the training split, or zero. [default: refuse]",
    )
    return _reading_options(option(function), "as in training")


def guessing_options(function: F) -> F:
    """Add the flags that say how a file is read; unset flags are guessed from the file."""
    return _reading_options(function, "guessed")


def _reading_options(function: F, default: str) -> F:
    settings = {setting.name: setting for setting in list_settings()}
    for name in reversed(READING_SETTINGS):
        function = _flag(settings[name], default)(function)
    return function


def memory_option(function: F) -> F:
    """Add the flag that limits the memory of a command."""
    setting = next(s for s in list_settings() if s.name == "memory_limit")
    return _flag(setting, setting.default_text)(function)


def _flag(setting: Setting, default: str) -> Callable[[F], F]:
    """Return the flag of one setting, with its default in words."""
    kind: Any
    flag = word = setting.name.replace("_", "-")
    if setting.types == (bool,):
        flag, kind = f"{word}/--no-{word}", bool
        default = {"True": word, "False": f"no-{word}"}.get(default, default)
    elif not setting.types:
        kind = Choice(setting.choices)
    else:
        kind = _Value(setting)
    text = f"{setting.help} [default: {default}]" if default else setting.help
    return click.option(f"--{flag}", setting.name, type=kind, default=None, help=text)


model_argument = click.argument("model", type=click.Path(path_type=Path))
data_argument = click.argument("data")
