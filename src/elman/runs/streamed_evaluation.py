"""Evaluation and predictions of data on disk, block by block.

All sequences are predicted and written. What a report needs of them is kept in memory: of all
sequences where it fits into the memory limit, else of sequences drawn at random.

Dimensions: n sequences, m predictions (one per sequence or step), K outputs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman import files
from elman.data import Dataset, Ragged
from elman.data.encoded import choose
from elman.data.ragged import Fill, flatten
from elman.data.splits import describe_windows
from elman.data.store import StoredDataset, StoreWriter
from elman.errors import SettingsError
from elman.estimators import EncodedSequences, Estimator
from elman.estimators.inputs import take_rows
from elman.estimators.reading import read_as_trained
from elman.evaluate import Report
from elman.evaluate.features import one_hot_categories
from elman.memory import write_size
from elman.runs.folder import DATA, describe_unknown, note_static
from elman.runs.held_out import check_known
from elman.runs.prediction_files import write_predictions
from elman.runs.predictions import Predictions, collect_predictions
from elman.runs.streamed import (
    MemoryPlan,
    StoredSplits,
    describe_stored,
    read_part,
    sample_of,
)
from elman.tasks import TASKS

Part = tuple[Dataset, EncodedSequences]  # a split, and its sequences as the network reads them
Blocks = Iterable[tuple[NDArray[np.int64], Dataset]]
Predicted = tuple[NDArray[np.int64], Dataset, EncodedSequences, NDArray[np.float64]]
# Bytes that a report takes up at its largest, for each prediction and each of its outputs: the
# network's and the baselines' probabilities, copies sorted for the metrics, and for numbers
# the sums that are resampled. Measured for 2 to 100 classes, and for 1 and 5 numbers.
ROW, NUMBERS_ROW, OUTPUT = 250, 1200, 150


@dataclass
class Unknown:
    """Counts what was not seen in training, block by block.

    Args:
        estimator: the fitted estimator.
    """

    estimator: Estimator
    tokens: Counter[str] = field(default_factory=Counter)
    features: Counter[str] = field(default_factory=Counter)
    total: int = 0

    def add(
        self,
        index: NDArray[np.int64],
        block: Dataset,
        encoded: EncodedSequences,
        values: NDArray[np.float64],
    ) -> None:
        """Add a block's predictions, (n, K), or (N, K) per step; `index` is its place in all."""
        encoder = self.estimator.encoder_
        self.tokens += encoder.count_unknown(encoded.steps)
        self.total += len(encoded.steps.values)
        if encoder.static is not None and encoded.static is not None:
            self.features += encoder.static.count_unknown(encoded.static)

    def notes(self, source: str) -> tuple[str, ...]:
        """Say how much was not seen in training; empty if nothing."""
        return describe_unknown(self.tokens, self.total, self.features, source)


class Answers(Unknown):
    """What a report needs of the chosen sequences, gathered block by block.

    Args:
        estimator: the fitted estimator.
        chosen: which of all sequences are reported on, (n,).
    """

    def __init__(self, estimator: Estimator, chosen: NDArray[np.bool_]) -> None:
        super().__init__(estimator)
        self.chosen = chosen
        self.labels: list[Any] = []
        self.values: list[NDArray[np.float64]] = []
        self.lengths: list[NDArray[np.int64]] = []
        self.baselines: dict[str, list[NDArray[Any]]] = {}
        self.owners: list[NDArray[np.int64]] = []  # sequences that windows are cut from
        self.sequences = 0

    def add(
        self,
        index: NDArray[np.int64],
        block: Dataset,
        encoded: EncodedSequences,
        values: NDArray[np.float64],
    ) -> None:
        """Add a block's predictions, (n, K), or (N, K) per step; `index` is its place in all."""
        super().add(index, block, encoded, values)
        encoder, per_step = self.estimator.encoder_, self.estimator.per_step
        chosen = self.chosen[index]
        own = np.flatnonzero(chosen)
        if block.windows is not None:
            first = np.cumsum(block.windows[:, 0] == 0)
            self.owners.append(self.sequences + first[own])
            self.sequences += int(first[-1])
        if not len(own):
            return
        labels = self.estimator.read_labels(encoded, block.target)
        inputs = encoded.inputs.take(own)
        self.labels.append(take_rows(labels, own))
        self.lengths.append(inputs.lengths)
        rows = np.repeat(chosen, encoded.inputs.lengths) if per_step else chosen
        self.values.append(values[rows])
        features = one_hot_categories(inputs, len(encoder.category_sizes))
        for name, answers in self.estimator.baselines_.predict(features).items():
            self.baselines.setdefault(name, []).append(answers)

    def report(self, stored: StoredDataset, **options: Any) -> Report:
        """Evaluate them; options are those of `SequenceEstimator.evaluate`."""
        lengths = np.concatenate(self.lengths)
        labels: Any = np.concatenate([flatten(own) for own in self.labels])
        if isinstance(self.labels[0], Ragged):
            labels = Ragged(labels, np.concatenate([[0], np.cumsum(lengths)]))
        report: Report = self.estimator.target_.evaluate(
            labels,
            np.concatenate(self.values),
            lengths=lengths,
            owners=np.repeat(np.arange(len(lengths)), lengths) if self.estimator.per_step else None,
            baselines={name: np.concatenate(own) for name, own in self.baselines.items()},
            **options,
        )
        return report

    def groups(self, stored: StoredDataset, by_content: bool) -> list[Any] | None:
        """Return the groups that intervals resample; see `data.splits.resampling_groups`."""
        rows = np.flatnonzero(self.chosen)
        groups: list[Any] = []
        if every := stored.groups:
            groups = [every[i] for i in rows.tolist()]
        elif self.owners:
            groups = np.concatenate(self.owners).tolist()
        elif by_content:
            groups = stored.digests[rows].tolist()
        return groups if len(set(groups)) < len(groups) else None


