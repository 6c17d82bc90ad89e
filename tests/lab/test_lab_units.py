"""Units in the page: sorted, searched, and the spans in which they are on, by elman.explain."""

import itertools
import json
import re

import numpy as np
import pytest
from cases import make_model, make_sequences
from joined import join_modules

from elman.explain import trace
from elman.lab.page import build_page
from elman.lab.payload import describe_run

LENGTHS = [9, 12, 7, 10, 1, 14, 8, 11]
THRESHOLD = 0.1


def page_of(*runs):
    return build_page({"version": 1, "elman": "0", "mode": "file", "notes": [], "tasks": [],
                       "runs": list(runs)})  # fmt: skip


@pytest.fixture(scope="module")
def network():
    model = make_model("gru", "last", num_layers=2, bidirectional=True)
    return model, make_sequences(LENGTHS)


@pytest.fixture(scope="module")
def address(network, tmp_path_factory):
    model, X = network
    path = tmp_path_factory.mktemp("lab") / "units.html"
    path.write_text(page_of(describe_run(model, X, name="net")), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def functions(browser, tmp_path_factory):
    """The functions of units.js, called with JSON."""
    path = tmp_path_factory.mktemp("units") / "functions.html"
    path.write_text(f"<script>{join_modules('units')}</script>", encoding="utf-8")
    with browser.open_page(path, wait=False) as page:
        yield page
        page.check()


def states(model, x):
    """Hidden states by name of the unit as the page writes it, (T,) each."""
    found = {}
    for layer in trace(model, x).layers:
        for unit, values in enumerate(layer.h.T, 1):
            found[f"layer {layer.layer + 1}, {layer.direction}, unit {unit}"] = values
    return found


def on_in(values, start, end, outside="any"):
    """1 or -1 if a unit is on, positive or negative, at steps start ... end; otherwise 0."""
    for sign in (1, -1):
        on = sign * values >= THRESHOLD
        rest = np.delete(on, np.s_[start : end + 1])
        edges = [on[t] for t in (start - 1, end + 1) if 0 <= t < len(on)]
        others = {"any": False, "edges": any(edges), "elsewhere": rest.any()}[outside]
        if on[start : end + 1].all() and not others:
            return sign
    return 0


def best_share(pattern, series, length, skip=None):
    """The largest share by trying all runs of steps and the units that are on in each."""
    on = np.array(
        [sign * values >= THRESHOLD for sign, values in zip(pattern, series, strict=True)]
    )
    if skip:
        on[:, skip[0] : skip[1] + 1] = False
    areas = [
        on[:, a:b].all(1).sum() * (b - a)
        for a, b in itertools.combinations(range(on.shape[1] + 1), 2)
        if b - a <= length
    ]
    return max(areas) / (len(pattern) * length)


def test_matches_are_the_best_of_all_runs_of_steps(functions):
    rng = np.random.default_rng(0)
    cases, expected = [], []
    for _ in range(150):
        count, length = rng.integers(1, 6), int(rng.integers(1, 7))
        series = rng.normal(size=(count, rng.integers(1, 12)))
        pattern = [int(sign) for sign in rng.choice([1, -1], count)]
        skip = [0, 1] if rng.random() < 0.3 else None
        cases.append([pattern, series.tolist(), length, skip])
        expected.append(best_share(pattern, series, length, skip))
    found = functions.run(
        f"{json.dumps(cases)}.map(([signs, series, length, skip]) => matchSpan(signs.map("
        f"(sign) => ({{sign}})), series, length, {THRESHOLD}, "
        "skip && {from: skip[0], to: skip[1]}))"
    )
    assert [each["share"] if each else 0 for each in found] == pytest.approx(expected)
    assert {0, 1} < set(expected)
    for (pattern, series, length, skip), match in zip(cases, found, strict=True):
        if match is None:
            continue
        span = slice(match["from"], match["to"] + 1)
        claimed = np.array(series)[match["units"], span] * np.array(pattern)[match["units"], None]
        assert (claimed >= THRESHOLD).all()
        assert claimed.size / (len(pattern) * length) == pytest.approx(match["share"])
        assert skip is None or match["from"] > skip[1]


ROWS = """[[0, 0, 1], [0, 1, 11], [1, 0, 0], [1, 1, 6]].map(([layer, direction, unit], i) => ({
  layer, direction, unit,
  name: nameOfUnit({num_layers: 2, bidirectional: true}, layer, direction, unit),
  measures: {peak: [.2, .9, .5, .5][i], peakStep: [3, 0, 7, 1][i], variance: [.4, .3, .2, .1][i],
    now: [-.1, .1, .2, 0][i], vote: [null, null, -2, 1][i]}}))"""


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("", [2, 12, 1, 7]),
        ("1", [1]),  # not 12
        ("layer 2", [1, 7]),  # not unit 2 of layer 1
        ("backward, layer 1", [12]),
        ("BACK", [12, 7]),
        ("unit 12", [12]),
        ("peak > 0.4, layer 2", [1, 7]),
        ("peak>=.9", [12]),
        ("vote<0", [1]),
        ("value = 0", [7]),
        ("step = 1", [12]),
        ("variance <= .2, forward", [1]),
        ("nothing", []),
        ("(", []),
    ],
)
def test_search(functions, text, units):
    found = functions.run(f"searchUnits({ROWS}, {json.dumps(text)}).map((row) => row.unit + 1)")
    assert found == units


