"""A file read in pieces is the file read as a whole: CSV, JSON lines, Parquet and Arrow."""

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest
from same_data import assert_same

from elman.data import read
from elman.data.streaming import read_stored

TINY = 300  # bytes of a piece: a few rows


def stored(path, folder, piece=TINY, **reading):
    """A file read in pieces, and everything of it in memory."""
    folder.mkdir(exist_ok=True)
    form = reading.pop("format", None)
    layout = reading.pop("layout", None)
    data = read_stored(path, folder, reading, form=form, layout=layout, piece=piece, block=2000)
    return data, data.take(np.arange(len(data)))


def check(path, folder, piece=TINY, **reading):
    """Assert that a file in pieces is the whole file, and its layout, too."""
    data, got = stored(path, folder, piece, **reading)
    expected = read(path, **reading)
    assert_same(got, expected)
    same = dict.fromkeys(("guesses", "notes"), ())
    assert dataclasses.replace(data.layout, **same) == dataclasses.replace(expected.layout, **same)
    return data


def write(path, lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def steps(n=60, seed=0, gaps=True, label="class"):
    """Rows of steps: uneven times, two channels, a category, a static feature and a label."""
    rng = np.random.default_rng(seed)
    lines = ["id,time,temp,load,valve,age,label"]
    for i in range(n):
        now = 0.0
        for k in range(int(rng.integers(2, 7))):
            now += float(rng.choice([0.5, 1.0, 2.25]))
            temp = "" if gaps and k == 1 and i % 4 == 0 else f"{rng.normal(20, 3):.3f}"
            own = {"class": "ab"[i % 2], "tag": "xyz"[(i + k) % 3], "number": f"{rng.normal():.4f}"}
            row = [f"s{i}", f"{now}", temp, f"{rng.normal():.3f}", "open" if k % 2 else "shut"]
            lines.append(",".join([*row, str(20 + i % 50), own[label]]))
    return lines


STEPS = {"categories": "valve", "static": "age"}


@pytest.mark.parametrize("label", ["class", "tag", "number"])
def test_steps_of_sequences_that_cross_pieces(tmp_path, label):
    path = write(tmp_path / "x.csv", steps(label=label))
    data = check(path, tmp_path / "s", **STEPS)
    assert len(data) == 60
    assert data.layout.time_difference


@pytest.mark.parametrize("piece", [120, 300, 1000, 1 << 20])
def test_rows_of_series_and_texts(tmp_path, piece):
    rng = np.random.default_rng(1)
    rows = [[f"{v:.2f}" for v in rng.normal(size=8)] for _ in range(80)]
    lines = [
        ",".join([*row[: 8 - i % 3], *[""] * (i % 3), "ab"[i % 2]]) for i, row in enumerate(rows)
    ]
    names = ",".join([*(f"t{i}" for i in range(8)), "label"])
    check(write(tmp_path / "wide.csv", [names, *lines]), tmp_path / "a", piece)
    texts = [
        f'"text {i} with ""quotes"",\nand a second line\n",{"yes" if i % 3 else "no"}'
        for i in range(90)
    ]
    check(write(tmp_path / "text.csv", ["text,label", *texts]), tmp_path / "b", piece)


def objects(n=70):
    """Objects with tokens, numbers of two channels, categories and a label."""
    rng = np.random.default_rng(2)
    for i in range(n):
        size = int(rng.integers(1, 6))
        yield {
            "tokens": [f"w{int(k)}" for k in rng.integers(0, 30 + i, size)],
            "x": [
                [None if k == 1 and i > 50 else float(f"{v:.3f}") for v in rng.normal(size=2)]
                for k in range(size)
            ],
            "mode": [("on", "off", None)[(i + k) % 3] for k in range(size)],
            "age": i % 9 if i % 5 else None,
            "tags": [("A", "B", "late" if i > 60 else "A")[(i + k) % 3] for k in range(size)],
            "many": ["p", "q", "r"][: i % 4],
            "y": float(f"{rng.normal():.3f}"),
            "text": f"a text äöü {i}",
            "label": "ab"[i % 2],
        }


JSON = {
    "tokens": {"text": "tokens", "target": "label"},
    "tags": {"text": "tokens", "target": "tags"},
    "numbers": {"values": "x", "target": "label"},
    "regression": {"values": "x", "target": "y", "static": "age"},
    "sets": {"text": "text", "target": "many", "task": "multilabel"},
    "mixed": {"values": "x", "categories": "mode", "target": "tags"},
    "unlabelled": {"text": "text", "labelled": False},
}


@pytest.mark.parametrize("case", JSON)
def test_objects(tmp_path, case):
    path = write(tmp_path / "x.jsonl", [json.dumps(o, ensure_ascii=False) for o in objects()])
    assert len(check(path, tmp_path / "s", 700, **JSON[case])) == 70


def tables(path):
    """The same rows as CSV, JSON lines, Parquet in one and in many groups, and Arrow."""
    table = pa.csv.read_csv(write(path / "x.csv", steps()))
    table = table.append_column("tag", pa.array([f"t{i % 5}" for i in range(len(table))]))
    write(path / "x.jsonl", list(map(json.dumps, table.to_pylist())))
    pa.parquet.write_table(table, path / "one.parquet")
    pa.parquet.write_table(table, path / "many.parquet", row_group_size=7)
    pa.feather.write_feather(table, path / "x.feather", chunksize=11)
    with pa.ipc.new_file(path / "x.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=9)
    with pa.ipc.new_stream(path / "s.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=8)


@pytest.mark.parametrize(
    "name", ["x.jsonl", "one.parquet", "many.parquet", "x.feather", "x.arrow", "s.arrow"]
)
def test_rows_of_steps_in_every_kind_of_file(tmp_path, name):
    tables(tmp_path)
    check(tmp_path / name, tmp_path / "s", 900, **STEPS, target="label", values="temp,load")
    check(tmp_path / name, tmp_path / "t", 900, target="tag", values="temp,load")


def test_lists_in_parquet(tmp_path):
    rows = [{k: o[k] for k in ("tokens", "x", "label", "tags")} for o in objects()]
    table = pa.Table.from_pylist(rows)
    pa.parquet.write_table(table, tmp_path / "x.parquet")
    for i, case in enumerate(("tokens", "tags", "numbers")):
        check(tmp_path / "x.parquet", tmp_path / str(i), 900, **JSON[case])
