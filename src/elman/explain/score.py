"""Which number of the network's answer is asked about: one output, in one of several scales."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from elman.errors import DataError, SettingsError, nearest
from elman.explain.network import ExplainedSequence

Scale = Literal["log_odds", "logit", "log_probability", "probability", "value"]
_WORDS = {
    "log_odds": "log-odds",
    "logit": "logit",
    "log_probability": "log-probability",
    "probability": "probability",
    "value": "value",
}


@dataclass(frozen=True)
class Score:
    """One number of an answer.

    Args:
        subject: whose network it is.
        index: which output, from 0.
        scale: see `elman.explain.attribute`.
        step: of a network with an output at every step, which one, from 0.
    """

    subject: ExplainedSequence
    index: int
    scale: Scale
    step: int | None

    @property
    def target(self) -> Any:
        """The class, label or value that it is about."""
        return self.subject.classes[self.index]

    @property
    def unit(self) -> str:
        """`nats` for logarithms, empty for probabilities and values."""
        return "nats" if self.scale in ("log_odds", "logit", "log_probability") else ""

    def __str__(self) -> str:
        what = f"{_WORDS[self.scale]} of {self.target}"
        return what if self.step is None else f"{what} at step {self.step + 1}"

    def of(self, outputs: Tensor) -> Tensor:
        """From outputs, (B, K), or (B, T, K) with one a step, to this number of each row, (B,)."""
        if self.step is not None:
            outputs = outputs[:, self.step]
        own = outputs[:, self.index]
        if self.scale == "value":
            return own * self.subject.scale[self.index] + self.subject.mean[self.index]
        several = self.subject.task == "multilabel"
        if self.scale == "probability":
            return torch.sigmoid(own) if several else torch.softmax(outputs, -1)[:, self.index]
        if self.scale == "log_probability":
            if several:
                return functional.logsigmoid(own)
            return torch.log_softmax(outputs, -1)[:, self.index]
        if self.scale == "logit" or several:
            return own
        others = torch.arange(outputs.shape[1], device=outputs.device) != self.index
        return own - torch.logsumexp(outputs[:, others], -1)


def choose_score(
    subject: ExplainedSequence, outputs: Tensor, target: Any, scale: Scale | None, step: int | None
) -> Score:
    """Find out what is asked about.

    Args:
        outputs: of the sequence, (1, K) or (1, T, K).
        target: an entry of `subject.classes`; None for the likeliest.
        scale: None for log-odds, or the value of a regression.
        step: from 0, or from the end if negative; None for the last, where there is one a step.
    Raises: SettingsError for what this network does not have; DataError for a target that is none.
    """
    if not subject.per_step:
        if step is not None:
            raise SettingsError(
                f"step: got {step}, but this network has one output a sequence. Leave it out"
            )
        last = outputs[0]
    else:
        step = subject.steps - 1 if step is None else step
        if not -subject.steps <= step < subject.steps:
            raise SettingsError(
                f"step: got {step}, expected 0 to {subject.steps - 1} (or, from the end, "
                f"{-subject.steps} to -1)"
            )
        step %= subject.steps
        last = outputs[0, step]
    if subject.task == "classification" and len(last) < 2:
        raise SettingsError("model: it has one class only, whose probability is always 1")
    return Score(subject, _index(subject, last, target), _scale(subject, scale), step)


def _index(subject: ExplainedSequence, outputs: Tensor, target: Any) -> int:
    if target is None:
        if subject.task == "regression" and len(outputs) > 1:
            raise SettingsError(
                f"target: this network predicts {len(outputs)} values; give one of "
                f"{', '.join(map(repr, subject.classes))}"
            )
        return int(outputs.argmax())
    for index, known in enumerate(subject.classes):
        if known == target:
            return index
    shown = ", ".join(map(repr, subject.classes[:5]))
    more = len(subject.classes) - 5
    raise DataError(
        f"target: got {target!r:.60}, expected one of {shown}"
        + (f" and {more} more" if more > 0 else "")
        + nearest(str(target), [str(c) for c in subject.classes])
    )


def _scale(subject: ExplainedSequence, scale: Scale | None) -> Scale:
    values = subject.task == "regression"
    if scale is None:
        return "value" if values else "log_odds"
    known = [s for s in get_args(Scale) if (s == "value") == values]
    if scale not in known:
        raise SettingsError(
            f"output: got {scale!r}, expected {' or '.join(map(repr, known))} for {subject.task}"
        )
    return scale
