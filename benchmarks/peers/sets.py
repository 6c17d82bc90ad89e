"""The open data sets: official training and test splits, and targets for elman's defaults.

Nothing is downloaded: aeon and scikit-learn contain their sets, the others are read from a folder.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

FOLDS = 5  # of digits, which has no official test split


class AbsentError(Exception):
    """The data is missing; the message says how to get it."""


@dataclass(frozen=True)
class Data:
    """Training and test split.

    Args:
        kind: `numbers`, arrays (T, C); `text`; `tokens`; or `tags`, tokens with a tag each.
    """

    kind: str
    X: list[Any]
    y: list[Any]
    X_test: list[Any]
    y_test: list[Any]


@dataclass(frozen=True)
class OpenSet:
    """A data set by name.

    Args:
        load: from the folder of files and a seed to the splits.
        targets: by metric, for the mean over seeds.
        plain: the value of a plain torch loop, for comparison.
    """

    name: str
    load: Callable[[Path, int], Data]
    targets: dict[str, float]
    plain: str
    source: str = field(default="")


def _archive(name: str) -> Callable[[Path, int], Data]:
    def load(_: Path, seed: int) -> Data:
        try:
            from aeon.datasets import load_classification
        except ModuleNotFoundError as error:
            raise AbsentError("pip install aeon") from error
        splits: list[Any] = []
        for split in ("train", "test"):
            X, y = load_classification(name, split=split)
            splits += [[np.ascontiguousarray(x.T) for x in X], [str(label) for label in y]]
        return Data("numbers", *splits)

    return load


def _digits(_: Path, seed: int) -> Data:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import StratifiedKFold

    X, y = load_digits(return_X_y=True)
    rows = X.reshape(-1, 8, 8)
    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(rows, y))
    first, second = folds[seed % FOLDS]
    return Data(
        "numbers", list(rows[first]), y[first].tolist(), list(rows[second]), y[second].tolist()
    )


def _names(folder: Path, seed: int) -> Data:
    splits: list[list[str]] = []
    for part in ("train", "test"):
        with _file(folder, f"names_{part}.csv").open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines))
        splits += [[row["name"] for row in rows], [row["language"] for row in rows]]
    return Data("text", *splits)


def _snips(kind: str, key: str) -> Callable[[Path, int], Data]:
    def load(folder: Path, seed: int) -> Data:
        splits: list[list[Any]] = []
        for part in ("train", "test"):
            text = _file(folder, f"snips_{part}.jsonl").read_text(encoding="utf-8")
            rows = [json.loads(line) for line in text.splitlines()]
            splits += [[row["tokens"] for row in rows], [row[key] for row in rows]]
        return Data(kind, *splits)

    return load


def _file(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise AbsentError(f"{name} is not in {folder}; --data says where")
    return path


SETS = [
    OpenSet("JapaneseVowels", _archive("JapaneseVowels"), {"accuracy": 0.985}, ".973"),
    OpenSet("ItalyPowerDemand", _archive("ItalyPowerDemand"), {"accuracy": 0.965}, ".947"),
    OpenSet("BasicMotions", _archive("BasicMotions"), {"accuracy": 0.975}, ".925"),
    OpenSet("digits by rows", _digits, {"accuracy": 0.975}, ".922"),
    OpenSet("names", _names, {"accuracy": 0.81}, ".783"),
    OpenSet("Snips intents", _snips("tokens", "intent"), {"accuracy": 0.98}, ".967"),
    OpenSet("Snips slots", _snips("tags", "tags"), {"accuracy": 0.965, "entity F1": 0.88}, ".951"),
]
