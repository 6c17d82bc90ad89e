"""Text summary of a dataset: what was read, what was guessed, and statistics."""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.dataset import Dataset, Layout
from elman.data.faults import format_count, list_names
from elman.data.ragged import Ragged, flatten, is_labelled, sequences_with_gaps
from elman.data.readers.dialect import DELIMITERS
from elman.data.text import Unit, count_steps
from elman.data.unlabelled import count_unlabelled
from elman.tasks import TASKS

_FORMATS = {
    "rows": "one row a sequence",
    "steps": "one row a time step",
    "jsonl": "one object a sequence",
    "ts": "UCR/UEA cases, one line a sequence",
    "arrays": "arrays, sequences by time steps by channels",
    "folder": "a folder, one file a sequence",
}
_MOST_CHANNELS = 12  # lines of the table of channels
_WIDTH = 60  # characters of a value, so that a line with its name fits a terminal of 100


def describe(
    dataset: Dataset, unit: Unit | None = None, lengths: NDArray[np.int64] | None = None
) -> str:
    """Return the description of a dataset: about 10 lines of at most 100 characters.

    Args:
        unit: what text is split into; None chooses it as a training does.
        lengths: of all sequences, (n,), if `dataset` is a sample of them.
    """
    lines = [dataset.source + _whole_numbers(dataset)]
    everything = _lengths(dataset, unit)
    if lengths is not None:
        units = "characters" if isinstance(dataset.inputs, list) else "steps"
        everything = _of_lengths(lengths, units)
        lines.append(f"  {len(dataset):,} of its sequences, drawn at random, are described here")
    facts = [
        ("format", _format(dataset)),
        ("sequences", everything),
        ("input", _input(dataset, unit)),
        ("static", _static(dataset)),
        ("missing", _missing(dataset)),
        ("target", _target(dataset)),
        ("", _counts(dataset)),
        ("first", _first(dataset)),
    ]
    lines += [_cut(f"  {name:<10} {fact}", 100) for name, fact in facts if fact]
    guesses, notes = dataset.layout.guesses, dataset.layout.notes
    if guesses:
        lines.append("Guessed; each flag overrides its guess:")
        for guess in guesses:
            lines += textwrap.wrap(guess.line, 98, initial_indent="  ", subsequent_indent="    ")
    if notes:
        lines.append("Noted:")
        for note in notes:
            lines += textwrap.wrap(note, 98, initial_indent="  ", subsequent_indent="    ")
    return "\n".join(lines)


def _whole_numbers(dataset: Dataset) -> str:
    """Return how whole numbers were read where they could be tokens or measurements, or ''."""
    layout, inputs = dataset.layout, dataset.inputs
    if not isinstance(inputs, Ragged) or not len(inputs.values) or _is_generated(dataset):
        return ""
    if layout.kind == "tokens":
        whole = all(str(t).lstrip("-").isdecimal() for t in set(inputs.values.tolist()))
        read = f"tokens; --values {layout.text} reads them as measurements"
        return f": whole numbers, read as {read}" if whole else ""
    lists = layout.format in ("arrays", "jsonl") and layout.kind == "numbers"
    if not lists or len(layout.channels) != 1:
        return ""
    numbers = inputs.values[~np.isnan(inputs.values)]
    if (numbers % 1 != 0).any() or len(np.unique(numbers)) <= 2:
        return ""
    name = next((g.columns[0] for g in layout.guesses if g.role == "values" and g.columns), "NAME")
    change = f"--text {name} reads them as tokens" if layout.format == "arrays" else ""
    change = change or 'write tokens as text, "12", to read them as tokens'
    return f": whole numbers, read as measurements; {change}"


def summary_text(dataset: Dataset, profile: dict[str, Any], unit: Unit | None = None) -> str:
    """Return the output of `describe`, followed by the statistics of `summarize` as text."""
    lines = [describe(dataset, unit), ""]
    channels = profile["channels"]
    if channels:
        rows = [("channel", "min", "mean", "max", "missing")]
        for channel in channels[:_MOST_CHANNELS]:
            if "different" in channel:
                common = ", ".join(f"{value} ({n:,})" for value, n in channel["common"][:4])
                different, gaps = f"{channel['different']:,} different", f"{channel['missing']:,}"
                rows.append((channel["name"], different, common, "", gaps))
                continue
            numbers = (_short(channel[key]) for key in ("min", "mean", "max"))
            rows.append((channel["name"], *numbers, f"{channel['missing']:,}"))
        widths = [max(len(row[k]) for row in rows) for k in range(5)]
        for row in rows:
            first, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            lines.append(f"  {row[0].ljust(len(first))}  {'  '.join(rest)}".rstrip())
        if len(channels) > _MOST_CHANNELS:
            lines.append(f"  ... {len(channels) - _MOST_CHANNELS} more channels")
    if profile["tokens"]:
        common = ", ".join(f"{token} ({n:,})" for token, n in profile["tokens"]["common"])
        lines.append(
            f"  {profile['tokens']['different']:,} different {profile['tokens']['what']}: {common}"
        )
    repeats = profile["repeats"]["sequences"]
    lines.append(f"  repeated   {format_count(repeats, 'sequence') if repeats else 'no sequence'}")
    if "test" in profile:
        test = profile["test"]
        lines.append(
            f"  test       {format_count(test['sequences'], 'sequence')},"
            f" {test['repeats']:,} of them are in the training split too"
        )
    lines.append("")
    if profile["warnings"]:
        lines += ["Worth a look:", *(f"  {warning}" for warning in profile["warnings"])]
    else:
        lines.append("Nothing stands out.")
    return "\n".join(lines)


