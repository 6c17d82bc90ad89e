"""Parameters of the built-in tasks: told apart, bounded, and refused in words."""

from __future__ import annotations

import inspect

import pytest

from elman.data.builtin import BUILTIN_TASKS, load_task
from elman.data.ragged import Ragged
from elman.errors import SettingsError


def small(name: str) -> str:
    """Every parameter of a task at a value that is not its default."""
    other = {
        "train": 30,
        "test": 20,
        "T": 12,
        "stretch": 3,
        "items": 4,
        "symbols": 3,
        "n": 4,
        "letters": 3,
        "kinds": 3,
        "pairs": 6,
        "depth": 3,
        "order": "permuted",
    }
    return ",".join(f"{key}={other[key]}" for key in BUILTIN_TASKS[name].parameters)


@pytest.mark.parametrize("name", [n for n in BUILTIN_TASKS if BUILTIN_TASKS[n].parameters])
def test_parameters_are_those_of_the_generator(name: str) -> None:
    task = BUILTIN_TASKS[name]
    signature = inspect.signature(task.make)
    assert list(signature.parameters) == ["seed", *task.parameters]
    for parameter in task.parameters.values():
        assert parameter.default == signature.parameters[parameter.name].default
        assert parameter.meaning
        assert task.values(f"{parameter.name}={parameter.default}") == {
            parameter.name: parameter.default
        }
    values = task.values(small(name))
    assert all(values[p.name] != p.default for p in task.parameters.values())
    given = load_task(f"{name}:{small(name)}", 5)
    direct = task.make(5, **values)
    for a, b in zip(given, direct, strict=True):
        assert a.source == f"{name}:{small(name)}"
        assert isinstance(a.inputs, Ragged) and isinstance(b.inputs, Ragged)
        assert a.inputs.values.tolist() == b.inputs.values.tolist()
    if "train" in values:
        assert len(given[0]) == 30
    if "test" in values:
        assert len(given[1]) == 20


def test_defaults_written_out_are_the_defaults() -> None:
    a, b = (load_task(name, 1)[0] for name in ("running-parity", "running-parity:T=20, stretch=1"))
    assert isinstance(a.inputs, Ragged) and isinstance(b.inputs, Ragged)
    assert a.inputs.values.tolist() == b.inputs.values.tolist()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("brackets:", "task 'brackets:': expected parameter=value after the colon, got none"),
        ("digits:T=3", "task digits: no such parameter 'T'. It takes no parameters"),
        ("brackets:kind=1", "no such parameter 'kind'. Did you mean 'kinds'? It takes kinds=2"),
        ("brackets:kinds=4", "kinds: got '4', expected less than or equal to 3"),
        ("brackets:kinds=2.5", "kinds: got '2.5', expected a valid integer"),
        ("brackets:kinds", "got 'kinds', expected parameter=value. It takes kinds=2"),
        ("brackets:kinds=", "got 'kinds=', expected parameter=value"),
        ("brackets:kinds=1,kinds=1", "kinds is given twice, expected once"),
        ("brackets:kinds=1,", "got '', expected parameter=value"),
        ("brackets:depth=9", "depth: got 9, but 8 pairs are nested no deeper than 8"),
        ("brackets:pairs=60,depth=60", "more than 60 deep are too rare among 61 to 120 pairs"),
        ("temporal-order:symbols=4", "symbols: got '4', expected less than or equal to 3"),
        ("sequential-digits:order=random", "order: got 'random', expected 'rows' or 'permuted'"),
        ("copy-memory:T=0", "T: got '0', expected greater than or equal to 1"),
        ("copy-memory:items=2", "Of the 4,500 different sequences asked for, only 64 were found"),
        ("running-parity:T=5", "task running-parity: Of the 1,000 different sequences asked for"),
        ("anbn:stretch=1", "stretch: got '1', expected greater than or equal to 2"),
    ],
)
def test_what_cannot_be_is_refused(asked: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_task(asked, 0)
    assert words in str(caught.value)


def test_all_faults_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        load_task("brackets:kind=1,pairs=3,depth=x,depth=4", 0)
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert all(line.startswith("task brackets: ") for line in lines)
