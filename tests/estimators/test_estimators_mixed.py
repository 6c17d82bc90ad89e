"""Steps of numbers and categories: each column is treated by what it holds."""

import json
import math

import numpy as np
import pytest
import torch

from elman import DataError, SequenceClassifier, SequenceTagger, ShapeError, load
from elman.data.batches import Examples
from elman.data.ragged import Ragged
from elman.errors import ModelFileError, SettingsError
from elman.estimators.encoder import Encoder
from elman.evaluate.features import one_hot_categories
from elman.files import seal
from elman.models import ModelConfig, SequenceModel
from elman.train.examples import replace_by_unknown, unknown_probabilities

NAN = np.nan
SMALL = {"hidden_size": 4, "epochs": 2, "random_state": 0}


def make_mixed(n=24, seed=0):
    """n tables (T, 3): a state, a number, a place; the first state tells the class."""
    rng = np.random.default_rng(seed)
    X, y = [], []
    for i in range(n):
        length = 2 + i % 5
        table = np.empty((length, 3), dtype=object)
        table[:, 0] = rng.choice(["on", "off", "idle"], length)
        table[0, 0] = ["on", "off"][i % 2]
        table[:, 1] = rng.normal(size=length)
        table[:, 2] = rng.choice(["north", "south"], length)
        X.append(table)
        y.append(["x", "y"][i % 2])
    return X, y


def test_encoding_by_hand():
    table = np.array([["b", 1.0, None], ["a", 3.0, "u"], ["b", NAN, "u"]], dtype=object)
    encoder = Encoder.fit_encode([table], inputs="mixed", tokens="auto", scale=True).encoder
    # The most frequent category comes first; the missing one is a category as well.
    assert encoder.categories == {0: {"b": 2, "a": 3}, 2: {"u": 2, "": 3}}
    assert (encoder.channels, encoder.input_size, encoder.category_sizes) == (3, 2, (4, 4))
    found = encoder.encode([table])
    expected = [[-1, 1, 2, 3], [1, 1, 3, 2], [1, 0, 2, 2]]
    np.testing.assert_array_equal(found.values, np.array(expected, np.float32))
    new = np.array([["c", 2, NAN]], dtype=object)
    np.testing.assert_array_equal(encoder.encode([new]).values, [[0, 1, 1, 3]])
    assert encoder.count_unknown(encoder.read_steps([new])) == {"c": 1}
    again = Encoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    np.testing.assert_array_equal(again.encode([table]).values, found.values)


@pytest.mark.parametrize("kind", [SequenceClassifier, SequenceTagger])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_train_check_save_load(kind, cell, tmp_path):
    X, y = make_mixed()
    y = [t[:, 0] for t in X] if kind is SequenceTagger else y
    model = kind(**SMALL, cell=cell, dropout=0.1).fit(X, y)
    assert "one native call a batch" in model.history_.gradients
    checks = model.check(X)
    assert all(check.passed and check.worst == 0 for check in checks), checks
    seen = "the step" if kind is SequenceTagger else "summaries"
    baseline = model.evaluate(X, y).baselines[f"logistic regression on {seen}"]
    assert baseline["accuracy"] == 1.0
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    for one, other in zip(model.predict_proba(X), again.predict_proba(X), strict=True):
        np.testing.assert_array_equal(one, other)
    assert "in columns 0, 2, categories" in (tmp_path / "model/README.md").read_text()


def test_the_answer_ignores_company():
    X, y = make_mixed()
    model = SequenceClassifier(**SMALL).fit(X, y)
    together = model.predict_proba(X)
    alone = np.concatenate([model.predict_proba([x]) for x in X])
    np.testing.assert_array_equal(together, alone)


def test_categories_can_be_learnt_from():
    X, y = make_mixed(120)
    model = SequenceClassifier(hidden_size=16, epochs=30, validation=0.0, random_state=0)
    assert model.fit(X[:90], y[:90]).score(X[90:], y[90:]) == 1.0


def test_categories_alone():
    X, y = make_mixed()
    X = [x[:, [0, 2]] for x in X]
    model = SequenceClassifier(**SMALL).fit(X, y)
    assert model.model_.config.input_size == 0
    assert all(check.passed for check in model.check(X))


def test_lists_and_frames_are_read_as_arrays():
    pandas = pytest.importorskip("pandas")
    X, y = make_mixed()
    model = SequenceClassifier(**SMALL)
    expected = model.fit(X, y).predict_proba(X)
    lists = [x.tolist() for x in X]
    np.testing.assert_array_equal(model.fit(lists, y).predict_proba(lists), expected)
    frames = [
        pandas.DataFrame({"state": x[:, 0], "level": x[:, 1].astype(float), "place": x[:, 2]})
        for x in X
    ]
    np.testing.assert_array_equal(model.fit(frames, y).predict_proba(frames), expected)
    coded = [
        f.assign(state=f.state.map({"on": 1, "off": 2, "idle": 3}).astype("category"))
        for f in frames
    ]
    assert list(model.fit(coded, y).encoder_.categories) == [0, 2]