def _short(number: float | None) -> str:
    return "none" if number is None else f"{number:.4g}"


def _format(dataset: Dataset) -> str:
    layout = dataset.layout
    if _is_generated(dataset):
        return ""
    what = _FORMATS[layout.format]
    if layout.blocks:
        mark = {" ": "blanks", "\t": "tabs", ",": "commas", ";": "semicolons"}[layout.delimiter]
        return f"CoNLL: a line a token, {mark} between columns, a blank line after each sentence"
    if layout.format in ("rows", "steps") and layout.delimiter:
        what += f", {DELIMITERS[layout.delimiter]} between cells"
        what += "" if layout.header else ", no header: columns are called 1, 2, ..."
    return what


def _is_generated(dataset: Dataset) -> bool:
    """Whether the data comes from a built-in task, so that there is no file to name."""
    # Every reader sets lines or ids.
    return dataset.lines is None and not dataset.ids


def _lengths(dataset: Dataset, split: Unit | None) -> str:
    return _of_lengths(*count_steps(dataset, split))


def _of_lengths(lengths: NDArray[np.int64], units: str) -> str:
    unit = units.removesuffix("s")
    if len(lengths) == 0:
        return "none"
    low, middle, high = lengths.min(), np.median(lengths), lengths.max()
    if low == high:
        return f"{len(lengths):,}, each of {format_count(int(low), unit)}"
    return f"{len(lengths):,}, of {low:,} to {high:,} {unit}s (median {middle:,.0f})"


def _input(dataset: Dataset, unit: Unit | None) -> str:
    layout = dataset.layout
    place = "key" if layout.format == "jsonl" else "column"
    if _is_generated(dataset) and isinstance(dataset.inputs, Ragged) and not layout.values:
        steps = dataset.inputs.values
        return "numbers" if steps.ndim > 1 else f"tokens, {len(set(steps)):,} different"
    if layout.kind == "text":
        return (
            f"text, {place} {layout.text!r}, split into {count_steps(dataset, unit)[1]} (--tokens)"
        )
    if layout.kind == "tokens":
        inputs = dataset.inputs
        values = inputs.values.tolist() if isinstance(inputs, Ragged) else []
        return f"tokens, {place} {layout.text!r}, {len(set(values)):,} different"
    names = layout.channels[: _numbers(layout)]
    count = len(names)
    names = names if count <= 6 else (*names[:3], "...", names[-1])
    listed = _cut(", ".join(names))
    if layout.kind == "mixed":
        both = f"{format_count(count, 'channel')}: {listed}" if count else "no numbers"
        kinds = "column" if len(layout.categories) == 1 else "columns"
        return f"{both}; categories, {kinds} {_cut(', '.join(layout.categories), 40)}"
    if layout.in_cells:
        return f"numbers, {format_count(count, 'channel')}, each sequence in one cell: {listed}"
    if layout.wide and not _is_generated(dataset):
        width = len(layout.values) // count
        return f"numbers, {format_count(count, 'channel')} over {width} columns each: {listed}"
    if layout.format == "rows" and not _is_generated(dataset):
        return f"numbers, 1 channel over {count} columns: {listed}"
    return f"numbers, {format_count(count, 'channel')}: {listed}"


def _static(dataset: Dataset) -> str:
    """Return the static features: numbers with their range, categories with their number."""
    static = dataset.static
    if static is None or not len(static):
        return ""
    parts = []
    for name, column in zip(static.number_names, static.numbers.T, strict=True):
        known = column[~np.isnan(column)]
        span = f"{known.min():.4g} to {known.max():.4g}" if len(known) else "no value"
        gaps = f", {len(column) - len(known):,} missing" if len(known) < len(column) else ""
        parts.append(f"{name} ({span}{gaps})")
    for name, cells in zip(static.category_names, static.categories.T.tolist(), strict=True):
        count = len(set(cells) - {""})
        gaps = f", {cells.count(''):,} missing" if "" in cells else ""
        parts.append(f"{name} ({count:,} {'category' if count == 1 else 'categories'}{gaps})")
    return ", ".join(parts)


def _numbers(layout: Layout) -> int:
    """Return the number of numeric channels."""
    return len(layout.channels) - len(layout.categories)


