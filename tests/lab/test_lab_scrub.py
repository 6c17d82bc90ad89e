"""Scrub: one cursor for all panels, whose numbers are those of elman's trace and bptt."""

from __future__ import annotations

import re

import numpy as np
import pytest
from touch_cases import (
    answers,
    chart,
    fit,
    go_to,
    number,
    point,
    state_of,
    text,
    wait_until_drawn,
    write_page,
)

from elman import SequenceClassifier, SequenceRegressor, SequenceTagger
from elman.explain import bptt, trace
from elman.models import ModelConfig, SequenceModel

TALL = 5000  # pixels of the window: panels are drawn only in view
STATES = "#panel-states canvas"
TOKENS = "#panel-input .tokens button"
WORDS = ["the", "old", "net", "forgets", "a", "b c"]


@pytest.fixture(scope="module")
def lstm(tmp_path_factory):
    """A classifier of tokens, its sequences and labels, and its page."""
    rng = np.random.default_rng(1)
    X = [rng.choice(WORDS, 6).astype(object) for _ in range(6)]
    y = ["x", "y", "z"] * 2
    model = fit(SequenceClassifier, X, y, cell="lstm", bidirectional=False, num_layers=2)
    return model, X, y, write_page(tmp_path_factory.mktemp("scrub") / "lstm.html", model, X, y)


@pytest.fixture
def page(browser, lstm):
    with browser.open_page(lstm[3], height=TALL) as page:
        wait_until_drawn(page)
        yield page
        page.check()


def cursors(page):
    """The step, from 1, that each panel says it shows."""
    page.settle()
    shown = {
        name: text(page, f"#panel-{name} {part}")
        for name, part in {
            "input": ".row .field span", "output": "table", "states": ".reading",
            "gates": ".reading", "votes": "table", "gradient": ".reading",
        }.items()
    }  # fmt: skip
    shown["slider"] = text(page, "#cursor-text")
    return {name: int(re.search(r"\d+", said.split("step")[-1])[0]) for name, said in shown.items()}


def test_one_cursor_moves_in_every_panel(page):
    everywhere = lambda: set(cursors(page).values())  # noqa: E731
    go_to(page, 2)
    assert everywhere() == {3}
    page.hover(STATES, *point(chart(page, f"{STATES}:nth-of-type(2)"), 4, 0.0))
    assert everywhere() == {5} and state_of(page)["step"] == 2, "a hover is not in the address"
    page.mouse("mouseMoved", 0, 0)
    assert everywhere() == {3}, "the cursor returns"
    page.focus(f"{STATES}:nth-of-type(2)")
    page.key("ArrowRight")
    assert everywhere() == {4}
    page.key("Home")
    assert everywhere() == {1}
    page.key("End")
    page.run("document.activeElement.blur()")
    page.key("ArrowLeft")
    assert everywhere() == {5} and state_of(page)["step"] == 4
    page.click(
        "#panel-gates .body > canvas", *point(chart(page, "#panel-gates .body > canvas"), 1, 0.9)
    )
    page.mouse("mouseMoved", 0, 0)
    assert everywhere() == {2} and state_of(page)["step"] == 1
    page.click(f"{TOKENS}:nth-child(4)")
    assert everywhere() == {4}


def test_the_numbers_under_the_cursor_are_those_of_a_trace(page, lstm):
    model, X, _, _ = lstm
    traced = trace(model, X[0])
    page.run("location.hash = '#step=3&unit=2&layer=0'")
    page.settle()
    gates = traced.layers[0].gates
    shown = text(page, "#panel-gates .reading")
    for name in "ifgo":
        assert number(shown.split(f"{name} = ")[1]) == pytest.approx(gates[name][3, 2], rel=6e-3)
    shown = text(page, "#panel-states .reading")
    assert number(shown.split("h = ")[1]) == pytest.approx(traced.layers[0].h[3, 2], rel=6e-3)
    for step in (0, 3, 5):
        found = answers(page, step)
        assert [found[name] for name in model.classes_] == pytest.approx(
            traced.distribution[step], abs=6e-4
        )


