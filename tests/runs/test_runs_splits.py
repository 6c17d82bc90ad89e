"""Ways to split and windows, from settings to the predictions of a trained model."""

import csv

import numpy as np
import pytest

from elman import DataError, SettingsError
from elman.runs.config import merge
from elman.runs.data_splits import read_splits
from elman.runs.evaluation import evaluate, predict
from elman.runs.experiment import run
from elman.settings import DataSettings
from elman.validation import validate_settings


@pytest.fixture
def walks(tmp_path):
    """24 walks of 8 people, starting later and later; 5 to 12 steps."""
    rng = np.random.default_rng(0)
    rows = ["walk,person,second,x,label"]
    for i in range(24):
        rows += [
            f"w{i},p{i % 8},{1000 * (24 - i) + t},{rng.normal(i % 2):.3f},{'ab'[i % 2]}"
            for t in range(5 + i % 8)
        ]
    path = tmp_path / "walks.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def parts(path, **given):
    own = {"id": "walk", "time": "second", "values": "x", "target": "label"}
    return read_splits(validate_settings(DataSettings, {"data": str(path), **own, **given}), 0)


def test_by_group(walks):
    found = parts(walks, group="person", test=0.25, validation=0.3)
    people = [set(p.groups) for p in (found.training, found.validation, found.test)]
    assert all(people) and len(set.union(*people)) == sum(map(len, people)) == 8
    assert "2 of 8 groups by person); --test" in found.notes[0]
    assert found.whole.layout.values == ("x",)


def test_by_time(walks):
    found = parts(walks, split="time", test=0.25, validation=0.25)
    assert found.training.starts.max() < found.validation.starts.min()
    assert found.validation.starts.max() < found.test.starts.min()
    assert set(found.test.ids) == {f"w{i}" for i in range(6)}
    assert "held out (25%, the last by time); --test" in found.notes[0]


def test_by_the_order_of_the_file(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(f"word{i},{'ab'[i % 2]}\n" for i in range(20)))
    found = read_splits(DataSettings(data=str(path), split="time"), 0)
    assert found.test.lines.tolist() == [18, 19, 20, 21]
    assert "the last in the order of the file" in found.notes[0]


def test_at_random_keeps_every_class_in_the_training_part(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "text,label\n" + "".join(f"word{i},{'ab'[i % 2]}\n" for i in range(20)) + "w,c\n"
    )
    with pytest.raises(DataError, match="'c' has 1"):
        read_splits(DataSettings(data=str(path)), 0)
    for seed in range(5):
        found = read_splits(DataSettings(data=str(path), split="random"), seed)
        assert "c" in found.training.target and "at random" in found.notes[0]


def test_equal_sequences_stay_together(files):
    with pytest.raises(DataError, match="2 groups cannot be divided"):  # two texts, a class each
        read_splits(DataSettings(data=str(files / "text.csv"), group="content"), 0)
    found = read_splits(DataSettings(data=str(files / "values.csv"), group="content"), 0)
    assert "6 of 30 groups by content" in found.notes[0]


def test_equal_sequences_of_one_side(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "text,label\n" + "".join(f"word{i // 3},{'ab'[i // 3 % 2]}\n" for i in range(60))
    )
    assert any(
        "also occur in the training split" in n
        for n in read_splits(DataSettings(str(path)), 0).notes
    )
    found = read_splits(DataSettings(str(path), group="content"), 0)
    assert not any("also occur in the training split" in note for note in found.notes)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"split": "group"}, "split: got 'group', but no group"),
        ({"split": "time", "group": "person"}, "split 'time' does not use groups"),
        ({"stride": 3}, "stride: got 3, but no window"),
        ({"window": 0}, "window: got 0, expected"),
    ],
)
def test_settings_that_do_not_go_together(walks, given, message):
    with pytest.raises(SettingsError, match=message):
        parts(walks, **given)


def test_nothing_drawn(walks):
    with pytest.raises(SettingsError, match="files are named for both splits"):
        parts(walks, test=str(walks), validation=0, group="person")
    with pytest.raises(SettingsError, match="window: got 5, but waves is a built-in task"):
        read_splits(DataSettings(data="waves", window=5), 0)
    held = DataSettings(data="waves", group="content", validation=0.1)
    assert "by content" in read_splits(held, 0).notes[1]


def test_windows_of_one_walk_stay_in_one_part(walks):
    found = parts(walks, window=4, stride=2, group="person", test=0.25, validation=0.1)
    people = [set(p.groups) for p in (found.training, found.validation, found.test)]
    assert len(set.union(*people)) == sum(map(len, people))
    assert all(p.inputs.lengths.tolist() == [4] * len(p) for p in (found.training, found.test))
    assert (found.whole.layout.window, found.whole.layout.stride) == (4, 2)
    assert sum(" windows of 4 steps, stride 2" in note for note in found.notes) == 3


@pytest.mark.parametrize("every", [False, True])
def test_a_model_trained_on_windows_cuts_again(walks, tmp_path, every):
    if every:  # a label at every step
        lines = walks.read_text().splitlines()
        changed = [f"{x[:-1]}{'ab'[float(x.split(',')[3]) > 0.5]}" for x in lines[1:]]
        walks.write_text("\n".join([lines[0], *changed]) + "\n")
    data = {"data": str(walks), "id": "walk", "time": "second", "values": "x", "target": "label"}
    settings = merge(
        {
            "data": {**data, "group": "person", "window": 4, "validation": 0},
            "model": {"hidden_size": 4},
            "training": {"epochs": 1},
            "report": {"diagnostics": False},
        }
    )
    run(settings, out=tmp_path / "run", verbose=0, echo=lambda text: None)
    predictions, notes = predict(tmp_path / "run", str(walks), {})
    count, rows = len(predictions), list(csv.DictReader(predictions.to_csv().splitlines()))
    expected = sum((5 + i % 8) // 4 for i in range(24))
    assert count == expected and f"24 sequences became {expected} windows of 4 steps" in notes[0]
    names = list(dict.fromkeys(row["sequence"] for row in rows))
    assert names[:2] == ["w0 window 1 from step 1", "w1 window 1 from step 1"]
    assert "w3 window 2 from step 5" in names and len(names) == expected
    _, _, notes = evaluate(tmp_path / "run", str(walks), {}, tmp_path / "out", False)
    assert f"became {expected} windows" in notes[0]
