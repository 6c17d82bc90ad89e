"""Touch: a change in the page gives the answer that elman gives for the same change."""

from __future__ import annotations

import copy
from contextlib import ExitStack

import numpy as np
import pytest
from touch_cases import (
    answers,
    chart,
    fit,
    ghost_pixels,
    go_to,
    make_mixed,
    point,
    state_of,
    text,
    wait_until_drawn,
    write_page,
)

from elman import SequenceClassifier
from elman.explain import trace

TALL = 5000  # pixels of the window: panels are drawn only in view
TEMPERATURE, LOAD, MACHINE = (f"#panel-input .column:nth-child({k}) canvas" for k in (1, 2, 3))
CLOSE = 6e-4  # the page shows three decimals


@pytest.fixture(scope="module")
def mixed():
    X, y, static = make_mixed()
    names = ("temp [°C]", "load", "machine")
    model = fit(
        SequenceClassifier, X, y, cell="gru", bidirectional=True, static=static, column_names=names
    )
    return model, X, y, static


@pytest.fixture(scope="module")
def mixed_page(mixed, tmp_path_factory):
    model, X, y, static = mixed
    data = model.encode(X, static=static)
    return write_page(tmp_path_factory.mktemp("touch") / "mixed.html", model, data, y)


@pytest.fixture(scope="module")
def opened(browser, mixed_page):
    """A function that returns an open page; after a few tests a new one.

    A browser limits how often a page changes its address, and a throttled one is not up to date.
    """
    with ExitStack() as stack:
        pages = []

        def give():
            if len(pages) % 6 == 0:
                stack.close()
                page = stack.enter_context(browser.open_page(mixed_page, height=TALL))
                wait_until_drawn(page)
                pages.clear()
            else:
                page = pages[0]
            pages.append(page)
            return page

        yield give


@pytest.fixture
def page(opened):
    """The page without any change."""
    page = opened()
    page.run("location.hash = ''")
    page.mouse("mouseMoved", 0, 0)
    page.settle()
    yield page
    page.check()


def expect(page, mixed, x, static=None, sequence=0):
    """Assert that the page answers as elman does for this sequence, and that the change matters."""
    model, X, _, known = mixed
    one = {name: [column[sequence]] for name, column in known.items()}
    data = model.encode([x], static={**one, **(static or {})})
    expected = model.predict_proba(data)[0]
    shown = answers(page, len(x) - 1)
    assert [shown[name] for name in model.classes_] == pytest.approx(expected, abs=CLOSE)
    former = model.predict_proba(model.encode([X[sequence]], static=one))[0]
    assert np.abs(expected - former).max() > 4 * CLOSE, "the change must be visible"


def changed(mixed, step, column, value):
    x = copy.deepcopy(mixed[1][0])
    x[step, column] = value
    return x


@pytest.mark.parametrize("how", ["drag", "touch_drag"])
def test_a_number_is_dragged(page, mixed, how):
    drawn = chart(page, TEMPERATURE)
    start = point(drawn, 4, drawn["handles"][4])
    end = point(drawn, 4, drawn["high"] - 1)
    getattr(page, how)(TEMPERATURE, start, end)
    ((key, value),) = state_of(page)["edits"].items()
    assert key == "4,0" and value == pytest.approx(drawn["high"] - 1, abs=0.3)
    expect(page, mixed, changed(mixed, 4, 0, value))


def test_a_drag_beside_the_points_moves_the_cursor(page):
    drawn = chart(page, LOAD)
    far = drawn["high"] if drawn["handles"][1] < 0 else drawn["low"]
    page.drag(LOAD, point(drawn, 1, far), point(drawn, 5, far))
    assert state_of(page) == {"step": 5}


def test_a_number_is_changed_with_the_keys(page, mixed):
    go_to(page, 3)
    page.focus(TEMPERATURE)
    for _ in range(6):
        page.key("ArrowUp")
    page.key("ArrowUp", shift=True)
    value = state_of(page)["edits"]["3,0"]
    drawn = chart(page, TEMPERATURE)
    length = (drawn["high"] - drawn["low"]) / 40
    assert value == pytest.approx(mixed[1][0][3, 0] + 6.1 * length, rel=0.1)
    expect(page, mixed, changed(mixed, 3, 0, value))


