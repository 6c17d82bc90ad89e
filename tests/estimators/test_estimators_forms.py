"""Sequences in every form; the same data in two forms is the same model."""

import numpy as np
import pytest
import torch

from elman import SequenceClassifier, SequenceTagger
from elman.data import Ragged
from elman.estimators.inputs import cut

SMALL = {"hidden_size": 5, "epochs": 2, "batch_size": 8, "random_state": 0}


def same(X, other, y, **options):
    first, second = (SequenceClassifier(**SMALL, **options).fit(x, y) for x in (X, other))
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(other))
    np.testing.assert_array_equal(first.predict_proba(X), first.predict_proba(other))
    return first


def test_numbers(numbers):
    X, y = numbers
    same(X, Ragged.from_list(X), y)
    same(X, [s.tolist() for s in X], y)
    same(X, [torch.from_numpy(s) for s in X], y)
    same(X, tuple(X), tuple(y))
    same(X, [np.asfortranarray(s) for s in X], np.array(y))
    model = same([s[:, 0] for s in X], [s[:, :1] for s in X], y)
    assert model.encoder_.channels == 1


def test_arrays():
    X = np.random.default_rng(0).normal(size=(20, 4))
    y = (X.sum(1) > 0).astype(int)
    cube = X[:, :, None]
    same(X, cube, y)
    same(X, list(X), y)
    same(X, torch.from_numpy(X), y)
    same(np.repeat(X, 2, 0)[::2], X, y)  # a view with gaps
    whole = np.round(X * 3).astype(np.int8)
    assert same(whole, whole.astype(float), y).encoder_.kind == "numbers"
    assert SequenceClassifier(**SMALL).fit(whole > 0, y).encoder_.kind == "numbers"


def test_data_frames_are_taken_by_place():
    """A shuffled index must not pair a text with another's label."""
    pandas = pytest.importorskip("pandas")
    texts = [f"{'good' if i % 2 else 'bad'} day of {i}" for i in range(20)]
    y = [i % 2 for i in range(20)]
    frame = pandas.DataFrame({"text": texts, "y": y}).sample(frac=1, random_state=1)
    shuffled = frame.text.tolist(), frame.y.tolist()
    model = SequenceClassifier(**SMALL).fit(frame.text, frame.y)
    plain = SequenceClassifier(**SMALL).fit(*shuffled)
    np.testing.assert_array_equal(model.predict_proba(frame.text), plain.predict_proba(shuffled[0]))
    assert model.score(frame.text, frame.y) == plain.score(*shuffled)
    assert model.count_unknown(frame.text) == plain.count_unknown(shuffled[0])
    late = frame[10:]
    assert 0 not in late.index or len(late) == 10
    assert len(model.predict(late.text)) == 10
    values = pandas.DataFrame(np.random.default_rng(0).normal(size=(20, 4)), index=range(5, 25))
    one, two = (SequenceClassifier(**SMALL).fit(x, y) for x in (values, values.to_numpy()))
    np.testing.assert_array_equal(one.predict_proba(values), two.predict_proba(values.to_numpy()))


def test_tokens(tokens):
    X, y = tokens
    model = same(X, [tuple(s) for s in X], y)
    assert model.encoder_.kind == "tokens"
    same(X, [np.array(s) for s in X], y)
    same(X, Ragged.from_list(X, object), y)


def test_whole_numbers_in_lists_are_tokens():
    X = [[1, 2, 3], [4, 5], [1, 2], [4, 5, 6]] * 5
    y = [0, 1] * 10
    model = same(X, [[str(t) for t in s] for s in X], y)
    assert model.encoder_.kind == "tokens"
    assert set(model.encoder_.vocabulary) == set("123456")
    as_numbers = SequenceClassifier(**SMALL, inputs="numbers").fit(X, y)
    assert as_numbers.encoder_.kind == "numbers"
    assert as_numbers.predict(X).shape == (20,)
    halves = [[v / 2 for v in s] for s in X]
    assert SequenceClassifier(**SMALL).fit(halves, y).encoder_.kind == "numbers"