def gather(estimator: Estimator, blocks: Blocks, answers: Unknown) -> Iterator[Predicted]:
    """Predict data on disk, block by block; `answers` are gathered on the way."""
    for index, block in blocks:
        encoded = estimator.encode(block)
        values = estimator.predict_encoded(encoded)
        answers.add(index, block, encoded, values)
        yield index, block, encoded, values


def predictions_of(estimator: Estimator, blocks: Blocks, answers: Unknown) -> Iterator[Predictions]:
    """Yield what is written of the predictions that `gather` makes, block by block."""
    for index, block, encoded, values in gather(estimator, blocks, answers):
        named = block.ids or block.lines is not None
        yield collect_predictions(
            estimator, block, encoded, values, names=None if named else index.tolist()
        )


def evaluate_stored(
    estimator: Estimator,
    stored: StoredDataset,
    part: str,
    most: int,
    *,
    path: Path | None = None,
    training: StoredDataset | None = None,
    by_content: bool = False,
    resamples: int = 1000,
) -> tuple[Report, tuple[str, ...]]:
    """Evaluate a model on data on disk.

    Args:
        part: name of the data in notes, such as "test split".
        most: bytes that the report may take up.
        path: file of all predictions to write; None for none.
        training: the training split, whose sequences are reported as repeated; None if unknown.
        by_content: whether equal sequences are a group, if there are no others.
        resamples: number of bootstrap resamples; 0 for no intervals.
    Returns: the report, and notes: on a sample, and on unknown tokens of a written split.
    """
    chosen, total = choose_reported(stored, estimator, most), len(stored)
    if path is None:
        stored, chosen = stored.subset(np.flatnonzero(chosen)), chosen[chosen]
    answers = Answers(estimator, chosen)
    if path is not None:
        write_predictions(predictions_of(estimator, stored.blocks(), answers), path)
    else:
        for _ in gather(estimator, stored.blocks(), answers):
            pass
    duplicates = None
    if training is not None:
        duplicates = np.isin(stored.digests[chosen], training.digests)
    groups = answers.groups(stored, by_content) if resamples else None
    report = answers.report(stored, groups=groups, duplicates=duplicates, resamples=resamples)
    notes: tuple[str, ...] = ()
    if report.count < total:
        notes = (
            f"the metrics of the {part} are those of {report.count:,} of its {total:,} "
            f"sequences, drawn at random: those of all would take up more than {write_size(most)}, "
            "which --memory-limit leaves for them",
        )
    return report, notes + (answers.notes(stored.source) if path is not None else ())


def choose_reported(stored: StoredDataset, estimator: Estimator, most: int) -> NDArray[np.bool_]:
    """Return which sequences are reported on, (n,): all, or as many at random as fit into `most`.

    Args:
        most: bytes that the report may take up.
    """
    target = estimator.target_
    each = (ROW if TASKS[target.task].has_classes else NUMBERS_ROW) + OUTPUT * target.num_outputs
    sizes = each * (stored.lengths if estimator.per_step else np.ones(len(stored), np.int64))
    chosen = np.zeros(len(stored), dtype=bool)
    chosen[choose(sizes, most)] = True
    return chosen