@pytest.mark.parametrize(("typed", "value"), [("31.25", 31.25), ("-2,5", -2.5), ("−4", -4.0)])
def test_an_exact_number_is_typed(page, mixed, typed, value):
    go_to(page, 5)
    page.click("#input-0")
    page.run("document.getElementById('input-0').select()")
    page.type(typed)
    page.key("Enter")
    assert state_of(page)["edits"] == {"5,0": value}
    expect(page, mixed, changed(mixed, 5, 0, value))


@pytest.mark.parametrize("typed", ["warm", "", "1e99", "1,000.5", "Infinity"])
def test_what_is_no_number_is_refused_with_a_reason(page, typed):
    go_to(page, 5)
    before = answers(page, 5)
    page.run("document.getElementById('input-0').select()")
    page.focus("#input-0")
    page.run(f"document.getElementById('input-0').value = '{typed}'")
    page.run("document.getElementById('input-0').dispatchEvent(new Event('change'))")
    page.settle()
    assert "edits" not in state_of(page)
    assert "Enter a number" in text(page, "#panel-input .column:nth-child(1)")
    assert page.run("document.getElementById('input-0').getAttribute('aria-invalid')") == "true"
    assert answers(page, 5) == before


def test_a_number_goes_missing_and_the_gaps_after_it_follow(page, mixed):
    go_to(page, 1)
    page.click("#input-0-missing")
    assert state_of(page)["edits"] == {"1,0": None}
    assert "missing" in page.run(f"document.querySelector({TEMPERATURE!r}).ariaLabel")
    expect(page, mixed, changed(mixed, 1, 0, None))  # step 2 is a gap in the data


def test_a_gap_is_filled(page, mixed):
    go_to(page, 2)
    assert page.run("document.getElementById('input-0-missing').checked")
    page.run("document.getElementById('input-0').focus()")
    page.type("3")
    page.key("Enter")
    expect(page, mixed, changed(mixed, 2, 0, 3.0))


def test_a_gap_before_the_first_value_takes_the_mean_of_the_training(page, mixed):
    go_to(page, 0)
    page.click("#input-0-missing")
    expect(page, mixed, changed(mixed, 0, 0, None))


@pytest.mark.parametrize("value", ["fault", "idle", "run", "missing"])
def test_another_category_is_chosen(page, mixed, value):
    step = next(t for t in range(7) if mixed[1][0][t, 2] != value)
    go_to(page, step)
    page.run(
        f"(() => {{ const s = document.getElementById('input-3'); s.value = '{value}';"
        " s.dispatchEvent(new Event('change')); })()"
    )
    page.settle()
    assert state_of(page)["edits"] == {f"{step},3": value}
    expect(page, mixed, changed(mixed, step, 2, None if value == "missing" else value))


def test_a_category_is_dragged(page, mixed):
    drawn = chart(page, MACHINE)
    code = drawn["handles"][6]
    other = 3 if code != 3 else 2
    page.drag(MACHINE, point(drawn, 6, code), point(drawn, 6, other))
    value = state_of(page)["edits"]["6,3"]
    assert value == page.run("document.getElementById('input-3').value")
    expect(page, mixed, changed(mixed, 6, 2, value))


@pytest.mark.parametrize(
    ("field", "value", "static"),
    [("#static-0", "9.5", {"age": [9.5]}), ("#static-1", "B", {"make": ["B"]}),
     ("#static-1", "missing", {"make": [None]})],
)  # fmt: skip
def test_static_features_are_changed(page, mixed, field, value, static):
    page.run(
        f"(() => {{ const s = document.querySelector('{field}'); s.value = '{value}';"
        " s.dispatchEvent(new Event('change')); })()"
    )
    page.settle()
    expect(page, mixed, mixed[1][0], static)


