"""Results of a diagnosis: findings, each with its evidence, its threshold and a remedy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from elman.explain.backward import EXPLODED as GRADIENT_EXPLODED
from elman.explain.backward import VANISHED as GRADIENT_VANISHED
from elman.explain.forms import Floats, attributes_to_dict, to_frame, to_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Severity = Literal["error", "warning", "note"]
Place = tuple[int | None, str | None, str | None]  # layer, direction, gate
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
Verdict = Literal[
    "learnt nothing",
    "overfits",
    "held-out data differ",
    "does not beat the baseline",
    "fine",
]
# Findings that only say what the verdict says; they are told if no cause was found.
VERDICTS = ("held_out_differs", "learnt_nothing", "overfitting", "worse_than_baseline")
NAMED = 8  # most sequences or units that a message lists


class Limits:
    """The thresholds of the findings, and the measurements that they are based on.

    Measured on healthy networks: networks trained with the default settings on the twelve built-in
    tasks, on 16,000 names by language and 13,000 questions by intent, on JapaneseVowels,
    ItalyPowerDemand and BasicMotions, and small networks of every cell, some bidirectional with two
    layers, after a few epochs of training. Each threshold lies well beyond the values measured
    there, which its comment gives. In the tests, deliberately broken networks cross each of them.
    """

    # Sequences.
    # Expected number of sequences that are constant, or all zeros, by chance alone. That is likely
    # for sequences of zeros and ones, but not for measured values.
    BY_CHANCE = 0.1
    # Root mean square of a channel in the network's input. Standardised channels have 1; pixels
    # from 0 to 16 have 7, and train as well without scaling.
    LOUD = 30.0
    FAINT = 1e-3  # root mean square too; next to channels of 1, such a channel has no effect
    UNKNOWN_SHARE = 0.3  # share of the tokens; below 0.1 for held-out names, questions and words
    # Share of held-out sequences that the training split contains; 0 for the built-in tasks.
    LEAK = 0.01

    # Gates, states and units.
    # A sigmoid is saturated below END or above 1 - END, where its slope is below 0.01; a tanh
    # beyond +-(1 - 2 END), where its slope is below 0.04.
    END = 0.01
    SATURATED = 0.9  # share of a gate's or state's activations; up to 0.4 in healthy networks
    DEAD = 0.1  # share of a relu layer's units
    STILL = 1e-4  # deviation of a unit's state over steps and sequences; from 0.014 if healthy
    STILL_SHARE = 0.5  # share of a layer's units

    # Recurrent matrices and gradients.
    # Spectral radius by nonlinearity; 1 in new networks, up to 1.9 in trained ones.
    RADIUS: ClassVar[Mapping[str, float]] = {"tanh": 3.0, "relu": 1.5}
    # Share of a gradient's norm left after the steps of the median sequence; also that of `bptt`.
    VANISHED = GRADIENT_VANISHED
    FACTOR = 0.5  # share left after one step, on average; 0.6 to 0.8 in new gated networks
    # Growth of a gradient's norm on the way back, as for `bptt`; up to 20 in healthy networks.
    EXPLODED = GRADIENT_EXPLODED
    REACH = 1e-3  # share of a gradient's norm; the report gives the steps back until it
    LEARNT = 0.2  # share of the loss of the best constant prediction that a network removes

    # Predictions and labels.
    VARIES = 1e-3  # deviation of the outputs over the sample; from 0.03 in new networks
    ONE_CLASS = 0.99  # share of the predictions that are the same class
    SURE = 0.8  # probability of a class other than the label
    SUSPECTS = 0.03  # share of the labels; up to 0.025 for healthy networks on held-out data
    OUTLIER = 8.0  # size of a residual in robust standard deviations

    # Training.
    LITTLE = 0.01  # share of a batch's loss that a few steps remove if the rate does not work
    # Share that they remove if it works; healthy rates remove 0.26 to 0.99, running-parity's 0.03.
    MORE = 0.1
    SWING = 0.1  # rise of the loss from one epoch to the next, as a share of the first loss
    SWINGS = 0.2  # share of epochs with such a rise; 0 in healthy trainings
    OVERFIT = 1.25  # validation loss of the kept weights, relative to its minimum
    # Fall of the mean loss from the second-to-last to the last fifth of the epochs, as a share of
    # the first loss; up to 0.04 in complete trainings, up to 0.18 in three epochs of a time limit.
    FALLING = 0.1
    # Sum of the learning rates of all updates, which is about how far Adam can move a weight; 0.2
    # in healthy trainings of two epochs.
    MOVED = 0.05
    LOW_RATE = 3e-4  # no lower rate is ever chosen from the data
    HIGH_RATE = 0.1  # of Adam; above it no network of the tests learns


@dataclass(frozen=True)
class Finding:
    """A fault, or something worth knowing.

    Args:
        name: name of the fault, such as `vanishing_gradients`.
        severity: `error` if predictions cannot be right; `warning` if the fault is most likely
            harmful; `note` if it is worth knowing, but harmless here.
        message: the fault in words.
        value: the measured number that is the evidence.
        threshold: the limit that the value crossed.
        remedy: the recommended action.
        setting: the setting of `elman.settings` that is most likely to help; empty for none.
        layer: index of the layer, from 0; None if the finding is not about a layer.
        direction: `forward` or `backward`; None if it is not about a direction.
        gate: letter of the gate or state; None if it is not about a gate.
        units: units of the layer, or channels of the input if `layer` is None, from 0.
        places: all (layer, direction, gate) that the finding was made at, the first as above.
        sequences: positions of the sequences in X, from 0.
        held_out: whether `sequences` are positions in the held-out X instead.
        channel_names: names of the channels in `units`.
        sequence_names: names of the sequences in `sequences`; empty if X has no names.
        explains: names of other findings that follow from this one.
        explained_by: name of the finding that this one follows from; empty if it stands alone.
    """

    name: str
    severity: Severity
    message: str
    value: float
    threshold: float
    remedy: str
    setting: str = ""
    layer: int | None = None
    direction: str | None = None
    gate: str | None = None
    units: tuple[int, ...] = ()
    sequences: tuple[int, ...] = ()
    held_out: bool = False
    channel_names: tuple[str, ...] = ()
    sequence_names: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()
    explains: tuple[str, ...] = ()
    explained_by: str = ""

    @property
    def title(self) -> str:
        """The name in words."""
        return self.name.replace("_", " ")

    @property
    def where(self) -> str:
        """The place in words; empty for the whole network or all data."""
        places = self.places or ((self.layer, self.direction, self.gate),)
        parts = [
            *_list_places(places),
            f"units {list_some(self.units)}" if self.units and self.layer is not None else "",
            f"channels {list_some(self.channel_names or self.units)}"
            if self.units and self.layer is None
            else "",
            "held-out " * self.held_out
            + f"sequences {list_some(self.sequence_names or self.sequences)}"
            if self.sequences
            else "",
        ]
        return ", ".join(filter(None, parts))

    def __str__(self) -> str:
        where = f" ({self.where})" if self.where else ""
        remedy = f" {self.remedy}" if self.remedy else ""
        return (
            f"{self.severity}: {self.name}{where}: {self.message}. "
            f"[value {self.value:.3g}, threshold {self.threshold:.3g}]{remedy}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Convert to a dict for JSON, with `where` in words; non-finite values become None."""
        names = [field.name for field in dataclasses.fields(self)]
        return attributes_to_dict(self, *names, "where")


