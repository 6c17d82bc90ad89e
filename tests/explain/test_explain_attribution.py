"""Attributions against closed forms, finite differences and the unrolled network."""

import itertools
import json

import numpy as np
import pytest
import torch
from cases import make_model, same_bits, weights_of
from explain_cases import KINDS, STACK_IDS, STACKS, TASKS, WHAT, fitted, network, sequence

from elman.errors import DataError, ElmanError, SettingsError, ShapeError
from elman.explain import attribute
from elman.explain.score import without_cudnn
from elman.explain.sensitivity import spans
from elman.models.unrolled import embed, unroll_embedded

METHODS = ["integrated_gradients", "gradient_x_input", "occlusion"]
GRU = (("gru", "tanh"), 1, False)
RELU = (("rnn", "relu"), 1, False)


def log_odds(logits, index):
    """By way of the probability: log p / (1 - p)."""
    p = torch.softmax(logits, -1)[..., index]
    return torch.log(p) - torch.log1p(-p)


def linear_network(steps):
    """A relu network that never bends for inputs up to 5, and the weight of each input, (T, C)."""
    model = network(RELU, hidden_size=3)
    layer = model.recurrent
    with torch.no_grad():
        layer.weight_hh_l0.mul_(0.3)
        layer.bias_ih_l0.fill_(100.0)
    weights = [model.output.weight[1]]
    for _ in range(steps - 1):
        weights.append(weights[-1] @ layer.weight_hh_l0)
    return model, torch.stack([w @ layer.weight_ih_l0 for w in reversed(weights)]).detach().numpy()


@pytest.mark.parametrize("method", METHODS)
def test_of_a_linear_network_all_methods_give_its_weights_times_the_input(method):
    x = sequence(steps=7)
    model, weights = linear_network(7)
    result = attribute(model, x, 1, method, output="logit")
    np.testing.assert_allclose(result.values, weights * x.numpy(), atol=1e-10)
    np.testing.assert_allclose(result.by_step, (weights * x.numpy()).sum(1), atol=1e-10)
    assert abs(result.gap) < 1e-10
    other = sequence(steps=7, seed=5)
    result = attribute(model, x, 1, method, output="logit", baseline=other)
    np.testing.assert_allclose(result.values, weights * (x - other).numpy(), atol=1e-10)


