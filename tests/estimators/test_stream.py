"""Streams: rows, states, resets, several steps at once, gaps, names, and what is refused."""

from __future__ import annotations

import copy
import pickle
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from elman import SequenceClassifier, SequenceRegressor, SequenceTagger, StreamState, load
from elman.data import Ragged
from elman.errors import DataError, ModelFileError, SettingsError, ShapeError

SMALL: dict[str, Any] = {"hidden_size": 6, "epochs": 1, "random_state": 0, "streaming": True}
NAMES = ["temp", "flow"]


def series(count: int = 20, *, gaps: bool = False) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    X = [rng.normal(3, 2, (n, 2)) for n in rng.integers(2, 8, count)]
    if gaps:
        for own in X:
            own[rng.random(len(own)) < 0.4, 0] = np.nan
    return X


LABELS = ["a", "b"] * 10


@pytest.fixture(scope="module")
def classifier() -> SequenceClassifier:
    return SequenceClassifier(readout="mean", **SMALL).fit(
        series(gaps=True), LABELS, column_names=NAMES
    )


@pytest.fixture(scope="module")
def reader() -> SequenceClassifier:
    texts = ["the cat sat down", "dogs run over the road"] * 10
    return SequenceClassifier(tokens="words", **SMALL).fit(texts, LABELS)


@pytest.fixture(scope="module")
def mixed() -> SequenceClassifier:
    X = [pd.DataFrame({"temp": s[:, 0], "mode": ["on", "off", "x"][i % 3]}) for i, s in
         enumerate(series())]  # fmt: skip
    return SequenceClassifier(**SMALL).fit(X, LABELS)


def whole(model: Any, X: list[np.ndarray]) -> np.ndarray:
    """The answers for whole sequences, in which NaN is a gap also at the end."""
    return model.predict_proba(Ragged.from_list(X))


def test_rows_are_independent_and_step_when_they_are_named(classifier: Any) -> None:
    X = series(gaps=True)[:3]
    stream = classifier.stream(3)
    order = np.random.default_rng(1).permutation([i for i in range(3) for _ in X[i]])
    taken = [0, 0, 0]
    for i in order:
        found = stream.step(X[i][taken[i]], rows=[i])
        taken[i] += 1
        np.testing.assert_array_equal(found, whole(classifier, [X[i][: taken[i]]]))
    assert stream.steps.tolist() == [len(own) for own in X]


def test_rows_as_truth_values_and_from_the_end(classifier: Any) -> None:
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    one, two = classifier.stream(3), classifier.stream(3)
    found = one.step(x, rows=[True, False, True]), two.step(x[::-1], rows=[-1, 0])
    np.testing.assert_array_equal(found[0], found[1][::-1])
    assert one.steps.tolist() == two.steps.tolist() == [1, 0, 1]
    assert one.step(np.zeros((0, 2)), rows=[]).shape == (0, 2)


@pytest.mark.parametrize("rows", [[0, 0], [0, -3], [3], [-4], [0.5], [True], "a", [[0]]])
def test_wrong_rows_are_refused(classifier: Any, rows: Any) -> None:
    stream = classifier.stream(3)
    with pytest.raises(ShapeError, match="rows: got"):
        stream.step(np.zeros((1, 2)), rows=rows)
    assert stream.steps.tolist() == [0, 0, 0]


def test_reset_begins_anew(classifier: Any) -> None:
    X = series(gaps=True)[:3]
    stream = classifier.stream(3)
    stream.feed(X)
    before = stream.state
    stream.reset([1])
    assert stream.steps.tolist() == [len(X[0]), 0, len(X[2])]
    for name, own in stream.state.arrays.items():
        np.testing.assert_array_equal(own[[0, 2]], before.arrays[name][[0, 2]])
    # A gap at the start must not take a value of the sequence before.
    first = np.array([[np.nan, 1.0]])
    found = stream.step(first, rows=[1])
    np.testing.assert_array_equal(found, whole(classifier, [first]))
    stream.reset()
    np.testing.assert_array_equal(stream.feed(X), whole(classifier, X))


