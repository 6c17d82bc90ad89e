"""Networks, data and trainings that are broken on purpose: every fault is found, with its place."""

import copy

import numpy as np
import pytest
import torch
from cases import make_model
from doctor_cases import HEALTHY, healthy, signs, sums, waves, words

from elman import SequenceClassifier
from elman.explain import doctor
from elman.setting_list import list_settings

SETTINGS = {field.name for field in list_settings()}


def found(name, model, *arguments, severity="warning", **options):
    """The findings of a name, of at least this severity, each with all that it must have."""
    diagnosis = doctor(model, *arguments, **{"probe": False, **options})
    for finding in diagnosis.findings:
        assert finding.setting in SETTINGS | {""}
        assert finding.message and finding.name in str(diagnosis)
        assert finding.remedy or finding.severity == "note"
    findings = [f for f in diagnosis.by_name(name) if severity == "note" or f.severity != "note"]
    assert findings, str(diagnosis)
    return findings


def only(name, *arguments, **options):
    """As `found`, the only one."""
    (finding,) = found(name, *arguments, **options)
    return finding


def numbers(n=30, steps=40, channels=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(steps, channels, generator=generator) for _ in range(n)]


LABELS = [0, 1, 2] * 10


def network(cell="gru", **options):
    """A new network of 16 units, of orthogonal matrices and no biases."""
    torch.manual_seed(0)
    model = make_model(cell, **{"hidden_size": 16, **options})
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "bias" in name:
                parameter.zero_()
    return model


def scaled(model, name, factor):
    """The same network with a weight times a factor."""
    with torch.no_grad():
        getattr(model.recurrent, name).mul_(factor)
    return model


# --- the network


@pytest.mark.parametrize("labels", [None, LABELS], ids=["no labels", "labels"])
def test_vanishing_gradients(labels):
    model = scaled(network("rnn", num_layers=2, bidirectional=True), "weight_hh_l1_reverse", 0.3)
    finding = only("vanishing_gradients", model, numbers(), labels)
    assert (finding.layer, finding.direction, finding.setting) == (1, "backward", "cell")
    # U is 0.3 times an orthogonal matrix, and the slope of tanh at most 1.
    assert 0 < finding.value <= 0.3**39
    assert "layer 1, backward direction" in str(finding)


def test_vanishing_gradients_of_gates_that_forget():
    """z near 0 keeps a hundredth of the state a step, and r near 0 hides it from the candidate."""
    model = network("gru")
    with torch.no_grad():
        model.recurrent.bias_ih_l0[:32] = -4.0
    finding = only("vanishing_gradients", model, numbers())
    assert finding.setting == "readout" and finding.value < 1e-30


def test_gradients_that_vanish_in_a_network_that_has_learnt_are_a_note():
    estimator = copy.deepcopy(healthy("rnn"))
    scaled(estimator.model_, "weight_hh_l0", 1e-6)
    X, y = waves()
    (finding,) = doctor(estimator, X, y, probe=False).by_name("vanishing_gradients")
    assert finding.direction == "forward" and finding.severity in ("note", "warning")
    skill = 1 - estimator.evaluate(X, y, resamples=0).log_loss / np.log(2)
    assert (finding.severity == "note") == (skill > 0.2)


@pytest.mark.parametrize(("cell", "factor"), [("relu", 1.45), ("tanh", 1.45)])
def test_exploding_gradients(cell, factor):
    model = scaled(network("rnn", nonlinearity=cell), "weight_hh_l0", factor)
    X = [1e-6 * x for x in numbers()]  # tanh is the identity there
    with torch.no_grad():
        model.recurrent.bias_ih_l0.fill_(1e-3 if cell == "relu" else 0.0)
        if cell == "relu":  # every unit passes
            model.recurrent.weight_hh_l0.copy_(factor * torch.eye(16))
    finding = only("exploding_gradients", model, X)
    assert (finding.layer, finding.direction) == (0, "forward")
    assert finding.setting == "clip_norm" and finding.value > 1e4
    if cell == "relu":
        assert finding.value == pytest.approx(factor**39, rel=1e-3)


@pytest.mark.parametrize(("cell", "factor"), [("relu", 2.0), ("tanh", 4.0)])
def test_spectral_radius(cell, factor):
    model = scaled(network("rnn", nonlinearity=cell, bidirectional=True), "weight_hh_l0", factor)
    finding = only("spectral_radius", model, numbers())
    assert finding.value == pytest.approx(factor, rel=1e-5)  # an orthogonal matrix has radius 1
    assert (finding.direction, finding.setting) == ("forward", "initialization")