@dataclass(frozen=True)
class Measurements:
    """Measurements of the network; the keys are (layer, direction) or (layer, direction, gate).

    Args:
        gradient_by_lag: share of a gradient's norm left after k = 0 to T - 1 steps back, (T,).
        saturation: share of a gate's or state's activations that are saturated.
        saturated_high: share of them that are at the upper end.
        unit_deviation: standard deviation of each unit's state over steps and sequences, (H,).
        spectral_radius: largest absolute eigenvalue of each recurrent matrix.
        losses: training and validation loss of each epoch; NaN without validation.
        rate_probe: share of a batch's loss that a few steps removed, by learning rate.
        learning_rate: the highest learning rate of the training.
    """

    gradient_by_lag: dict[tuple[int, str], Floats] = field(default_factory=dict)
    saturation: dict[tuple[int, str, str], float] = field(default_factory=dict)
    saturated_high: dict[tuple[int, str, str], float] = field(default_factory=dict)
    unit_deviation: dict[tuple[int, str], Floats] = field(default_factory=dict)
    spectral_radius: dict[tuple[int, str, str], float] = field(default_factory=dict)
    losses: tuple[tuple[float, float], ...] = ()
    rate_probe: dict[float, float] = field(default_factory=dict)
    learning_rate: float = float("nan")


@dataclass(frozen=True)
class Score:
    """How well a network answers, and how well simpler answers do.

    Args:
        metric: name of the metric: `accuracy`, `accuracy per label` or `RMSE`.
        better: which values of it are better.
        constant: the metric of the best constant prediction, on the held-out split if there is one.
        baseline: name of the best baseline; empty if none was fitted.
        reference: the metric of that baseline, on the same part as `constant`; NaN without one.
        training: the metric of the network on the training split.
        held_out: the metric of the network on the held-out split; None without one with labels.
        verdict: what follows from them.
        sentence: the verdict and its numbers, in words.
    """

    metric: str
    better: Literal["higher", "lower"]
    constant: float
    baseline: str
    reference: float
    training: float
    held_out: float | None
    verdict: Verdict
    sentence: str


