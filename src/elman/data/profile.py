"""Statistics of a dataset: channels, classes, repeated sequences, and warnings."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.dataset import Dataset
from elman.data.faults import format_count, list_names
from elman.data.hashing import hash_sequences, to_bits
from elman.data.ragged import Ragged, flatten, is_labelled
from elman.data.targets import find_doubtful_labels
from elman.data.text import Unit, choose_unit, count_steps, split_texts
from elman.tasks import TASKS

FEW = 10  # sequences of a class; metrics on fewer are mostly chance
LONG = 2000  # steps; gradients vanish over shorter spans, and every step takes time


def summarize(
    dataset: Dataset, test: Dataset | None = None, unit: Unit | None = None
) -> dict[str, Any]:
    """Return statistics of a dataset and its overlap with a test split, ready for JSON.

    Args:
        unit: what text is split into; None chooses it as a training does.
    """
    lengths, units = count_steps(dataset, unit)
    layout = dataclasses.asdict(dataset.layout)
    channels = _channels(dataset)
    profile: dict[str, Any] = {
        "source": dataset.source,
        "layout": {key: value for key, value in layout.items() if key != "notes"},
        "notes": list(dataset.layout.notes),
        "sequences": len(dataset),
        "lengths": {
            "min": int(lengths.min()),
            "median": float(np.median(lengths)),
            "max": int(lengths.max()),
            "unit": units,
        },
        "channels": channels,
        "missing": sum(channel["missing"] for channel in channels),
        "tokens": _tokens(dataset, unit),
        "target": _target(dataset),
        "repeats": _repeats(dataset),
    }
    warnings = (
        _of_lengths(lengths) + _of_channels(dataset, channels) + _of_labels(profile["target"])
    )
    if contradicting := profile["repeats"]["contradicting"]:
        warnings.append(
            "repeated with different labels, so that no model can be right about all of them:"
            f" {format_count(contradicting, 'sequence')}"
        )
    if test is not None:
        profile["test"] = _test(dataset, test)
        warnings += _of_test(profile["test"])
    profile["warnings"] = warnings
    return profile


def _channels(dataset: Dataset) -> list[dict[str, Any]]:
    inputs = dataset.inputs
    if not isinstance(inputs, Ragged) or inputs.values.ndim < 2:
        return []
    names = dataset.layout.channels
    width = inputs.values.shape[1]
    if len(names) != width:  # one column per time step
        names = ("value",) if width == 1 else tuple(f"channel {c + 1}" for c in range(width))
    return [_channel(name, inputs.values[:, c]) for c, name in enumerate(names)]


def _channel(name: str, values: NDArray[Any]) -> dict[str, Any]:
    try:
        # Mixed steps are objects: a column of them is numeric if all its values are.
        numbers = values.astype(np.float64)
    except (TypeError, ValueError):
        counts = Counter(str(value) for value in values.tolist() if value not in (None, ""))
        return {
            "name": name,
            "different": len(counts),
            "common": counts.most_common(8),
            "missing": len(values) - counts.total(),
        }
    observed = numbers[~np.isnan(numbers)]
    statistics: dict[str, float | None] = dict.fromkeys(("min", "mean", "max", "deviation"))
    if len(observed):
        statistics = {
            "min": float(observed.min()),
            "mean": float(observed.mean()),
            "max": float(observed.max()),
            "deviation": float(observed.std()),
        }
    return {"name": name, **statistics, "missing": len(numbers) - len(observed)}


def _tokens(dataset: Dataset, unit: Unit | None) -> dict[str, Any] | None:
    inputs, kind = dataset.inputs, dataset.layout.kind
    if kind == "text" and not isinstance(inputs, Ragged):
        unit = unit or choose_unit(inputs)
        counts = Counter(token for tokens in split_texts(inputs, unit) for token in tokens)
        return {"what": unit, "different": len(counts), "common": counts.most_common(8)}
    if kind == "tokens" and isinstance(inputs, Ragged):
        counts = Counter(inputs.values.tolist())
        return {"what": "tokens", "different": len(counts), "common": counts.most_common(8)}
    return None


def _target(dataset: Dataset) -> dict[str, Any] | None:
    if dataset.target is None:
        return None
    layout = dataset.layout
    name = ",".join(layout.future) or None if layout.ahead else layout.target
    about: dict[str, Any] = {"name": name, "per_step": layout.per_step}
    if isinstance(dataset.target, Ragged):
        about["unlabelled"] = int((~is_labelled(dataset.target.values)).sum())
    if TASKS[dataset.task].has_classes:
        counts = Counter(dataset.labels()).most_common()
        return about | {"classes": {str(label): n for label, n in counts}}
    values = flatten(dataset.target)
    values = values[is_labelled(values)]
    return about | {"min": float(values.min()), "max": float(values.max())}


def _repeats(dataset: Dataset) -> dict[str, int]:
    """Count repeated sequences, and those that repeat with different labels."""
    contents, target = dataset.contents(), dataset.target
    distinct = np.unique(contents)
    again = len(contents) - len(distinct)
    contradicting = 0
    if target is not None and again:
        steps = np.arange(len(contents) + 1)
        whole = target if isinstance(target, Ragged) else Ragged(target, steps)
        labels = hash_sequences(whole.with_values(to_bits(whole.values)))
        both = hash_sequences(Ragged(np.column_stack([contents, labels]), steps))
        pairs = np.unique(both, return_index=True)[1]  # one for each sequence and label
        contradicting = int((np.unique(contents[pairs], return_counts=True)[1] > 1).sum())
    return {"sequences": again, "contradicting": contradicting}


def _of_lengths(lengths: NDArray[np.int64]) -> list[str]:
    if lengths.max() <= LONG:
        return []
    n = int((lengths > LONG).sum())
    return [
        f"{format_count(n, 'sequence')} of more than {LONG:,} steps (up to {lengths.max():,}):"
        " training on these is slow and hard; elman train --window cuts them into shorter ones"
    ]


def _of_channels(dataset: Dataset, channels: list[dict[str, Any]]) -> list[str]:
    inputs = dataset.inputs
    if not channels or not isinstance(inputs, Ragged):
        return []
    warnings = []
    constant = [c["name"] for c in channels if c.get("deviation") == 0 or c.get("different") == 1]
    if constant:
        warnings.append(f"constant, so without information: {list_names(constant, 5)}")
    labels: NDArray[np.int64] | None = None
    known = np.zeros(0, dtype=bool)
    task = TASKS[dataset.task]
    # Sets of labels and multiple numbers have no single value to compare with a channel.
    sets = task.has_classes and not task.single_label
    if dataset.target is not None and not sets and flatten(dataset.target).ndim == 1:
        each = flatten(dataset.target)
        if not isinstance(dataset.target, Ragged):
            each = np.repeat(each, inputs.lengths)
        known = is_labelled(each)
        labels = _codes(each[known])
    for c, channel in enumerate(channels):
        name, column = channel["name"], inputs.values[:, c]
        if labels is not None and _same(column[known], labels):
            warnings.append(
                f"{name!r} determines the label, value for value: is it known when predicting?"
                " Leave it out with --values"
            )
        elif "min" in channel and channel["missing"] == 0 and _is_id(inputs.with_values(column)):
            warnings.append(
                f"{name!r} only counts or names rows or sequences: leave it out with --values"
            )
        # If more than half is missing, most of the values that the network sees are filled in.
        if channel["missing"] * 2 > len(column):
            warnings.append(f"{name!r} is missing in {channel['missing'] / len(column):.0%}")
        spread = channel.get("deviation")
        if spread and (code := _find_code(column)) is not None:
            count = format_count(int((column == code).sum()), "value")
            warnings.append(
                f"{name!r} is {code:.10g} at {count}, far from all others: a code for a missing"
                f" value? Then say --missing {code:.10g}"
            )
        elif spread:
            far = max(channel["max"] - channel["mean"], channel["mean"] - channel["min"]) / spread
            # Far beyond what heavy-tailed channels reach; codes such as -9999 stand out like this.
            if far > 30:
                extreme = max(
                    channel["max"], channel["min"], key=lambda v: abs(v - channel["mean"])
                )
                warnings.append(
                    f"{name!r} has a value {far:.0f} deviations from its mean ({extreme:.4g}): a"
                    f" mistake, or a code for a missing one? Then say --missing {extreme:.10g}"
                )
    spreads = [c["deviation"] for c in channels if c.get("deviation")]
    # The large channel would dominate the input sums of the gates.
    if spreads and max(spreads) > 1000 * min(spreads):
        warnings.append("channels differ in scale by more than 1,000: leave --scale on")
    return warnings


def _find_code(column: NDArray[Any]) -> float | None:
    """Return a number of nines such as -999 that is far from all other values, or None."""
    numbers = column.astype(np.float64)
    numbers = numbers[~np.isnan(numbers)]
    for code in (float(numbers.min()), float(numbers.max())):
        others = numbers[numbers != code]
        nines = set(f"{abs(code):.10g}".replace(".", "")) == {"9"} and abs(code) >= 99
        if nines and len(others) and np.abs(others - code).min() > np.ptp(others):
            return code
    return None


def _codes(values: NDArray[Any]) -> NDArray[np.int64]:
    """Return a whole number from 0 for each value, (n,), equal for values that print alike."""
    if values.dtype.kind == "f":
        return np.unique(values, return_inverse=True)[1].astype(np.int64)
    known: dict[str, int] = {}
    cells = values.tolist()
    codes = {cell: known.setdefault(str(cell), len(known)) for cell in dict.fromkeys(cells)}
    return np.fromiter(map(codes.__getitem__, cells), np.int64, len(cells))


def _same(column: NDArray[Any], labels: NDArray[np.int64]) -> bool:
    """Whether the values of the channel and the labels correspond one to one.

    Args:
        labels: a whole number from 0 for each label, (N,).
    """
    count = int(labels.max(initial=-1)) + 1
    # Most channels have more values than there are labels, which the first ones show.
    if count < 2 or _codes(column[:20_000]).max(initial=-1) >= count:
        return False
    codes = _codes(column)
    return int(codes.max()) + 1 == count == len(np.unique(codes * count + labels))


def _is_id(column: Ragged) -> bool:
    """Whether integers count all rows, or are constant in, and unique to, each sequence."""
    numbers = column.values.astype(np.float64)
    if len(column) < FEW or (numbers % 1).any():
        return False
    # Increasing over the whole file: a row counter, which reveals the position in the file.
    if len(numbers) > len(column) and bool((np.diff(numbers) > 0).all()):
        return True
    # An id of the sequence, such as a patient's number: the network would learn it instead of the
    # signal.
    first = np.repeat(numbers[column.offsets[:-1]], column.lengths)
    stays = bool((numbers == first).all()) and int(column.lengths.max()) > 1
    return stays and len(np.unique(numbers)) == len(column)


def _of_labels(target: dict[str, Any] | None) -> list[str]:
    # These warnings do not apply to numeric targets.
    counts: dict[str, int] = (target or {}).get("classes", {})
    if not counts:
        return []
    warnings = []
    unit = "steps" if target and target["per_step"] else "sequences"
    few = [f"{label} ({n})" for label, n in counts.items() if n < FEW]
    if len(counts) == 1:
        warnings.append(f"every label is {next(iter(counts))!r}: there is nothing to learn")
    if few:
        warnings.append(
            f"{format_count(len(few), 'class') if len(few) == 1 else f'{len(few):,} classes'} of"
            f" fewer than {FEW} {unit}, so that metrics of them say little: {', '.join(few[:5])}"
        )
    return warnings + find_doubtful_labels(counts)


def _test(dataset: Dataset, test: Dataset) -> dict[str, Any]:
    ours = (_target(dataset) or {}).get("classes", {})
    theirs = (_target(test) or {}).get("classes", {})
    return {
        "source": test.source,
        "sequences": len(test),
        "repeats": int(np.isin(test.contents(), dataset.contents()).sum()),
        "classes": theirs,
        "classes_unseen": [label for label in theirs if label not in ours],
        "classes_absent": [label for label in ours if label not in theirs],
    }


def _of_test(test: dict[str, Any]) -> list[str]:
    warnings = []
    if test["repeats"]:
        warnings.append(
            f"{test['repeats']:,} of the test split's {test['sequences']:,} sequences are in the"
            " training split too: its metrics are too good"
        )
    if test["classes_unseen"]:
        warnings.append(f"only in the test split: class {list_names(test['classes_unseen'], 5)}")
    if test["classes_absent"] and test["classes"]:
        warnings.append(f"not in the test split: class {list_names(test['classes_absent'], 5)}")
    return warnings