@pytest.mark.parametrize(
    ("order", "units"),
    [
        ("name", [2, 12, 1, 7]),
        ("peak", [12, 1, 7, 2]),
        ("peakStep", [12, 7, 2, 1]),
        ("variance", [2, 12, 1, 7]),
        ("now", [1, 12, 7, 2]),
        ("vote", [7, 1, 2, 12]),  # a lower layer has no vote
    ],
)
def test_orders(functions, order, units):
    found = functions.run(f"sortUnits({ROWS}, '{order}').map((row) => row.unit + 1)")
    assert found == units


def test_measures_leave_out_erased_steps(functions):
    measures = functions.run(
        "measureUnit({layer: 0, direction: 0, unit: 0, values: new Float64Array([1, NaN, -3])}, "
        "{num_layers: 1, hidden_size: 1}, new Float64Array([4, 5, 6]), 2)"
    )
    assert measures == {"peak": 3, "peakStep": 2, "variance": 4, "now": -3, "vote": 6}


@pytest.mark.parametrize("outside", ["any", "edges", "elsewhere"])
@pytest.mark.parametrize("span", [(0, 2), (3, 5), (8, 8)])
def test_units_that_are_on(browser, address, network, span, outside):
    model, X = network
    state = f"#span={list(span)}&threshold={THRESHOLD}&outside=%22{outside}%22"
    with browser.open_page(address, address=state) as page:
        page.place("#panel-units")
        text = page.wait_for("document.querySelector('#units-on').textContent", 10)
        names = page.run(
            "[...document.querySelectorAll('#units-on button')].map(b => b.textContent)"
        )
        signs = {
            name: on_in(values, *span, outside) for name, values in states(model, X[0]).items()
        }
        expected = {f"{name} {'+' if sign > 0 else '−'}" for name, sign in signs.items() if sign}
        assert set(names) == expected
        assert text.startswith(f"{len(expected)} of {len(signs)} units ")
        page.check()


def matches_of(page):
    """Rows of the table of matches: name of the sequence, steps, units."""
    page.wait_for("document.querySelector('#units-matches tbody') !== null", 10)
    return page.run(
        "[...document.querySelectorAll('#units-matches tbody tr')].map(row => "
        "[row.querySelector('button').textContent, ...[...row.cells].slice(2).map("
        "cell => cell.textContent)])"
    )


