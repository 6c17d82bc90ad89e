"""Whether a network beats its baselines, in a sentence and as bars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from elman.evaluate.metrics import Metric
from elman.evaluate.text import decimals_of, format_share

CAVEATS = {
    "validation": "These sequences may have chosen the kept epoch, so this value may be too "
    "optimistic.",
    "train": "The network was trained on these sequences: this value says nothing about new ones.",
}


@dataclass(frozen=True)
class Bar:
    """One bar of a comparison.

    Args:
        name: `this network`, or of a baseline.
        text: the value as it is written.
        width: share of the track, 0 to 1.
        interval: start and width of the interval; None where there is none.
    """

    name: str
    text: str
    width: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Comparison:
    """One metric of a network and of its baselines.

    Args:
        metric: its row.
        title: as it is written, with what it averages over.
        value: of the network.
        interval: 95 %; None where none was computed.
        baselines: name -> value.
        constant: name of the baseline that always predicts the same.
    """

    metric: Metric
    title: str
    value: float
    interval: tuple[float, float] | None
    baselines: Mapping[str, float]
    constant: str

    @property
    def ranked(self) -> list[str]:
        """Baselines, the best first."""
        higher = self.metric.better == "higher"
        return sorted(self.baselines, key=lambda name: self.baselines[name], reverse=higher)

    @property
    def standing(self) -> int:
        """1, 0 or -1: the interval is better than the best baseline, holds it, or is worse."""
        best = self.baselines[self.ranked[0]]
        low, high = self.interval or (self.value, self.value)
        above, below = low > best, high < best
        return (above - below) * (1 if self.metric.better == "higher" else -1)

    def write(self, value: float) -> str:
        """Write a value with as many decimals as the interval supports."""
        if self.interval is None or self.interval[0] == self.interval[1]:
            text = self.metric.text(value)
        else:
            text = f"{value:.{decimals_of(*self.interval)}f}"
        # A share below 1 is not rounded up to 1: "1.000" would say that nothing went wrong.
        rounded_up = self.metric.text is format_share and value < 1 and float(text) >= 1
        return _below_one(text) if rounded_up else text

    def verdict(self) -> str:
        """Say whether the network beats its baselines."""
        if not self.baselines:
            return "No baseline was evaluated, so nothing says whether the recurrence is needed."
        ranked = self.ranked
        values = ", ".join(f"{name} {self.write(self.baselines[name])}" for name in ranked)
        best = "its baseline" if len(ranked) == 1 else "its best baseline"
        if self.interval is None:
            more = self.value - self.baselines[ranked[0]]
            ahead = more > 0 if self.metric.better == "higher" else more < 0
            return (
                f"The network is {'' if ahead else 'not '}ahead of {best} ({values}), but without "
                "an interval nothing says how much of this is chance."
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
                "baseline was evaluated, so whether this takes a recurrence is not known."
            )
        which = "its baselines" if len(ranked) > 1 else "its baseline"
        return f"The network beats {which} by {gain} {self.title} ({values})."

    def bars(self) -> tuple[Bar, ...]:
        """Return the network and its baselines as bars, the network first."""
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


def _below_one(text: str) -> str:
    """The largest number below 1 with the decimals of `text`: 0.999 for 1.000."""
    decimals = len(text.partition(".")[2]) or 1
    return "0." + "9" * decimals
