"""Frames as X: their columns are kept to, and their numbers are those of the arrays."""

import numpy as np
import pytest

from elman import (
    DataError,
    SequenceClassifier,
    SequenceRegressor,
    SequenceTagger,
    ShapeError,
    load,
)
from elman.errors import KindError
from elman.estimators.containers import open_container

pandas = pytest.importorskip("pandas")
pyarrow = pytest.importorskip("pyarrow")

SMALL = {"hidden_size": 4, "epochs": 1, "batch_size": 8, "random_state": 0}
Y = [0, 1] * 6


@pytest.fixture
def table():
    """12 sequences of 4 steps."""
    return pandas.DataFrame(np.random.default_rng(0).normal(size=(12, 4)), columns=list("wxyz"))


def long(lengths, seed=0):
    """A frame as sktime has it: a row a time step, (instance, time) in its index."""
    rng = np.random.default_rng(seed)
    rows = [(f"s{i}", t) for i, n in enumerate(lengths) for t in range(n)]
    index = pandas.MultiIndex.from_tuples(rows, names=["instance", "time"])
    values = rng.normal(size=(len(rows), 2))
    return pandas.DataFrame(values, index=index, columns=["ax", "ay"])


def same(model, X, other):
    np.testing.assert_array_equal(model.predict_proba(X), model.predict_proba(other))


def test_a_table_is_its_array(table, tmp_path):
    arrow = pyarrow.Table.from_pandas(table, preserve_index=False)
    for frame in (table, arrow, table.convert_dtypes()):
        model = SequenceClassifier(**SMALL).fit(frame, Y)
        assert model.n_features_in_ == 4
        assert model.feature_names_in_.tolist() == list("wxyz")
        same(model, frame, arrow)
        with pytest.warns(UserWarning, match="X does not have valid feature names"):
            array = model.predict_proba(table.to_numpy())
        np.testing.assert_allclose(array, model.predict_proba(table), atol=1e-6)
    model.save(tmp_path / "m")
    again = load(tmp_path / "m")
    assert again.feature_names_in_.tolist() == list("wxyz")
    same(again, table, arrow)
    for wrong in (table[list("zyxw")], table.rename(columns={"w": "v"})):
        with pytest.raises(ShapeError, match="The feature names should match those"):
            again.predict(wrong)
    with pytest.raises(ShapeError, match="yet now missing:\n- z\n"):
        again.predict(table[list("wxy")])


def test_an_array_keeps_its_width_and_a_list_does_not(table):
    X = table.to_numpy()
    model = SequenceClassifier(**SMALL).fit(X, Y)
    assert model.n_features_in_ == 4
    assert not hasattr(model, "feature_names_in_")
    message = (
        "X has 3 features, but SequenceClassifier is expecting 4 features as input.\n"
        "A list of arrays, or an array (n, T, C), may hold sequences of other lengths."
    )
    with pytest.raises(ShapeError) as caught:
        model.predict(X[:, :3])
    assert str(caught.value) == message
    same(model, list(X[:, :3]), X[:, :3, None])
    listed = SequenceClassifier(**SMALL).fit(list(X), Y)
    assert not hasattr(listed, "n_features_in_")
    same(listed, X, list(X))
    assert listed.predict(X[:, :3]).shape == (12,)
    # A list of lists is a table in training, and a list of sequences later.
    plain = SequenceClassifier(**SMALL).fit(X.tolist(), Y)
    assert plain.n_features_in_ == 4
    with pytest.raises(ShapeError, match="expecting 4 features"):
        plain.predict(X[:, :3])
    assert plain.predict(X[:, :3].tolist()).shape == (12,)
    assert not hasattr(SequenceClassifier(**SMALL).fit([[1, 2], [3, 4]] * 6, Y), "n_features_in_")


def test_gaps_in_a_table_are_missing_values(table):
    table.iloc[::2, 1] = np.nan
    model = SequenceClassifier(**SMALL).fit(table, Y)
    same(model, table, table.convert_dtypes())
    np.testing.assert_array_equal(
        open_container(table.convert_dtypes()).sequences, open_container(table).sequences
    )


