"""How settings are declared and checked: dataclasses with annotated types.

    size: Annotated[int, Ge(1), Help("Units of the layer.")] = 8

Light on purpose: pydantic checks values, but is imported only when there are some to check. Its own
`Field` would carry help and bounds as well, and costs its import: `elman --help` takes 57 ms of CPU
time, and with `import pydantic.fields` 114. So the bounds are those of annotated_types, which
pydantic reads, and the help is a mark beside them.
"""

from __future__ import annotations

import functools
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from elman.errors import SettingsError, nearest

T = TypeVar("T")


@dataclass(frozen=True)
class Help:
    """What a setting means, for `--help` and the docs.

    Args:
        text: a sentence.
        default: the default in words, where the value of the field does not tell it.
    """

    text: str
    default: str = ""


@dataclass(frozen=True, eq=False)
class OneOf:
    """Marks text that must be one of some names, which may become more while the program runs.

    Args:
        names: those there are.
        remedy: what a message adds for a name that is not among them.
    """

    names: list[str]
    remedy: str = ""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import PydanticCustomError, core_schema

        def check(value: Any) -> Any:
            if isinstance(value, str) and value in self.names:
                return value
            *others, last = map(repr, self.names)
            expected = f"{', '.join(others)} or {last}{self.remedy}"
            raise PydanticCustomError("one_of", "Input should be {names}", {"names": expected})

        return core_schema.no_info_plain_validator_function(check)


def validate_settings(section: type[T], values: Mapping[str, Any], place: str = "") -> T:
    """Build one section of the settings from plain values, all defaults filled in.

    Args:
        section: one of the classes in SECTIONS, or another dataclass declared as they are.
        values: setting by name.
        place: where the values came from, for the message.
    Raises: SettingsError that lists every fault: unknown names with the nearest right one, and
        values of the wrong type or out of bounds. "3" is not 3, and true is not 1.
    """
    adapters: dict[str, Any] = _adapters(section)  # type: ignore[arg-type]
    faults = [
        f"{name}: no such setting.{nearest(name, adapters)}"
        for name in values
        if name not in adapters
    ]
    accepted = {}
    for name, value in values.items():
        if name in adapters:
            accepted[name], expected = _check(adapters[name], value)
            faults += [f"{name}: got {value!r}, expected {expected}"] if expected else []
    if faults:
        raise SettingsError("\n".join(f"{place}: {fault}" if place else fault for fault in faults))
    try:
        return section(**accepted)
    except SettingsError as error:  # settings that do not go together
        raise SettingsError(f"{place}: {error}" if place else str(error)) from None


@functools.cache
def _adapters(section: Any) -> dict[str, Any]:
    from pydantic import TypeAdapter

    return {
        name: TypeAdapter(hint)
        for name, hint in typing.get_type_hints(section, include_extras=True).items()
    }


def _check(adapter: Any, value: Any) -> tuple[Any, str]:
    """Return the value as its type has it, and what was expected instead, or an empty string."""
    from pydantic import ValidationError

    if type(value).__module__ == "numpy" and hasattr(value, "item"):
        value = value.item()  # scikit-learn's searches pass NumPy scalars
    if isinstance(value, dict):
        value = {k.item() if hasattr(k, "item") else k: v for k, v in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None, "a finite number"
    try:
        return adapter.validate_python(value, strict=True), ""
    except ValidationError as error:
        expected = [e["msg"].removeprefix("Input should be ") for e in error.errors()]
        # Of a union, pydantic tells what every member expects; "a valid string" is no help there.
        specific = [text for text in expected if text != "a valid string"]
        return None, " or ".join(dict.fromkeys(specific or expected))
