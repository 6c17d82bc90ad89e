"""The page without a mouse, without sight, on a phone, in the dark, and from a link: all panels."""

import json
from pathlib import Path

import numpy as np
import pytest

from elman import SequenceClassifier
from elman.estimators.estimators import ESTIMATORS
from elman.lab.page import PAGE, build_page
from elman.lab.payload import describe_run
from elman.lab.tasks import describe_task

CHECKS = (Path(__file__).parent / "access.js").read_text(encoding="utf-8")
SHOWN = "#span=[1,3]&threshold=0.02&step=2"
TALL = 12000  # pixels: every panel is in view, so every panel is drawn
OPTIONS = {"epochs": 2, "validation": 0, "hidden_size": 20, "random_state": 0}


def mixed_runs():
    """Two runs with numbers that have gaps, categories and static features."""
    rng = np.random.default_rng(0)
    X = []
    for i in range(24):
        x = np.empty((6 + i % 5, 2), dtype=object)
        x[:, 0], x[:, 1] = rng.normal(20, 5, len(x)), rng.choice(["low", "high"], len(x))
        X.append(x)
    X[0][2, 0] = np.nan
    static = {"age [a]": [20.0 + i for i in range(24)], "ward": ["east", "west"] * 12}
    y = ["p", "q"] * 12
    runs = []
    for cell in ("gru", "lstm"):
        model = SequenceClassifier(cell=cell, num_layers=2, **OPTIONS).fit(X, y, static=static)
        epochs = {epoch: model.model_.state_dict() for epoch in (0, 1, 2)}
        inputs = model.encode(X, static=static)
        runs.append(describe_run(model, inputs, y, name=f"a {cell}", epochs=epochs))
    return runs


