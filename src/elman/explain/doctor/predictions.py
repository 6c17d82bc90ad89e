"""What the network predicts: constant predictions, skill, and labels that look wrong.

Dimensions: m predictions, one a sequence or one a step; K outputs; n sequences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.batches import Examples, batch_by_length, make_batch
from elman.explain.doctor import limits
from elman.explain.doctor.findings import Finding
from elman.explain.doctor.inputs import DiagnosisInput
from elman.explain.results import Floats
from elman.tasks import TASKS, OutputName
from elman.train.gradients import select_valid

BATCH = 256


@dataclass(frozen=True)
class Predictions:
    """Outputs and targets of the sampled sequences.

    Args:
        outputs: (m, K) logits or values.
        target: (m,) codes or (m, K); empty without labels.
        owners: for each prediction, its sequence among those sampled, (m,).
        steps: and its step, from 1; 0 where there is one prediction a sequence.
        states: what the output layer reads, (m, D*H).
        loss: mean loss, nan without labels.
        baseline_loss: that of the best constant prediction.
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
    if not inputs.labelled:  # batches have a target: any will do
        target: Any = np.zeros(len(examples), np.int64)
        if per_step:
            target = examples.inputs.with_values(np.zeros(len(examples.inputs.values), np.int64))
        examples = Examples(examples.inputs, target)
    columns: list[list[NDArray[Any]]] = [[], [], [], [], []]
    states: list[Tensor] = []
    # The output layer's input is no part of what the model returns: a hook reads it in passing.
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
    """Look for predictions that never change, and for labels that look wrong."""
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
    # Softmax ignores what is added to all logits: only differences between classes count.
    centred = outputs - outputs.mean(1, keepdims=True) if single_label else outputs
    deviation = float(centred.std(0).max())
    if deviation < limits.VARIES:
        yield Finding(
            "constant_predictions",
            "warning",
            f"the predictions for {len(centred)} inputs are almost the same",
            deviation,
            limits.VARIES,
            "Standardise the inputs (scale) and train again, with another learning rate.",
            "learning_rate",
        )
        return
    if not single_label or not inputs.labelled or inputs.record is None:
        return  # a new network may well prefer one class
    classes = outputs.argmax(1)
    counts = np.bincount(classes, minlength=outputs.shape[1])
    share, true_share = counts.max() / len(classes), np.mean(predictions.target == counts.argmax())
    if share > limits.ONE_CLASS and true_share < share - 0.05 and len(classes) >= 20:
        name = inputs.classes[int(counts.argmax())]
        imbalanced = true_share > 0.6
        yield Finding(
            "constant_predictions",
            "warning",
            f"{share:.0%} of the predictions are {name!r}, but {true_share:.0%} of the labels",
            float(share),
            limits.ONE_CLASS,
            "Give rare classes more weight: class_weight 'balanced'."
            if imbalanced
            else "The network has not learnt: train longer, or with another learning rate.",
            "class_weight" if imbalanced else "learning_rate",
        )


def _diagnose_class_labels(
    inputs: DiagnosisInput, predictions: Predictions, places: NDArray[np.int64]
) -> Iterator[Finding]:
    """Labels that both the network and the nearest neighbours of its state contradict."""
    if (predictions.skill or 0) < limits.LEARNT:
        return  # a network that has not learnt is no evidence against a label
    target = predictions.target
    z = predictions.outputs - predictions.outputs.max(1, keepdims=True)
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)  # (m, K)
    other = np.where(np.eye(p.shape[1], dtype=bool)[target], 0.0, p).max(1)
    suspects = np.flatnonzero(other > limits.SURE)
    if len(suspects) and len(p) > 2 * limits.NEIGHBOURS:
        # An overconfident network is sure of its mistakes too. Where the examples nearest to it
        # have this label, the network is more likely to be wrong than the label.
        states = torch.from_numpy(predictions.states)
        distance = torch.cdist(states[suspects], states)
        distance[torch.arange(len(suspects)), torch.from_numpy(suspects)] = torch.inf
        nearest = distance.topk(limits.NEIGHBOURS, largest=False).indices.numpy()  # (s, k)
        agreeing = (target[nearest] == target[suspects, None]).mean(1)
        suspects = suspects[agreeing <= limits.CONTRADICT]
    if not len(suspects):
        return
    order = suspects[np.argsort(-other[suspects])]
    share = len(order) / len(p)
    # With correct labels, a network that is 95 % sure is still wrong in 5 of 100 such cases.
    expected = float((1 - p[other > limits.SURE].max(1)).sum())
    first = order[0]
    predicted = inputs.classes[int(p[first].argmax())]
    label = inputs.classes[int(target[first])]
    step = f", step {predictions.steps[first]}" if predictions.steps[first] else ""
    yield Finding(
        "label_suspects",
        "warning" if share > limits.SUSPECTS and len(order) > 2 * expected + 2 else "note",
        f"{len(order)} of {len(p)} labels are contradicted by the network, with a probability "
        f"above {limits.SURE:.0%}, and by the nearest neighbours of its state. Sequence "
        f"{places[first]}{step}, labelled {label!r}, is predicted as {predicted!r} with "
        f"{other[first]:.1%}. Either the label is wrong, or the network has not understood the "
        "sequence",
        share,
        limits.SUSPECTS,
        "Check these labels first. If doubtful labels remain, label_smoothing keeps the network "
        "from memorising them.",
        "label_smoothing",
        sequences=tuple(dict.fromkeys(places[order].tolist())),
    )


def _diagnose_values(
    inputs: DiagnosisInput, predictions: Predictions, places: NDArray[np.int64]
) -> Iterator[Finding]:
    """Target values that lie far from what is predicted, in robust standard deviations."""
    residual = predictions.outputs - predictions.target
    centre = np.median(residual, 0)
    # 1.4826 median absolute deviations are one standard deviation of a normal distribution.
    spread = 1.4826 * np.median(np.abs(residual - centre), 0)
    worst = (np.abs(residual - centre) / np.maximum(spread, 1e-12)).max(1)
    outliers = np.flatnonzero((worst > limits.OUTLIER) & (np.abs(residual).max(1) > 0.1))
    # Skill is measured on typical values too: one outlier outweighs all others in a mean square.
    deviation = predictions.target - np.median(predictions.target, 0)
    target_spread = 1.4826 * np.median(np.abs(deviation), 0)
    learnt = 1 - spread**2 / np.maximum(target_spread**2, 1e-12)
    if not len(outliers) or learnt.max() < limits.LEARNT:
        return
    order = outliers[np.argsort(-worst[outliers])]
    share = len(order) / len(residual)
    yield Finding(
        "label_suspects",
        "warning" if worst[order[0]] > 3 * limits.OUTLIER and share < 0.1 else "note",
        f"{len(order)} of {len(residual)} target values are more than {limits.OUTLIER:g} typical "
        "errors away from the prediction. Either the values are wrong, or the network has not "
        "understood these sequences",
        float(worst[order[0]]),
        limits.OUTLIER,
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
    """What depends on the kind of output.

    Args:
        best_constant: from targets and K to the outputs, (K,), of the best constant prediction.
        diagnose_labels: looks for wrong labels; None where nothing does.
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