def test_texts():
    X = ["Good, good DAY", "bad bad day"] * 8
    y = ["+", "-"] * 8
    words = SequenceClassifier(**SMALL).fit(X, y)
    assert words.encoder_.kind == "text"
    assert words.encoder_.unit == "words"
    assert set(words.encoder_.vocabulary) == {"good", "bad", "day", ","}
    characters = SequenceClassifier(**SMALL, tokens="characters").fit(X, y)
    assert set(characters.encoder_.vocabulary) == set("".join(X))
    names = SequenceClassifier(**SMALL).fit(["Żółć", "日本"] * 8, y)
    assert names.encoder_.unit == "characters"
    np.testing.assert_array_equal(words.predict_proba(X), words.predict_proba(np.array(X)))
    assert words.predict(["DAY good"]).shape == (1,)


@pytest.mark.parametrize(
    "y",
    [[0, 1] * 12, [7, -3] * 12, [True, False] * 12, ["0", "1"] * 12, ["ja, 日本", "true"] * 12],
    ids=str,
)
def test_labels_keep_their_type(y, numbers, tmp_path):
    X, _ = numbers
    for given in (y, np.array(y), np.array(y, dtype=object), tuple(y)):
        model = SequenceClassifier(**SMALL).fit(X, given)
        assert model.classes_.tolist() == sorted(set(y))
        found = model.predict(X).tolist()
        assert {type(label) for label in found} == {type(y[0])}
        assert set(found) <= set(y)
    assert 0 <= model.score(X, y) <= 1


def test_tags_in_every_form(numbers, tags):
    X, _ = numbers
    y = tags(X)
    first = SequenceTagger(**SMALL).fit(X, y)
    for other in ([np.array(t) for t in y], [tuple(t) for t in y], Ragged.from_list(y, object)):
        model = SequenceTagger(**SMALL).fit(X, other)
        for one, two in zip(model.predict_proba(X), first.predict_proba(X), strict=True):
            np.testing.assert_array_equal(one, two)
    square = np.stack([s[:2] for s in X])
    model = SequenceTagger(**SMALL).fit(square, (square[:, :, 0] > 0).astype(int))
    assert next(p.tolist() for p in model.predict(square))[0] in (0, 1)


def test_extreme_lengths_and_values():
    rng = np.random.default_rng(0)
    X = [np.array([[1.0]]), rng.normal(size=(3000, 1))] * 4
    model = SequenceClassifier(hidden_size=3, epochs=1, random_state=0).fit(X, [0, 1] * 4)
    np.testing.assert_array_equal(model.predict_proba(X)[:1], model.predict_proba(X[:1]))
    huge = rng.normal(size=(12, 3, 2)) * 1e30
    small = SequenceClassifier(**SMALL).fit(huge / 1e30, [0, 1] * 6)
    large = SequenceClassifier(**SMALL).fit(huge, [0, 1] * 6)
    np.testing.assert_allclose(
        large.predict_proba(huge), small.predict_proba(huge / 1e30), atol=1e-6
    )


def test_a_constant_channel_says_nothing(numbers):
    X, y = numbers
    X = [np.hstack([s, np.full((len(s), 1), 1e6)]) for s in X]
    model = SequenceClassifier(**SMALL).fit(X, y)
    encoded = model.encoder_.encode(X).values
    assert (encoded[:, 2] == 0).all()
    np.testing.assert_allclose(encoded[:, :2].std(0), 1, atol=0.3)


def test_many_classes():
    X = [[f"w{i % 50}", "x"] for i in range(150)]
    y = [f"c{i % 50}" for i in range(150)]
    model = SequenceClassifier(**SMALL).fit(X, y)
    assert model.predict_proba(X).shape == (150, 50)
    assert model.evaluate(X, y).confusion_matrix.shape == (50, 50)


def test_text_in_bytes():
    """Of UTF-8: what is printable in ASCII as it is; nothing is lost."""
    texts = ["añ \n", "\\x41", "日"] * 10
    cut_up = cut(texts, "bytes")
    assert cut_up[0].tolist() == ["a", "\\xc3", "\\xb1", " ", "\\x0a"]
    assert cut_up[1].tolist() == ["\\", "x", "4", "1"]
    assert cut_up.lengths[:3].tolist() == [len(t.encode()) for t in texts[:3]]
    model = SequenceClassifier(hidden_size=4, epochs=1, tokens="bytes", random_state=0)
    model.fit(texts, ["a", "b", "a"] * 10)
    assert model.encoder_.vocabulary_size == 2 + 12
    assert model.count_unknown(["é"]) == {"\\xa9": 1}
