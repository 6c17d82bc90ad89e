"""The metrics of a model on one split of the data, with intervals and baselines.

One interface for all tasks: a report holds the metrics and describes itself by a headline, tables
and notes. The terminal, the notebook, the model card and report.html thus show the same content
without knowing the task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from elman.evaluate.comparison import Comparison, RankedMetric
from elman.evaluate.counts import Ints
from elman.evaluate.metrics import METRICS, OUTPUT_METRICS, HasMetrics, Metric, OutputMetrics
from elman.evaluate.text import (
    UNDEFINED,
    Block,
    TextTable,
    one_line,
    plural,
    to_html,
    to_json,
    to_rich,
    to_text,
)
from elman.tasks import TASKS, OutputName

if TYPE_CHECKING:
    from rich.console import RenderableType

MOST_OUTPUTS = 20  # limit of classes, labels or values listed in a terminal
CAVEATS = {
    "validation": "The kept epoch may have been chosen on these sequences, so this value may be "
    "too optimistic.",
    "train": "The network was trained on these sequences: this value says nothing about new ones.",
}


@dataclass(frozen=True)
class NotableExample:
    """One sequence, and the prediction for which it was chosen.

    Args:
        sequence: index in the evaluated split, from 0.
        step: index of the predicted step, from 0; None if the example is the whole sequence.
        true, predicted: true target and prediction, as text.
        score: probability of the prediction, or the lowest one over the steps of a whole sequence;
            for values the error, in standard deviations of the true values.
    """

    sequence: int
    step: int | None
    true: str
    predicted: str
    score: float


NotableExamples = dict[str, tuple[NotableExample, ...]]


@dataclass(frozen=True, eq=False)
class Report(HasMetrics):
    """Metrics of one evaluated split, each as scikit-learn computes it.

    Each metric is an attribute too: `report.accuracy`, `report.rmse`; `METRICS` explains them.

    Args:
        names: the K classes, labels or values, in the order of the columns of the predictions.
        count: number of sequences, n.
        steps: number of labelled steps; None if each sequence has one target.
        metrics: metrics by name; None where undefined.
        per_output: metrics of each class, label or value, in the order of `names`.
        intervals: 95 % bootstrap intervals over sequences, by metric; empty without resamples. They
            cannot reflect errors that never occurred: without any error the interval of the
            accuracy is (1, 1), even for few sequences.
        baselines: name -> metrics of a baseline.
        groups: number of groups that the resamples draw; None if they draw sequences.
        true, predicted: class codes, (m,); or labels (0 or 1) or values, (m, K).
        lengths: steps of each sequence, (n,).
        owners: sequence of each step, (m,); None if each sequence has one target.
        groups: number of groups that the resamples draw; None if they draw sequences.
        comparisons: comparison with the best baseline, by the names of the metrics in `compared`;
            empty without baselines.
        unlabelled: number of steps that are not labelled and therefore not counted.
        places: sequence and step of each row of `true` in the evaluated split, from 0, (m,) each,
            if steps are not labelled; else None.
        duplicates: number of sequences that are in the training data too, as far as is known.
        without_duplicates: report on the other sequences; None if there are none, or none repeated.
    """

    output: ClassVar[OutputName]
    headline_metric: ClassVar[str]
    compared: ClassVar[tuple[str, ...]]  # metrics by which it is compared with the best baseline
    constant_baseline: ClassVar[str]
    # Whether each prediction is exactly one class, so that supports add up to all predictions.
    one_class_each: ClassVar[bool] = False
    # Keys of `to_dict` for `names`, for `per_output`, and for the label of one output.
    keys: ClassVar[tuple[str, str, str]]

    names: tuple[Any, ...]
    count: int
    steps: int | None
    metrics: Mapping[str, float | None]
    per_output: tuple[OutputMetrics, ...] = field(repr=False)
    intervals: Mapping[str, tuple[float, float]]
    baselines: Mapping[str, Mapping[str, float | None]]
    true: NDArray[Any] = field(repr=False)
    predicted: NDArray[Any] = field(repr=False)
    lengths: Ints = field(repr=False)
    owners: Ints | None = field(repr=False)
    groups: int | None
    comparisons: Mapping[str, Comparison] = field(default_factory=dict, repr=False, kw_only=True)
    unlabelled: int = field(default=0, kw_only=True)
    places: tuple[Ints, Ints] | None = field(default=None, repr=False, kw_only=True)
    duplicates: int = field(default=0, kw_only=True)
    without_duplicates: Report | None = field(default=None, repr=False, kw_only=True)

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics in JSON-compatible types, without the arrays of predictions."""
        names, per_output, label = self.keys
        return {
            names: [to_json(name) for name in self.names],
            "count": self.count,
            "steps": self.steps,
            "unlabelled": self.unlabelled,
            **self.metrics,
            "intervals": {name: list(pair) for name, pair in self.intervals.items()},
            "baselines": {name: dict(values) for name, values in self.baselines.items()},
            "comparison": None if self.comparison is None else self.comparison.to_dict(),
            "groups": self.groups,
            "duplicates": self.duplicates,
            "without_duplicates": None
            if self.without_duplicates is None
            else self.without_duplicates.to_dict(),
            per_output: [
                {label: to_json(output.label), **output.metrics}
                | ({} if output.support is None else {"support": output.support})
                for output in self.per_output
            ],
        }

    @property
    def comparison(self) -> Comparison | None:
        """Comparison with the best baseline by the headline metric; None without baselines."""
        return self.comparisons.get(self.headline_metric)

    @property
    def duplicates_in_words(self) -> str:
        """The beginning of a sentence about the metrics without duplicates; empty without any."""
        if not self.duplicates:
            return ""
        if self.without_duplicates is None:
            return f"All {self.count:,} sequences are also in the training split"
        are = "sequence that is" if self.duplicates == 1 else "sequences that are"
        return f"Without the {self.duplicates:,} {are} also in the training split"

    @property
    def predictions(self) -> NDArray[np.float64]:
        """Probabilities, or predicted numbers, (m, K)."""
        return self.predicted

    @property
    def unit(self) -> str:
        """The unit of a prediction: `sequences`, or `steps`."""
        return "sequences" if self.steps is None else "steps"

    def place(self, row: int) -> tuple[int, int | None]:
        """Return the sequence and step in the evaluated split, from 0, of a row of `true`."""
        if self.owners is None:
            return row, None
        if self.places is not None:
            return int(self.places[0][row]), int(self.places[1][row])
        sequence = int(self.owners[row])
        return sequence, row - int(np.searchsorted(self.owners, sequence))

    @property
    def size(self) -> str:
        """The size of the evaluated data, in words."""
        text = f"{self.count:,} {plural('sequence', self.count)}"
        if self.steps is not None:
            text += f", {self.steps:,} labelled {plural('step', self.steps)}"
            if self.unlabelled:
                text += f" of {self.steps + self.unlabelled:,}"
        return f"{text}, {self._outputs_in_words()}"

    @property
    def notes(self) -> tuple[str, ...]:
        """Caveats about the metrics."""
        return ()

    def headline(self, split: str = "") -> str:
        """Say how good the network is, and whether it beats its baselines.

        Args:
            split: name of the evaluated split: `test`, `validation` or `train`; may be empty.
        """
        sentences = [f"{self._first_sentence(split)}.", self._duplicates_sentence()]
        if self.comparison is None:
            sentences.append(
                "No baseline was evaluated, so it is not known whether a recurrence is needed."
            )
        elif list(self.baselines) == [self.constant_baseline]:
            sentences.append(
                "No stronger baseline was evaluated, so it is not known whether this takes a "
                "recurrence."
            )
        sentences += [self._second_opinion(), CAVEATS.get(split, "")]
        return " ".join(sentence for sentence in sentences if sentence)

    def _first_sentence(self, split: str = "") -> str:
        """Return the headline metric, its interval and the verdict, without a full stop."""
        main = self.ranked(self.headline_metric)
        title = f"{split} {main.title}".strip()
        text = f"{title[0].upper()}{title[1:]}{' over steps' * (self.steps is not None)} "
        text += main.write(main.value)
        if main.interval is not None:
            low, high = map(main.write, main.interval)
            of_groups = f" over {self.groups:,} groups" if self.groups is not None else ""
            text += f" ({self._interval_note()}95 % interval{of_groups} {low} to {high})"
        if (comparison := self.comparison) is not None:
            reference = comparison.write(comparison.reference)
            text += f", {comparison.phrase} ({reference}; {comparison.margin})"
        return text

    def _duplicates_sentence(self) -> str:
        if not self.duplicates:
            return ""
        if self.without_duplicates is None:
            return f"{self.duplicates_in_words}, so this says nothing about new ones."
        rest = self.without_duplicates._first_sentence()
        # "RMSE" keeps its capitals.
        rest = rest if rest[:2].isupper() else rest[0].lower() + rest[1:]
        return f"{self.duplicates_in_words}: {rest}."

    def ranked(self, name: str) -> RankedMetric:
        """Return one metric of the network and its baselines."""
        row = self.metric(name)
        return RankedMetric(
            metric=row,
            title=self.title_of(row),
            value=self.metrics[name] or 0.0,
            interval=self.interval_of(name),
            baselines={b: values[name] or 0.0 for b, values in self.baselines.items()},
        )

    def metric(self, name: str) -> Metric:
        """Return the row of a metric."""
        return next(row for row in METRICS[self.output] if row.name == name)

    def title_of(self, row: Metric) -> str:
        """Return the title of a metric, including what it averages over."""
        return row.title

    def interval_of(self, name: str) -> tuple[float, float] | None:
        """Return the interval to display; None if there is none.

        If every resample gives the same value, such as a precision of 0, the bootstrap interval
        has zero width. It would suggest certainty, so it is omitted.
        """
        low, high = self.intervals.get(name, (0.0, 0.0))
        return (low, high) if low < high else None

    def metrics_table(
        self,
        split: str = "model",
        others: Mapping[str, Report] | None = None,
        *,
        all_baselines: bool = True,
    ) -> TextTable:
        """Return a table of the listed metrics of the network, its baselines and other splits.

        Args:
            split: header of this report's column.
            others: name of another split -> its report.
            all_baselines: whether every baseline has a column; otherwise the best and the constant
                one have, and the note has the headline metric of the others.
        """
        others = others or {}
        main = self.ranked(self.headline_metric)
        ranked, hidden = main.ranked, list[str]()
        if not all_baselines:
            shown = {ranked[0], self.constant_baseline} if ranked else set[str]()
            hidden = [name for name in ranked if name not in shown]
            ranked = [name for name in ranked if name in shown]
        head = ["", split, *["95 % interval"] * bool(self.intervals), *ranked, *others]
        rows = []
        for row in METRICS[self.output]:
            if not row.listed:
                continue
            cells = [self.title_of(row), row.text(self.metrics[row.name])]
            if self.intervals:
                ends = self.interval_of(row.name)
                cells.append(UNDEFINED if ends is None else " to ".join(map(row.text, ends)))
            cells += [row.text(self.baselines[name].get(row.name)) for name in ranked]
            rows.append((*cells, *(row.text(other.metrics[row.name]) for other in others.values())))
        values = ", ".join(f"{name} {main.write(main.baselines[name])}" for name in hidden)
        also = f"Other baselines, {main.title}: {values}." if hidden else ""
        drawn = (
            f"Intervals come from resampling {self.groups:,} whole groups, because the sequences "
            "of a group are not independent."
            if self.groups is not None and self.intervals
            else ""
        )
        note = " ".join(filter(None, (self._metrics_note(), drawn, also)))
        return TextTable("Metrics", tuple(head), tuple(rows), note)

    def outputs_table(self, most: int = MOST_OUTPUTS) -> TextTable:
        """Return a table of the metrics of each output, at most `most`, the most frequent ones."""
        listed: Sequence[int] = range(len(self.names))
        if len(listed) > most:
            supports = [-(output.support or 0) for output in self.per_output]
            order = np.argsort(supports, kind="stable")[:most]  # stable: ties keep their order
            listed = order.tolist()
        columns = OUTPUT_METRICS[self.output]
        has_support = self.per_output[0].support is not None
        rows = [
            (
                one_line(output.label),
                *(row.text(output.metrics[row.name]) for row in columns),
                *([f"{output.support:,}"] if has_support else []),
            )
            for output in (self.per_output[k] for k in listed)
        ]
        noun, nouns = TASKS[self.output].nouns
        head = (noun, *(row.title for row in columns), *[self.unit] * has_support)
        return TextTable(nouns.capitalize(), head, tuple(rows), self._hidden_note(listed))

    def tables(self, most: int = MOST_OUTPUTS) -> tuple[TextTable, ...]:
        """Return the tables after `metrics_table`: one for the outputs, and those of the task."""
        return (self.outputs_table(most),) if len(self.names) > 1 else ()

    def notable_examples(self, most: int = 5) -> NotableExamples:
        """Choose sequences worth inspecting, grouped by reason, the most notable first.

        Args:
            most: maximum number of sequences per reason; a reason may have none.
        """
        raise NotImplementedError

    def __str__(self) -> str:
        return to_text(self._blocks())

    def __rich__(self) -> RenderableType:
        return to_rich(self._blocks())

    def _repr_html_(self) -> str:
        return to_html(self._blocks())

    def _blocks(self) -> list[Block]:
        metrics = self.metrics_table(all_baselines=False)
        return [self.size, self.headline(), metrics, *self.tables(), *self.notes]

    def _outputs_in_words(self) -> str:
        count = len(self.names)
        return f"{count:,} {TASKS[self.output].nouns[count != 1]}"

    def _metrics_note(self) -> str:
        """A note below the metrics table."""
        return ""

    def _interval_note(self) -> str:
        """Text before the interval in the headline."""
        return ""

    def _second_opinion(self) -> str:
        """A sentence about another metric where it disagrees with the main one."""
        return ""

    def _hidden_note(self, listed: Sequence[int]) -> str:
        hidden = len(self.names) - len(listed)
        if not hidden:
            return ""
        visible = set(listed)
        rest = sum(o.support or 0 for k, o in enumerate(self.per_output) if k not in visible)
        noun = TASKS[self.output].nouns[hidden != 1]
        unit = plural(self.unit.removesuffix("s"), rest)
        supports = f" with {rest:,} {unit} in all" if self.one_class_each else ""
        rarer = "rarer " * (self.per_output[0].support is not None)
        return f"{hidden} {rarer}{noun}{supports} not shown; `{self.keys[1]}` has them."
