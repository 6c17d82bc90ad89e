"""`fit(..., groups=)`: what the training is watched by shares no group with what it learns from."""

import numpy as np
import pytest

from elman import SequenceClassifier, SequenceRegressor, SequenceTagger, SettingsError, ShapeError
from elman.estimators import prepare

SMALL = {"hidden_size": 4, "epochs": 1, "validation": 0.25, "random_state": 0}


@pytest.mark.parametrize("kind", [SequenceClassifier, SequenceTagger, SequenceRegressor])
def test_groups_stay_on_one_side(kind, numbers, tags, monkeypatch):
    X, y = numbers
    y = {SequenceTagger: tags(X), SequenceRegressor: np.arange(24.0)}.get(kind, y)
    groups = [f"g{i // 4}" for i in range(24)]
    drawn = []

    def watched(*args, **options):
        drawn.append(draw(*args, **options))
        return drawn[-1]

    draw = prepare.hold_out_groups
    monkeypatch.setattr(prepare, "hold_out_groups", watched)
    weights = np.ones(24)
    weights[:2] = 0  # two are left out before the parts are drawn
    kind(**SMALL).fit(
        X, y, groups=groups, sample_weight=weights if kind is not SequenceTagger else None
    )
    ((first, second),) = drawn
    left = groups[2:] if kind is not SequenceTagger else groups
    assert len(second) and not {left[i] for i in first} & {left[i] for i in second}


def test_groups_that_cannot_be_honoured(numbers):
    X, y = numbers
    with pytest.raises(ShapeError, match=r"groups: got shape \(3,\), expected \(24,\)"):
        SequenceClassifier(**SMALL).fit(X, y, groups=[1, 2, 3])
    with pytest.raises(SettingsError, match="groups: no share of X is held out"):
        SequenceClassifier(**SMALL).fit(X, y, groups=range(24), validation_data=(X, y))
    with pytest.raises(SettingsError, match="groups: no share of X is held out"):
        SequenceClassifier(**SMALL | {"validation": 0.0}).fit(X, y, groups=range(24))
