"""What cannot be learnt from or answered is refused in one message that says what was expected."""

import re

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from elman import DataError, SequenceClassifier, SequenceTagger, SettingsError, ShapeError
from elman.data import Ragged
from elman.errors import KindError

SMALL = {"hidden_size": 4, "epochs": 1, "random_state": 0}
GOOD = [np.ones((3, 2)), np.zeros((2, 2))] * 4
LABELS = ["a", "b"] * 4


def refused(error, message, call):
    with pytest.raises(error, match=re.escape(message)) as caught:
        call()
    assert isinstance(caught.value, ValueError)
    text = str(caught.value)
    assert len(text) < 500
    assert "Traceback" not in text
    return text


def with_one(index, value):
    return [value if i == index else s for i, s in enumerate(GOOD)]


INF = np.array([[1, np.nan], [3, np.inf]])
SEQUENCES = [
    (with_one(5, np.zeros((0, 2))), DataError, "sequence 5 is empty, expected at least 1 step"),
    (with_one(5, -INF), DataError, "sequence 5: step 2, channel 1 is -inf, expected finite number"),
    (with_one(5, np.full((2, 2), np.inf)), DataError, "sequence 5: step 1, channel 0 is inf"),
    (with_one(5, np.full((2, 2), np.nan)), DataError, "sequence 5: all values are NaN"),
    (with_one(5, np.ones((3, 1))), ShapeError, "sequence 5: got 1 channels, expected 2 as"),
    (with_one(5, np.ones((3, 2, 1))), ShapeError, "sequence 5: got shape (3, 2, 1), expected"),
    (with_one(5, np.ones((3, 0))), ShapeError, "sequence 5: got shape (3, 0), expected"),
    (with_one(5, [[1.0, 2], [3.0]]), DataError, "sequence 5: not an array of numbers"),
    (with_one(5, "text"), DataError, "sequence 5: not an array of numbers"),
    (with_one(5, None), (DataError, ShapeError), "sequence 5: "),
    ([["a"], ["b"], [], ["c"]] * 2, DataError, "sequence 2 is empty"),
    ([["a"], ["b"], "cd", ["c"]] * 2, DataError, "sequence 2 is 'cd', expected a list of tokens"),
    (["a", "b", 3, "c"] * 2, DataError, "sequence 2 is 3, expected a string"),
    (["a", "b", "", "c"] * 2, DataError, "sequence 2 is empty"),
    (["a b c", "d e f", "  ", "g h i"] * 2, DataError, "sequence 2 is empty"),
    ([], DataError, "X holds no sequences. Expected at least one"),
    (np.zeros((0, 3)), DataError, "X holds no sequences"),
    (np.zeros((8, 0)), ShapeError, "X: 0 feature(s) (shape=(8, 0)) while a minimum of 1 is"),
    (np.zeros(8), ShapeError, "X: got shape (8,), expected (n, T) or (n, T, C). Reshape your"),
    (np.zeros((8, 2), complex), DataError, "X: Complex data not supported"),
    (csr_array(np.eye(8)), KindError, "X: got a sparse matrix; sparse data is not supported"),
    (np.array([["a", 1]] * 8, dtype=object), KindError, "X: got str among numbers"),
    (np.array([[{}, 1]] * 8, dtype=object), KindError, "X: got dict among numbers"),
    ("text", DataError, "X is a str. Expected an array (n, T, C) or (n, T), or a list"),
    (3.0, DataError, "X is a float"),
    (None, DataError, "X is a NoneType"),
    ((s for s in GOOD), DataError, "X is a generator"),
]


@pytest.mark.parametrize(("X", "error", "message"), SEQUENCES, ids=[m for *_, m in SEQUENCES])
@pytest.mark.parametrize("validation", [0.0, 0.3])
def test_sequences_that_cannot_be_learnt_from(X, error, message, validation):
    """Named by their place in X, also where a part of X was held out before."""
    model = SequenceClassifier(**SMALL, validation=validation)
    refused(error, message, lambda: model.fit(X, LABELS))
    assert not hasattr(model, "classes_")


