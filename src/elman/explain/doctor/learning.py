"""Findings about learning: constant predictions, wrong labels, learning rate, overfitting.

Dimensions: m predictions, one for each sequence or each step; K outputs; n sequences.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.batches import Examples, batch_by_length, make_batch
from elman.explain.doctor.findings import Finding, Limits
from elman.explain.doctor.inputs import DiagnosisInput, TrainingRecord
from elman.explain.doctor.states import PROBE_STEPS
from elman.explain.forms import Floats
from elman.tasks import TASKS, OutputName
from elman.train.gradients import select_valid

BATCH = 256


@dataclass(frozen=True)
class Predictions:
    """Outputs and targets of the sampled sequences.

    Args:
        outputs: (m, K) logits or values.
        target: (m,) codes or (m, K); empty without labels.
        owners: index of each prediction's sequence in the sample, (m,).
        steps: step of each prediction, from 1, (m,); 0 with one prediction a sequence.
        states: input of the output layer, (m, D*H).
        loss: mean loss; NaN without labels.
        baseline_loss: mean loss of the best constant prediction; NaN without labels.
    """

    outputs: Floats
    target: NDArray[Any]
    owners: NDArray[np.int64]
    steps: NDArray[np.int64]
    states: Floats
    loss: float
    baseline_loss: float

    @property
    def skill(self) -> float | None:
        """Share of the baseline's loss that the network removes; None without labels."""
        if not self.baseline_loss > 0:
            return None
        return 1 - self.loss / self.baseline_loss


def predict_sample(inputs: DiagnosisInput, index: NDArray[np.int64]) -> Predictions:
    """Predict the sequences at `index`, (B,), in batches."""
    model, examples = inputs.model, inputs.examples
    per_step, device = model.config.per_step, model.output.weight.device
    if not inputs.labelled:  # a batch needs a target, although it is not used here
        target: Any = np.zeros(len(examples), np.int64)
        if per_step:
            target = examples.inputs.with_values(np.zeros(len(examples.inputs.values), np.int64))
        examples = Examples(examples.inputs, target)
    columns: list[list[NDArray[Any]]] = [[], [], [], [], []]
    states: list[Tensor] = []
    # The model does not return the input of its output layer, so a hook reads it.
    hook = model.output.register_forward_pre_hook(lambda _, args: states.append(args[0]))
    try:
        with torch.no_grad():
            for rows in batch_by_length(examples.inputs.lengths[index], BATCH):
                batch = make_batch(examples, index[rows])
                outputs = model(batch.x.to(device), batch.lengths).cpu()
                read = states.pop().cpu()
                owners, times = np.arange(len(rows)), np.full(len(rows), -1)
                if per_step:
                    mask = torch.arange(batch.x.shape[1]) < batch.lengths[:, None]
                    owners, times = (v.numpy() for v in mask.nonzero(as_tuple=True))
                    read = read[mask]
                outputs, batch_target, _ = select_valid(outputs, batch)
                values = outputs.double(), batch_target, read.double()
                batch_columns = [*(v.numpy() for v in values), rows[owners], times + 1]
                for column, part in zip(columns, batch_columns, strict=True):
                    column.append(part)
    finally:
        hook.remove()
    z, y, read_states, owner_of, step_of = (np.concatenate(column) for column in columns)
    loss = baseline = float("nan")
    if inputs.labelled:
        outputs, targets = torch.from_numpy(z), torch.from_numpy(y)
        constant = CHECKS[model.config.task].best_constant(targets, z.shape[1]).expand(z.shape)
        loss = float(inputs.loss.items(outputs, targets).mean())
        baseline = float(inputs.loss.items(constant, targets).mean())
    return Predictions(
        z, y if inputs.labelled else y[:0], owner_of, step_of, read_states, loss, baseline
    )


