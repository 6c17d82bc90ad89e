"""What a held-out split tells: the order of its channels and steps, its classes, its labels."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from doctor_cases import waves as two_waves
from doctor_cases import words

from elman import SequenceClassifier, SequenceTagger
from elman.explain import doctor


def waves(n: int, seed: int, noise: float = 0.3) -> tuple[list[Any], list[str]]:
    """Waves of three speeds, large in the first of three channels and small in the others."""
    rng = np.random.default_rng(seed)
    X, y = [], []
    for i in range(n):
        speed, time = 0.2 + 0.25 * (i % 3), np.arange(30)
        columns = [
            (1.0, 0.3, 0.3)[c] * np.sin(time * speed + 6 * rng.random()) + rng.normal(0, noise, 30)
            for c in range(3)
        ]
        X.append(np.stack(columns, 1))
        y.append("abc"[i % 3])
    return X, y


def levels(n: int, seed: int) -> tuple[list[Any], list[str]]:
    """Six channels of other means and deviations; the first is higher or lower."""
    rng = np.random.default_rng(seed)
    X = []
    for i in range(n):
        x = rng.normal(size=(20, 6)) * (1 + np.arange(6)) + 3 * np.arange(6)
        x[:, 0] += 1 - 2 * (i % 2)
        X.append(x)
    return X, ["down" if i % 2 else "up" for i in range(n)]


def fit(X: Any, y: Any, **options: Any) -> Any:
    options = {"hidden_size": 16, "epochs": 25, "random_state": 0, "validation": 0.0, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return SequenceClassifier(**options).fit(X, y)


def first(model: Any, X: Any, y: Any, held_out: Any) -> Any:
    found = doctor(model, X, y, held_out=held_out, probe=False)
    assert found.cause is not None, str(found)
    return found.cause


@pytest.fixture(scope="module")
def learnt() -> tuple[Any, Any, Any]:
    X, y = waves(200, 0)
    return fit(X, y), X, y


@pytest.fixture(scope="module")
def six() -> tuple[Any, Any, Any]:
    X, y = levels(120, 0)
    return fit(X, y, epochs=12), X, y


@pytest.mark.parametrize("order", [[2, 1, 0], [1, 2, 0], [2, 0, 1]])
@pytest.mark.parametrize("labelled", [True, False], ids=["labels", "no labels"])
def test_channels_of_other_deviations_in_another_order(learnt, order, labelled):
    """Exchanged before they are standardised: each has to get the other's mean and deviation."""
    X, y = waves(100, 1)
    moved = [x[:, order] for x in X]
    finding = first(*learnt, (moved, y) if labelled else (moved,))
    assert finding.name == "exchanged_channels"
    place = order.index(0)  # where the large channel, which tells the speed, has come to stand
    assert (
        f"channel {place + 1} of the held-out split looks like channel 1 of the training split"
        in finding.message
    )
    if labelled:
        assert finding.value > 0.9 and finding.threshold < 0.8  # the accuracy after and before


@pytest.mark.parametrize("order", [[5, 0, 1, 2, 3, 4], [3, 0, 5, 1, 2, 4]], ids=["cycle", "mixed"])
def test_six_channels_in_another_order(six, order):
    X, y = levels(80, 1)
    finding = first(*six, ([x[:, order] for x in X], y))
    assert finding.name == "exchanged_channels" and finding.value > 0.95
    assert len(finding.units) == 6


@pytest.mark.parametrize("labelled", [True, False], ids=["labels", "no labels"])
def test_steps_shuffled_in_the_held_out_part(learnt, labelled):
    rng = np.random.default_rng(5)
    X, y = waves(100, 1)
    shuffled = [x[rng.permutation(len(x))] for x in X]
    finding = first(*learnt, (shuffled, y) if labelled else (shuffled,))
    assert finding.name == "unordered_steps" and finding.setting == "time"
    assert "held-out sequences look shuffled" in finding.message and finding.units[0] == 0


def test_steps_shuffled_in_the_training_part():
    rng = np.random.default_rng(5)
    X, y = waves(100, 0)
    X = [x[rng.permutation(len(x))] for x in X]
    new, _ = waves(100, 1)
    assert "training sequences look shuffled" in first(fit(X, y, epochs=2), X, y, (new,)).message


