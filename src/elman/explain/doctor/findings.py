"""What a diagnosis says: findings, each with its evidence, its threshold and a remedy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from elman.explain.forms import Floats, attributes_to_dict, to_frame, to_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
NAMED = 8  # sequences or units that a message names, at most


class Limits:
    """The thresholds that a value has to cross to become a finding, and where they come from.

    Measured on healthy networks: what the defaults train on the twelve built-in tasks, on 16,000
    names by language and 13,000 questions by intent, on JapaneseVowels, ItalyPowerDemand and
    BasicMotions, and on small networks of every cell, some with two layers in both directions, a
    few epochs into their training. Each threshold lies well beyond what was measured there, which
    its comment gives. In the tests, networks that are broken on purpose cross every threshold.
    """

    # Sequences.
    # Expected number of sequences that are constant, or zero throughout, by chance alone: sequences
    # of zeros and ones can be, measured values are not.
    BY_CHANCE = 0.1
    # Root mean square of a channel as the network reads it. Standardised channels have 1; pixels
    # from 0 to 16 have 7, and train as well unscaled.
    LOUD = 30.0
    FAINT = 1e-3  # the same: next to channels of 1, such a channel has no effect
    UNKNOWN_SHARE = 0.3  # of the tokens; below 0.1 for held-out names, questions and words
    # Share of held-out sequences that the training part contains; 0 for the built-in tasks.
    LEAK = 0.01

    # Gates, states and units.
    # A sigmoid gate is saturated below END or above 1 - END, a tanh beyond 1 - 2 END: its slope
    # there is below 0.01, or 0.04.
    END = 0.01
    SATURATED = 0.9  # share of a gate's or state's activations; healthy up to 0.4
    DEAD = 0.1  # share of a relu layer's units
    STILL = 1e-4  # deviation of a unit's state over steps and sequences; healthy from 0.014
    STILL_SHARE = 0.5  # of a layer's units

    # Recurrent matrices and gradients.
    # Spectral radius by nonlinearity: new networks have 1, trained ones up to 1.9.
    RADIUS: ClassVar[Mapping[str, float]] = {"tanh": 3.0, "relu": 1.5}
    VANISHED = 1e-6  # of a gradient, left after the median sequence's steps
    FACTOR = 0.5  # the same per step: new gated networks keep from 0.6 to 0.8
    EXPLODED = 1e4  # growth on the way back; healthy up to 20
    REACH = 1e-3  # share of a gradient; the report says after how many steps it is reached
    LEARNT = 0.2  # share of the loss of the best constant prediction that a network removes

    # Predictions and labels.
    VARIES = 1e-3  # deviation of the outputs over the sample; of new networks from 0.03
    ONE_CLASS = 0.99  # share of the predictions that are one class
    SURE = 0.8  # probability of another class than the label
    NEIGHBOURS = 10
    CONTRADICT = 0.2  # share of the nearest neighbours that have the label, at most
    SUSPECTS = 0.03  # share of the labels; on held-out data of healthy networks up to 0.025
    OUTLIER = 8.0  # robust standard deviations of a residual

    # Training.
    LITTLE = 0.01  # share of the loss that a few steps remove where nothing is learnt
    # The same where something is learnt; healthy rates remove 0.26 to 0.99, running-parity's 0.03.
    MORE = 0.1
    SWING = 0.1  # of the first loss, by which a loss rises from one epoch to the next
    SWINGS = 0.2  # share of the epochs; healthy 0
    OVERFIT = 1.25  # validation loss of the weights that were kept, relative to its minimum
    # Share of the first loss by which the last fifth of the epochs is below the fifth before; of
    # whole trainings up to 0.04, of three epochs cut short by a time limit up to 0.18.
    FALLING = 0.1


@dataclass(frozen=True)
class Finding:
    """A fault, or something worth knowing.

    Args:
        name: such as `vanishing_gradients`.
        severity: `error`, predictions cannot be right; `warning`, it most likely does harm; `note`,
            worth knowing, but harmless here.
        message: the fault in words.
        value: the measured number that is the evidence.
        threshold: the limit that the value crossed.
        remedy: the recommended action.
        setting: the setting of `elman.settings` that is most likely to help; empty for none.
        layer: from 0; None where it does not apply, as for all fields below.
        direction: `forward` or `backward`.
        gate: gate or state by its letter.
        units: of the layer, or channels of the input, from 0.
        sequences: positions in the X that was given, from 0.
        held_out: whether `sequences` are positions in the held-out part instead.
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

    @property
    def where(self) -> str:
        """The place in words; empty for the whole network or all data."""
        parts = [
            "" if self.layer is None else f"layer {self.layer}",
            f"{self.direction} direction" if self.direction else "",
            f"{'state' if self.gate in ('h', 'c') else 'gate'} {self.gate}" if self.gate else "",
            f"units {list_numbers(self.units)}" if self.units and self.layer is not None else "",
            f"channels {list_numbers(self.units)}" if self.units and self.layer is None else "",
            "held-out " * self.held_out + f"sequences {list_numbers(self.sequences)}"
            if self.sequences
            else "",
        ]
        return ", ".join(filter(None, parts))

    def __str__(self) -> str:
        where = f" ({self.where})" if self.where else ""
        remedy = f" {self.remedy}" if self.remedy else ""
        return (
            f"{self.severity}: {self.name}{where}: {self.message} "
            f"[value {self.value:.3g}, threshold {self.threshold:.3g}]{remedy}"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with `where` in words; a value that is not finite becomes None."""
        names = [field.name for field in dataclasses.fields(self)]
        return attributes_to_dict(self, *names, "where")


@dataclass(frozen=True)
class Measurements:
    """Measurements of the network; keys are (layer, direction[, gate]).

    Args:
        gradient_by_lag: share of a gradient's norm left after k steps back, (T,) from k = 0.
        saturation: share of a gate's or state's activations that are saturated.
        unit_deviation: standard deviation of each unit's state over steps and sequences, (H,).
        spectral_radius: of the recurrent matrices.
        losses: of training and validation, one pair an epoch; NaN without validation.
        rate_probe: learning rate -> share of a batch's loss that a few steps with it removed.
        learning_rate: that of the training.
    """

    gradient_by_lag: dict[tuple[int, str], Floats] = field(default_factory=dict)
    saturation: dict[tuple[int, str, str], float] = field(default_factory=dict)
    unit_deviation: dict[tuple[int, str], Floats] = field(default_factory=dict)
    spectral_radius: dict[tuple[int, str, str], float] = field(default_factory=dict)
    losses: tuple[tuple[float, float], ...] = ()
    rate_probe: dict[float, float] = field(default_factory=dict)
    learning_rate: float = float("nan")


@dataclass(frozen=True)
class Diagnosis:
    """All findings, the most severe first.

    Args:
        findings: sorted by severity.
        examined: a sentence for each part that was examined, with its extent.
        skipped: the reason for each part that was not examined, by its name.
        measurements: the numbers in the figure of the diagnosis.
    """

    findings: tuple[Finding, ...]
    examined: tuple[str, ...]
    skipped: dict[str, str]
    measurements: Measurements

    @property
    def healthy(self) -> bool:
        """True without errors and warnings."""
        return all(finding.severity == "note" for finding in self.findings)

    def by_name(self, name: str) -> tuple[Finding, ...]:
        """The findings of one name."""
        return tuple(finding for finding in self.findings if finding.name == name)

    @property
    def summary(self) -> str:
        """The number of findings of each severity, in a line."""
        counts = {s: sum(f.severity == s for f in self.findings) for s in SEVERITIES}
        words = [f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items() if count]
        return f"Doctor: {', '.join(words) if words else 'nothing found'}."

    def __str__(self) -> str:
        lines = [self.summary]
        lines += [f"  {finding}" for finding in self.findings]
        lines += [f"  examined: {sentence}" for sentence in self.examined]
        lines += [f"  not examined: {name}: {why}" for name, why in self.skipped.items()]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: the findings and the measurements."""
        measured = self.measurements

        def rows(values: dict[Any, Any], name: str) -> list[dict[str, Any]]:
            """One row a place, the number or list of numbers under `name`."""
            return [
                {
                    **dict(zip(("layer", "direction", "gate"), place, strict=False)),
                    name: to_json(value),
                }
                for place, value in values.items()
            ]

        return {
            "healthy": self.healthy,
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
        """Return a pandas DataFrame, one row a finding. Raises ElmanError without pandas."""
        rows = [finding.to_dict() for finding in self.findings]
        names = [*(f.name for f in dataclasses.fields(Finding)), "where"]
        return to_frame({name: [row[name] for row in rows] for name in names})

    def plot(self) -> Figure:
        """Draw what was measured of the network, in one figure of four panels."""
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


def rank(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The most severe first; findings of one severity keep their order."""
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))


def list_numbers(numbers: Sequence[int]) -> str:
    """List the first numbers, and the count of the others."""
    listed = ", ".join(str(int(number)) for number in numbers[:NAMED])
    return f"{listed} and {len(numbers) - NAMED} more" if len(numbers) > NAMED else listed
