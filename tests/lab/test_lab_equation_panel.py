"""The panel of the equations, as a person uses it."""

from __future__ import annotations

import re

import pytest
from engine_cases import make_case

from elman.lab.page import build_page
from elman.lab.payload import describe_run

TERM = '#panel-equation [data-key="{key}"] .term[data-mark="{mark}"]'


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A GRU of two layers on numbers, and a simple RNN on tokens without a label."""
    folder = tmp_path_factory.mktemp("equation-panel")
    gru = make_case("gru", layers=2, bidirectional=True, readout="mean", steps=9)
    rnn = make_case("rnn", kind="tokens", steps=7)
    runs = {
        "gru": describe_run(gru.model, [gru.x], [gru.label]),
        "rnn": describe_run(rnn.model, [rnn.x]),
    }
    for name, run in runs.items():
        fields = {"version": 1, "elman": "0", "mode": "file", "notes": [], "tasks": []}
        (folder / f"{name}.html").write_text(build_page({**fields, "runs": [run]}), "utf-8")
    return folder


@pytest.fixture(scope="module")
def gru(browser, pages):
    with browser.open_page(pages / "gru.html", address="#step=3&unit=2&layer=1") as page:
        show(page)
        yield page
        assert not page.errors and not page.requests


def show(page) -> None:
    """Scroll to the panel, which is drawn only in view."""
    page.run("document.getElementById('panel-equation').scrollIntoView()")
    page.wait_for("document.querySelector('#panel-equation .equation') !== null")
    page.settle()


def text(page, selector: str) -> str:
    return page.run(f"document.querySelector({selector!r}).textContent")


def state(page) -> str:
    return page.run("decodeURIComponent(location.hash)")


def test_a_term_marks_its_array(gru):
    gru.hover(TERM.format(key="h", mark="z"))
    assert 'mark="z"' in state(gru)
    marked = gru.run("[...document.querySelectorAll('.term.marked')].map(e => e.dataset.mark)")
    assert len(marked) > 5 and set(marked) == {"z"}
    gru.hover("#panel-equation h3")
    assert "mark" not in state(gru)


def test_the_terms_of_a_sum_lead_to_their_units(gru):
    button = '#panel-equation [data-key="a_z"] button.sum'
    gru.click(button)
    table = '#panel-equation [data-key="a_z"] .terms'
    assert "of layer 1, forward" in text(gru, table) and "others together" in text(gru, table)
    products = gru.run(
        f"[...document.querySelectorAll('{table} tbody tr')].map(r => r.lastChild.textContent)"
    )
    total = sum(float(value.replace("−", "-")) for value in products)
    shown = text(gru, button + " .number").strip("()").replace("−", "-")
    assert total == pytest.approx(float(shown), abs=1e-3)
    name = text(gru, table + " button")
    gru.click(table + " button")
    unit, layer = re.search(r"unit (\d) of layer (\d)", name).groups()
    where = text(gru, "#panel-equation .reading")
    assert where.startswith(f"Unit {unit} of layer {layer}, {name.rpartition(', ')[2]}")


def test_an_equation_and_its_line_mark_each_other(gru):
    gru.hover('#panel-equation [data-key="da_n"]')
    assert gru.run("document.querySelector('.code .marked').dataset.number") == "71"
    gru.hover('#panel-equation [data-number="50"]')
    assert gru.run("document.querySelector('.equation.marked').dataset.key") == "h"


def test_the_numbers_follow_the_cursor(gru):
    before = text(gru, '#panel-equation [data-key="h"] .formula')
    gru.run("document.getElementById('choose-step').focus({ preventScroll: true })")
    gru.key("ArrowRight")
    assert text(gru, '#panel-equation [data-key="h"] .formula') != before
    spoken = gru.run(
        "document.querySelector('#panel-equation [data-key=\"h\"] .formula').ariaLabel"
    )
    symbols = re.escape("new state: h_t = (1 − z_t) · n_t + z_t · h_t")
    assert re.match(symbols + r"[-+]1 = \(1 − 0\.\d+\) · ", spoken)


def test_a_touched_step_says_so(browser, pages):
    clamp = '[{"layer":0,"direction":0,"name":"h","unit":1,"value":0.25,"from":0,"to":9}]'
    address = f"#step=2&unit=1&erased=[4]&clamps={clamp}"
    with browser.open_page(pages / "rnn.html", address=address, width=390) as page:
        show(page)
        panel = text(page, "#panel-equation")
        assert "Clamped to 0.25" in panel and "nothing goes back through it" in panel
        assert "the embedding of" in panel and "has no label" in panel
        assert page.run("document.documentElement.scrollWidth") == 390
        page.run("document.getElementById('choose-step').focus({ preventScroll: true })")
        page.key("ArrowRight")
        page.key("ArrowRight")
        show(page)  # the slider is at the top of the page
        panel = text(page, "#panel-equation")
        assert "the state is carried over it" in panel and "goes on as it is" in panel
        assert not page.errors and not page.requests
