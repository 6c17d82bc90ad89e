"""What a search varies: by default, from a file, and every fault of a file at once."""

import numpy as np
import pytest

from elman.errors import SettingsError
from elman.runs import tuning
from elman.runs.config import merge
from elman.runs.tuning.space import Range, check_ranges, default_ranges, make_ranges, read_ranges


def ranges_of(text, tmp_path):
    path = tmp_path / "space.toml"
    path.write_text(text)
    return make_ranges(read_ranges(path))


def work(files, name, **sections):
    settings = merge({"data": {"data": str(files / name)}}, sections)
    return tuning._Work.read(tuning.Search.of(settings, folds=2))


@pytest.mark.parametrize(
    ("name", "present", "absent"),
    [
        ("values.csv", {"noise", "learning_rate", "weight_decay"}, {"dropout"}),
        ("text.csv", {"dropout", "hidden_size", "cell"}, {"noise"}),
        ("tags.jsonl", {"dropout", "num_layers"}, {"noise"}),
    ],
)
def test_the_default_space_suits_the_data(files, name, present, absent):
    space = work(files, name).objective.space
    names = {one.name for one in space.ranges}
    assert present <= names and not absent & names and 5 <= len(names) <= 7
    given = work(files, name, training={"learning_rate": 0.01}).objective.space
    assert "learning_rate" not in {one.name for one in given.ranges}
    assert given.settings({}).training.learning_rate == 0.01


def test_a_file_of_ranges(tmp_path):
    made = ranges_of(
        "[model]\nnonlinearity = ['tanh', 'relu']\ncell = ['rnn', 'gru']\n"
        "hidden_size = { low = 4, high = 64, log = true }\nbidirectional = [true, false]\n"
        "[training]\nlearning_rate = { low = 1, high = 2 }\n"
        "label_smoothing = { low = 0.0, high = 0.2, step = 0.1 }\n",
        tmp_path,
    )
    assert made[-1].name == "nonlinearity"  # drawn after the cell that it depends on
    assert Range("training", "learning_rate", low=1.0, high=2.0) in made
    assert isinstance(made[3].low, float) and str(made[1]) == "hidden_size 4 to 64 (log)"
    assert str(made[-2]) == "label_smoothing 0 to 0.2 in steps of 0.1"


FAULTY = """\
[model]
hidden_size = { low = 64, high = 4 }
num_layers = { low = 0, high = 2 }
cell = ["gru", "gruu"]
dropout = 0.5
embeding_size = [8, 16]
bidirectional = { low = 0, high = 1 }
[training]
learning_rate = { low = 0.0, high = 1.0, log = true }
seed = [0, 1]
loss = ["huber", "absolute"]
weight_decay = { low = 0.1, hihg = 1.0 }
noise = { low = 0.1 }
batch_size = { low = 8, high = 64, step = 0.5 }
epochs = [5, 5]
warmup = { low = 0.1, high = 0.2, log = true, step = 0.1 }
[data]
target = ["a", "b"]
"""


def test_every_fault_of_a_file_is_told_with_its_line(tmp_path):
    with pytest.raises(SettingsError) as error:
        ranges_of(FAULTY, tmp_path)
    told = str(error.value).splitlines()
    for line, words in {
        2: "low 64 is not below high 4",
        3: "greater than or equal to 1",
        4: "'gruu'",
        5: "A single value is given as a flag",
        6: "Did you mean 'embedding_size'",
        7: "takes no numbers",
        9: "greater than 0",
        10: "the same for every trial",
        11: "changes the loss",
        12: "Did you mean 'high'",
        13: "lacks high",
        14: "step: got 0.5",
        15: "two or more different values",
        16: "exclude each other",
        18: "Give it as a flag",
    }.items():
        found = [text for text in told if f"line {line}:" in text]
        assert found and words in "\n".join(found), (line, words, told)
    assert all("line 8" not in text and "line 1:" not in text for text in told)


def test_an_empty_file_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="names no setting"):
        ranges_of("", tmp_path)


def test_ranges_that_mean_nothing_for_the_data(files):
    space = work(files, "values.csv").objective.space
    wrong = (
        Range("model", "embedding_size", low=8, high=16),
        Range("model", "nonlinearity", choices=("tanh", "relu")),
        Range("training", "epochs", low=2, high=4),
        Range("model", "static_to", choices=("readout", "state")),
    )
    base = merge({"data": {"data": "x"}, "training": {"epochs": 3}})
    with pytest.raises(SettingsError) as error:
        check_ranges(wrong, base, space.statistics)
    assert len(str(error.value).splitlines()) == 4
    assert "is given too, as 3" in str(error.value)
    everything = {r.name for r in default_ranges(merge({"data": {"data": "x"}}), space.statistics)}
    assert everything
    with pytest.raises(SettingsError, match="every setting that would vary is given"):
        check_ranges((), base, space.statistics)


def test_an_option_of_one_cell_is_drawn_with_that_cell_alone(files, tmp_path):
    """Else Optuna would learn from values that had no effect, or settings would be refused."""
    wanted = merge(
        {"data": {"data": str(files / "values.csv")}},
        {"model": {"hidden_size": 4}, "training": {"epochs": 1}},
    )
    content = {"model": {"cell": ["rnn", "gru"], "nonlinearity": ["tanh", "relu"]}}
    search = tuning.Search.of(wanted, space=content, trials=8, folds=2)
    plan = tuning._Work.read(search)
    made = tuning.Trials(tuning.open_store(tmp_path, "", "s"), "s", 8)
    made.make(plan.first, {})
    tuning.work(made, plan.objective)
    drawn = [trial.params for trial in made.list()]
    assert {p["cell"] for p in drawn} == {"rnn", "gru"}
    assert all(("nonlinearity" in p) == (p["cell"] == "rnn") for p in drawn)
    assert np.isfinite([t.value for t in made.list() if t.value is not None]).all()