def diagnose_predictions(
    inputs: DiagnosisInput, predictions: Predictions, index: NDArray[np.int64]
) -> Iterator[Finding]:
    """Look for constant predictions and for labels that look wrong."""
    places = inputs.places[index][predictions.owners]
    lost: NDArray[np.bool_] = ~np.isfinite(predictions.outputs.sum(1))
    if lost.any():
        yield Finding(
            "not_finite",
            "error",
            f"{int(lost.sum())} of {len(lost)} predictions are not finite",
            float(lost.mean()),
            0,
            "Standardise the inputs (scale), or lower the learning rate.",
            "scale",
            sequences=tuple(dict.fromkeys(places[lost].tolist())),
        )
        return
    yield from _diagnose_constant(inputs, predictions)
    diagnose_labels = CHECKS[inputs.model.config.task].diagnose_labels
    if inputs.labelled and diagnose_labels is not None:
        yield from diagnose_labels(inputs, predictions, places)


def _diagnose_constant(inputs: DiagnosisInput, predictions: Predictions) -> Iterator[Finding]:
    outputs = predictions.outputs
    if len(outputs) < 2:
        return
    single_label = TASKS[inputs.model.config.task].single_label
    # Softmax is invariant to a constant added to all logits: only their differences count.
    centred = outputs - outputs.mean(1, keepdims=True) if single_label else outputs
    deviation = float(centred.std(0).max())
    if deviation < Limits.VARIES:
        yield Finding(
            "constant_predictions",
            "warning",
            f"the predictions for {len(centred)} inputs are almost the same",
            deviation,
            Limits.VARIES,
            "Standardise the inputs (scale) and train again, with another learning rate.",
            "learning_rate",
        )
        return
    if not single_label or not inputs.labelled or inputs.record is None:
        return  # a network with random weights may predict one class only
    classes = outputs.argmax(1)
    counts = np.bincount(classes, minlength=outputs.shape[1])
    share, true_share = counts.max() / len(classes), np.mean(predictions.target == counts.argmax())
    if share > Limits.ONE_CLASS and true_share < share - 0.05 and len(classes) >= 20:
        name = inputs.classes[int(counts.argmax())]
        imbalanced = true_share > 0.6
        yield Finding(
            "constant_predictions",
            "warning",
            f"{share:.0%} of the predictions are {name!r}, but {true_share:.0%} of the labels",
            float(share),
            Limits.ONE_CLASS,
            "Give rare classes more weight: class_weight 'balanced'."
            if imbalanced
            else "The network has not learnt: train longer, or with another learning rate.",
            "class_weight" if imbalanced else "learning_rate",
        )


def _diagnose_class_labels(
    inputs: DiagnosisInput, predictions: Predictions, places: NDArray[np.int64]
) -> Iterator[Finding]:
    """Find labels that both the network and the nearest neighbours of its state contradict."""
    if (predictions.skill or 0) < Limits.LEARNT:
        return  # predictions of a network that has not learnt are no evidence against a label
    target = predictions.target
    z = predictions.outputs - predictions.outputs.max(1, keepdims=True)
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)  # (m, K)
    other = np.where(np.eye(p.shape[1], dtype=bool)[target], 0.0, p).max(1)
    suspects = np.flatnonzero(other > Limits.SURE)
    if len(suspects) and len(p) > 2 * Limits.NEIGHBOURS:
        # An overconfident network is also certain of its mistakes. If the nearest examples have the
        # same label, the network is more likely to be wrong than the label.
        states = torch.from_numpy(predictions.states)
        distance = torch.cdist(states[suspects], states)
        distance[torch.arange(len(suspects)), torch.from_numpy(suspects)] = torch.inf
        nearest = distance.topk(Limits.NEIGHBOURS, largest=False).indices.numpy()  # (s, k)
        agreeing = (target[nearest] == target[suspects, None]).mean(1)
        suspects = suspects[agreeing <= Limits.CONTRADICT]
    if not len(suspects):
        return
    order = suspects[np.argsort(-other[suspects])]
    share = len(order) / len(p)
    # Even with correct labels, a calibrated network is wrong in 5 of 100 cases at 95 % certainty.
    expected = float((1 - p[other > Limits.SURE].max(1)).sum())
    first = order[0]
    predicted = inputs.classes[int(p[first].argmax())]
    label = inputs.classes[int(target[first])]
    step = f", step {predictions.steps[first]}" if predictions.steps[first] else ""
    yield Finding(
        "label_suspects",
        "warning" if share > Limits.SUSPECTS and len(order) > 2 * expected + 2 else "note",
        f"{len(order)} of {len(p)} labels are contradicted by the network, with a probability "
        f"above {Limits.SURE:.0%}, and by the nearest neighbours of its state. Sequence "
        f"{places[first]}{step}, labelled {label!r}, is predicted as {predicted!r} with "
        f"{other[first]:.1%}. Either the label is wrong, or the network has not understood the "
        "sequence",
        share,
        Limits.SUSPECTS,
        "Check these labels first. If doubtful labels remain, label_smoothing keeps the network "
        "from memorising them.",
        "label_smoothing",
        sequences=tuple(dict.fromkeys(places[order].tolist())),
    )


