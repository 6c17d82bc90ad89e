"""The page's engine in Chromium: trace, bptt and influence, and clamps against plain torch."""

from __future__ import annotations

import dataclasses
import random
import shutil

import numpy as np
import pytest
import torch
from engine_cases import (
    CELLS,
    every_choice,
    expected_of,
    make_case,
    some_choices,
)
from joined import join_modules
from plain_network import changed

from elman import SequenceClassifier, SequenceRegressor, SequenceTagger
from elman.explain import bptt, influence, trace
from elman.lab import page
from elman.lab.payload import describe_run

CLOSE = 1e-10  # of numbers relative to their array's largest, or 1: both sides compute in doubles
STEPS = 7  # of the sequences with changes


@pytest.fixture(scope="module")
def engine(browser, tmp_path_factory):
    """A page that holds the engine and engine.js; at the end it has had no error and no request."""
    home = tmp_path_factory.mktemp("engine")
    for path in page.PAGE.glob("*.js"):
        shutil.copy(path, home)
    shutil.copy(str(__file__).replace("test_lab_engine.py", "engine.js"), home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "PAGE", home)
        script = join_modules("engine")
    (home / "engine.html").write_text(f"<!doctype html><script>{script}</script>")
    with browser.open_page(home / "engine.html", wait=False) as opened:
        yield opened
        assert not opened.errors
        assert not opened.requests


def numbers_of(found):
    return {name: np.array([float(v) for v in values]) for name, values in found.items()}


def run_cases(engine, cases, changes=None, **options):
    """What the engine computes of each case, arrays by name."""
    given = [case.to_json(changes and changes[i], **options) for i, case in enumerate(cases)]
    return [numbers_of(found) for found in engine.run(f"runCases({page.encode_json(given)})")]


def assert_same(case, name, found, expected):
    found, expected = np.asarray(found).reshape(-1), np.asarray(expected).reshape(-1)
    assert found.shape == expected.shape, (case.name, name)
    known = np.isfinite(expected)
    np.testing.assert_array_equal(found[~known], expected[~known], f"{case.name}: {name}")
    largest = np.abs(expected[known]).max(initial=1.0)
    difference = np.abs(found[known] - expected[known]).max(initial=0.0)
    assert difference <= CLOSE * largest, f"{case.name}: {name} differs by {difference}"


def assert_explained(case, found):
    """The engine found what trace, bptt and influence say, and each array has its counterpart."""
    expected, config, T = expected_of(case), case.model.config, len(case.x)
    assert set(found) - {"final", "answer"} == set(expected)
    for name, values in expected.items():
        own = found[name]
        if name.startswith("votes") and config.per_step and config.joins_readout:
            # The relu of a step passes other units than that of the last step, which a Trace has.
            own, values = own[-config.width :], values[-1]
        if name == "influence" and not config.per_step:
            own = own.reshape(T, T)[:, -1]
        assert_same(case, name, own, values)
    last = slice(None) if config.per_step else slice(-config.num_outputs, None)
    assert_same(case, "final", found["final"], expected["outputs"].reshape(-1)[last])
    assert_same(case, "answer", found["answer"], expected["distribution"].reshape(-1)[last])


@pytest.mark.parametrize("cell", CELLS, ids=["-".join(cell) for cell in CELLS])
def test_every_number_is_that_of_trace_bptt_and_influence(engine, cell):
    choices = [choice for choice in some_choices() if choice[:2] == cell]
    cases = [make_case(*choice, seed=i) for i, choice in enumerate(choices)]
    cases.append(make_case(*choices[0], steps=1))
    for case, found in zip(cases, run_cases(engine, cases), strict=True):
        assert_explained(case, found)


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS, ids=["-".join(cell) for cell in CELLS])
def test_every_combination(engine, cell):
    choices = [choice for choice in every_choice() if choice[:2] == cell]
    for start in range(0, len(choices), 64):
        chosen = choices[start : start + 64]
        cases = [make_case(*choice, seed=start + i) for i, choice in enumerate(chosen)]
        for case, found in zip(cases, run_cases(engine, cases), strict=True):
            assert_explained(case, found)


@pytest.mark.parametrize("units, outputs", [(1, 1), (3, 2), (33, 5)])
def test_many_sources_and_sizes_off_the_blocks(engine, units, outputs):
    """70 steps, of which 64 are followed by lag; the products take four rows together."""
    task = "regression" if outputs == 1 else "classification"
    cell, readout = ("gru", "every") if outputs == 2 else ("lstm", "mean")
    choice = (cell, "tanh", 1, False, readout, "numbers", task)
    case = make_case(*choice, steps=70, units=units, outputs=outputs)
    assert_explained(case, run_cases(engine, [case])[0])