def test_a_buffer_that_is_used_again_changes_nothing(classifier: Any) -> None:
    buffer, stream = np.zeros((1, 2)), classifier.stream()
    for x in ([5.0, 1.0], [np.nan, 2.0], [np.nan, 3.0]):
        buffer[:] = x
        found = stream.step(buffer)
        found[:] = 0  # nor does a change of what was returned
        buffer[:] = 1e6
    found = stream.step(np.array([[np.nan, 4.0]]))
    X = [np.array([[5.0, 1.0], [np.nan, 2.0], [np.nan, 3.0], [np.nan, 4.0]])]
    np.testing.assert_array_equal(found, whole(classifier, X))


def test_feed_takes_many_steps_of_any_number() -> None:
    X = series()
    y = [np.arange(len(own)) / 3 for own in X]
    for model in (
        SequenceTagger(**SMALL).fit(X, [(["a", "b"] * 4)[: len(own)] for own in X]),
        SequenceRegressor(readout="every", **SMALL).fit(X, y),
    ):
        stream = model.stream(4)
        first = stream.feed([own[:1] for own in X[:4]])
        assert [own.shape for own in first] == [(1, model.target_.num_outputs)] * 4
        rest = stream.feed([own[1:] for own in X[:4]])
        expected = getattr(model, "predict_proba", model.predict)(X[:4])
        for a, b, own in zip(first, rest, expected, strict=True):
            np.testing.assert_array_equal(np.vstack([a, b]), own.reshape(len(own), -1))


def test_feed_of_text_and_its_words(reader: Any) -> None:
    texts = ["The cat runs", "dogs"]
    stream = reader.stream(2)
    np.testing.assert_array_equal(stream.feed(texts), reader.predict_proba(texts))
    np.testing.assert_array_equal(
        stream.feed(["over   the road!"], rows=[1]),
        reader.predict_proba(["dogs over   the road!"]),
    )
    alone = reader.stream()
    np.testing.assert_array_equal(alone.step("Dogs"), reader.predict_proba(["dogs"]))
    for text, count in (("two words", 2), ("", 0), (" ", 0)):
        with pytest.raises(DataError, match=f"is {count} words, expected exactly one word"):
            alone.step(text)
    with pytest.raises(DataError, match="sequence 1 has no steps"):
        stream.feed(["cat", " "])
    with pytest.raises(DataError, match="expected text"):
        alone.step([3])
    assert alone.steps.tolist() == [1]
    assert stream.steps.tolist() == [3, 5]


def test_a_wrong_value_leaves_every_sequence_as_it_was(classifier: Any) -> None:
    stream = classifier.stream(2)
    stream.step([[1.0, 2.0], [3.0, 4.0]])
    before = stream.state
    faults = (
        (np.nan, "step 3, channel 'flow' is missing, but that channel had no gaps"),
        (np.inf, "step 3, channel 'flow' is inf, expected finite numbers"),
        (-1e39, r"step 3, channel 'flow' holds -1.0e\+39, too large for the network"),
    )
    for value, message in faults:
        with pytest.raises(DataError, match=f"sequence 1: {message}"):
            stream.feed([[[1.0, 2.0], [1.0, 2.0]], [[1.0, 2.0], [1.0, value]]])
        with pytest.raises(DataError, match=f"sequence 0: {message.replace('3', '2', 1)}"):
            stream.step([[1.0, value], [1.0, 1.0]])
    for name, own in stream.state.arrays.items():
        np.testing.assert_array_equal(own, before.arrays[name])


