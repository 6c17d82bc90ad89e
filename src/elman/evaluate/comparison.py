"""Does the network beat the best baseline? A paired bootstrap of the difference decides.

Network and baseline are compared on the same sequences, and each resample draws whole units for
both. This finds differences that two separate intervals hide, because a sequence that is hard for
one is mostly hard for the other.

Dimensions: m predictions (one per sequence or step), K classes, labels or values, u units (groups,
or sequences where there are no groups), r resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from elman.evaluate.counts import Floats, Ints, ratio
from elman.evaluate.metrics import Metric
from elman.evaluate.resampling import Resampling, add_up, interval_levels
from elman.evaluate.text import decimals_of, format_share, plural

if TYPE_CHECKING:
    from scipy.sparse import csr_array

SumsAndValue = tuple[Callable[..., "Floats | csr_array"], Callable[[Floats], Floats]]
Verdict = Literal["better", "worse", "undecided"]
WORDS: dict[Verdict, str] = {
    "better": "better than",
    "worse": "worse than",
    "undecided": "not distinguishable from",
}
# If network and baseline differ in d units, exchanging their answers at random puts all d on one
# side with probability 2 ** (1 - d), which is below 5 % from d = 6 on: fewer can decide nothing,
# whatever their differences are. The bootstrap alone would decide with 4.
LEAST_UNITS = 6


@dataclass(frozen=True)
class Comparison:
    """One metric of the network beside the baseline that does best on the same sequences.

    The baseline is chosen by the evaluated sequences themselves. This favours the baseline, so
    that `better` never comes from the choice.

    Args:
        baseline: name of the baseline.
        metric: name of the metric, a row of `elman.evaluate.METRICS`.
        title: title of the metric.
        network, reference: value of the network and of the baseline.
        difference: how much better the network is; negative if it is worse.
        low, high: 95 % interval of the difference by a paired bootstrap of whole units; None where
            it was not computed or where there are too few units to decide.
        verdict: `better` or `worse` if the interval lies on one side of 0, else `undecided`.
        unit: what is drawn: `sequence` or `group`.
        units: number of units.
        differing: number of units in which network and baseline differ; None without resamples.
        text: formats a value.
        interval: 95 % interval of the network's own value, which decides the decimals of values;
            None leaves that to the interval of the difference.
    """

    baseline: str
    metric: str
    title: str
    network: float
    reference: float
    difference: float
    low: float | None
    high: float | None
    verdict: Verdict
    unit: str
    units: int
    differing: int | None
    text: Callable[[float | None], str] = field(default=format_share, repr=False)
    interval: tuple[float, float] | None = field(default=None, repr=False)

    @property
    def phrase(self) -> str:
        """`better than`, `worse than` or `not distinguishable from`, and the baseline's name."""
        words = WORDS[self.verdict] if self.differing is not None else "not yet compared with"
        return f"{words} the best baseline, {self.baseline}"

    @property
    def reason(self) -> str:
        """Why nothing was decided by the interval; empty if it did decide, or could have."""
        if self.differing is None:
            return "without resamples it is not known how much of the difference is chance"
        if self.units < LEAST_UNITS:
            return (
                f"{self.units} {plural(self.unit, self.units)} cannot decide; at least "
                f"{LEAST_UNITS} are needed"
            )
        if not self.differing:
            return f"both do the same in every {self.unit}"
        if self.differing < LEAST_UNITS:
            units = f"{self.differing} of {self.units:,} {self.unit}s"
            return f"they differ in {units} only; at least {LEAST_UNITS} must differ to decide"
        return ""

    @property
    def margin(self) -> str:
        """The difference and its interval, or why there is none."""
        if self.differing == 0:
            return self.reason
        text = f"difference {self.write_difference(self.difference)}"
        if self.reason:
            return f"{text}; {self.reason}"
        if self.low is None or self.high is None or self.low == self.high:
            return text
        low, high = self.write_difference(self.low), self.write_difference(self.high)
        return f"{text}, 95 % interval {low} to {high}"

    @property
    def sentence(self) -> str:
        """One sentence: the verdict, both values, and the difference."""
        network, reference = self.write(self.network), self.write(self.reference)
        values = f"{self.title} {network} against {reference} ({self.margin})"
        return f"The network is {self.phrase}: {values}."

    def write(self, value: float) -> str:
        """Format a value of the metric with as many decimals as its interval supports."""
        return write_value(value, self.interval or self._ends, self.text)

    def write_difference(self, value: float) -> str:
        """Format a difference with as many decimals as its interval supports."""
        return write_value(value, self._ends or self.interval, self.text)

    @property
    def _ends(self) -> tuple[float, float] | None:
        return None if self.low is None or self.high is None else (self.low, self.high)

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison in JSON-compatible types."""
        fields = ("baseline", "metric", "network", "reference", "difference", "low", "high")
        more = ("verdict", "unit", "units", "differing", "sentence")
        return {name: getattr(self, name) for name in (*fields, *more)}


def compare(
    row: Metric,
    title: str,
    true: NDArray[Any],
    network: NDArray[Any],
    baselines: Mapping[str, NDArray[Any]],
    resampling: Resampling,
    sums_and_value: SumsAndValue | None = None,
) -> Comparison | None:
    """Compare the network with the baseline that has the best value of a metric.

    Args:
        row: the metric, one of `SUMS` unless `sums_and_value` is given.
        title: its title in the report.
        true: class codes, (m,); or labels (0 or 1) or values, (m, K).
        network: predictions of the network, like `true`.
        baselines: name -> predictions, like `true`.
        resampling: what is drawn.
        sums_and_value: the sums of each unit, and the metric of summed units; None means those of
            `SUMS`.
    Returns: None if there are no baselines.
    """
    if not baselines:
        return None
    sums_of, value_of = sums_and_value or SUMS[row.name]
    sign = 1.0 if row.better == "higher" else -1.0
    whole, once = np.zeros(len(true), dtype=np.int64), np.ones((1, 1))

    def value(predicted: NDArray[Any]) -> float:
        return float(value_of(add_up(once, sums_of(true, predicted, whole, 1)))[0])

    values = {name: value(predicted) for name, predicted in baselines.items()}
    best = max(values, key=lambda name: sign * values[name])
    mine = value(network)
    low = high = differing = None
    verdict: Verdict = "undecided"
    if resampling.resamples:
        pairs = _pairs(sums_of, true, network, baselines[best], resampling)
        differing = int(pairs.counts[pairs.differ].sum())
        if differing >= LEAST_UNITS:
            low, high = _interval(pairs, value_of, sign, resampling)
            verdict = "better" if low > 0 else "worse" if high < 0 else "undecided"
    return Comparison(
        baseline=best,
        metric=row.name,
        title=title,
        network=mine,
        reference=values[best],
        difference=sign * (mine - values[best]),
        low=low,
        high=high,
        verdict=verdict,
        unit="sequence" if resampling.groups is None else "group",
        units=resampling.count,
        differing=differing,
        text=row.text,
    )


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Sums of network and baseline over the same units, each kind of unit once.

    Args:
        network, reference: sums of each kind of unit, (kinds, d).
        counts: how many units are of each kind.
    """

    network: Floats | csr_array
    reference: Floats | csr_array
    counts: Ints

    @property
    def differ(self) -> NDArray[np.bool_]:
        """Whether network and baseline differ in each kind of unit, (kinds,)."""
        unequal = self.network != self.reference
        return np.ravel(unequal.sum(1)).astype(np.bool_)


