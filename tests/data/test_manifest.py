"""A folder of files with a table that says which class each of them is of."""

from __future__ import annotations

import numpy as np
import pytest

from elman.data import describe, read
from elman.errors import DataError


def make(folder, names, ending=".csv"):
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [f"{t / 10},{(t + i) % 7 / 2}" for t in range(4 + i)]
        if ending == ".npy":
            np.save(path, np.arange(8.0).reshape(4, 2) / 3)
        elif ending == ".txt" and i >= 0 and name.endswith(".txt"):
            path.write_text(f"a text of several words, number {i}")
        else:
            path.write_text("\n".join(["x,y", *rows]) + "\n")


NAMES = ["a.csv", "b.csv", "c.csv", "d.csv"]


@pytest.mark.parametrize(
    ("table", "content"),
    [
        ("labels.csv", "filename,label\na.csv,up\nb.csv,down\nc.csv,up\nd.csv,down\n"),
        ("labels.csv", "file;class\na.csv;up\nb.csv;down\nc.csv;up\nd.csv;down\n"),
        ("REFERENCE.csv", "a,up\nb,down\nc,up\nd,down\n"),
        ("meta.tsv", "label\tpath\nup\t./a.csv\ndown\tb.csv\nup\tc.csv\ndown\td.csv\n"),
    ],
)
def test_a_table_of_labels(tmp_path, table, content):
    make(tmp_path, NAMES)
    (tmp_path / table).write_text(content)
    dataset = read(tmp_path)
    assert dataset.target.tolist() == ["up", "down", "up", "down"]
    assert dataset.ids == tuple(NAMES) and dataset.lengths.tolist() == [4, 5, 6, 7]
    assert dataset.layout.channels == ("x", "y")
    assert f"{table}: column" in describe(dataset) and "names 4 files" in describe(dataset)


def test_paths_in_subfolders(tmp_path):
    names = ["one/1.csv", "one/2.csv", "two/1.csv", "two/2.csv"]
    make(tmp_path, names)
    rows = [f"{name},{'ab'[i % 2]}" for i, name in enumerate(names)]
    (tmp_path / "manifest.csv").write_text("\n".join(["path,label", *rows]))
    dataset = read(tmp_path)
    assert dataset.target.tolist() == ["a", "b", "a", "b"]  # and not the names of the folders
    assert dataset.ids == tuple(names)


def test_arrays_and_texts(tmp_path):
    make(tmp_path / "n", [f"{i}.npy" for i in range(4)], ".npy")
    (tmp_path / "n/labels.csv").write_text("file,label\n0,a\n1,b\n2,a\n3,b\n")
    assert read(tmp_path / "n").target.tolist() == ["a", "b", "a", "b"]
    make(tmp_path / "t", [f"{i}.txt" for i in range(4)], ".txt")
    (tmp_path / "t/labels.csv").write_text("file,label\n0.txt,a\n1.txt,b\n2.txt,a\n3.txt,b\n")
    texts = read(tmp_path / "t")
    assert texts.layout.kind == "text" and texts.target.tolist() == ["a", "b", "a", "b"]


def test_files_that_are_not_there_or_not_listed(tmp_path):
    make(tmp_path, NAMES)
    (tmp_path / "labels.csv").write_text("filename,label\na.csv,up\nb.csv,down\n")
    assert "2 other files are left out" in describe(read(tmp_path))
    (tmp_path / "labels.csv").write_text(
        "filename,label\na.csv,up\nb.csv,down\ne.csv,up\na.csv,down\n"
    )
    with pytest.raises(DataError) as error:
        read(tmp_path)
    assert "line 4, column filename: there is no file 'e.csv'" in str(error.value)
    assert "line 5, column filename: 'a.csv' is listed twice" in str(error.value)


def test_tables_that_name_no_files_are_sequences(tmp_path):
    make(tmp_path, ["up/labels.csv", "up/b.csv", "down/labels.csv", "down/b.csv"])
    assert sorted(read(tmp_path).target.tolist()) == ["down", "down", "up", "up"]
