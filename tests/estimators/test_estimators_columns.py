"""A fitted estimator knows the columns of its data: names, units, categories, from every door."""

import json

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

from elman import DataError, SequenceClassifier, SettingsError, ShapeError, load
from elman.data.units import unit_of
from elman.errors import KindError
from elman.explain import attribute, trace
from elman.explain.network import read_sequence
from elman.runs.config import RunSettings
from elman.runs.experiment import run
from elman.settings import DataSettings, ModelSettings, ReportSettings, TrainingSettings

pandas = pytest.importorskip("pandas")
pyarrow = pytest.importorskip("pyarrow")

SMALL = {"hidden_size": 4, "epochs": 1, "batch_size": 8, "random_state": 0}
NAMES = ("temp [°C]", "vibration", "mode")


def machines(count=12, steps=5, seed=0):
    """A long frame: a row a step, two numbers and a category a step, a label a machine."""
    rng = np.random.default_rng(seed)
    size = count * steps
    owner = np.repeat(np.arange(count), steps)
    return pandas.DataFrame(
        {
            "machine": [f"M{400 + i}" for i in owner],
            "t": np.tile(np.arange(steps), count),
            "temp [°C]": rng.normal(20, 3, size).round(3),
            "vibration": (rng.normal(size=size) + 2 * (owner % 2)).round(3),
            "mode": rng.choice(["idle", "run"], size),
            "label": np.where(owner % 2, "bad", "ok"),
        }
    )


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("temp [°C]", "°C"),
        ("load [%]", "%"),
        ("time (s)", "s"),
        ("acceleration (m/s²)", "m/s²"),
        ("pressure_kPa", "kPa"),
        ("flow [l/min]", "l/min"),
        ("acc (left)", None),
        ("acc_x", None),
        ("x[1]", None),
        ("time_s", None),
        ("heart_min", None),
    ],
)
def test_units_in_names(name, unit):
    assert unit_of(name) == unit


