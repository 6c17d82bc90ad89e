"""What the outputs of a network mean: one row a task, and nowhere else in this room its name.

    classification   p = softmax(y)    L = -log p[true]                      dy = p - [true]
    multilabel       p = sigmoid(y)    L = mean_k binary cross-entropy       dy = (p - target) / K
    regression       values y          L = mean_k (y_k - target_k)^2         dy = 2 (y - target) / K

Logarithms are natural: cross-entropies and scores that are logarithms are in nats.

Dimensions: T steps, K outputs; a leading ... is a batch, or the steps, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from elman.explain.results import Floats
from elman.tasks import OutputName

Scale = Literal["log_odds", "logit", "log_probability", "probability", "value"]
ScoreFunction = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class OutputMeaning:
    """One row of `OUTPUTS`.

    Args:
        to_distribution: from outputs, (..., K), to probabilities, or to the values themselves.
        loss: from outputs, (..., K), and a target to the loss, (...), and its gradient, (..., K).
        loss_unit: of the loss.
        scores: the numbers that can be explained: from outputs, (B, K), and the index
            of one of them to one number a row, (B,), by the name of its scale; the first is the
            default.
        distance: from the absolute differences of two distributions, (..., K), to a number, (...).
        decide: from a distribution, (T, K), to what is predicted at each step, (T,) or (T, K); None
            for numbers, among which there is nothing to decide.
        distance_name: of that distance.
    """

    to_distribution: Callable[[Tensor], Tensor]
    loss: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    loss_unit: str
    scores: Mapping[Scale, ScoreFunction]
    distance: Callable[[Tensor], Tensor]
    distance_name: str
    decide: Callable[[Floats], NDArray[Any]] | None


def _cross_entropy(outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    true = functional.one_hot(target, outputs.shape[-1]).to(outputs)
    losses = -(true * torch.log_softmax(outputs, -1)).sum(-1)
    return losses, torch.softmax(outputs, -1) - true


def _binary_cross_entropy(outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    # softplus: -log sigmoid(y) where the label is there, -log(1 - sigmoid(y)) where not, and finite
    # for every y.
    losses = functional.softplus(outputs * (1 - 2 * target)).mean(-1)
    return losses, (torch.sigmoid(outputs) - target) / outputs.shape[-1]


def _squared_error(outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return ((outputs - target) ** 2).mean(-1), 2 * (outputs - target) / outputs.shape[-1]


def _log_odds(outputs: Tensor, index: int) -> Tensor:
    """log p / (1 - p) of a softmax: the output less the logsumexp of the others."""
    others = torch.arange(outputs.shape[1], device=outputs.device) != index
    return outputs[:, index] - torch.logsumexp(outputs[:, others], -1)


def _output(outputs: Tensor, index: int) -> Tensor:
    return outputs[:, index]


OUTPUTS: dict[OutputName, OutputMeaning] = {
    "classification": OutputMeaning(
        to_distribution=lambda outputs: torch.softmax(outputs, -1),
        loss=_cross_entropy,
        loss_unit="nats",
        scores={
            "log_odds": _log_odds,
            "logit": _output,
            "log_probability": lambda outputs, k: torch.log_softmax(outputs, -1)[:, k],
            "probability": lambda outputs, k: torch.softmax(outputs, -1)[:, k],
        },
        # Total variation distance: 0 to 1, and the same however a class is split into two.
        distance=lambda differences: differences.sum(-1) / 2,
        distance_name="total variation distance of the probabilities",
        decide=lambda distribution: distribution.argmax(1),
    ),
    "multilabel": OutputMeaning(
        to_distribution=torch.sigmoid,
        loss=_binary_cross_entropy,
        loss_unit="nats",
        scores={
            "log_odds": _output,  # of a sigmoid, log p / (1 - p) is the output itself
            "logit": _output,
            "log_probability": lambda outputs, k: functional.logsigmoid(outputs[:, k]),
            "probability": lambda outputs, k: torch.sigmoid(outputs[:, k]),
        },
        distance=lambda differences: differences.mean(-1),
        distance_name="mean absolute difference of the labels' probabilities",
        decide=lambda distribution: distribution > 0.5,
    ),
    "regression": OutputMeaning(
        to_distribution=lambda outputs: outputs,
        loss=_squared_error,
        loss_unit="squared deviations",
        scores={"value": _output},
        distance=lambda differences: differences.mean(-1),
        distance_name="mean absolute change of the values",
        decide=None,
    ),
}