CLASSES = [
    (None, DataError, "this SequenceClassifier requires y to be passed, but the target y is None"),
    (1, DataError, "y is a int"),
    (LABELS[:-1], ShapeError, "y: got 7 labels, expected 8, one a sequence of X"),
    (["a"] * 8, DataError, "y holds one class only, 'a'. Expected at least two"),
    (["a"] * 7 + ["b"], DataError, "class 'b' has one sequence left"),
    ([0.5, 1.5] * 4, DataError, "y holds real numbers or gaps. Expected classes"),
    ([0, np.nan] * 4, DataError, "y: 4 of 8 labels are missing, at places 1, 3, 5 and 1 more"),
    (["a", None] * 4, DataError, "y: 4 of 8 labels are missing, at places 1, 3, 5 and 1 more"),
    (["a", np.nan] * 4, DataError, "y: 4 of 8 labels are missing"),
    (np.array(["a", 1] * 4, dtype=object), DataError, "y holds labels of the types int, str"),
    (np.array([True, 2] * 4, dtype=object), DataError, "labels of the types bool, int"),
    (np.array([[1, 2]] * 8), DataError, "y has shape (8, 2) and holds other numbers than 0 and 1"),
    (np.array([1j, 2] * 4), DataError, "y holds complex128. Expected classes"),
]


@pytest.mark.parametrize(("y", "error", "message"), CLASSES, ids=[m for *_, m in CLASSES])
def test_labels_that_cannot_be_learnt_from(y, error, message):
    refused(error, message, lambda: SequenceClassifier(**SMALL, validation=0.1).fit(GOOD, y))


def test_no_data_at_all():
    refused(DataError, "X holds no sequences", lambda: SequenceClassifier(**SMALL).fit([], []))


def test_too_few_to_split():
    X = GOOD[:2]
    model = SequenceClassifier(**SMALL, validation=0.1)
    refused(DataError, "class 'a' has one sequence left", lambda: model.fit(X, ["a", "b"]))
    X = [np.ones((2, 1)) * i for i in range(6)]
    refused(
        DataError,
        "6 sequences are too few to hold out a validation split",
        lambda: model.set_params(validation=0.9).fit(X, list("aabbcc")),
    )
    assert model.set_params(validation=0.0).fit(GOOD[:2], ["a", "b"]).predict(GOOD[:2]).shape == (
        2,
    )


TAGS = [["x"] * len(s) for s in GOOD[:-1]] + [["y"] * 2]


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (
            [*TAGS[:3], ["x"], *TAGS[4:]],
            ShapeError,
            "y, sequence 3: got 1 labels, expected 2, one a step",
        ),
        (LABELS, ShapeError, "y, sequence 0: got 'a', expected a list with a label for each step"),
        ([*TAGS[:3], [["x", "x"]], *TAGS[4:]], ShapeError, "y, sequence 3: got [['x', 'x']]"),
        ([["x"] * len(s) for s in GOOD], DataError, "y holds one class only, 'x'"),
        (TAGS[:-1], ShapeError, "y: got 7 labels, expected 8"),
        (
            [[None] * len(s) for s in GOOD],
            DataError,
            "y: no step of any sequence is labelled. Expected labels at some steps",
        ),
    ],
)
@pytest.mark.parametrize("validation", [0.0, 0.3])
def test_tags_that_cannot_be_learnt_from(y, error, message, validation):
    model = SequenceTagger(**SMALL, validation=validation)
    refused(error, message, lambda: model.fit(GOOD, y))


