"""The panel of the training: epochs whose weights drive the page, curves, reach of the gradient."""

from __future__ import annotations

import copy
import json
import re

import numpy as np
import pytest

from elman import SequenceClassifier, SequenceRegressor
from elman.explain import bptt, trace
from elman.lab.page import build_page
from elman.lab.payload import describe_run

STEPS, PANEL = 30, "#panel-learning"
FIELDS = {"version": 1, "elman": "0", "mode": "file", "notes": [], "tasks": []}


@pytest.fixture(scope="module")
def trained():
    """A network of two layers whose best epoch is not its last, with sequences and labels."""
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(STEPS, 2)).astype(np.float32) for _ in range(60)]
    y = ["up" if x[:6, 0].sum() > 0 else "down" for x in X]
    options = {"cell": "lstm", "hidden_size": 6, "num_layers": 2, "bidirectional": False}
    training = {"epochs": 14, "learning_rate": 0.05, "random_state": 0, "keep_epochs": 4}
    held_out = {"validation": 0.3, "keep": "best", "patience": 0}
    return SequenceClassifier(**options, **training, **held_out).fit(X, y), X[:3], y[:3]


@pytest.fixture(scope="module")
def pages(trained, tmp_path_factory):
    """The network with its epochs; one without; one of numbers with sequences of one step."""
    folder = tmp_path_factory.mktemp("learning")
    estimator, X, y = trained
    numbers = [np.array([[float(k)]], np.float32) for k in range(20)]
    short = SequenceRegressor(hidden_size=3, epochs=1, random_state=0, keep_epochs=3)
    short.fit(numbers, [2.0 * k for k in range(20)])
    runs = {
        "kept": describe_run(estimator, X, y, epochs=estimator.kept_epochs_),
        "none": describe_run(estimator, X, y, epochs={}),
        "short": describe_run(short, numbers[:2], [0.0, 2.0], epochs=short.kept_epochs_),
    }
    for name, run in runs.items():
        (folder / f"{name}.html").write_text(build_page({**FIELDS, "runs": [run]}), "utf-8")
    return folder


@pytest.fixture
def opened(browser, pages):
    with browser.open_page(pages / "kept.html") as page:
        wait_for_curves(page)
        yield page
        page.check()


def show(page, panel=PANEL):
    """Scroll to the panel; those above it grow when they are drawn."""
    for _ in range(3):
        page.run(f"document.querySelector('{panel}').scrollIntoView()")
        page.settle()


def wait_for_curves(page):
    show(page)
    page.wait_for(f"document.querySelectorAll('{PANEL} canvas').length === 3")


def text(page, selector):
    return page.run(f"document.querySelector({json.dumps(selector)}).textContent")


def epoch_of(page):
    """The epoch in the address; None for the final weights."""
    found = re.search(r"epoch=(\d+)", page.run("location.hash"))
    return found and int(found[1])


def go_to(page, epoch):
    page.run(f"location.hash = 'epoch={epoch}'")
    page.wait_for(f"document.querySelector('{PANEL} output').textContent === '{epoch} of 14'")


def number(shown):
    """A number as the page writes it."""
    return float(shown.replace("−", "-"))


def with_weights(estimator, epoch):
    """The estimator's network with the weights of an epoch."""
    model = copy.deepcopy(estimator.model_)
    model.load_state_dict(estimator.kept_epochs_[epoch])
    return model


def test_every_panel_shows_the_network_of_the_epoch(opened, trained):
    """The state under the cursor is that of elman's own trace with the weights of the epoch."""
    estimator, X, _ = trained
    kept = sorted(estimator.kept_epochs_)
    assert kept[0] == 0 and estimator.history_.kept_epoch != kept[-1]
    opened.focus("#learning-epoch")
    opened.key("Home")
    shown = []
    for epoch in kept:
        final = epoch == estimator.history_.kept_epoch
        assert epoch_of(opened) == (None if final else epoch)
        opened.wait_for(f"document.querySelector('{PANEL} output').textContent === '{epoch} of 14'")
        assert text(opened, "#toolbar label[for=choose-epoch] output") == f"{epoch} of 14"
        show(opened, "#panel-states")
        found = number(text(opened, "#panel-states .reading").rpartition("= ")[2])
        layer = trace(with_weights(estimator, epoch), estimator.encode(X[:1]).inputs[0]).layers[-1]
        assert found == pytest.approx(float(layer.gates["h"][0, 0]), rel=6e-3, abs=1e-6)
        shown.append(found)
        show(opened)
        opened.focus("#learning-epoch")
        opened.key("ArrowRight")
    assert len(set(shown)) == len(kept)


def test_what_was_measured_at_an_epoch(opened, trained):
    estimator, *_ = trained
    records = estimator.history_.epochs
    for epoch in sorted(estimator.kept_epochs_):
        go_to(opened, epoch)
        found = text(opened, f"{PANEL} .reading")
        if epoch == 0:
            assert found == "Epoch 0: the initial weights, before the training."
            continue
        record = records[epoch - 1]
        used = epoch == estimator.history_.kept_epoch
        assert found.startswith(f"Epoch {epoch} of 14" + ", whose weights are used" * used + ": ")
        values = [number(each) for each in re.findall(r"(\S+) \((?:training|validation)\)", found)]
        expected = (record.loss, record.validation_loss, record.accuracy)
        assert values == pytest.approx([*expected, record.validation_accuracy], rel=6e-3)