def test_a_held_out_part_of_one_rare_class():
    """Every label is answered as another one, which exchanged labels would be too."""
    X, y = waves(210, 0, 1.5)
    kept = [i for i in range(210) if y[i] != "c" or i % 20 == 0]
    X, y = [X[i] for i in kept], [y[i] for i in kept]
    new, labels = waves(100, 1, 1.5)
    of_c = [i for i in range(100) if labels[i] == "c"]
    found = doctor(fit(X, y), X, y, held_out=([new[i] for i in of_c], ["c"] * len(of_c)))
    assert found.cause.name in ("label_shares", "rare_classes"), str(found)
    assert "'c'" in found.cause.message
    assert not found.by_name("exchanged_labels") and not found.by_name("label_in_training_only")


@pytest.mark.parametrize("order", ["bca", "bac"])
def test_labels_exchanged_in_the_held_out_part(learnt, order):
    X, y = waves(100, 1)
    finding = first(*learnt, (X, [order["abc".index(v)] for v in y]))
    assert finding.name == "exchanged_labels" and finding.value > 0.9


def test_few_sequences_are_no_evidence_against_their_labels():
    X, y = waves(20, 0, 2.0)
    found = doctor(fit(X, y, hidden_size=48, epochs=120), X, y, held_out=waves(100, 1, 2.0))
    assert found.score.verdict == "overfits"
    assert found.cause.name == "too_few_sequences" and "Collect more" in found.cause.remedy
    assert "label" not in found.cause.remedy and not found.by_name("no_signal")


@pytest.mark.parametrize(("seed", "epochs"), [(0, 17), (20, 19)])
def test_an_unreliable_witness_blames_no_exact_label(seed, epochs):
    """A linear model tells three in four of the speeds, and the network hardly more."""
    X, y = waves(200, seed)
    model = fit(X, y, epochs=epochs, random_state=seed // 10)
    found = doctor(model, X, y, held_out=waves(100, seed + 1), probe=False)
    assert not found.by_name("label_suspects"), str(found)


@pytest.mark.parametrize(("data", "share"), [(two_waves, 0.2), (two_waves, 0.05), (words, 0.1)])
def test_wrong_labels_in_both_parts_are_named(data, share):
    """Also where they are so many that no witness is right about more than the others."""

    def draw(n, seed):
        X, y = data(n, seed)
        names, wrong = sorted(set(y)), np.random.default_rng(seed).permutation(n)[: int(share * n)]
        return X, [names[1 - names.index(v)] if i in wrong else v for i, v in enumerate(y)], wrong

    X, y, wrong = draw(160, 0)
    found = doctor(fit(X, y, epochs=15), X, y, held_out=draw(80, 7)[:2], probe=False)
    (finding,) = found.by_name("label_suspects")
    assert len(finding.sequences) > 0.3 * len(wrong) and set(finding.sequences) <= set(wrong)


def test_one_equal_sequence_by_coincidence_is_a_note(learnt):
    model, X, y = learnt
    new, labels = waves(49, 1)
    (finding,) = doctor(model, X, y, held_out=([*new, X[0]], [*labels, y[0]]), probe=False).by_name(
        "leakage"
    )
    assert finding.severity == "note" and finding.sequences == (49,)
    (finding,) = doctor(
        model, X, y, held_out=([*new, *X[:2]], [*labels, *y[:2]]), probe=False
    ).by_name("leakage")
    assert finding.severity == "warning"


def test_classes_taken_for_equally_rare_ones_are_not_outweighed():
    """Nothing tells which of five tags a question mark gets; weights would not help."""
    rng = np.random.default_rng(0)

    def draw(n):
        X = ["".join(rng.choice(list("....?"), 20)) for _ in range(n)]
        return X, [[str(rng.choice(list("pqrst"))) if c == "?" else "rest" for c in w] for w in X]

    X, y = draw(80)
    model = SequenceTagger(hidden_size=12, epochs=15, random_state=0, validation=0.0).fit(X, y)
    found = doctor(model, X, y, held_out=draw(60), probe=False)
    assert not found.by_name("unbalanced_classes"), str(found)


def test_a_constant_channel_that_leaks_in_training_only_is_one_cause():
    rng = np.random.default_rng(0)
    X, y = waves(120, 0, 2.5)
    X = [np.c_[x, np.full(len(x), "abc".index(label))] for x, label in zip(X, y, strict=True)]
    new, labels = waves(80, 1, 2.5)
    new = [np.c_[x, rng.normal(1, 1, len(x))] for x in new]
    found = doctor(fit(X, y), X, y, held_out=(new, labels), probe=False)
    assert [f.name for f in found.causes] == ["label_in_training_only"], str(found)
    (told,) = found.by_name("label_in_input")
    assert told.explained_by and told.message.startswith("channel 4 is the same")
