"""What the network predicted: constant predictions, skill, and labels that look wrong.

Dimensions: m answered sequences, or steps of them; K outputs; n sequences.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from elman.data.batches import Examples, batch_by_length, make_batch
from elman.explain.doctor import limits
from elman.explain.doctor.findings import Finding, Floats
from elman.explain.doctor.inputs import DiagnosisInput
from elman.train.gradients import inside
from elman.train.losses import Loss

BATCH = 256


@dataclass(frozen=True)
class Predictions:
    """Outputs and truth of the sampled sequences.

    Args:
        outputs: (m, K) logits or values.
        target: (m,) codes or (m, K); empty without labels.
        owners: for each answer, its sequence among those sampled, (m,).
        steps: and its step, from 1; 0 where there is one answer a sequence.
        read: what the output reads, (m, D*H).
        loss: mean loss, nan without labels.
        baseline: that of the best constant answer.
    """

    outputs: Floats
    target: NDArray[Any]
    owners: NDArray[np.int64]
    steps: NDArray[np.int64]
    read: Floats
    loss: float
    baseline: float

    @property
    def skill(self) -> float | None:
        """Share of the baseline's loss that the network takes away; None without labels."""
        if not self.baseline > 0:
            return None
        return 1 - self.loss / self.baseline


def predict_sample(inputs: DiagnosisInput, index: NDArray[np.int64]) -> Predictions:
    """Ask for the sequences at `index`, (B,), in batches."""
    model, examples = inputs.model, inputs.examples
    device = model.output.weight.device
    kept: list[torch.Tensor] = []
    # The states that the output reads, as they pass by.
    hook = model.output.register_forward_pre_hook(lambda _, args: kept.append(args[0]))
    if not inputs.labelled:
        empty: Any = np.zeros(len(examples), np.int64)
        if model.config.per_step:
            empty = examples.inputs.with_values(np.zeros(len(examples.inputs.values), np.int64))
        examples = Examples(examples.inputs, empty)
    outputs: list[NDArray[Any]] = []
    targets: list[NDArray[Any]] = []
    reads: list[NDArray[Any]] = []
    owners, steps = [], []
    try:
        with torch.no_grad():
            for part in batch_by_length(examples.inputs.lengths[index], BATCH):
                batch = make_batch(examples, index[part])
                found = model(batch.x.to(device), batch.lengths).cpu()
                read = kept.pop().cpu()
                valid = torch.arange(batch.x.shape[1]) < batch.lengths[:, None]
                if model.config.per_step:
                    rows, times = (v.numpy() for v in valid.nonzero(as_tuple=True))
                    read = read[valid]
                else:
                    rows, times = np.arange(len(part)), np.full(len(part), -1)
                found, target, _ = inside(found, batch)
                for into, values in zip(
                    (outputs, targets, reads), (found.double(), target, read.double()), strict=True
                ):
                    into.append(values.numpy())
                owners.append(part[rows])
                steps.append(times + 1)
    finally:
        hook.remove()
    joined = [np.concatenate(values) for values in (outputs, targets, owners, steps, reads)]
    loss = baseline = float("nan")
    if inputs.labelled:
        z, y = torch.from_numpy(joined[0]), torch.from_numpy(joined[1])
        loss = float(inputs.loss.items(z, y).mean())
        baseline = _baseline(inputs.loss, y, z.shape[1])
    target = joined[1] if inputs.labelled else joined[1][:0]
    return Predictions(joined[0], target, joined[2], joined[3], joined[4], loss, baseline)


def _baseline(loss: Loss, target: torch.Tensor, outputs: int) -> float:
    """The loss of the best constant answer: the classes' shares, or the mean value."""
    if loss.task == "classification":
        shares = torch.bincount(target, minlength=outputs).double() / len(target)
        constant = (shares + 1e-12).log()
    elif loss.task == "multilabel":
        shares = target.double().mean(0).clamp(1e-6, 1 - 1e-6)
        constant = (shares / (1 - shares)).log()
    else:
        constant = target.double().mean(0)
    return float(loss.items(constant.expand(len(target), outputs), target).mean())


def diagnose_predictions(
    inputs: DiagnosisInput, predicted: Predictions, index: NDArray[np.int64]
) -> Iterator[Finding]:
    """Look for answers that never change, and for labels that look wrong."""
    places = inputs.places[index][predicted.owners]
    lost: NDArray[np.bool_] = ~np.isfinite(predicted.outputs.sum(1))
    if lost.any():
        yield Finding(
            "not_finite",
            "error",
            f"{int(lost.sum())} of {len(lost)} answers are not finite",
            float(lost.mean()),
            0,
            "Standardise the inputs (scale), or lower the learning rate.",
            "scale",
            sequences=tuple(dict.fromkeys(places[lost].tolist())),
        )
        return
    yield from _constant(inputs, predicted)
    if not inputs.labelled:
        return
    if inputs.model.config.task == "classification":
        yield from _labels(inputs, predicted, places)
    elif inputs.model.config.task == "regression":
        yield from _outliers(predicted, places)