def test_votes_are_sorted_by_size_and_add_up_to_the_output(page, lstm):
    model, X, _, _ = lstm
    traced = trace(model, X[0])
    page.run("location.hash = '#step=3&output=1'")
    page.settle()
    votes = traced.votes("y")[3]
    table = "#panel-votes table:nth-of-type(2) tr"
    rows = page.run(
        f"[...document.querySelectorAll('{table}')].map((r) =>"
        " [r.children[0].textContent, r.children[1].textContent])"
    )
    units = [int(number(name)) - 1 for name, _ in rows]
    assert units == np.argsort(-np.abs(votes), kind="stable").tolist()
    assert [number(value) for _, value in rows] == pytest.approx(votes[units], rel=6e-3)
    sums = page.run(
        "[...document.querySelectorAll('#panel-votes table:nth-of-type(1) tr')].map((r) =>"
        " [r.children[0].textContent, r.children[1].textContent])"
    )
    totals = {name: number(value) for name, value in sums}
    for k, name in enumerate(model.classes_):
        # Without the bias: votes of a step and the bias are the output as if it ended there.
        bias = traced.outputs[-1, k] - traced.votes(name)[-1].sum()
        assert totals[name] == pytest.approx(traced.outputs[3, k] - bias, rel=6e-3)
    assert list(totals.values()) == sorted(totals.values(), reverse=True)


def test_the_gradient_is_that_of_bptt(page, lstm):
    model, X, y, _ = lstm
    found = bptt(model, X[0], y[0])
    for layer, step, unit in ((1, 5, 0), (0, 2, 3), (1, 0, 4)):
        page.run(f"location.hash = '#step={step}&unit={unit}&layer={layer}'")
        page.settle()
        shown = number(text(page, "#panel-gradient .reading").split(": ")[1])
        expected = found.dh[(layer, "forward")][step, unit]
        assert shown == pytest.approx(expected, rel=6e-3)
    assert number(text(page, "#panel-gradient .verdict").split(": ")[1]) == pytest.approx(
        found.losses.sum(), rel=6e-3
    )


@pytest.mark.parametrize("typed", ["forgets", "b c", "never seen"])
def test_a_token_is_replaced(page, lstm, typed):
    model, X, _, _ = lstm
    page.click(f"{TOKENS}:nth-child(5)")
    page.focus("#token-entry")
    page.run("document.getElementById('token-entry').select()")
    page.type(typed)
    page.key("Enter")
    assert state_of(page)["edits"] == {"4,0": typed}
    x = X[0].copy()
    former, x[4] = x[4], typed
    assert former != typed
    shown, expected = answers(page, 5), model.predict_proba([x])[0]
    assert [shown[name] for name in model.classes_] == pytest.approx(expected, abs=6e-4)
    assert np.abs(expected - model.predict_proba(X[:1])[0]).max() > 2e-3
    go_to(page, 4)
    is_unknown = "not in the vocabulary" in text(page, "#panel-input .note")
    assert is_unknown == (typed == "never seen")
    button = f"document.querySelector('{TOKENS}:nth-child(5)')"
    assert page.run(f"{button}.dataset.former") == former.replace(" ", "␣")
    assert page.run(f"{button}.ariaLabel") == f"step 5, {typed}, in the data {former}"
    page.run("document.getElementById('token-entry').select()")
    page.focus("#token-entry")
    page.type(former)
    page.key("Enter")
    assert "edits" not in state_of(page), "the token of the data is no change"


def test_the_vocabulary_is_offered(page):
    page.focus("#token-entry")
    page.run("document.getElementById('token-entry').value = ''")
    page.type("o")
    offered = page.run("[...document.querySelectorAll('#known-tokens option')].map((o) => o.value)")
    assert offered[0] == "old" and set(offered) == {"old", "forgets"}


