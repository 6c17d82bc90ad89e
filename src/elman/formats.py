"""What `--help` says about files: the formats that elman reads, and the ways to fill gaps.

It is separate from the readers because `--help` must not import NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath


@dataclass(frozen=True)
class FileFormat:
    """A format of data files.

    Args:
        name: its name in messages and `--help`.
        kind: the reader: `table`, `jsonl`, `conll`, `frame`, `ts`, `arff`, `arrays`.
        endings: endings of its files.
    """

    name: str
    kind: str
    endings: tuple[str, ...]


FILE_FORMATS = (
    FileFormat("CSV", "table", (".csv",)),
    FileFormat("TSV", "table", (".tsv", ".tab")),
    FileFormat("JSON, JSON lines", "jsonl", (".json", ".jsonl", ".ndjson")),
    FileFormat(
        "CoNLL", "conll", (".conll", ".conllu", ".conllx", ".iob", ".iob2", ".bio", ".bioes")
    ),
    FileFormat("Parquet", "frame", (".parquet", ".pq")),
    FileFormat("Arrow", "frame", (".feather", ".arrow", ".ipc")),
    FileFormat("UCR/UEA time series", "ts", (".ts",)),
    FileFormat("ARFF", "arff", (".arff",)),
    FileFormat("NumPy arrays", "arrays", (".npz", ".npy")),
)
KINDS = {ending: f.kind for f in FILE_FORMATS for ending in f.endings}
# Endings of compressed files, which end in the ending of their content before it: `a.csv.gz`.
PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip")
READABLE = ", ".join(f"{f.name} ({', '.join(f.endings)})" for f in FILE_FORMATS) + (
    f", also compressed ({', '.join(PACKED)}), and folders of files"
)


def ending_of(name: str) -> str:
    """Return the ending of a file's name in lower case, without one for compression."""
    path = PurePath(name.lower())
    return PurePath(path.stem).suffix if path.suffix in PACKED else path.suffix


def is_file_name(name: str) -> bool:
    """Whether a name ends as a file that elman reads."""
    return ending_of(name) in KINDS or PurePath(name.lower()).suffix == ".zip"


# What to do with a missing value in a channel that had none in training.
FILLS = ("refuse", "previous", "mean", "zero")
