"""The notebook runs from top to bottom in a kernel, and shows what a reader expects to see."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parent.parent / "examples" / "first_network.ipynb"
# In a process of its own: the kernel's libraries warn, and warnings are errors here.
RUN = """
import sys, nbclient, nbformat
book = nbformat.read(sys.argv[1], 4)
nbclient.NotebookClient(book, timeout=300, kernel_name="python3").execute(cwd=sys.argv[2])
nbformat.write(book, sys.argv[3])
"""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebook")
    done = folder / "done.ipynb"
    words = [sys.executable, "-c", RUN, str(NOTEBOOK), str(folder), str(done)]
    subprocess.run(words, check=True, capture_output=True, timeout=400)
    cells = json.loads(done.read_text(encoding="utf-8"))["cells"]
    return {cell["id"]: cell.get("outputs", []) for cell in cells}


def test_it_is_short_and_stored_without_output():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert len(cells) <= 5
    assert not any(cell.get("outputs") for cell in cells)
    assert max(len(cell["source"]) for cell in cells) <= 8


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