@pytest.mark.parametrize("stack", STACKS, ids=STACK_IDS)
def test_gradient_x_input_equals_finite_differences(stack):
    model, x = network(stack, "mean"), sequence(steps=4)
    result = attribute(model, x, 2, "gradient_x_input")
    moved = torch.stack([x + 1e-5 * d for d in torch.eye(x.numel()).double().view(-1, *x.shape)])
    back = 2 * x - moved
    with torch.no_grad():
        slope = (log_odds(model(moved), 2) - log_odds(model(back), 2)) / 2e-5
    np.testing.assert_allclose(result.values, slope.view_as(x) * x, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task", TASKS)
def test_gradients_are_those_of_the_unrolled_recurrence(kind, task):
    """Another way: the equations step by step, and embeddings looked up outside the network."""
    model, x = network((("lstm", "tanh"), 2, True), "max", kind, task), sequence(kind)
    target = {"target": "output 2"} if task == "regression" else {"target": 1}
    result = attribute(model, x, method="gradient_x_input", baseline="zero", **target)
    inside = torch.ones(1, len(x), dtype=torch.bool)
    e = embed(model, x[None], inside).detach().requires_grad_(True)
    outputs = unroll_embedded(model, e, inside).outputs[0]
    score = log_odds(outputs, 1) if task == "classification" else outputs[1]
    (slope,) = torch.autograd.grad(score, e)
    each = (slope * e).detach().numpy()[0]
    if kind == "tokens":
        np.testing.assert_allclose(result.values, each.sum(1), rtol=1e-9, atol=1e-12)
        return
    widths = [1] * 2 + list(model.config.category_widths)
    ends = np.cumsum([0, *widths])
    columns = [each[:, a:b].sum(1) for a, b in itertools.pairwise(ends)]
    np.testing.assert_allclose(result.values, np.stack(columns, 1), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("stack", STACKS, ids=STACK_IDS)
def test_integrated_gradients_are_complete(stack):
    smooth = stack[0][1] == "tanh"
    result = attribute(network(stack), sequence(steps=6), 0, tolerance=1e-6 if smooth else 1e-3)
    assert result.complete
    assert abs(result.gap) <= result.error + 1e-12
    assert result.error <= (1e-6 if smooth else 1e-3) * np.abs(result.values).sum()
    assert result.total == pytest.approx(result.difference, abs=result.error + 1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("readout", ["last", "mean", "every"])
@pytest.mark.parametrize("baseline", [None, "zero"])
def test_integrated_gradients_are_complete_for_every_input(kind, readout, baseline):
    model, x = network((("gru", "tanh"), 1, True), readout, kind), sequence(kind)
    result = attribute(model, x, 0, baseline=baseline, tolerance=1e-6)
    assert result.complete
    # By what is told: the numbers of an embedding, which are added up, may cancel each other.
    assert abs(result.gap) <= result.error + 1e-12 <= 1e-6 * np.abs(result.values).sum()


def test_integrated_gradients_are_the_mean_gradient_on_the_line():
    """Against 20,000 points in equal steps, through the network's own forward pass."""
    model, x = network(GRU), 3 * sequence(steps=5)
    share = (torch.arange(20_000) + 0.5)[:, None, None].double() / 20_000
    way = (share * x).requires_grad_(True)
    log_odds(model(way), 1).sum().backward()
    expected = x * way.grad.mean(0)
    np.testing.assert_allclose(attribute(model, x, 1).values, expected, atol=1e-8)


def test_a_network_with_a_jump_on_the_line_gets_more_points_there():
    model = network(RELU, hidden_size=1, num_outputs=2)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
        model.recurrent.weight_ih_l0[0, 0] = 1.0  # h = relu(x - 0.3): a kink 3/10 of the way
        model.recurrent.bias_ih_l0.fill_(-0.3)
        model.output.weight[1, 0] = 1.0
    x = torch.tensor([[1.0, 7.0]]).double()
    result = attribute(model, x, 1, output="logit", steps=16, tolerance=1e-3)
    assert result.complete and 16 < result.points <= 200
    assert result.values[0, 0] == pytest.approx(0.7, abs=1e-3) and result.values[0, 1] == 0
    assert attribute(model, x, 1, output="logit", steps=16, tolerance=1e-9).points > result.points


def test_an_incomplete_attribution_is_marked():
    result = attribute(network(RELU, "max"), 3 * sequence(steps=30), 0, tolerance=1e-9)
    assert not result.complete and 900 < result.points <= 1024
    assert result.error > 1e-9 * np.abs(result.values).sum()
    assert f"more than the tolerance, though {result.points} points were taken" in str(result)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stack", STACKS[::3], ids=STACK_IDS[::3])
def test_a_channel_that_the_network_does_not_read_gets_exactly_zero(method, stack):
    model = network(stack)
    with torch.no_grad():
        for name, p in model.recurrent.named_parameters():
            if name.startswith("weight_ih_l0"):
                p[:, 1] = 0.0
    result = attribute(model, sequence(), 0, method)
    assert (result.values[:, 1] == 0).all() and (result.values[:, 0] != 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_equal_channels_get_equal_values(method):
    model, x = network(GRU), sequence()
    x[:, 1] = x[:, 0]
    with torch.no_grad():
        model.recurrent.weight_ih_l0[:, 1] = model.recurrent.weight_ih_l0[:, 0]
    result = attribute(model, x, 0, method)
    np.testing.assert_allclose(result.values[:, 0], result.values[:, 1], rtol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_later_steps_contribute_nothing_to_an_output_at_a_step(method):
    model, x = network(GRU, "every"), sequence(steps=6)
    result = attribute(model, x, 0, method, step=2)
    assert (result.by_step[3:] == 0).all() and (result.by_step[:3] != 0).all()
    same = attribute(model, x, 0, method, step=-4)
    np.testing.assert_array_equal(result.values, same.values)
    assert result.output == "log-odds of 0 at step 3"
    np.testing.assert_allclose(result.at_input, log_odds(model(x[None]), 0)[0, 2].item())


def test_the_predicted_class_is_explained_unless_another_is_named():
    model, x = network(GRU), sequence()
    logits = model(x[None])[0]
    assert attribute(model, x).target == int(logits.argmax())
    for k in range(3):
        result = attribute(model, x, k)
        assert result.target == k and result.at_input == pytest.approx(log_odds(logits, k).item())
        for scale, value in (
            ("logit", logits[k]),
            ("probability", torch.softmax(logits, -1)[k]),
            ("log_probability", torch.log_softmax(logits, -1)[k]),
        ):
            result = attribute(model, x, k, output=scale)
            assert result.at_input == pytest.approx(value.item(), abs=1e-12)
            assert result.complete
    sets = network(GRU, task="multilabel")
    p = torch.sigmoid(sets(x[None]))[0, 1]
    for scale, value in (("log_odds", p.logit()), ("probability", p), ("log_probability", p.log())):
        assert attribute(sets, x, 1, output=scale).at_input == pytest.approx(value.item())


@pytest.mark.parametrize("span", [1, 2, 3, 7])
@pytest.mark.parametrize("kind", KINDS)
def test_occlusion_is_the_effect_of_replacing_spans(span, kind):
    model, x = network((("gru", "tanh"), 1, True), "mean", kind), sequence(kind, 7)
    result = attribute(model, x, 1, "occlusion", span=span)
    blank = torch.zeros_like(x)
    if kind == "tokens":
        blank[:] = 1
    elif kind == "mixed":
        blank[:, 2:] = 1

    def score(row):
        with torch.no_grad():
            return log_odds(model(row[None]), 1).item()

    for start in range(0, 7, span):
        end = min(start + span, 7)
        row = x.clone()
        row[start:end] = blank[start:end]
        lost = (score(x) - score(row)) / (end - start)
        np.testing.assert_allclose(result.by_step[start:end], lost, atol=1e-12)
        for c in range(0 if kind == "tokens" else x.shape[1]):
            row = x.clone()
            row[start:end, c] = blank[start:end, c]
            lost = (score(x) - score(row)) / (end - start)
            np.testing.assert_allclose(result.values[start:end, c], lost, atol=1e-12)


def test_overlapping_spans_divide_their_effects():
    assert spans(7, 3, 3) == [(0, 3), (3, 6), (6, 7)]
    assert spans(7, 3, 1) == [(i, i + 3) for i in range(5)]
    assert spans(8, 3, 2) == [(0, 3), (2, 5), (4, 7), (5, 8)]
    assert spans(2, 5, 5) == spans(2, 5, 1) == [(0, 2)]
    assert spans(1, 1, 1) == [(0, 1)]
    model, x = network(GRU), sequence(steps=5)
    result = attribute(model, x, 1, "occlusion", span=2, stride=1)
    whole = log_odds(model(x[None]), 1).item()
    effects = []
    for start in range(4):
        row = x.clone()
        row[start : start + 2] = 0
        effects.append((whole - log_odds(model(row[None]), 1).item()) / 2)
    shared = [effects[0], *((a + b) / 2 for a, b in itertools.pairwise(effects)), effects[-1]]
    np.testing.assert_allclose(result.by_step, shared, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_many_small_passes_give_what_one_gives(kind, method, monkeypatch):
    model, x = network((("gru", "tanh"), 2, True), kind=kind), sequence(kind)
    whole = attribute(model, x, 0, method)
    monkeypatch.setattr("elman.explain.score._GATE_VALUES", 1)
    monkeypatch.setattr("elman.explain.sensitivity._OCCLUDED_VALUES", 1)
    monkeypatch.setattr("elman.explain.sensitivity._BATCH_POINTS", 1)
    parts = attribute(model, x, 0, method)
    np.testing.assert_allclose(parts.values, whole.values, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(parts.by_step, whole.by_step, rtol=1e-9, atol=1e-14)
    assert parts.points == whole.points


@pytest.mark.parametrize("what", WHAT)
def test_the_prediction_of_an_estimator_is_explained(what):
    estimator, X, _ = fitted(what)
    if what == "values":
        result = attribute(estimator, X[1], "target 2")
        assert result.at_input == pytest.approx(estimator.predict(X[1:2])[0, 1], rel=1e-5)
        assert result.output == "value of target 2" and result.unit == ""
    else:
        p = estimator.predict_proba(X[1:2])[0]
        result = attribute(estimator, X[1], output="probability")
        p = p[-1] if what == "tags" else p
        assert result.at_input == pytest.approx(p.max(), abs=1e-5)
        assert result.target == estimator.classes_[p.argmax()]
    assert result.complete
    table = result.to_frame()
    assert table["value"].sum() == pytest.approx(result.total)
    assert len(table) == result.values.size and table["step"].max() == len(result.by_step)
    if what == "text":
        assert "".join(table["token"]) == X[1]
    if what == "mixed":
        assert set(table["input"][table["channel"] == "channel 2"]) <= {"red", "blue"}
    json.dumps(result.to_dict(), allow_nan=False)
    assert result.output in str(result)


def test_a_baseline_may_be_another_sequence():
    estimator, X, _ = fitted("numbers")
    other = np.repeat(X[1].mean(0)[None], len(X[0]), 0)
    result = attribute(estimator, X[0], "up", baseline=other, output="probability")
    k = list(estimator.classes_).index("up")
    assert result.at_baseline == pytest.approx(estimator.predict_proba([other])[0, k], abs=1e-5)
    mean = np.repeat(estimator.encoder_.mean[None], len(X[0]), 0)
    zero = attribute(estimator, X[0], "up", output="probability")
    assert zero.at_baseline == pytest.approx(estimator.predict_proba([mean])[0, k], abs=1e-5)
    text = fitted("text")[0]
    result = attribute(text, "abca", baseline="zzzz")  # letters that are unknown
    unknown = attribute(text, "abca")
    np.testing.assert_allclose(result.values, unknown.values, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_model_is_not_changed(method, kind):
    model = make_model("lstm", tokens=kind == "tokens", dropout=0.5, num_layers=2, **(
        {"category_sizes": (4, 5)} if kind == "mixed" else {}
    ))  # fmt: skip
    model.train()
    model.output.weight.grad = torch.ones_like(model.output.weight)
    before, state = weights_of(model), torch.random.get_rng_state()
    x = sequence(kind)
    with torch.no_grad():  # as many a caller has it
        first = attribute(model, x, 0, method)
    assert same_bits(before, weights_of(model)) and model.training and model.recurrent.training
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (model.output.weight.grad == 1).all()
    assert all(p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())
    np.testing.assert_array_equal(first.values, attribute(model.eval(), x, 0, method).values)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "saliency"}, "method: got 'saliency', expected one of 'integrated_gradients'"),
        ({"span": 2}, "span: got 2, but that belongs to occlusion"),
        ({"method": "occlusion", "steps": 9}, "steps: got 9, but that belongs to integrated"),
        ({"method": "gradient_x_input", "tolerance": 0.1}, "tolerance: got 0.1, but that belongs"),
        ({"steps": 0}, "steps: got 0, expected a whole number from 1"),
        ({"steps": 1025}, "steps: got 1025, expected at most 1024"),
        ({"tolerance": -1}, "tolerance: got -1, expected a number from 0"),
        ({"method": "occlusion", "stride": 2}, "stride: got 2, longer than the span of 1"),
        ({"output": "value"}, "output: got 'value', expected 'log_odds' or"),
        ({"step": 1}, "step: got 1, but this network has one output a sequence"),
        ({"baseline": "unknown"}, "baseline: got 'unknown', but the inputs are numbers"),
        ({"baseline": "mean"}, "baseline: got 'mean', expected 'zero'"),
    ],
)
def test_invalid_options_are_refused(options, words):
    with pytest.raises(SettingsError) as caught:
        attribute(network(GRU), sequence(), 0, **options)
    assert words in str(caught.value)


def test_other_refusals():
    with pytest.raises(DataError, match=r"target: got 'upp', expected one of 'down', 'up'.*'up'"):
        attribute(fitted("numbers")[0], fitted("numbers")[1][0], "upp")
    with pytest.raises(SettingsError, match="predicts 2 values; give one of 'target 1'"):
        attribute(fitted("values")[0], fitted("values")[1][0])
    with pytest.raises(SettingsError, match=r"step: got 6, expected 0 \(step 1\) to 5 \(step 6\)"):
        attribute(network(GRU, "every"), sequence(steps=6), step=6)
    with pytest.raises(ShapeError, match="baseline: got a sequence of 4 steps, expected 5"):
        attribute(network(GRU), sequence(), baseline=sequence(steps=4))
    with pytest.raises(SettingsError, match="one class only"):
        attribute(network(GRU, num_outputs=1), sequence())
    with pytest.raises(SettingsError, match="Use a longer span"):
        attribute(network(GRU), torch.zeros(7000, 2), method="occlusion")
    with pytest.raises(SettingsError, match="output: got 'logit', expected 'value'"):
        attribute(network(GRU, task="regression"), sequence(), "output 1", output="logit")


def test_without_pandas_the_message_says_what_to_install(monkeypatch):
    result = attribute(network(GRU), sequence())
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ElmanError, match="pip install pandas"):
        result.to_frame()


def test_cudnn_is_off_for_a_while_with_any_of_its_settings(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn.rnn, "fp32_precision", "ieee")
    before = torch.backends.cudnn.enabled
    with pytest.raises(ZeroDivisionError), without_cudnn():
        assert not torch.backends.cudnn.enabled
        raise ZeroDivisionError
    assert torch.backends.cudnn.enabled == before


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_a_gpu_gives_the_same(kind, method):
    """cuDNN would refuse to run backward in evaluation mode."""
    for stack in ((("lstm", "tanh"), 2, True), (("gru", "tanh"), 1, False)):
        model, x = network(stack, kind=kind), sequence(kind)
        expected = attribute(model, x, 0, method)
        result = attribute(model.cuda(), x, 0, method)
        np.testing.assert_allclose(result.values, expected.values, rtol=1e-8, atol=1e-10)
        assert next(model.parameters()).is_cuda
