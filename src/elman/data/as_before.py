"""Comparison of a file with the layout of an earlier one, which a network was built for."""

from __future__ import annotations

from elman.data.dataset import Dataset, Layout
from elman.data.faults import Faults, format_count

# The kinds of file that can hold each format. Text with another ending is read as the first kind.
FORMATS = {
    "rows": ("table", "arff", "frame", "jsonl"),
    "steps": ("table", "arff", "frame", "jsonl", "conll"),
    "conll": ("conll",),
    "jsonl": ("jsonl", "frame"),
    "ts": ("ts", "arff"),
    "arrays": ("arrays",),
    "folder": ("folder",),
}
KIND_NAMES = {
    "table": "a CSV or TSV table",
    "jsonl": "JSON",
    "conll": "a CoNLL file",
    "ts": "a .ts file",
    "arff": "an .arff file",
    "frame": "a data frame",
    "arrays": "NumPy arrays",
    "folder": "a folder",
}
CASES = ("ts", "arrays")  # formats that differ only in how they are written


def compare(dataset: Dataset, layout: Layout, faults: Faults, same: bool) -> None:
    """Refuse sequences with another input kind, other channels or, if `same`, another format."""
    got = dataset.layout
    if same and got.format != layout.format and not {got.format, layout.format} <= set(CASES):
        raise faults.error(
            "format",
            f"the layout is {got.format}, expected {layout.format} as before",
            f"Convert the file, or read it afresh with --format {got.format}.",
        )
    # A network is built for one kind of input; another would fail in its first layer, with an error
    # that shows shapes instead of column names.
    if got.kind != layout.kind:
        raise faults.error(
            "as before",
            f"the sequences are {got.kind}, expected {layout.kind} as before",
            "Name other columns with --text or --values.",
        )
    if layout.kind in ("numbers", "mixed"):
        channels, expected = _channels(got), _channels(layout)
        if channels != expected:
            raise faults.error(
                "as before",
                f"{format_count(channels, 'channel')}, expected {expected} as before",
                "Use a file with the channels of the training file.",
            )
    if got.target and layout.target and got.per_step != layout.per_step:
        words = {True: "a class at every step", False: "one class per sequence"}
        raise faults.error(
            "as before",
            f"the target is {words[got.per_step]}, expected {words[layout.per_step]} as before",
            "Name another with --target NAME.",
        )


def _channels(layout: Layout) -> int:
    return max(1, len(layout.wide)) if layout.format == "rows" else len(layout.channels)


def check_kind(kind: str, layout: Layout, faults: Faults) -> None:
    """Refuse a kind of file that cannot hold the format of the layout."""
    formats = CASES if layout.format in CASES else (layout.format,)
    if any(kind in FORMATS[form] for form in formats):
        return
    expected = KIND_NAMES[FORMATS[layout.format][0]]
    raise faults.error(
        "format",
        f"the file is {KIND_NAMES[kind]}, expected {expected} as before",
        f"Convert it, or read it afresh with --format {formats_of(kind)}.",
    )


def formats_of(kind: str) -> str:
    """Return the formats that a kind of file can hold, in words."""
    return " or ".join(name for name, kinds in FORMATS.items() if kind in kinds)