def _pairs(
    sums_of: Callable[..., Floats | csr_array],
    true: NDArray[Any],
    network: NDArray[Any],
    reference: NDArray[Any],
    resampling: Resampling,
) -> _Pairs:
    """Sum both over each unit. Units with equal sums are interchangeable when they are drawn."""
    if (drawn := resampling.units) is not None:
        units, counts = drawn, np.ones(resampling.count, dtype=np.int64)
    elif true.ndim == 1:
        # At most four kinds a class, of any number of sequences.
        code = true * 4 + (network == true) * 2 + (reference == true)
        _, first, counts = np.unique(code, return_index=True, return_counts=True)
        true, network, reference = true[first], network[first], reference[first]
        units = np.arange(len(first))
    else:
        units, counts = np.arange(len(true)), np.ones(len(true), dtype=np.int64)
    mine = sums_of(true, network, units, len(counts))
    return _Pairs(mine, sums_of(true, reference, units, len(counts)), counts)


def _interval(
    pairs: _Pairs, value_of: Callable[[Floats], Floats], sign: float, resampling: Resampling
) -> tuple[float, float]:
    """Return the 95 % interval of the difference, positive where the network is better."""
    total = int(pairs.counts.sum())
    rng = np.random.default_rng(resampling.seed)
    pieces = []
    for times in resampling.pieces(len(pairs.counts)):
        drawn = rng.multinomial(total, pairs.counts / total, size=times).astype(np.float64)
        mine, other = (value_of(add_up(drawn, sums)) for sums in (pairs.network, pairs.reference))
        pieces.append(sign * (mine - other))
    low, high = np.percentile(np.concatenate(pieces), interval_levels(total))
    return float(low), float(high)


