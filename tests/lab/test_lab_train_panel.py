"""Training in the page as a person does it: choose, start, pause, step, break, and read a file."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from elman.runs.lab import make_task_page

STATUS = "document.querySelector('#train-status').textContent"
DOCTOR = "document.querySelector('#train-doctor').textContent"
START = "document.querySelector('#train-start').textContent"


@pytest.fixture(scope="module")
def file(tmp_path_factory: Any) -> Any:
    path = tmp_path_factory.mktemp("page") / "lab.html"
    make_task_page().save(path, overwrite=True)
    return path


def select(page: Any, name: str, value: str) -> None:
    page.run(
        f"(() => {{ const e = document.querySelector('#train-{name}');"
        f" e.value = {json.dumps(value)}; e.dispatchEvent(new Event('change')); }})()"
    )
    page.settle()


def step_of(page: Any) -> int:
    found = re.search(r"step ([\d,]+) of", page.run(STATUS))
    return int(found[1].replace(",", "")) if found else 0


def test_sum_threshold_reaches_its_accuracy(browser: Any, file: Any) -> None:
    with browser.open_page(file) as page:
        states = "document.querySelector('#panel-states canvas').getAttribute('aria-label')"
        page.run("document.querySelector('#panel-states').scrollIntoView()")
        page.settle()
        before = page.run(states)
        page.click("#train-start")
        assert page.run(START) == "Pause"
        accuracy = "Number((/, ([0-9.]+) on the test sequences/.exec(" + STATUS + ") || [0, 0])[1])"
        assert page.wait_for(f"{accuracy} >= 0.95 && {accuracy}", 60) >= 0.95
        page.click("#train-start")
        page.wait_for(f"{STATUS}.startsWith('Paused')")
        step = step_of(page)
        assert step >= 25
        page.run("document.querySelector('#panel-states').scrollIntoView()")
        page.wait_for(f"{states} !== {json.dumps(before)}")  # the other panels follow
        for more in (1, 2):
            page.click("#train-step")
            page.wait_for(f"{STATUS}.includes('step {step + more:,} of')")
        page.click("#train-again")
        page.wait_for(f"{STATUS} === 'Not started.'")
        page.check()


def test_a_step_at_a_time_from_the_keyboard(browser: Any, file: Any) -> None:
    with browser.open_page(file) as page:
        page.focus("#train-step")
        for step in (1, 2, 3):
            page.key("Enter")
            page.wait_for(f"{STATUS}.includes('step {step} of 3,000')")
        assert "Epoch 1 of 120" in page.run(STATUS)
        page.check()


def test_a_switch_breaks_it_and_the_doctor_says_so(browser: Any, file: Any) -> None:
    with browser.open_page(file) as page:
        select(page, "cell", "rnn tanh")
        page.wait_for(f"{DOCTOR}.includes('no fault')")
        assert page.run("document.querySelector('#train-break-forget').disabled")
        page.click("#train-break-unscaled")
        page.wait_for(f"{DOCTOR}.includes('unscaled inputs')")
        assert "switch it off" in page.run(DOCTOR)
        assert "elman train" not in page.run("document.querySelector('#train-repeat').textContent")
        page.click("#train-break-unscaled")
        page.wait_for(f"{DOCTOR}.includes('no fault')")
        select(page, "cell", "lstm")
        page.click("#train-break-forget")
        page.wait_for(f"{DOCTOR}.includes('Gate f stays closed')")
        page.check()


def test_another_network_while_one_trains(browser: Any, file: Any) -> None:
    """A report of the former network, which is still on its way, has weights of other sizes."""
    with browser.open_page(file) as page:
        for cell in ("gru", "lstm", "rnn relu") * 3:
            select(page, "cell", cell)
            page.click("#train-start")
            page.wait_for(f"{STATUS}.startsWith('Training')")
        page.click("#train-start")
        page.wait_for(f"{STATUS}.startsWith('Paused')")
        page.check()


def test_the_address_holds_what_was_chosen(browser: Any, file: Any) -> None:
    with browser.open_page(file) as page:
        select(page, "task", "anbn")
        select(page, "cell", "lstm")
        select(page, "units", "400")
        assert page.run("document.querySelector('#train-units').value") == "32"
        select(page, "units", "3")
        address = page.run("location.hash")
        command = page.run("document.querySelector('#panel-train code').textContent")
        assert command == "elman train anbn --cell lstm --hidden-size 3 --no-bidirectional"
    with browser.open_page(file, address=address) as page:
        assert page.run("document.querySelector('#train-task').value") == "anbn"
        page.click("#train-step")
        page.wait_for(f"{STATUS}.includes('step 1 of')")
        assert page.run("document.querySelector('#choose-unit').max") == "3"
        page.check()


def give_file(page: Any, text: str) -> None:
    page.run(
        "(() => { const files = new DataTransfer(); const input = "
        "document.querySelector('#train-file'); files.items.add(new File("
        f"[{json.dumps(text)}], 'own.csv')); input.files = files.files;"
        " input.dispatchEvent(new Event('change')); })()"
    )


def test_a_file_of_the_users_own(browser: Any, file: Any) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(5, 2, (60, 4))
    rows = [",".join([*(f"{v:.2f}" for v in row), "ab"[int(row[0] > 5)]]) for row in x]
    said = "document.querySelector('#train-description').textContent"
    with browser.open_page(file) as page:
        give_file(page, "\n".join(rows[:5]))
        page.wait_for(f"{said}.includes('5 rows of data, expected 10')")
        give_file(page, "\n".join(rows))
        page.wait_for(f"{said}.includes('2 classes: a, b.')")
        assert "12 rows, chosen at random, are held out" in page.run(said)
        page.click("#train-start")
        page.wait_for(f"{STATUS}.includes('After epoch 3')", 60)
        page.check()


@pytest.mark.parametrize(("width", "dark"), [(390, True), (1200, False)])
def test_it_fits_the_width(browser: Any, file: Any, width: int, dark: bool) -> None:
    with browser.open_page(file, width=width, dark=dark) as page:
        page.click("#train-step")
        page.wait_for(f"{STATUS}.includes('step 1 of')")
        assert page.run("document.documentElement.scrollWidth <= innerWidth")
        page.check()
