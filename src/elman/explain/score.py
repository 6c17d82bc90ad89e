"""Which number of a prediction is explained: one output, on one of several scales."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from elman.errors import SettingsError
from elman.explain.checks import check_name
from elman.explain.network import ExplainedNetwork, ExplainedSequence
from elman.explain.outputs import Scale
from elman.tasks import TASKS

_WORDS: dict[Scale, str] = {
    "log_odds": "log-odds",
    "logit": "logit",
    "log_probability": "log-probability",
    "probability": "probability",
    "value": "value",
}
_IN_NATS = ("log_odds", "logit", "log_probability")


@dataclass(frozen=True)
class Score:
    """One number of a prediction.

    Args:
        network: whose prediction it is.
        index: which output, from 0.
        scale: see `elman.explain.attribute`.
        step: of a network with an output at every step, which one, from 0.
    """

    network: ExplainedNetwork
    index: int
    scale: Scale
    step: int | None

    @property
    def target(self) -> Any:
        """The class, label or value that it is about."""
        return self.network.output_names[self.index]

    @property
    def unit(self) -> str:
        """`nats` for logarithms, empty for probabilities and values."""
        return "nats" if self.scale in _IN_NATS else ""

    def __str__(self) -> str:
        what = f"{_WORDS[self.scale]} of {self.target}"
        return what if self.step is None else f"{what} at step {self.step + 1}"

    def of(self, outputs: Tensor) -> Tensor:
        """From outputs, (B, K), or (B, T, K) with one a step, to this number of each row, (B,)."""
        if self.step is not None:
            outputs = outputs[:, self.step]
        number = self.network.meaning.scores[self.scale](outputs, self.index)
        return number * self.network.scale[self.index] + self.network.mean[self.index]


def choose_score(
    sequence: ExplainedSequence, outputs: Tensor, target: Any, scale: Scale | None, step: int | None
) -> Score:
    """Find the number that is to be explained.

    Args:
        outputs: of the sequence, (1, K) or (1, T, K).
        target: one of `ExplainedNetwork.output_names`; None for the likeliest.
        scale: None for log-odds, or the value of a regression.
        step: from 0, or from the end if negative; None for the last, where there is one a step.
    Raises: SettingsError for what this network does not have; DataError for an unknown target.
    """
    network, steps = sequence.network, sequence.steps
    if not sequence.per_step:
        if step is not None:
            raise SettingsError(
                f"step: got {step}, but this network has one output a sequence. Leave it out"
            )
        row = outputs[0]
    else:
        step = steps - 1 if step is None else step
        if not -steps <= step < steps:
            raise SettingsError(
                f"step: got {step}, expected 0 to {steps - 1} (or, from the end, {-steps} to -1)"
            )
        step %= steps
        row = outputs[0, step]
    # Log-odds against the other classes need another class.
    if len(row) < 2 and TASKS[network.model.config.task].single_label:
        raise SettingsError("model: it has one class only, whose probability is always 1")
    if target is not None:
        index = check_name("target", target, network.output_names, "one of")
    elif network.has_classes or len(row) == 1:
        index = int(row.argmax())
    else:
        raise SettingsError(
            f"target: this network predicts {len(row)} values; give one of "
            f"{', '.join(map(repr, network.output_names))}"
        )
    scales = list(network.meaning.scores)
    if scale is not None and scale not in scales:
        raise SettingsError(
            f"output: got {scale!r}, expected {' or '.join(map(repr, scales))} for "
            f"{network.model.config.task}"
        )
    return Score(network, index, scale or scales[0], step)
