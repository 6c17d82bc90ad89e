"""The written-out backward pass against autograd in float64, and against finite differences."""

import re
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
    assert_near_relative,
    fitted,
    label,
    network,
    panel_titles,
    sequence,
)
from torch.nn import functional

from elman.errors import DataError, ElmanError, SettingsError
from elman.explain import bptt, run_forward
from elman.models import unrolled
from elman.models.unrolled import weight_names

each_stack = pytest.mark.parametrize("stack", STACKS, ids=STACK_IDS)


def losses_by_torch(task, outputs, target):
    """The loss of each output as torch has it: () or (T,)."""
    if task == "classification":
        return functional.cross_entropy(outputs, target, reduction="none")
    if task == "multilabel":
        each = functional.binary_cross_entropy_with_logits(
            outputs, target.double(), reduction="none"
        )
        return each.mean(-1)
    return functional.mse_loss(outputs, target, reduction="none").mean(-1)


def by_autograd(model, task, x, target):
    """The losses, and the gradient of their sum for every parameter, by its name in a Bptt."""
    losses = losses_by_torch(task, model(x[None])[0], target)
    result = torch.autograd.grad(losses.sum(), list(model.parameters()))
    names = [name.removeprefix("recurrent.") for name, _ in model.named_parameters()]
    return losses.detach().numpy(), {
        name: gradient.numpy() for name, gradient in zip(names, result, strict=True)
    }


@each_stack
@pytest.mark.parametrize("readout", READOUTS)
def test_contributions_add_up_to_the_gradient_of_autograd(stack, readout):
    """For every parameter; numbers, tokens and mixed steps; every task; one step as well."""
    for kind, task in zip(KINDS, TASKS, strict=True):
        for steps in (1, 6):
            model = network(stack, readout, kind, task)
            x, target = sequence(kind, steps), label(task, readout, steps)
            result = bptt(model, x, target)
            losses, gradients = by_autograd(model, task, x, target)
            assert_near_relative(result.losses[-losses.size :], losses.reshape(-1))
            assert result.loss == pytest.approx(losses.sum(), abs=1e-12)
            assert set(result.gradients) == set(gradients)
            for name, gradient in gradients.items():
                assert_near_relative(result.gradients[name], gradient)
                each = [result.contribution(name, t) for t in range(steps)]
                assert_near_relative(np.sum(each, 0), gradient)
                assert_near_relative(
                    result.contribution_norms[name], [np.linalg.norm(c) for c in each]
                )


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("readout", READOUTS)
def test_every_task_with_every_readout(task, readout):
    model = network(STACKS[-1], readout, task=task)
    x, target = sequence(), label(task, readout)
    result, (_, gradients) = bptt(model, x, target), by_autograd(model, task, x, target)
    for name, gradient in gradients.items():
        assert_near_relative(result.gradients[name], gradient)


@each_stack
@pytest.mark.parametrize("readout", READOUTS)
def test_signed_shares_are_inner_products_and_add_up(stack, readout):
    """<g_t, G> / |G| from the matrices themselves; the sum over the steps is |G|."""
    for kind, task in zip(KINDS, TASKS, strict=True):
        result = bptt(network(stack, readout, kind, task), sequence(kind), label(task, readout))
        whole = np.zeros(5)
        for name, gradient in result.gradients.items():
            products = [(result.contribution(name, t) * gradient).sum() for t in range(5)]
            norm = np.linalg.norm(gradient)
            whole += products
            if norm > 0:
                assert_near_relative(result.signed_shares[name], np.array(products) / norm)
                assert result.signed_shares[name].sum() == pytest.approx(norm)
        total = sum((g * g).sum() for g in result.gradients.values())
        assert_near_relative(result.step_shares, whole / total)
        assert result.step_shares.sum() == pytest.approx(1)
        assert result.gradient_norm == pytest.approx(total**0.5)


def linear_network(u=1.0):
    """h_t = x_t + u h_{t-1} with one unit, and the value h_T: contributions are known by hand."""
    model = network(
        (("rnn", "relu"), 1, False), task="regression", hidden_size=1, num_outputs=1, input_size=1
    )
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.fill_(
                {"weight_ih_l0": 1.0, "weight_hh_l0": u}.get(name.removeprefix("recurrent."), 0)
            )
        model.output.weight.fill_(1.0)
    return model