PARAMETERS = [
    ({"cell": "grru"}, "cell: got 'grru', expected 'rnn', 'gru' or 'lstm'"),
    ({"hidden_size": 0}, "hidden_size: got 0, expected greater than or equal to 1"),
    ({"hidden_size": 8.0}, "hidden_size: got 8.0"),
    ({"num_layers": "2"}, "num_layers: got '2'"),
    ({"bidirectional": 1}, "bidirectional: got 1"),
    ({"dropout": 1.0}, "dropout: got 1.0, expected less than 1"),
    (
        {"nonlinearity": "relu"},
        "nonlinearity: 'relu' is an option of cell 'rnn', but cell is 'gru'",
    ),
    ({"readout": "first"}, "readout: got 'first'"),
    ({"readout": "every"}, "readout: got 'every', expected 'last', 'mean', 'max' or"),
    ({"epochs": 0}, "epochs: got 0"),
    ({"batch_size": "all"}, "batch_size: got 'all'"),
    ({"learning_rate": 0}, "learning_rate: got 0"),
    ({"optimizer": "lion"}, "optimizer: got 'lion'"),
    ({"patience": -1}, "patience: got -1"),
    ({"validation": 1.0}, "validation: got 1.0"),
    ({"validation": "test"}, "give held-out data of your own to fit(..., validation_data=(X, y))"),
    ({"inputs": "words"}, "inputs: got 'words', expected 'auto', 'numbers', 'tokens', 'text' or"),
    ({"tokens": "bytes"}, "tokens: got 'bytes'"),
    ({"random_state": -1}, "random_state: got -1, expected greater than or equal to 0"),
    ({"random_state": 2**32}, "random_state: got 4294967296"),
    ({"embedding_size": 3}, "embedding_size: got 3, but the sequences are numbers"),
    ({"token_dropout": 1.0}, "token_dropout: got 1.0, but the sequences are numbers"),
    ({"tokens": "words"}, "tokens: got 'words', but the sequences are numbers"),
    ({"validation": 0.0, "keep": "best"}, "keep 'best' and patience need a validation split"),
    ({"validation": 0.0, "patience": 3}, "keep 'best' and patience need a validation split"),
    ({"threads": 0}, "threads: got 0"),
]


@pytest.mark.parametrize(("given", "message"), PARAMETERS, ids=[str(p) for p, _ in PARAMETERS])
def test_a_parameter_that_cannot_be_honoured(given, message):
    model = SequenceClassifier(**{**SMALL, **given})
    refused(SettingsError, message, lambda: model.fit(GOOD, LABELS))
    assert not hasattr(model, "classes_")


def test_all_wrong_parameters_at_once():
    model = SequenceClassifier(cell="x", epochs=0, validation=-1.0, inputs="y")
    text = refused(SettingsError, "cell: got 'x'", lambda: model.fit(GOOD, LABELS))
    assert len(text.splitlines()) == 4


def test_numbers_have_scale_and_tokens_have_not(tokens):
    X, y = tokens
    message = "scale: got False, but the sequences are tokens, which have no such setting"
    model = SequenceClassifier(**SMALL, scale=False)
    refused(SettingsError, message, lambda: model.fit(X, y))
    message = "tokens: got 'words', but the sequences are tokens"
    model = SequenceClassifier(**SMALL, tokens="words")
    refused(SettingsError, message, lambda: model.fit(X, y))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_cuda_here():
    model = SequenceClassifier(**SMALL, device="cuda")
    message = "device: got 'cuda', but torch finds no CUDA device here (`elman info` says"
    refused(SettingsError, message, lambda: model.fit(GOOD, LABELS))