def test_a_static_feature_goes_missing(page, mixed):
    page.click("#panel-input .features input[type=checkbox]")
    assert state_of(page)["edits"] == {"s,0": None}
    expect(page, mixed, mixed[1][0], {"age": [None]})


@pytest.mark.parametrize("key", [False, True])
def test_an_erased_step_does_not_happen(page, mixed, key):
    go_to(page, 3)
    if key:
        page.focus(LOAD)
        page.key("Delete")
    else:
        page.click("#erase-step")
    assert state_of(page)["erased"] == [3]
    model, X, _, static = mixed
    one = {name: [column[0]] for name, column in static.items()}
    without = model.encode([np.delete(X[0], 3, 0)], static=one)
    shown = answers(page, 6)
    assert [shown[name] for name in model.classes_] == pytest.approx(
        model.predict_proba(without)[0], abs=CLOSE
    )
    go_to(page, 3)
    page.click("#erase-step")
    assert "erased" not in state_of(page)


def test_the_last_step_that_is_left_stays(page):
    for step in range(7):
        go_to(page, step)
        page.run("document.getElementById('erase-step').click()")
        page.settle()
    assert len(state_of(page)["erased"]) == 6
    assert page.run("document.getElementById('erase-step').disabled")


def test_each_change_and_all_are_undone(page):
    untouched = answers(page, 6)
    go_to(page, 1)
    page.click("#input-0-missing")
    page.click("#erase-step")
    page.click("#hold-state-value")
    page.type("9")
    page.run("document.querySelector('#panel-states form').requestSubmit()")
    page.settle()
    listed = "[...document.querySelectorAll('.changes li')].map((e) => e.textContent)"
    rows = page.run(listed)
    assert len(rows) == 3 and rows[0].startswith("Step 2: temp [°C] ")
    assert "→ missing" in rows[0] and "h of unit 1" in rows[1] and rows[2].startswith("Step 2: er")
    page.run("document.querySelector('.changes li:nth-child(2) button').click()")
    page.settle()
    assert "clamps" not in state_of(page) and state_of(page)["erased"] == [1]
    page.run("document.activeElement.blur()")
    page.run("document.body.dispatchEvent(new KeyboardEvent('keydown', "
             "{key: 'z', ctrlKey: true, bubbles: true}))")  # fmt: skip
    page.settle()
    assert len(state_of(page)["clamps"]) == 1, "Ctrl+Z takes back the last step"
    page.click("#undo-all")
    assert answers(page, 6) == untouched
    assert page.run(listed) == ["Nothing is changed: this is the sequence of the data."]


def test_the_former_run_stays_in_every_panel(page):
    panels = {
        "input": TEMPERATURE, "output": "#panel-output canvas",
        "states": "#panel-states canvas:nth-of-type(2)",
        "gates": "#panel-gates .body > canvas",
        "gradient": "#panel-gradient .body > canvas ~ canvas",
    }  # fmt: skip
    assert all(ghost_pixels(page, selector) == 0 for selector in panels.values())
    drawn = chart(page, TEMPERATURE)
    middle = point(drawn, 4, drawn["handles"][4])
    page.drag(TEMPERATURE, middle, point(drawn, 4, drawn["low"] + 1))
    go_to(page, 4)
    for name, selector in panels.items():
        assert ghost_pixels(page, selector) > 3, name
    for name in ("output", "states", "gates", "votes", "gradient"):
        assert "(was " in text(page, f"#panel-{name} .body"), name
    assert page.run("document.querySelectorAll('#panel-votes .tick').length") == 2 + 10
    page.click("#undo-all")
    assert all(ghost_pixels(page, selector) == 0 for selector in panels.values())
    assert not any("(was " in text(page, f"#panel-{name} .body") for name in panels)


