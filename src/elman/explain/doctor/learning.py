"""Predictions for a sample of sequences, and findings about them.

Dimensions: m predictions, one for each sequence or each step; K outputs; n sequences.
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
from elman.explain.doctor.findings import Finding, Limits
from elman.explain.doctor.inputs import DiagnosisInput
from elman.explain.forms import Floats
from elman.tasks import TASKS, OutputName
from elman.train.gradients import labelled_steps, select_valid
from elman.train.loop import to_device

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
                batch = to_device(batch, device)
                static = () if batch.static is None else (batch.static,)
                outputs = model(batch.x, batch.lengths, *static).cpu()
                read = states.pop().cpu()
                owners, times = np.arange(len(rows)), np.full(len(rows), -1)
                if per_step:
                    mask = torch.arange(batch.x.shape[1]) < batch.lengths[:, None]
                    mask &= labelled_steps(batch.target).cpu()
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
        constant = BEST_CONSTANT[model.config.task](targets, z.shape[1]).expand(z.shape)
        loss = float(inputs.loss.items(outputs, targets).mean())
        baseline = float(inputs.loss.items(constant, targets).mean())
    return Predictions(
        z, y if inputs.labelled else y[:0], owner_of, step_of, read_states, loss, baseline
    )


def diagnose_predictions(
    inputs: DiagnosisInput, predictions: Predictions, index: NDArray[np.int64]
) -> Iterator[Finding]:
    """Look for constant predictions."""
    places = inputs.places[index][predictions.owners]
    lost: NDArray[np.bool_] = ~np.isfinite(predictions.outputs.sum(1))
    if lost.any():
        yield Finding(
            "not_finite",
            "error",
            f"{int(lost.sum())} of {len(lost)} predictions are not finite",
            float(lost.mean()),
            0,
            inputs.advise_scale("Train again with a lower learning rate."),
            "learning_rate" if inputs.scaled else "scale",
            sequences=tuple(dict.fromkeys(places[lost].tolist())),
        )
        return
    yield from _diagnose_constant(inputs, predictions)


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
            inputs.advise_scale("Train again, with another learning rate."),
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
        imbalanced = true_share > 0.6 and inputs.option("class_weight") is None
        yield Finding(
            "constant_predictions",
            "warning",
            f"{share:.0%} of the predictions are {name!r}, but {true_share:.0%} of the labels",
            float(share),
            Limits.ONE_CLASS,
            "Give rare classes more weight: class_weight 'balanced'."
            if imbalanced
            else "Train longer, or with another learning rate.",
            "class_weight" if imbalanced else "learning_rate",
        )


def _log_shares(target: Tensor, outputs: int) -> Tensor:
    shares = torch.bincount(target, minlength=outputs).double() / len(target)
    return (shares + 1e-12).log()


def _log_odds(target: Tensor, outputs: int) -> Tensor:
    shares = target.double().mean(0).clamp(1e-6, 1 - 1e-6)
    return (shares / (1 - shares)).log()


# Maps targets and K to the outputs, (K,), of the best constant prediction.
BEST_CONSTANT: dict[OutputName, Callable[[Tensor, int], Tensor]] = {
    "classification": _log_shares,
    "multilabel": _log_odds,
    "regression": lambda target, _: target.double().mean(0),
}
