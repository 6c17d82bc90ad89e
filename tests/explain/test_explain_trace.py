"""The forward pass against the model's own, in float64, and its trace against prefixes."""

import itertools
import sys

import numpy as np
import pytest
import torch
from cases import same_bits, weights_of
from explain_cases import (
    KINDS,
    READOUTS,
    STACK_IDS,
    STACKS,
    TASKS,
    WHAT,
    assert_near,
    fitted,
    network,
    panel_titles,
    sequence,
)

from elman.errors import ElmanError
from elman.explain import read_sequence, run_forward, trace
from elman.explain.forward import check_forward


@pytest.mark.parametrize("stack", STACKS, ids=STACK_IDS)
def test_outputs_equal_those_of_the_model(stack):
    """Every readout, kind of input and task; a sequence of one step as well."""
    for readout in READOUTS:
        for kind, task in zip(KINDS, TASKS, strict=True):
            model = network(stack, readout, kind, task)
            for steps in (1, 6):
                x = sequence(kind, steps)
                with torch.no_grad():
                    assert_near(run_forward(model, x).outputs, model(x[None])[0])


@pytest.mark.parametrize("stack", STACKS, ids=STACK_IDS)
def test_states_equal_those_of_the_layers(stack):
    model = network(stack)
    x = sequence(steps=7)
    done = run_forward(model, x)
    y, final = model.recurrent(x[None])
    assert_near(done.hidden, y[0])
    ends = final if isinstance(final, tuple) else (final,)
    for i, layer in enumerate(done.layers):
        end = -1 if layer.direction == "forward" else 0
        assert set(layer.gates) == set(model.config.cell_definition.traced)
        assert all(g.shape == (7, model.config.hidden_size) for g in layer.gates.values())
        for name, state in zip(("h", "c"), ends, strict=False):
            assert_near(layer.gates[name][end], state[i, 0])


@pytest.mark.parametrize("stack", STACKS, ids=STACK_IDS)
def test_gates_satisfy_the_equations_between_neighbours(stack):
    """Row t of every array belongs to x_t, in the backward direction too."""
    for layer in run_forward(network(stack), sequence(steps=6)).layers:
        g = layer.gates
        back = layer.direction == "backward"
        start = torch.zeros_like(layer.h[:1])
        before = torch.cat([layer.h[1:], start]) if back else torch.cat([start, layer.h[:-1]])
        assert torch.equal(layer.previous["h"], before)
        if "z" in g:
            assert_near(g["h"], (1 - g["z"]) * g["n"] + g["z"] * before)
        if "c" in g:
            c = torch.cat([g["c"][1:], start]) if back else torch.cat([start, g["c"][:-1]])
            assert_near(g["c"], g["f"] * c + g["i"] * g["g"])
            assert_near(g["h"], g["o"] * torch.tanh(g["c"]))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_flow_through(kind):
    model = network(STACKS[-1], "mean", kind)
    x = sequence(kind)
    parameters = list(model.parameters())
    result = torch.autograd.grad(run_forward(model, x).outputs.sum(), parameters)
    expected = torch.autograd.grad(model(x[None]).sum(), parameters)
    for one, other in zip(result, expected, strict=True):
        assert_near(one, other)


def test_a_network_that_does_something_else_is_refused():
    model = network(STACKS[0])
    model.output.register_forward_hook(lambda module, given, out: out + 1e-6)
    explained = read_sequence(model, sequence())
    with pytest.raises(ElmanError, match=r"differs by 1\.0e-06 from the equations"):
        check_forward(explained, run_forward(explained.model, explained.x[0]))


