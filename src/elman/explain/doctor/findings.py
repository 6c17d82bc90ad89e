"""What the doctor found: each finding with its figure, the line it crossed and what mends it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from elman.explain.doctor import limits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
Floats = NDArray[np.float64]
SHOWN = 8  # sequences or units that a message names


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing.

    Args:
        name: of the kind of finding, as `vanishing_gradients`.
        severity: `error`, the answers cannot be right; `warning`, it most likely does harm; `note`,
            worth knowing, and harmless as things stand.
        message: what is the matter, in words.
        figure: the evidence.
        threshold: the line that the figure crossed.
        remedy: what to do about it.
        setting: the setting of `elman.settings` that would mend it; empty if no setting does.
        layer: from 0; None where it does not apply, as all below.
        direction: `forward` or `backward`.
        gate: gate or state by its letter.
        units: of the layer, or channels of the input, from 0.
        sequences: places in the sequences given, from 0.
    """

    name: str
    severity: Severity
    message: str
    figure: float
    threshold: float
    remedy: str
    setting: str = ""
    layer: int | None = None
    direction: str | None = None
    gate: str | None = None
    units: tuple[int, ...] = ()
    sequences: tuple[int, ...] = ()

    @property
    def where(self) -> str:
        """The place in words; empty where it is the whole network or all data."""
        parts = [
            "" if self.layer is None else f"layer {self.layer}",
            f"{self.direction} direction" if self.direction else "",
            f"{'state' if self.gate in ('h', 'c') else 'gate'} {self.gate}" if self.gate else "",
            f"units {listed(self.units)}" if self.units and self.layer is not None else "",
            f"channels {listed(self.units)}" if self.units and self.layer is None else "",
            f"sequences {listed(self.sequences)}" if self.sequences else "",
        ]
        return ", ".join(filter(None, parts))

    def __str__(self) -> str:
        where = f" ({self.where})" if self.where else ""
        remedy = f" {self.remedy}" if self.remedy else ""
        return (
            f"{self.severity}: {self.name}{where}: {self.message} "
            f"[{self.figure:.3g}, line at {self.threshold:.3g}]{remedy}"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with `where` in words."""
        found = dataclasses.asdict(self)
        found["units"], found["sequences"] = list(self.units), list(self.sequences)
        for name in ("figure", "threshold"):
            found[name] = found[name] if np.isfinite(found[name]) else None
        return {**found, "where": self.where}


@dataclass(frozen=True)
class Picture:
    """What the findings of the network were drawn from; keys are (layer, direction[, gate]).

    Args:
        carried: what is left of a gradient after so many steps back, as a share, (T,) from 0 steps.
        saturated: share of a gate's or state's activations that stand at their ends.
        spread: deviation of each unit's state over steps and sequences, (H,).
        radius: spectral radius of recurrent matrices.
        losses: of training and validation, one an epoch; NaN where there was none.
        rates: learning rate of the probe -> share of the loss that a few steps with it took away.
        rate: the training's own.
    """

    carried: dict[tuple[int, str], Floats] = field(default_factory=dict)
    saturated: dict[tuple[int, str, str], float] = field(default_factory=dict)
    spread: dict[tuple[int, str], Floats] = field(default_factory=dict)
    radius: dict[tuple[int, str, str], float] = field(default_factory=dict)
    losses: tuple[tuple[float, float], ...] = ()
    rates: dict[float, float] = field(default_factory=dict)
    rate: float = float("nan")


@dataclass(frozen=True)
class Diagnosis:
    """All findings, the gravest first.

    Args:
        findings: as they are.
        looked: what was looked at, and at how much of it, in a sentence each.
        skipped: what was not looked at -> why.
        figures: what the pictures show.
    """

    findings: tuple[Finding, ...]
    looked: tuple[str, ...]
    skipped: dict[str, str]
    figures: Picture

    @property
    def healthy(self) -> bool:
        """Whether there is no error and no warning."""
        return all(finding.severity == "note" for finding in self.findings)

    def named(self, name: str) -> tuple[Finding, ...]:
        """The findings of one name."""
        return tuple(finding for finding in self.findings if finding.name == name)

    @property
    def summary(self) -> str:
        """How many findings there are of each severity, in a line."""
        counts = {s: sum(f.severity == s for f in self.findings) for s in SEVERITIES}
        told = [f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items() if count]
        return f"Doctor: {', '.join(told) if told else 'nothing found'}."

    def __str__(self) -> str:
        lines = [self.summary]
        lines += [f"  {finding}" for finding in self.findings]
        lines += [f"  looked at: {sentence}" for sentence in self.looked]
        lines += [f"  not looked at: {name}: {why}" for name, why in self.skipped.items()]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: what a report shows."""
        drawn = self.figures

        def places(keys: tuple[Any, ...]) -> dict[str, Any]:
            return dict(zip(("layer", "direction", "gate"), keys, strict=False))

        return {
            "healthy": self.healthy,
            "findings": [finding.to_dict() for finding in self.findings],
            "looked": list(self.looked),
            "skipped": dict(self.skipped),
            "carried": [{**places(k), "share": v.tolist()} for k, v in drawn.carried.items()],
            "saturated": [{**places(k), "share": v} for k, v in drawn.saturated.items()],
            "spread": [{**places(k), "deviation": v.tolist()} for k, v in drawn.spread.items()],
            "radius": [{**places(k), "radius": v} for k, v in drawn.radius.items()],
            "rates": [{"learning_rate": k, "share": v} for k, v in drawn.rates.items()],
        }

    def to_frame(self) -> Any:
        """Return a pandas DataFrame, one row a finding. Raises ElmanError without pandas."""
        from elman.explain.frames import frame

        rows = [finding.to_dict() for finding in self.findings]
        names = [*(f.name for f in dataclasses.fields(Finding)), "where"]
        return frame({name: [row[name] for row in rows] for name in names})

    def plot(self) -> Figure:
        """Draw what was measured of the network: one picture to overlook it."""
        from elman.plots.explain.doctor import overview

        drawn = self.figures
        return overview(
            self.summary,
            drawn.carried,
            drawn.saturated,
            drawn.spread,
            drawn.losses,
            drawn.rates,
            drawn.rate,
            {
                "vanished": limits.VANISHED,
                "saturated": limits.SATURATED,
                "still": limits.STILL,
            },
        )


def ranked(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The gravest first, and else as they came."""
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))


def listed(numbers: Sequence[int]) -> str:
    """Name a few of them, and say how many more there are."""
    shown = ", ".join(str(int(number)) for number in numbers[:SHOWN])
    return f"{shown} and {len(numbers) - SHOWN} more" if len(numbers) > SHOWN else shown
