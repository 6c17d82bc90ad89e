"""The built-in tasks: labelled sequences to try a network on, most of them generated.

Each has a training and a test split, determined by the seed, which share no sequence unless the
task says so. Generated labels follow a noise-free rule, so every error is due to the network.
The parameters of a task follow its name: `copy-memory:T=100,train=10000`.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from elman.data.builtin.benchmarks import (
    make_adding,
    make_anbn,
    make_brackets,
    make_copy_memory,
    make_reber,
    make_temporal_order,
)
from elman.data.builtin.simple import (
    make_digits,
    make_running_parity,
    make_sequential_digits,
    make_sum_threshold,
    make_token_order,
    make_waves,
)
from elman.data.dataset import Dataset
from elman.errors import SettingsError, nearest
from elman.validation import Help

__all__ = ["BUILTIN_TASKS", "BuiltinTask", "Parameter", "find_task", "load_task", "split_name"]


@dataclass(frozen=True)
class Parameter:
    """A parameter of a task.

    Args:
        name: as the user types it.
        default: default value, a whole number or a word.
        meaning: short description.
        hint: annotated type, which includes the bounds.
    """

    name: str
    default: int | str
    meaning: str
    hint: Any


@dataclass(frozen=True)
class BuiltinTask:
    """A built-in data set.

    Args:
        name: name that the user types.
        summary: one line that describes what to learn.
        make: function of a seed and keyword parameters that returns the training and test splits.
            Its signature declares the parameters.
        source: who published the task, and where; empty for those of this project.
        known: one line on which networks learn it.
    """

    name: str
    summary: str
    make: Callable[..., tuple[Dataset, Dataset]]
    source: str = ""
    known: str = ""

    @property
    def parameters(self) -> dict[str, Parameter]:
        """The keyword parameters of `make`, by name."""
        # Only the signature declares parameters, bounds and help; the list of tasks, the checks and
        # the command read them from it.
        hints = typing.get_type_hints(self.make, include_extras=True)
        found = {}
        for name, default in (self.make.__kwdefaults__ or {}).items():
            meaning = next(m.text for m in hints[name].__metadata__ if isinstance(m, Help))
            found[name] = Parameter(name, default, meaning, hints[name])
        return found

    def values(self, text: str) -> dict[str, int | str]:
        """Parse `T=100,train=50`; empty text means no parameters.

        Raises: SettingsError that lists every fault: unknown names with the nearest valid one,
            values of the wrong type or out of bounds, and duplicate names.
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


BUILTIN_TASKS: dict[str, BuiltinTask] = {
    task.name: task
    for task in (
        BuiltinTask(
            "digits",
            "which handwritten digit, 8 x 8 pixels seen a row at a time (1,797 real scans)",
            make_digits,
            "Alpaydin & Kaynak 1998, as scikit-learn's load_digits",
        ),
        BuiltinTask(
            "sum-threshold", "whether 10 numbers add up to more than 5", make_sum_threshold
        ),
        BuiltinTask(
            "token-order", "whether token 1 comes before token 2 among 12 tokens", make_token_order
        ),
        BuiltinTask(
            "running-parity",
            "at every step, whether the ones so far are odd in number",
            make_running_parity,
            known="two units of any cell hold the state; what is hard is to find it from examples",
        ),
        BuiltinTask("waves", "the shape of a noisy wave: sawtooth, sine or square", make_waves),
        BuiltinTask(
            "adding",
            "the sum of the two numbers among T that a mark points to",
            make_adding,
            "Hochreiter & Schmidhuber 1997; Arjovsky, Shah & Bengio 2016, arXiv:1511.06464",
            "LSTM learns it with T in the hundreds; a tanh RNN fails from T of about 100 on",
        ),
        BuiltinTask(
            "copy-memory",
            "say the first 10 symbols again after T steps",
            make_copy_memory,
            "Hochreiter & Schmidhuber 1997; Arjovsky, Shah & Bengio 2016, arXiv:1511.06464",
            "at T=100 and more the paper's tanh RNN does not pass the memoryless baseline, nor its "
            "LSTM at 200",
        ),
        BuiltinTask(
            "temporal-order",
            "in which order X and Y came, long ago and among noise",
            make_temporal_order,
            "Hochreiter & Schmidhuber 1997, experiments 6a and 6b",
            "LSTM learns it at T=100; the paper knows no earlier network that does",
        ),
        BuiltinTask(
            "reber",
            "at every step, which symbols may come next in the embedded Reber grammar",
            make_reber,
            "Reber 1967; Fahlman 1991; Hochreiter & Schmidhuber 1997, experiment 1",
            "LSTM learns it nearly always, the Elman network of the paper's table never",
        ),
        BuiltinTask(
            "anbn",
            "at every step, which symbols may come next in a^n b^n; tested on longer strings",
            make_anbn,
            "Gers & Schmidhuber 2001, doi:10.1109/72.963769",
            "LSTM counts and goes on counting; a GRU or tanh RNN does not (arXiv:1805.04908)",
        ),
        BuiltinTask(
            "brackets",
            "whether brackets are balanced, among letters; tested on longer and deeper ones",
            make_brackets,
            "after Suzgun et al. 2019, arXiv:1906.03648 and arXiv:1911.03329",
            "LSTM learns one kind by counting; two need a stack, which small ones do not find",
        ),
        BuiltinTask(
            "sequential-digits",
            "which handwritten digit, one pixel a step (the digits of `digits`)",
            make_sequential_digits,
            "after Le, Jaitly & Hinton 2015, arXiv:1504.00941, there with MNIST",
            "gated cells learn it; a tanh RNN hardly does with MNIST's 784 steps",
        ),
    )
}


def find_task(name: str) -> BuiltinTask:
    """Return the task called `name`.

    Raises: SettingsError with the nearest name if there is none.
    """
    if name not in BUILTIN_TASKS:
        raise SettingsError(
            f"There is no task {name!r}.{nearest(name, BUILTIN_TASKS)} The tasks are"
            f" {', '.join(BUILTIN_TASKS)}."
        )
    return BUILTIN_TASKS[name]


def load_task(task_name: str, seed: int) -> tuple[Dataset, Dataset]:
    """Return the training split and the test split of a built-in task.

    Args:
        task_name: its name, or `name:parameter=value,...` with parameters of `BUILTIN_TASKS[name]`.
        seed: seed of the generated data or split.
    Raises: SettingsError for a name not in BUILTIN_TASKS, an unknown parameter of the task, an
        invalid value, or a negative seed.
    """
    name, parameters = split_name(task_name)
    task = find_task(name)
    if seed < 0:
        raise SettingsError(f"The seed is {seed}, but must be 0 or a larger whole number.")
    # None means no colon; an empty string, nothing after the colon, is an error.
    if parameters is None:
        return task.make(seed)
    if not parameters:
        raise SettingsError(
            f"task {task_name!r}: expected parameter=value after the colon, got none"
        )
    values = task.values(parameters)
    try:
        train, test = task.make(seed, **values)
    except SettingsError as error:
        raise SettingsError(f"task {name}: {error}") from None
    return dataclasses.replace(train, source=task_name), dataclasses.replace(test, source=task_name)
