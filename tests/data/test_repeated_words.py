"""Words that repeat beside numbers are gaps, named with their count; a single one is a fault."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from elman.data import read
from elman.data.dataset import Dataset
from elman.errors import DataError


def load(folder: Path, words: list[str], every: int = 2, name: str = "a.csv", **options) -> Dataset:
    """Read 20 sequences of eight steps, in which a word stands at every second step."""
    rows = []
    for i in range(20):
        for t in range(8):
            k = i * 8 + t
            v = words[k // every % len(words)] if k % every == 1 else f"{i * 0.3 + t * 0.7:.2f}"
            rows.append(f"{i},{t},{v},{t * 0.5 + i},{'ab'[i % 2]}")
    (folder / name).write_text("\n".join(["id,t,v,z,label", *rows]) + "\n", encoding="utf-8")
    return read(folder / name, **options)


@pytest.mark.parametrize(
    "words",
    [["sensor error"], ["OFFLINE"], ["calibrating", "not connected", "overrange"]],
)
def test_a_word_that_repeats_is_a_gap(words, tmp_path):
    data = load(tmp_path, words)
    assert data.layout.values == ("v", "z")
    assert int(np.isnan(data.inputs.values[:, 0]).sum()) == 80
    lines = [guess.line for guess in data.layout.guesses if guess.role == "missing"]
    assert len(lines) == len(words) and all("(likely)" in line for line in lines)
    assert any(f"{80 // len(words) + (len(words) > 1)} cells of 'v'" in line for line in lines)
    assert load(tmp_path, words, categories=("v",)).layout.categories == ("v",)


def test_most_cells_may_be_gaps(tmp_path):
    rows = [
        f"{i},{t},{'sensor error' if (i + t) % 5 < 3 else f'{i * 0.3 + t:.1f}'},{t}.5,{'ab'[i % 2]}"
        for i in range(20)
        for t in range(8)
    ]
    (tmp_path / "a.csv").write_text("\n".join(["id,t,v,z,label", *rows]) + "\n", encoding="utf-8")
    assert np.isnan(read(tmp_path / "a.csv").inputs.values[:, 0]).mean() == pytest.approx(0.6)


def test_a_later_file_with_one_such_word_is_read_alike(tmp_path):
    layout = load(tmp_path, ["sensor error"]).layout
    rows = [f"0,{t},{'sensor error' if t == 3 else t * 0.5},{t}.5,a" for t in range(8)]
    (tmp_path / "b.csv").write_text("\n".join(["id,t,v,z,label", *rows]) + "\n", encoding="utf-8")
    assert np.isnan(read(tmp_path / "b.csv", layout=layout).inputs.values[3, 0])


@pytest.mark.parametrize("word", ["0.5x3", "<0.5", ">100"])
def test_faulty_numbers_and_limits_are_no_gaps(word, tmp_path):
    with pytest.raises(DataError, match="is not a number"):
        load(tmp_path, [word])


def test_a_word_that_stands_once_is_a_fault(tmp_path):
    with pytest.raises(DataError, match="line 104, column v: 'oops' is not a number"):
        load(tmp_path, ["oops"], every=101)


def test_four_words_are_faults_with_both_remedies(tmp_path):
    words = ["up", "down", "left", "right"]
    with pytest.raises(DataError, match=r"'up' is not a number.*--missing up"):
        load(tmp_path, words)
    assert load(tmp_path, words, missing=words).layout.number_marks == ()
