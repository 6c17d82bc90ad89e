"""JSON lines: one object a sequence."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.dataset import Dataset, InputKind, Layout
from elman.data.faults import Faults, list_names, unknown_name
from elman.data.jsonvalues import Record, Values, channel_names, type_name
from elman.data.options import Options
from elman.data.ragged import Ragged
from elman.data.target import has_fractions, named_target, no_target
from elman.errors import DataError
from elman.tasks import TASKS, TaskName

INPUT_KEYS = ("tokens", "text", "sequence")


def read_jsonl(text: str, faults: Faults, options: Options) -> Dataset:
    """Read the text of a JSON lines file; keys that are not used are ignored."""
    records, lines = _records(text, faults)
    return from_records(records, lines, faults, options)


def from_records(
    records: list[Record], lines: list[int] | None, faults: Faults, options: Options
) -> Dataset:
    """Make sequences of objects, one each; `lines` are those they stand on, None without a file."""
    source = faults.source
    first, layout = records[0], options.layout
    target, _, target_note = named_target(
        list(first),
        options,
        source,
        what="key",
        meaning=lambda key: (
            TASKS["tagging" if isinstance(first[key], list) else "classification"].target
        ),
    )
    if target is None and options.labelled:
        raise no_target(list(first), "key", source)
    keys = _several_keys(first, options)
    key, note = (keys[0], "") if keys else _choose_key(first, options, source)
    for name in (*keys, *options.categories):
        if name not in first:
            flag = "--values NAMES and --categories NAMES"
            raise unknown_name(name, list(first), flag, "key", source)
    if target in (key, *keys):
        raise DataError(
            f"key {key!r} is used twice, as the target and as the sequence",
            remedy="Name another with --target NAME, --text NAME or --values NAME.",
            source=source,
            rule="choice",
        )

    values = Values(records, lines, faults)
    if target is None and layout and layout.target and options.labelled is None:
        values.refuse_present(layout.target)
    kind: InputKind = "numbers" if keys else _kind(first[key], options, key)
    names: tuple[str, ...] = ()
    categories = options.categories or (layout.categories if layout else ())
    inputs: Ragged | list[str]
    if keys:
        inputs, names = values.side_by_side([k for k in keys if k not in categories], categories)
        kind = "mixed" if categories else "numbers"
    elif kind == "text":
        inputs = values.texts(key)
    elif kind == "tokens":
        inputs = values.tokens(key)
    else:
        inputs = values.numbers(key)
        names = channel_names(key, inputs.values.shape[1])
    labels: NDArray[Any] | Ragged | None = None
    per_step = False
    task: TaskName | None = None
    number_note = ""
    if target is not None:
        known = layout is not None and layout.target == target
        per_step = layout.per_step if layout and known else isinstance(first[target], list)
        task = options.task or (layout.task if layout and known else None)
        if task is None and has_fractions(_numbers_in(records, target)):
            task, number_note = (
                "regression",
                "--task regression: the target's numbers have fractions",
            )
        if task == "multilabel":
            per_step, labels = False, values.sets(target)
        elif task == "regression":
            labels = values.targets(target, inputs)
            per_step = isinstance(labels, Ragged)
        else:
            labels = values.tags(target, inputs) if per_step else values.labels(target)
    how = Layout(
        format="jsonl",
        kind=kind,
        target=target,
        task=task or ("tagging" if per_step else "classification"),
        per_step=per_step,
        text=key if kind in ("text", "tokens") else None,
        values=names,
        categories=categories if keys else (),
        notes=tuple(n for n in (target_note, note, number_note) if n),
    )
    groups: tuple[str, ...] = ()
    if options.group is not None:
        if options.group not in first:
            raise unknown_name(options.group, list(first), "--group NAME", "key", source)
        groups = values.groups(options.group)
    if lines is None:
        rows = tuple(f"row {i + 1}" for i in range(len(records)))
        return Dataset(inputs, labels, source, how, None, rows, groups)
    return Dataset(inputs, labels, source, how, np.array(lines, np.int64), groups=groups)


def _several_keys(first: Record, options: Options) -> list[str]:
    """Return the keys that hold a step's values and categories side by side; empty for one key."""
    layout = options.layout
    if options.categories or len(options.values) > 1:
        return [*options.values, *options.categories]
    if layout is None or options.text or options.values:
        return []
    # The channels of key x are called x[1], x[2], ...; a single one is called x.
    whole = [name if name in first else re.sub(r"\[\d+\]$", "", name) for name in layout.values]
    keys = list(dict.fromkeys((*whole, *layout.categories)))
    return keys if len(keys) > 1 or layout.categories else []


