"""What a search varies: ranges of settings, from the data by default or from a TOML file.

    [model]
    cell = ["gru", "lstm"]
    hidden_size = { low = 16, high = 256, log = true }

Names, types and bounds are those of `elman.settings`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elman.errors import SettingsError, nearest
from elman.estimators.defaults import DataStatistics, choose
from elman.runs.config import RunSettings, read_toml
from elman.setting_list import Setting, list_settings
from elman.settings import SECTIONS
from elman.tasks import TASKS
from elman.validation import check_value

if TYPE_CHECKING:
    from optuna.trial import Trial

_FORM = "a list of values, or { low = ..., high = ... } with log = true or step = ..."
_KEYS = ("low", "high", "log", "step")
# Why a setting cannot vary.
_FIXED = {
    **dict.fromkeys(("seed", "device", "threads"), "is the same for every trial"),
    **dict.fromkeys(("effort", "streaming"), "decides what else is chosen. Give it as a flag"),
    **dict.fromkeys(("keep", "patience"), "decides how a trial ends. Give it as a flag"),
    "keep_epochs": "does not change the network. Give it to elman train",
    **dict.fromkeys(
        ("loss", "class_weight", "focal_gamma"),
        "changes the loss that trials are compared by. Search once with each value",
    ),
}
_SEARCHED_DATA = ("tokens", "scale")


@dataclass(frozen=True)
class Range:
    """The values of one setting that a search tries.

    Args:
        section, name: of the setting.
        choices: the values, in any order; or empty, for a range of numbers.
        low, high: the ends of a range, both included.
        log: whether equal ratios of numbers are equally likely, not equal differences.
        step: distance of the numbers from `low` on; None for any.
    """

    section: str
    name: str
    choices: tuple[Any, ...] = ()
    low: Any = None
    high: Any = None
    log: bool = False
    step: Any = None

    def draw(self, trial: Trial) -> Any:
        """Return the value of a trial."""
        if self.choices:
            return trial.suggest_categorical(self.name, self.choices)
        if isinstance(self.low, int):
            return trial.suggest_int(
                self.name, self.low, self.high, step=self.step or 1, log=self.log
            )
        return trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)

    def contains(self, value: Any) -> bool:
        """Whether a value is one of those that are tried; steps are left out of account."""
        if self.choices:
            return bool(value in self.choices)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return bool(number and self.step is None and self.low <= value <= self.high)

    def __str__(self) -> str:
        if self.choices:
            return f"{self.name} {', '.join(_show(value) for value in self.choices)}"
        how = " (log)" if self.log else "" if self.step is None else f" in steps of {self.step:g}"
        return f"{self.name} {self.low:g} to {self.high:g}{how}"


@dataclass(frozen=True)
class Space:
    """What a search varies, and everything else.

    Args:
        ranges: what varies.
        base: the other settings, as given.
        statistics: of the training part, from which the settings that are left are chosen.
        holds_out: whether a training on all of the training part holds out a validation split.
    """

    ranges: tuple[Range, ...]
    base: RunSettings
    statistics: DataStatistics
    holds_out: bool

    def settings(self, values: Mapping[str, Any]) -> RunSettings:
        """Return the settings of a training on all of the training part.

        Args:
            values: of the ranges, by name.
        Raises: SettingsError if they do not go together.
        """
        sections = {name: getattr(self.base, name) for name in SECTIONS}
        for one in self.ranges:
            if one.name in values:
                section = sections[one.section]
                sections[one.section] = dataclasses.replace(section, **{one.name: values[one.name]})
        model, training, _ = choose(self.statistics, sections["model"], sections["training"])
        return RunSettings(sections["data"], model, training, sections["report"])

    def draw(self, trial: Trial) -> RunSettings:
        """Draw the values of a trial, and return the settings of its trainings."""
        values: dict[str, Any] = {}
        for one in self.ranges:
            if self._applies(one.name, values):
                values[one.name] = one.draw(trial)
        settings = self.settings(values)
        ends: dict[str, Any] = {"keep_epochs": 0}  # nobody sees the weights of a trial
        if not self.holds_out:
            # The last training has nothing to choose an epoch by, so the trials do not either.
            ends |= {"keep": "last", "patience": 0}
        return dataclasses.replace(
            settings, training=dataclasses.replace(settings.training, **ends)
        )

    def _applies(self, name: str, values: Mapping[str, Any]) -> bool:
        """Whether a setting means something beside the values drawn before it."""
        if name == "nonlinearity":
            return bool(values.get("cell", self.base.model.cell) == "rnn")
        return True

    def first(self) -> dict[str, Any]:
        """Return the values that `elman train` would choose, as far as they are in the ranges."""
        chosen = self.settings({})
        values = {one.name: getattr(getattr(chosen, one.section), one.name) for one in self.ranges}
        inside = {
            one.name: values[one.name] for one in self.ranges if one.contains(values[one.name])
        }
        return {name: value for name, value in inside.items() if self._applies(name, inside)}


def default_ranges(base: RunSettings, statistics: DataStatistics) -> tuple[Range, ...]:
    """Return the ranges that suit the data, without the settings that are given."""
    model, training, _ = choose(statistics, base.model, base.training)
    units = model.hidden_size or 128
    rate = training.learning_rate or 3e-3
    ranges = [
        Range("training", "learning_rate", low=rate / 10, high=rate * 10, log=True),
        Range("model", "hidden_size", low=max(4, units // 4), high=units * 2, log=True),
        Range("model", "num_layers", low=1, high=2),
        Range("model", "cell", choices=("gru", "lstm")),
    ]
    most = min(128, statistics.sequences // 4)
    if most >= 16:
        ranges.append(Range("training", "batch_size", low=8, high=most, log=True))
    if training.optimizer == "adamw":
        ranges.append(Range("training", "weight_decay", low=0.01, high=1.0, log=True))
    if statistics.vocabulary or statistics.categories:
        ranges.append(Range("model", "dropout", low=0.0, high=0.6))
    elif training.noise:
        ranges.append(Range("training", "noise", low=0.0, high=0.6))
    return tuple(one for one in ranges if not _is_given(getattr(base, one.section), one.name))


def _is_given(section: Any, name: str) -> bool:
    """Whether a setting has another value than its default."""
    [default] = [field.default for field in dataclasses.fields(section) if field.name == name]
    return bool(getattr(section, name) != default)


def read_ranges(path: Path) -> dict[str, dict[str, Any]]:
    """Read a file of ranges; `check_ranges` then says whether they fit the data.

    Raises: SettingsError listing every fault with file and line.
    """
    file = read_toml(path, _faults)
    faults = [f"{file.place(*names)}: {fault}" for names, fault in _faults(file.values)]
    if faults:
        raise SettingsError("\n".join(faults))
    if not any(file.values.values()):
        raise SettingsError(
            f"{path}: names no setting. Expected for example:\n[training]\n"
            "learning_rate = { low = 0.001, high = 0.1, log = true }"
        )
    return file.values


def make_ranges(content: Mapping[str, Mapping[str, Any]]) -> tuple[Range, ...]:
    """Return the ranges of a file that was read; what depends on others comes last."""
    kinds = {setting.name: setting for setting in list_settings()}
    ranges = [
        _make(section, kinds[name], value)
        for section, values in content.items()
        for name, value in values.items()
    ]
    return tuple(sorted(ranges, key=lambda one: one.name == "nonlinearity"))


def check_ranges(ranges: Sequence[Range], base: RunSettings, statistics: DataStatistics) -> None:
    """Refuse ranges that mean nothing for these data or settings.

    Raises: SettingsError listing all of them.
    """
    tokens = bool(statistics.vocabulary or statistics.categories)
    single = TASKS[statistics.task].single_label
    needs = {
        "embedding_size": (tokens, "the sequences are numbers, which have no embedding"),
        "token_dropout": (tokens, "the sequences are numbers, not tokens"),
        "tokens": (tokens, "the sequences are numbers, not text"),
        "noise": (bool(statistics.channels), "the sequences are tokens, not numbers"),
        "scale": (bool(statistics.channels), "the sequences are tokens, not numbers"),
        "static_to": (bool(statistics.static), "there are no static features"),
        "label_smoothing": (single, "the target is not one class"),
    }
    faults = []
    for one in ranges:
        fits, why = needs.get(one.name, (True, ""))
        if not fits:
            faults.append(f"{one.name}: {why}. Leave it out of the space")
        if _is_given(section := getattr(base, one.section), one.name):
            value = getattr(section, one.name)
            faults.append(f"{one.name}: is in the space, but is given too, as {value!r}. Drop one")
    cells = next((one.choices for one in ranges if one.name == "cell"), (base.model.cell,))
    if any(one.name == "nonlinearity" for one in ranges) and "rnn" not in cells:
        faults.append("nonlinearity: is an option of cell 'rnn', which is not in the space")
    if not ranges:
        faults.append("every setting that would vary is given. Leave some out, or name a --space")
    if faults:
        raise SettingsError("\n".join(faults))


def _make(section: str, setting: Setting, value: Any) -> Range:
    if isinstance(value, list):
        return Range(section, setting.name, choices=tuple(value))
    kind = int if int in setting.types else float
    step = value.get("step")
    return Range(
        section,
        setting.name,
        low=kind(value["low"]),
        high=kind(value["high"]),
        log=value.get("log", False),
        step=None if step is None else kind(step),
    )


def _faults(content: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Find the settings that cannot vary, and ranges that are wrong."""
    kinds = {(setting.section, setting.name): setting for setting in list_settings()}
    for section, values in content.items():
        for name, value in values.items() if isinstance(values, dict) else ():
            if (section, name) in kinds:
                for fault in _faults_of(kinds[section, name], value):
                    yield (section, name), f"[{section}] {fault}"


