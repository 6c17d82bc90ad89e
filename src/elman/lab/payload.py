"""What the page shows of one network, as plain values for JSON.

The network is a fitted estimator, or anything else that `elman.explain` takes; its weights, inputs
and targets are those that `elman.explain` uses, so that page and explanations agree. Arrays are
base64 of little-endian numbers with their dtype and shape, because JSON has no NaN and would take
three times the space.

Dimensions: n sequences, T steps of one sequence, C channels, S static inputs, K outputs.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.ragged import Ragged
from elman.data.units import unit_of
from elman.errors import SettingsError, ShapeError
from elman.explain.forms import FLAG_VALUES, to_json
from elman.explain.forward import check_forward, run_forward
from elman.explain.network import (
    ExplainedEstimator,
    ExplainedNetwork,
    ExplainedSequence,
    FittedEstimator,
)
from elman.models import ModelConfig
from elman.train.metrics import History

Precision = Literal["float32", "float16"]
Weights = Mapping[str, Tensor]
# The settings of a network that the page computes with; the others matter to the training only.
_CONFIG = (
    *("cell", "nonlinearity", "hidden_size", "num_layers", "bidirectional", "readout", "task"),
    *("num_outputs", "input_size", "vocabulary_size", "category_sizes", "category_widths"),
    *("embedding_size", "static_size", "static_to"),
)
_CELLS = ("rnn", "gru", "lstm")  # those of page/cells.js; `register_cell` adds to CELL_NAMES
_RESERVED = ("<pad>", "<unknown>")  # texts of the first two token ids


@runtime_checkable
class TrainedEstimator(FittedEstimator, Protocol):
    """A fitted estimator with its parameters and the history of its training."""

    @property
    def history_(self) -> History:
        """The epochs of the training."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name."""


def encode_array(values: Any, precision: Precision = "float32") -> dict[str, Any]:
    """Return an array or tensor as the page reads it: uint8 as it is, other integers as int32.

    Args:
        precision: dtype of numbers that are no integers, which are rounded to it.
    """
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    whole = "uint8" if array.dtype == np.uint8 else "int32"
    dtype = np.dtype(whole if array.dtype.kind in "iub" else precision)
    data = np.ascontiguousarray(array).astype(dtype.newbyteorder("<")).tobytes()
    return {
        "dtype": dtype.name,
        "shape": list(array.shape),
        "data": base64.b64encode(data).decode("ascii"),
    }


def describe_run(
    model: Any,
    X: Any,
    y: Any = None,
    *,
    name: str = "network",
    index: Sequence[int] | None = None,
    sequence_names: Sequence[str] = (),
    splits: str | Sequence[str] = "test",
    reasons: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    history: History | None = None,
    epochs: Mapping[int, Weights] | None = None,
    precision: Precision = "float32",
    most_steps: int | None = None,
) -> dict[str, Any]:
    """Describe one network with example sequences for the page: a RUN of its payload.

    Args:
        model: a SequenceModel or a fitted estimator; it is not changed.
        X: n sequences for examples, in the model's input format, or in the format that the
            estimator's `fit` takes.
        y: their labels in the format of `fit`; None if they are not known.
        name: name of the run.
        index: which sequences of X are the examples; None for all.
        sequence_names: names of the examples; by default those in X, or their numbers from 0.
        splits: split of the examples, or of each one, such as `test`.
        reasons: why each of them was chosen, such as `typical`; by default nothing is said.
        settings: settings of the run; by default the estimator's parameters.
        history: by default the estimator's.
        epochs: weights kept during the training, by epoch; 0 is before the first; by default those
            of the history.
        precision: of the kept epochs' weights; those of the network itself are float32.
        most_steps: steps after which longer sequences are cut off; None for whole sequences.
    Raises: SettingsError for a cell of the user's own, which the page cannot compute; ShapeError or
        DataError for a sequence or label that the network cannot read; ElmanError for a network
        that computes something else than its config says.
    """
    network = ExplainedNetwork.of(model)
    _refuse_unknown_cell(network.model.config)
    if isinstance(model, TrainedEstimator):
        history = model.history_ if history is None else history
        settings = model.get_params() if settings is None else settings
    if history is not None and epochs is None:
        epochs = history.kept_epochs
    examples = _describe_examples(network, X, y, index, most_steps)
    said = {
        "name": sequence_names,
        "split": [splits] * len(examples) if isinstance(splits, str) else splits,
        "reason": reasons,
    }
    _say_of_each(examples, said)
    return {
        "name": name,
        "settings": _plain(settings or {}),
        "config": describe_config(network.model.config),
        "channels": _describe_channels(network),
        "vocabulary": _vocabulary(network),
        "static": _describe_static(network),
        "outputs": _describe_outputs(network),
        "weights": describe_weights(network.model.state_dict()),
        "epochs": describe_epochs(epochs or {}, precision),
        "kept_epoch": None if history is None else history.kept_epoch,
        "history": describe_history(history),
        "examples": examples,
    }


