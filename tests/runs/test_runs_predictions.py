"""Predictions as tables and records, and the files they are written to."""

import csv
import io
import json

import numpy as np
import pyarrow.feather
import pyarrow.parquet
import pytest
from faults import Faults

from elman.data import Ragged
from elman.errors import SettingsError, WriteError
from elman.runs.prediction_files import (
    FORMATS,
    conll_pieces,
    prediction_format,
    write_predictions,
)
from elman.runs.predictions import Predictions


def rows(text, delimiter=","):
    return list(csv.reader(io.StringIO(text), delimiter=delimiter))


def objects(values):
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


STEPS = Ragged.from_list([np.array(["a", "b"]), np.array(["c"])], object)
TAGS = Ragged.from_list([["X", "Y"], ["X"]], object)
P_STEPS = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])


def tagged(**options):
    return Predictions("classification", ["X", "Y"], P_STEPS, ["s1", "s2"], steps=STEPS, **options)


def test_a_table_of_classes():
    odd = ["true", "ja, nein", 'say "x"', "日\n本"]
    p = np.array([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1]])
    predictions = Predictions(
        "classification", odd, p, ["line 2", "s,1"], objects(odd[:2]), groups=["g1", "g2"]
    )
    header, first, second = rows(predictions.to_csv())
    expected = ["sequence", "group", "true", "predicted", "probability", *(f"p({c})" for c in odd)]
    assert header == expected
    assert first[:5] == ["line 2", "g1", "true", odd[3], "0.400000"]
    assert first[5:] == ["0.100000", "0.200000", "0.300000", "0.400000"]
    assert second[:5] == ["s,1", "g2", "ja, nein", "true", "0.700000"]
    header, first, _ = rows(Predictions("classification", odd, p, [0, 1]).to_csv())
    assert header[:3] == ["sequence", "predicted", "probability"]
    assert first[0] == "0"


def test_a_table_of_steps_counts_them_from_1():
    assert rows(tagged(true=TAGS).to_csv()) == [
        ["sequence", "step", "token", "true", "predicted", "probability"],
        ["s1", "1", "a", "X", "X", "0.900000"],
        ["s1", "2", "b", "Y", "Y", "0.800000"],
        ["s2", "1", "c", "X", "X", "0.600000"],
    ]
    numbers = Ragged(np.zeros((3, 2)), STEPS.offsets)
    found = rows(Predictions("classification", ["X", "Y"], P_STEPS, [0, 1], steps=numbers).to_csv())
    assert found[:2] == [
        ["sequence", "step", "predicted", "probability"],
        ["0", "1", "X", "0.900000"],
    ]


def test_a_record_of_classes_labels_and_numbers():
    p = np.array([[0.25, 0.75]])
    one = Predictions("classification", ["x", "y"], p, ["m"], objects(["x"]), groups=["g"])
    assert list(one.records()) == [
        {
            "sequence": "m",
            "group": "g",
            "true": "x",
            "predicted": "y",
            "probability": 0.75,
            "probabilities": {"x": 0.25, "y": 0.75},
        }
    ]
    several = Predictions("multilabel", ["x", "y"], p, ["m"], objects([frozenset("yx")]))
    assert list(several.records()) == [
        {
            "sequence": "m",
            "true": ["x", "y"],
            "predicted": ["y"],
            "probabilities": {"x": 0.25, "y": 0.75},
        }
    ]
    single = Predictions("regression", ["kg"], np.array([[0.1 + 0.2]]), ["m"], np.array([1.5]))
    assert list(single.records()) == [{"sequence": "m", "true": 1.5, "predicted": 0.3}]
    two = Predictions("regression", ["kg", "m"], np.array([[1.0, 2.0]]), ["m"])
    assert list(two.records()) == [{"sequence": "m", "predicted": {"kg": 1.0, "m": 2.0}}]


def test_a_record_of_numbers_at_every_step():
    steps = Ragged(np.zeros((3, 1)), STEPS.offsets)
    true = Ragged(np.array([1.0, np.nan, 3.0]), STEPS.offsets)
    values = np.array([[1.0], [2.0], [3.0]])
    first, second = Predictions("regression", ["y"], values, [0, 1], true, steps).records()
    assert first == {"sequence": 0, "true": [1.0, None], "predicted": [1.0, 2.0]}
    assert second == {"sequence": 1, "true": [3.0], "predicted": [3.0]}
    two = Predictions("regression", ["a", "b"], np.hstack([values, -values]), [0, 1], None, steps)
    assert next(two.records())["predicted"] == {"a": [1.0, 2.0], "b": [-1.0, -2.0]}


