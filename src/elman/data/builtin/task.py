"""What a built-in task is, and how one is asked for: `name`, or `name:parameter=value,...`."""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from elman.data.dataset import Dataset
from elman.errors import SettingsError, nearest
from elman.settings import Help


@dataclass(frozen=True)
class Parameter:
    """What a task can be told.

    Args:
        name: as the user types it.
        default: what it is if it is not given, a whole number or a word.
        meaning: a few words.
        hint: its annotated type, which holds its bounds.
    """

    name: str
    default: int | str
    meaning: str
    hint: Any


@dataclass(frozen=True)
class BuiltinTask:
    """A built-in data set.

    Args:
        name: what the user types.
        summary: one line on what is to be learned.
        make: from a seed, and the parameters as keywords, to the training part and the test part.
            Its signature is where the parameters are declared.
        source: who published the task, and where; empty for those of this project.
        known: one line on what is known of learning it.
    """

    name: str
    summary: str
    make: Callable[..., tuple[Dataset, Dataset]]
    source: str = ""
    known: str = ""

    @property
    def parameters(self) -> dict[str, Parameter]:
        """What `make` takes beside the seed, by name."""
        hints = typing.get_type_hints(self.make, include_extras=True)
        found = {}
        for name, default in (self.make.__kwdefaults__ or {}).items():
            meaning = next(m.text for m in hints[name].__metadata__ if isinstance(m, Help))
            found[name] = Parameter(name, default, meaning, hints[name])
        return found

    def values(self, text: str) -> dict[str, int | str]:
        """Read `T=100,train=50`; empty text is no parameter.

        Raises: SettingsError that lists every fault: unknown names with the nearest right one,
            values of the wrong type or out of bounds, a name that comes twice.
        """
        from pydantic import TypeAdapter, ValidationError

        known = self.parameters
        allowed = ", ".join(f"{p.name}={p.default}" for p in known.values())
        expected = f"It takes {allowed}" if known else "It takes no parameters"
        values: dict[str, int | str] = {}
        faults = []
        for part in text.split(",") if text else []:
            name, equals, value = (piece.strip() for piece in part.partition("="))
            if not equals or not name or not value:
                faults.append(f"got {part!r}, expected parameter=value. {expected}")
            elif name not in known:
                faults.append(f"no such parameter {name!r}.{nearest(name, known)} {expected}")
            elif name in values:
                faults.append(f"{name} is given twice, expected once")
            else:
                try:
                    values[name] = TypeAdapter(known[name].hint).validate_strings(value)
                except ValidationError as error:
                    wanted = error.errors()[0]["msg"].removeprefix("Input should be ")
                    faults.append(f"{name}: got {value!r}, expected {wanted}")
                    values[name] = known[name].default
        if faults:
            raise SettingsError("\n".join(f"task {self.name}: {fault}" for fault in faults))
        return values


def split_name(asked: str) -> tuple[str, str | None]:
    """Part `name:parameter=value` into the name and the rest; None where there is no colon."""
    name, colon, rest = asked.partition(":")
    return name, rest if colon else None
