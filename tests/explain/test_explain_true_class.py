"""The true and the predicted class in a trace: drawn, named, and voted for, whatever the task."""

import functools

import numpy as np
import pytest
import torch
from cases import make_model, unregister_cell
from explain_cases import (
    STACK_IDS,
    STACKS,
    TASKS,
    WHAT,
    assert_near,
    fitted,
    label,
    network,
    panel_titles,
    sequence,
)

from elman.errors import DataError
from elman.explain import trace

LSTM, GRU = (("lstm", "tanh"), 1, False), (("gru", "tanh"), 1, False)


def texts_of(figure):
    figure.canvas.draw()
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@functools.cache
def many_classes(seed=0):
    model = make_model("gru", num_outputs=40, seed=seed).double()
    return model, trace(model, sequence(steps=7)).distribution[-1].argsort()


@pytest.mark.parametrize("rank", [1, 2, 6, 20, 40])
def test_the_true_class_is_drawn_and_named_among_forty(rank):
    """The true class is drawn even if its probability is the lowest of all."""
    model, order = many_classes()
    true, predicted = int(order[-rank]), int(order[-1])
    result = trace(model, sequence(steps=7), true)
    figure = result.plot()
    texts = texts_of(figure)
    if rank == 1:
        assert f"{true} (true, predicted)" in texts
        assert f"true: {true} ({result.prediction[true]:.3f}): the prediction is correct" in str(
            result
        )
        return
    assert f"{true} (true)" in texts and f"{predicted} (predicted)" in texts
    assert f"the true class is number {rank} by probability" in str(result)
    drawn = [line.get_ydata() for line in figure.axes[-2].lines]
    for k in (true, predicted):
        assert any(np.array_equal(line, result.distribution[:, k]) for line in drawn)
    titles = panel_titles(figure)
    assert f"Votes V h of the units for {predicted}, predicted" in titles
    assert f"Votes V h of the units for {true}, true" in titles


@pytest.mark.parametrize("stack", STACKS[::3], ids=STACK_IDS[::3])
@pytest.mark.parametrize("readout", ["last", "every"])
@pytest.mark.parametrize("task", TASKS)
def test_votes_and_bias_add_up_to_the_output(stack, readout, task):
    model = network(stack, readout, task=task)
    result = trace(model, sequence(), label(task, readout))
    bias = model.output.bias.detach().numpy()
    for k, name in enumerate(result.classes):
        votes = result.votes(name)
        if readout == "every" or not stack[2]:
            assert_near(votes.sum(1) + bias[k], result.outputs[:, k])
        final = result.read @ result.output_weight[k] + bias[k]
        assert final == pytest.approx(result.outputs[-1, k])
    with pytest.raises(DataError, match="name: got 'x'"):
        result.votes("x")


@pytest.mark.parametrize("readout", ["max", "every"])
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("stack", [(("gru", "tanh"), 2, True), (("rnn", "relu"), 1, False)])
def test_every_kind_of_network_is_drawn_with_its_label(stack, readout, task):
    model = network(stack, readout, task=task)
    result = trace(model, sequence(), label(task, readout))
    result.plot().canvas.draw()
    order, H = result.unit_order, 6
    assert sorted(order.tolist()) == list(range(result.hidden.shape[1]))
    votes = np.abs(result.shown_votes()[0][1])
    peaks = votes.argmax(0)[order]
    assert (np.diff(peaks[:H]) >= 0).all() and (np.diff(peaks[H:]) >= 0).all()


def test_votes_are_drawn_in_the_order_of_their_peaks():
    result = trace(network(LSTM), sequence(steps=9), 1)
    figure = result.plot()
    _, votes = result.shown_votes()[0]
    axes = next(a for a in figure.axes if a.get_title(loc="left").startswith("Votes"))
    np.testing.assert_array_equal(axes.images[0].get_array(), votes[:, result.unit_order].T)
    assert axes.images[0].get_clim()[0] == -axes.images[0].get_clim()[1]
    ticks = {t.get_position()[1]: t.get_text() for t in axes.get_yticklabels()}
    assert all(int(text) == result.unit_order[place - 1] + 1 for place, text in ticks.items())