def letters():
    rng = np.random.default_rng(0)
    X, y = ["".join(rng.choice(list("abc"), 8)) for _ in range(12)], ["p", "q"] * 6
    return [describe_run(SequenceClassifier(**OPTIONS).fit(X, y), X, y, name="letters")]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A page of each kind by name."""
    folder = tmp_path_factory.mktemp("access")
    contents = {
        "two runs": {"mode": "file", "runs": mixed_runs(), "tasks": []},
        "letters": {"mode": "file", "runs": letters(), "tasks": []},
        "tasks": {"mode": "tasks", "runs": [], "tasks": [describe_task("token-order", ESTIMATORS)]},
    }
    for name, content in contents.items():
        common = {"version": 1, "elman": "0", "notes": ["What was left out."]}
        (folder / f"{name}.html").write_text(build_page({**common, **content}), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in contents}


SLOW = pytest.mark.slow
KINDS = ["two runs", pytest.param("letters", marks=SLOW), pytest.param("tasks", marks=SLOW)]


def prepare(page):
    """Wait for what is computed in slices, open what is closed, and load the checks."""
    page.run(CHECKS + "; 0")
    if page.run("document.querySelector('#panel-train')?.hidden === false"):
        page.wait_for("!document.querySelector('#panel-compare').hidden", 10)
    page.wait_for(
        "[...document.querySelectorAll('canvas[tabindex]')].filter(isShown)"
        ".every(canvas => canvas.getAttribute('aria-label') !== 'Not drawn yet')",
        10,
    )
    page.run("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    if page.run("Boolean(document.querySelector('#units-on button'))"):
        page.wait_for("document.querySelector('#units-matches tbody') !== null", 10)
    page.settle()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_texts_can_be_read_and_canvases_say_what_they_show(browser, pages, kind, dark):
    with browser.open_page(pages[kind], height=TALL, dark=dark, address=SHOWN) as page:
        prepare(page)
        assert page.run("faultsOfContrast(4.5)") == []
        assert page.run("faultsOfCanvases()") == []
        page.check()


@pytest.mark.parametrize("width", [320, pytest.param(390, marks=SLOW)])
@pytest.mark.parametrize("kind", ["two runs", "letters", "tasks"])
def test_a_phone_shows_all_without_scrolling_sideways(browser, pages, kind, width):
    with browser.open_page(pages[kind], width=width, height=TALL, address=SHOWN) as page:
        prepare(page)
        assert page.run("document.documentElement.scrollWidth") <= width
        assert page.run("faultsOfWidth()") == []
        page.check()


@pytest.mark.parametrize("kind", ["two runs", "letters", "tasks"])
def test_every_control_has_a_name(browser, pages, kind):
    with browser.open_page(pages[kind], height=TALL, address=SHOWN) as page:
        prepare(page)
        unnamed = []
        nodes = page.send("Accessibility.getFullAXTree")["nodes"]
        for node in nodes:
            states = {
                each["name"]: each["value"].get("value") for each in node.get("properties", [])
            }
            name = node.get("name", {}).get("value", "").strip()
            if states.get("focusable") and not name:
                unnamed.append(node["role"]["value"])
        assert len(nodes) > 50 and unnamed == []


@pytest.mark.parametrize("kind", KINDS)
def test_tab_reaches_everything_in_the_order_of_the_page(browser, pages, kind):
    with browser.open_page(pages[kind], height=TALL, address=SHOWN) as page:
        prepare(page)
        stops = []
        for _ in range(400):
            page.send("Input.dispatchKeyEvent", type="rawKeyDown", key="Tab", code="Tab",
                      windowsVirtualKeyCode=9)  # fmt: skip
            stop = page.run("focused()")
            if stop["what"].startswith("BODY") or (stops and stop["place"] <= stops[-1]["place"]):
                break
            stops.append(stop)
        assert [stop["what"] for stop in stops if not stop["seen"]] == []
        # Of a group of radio buttons one is reached by Tab and the others by arrows.
        every = page.run(
            "[...document.querySelectorAll('a[href], button, input, select, textarea, summary,"
            ' [tabindex="0"]\')].filter(e => isShown(e) && !e.disabled && e.tabIndex >= 0 &&'
            " e.type !== 'radio').map(e => [...document.querySelectorAll('*')].indexOf(e))"
        )
        assert set(every) <= {stop["place"] for stop in stops}
        shown = page.run("[...document.querySelectorAll('.panel')].filter(isShown).map(p => p.id)")
        assert list(dict.fromkeys(stop["panel"] for stop in stops if stop["panel"])) == shown


def test_arrow_keys_do_what_the_mouse_does_on_every_heat_map(browser, pages):
    with browser.open_page(pages["two runs"], address=SHOWN) as page:
        page.run(CHECKS + "; 0")
        count = page.run(
            "(window.maps = [...document.querySelectorAll('canvas[tabindex]')].filter(isShown))"
            ".map((canvas, i) => { canvas.id = `map-${i}`; }).length"
        )
        assert count >= 6
        for i in range(count):
            page.place(f"#map-{i}")
            page.settle()
            if not page.run(f"isShown(maps[{i}])"):
                continue
            page.focus(f"#map-{i}")
            seen = []
            for key in ("ArrowLeft", "ArrowRight"):  # one of them may be at the end already
                page.key(key)
                seen.append(page.run("location.hash"))
            assert seen[0] != seen[1], page.run(f"maps[{i}].getAttribute('aria-label')")
        page.check()


def test_nothing_moves_for_those_who_asked_for_that(browser, pages):
    with browser.open_page(pages["two runs"], height=TALL, address=SHOWN) as page:
        page.send("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-reduced-motion", "value": "reduce"}])  # fmt: skip
        prepare(page)
        moving = page.run(
            "[...document.querySelectorAll('*')].filter(e => { const s = getComputedStyle(e);"
            " return parseFloat(s.transitionDuration) > 0 && s.transitionProperty !== 'none'"
            " || s.animationName !== 'none' || s.scrollBehavior === 'smooth'; }).length"
        )
        assert moving == 0 and page.run("document.getAnimations().length") == 0


# -- the address -----------------------------------------------------------------------------------

PICTURES = (
    "[...document.querySelectorAll('canvas')].map(canvas => canvas.toDataURL())"
    ".concat([...document.querySelectorAll('.panel, #toolbar')].map(part => part.textContent))"
    ".concat([...document.querySelectorAll('input, select')].map(field => field.value))"
)


def do_some_things(page):
    """Move, choose, mark, search, erase and hold as a person would."""
    page.run("document.querySelector('#choose-example').selectedIndex = 2")
    page.run("document.querySelector('#choose-example').dispatchEvent(new Event('change'))")
    page.drag("#panel-units canvas", (0.33, 0.2), (0.42, 0.2))
    page.run("document.querySelector('#units-order').value = 'variance'")
    page.run("document.querySelector('#units-order').dispatchEvent(new Event('change'))")
    page.focus("#units-search")
    page.type("layer 2")
    page.run("document.querySelector('#compare-with').selectedIndex = 1")
    page.run("document.querySelector('#compare-with').dispatchEvent(new Event('change'))")
    page.focus("#choose-step")
    page.key("ArrowRight")
    page.run("document.activeElement.blur()")
    page.mouse("mouseMoved", 1, 1)


def test_an_address_restores_the_picture(browser, pages, tmp_path):
    with browser.open_page(pages["two runs"], height=TALL, address="#threshold=0.02") as page:
        prepare(page)
        do_some_things(page)
        page.browser.listen(0.6)  # the address and the search among sequences follow after a moment
        prepare(page)
        link = page.run("location.hash")
        made = page.run(PICTURES)
        page.check()
    for part in ("example=2", "span=", "sort=", "search=", "compare=", "step="):
        assert part in link
    with browser.open_page(pages["two runs"], height=TALL, address=link) as page:
        prepare(page)
        page.browser.listen(0.6)
        assert page.run(PICTURES) == made
        page.run("document.querySelector('#span-clear').click()")
        page.settle()
        assert page.run(PICTURES) != made
        page.check()


WRONG_ADDRESSES = [
    "#run=7&example=99&epoch=55&step=999&layer=9&direction=3&unit=500&output=40",
    "#run=-1&example=-5&step=-2&layer=-1&unit=-3&output=-9",
    "#span=[900,2]&threshold=50&sort=%22nothing%22&outside=3&compare={%22run%22:9}",
    "#span=[1]&search=[1]&compare=%22x%22&erased=[400]",
    "#step=%22a%22&unit=null&layer=%22x%22&span={}&run=true&example=1.5",
    "#step=1&step&=&%&unit=%7B&search=%E0%A4%A",
    "#clamps=[{}]&edits={%22a%22:1}&erased=3",
    '#clamps=[{"layer":0,"direction":0,"unit":500,"name":"h","value":1,"from":-9,"to":99}]',
    '#clamps=[{"layer":0,"direction":0,"unit":1,"name":"no","value":1,"from":0,"to":1}]',
    '#edits={"99,0":1,"0,0":{},"s,9":"x"}&edits={"0,0":"text","1,1":5,"x":null}',
    "#edits=[]&clamps=7&span=%22ab%22&train=4&task=%22none%22",
]


def test_a_wrong_address_shows_the_page(browser, pages):
    with browser.open_page(pages["two runs"], address=WRONG_ADDRESSES[0]) as page:
        for address in [*WRONG_ADDRESSES[1:], WRONG_ADDRESSES[0]]:
            drawn = page.run("Number(document.documentElement.dataset.draws)")
            for panel in ("states", "units", "compare"):
                page.run(f"location.hash = {json.dumps(address)}")
                page.place(f"#panel-{panel} canvas")
                page.wait_for(f"Number(document.documentElement.dataset.draws) > {drawn}", 10)
            assert page.run("document.querySelectorAll('.panel canvas').length") > 3
            assert not page.errors, address
        page.check()


def test_every_value_of_the_state_stands_in_the_address():
    """`state.js` is the only place that keeps what a person chose: no storage of the browser."""
    for path in PAGE.glob("*.js"):
        text = path.read_text(encoding="utf-8")
        assert not any(
            word in text for word in ("localStorage", "sessionStorage", "document.cookie")
        )