def test_a_step_that_works_against_the_others_is_named():
    """dL/dW = 2 (h_T - y) sum_t x_t: the step with the negative input works against the rest."""
    x = torch.tensor([[4.0], [-1.0], [2.0]], dtype=torch.float64)
    result = bptt(linear_network(), x, torch.tensor(4.0))
    error = 2 * (5 - 4)
    np.testing.assert_allclose(result.signed_shares["weight_ih_l0"], [4 * error, -error, 2 * error])
    assert (result.contribution_norms["weight_ih_l0"] > 0).all()
    result = bptt(network(STACKS[0], "every"), sequence(steps=9), label(readout="every", steps=9))
    against = result.step_shares[result.step_shares < 0]
    assert 0 < len(against) < 9  # else this tests nothing
    many = "steps work" if len(against) > 1 else "steps works"
    text = f"{len(against)} of 9 {many} against the rest, {against.sum():+.0%} in all"
    assert text in str(result)


def test_a_loss_of_zero_is_confident_and_correct():
    model = network(STACKS[4], task="classification")
    with torch.no_grad():
        model.output.bias.copy_(torch.tensor([0.0, 900.0, 0.0]))
    result = bptt(model, sequence(), 1)
    assert result.loss == 0 and result.is_certain and not result.has_gradient
    assert "no gradient: the network is confident and correct" in str(result)
    assert not result.plot().axes and not result.plot_by_lag().axes
    assert np.isnan(result.step_shares).all() and "nan" not in str(result)
    with torch.no_grad():
        model.output.bias.copy_(torch.tensor([0.0, 14.0, 0.0]))
    nearly = bptt(model, sequence(), 1)
    assert 0 < nearly.loss < 1e-4 and nearly.is_certain and nearly.plot().axes
    assert "confident and correct, so hardly any gradient is left" in str(nearly)
    wrong = bptt(model, sequence(), 0)  # as confident, and wrong
    assert not wrong.is_certain and "confident" not in str(wrong)
    exact = bptt(linear_network(), torch.ones(2, 1, dtype=torch.float64), torch.tensor(2.0))
    assert "the prediction is exact" in str(exact)


def test_the_doctor_has_the_same_limits():
    from elman.explain.backward import EXPLODED, VANISHED, describe_remaining
    from elman.explain.doctor.findings import Limits

    assert (Limits.VANISHED, Limits.EXPLODED) == (VANISHED, EXPLODED)
    assert describe_remaining(0.9 * VANISHED) == "vanishes"
    assert describe_remaining(1.1 * VANISHED) == "shrinks"
    assert describe_remaining(1.1 * EXPLODED) == "explodes"


def test_finite_differences():
    """Without any calculus: the loss a little above and below, for a sample of all weights."""
    model = network(STACKS[-1], "mean", "mixed")
    x, target = sequence("mixed"), label()
    result = bptt(model, x, target)
    rng, width = np.random.default_rng(0), 1e-5
    for name, parameter in model.named_parameters():
        for _ in range(3):
            place = tuple(rng.integers(0, n) for n in parameter.shape)
            ends = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter[place] += sign * width
                    ends.append(functional.cross_entropy(model(x[None])[0], target).item())
                    parameter[place] -= sign * width
            slope = (ends[0] - ends[1]) / (2 * width)
            own = result.gradients[name.removeprefix("recurrent.")][place]
            assert own == pytest.approx(slope, abs=1e-9)


@each_stack
def test_contributions_are_those_of_the_step(stack, monkeypatch):
    """b, given to each step as a weight of its own, gets each step's own gradient by autograd."""
    model = network(stack, "mean")
    x, target = sequence(steps=5), label()
    result = bptt(model, x, target)
    for layer, direction in result.dh:
        _, _, b, _ = weight_names(layer, direction == "backward")
        own = [torch.zeros_like(getattr(model.recurrent, b)).requires_grad_() for _ in range(5)]
        real = unrolled.weights_of

        def of(model, number, reverse, own=own, here=(layer, direction == "backward"), real=real):
            W, U, b, c = real(model, number, reverse)
            if (number, reverse) != here:
                return W, U, b, c
            return W, U, torch.stack([b + each for each in own]), c

        monkeypatch.setattr(unrolled, "weights_of", of)
        outputs = run_forward(model, x).outputs
        monkeypatch.setattr(unrolled, "weights_of", real)
        for t, gradient in enumerate(
            torch.autograd.grad(functional.cross_entropy(outputs, target), own)
        ):
            assert_near_relative(result.contribution(b, t), gradient.numpy())


