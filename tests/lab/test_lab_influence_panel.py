"""The panels of influence and of the coloured text, as a person uses them."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from engine_cases import make_case

from elman.explain import influence, trace
from elman.lab.page import build_page
from elman.lab.payload import describe_run

MAP = "#panel-influence canvas"
LEFT, RIGHT = 72, 10  # of axis.js
WORDS = ["<pad>", "<unknown>", "to", "be", " ", "or", "not", "\n", "the question"]


@pytest.fixture(scope="module")
def cases():
    long = make_case("lstm", bidirectional=True, kind="numbers", steps=4, units=8)
    torch.manual_seed(0)
    return {
        "tagger": make_case("gru", readout="every", kind="tokens", steps=9),
        "last": make_case("lstm", layers=2, bidirectional=True, kind="mixed", steps=7),
        "long": (long.model, torch.randn(300, 2)),
    }


@pytest.fixture(scope="module")
def folder(cases, tmp_path_factory):
    folder = tmp_path_factory.mktemp("influence-panel")
    for name, case in cases.items():
        model, x, y = (*case, None) if name == "long" else (case.model, case.x, case.label)
        run = describe_run(model, [x], None if y is None else [y])
        if name == "tagger":
            run["vocabulary"] = WORDS
            run["examples"][0]["tokens"] = [WORDS[i] for i in x.tolist()]
        fields = {"version": 1, "elman": "0", "mode": "file", "notes": [], "tasks": []}
        (folder / f"{name}.html").write_text(build_page({**fields, "runs": [run]}), "utf-8")
    return folder


@pytest.fixture(scope="module")
def tagger(browser, folder):
    with browser.open_page(folder / "tagger.html", address="#step=4&unit=1") as page:
        show(page, "influence")
        yield page
        assert not page.errors and not page.requests


def show(page, panel: str) -> None:
    page.run(f"document.getElementById('panel-{panel}').scrollIntoView()")
    page.wait_for(f"document.querySelector('#panel-{panel} .reading').textContent !== ''")


def reading(page, panel: str = "influence") -> str:
    return page.run(f"document.querySelector('#panel-{panel} .reading').textContent")


def number(text: str) -> float:
    return float(text.replace("−", "-"))


def point(page, s: int, t: int, steps: int) -> tuple[float, float]:
    """The place of input s and output t in the picture, as shares of its size."""
    width, height = page.run(f"(({{ width, height }}) => [width, height])(document"
                             f".querySelector('{MAP}').getBoundingClientRect())")  # fmt: skip
    rows = height - 20
    across = LEFT + (width - LEFT - RIGHT) * (t + 0.5) / steps
    return across / width, (s + 0.5) * rows / steps / height


@pytest.mark.parametrize("name", ["tagger", "last"])
def test_pointing_reads_the_influence(browser, folder, cases, name):
    case = cases[name]
    model, x = case.bound(), case.x if case.x.dtype is torch.int64 else case.x.double()
    steps = len(x)
    expected = influence(model, x).values
    with browser.open_page(folder / f"{name}.html") as page:
        show(page, "influence")
        for s, t in [(0, steps - 1), (steps - 2, steps - 1), (2, steps - 1), (1, 3), (3, 1)]:
            page.hover(MAP, *point(page, s, t, steps))
            text = reading(page)
            found = re.match(r"Input (\d+) .*?moves the output at step (\d+) by ([^ ]+)\.", text)
            assert (int(found[1]), int(found[2])) == (s + 1, t + 1), text
            if expected.shape[1] > 1:
                want = expected[s, t]
                column, row = expected[:, t], expected[s]
                assert f"moves the output at step {row.argmax() + 1} most" in text
            elif t < steps - 1:  # as if the sequence ended at step t
                column = influence(model, x[: t + 1]).values[:, 0]
                want = column[s] if s <= t else 0.0
            else:
                column = expected[:, 0]
                want = column[s]
            assert number(found[3]) == pytest.approx(want, rel=6e-3, abs=1e-9)
            assert f"depends most on input {column.argmax() + 1}" in text
        assert not page.errors and not page.requests


def test_a_press_and_the_keys_choose_input_and_output(tagger):
    tagger.click(MAP, *point(tagger, 2, 5, 9))
    assert "input=2" in tagger.run("location.hash") and "step=5" in tagger.run("location.hash")
    tagger.hover("#panel-influence h2")
    assert reading(tagger).startswith("Input 3 ")
    tagger.focus(MAP)
    tagger.key("ArrowDown")
    tagger.key("ArrowRight")
    tagger.hover("#panel-influence h2")
    assert re.match(r"Input 4 .*?moves the output at step 7 by", reading(tagger))
    assert "Influence of 9 inputs" in tagger.run(f"document.querySelector('{MAP}').ariaLabel")


def test_the_picture_has_inputs_as_rows(tagger, cases):
    """The strongest colour stands where the influence is largest, mirrored there is none."""
    values = influence(cases["tagger"].bound(), cases["tagger"].x).values
    values[np.diag_indices(9)] = 0
    s, t = np.unravel_index(values.argmax(), values.shape)

    def strength(row: int, column: int) -> int:
        fx, fy = point(tagger, row, column, 9)
        red, _, blue, _ = tagger.run(
            f"((c) => [...c.getContext('2d').getImageData({fx} * c.width, {fy} * c.height, 1, 1)"
            f".data])(document.querySelector('{MAP}'))"
        )
        return blue - red

    assert strength(s, t) > 10 > strength(t, s)


def test_a_changed_sequence_is_computed_again(browser, folder, cases):
    case = cases["tagger"]
    edited = case.x.clone()
    edited[2] = 5
    assert case.x[2] != 5
    expected = influence(case.bound(), edited).values
    with browser.open_page(folder / "tagger.html", address="#step=6&input=2") as page:
        show(page, "influence")
        page.run('location.hash = \'#step=6&input=2&edits={"2,0":"or"}\'')
        page.wait_for("document.querySelector('#panel-influence .outdated') === null")
        page.settle()
        found = re.match(r"Input 3 “or” moves the output at step 7 by ([^ ]+)\.", reading(page))
        assert number(found[1]) == pytest.approx(expected[2, 6], rel=6e-3)
        assert not page.errors


def test_a_long_sequence_in_both_directions_shows_the_last_column(browser, folder):
    with browser.open_page(folder / "long.html") as page:
        show(page, "influence")
        page.wait_for("document.querySelector('#panel-influence .help:last-of-type') !== null")
        text = page.run("document.querySelector('#panel-influence').textContent")
        assert "only the answer after the last step was computed" in text
        assert "moves the output at step 300" in text
        assert page.run(f"document.querySelector('{MAP}').hidden")
        assert page.run("document.getElementById('panel-text').hidden")
        before = reading(page)
        page.run("location.hash = '#edits={\"299,0\":2}'")  # the former picture stays meanwhile
        page.wait_for("document.querySelector('#panel-influence .outdated') !== null")
        page.wait_for("document.querySelector('#panel-influence .outdated') === null")
        assert reading(page) != before
        assert not page.errors and not page.requests


def test_the_text_has_the_colours_of_the_unit(tagger, cases):
    show(tagger, "text")
    layer = trace(cases["tagger"].bound(), cases["tagger"].x).layers[0]
    words = tagger.run(
        "[...document.querySelectorAll('.text > span')].map((e) => [e.textContent, e.title, "
        "e.style.backgroundColor])"
    )
    texts = [{" ": "␣", "\n": "⏎"}.get(WORDS[i], WORDS[i]) for i in cases["tagger"].x.tolist()]
    assert [word for word, *_ in words] == texts
    for unit in (1, 0):
        words = tagger.run(
            "[...document.querySelectorAll('.text > span')].map((e) => [e.title, "
            "e.style.backgroundColor.match(/\\d+/g).map(Number)])"
        )
        h = layer.h[:, unit]
        np.testing.assert_allclose([number(w[0]) for w in words], h, rtol=6e-3, atol=1e-6)
        blue = np.array([w[1][2] - w[1][0] for w in words])
        strong = abs(h) > 0.05
        assert strong.any() and ((blue > 0) == (h > 0))[strong].all()
        tagger.focus(".text")
        tagger.key("ArrowUp")


def test_a_word_moves_the_cursor_and_a_gate_colours_the_text(tagger, cases):
    tagger.click('.text [data-step="6"]')
    assert "step=6" in tagger.run("location.hash")
    tagger.run(
        "(() => { const c = document.getElementById('choose-colour'); c.value = 'z';"
        " c.dispatchEvent(new Event('change')); })()"
    )
    tagger.settle()
    assert "update gate z of unit 1" in reading(tagger, "text")
    z = trace(cases["tagger"].bound(), cases["tagger"].x).layers[0].gates["z"][6, 0]
    shown = re.search(r"= (0\.\d+)\.", reading(tagger, "text"))
    assert number(shown[1]) == pytest.approx(z, rel=6e-3)


def test_an_erased_step_has_no_output(browser, folder):
    address = "#step=4&erased=[4]"
    with browser.open_page(folder / "tagger.html", address=address, height=8000) as page:
        show(page, "equation")
        assert "No input moves that output. Input 5" in reading(page)
        assert reading(page).endswith("moves no output.")
        text = page.run("document.getElementById('panels').textContent")
        assert not re.search(r"undefined|NaN|null", text)
        assert page.run("getComputedStyle(document.querySelector('.text .erased'))"
                        ".textDecorationLine") == "line-through"  # fmt: skip
        assert not page.errors


def test_on_a_phone_in_dark_mode(browser, folder):
    with browser.open_page(folder / "tagger.html", width=390, dark=True) as page:
        show(page, "influence")
        assert page.run("document.documentElement.scrollWidth") == 390
        assert not page.errors and not page.requests