@dataclass(frozen=True)
class Diagnosis:
    """All findings, with the most severe first.

    Args:
        findings: sorted by severity.
        examined: a sentence for each part that was examined, saying how much of it.
        skipped: the reason for each check that was skipped, by its name.
        measurements: the numbers in the figure of the diagnosis.
        score: whether the network has learnt; None without labels and during a training.
    """

    findings: tuple[Finding, ...]
    examined: tuple[str, ...]
    skipped: dict[str, str]
    measurements: Measurements
    score: Score | None = None

    @property
    def healthy(self) -> bool:
        """Whether there are no errors and no warnings."""
        return all(finding.severity == "note" for finding in self.findings)

    def by_name(self, name: str) -> tuple[Finding, ...]:
        """The findings with this name."""
        return tuple(finding for finding in self.findings if finding.name == name)

    @property
    def summary(self) -> str:
        """What the score says, and the number of findings of each severity."""
        causes = self.causes
        counts = {s: sum(f.severity == s for f in causes) for s in SEVERITIES}
        words = [f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items() if count]
        first = [f.title for f in causes if f.severity != "note"][:3]
        if first:
            words[-1] += f" (first: {first[0]})" if len(causes) > 1 else f" ({first[0]})"
        counted = f"Doctor: {', '.join(words) if words else 'no fault was found'}."
        return counted if self.score is None else f"{self.score.sentence} {counted}"

    @property
    def causes(self) -> tuple[Finding, ...]:
        """The findings that do not follow from another one."""
        return tuple(finding for finding in self.findings if not finding.explained_by)

    def effects_of(self, cause: Finding) -> tuple[Finding, ...]:
        """The findings that follow from `cause`."""
        return tuple(f for f in self.findings if f.explained_by == cause.name)

    @property
    def cause(self) -> Finding | None:
        """The first cause, unless it only says what the verdict says; None if there is none."""
        first = next((f for f in self.causes if f.severity != "note"), None)
        return None if first is None or first.name in VERDICTS else first

    def __str__(self) -> str:
        lines = [self.summary]
        for cause in self.causes:
            lines.append(f"  {cause}")
            lines += [f"    which explains {_brief(f)}" for f in self.effects_of(cause)]
        lines += [f"  examined: {sentence}" for sentence in self.examined]
        lines += [f"  not examined: {name}: {why}" for name, why in self.skipped.items()]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Convert the findings and the measurements to a dict for JSON."""
        measured = self.measurements

        def rows(values: dict[Any, Any], name: str) -> list[dict[str, Any]]:
            """One row for each key, with the number or list of numbers under `name`."""
            return [
                {
                    **dict(zip(("layer", "direction", "gate"), place, strict=False)),
                    name: to_json(value),
                }
                for place, value in values.items()
            ]

        return {
            "healthy": self.healthy,
            "score": None
            if self.score is None
            else {name: to_json(value) for name, value in vars(self.score).items()},
            "findings": [finding.to_dict() for finding in self.findings],
            "examined": list(self.examined),
            "skipped": dict(self.skipped),
            "gradient_by_lag": rows(measured.gradient_by_lag, "share"),
            "saturation": rows(measured.saturation, "share"),
            "unit_deviation": rows(measured.unit_deviation, "deviation"),
            "spectral_radius": rows(measured.spectral_radius, "radius"),
            "rate_probe": [
                {"learning_rate": rate, "share": share}
                for rate, share in measured.rate_probe.items()
            ],
        }

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with a row for each finding; ElmanError without pandas."""
        rows = [finding.to_dict() for finding in self.findings]
        names = [*(f.name for f in dataclasses.fields(Finding)), "where"]
        return to_frame({name: [row[name] for row in rows] for name in names})

    def plot(self) -> Figure:
        """Draw the measurements of the network in one figure of four panels."""
        from elman.plots.gradients import plot_measurements

        measured = self.measurements
        return plot_measurements(
            self.summary,
            gradient_by_lag=measured.gradient_by_lag,
            saturation=measured.saturation,
            unit_deviation=measured.unit_deviation,
            losses=measured.losses,
            rate_probe=measured.rate_probe,
            learning_rate=measured.learning_rate,
            thresholds=(Limits.VANISHED, Limits.SATURATED, Limits.STILL),
        )


def _list_places(places: Sequence[Place]) -> list[str]:
    """Places in words, the gates of one layer and direction together."""
    gates: dict[tuple[int | None, str | None], list[str]] = {}
    for layer, direction, gate in places:
        gates.setdefault((layer, direction), []).extend([gate] if gate else [])
    listed = []
    for (layer, direction), names in gates.items():
        parts = ["" if layer is None else f"layer {layer}"]
        parts.append(f"{direction} direction" if direction else "")
        noun = "state" if set(names) <= {"h", "c"} else "gate"
        parts.append(f"{noun}{'s' * (len(names) > 1)} {', '.join(names)}" if names else "")
        listed.append(", ".join(filter(None, parts)))
    return ["; ".join(filter(None, listed[:NAMED])) + "; ..." * (len(listed) > NAMED)]


def _brief(finding: Finding) -> str:
    """An effect of another finding, in a few words."""
    where = f" ({finding.where})" if finding.where else ""
    return f"{finding.name}{where}: {finding.message}"


def list_some(values: Sequence[object]) -> str:
    """List the first numbers or names and count the others."""
    listed = ", ".join(map(str, values[:NAMED]))
    return f"{listed} and {len(values) - NAMED} more" if len(values) > NAMED else listed