@pytest.mark.parametrize("scale, steps", [(0.01, 400), (4.0, 400)])
def test_gradients_that_vanish_and_overflow(engine, scale, steps):
    case = make_case("rnn", "relu", steps=steps)
    with torch.no_grad():
        case.model.recurrent.weight_hh_l0.copy_(scale * torch.eye(5))
        case.model.recurrent.weight_ih_l0.fill_(0.1)
        case.model.recurrent.bias_ih_l0.fill_(5.0)
        case.model.output.weight.copy_(torch.eye(3, 5))
    back = bptt(case.bound(), case.x.double(), case.label)
    place = (0, "forward")
    found = run_cases(engine, [case], influence=False)[0]
    assert_same(case, "norms", found["0 forward norms"], back.gradient_by_lag[place])
    assert_same(case, "remaining", found["0 forward remaining"], back.remaining[place])
    assert back.remaining[place][-1] == (0 if scale < 1 else np.inf)


def test_steps_without_a_label(engine):
    case = make_case(readout="every")
    case.label[2:4] = -100
    assert_explained(case, run_cases(engine, [case])[0])
    case = make_case(readout="every", task="regression")
    case.label[1, 0] = np.nan
    found = run_cases(engine, [case])[0]
    assert_explained(case, found)
    assert found["losses"][1] == 0


def draw_changes(draw, config):
    """Up to three clamps, some of all units, and up to all steps but one erased."""
    clamps = []
    for _ in range(draw.randint(0, 3)):
        start = draw.randrange(STEPS)
        clamps.append(
            {
                "layer": draw.randrange(config.num_layers),
                "direction": draw.randrange(1 + config.bidirectional),
                "name": draw.choice(config.cell_definition.traced),
                "unit": draw.choice([None, 0, 1, 2, 3, 4]),
                "value": draw.choice([0, 1, 0.5, -0.3]),
                "from": start,
                "to": draw.randrange(start, STEPS),
            }
        )
    return {
        "clamps": clamps,
        "erased": sorted(draw.sample(range(STEPS), draw.choice((0, 1, 2, 6)))),
    }


@pytest.mark.parametrize("seed", [0, 1])
def test_clamps_and_erased_steps_are_those_of_plain_torch(engine, seed):
    """States, answers by step, and every gradient, which comes from autograd there."""
    draw = random.Random(seed)
    cases = [make_case(*c, seed=i, steps=STEPS) for i, c in enumerate(some_choices())]
    changes = [draw_changes(draw, case.model.config) for case in cases]
    assert sum(bool(each["clamps"]) for each in changes) > 30
    assert sum(bool(each["erased"]) for each in changes) > 30
    for case, change, found in zip(cases, changes, run_cases(engine, cases, changes), strict=True):
        expected = changed(case, **change)
        kept = expected.pop("kept")
        for name, values in expected.items():
            own = found[name]
            if name[0].isdigit() or (name == "final" and case.model.config.per_step):
                rows = own.reshape(STEPS, -1)
                own = rows[kept]
                if name.endswith((" r", " z", " n", " i", " f", " g", " o")) or name == "final":
                    assert np.isnan(np.delete(rows, kept, 0)).all()
            assert_same(case, f"{name} with {change}", own, values)


def draw_masks(case, draws):
    """Dropout masks of a training with p = 1/2 for all places: 0 or 2."""
    config = case.model.config
    shapes = {
        "embedded": (STEPS, case.model.recurrent.input_size),
        "between": (config.num_layers - 1, STEPS, config.width),
        "read": (STEPS, config.width) if config.per_step else (config.width,),
    }
    return {
        name: 2.0 * torch.randint(0, 2, shape, generator=draws).double()
        for name, shape in shapes.items()
    }


def test_dropout_masks_and_gates_of_tanh_are_those_of_plain_torch(engine):
    """What only a training in the page has: masks at all three places, and tanh for sigmoid."""
    draws = torch.Generator().manual_seed(0)
    cases = [make_case(*c, seed=i, steps=STEPS) for i, c in enumerate(some_choices())][::3]
    masks = [draw_masks(case, draws) for case in cases]
    given = []
    for case, mask in zip(cases, masks, strict=True):
        one = case.to_json({"dropout": {name: m.tolist() for name, m in mask.items()}})
        given.append(one | {"influence": False})
        given[-1]["config"]["gate_activation"] = "tanh"
    results = engine.run(f"runCases({page.encode_json(given)})")
    for case, mask, result in zip(cases, masks, results, strict=True):
        expected = changed(case, [], [], mask, torch.tanh)
        del expected["kept"]
        found = numbers_of(result)
        for name, values in expected.items():
            assert_same(case, f"{name} with dropout", found[name], values)