@pytest.mark.parametrize(
    ("cell", "gate", "end"),
    [*(("gru", g, s) for g in "rz" for s in (-9, 9)), ("gru", "n", 9), ("lstm", "i", -9)]
    + [("lstm", g, 9) for g in "fgo"],
)
def test_saturated_gates(cell, gate, end):
    model = network(cell)
    gates = {"gru": "rzn", "lstm": "ifgo"}[cell]
    with torch.no_grad():
        model.recurrent.bias_ih_l0[gates.index(gate) * 16 : (gates.index(gate) + 1) * 16] = end
    finding = only("saturated_gates", model, numbers())
    assert (finding.gate, finding.layer, finding.direction) == (gate, 0, "forward")
    assert finding.value > 0.98 and f"gate {gate}" in finding.where


def test_saturated_states_of_a_tanh_network():
    model = scaled(network("rnn", bidirectional=True), "weight_ih_l0_reverse", 1000.0)
    finding = only("saturated_gates", model, numbers())
    assert (finding.gate, finding.direction) == ("h", "backward")
    assert finding.where == "layer 0, backward direction, state h"


def test_dead_units():
    model = network("rnn", nonlinearity="relu")
    with torch.no_grad():
        model.recurrent.bias_ih_l0[[2, 7, 11]] = -100.0
    finding = only("dead_units", model, numbers())
    assert set(finding.units) >= {2, 7, 11} and finding.value == len(finding.units) / 16
    assert "units 2, 7, 11" in str(finding)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_constant_units(cell):
    model = network(cell)
    blocks = {"rnn": 1, "gru": 3, "lstm": 4}[cell]
    silent = [0, 3, *range(6, 14)]
    with torch.no_grad():
        for name in ("weight_ih_l0", "weight_hh_l0"):
            weight = getattr(model.recurrent, name)
            for block in range(blocks):
                weight[[block * 16 + unit for unit in silent]] = 0.0
    finding = only("constant_units", model, numbers())
    assert finding.units == tuple(silent) and finding.setting == "weight_decay"
    with torch.no_grad():  # a few are worth knowing, and no more
        model.recurrent.weight_ih_l0.copy_(network(cell).recurrent.weight_ih_l0)
        model.recurrent.weight_ih_l0[[block * 16 + 5 for block in range(blocks)]] = 0.0
        model.recurrent.weight_hh_l0[[block * 16 + 5 for block in range(blocks)]] = 0.0
    (few,) = doctor(model, numbers()).by_name("constant_units")
    assert (few.severity, few.units) == ("note", (5,))


def test_weights_that_are_not_finite():
    model = network("lstm", bidirectional=True)
    with torch.no_grad():
        model.recurrent.weight_hh_l0_reverse[16 + 3, 5] = torch.nan
    finding = only("not_finite", model, numbers(), LABELS)
    assert (finding.gate, finding.direction, finding.severity) == ("f", "backward", "error")
    assert "network" in doctor(model, numbers()).skipped


# --- the answers


def test_predictions_that_are_not_finite():
    model = network("rnn", nonlinearity="relu")
    X = numbers()
    X[12] = X[12] * 1e30
    with torch.no_grad():
        model.recurrent.weight_ih_l0.mul_(1e10)
    assert only("not_finite", model, X).sequences == (12,)


def test_constant_predictions():
    model = network("gru")
    with torch.no_grad():
        model.output.weight.zero_()
    finding = only("constant_predictions", model, numbers())
    assert finding.value == 0 and finding.setting == "learning_rate"


def test_one_class_for_all():
    estimator = copy.deepcopy(healthy("gru"))
    with torch.no_grad():
        estimator.model_.output.bias[0] += 50
    finding = only("constant_predictions", estimator, *waves())
    assert "'fast'" in finding.message and "50% of the labels" in finding.message
    rare = [i for i in range(60) if i % 2 == 0 or i < 10]  # mostly 'slow'
    with torch.no_grad():
        estimator.model_.output.bias[1] += 100
    X, y = waves()
    finding = only("constant_predictions", estimator, [X[i] for i in rare], [y[i] for i in rare])
    assert finding.setting == "class_weight" and "'slow'" in finding.message


def test_wrong_labels_are_named():
    """Of words whose language a linear model tells too: no correct label among them."""
    X, y = words()
    other, flipped = {"ab": "yz", "yz": "ab"}, (3, 10, 17, 40)
    y = [other[label] if i in flipped else label for i, label in enumerate(y)]
    (finding,) = found("label_suspects", healthy("tokens"), X, y, severity="note")
    assert set(finding.sequences) <= set(flipped) and len(finding.sequences) >= 2