def _numbers_in(records: list[Record], key: str) -> NDArray[np.float64]:
    """Return the numbers of a key; none if anything else stands there."""
    values = [record.get(key) for record in records]
    flat = [v for value in values for v in (value if isinstance(value, list) else [value])]
    if not all(type(v) in (int, float) for v in flat):
        return np.zeros(0)
    return np.array(flat, dtype=np.float64)


def _choose_key(first: Record, options: Options, source: str) -> tuple[str, str]:
    """Return the key of the sequence, and the note where it is a guess."""
    layout = options.layout
    named = options.text or "".join(options.values)
    if layout and not named:
        # The channels of key x are called x[1], x[2], ...; a single one is called x.
        single = len(layout.values) == 1
        named = layout.text or layout.values[0]
        named = named if layout.text or single else re.sub(r"\[\d+\]$", "", named)
    if named:
        if named not in first:
            raise unknown_name(named, list(first), "--text NAME or --values NAME", "key", source)
        return named, ""
    present = [key for key in INPUT_KEYS if key in first]
    if not present:
        raise DataError(
            f"no key is known to be the sequence (looked for {list_names(INPUT_KEYS)});"
            f" the keys are {list_names(list(first))}",
            remedy="Name a text or list of tokens with --text NAME, numbers with --values NAME.",
            source=source,
            rule="choice",
        )
    if "sequence" in present and len(present) > 1:
        raise DataError(
            f"several keys could be the sequence: {list_names(present)}",
            remedy="Choose one with --text NAME or --values NAME.",
            source=source,
            rule="choice",
        )
    flag = "--values" if _kind(first[present[0]], options, present[0]) == "numbers" else "--text"
    left = f"; left out: {list_names(present[1:])}" if present[1:] else ""
    return present[0], f"{flag} {present[0]}: by its name{left}"


def _kind(value: Any, options: Options, key: str) -> InputKind:
    if options.layout and not options.text and not options.values:
        return options.layout.kind
    if options.values:
        return "numbers"
    if isinstance(value, str):
        return "text"
    words = isinstance(value, list) and bool(value) and isinstance(value[0], str)
    return "numbers" if key == "sequence" and not options.text and not words else "tokens"


def _constant(name: str) -> float:
    """NaN, which many programs write for a gap, though JSON has no such number."""
    if name == "NaN":
        return math.nan
    raise ValueError(f"{name} is no number in JSON")


def _records(text: str, faults: Faults) -> tuple[list[Record], list[int]]:
    """Parse every line that is not blank into an object; others are told and left out."""
    decode = json.JSONDecoder(parse_constant=_constant).decode
    records: list[Record] = []
    lines: list[int] = []
    for line, content in enumerate(text.split("\n"), 1):
        if not content.strip():
            continue
        column = None
        try:
            value = decode(content)
            if "\\u" in content:
                json.dumps(value, ensure_ascii=False).encode()
        except json.JSONDecodeError as error:
            problem, column = f"not valid JSON: {error.msg}", error.colno
        except UnicodeEncodeError:
            problem = "half a surrogate pair: a \\u escape that stands for no character"
        except (ValueError, RecursionError) as error:
            problem = f"not usable as JSON: {error}"
        else:
            if isinstance(value, dict):
                records.append(value)
                lines.append(line)
                continue
            problem = f"{type_name(value)}, expected an object"
        faults.add(
            "JSON",
            problem,
            remedy='Write one whole object a line, as {"tokens": [...], "label": ...}.',
            line=line,
            column=column,
        )
    if not records:
        faults.stop()
    return records, lines