def test_a_held_state_is_what_the_output_layer_reads(browser, tmp_path):
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(6, 2)) for _ in range(4)]
    model = fit(SequenceClassifier, X, [0, 1, 0, 1], cell="gru", bidirectional=False)
    traced = trace(model, X[0])
    h, V = traced.hidden[-1].copy(), traced.output_weight
    bias = traced.outputs[-1] - V @ h
    h[2] = 0.75
    logits = V @ h + bias
    expected = np.exp(logits) / np.exp(logits).sum()
    hold = "#step=5&unit=2"
    with browser.open_page(
        write_page(tmp_path / "held.html", model, X), height=TALL, address=hold
    ) as page:
        wait_until_drawn(page)
        page.click("#hold-state-value")
        page.run("document.getElementById('hold-state-value').select()")
        page.type("0.75")
        page.key("Enter")
        clamp = {"layer": 0, "direction": 0, "name": "h", "unit": 2, "value": 0.75}
        assert state_of(page)["clamps"] == [clamp | {"from": 5, "to": 5}]
        shown = answers(page, 5)
        assert [shown["0"], shown["1"]] == pytest.approx(expected, abs=CLOSE)
        assert abs(expected[0] - traced.prediction[0]) > 4 * CLOSE
        assert "h = 0.75 (was" in text(page, "#panel-states .reading")
        page.check()


def test_a_gate_that_is_held_open_keeps_the_old_state(browser, mixed_page):
    with browser.open_page(mixed_page, height=TALL, address="#step=2&unit=1&mark=%22z%22") as page:
        wait_until_drawn(page)
        selector = "#panel-gates .body > canvas"
        page.run("document.getElementById('hold-gate-from').value = '3'")
        for field, typed in (("value", "1"), ("from", "3"), ("to", "6")):
            page.run(
                f"(() => {{ const f = document.getElementById('hold-gate-{field}');"
                f" f.value = '{typed}'; f.dispatchEvent(new Event('change')); }})()"
            )
        page.run("document.querySelector('#panel-gates form').requestSubmit()")
        page.settle()
        (clamp,) = state_of(page)["clamps"]
        assert clamp == {"layer": 0, "direction": 0, "name": "z", "unit": 1, "value": 1,
                         "from": 2, "to": 5}  # fmt: skip
        # z = 1 keeps h_{t-1}: from step 3 to 6 the state of the unit is that of step 2.
        states = chart(page, "#panel-states canvas:nth-of-type(2)")["handles"]
        assert states[2:6] == pytest.approx([states[1]] * 4) and states[6] != states[1]
        drawn = chart(page, selector)
        page.drag(selector, point(drawn, 4, 1.0), point(drawn, 4, 0.25))
        assert len(state_of(page)["clamps"]) == 2
        assert state_of(page)["clamps"][1]["value"] == pytest.approx(0.25, abs=0.02)
        page.check()


def test_unscaled_numbers_take_the_mean_of_the_training_in_gaps(browser, tmp_path, mixed):
    _, X, y, static = mixed
    model = fit(SequenceClassifier, X, y, cell="rnn", static=static, scale=False)
    path = write_page(tmp_path / "raw.html", model, model.encode(X, static=static), y)
    edits = '#edits={"0,0":null,"s,0":null}'
    with browser.open_page(path, height=TALL, address=edits) as page:
        wait_until_drawn(page, "#panel-states canvas:nth-of-type(2)")
        x = changed(mixed, 0, 0, None)
        one = model.encode([x], static={"age": [None], "make": ["A"]})
        shown = answers(page, 6)
        assert [shown[n] for n in model.classes_] == pytest.approx(
            model.predict_proba(one)[0], abs=CLOSE
        )
        page.check()


def test_heat_maps_show_the_change(page):
    go_to(page, 4)
    before = text(page, "#panel-votes h3")
    assert page.run("document.getElementById('show-difference').disabled")
    page.click("#erase-step")
    page.click("#show-difference")
    assert text(page, "#panel-votes h3") == before.replace("Votes", "Change of the votes")
    assert text(page, "#panel-states .colour-scale").startswith("change of h: −")
    page.click("#show-difference")
    assert text(page, "#panel-votes h3") == before
