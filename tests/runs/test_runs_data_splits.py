"""The parts of the data: apart from each other, alike in classes, and the same for a seed."""

import numpy as np
import pytest

from elman import DataError, SettingsError
from elman.data import Ragged
from elman.runs.data_splits import DataSplits, is_builtin, read_splits
from elman.runs.held_out import classes_of, labels_of
from elman.settings import DataSettings


def parts(files, name="text.csv", seed=0, **given) -> DataSplits:
    return read_splits(DataSettings(data=str(files / name), **{"validation": 0.1, **given}), seed)


def lines(part):
    return set(part.lines.tolist())


@pytest.mark.parametrize("name", ["text.csv", "values.csv", "tags.jsonl"])
def test_parts_do_not_overlap(files, name):
    found = parts(files, name)
    three = [lines(p) for p in (found.training, found.validation, found.test)]
    assert [len(p) for p in three] == [21, 3, 6]
    assert set.union(*three) == lines(found.whole)
    assert sum(map(len, three)) == 30
    assert lines(parts(files, name).test) == three[2]
    assert lines(parts(files, name, seed=1).test) != three[2]
    assert [n.split(":")[0] for n in found.notes[:3]] == [
        "test split",
        "validation split",
        "training split",
    ]


@pytest.mark.parametrize(
    ("name", "notes"),
    [
        ("text.csv", ["3 of the validation split's", "6 of the test split's"]),  # two texts in all
        ("tags.jsonl", ["3 of the validation split's", "6 of the test split's"]),
        ("values.csv", []),
    ],
)
def test_repeated_sequences_are_told(files, name, notes):
    found = parts(files, name).notes[3:]
    assert [note.split(" sequences")[0] for note in found] == notes
    assert all(
        note.endswith("also occur in the training split, so its metrics are too optimistic")
        for note in found
    )


def test_classes_are_alike(files):
    found = parts(files, test=0.4, validation=0.5)
    for part, size in ((found.training, 9), (found.validation, 9), (found.test, 12)):
        labels = labels_of(part).tolist()
        assert len(labels) == size
        assert abs(labels.count("yes") - labels.count("no")) <= 1


@pytest.mark.parametrize("seed", range(8))
def test_a_rare_tag_is_always_learnt(files, seed):
    """One sequence holds tag R. Chance may not put it where it can only be got wrong."""
    found = parts(files, "tags.jsonl", seed=seed)
    assert "R" in classes_of(found.training)
    assert isinstance(found.training.target, Ragged)


def test_files_of_ones_own(files, tmp_path):
    text = (files / "text.csv").read_text()
    (tmp_path / "t.csv").write_text(text)
    other = str(tmp_path / "t.csv")
    found = parts(files, test=other, validation=other)
    assert [len(p) for p in (found.training, found.validation, found.test)] == [30, 30, 30]
    found = parts(files, test=other, validation=0.0)
    assert found.validation is None
    found = parts(files, validation="test")
    assert found.validation is None  # the test split is monitored, which is no validation
    assert found.validation_source == "test"


def few(tmp_path, name, count):
    rows = ["text,label", *["a b,x"] * 10, *["c d,y"] * 10, *["e f,z"] * count]
    path = tmp_path / name
    path.write_text("\n".join(rows) + "\n")
    return str(path)


