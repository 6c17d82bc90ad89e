"""Generated files of every layout, read in tiny pieces, are what `read` makes of the whole."""

import csv
import io
import json
import math
import random

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from test_streaming import check

from elman.data import read
from elman.errors import DataError

words = st.text(st.sampled_from('ab "\n,;é漢'), min_size=1, max_size=6).filter(
    lambda word: word.strip() == word
)
often = settings(
    max_examples=6,
    phases=[Phase.generate],  # each example writes and reads files: shrinking takes minutes
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
seldom = settings(often, max_examples=400)


@st.composite
def sequences(draw):
    """Steps of sequences with ids, times, two channels, a category, an age, labels."""
    rng = random.Random(draw(st.integers(0, 1 << 30)))
    count, found = draw(st.integers(8, 40)), []
    gaps = draw(st.sampled_from([0, 5, 30]))  # sequences before the first gap
    late = draw(st.integers(0, count))  # sequences before a rare label and a rare category
    for i in range(count):
        now, steps = rng.uniform(0, 9), []
        label = "rare" if i >= late and i % 4 == 0 else rng.choice(["up", "down"])
        for _ in range(rng.randint(1, 6)):
            now = round(now + rng.choice([0.5, 1.0, 3.0]), 3)
            steps.append(
                {
                    "id": f"s {i}" + '"' * (i % 5 == 0) + "\n" * (i % 7 == 0),
                    "t": now,
                    "x": None if i >= gaps and rng.random() < 0.2 else round(rng.gauss(0, 3), 3),
                    "y": round(rng.gauss(0, 3), 3),
                    "mode": rng.choice(["on", "off, or not", *(["late"] if i >= late else [])]),
                    "age": 20 + i % 9,
                    "site": f"site {i % 3}",
                    "label": label,
                    "tag": rng.choice(["A", "B", *(["C"] if i >= late else [])]),
                    "goal": round(rng.gauss(0, 3), 3),
                }
            )
        found.append(steps)
        if all(step["x"] is None for step in steps):
            steps[0]["x"] = 1.5
    return found


def to_csv(rows, delimiter, end, bom, last):
    """Rows as the text of a table, with the given line ends, byte order mark and last line end."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=delimiter, lineterminator=end)
    writer.writerow(rows[0])
    writer.writerows(["" if v is None else v for v in row.values()] for row in rows)
    text = stream.getvalue()
    return (b"\xef\xbb\xbf" if bom else b"") + (text if last else text.rstrip("\r\n")).encode()


forms = st.tuples(
    st.sampled_from(",;\t"), st.sampled_from(["\n", "\r\n"]), st.booleans(), st.booleans()
)
pieces = st.sampled_from([200, 450, 1500, 10_000])
# Named, because the tiny first pieces would suggest other roles than the whole files.
ROLES = {"id": "id", "values": "x,y", "time": "t", "group": "site"}
STEPS = [
    {"target": "label", "time_difference": False},
    {"target": "label", "time_difference": True, "static": "age"},
    {"target": "tag", "time_difference": False, "categories": "mode", "task": "tagging"},
    {"target": "goal", "time_difference": False, "task": "regression"},
    {"labelled": False, "time_difference": True, "static": "age,label"},
]


def files(folder, flat, form):
    """The same steps as a table of text, as objects, and in Parquet and Arrow files."""
    (folder / "x.csv").write_bytes(to_csv(flat, *form))
    lines = (json.dumps(row, ensure_ascii=False) for row in flat)
    (folder / "x.jsonl").write_text("\n".join(lines), encoding="utf-8")
    table = pa.Table.from_pylist(flat)
    pa.parquet.write_table(table, folder / "x.parquet", row_group_size=37)
    pa.feather.write_feather(table, folder / "x.arrow", chunksize=11)
    return ("x.csv", "x.jsonl", "x.parquet", "x.arrow")


def steps_of_sequences(tmp_path_factory, found, form, piece, roles):
    folder = tmp_path_factory.mktemp("steps")
    flat = [step for steps in found for step in steps]
    for name in files(folder, flat, form):
        reading = ROLES | roles
        check(folder / name, folder / f"of {name}", piece, **reading)


@often
@given(sequences(), forms, pieces, st.sampled_from(STEPS))
def test_steps(tmp_path_factory, found, form, piece, roles):
    steps_of_sequences(tmp_path_factory, found, form, piece, roles)


@pytest.mark.slow
@seldom
@given(sequences(), forms, pieces, st.sampled_from(STEPS))
def test_many_steps(tmp_path_factory, found, form, piece, roles):
    steps_of_sequences(tmp_path_factory, found, form, piece, roles)


ROWS = [
    {"values": "s0:s4", "target": "label"},
    {"values": "s0:s4", "target": "goal", "static": "age,site", "task": "regression"},
    {"text": "words", "target": "label", "group": "site"},
    {"text": "words", "target": "tags", "task": "multilabel"},
    {"values": "s0:s4", "labelled": False},
]


@st.composite
def rows(draw):
    """A sequence in each row: five numbers, some of them missing at the end, and a text."""
    rng = random.Random(draw(st.integers(0, 1 << 30)))
    count, found = draw(st.integers(8, 60)), []
    gaps, late = draw(st.sampled_from([0, 10, 50])), draw(st.integers(0, count))
    texts = draw(st.lists(words, min_size=1, max_size=8))
    for i in range(count):
        size = 5 if i < gaps else rng.randint(1, 5)
        steps = [round(rng.gauss(0, 1), 3) if k < size else None for k in range(5)]
        own = {f"s{k}": v for k, v in enumerate(steps)}
        label = "rare" if i >= late and i % 3 == 0 else rng.choice(["up", "down"])
        own |= {"words": f"{rng.choice(texts)} {i}", "age": i % 7 if i >= gaps else i % 5}
        own |= {"site": "ab"[i % 2], "label": label, "goal": round(rng.gauss(0, 1), 3)}
        own["tags"] = "|".join(["p", "q", "late"][: 1 + i % (3 if i >= late else 2)])
        found.append(own)
    return found


@often
@given(rows(), forms, pieces, st.sampled_from(ROWS))
def test_rows(tmp_path_factory, found, form, piece, roles):
    folder = tmp_path_factory.mktemp("rows")
    names = files(folder, found, form)
    for name in names if "text" not in roles else names[:1]:
        check(folder / name, folder / f"of {name}", piece, format="rows", **roles)


def in_lists(found):
    """An object for each sequence, with a list for each key of its steps."""
    once = ("id", "age", "site", "label")
    for steps in found:
        own = {key: steps[0][key] for key in once}
        own |= {key: [step[key] for step in steps] for key in steps[0] if key not in once}
        own["xy"] = [[step["x"], step["y"]] for step in steps]
        yield own


OBJECTS = [
    {"values": "xy", "target": "label", "static": "age,site"},
    {"values": "xy", "categories": "mode", "target": "tag"},
    {"text": "mode", "target": "tag"},
    {"values": "xy", "target": "goal", "task": "regression"},
    {"values": "y", "target": "age", "task": "regression", "group": "site"},
]


@often
@given(sequences(), pieces, st.sampled_from(OBJECTS))
def test_objects(tmp_path_factory, found, piece, roles):
    folder = tmp_path_factory.mktemp("objects")
    records = list(in_lists(found))
    lines = (json.dumps(row, ensure_ascii=False) for row in records)
    (folder / "x.jsonl").write_text("\r\n".join(lines), encoding="utf-8")
    pa.parquet.write_table(pa.Table.from_pylist(records), folder / "x.parquet", row_group_size=9)
    for name in ("x.jsonl", "x.parquet"):
        check(folder / name, folder / f"of {name}", piece, format="jsonl", **roles)


@often
@given(sequences(), pieces, st.integers(0, 1 << 30).map(random.Random))
def test_a_fault_has_the_line_that_it_has_in_the_whole_file(tmp_path_factory, found, piece, rng):
    folder = tmp_path_factory.mktemp("faults")
    flat = [step for steps in found for step in steps]
    row = rng.choice(flat)
    row[rng.choice(["x", "y"])] = "wrong"
    (folder / "x.csv").write_bytes(to_csv(flat, ",", "\n", False, True))
    with pytest.raises(DataError) as whole:
        read(folder / "x.csv", target="label", **ROLES)
    with pytest.raises(DataError) as some:
        check(folder / "x.csv", folder / "s", piece, target="label", **ROLES)
    assert (some.value.line, some.value.column) == (whole.value.line, whole.value.column)
    assert not math.isnan(whole.value.line)
