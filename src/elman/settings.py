"""Every setting, once: its name, meaning, default and bounds.

The flags of the command, the keys of a TOML file and the arguments of the estimators all come from
here. A setting of network or training that is None is chosen from the data
(`elman.estimators.defaults`). Light on purpose: nothing heavy is imported until `validated` is
called.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt

from elman.errors import SettingsError, nearest

T = TypeVar("T")


@dataclass(frozen=True)
class Help:
    """What a setting means, for `--help` and the docs."""

    text: str


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


# `elman.layers.register_cell` adds to these. They stand here because the command must know them
# without importing torch; a test compares them with the table of cells in ops.
CELL_NAMES = ["rnn", "gru", "lstm"]
CellName = Annotated[
    str,
    OneOf(CELL_NAMES, "; to use a cell of your own, register it: elman.layers.register_cell(cell)"),
]

_CHOSEN = " [default: chosen from the data]"


@dataclass(frozen=True)
class DataSettings:
    """What to learn from and how to read it: section [data]."""

    data: Annotated[str, Help("file, or name of a built-in task")] = ""
    test: Annotated[
        str | Annotated[float, Gt(0), Lt(1)] | None,
        Help("test file, or share of DATA held out for the test [default: 0.2]"),
    ] = None
    validation: Annotated[
        str | Annotated[float, Ge(0), Lt(1)] | None,
        Help(
            "share of the training part held out to watch the training; a file; 0 for none; or "
            "'test' to draw the test part's curve beside the training's, choosing nothing by it"
            + _CHOSEN
        ),
    ] = None
    split: Annotated[
        Literal["stratified", "random", "group", "time"] | None,
        Help(
            "how shares are drawn: alike in classes, at random, by whole groups, or the last by "
            "time [default: group with --group, else stratified]"
        ),
    ] = None
    group: Annotated[
        str | None,
        Help(
            "column or key of groups that stand on one side of a split only; 'content' keeps equal "
            "sequences together"
        ),
    ] = None
    window: Annotated[
        Annotated[int, Ge(1)] | None,
        Help("cut sequences into windows of so many steps [default: whole sequences]"),
    ] = None
    stride: Annotated[
        Annotated[int, Ge(1)] | None,
        Help("steps from one window to the next [default: as --window]"),
    ] = None
    format: Annotated[
        Literal["rows", "steps", "jsonl", "ts", "arrays", "folder"] | None,
        Help("layout of the file [default: guessed]"),
    ] = None
    task: Annotated[
        Literal["classification", "multilabel", "tagging", "regression"] | None,
        Help(
            "a class, several labels, a label at every step, or numbers; whole numbers stand for "
            "classes unless this says otherwise [default: guessed]"
        ),
    ] = None
    target: Annotated[
        str | None,
        Help("column or key of the label, several with commas between them [default: guessed]"),
    ] = None
    text: Annotated[str | None, Help("column or key of the text or tokens")] = None
    values: Annotated[str | None, Help("value columns, with commas between them")] = None
    categories: Annotated[
        str | None, Help("columns or keys of categories beside the values, with commas between")
    ] = None
    id: Annotated[str | None, Help("column that says which sequence a time step belongs to")] = None
    time: Annotated[str | None, Help("column that orders the time steps of a sequence")] = None
    time_difference: Annotated[
        bool | None,
        Help("give the network the time since the last step [default: where steps are uneven]"),
    ] = None
    tokens: Annotated[
        Literal["auto", "characters", "words", "bytes"], Help("what text is cut into")
    ] = "auto"
    scale: Annotated[
        bool, Help("standardise every channel, by the training part's mean and deviation")
    ] = True

    def __post_init__(self) -> None:
        if self.stride and not self.window:
            raise SettingsError(
                f"stride: got {self.stride}, but no window. Give --window too, or leave it out"
            )
        if self.group and self.split not in (None, "group"):
            raise SettingsError(
                f"group: got {self.group!r}, but split {self.split!r} does not look at groups. Use "
                "split 'group', or leave one out"
            )
        if self.split == "group" and not self.group:
            raise SettingsError(
                "split: got 'group', but no group. Name its column with --group, or --group content"
            )


@dataclass(frozen=True)
class ModelSettings:
    """The network: section [model]."""

    cell: Annotated[CellName | None, Help("recurrent cell" + _CHOSEN)] = None
    nonlinearity: Annotated[Literal["tanh", "relu"], Help("of cell rnn")] = "tanh"
    hidden_size: Annotated[
        Annotated[int, Ge(1)] | None, Help("units of each layer and direction" + _CHOSEN)
    ] = None
    num_layers: Annotated[
        Annotated[int, Ge(1)] | None, Help("recurrent layers, one above the other" + _CHOSEN)
    ] = None
    bidirectional: Annotated[
        bool | None, Help("run over the sequence in both directions" + _CHOSEN)
    ] = None
    dropout: Annotated[
        Annotated[float, Ge(0), Lt(1)] | None,
        Help("share dropped of embeddings, between layers, before the output" + _CHOSEN),
    ] = None
    readout: Annotated[
        Literal["auto", "last", "mean", "max", "every"],
        Help(
            "what the output reads: the last state, the states' mean or maximum, or every state; "
            "auto: every with a label at every step, else chosen from the data"
        ),
    ] = "auto"
    embedding_size: Annotated[
        Annotated[int, Ge(1)] | None, Help("numbers that stand for a token" + _CHOSEN)
    ] = None
    initialization: Annotated[
        Literal["orthogonal", "torch"],
        Help("first weights: orthogonal with forget bias 1, or torch.nn's own"),
    ] = "orthogonal"

    def __post_init__(self) -> None:
        if self.nonlinearity != "tanh" and self.cell not in ("rnn", None):
            raise SettingsError(
                f"nonlinearity: {self.nonlinearity!r} is an option of cell 'rnn', but cell is "
                f"{self.cell!r}"
            )


@dataclass(frozen=True)
class TrainingSettings:
    """How the network is trained: section [training]."""

    effort: Annotated[
        Literal["quick", "normal", "high"],
        Help("how much time what is chosen from the data may take: a tenth, one, several minutes"),
    ] = "normal"
    epochs: Annotated[
        Annotated[int, Ge(1)] | None, Help("passes over the training part" + _CHOSEN)
    ] = None
    batch_size: Annotated[
        Annotated[int, Ge(1)] | Literal["full"] | None,
        Help("sequences a step, or 'full' for all" + _CHOSEN),
    ] = None
    learning_rate: Annotated[
        Annotated[float, Gt(0)] | None, Help("at its highest, after the warm-up" + _CHOSEN)
    ] = None
    optimizer: Annotated[Literal["adamw", "adam", "sgd"], Help("optimiser")] = "adamw"
    weight_decay: Annotated[
        Annotated[float, Ge(0)] | None,
        Help(
            "of weight matrices, not of biases and embeddings [default: with adamw chosen from "
            "the data, else 0]"
        ),
    ] = None
    schedule: Annotated[Literal["cosine", "constant"], Help("learning rate after the warm-up")] = (
        "cosine"
    )
    warmup: Annotated[
        float, Ge(0), Lt(1), Help("share of all steps over which the learning rate rises")
    ] = 0.05
    clip_norm: Annotated[float, Ge(0), Help("largest norm of the gradient; 0 for no limit")] = 1.0
    label_smoothing: Annotated[
        Annotated[float, Ge(0), Lt(1)] | None,
        Help("share of the target given to all classes alike" + _CHOSEN),
    ] = None
    class_weight: Annotated[
        Literal["balanced"] | dict[str | int | bool, Annotated[float, Gt(0)]] | None,
        Help("what a class counts: balanced, as the inverse of its frequency; in a file a table"),
    ] = None
    loss: Annotated[
        Literal["auto", "cross_entropy", "focal", "squared_error", "absolute", "huber"],
        Help(
            "what is minimised; auto: cross-entropy of classes and labels, squared error of numbers"
        ),
    ] = "auto"
    focal_gamma: Annotated[
        float, Ge(0), Help("of loss focal: how little counts what is right already")
    ] = 2.0
    token_dropout: Annotated[
        Annotated[float, Ge(0)] | None,
        Help(
            "alpha of the chance alpha/(alpha+count) to read a token as unknown in training"
            + _CHOSEN
        ),
    ] = None
    noise: Annotated[
        Annotated[float, Ge(0)] | None,
        Help(
            "standard deviation of the noise that training adds to numbers, after they were "
            "standardised" + _CHOSEN
        ),
    ] = None
    patience: Annotated[
        Annotated[int, Ge(0)] | None,
        Help(
            "epochs without a lower validation loss before stopping; 0 for never [default: 15 with "
            "a validation part, else 0]"
        ),
    ] = None
    keep: Annotated[
        Literal["best", "last"] | None,
        Help(
            "weights to end with: best by validation loss, or last [default: best with a "
            "validation part, else last]"
        ),
    ] = None
    device: Annotated[Literal["cpu", "cuda"], Help("where the network is trained")] = "cpu"
    threads: Annotated[
        int, Ge(1), Help("of the CPU; one gives the same bits everywhere, and suits small networks")
    ] = 1
    seed: Annotated[int, Ge(0), Le(2**32 - 1), Help("of everything drawn by chance")] = 0

    def __post_init__(self) -> None:
        if self.loss != "focal" and self.focal_gamma != 2.0:
            raise SettingsError(
                f"focal_gamma: {self.focal_gamma!r} is an option of loss 'focal', but loss is "
                f"{self.loss!r}"
            )
        if self.loss == "focal" and self.label_smoothing:
            raise SettingsError(
                f"label_smoothing: got {self.label_smoothing!r}, which loss 'focal' does not have"
            )

    def resolved(self, validation: bool) -> TrainingPlan:
        """Fill in every default that is left, also those that hang on a validation part.

        Raises: SettingsError if something is asked for that needs a validation part.
        """
        if not validation and (self.keep == "best" or self.patience):
            raise SettingsError(
                "keep 'best' and patience need a validation part to choose by: give one, or leave "
                "both out"
            )
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        given = {name: value for name, value in values.items() if value is not None}
        hanging = {
            "weight_decay": TrainingPlan.weight_decay if self.optimizer == "adamw" else 0.0,
            "patience": TrainingPlan.patience if validation else 0,
            "keep": "best" if validation else "last",
        }
        return TrainingPlan(**{**hanging, **given})


@dataclass(frozen=True)
class TrainingPlan(TrainingSettings):
    """How a network is trained, nothing left to be chosen; see `TrainingSettings`."""

    epochs: int = 60
    batch_size: int | Literal["full"] = 32
    learning_rate: float = 3e-3
    weight_decay: float = 0.3
    label_smoothing: float = 0.0
    token_dropout: float = 0.25
    noise: float = 0.0
    patience: int = 15
    keep: Literal["best", "last"] = "best"


@dataclass(frozen=True)
class ReportSettings:
    """What a run reports beyond its evaluation: section [report]."""

    diagnostics: Annotated[
        bool,
        Help("report network diagnostics: doctor, memory and notable examples"),
    ] = True


# Of DataSettings, those that say how a file is read, whatever it is read for.
READING = ("format", "target", "text", "values", "categories", "id", "time")

Section = type[DataSettings] | type[ModelSettings] | type[TrainingSettings] | type[ReportSettings]
SECTIONS: dict[str, Section] = {
    "data": DataSettings,
    "model": ModelSettings,
    "training": TrainingSettings,
    "report": ReportSettings,
}


@dataclass(frozen=True)
class Field:
    """One setting as the command needs it: its section, default, help, and what it accepts."""

    section: str
    name: str
    default: Any
    help: str
    choices: tuple[str, ...]
    types: tuple[type, ...]


def fields() -> list[Field]:
    """Every setting, section by section."""
    found = []
    for section, owner in SECTIONS.items():
        hints = typing.get_type_hints(owner, include_extras=True)
        for entry in dataclasses.fields(owner):
            hint = hints[entry.name]
            text = next(m.text for m in hint.__metadata__ if isinstance(m, Help))
            choices, kinds = _accepted(hint)
            found.append(Field(section, entry.name, entry.default, text, choices, kinds))
    return found


def _accepted(hint: Any) -> tuple[tuple[str, ...], tuple[type, ...]]:
    """Words and types that a type hint accepts."""
    origin = get_origin(hint)
    if origin is Annotated:
        for mark in hint.__metadata__:
            if isinstance(mark, OneOf):
                return tuple(mark.names), ()
        return _accepted(get_args(hint)[0])
    if origin is Literal:
        return get_args(hint), ()
    if origin in (typing.Union, types.UnionType):
        parts = [_accepted(part) for part in get_args(hint)]
        return sum((p[0] for p in parts), ()), sum((p[1] for p in parts), ())
    if origin is dict:  # stands in files only
        return (), ()
    return (), (() if hint is types.NoneType else (hint,))


def validated(kind: type[T], values: Mapping[str, Any], place: str = "") -> T:
    """Build one section of the settings from plain values, all defaults filled in.

    Args:
        kind: one of the classes in SECTIONS.
        values: setting by name.
        place: where the values came from, for the message.
    Raises: SettingsError that lists every fault: unknown names with the nearest right one, and
        values of the wrong type or out of bounds. "3" is not 3, and true is not 1.
    """
    adapters: dict[str, Any] = _adapters(kind)  # type: ignore[arg-type]
    faults = [
        f"{name}: no such setting.{nearest(name, adapters)}"
        for name in values
        if name not in adapters
    ]
    taken = {}
    for name, value in values.items():
        if name in adapters:
            taken[name], fault = _check(adapters[name], value)
            faults += [f"{name}: got {value!r}, expected {fault}"] if fault else []
    if faults:
        raise SettingsError("\n".join(f"{place}: {fault}" if place else fault for fault in faults))
    try:
        return kind(**taken)
    except SettingsError as error:  # settings that do not go together
        raise SettingsError(f"{place}: {error}" if place else str(error)) from None


@functools.cache
def _adapters(kind: Any) -> dict[str, Any]:
    from pydantic import TypeAdapter

    return {
        name: TypeAdapter(hint)
        for name, hint in typing.get_type_hints(kind, include_extras=True).items()
    }


def _check(adapter: Any, value: Any) -> tuple[Any, str]:
    """The value as its type wants it, and what was expected instead, or an empty string."""
    from pydantic import ValidationError

    if type(value).__module__ == "numpy" and hasattr(value, "item"):
        value = value.item()  # scikit-learn's searches hand over NumPy scalars
    if isinstance(value, dict):
        value = {k.item() if hasattr(k, "item") else k: v for k, v in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None, "a finite number"
    try:
        return adapter.validate_python(value, strict=True), ""
    except ValidationError as error:
        wanted = [e["msg"].removeprefix("Input should be ") for e in error.errors()]
        bounds = [text for text in wanted if text != "a valid string"]
        return None, " or ".join(dict.fromkeys(bounds or wanted))
