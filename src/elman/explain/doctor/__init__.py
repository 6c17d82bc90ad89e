"""Diagnosis of a network, its data and its training: why it does not learn, and remedies.

`doctor` examines a trained network, `Watch` a network during its training.
"""

from __future__ import annotations

import copy
import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from elman.data.batches import Examples
from elman.errors import ElmanError, SettingsError
from elman.evaluate.comparison import Comparison
from elman.explain.doctor.causes import rank
from elman.explain.doctor.contents import diagnose_sequences
from elman.explain.doctor.evidence import diagnose_match, gather
from elman.explain.doctor.findings import VERDICTS, Diagnosis, Finding, Measurements, Score
from elman.explain.doctor.heldout import (
    compare_parts,
    diagnose_differences,
    diagnose_label_shares,
    diagnose_leakage,
    diagnose_telling_channels,
)
from elman.explain.doctor.inputs import DiagnosisInput, TrainingRecord, read_input
from elman.explain.doctor.labels import diagnose_targets
from elman.explain.doctor.learning import diagnose_predictions, predict_sample
from elman.explain.doctor.repairs import diagnose_order, diagnose_repairs, diagnose_unlabelled
from elman.explain.doctor.states import (
    GRADIENT_ROWS,
    PROBE_STEPS,
    describe_reach,
    diagnose_states,
    highest_rate,
    measure_states,
    probe_rates,
)
from elman.explain.doctor.suspects import diagnose_suspects, diagnose_values
from elman.explain.doctor.training import diagnose_size, diagnose_training, loss_history
from elman.explain.doctor.verdict import Scored, diagnose_signal, judge, score_network
from elman.layers.random_numbers import draw_from
from elman.models import SequenceModel
from elman.tasks import TASKS
from elman.train import EpochRecord, TorchThreads
from elman.train.losses import Loss
from elman.train.nonfinite import Origin, in_weights

STATE_ROWS = 256  # most sequences whose gates and states are examined
EQUAL = ("does not beat the baseline",)  # the verdict of a good network with a good baseline
SKEWS = ("skewed_target", "target_outliers")
# Findings that do no harm to a network that has learnt and answers new sequences well.
HARMLESS = (
    "mixed_units",
    "spikes",
    "padded_sequences",
    "skewed_target",
    "target_outliers",
    "saturated_gates",
    "dead_units",
    "constant_units",
    "spectral_radius",
    "vanishing_gradients",
    "exploding_gradients",
    "stopped_too_early",
    "learning_rate_too_high",
    "learning_rate_too_low",
    "too_few_updates",
    "conflicting_labels",
    "short_sequences",
    "held_out_shift",
    "label_shares",
)

__all__ = ["Diagnosis", "Finding", "Score", "Watch", "doctor"]