def test_fill(classifier: Any) -> None:
    X = [np.array([[1.0, 2.0], [np.nan, np.nan], [3.0, np.nan]])]
    for fill in ("previous", "mean", "zero"):
        stream = classifier.stream(fill=fill)
        found = [stream.step(x) for x in X[0]][-1]
        expected = classifier.predict_proba(classifier.encode(Ragged.from_list(X), fill=fill))
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(DataError, match="there is no previous value of it"):
        classifier.stream(fill="previous").step([1.0, np.nan])
    with pytest.raises(SettingsError, match="fill: got 'middle', expected one of"):
        classifier.stream(fill="middle")
    unscaled = SequenceClassifier(scale=False, **SMALL).fit(series(), LABELS)
    with pytest.raises(SettingsError, match="fill: got 'mean', but the model was trained without"):
        unscaled.stream(fill="mean")


def test_columns_are_matched_by_name(classifier: Any, mixed: Any) -> None:
    expected = classifier.stream(2).step([[1.0, 2.0], [3.0, 4.0]])
    records = [{"flow": 2.0, "temp": 1.0}, {"temp": 3.0, "flow": 4.0}]
    turned = {"flow": [2.0, 4.0], "temp": [1.0, 3.0]}
    for x in (records, pd.DataFrame(turned), pl.DataFrame(turned)):
        np.testing.assert_array_equal(classifier.stream(2).step(x), expected)
    for x in (records[0], pd.Series(records[0]), np.array([1.0, 2.0]), torch.tensor([1.0, 2.0])):
        np.testing.assert_array_equal(classifier.stream().step(x), expected[:1])
    with pytest.raises(ShapeError, match=r"there is no column 'temp'.*Did you mean 'temo'"):
        classifier.stream().step({"temo": 1.0, "flow": 2.0})
    expected = mixed.predict_proba([[[1.5, "on"]], [[2.5, "off"]]])
    records = [{"mode": "on", "temp": 1.5}, {"temp": 2.5, "mode": "off"}]
    for x in (records, pd.DataFrame(records), [[1.5, "on"], [2.5, "off"]]):
        np.testing.assert_array_equal(mixed.stream(2).step(x), expected)
    with pytest.raises(DataError, match="step 1, channel 'temp' is 'hot', expected a number"):
        mixed.stream().step({"mode": "on", "temp": "hot"})


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((3, 2)), r"got shape \(3, 2\), expected \(1, 2\).*use stream.feed"),
        ([1.0, 2.0, 3.0], r"got shape \(3,\), expected \(1, 2\): 2 channels of 1 sequence"),
        (1.0, r"got shape \(\), expected"),
        ("abc", "not an array of numbers"),
        ([[1.0], [2.0, 3.0]], "not an array of numbers"),
        (np.array([1 + 2j, 0]), "complex"),
        (None, "got shape|not an array of numbers"),
    ],
)
def test_wrong_steps_are_refused(classifier: Any, x: Any, message: str) -> None:
    with pytest.raises((ShapeError, DataError), match=message):
        classifier.stream().step(x)


def test_tokens_of_any_type() -> None:
    X = [["1", "2", "b"], ["2", "1"], ["b", "b", "2", "1"]] * 6 + [["1", "1"]] * 2
    model = SequenceClassifier(inputs="tokens", **SMALL).fit(X, LABELS)
    stream = model.stream(2)
    stream.step([1, 2])
    found = stream.step(np.array(["b", "unknown"]))
    np.testing.assert_array_equal(found, model.predict_proba([["1", "b"], ["2", "unknown"]]))
    np.testing.assert_array_equal(model.stream().step("b"), model.predict_proba([["b"]]))
    with pytest.raises(ShapeError, match="got 3 entries, expected 2 tokens"):
        stream.step([1, 2, 3])
    with pytest.raises(ShapeError, match="expected a list of 2 tokens"):
        stream.step("ab")


def test_states_are_split_joined_saved_and_loaded(classifier: Any, tmp_path: Path) -> None:
    X = series(gaps=True)[:4]
    stream = classifier.stream(4)
    stream.feed([own[:1] for own in X])
    parts = [stream.state[[2, 0]], stream.state[1], stream.state[3:]]
    parts[0].save(tmp_path / "part.safetensors")
    parts[0] = StreamState.load(tmp_path / "part.safetensors")
    classifier.save(tmp_path / "model")
    other = load(tmp_path / "model").stream()
    other.state = StreamState.join(parts)
    assert other.batch_size == 4
    order = [2, 0, 1, 3]
    np.testing.assert_array_equal(
        other.feed([X[i][1:] for i in order]), whole(classifier, X)[order]
    )
    # What was assigned is a copy, as what is read.
    np.testing.assert_array_equal(parts[0].arrays["steps"], [1, 1])
    stream.state.arrays["h"][:] = 0
    assert stream.state.arrays["h"].any()