def describe_config(config: ModelConfig) -> dict[str, Any]:
    """Return what the page must know of a network to compute it."""
    return {key: to_json(getattr(config, key)) for key in _CONFIG}


def describe_weights(weights: Weights, precision: Precision = "float32") -> dict[str, Any]:
    """Return weights by their names in `state_dict`."""
    return {name: encode_array(tensor, precision) for name, tensor in weights.items()}


def describe_epochs(
    epochs: Mapping[int, Weights], precision: Precision = "float32"
) -> list[dict[str, Any]]:
    """Return the weights that were kept during a training, in the order of the epochs."""
    return [
        {"epoch": epoch, "weights": describe_weights(epochs[epoch], precision)}
        for epoch in sorted(epochs)
    ]


def describe_history(history: History | None) -> dict[str, list[Any]]:
    """Return the curves of a training by name; None where nothing was measured."""
    records = [] if history is None else [record.to_dict() for record in history.epochs]
    names = list(dict.fromkeys(name for record in records for name in record))
    return {name: [to_json(record.get(name)) for record in records] for name in names}


def _refuse_unknown_cell(config: ModelConfig) -> None:
    """Raise SettingsError for a cell whose equations are the user's own Python code."""
    if config.cell not in _CELLS:
        raise SettingsError(
            f"cell: the page cannot compute {config.cell!r}, a cell of your own, because its "
            f"equations are Python code; expected one of {', '.join(_CELLS)}. "
            "elman.explain.trace and bptt explain a network with any cell"
        )


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that have a value, as JSON takes them; others as text."""
    return {
        name: value if isinstance(value, str | bool | int | float) else str(value)
        for name, value in settings.items()
        if value is not None
    }


def _describe_channels(network: ExplainedNetwork) -> list[dict[str, Any]]:
    """Return each column of x: name, unit, scaling, texts of its codes, and its value in gaps."""
    count = len(network.channel_names)
    mean, scale, units = np.zeros(count), np.ones(count), [""] * count
    fill = np.full(count, np.nan)
    if isinstance(network, ExplainedEstimator) and not network.model.config.vocabulary_size:
        encoder, columns = network.estimator.encoder_, network.estimator.columns_
        numbers = len(encoder.mean)
        mean[:numbers], scale[:numbers] = encoder.mean, encoder.scale
        fill[:numbers] = encoder.fill
        if columns.what == "channels" and columns.units:
            units[:numbers] = [columns.units[c] or "" for c in encoder.number_columns]
    return [
        {
            "name": str(name),
            "unit": unit,
            "mean": float(mean[c]),
            "scale": float(scale[c]),
            "fill": to_json(float(fill[c])),
            "values": list(values) or None,
        }
        for c, (name, unit, values) in enumerate(
            zip(network.channel_names, units, network.category_values, strict=True)
        )
    ]


def _vocabulary(network: ExplainedNetwork) -> list[str] | None:
    """Return the texts of the token ids; None for a network that reads numbers."""
    size = network.model.config.vocabulary_size
    if not size:
        return None
    if isinstance(network, ExplainedEstimator):
        return [*_RESERVED, *map(str, network.estimator.encoder_.vocabulary)]
    return [*_RESERVED, *map(str, range(2, size))][:size]


def _describe_static(network: ExplainedNetwork) -> list[dict[str, Any]]:
    """Return each static feature: its columns, their values for an unknown one, and its scaling.

    A number has `mean` and `scale`, and a second column if it may be missing; a category has
    `values`, the text of each column.
    """
    found: list[dict[str, Any]] = [
        {"name": name, "columns": list(columns), "neutral": list(neutral)}
        | {"unit": "", "mean": 0.0, "scale": 1.0, "values": None}
        for name, columns, neutral in network.static_groups()
    ]
    if isinstance(network, ExplainedEstimator) and found:
        encoder = network.estimator.encoder_.static
        numbers = len(encoder.mean)
        for k, feature in enumerate(found):
            if k < numbers:
                feature["mean"], feature["scale"] = float(encoder.mean[k]), float(encoder.scale[k])
                feature["fill"] = to_json(float(encoder.fill[k]))
                feature["unit"] = unit_of(feature["name"]) or ""
            else:
                names = encoder.categories[k - numbers]
                feature["values"] = [value or FLAG_VALUES[0] for value in names]
    return found


def _describe_outputs(network: ExplainedNetwork) -> dict[str, Any]:
    """Return the names of the outputs, and what converts them to the target's unit."""
    names = [str(name) for name in network.output_names]
    units = set() if network.has_classes else {unit_of(name) for name in names}
    return {
        "names": names,
        "mean": to_json(network.mean.tolist()),
        "scale": to_json(network.scale.tolist()),
        "unit": (units.pop() or "") if len(units) == 1 else "",
    }