def test_the_model_against_embeddings_by_hand():
    config = ModelConfig(
        num_outputs=2, input_size=1, category_sizes=(4, 40), readout="last", embedding_size=8
    )
    assert config.category_widths == (math.ceil(1.6 * 4**0.56), 8)
    torch.manual_seed(0)
    model = SequenceModel(config).double()
    x = torch.tensor([[[0.5, 2, 7], [-1, 3, 39]], [[2.0, 0, 1], [NAN, NAN, 1e9]]]).double()
    lengths = torch.tensor([2, 1])
    tables = [table.weight for table in model.embeddings]
    rows = [
        torch.cat([x[i, t, :1], tables[0][int(x[i, t, 1])], tables[1][int(x[i, t, 2])]])
        for i, t in ((0, 0), (0, 1), (1, 0))
    ]
    for i, own in ((0, rows[:2]), (1, rows[2:])):
        _, h_n = model.recurrent(torch.stack(own)[None])
        expected = model.output(torch.cat(list(h_n), -1))
        torch.testing.assert_close(model(x, lengths)[i : i + 1], expected, atol=1e-12, rtol=0)
    wrong = x.clone()
    wrong[0, 0, 1] = 4
    with pytest.raises(DataError, match="a category code out of range"):
        model(wrong, lengths)


def test_dropped_categories():
    codes = np.array([[0.1, 2, 2], [0.2, 2, 3], [0.3, 3, 4], [0.4, 2, 2]], np.float32)
    data = Examples(Ragged(codes, np.array([0, 4])), np.array([0]))
    chances = unknown_probabilities(data, 1.0, 1)
    assert [c.tolist() for c in chances] == [
        [0, 0, 1 / 4, 1 / 2],
        [0, 0, 1 / 3, 1 / 2, 1 / 2],
    ]
    torch.manual_seed(0)
    x = torch.from_numpy(codes).repeat(1000, 1, 1)
    found = replace_by_unknown(x, chances)
    assert (found[:, :, 0] == x[:, :, 0]).all()
    share = (found == 1).double().mean(0)
    expected = [[0, 1 / 4, 1 / 3], [0, 1 / 4, 1 / 2], [0, 1 / 2, 1 / 2], [0, 1 / 4, 1 / 3]]
    np.testing.assert_allclose(share, expected, atol=0.06)


def test_baselines_see_each_frequent_category():
    steps = Ragged(np.array([[0.5, 2, 1], [0.1, 3, 30]], np.float32), np.array([0, 2]))
    found = one_hot_categories(steps, 2).values
    assert found.shape == (2, 41)
    assert np.argwhere(found[:, 1:]).tolist() == [[0, 0], [1, 1]]
    assert one_hot_categories(steps, 0) is steps


def test_what_is_refused(tmp_path):
    X, y = make_mixed()
    model = SequenceClassifier(**SMALL).fit(X, y)
    wrong = X[0].copy()
    wrong[1, 1] = "high"
    with pytest.raises(DataError, match="sequence 1: step 2, channel 1 is 'high', expected a numb"):
        model.predict([X[1], wrong])
    gap = X[0].copy()
    gap[1, 1] = None
    with pytest.raises(DataError, match="sequence 1: step 2, channel 1 is missing"):
        model.predict([X[1], gap])
    with pytest.raises(ShapeError, match="X has 2 channels, expected 3"):
        model.predict([x[:, :2] for x in X])
    with pytest.raises(ShapeError, match="sequence 1: got 2 columns, expected 3"):
        model.predict([X[0], X[1][:, :2]])
    with pytest.raises(DataError, match="X holds mixed, expected numbers"):
        SequenceClassifier(**SMALL).fit([x[:, 1:2].astype(float) for x in X], y).predict(X)
    with pytest.raises(SettingsError, match="tokens: got 'words', but the sequences are mixed"):
        SequenceClassifier(**SMALL, tokens="words").fit(X, y)
    model.save(tmp_path / "model")
    path = tmp_path / "model/config.json"
    config = json.loads(path.read_text())
    config["encoder"]["category_names"][0].append("more")
    path.write_text(json.dumps(config))
    seal(tmp_path / "model")
    with pytest.raises(ModelFileError, match=r"category_sizes is \(5, 4\), but there are \(6, 4\)"):
        load(tmp_path / "model")