def test_a_class_at_every_step_and_a_number_at_every_step(browser, tmp_path):
    rng = np.random.default_rng(2)
    X = [rng.normal(size=(5, 1)) for _ in range(4)]
    tags = [["a", "b", "a", "b", "a"], ["b"] * 5, ["a"] * 5, ["a", "b", "b", "b", "a"]]
    tagger = fit(SequenceTagger, X, tags, cell="rnn")
    traced = trace(tagger, X[0], tags[0])
    with browser.open_page(
        write_page(tmp_path / "tags.html", tagger, X, tags), height=TALL, address="#step=1"
    ) as page:
        page.wait_for("document.querySelector('#panel-gradient .body > canvas ~ canvas').chart")
        shown = answers(page, 1)
        assert [shown[n] for n in ("a", "b")] == pytest.approx(traced.distribution[1], abs=6e-4)
        wrong = (np.flatnonzero(traced.is_wrong) + 1).tolist()
        said = text(page, "#panel-output .reading")
        assert [int(n) for n in re.findall(r"\d+", said)] == wrong
        assert page.run("document.getElementById('panel-gates').hidden"), "an rnn has no gates"
        page.check()
    y = [np.cumsum(x[:, 0]) * 100 for x in X]  # a number at every step
    regressor = fit(SequenceRegressor, X, y, cell="gru", readout="every")
    with browser.open_page(
        write_page(tmp_path / "values.html", regressor, X, y), height=TALL
    ) as page:
        wait_until_drawn(page)
        expected = trace(regressor, X[0]).distribution[3, 0]
        (shown,) = answers(page, 3).values()
        assert shown == pytest.approx(expected, rel=6e-4)
        true = text(page, "#panel-output table .true")
        assert number(true) == pytest.approx(y[0][3], rel=6e-4)
        page.check()


def test_a_phone_and_a_broken_address(browser, lstm):
    broken = (
        '#edits={"0,0":5,"-1,0":"a","9,9":1,"s,5":2,"x":null}&erased=[99]&step="b"&unit=1e9'
        '&mark=7&output="y"&clamps=[{"layer":7,"name":"q","unit":0,"value":1,"from":0,"to":99}]&hover=2&sort=%'
    )
    with browser.open_page(lstm[3], height=TALL, width=390, dark=True, address=broken) as page:
        wait_until_drawn(page)
        assert page.run("document.documentElement.scrollWidth") == 390
        for name in ("input", "output", "states", "gates", "votes", "gradient"):
            assert page.run(
                f"[...document.querySelectorAll('#panel-{name} canvas')].every((c) =>"
                " !c.offsetParent || (c.getAttribute('role') === 'img' && c.tabIndex === 0"
                " && c.ariaLabel.length > 20))"
            ), name
        page.check()


DRAG = """(async () => {
  const canvas = document.querySelector('#panel-input .column canvas');
  const box = canvas.getBoundingClientRect(), drawn = canvas.chart, root = document.documentElement;
  canvas.setPointerCapture = () => {};  // no real pointer is down
  const x = box.left + 72 + ((box.width - 82) * 2.5) / drawn.steps;
  const share = (drawn.handles[2] - drawn.low) / (drawn.high - drawn.low);
  const send = (type, y) => canvas.dispatchEvent(new PointerEvent(type,
    {pointerId: 1, clientX: x, clientY: y, buttons: 1, bubbles: true}));
  send('pointerdown', box.top + drawn.bottom - share * (drawn.bottom - 8));
  for (let k = 0; k < COUNT; k++) {
    const draws = root.dataset.draws;
    send('pointermove', box.top + 10 + ((k * 37) % 90));
    while (root.dataset.draws === draws) await new Promise((r) => requestAnimationFrame(r));
  }
  send('pointerup', box.top + 50);
})()"""


def test_every_panel_in_view_follows_a_drag_within_50_ms(browser, tmp_path):
    # Processor time of the page's thread, which other programs do not change.
    sizes = {"input_size": 8, "hidden_size": 128, "num_outputs": 10, "bidirectional": True}
    model = SequenceModel(ModelConfig(cell="gru", readout="last", **sizes)).eval()
    X = [np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)]
    with browser.open_page(write_page(tmp_path / "wide.html", model, X), height=900) as page:
        page.wait_for("document.querySelector('#panel-input .column canvas')?.chart")
        page.send("Performance.enable", timeDomain="threadTicks")

        def seconds():
            metrics = {
                m["name"]: m["value"] for m in page.send("Performance.getMetrics")["metrics"]
            }
            return sum(metrics[f"{name}Duration"] for name in ("Script", "Layout", "RecalcStyle"))

        page.run(DRAG.replace("COUNT", "10"))
        before = seconds()
        page.run(DRAG.replace("COUNT", "20"))
        assert (seconds() - before) / 20 < 0.05
        assert len(state_of(page)["edits"]) == 1
        page.check()