def test_the_output_bias_contributes_at_the_last_step():
    result = bptt(network(STACKS[0]), sequence(), label())
    norms = result.contribution_norms["output.bias"]
    assert (norms[:-1] == 0).all() and norms[-1] > 0
    assert (result.losses[:-1] == 0).all()


@pytest.mark.parametrize("what", WHAT)
def test_an_estimators_sequences_and_labels(what):
    est, X, y = fitted(what)
    result = bptt(est, X[3], y[3])
    if what in ("numbers", "text", "mixed"):
        p = est.predict_proba([X[3]])[0][list(est.classes_).index(y[3])]
        assert result.loss == pytest.approx(-np.log(p), rel=1e-5)
    assert result.unit == ("squared deviations" if what == "values" else "nats")
    assert np.isfinite(result.loss) and result.steps == len(X[3])


def test_the_callers_network_is_not_changed():
    model = network(STACKS[-1]).float().train()
    model(sequence().float()[None]).sum().backward()
    before, state = weights_of(model), torch.get_rng_state()
    grads = [p.grad.clone() for p in model.parameters()]
    one, other = (bptt(model, sequence(), 1) for _ in range(2))
    assert model.training and same_bits(before, weights_of(model))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(g, p.grad) for g, p in zip(grads, model.parameters(), strict=True))
    assert all(np.array_equal(one.gradients[n], other.gradients[n]) for n in one.gradients)


def test_memory_grows_with_the_steps_and_not_with_their_matrices():
    """No matrix a step: all that a result holds is a few rows of O(H) numbers for each step."""
    model = network(STACKS[4], hidden_size=40)  # an lstm, or the like
    result = bptt(model, sequence(steps=50), label())
    kept = {}
    for part in result.contributions.values():
        for tensor in (part.left, part.right):
            if tensor is not None:
                kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    assert sum(kept.values()) < 50 * 40 * 40 * 8


def test_errors():
    model = network(STACKS[0])
    with pytest.raises(SettingsError, match="label: got None"):
        bptt(model, sequence(), None)
    with pytest.raises(DataError, match="label: got 7, expected 0 to 2"):
        bptt(model, sequence(), 7)
    result = bptt(model, sequence(), 1)
    with pytest.raises(SettingsError, match=r"name: got 'W'.*weight_ih_l0"):
        result.contribution("W", 0)
    with pytest.raises(SettingsError, match=r"step: got 5, expected 0 \(step 1\) to 4"):
        result.contribution("weight_ih_l0", 5)
    with pytest.raises(SettingsError, match="by: got 'steps'"):
        result.to_frame(by="steps")
    model.output.register_forward_hook(lambda module, given, out: out * 2)
    with pytest.raises(ElmanError, match="own forward pass differs"):
        bptt(model, sequence(), 1)


def test_frames():
    pytest.importorskip("pandas")
    result = bptt(network(STACKS[-1], "every"), sequence(), label(readout="every"))
    table = result.to_frame()
    assert table["step"].tolist() == [1, 2, 3, 4, 5]
    assert table["loss"].sum() == pytest.approx(result.loss)
    dh = np.linalg.norm(result.dh[1, "backward"], axis=1)
    assert table["|dL/dh| layer 1 backward"].tolist() == dh.tolist()
    assert table["weight_hh_l2"].tolist() == result.contribution_norms["weight_hh_l2"].tolist()
    far = result.to_frame(by="lag")
    own = far[(far.layer == 2) & (far.direction == "backward")]
    assert own["lag"].tolist() == [0, 1, 2, 3, 4]
    assert own["norm"].tolist() == result.gradient_by_lag[2, "backward"].tolist()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_runs_on_the_models_device():
    model = network(STACKS[-1])
    here = bptt(model, sequence(), label())
    there = bptt(model.cuda(), sequence(), label())
    for name, gradient in here.gradients.items():
        assert_near_relative(there.gradients[name], gradient, 1e-9)
    assert set(there.jacobian_norms) == set(here.jacobian_norms)


