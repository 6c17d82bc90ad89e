"""Headers of numbers in the files of a folder, which only all files together show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elman.data import read


def folder(path: Path, head: str, first: Any = None, index: bool = False) -> Path:
    """Write ten files of six steps in two classes; `first(i)` is the first step of file i."""
    rng = np.random.default_rng(0)
    for i in range(10):
        steps = rng.normal(size=(6, 2)).round(3)
        rows = [f"{a},{b}" for a, b in steps]
        rows[0] = first(i) if first else rows[0]
        if index:
            rows = [f"{t},{row}" for t, row in enumerate(rows)]
        (path / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        text = "\n".join([head, *rows] if head else rows) + "\n"
        (path / "ab"[i % 2] / f"{i}.csv").write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("head", "index"),
    [("0,1", False), ("1,2", False), ("7,3", False), ("0.5,1.5", False), (",0,1", True)],
)
def test_the_same_first_line_in_every_file_is_a_header(head, index, tmp_path):
    path = folder(tmp_path / "data", head, index=index)
    data = read(path)
    assert data.inputs.lengths.tolist() == [6] * 10
    assert [g.flag for g in data.layout.guesses if g.role == "header"] == ["--header"]
    if not index:
        assert read(path, header=False).inputs.lengths.tolist() == [7] * 10
    assert read(path, layout=data.layout).inputs.lengths.tolist() == [6] * 10


@pytest.mark.parametrize(
    "first",
    [lambda i: f"{i}.5,0.25", lambda i: "0.0,0.0", lambda i: "1.5,0.25"],
    ids=["different", "origin", "same start"],
)
def test_a_first_step_is_not_lost(first, tmp_path):
    data = read(folder(tmp_path / "data", "", first))
    assert data.inputs.lengths.tolist() == [6] * 10 and not data.layout.header


def test_times_that_count_from_zero_are_steps(tmp_path):
    for i in range(10):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        text = "".join(f"{t / 10:g},{np.cos(t * i / 10):.3f}\n" for t in range(8))
        (tmp_path / "ab"[i % 2] / f"{i}.csv").write_text(text, encoding="utf-8")
    data = read(tmp_path)
    assert data.inputs.lengths.tolist() == [8] * 10 and not data.layout.header


def test_what_the_files_show_is_said(tmp_path):
    data = read(folder(tmp_path / "data", "# logger 3\nx,y"))
    assert "--skip-lines 1" in {guess.flag for guess in data.layout.guesses}