def _missing(dataset: Dataset) -> str:
    inputs = dataset.numbers
    if inputs is None:
        return ""
    gaps = np.isnan(inputs.values)
    if not gaps.any():
        return ""
    whose = np.flatnonzero(gaps.any(0))
    where = (
        f", in {len(whose)} of {format_count(gaps.shape[1], 'channel')}"
        if gaps.shape[1] > 1
        else ""
    )
    some = int(sequences_with_gaps(inputs).any(1).sum())
    return (
        f"{gaps.sum():,} of {format_count(gaps.size, 'value')} ({gaps.mean():.1%}), in {some:,} of "
        f"{format_count(len(dataset), 'sequence')}{where}"
    )


def _target(dataset: Dataset) -> str:
    if dataset.target is None:
        return "none"
    layout = dataset.layout
    place = {"jsonl": "key ", "arrays": "array "}.get(layout.format, "column ")
    name = "@classLabel" if layout.format == "ts" else f"{place}{layout.target!r}"
    name = "generated" if _is_generated(dataset) else name
    if layout.ahead:
        of = f"{list_names(layout.future, 4)} " if layout.future else "the sequence "
        name = f"{of}{format_count(layout.ahead, 'step')} ahead"
    task, values = TASKS[dataset.task], flatten(dataset.target)
    missing = count_unlabelled(dataset)
    gaps = f"; {missing}" if missing else ""
    if task.has_classes:
        count = len(set(dataset.labels()))
        return f"{name}, {task.target}, {count} {task.nouns[count != 1]}{gaps}"
    width = 1 if values.ndim == 1 else values.shape[1]
    each = "at every step" if isinstance(dataset.target, Ragged) else "per sequence"
    return f"{name}, {'a number' if width == 1 else f'{width} numbers'} {each}{gaps}"


def _counts(dataset: Dataset) -> str:
    """Return how often each label occurs, the most frequent first, or the range of each number."""
    if dataset.target is None or not len(dataset):
        return ""
    if not TASKS[dataset.task].has_classes:
        values = flatten(dataset.target)
        table = values.reshape(len(values), -1).astype(np.float64)
        table = table[is_labelled(table)]
        ranges = zip(table.min(0)[:4], table.mean(0), table.max(0), strict=False)
        return "; ".join(f"{a:.4g} to {c:.4g} (mean {b:.4g})" for a, b, c in ranges)
    counts = Counter(dataset.labels()).most_common()
    shown = [f"{label} ({n:,})" for label, n in counts[:12]]
    while len(shown) > 1 and len(", ".join(shown)) > _WIDTH:
        shown.pop()
    more = f", ... {len(counts) - len(shown)} more" if len(shown) < len(counts) else ""
    return ", ".join(shown) + more


def _first(dataset: Dataset) -> str:
    if len(dataset) == 0:
        return "none"
    inputs, target = dataset.inputs, dataset.target
    sequence = inputs[0]
    label = None if target is None else target[0]
    if isinstance(label, frozenset):
        label = "|".join(sorted(map(str, label)))
    line = f"{dataset.ids[0]}: " if dataset.ids else ""
    line = line if dataset.lines is None else f"line {dataset.lines[0]}: "
    if isinstance(sequence, str):
        return f"{line}{_cut(repr(sequence))}{_arrow(label)}"
    if dataset.layout.kind == "tokens" and isinstance(target, Ragged):
        tags = map(_tag, target[0].tolist())
        shown = " ".join(f"{s}/{tag}" for s, tag in zip(sequence[:40], tags, strict=False))
        return f"{line}{_cut(shown)}"
    if dataset.layout.kind == "tokens":
        shown = _cut(" ".join(map(str, sequence[:40])), 60)
    elif dataset.layout.kind == "mixed":
        shown = _some(
            [f"[{', '.join(map(_cell, row[:4]))}]" for row in sequence[:2]], len(sequence)
        )
    elif sequence.shape[1] == 1:
        shown = _some([f"{value:.6g}" for value in sequence[:6, 0]], len(sequence))
    else:
        rows = [", ".join(f"{v:.4g}" for v in row[:4]) for row in sequence[:2]]
        more = ", ..." if sequence.shape[1] > 4 else ""
        shown = _some([f"[{row}{more}]" for row in rows], len(sequence))
    if isinstance(target, Ragged):
        return f"{line}{shown} -> {_some([*map(_tag, target[0][:6].tolist())], len(sequence))}"
    return f"{line}{shown}{_arrow(label)}"


def _tag(label: object) -> str:
    """Return a label or numbers as text, and a dash where a step is not labelled."""
    return "-" if label is None or label != label else str(label)


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value) or "(missing)"


def _arrow(label: object) -> str:
    return "" if label is None else f" -> {label}"


def _some(parts: list[str], total: int) -> str:
    return ", ".join(parts) + (", ..." if total > len(parts) else "")


def _cut(text: str, width: int = _WIDTH) -> str:
    return text if len(text) <= width else text[: width - 4] + " ..."
