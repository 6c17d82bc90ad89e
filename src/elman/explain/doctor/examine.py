"""The doctor: one look at a network, its data and its training."""

from __future__ import annotations

import dataclasses
from typing import Any

from elman.errors import SettingsError
from elman.explain.doctor import answers, course, data, states
from elman.explain.doctor.findings import Diagnosis, Finding, Picture, ranked
from elman.explain.doctor.patient import Patient, admit
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
        model: a `SequenceModel`, or a fitted estimator, whose history is looked at too.
        X: sequences: as `fit` takes them; for a bare network a list of (T, C) or (T,) arrays.
        y: their labels; for a bare network codes. Without them less is looked at, and it says so.
        held_out: (X, y), or (X,), that nothing was trained on: looked at for sequences of X.
        sequences: at most so many are answered, drawn by `seed`; of long ones or for wide networks
            gates and states are looked at on fewer.
        probe: whether to try other learning rates: a new network, a few steps on one batch.
        seed: of all that is drawn.
    Returns: a Diagnosis; it prints as text.
    Raises: SettingsError, ShapeError or DataError if there is nothing that can be looked at.
    """
    if sequences < 1:
        raise SettingsError(f"sequences: got {sequences}, expected 1 or more")
    patient, findings = admit(model, X, y)
    other = None
    if held_out is not None:
        if not isinstance(held_out, tuple) or not 1 <= len(held_out) <= 2:
            raise SettingsError(
                f"held_out: got a {type(held_out).__name__}, expected (X, y) or (X,)"
            )
        other, faults = admit(model, *held_out)
        findings += [_held_out(finding) for finding in faults]
        findings += data.leakage(patient, other)
    with TorchThreads(1):  # many small steps: more threads cost more than they bring
        return examine(patient, findings, other, sequences=sequences, probe=probe, seed=seed)


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
    patient: Patient,
    findings: list[Finding],
    other: Patient | None,
    *,
    sequences: int,
    probe: bool,
    seed: int,
) -> Diagnosis:
    """As `doctor`, of what was read already, with what was found on the way."""
    found = [*findings, *data.look(patient)]
    looked = [f"{len(patient.examples):,} sequences as they are"]
    skipped = {}
    if other is None:
        skipped["leakage"] = "no held-out part was given"
    else:
        looked.append(f"{len(other.examples):,} held-out sequences beside them")
    if patient.labelled and patient.model.config.task == "multilabel":
        skipped["label_suspects"] = "there are several labels at once"
    if origin := in_weights(patient.model):
        skipped["network"] = "its weights are not finite"
        found.append(_not_finite(origin))
        return Diagnosis(ranked(found), tuple(looked), skipped, Picture())
    index = patient.sample(sequences, seed)
    answered = answers.ask(patient, index)
    found += answers.judge(patient, answered, index)
    looked.append(f"answers to {len(index):,} of them, drawn by seed {seed}")
    picture, count = states.measure(patient, index, seed)
    found += states.judge(patient, picture, answered.skill)
    looked.append(
        f"gates and states on {count:,}, gradients on {min(count, states.GRADIENT_ROWS)}; "
        + states.summary(picture)
    )
    rate, rates = course.rate_of(patient), {}
    if not patient.labelled:
        skipped["labels, learning rate"] = "no labels were given"
    elif probe:
        rates = course.probe(patient, rate, seed)
        looked.append(
            f"{course.STEPS} steps of a new network with each of {len(rates)} learning rates "
            f"around {rate:.2g}"
        )
    if patient.course is None:
        skipped["history"] = "a bare network has none; a fitted estimator has"
    found += course.judge(patient, rates, rate, answered.skill)
    picture = dataclasses.replace(picture, losses=course.losses(patient), rates=rates, rate=rate)
    return Diagnosis(ranked(found), tuple(looked), skipped, picture)
