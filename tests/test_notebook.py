"""The first notebook runs from top to bottom in a kernel, and shows what a reader should see."""

from __future__ import annotations

import json

import pytest
from lesson import differences, execute, notebook_of

NOTEBOOK = notebook_of("first_network")


@pytest.fixture(scope="module")
def books(tmp_path_factory):
    """The notebook as it is stored, and as it has just run."""
    stored = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return stored, execute(stored, tmp_path_factory.mktemp("notebook"))


@pytest.fixture(scope="module")
def outputs(books):
    return {cell["id"]: cell.get("outputs", []) for cell in books[1]["cells"]}


def test_it_is_short_and_small(books):
    cells = books[0]["cells"]
    assert len(cells) <= 5
    assert max(len(cell["source"]) for cell in cells) <= 8
    assert NOTEBOOK.stat().st_size < 60_000


def test_its_outputs_are_those_stored(books):
    assert not differences(*books), "Run python tests/lesson.py first_network"
    stored = {cell["id"]: cell.get("outputs") for cell in books[0]["cells"]}
    assert all(stored[name] for name in ("data", "train", "curves", "figures"))


def test_progress_shows_in_place(outputs):
    (shown,) = outputs["train"]  # one output, updated, not one an epoch
    text = "".join(shown["data"]["text/html"])
    assert "epoch 15/15" in text
    assert "━" not in text and " left" not in text  # the bar is gone when the training is done


def test_curves_stand_inline_once(outputs):
    pictures = [o for o in outputs["curves"] if "image/png" in o.get("data", {})]
    assert len(pictures) == 1


def test_report_is_a_table(outputs):
    html = "".join(outputs["figures"][0]["data"]["text/html"])
    assert "<table" in html
    assert "accuracy" in html