def test_wrong_labels_at_steps_are_named():
    X, y = signs()
    y[4] = ["down" if v == "up" else "up" for v in y[4]]
    (finding,) = found("label_suspects", healthy("tagger"), X, y, severity="note")
    assert finding.sequences == (4,)


def test_without_evidence_no_label_is_blamed():
    """One network that contradicts a label is no evidence, where a linear model tells nothing."""
    X, y = waves()
    X = [x[:, :1] * np.where(np.arange(len(x)) % 2, 1.0, -1.0)[:, None] for x in X]
    estimator = SequenceClassifier(epochs=1, hidden_size=8, random_state=0).fit(X, y)
    with torch.no_grad():
        estimator.model_.output.weight.mul_(100)
    assert not doctor(estimator, X, y, probe=False).by_name("label_suspects")


@pytest.mark.parametrize("name", ["gru", "tokens", "tagger", "regression"])
def test_exact_labels_are_not_blamed(name):
    _, data, _ = HEALTHY[name]
    diagnosis = doctor(healthy(name), *data(200, seed=3), held_out=data(100, seed=4), probe=False)
    assert not diagnosis.by_name("label_suspects")


def test_a_wrong_value_is_named():
    X, y = sums()
    y[33] += 50
    finding = only("target_outliers", healthy("regression"), X, y)
    assert finding.sequences == (33,) and finding.setting == "loss"
    X, y = sums()
    y[33] += 4
    finding = only("label_suspects", healthy("regression"), X, y, severity="note")
    assert finding.sequences == (33,)


# --- the data


def test_unscaled_inputs():
    X, y = waves()
    X = [x * [1.0, 5000.0] for x in X]
    estimator = SequenceClassifier(epochs=2, hidden_size=8, scale=False, noise=0).fit(X, y)
    finding = only("unscaled_inputs", estimator, X, y)
    assert (finding.units, finding.setting) == ((1,), "scale") and finding.value > 3000
    assert "scale=True" in finding.remedy and finding.where == "channels channel 2"
    bare = [1e-5 * x for x in numbers()]
    assert only("unscaled_inputs", network(), bare).value < 1e-4
    # Standardised by others: these are not like the training split.
    other = [x * [1.0, 1.0 / 50] for x in X]
    assert (
        "differ from those of the training" in only("unscaled_inputs", healthy("gru"), other).remedy
    )


@pytest.mark.parametrize("text", [True, False], ids=["bare", "estimator"])
def test_empty_sequences(text):
    X = numbers()
    X[4] = X[4][:0]
    X[9] = X[9][:0]
    model, labels = network(), LABELS
    if not text:
        model, X = healthy("gru"), [x.numpy() for x in X]
        labels = ["slow", "fast"] * 15
    finding = only("empty_sequences", model, X, labels)
    assert (finding.sequences, finding.severity) == ((4, 9), "error")


def test_padding_and_constant_sequences():
    X = numbers()
    X[3], X[8] = torch.zeros(12, 2), torch.full((12, 2), 0.7)
    diagnosis = doctor(network(), X)
    (padding,) = diagnosis.by_name("padding_sequences")
    (constant,) = diagnosis.by_name("constant_sequences")
    assert (padding.sequences, constant.sequences) == ((3,), (8,))
    X, y = waves()
    X[20][:] = 0
    assert only("padding_sequences", healthy("gru"), X, y).sequences == (20,)
    tokens = [torch.randint(2, 9, (9,)) for _ in range(20)]
    tokens[6] = torch.zeros(9, dtype=torch.int64)
    model = make_model(tokens=True)
    assert only("padding_sequences", model, tokens).sequences == (6,)


def test_constant_channels():
    X = numbers(channels=3)
    for x in X:
        x[:, 1] = 4.0
    (finding,) = doctor(network(input_size=3), X).by_name("constant_channels")
    assert (finding.units, finding.severity) == ((1,), "note")


def test_unreadable_sequences():
    X = numbers()
    X[13][5, 1] = torch.nan
    finding = only("unreadable_sequences", network(), X, LABELS)
    assert finding.sequences == (13,) and "channel 2 is nan" in finding.message
    X, y = waves()
    X[2][3, 0] = np.nan  # in training no values were missing
    assert only("unreadable_sequences", healthy("gru"), X, y).sequences == (2,)
    tokens = [torch.randint(2, 9, (9,)) for _ in range(20)]
    tokens[7][2] = 99
    finding = only("unreadable_sequences", make_model(tokens=True), tokens)
    assert finding.sequences == (7,) and "step 3 is 99, which is no token" in finding.message


