"""A fitted estimator knows the columns of its data: names, units, categories, from every door."""

import json

import numpy as np
import pytest

from elman import SequenceClassifier, load
from elman.data.dataset import unit_of
from elman.explain.network import read_sequence
from elman.runs.config import RunSettings
from elman.runs.experiment import run
from elman.settings import DataSettings, ModelSettings, ReportSettings, TrainingSettings

pandas = pytest.importorskip("pandas")

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


def test_the_command_keeps_the_columns_of_its_file(tmp_path):
    machines().to_csv(tmp_path / "m.csv", index=False)
    settings = RunSettings(
        DataSettings(data=str(tmp_path / "m.csv"), id="machine", target="label"),
        ModelSettings(hidden_size=4),
        TrainingSettings(epochs=1),
        ReportSettings(diagnostics=False),
    )
    run(settings, out=tmp_path / "run", verbose=0, echo=lambda text: None)
    saved = json.loads((tmp_path / "run" / "model" / "config.json").read_text())["columns"]
    assert saved["names"] == list(NAMES)
    assert saved["units"] == ["°C", None, None]
    model = load(tmp_path / "run")
    assert_knows_machines(model)
    assert model.layout_.id == "machine"


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