@pytest.mark.parametrize(
    ("given", "least"),
    [
        ({}, 2),  # so few are not drawn from for validation
        ({"validation": 0.1}, 3),
        ({"validation": "test"}, 2),
        ({"test": "whole.csv", "validation": 0.1}, 2),
        ({"test": "whole.csv", "validation": 0.0}, 1),
        ({"test": "whole.csv", "validation": "whole.csv"}, 1),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_a_class_must_reach_for_the_parts_that_are_drawn(tmp_path, given, least, seed):
    few(tmp_path, "whole.csv", 1)
    given = {k: str(tmp_path / v) if v == "whole.csv" else v for k, v in given.items()}
    enough = few(tmp_path, "enough.csv", least)
    found = read_splits(DataSettings(data=enough, **given), seed)
    assert classes_of(found.training) == {"x", "y", "z"}
    if least > 1:
        scarce = few(tmp_path, "scarce.csv", least - 1)
        with pytest.raises(DataError) as caught:
            read_splits(DataSettings(data=scarce, **given), seed)
        message = f"every class needs at least {least} sequences; 'z' has {least - 1}"
        assert str(caught.value).startswith(f"{scarce}, line 22, column label: {message}")


def test_unseen_classes_in_a_part(files, tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("text,label\na b,yes\nc d,maybe\ne,maybe\n")
    for name in ("test", "validation"):
        with pytest.raises(DataError) as caught:
            parts(files, **{name: str(path)})
        assert str(caught.value).startswith(
            f"{path}, line 3: classes that the training split does not have: 'maybe' (2 times)."
        )


def test_what_goes_wrong_before_anything_is_written(files):
    with pytest.raises(SettingsError, match=r"data: no file or task named.*digits"):
        read_splits(DataSettings(), 0)
    with pytest.raises(DataError, match=r"no such file or task: 'wavs'. Did you mean 'waves'\?"):
        read_splits(DataSettings(data="wavs"), 0)
    with pytest.raises(DataError, match=r"no such file\. Did you mean 'text\.csv'"):
        parts(files, "txt.csv")
    with pytest.raises(DataError, match="too few to hold out a test split"):
        parts(files, test=0.99)


@pytest.mark.parametrize(
    "given",
    [
        {"test": 0.3},
        {"test": "x.csv"},
        {"format": "rows"},
        {"target": "label"},
        {"text": "x"},
        {"values": "x"},
        {"id": "x"},
        {"time": "x"},
        {"validation": "x.csv"},
    ],
    ids=str,
)
def test_a_task_brings_its_own_parts(given):
    (name,) = given
    with pytest.raises(SettingsError, match=rf"^{name}: got .* but waves is a built-in task"):
        read_splits(DataSettings(data="waves", **given), 0)


def test_a_task_and_its_seed():
    first, again, other = (
        read_splits(DataSettings(data="waves", validation=0.1), s) for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.test.inputs.values, again.test.inputs.values)
    assert not np.array_equal(first.test.inputs.offsets, other.test.inputs.offsets)
    assert (len(first.training), len(first.validation), len(first.test)) == (720, 80, 200)


def test_a_task_of_numbers_has_parts_and_no_classes():
    parts = read_splits(DataSettings(data="adding:T=5,train=40,test=10", validation=0.2), 0)
    assert (len(parts.training), len(parts.validation), len(parts.test)) == (32, 8, 10)
    assert parts.training.task == "regression"
    with pytest.raises(
        SettingsError, match="task: got 'classification', but the target of adding:T=5 is numbers"
    ):
        read_splits(DataSettings(data="adding:T=5", task="classification"), 0)


def test_a_file_goes_before_a_task_and_a_folder_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_builtin("waves")
    (tmp_path / "waves").mkdir()  # a run called waves, say
    assert is_builtin("waves")
    (tmp_path / "digits").write_text("")
    assert not is_builtin("digits")
    assert not is_builtin("waves.csv")
    assert is_builtin("waves:train=10")
    (tmp_path / "waves:train=10").write_text("")
    assert not is_builtin("waves:train=10")


def test_a_gap_that_only_the_test_file_has_is_refused(tmp_path):
    (tmp_path / "train.csv").write_text("label,a,b,c\n" + "x,1,2,3\ny,4,5,6\n" * 6)
    (tmp_path / "test.csv").write_text("label,a,b,c\nx,1,2,3\ny,4,,6\n")
    with pytest.raises(DataError, match=r"test\.csv, line 3, column b: step 2 .* no gaps in the"):
        parts(tmp_path, "train.csv", test=str(tmp_path / "test.csv"))
    (tmp_path / "train.csv").write_text("label,a,b,c\n" + "x,1,2,3\ny,4,5,6\n" * 6 + "x,1,,3\n")
    found = parts(tmp_path, "train.csv", test=str(tmp_path / "test.csv"))
    assert np.isnan(found.training.inputs.values).any()
