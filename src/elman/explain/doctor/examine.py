"""The doctor: one look at a network, its data and its training."""

from __future__ import annotations

import dataclasses
from typing import Any

from elman.errors import SettingsError
from elman.explain.doctor import predictions, states, training
from elman.explain.doctor import sequences as sequence_checks
from elman.explain.doctor.findings import Diagnosis, Finding, Measurements, ranked
from elman.explain.doctor.inputs import DiagnosisInput, read_input
from elman.train.nonfinite import Origin, in_weights
from elman.train.threads import TorchThreads


def doctor(
    model: Any,
    X: Any,
    y: Any = None,
    *,
    held_out: Any = None,
    sequences: int = 256,
    probe: bool = True,
    seed: int = 0,
) -> Diagnosis:
    """Say what keeps a network from learning, each finding with its figure and what mends it.

    Give it the part that was trained on, and what was held out as `held_out`; it works on any part.
    What it looks for: sequences that are empty, padding, constant or not readable, labels that are
    none, channels out of scale, unknown tokens, sequences on both sides of a split; gates and
    states at their ends, dead or constant units, recurrent matrices that explode, gradients that
    vanish or explode on their way back; answers that never change, labels that look wrong; and with
    labels or a history a learning rate that is too high or too low, overfitting, and a training
    that stopped too early. Network, gradients and the state of every random generator stay as they
    are.

    The lines that a figure has to cross stand in `elman.explain.doctor.limits`, with what they were
    measured on.

    Args:
        model: a `SequenceModel`, or a fitted estimator, whose history is examined at too.
        X: sequences: as `fit` takes them; for a bare network a list of (T, C) or (T,) arrays.
        y: their labels; for a bare network codes. Without them less is examined at, and it says so.
        held_out: (X, y), or (X,), that nothing was trained on: examined at for sequences of X.
        sequences: at most so many are answered, drawn by `seed`; of long ones or for wide networks
            gates and states are examined at on fewer.
        probe: whether to try other learning rates: a new network, a few steps on one batch.
        seed: of all that is drawn.
    Returns: a Diagnosis; it prints as text.
    Raises: SettingsError, ShapeError or DataError if there is nothing that can be examined at.
    """
    if sequences < 1:
        raise SettingsError(f"sequences: got {sequences}, expected 1 or more")
    inputs, findings = read_input(model, X, y)
    other = None
    if held_out is not None:
        if not isinstance(held_out, tuple) or not 1 <= len(held_out) <= 2:
            raise SettingsError(
                f"held_out: got a {type(held_out).__name__}, expected (X, y) or (X,)"
            )
        other, faults = read_input(model, *held_out)
        findings += [_held_out(finding) for finding in faults]
        findings += sequence_checks.diagnose_leakage(inputs, other)
    with TorchThreads(1):  # many small steps: more threads cost more than they bring
        return examine(inputs, findings, other, sequences=sequences, probe=probe, seed=seed)


def _held_out(finding: Finding) -> Finding:
    return dataclasses.replace(finding, message=f"in the held-out part, {finding.message}")


def _not_finite(origin: Origin) -> Finding:
    return Finding(
        "not_finite",
        "error",
        f"{origin.what} is {origin.value}: no answer can be right",
        origin.value,
        0,
        "Begin anew, with a lower learning rate and clip_norm above 0.",
        "learning_rate",
        origin.layer,
        origin.direction,
        origin.gate,
    )


def examine(
    inputs: DiagnosisInput,
    findings: list[Finding],
    other: DiagnosisInput | None,
    *,
    sequences: int,
    probe: bool,
    seed: int,
) -> Diagnosis:
    """As `doctor`, of what was read already, with what was found on the way."""
    found = [*findings, *sequence_checks.diagnose_sequences(inputs)]
    examined = [f"{len(inputs.examples):,} sequences as they are"]
    skipped = {}
    if other is None:
        skipped["leakage"] = "no held-out part was given"
    else:
        examined.append(f"{len(other.examples):,} held-out sequences beside them")
    if inputs.labelled and inputs.model.config.task == "multilabel":
        skipped["label_suspects"] = "there are several labels at once"
    if origin := in_weights(inputs.model):
        skipped["network"] = "its weights are not finite"
        found.append(_not_finite(origin))
        return Diagnosis(ranked(found), tuple(examined), skipped, Measurements())
    index = inputs.sample(sequences, seed)
    answered = predictions.predict_sample(inputs, index)
    found += predictions.diagnose_predictions(inputs, answered, index)
    examined.append(f"answers to {len(index):,} of them, drawn by seed {seed}")
    measured, count = states.measure_states(inputs, index, seed)
    found += states.diagnose_states(inputs, measured, answered.skill)
    examined.append(
        f"gates and states on {count:,}, gradients on {min(count, states.GRADIENT_ROWS)}; "
        + states.summarise_reach(measured)
    )
    rate, rates = training.highest_rate(inputs), {}
    if not inputs.labelled:
        skipped["labels, learning rate"] = "no labels were given"
    elif probe:
        rates = training.probe_rates(inputs, rate, seed)
        examined.append(
            f"{training.STEPS} steps of a new network with each of {len(rates)} learning rates "
            f"around {rate:.2g}"
        )
    if inputs.record is None:
        skipped["history"] = "a bare network has none; a fitted estimator has"
    found += training.diagnose_training(inputs, rates, rate, answered.skill)
    measured = dataclasses.replace(
        measured, losses=training.loss_history(inputs), rate_probe=rates, learning_rate=rate
    )
    return Diagnosis(ranked(found), tuple(examined), skipped, measured)
