"""What a file's target is taken for: classes, several labels, or numbers; and its faults."""

import json

import numpy as np
import pytest

from elman.data import Ragged, describe, read
from elman.errors import DataError

STEPS = """id,t,x,total,wet,cold
a,0,0.5,0.5,1,0
a,1,0.5,1.0,1,0
b,0,0.25,0.25,0,1
b,1,0.5,0.75,0,1
b,2,1.5,2.25,0,1
"""


def write(tmp_path, text, name="data.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_fractions_are_numbers_and_whole_numbers_classes(tmp_path):
    rows = "y,a,b\n0.5,1,2\n1,2,3\n-2e1,3,4\n"
    found = read(write(tmp_path, rows), target="y", labelled=True)
    assert (found.task, found.layout.task) == ("regression", "regression")
    assert found.target.tolist() == [0.5, 1.0, -20.0]
    told = "--task regression: the target's numbers have fractions (likely)"
    assert told in [guess.line for guess in found.layout.guesses]
    assert "a number per sequence" in describe(found)
    whole = rows.replace("0.5", "5").replace("-2e1", "1")
    assert read(write(tmp_path, whole), target="y").task == "classification"
    asked = read(write(tmp_path, whole), target="y", task="regression")
    assert asked.target.tolist() == [5.0, 1.0, 1.0]
    again = read(write(tmp_path, whole), layout=found.layout, labelled=True)
    assert again.task == "regression"


def test_numbers_in_a_steps_file(tmp_path):
    path = write(tmp_path, STEPS)
    each = read(path, target="total", values="x")
    assert isinstance(each.target, Ragged)
    assert each.layout.per_step
    assert each.target[1].tolist() == [0.25, 0.75, 2.25]
    two = read(path, target="wet, cold", values="x", task="regression")
    assert two.target.tolist() == [[1, 0], [0, 1]]
    both = read(path, target="total,wet", values="x")
    assert both.task == "regression"
    assert both.target.values.shape == (5, 2)
    assert "2 numbers at every step" in describe(both)


def test_columns_of_0_and_1_are_labels(tmp_path):
    found = read(write(tmp_path, STEPS), target="wet,cold", values="x")
    assert found.target.tolist() == ["wet", "cold"]  # one 1 in every row: classes
    found = read(write(tmp_path, STEPS), target="wet,cold", values="x", task="multilabel")
    assert found.task == "multilabel"
    assert found.target.tolist() == [{"wet"}, {"cold"}]
    assert found.take(np.array([1])).target.tolist() == [{"cold"}]
    assert "any number of labels per sequence, 2 labels" in describe(found)


def test_several_labels_in_a_cell(tmp_path):
    text = "text,tags\nred big,big|red\nplain,\nold, old\n"
    found = read(write(tmp_path, text), target="tags", task="multilabel")
    assert found.target.tolist() == [{"big", "red"}, set(), {"old"}]
    again = read(write(tmp_path, text), layout=found.layout, labelled=True)
    assert again.target.tolist() == found.target.tolist()
    bare = read(write(tmp_path, "text\nred\n"), layout=found.layout)
    assert bare.target is None


def lines(tmp_path, *records):
    return write(tmp_path, "".join(json.dumps(r) + "\n" for r in records), "data.jsonl")


def test_json_lines(tmp_path):
    def target(task=None, **given):
        records = [
            {"sequence": [1, 2], **{k: v[0] for k, v in given.items()}},
            {"sequence": [3, 4, 5], **{k: v[1] for k, v in given.items()}},
        ]
        return read(lines(tmp_path, *records), task=task)

    assert target(target=[0.5, 2]).target.tolist() == [0.5, 2.0]
    assert target("regression", target=[3, 2]).target.tolist() == [3.0, 2.0]
    steps = target(target=[[0.5, 1], [1, 2, 3]])
    assert isinstance(steps.target, Ragged)
    assert steps.layout.per_step
    several = target(target=[[0.5, 1, 2, 4], [1, 2, 3, 5]])
    assert several.target.shape == (2, 4)
    sets = target("multilabel", labels=[["a", "b"], []])
    assert sets.target.tolist() == [{"a", "b"}, set()]
    assert target(label=[1, 2]).task == "classification"
    assert target(tags=[["a", "b"], ["a", "b", "c"]]).task == "tagging"


def test_ts_with_numbers(tmp_path):
    text = "@univariate true\n@targetLabel true\n@data\n1,2,3:0.5\n4,5,6:7\n"
    found = read(write(tmp_path, text, "data.ts"), labelled=True)
    assert found.task == "regression"
    assert found.target.tolist() == [0.5, 7.0]
    with pytest.raises(DataError, match="line 4: @targetLabel true: 'x' is not a number"):
        read(write(tmp_path, text.replace("0.5", "x"), "data.ts"))


def test_arrays_with_numbers(tmp_path):
    X = np.arange(24.0).reshape(3, 4, 2)
    for y, shape in (([0.5, 1, 2], (3,)), (np.full((3, 5), 0.5), (3, 5))):
        np.savez(tmp_path / "data.npz", X=X, y=np.array(y))
        found = read(tmp_path / "data.npz", labelled=True)
        assert found.task == "regression"
        assert found.target.shape == shape
    np.savez(tmp_path / "data.npz", X=X, y=np.full((3, 4), 0.5))
    assert isinstance(read(tmp_path / "data.npz").target, Ragged)
    np.savez(tmp_path / "data.npz", X=X, y=np.array([1, 2, 3]))
    assert read(tmp_path / "data.npz").task == "classification"
    assert read(tmp_path / "data.npz", task="regression").target.tolist() == [1, 2, 3]


ROWS = "y,a,b\n0.5,1,2\n1,2,3\n"
WIDE = "y,a,v1,v2\n0.5,1,2,3\n1,2,3,4\n"
FAULTS = [
    (ROWS.replace("0.5", "0.5x"), {"task": "regression"}, "line 2, column y"),
    (ROWS.replace("0.5", ""), {"task": "regression"}, "line 2, column y: the number is missing"),
    (ROWS.replace("0.5", "inf"), {"task": "regression"}, "line 2, column y"),
    (ROWS, {"task": "tagging"}, "the target holds numbers|one class per sequence"),
    (WIDE, {"task": "classification", "target": "y,a"}, "2 target columns, 'y', 'a', and they"),
    (WIDE, {"task": "multilabel", "target": "y,a"}, "line 2, column y: '0.5' says whether label"),
    (ROWS, {"target": "y,c"}, "there is no column 'y,c'"),
    (STEPS, {"target": "total", "task": "classification", "values": "x"}, "a class at every step"),
    (
        STEPS.replace("a,1,0.5,1.0,1,0", "a,1,0.5,1.0,0,0"),
        {"target": "wet,cold", "values": "x", "task": "multilabel"},
        "line 3, column wet,cold: label .* differs",
    ),
]


@pytest.mark.parametrize(("text", "options", "message"), FAULTS)
def test_faults_are_told_with_their_place(tmp_path, text, options, message):
    with pytest.raises(DataError, match=message):
        read(write(tmp_path, text), **{"target": "y", **options}, labelled=True)


JSON_FAULTS = [
    (["a", 1], {"task": "regression"}, "line 1: 'y' holds text"),
    ([[1, 2, 3, 4], [1]], {"task": "regression"}, "line 2: 'y' has 1 number, expected 4"),
    ([1.5, [1, 2]], {"task": "regression"}, "line 2: 'y' has 2 numbers, expected 1"),
    ([1.5, None], {"task": "regression"}, "line 2: 'y' holds null"),
    (["a", ["b"]], {"task": "multilabel"}, "line 1: 'y' is text .*, expected a list of labels"),
    ([["a"], [1]], {"task": "multilabel"}, "line 2: key 'y': the label is a whole number"),
]


@pytest.mark.parametrize(("values", "options", "message"), JSON_FAULTS)
def test_faults_of_json_lines(tmp_path, values, options, message):
    path = lines(tmp_path, *({"sequence": [1, 2], "y": v} for v in values))
    with pytest.raises(DataError, match=message):
        read(path, target="y", **options)