def doctor(
    model: Any,
    X: Any,
    y: Any = None,
    *,
    held_out: Any = None,
    sequences: int = 500,
    probe: bool = True,
    seed: int = 0,
    comparison: Comparison | None = None,
) -> Diagnosis:
    """Find out why a network does not learn; each finding has its evidence and a remedy.

    Pass the training split as X and y, and a held-out split as `held_out`; X and y may also be any
    other data. The diagnosis looks for sequences that are empty, padding, constant or unreadable,
    labels that the network does not know, channels out of scale, unknown tokens, and sequences that
    are in both splits; for saturated gates and states, dead or constant units, recurrent matrices
    with a large spectral radius, and vanishing or exploding gradients; for constant predictions and
    suspicious labels; and, with labels or a training history, for a learning rate that is too high
    or too low, overfitting, and training that stopped too early. The network, its gradients and the
    state of every random generator are not changed.

    The thresholds are in `elman.explain.doctor.findings.Limits`, with their measurements.

    Args:
        model: a `SequenceModel`, or a fitted estimator, whose history is examined too.
        X: sequences in the format of `fit`; for a bare network a list of (T, C) or (T,) arrays.
        y: their labels; for a bare network class codes. Without labels, `Diagnosis.skipped` lists
            the checks that were not possible.
        held_out: (X, y) or (X,) of a held-out split; searched for sequences that X contains.
        sequences: the largest number of sequences to predict, sampled with `seed`; gates and states
            are examined on fewer if sequences are long or the network is wide.
        probe: whether to try other learning rates, on a new network for a few steps on one batch.
        seed: seed of all samples.
        comparison: of a report on the held-out split; without it the doctor compares the network
            with baselines that it fits on X.
    Returns: a Diagnosis; it prints as text.
    Raises: SettingsError, ShapeError or DataError if nothing can be examined.
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
        findings += [
            dataclasses.replace(
                fault, message=f"in the held-out split, {fault.message}", held_out=True
            )
            for fault in faults
        ]
        findings += diagnose_leakage(inputs, other)
    with TorchThreads(1):  # at many small steps, threads synchronise longer than they compute
        return examine(
            inputs,
            findings,
            other,
            sequences=sequences,
            probe=probe,
            seed=seed,
            comparison=comparison,
        )


def examine(
    inputs: DiagnosisInput,
    findings: list[Finding],
    held_out: DiagnosisInput | None,
    *,
    sequences: int,
    probe: bool,
    seed: int,
    judged: bool = True,
    comparison: Comparison | None = None,
) -> Diagnosis:
    """Diagnose inputs that have been read, and add to the findings from reading them.

    Args:
        judged: whether to score the network; not while it is trained.
        comparison: as for `doctor`.
    """
    findings = [*findings, *diagnose_sequences(inputs)]
    examined = [f"{len(inputs.examples):,} sequences as they are"]
    skipped = {}
    if held_out is None:
        skipped["leakage"] = "no held-out split was given"
    else:
        examined.append(f"{len(held_out.examples):,} held-out sequences, compared with them")
    if origin := in_weights(inputs.model):
        # Running the network would give only NaN measurements.
        skipped["network"] = "its weights are not finite"
        findings = _named([*findings, _report_weights(origin)], inputs, held_out)
        return Diagnosis(rank(findings), tuple(examined), skipped, Measurements())
    index = inputs.sample(sequences, seed)
    predictions = predict_sample(inputs, index)
    examined.append(f"predictions for {len(index):,} of them, sampled by seed {seed}")
    findings += diagnose_predictions(inputs, predictions, index)
    measurements, count = measure_states(inputs, index[:STATE_ROWS], seed)
    findings += diagnose_states(inputs, measurements, predictions.skill)
    examined.append(
        f"gates and states on {count:,}, gradients on {min(count, GRADIENT_ROWS)}; "
        + describe_reach(measurements)
    )
    rate, rate_probe = highest_rate(inputs), {}
    if not inputs.labelled:
        skipped["score, labels, learning rate"] = "no labels were given"
    elif probe:
        rate_probe = probe_rates(inputs, rate, seed)
        examined.append(
            f"{PROBE_STEPS} steps of a new network with each of {len(rate_probe)} learning rates "
            f"around {rate:.2g}"
        )
    if inputs.record is None:
        skipped["history"] = "a bare network has none; a fitted estimator has"
    findings += diagnose_training(inputs, rate_probe, rate, predictions.skill)
    measurements = dataclasses.replace(
        measurements, losses=loss_history(inputs), rate_probe=rate_probe, learning_rate=rate
    )
    score = None
    finite = bool(np.isfinite(predictions.outputs).all())
    if judged and inputs.labelled and finite:
        scored = score_network(inputs, predictions, index, held_out, sequences, seed, comparison)
        score, findings = _judge_and_explain(inputs, held_out, scored, findings, seed)
    elif held_out is not None:
        findings += diagnose_unlabelled(inputs, held_out)
    ranked = rank(_named(findings, inputs, held_out))
    return Diagnosis(ranked, tuple(examined), skipped, measurements, score)


def _named(
    findings: list[Finding], inputs: DiagnosisInput, held_out: DiagnosisInput | None
) -> list[Finding]:
    """Return the findings with the names of their channels and sequences."""
    return [(held_out if f.held_out and held_out else inputs).name(f) for f in findings]


def _judge_and_explain(
    inputs: DiagnosisInput,
    held_out: DiagnosisInput | None,
    scored: Scored,
    findings: list[Finding],
    seed: int,
) -> tuple[Score, list[Finding]]:
    """Judge the network, and look for what explains the verdict in data and labels.

    Returns: the score, and all findings; those that do no harm to a network that is fine are notes.
    """
    repaired: list[Finding] = []
    if held_out is not None and held_out.labelled:
        assert scored.held_out_predictions is not None
        lost, differences = scored.lost, compare_parts(inputs, held_out)
        if lost:
            loss = float(scored.training.loss.mean())
            repaired += diagnose_repairs(inputs, held_out, scored.held_out_predictions, loss)
            repaired += [] if repaired else diagnose_order(inputs, differences)
            if not repaired:
                repaired += diagnose_telling_channels(inputs, held_out, differences)
        repaired += diagnose_differences(inputs, differences, lost=lost, judged=True)
        repaired += diagnose_label_shares(inputs, held_out, lost=lost)
    elif held_out is not None:
        repaired += diagnose_unlabelled(inputs, held_out)
    differs = scored.lost and any(f.severity != "note" for f in repaired)
    score, verdict = judge(inputs, scored, differs=differs)
    findings = [*findings, *repaired, *verdict]
    findings += diagnose_targets(inputs, scored.held_out_predictions or scored.predictions)
    if score.verdict in ("learnt nothing", "does not beat the baseline"):
        findings += diagnose_size(inputs, scored.training.removed)
    task = TASKS[inputs.model.config.task]
    if score.verdict in ("learnt nothing", "overfits", "does not beat the baseline"):
        findings += diagnose_match(inputs, gather(inputs, seed))
    ranked = rank(findings)
    if not any(f.severity != "note" and f.name not in VERDICTS for f in ranked):
        findings += diagnose_signal(inputs, scored)
        if score.verdict in ("fine", "does not beat the baseline"):
            if task.single_label:
                evidence = gather(inputs, seed)
                part = scored.held_out
                findings += diagnose_suspects(
                    inputs,
                    scored.predictions,
                    scored.index,
                    evidence,
                    None if part is None else 1 - float(part.loss.mean()),
                )
            elif not task.has_classes and not any(f.name in SKEWS for f in findings):
                evidence = gather(inputs, seed)
                findings += diagnose_values(inputs, scored.predictions, scored.index, evidence)
    if score.verdict == "fine" or (score.verdict in EQUAL and scored.good):
        findings = [
            dataclasses.replace(f, severity="note") if f.name in HARMLESS else f for f in findings
        ]
    return score, findings


def _report_weights(origin: Origin) -> Finding:
    return Finding(
        "not_finite",
        "error",
        f"{origin.what} is {origin.value}: no prediction can be right",
        origin.value,
        0,
        "Train again, with a lower learning rate and clip_norm above 0.",
        "learning_rate",
        origin.layer,
        origin.direction,
        origin.gate,
    )


def _print_to_stderr(text: str) -> None:
    print(text, file=sys.stderr)


class Watch:
    """Diagnoses a network before its training and every few epochs, and reports new findings.

    Pass it to `fit(X, y, on_epoch=Watch())`. It examines a sample of the training split. It changes
    nothing and draws no random numbers from the training's generators, so the trained weights are
    bitwise the same as without it.

    Args:
        every: number of epochs between two diagnoses.
        sequences: number of sequences to examine.
        notify: function called once with the text of each finding that is a warning or an error.
        seed: seed of the sample.

    Attributes:
        diagnoses: pairs of an epoch (0 is before the training) and its diagnosis.
    """

    def __init__(
        self,
        every: int = 5,
        sequences: int = 64,
        notify: Callable[[str], None] = _print_to_stderr,
        seed: int = 0,
    ) -> None:
        for name, value in (("every", every), ("sequences", sequences)):
            if value < 1:
                raise SettingsError(f"{name}: got {value}, expected 1 or more")
        self.every = every
        self.sequences = sequences
        self.notify = notify
        self.seed = seed
        self.diagnoses: list[tuple[int, Diagnosis]] = []
        self._notified: set[tuple[object, ...]] = set()
        self._records: list[EpochRecord] = []
        self._model: SequenceModel | None = None

    def begin(self, model: SequenceModel, training: Examples, loss: Loss) -> None:
        """Diagnose the network and its training data; called before the training."""
        self._model, self._training, self._loss = model, training, loss
        self._records, self._notified, self.diagnoses = [], set(), []
        self._diagnose(0)

    def epoch(self, record: EpochRecord) -> None:
        """Store the record of a completed epoch, and diagnose the network every few epochs."""
        if self._model is None:
            raise ElmanError(
                "Watch: the network that is trained is not known. Pass it to an estimator's fit as "
                "on_epoch, or call begin(model, examples, loss) first"
            )
        self._records.append(record)
        if len(self._records) % self.every == 0:
            self._diagnose(len(self._records))

    def _diagnose(self, epoch: int) -> None:
        assert self._model is not None
        record = None
        if self._records:  # a provisional record, because the training has not ended
            losses = [r.validation_loss or r.loss for r in self._records]
            record = TrainingRecord(tuple(self._records), int(np.argmin(losses)) + 1, "", {})
        # A copy, because the network itself must stay in training mode and keep its gradients.
        model = copy.deepcopy(self._model).eval()
        model.zero_grad(set_to_none=True)
        inputs = DiagnosisInput.from_training(model, self._training, self._loss, record)
        generator = torch.Generator().manual_seed(self.seed)
        # Nothing of elman's draws here, but a cell of the user's own may.
        with draw_from(generator, everything=not model.is_exact()):
            diagnosis = examine(
                inputs,
                [],
                None,
                sequences=self.sequences,
                probe=False,
                seed=self.seed,
                judged=False,
            )
        self.diagnoses.append((epoch, diagnosis))
        for finding in diagnosis.findings:
            # The key leaves out the value, which changes, so that a lasting fault is reported once.
            key = (finding.name, finding.layer, finding.direction, finding.gate)
            if finding.severity != "note" and key not in self._notified:
                self._notified.add(key)
                self.notify(f"epoch {epoch}: {finding}")