@dataclass(frozen=True)
class Evaluated:
    """What a run has evaluated.

    Args:
        reports: reports by split; `test` is always present.
        notes: on the evaluation, for the user.
        trained, tested: training and test split, or samples of them, for diagnostics.
        examined: report on `tested`.
        summary: how the data were read, in words; empty for a run, which says so earlier.
    """

    reports: dict[str, Report]
    notes: tuple[str, ...]
    trained: Part | None
    tested: Part
    examined: Report
    summary: str = ""


def evaluate_splits(
    estimator: Estimator, splits: StoredSplits, path: Path, *, by_content: bool, diagnosed: bool
) -> Evaluated:
    """Evaluate every split on disk, and write the predictions of the test split.

    Args:
        path: the file of predictions.
        by_content: whether equal sequences are a group, if there are no others.
        diagnosed: whether diagnostics will be made, of which the notes say what they read.
    """
    most = splits.plan.report
    report, notes = evaluate_stored(
        estimator,
        splits.test,
        "test split",
        most,
        path=path,
        training=splits.training,
        by_content=by_content,
    )
    reports = {"test": report}
    for name, part in (("validation", splits.validation), ("train", splits.training)):
        if part is not None:
            title = "training" if name == "train" else name
            reports[name], more = evaluate_stored(
                estimator, part, f"{title} split", most, resamples=0
            )
            notes += more
    trained, tested = (encode_sample(estimator, part) for part in (splits.training, splits.test))
    dataset, encoded = tested
    examined = estimator.evaluate(encoded, dataset.target, resamples=0)
    notes += note_static(estimator, encoded, dataset.target)
    if diagnosed and (len(dataset) < len(splits.test) or len(trained[0]) < len(splits.training)):
        notes += (
            f"diagnostics: made of {len(trained[0]):,} training and {len(dataset):,} test "
            "sequences, drawn at random",
        )
    return Evaluated(reports, notes, trained, tested, examined)


def evaluate_file(
    estimator: Estimator,
    data: str,
    options: dict[str, Any],
    fill: Fill,
    folder: Path,
    plan: MemoryPlan,
) -> Evaluated:
    """Evaluate a model on a file that does not fit into memory.

    Args:
        data, options, fill: as for `read_as_trained`.
        folder: where predictions.csv is written.
    """
    with files.scratch_folder(folder) as scratch:
        stored, notes = read_as_trained_from_disk(
            estimator, data, True, options, fill, scratch, plan
        )
        if TASKS[stored.task].has_classes:
            check_known(stored, set(estimator.target_.output_names))
        path = folder / "predictions.csv"
        report, more = evaluate_stored(estimator, stored, "data", plan.report, path=path)
        dataset, encoded = encode_sample(estimator, stored)
        summary = describe_stored(stored, None)
    examined = estimator.evaluate(encoded, dataset.target, resamples=0)
    notes += more + note_static(estimator, encoded, dataset.target)
    if len(dataset) < len(stored):
        notes += (f"diagnostics: made of {len(dataset):,} sequences, drawn at random",)
    return Evaluated({"test": report}, notes, None, (dataset, encoded), examined, summary)


def encode_sample(estimator: Estimator, stored: StoredDataset) -> Part:
    """Return a sample of a split, and its sequences as the network reads them."""
    sample = sample_of(stored)
    return sample, estimator.encode(sample)


def read_as_trained_from_disk(
    estimator: Estimator,
    data: str,
    labelled: bool | None,
    options: dict[str, Any],
    fill: Fill,
    folder: Path,
    plan: MemoryPlan,
) -> tuple[StoredDataset, tuple[str, ...]]:
    """Read a file into a store as the training file was read; see `read_as_trained`.

    Args:
        folder: an existing folder for the store.
    Returns: the sequences, and notes on filled gaps and windows.
    """
    layout = estimator.layout_
    if layout is not None and layout.ahead:
        raise SettingsError(
            f"memory_limit: {data} does not fit, and the targets of this model, which was trained "
            "with --ahead, are made of data in memory. Divide the file, or leave --memory-limit out"
        )
    raw = read_part(folder, plan, "raw", data, layout=layout, labelled=labelled, **options)
    files.make_folder(folder / DATA)
    writer, filled = StoreWriter(folder / DATA), False
    for _, block in raw.blocks():
        dataset, notes = read_as_trained(estimator, block, labelled, fill=fill)
        filled = filled or any("were filled" in note for note in notes)
        writer.add(dataset)
    stored = writer.finish()
    notes = tuple(guess.line for guess in raw.layout.guesses if guess.role == "unused")
    if filled:
        notes += (f"missing values that training did not have were filled (--fill {fill})",)
    if layout is not None and layout.window:
        notes += (describe_windows(raw.lengths, layout.window, layout.stride),)
    files.remove(folder / "raw")
    return stored, notes
