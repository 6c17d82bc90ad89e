"""What the figures of attributions and memory say, from one step to thousands."""

import numpy as np
import pytest
import torch
from cases import make_model
from explain_cases import WHAT, fitted, network, sequence

from elman.explain import attribute, memory
from elman.plots.attribution import (
    MAX_CHANNELS,
    MAX_LINES,
    _lines_to_draw,
    _wrap_lines,
)
from elman.plots.states import MAX_BARS
from elman.plots.style import to_png

GRU = (("gru", "tanh"), 1, False)


def bars(axes):
    return [patch.get_height() for patch in axes.patches]


def words(figure):
    result = [t.get_text() for axes in figure.axes for t in (*axes.texts, axes.title)]
    result += [axes.get_title("left") for axes in figure.axes]
    return result + ([figure._supxlabel.get_text()] if figure._supxlabel else [])


def drawn(figure):
    """Render the figure: text that does not fit is a warning, which is an error here."""
    to_png(figure)
    return figure


@pytest.mark.parametrize("what", WHAT)
def test_every_kind_is_drawn(what):
    estimator, X, _ = fitted(what)
    target = "target 1" if what == "values" else None
    for method in ("integrated_gradients", "occlusion"):
        result = attribute(estimator, X[0], target, method)
        figure = drawn(result.plot())
        assert f"What decided: {result.output}" in words(figure)
        assert any("bars up raised it, bars down lowered it" in w for w in words(figure))


def test_each_channel_has_its_signal_and_its_bars_on_one_scale():
    result = attribute(network(GRU), sequence(steps=8), 0)
    figure = drawn(result.plot())
    whole, *signals = figure.axes[:3]
    np.testing.assert_allclose(np.add(bars(whole)[:8], bars(whole)[8:]), result.by_step)
    for c, (signal, below) in enumerate(zip(signals, figure.axes[3:], strict=True)):
        np.testing.assert_allclose(signal.get_lines()[0].get_ydata(), result.inputs[:, c])
        np.testing.assert_allclose(signal.get_lines()[0].get_xdata(), np.arange(1, 9))
        np.testing.assert_allclose(np.add(bars(below)[:8], bars(below)[8:]), result.values[:, c])
        assert f"channel {c + 1}" in [t.get_text() for t in signal.texts]
        assert below.get_ylabel() == "nats"
    assert figure.axes[3].get_ylim() == figure.axes[4].get_ylim()


def test_of_many_channels_the_lines_to_draw_are_drawn_and_the_rest_named():
    model = make_model("gru", input_size=40).double()
    result = attribute(model, torch.randn(5, 40, dtype=torch.float64))
    figure = drawn(result.plot())
    assert len(figure.axes) == 1 + 2 * MAX_CHANNELS
    order = np.argsort(-np.abs(result.values).sum(0))
    for c in order[:MAX_CHANNELS]:
        assert f"channel {c + 1}" in words(figure)
    told = next(w for w in words(figure) if w.startswith("not drawn, with"))
    assert told.endswith("and 28 more")
    rest = np.abs(result.values[:, order[MAX_CHANNELS:]]).sum() / np.abs(result.values).sum()
    assert f"{rest:.0%}" in told


@pytest.mark.parametrize("steps", [1, 2, 2000])
def test_one_step_and_thousands_are_drawn(steps):
    model = make_model("gru", input_size=1)
    result = attribute(model, torch.randn(steps, 1), 0)
    figure = drawn(result.plot())
    heights = np.array(bars(figure.axes[1]))
    assert len(heights) <= 2 * MAX_BARS
    assert heights.max() == max(0, result.by_step.max())
    assert heights.min() == min(0, result.by_step.min())
    ticks = figure.axes[0].get_xticks()
    assert ticks[0] == 1 and (ticks % 1 == 0).all()


def test_letters_with_a_meaning_in_matplotlib_are_drawn_literally():
    model = make_model("gru", tokens=True)
    result = attribute(model, torch.tensor([2, 3, 4, 5]))
    object.__setattr__(result, "inputs", np.array(["$x_1$", "a b", "\n", "w" * 60], dtype=object))
    figure = drawn(result.plot())
    texts = [t.get_text() for t in figure.axes[0].texts]
    assert r"\$x_1\$" in texts and "a␣b" in texts and "�" in texts
    assert "…" in texts[-1] and len(texts[-1]) == 40
    heights = [-h for h in bars(figure.axes[0])]  # the axis points down
    assert np.argmax(np.abs(heights)) == np.abs(result.values).argmax()
    assert (np.sign(heights) == np.sign(result.values)).all()


def test_lines_of_text_break_where_they_are_full():
    lines = _wrap_lines([40.0] * 5, 1.0)
    assert [list(line) for line in lines] == [[0, 1], [2, 3], [4]]
    assert [list(line) for line in _wrap_lines([200.0, 1.0], 1.0)] == [[0], [1]]
    lines = [range(i, i + 1) for i in range(100)]
    values = np.zeros(100)
    values[[3, 50, 97]] = [1, -2, 3]
    kept = _lines_to_draw(lines, values)
    assert len(kept) == MAX_LINES and {3, 50, 97} <= set(kept) and kept == sorted(kept)


def test_the_memory_curve_has_its_interval_and_reach():
    result = memory(network((("gru", "tanh"), 1, True)), [sequence(seed=s) for s in range(6)])
    axes, below = drawn(result.plot()).axes
    past, future = (line for line in axes.get_lines() if len(line.get_xdata()) == 5)
    np.testing.assert_array_equal(past.get_ydata(), result.effect)
    np.testing.assert_array_equal(future.get_ydata(), result.future.effect)
    assert past.get_linestyle() != future.get_linestyle()
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == result.low.min() and band.max() == result.high.max()
    dotted = [line.get_xdata()[0] for line in below.get_lines() if len(line.get_xdata()) == 2]
    assert dotted == [result.reach, result.future.reach]
    for line, curve in zip(below.get_lines()[::2], result.curves.values(), strict=True):
        shares = [100 * (curve.reaches >= k).mean() for k in range(5)]
        np.testing.assert_allclose(line.get_ydata(), shares)
    assert axes.get_ylabel() == "total variation distance of the probabilities"


def test_memory_of_one_step_is_a_sentence():
    result = memory(network(GRU), [sequence(steps=1, seed=s) for s in range(3)])
    figure = drawn(result.plot())
    assert not figure.axes and figure.texts[0].get_text() == "All measured sequences have one step."