def test_a_list_of_frames(numbers):
    X, y = numbers
    frames = [pandas.DataFrame(x, columns=["ax", "ay"]) for x in X]
    arrow = [pyarrow.Table.from_pandas(f, preserve_index=False) for f in frames]
    model = SequenceClassifier(**SMALL).fit(frames, y)
    assert model.feature_names_in_.tolist() == ["ax", "ay"]
    same(model, frames, X)
    same(model, frames, arrow)
    same(model, [f[["ay", "ax"]] for f in frames], X)
    with pytest.raises(ShapeError, match="sequence 3: there is no column 'ay', which the model re"):
        model.predict([*frames[:3], frames[3][["ax"]]])
    with pytest.raises(ShapeError, match=r"sequence 3: got columns \['ax'\], expected \['ax', 'a"):
        SequenceClassifier(**SMALL).fit([*frames[:3], frames[3][["ax"]]], y[:4])
    with pytest.raises(DataError, match="sequence 1 is a ndarray, expected a frame as sequence 0"):
        model.predict([frames[0], X[1]])
    mixed = [f.assign(kind=["a", "b"][i % 2]) for i, f in enumerate(frames)]
    assert SequenceClassifier(**SMALL).fit(mixed, y).encoder_.kind == "mixed"


def test_sktimes_frame_with_an_index_of_instance_and_time():
    lengths = [3, 5, 2, 4] * 3
    frame = long(lengths)
    X = open_container(frame).sequences
    assert X.lengths.tolist() == lengths
    np.testing.assert_array_equal(X[1], frame.loc["s1"].to_numpy())
    model = SequenceClassifier(**SMALL).fit(frame, Y)
    assert model.feature_names_in_.tolist() == ["ax", "ay"]
    same(model, frame, list(X))
    assert model.score(frame, Y) == model.score(list(X), Y)
    tagger = SequenceTagger(**SMALL).fit(frame, [x[:, 0] > 0 for x in X])
    assert [len(labels) for labels in tagger.predict(frame)] == lengths
    signs = [x[:, 0] > 0 for x in X]
    assert tagger.score(frame, signs) == tagger.score(list(X), signs)
    each = [x[:, 0] for x in X]
    steps = SequenceRegressor(readout="every", **SMALL).fit(frame, each)
    assert steps.score(frame, each) == steps.score(list(X), each)
    assert open_container(frame["ax"]).sequences[2].shape == (2, 1)
    same(model, frame[["ay", "ax"]], frame)


def test_a_frame_that_is_not_in_order():
    frame = long([3, 3])
    with pytest.raises(DataError, match="rows of one instance do not stand together"):
        open_container(frame.iloc[[0, 3, 1, 4, 2, 5]])
    with pytest.raises(DataError, match="row 2, instance s0, time 1: not after the row"):
        open_container(frame.iloc[[0, 2, 1, 3, 4, 5]])
    with pytest.raises(DataError, match="row 1"):
        open_container(frame.iloc[[0, 0, 1, 3, 4, 5]])
    deeper = pandas.concat({"site": frame})
    with pytest.raises(ShapeError, match=r"an index of 3 levels, expected \(instance, time\)"):
        open_container(deeper)


def test_columns_that_cannot_be_kept(table):
    twice = pandas.DataFrame(table.to_numpy(), columns=["a", "a", "b", "c"])
    with pytest.raises(DataError, match="two columns have the same name"):
        SequenceClassifier(**SMALL).fit(twice, Y)
    with pytest.raises(KindError, match="only supported if all input features have string names"):
        SequenceClassifier(**SMALL).fit(table.rename(columns={"w": 1}), Y)
    numbered = pandas.DataFrame(table.to_numpy())
    model = SequenceClassifier(**SMALL).fit(numbered, Y)
    assert model.n_features_in_ == 4
    assert not hasattr(model, "feature_names_in_")
    text = pandas.DataFrame({"text": ["good good day", "bad bad day"] * 6})
    with pytest.raises(KindError, match=r"one column of text.* Give the column"):
        SequenceClassifier(**SMALL).fit(text, Y)
    assert SequenceClassifier(**SMALL).fit(text["text"], Y).encoder_.kind == "text"


def test_a_validation_part_with_other_columns(table):
    model = SequenceClassifier(**SMALL)
    with pytest.raises(ShapeError, match=r"validation_data: got columns \['z', 'y', 'x', 'w'\], "):
        model.fit(table, Y, validation_data=(table[list("zyxw")], Y))
    with pytest.raises(ShapeError, match="validation_data: got columns 3, expected 4 as in X"):
        model.fit(table.to_numpy(), Y, validation_data=(table.to_numpy()[:, :3], Y))
    model.fit(table, Y, validation_data=(table.to_numpy(), Y))
    model.fit(table, Y, validation_data=(list(table.to_numpy()[:, :3]), Y))
