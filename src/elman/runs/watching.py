"""A run that is still training: what its page shows at first, and what is new in its folder.

The training writes a line for each epoch, and files of the weights that it keeps. They are read as
they come, so that the process that trains and any other process see the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from elman import __version__, files
from elman.data import Dataset
from elman.errors import ModelFileError, SettingsError
from elman.estimators import Estimator
from elman.lab.assemble import LONGEST
from elman.lab.examples import choose_examples
from elman.lab.page import build_page
from elman.lab.payload import describe_run, describe_weights
from elman.runs.lab import in_excerpts
from elman.runs.own_data import LARGEST_METRICS, setting_values
from elman.runs.preparation import Work
from elman.runs.streamed import plan_run, sample_of
from elman.runs.unfinished import EPOCHS, METRICS, Record
from elman.train import History, TorchThreads
from elman.train.kept import FOLDER, find_files, read_epoch
from elman.untrusted import parse_json, read_file

EXAMPLES = 12
FILES = 4  # of weights that are read at once; each takes half a millisecond to a few
_TRIED = 200  # test sequences to choose them from, before the training


def live_page(folder: Path, work: Work) -> str:
    """Return the page of a run before its first epoch; `News` tells it the rest.

    Args:
        folder: the run folder, after which the network is named.
        work: what the run does.
    """
    test = work.splits.test
    dataset = test if isinstance(test, Dataset) else sample_of(test)
    dataset = dataset.take(np.arange(min(len(dataset), _TRIED)))
    estimator = _untrained(work)
    dataset, note = in_excerpts(estimator, dataset)
    encoded = estimator.encode(dataset)
    examples = choose_examples(estimator, encoded, dataset.target, most=EXAMPLES)
    names = dataset.names
    run = describe_run(
        estimator,
        encoded,
        dataset.target,
        name=folder.resolve().name,
        index=[example.index for example in examples],
        sequence_names=[str(names[example.index]) for example in examples],
        settings=setting_values(work.settings),
        history=History(),
        most_steps=LONGEST,
    )
    payload = {
        "version": 1,
        "elman": __version__,
        "mode": "live",
        "notes": [note] if note else [],
        "runs": [run],
        "tasks": [],
        "planned_epochs": work.prepared.plan.epochs,
    }
    return build_page(payload, live=True)


def _untrained(work: Work) -> Estimator:
    """Return the estimator of a run with the network as it is before the training."""
    from sklearn.base import clone

    prepared = work.prepared
    estimator: Estimator = clone(work.estimator)
    with TorchThreads(1):  # as in `fit`, for the same bits
        model = prepared.make_model(torch.Generator().manual_seed(prepared.plan.seed))
    estimator.encoder_, estimator.target_ = prepared.encoder, prepared.target
    estimator.columns_, estimator.layout_ = prepared.columns, prepared.layout
    estimator.model_, estimator.history_ = model.eval(), History()
    return estimator


def read_work(folder: Path) -> Work:
    """Prepare the training of an unfinished run again, which another process is running.

    Raises: SettingsError if its data do not fit into memory, or have changed.
    """
    record = Record.read(folder)
    if plan_run(record.settings, resumed=folder).streamed:
        raise SettingsError(
            f"{folder}: its data are read from disk piece by piece, which only the process that "
            "trains can show: start the training with elman train ... --watch"
        )
    record.check(folder)
    return Work.read(record.settings, 0)


@dataclass
class Seen:
    """What a reader of the news knows already.

    Args:
        records: number of epochs whose records it has.
        epochs: the epochs whose weights it has.
        state: the last state it was told; empty at first.
    """

    records: int = 0
    epochs: set[int] = field(default_factory=set)
    state: str = ""


class News:
    """What is new in the folder of a run: records of epochs, kept weights, and its state.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records: list[dict[str, Any]] = []
        self.kept_epoch: int | None = None
        self.state = "training"
        self._size = 0
        self._weights: dict[int, dict[str, Any]] = {}

    def read(self, most: int = FILES) -> None:
        """Read what has come since the last call.

        Args:
            most: files of weights to read, the newest first; the others wait for the next call.
        """
        with suppress(OSError):
            size = (self.folder / EPOCHS).stat().st_size
            if size != self._size:
                lines = files.read_lines(self.folder / EPOCHS)
                # A training that is resumed writes the lines of earlier epochs again.
                known = len(self.records) if size > self._size else 0
                self.records[known:] = [json.loads(line) for line in lines[known:]]
                self._size = size
        paths = find_files(self.folder / FOLDER)
        for epoch in self._weights.keys() - paths.keys():
            del self._weights[epoch]
        missing = sorted(paths.keys() - self._weights.keys(), reverse=True)
        for epoch in missing[:most]:
            weights = read_epoch(paths[epoch])
            if weights is not None:
                self._weights[epoch] = describe_weights(weights)
        if len(missing) > most:
            return
        if self.state != "complete" and (self.folder / METRICS).is_file():
            with suppress(ModelFileError, OSError, ValueError, KeyError, TypeError):
                text = read_file(self.folder / METRICS, LARGEST_METRICS)
                self.kept_epoch = int(parse_json(text, METRICS)["kept_epoch"])
            self.state = "complete"
        elif self.state == "training" and (self.folder / "model").is_dir():
            self.state = "evaluation"

    def since(self, seen: Seen) -> Iterator[dict[str, Any]]:
        """Yield what a reader does not know, a message an epoch, and note that it then knows.

        A message has `state`; `records`, those of the epochs from the index `first` on; `epochs`,
        the epochs whose weights exist; `weights`, those of `epoch`, or None; and `kept_epoch`. A
        page stops listening when the state is `complete`, so only the last message has a new one.
        """
        if len(self.records) < seen.records:
            seen.records = 0
        new = sorted(self._weights.keys() - seen.epochs)
        if not new and len(self.records) == seen.records and self.state == seen.state:
            return
        found: list[int | None] = [*new]
        for k, epoch in enumerate(found := found or [None], 1):
            yield {
                "state": self.state if k == len(found) else seen.state or "training",
                "first": seen.records,
                "records": self.records[seen.records :],
                "epochs": sorted(self._weights),
                "epoch": epoch,
                "weights": None if epoch is None else self._weights[epoch],
                "kept_epoch": self.kept_epoch,
            }
            seen.records = len(self.records)
        seen.epochs, seen.state = set(self._weights), self.state
