"""What docs/understand-training.md tells a reader to do in the page, done in the page."""

import json
import re

import pytest

from elman import SequenceTagger
from elman.data import load_task
from elman.explain import trace
from elman.lab.page import build_page
from elman.lab.payload import describe_run

COUNTER = 1  # unit 2


@pytest.fixture(scope="module")
def network():
    """The network of section 12, and a string of 11 a's."""
    train, test = load_task("anbn:n=10,train=1000", seed=0)
    net = SequenceTagger(
        cell="lstm", hidden_size=4, epochs=60, learning_rate=0.02, random_state=0,
        bidirectional=False, dropout=0, patience=0,
    )  # fmt: skip
    return net.fit(train.inputs, train.target), test.inputs[0], test.target[0]


@pytest.fixture(scope="module")
def page(network, browser, tmp_path_factory):
    net, x, target = network
    run = describe_run(net, [x], [target], name="count")
    path = tmp_path_factory.mktemp("lab") / "count.html"
    path.write_text(
        build_page(
            {"version": 1, "elman": "0", "mode": "file", "notes": [], "tasks": [], "runs": [run]}
        ),
        encoding="utf-8",
    )
    with browser.open_page(path) as opened:
        yield opened
        opened.check()


def end(page, step, **state):
    """The probability of the end that the page writes at a step, from 0, in a state."""
    words = "&".join(f"{k}={json.dumps(v)}" for k, v in {"step": step, **state}.items())
    page.run(f"location.hash = {json.dumps('#' + words)}")
    page.settle()
    text = page.run("document.querySelector('#panel-output').innerText")
    assert f"At step {step + 1}" in text
    return float(re.search(r"\nT\s+([\d.e\u2212-]+)", text[text.index("At step") :])[1])


def hold(unit, value, first, last):
    return [{"layer": 0, "direction": 0, "name": "c", "unit": unit, "value": value,
             "from": first, "to": last}]  # fmt: skip


def test_the_steps_of_the_lesson_show_what_its_answer_says(page, network):
    net, x, _ = network
    first_b, last = list(x).index("b"), len(x) - 1
    c = trace(net, x).layers[0].gates["c"]
    # 1. Look: sure of the end after the last b, and not before.
    assert end(page, last) > 0.8 and end(page, last - 1) < 0.2
    # 2. Follow unit 2: its cell at every symbol, down by one with an a, up by one with a b.
    for step in (0, 3, first_b - 1, first_b, last):
        end(page, step, unit=COUNTER, mark="c")
        text = page.run("document.querySelector('#panel-states').innerText")
        shown = re.search(rf"unit 2 at step {step + 1}: c = (\S+)", text)[1].replace("\u2212", "-")
        assert float(shown) == pytest.approx(c[step, COUNTER], rel=5e-3, abs=5e-3)
    # 3. Erase an a: the end comes one b earlier.
    assert end(page, last - 1, erased=[3]) > 0.8 and end(page, last - 2, erased=[3]) < 0.2
    # 4. Hold unit 2 while the b's are read: no end. Hold it at 0.9: the end at the first b.
    held = hold(COUNTER, float(c[first_b, COUNTER]), first_b, last)
    assert max(end(page, step, clamps=held) for step in range(first_b, last + 1)) < 0.1
    assert end(page, first_b) < 0.1
    assert end(page, first_b, clamps=hold(COUNTER, 0.9, 0, last)) > 0.8
    for unit in (2, 3):
        held = hold(unit, float(c[first_b, unit]), first_b, last)
        assert end(page, last, clamps=held) > 0.8
