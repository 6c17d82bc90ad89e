"""Small files that can be learnt, and a run trained on one."""

import csv
import json

import numpy as np
import pytest

from elman.runs.config import merge
from elman.runs.experiment import run

SMALL = {"model": {"hidden_size": 4}, "training": {"epochs": 2}}
NO_DIAGNOSTICS = {"report": {"diagnostics": False}}  # which take seconds a run


def write_csv(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """A folder with text.csv, values.csv, tags.jsonl and other small files."""
    root = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    text = [[f"a {['good', 'bad'][i % 2]} day", ["yes", "no"][i % 2]] for i in range(30)]
    write_csv(root / "text.csv", [["text", "label"], *text])
    values = [
        [i % 2, *np.round(rng.normal(i % 2, 1, 3 + i % 4), 3), *[""] * (3 - i % 4)]
        for i in range(30)
    ]
    write_csv(root / "values.csv", [["label", *(f"v{j}" for j in range(6))], *values])
    tags = [
        {"tokens": ["a", "b", "cd"[i % 2]], "tags": ["A", "B", "R" if i == 7 else "CD"[i % 2]]}
        for i in range(30)
    ]
    (root / "tags.jsonl").write_text("".join(json.dumps(t) + "\n" for t in tags))
    return root


@pytest.fixture
def settings(files):
    """From changes by section to whole settings of a small run on text.csv."""

    def make(**sections):
        base = {
            "data": {"data": str(files / "text.csv"), "validation": 0.1},
            **SMALL,
            **NO_DIAGNOSTICS,
        }
        return merge(base, sections)

    return make


@pytest.fixture(scope="session")
def trained(files, tmp_path_factory):
    """A run on text.csv, not to be changed."""
    out = tmp_path_factory.mktemp("trained") / "run"
    said = []
    base = {"data": {"data": str(files / "text.csv"), "validation": 0.1}, **SMALL}
    return run(merge(base), out=out, verbose=0, echo=said.append), said


@pytest.fixture(autouse=True)
def _figures(quick_figures):
    """Every figure is drawn, but not laid out."""
