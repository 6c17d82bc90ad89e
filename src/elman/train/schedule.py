"""The learning rate over a training."""

from __future__ import annotations

import math

from elman.settings import TrainingPlan


def learning_rate(settings: TrainingPlan, step: int, steps: int) -> float:
    """Learning rate of step `step` (from 0) of `steps`.

    Rises linearly over the first `warmup` share of all steps, then stays, or falls to zero along
    half a cosine.
    Source: Loshchilov & Hutter 2017, arXiv:1608.03983, without restarts.
    """
    rising = settings.warmup * steps
    if step < rising:
        return settings.learning_rate * (step + 1) / (math.floor(rising) + 1)
    if settings.schedule == "constant":
        return settings.learning_rate
    share = (step - rising) / max(1.0, steps - rising)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
