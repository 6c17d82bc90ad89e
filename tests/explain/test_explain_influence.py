"""The influence of every input on every output, against replacing one step at a time."""

import json

import numpy as np
import pytest
import torch
from explain_cases import KINDS, READOUTS, STACK_IDS, STACKS, WHAT, fitted, network, sequence

from elman.errors import SettingsError
from elman.explain import influence

GRU = (("gru", "tanh"), 1, False)
BLANK = {
    "numbers": torch.zeros(2, dtype=torch.float64),
    "tokens": torch.tensor(1),
    "mixed": torch.tensor([0.0, 0, 1, 1], dtype=torch.float64),
}


@pytest.mark.parametrize("stack", STACKS[::5], ids=STACK_IDS[::5])
@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_each_entry_is_the_effect_of_replacing_one_step(stack, readout, kind):
    model, x = network(stack, readout, kind), sequence(kind, 6)
    result = influence(model, x)
    before = torch.softmax(model(x[None])[0], -1).reshape(-1, 3)
    for s in range(6):
        row = x.clone()
        row[s] = BLANK[kind]
        after = torch.softmax(model(row[None])[0], -1).reshape(-1, 3)
        expected = (after - before).abs().sum(-1) / 2
        np.testing.assert_allclose(result.values[s], expected.detach().numpy(), atol=1e-11)
    assert result.values.shape == (6, 6 if readout == "every" else 1)


def test_small_changes_are_those_of_the_gradient():
    """In the limit the influence is |dy/dx| times the change, here by autograd."""
    model, x = network(GRU, "every", task="regression", num_outputs=1), sequence(steps=5)
    jacobian = torch.autograd.functional.jacobian(lambda row: model(row[None])[0, :, 0], x)
    width = 1e-6
    result = influence(model, x, [x + torch.tensor([width, 0.0])], replacements=1)
    slopes = jacobian[:, :, 0].abs().T.numpy()  # (input, output)
    np.testing.assert_allclose(result.values / width, slopes, rtol=1e-3, atol=1e-5)


def test_in_one_direction_no_output_depends_on_later_inputs():
    one = influence(network(GRU, "every"), sequence(steps=7))
    assert (one.values[np.tril_indices(7, -1)] == 0).all() and (np.diag(one.values) > 0).all()
    both = influence(network((("gru", "tanh"), 1, True), "every"), sequence(steps=7))
    assert (both.values > 0).all()


def test_the_longest_dependency_that_counts_is_named():
    result = influence(network(GRU, "every"), sequence(steps=9))
    s, t = result.longest
    assert result.values[s, t] >= 0.05 * result.values.max()
    counted = result.values >= 0.05 * result.values.max()
    assert t - s == max(b - a for a, b in np.argwhere(counted))
    assert f"the output at step {t + 1} on x_{s + 1}" in str(result)
    figure = result.plot()
    figure.canvas.draw()
    axes = next(a for a in figure.axes if a.get_title(loc="left").startswith("Influence"))
    np.testing.assert_array_equal(axes.images[0].get_array(), result.values.T)
    assert axes.lines[-1].get_xdata()[0] == s + 1 and axes.lines[-1].get_ydata()[0] == t + 1


@pytest.mark.parametrize("what", WHAT)
def test_of_an_estimator(what):
    estimator, X, _ = fitted(what)
    result = influence(estimator, X[0], X, replacements=2)
    assert result.values.shape == (len(X[0]), len(X[0]) if what == "tags" else 1)
    result.plot().canvas.draw()
    json.dumps(result.to_dict(), allow_nan=False)
    pytest.importorskip("pandas")
    assert len(result.to_frame()) == result.values.size
    same = influence(estimator, X[0], X, replacements=2)
    np.testing.assert_array_equal(result.values, same.values)


def test_nothing_to_see_is_a_sentence():
    model = network(GRU)
    with torch.no_grad():
        model.output.weight.zero_()
    result = influence(model, sequence())
    assert result.longest is None and not result.plot().axes
    assert "no input that was replaced changed the prediction" in str(result)


def test_invalid_options_are_refused():
    with pytest.raises(SettingsError, match="replacements: got 0, expected a whole number from 1"):
        influence(network(GRU), sequence(), [sequence(seed=1)], replacements=0)
    with pytest.raises(SettingsError, match="it has 20,000 steps"):
        influence(network(GRU), torch.zeros(20000, 2))