def test_a_record_of_tags_has_spans():
    first, second = tagged(true=TAGS).records()
    assert first["tokens"] == ["a", "b"]
    assert first["predicted"] == ["X", "Y"]
    assert first["probability"] == [0.9, 0.8]
    assert (
        first["spans"]
        == first["true_spans"]
        == [
            {"start": 1, "end": 1, "label": "X", "tokens": ["a"]},
            {"start": 2, "end": 2, "label": "Y", "tokens": ["b"]},
        ]
    )
    assert second["spans"][0]["start"] == 1


def test_entities_are_spans_with_characters_of_the_text():
    classes = ["B-city", "I-city", "O"]
    text = "Von New York  nach Rom."
    words = ["von", "new", "york", "nach", "rom", "."]
    tags = ["O", "B-city", "I-city", "O", "B-city", "O"]
    p = np.array([[float(tag == name) for name in classes] for tag in tags])
    steps = Ragged.from_list([words], object)
    (record,) = Predictions(
        "classification", classes, p, ["m"], steps=steps, texts=[text], unit="words"
    ).records()
    assert record["spans"] == [
        {
            "start": 2,
            "end": 3,
            "label": "city",
            "tokens": ["new", "york"],
            "start_char": 4,
            "end_char": 12,
        },
        {
            "start": 5,
            "end": 5,
            "label": "city",
            "tokens": ["rom"],
            "start_char": 19,
            "end_char": 22,
        },
    ]
    assert [text[s["start_char"] : s["end_char"]] for s in record["spans"]] == ["New York", "Rom"]


def read_back(path):
    kind = path.suffix
    if kind in (".csv", ".tsv", ".tab"):
        return rows(path.read_text(encoding="utf-8"), "," if kind == ".csv" else "\t")
    if kind in (".jsonl", ".ndjson"):
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if kind in (".parquet", ".pq"):
        return pyarrow.parquet.read_table(path, partitioning=None)
    if kind in (".conll", ".iob", ".iob2", ".bio", ".bioes"):
        return path.read_text(encoding="utf-8")
    return pyarrow.feather.read_table(path)


def test_every_ending_holds_what_it_says(tmp_path):
    predictions = tagged(true=TAGS, groups=["g", "h"])
    for ending in (e for f in FORMATS for e in f.endings):
        path = tmp_path / f"p{ending.upper() if ending == '.csv' else ending}"
        write_predictions([predictions], path, prediction_format(path, False))
        found = read_back(path.rename(path.with_suffix(ending)) if ending == ".csv" else path)
        if isinstance(found, pyarrow.Table):
            assert found.column("step").to_pylist() == [1, 2, 1]
            assert found.column("probability").to_pylist() == [0.9, 0.8, 0.6]
            assert found.column("group").to_pylist() == ["g", "g", "h"]
        elif isinstance(found, str):
            blocks = "# sent_id = s1\na\tX\tX\nb\tY\tY\n\n# sent_id = s2\nc\tX\tX\n\n"
            assert found == blocks
        elif isinstance(found[0], dict):
            assert [record["sequence"] for record in found] == ["s1", "s2"]
        else:
            assert found[1] == ["s1", "g", "1", "a", "X", "X", "0.900000"]
    assert not list(tmp_path.glob(".*"))


def test_conll_holds_a_tag_for_each_token(tmp_path):
    assert "".join(conll_pieces(tagged())).splitlines()[:3] == ["# sent_id = s1", "a\tX", "b\tY"]
    numbered = Predictions("classification", ["X", "Y"], P_STEPS, ["1", "2"], steps=STEPS)
    assert "".join(conll_pieces(numbered)) == "a\tX\nb\tY\n\nc\tX\n\n"
    path = tmp_path / "p.conll"
    predictions = Predictions("multilabel", ["x", "y"], np.array([[0.1, 0.2]]), ["m"])
    with pytest.raises(SettingsError, match="hold one tag per token"):
        write_predictions([predictions], path, prediction_format(path, False))
    assert not list(tmp_path.iterdir())