@pytest.fixture(scope="module")
def fitted():
    return SequenceClassifier(**SMALL).fit(GOOD, LABELS)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ([np.ones((3, 3))], ShapeError, "X has 3 channels, expected 2 as in training"),
        ([np.ones(3)], ShapeError, "X has 1 channels, expected 2 as in training"),
        (np.ones((4, 3)), ShapeError, "X has 1 channels, expected 2 as in training"),
        ([np.zeros((0, 2))], DataError, "sequence 0 is empty"),
        ([np.ones((1, 2)), INF], DataError, "sequence 1: step 2, channel 1 is inf"),
        (
            [np.ones((1, 2)), np.array([[1, 2], [3, np.nan]])],
            DataError,
            "sequence 1: step 2, channel 1 is missing, but that channel had no gaps in training",
        ),
        ([np.ones((1, 2)), np.full((1, 2), 1e300)], DataError, "sequence 1: channel 0 holds 1.0e+"),
        (["abc"], DataError, "X holds text, expected numbers as in training"),
        ([["a", "b"]], DataError, "expected"),
        ([], DataError, "X holds no sequences"),
        (None, DataError, "X is a NoneType"),
    ],
)
def test_sequences_that_have_no_answer(fitted, X, error, message):
    for call in (fitted.predict, fitted.predict_proba, fitted.check):
        refused(error, message, lambda call=call: call(X))


def test_truth_that_does_not_fit(fitted):
    refused(ShapeError, "y: got 2 labels, expected 8", lambda: fitted.evaluate(GOOD, ["a", "b"]))
    message = "y holds classes that training has not seen: 'c'. Leave those sequences out"
    refused(DataError, message, lambda: fitted.evaluate(GOOD, ["a", "c"] * 4))
    message = "y holds 0, expected labels like 'a'"
    refused(DataError, message, lambda: fitted.evaluate(GOOD, [0, 1] * 4))
    many = [f"c{i}" for i in range(8)]
    refused(DataError, "and 3 more", lambda: fitted.evaluate(GOOD, many))
    model = SequenceClassifier(**SMALL)
    message = "y holds classes that training has not seen: 'c'"
    held = (GOOD[:2], ["a", "c"])
    refused(DataError, message, lambda: model.fit(GOOD, LABELS, validation_data=held))


def test_tags_that_do_not_fit(numbers, tags):
    X, _ = numbers
    y = tags(X)
    model = SequenceTagger(**SMALL).fit(X, y)
    wrong = [*y[:2], y[2][:-1], *y[3:]]
    for call in (model.score, model.evaluate):
        message = "y, sequence 2: got 3 labels, expected 4"
        refused(ShapeError, message, lambda call=call: call(X, wrong))


def test_unknown_tokens_are_counted_and_not_fatal(tokens):
    X, y = tokens
    model = SequenceClassifier(**SMALL).fit(X, y)
    new = [["a", "xx", "xx"], ["zz"], ["yes"]]
    assert model.count_unknown(new) == {"xx": 2, "zz": 1}
    assert np.isfinite(model.predict_proba(new)).all()
    np.testing.assert_array_equal(model.predict_proba([["zz"]]), model.predict_proba([["qq"]]))
    assert model.count_unknown(X) == {}


def test_values_too_large():
    X = [np.full((2, 1), 1e200 * (i + 1)) for i in range(8)]
    message = "channel 0 holds values up to 8.0e+200, too large to standardise"
    model = SequenceClassifier(**SMALL, validation=0.0)
    refused(DataError, message, lambda: model.fit(X, LABELS))
    model.set_params(scale=False)
    message = "sequence 0: channel 0 holds 1.0e+200, too large for the network"
    refused(DataError, message, lambda: model.fit(X, LABELS))


def test_a_training_that_diverges(numbers):
    X, y = numbers
    model = SequenceClassifier(
        **{**SMALL, "epochs": 30},
        cell="rnn",
        nonlinearity="relu",
        optimizer="sgd",
        learning_rate=1e9,
        clip_norm=0.0,
        scale=False,
    )
    with pytest.raises(Exception, match="The input is very large") as caught:
        model.fit([s * 1e6 for s in X], y)
    assert type(caught.value).__name__ == "NonFiniteError"
    assert not hasattr(model, "model_")


def test_a_ragged_of_another_kind(tokens, numbers):
    model = SequenceClassifier(**SMALL).fit(*tokens)
    message = "X holds numbers, expected tokens as in training"
    refused(DataError, message, lambda: model.predict(Ragged.from_list(numbers[0])))
