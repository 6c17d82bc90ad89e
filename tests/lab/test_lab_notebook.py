"""`clf.lab()`: the page of an estimator, shown in a notebook or written to a file."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browser import Browser
from cases import CELL_NAMES, unregister_cell

from elman import SequenceClassifier, SequenceTagger
from elman.data import read
from elman.errors import SettingsError
from elman.lab.assemble import LabPage
from elman.ops.cells import RNN, Cell, register_cell

X = [np.sin(np.arange(n) * step) for n in (9, 12) for step in (0.5, 1.0) * 10]
Y = ["slow", "fast"] * 20


def shown(page: LabPage) -> dict[str, Any]:
    """The JSON in a page."""
    found = re.search(r'id="lab-data">(.*?)</script>', page.text, re.DOTALL)
    assert found
    result: dict[str, Any] = json.loads(found[1])
    return result


@pytest.fixture(scope="module")
def fitted() -> SequenceClassifier:
    return SequenceClassifier(epochs=3, hidden_size=6, random_state=0, keep_epochs=2).fit(X, Y)


def test_a_page_of_an_estimator(fitted: SequenceClassifier, tmp_path: Path) -> None:
    page = fitted.lab(X, Y, tmp_path / "lab.html", name="waves")
    assert (tmp_path / "lab.html").read_text(encoding="utf-8") == page.text
    assert page.size < 1_000_000 and page.notes == ()
    (run,) = shown(page)["runs"]
    assert run["name"] == "waves" and len(run["examples"]) == 30
    assert {e["reason"] for e in run["examples"]} <= {"typical", "wrong", "undecided"}
    for example in run["examples"]:
        index = int(example["name"].removeprefix("sequence "))
        assert run["outputs"]["names"][example["target"]] == Y[index]
        assert example["x"]["shape"] == [len(X[index]), 1]
    assert [entry["epoch"] for entry in run["epochs"]] == sorted(fitted.kept_epochs_)
    assert run["settings"]["hidden_size"] == 6
    with pytest.raises(SettingsError, match=r"exists already.*overwrite=True"):
        fitted.lab(X, Y, tmp_path / "lab.html")
    with pytest.raises(SettingsError, match="is a folder"):
        page.save(tmp_path)


def test_labels_in_any_container_and_without(fitted: SequenceClassifier) -> None:
    for y in (Y, np.array(Y), pd.Series(Y, index=range(100, 140))):
        assert shown(fitted.lab(X, y)) == shown(fitted.lab(X, Y))
    assert {e["target"] for e in shown(fitted.lab(X))["runs"][0]["examples"]} == {None}


def test_a_file_and_a_data_set(tmp_path: Path) -> None:
    path = tmp_path / "words.csv"
    path.write_text("text,label\n" + "good day,1\nbad night,0\n" * 10, encoding="utf-8")
    data = read(path)
    clf = SequenceClassifier(epochs=1, hidden_size=4, random_state=0, validation=0).fit(data)
    for source in (path, data):
        (run,) = shown(clf.lab(source))["runs"]
        assert run["examples"][0]["name"].startswith("line ")
        assert {e["target"] for e in run["examples"]} == {0, 1} and run["vocabulary"]


def test_long_sequences_are_cut_and_said() -> None:
    long = [np.arange(1500.0) % 3, np.arange(1200.0) % 2]
    tags = [[str(int(v > 0)) for v in x] for x in long]
    tagger = SequenceTagger(epochs=1, hidden_size=3, random_state=0, validation=0).fit(long, tags)
    page = tagger.lab(long, tags)
    assert {e["x"]["shape"][0] for e in shown(page)["runs"][0]["examples"]} == {1000}
    assert "cut to their first 1,000" in page.notes[0] and shown(page)["notes"] == [*page.notes]


def test_a_cell_of_the_users_own_is_refused() -> None:
    own = Cell("lab_test", ("h",), RNN.step)
    register_cell(own)
    try:
        assert "lab_test" in CELL_NAMES
        clf = SequenceClassifier(cell="lab_test", epochs=1, hidden_size=3).fit(X, Y)
        with pytest.raises(SettingsError, match="a cell of your own"):
            clf.lab(X, Y)
    finally:
        unregister_cell(own)


def test_a_frame_in_a_notebook_works(
    fitted: SequenceClassifier, browser: Browser, tmp_path: Path
) -> None:
    frame = fitted.lab(X, Y)._repr_html_()
    assert 'sandbox="allow-scripts"' in frame
    assert html.unescape(frame.split('srcdoc="')[1].split('"')[0]) == fitted.lab(X, Y).text
    # The test looks inside, which a notebook cannot.
    inside = frame.replace('sandbox="allow-scripts" ', "")
    notebook = tmp_path / "notebook.html"
    notebook.write_text(
        f'<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><body>{inside}',
        encoding="utf-8",
    )
    document = "document.querySelector('iframe').contentDocument"
    with browser.open_page(notebook, wait=False) as page:
        page.wait_for(f"{document}.documentElement.dataset.ready === 'yes'")
        page.run(
            f"(() => {{ const s = {document}.getElementById('choose-step');"
            " s.value = 4; s.dispatchEvent(new Event('input')); })()"
        )
        page.wait_for(f"{document}.getElementById('cursor-text').textContent.startsWith('4 of')")
        page.check()
