"""The sequence and the step that are explained by default: wrong, or else the least certain."""

import numpy as np
import pytest
import torch
from explain_cases import KINDS, READOUTS, WHAT, fitted, label, network, sequence

from elman.errors import SettingsError
from elman.explain import attribute, choose_sequence

GRU = (("gru", "tanh"), 1, False)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_wrong_one_with_the_highest_loss_is_chosen(kind, readout):
    """Against the definition, one sequence at a time."""
    model = network(GRU, readout, kind)
    X = [sequence(kind, n, seed=n) for n in (4, 6, 5, 9, 3)]
    y = [label(readout=readout, steps=len(x), seed=i) for i, x in enumerate(X)]
    best, place = -1.0, None
    for i, (x, target) in enumerate(zip(X, y, strict=True)):
        rows = torch.log_softmax(model(x[None])[0].reshape(-1, 3), -1)
        for t, (row, true) in enumerate(zip(rows, target.reshape(-1), strict=True)):
            if row.argmax() != true and -row[true].item() > best:
                best, place = -row[true].item(), (i, t if readout == "every" else None)
    choice = choose_sequence(model, X, y)
    assert (choice.index, choice.step) == place
    assert "highest loss" in choice.reason and "wrong" in choice.reason


@pytest.mark.parametrize("readout", ["last", "every"])
def test_without_an_error_the_least_certain_one_is_chosen(readout):
    model, X = network(GRU, readout), [sequence(steps=n, seed=n) for n in (4, 6, 5, 9)]
    outputs = [torch.softmax(model(x[None])[0].reshape(-1, 3), -1).detach() for x in X]
    margins = [(p.topk(2).values[:, 0] - p.topk(2).values[:, 1]).numpy() for p in outputs]
    least = min(range(4), key=lambda i: margins[i].min())
    right = [p.argmax(-1) if readout == "every" else p.argmax(-1)[0] for p in outputs]
    for y, words in ((right, "no prediction is wrong"), (None, "without labels")):
        choice = choose_sequence(model, X, y)
        assert choice.index == least and words in choice.reason
        assert choice.step == (margins[least].argmin() if readout == "every" else None)


@pytest.mark.parametrize("what", WHAT)
def test_of_an_estimator(what):
    estimator, X, y = fitted(what)
    choice = choose_sequence(estimator, X, y)
    if what == "values":
        errors = (np.array(y) - estimator.predict(X)) / estimator.target_.scale
        assert choice.index == (errors**2).mean(1).argmax() and "error" in choice.reason
        assert choose_sequence(estimator, X).index == 0
    elif what == "sets":
        likely = (estimator.predict_proba(X) > 0.5).tolist()
        names = [{n for n, on in zip("pq", row, strict=True) if on} for row in likely]
        assert names[choice.index] != y[choice.index] or all(
            a == b for a, b in zip(names, y, strict=True)
        )
    elif what == "tags":
        assert 0 <= choice.step < len(X[choice.index])
    else:
        p = estimator.predict_proba(X)
        true = [list(estimator.classes_).index(label) for label in y]
        wrong = p.argmax(1) != true
        losses = -np.log(p[np.arange(len(y)), true])
        assert choice.index == np.where(wrong, losses, -1).argmax() or not wrong.any()


def test_of_many_sequences_a_sample_is_read(monkeypatch):
    monkeypatch.setattr("elman.explain.choice._SEQUENCES", 10)
    model, X = network(GRU), [sequence(seed=s) for s in range(50)]
    assert "of the 10 sequences that were read" in choose_sequence(model, X).reason


def test_the_baselines_own_answer_is_printed():
    """And a caution, where the baseline is predicted as the class that is explained."""
    model = network(GRU)
    x = sequence()
    p = torch.softmax(model(torch.zeros_like(x)[None])[0], -1)
    best = int(p.argmax())
    for target in range(3):
        result = attribute(model, x, target)
        assert result.baseline_answer == f"{best} with probability {p[best]:.3f}"
        assert result.baseline_is_target == (target == best)
        assert ("Caution: that is" in str(result)) == (target == best)
        assert f"For the baseline itself the network predicts {best}" in str(result)
    tagger = network(GRU, "every")
    p = torch.softmax(tagger(torch.zeros_like(x)[None])[0], -1)[2]
    assert f"{int(p.argmax())} with" in attribute(tagger, x, 1, step=2).baseline_answer
    numbers = network(GRU, task="regression")
    result = attribute(numbers, x, "output 2")
    assert result.baseline_answer == f"{result.at_baseline:.4g}" and "Caution" not in str(result)
    labels = network(GRU, task="multilabel")
    p = torch.sigmoid(labels(torch.zeros_like(x)[None])[0])
    for k in range(3):
        result = attribute(labels, x, k)
        assert result.baseline_answer == f"{k} with probability {p[k]:.3f}"
        assert result.baseline_is_target == bool(p[k] > 0.5)


def test_nothing_to_attribute_is_said():
    """Of a network that ignores its input no bars of 1e-07 are drawn."""
    model = network(GRU)
    with torch.no_grad():
        model.output.weight.mul_(1e-7)
    result = attribute(model, sequence(), 0)
    assert not result.has_values and not result.plot().axes
    assert "there is nothing to attribute" in str(result) and "Most by" not in str(result)
    assert attribute(network(GRU), sequence(), 0).has_values


def test_channels_are_sorted_by_the_number_that_is_printed():
    """A channel whose parts cancel out is large in all, and says what it raised and lowered."""
    model = network(GRU, input_size=6)
    x = torch.randn(9, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    result = attribute(model, x, 0)
    line = next(row for row in str(result).split("\n") if row.startswith("Most by channel"))
    printed = [float(part.split(" ")[2]) for part in line.split(": ")[1].split(", channel")[0:1]]
    names = [f"channel {c + 1}" for c in np.argsort(-np.abs(result.values).sum(0))[:5]]
    places = [line.index(name) for name in names]
    assert places == sorted(places)
    assert printed[0] == pytest.approx(np.abs(result.values).sum(0).max(), rel=1e-2)
    up = np.maximum(result.values, 0).sum(0)[int(names[0][8:]) - 1]
    assert f"({up:+.3g}, " in line


@pytest.mark.parametrize(("span", "valid"), [(5, True), (6, False), (9999, False)])
def test_a_span_longer_than_the_sequence_is_refused(span, valid):
    if valid:
        assert attribute(network(GRU), sequence(), 0, "occlusion", span=span).total
        return
    with pytest.raises(SettingsError, match=rf"span: got {span}, expected at most 5, the steps"):
        attribute(network(GRU), sequence(), 0, "occlusion", span=span)