def test_the_state_of_another_model_is_refused(classifier: Any, reader: Any) -> None:
    other = copy.deepcopy(classifier)
    assert other.stream().state.model == classifier.stream().state.model
    with torch.no_grad():
        other.model_.output.bias[0] += 1e-3
    for model in (other, reader):
        with pytest.raises(SettingsError, match="state: it belongs to another model"):
            classifier.stream().state = model.stream().state
    with pytest.raises(SettingsError, match="states: they belong to different models"):
        StreamState.join([other.stream().state, classifier.stream().state])
    with pytest.raises(SettingsError, match="states: got none"):
        StreamState.join([])
    with pytest.raises(SettingsError, match="state: got a dict, expected a StreamState"):
        classifier.stream().state = {}
    state = classifier.stream().state
    for arrays in (
        {**state.arrays, "h": state.arrays["h"].astype(np.float64)},
        {**state.arrays, "h": state.arrays["h"][:, :, 1:]},
        {**state.arrays, "more": state.arrays["h"]},
        {name: own for name, own in state.arrays.items() if name != "h"},
    ):
        with pytest.raises(ShapeError, match=r"state: '(h|more)' is"):
            classifier.stream().state = StreamState(arrays, state.model)


def test_a_damaged_state_file_is_refused(classifier: Any, tmp_path: Path) -> None:
    path = tmp_path / "state"
    classifier.stream(2).state.save(path)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in [*range(9), *rng.integers(0, len(content), 60).tolist()]:
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(ModelFileError):
            StreamState.load(path)
    path.write_bytes(content[:-1])
    with pytest.raises(ModelFileError, match="damaged"):
        StreamState.load(path)
    with pytest.raises(ModelFileError, match="no such file"):
        StreamState.load(tmp_path / "none")
    classifier.save(tmp_path / "m")
    with pytest.raises(ModelFileError, match=r"is no state that StreamState.save wrote"):
        StreamState.load(tmp_path / "m" / "model.safetensors")


def test_static_features_belong_to_each_sequence() -> None:
    X, age = series(), np.linspace(20, 80, 20)
    model = SequenceClassifier(static_to="both", **SMALL).fit(X, LABELS, static=age)
    expected = model.predict_proba(X[:3], static=age[:3])
    stream = model.stream(3, static=age[:3])
    np.testing.assert_array_equal(stream.feed(X[:3]), expected)
    stream.reset([0, 2])  # with the same features
    np.testing.assert_array_equal(stream.feed([X[0], X[2]], rows=[0, 2]), expected[[0, 2]])
    stream.reset([1], static=age[5:6])
    np.testing.assert_array_equal(
        stream.feed(X[5:6], rows=[1]), model.predict_proba(X[5:6], static=age[5:6])
    )
    stream.reset([1])  # with those that were given last
    np.testing.assert_array_equal(
        stream.feed(X[5:6], rows=[1]), model.predict_proba(X[5:6], static=age[5:6])
    )
    other = stream.fork(1, static=age[:1])
    other.state = stream.state[[2]]
    other.reset()
    np.testing.assert_array_equal(other.feed(X[2:3]), expected[2:])
    for static in (None, age[:2]):
        with pytest.raises((DataError, ShapeError), match="static"):
            model.stream(3, static=static)


def test_a_stream_keeps_the_weights_it_was_made_with(classifier: Any) -> None:
    model = copy.deepcopy(classifier)
    x = [[1.0, 2.0]]
    stream = model.stream()
    expected = stream.fork().step(x)
    with torch.no_grad():
        for parameter in model.model_.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(stream.step(x), expected)
    assert stream.state.model == classifier.stream().state.model != model.stream().state.model


