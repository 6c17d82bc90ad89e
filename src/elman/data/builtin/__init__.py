"""The built-in tasks: labelled sequences to try a network on, most of them generated.

Each has a training split and a test split, the same for the same seed, which share no sequence
unless the task says so. Generated labels follow a rule without noise, so an error is the network's.
The parameters of a task follow its name: `copy-memory:T=100,train=10000`.
"""

from __future__ import annotations

import dataclasses

from elman.data.builtin.languages import make_anbn, make_brackets, make_reber
from elman.data.builtin.memory import make_adding, make_copy_memory, make_temporal_order
from elman.data.builtin.simple import (
    make_digits,
    make_running_parity,
    make_sequential_digits,
    make_sum_threshold,
    make_token_order,
    make_waves,
)
from elman.data.builtin.task import BuiltinTask, Parameter, split_name
from elman.data.dataset import Dataset
from elman.errors import SettingsError, nearest

__all__ = ["BUILTIN_TASKS", "BuiltinTask", "Parameter", "find_task", "load_task", "split_name"]

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
            "token-order",
            "whether token 1 comes before token 2 among 12 tokens",
            make_token_order,
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
        seed: of what is generated.
    Raises: SettingsError for a name not in BUILTIN_TASKS, a parameter that the task does not
        have or a value it cannot have, and for a negative seed.
    """
    name, parameters = split_name(task_name)
    task = find_task(name)
    if seed < 0:
        raise SettingsError(f"The seed is {seed}, but must be 0 or a larger whole number.")
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