def test_a_tagger_shows_the_true_and_the_predicted_class_of_each_step():
    estimator, X, _ = fitted("tags")
    predicted = estimator.predict([X[0]])[0].tolist()
    other = {"hi": "lo", "lo": "hi"}
    wrong = [other[tag] if t in (1, 2) else tag for t, tag in enumerate(predicted)]
    result = trace(estimator, X[0], wrong)
    np.testing.assert_array_equal(np.flatnonzero(result.is_wrong), [1, 2])
    assert f"2 of {len(X[0])} steps are wrong: step 2 (true {wrong[1]}" in str(result)
    figure = result.plot()
    title = "Class of each step (crosses: wrong)"
    strip = next(a for a in figure.axes if a.get_title(loc="left") == title)
    assert strip.lines[0].get_xdata().tolist() == [2, 3]
    assert [text.get_text() for text in strip.get_yticklabels()] == ["true", "predicted"]
    assert {"hi", "lo"} <= set(texts_of(figure)) | {predicted[0]} | {other[predicted[0]]}
    right = trace(estimator, X[0], predicted)
    assert f"all {len(X[0])} steps are predicted correctly" in str(right)
    assert "Class of each step, all correct" in panel_titles(right.plot())


def test_labels_that_are_missed_are_named():
    estimator, X, _ = fitted("sets")
    p = estimator.predict_proba([X[0]])[0]
    labels = list(estimator.classes_)
    likely = {name for name, v in zip(labels, p, strict=True) if v > 0.5}
    result = trace(estimator, X[0], set(labels) - likely)
    text = str(result)
    for name, value in zip(labels, p, strict=True):
        what = "wrongly predicted" if name in likely else "missed"
        assert f"{name} ({value:.3f})" in text.split(f"{what}: ")[1].split("; ")[0]
    assert "all labels are correct" in str(trace(estimator, X[0], likely))
    assert any("(true)" in t or "(predicted)" in t for t in texts_of(result.plot()))


def test_true_values_are_drawn_in_their_unit():
    estimator, X, y = fitted("values")
    result = trace(estimator, X[0], y[0])
    np.testing.assert_allclose(result.target, y[0], rtol=1e-5)
    assert f"error {result.prediction[0] - y[0][0]:+.4g}" in str(result)
    panel = result.plot().axes[-2]
    for k in range(2):
        assert any(np.allclose(line.get_ydata(), y[0][k]) for line in panel.lines)
    votes = result.votes("target 1").sum(1)
    assert np.isfinite(votes).all()
    each = network(GRU, "every", task="regression")
    target = label("regression", "every")
    per_step = trace(each, sequence(), target)
    worst = np.abs(per_step.distribution - target.numpy()).max(1).argmax()
    assert f"largest error at step {worst + 1}: " in str(per_step)


@pytest.mark.parametrize("what", WHAT)
def test_without_a_label_nothing_is_said_about_it(what):
    estimator, X, _ = fitted(what)
    result = trace(estimator, X[0])
    assert result.target is None and result.is_wrong is None
    assert "true" not in str(result)
    assert not any("(true" in t for t in texts_of(result.plot()))


def test_gates_that_keep_say_so_in_the_same_words_and_shades():
    bars = {}
    for stack, gate in ((GRU, "update gate z"), (LSTM, "forget gate f")):
        result = trace(network(stack), sequence())
        figure = result.plot_gates()
        figure.canvas.draw()
        titles = [axes.get_title(loc="left").lower() for axes in figure.axes]
        place = titles.index(gate)
        image = figure.axes[place].images[0]
        assert image.get_clim() == (0.0, 1.0)
        dark, light = image.cmap(1.0), image.cmap(0.0)
        assert sum(dark[:3]) < 1 < sum(light[:3])
        ends = [text.get_text() for text in image.colorbar.ax.get_yticklabels()]
        bars[gate] = ends[-1]
        assert ends[0] in ("0 replaces the old state", "0 erases the old state")
        assert any(t.endswith("keeps the old state") for t in texts_of(result.plot()))
    assert set(bars.values()) == {"1 keeps the old state"}


def test_a_users_cell_keeps_its_own_words():
    """A gate called f of another cell need not keep anything: it gets no words of the lstm."""
    from elman.layers import Cell, register_cell

    def step(a, u, states):
        f = torch.sigmoid(a["f"] + u["f"])
        return {"f": a["f"] + u["f"]}, {"f": f}, {"h": f * torch.tanh(a["f"]) - 0.1 * states["h"]}

    cell = Cell("writer", ("f",), step, activations={"f": "sigmoid"})
    register_cell(cell)
    try:
        result = trace(make_model("writer").double(), sequence())
        figure, whole = result.plot_gates(), result.plot()
    finally:
        unregister_cell(cell)
    assert panel_titles(figure)[0] == "F"
    assert not any("keeps" in t for t in texts_of(figure) + texts_of(whole))
