"""How far back inputs change the output: constructed memories, and a trained one."""

import json

import numpy as np
import pytest
import torch
from cases import same_bits, weights_of
from explain_cases import KINDS, READOUTS, WHAT, fitted, network, sequence

from elman import SequenceTagger
from elman.data.builtin.simple import make_running_parity
from elman.errors import DataError, SettingsError
from elman.explain import memory
from elman.explain.memory import _affordable_count
from elman.explain.sensitivity import replacement_for

GRU = (("gru", "tanh"), 1, False)
BOTH = (("gru", "tanh"), 1, True)


def shift_register(back, ahead=None, readout="last"):
    """A network that says the first channel of the input `back` steps before, plus `ahead` after.

    A unit holds the input, the next one what that held a step before, and so on: h_t = S h_{t-1}.
    """
    H = 1 + max(back, ahead or 0)
    model = network(
        (("rnn", "relu"), 1, ahead is not None),
        readout,
        task="regression",
        hidden_size=H,
        num_outputs=1,
    )
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
        for end in ("", "_reverse")[: 1 if ahead is None else 2]:
            getattr(model.recurrent, f"weight_ih_l0{end}")[0, 0] = 1.0
            getattr(model.recurrent, f"weight_hh_l0{end}").copy_(torch.diag(torch.ones(H - 1), -1))
        model.output.weight[0, back] = 1.0
        if ahead is not None:
            model.output.weight[0, H + ahead] = 1.0
    return model