def _diagnose_values(
    inputs: DiagnosisInput, predictions: Predictions, places: NDArray[np.int64]
) -> Iterator[Finding]:
    """Find target values that are many robust standard deviations from the prediction."""
    residual = predictions.outputs - predictions.target
    centre = np.median(residual, 0)
    # 1.4826 median absolute deviations are one standard deviation of a normal distribution.
    spread = 1.4826 * np.median(np.abs(residual - centre), 0)
    worst = (np.abs(residual - centre) / np.maximum(spread, 1e-12)).max(1)
    outliers = np.flatnonzero((worst > Limits.OUTLIER) & (np.abs(residual).max(1) > 0.1))
    # Skill is measured robustly too, because one outlier can dominate a mean square.
    deviation = predictions.target - np.median(predictions.target, 0)
    target_spread = 1.4826 * np.median(np.abs(deviation), 0)
    learnt = 1 - spread**2 / np.maximum(target_spread**2, 1e-12)
    if not len(outliers) or learnt.max() < Limits.LEARNT:
        return
    order = outliers[np.argsort(-worst[outliers])]
    share = len(order) / len(residual)
    yield Finding(
        "label_suspects",
        "warning" if worst[order[0]] > 3 * Limits.OUTLIER and share < 0.1 else "note",
        f"{len(order)} of {len(residual)} target values are more than {Limits.OUTLIER:g} typical "
        "errors away from the prediction. Either the values are wrong, or the network has not "
        "understood these sequences",
        float(worst[order[0]]),
        Limits.OUTLIER,
        "Check these values; loss 'huber' or 'absolute' gives single values less weight.",
        "loss",
        sequences=tuple(dict.fromkeys(places[order].tolist())),
    )


def _log_shares(target: Tensor, outputs: int) -> Tensor:
    shares = torch.bincount(target, minlength=outputs).double() / len(target)
    return (shares + 1e-12).log()


def _log_odds(target: Tensor, outputs: int) -> Tensor:
    shares = target.double().mean(0).clamp(1e-6, 1 - 1e-6)
    return (shares / (1 - shares)).log()


@dataclass(frozen=True)
class OutputChecks:
    """Functions for one type of output; a row of `CHECKS`.

    Args:
        best_constant: maps targets and K to the outputs, (K,), of the best constant prediction.
        diagnose_labels: finds labels that look wrong; None if there is no such check.
    """

    best_constant: Callable[[Tensor, int], Tensor]
    diagnose_labels: (
        Callable[[DiagnosisInput, Predictions, NDArray[np.int64]], Iterator[Finding]] | None
    )


CHECKS: dict[OutputName, OutputChecks] = {
    "classification": OutputChecks(_log_shares, _diagnose_class_labels),
    "multilabel": OutputChecks(_log_odds, None),
    "regression": OutputChecks(lambda target, _: target.double().mean(0), _diagnose_values),
}


def loss_history(inputs: DiagnosisInput) -> tuple[tuple[float, float], ...]:
    """Training and validation loss of each epoch; NaN without validation."""
    if inputs.record is None:
        return ()
    return tuple(
        (epoch.loss, math.nan if epoch.validation_loss is None else epoch.validation_loss)
        for epoch in inputs.record.epochs
    )


