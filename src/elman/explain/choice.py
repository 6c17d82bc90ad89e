"""Choice of the sequence and the step to explain: one that the network gets wrong, or is unsure of.

A sequence that the network predicts correctly and with confidence has hardly any loss, so that its
gradient shows nothing, and its attribution little.

Dimensions: n sequences, B of them in a batch, T steps, K outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.batches import batch_by_length, pad, static_of
from elman.data.ragged import NOT_LABELLED, Ragged
from elman.explain.forms import Floats
from elman.explain.network import ExplainedNetwork
from elman.tasks import TASKS
from elman.train import TorchThreads

_SEQUENCES = 1000  # most sequences to choose from
_STEPS = 500_000  # most steps of these sequences together: seconds with 64 units
_BATCH = 64


@dataclass(frozen=True)
class Choice:
    """The sequence and the step to explain.

    Args:
        index: position of the sequence in X, from 0.
        step: the step, from 0, if the network has an output at every step; else None.
        reason: why it was chosen, in words.
    """

    index: int
    step: int | None
    reason: str


@dataclass(frozen=True)
class Ratings:
    """How right and how certain predictions are: (m,) each, one per sequence or per step.

    Args:
        place: sequence and step of each prediction, (m, 2).
        loss: its loss; NaN without labels.
        wrong: whether it differs from the label; False without labels.
        margin: how decided it is: the difference of the two largest probabilities, or the distance
            of the closest label's probability to 1/2; NaN for numbers.
        group: code of the true class, without labels of the predicted one; -100 where there is no
            single class.
    """

    place: NDArray[np.int64]
    loss: Floats
    wrong: NDArray[np.bool_]
    margin: Floats
    group: NDArray[np.int64]


@TorchThreads(1)  # torch forks and joins its threads at every time step: see `trace`
def choose_sequence(model: Any, X: Any, y: Any = None) -> Choice:
    """Choose a sequence and a step to explain, on a sample of at most a thousand sequences.

    The prediction with the highest loss among those that are wrong; if none is wrong, or without
    labels, the least certain one. For numbers, the one with the largest error, and without labels
    the first.

    Args:
        model: a SequenceModel or a fitted estimator; it is not changed.
        X: sequences in the model's input format, or in the format that the estimator's `fit` takes.
        y: their labels in the format of `fit`, if they are known.
    Raises: DataError or ShapeError for a sequence or label that the network cannot read.
    """
    network, count, rows, found = rate_sample(model, X, y)
    per_step = network.model.config.per_step

    def choice(best: int, reason: str) -> Choice:
        sequence, step = found.place[best].tolist()
        return Choice(sequence, step if per_step else None, reason)

    some = "" if len(rows) == count else f" of the {len(rows):,} sequences that were read"
    if not network.has_classes:
        if y is None:
            return choice(0, "the first one, as without true values none is wrong")
        return choice(int(found.loss.argmax()), f"its error is the largest{some}")
    if found.wrong.any():
        best = int(np.where(found.wrong, found.loss, -np.inf).argmax())
        share = f"{int(found.wrong.sum()):,} of {len(found.wrong):,}"
        return choice(
            best, f"it has the highest loss of the {share} predictions that are wrong{some}"
        )
    known = "without labels" if y is None else "no prediction is wrong"
    return choice(int(found.margin.argmin()), f"{known}, and this one is the least certain{some}")


def rate_sample(
    model: Any, X: Any, y: Any
) -> tuple[ExplainedNetwork, int, NDArray[np.int64], Ratings]:
    """Predict a sample of sequences and rate the predictions; arguments as for `choose_sequence`.

    Returns: the network; the number of sequences of X; the positions of those of the sample; and
        the ratings of their predictions, in this order.
    """
    network = ExplainedNetwork.of(model, dtype=None)
    sequences = network.read_sequences(X)
    inputs = network.encode(sequences)
    targets = None if y is None else network.encode_labels(sequences, y)
    rows = _sample_rows(inputs.lengths)
    return network, len(inputs), rows, _rate_predictions(network, inputs, targets, rows)


def _sample_rows(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the positions of the sequences to choose from, evenly spaced, in order."""
    count = min(len(lengths), _SEQUENCES, max(2, int(_STEPS / max(1.0, float(lengths.mean())))))
    return np.unique(np.linspace(0, len(lengths) - 1, count).round().astype(np.int64))


def _rate_predictions(
    network: ExplainedNetwork,
    inputs: Ragged,
    targets: NDArray[Any] | Ragged | None,
    rows: NDArray[np.int64],
) -> Ratings:
    """Predict sequences of X and rate the predictions, in the order of `rows`.

    Args:
        inputs: all sequences as the network reads them.
        targets: their targets as the network learns them; None without labels.
        rows: positions of the sequences to rate, (n,), ascending.
    """
    model, parts = network.model, []
    weight = model.output.weight
    for batch in batch_by_length(inputs.lengths[rows], _BATCH):
        chosen = inputs.take(rows[batch])
        x = pad(chosen).to(weight.device)
        x = x if model.config.vocabulary_size else x.to(weight.dtype)
        with torch.no_grad():
            static = static_of(chosen)
            own = () if static is None else (static.to(weight),)
            outputs = model(x, torch.from_numpy(chosen.lengths), *own).double().cpu()
        for i, row in enumerate(rows[batch].tolist()):
            length = int(chosen.lengths[i])
            own = outputs[i, :length] if model.config.per_step else outputs[i : i + 1]
            target = None if targets is None else torch.as_tensor(np.asarray(targets[row]))
            parts.append(_rate(network, row, own, target))
    ordered = sorted(parts, key=lambda part: int(part.place[0, 0]))
    return Ratings(
        *(
            np.concatenate([getattr(part, name) for part in ordered])
            for name in ("place", "loss", "wrong", "margin", "group")
        )
    )


def _rate(network: ExplainedNetwork, row: int, outputs: Tensor, target: Tensor | None) -> Ratings:
    """Rate the predictions of one sequence, (1, K), or (T, K) with an output at every step."""
    count = len(outputs)
    place = np.column_stack([np.full(count, row), np.arange(count)])
    loss, wrong, margin = np.full(count, np.nan), np.zeros(count, bool), np.full(count, np.nan)
    group = np.full(count, NOT_LABELLED)
    single = TASKS[network.model.config.task].single_label
    distribution = network.meaning.to_distribution(outputs)
    decide = network.meaning.decide
    if single:
        two = distribution.topk(min(2, distribution.shape[1]), -1).values.numpy()
        margin = two[:, 0] - (two[:, 1] if two.shape[1] > 1 else 0.0)
        group = distribution.argmax(-1).numpy()
    elif network.has_classes:
        margin = (distribution - 0.5).abs().amin(-1).numpy()
    if target is not None:
        own = target if network.model.config.per_step else target[None]
        own = own.long() if single else own.to(outputs)
        losses, _ = network.meaning.loss(outputs, own)
        loss = losses.numpy()
        group = own.numpy() if single else group
        if decide is not None:
            different = (decide(distribution.numpy()) != own.numpy()) & (own.numpy() >= 0)
            wrong = different if single else different.any(-1)
    return Ratings(place, loss, wrong, margin, group)
