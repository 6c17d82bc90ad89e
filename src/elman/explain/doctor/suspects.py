"""Labels and target values that are probably wrong, on the word of two witnesses.

One is a cross-validated linear model, the other the network or the most similar sequences.

Dimensions: n sequences, m predictions, F features, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.data.ragged import Ragged, is_target
from elman.explain.doctor.evidence import MOST_STEPS, Evidence, cross_validate, dense, folds
from elman.explain.doctor.findings import Finding, Limits
from elman.explain.doctor.inputs import DiagnosisInput
from elman.explain.doctor.learning import Predictions
from elman.explain.doctor.score import softmax
from elman.explain.forms import Floats

NEIGHBOURS = 10  # most similar rows whose labels are compared with a suspicious one
BETTER = 0.03  # accuracy by which a network has to beat a linear model to be believed alone
CONTRADICT = 0.2  # largest share of them with the same label that contradicts it
USUAL = 0.4  # quantile of its own certainty that a model must reach to contradict a label
RELIABLE = 0.65  # share of the constant prediction's errors that a witness against labels avoids
SHORT = 0.15  # accuracy by which it may fall short of its own in a class
KNOWS = 0.5  # the least share, of a witness that wrong labels may have kept from more
AS_SURE = (
    0.65  # certain contradictions relative to certain agreement; up to 0.54 if labels are exact
)


def diagnose_suspects(
    inputs: DiagnosisInput,
    predictions: Predictions,
    index: NDArray[np.int64],
    evidence: Evidence,
    held_out_accuracy: float | None,
) -> Iterator[Finding]:
    """Find labels that a cross-validated linear model contradicts, and another witness with it.

    The linear model has not seen the labels of the sequences that it predicts. The other witness is
    the network or, if that is no better on new sequences than the linear model, the labels of the
    most similar sequences. If the linear model knows nothing, there is no evidence and no suspect.

    Args:
        held_out_accuracy: of the network on the held-out split; None without one.
    """
    target, p = predictions.target, softmax(predictions.outputs)
    blind = _blind_probabilities(evidence)
    knows = float((blind.argmax(1) == evidence.target).mean())
    best = float((p.argmax(1) == target).mean())
    if not _is_reliable(
        blind, evidence.target, best if held_out_accuracy is None else held_out_accuracy
    ):
        return
    rows = _rows_of(inputs, predictions, index, evidence)
    known = rows >= 0
    q = np.zeros_like(p)
    q[known, : blind.shape[1]] = blind[rows[known]]
    other = np.where(np.eye(p.shape[1], dtype=bool)[target], 0.0, p)
    sure = _usually_sure(blind)
    agreed = (q.argmax(1) != target) & (q.max(1) >= sure)
    agreed &= _reliable_classes(blind, evidence.target, p.shape[1])[q.argmax(1)]
    doubted = other.max(1) > Limits.SURE
    if held_out_accuracy is not None and held_out_accuracy < knows + BETTER:
        doubted[known] |= _neighbours_differ(evidence)[rows[known]]
    suspects = np.flatnonzero(known & agreed & doubted)
    order = suspects[np.argsort(-q.max(1)[suspects])]
    if len(order) < 2:
        return
    share, first = len(order) / len(p), order[0]
    places = inputs.places[index][predictions.owners]
    step = f", step {predictions.steps[first]}" if predictions.steps[first] else ""
    yield Finding(
        "label_suspects",
        "warning" if share > Limits.SUSPECTS else "note",
        f"{len(order)} of {len(p)} labels are contradicted by a linear model that was fitted "
        f"without them, with more than {sure:.0%}, and by the network or by the labels of "
        "the most similar sequences. Sequence "
        f"{inputs.name_sequence(int(places[first]))}{step} is labelled "
        f"{inputs.classes[int(target[first])]!r}, and predicted as "
        f"{inputs.classes[int(q[first].argmax())]!r} with {q[first].max():.1%}",
        share,
        Limits.SUSPECTS,
        "Check these labels."
        + (
            ""
            if inputs.option("label_smoothing")
            else " If doubtful ones remain, label_smoothing keeps the network from memorising them."
        ),
        "label_smoothing",
        sequences=tuple(dict.fromkeys(places[order].tolist())),
    )


def _usually_sure(blind: Floats) -> float:
    """The certainty from which the linear model may contradict a label.

    Its mistakes lie near its boundary, where it is less sure than it usually is; wrong labels lie
    anywhere.
    """
    return max(Limits.SURE, float(np.quantile(blind.max(1), USUAL)))


def _is_reliable(blind: Floats, target: NDArray[Any], best: float) -> bool:
    """Whether a cross-validated model is a witness against labels.

    It has to avoid most of the constant prediction's errors. If it avoids fewer, but hardly fewer
    than the network, then wrong labels may be the reason: these it contradicts about as surely as
    it agrees with right ones, while mistakes of its own are less sure.

    Args:
        blind: its probabilities, (m, K).
        best: accuracy of the network on sequences new to it, or else on its own.
    """
    right = blind.argmax(1) == target
    constant, knows = float(np.bincount(target).max() / len(target)), float(right.mean())
    if knows >= constant + RELIABLE * (1 - constant) or right.all():
        return True
    if knows < max(constant + KNOWS * (1 - constant), best - BETTER):
        return False
    surely = blind.max(1) >= _usually_sure(blind)
    return bool(surely[~right].mean() >= AS_SURE * surely[right].mean())


def _reliable_classes(blind: Floats, target: NDArray[Any], width: int) -> NDArray[np.bool_]:
    """Which classes the cross-validated model may contradict a label with, (K,).

    Those that it is right about almost as often as about all, when it answers them and when it
    should.
    """
    answers = blind.argmax(1)
    least = float((answers == target).mean()) - SHORT
    right = np.bincount(target[answers == target], minlength=width)
    most = np.maximum(np.bincount(answers, minlength=width), np.bincount(target, minlength=width))
    reliable: NDArray[np.bool_] = right >= least * np.maximum(most, 1)
    return reliable


def diagnose_values(
    inputs: DiagnosisInput,
    predictions: Predictions,
    index: NDArray[np.int64],
    evidence: Evidence,
) -> Iterator[Finding]:
    """Find target values far from what the network and a cross-validated linear model predict."""
    blind = cross_validate(evidence.features, evidence.target, evidence.owners)
    rows = _rows_of(inputs, predictions, index, evidence)
    known = np.flatnonzero(rows >= 0)
    target = predictions.target[known]
    by_network = _far_off(predictions.outputs[known] - target, target)
    by_model = _far_off(blind[rows[known]] - target, target)
    if by_network is None or by_model is None:
        return
    worst = np.minimum(by_network, by_model)  # both must be surprised
    order = np.argsort(-worst)[: int((worst > Limits.OUTLIER).sum())]
    if not len(order):
        return
    places = inputs.places[index][predictions.owners[known]]
    robust = inputs.loss.name in ("huber", "absolute")
    yield Finding(
        "label_suspects",
        "warning" if worst[order[0]] > 3 * Limits.OUTLIER else "note",
        f"{len(order)} of {len(target)} target values are more than {Limits.OUTLIER:g} typical "
        "errors away from what the network predicts, and from what a linear model predicts that "
        "was fitted without them",
        float(worst[order[0]]),
        Limits.OUTLIER,
        "Check these values"
        + ("." if robust else "; loss 'huber' or 'absolute' gives single values less weight."),
        "loss",
        sequences=tuple(dict.fromkeys(places[order].tolist())),
    )


def _far_off(residual: Floats, target: Floats) -> Floats | None:
    """Sizes of residuals in robust deviations, (m,); None if they tell nothing about the target."""
    # 1.4826 median absolute deviations are one standard deviation of a normal distribution.
    centre, middle = np.median(residual, 0), np.median(target, 0)
    spread = 1.4826 * np.median(np.abs(residual - centre), 0)
    deviation = 1.4826 * np.median(np.abs(target - middle), 0)
    if (1 - spread**2 / np.maximum(deviation**2, 1e-12)).max() < 0.5:
        return None
    far: Floats = (np.abs(residual - centre) / np.maximum(spread, 1e-12)).max(1)
    return far


def _neighbours_differ(evidence: Evidence) -> NDArray[np.bool_]:
    """Whether hardly any of the most similar rows has the same label, (m,)."""
    from scipy.spatial.distance import cdist

    x, target = dense(evidence.features)[:MOST_STEPS], evidence.target[:MOST_STEPS]
    differ = np.zeros(len(evidence.target), dtype=bool)
    if len(x) <= 2 * NEIGHBOURS:
        return differ
    scale = np.where(x.std(0) > 1e-9, x.std(0), 1.0)
    distance = cdist((x - x.mean(0)) / scale, (x - x.mean(0)) / scale)
    np.fill_diagonal(distance, np.inf)
    nearest = np.argpartition(distance, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
    differ[: len(x)] = (target[nearest] == target[:, None]).mean(1) <= CONTRADICT
    return differ


def _blind_probabilities(evidence: Evidence) -> Floats:
    """Probabilities of the classes by logistic regressions fitted without the sequence, (m, K)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    x, target = dense(evidence.features), evidence.target
    predicted = np.zeros((len(target), int(target.max()) + 1))
    for out in folds(evidence.owners):
        if len(np.unique(target[~out])) < 2:
            continue
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=100))
        with threadpool_limits(1, "blas"):  # as for the baselines, in `elman.evaluate.rules`
            model.fit(x[~out], target[~out])
        predicted[np.ix_(out, model.classes_)] = model.predict_proba(x[out])
    return predicted


def _rows_of(
    inputs: DiagnosisInput,
    predictions: Predictions,
    index: NDArray[np.int64],
    evidence: Evidence,
) -> NDArray[np.int64]:
    """The row of the evidence for each prediction, (m,); -1 if there is none."""
    place = np.full(len(inputs.examples), -1)
    place[evidence.index] = np.arange(len(evidence.index))
    sequence = place[index][predictions.owners]
    if not inputs.model.config.per_step:
        return sequence
    assert isinstance(inputs.examples.target, Ragged)
    own = inputs.examples.target.take(evidence.index)
    # The evidence has a row for each labelled step.
    row_of = np.cumsum(is_target(own.values)) - 1
    steps = own.offsets[:-1][np.maximum(sequence, 0)] + predictions.steps - 1
    rows: NDArray[np.int64] = np.where(sequence >= 0, row_of[steps * (sequence >= 0)], -1)
    return rows
