"""A real training is followed in a browser: from its first epoch, past Ctrl-C, to its end."""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, Page

from elman import load
from elman.data.builtin import load_task

sys.path.append(str(Path(__file__).parent.parent / "reliability"))  # when it is not collected

from forks import Forks

DATA = "waves:train=2000,test=40"
WORDS = ["train", DATA, "--hidden-size", "8", "--epochs", "400", "--no-diagnostics"]
WORDS += ["--no-bidirectional", "--validation", "0", "--checkpoint-every", "0.2", "--out", "run"]


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    running = Forks()
    yield running
    running.close()


@pytest.fixture
def start(forks: Forks, tmp_path: Path) -> Iterator[Any]:
    """Start a command in the folder of the test; returns it and the address that it prints."""
    started = []

    def make(*words: str) -> tuple[Any, str]:
        out = tmp_path / f"out{len(started)}.txt"
        out.touch()
        fork = forks.start(*words, cwd=tmp_path, out=out, err=out.with_suffix(".err"))
        started.append(fork)
        end = time.monotonic() + 60
        while not (found := re.search(r"http://127\.0\.0\.1:\d+/[\w-]{20,}/", fork.out)):
            assert time.monotonic() < end and not fork.err, (fork.out, fork.err)
            time.sleep(0.02)
        return fork, found[0]

    yield make
    for fork in started:
        if fork.code is None:
            fork.send(signal.SIGKILL)
            fork.wait(20)


def lines_in(folder: Path) -> int:
    return len((folder / "run" / "metrics.jsonl").read_text().splitlines())


def follow(page: Page, folder: Path, epochs: int) -> None:
    """Wait until the page has further epochs; each is there a second after it was written."""
    for _ in range(epochs):
        written = lines_in(folder) + 1
        while lines_in(folder) < written:
            time.sleep(0.01)
        page.wait_for(f"Number(document.documentElement?.dataset.epoch) >= {written}", 1.0)


def end(fork: Any) -> None:
    """Ctrl-C."""
    since = fork.send(signal.SIGINT)
    assert fork.wait(10) == 130, fork.err
    assert time.monotonic() - since < 5


def status(page: Page) -> str:
    text: str = page.run("document.getElementById('live-status').textContent")
    return text


def test_a_training_is_followed_to_its_end(browser: Browser, start: Any, tmp_path: Path) -> None:
    training, address = start(*WORDS, "--watch")
    with browser.open_page(address) as page:
        page.wait_for("Number(document.documentElement.dataset.epoch) >= 1")
        follow(page, tmp_path, 3)
        assert re.match(r"Training: epoch \d+ of 400 has ended", status(page))
        page.send("Page.reload")
        follow(page, tmp_path, 1)
        end(training)
        page.wait_for("document.getElementById('live-status').textContent.includes('not answer')")
        assert page.run("Number(document.documentElement.dataset.epoch)") >= 4
        assert all(request.startswith(address) for request in page.requests)
    # It goes on, and another process follows it.
    training, address = start("train", "--resume", "run", "--watch")
    watching, other = start("lab", "run", "--no-open")
    assert other != address
    with browser.open_page(other) as page:
        page.wait_for("Number(document.documentElement.dataset.epoch) >= 1")
        follow(page, tmp_path, 1)
    end(training)
    assert watching.wait(10) == 0 and "The training has ended" in watching.out
    training, address = start("train", "--resume", "run", "--finish", "--watch")
    with browser.open_page(address) as page:
        page.wait_for("document.documentElement.dataset.training === 'complete'")
        page.settle()
        assert training.wait() == 0 and not page.errors
        assert "The training has ended after" in status(page)
        said = page.run("document.getElementById('panel-output').textContent")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert lines_in(tmp_path) == metrics["epochs"]
    # The network of the page answers as the one that was saved.
    model = load(tmp_path / "run")
    probabilities = model.predict_proba(load_task(DATA, 0)[1])
    shown = re.search(r"whole sequence: (\w+) \((\d\.\d+)\)", said)
    assert shown, said
    column = model.classes_.tolist().index(shown[1])
    assert abs(probabilities[:, column] - float(shown[2])).min() < 6e-4
