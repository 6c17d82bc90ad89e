"""Keeping the page small: fewer kept epochs, fewer and shorter examples, a smaller vocabulary.

What is left out is said in words, which the page and the command repeat. The network itself is
rounded only if it would not fit at all, because the page is to compute what `elman.explain` does.
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.errors import SettingsError
from elman.explain.forms import count_of
from elman.lab.page import encode_json
from elman.lab.payload import Precision, encode_array

Run = dict[str, Any]
_EMBEDDING = "embedding.weight"
_LARGEST = float(np.finfo(np.float16).max)
# Weights are rounded at once where they would leave less than this for the examples.
_MOST_WEIGHTS, _FEW = 0.9, 8
_TOKENS = 500  # rows of a large embedding that stay, besides those of the examples


def decode_array(array: dict[str, Any]) -> NDArray[Any]:
    """Return an array of the payload."""
    dtype = np.dtype(array["dtype"]).newbyteorder("<")
    values = np.frombuffer(base64.b64decode(array["data"]), dtype)
    return values.reshape(array["shape"])


def size_of(values: Any) -> int:
    """Return the bytes that a value takes in the page."""
    return len(encode_json(values))


def fit_size(runs: list[Run], most: int) -> tuple[list[Run], list[str]]:
    """Leave out as little as possible until the runs fit.

    Args:
        runs: results of `describe_run`; they are not changed.
        most: bytes that they may take together.
    Returns: the runs, and what was left out, one sentence each.
    Raises: SettingsError if the weights alone take more.
    """
    smaller = [copy.copy(run) for run in runs]
    fixed = [{**run, "epochs": [], "examples": run["examples"][:_FEW]} for run in runs]
    if size_of(fixed) > most:  # however few examples there are, or nearly
        for run in smaller:
            _keep_tokens(run)
            if size_of([run["weights"] for run in smaller]) > most * _MOST_WEIGHTS:
                _round_weights(run)
    for reduce in _STEPS:
        if size_of(smaller) <= most:
            break
        for run in smaller:
            reduce(run)
    if (size := size_of(smaller)) > most:
        weights = sum(size_of(run["weights"]) for run in smaller)
        raise SettingsError(
            f"the page would take {size / 1e6:.1f} MB, of which the weights of the network take "
            f"{weights / 1e6:.1f} MB; there is room for {most / 1e6:.1f} MB. Train a smaller "
            "network (--hidden-size, --num-layers, --embedding-size), which can be seen through"
        )
    pairs = zip(runs, smaller, strict=True)
    return smaller, [note for before, after in pairs for note in _differences(before, after)]


def _differences(before: Run, after: Run) -> list[str]:
    """Return what a run has lost, one sentence each."""
    notes, name = [], before["name"]
    epochs = len(before["epochs"]), len(after["epochs"])
    if epochs[1] < epochs[0]:
        left = count_of(epochs[1], "kept epoch") if epochs[1] else "no kept epoch"
        notes.append(f"{name}: the page has {left} of {epochs[0]}, to keep it small.")
    if _precision(after["weights"]) != _precision(before["weights"]):
        notes.append(
            f"{name}: the weights are rounded to float16, to about 3 digits, because the network "
            "is large; the page's numbers differ from those of elman in the third digit."
        )
    elif after["epochs"] and _precision(after["epochs"][0]["weights"]) == "float16":
        notes.append(
            f"{name}: the weights of the kept epochs are rounded to float16, to about 3 digits."
        )
    examples = len(before["examples"]), len(after["examples"])
    if examples[1] < examples[0]:
        notes.append(f"{name}: the page has {examples[1]} of {examples[0]} examples.")
    steps = [[example["x"]["shape"][0] for example in run["examples"]] for run in (before, after)]
    if steps[1] != steps[0][: len(steps[1])]:
        notes.append(describe_cut(name, max(steps[1])))
    tokens = len(before["vocabulary"] or ()), len(after["vocabulary"] or ())
    if tokens[1] < tokens[0]:
        notes.append(
            f"{name}: the page has {tokens[1]:,} of {tokens[0]:,} tokens of the vocabulary: those "
            "of the examples, and others that they can be replaced by."
        )
    return notes


def describe_cut(name: str, steps: int) -> str:
    """Say that the longer examples of a run are excerpts."""
    return (
        f"{name}: examples of more than {steps:,} steps are cut to their first {steps:,}; the page "
        "shows what the network makes of these alone."
    )


def _precision(weights: dict[str, Any]) -> str:
    return str(next(iter(weights.values()))["dtype"])


def _half(weights: dict[str, Any]) -> dict[str, Any]:
    """Return weights in float16."""
    return {
        name: encode_array(np.clip(decode_array(array), -_LARGEST, _LARGEST), "float16")
        for name, array in weights.items()
    }


def _round_epochs(run: Run) -> None:
    """Round the weights of the kept epochs to float16."""
    run["epochs"] = [
        {"epoch": kept["epoch"], "weights": _half(kept["weights"])} for kept in run["epochs"]
    ]


def _round_weights(run: Run) -> None:
    """Round the weights of the network to float16."""
    run["weights"] = _half(run["weights"])


def _keep_epochs(most: int) -> Callable[[Run], None]:
    """Keep the first, the last and the kept epoch, and others evenly spaced; none for 0."""

    def reduce(run: Run) -> None:
        epochs = run["epochs"]
        if len(epochs) <= most:
            return
        if most == 0:
            run["epochs"] = []
            return
        places = set(np.linspace(0, len(epochs) - 1, max(2, most - 1)).round().astype(int).tolist())
        run["epochs"] = [
            kept
            for i, kept in enumerate(epochs)
            if i in places or kept["epoch"] == run["kept_epoch"]
        ]

    return reduce


def _keep_examples(most: int) -> Callable[[Run], None]:
    """Keep the first examples, which are of every kind."""

    def reduce(run: Run) -> None:
        run["examples"] = run["examples"][:most]

    return reduce


def _cut_examples(most: int) -> Callable[[Run], None]:
    """Cut examples to their first steps."""

    def reduce(run: Run) -> None:
        per_step = run["config"]["readout"] == "every"
        run["examples"] = [_cut(example, most, per_step) for example in run["examples"]]

    return reduce


def _cut(example: dict[str, Any], most: int, per_step: bool) -> dict[str, Any]:
    if example["x"]["shape"][0] <= most:
        return example
    shorter = {**example, "x": encode_array(decode_array(example["x"])[:most])}
    if example["tokens"] is not None:
        shorter["tokens"] = example["tokens"][:most]
    if per_step and example["target"] is not None:
        shorter["target"] = encode_array(decode_array(example["target"])[:most])
    return shorter


def _keep_tokens(run: Run) -> None:
    """Keep the tokens of the examples and the first others, and number them anew."""
    if not run["vocabulary"] or len(run["vocabulary"]) <= _TOKENS:
        return
    ids = [decode_array(example["x"]) for example in run["examples"]]
    used = np.unique(np.concatenate([np.arange(_TOKENS), *ids]))
    run["vocabulary"] = [run["vocabulary"][i] for i in used]
    run["config"] = {**run["config"], "vocabulary_size": len(used)}
    run["examples"] = [
        {**example, "x": encode_array(np.searchsorted(used, own))}
        for example, own in zip(run["examples"], ids, strict=True)
    ]

    def rows(weights: dict[str, Any]) -> dict[str, Any]:
        table = decode_array(weights[_EMBEDDING])
        half: Precision = "float16" if table.dtype == np.float16 else "float32"
        return {**weights, _EMBEDDING: encode_array(table[used], half)}

    run["weights"] = rows(run["weights"])
    run["epochs"] = [{**kept, "weights": rows(kept["weights"])} for kept in run["epochs"]]


# In the order in which they cost least of what can be seen.
_STEPS: tuple[Callable[[Run], None], ...] = (
    _round_epochs,
    _keep_tokens,
    _keep_epochs(12),
    _keep_examples(20),
    _cut_examples(500),
    _keep_epochs(7),
    _keep_examples(12),
    _cut_examples(200),
    _keep_epochs(4),
    _keep_examples(8),
    _keep_epochs(0),
    _cut_examples(100),
    _keep_examples(4),
    _cut_examples(50),
    _round_weights,
)