def positive(lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [torch.tensor(rng.uniform(1, 2, (n, 2))) for n in lengths]


@pytest.mark.parametrize("readout", ["last", "every"])
@pytest.mark.parametrize("k", [0, 1, 5, 19])
def test_a_shift_register_remembers_one_lag_exactly(readout, k):
    X = positive([20, 23, 30, 30])
    model = shift_register(k, readout=readout)
    result = memory(model, X)
    assert result.reach == k and result.future is None
    assert result.lags.tolist() == list(range(30))
    others = result.lags != k
    assert (result.effect[others] == 0).all() and (result.high[others] == 0).all()
    assert result.effect[k] > 0.1 and result.low[k] > 0
    many = "step" if k == 1 else "steps"
    assert f"inputs count up to {k} {many} " in str(result) and f"at lag {k}." in str(result)
    # Another sequence may have nearly the same value, so that replacing it changes nothing.
    assert set(result.past.reaches) <= {k, -1} and result.past.typical_reach == k
    assert (result.past.reach_low, result.past.reach_high) == (k, k)


@pytest.mark.parametrize("readout", ["last", "every"])
def test_each_direction_has_its_own_curve(readout):
    result = memory(shift_register(3, 7, readout), positive([12, 15, 18]))
    assert (result.reach, result.future.reach) == (3, 7)
    for side, k in ((result.past, 3), (result.future, 7)):
        np.testing.assert_array_equal(np.flatnonzero(side.effect), [k])


def test_the_effect_is_the_mean_change_of_the_value():
    """By the baseline: what a register says falls by the input that it held."""
    X = positive([10, 11, 12])
    result = memory(shift_register(4), X, replace="baseline")
    held = [float(x[-5, 0]) for x in X]
    assert result.effect[4] == pytest.approx(np.mean(held))
    assert result.low[4] == pytest.approx(min(held), abs=0.2) and result.low[4] < result.effect[4]
    assert result.high[4] == pytest.approx(max(held), abs=0.2) and result.high[4] > result.effect[4]


def test_what_replaces_a_step_is_the_same_step_of_another_sequence():
    X = positive([9, 9])
    result = memory(shift_register(2), X)
    assert result.effect[2] == pytest.approx(abs(X[0][6, 0] - X[1][6, 0]).item())
    longer = [X[0], torch.cat([X[1], X[1] + 5])]  # of 9 and 18 steps
    result = memory(shift_register(2), longer)
    # x_16 of the longer has no like in the shorter: any of its steps may stand there.
    own = abs(X[0][6, 0] - X[1][6, 0]).item()
    drawn = [(own + abs(longer[1][15, 0] - x).item()) / 2 for x in X[0][:, 0]]
    assert min(abs(result.effect[2] - d) for d in drawn) < 1e-12


@pytest.mark.parametrize("stack", [GRU, BOTH, (("lstm", "tanh"), 1, True)])
def test_without_recurrent_weights_nothing_is_remembered(stack):
    model = network(stack)
    with torch.no_grad():
        for name, p in model.recurrent.named_parameters():
            if name.startswith("weight_hh"):
                p.zero_()
            elif stack[0][0] == "gru" and name.startswith("bias_ih"):
                p[6:12] = -1e4  # z = 0: the state is not kept
            elif stack[0][0] == "lstm" and name.startswith("bias_ih"):
                p[6:12] = -1e4  # f = 0: the cell is not kept
    result = memory(model, [sequence(steps=n, seed=n) for n in (8, 9, 10)])
    for side in result.curves.values():
        assert side.reach == 0 and side.effect[0] > 0.001 and (side.effect[1:] == 0).all()


def test_a_network_that_ignores_its_inputs_has_no_reach():
    model = network(GRU)
    with torch.no_grad():
        model.output.weight.zero_()
    result = memory(model, [sequence(seed=s) for s in range(3)])
    assert result.reach is None and (result.effect == 0).all()
    assert result.ignores_input and str(result).startswith("The network ignores its input: ")
    assert not result.plot().axes  # a sentence in place of a line at 0


def test_running_parity_is_remembered_to_the_first_step():
    train, test = make_running_parity(0, T=8, train=300, test=80)
    tagger = SequenceTagger(
        cell="gru", hidden_size=12, bidirectional=False, epochs=60, learning_rate=0.02, dropout=0,
        validation=0, random_state=0,
    ).fit(train.inputs, train.target)  # fmt: skip
    assert tagger.score(test.inputs, test.target) > 0.98
    result = memory(tagger, test.inputs)
    assert result.reach == 7 == result.longest - 1
    # The bit is replaced by the other one if any of eight other sequences has it.
    assert (result.effect > 0.9).all()
    assert "inputs count up to at least 7 steps before an output" in str(result)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_effect_is_that_of_replacing_a_step(kind, readout):
    """Against the definition, one step and one sequence at a time."""
    model, X = network(GRU, readout, kind), [sequence(kind, n, n) for n in (4, 6, 7)]
    result = memory(model, X, replace="baseline")
    assert len(result.effect) == 6  # one sequence alone has a distance of 6
    for k in range(6):
        effects = []
        for x in X:
            T, own = len(x), []
            whole = torch.softmax(model(x[None])[0], -1)
            for t in range(k, T) if readout == "every" else [T - 1] if k < T else []:
                row = x.clone()
                row[t - k] = {"numbers": torch.zeros(2), "tokens": torch.tensor(1)}.get(
                    kind, torch.tensor([0.0, 0, 1, 1])
                )
                moved = (torch.softmax(model(row[None])[0], -1) - whole).abs().sum(-1) / 2
                own.append((moved[t] if readout == "every" else moved).item())
            effects += [np.mean(own)] if own else []
        assert result.past.sequences[k] == len(effects)
        assert result.effect[k] == pytest.approx(np.mean(effects), abs=1e-11)


def test_the_same_seed_gives_the_same_result_and_others_a_similar_one():
    model, X = network(BOTH), [sequence(steps=12, seed=s) for s in range(60)]
    one, same, other = (memory(model, X, sequences=40, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.effect, same.effect)
    np.testing.assert_array_equal(one.low, same.low)
    assert (one.effect != other.effect).all()
    assert (one.used, one.available, one.seed) == (40, 60, 1)
    assert ((one.low <= one.effect) & (one.effect <= one.high)).all()
    assert np.mean((other.effect >= one.low) & (other.effect <= one.high)) > 0.5


@pytest.mark.parametrize("readout", ["last", "every"])
def test_many_small_passes_give_what_one_gives(readout, monkeypatch):
    model, X = network(BOTH, readout), [sequence(steps=n, seed=n) for n in (4, 6, 6)]
    whole = memory(model, X)
    monkeypatch.setattr("elman.explain.sensitivity._UNIT_STEPS", 1)
    parts = memory(model, X)
    np.testing.assert_allclose(parts.effect, whole.effect, atol=1e-12)
    np.testing.assert_allclose(parts.future.effect, whole.future.effect, atol=1e-12)


def test_intervals_contain_the_mean_of_all_in_19_of_20_samples():
    model, X = network(GRU, hidden_size=3), [sequence(steps=3, seed=s) for s in range(300)]
    truth = memory(model, X, sequences=300, replace="baseline").effect
    inside = []
    for seed in range(40):
        result = memory(model, X, sequences=30, replace="baseline", seed=seed)
        inside.append((result.low <= truth) & (truth <= result.high))
    assert 0.85 <= np.mean(inside) <= 1.0


def test_long_sequences_are_measured_at_few_lags():
    model = network(GRU, hidden_size=3)
    X = [sequence(steps=n, seed=i) for i, n in enumerate((400, 500, 700, 700, 900))]
    result = memory(model, X, lags=20)
    d = result.lags
    assert len(d) <= 20 and d[0] == 0 and d[-1] == 699 and (np.diff(d) > 0).all()
    assert (d[:4] == [0, 1, 2, 3]).all() and np.diff(d)[-1] > 100
    assert result.past.sequences.tolist() == [5 if k < 400 else 4 if k < 500 else 3 for k in d]
    assert result.longest == 900
    assert f"at {len(d)} time lags up to 699" in str(result)
    axes = result.plot().axes[0]
    assert axes.get_xscale() == "log"


def test_of_long_sequences_fewer_are_measured():
    assert _affordable_count([10] * 500, 64) == 100
    assert _affordable_count([2000] * 500, 64) == 20  # 15 would do
    assert _affordable_count([800] * 500, 64) == 2_000_000 // (800 * 64) == 39
    assert _affordable_count([5] * 7, 64) >= 7
    X = [sequence(steps=800, seed=s) for s in range(41)]
    model = network(GRU, hidden_size=1)
    assert memory(model, X, lags=64).used == 39
    assert memory(model, X, lags=4, sequences=41).used == 41


@pytest.mark.parametrize("what", WHAT)
def test_of_an_estimator_in_its_unit(what):
    estimator, X, _ = fitted(what)
    result = memory(estimator, X, replace="baseline")
    assert set(result.curves) == {"past", "future"}
    assert result.longest == max(len(x) for x in X) and result.past.sequences.min() >= 2
    json.dumps(result.to_dict(), allow_nan=False)
    table = result.to_frame()
    assert list(table.columns) == ["side", "lag", "effect", "low", "high", "sequences"]
    assert len(table) == sum(len(side.effect) for side in result.curves.values())
    expected = {"sets": "labels' probabilities", "values": "in standard deviations"}
    assert expected.get(what, "total variation distance") in result.measure
    texts = [t.get_text() for t in result.plot().axes[0].get_legend().get_texts()]
    assert len(texts) == 2 and texts[0].startswith("past: reaches")


def test_a_value_is_measured_in_the_unit_of_the_target():
    from elman import SequenceRegressor

    rng = np.random.default_rng(0)
    X = [rng.normal(size=(6, 1)) for _ in range(20)]
    y = np.array([1000 * x.mean() for x in X])
    reg = SequenceRegressor(
        epochs=2, validation=0, hidden_size=4, bidirectional=False, readout="last", random_state=0
    ).fit(X, y)
    result = memory(reg, X, replace="baseline")
    moved = []
    for x in X:
        row = x.copy()
        row[-3] = reg.encoder_.mean
        moved.append(abs(reg.predict([row]) - reg.predict([x]))[0])
    assert result.effect[2] == pytest.approx(np.mean(moved), rel=1e-3)
    assert result.measure == "absolute change of target, in its unit"


def test_the_model_is_not_changed():
    model = network(BOTH, num_outputs=3).float().train()
    before, state = weights_of(model), torch.random.get_rng_state()
    memory(model, [sequence(seed=s) for s in range(4)])
    assert same_bits(before, weights_of(model)) and model.training
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(p.grad is None for p in model.parameters())
    assert not model.output._forward_pre_hooks


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"replace": "noise"}, "replace: got 'noise', expected 'others' or 'baseline'"),
        ({"sequences": 1}, "sequences: got 1, expected a whole number from 2"),
        ({"lags": True}, "lags: got True, expected a whole number from 2"),
        ({"share": 0}, "share: got 0, expected a share above 0 and up to 1"),
    ],
)
def test_invalid_options_are_refused(options, words):
    with pytest.raises(SettingsError) as caught:
        memory(network(GRU), [sequence(), sequence()], **options)
    assert words in str(caught.value)