def test_a_network_like_its_config_passes():
    for dtype in (torch.float32, torch.float64):
        explained = read_sequence(network(STACKS[-1]), sequence(), dtype=dtype)
        check_forward(explained, run_forward(explained.model, explained.x[0]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_runs_on_the_models_device():
    model = network(STACKS[-1]).cuda()
    explained = read_sequence(model, sequence())
    done = run_forward(explained.model, explained.x[0])
    assert done.outputs.is_cuda
    check_forward(explained, done)


@pytest.mark.parametrize("stack", STACKS, ids=STACK_IDS)
@pytest.mark.parametrize("readout", ["last", "mean", "max"])
def test_each_row_is_the_output_for_the_prefix(stack, readout):
    model = network(stack, readout)
    x = sequence(steps=6)
    result = trace(model, x)
    with torch.no_grad():
        for t in range(6):
            assert_near(result.outputs[t], model(x[None, : t + 1])[0].numpy())
    assert_near(result.distribution, torch.softmax(torch.from_numpy(result.outputs), -1).numpy())


@pytest.mark.parametrize("stack", STACKS, ids=STACK_IDS)
def test_with_an_output_at_every_step_it_is_given_the_whole_sequence(stack):
    model = network(stack, "every")
    x = sequence(steps=6)
    with torch.no_grad():
        assert_near(trace(model, x).outputs, model(x[None])[0].numpy())


def test_many_prefixes_come_in_batches(monkeypatch):
    model, x = network(STACKS[-1]), sequence(steps=11)
    whole = trace(model, x).outputs
    monkeypatch.setattr(sys.modules["elman.explain.forward"], "_BATCH_STEPS", 33)  # three rows each
    assert_near(trace(model, x).outputs, whole)


@pytest.mark.parametrize("stack", STACKS[::5], ids=STACK_IDS[::5])
def test_states_and_gates_are_those_of_the_recurrence(stack):
    model, x = network(stack), sequence()
    result, done = trace(model, x), run_forward(model, x)
    assert_near(result.hidden, done.hidden.detach().numpy())
    for one, other in zip(result.layers, done.layers, strict=True):
        assert (one.layer, one.direction) == (other.layer, other.direction)
        assert one.cell == model.config.cell
        for name, values in other.gates.items():
            assert_near(one.gates[name], values.detach().numpy())


@pytest.mark.parametrize("what", WHAT)
def test_an_estimators_predictions_for_prefixes(what):
    est, X, _ = fitted(what)
    result = trace(est, X[2])
    if what == "tags":
        np.testing.assert_allclose(result.distribution, est.predict_proba([X[2]])[0], atol=1e-6)
        return
    ask = est.predict if what == "values" else est.predict_proba
    for t in range(len(X[2])):
        expected = ask([X[2][: t + 1]])[0]
        np.testing.assert_allclose(result.distribution[t], expected, rtol=2e-5, atol=1e-6)
    assert result.classes == tuple(getattr(est, "classes_", ("target 1", "target 2")))
    np.testing.assert_array_equal(result.prediction, result.distribution[-1])


def test_the_callers_network_is_not_changed():
    model = network(STACKS[-1]).float().train()
    before, state = weights_of(model), torch.get_rng_state()
    one, other = trace(model, sequence()), trace(model, sequence())
    assert model.training and same_bits(before, weights_of(model))
    assert torch.equal(state, torch.get_rng_state())
    assert np.array_equal(one.outputs, other.outputs)


def test_a_network_with_a_hook_is_refused():
    model = network(STACKS[0])
    model.recurrent.register_forward_hook(lambda module, given, out: (out[0] * 2, out[1] * 2))
    with pytest.raises(ElmanError, match="own forward pass differs"):
        trace(model, sequence())


def test_when_the_prediction_settles():
    result = trace(network(STACKS[0]), sequence(steps=4))

    def settling_step(rows, task="classification"):
        rows = np.array(rows)
        return type(result)(**{**vars(result), "distribution": rows, "task": task}).settling_step

    assert settling_step([[0.4, 0.6], [0.6, 0.4], [0.3, 0.7], [0.2, 0.8]]) == 3
    assert settling_step([[0.4, 0.6], [0.3, 0.7]]) == 1
    assert settling_step([[0.4, 0.6], [0.9, 0.1]]) == 2
    assert settling_step([[0.4, 0.6], [0.4, 0.4], [0.4, 0.6]], "multilabel") == 3
    assert settling_step([[0.4, 0.6]], "regression") is None


def test_the_summary_in_words():
    est, X, _ = fitted("text")
    result = trace(est, X[0])
    first, second, _, same, votes = str(result).split("\n")
    assert first.startswith(f"{est.model_.config.cell.upper()}, 2 layers of 5 units")
    assert f"a sequence of {len(X[0])} steps" in first
    likeliest = est.predict([X[0]])[0]
    assert second.startswith(f"prediction: {likeliest} ({result.prediction.max():.3f})")
    step = result.settling_step
    assert same == f"the prediction is the same from step {step} of {len(X[0])} on"
    assert votes.startswith(f"votes of the units for the logit of {likeliest}: unit ")
    assert str(trace(*_one_step())).count("a sequence of 1 step\n") == 1


def _one_step():
    return network(STACKS[0]), sequence(steps=1)


def test_frames():
    pytest.importorskip("pandas")
    est, X, _ = fitted("mixed")
    result = trace(est, X[0])
    short = result.to_frame()
    assert list(short) == ["step", *result.channel_names, "p(down)", "p(up)"]
    assert short["step"].tolist() == list(range(1, len(X[0]) + 1))
    assert short["p(up)"].tolist() == result.distribution[:, 1].tolist()
    long = result.to_frame(states=True)
    assert len(long) == len(X[0]) * 5 * len(result.layers)
    top = result.layers[-1]
    row = long[(long.step == 2) & (long.direction == top.direction) & (long.unit == 3)].iloc[0]
    assert [row[name] for name in top.gates] == [top.gates[name][1, 2] for name in top.gates]


def test_without_pandas_the_message_has_the_remedy(monkeypatch):
    result = trace(*_one_step())
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ElmanError, match="pip install pandas"):
        result.to_frame()


@pytest.mark.parametrize(("kind", "steps"), list(zip(KINDS, (1, 70, 5), strict=True)), ids=KINDS)
def test_figures(kind, steps):
    result = trace(network(STACKS[-1], kind=kind), sequence(kind, steps))
    figure = result.plot()
    figure.canvas.draw()
    shown = panel_titles(figure)
    assert ("Input, as the network reads it" in shown) == (kind != "tokens")
    assert shown[-1] == "Probabilities at each step, as if the sequence ended there"
    assert sum(title.startswith("Gates") for title in shown) == 2
    lines = figure.axes[-2].lines
    np.testing.assert_array_equal(lines[1].get_ydata(), result.distribution[:, 1])
    np.testing.assert_array_equal(lines[1].get_xdata(), np.arange(1, steps + 1))
    gates = result.plot_gates(0, "backward")
    gates.canvas.draw()
    assert len(panel_titles(gates)) == 6


def test_figures_of_many_of_everything():
    kw = {"num_outputs": 72, "input_size": 9, "hidden_size": 40}
    x = torch.randn(300, 9, generator=torch.Generator().manual_seed(0)).double()
    figure = trace(network(STACKS[0], **kw), x).plot()
    figure.canvas.draw()
    texts = [t.get_text() for axes in figure.axes for t in axes.texts]
    assert "67 others" in texts
    heat = next(a for a in figure.axes if a.get_title(loc="left").startswith("Hidden"))
    assert heat.images[0].get_array().shape == (40, 300)


def test_names_beside_lines_do_not_overlap():
    figure = trace(network(STACKS[0]), sequence(steps=9)).plot()
    figure.canvas.draw()
    for axes in figure.axes:
        boxes = sorted((t.get_window_extent() for t in axes.texts), key=lambda b: b.y0)
        assert all(low.y1 <= high.y0 + 2 for low, high in itertools.pairwise(boxes))


def test_a_direction_that_is_not_there():
    with pytest.raises(ValueError, match="no such direction"):
        trace(*_one_step()).plot_gates(direction="backward")
