"""Declaration and validation of settings as dataclasses with annotated types.

    size: Annotated[int, Ge(1), Help("Units of the layer.")] = 8

pydantic checks the values but is imported only when there are values to check. Its `Field` could
hold help and bounds too, but importing it is slow: `elman --help` takes 57 ms of CPU time, and 114
ms with `import pydantic.fields`. So bounds come from annotated_types, which pydantic reads, and
help texts are separate annotations.
"""

from __future__ import annotations

import functools
import math
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from elman.errors import SettingsError, nearest

T = TypeVar("T")


@dataclass(frozen=True)
class Help:
    """What a setting means, for `--help` and the docs.

    Args:
        text: one sentence.
        default: the default in words, if the value of the field does not show it.
    """

    text: str
    default: str = ""


@dataclass(frozen=True, eq=False)
class OneOf:
    """Annotation for text that must be one of several names; names may be added at run time.

    Args:
        names: the allowed names.
        remedy: what the message adds if a name is not allowed.
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


@dataclass(frozen=True, eq=False)
class Parsed:
    """Annotation for text that a function must be able to read.

    Args:
        parse: raises SettingsError saying "got ..., expected ..." otherwise.
    """

    parse: Callable[[str], object]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import PydanticCustomError, core_schema

        def check(value: str) -> str:
            try:
                self.parse(value)
            except SettingsError as error:
                expected = str(error).partition("expected ")[2]
                raise PydanticCustomError(
                    "parsed", "Input should be {expected}", {"expected": expected}
                ) from None
            return value

        return core_schema.no_info_after_validator_function(check, handler(source))


def validate_settings(section: type[T], values: Mapping[str, Any], place: str = "") -> T:
    """Build one section of the settings from plain values, with all defaults filled in.

    Args:
        section: one of the classes in SECTIONS, or another dataclass declared like them.
        values: values by name of the setting.
        place: origin of the values, for the message.
    Raises: SettingsError listing every fault: unknown names with the nearest valid name, and
        values of the wrong type or out of bounds ("3" is not 3, and true is not 1).
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
            faults += [f"{name}: got {value!r:.200}, expected {expected}"] if expected else []
    if faults:
        raise SettingsError("\n".join(f"{place}: {fault}" if place else fault for fault in faults))
    try:
        return section(**accepted)
    except SettingsError as error:  # a combination of settings that is not allowed
        raise SettingsError(f"{place}: {error}" if place else str(error)) from None


def check_value(section: Any, name: str, value: Any) -> str:
    """Return what is wrong with the value of one setting of a section; empty if nothing is."""
    _, expected = _check(_adapters(section)[name], value)
    return f"{name}: got {value!r:.200}, expected {expected}" if expected else ""


@functools.cache
def _adapters(section: Any) -> dict[str, Any]:
    from pydantic import TypeAdapter

    return {
        name: TypeAdapter(hint)
        for name, hint in typing.get_type_hints(section, include_extras=True).items()
    }


def _check(adapter: Any, value: Any) -> tuple[Any, str]:
    """Return the value converted to its type, and what was expected instead; empty if valid."""
    from pydantic import ValidationError

    if type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0:
        value = value.item()  # scikit-learn's searches pass NumPy scalars
    if isinstance(value, dict):
        value = {k.item() if hasattr(k, "item") else k: v for k, v in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None, "a finite number"
    try:
        return adapter.validate_python(value, strict=True), ""
    except ValidationError as error:
        expected = [e["msg"].removeprefix("Input should be ") for e in error.errors()]
        # For a union, pydantic lists what each member expects; "a valid string" is no help there.
        specific = [text for text in expected if text != "a valid string"]
        text = " or ".join(dict.fromkeys(specific or expected))
        hint = nearest(value, re.findall(r"'(\w+)'", text)) if isinstance(value, str) else ""
        return None, f"{text}.{hint}" if hint else text
