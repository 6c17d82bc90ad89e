"""What a built-in task is, how one is named, and what the generated ones share."""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from elman.data.dataset import Dataset, InputKind, Layout
from elman.data.ragged import Ragged, to_objects
from elman.errors import SettingsError, nearest
from elman.validation import Help


@dataclass(frozen=True)
class Parameter:
    """A parameter of a task.

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
        make: from a seed, and the parameters as keywords, to the training split and the test split.
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
                    expected_value = error.errors()[0]["msg"].removeprefix("Input should be ")
                    faults.append(f"{name}: got {value!r}, expected {expected_value}")
                    values[name] = known[name].default
        if faults:
            raise SettingsError("\n".join(f"task {self.name}: {fault}" for fault in faults))
        return values


def split_name(text: str) -> tuple[str, str | None]:
    """Split `name:parameter=value` into the name and the rest; None where there is no colon."""
    name, colon, rest = text.partition(":")
    return name, rest if colon else None


Train = Annotated[int, Ge(2), Le(1_000_000), Help("sequences of the training split")]
Test = Annotated[int, Ge(1), Le(1_000_000), Help("sequences of the test split")]
Stretch = Annotated[
    int,
    Ge(1),
    Le(100),
    Help("1: test sequences like the training's; else up to this many times longer"),
]


def distinct(draw: Callable[[], NDArray[Any]], count: int) -> list[NDArray[Any]]:
    """Draw until there are `count` sequences of which no two are equal.

    They come in the order of their first draw, so that likely ones come early.
    Raises: SettingsError if there are too few of them.
    """
    seen: dict[bytes, NDArray[Any]] = {}
    for _ in range(20 * count + 10_000):
        sequence = draw()
        # Object arrays hold addresses; all others can be compared by their bytes.
        seen.setdefault(
            repr(sequence.tolist()).encode() if sequence.dtype == object else sequence.tobytes(),
            sequence,
        )
        if len(seen) == count:
            return list(seen.values())
    raise SettingsError(
        f"Of the {count:,} different sequences asked for, only {len(seen):,} were found. Ask for "
        "fewer with train= and test=, or for longer ones"
    )


def layout(kind: InputKind, values: Sequence[str] = (), *, per_step: bool = False) -> Layout:
    """How generated data is laid out: numbers with these channels, or tokens."""
    return Layout(
        format="rows",
        kind=kind,
        target="label",
        per_step=per_step,
        text="tokens" if kind == "tokens" else None,
        values=tuple(values),
    )


def parts(
    name: str,
    inputs: Sequence[NDArray[Any]],
    target: NDArray[Any] | Ragged,
    layout: Layout,
    train: int,
) -> tuple[Dataset, Dataset]:
    """The first `train` sequences and the rest."""
    data = Dataset(inputs=Ragged.from_list(inputs), target=target, source=name, layout=layout)
    index = np.arange(len(inputs))
    return data.take(index[:train]), data.take(index[train:])


def tokens(text: Sequence[str]) -> NDArray[np.object_]:
    """A sequence of tokens, (T,), a character each if `text` is a string."""
    return to_objects(list(text))