def test_each_thread_may_have_a_stream(classifier: Any) -> None:
    X = series(gaps=True) * 4
    expected = whole(classifier, X)
    first, found = classifier.stream(), np.empty_like(expected)

    def work(numbers: range) -> None:
        stream = first.fork()
        for i in numbers:
            stream.reset()
            found[i] = stream.feed([X[i]])[0]

    threads = [threading.Thread(target=work, args=(range(k, len(X), 4),)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(found, expected)


def test_decide_returns_what_predict_returns(classifier: Any) -> None:
    X = series()
    stream = classifier.stream(4)
    assert stream.decide(stream.feed(X[:4])).tolist() == classifier.predict(X[:4]).tolist()
    regressor = SequenceRegressor(**SMALL).fit(X, np.arange(20.0))
    stream = regressor.stream(4)
    answers = stream.feed(X[:4])
    assert answers.shape == (4, 1)
    np.testing.assert_array_equal(stream.decide(answers), regressor.predict(X[:4]))


def test_a_network_of_both_directions_is_refused() -> None:
    model = SequenceClassifier(**{**SMALL, "streaming": False}).fit(series(), LABELS)
    with pytest.raises(
        SettingsError, match=r"--streaming, or SequenceClassifier\(streaming=True\)"
    ):
        model.stream()
    for size in (0, -1, 1.5, True, "2"):
        with pytest.raises(SettingsError, match="batch_size: got"):
            SequenceClassifier(**SMALL).fit(series(), LABELS).stream(size)


def test_streaming_chooses_one_direction_and_refuses_two() -> None:
    X = series()
    model = SequenceClassifier(**SMALL).fit(X, LABELS)
    assert not model.model_.config.bidirectional
    assert "bidirectional no" in model.chosen_
    with pytest.raises(SettingsError, match=r"streaming: .* but bidirectional is on"):
        SequenceClassifier(**SMALL, bidirectional=True).fit(X, LABELS)
    both = SequenceClassifier(**{**SMALL, "streaming": False}, warm_start=True).fit(X, LABELS)
    with pytest.raises(SettingsError, match=r"streaming: .* but bidirectional is on"):
        both.set_params(streaming=True).fit(X, LABELS)


def test_a_model_that_torch_runs_streams_too(classifier: Any) -> None:
    """With tolerance: the order of sums is torch's."""
    model, X = copy.deepcopy(classifier), series(gaps=True)[:3]
    model.model_.output.register_forward_hook(lambda module, inputs, output: output * 2)
    np.testing.assert_allclose(model.stream(3).feed(X), whole(model, X), atol=1e-6)
    assert abs(whole(model, X) - whole(classifier, X)).max() > 1e-3


def test_a_model_in_bfloat16_keeps_its_state(classifier: Any, tmp_path: Path) -> None:
    model, X = copy.deepcopy(classifier), series(gaps=True)[:3]
    model.model_.bfloat16()
    stream, other = model.stream(3), model.stream()
    stream.feed([own[:1] for own in X])
    stream.state.save(tmp_path / "state")
    other.state = StreamState.load(tmp_path / "state")
    rest = [own[1:] for own in X]
    np.testing.assert_array_equal(stream.feed(rest), other.feed(rest))


def test_a_quantized_model_streams(classifier: Any) -> None:
    model, X = copy.deepcopy(classifier), series(gaps=True)[:3]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.model_ = torch.ao.quantization.quantize_dynamic(
            model.model_, {torch.nn.Linear}, dtype=torch.qint8
        )
    for own in X:  # one by one: torch takes the range that it quantizes from the whole batch
        np.testing.assert_allclose(model.stream().feed([own]), whole(model, [own]), atol=1e-6)
    assert model.stream().state.model != classifier.stream().state.model


def test_a_stream_is_not_copied(classifier: Any) -> None:
    for make in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match=r"keep stream\.state"):
            make(classifier.stream())
