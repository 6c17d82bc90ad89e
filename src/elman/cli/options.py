"""Flags shared by several commands, and flags made from the settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from elman.settings import READING, Field, fields

F = TypeVar("F", bound=Callable[..., Any])


class _Value(click.ParamType[Any]):
    """A number or a word, as the setting accepts it."""

    def __init__(self, field: Field) -> None:
        self.field = field
        words = list(field.choices)
        names = {int: "INTEGER", float: "NUMBER", str: "TEXT"}
        self.name = "|".join([*(names[t] for t in field.types), *words])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str) or value in self.field.choices:
            return value
        for kind in (int, float):
            if kind in self.field.types:
                try:
                    return kind(value)
                except ValueError:
                    continue
        if str in self.field.types:
            return value
        return self.fail(f"{value!r} is not {self.name}.", param, ctx)


def setting_options(function: F) -> F:
    """Add a flag for every setting; one that is not given is None."""
    for field in reversed(fields()):
        if field.name == "data":
            continue
        flag = f"--{field.name.replace('_', '-')}"
        shown = field.help
        if field.default is not None and "[default" not in shown:
            default = field.default
            if isinstance(default, bool):
                flag_shown = "" if default else "no-"
                default = f"{flag_shown}{field.name.replace('_', '-')}"
            shown += f" [default: {default}]"
        option: Callable[[F], F]
        if field.types == (bool,):
            flag += f"/--no-{field.name.replace('_', '-')}"
            option = click.option(flag, field.name, default=None, help=shown)
        elif field.choices and not field.types:
            kind = click.Choice(field.choices)
            option = click.option(flag, field.name, type=kind, default=None, help=shown)
        else:
            option = click.option(flag, field.name, type=_Value(field), default=None, help=shown)
        function = option(function)
    return function


def reading_options(function: F) -> F:
    """Add the flags that say how a file is read; what is not given is as in training."""
    return _reading(function, "as in training")


def guessing_options(function: F) -> F:
    """Add the flags that say how a file is read; what is not given is guessed."""
    return _reading(function, "guessed")


def _reading(function: F, default: str) -> F:
    known = {field.name: field for field in fields()}
    for name in reversed(READING):
        field = known[name]
        kind = click.Choice(field.choices) if field.choices else str
        shown = field.help.split(" [default")[0] + f" [default: {default}]"
        function = click.option(f"--{name}", name, type=kind, default=None, help=shown)(function)
    return function


model_argument = click.argument("model", type=click.Path(path_type=Path))
data_argument = click.argument("data")