def diagnose_training(
    inputs: DiagnosisInput, rate_probe: dict[float, float], rate: float, skill: float | None
) -> Iterator[Finding]:
    """Diagnose the learning rate, overfitting and a training that ended too early."""
    yield from _diagnose_rate(inputs.record, rate_probe, rate, skill)
    if inputs.record is not None:
        yield from _diagnose_end(inputs.record)


def _diagnose_rate(
    record: TrainingRecord | None,
    rate_probe: dict[float, float],
    rate: float,
    skill: float | None,
) -> Iterator[Finding]:
    losses = [epoch.loss for epoch in record.epochs] if record else []
    swings = _share_of_swings(losses)
    if swings > Limits.SWINGS:
        yield Finding(
            "learning_rate_too_high",
            "warning",
            f"with a learning rate of {rate:.2g} the loss rose by more than a tenth of its first "
            f"value in {swings:.0%} of the epochs",
            swings,
            Limits.SWINGS,
            f"Try {rate / 10:.1g}.",
            "learning_rate",
        )
        return
    # A learning rate that works over a whole training may fail on the probe's single batch, so the
    # probe is no evidence against it if the network has learnt.
    if not rate_probe or (skill is not None and skill > Limits.LEARNT):
        return
    removed = rate_probe[rate]
    if removed >= Limits.LITTLE:
        return
    better = [r for r, share in rate_probe.items() if share > Limits.MORE]
    lower = max((r for r in better if r < rate), default=None)
    higher = min((r for r in better if r > rate), default=None)
    other = lower if lower is not None else higher
    if other is not None:
        yield Finding(
            "learning_rate_too_high" if lower is not None else "learning_rate_too_low",
            "warning",
            f"{PROBE_STEPS} steps with a learning rate of {rate:.2g} remove {removed:.1%} of a "
            f"batch's loss; with {other:.2g} they remove {rate_probe[other]:.0%}",
            removed,
            Limits.LITTLE,
            f"Try {other:.1g}.",
            "learning_rate",
        )


def _share_of_swings(losses: Sequence[float]) -> float:
    """Share of epochs in which the loss rose by more than a tenth of its first value."""
    if len(losses) < 5:
        return 0.0
    return float((np.diff(losses) > Limits.SWING * losses[0]).mean())


def _diagnose_end(record: TrainingRecord) -> Iterator[Finding]:
    validation = [e.validation_loss for e in record.epochs if e.validation_loss is not None]
    losses = [epoch.loss for epoch in record.epochs]
    validated = len(validation) == len(losses)
    if validated and len(losses) >= 3:
        best, kept = int(np.argmin(validation)), validation[record.kept_epoch - 1]
        rise = kept / validation[best] if validation[best] > 0 else 1.0
        if rise > Limits.OVERFIT:
            yield Finding(
                "overfitting",
                "warning",
                f"the validation loss was lowest in epoch {best + 1}, at {validation[best]:.3g}, "
                f"and had risen to {kept:.3g} in epoch {record.kept_epoch}, whose weights were "
                "kept",
                rise,
                Limits.OVERFIT,
                "Keep the best weights (keep 'best'), stop earlier (patience), or train with more "
                "dropout, noise or weight_decay.",
                "keep",
            )
    fall = _recent_fall(validation if validated else losses)
    if fall > Limits.FALLING and record.stopped.startswith(("all epochs", "interrupted")):
        yield Finding(
            "stopped_too_early",
            "warning",
            "the loss was still falling at the end: the last fifth of the "
            f"{len(losses)} epochs removed {fall:.0%} of the first loss",
            fall,
            Limits.FALLING,
            f"Train longer, for example {2 * len(losses)} epochs.",
            "epochs",
        )


def _recent_fall(losses: Sequence[float]) -> float:
    """Fall of the mean loss between the last two fifths of the epochs, as a share of the first."""
    last = max(1, len(losses) // 5)
    if len(losses) < 2:
        return 0.0
    before, after = np.mean(losses[-2 * last : -last]), np.mean(losses[-last:])
    return float((before - after) / max(losses[0], 1e-12))