def _describe_examples(
    network: ExplainedNetwork,
    X: Any,
    y: Any,
    index: Sequence[int] | None,
    most_steps: int | None,
) -> list[dict[str, Any]]:
    """Return sequences with their targets, as the network reads and learns them.

    A target is a class code; K numbers, 0 or 1 for each label or standardised values; an array of
    these, one a step, with -100 or NaN where a step is not labelled; or None.
    """
    sequences = network.read_sequences(X)
    count, names = len(sequences), network.name_sequences(X)
    inputs = network.encode(sequences)
    tokens = _token_texts(network, sequences, inputs)
    static = inputs.static
    if static is None and network.model.bound_static is not None:  # of a bare network: `bind`
        static = network.model.bound_static.expand(count, -1).numpy()
    targets = None if y is None else network.encode_labels(sequences, y)
    if count:
        _check_equations(network, inputs)
    examples = []
    for i in range(count) if index is None else index:
        end = len(inputs[i]) if most_steps is None else most_steps
        target = None if targets is None else np.asarray(targets[i])
        if target is not None and network.model.config.per_step:
            target = target[:end]
        examples.append(
            {
                "name": names[i] if names else f"sequence {i}",
                "split": "",
                "reason": "",
                "x": encode_array(inputs[i][:end]),
                "static": None if static is None else encode_array(static[i]),
                "tokens": None if tokens is None else [str(text) for text in tokens[i][:end]],
                "target": _describe_target(target, network.model.config),
            }
        )
    return examples


def _say_of_each(examples: list[dict[str, Any]], said: Mapping[str, Sequence[str]]) -> None:
    """Set what is said of each example, by its key; nothing said leaves the default.

    Raises: ShapeError unless it is said of every one.
    """
    for key, texts in said.items():
        if texts and len(texts) != len(examples):
            raise ShapeError(
                f"{key}: got {len(texts):,} entries, expected {len(examples):,}, one for each "
                "sequence"
            )
        for example, text in zip(examples, texts, strict=False):
            example[key] = text


def _token_texts(network: ExplainedNetwork, sequences: Any, inputs: Ragged) -> Ragged | None:
    """Return the text of each token as it is in the file; None for numbers."""
    if not network.model.config.vocabulary_size:
        return None
    if isinstance(network, ExplainedEstimator):
        texts: Ragged = network.estimator.encoder_.read_steps(sequences)
        return texts
    return inputs


def _describe_target(target: NDArray[Any] | None, config: ModelConfig) -> Any:
    """Return a target as the page reads it; see `_describe_examples`."""
    if target is None:
        return None
    return encode_array(target) if config.per_step else target.tolist()


def _check_equations(network: ExplainedNetwork, inputs: Ragged) -> None:
    """Raise ElmanError if the network computes something else than its config says.

    The shortest sequence is tried, because a network does the same with each of them.
    """
    shortest = int(inputs.lengths.argmin())
    x = torch.from_numpy(np.asarray(inputs[shortest]))
    bound = network.bind(inputs, shortest)
    x = x if network.model.config.vocabulary_size else x.to(network.model.output.weight.dtype)
    sequence = ExplainedSequence(bound, x[None], None, None, ())
    with torch.no_grad():
        check_forward(sequence, run_forward(bound.model, x))