def test_labels_in_parquet_are_lists(tmp_path):
    path = tmp_path / "p.parquet"
    predictions = Predictions("multilabel", ["x", "y"], np.array([[0.1, 0.2]]), ["m"])
    write_predictions([predictions], path, prediction_format(path, False))
    table = read_back(path)
    assert table.column("predicted").to_pylist() == [[]]
    assert str(table.schema.field("predicted").type).startswith("list")
    assert table.column("p(y)").to_pylist() == [0.2]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "p.xlsx",
            r"the ending '.xlsx' is not a format for predictions; expected CSV \(.csv\), TSV",
        ),
        ("p.json", "Did you mean '.jsonl'"),
        ("p.csv.gz", "the ending '.gz'"),
        ("p", "a name without an ending"),
        ("no/p.csv", "there is no folder no"),
        ("there.csv", "exists already"),
        ("folder", "is a folder"),
    ],
)
def test_a_file_that_cannot_be_written(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.csv").write_text("old")
    (tmp_path / "folder").mkdir()
    with pytest.raises(SettingsError, match=message):
        prediction_format(type(tmp_path)(name), False)


def test_a_full_disk_keeps_the_old_file(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("old")
    with Faults() as faults:
        write_predictions([tagged()], path, prediction_format(path, True))
    path.write_text("old")
    at = faults.calls.index("write") + 1
    message = r"p\.csv: could not be written: no space left .* Free some space.* --out"
    with Faults(at, "ENOSPC"), pytest.raises(WriteError, match=message):
        write_predictions([tagged()], path, prediction_format(path, True))
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_name_that_no_file_can_have_is_refused_before_the_work(tmp_path):
    with pytest.raises(WriteError, match="name is too long"):
        prediction_format(tmp_path / f"{'x' * 300}.csv", False)


SMALL = 7  # values of a piece


def many(kind, first=0, count=9):
    """Predictions of one kind, for sequences from `first` on."""
    index = np.arange(first, first + count)
    names = [f"s{i}" for i in index.tolist()]
    p = np.stack([index / 20, 1 - index / 20], 1)
    if kind == "classes":
        true = objects(["X" if i % 3 else "Y" for i in index.tolist()])
        return Predictions("classification", ["X", "Y"], p, names, true, groups=names)
    if kind == "labels":
        true = objects([frozenset("XY"[: i % 3]) for i in index.tolist()])
        return Predictions("multilabel", ["X", "Y"], p, names, true)
    if kind == "numbers":
        return Predictions("regression", ["kg", "m"], p, names, np.where(p < 0.2, np.nan, p))
    lengths = index % 4 + 1
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    steps = np.repeat(p, lengths, axis=0)
    if kind == "tags":
        tokens = objects([f"t{i}" for i in np.repeat(index, lengths).tolist()])
        # The first ten sequences have no label at all.
        tags = objects([None if i < 10 else "X" for i in np.repeat(index, lengths).tolist()])
        true, inputs = Ragged(tags, offsets), Ragged(tokens, offsets)
        return Predictions("classification", ["X", "Y"], steps, names, true, inputs)
    true = Ragged(np.where(steps[:, 0] < 0.5, np.nan, steps[:, 0]), offsets)
    inputs = Ragged(np.zeros((len(steps), 1)), offsets)
    return Predictions("regression", ["kg"], steps[:, :1], names, true, inputs)


@pytest.mark.parametrize("name", ["p.csv", "p.tsv", "p.jsonl", "p.conll", "p.parquet", "p.arrow"])
@pytest.mark.parametrize("kind", ["classes", "labels", "numbers", "tags", "numbers at steps"])
def test_a_file_in_pieces_is_that_of_the_whole(tmp_path, monkeypatch, name, kind):
    if name == "p.conll" and kind != "tags":
        return
    whole, pieces = tmp_path / name, tmp_path / f"pieces-{name}"
    file_format = prediction_format(whole, False)
    write_predictions([many(kind, 0, 20)], whole, file_format)
    monkeypatch.setattr("elman.runs.predictions.CELLS", SMALL)
    monkeypatch.setattr("elman.runs.prediction_files._GROUP", 50)
    parts = ((0, 9), (9, 1), (10, 10))
    write_predictions((many(kind, *part) for part in parts), pieces, file_format)
    if name.endswith((".parquet", ".arrow")):
        assert read_back(pieces).equals(read_back(whole))
        if name == "p.parquet":
            assert pyarrow.parquet.ParquetFile(pieces).num_row_groups > 3
    else:
        assert pieces.read_text() == whole.read_text()


def test_a_fault_while_the_parts_are_made_leaves_no_file(tmp_path):
    def parts():
        yield many("classes")
        raise ValueError("of the second part")

    with pytest.raises(ValueError, match="of the second part"):
        write_predictions(parts(), tmp_path / "p.csv")
    assert not list(tmp_path.iterdir())