def test_unknown_tokens():
    X, y = words()
    X[10:50] = ["QRSTUVWX"] * 40
    finding = only("unknown_tokens", healthy("tokens"), X, y)
    assert 0.3 < finding.value < 0.6


@pytest.mark.parametrize("value", [3, -1])
def test_labels_out_of_range(value):
    labels = list(LABELS)
    labels[7] = value
    finding = only("labels_out_of_range", network(), numbers(), labels)
    assert (finding.sequences, finding.severity) == ((7,), "error") and f"({value})" in str(finding)


def test_labels_that_an_estimator_does_not_know():
    X, y = waves()
    y[5], y[6] = "medium", "medium"
    finding = only("labels_out_of_range", healthy("gru"), X, y)
    assert finding.sequences == (5, 6) and "medium" in finding.message
    X, y = signs()
    y[4][2] = "sideways"
    assert only("labels_out_of_range", healthy("tagger"), X, y).sequences == (4,)
    model = network(task="regression", num_outputs=1)
    values = torch.randn(30)
    values[11] = torch.inf
    assert only("labels_out_of_range", model, numbers(), values).sequences == (11,)


def test_leakage():
    X, y = waves()
    other, labels = waves(40, seed=1)
    other[3], other[30] = X[7].copy(), X[0].copy()
    finding = only("leakage", healthy("gru"), X, y, held_out=(other, labels))
    assert finding.sequences == (3, 30) and finding.setting == "group"
    assert finding.value == 2 / 40
    assert finding.name not in [f.name for f in doctor(healthy("gru"), X, y).findings]


def test_leakage_of_common_sequences_is_a_note():
    """Of eight sequences of three bits, new ones are old ones."""
    generator = torch.Generator().manual_seed(0)
    bits = [torch.randint(2, 4, (3,), generator=generator) for _ in range(60)]
    diagnosis = doctor(make_model(tokens=True), bits[:40], held_out=(bits[40:],))
    (finding,) = diagnosis.by_name("leakage")
    assert finding.severity == "note" and "repeated within the training split" in finding.message


# --- the training


def fitted(**options):
    X, y = waves()
    settings = {"epochs": 12, "hidden_size": 8, "random_state": 0, **options}
    return SequenceClassifier(**settings).fit(X, y), X, y


def test_learning_rate_too_high():
    estimator, X, y = fitted(learning_rate=3.0, cell="rnn", hidden_size=32)
    finding = only("learning_rate_too_high", estimator, X, y, probe=True)
    assert finding.setting == "learning_rate"


def test_learning_rate_too_high_by_its_history():
    """The loss of a training whose steps overshoot: it rises again and again."""
    estimator, X, y = fitted()
    records = estimator.history_.epochs
    swings = [0.7, 1.9, 0.8, 2.2, 0.9, 0.8, 1.7, 0.9, 1.5, 0.8, 1.2, 0.9]
    for record, loss in zip(records, swings, strict=True):
        object.__setattr__(record, "loss", loss)
    finding = only("learning_rate_too_high", estimator, X, y, severity="note")
    assert finding.value == pytest.approx(5 / 11)


def test_learning_rate_too_low():
    estimator, X, y = fitted(learning_rate=1e-6)
    finding = only("learning_rate_too_low", estimator, X, y, probe=True)
    assert finding.value < 0.001 and "Try 0.01." in finding.remedy


def test_overfitting():
    rng = np.random.default_rng(0)
    X, _ = waves(40)
    y = rng.integers(0, 2, 40)  # nothing can be learnt, but by heart
    options = {"epochs": 60, "hidden_size": 32, "noise": 0, "weight_decay": 0.0}
    estimator = SequenceClassifier(
        **options, validation=0.4, keep="last", patience=0, random_state=0
    ).fit(X, y)
    finding = only("overfitting", estimator, X, y)
    losses = [record.validation_loss for record in estimator.history_.epochs]
    assert finding.value == losses[-1] / min(losses) and finding.setting == "keep"
    best = SequenceClassifier(**options, validation=0.4, random_state=0).fit(X, y)
    assert not doctor(best, X, y).by_name("overfitting")


def test_stopped_too_early():
    estimator, X, y = fitted(epochs=3, schedule="constant", learning_rate=0.01)
    finding = only("stopped_too_early", estimator, X, y, severity="note")
    assert finding.setting == "epochs" and "for example 6 epochs" in finding.remedy