def scaled_output(factor, readout="last", task="classification"):
    """A network whose outputs hardly change: V times a factor."""
    model = network(GRU, readout, task=task)
    with torch.no_grad():
        model.output.weight.mul_(factor)
    return model


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_an_effect_too_small_to_see_is_none(readout, task):
    """A bias that outweighs the input: 5e-07 of a probability is no memory of four steps."""
    X = [sequence(steps=n, seed=n) for n in (5, 6, 8, 8)]
    tiny = memory(scaled_output(1e-7, readout, task), X)
    assert 0 < tiny.effect.max() < 1e-5 and tiny.ignores_input and tiny.reach is None
    assert "ignores its input" in str(tiny) and "count up to" not in str(tiny)
    seen = memory(scaled_output(0.1, readout, task), X)
    assert not seen.ignores_input and seen.reach is not None


def test_small_effects_of_many_steps_are_not_ignored():
    """With a mean over 2,000 steps no step alone changes much, and the whole input decides."""
    model = network(GRU, "mean", hidden_size=3)
    X = [sequence(steps=800, seed=s) + 2 * (s % 2) for s in range(6)]
    result = memory(model, X, lags=4)
    assert result.effect.max() < 1e-3 < 0.01
    assert not result.ignores_input and result.reach is not None


def test_a_rare_long_dependency_is_found():
    """One output of many depends on one input far away: the mean over outputs hides it.

    The value at step t is x_t; only a mark in the input lets the output read what the first step
    left, which is n - 1 steps back in a sequence of n.
    """
    model = network((("rnn", "relu"), 1, False), "every", task="regression", hidden_size=2,
                    num_outputs=1, input_size=2)  # fmt: skip
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
        model.recurrent.weight_ih_l0[0, 0] = 1.0  # unit 1 holds what step 1 wrote
        model.recurrent.weight_hh_l0[0, 0] = 1.0
        model.recurrent.weight_ih_l0[1, 1] = 1.0  # unit 2 is open at a mark
        model.recurrent.weight_ih_l0[1, 0] = 0.0
        model.recurrent.bias_ih_l0[1] = -10.0
        model.recurrent.weight_hh_l0[1, 0] = 1.0
        model.output.weight[0, 1] = 1.0
    X = []
    for n in (6, 9, 12, 31, 12, 9, 6, 9):
        x = torch.zeros(n, 2, dtype=torch.float64)
        x[0, 0], x[-1, 1] = 1 + n / 40, 10.0
        X.append(x)
    result = memory(model, X, replace="baseline")
    lengths = np.array([len(x) for x in X])
    np.testing.assert_array_equal(result.past.reaches, lengths - 1)
    assert result.reach == 30 and result.past.reach_low < 30 and result.past.reach_high == 30
    assert "inputs count up to at least 30 steps" in str(result)