def test_mark_a_span_and_find_it_in_other_sequences(browser, address, network):
    model, X = network
    with browser.open_page(address, address=f"#threshold={THRESHOLD}") as page:
        page.drag("#panel-units canvas", (0.42, 0.1), (0.62, 0.1))
        first, last = json.loads(page.run("decodeURIComponent(/span=([^&]*)/.exec(location)[1])"))
        assert 2 <= first < last <= 5
        rows = matches_of(page)
        own = states(model, X[0])
        signs = {name: on_in(values, first, last) for name, values in own.items()}
        pattern = {name: sign for name, sign in signs.items() if sign}
        assert len(pattern) > 1
        shares = {}
        for i, x in enumerate(X):
            found = states(model, x)
            series = [found[name] for name in pattern]
            skip = (first, last) if i == 0 else None
            shares[f"sequence {i}"] = best_share(
                list(pattern.values()), series, last - first + 1, skip
            )
        expected = sorted((share for share in shares.values() if share), reverse=True)[:8]
        assert [shares[name] for name, *_ in rows] == pytest.approx(expected)
        for name, steps, units in rows:
            start, _, end = steps.partition(" to ")
            length = int(end or start) - int(start) + 1
            count, total = map(int, units.split(" of "))
            assert total == len(pattern)
            assert count * length / (total * (last - first + 1)) == pytest.approx(shares[name])
        whole = sum(share == 1 for share in shares.values())
        text = page.run("document.querySelector('#units-matches p').textContent")
        assert text.startswith(f"In {whole} of the {len(X)} sequences")

        name, steps, _ = next(row for row in rows if row[0] != "sequence 0")
        page.run(
            "[...document.querySelectorAll('#units-matches button')]"
            f".find(b => b.textContent === '{name}').click()"
        )
        page.settle()
        address_now = page.run("decodeURIComponent(location.hash)")
        start = int(re.match(r"\d+", steps)[0]) - 1
        assert f"example={name.split()[1]}" in address_now and f"span=[{start}," in address_now
        page.check()


def test_the_keyboard_marks_a_span_and_moves_through_units(browser, address):
    with browser.open_page(address) as page:
        page.place("#panel-units canvas")
        page.wait_for("document.querySelector('#panel-units canvas').heatmap !== undefined", 10)
        page.focus("#panel-units canvas")
        page.key("ArrowRight")
        page.key("ArrowRight", shift=True)
        page.key("ArrowRight", shift=True)
        assert "span=[1,3]" in page.run("decodeURIComponent(location.hash)")
        page.key("ArrowLeft", shift=True)
        page.key("ArrowLeft", shift=True)
        page.key("ArrowLeft", shift=True)
        assert "span=[0,1]" in page.run("decodeURIComponent(location.hash)")
        label = "document.querySelector('#panel-units canvas').getAttribute('aria-label')"
        before = page.run(label)
        page.key("ArrowDown")
        assert page.run(label) != before and "span=[0,1]" in page.run(
            "decodeURIComponent(location)"
        )
        page.focus("#span-to")
        page.run("document.querySelector('#span-to').select()")
        page.type("6")
        page.key("Enter")
        page.key("Tab")
        assert "span=[0,5]" in page.run("decodeURIComponent(location.hash)")
        page.click("#span-clear")
        assert "span" not in page.run("location.hash")
        page.check()


def test_search_in_the_page(browser, address, network):
    with browser.open_page(address) as page:
        page.place("#units-search")
        page.focus("#units-search")
        page.type("layer 2, backward, peak > 0")
        rows = "document.querySelector('#panel-units canvas').heatmap.rows"
        page.wait_for(f"{rows} === {network[0].config.hidden_size}")
        page.type(" .")  # not a number
        page.wait_for("document.querySelector('#panel-units canvas').hidden")
        assert "No unit matches" in page.run("document.querySelector('#panel-units').textContent")
        page.check()