def _by_unit(values: NDArray[Any], units: Ints, count: int) -> Floats:
    """Sum (m, d) over each unit, (u, d)."""
    columns = [np.bincount(units, column, count) for column in values.astype(np.float64).T]
    return np.stack(columns, 1)


def _right(true: Ints, predicted: Ints, units: Ints, count: int) -> Floats:
    return _by_unit(np.stack([true == predicted, np.ones(len(true))], 1), units, count)


def _right_by_class(true: Ints, predicted: Ints, units: Ints, count: int) -> csr_array:
    # A sparse array, because most units have few of many classes: at most one entry a prediction.
    # Whole numbers add up to the same bits in any order.
    from scipy.sparse import coo_array

    classes = int(true.max()) + 1
    right = true == predicted
    places = np.append(units[right], units), np.append(true[right], true + classes)
    return coo_array((np.ones(len(places[0])), places), (count, 2 * classes)).tocsr()


def _decisions(true: Ints, predicted: Ints, units: Ints, count: int) -> Floats:
    both = 2 * (true * predicted).sum(1)
    return _by_unit(np.stack([both, true.sum(1) + predicted.sum(1)], 1), units, count)


def _squares(true: Floats, predicted: Floats, units: Ints, count: int) -> Floats:
    return _by_unit(np.hstack([(predicted - true) ** 2, np.ones((len(true), 1))]), units, count)


def ratio_of_sums(sums: Floats) -> Floats:
    """Divide the first sum by the second, (r,); 0 where the second is 0."""
    return ratio(sums[:, 0], sums[:, 1])


def _mean_recall(sums: Floats) -> Floats:
    right, every = np.hsplit(sums, 2)
    return ratio(ratio(right, every).sum(1), (every > 0).sum(1))


def _root_mean_square(sums: Floats) -> Floats:
    value: Floats = np.sqrt(sums[:, :-1] / sums[:, -1:]).mean(1)
    return value


# Metrics by which a network is compared: the sums of each unit, and the metric of summed units.
SUMS: dict[str, SumsAndValue] = {
    "accuracy": (_right, ratio_of_sums),
    "balanced_accuracy": (_right_by_class, _mean_recall),
    "micro_f1": (_decisions, ratio_of_sums),
    "rmse": (_squares, _root_mean_square),
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
class RankedMetric:
    """One metric of a network and of its baselines.

    Args:
        metric: row of the metric.
        title: title of the metric, including what it averages over.
        value: value of the network.
        interval: 95 % interval; None if none was computed.
        baselines: name -> value.
    """

    metric: Metric
    title: str
    value: float
    interval: tuple[float, float] | None
    baselines: Mapping[str, float]

    @property
    def ranked(self) -> list[str]:
        """Return the names of the baselines, best first."""
        higher = self.metric.better == "higher"
        return sorted(self.baselines, key=lambda name: self.baselines[name], reverse=higher)

    def write(self, value: float) -> str:
        """Format a value with as many decimals as the interval supports."""
        return write_value(value, self.interval, self.metric.text)

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


def write_value(
    value: float,
    interval: tuple[float, float] | None,
    text: Callable[[float | None], str],
) -> str:
    """Format a value with as many decimals as its interval supports.

    Args:
        interval: 95 % interval; None, or one of no width, leaves the decimals to `text`.
        text: the metric's own format.
    """
    if interval is None or interval[0] == interval[1]:
        written = text(value)
    else:
        written = f"{value:.{decimals_of(*interval)}f}"
    # An error of 0.0 would suggest that there is none.
    if value and float(written) == 0:
        written = f"{value:.2g}"
    # A share below 1 is not rounded up to 1: "1.000" would suggest that there are no errors.
    if text is format_share and value < 1 and float(written) >= 1:
        return "0." + "9" * (len(written.partition(".")[2]) or 1)
    return written