@pytest.mark.parametrize(
    ("kind", "readout", "steps"),
    [("numbers", "every", 1), ("tokens", "last", 70), ("mixed", "max", 5)],
)
def test_figures(kind, readout, steps):
    model, x = network(STACKS[-1], readout, kind), sequence(kind, steps)
    result = bptt(model, x, label(readout=readout, steps=steps))
    figure = result.plot()
    figure.canvas.draw()
    shown = panel_titles(figure)
    assert ("Loss of each step" in shown) == (readout == "every" and steps > 1)
    assert shown[-3].startswith("What each step contributes to the gradient of each weight")
    parts, signed, total = (figure.axes[i] for i in (-6, -4, -2))
    rows = [text.get_text() for text in parts.get_yticklabels()]
    assert rows == [f"{result.letters[n]}  {n}" for n in result.gradients]
    drawn = np.asarray(parts.images[0].get_array())
    sizes = np.stack(list(result.contribution_norms.values()))
    low = parts.images[0].norm.vmin
    assert sizes.max() * 1e-6 <= low <= max(sizes[sizes > 0].min(), sizes.max() * 1e-6)
    np.testing.assert_allclose(drawn, np.maximum(sizes, low))
    gradients = np.stack([np.linalg.norm(g) for g in result.gradients.values()])[:, None]
    shares = np.stack(list(result.signed_shares.values()))
    expected = np.divide(shares, gradients, out=np.zeros_like(shares), where=gradients > 0)
    np.testing.assert_allclose(signed.images[0].get_array(), expected, atol=1e-12)
    heights = [bar.get_height() for bar in total.patches]
    drawn = np.add(heights[:steps], heights[steps:])
    np.testing.assert_allclose(drawn, 100 * result.step_shares, atol=1e-10)
    without = result.plot(jacobians=False)
    without.canvas.draw()
    assert len(shown) == len(panel_titles(without)) + 1
    distance = result.plot_by_lag()
    distance.canvas.draw()
    if steps == 1:
        assert not distance.axes
        return
    lines = distance.axes[0].lines
    assert len(lines) == 6
    for line, norms in zip(lines, result.gradient_by_lag.values(), strict=True):
        known = np.isfinite(line.get_ydata())
        np.testing.assert_array_equal(line.get_ydata()[known], norms[known])


def test_shades_and_numbers_fit_a_narrow_range():
    result = bptt(network(STACKS[0]), sequence(steps=3), label())
    figure = result.plot()
    figure.canvas.draw()
    states, norms = figure.axes[2], figure.axes[4]
    sizes = np.abs(result.dh[0, "forward"])
    assert sizes.min() > sizes.max() * 1e-5  # else this tests nothing
    assert sizes.min() / 10 < states.images[0].norm.vmin <= sizes.min()
    assert norms.get_title(loc="left") == "Norm of dL/dh at each step"
    written = [text.get_text() for text in norms.get_yticklabels() if text.get_text()]
    assert all(re.fullmatch(r"[0-9.]+|1e-?[0-9]+", text) for text in written)
    assert not any(text.get_text() for text in norms.get_yticklabels(minor=True))


def test_jacobians_that_take_long_are_not_drawn_by_default(monkeypatch):
    result = bptt(network(STACKS[0]), sequence(), label())

    monkeypatch.setattr(sys.modules["elman.explain.bptt"], "_MAX_PRODUCTS", 6**3 * 5)
    assert not any(title.startswith("Jacobian") for title in panel_titles(result.plot()))
    assert "jacobian_norms" not in vars(result)
    assert any(title.startswith("Jacobian") for title in panel_titles(result.plot(jacobians=True)))


def test_letters():
    result = bptt(network(STACKS[-1], kind="tokens"), sequence("tokens"), label())
    assert result.letters["embedding.weight"] == "E"
    for name, letter in (("weight_ih", "W"), ("weight_hh", "U"), ("bias_ih", "b_h")):
        assert result.letters[f"{name}_l0_reverse"] == letter
    assert (result.letters["output.weight"], result.letters["output.bias"]) == ("V", "b_y")


def test_a_maximum_reached_more_than_once_is_divided():
    """As torch does: half of the units never rise above 0, so that all their steps are equal."""
    model = network((("rnn", "relu"), 1, True), "max")
    with torch.no_grad():
        model.recurrent.bias_ih_l0[:3] = -50.0
        model.recurrent.weight_ih_l0[3:5] = 0.0  # as large at several steps, and above 0
        model.recurrent.weight_hh_l0[3:5] = 0.0
    result = bptt(model, sequence(), label())
    assert (result.backward_pass.share == 0.2).sum() >= 5 * 3
    _, gradients = by_autograd(model, "classification", sequence(), label())
    for name, gradient in gradients.items():
        assert_near_relative(result.gradients[name], gradient)
