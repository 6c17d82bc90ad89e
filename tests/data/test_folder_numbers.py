"""A folder of `.txt` files: tables of numbers are numbers, texts stay texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elman import SequenceClassifier
from elman.data import read, summarize, summary_text
from elman.errors import DataError


def folder(path: Path, write: Any, ending: str = ".txt") -> Path:
    """Write four files a class; `write` makes the text of file i of class k."""
    for k, name in enumerate(("calm", "windy")):
        (path / name).mkdir(parents=True, exist_ok=True)
        for i in range(4):
            (path / name / f"{i}{ending}").write_text(write(i, k), encoding="utf-8")
    return path


def table(mark: str, head: str = "", decimal: str = ".", steps: int = 5) -> Any:
    """Return a writer of tables of two columns with this mark between numbers."""

    def write(i: int, k: int) -> str:
        rows = [mark.join((f"{t * 0.5 + i}", f"{k + t / 4:.2f}")) for t in range(steps + i)]
        rows = [row.replace(".", decimal) for row in rows]
        return "\n".join([head, *rows] if head else rows) + "\n"

    return write


@pytest.mark.parametrize(
    ("mark", "head", "decimal"),
    [
        (" ", "", "."),
        ("\t", "", "."),
        (",", "", "."),
        ("   ", "", "."),
        (";", "", ","),
        (" ", "speed gust", "."),
        ("\t", "speed\tgust", "."),
        (",", "speed,gust", "."),
        (";", "speed;gust", ","),
    ],
)
def test_tables_are_numbers(mark, head, decimal, tmp_path):
    data = read(folder(tmp_path / "wind", table(mark, head, decimal)))
    assert data.layout.kind == "numbers" and data.layout.format == "folder"
    assert data.layout.channels == (("speed", "gust") if head else ("1", "2"))
    assert data.lengths.tolist() == [5, 6, 7, 8] * 2
    np.testing.assert_array_equal(data.inputs[5][:2], [[1, 1], [1.5, 1.25]])
    assert data.ids[5] == "windy/1.txt" and data.labels() == ["calm"] * 4 + ["windy"] * 4
    text = summary_text(data, summarize(data))
    assert "numbers in .txt files: every line holds numbers (sure); --text text" in text


def test_later_folders_and_the_flag(tmp_path):
    path = folder(tmp_path / "wind", table(" "))
    data = read(path)
    model = SequenceClassifier(hidden_size=2, epochs=1, validation=0).fit(data)
    # A single step does not show that a file is a table; the model knows.
    later = folder(tmp_path / "later", lambda i, k: f"{i} {k}\n")
    assert read(later, layout=data.layout).lengths.tolist() == [1] * 8
    assert len(model.predict(later)) == 8
    assert read(path, text="text").layout.kind == "text"


def test_one_line_of_numbers_is_a_sequence(tmp_path):
    data = read(folder(tmp_path / "a", lambda i, k: " ".join(str(t + k / 2) for t in range(3 + i))))
    assert data.lengths.tolist() == [3, 4, 5, 6] * 2 and data.layout.kind == "numbers"
    assert data.inputs[4][:, 0].tolist() == [0.5, 1.5, 2.5]
    data = read(
        folder(tmp_path / "b", lambda i, k: "\n".join(str(t + k / 2) for t in range(3 + i)))
    )
    assert data.lengths.tolist() == [3, 4, 5, 6] * 2


def test_texts_stay_texts(tmp_path):
    texts = ("3 apples and 4 pears", "chapter 1\n2 ships sail", "2024\nwas a good year")
    data = read(folder(tmp_path / "a", lambda i, k: texts[(i + k) % 3]))
    assert data.layout.kind == "text"
    assert read(folder(tmp_path / "b", lambda i, k: f"{i}{k}7")).layout.kind == "text"


def test_a_faulty_line_is_named(tmp_path):
    path = folder(tmp_path / "wind", table(" ", steps=20))
    file = path / "windy" / "2.txt"
    file.write_text(file.read_text().replace("1.75", "calm", 1))
    with pytest.raises(DataError, match=r"2\.txt, line 4.*: 'calm' is not a number"):
        read(path)
    file.write_text("1 2 3\n4 5 6\n")
    with pytest.raises(DataError, match=r"2\.txt: the columns are '1', '2', '3'"):
        read(path)