def _constant(inputs: DiagnosisInput, predicted: Predictions) -> Iterator[Finding]:
    if len(predicted.outputs) < 2:
        return
    task = inputs.model.config.task
    centred = predicted.outputs
    if task == "classification":  # what all classes share says nothing
        centred = centred - centred.mean(1, keepdims=True)
    varies = float(centred.std(0).max())
    if varies < limits.VARIES:
        yield Finding(
            "constant_predictions",
            "warning",
            f"the answers to {len(centred)} inputs are all but the same",
            varies,
            limits.VARIES,
            "Standardise the inputs (scale), begin anew, and with another learning rate.",
            "learning_rate",
        )
        return
    if task != "classification" or not inputs.labelled or inputs.record is None:
        return
    chosen = predicted.outputs.argmax(1)
    counts = np.bincount(chosen, minlength=predicted.outputs.shape[1])
    share, true = counts.max() / len(chosen), np.mean(predicted.target == counts.argmax())
    if share > limits.ONE_CLASS and true < share - 0.05 and len(chosen) >= 20:
        name = inputs.classes[int(counts.argmax())]
        imbalanced = true > 0.6
        yield Finding(
            "constant_predictions",
            "warning",
            f"{share:.0%} of the answers are {name!r}, but {true:.0%} of the labels",
            float(share),
            limits.ONE_CLASS,
            "Give rare classes more weight: class_weight 'balanced'."
            if imbalanced
            else "The network has not learnt: train longer, or with another learning rate.",
            "class_weight" if imbalanced else "learning_rate",
        )


def _labels(
    inputs: DiagnosisInput, predicted: Predictions, places: NDArray[np.int64]
) -> Iterator[Finding]:
    """Predictions in which the network and the nearest others both speak against the label."""
    if (predicted.skill or 0) < limits.LEARNT:
        return  # a network that has not learnt can suspect no label
    z = predicted.outputs - predicted.outputs.max(1, keepdims=True)
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)  # (m, K)
    rows = np.arange(len(p))
    other = np.where(np.eye(p.shape[1], dtype=bool)[predicted.target], 0.0, p).max(1)
    against = np.flatnonzero(other > limits.SURE)
    if len(against) and len(p) > 2 * limits.NEIGHBOURS:
        all_read, asked = (
            torch.from_numpy(predicted.read),
            torch.from_numpy(predicted.read[against]),
        )
        away = torch.cdist(asked, all_read)
        away[torch.arange(len(against)), torch.from_numpy(rows[against])] = torch.inf
        near = away.topk(limits.NEIGHBOURS, largest=False).indices.numpy()  # (a, k)
        same = (predicted.target[near] == predicted.target[against, None]).mean(1)
        against = against[same <= limits.CONTRADICT]
    if not len(against):
        return
    order = against[np.argsort(-other[against])]
    share = len(order) / len(p)
    # A network that is 95 % sure is wrong in 5 of 100 such cases, were all labels right.
    expected = float((1 - p[other > limits.SURE].max(1)).sum())
    i = order[0]
    said, label = inputs.classes[int(p[i].argmax())], inputs.classes[int(predicted.target[i])]
    step = f", step {predicted.steps[i]}" if predicted.steps[i] else ""
    yield Finding(
        "label_suspects",
        "warning" if share > limits.SUSPECTS and len(order) > 2 * expected + 2 else "note",
        f"{len(order)} of {len(p)} labels are contradicted by the network, sure by more than "
        f"{limits.SURE:.0%}, and by the nearest others among its states: sequence {places[i]}"
        f"{step}, labelled {label!r}, is answered {said!r} at {other[i]:.1%}. Either the label is "
        "wrong, or the network has not understood these",
        share,
        limits.SUSPECTS,
        "Look at them before anything else; where labels stay doubtful, label_smoothing keeps the "
        "network from learning them by heart.",
        "label_smoothing",
        sequences=tuple(dict.fromkeys(places[order].tolist())),
    )


def _outliers(predicted: Predictions, places: NDArray[np.int64]) -> Iterator[Finding]:
    residual = predicted.outputs - predicted.target
    middle = np.median(residual, 0)
    spread = 1.4826 * np.median(np.abs(residual - middle), 0)
    away = np.abs(residual - middle) / np.maximum(spread, 1e-12)
    worst = away.max(1)
    found = np.flatnonzero((worst > limits.OUTLIER) & (np.abs(residual).max(1) > 0.1))
    # Of the usual values, for one that is far off outweighs all others in a mean of squares.
    moved = predicted.target - np.median(predicted.target, 0)
    learnt = 1 - spread**2 / np.maximum((1.4826 * np.median(np.abs(moved), 0)) ** 2, 1e-12)
    if not len(found) or learnt.max() < limits.LEARNT:
        return
    order = found[np.argsort(-worst[found])]
    share = len(order) / len(residual)
    yield Finding(
        "label_suspects",
        "warning" if worst[order[0]] > 3 * limits.OUTLIER and share < 0.1 else "note",
        f"{len(order)} of {len(residual)} values are more than {limits.OUTLIER:g} usual errors "
        "away from what the network says. Either they are wrong, or the network has not understood "
        "them",
        float(worst[order[0]]),
        limits.OUTLIER,
        "Look at them; loss 'huber' or 'absolute' lets single values weigh less.",
        "loss",
        sequences=tuple(dict.fromkeys(places[order].tolist())),
    )
