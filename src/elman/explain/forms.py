"""Formats of inputs, outputs and results, shared by all explanations.

Sequences and labels are checked before a network reads them. Results are converted for NumPy,
pandas and JSON. `OUTPUTS` gives the meaning of a network's outputs, one row for each task:

    classification   p = softmax(y)    L = -log p[true]                      dy = p - [true]
    multilabel       p = sigmoid(y)    L = mean_k binary cross-entropy       dy = (p - target) / K
    regression       values y          L = mean_k (y_k - target_k)^2         dy = 2 (y - target) / K

Logarithms are natural: cross-entropies and logarithmic scores are in nats.

Dimensions: T steps, C channels, K outputs; a leading ... is any number of batch or step dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from elman.data.ragged import NOT_LABELLED
from elman.errors import DataError, ElmanError, ShapeError, nearest
from elman.models import ModelConfig, SequenceModel
from elman.tasks import TASKS, OutputName

Floats = NDArray[np.float64]
Scale = Literal["log_odds", "logit", "log_probability", "probability", "value"]
ScoreFunction = Callable[[Tensor, int], Tensor]
Texts = tuple[str, ...]
# Texts of the two values of a channel that tells whether a number is missing.
FLAG_VALUES = ("missing", "observed")


def default_channel_names(config: ModelConfig) -> tuple[str, ...]:
    """Numbered names of the C channels of a bare network; `("token",)` for tokens."""
    if config.vocabulary_size:
        return ("token",)
    return tuple(f"channel {c + 1}" for c in range(config.columns))


def check_input(
    model: SequenceModel, values: Any, name: str, channel_names: tuple[str, ...] = ()
) -> Tensor:
    """Return a sequence, (T, C) of the model's dtype or (T,) int64, on its device.

    Args:
        name: name of the sequence in messages.
        channel_names: names of the channels; by default those of a bare network.
    Raises: ShapeError or DataError unless the network can read it.
    """
    x, config = _as_tensor(values, name), model.config
    steps = () if config.vocabulary_size else (config.columns,)
    expected = "token ids (T,)" if config.vocabulary_size else f"numbers (T, {config.columns})"
    if x.ndim != 1 + len(steps) or x.shape[1:] != steps or len(x) == 0:
        raise ShapeError(
            f"{name}: got shape {tuple(x.shape)}, expected {expected} of one sequence, at "
            "least 1 step"
        )
    x = x.to(model.output.weight.device)
    if config.vocabulary_size:
        if x.is_floating_point() or x.dtype is torch.bool:
            raise ShapeError(f"{name}: got {x.dtype}, expected whole numbers, {expected}")
        _check_codes(x, config.vocabulary_size, "token", name)
        return x.long()
    x = x.to(model.output.weight.dtype)
    if not bool(torch.isfinite(x).all()):
        step, channel = (int(i) for i in (~torch.isfinite(x)).nonzero()[0])
        names = channel_names or default_channel_names(config)
        raise DataError(
            f"{name}: step {step + 1}, channel {names[channel]} is {float(x[step, channel])}",
            remedy="Expected finite numbers: fill the gap.",
        )
    for k, size in enumerate(config.category_sizes):
        _check_codes(x[:, config.input_size + k], size, "category", name)
    return x


def check_label(model: SequenceModel, values: Any, steps: int, name: str) -> Tensor:
    """Return a label in the format of `ExplainedSequence.target`.

    Args:
        steps: length T of its sequence.
        name: name of the label in messages.
    Raises: ShapeError or DataError unless the network can learn it.
    """
    label, config = _as_tensor(values, name), model.config
    task = TASKS[config.task]
    shape: tuple[int, ...] = (steps,) if config.per_step else ()
    if not task.single_label:
        if label.ndim == len(shape) and config.num_outputs == 1:
            label = label[..., None]  # a bare number is the value of the only output
        shape = (*shape, config.num_outputs)
    if label.shape != shape:
        raise ShapeError(
            f"{name}: got shape {tuple(label.shape)}, expected {shape}"
            + (", one a step" if config.per_step else "")
        )
    if task.single_label:
        if label.is_floating_point():
            raise ShapeError(f"{name}: got {label.dtype}, expected a class's code, a whole number")
        unlabelled = label == NOT_LABELLED if config.per_step else torch.zeros_like(label).bool()
        if not bool((unlabelled | ((label >= 0) & (label < config.num_outputs))).all()):
            raise DataError(
                f"{name}: got {label.tolist()!s:.60}, expected 0 to {config.num_outputs - 1}"
            )
        return label.long().to(model.output.weight.device)
    if not bool((torch.isfinite(label) | (label.isnan() & config.per_step)).all()):
        raise DataError(
            f"{name}: got a value that is not finite", remedy="Expected finite numbers."
        )
    if task.has_classes and not bool(((label == 0) | (label == 1)).all()):
        raise DataError(
            f"{name}: got a value that is neither 0 nor 1",
            remedy="Expected 1 for each label that applies and 0 for the others.",
        )
    return label.to(model.output.weight)


def check_name(option: str, name: Any, names: tuple[Any, ...], expected: str) -> int:
    """Return the index of a name.

    Raises: DataError listing the first names and the nearest one, if there is no such name.
    """
    for index, each in enumerate(names):
        if each == name:
            return index
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    raise DataError(
        f"{option}: got {name!r:.60}, expected {expected} {', '.join(map(repr, names[:5]))}{more}"
        + nearest(str(name), [str(each) for each in names])
    )


def _as_tensor(values: Any, name: str) -> Tensor:
    try:
        return torch.as_tensor(values).detach()
    except (TypeError, ValueError, RuntimeError):
        raise ShapeError(
            f"{name}: got a {type(values).__name__}, expected a tensor or an array of numbers, as "
            "the network reads them; an estimator takes what its fit takes"
        ) from None


def _check_codes(codes: Tensor, size: int, what: str, name: str) -> None:
    """Raise DataError unless codes, (T,), are whole numbers from 0 to size - 1."""
    # Category codes share a float tensor with the numbers; float32 is exact for them up to 2^24.
    bad = ~((codes >= 0) & (codes < size) & (codes == codes.floor()))
    if bool(bad.any()):
        step = int(bad.nonzero()[0])
        raise DataError(
            f"{name}: step {step + 1} is {codes[step].item():g}, which is no {what}",
            remedy=f"Expected whole numbers from 0 to {size - 1}.",
        )


@dataclass(frozen=True)
class OutputMeaning:
    """One row of `OUTPUTS`.

    Args:
        to_distribution: maps outputs, (..., K), to probabilities, or to the values themselves.
        loss: maps outputs, (..., K), and a target to the loss, (...), and its gradient, (..., K);
            written out, because the backward pass here does not use autograd.
        loss_unit: unit of the loss.
        scores: functions for the numbers that can be explained, by the name of their scale: from
            outputs, (B, K), and the index of one output to a number for each row, (B,). The first
            is the default.
        distance: maps the absolute differences of two distributions, (..., K), to a number, (...).
        distance_name: name of that distance.
        decide: maps a distribution, (T, K), to the predicted class, (T,), or labels, (T, K); None
            for numbers.
    """

    to_distribution: Callable[[Tensor], Tensor]
    loss: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    loss_unit: str
    scores: Mapping[Scale, ScoreFunction]
    distance: Callable[[Tensor], Tensor]
    distance_name: str
    decide: Callable[[Floats], NDArray[Any]] | None


def _cross_entropy(outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    true = functional.one_hot(target.clamp_min(0), outputs.shape[-1]).to(outputs)
    losses = -(true * torch.log_softmax(outputs, -1)).sum(-1)
    known = target >= 0  # a step that is not labelled has no loss and no gradient
    return losses * known, (torch.softmax(outputs, -1) - true) * known[..., None]


def _binary_cross_entropy(outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    # softplus gives -log sigmoid(y) for label 1 and -log(1 - sigmoid(y)) for label 0. Unlike
    # log(sigmoid(y)), it is finite for every y.
    losses = functional.softplus(outputs * (1 - 2 * target)).mean(-1)
    return losses, (torch.sigmoid(outputs) - target) / outputs.shape[-1]


def _squared_error(outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    error = torch.where(target.isnan().any(-1, keepdim=True), 0.0, outputs - target)
    return (error**2).mean(-1), 2 * error / outputs.shape[-1]


def _log_odds(outputs: Tensor, index: int) -> Tensor:
    """log(p / (1 - p)) of a softmax: the output minus the logsumexp of the others."""
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
        # Total variation distance: from 0 to 1, and unchanged if a class is split into two.
        distance=lambda differences: differences.sum(-1) / 2,
        distance_name="total variation distance of the probabilities",
        decide=lambda distribution: distribution.argmax(1),
    ),
    "multilabel": OutputMeaning(
        to_distribution=torch.sigmoid,
        loss=_binary_cross_entropy,
        loss_unit="nats",
        scores={
            "log_odds": _output,  # for a sigmoid, log(p / (1 - p)) is the output itself
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


def to_array(values: Tensor) -> Floats:
    """Copy a tensor to a float64 NumPy array that shares no memory with the network."""
    return values.detach().cpu().double().numpy().copy()


def to_frame(columns: Mapping[str, Any]) -> Any:
    """Return a pandas DataFrame of columns of equal length, in the order of the mapping.

    Raises: ElmanError if pandas is missing.
    """
    try:
        import pandas
    except ImportError:
        raise ElmanError(
            "to_frame: pandas is not installed. Install it: pip install pandas; or take the arrays "
            "from the result's attributes"
        ) from None
    return pandas.DataFrame(dict(columns))


def to_json(value: Any) -> Any:
    """Convert a value for JSON: arrays and tuples to lists, numbers that are not finite to None."""
    if isinstance(value, np.ndarray):
        return to_json(value.tolist())
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None  # JSON has no NaN and no infinity
    return value


def attributes_to_dict(result: Any, *names: str) -> dict[str, Any]:
    """Return the named attributes of a result, ready for JSON."""
    return {name: to_json(getattr(result, name)) for name in names}


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun: `1 step`, `2 steps`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def numbered_codes(config: ModelConfig) -> tuple[Texts, ...]:
    """Texts of the codes of a bare network's channels, which are the codes themselves."""
    if config.vocabulary_size:
        return ((),)
    codes = (tuple(map(str, range(size))) for size in config.category_sizes)
    return (*((),) * config.input_size, *codes)


def name_channels(estimator: Any, config: ModelConfig) -> tuple[tuple[str, ...], tuple[Texts, ...]]:
    """Names of an estimator's C channels in the order of the encoding, and texts of their codes."""
    if config.vocabulary_size:
        return default_channel_names(config), ((),)
    encoder, columns = estimator.encoder_, estimator.columns_
    count = encoder.channels
    names = [f"channel {c + 1}" for c in range(count)] if count > 1 else ["value"]
    if columns.what == "channels" and columns.names:
        names = list(columns.names)
    numbers = [names[c] for c in encoder.number_columns]
    flags = [
        f"whether {name} is missing" for name, gap in zip(numbers, encoder.gaps, strict=True) if gap
    ]
    values = [
        # The first codes are those of padding, which no step has, and of unknown categories.
        ("padding", "unknown", *(name or "missing" for name in known))
        for known in encoder.categories.values()
    ]
    return (
        (*numbers, *flags, *(names[c] for c in encoder.categories)),
        (*((),) * len(numbers), *(FLAG_VALUES,) * len(flags), *values),
    )
