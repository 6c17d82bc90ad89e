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

from elman.evaluate.counts import Ints
from elman.evaluate.metrics import METRICS, OUTPUT_METRICS, HasMetrics, Metric, OutputMetrics
from elman.evaluate.text import (
    UNDEFINED,
    Block,
    TextTable,
    decimals_of,
    format_share,
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
class Bar:
    """One bar of a comparison.

    Args:
        name: `this network`, or the name of a baseline.
        text: the formatted value.
        width: length of the bar as a share of the track, 0 to 1.
        interval: start and width of the interval as shares of the track; None without interval.
    """

    name: str
    text: str
    width: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Comparison:
    """One metric of a network and of its baselines.

    Args:
        metric: row of the metric.
        title: title of the metric, including what it averages over.
        value: value of the network.
        interval: 95 % interval; None if none was computed.
        baselines: name -> value.
        constant: name of the baseline with a constant prediction.
    """

    metric: Metric
    title: str
    value: float
    interval: tuple[float, float] | None
    baselines: Mapping[str, float]
    constant: str

    @property
    def ranked(self) -> list[str]:
        """Return the names of the baselines, best first."""
        higher = self.metric.better == "higher"
        return sorted(self.baselines, key=lambda name: self.baselines[name], reverse=higher)

    @property
    def standing(self) -> int:
        """1 if the interval is better than the best baseline, -1 if worse, 0 if it contains it."""
        best = self.baselines[self.ranked[0]]
        low, high = self.interval or (self.value, self.value)
        above, below = low > best, high < best
        return (above - below) * (1 if self.metric.better == "higher" else -1)

    def write(self, value: float) -> str:
        """Format a value with as many decimals as the interval supports."""
        if self.interval is None or self.interval[0] == self.interval[1]:
            text = self.metric.text(value)
        else:
            text = f"{value:.{decimals_of(*self.interval)}f}"
        # A share below 1 is not rounded up to 1: "1.000" would suggest that there are no errors.
        if self.metric.text is format_share and value < 1 and float(text) >= 1:
            decimals = len(text.partition(".")[2]) or 1
            return "0." + "9" * decimals
        return text

    def verdict(self) -> str:
        """Say whether the network beats its baselines."""
        if not self.baselines:
            return "No baseline was evaluated, so it is not known whether a recurrence is needed."
        ranked = self.ranked
        values = ", ".join(f"{name} {self.write(self.baselines[name])}" for name in ranked)
        best = "its baseline" if len(ranked) == 1 else "its best baseline"
        if self.interval is None:
            more = self.value - self.baselines[ranked[0]]
            ahead = more > 0 if self.metric.better == "higher" else more < 0
            return (
                f"The network is {'' if ahead else 'not '}ahead of {best} ({values}), but without "
                "an interval it is not known how much of this is chance."
            )
        if self.standing < 0:
            side = "above" if self.metric.better == "higher" else "below"
            return f"The network does worse than {best}, which is {side} the interval ({values})."
        if self.standing == 0:
            return (
                f"The network is not shown to beat {best}, which is within the interval ({values})."
            )
        gain = self.write(abs(self.value - self.baselines[ranked[0]]))
        if ranked == [self.constant]:
            return (
                f"The network beats its baseline by {gain} {self.title} ({values}); no stronger "
                "baseline was evaluated, so it is not known whether this takes a recurrence."
            )
        which = "its baselines" if len(ranked) > 1 else "its baseline"
        return f"The network beats {which} by {gain} {self.title} ({values})."

    def bars(self) -> tuple[Bar, ...]:
        """Return the network and its baselines as bars, the network first."""
        # A share fills the track at 1; other metrics have no maximum, so the largest value does.
        largest = 1.0
        if self.metric.text is not format_share:
            largest = max([self.value, *self.baselines.values(), *(self.interval or ())]) or 1.0
        interval: tuple[float, float] | None = None
        if self.interval is not None and self.interval[1] > self.interval[0]:
            low, high = self.interval
            interval = (low / largest, (high - low) / largest)
        first = Bar("this network", self.write(self.value), self.value / largest, interval)
        others = [(name, self.baselines[name]) for name in self.ranked]
        return (first, *(Bar(n, self.write(v), max(0.0, v) / largest) for n, v in others))


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
        true, predicted: class codes, (m,); or labels (0 or 1) or values, (m, K).
        lengths: steps of each sequence, (n,).
        owners: sequence of each step, (m,); None if each sequence has one target.
    """

    output: ClassVar[OutputName]
    headline_metric: ClassVar[str]
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

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics in JSON-compatible types, without the arrays of predictions."""
        names, per_output, label = self.keys
        return {
            names: [to_json(name) for name in self.names],
            "count": self.count,
            "steps": self.steps,
            **self.metrics,
            "intervals": {name: list(pair) for name, pair in self.intervals.items()},
            "baselines": {name: dict(values) for name, values in self.baselines.items()},
            per_output: [
                {label: to_json(output.label), **output.metrics}
                | ({} if output.support is None else {"support": output.support})
                for output in self.per_output
            ],
        }

    @property
    def predictions(self) -> NDArray[np.float64]:
        """Probabilities, or predicted numbers, (m, K)."""
        return self.predicted

    @property
    def unit(self) -> str:
        """The unit of a prediction: `sequences`, or `steps`."""
        return "sequences" if self.steps is None else "steps"

    @property
    def size(self) -> str:
        """The size of the evaluated data, in words."""
        text = f"{self.count:,} {plural('sequence', self.count)}"
        if self.steps is not None:
            text += f", {self.steps:,} labelled {plural('step', self.steps)}"
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
        main = self.compare(self.headline_metric)
        title = f"{split} {main.title}".strip()
        text = f"{title[0].upper()}{title[1:]}{' over steps' * (self.steps is not None)} "
        text += main.write(main.value)
        if main.interval is not None:
            low, high = map(main.write, main.interval)
            text += f" ({self._interval_note()}95 % interval {low} to {high})"
        sentences = [f"{text}.", main.verdict(), self._second_opinion(main), CAVEATS.get(split, "")]
        return " ".join(sentence for sentence in sentences if sentence)

    def compare(self, name: str) -> Comparison:
        """Return one metric of the network and its baselines."""
        row = self.metric(name)
        return Comparison(
            metric=row,
            title=self.title_of(row),
            value=self.metrics[name] or 0.0,
            interval=self.interval_of(name),
            baselines={b: values[name] or 0.0 for b, values in self.baselines.items()},
            constant=self.constant_baseline,
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
        self, split: str = "model", others: Mapping[str, Report] | None = None
    ) -> TextTable:
        """Return a table of the listed metrics of the network, its baselines and other splits.

        Args:
            split: header of this report's column.
            others: name of another split -> its report.
        """
        others = others or {}
        ranked = self.compare(self.headline_metric).ranked
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
        return TextTable("Metrics", tuple(head), tuple(rows), self._metrics_note())

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
        metrics = self.metrics_table()
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

    def _second_opinion(self, main: Comparison) -> str:
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
