"""Whether a network can read a sequence, learn a label, and knows a name; if not, what is wrong.

Dimensions: T steps, C channels, K outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from elman.errors import DataError, ShapeError, nearest
from elman.models import ModelConfig, SequenceModel
from elman.tasks import TASKS


def default_input_names(config: ModelConfig) -> tuple[str, ...]:
    """Names of the C channels of a network that knows no others; `("token",)` for tokens."""
    if config.vocabulary_size:
        return ("token",)
    return tuple(f"channel {c + 1}" for c in range(config.columns))


def check_input(
    model: SequenceModel, values: Any, name: str, input_names: tuple[str, ...] = ()
) -> Tensor:
    """Return a sequence, (T, C) of the model's dtype or (T,) int64, on its device.

    Args:
        name: of the sequence, for messages.
        input_names: of the channels; those of a bare network if left out.
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
        raise DataError(
            f"{name}: step {step + 1}, channel "
            f"{(input_names or default_input_names(config))[channel]} is {float(x[step, channel])}",
            remedy="Expected finite numbers: fill the gap.",
        )
    for k, size in enumerate(config.category_sizes):
        _check_codes(x[:, config.input_size + k], size, "category", name)
    return x


def check_label(model: SequenceModel, values: Any, steps: int, name: str) -> Tensor:
    """Return a label in the form of `ExplainedSequence.target`.

    Args:
        steps: T of its sequence.
        name: of the label, for messages.
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
        if not bool(((label >= 0) & (label < config.num_outputs)).all()):
            raise DataError(
                f"{name}: got {label.tolist()!s:.60}, expected 0 to {config.num_outputs - 1}"
            )
        return label.long().to(model.output.weight.device)
    if not bool(torch.isfinite(label).all()):
        raise DataError(
            f"{name}: got a value that is not finite", remedy="Expected finite numbers."
        )
    if task.has_classes and not bool(((label == 0) | (label == 1)).all()):
        raise DataError(
            f"{name}: got a value that is neither 0 nor 1",
            remedy="Expected 1 for each label that is there and 0 for the others.",
        )
    return label.to(model.output.weight)


def check_name(option: str, name: Any, names: tuple[Any, ...], expected: str) -> int:
    """Return the place of a name among those there are.

    Raises: DataError with the first of them and the nearest.
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
    # Codes of categories come as floats beside the numbers, exact below 2^24 in float32.
    bad = ~((codes >= 0) & (codes < size) & (codes == codes.floor()))
    if bool(bad.any()):
        step = int(bad.nonzero()[0])
        raise DataError(
            f"{name}: step {step + 1} is {codes[step].item():g}, which is no {what}",
            remedy=f"Expected whole numbers from 0 to {size - 1}.",
        )