def test_a_replacement_differs_if_it_can():
    rows = [torch.tensor([2]), *[torch.tensor([2])] * 3, *[torch.tensor([3])] * 3]
    model, rng = network(GRU, kind="tokens"), np.random.default_rng(0)
    drawn = [replacement_for(rows, 0, 0, "others", model, rng).item() for _ in range(50)]
    assert np.mean(np.array(drawn) == 3) > 0.95
    same = [torch.tensor([2])] * 4
    assert replacement_for(same, 0, 0, "others", model, rng) == 2


def test_the_interval_of_the_reach_contains_it():
    result = memory(network(BOTH, "every"), [sequence(steps=n, seed=n) for n in range(4, 24)])
    for curve in result.curves.values():
        assert curve.reach == curve.reaches.max()
        assert curve.reach_low <= curve.reach == curve.reach_high
        half = (curve.reaches >= curve.typical_reach).mean()
        assert half >= 0.5


def test_one_sequence_is_too_few():
    with pytest.raises(DataError, match="X holds 1 sequences"):
        memory(network(GRU), [sequence()])


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_gives_the_same(kind):
    model, X = network(BOTH, kind=kind), [sequence(kind, 7, s) for s in range(5)]
    expected, result = memory(model, X), memory(model.cuda(), X)
    np.testing.assert_allclose(result.effect, expected.effect, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(result.future.effect, expected.future.effect, atol=1e-10)