def _faults_of(setting: Setting, value: Any) -> Iterator[str]:
    name, kind = setting.name, SECTIONS[setting.section]
    if setting.section not in ("model", "training") and name not in _SEARCHED_DATA:
        yield f"{name}: is the same for every trial. Give it as a flag, or with --config"
    elif name in _FIXED:
        yield f"{name}: cannot vary, because it {_FIXED[name]}"
    elif isinstance(value, list):
        yield from filter(None, (check_value(kind, name, each) for each in value))
        if len({(type(each), str(each)) for each in value}) < max(2, len(value)):
            yield f"{name}: got {value!r:.200}, expected two or more different values"
    elif not isinstance(value, dict):
        yield f"{name}: got {value!r:.200}, expected {_FORM}. A single value is given as a flag"
    elif unknown := [key for key in value if key not in _KEYS]:
        yield f"{name}: {unknown[0]}: no such key.{nearest(unknown[0], _KEYS)} Expected {_FORM}"
    else:
        yield from _faults_of_range(setting, value)


def _faults_of_range(setting: Setting, value: Mapping[str, Any]) -> Iterator[str]:
    name, kind = setting.name, SECTIONS[setting.section]
    number = int if int in setting.types else float
    if not {int, float} & set(setting.types):
        yield f"{name}: takes no numbers, expected a list of values"
        return
    if missing := [key for key in ("low", "high") if key not in value]:
        yield f"{name}: lacks {' and '.join(missing)}, expected {_FORM}"
        return
    ends = value["low"], value["high"]
    wrong = [
        fault for end in ends if (fault := check_value(kind, name, end) or _no_number(name, end))
    ]
    yield from wrong
    log, step = value.get("log", False), value.get("step")
    if wrong:
        return
    if not ends[0] < ends[1]:
        yield f"{name}: low {ends[0]!r} is not below high {ends[1]!r}"
    if not isinstance(log, bool):
        yield f"{name}: log: got {log!r:.40}, expected true or false"
    elif log and ends[0] <= 0:
        yield f"{name}: log = true needs a low above 0, got {ends[0]!r}"
    if step is not None:
        fits = isinstance(step, int if number is int else int | float)
        if not fits or isinstance(step, bool) or step <= 0:
            yield f"{name}: step: got {step!r:.40}, expected a number above 0"
        elif log is True:
            yield f"{name}: log = true and step exclude each other"


def _no_number(name: str, value: Any) -> str:
    good = isinstance(value, int | float) and not isinstance(value, bool)
    return "" if good else f"{name}: got {value!r:.40}, expected a number"


def _show(value: Any) -> str:
    return (
        {True: "true", False: "false"}.get(value, str(value))
        if isinstance(value, bool)
        else str(value)
    )