def assert_knows_machines(model):
    columns = model.columns_
    assert columns.names == NAMES
    assert columns.units == ("°C", None, None)
    assert columns.category_values[:2] == ((), ())
    assert sorted(columns.category_values[2]) == ["idle", "run"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a run on the file m.csv of machines, its folder and the file."""
    folder = tmp_path_factory.mktemp("machines")
    machines().to_csv(folder / "m.csv", index=False)
    settings = RunSettings(
        DataSettings(data=str(folder / "m.csv"), id="machine", target="label"),
        ModelSettings(hidden_size=4),
        TrainingSettings(epochs=1),
        ReportSettings(diagnostics=False),
    )
    run(settings, out=folder / "run", verbose=0, echo=lambda text: None)
    return load(folder / "run"), folder


def test_the_command_keeps_the_columns_of_its_file(trained):
    model, folder = trained
    saved = json.loads((folder / "run" / "model" / "config.json").read_text())["columns"]
    assert saved["names"] == list(NAMES)
    assert saved["units"] == ["°C", None, None]
    assert_knows_machines(model)
    assert model.layout_.id == "machine"


def test_channels_are_matched_by_name(trained):
    model, _ = trained
    parts = [part for _, part in machines().groupby("machine", sort=False)]
    given = model.predict_proba([part[list(NAMES)] for part in parts])
    arrow = [pyarrow.Table.from_pandas(p[list(NAMES[::-1])], preserve_index=False) for p in parts]
    for X in (
        [part[list(NAMES[::-1])] for part in parts],
        [part[list(NAMES[:: -1 if i % 2 else 1])] for i, part in enumerate(parts)],
        parts,  # with the id, the time and the label, which the training file had
        arrow,
        [part[list(NAMES)].to_numpy() for part in parts],
        [part.assign(mode=part["mode"].astype("category")) for part in parts],
        [part.assign(mode=part["mode"] + " ") for part in parts],
    ):
        np.testing.assert_array_equal(model.predict_proba(X), given)


def test_frames_in_another_order_train_the_same_network():
    parts = [part[list(NAMES)] for _, part in machines().groupby("machine", sort=False)]
    mixed = [part[list(NAMES[:: -1 if i % 2 else 1])] for i, part in enumerate(parts)]
    y = ["ok", "bad"] * 6
    one = SequenceClassifier(**SMALL).fit(parts, y)
    other = SequenceClassifier(**SMALL).fit(mixed, y, validation_data=None)
    np.testing.assert_array_equal(one.predict_proba(parts), other.predict_proba(parts))
    validated = SequenceClassifier(**SMALL).fit(parts, y, validation_data=(mixed, y))
    assert validated.history_.epochs[0].validation_loss is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.drop(columns="vibration"), "sequence 0: there is no column 'vibration'"),
        (
            lambda p: p.rename(columns={"vibration": "Vib"}),
            "there is no column 'vibration'.*Did you mean 'Vib'",
        ),
        (
            lambda p: p.assign(temp=1.0),
            r"column 'temp' was not in the training data.*Did you mean 'temp \[°C\]'\? Leave",
        ),
        (
            lambda p: p.assign(vibration="n/a"),
            "step 1, column 'vibration' is 'n/a', expected a num",
        ),
    ],
)
def test_other_columns_are_refused(trained, change, message):
    model, _ = trained
    parts = [change(part) for _, part in machines().groupby("machine", sort=False)]
    with pytest.raises((ShapeError, DataError), match=message):
        model.predict(parts)


def test_columns_that_are_numbers_are_no_names(trained):
    model, _ = trained
    parts = [part[list(NAMES)] for _, part in machines().groupby("machine", sort=False)]
    numbered = [part.set_axis(range(3), axis=1) for part in parts]
    with pytest.warns(UserWarning, match=r"not have valid feature names.*matched by position"):
        given = model.predict_proba(numbered)
    np.testing.assert_array_equal(given, model.predict_proba(parts))
    unnamed = SequenceClassifier(**SMALL).fit([part.to_numpy() for part in parts], [0, 1] * 6)
    with pytest.warns(UserWarning, match=r"X has feature names.*fitted without"):
        unnamed.predict(parts)


def test_a_category_is_the_same_as_a_number():
    frame = machines()
    frame["mode"] = np.where(frame["mode"] == "run", "2", "1")
    parts = [part[list(NAMES)] for _, part in frame.groupby("machine", sort=False)]
    model = SequenceClassifier(**SMALL).fit(parts, ["ok", "bad"] * 6)
    given = model.predict_proba(parts)
    for kind in (int, float, "Int64"):
        numbers = [part.assign(mode=part["mode"].astype(int).astype(kind)) for part in parts]
        np.testing.assert_array_equal(model.predict_proba(numbers), given)
        assert not model.count_unknown(numbers)


def test_names_can_be_given_with_arrays(tmp_path):
    X = list(np.random.default_rng(0).normal(size=(12, 4, 2)))
    y = ["ok", "bad"] * 6
    model = SequenceClassifier(**SMALL).fit(X, y, column_names=["temp (K)", "vibration"])
    assert model.columns_.names == ("temp (K)", "vibration")
    assert model.columns_.units == ("K", None)
    swapped = [pandas.DataFrame(x[:, ::-1], columns=["vibration", "temp (K)"]) for x in X]
    np.testing.assert_array_equal(model.predict_proba(swapped), model.predict_proba(X))
    with pytest.raises(SettingsError, match=r"column_names: got 1 names, expected 2"):
        SequenceClassifier(**SMALL).fit(X, y, column_names=["temp"])
    with pytest.raises(SettingsError, match=r"the columns of X are the steps of one channel"):
        SequenceClassifier(**SMALL).fit(np.zeros((12, 4)), y, column_names=["temp"])


def test_frames_keep_their_columns(tmp_path):
    frame = machines()
    X = [part[list(NAMES)] for _, part in frame.groupby("machine", sort=False)]
    model = SequenceClassifier(**SMALL).fit(X, ["ok", "bad"] * 6)
    assert_knows_machines(model)
    model.save(tmp_path / "model")
    assert_knows_machines(load(tmp_path / "model"))


def test_channels_are_named_with_their_values_in_explanations():
    frame = machines()
    frame.loc[::4, "vibration"] = np.nan
    X = [part[list(NAMES)] for _, part in frame.groupby("machine", sort=False)]
    model = SequenceClassifier(**SMALL).fit(X, ["ok", "bad"] * 6)
    explained = read_sequence(model, X[0].assign(mode="sleep"))
    assert explained.network.channel_names == (
        *NAMES[:2],
        "whether vibration is missing",
        "mode",
    )
    assert explained.network.category_values[2] == ("missing", "observed")
    assert explained.network.category_values[3][:2] == ("padding", "unknown")
    assert explained.categories[0][:2] == ("missing", "observed")
    assert explained.categories[1] == ("sleep (unknown)",) * 5


def test_pictures_and_tables_write_categories_and_names_in_full():
    rng = np.random.default_rng(0)
    states = ["idle", "run", "service", "manual", "off"]
    long_name = "relative humidity behind the left motor [%]"
    frames = [
        pandas.DataFrame({long_name: rng.normal(size=9), "state": rng.choice(states, 9)})
        for _ in range(12)
    ]
    frames[0].loc[2, long_name] = np.nan
    model = SequenceClassifier(**SMALL).fit(frames, ["ok", "bad"] * 6)
    traced, given = trace(model, frames[0]), attribute(model, frames[0])
    flag = f"whether {long_name} is missing"
    assert traced.to_frame()["state"].tolist() == frames[0]["state"].tolist()
    assert traced.to_frame()[flag].tolist()[1:4] == ["observed", "missing", "observed"]
    assert set(given.to_frame()["input"].iloc[2::3]) == set(frames[0]["state"])
    assert flag in str(given)
    figure = given.plot()
    shown = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert {long_name, flag, "state"} <= set(shown)
    named = [[tick.get_text() for tick in axes.get_yticklabels()] for axes in figure.axes]
    assert sorted(set(frames[0]["state"])) in named
    named = [tick.get_text() for axes in traced.plot().axes for tick in axes.get_yticklabels()]
    assert "state" in named and any(name.startswith("whether relative") for name in named)


def test_containers_that_are_not_read_are_named():
    X = list(np.random.default_rng(0).normal(size=(12, 4, 2)))
    LazyFrame = type("LazyFrame", (), {})
    frame = machines()
    packed = pack_sequence([torch.from_numpy(x) for x in X])
    for other, message in (
        (LazyFrame(), r"a LazyFrame, whose rows are not computed yet. Give X.collect\(\)"),
        (packed, r"a PackedSequence, expected a list.*unpack_sequence\(X\)"),
        (frame, r"If each row is a time step, read the frame: data = elman.data.read"),
    ):
        with pytest.raises(KindError, match=message):
            SequenceClassifier(**SMALL).fit(other, [0, 1] * 6)