def test_influence_with_changes_is_that_of_every_replaced_input(engine):
    """Against plain torch: one whole network for each replaced step, and each step as the end."""
    change = {
        "clamps": [{"layer": 0, "direction": 0, "name": "z", "unit": 1, "value": 0.5}
                   | {"from": 1, "to": 4}],
        "erased": [2],
    }  # fmt: skip
    cases = [
        make_case("gru", "tanh", 2, both, readout, kind, steps=STEPS)
        for both in (False, True)
        for readout, kind in (("mean", "mixed"), ("every", "tokens"))
    ]
    for case, found in zip(cases, run_cases(engine, cases, [change] * 4), strict=True):
        rows = {}
        for s in (None, *range(STEPS)):
            x = case.x.clone()
            if s is not None and x.ndim == 1:
                x[s] = 1
            elif s is not None:
                x[s, :2], x[s, 2:] = 0, 1
            replaced = changed(dataclasses.replace(case, x=x), **change)
            outputs = replaced.get("outputs")
            if outputs is None:
                outputs = np.full((STEPS, 3), np.nan)
                outputs[replaced["kept"]] = replaced["final"]
            rows[s] = torch.softmax(torch.tensor(outputs), -1).numpy()
        values = [np.nan_to_num(np.abs(rows[s] - rows[None])).sum(1) / 2 for s in range(STEPS)]
        assert_same(case, "influence", found["influence"], values)
        assert not found["influence"].reshape(STEPS, STEPS)[2].any()  # erased: it has no influence
        assert found["influence"].max() > 1e-3


def fitted(what):
    """A fitted estimator with X and y of a kind."""
    rng = np.random.default_rng(0)
    small = {"epochs": 2, "validation": 0, "hidden_size": 5, "random_state": 0}
    X = [rng.normal(3, 2, (n, 2)) for n in rng.integers(3, 9, 12)]
    y = ["up" if x[:, 0].mean() > 3 else "down" for x in X]
    if what == "text":
        X = ["".join(rng.choice(list("abcd"), len(x))) for x in X]
    if what == "gaps":
        X[0][1, 0] = np.nan
    if what == "tags":
        y = [["hi" if v > 3 else "lo" for v in x[:, 0]] for x in X]
        return SequenceTagger(**small).fit(X, y), X, y
    if what == "sets":
        y = [{n for n, v in zip("pq", x.mean(0), strict=True) if v > 3} for x in X]
    if what == "values":
        y = [[100 + x.mean(), 7 * x.std()] for x in X]
        return SequenceRegressor(**small).fit(X, y), X, y
    if what == "value":
        y = [100 + 20 * x.mean() for x in X]
        return SequenceRegressor(**small).fit(X, y), X, y
    return SequenceClassifier(**small).fit(X, y), X, y


@pytest.mark.parametrize("what", ["text", "gaps", "tags", "sets", "values", "value"])
def test_the_payload_of_an_estimator_gives_its_explanations(engine, what):
    """From float32 weights and inputs in base64; in the target's unit where there is one."""
    clf, X, y = fitted(what)
    run = describe_run(clf, X[:4], y[:4])
    for i, found in enumerate(engine.run(f"runPayload({page.encode_json(run)})")):
        own = numbers_of(found)
        traced, back = trace(clf, X[i], y[i]), bptt(clf, X[i], y[i])
        # elman widens the weights, and reads the input in float32 as well.
        np.testing.assert_allclose(own["distribution"], traced.distribution.reshape(-1), 1e-6, 1e-7)
        first = traced.votes(traced.classes[0]).reshape(-1)
        np.testing.assert_allclose(own["votes"], first, 1e-6, 1e-6)
        np.testing.assert_allclose(own["losses"], back.losses, 1e-5, 1e-7)
        T = traced.steps
        effects = own["influence"].reshape(T, T)
        effects = effects if traced.per_step else effects[:, -1:]
        np.testing.assert_allclose(effects, influence(clf, X[i]).values, 1e-4, 1e-6)
        for name, gradient in back.gradients.items():
            named = f"recurrent.{name}" if name.startswith(("weight_", "bias_")) else name
            np.testing.assert_allclose(own[f"gradient {named}"], gradient.reshape(-1), 1e-5, 1e-6)


def test_weights_of_another_network_and_other_cells_are_refused(engine):
    case = make_case().to_json()
    config = case["config"]
    other = case | {"config": config | {"hidden_size": 6}}
    assert engine.run(f"messageOf({page.encode_json(other)})") == (
        "weights: recurrent.weight_ih_l0 has 30 numbers, expected 36: config and weights are of "
        "different networks"
    )
    del case["weights"]["output.bias"]
    assert "output.bias has no numbers" in engine.run(f"messageOf({page.encode_json(case)})")
    own = case | {"config": config | {"cell": "minimal"}}
    assert 'cell: got "minimal", expected rnn, gru or lstm' in engine.run(
        f"messageOf({page.encode_json(own)})"
    )


@pytest.mark.parametrize("kind, code", [("tokens", 9), ("tokens", -1), ("mixed", 1.5)])
def test_a_code_that_no_embedding_has_is_refused(engine, kind, code):
    case = make_case(kind=kind).to_json()
    case["x"][(2 if kind == "tokens" else 2 * 4 + 2)] = code
    most = 8 if kind == "tokens" else 3
    assert engine.run(f"messageOf({page.encode_json(case)})") == (
        f"x: step 3 has the code {code}, expected a whole number from 0 to {most}"
    )