def test_how_far_the_gradient_reaches_at_every_epoch(opened, trained):
    """The lag in the text is that of elman's own backpropagation through time."""
    estimator, X, y = trained
    lags = set()
    for epoch in sorted(estimator.kept_epochs_):
        go_to(opened, epoch)
        label = estimator.classes_.tolist().index(y[0])
        back = bptt(with_weights(estimator, epoch), estimator.encode(X[:1]).inputs[0], label)
        remaining = back.remaining[list(back.remaining)[-1]]
        few = np.flatnonzero(remaining < 0.01)
        words = f"Less than 1 % of the gradient is left {few[0]} step" if len(few) else "More than"
        assert text(opened, f"{PANEL} .curves + .reading").startswith(words), epoch
        lags.add(int(few[0]) if len(few) else None)
        key = text(opened, f"{PANEL} .body > .curves .key")
        final = f"final weights (epoch {estimator.history_.kept_epoch})"
        assert (final in key) == (epoch != estimator.history_.kept_epoch)
    assert len(lags) > 1


def test_curves_choose_the_nearest_epoch(opened, trained):
    kept, final = sorted(trained[0].kept_epochs_), trained[0].history_.kept_epoch
    over = f"{PANEL} .curves .u-over"
    for share, epoch in ((0.01, kept[0]), (4.4 / 14, 4), (0.999, kept[-1])):
        opened.click(over, share, 0.5)
        assert epoch_of(opened) == epoch
    opened.drag(over, (0.5, 0.5), (0.02, 0.4))
    assert epoch_of(opened) == 0
    opened.drag(over, (0.5, 0.5), (0.99, 0.4))
    assert epoch_of(opened) == kept[-1]
    opened.focus(f"{PANEL} canvas")
    opened.key("ArrowLeft")
    assert epoch_of(opened) == (None if kept[-2] == final else kept[-2])
    opened.key("Home")
    assert epoch_of(opened) == 0
    opened.key("ArrowLeft")
    assert epoch_of(opened) == 0
    opened.key("End")
    assert epoch_of(opened) == kept[-1]
    opened.hover(over, 2.0 / 14, 0.5)
    assert text(opened, f"{PANEL} .reading").startswith("Epoch 2 of 14: loss")
    opened.click(f"{PANEL} .epochs button:last-of-type")
    assert epoch_of(opened) is None


def test_playing_shows_every_epoch_and_stops(opened, trained):
    kept, final = sorted(trained[0].kept_epochs_), trained[0].history_.kept_epoch
    go_to(opened, kept[-1])
    opened.run(
        "window.seen = []; new MutationObserver(() => { const now = document.querySelector("
        f"'{PANEL} output').textContent; if (seen.at(-1) !== now) seen.push(now); }})"
        f".observe(document.querySelector('{PANEL} output'), {{childList: true}})"
    )
    play = f"{PANEL} .epochs button"
    opened.click(play)
    assert text(opened, play) == "Pause"
    opened.wait_for(f"document.querySelector('{play}').textContent === 'Play'")
    opened.settle()
    seen = [int(each.split()[0]) for each in opened.run("seen")]
    assert seen[-len(kept) :] == kept and final in kept
    assert epoch_of(opened) == kept[-1]
    opened.focus(play)
    opened.key("Enter")
    assert text(opened, play) == "Pause"
    opened.key("Enter")
    assert text(opened, play) == "Play"
    at = epoch_of(opened)
    opened.browser.listen(0.6)
    assert epoch_of(opened) == at


def test_a_link_opens_its_epoch(browser, pages):
    with browser.open_page(pages / "kept.html", address="#epoch=8") as page:
        assert text(page, "#toolbar label[for=choose-epoch] output") == "8 of 14"
        page.check()


def test_without_kept_weights_there_are_curves_only(browser, pages):
    with browser.open_page(pages / "none.html") as page:
        wait_for_curves(page)
        assert page.run(f"document.querySelector('{PANEL} .epochs').hidden")
        assert page.run("document.querySelector('#choose-epoch').closest('label').hidden")
        assert "--keep-epochs 20" in text(page, PANEL)
        assert "whose weights are used: loss" in text(page, PANEL)
        page.check()


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_and_a_sequence_of_one_step(browser, pages, dark):
    with browser.open_page(pages / "short.html", width=390, dark=dark) as page:
        wait_for_curves(page)
        assert page.run("document.documentElement.scrollWidth") == 390
        assert "no step back" in text(page, f"{PANEL} .curves + .reading")
        for label in page.run(
            f"[...document.querySelectorAll('{PANEL} canvas')].map(c => "
            "[c.getAttribute('role'), c.tabIndex, c.getAttribute('aria-label')])"
        ):
            assert label[:2] == ["img", 0] and len(label[2]) > 30
        page.check()
