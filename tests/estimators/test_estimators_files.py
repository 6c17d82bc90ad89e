"""A fitted estimator reads files and long frames exactly as its training file was read."""

import csv
import io
import json
import shutil

import numpy as np
import pytest

from elman import DataError, SequenceClassifier, SequenceRegressor, ShapeError, load
from elman.data import read
from elman.errors import KindError
from elman.explain.network import read_sequence
from elman.runs.config import RunSettings
from elman.runs.evaluation import predict
from elman.runs.experiment import run
from elman.settings import DataSettings, ModelSettings, ReportSettings, TrainingSettings

pandas = pytest.importorskip("pandas")
pyarrow = pytest.importorskip("pyarrow")


def quick_run(folder, **data):
    settings = RunSettings(
        DataSettings(**data),
        ModelSettings(hidden_size=4),
        TrainingSettings(epochs=1),
        ReportSettings(diagnostics=False),
    )
    run(settings, out=folder, overwrite=True, verbose=0, echo=lambda text: None)
    return load(folder)


def probabilities(folder, file):
    """What `elman predict` writes: the names, and the probability of each class."""
    text = predict(folder, str(file), {})[0].to_csv()
    rows = list(csv.DictReader(io.StringIO(text)))
    columns = [name for name in rows[0] if name.startswith("p(")]
    return [row["sequence"] for row in rows], np.array(
        [[float(r[c]) for c in columns] for r in rows]
    )


