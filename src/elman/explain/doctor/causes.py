"""From causes to effects: which findings follow from which, and in what order they are told."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from elman.explain.doctor.findings import SEVERITIES, VERDICTS, Finding

_STATES = (
    "spectral_radius",
    "exploding_gradients",
    "saturated_gates",
    "dead_units",
    "constant_units",
    "vanishing_gradients",
    "constant_predictions",
)
_TRAINING = (
    "learning_rate_too_high",
    "learning_rate_too_low",
    "too_few_updates",
    "stopped_too_early",
    "too_few_units",
)
_LABELS = ("no_signal", "too_few_sequences", "rare_classes", "label_suspects", "near_duplicates")
_INPUT = (*_TRAINING, *_STATES, *_LABELS, *VERDICTS)  # follow from inputs that cannot be learnt
_SETTING = ("stopped_too_early", "too_few_units", *_STATES, *_LABELS, *VERDICTS)
_PART = ("overfitting", "no_signal", "held_out_shift", "label_shares", *_LABELS, *VERDICTS)
# From cause to effect: each finding with those that it explains.
EFFECTS: dict[str, tuple[str, ...]] = {
    "not_finite": _INPUT,
    "empty_sequences": (),
    "unreadable_sequences": (),
    "labels_out_of_range": (),
    "zero_weights": _INPUT,
    "frozen_weights": _INPUT,
    "single_tokens": ("unknown_tokens", "short_sequences", "held_out_shift", *_INPUT),
    "short_sequences": ("constant_sequences", *_INPUT),
    "empty_channels": ("constant_channels", *VERDICTS),
    "missing_codes": ("spikes", "mixed_units", "unscaled_inputs", "held_out_shift", *_INPUT),
    "mixed_units": ("spikes", "unscaled_inputs", "held_out_shift", *_INPUT),
    "spikes": ("unscaled_inputs", "held_out_shift", *_INPUT),
    "unscaled_inputs": ("held_out_shift", *_INPUT),
    "unordered_steps": ("held_out_shift", *_INPUT),
    "reversed_steps": _PART,
    "exchanged_channels": _PART,
    "shifted_channels": _PART,
    "exchanged_labels": _PART,
    "other_targets": _PART,
    "held_out_labels_shifted": _PART,
    "label_in_training_only": ("label_in_input", *_PART),
    "unknown_tokens": _PART,
    "held_out_shift": VERDICTS,
    "label_shares": VERDICTS,
    "labels_shifted": (*_TRAINING, *_STATES, *_LABELS, *VERDICTS),
    "shifted_tags": (*_TRAINING, *_STATES, *_LABELS, *VERDICTS),
    "conflicting_labels": (*_TRAINING, *_LABELS, *VERDICTS),
    "skewed_target": (*_TRAINING, *_STATES, *_LABELS, "target_outliers", *VERDICTS),
    "target_outliers": (*_TRAINING, *_STATES, *_LABELS, *VERDICTS),
    "numeric_classes": ("conflicting_labels", *_TRAINING, *_STATES, *_LABELS, *VERDICTS),
    "padded_sequences": (*_STATES, *_LABELS, *VERDICTS),
    "padding_sequences": _LABELS,
    "constant_sequences": _LABELS,
    "strong_regularisation": ("learning_rate_too_low", "too_few_updates", *_SETTING),
    "learning_rate_too_high": _SETTING,
    "too_few_updates": ("learning_rate_too_low", *_SETTING),
    "learning_rate_too_low": _SETTING,
    "unbalanced_classes": ("rare_classes", *_STATES, *_LABELS, *VERDICTS),
    "rare_classes": ("label_suspects", "worse_than_baseline"),
    "label_is_length": ("worse_than_baseline",),
    "label_in_input": ("worse_than_baseline",),
    "stopped_too_early": (*_STATES, *_LABELS, *VERDICTS),
    "too_few_units": (*_STATES, *_LABELS, *VERDICTS),
    "spectral_radius": (*_STATES, *_LABELS, *VERDICTS),
    "exploding_gradients": (*_STATES, *_LABELS, *VERDICTS),
    "saturated_gates": (*_STATES, *_LABELS, *VERDICTS),
    "dead_units": (*_STATES, *_LABELS, *VERDICTS),
    "constant_units": (*_STATES, *_LABELS, *VERDICTS),
    "vanishing_gradients": ("constant_predictions", *_LABELS, *VERDICTS),
    "too_few_sequences": ("constant_predictions", "label_suspects", *VERDICTS),
    "no_signal": ("constant_predictions", "label_suspects", *VERDICTS),
    "constant_predictions": ("label_suspects", *VERDICTS),
    "leakage": (),
    "overlapping_sequences": (),
    "near_duplicates": (),
    "label_suspects": ("worse_than_baseline", "overfitting"),
    "held_out_differs": ("overfitting",),
    "learnt_nothing": ("worse_than_baseline",),
    "overfitting": ("worse_than_baseline",),
    "worse_than_baseline": (),
    "constant_channels": (),
}


def rank(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Merge findings of one name, order them from cause to effect, and fold effects under causes.

    An effect follows its cause, and is not a fault of its own: `explained_by` names the cause.
    """
    order = {name: i for i, name in enumerate(EFFECTS)}
    merged = sorted(_merge(findings), key=lambda f: order.get(f.name, len(order)))
    folded: list[Finding] = []
    for finding in merged:
        cause = next(
            (
                c.explained_by or c.name
                for c in folded
                if c.severity != "note" and finding.name in EFFECTS.get(c.name, ())
            ),
            "",
        )
        folded.append(dataclasses.replace(finding, explained_by=cause))
    effects = {f.name: tuple(e.name for e in folded if e.explained_by == f.name) for f in folded}
    folded = [dataclasses.replace(f, explains=effects[f.name]) for f in folded]
    severity = {f.name: SEVERITIES.index(f.severity) for f in folded}
    # Sorting is stable: findings of equal severity keep the order from cause to effect.
    return tuple(sorted(folded, key=lambda f: (severity[f.explained_by or f.name], _key(f))))


def _key(finding: Finding) -> tuple[int, bool]:
    order = list(EFFECTS)
    root = finding.explained_by or finding.name
    return order.index(root) if root in order else len(order), bool(finding.explained_by)


def _merge(findings: Sequence[Finding]) -> list[Finding]:
    """Merge findings of one name at several layers and gates into the most severe of them."""
    by_name: dict[tuple[str, bool], list[Finding]] = {}
    for finding in findings:
        by_name.setdefault((finding.name, finding.held_out), []).append(finding)
    merged = []
    for group in by_name.values():
        if len(group) == 1 or group[0].layer is None:
            merged += group
            continue
        worst = min(group, key=lambda f: SEVERITIES.index(f.severity))
        alike = [f for f in group if f.severity == worst.severity]
        places = tuple((f.layer, f.direction, f.gate) for f in alike)
        units = worst.units if len(alike) == 1 else ()
        merged.append(dataclasses.replace(worst, places=places, units=units))
    return merged