@pytest.fixture(scope="module")
def trips(tmp_path_factory):
    """Return a model of uneven steps with gaps and windows, its folder, file and frame."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("trips")
    rows = []
    for i in range(14):
        t = 0.0
        for step in range(9):
            t += float(rng.choice([0.5, 1.0, 2.0]))
            speed = np.nan if step == 3 else rng.normal() + 2 * (i % 2)
            rows.append((f"T{i}", t, speed, ["wet", "dry"][rng.integers(2)], "ab"[i % 2]))
    frame = pandas.DataFrame(rows, columns=["trip", "time", "speed [m/s]", "road", "label"])
    frame.to_csv(folder / "trips.csv", index=False, na_rep="NA")
    data = {"data": str(folder / "trips.csv"), "id": "trip", "window": 4, "stride": 2}
    return quick_run(folder / "run", **data), folder, frame


def test_a_path_is_read_as_the_command_reads_it(trips):
    model, folder, _ = trips
    names, expected = probabilities(folder / "run", folder / "trips.csv")
    assert names[:2] == ["T0 window 1 from step 1", "T0 window 2 from step 3"]
    given = model.predict_proba(folder / "trips.csv")
    np.testing.assert_allclose(given, expected, atol=1e-6)
    np.testing.assert_array_equal(model.predict_proba(str(folder / "trips.csv")), given)
    data = model.read(folder / "trips.csv")
    assert data.names == names and set(data.target.tolist()) == {"a", "b"}
    np.testing.assert_array_equal(model.predict_proba(data), given)
    assert model.encode(data).ids == tuple(names)
    assert model.score(folder / "trips.csv") == model.score(data, data.target)
    assert model.evaluate(data, resamples=0).accuracy == model.score(data)
    assert model.predict(folder / "trips.csv").shape == (len(names),)


def test_a_long_frame_is_read_as_its_file(trips):
    model, folder, frame = trips
    given = model.predict_proba(folder / "trips.csv")
    for other in (
        frame,
        frame[frame.columns[::-1]],
        frame.drop(columns="label"),
        frame.set_index("trip"),
        frame.set_index(["trip", "time"]),
        pyarrow.Table.from_pandas(frame, preserve_index=False),
    ):
        np.testing.assert_array_equal(model.predict_proba(other), given)
    with pytest.warns(UserWarning, match=r"left out 'rain', which the layout does not name"):
        np.testing.assert_array_equal(model.predict_proba(frame.assign(rain=1.0)), given)
    with pytest.warns(UserWarning, match=r"left out 'remark', which the layout does not name"):
        model.predict(frame.assign(remark="none"))
    with pytest.raises(DataError, match=r"no column 'speed \[m/s\]'. Did you mean 'Speed"):
        model.predict(frame.rename(columns={"speed [m/s]": "Speed [m/s]"}))
    with pytest.raises(ShapeError, match=r"no column 'trip', which says in the training file"):
        model.predict(frame.drop(columns="trip"))
    with pytest.raises(DataError, match=r"there are no labels"):
        model.score(frame.drop(columns="label"))


def test_columns_that_training_left_out_are_left_out_in_silence(tmp_path):
    rng = np.random.default_rng(3)
    frame = pandas.DataFrame(rng.normal(size=(60, 3)), columns=["x", "y", "z"])
    frame.insert(0, "id", np.repeat(np.arange(15), 4))
    frame["who"] = frame["id"] // 3
    frame["label"] = frame["id"] % 2
    frame.to_csv(tmp_path / "f.csv", index=False)
    data = {"data": str(tmp_path / "f.csv"), "values": "x,y", "group": "who", "id": "id"}
    model = quick_run(tmp_path / "run", **data, target="label")
    assert model.layout_.aside == ("z", "who")
    given = model.predict_proba(frame)  # a warning would be an error here
    parts = [part for _, part in frame.groupby("id")]
    np.testing.assert_array_equal(model.predict_proba(parts), given)
    np.testing.assert_array_equal(model.predict_proba([p[["y", "x"]] for p in parts]), given)


def test_frames_with_times_get_the_time_since_the_last_step(trips):
    model, folder, frame = trips
    parts = [part for _, part in frame.groupby("trip", sort=False)]
    whole = read(folder / "trips.csv", layout=model.layout_)
    given = model.predict_proba(whole.inputs)
    windows = model.predict_proba(parts)
    assert len(windows) > len(given) == len(parts)  # cut into windows, as the file is
    np.testing.assert_array_equal(windows, model.predict_proba(frame))


def test_rows_and_lists_and_texts(tmp_path):
    rng = np.random.default_rng(1)
    wide = pandas.DataFrame(rng.normal(size=(20, 5)), columns=[f"t{i}" for i in range(5)])
    wide.insert(0, "label", ["a", "b"] * 10)
    wide.to_csv(tmp_path / "wide.csv", index=False)
    model = quick_run(tmp_path / "run", data=str(tmp_path / "wide.csv"))
    given = model.predict_proba(tmp_path / "wide.csv")
    np.testing.assert_array_equal(model.predict_proba(wide[wide.columns[::-1]]), given)
    np.testing.assert_array_equal(model.predict_proba(wide.drop(columns="label").to_numpy()), given)
    with pytest.raises(DataError, match=r"no column 't3'"):
        model.predict(wide.drop(columns="t3"))
    lines = [{"x": rng.normal(size=(3, 2)).tolist(), "label": "ab"[i % 2]} for i in range(20)]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, lines)))
    model = quick_run(tmp_path / "run", data=str(tmp_path / "x.jsonl"), values="x")
    given = model.predict_proba(tmp_path / "x.jsonl")
    np.testing.assert_array_equal(model.predict_proba([line["x"] for line in lines]), given)
    np.testing.assert_array_equal(model.predict_proba(pandas.DataFrame(lines)), given)
    assert model.columns_.names == ("x[1]", "x[2]")


def test_what_a_string_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    texts = ["good good day", "bad bad night"] * 10
    frame = pandas.DataFrame({"text": texts, "label": ["a", "b"] * 10})
    frame.to_csv("texts.csv", index=False)
    shutil.copy("texts.csv", "good")  # the name of a file can be a text
    model = quick_run(tmp_path / "run", data="texts.csv")
    given = model.predict_proba(texts)
    np.testing.assert_array_equal(model.predict_proba("texts.csv"), given)
    np.testing.assert_array_equal(model.predict_proba(tmp_path / "texts.csv"), given)
    np.testing.assert_array_equal(model.predict_proba(frame), given)
    assert len(model.predict(["texts.csv"])) == 1  # in a list it is a text
    with pytest.raises(
        KindError, match=r"the str 'good', .* of texts. For one text, give \[text\]"
    ):
        model.predict("good")
    with pytest.raises(DataError, match=r"nothing.csv: there is no such file"):
        model.predict("nothing.csv")
    fitted = SequenceClassifier(hidden_size=4, epochs=1).fit(texts, ["a", "b"] * 10)
    with pytest.raises(DataError, match=r"was not trained from a file.*elman.data.read"):
        fitted.predict("texts.csv")
    with pytest.raises(DataError, match=r"elman.data.read\(path\)"):
        SequenceClassifier().fit("texts.csv", ["a", "b"] * 10)


def test_a_data_set_is_fitted_with_its_labels_names_and_layout(trips):
    _, folder, frame = trips
    data = read(folder / "trips.csv", id="trip", target="label")
    model = SequenceClassifier(hidden_size=4, epochs=1, random_state=0).fit(data)
    assert model.columns_.names == ("speed [m/s]", "time since the last step", "road")
    assert model.classes_.tolist() == ["a", "b"]
    given = model.predict_proba(data)
    np.testing.assert_array_equal(model.predict_proba(folder / "trips.csv"), given)
    np.testing.assert_array_equal(model.predict_proba(frame), given)
    explained = read_sequence(model, data.take(np.array([3])))
    assert explained.name == "T3"
    with pytest.raises(ShapeError, match=r"14 sequences, expected one"):
        read_sequence(model, data)
    numbers = read(frame.assign(label=frame.index * 1.0), id="trip", task="regression")
    regressor = SequenceRegressor(hidden_size=4, epochs=1, readout="every").fit(numbers)
    assert regressor.target_.names == ("label",)
    assert regressor.score(numbers) == regressor.score(numbers.inputs, numbers.target)


def test_channels_of_a_data_set_are_matched_by_name(trips, tmp_path):
    """A model fitted on frames reads a file by the names of its columns, in any order."""
    frame = pandas.DataFrame(np.random.default_rng(2).normal(size=(60, 2)), columns=["ax", "ay"])
    frame.insert(0, "id", np.repeat(np.arange(12), 5))
    parts = [part[["ax", "ay"]] for _, part in frame.groupby("id")]
    model = SequenceClassifier(hidden_size=4, epochs=1).fit(parts, [0, 1] * 6)
    frame[["id", "ay", "ax"]].to_csv(tmp_path / "new.csv", index=False)
    data = read(tmp_path / "new.csv", id="id")
    np.testing.assert_array_equal(model.predict_proba(data), model.predict_proba(parts))
    model.save(tmp_path / "model")
    _, expected = probabilities(tmp_path / "model", tmp_path / "new.csv")
    np.testing.assert_allclose(model.predict_proba(parts), expected, atol=1e-6)
    with pytest.raises(ShapeError, match=r"nothing says which sequence a row belongs to"):
        model.predict(frame)
    frame.rename(columns={"ay": "az"}).to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(ShapeError, match=r"no column 'ay'.*Did you mean 'az'"):
        model.predict(read(tmp_path / "new.csv", id="id"))


@pytest.mark.parametrize("kind", ["U", "S"])
def test_an_array_of_names_names_the_channels(tmp_path, kind):
    rng = np.random.default_rng(4)
    X, y = rng.normal(size=(20, 4, 3)), np.array(["a", "b"] * 10)
    names = ["force [N]", "speed", "angle (deg)"]
    np.savez(tmp_path / "x.npz", X=X, y=y, channel_names=np.array(names).astype(kind))
    model = quick_run(tmp_path / "run", data=str(tmp_path / "x.npz"))
    assert model.columns_.names == tuple(names) and model.columns_.units == ("N", None, "deg")
    given = model.predict_proba(tmp_path / "x.npz")
    np.testing.assert_array_equal(model.predict_proba(X), given)
    turned = [pandas.DataFrame(x[:, ::-1], columns=names[::-1]) for x in X]
    np.testing.assert_array_equal(model.predict_proba(turned), given)
    np.savez(tmp_path / "turned.npz", X=X[:, :, ::-1], y=y, names=np.array(names[::-1]))
    np.testing.assert_array_equal(model.predict_proba(tmp_path / "turned.npz"), given)
    np.savez(tmp_path / "plain.npz", X=X, y=y)
    np.testing.assert_array_equal(model.predict_proba(tmp_path / "plain.npz"), given)
    np.savez(tmp_path / "other.npz", X=X, y=y, names=np.array([*names[:2], "Angle"]))
    with pytest.raises(ShapeError, match=r"no column 'angle \(deg\)'.* Did you mean 'Angle'"):
        model.predict(tmp_path / "other.npz")
