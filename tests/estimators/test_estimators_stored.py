"""A training from disk is the training in memory, for every kind of input and target."""

import dataclasses
import shutil

import numpy as np
import pytest
from test_estimators_checkpoint import case

from elman.data.dataset import Dataset, Layout, Static
from elman.data.encoded import StoredExamples
from elman.data.ragged import Ragged, flatten, to_objects
from elman.data.store import StoreWriter
from elman.errors import DataError, SettingsError
from elman.estimators import SequenceClassifier, SequenceTagger
from elman.estimators.stored import monitor_stored, prepare_stored
from elman.explain import Watch
from elman.train import Checkpoints
from elman.train.checkpoint import Saver

ONE_BLOCK, SMALL = 1 << 30, 600
BUFFER = 1 << 24


def as_dataset(X, y, static=None):
    """Sequences and targets in the form in which a file is read."""
    if isinstance(X[0], str):
        inputs, kind = list(X), "text"
    elif isinstance(X[0], list):
        inputs, kind = Ragged.from_list([to_objects(x) for x in X], object), "tokens"
    else:
        kind = "mixed" if X[0].dtype == object else "numbers"
        inputs = Ragged.from_list(X)
    if isinstance(y, list) and isinstance(y[0], list):
        target = Ragged.from_list([to_objects(row) for row in y], object)
    elif isinstance(y, list):
        target = Ragged.from_list(y)
    elif y.ndim == 2 and y.dtype.kind in "iu":
        target = to_objects([frozenset(np.flatnonzero(row).tolist()) for row in y])
    else:
        target = y if y.dtype.kind == "f" else to_objects(y.tolist())
    values = {"numbers": ("a", "b"), "mixed": ("a", "b")}.get(kind, ())
    categories = ("word",) if kind == "mixed" else ()
    layout = Layout("steps", kind, values=values, categories=categories, target="y")
    features = None
    if static is not None:
        words = to_objects([["x", "y", ""][i % 3] for i in range(len(static))])[:, None]
        features = Static(("one", "two", "word"), static, words, (None, None, None))
    return Dataset(inputs, target, "test.csv", layout, static=features)


def store(dataset, folder, block=SMALL):
    folder.mkdir(parents=True)
    writer = StoreWriter(folder, block)
    for start in range(0, len(dataset), 4 if block == SMALL else len(dataset)):
        writer.add(
            dataset.take(
                np.arange(start, min(len(dataset), start + (4 if block == SMALL else len(dataset))))
            )
        )
    return writer.finish()


def split(number):
    """An estimator, its training, validation and test split, and weights."""
    make, arguments = case(number)
    whole = as_dataset(arguments["X"], arguments["y"], arguments.get("static"))
    estimator = make()
    count = len(whole)
    held_out = np.arange(3, count, 4) if estimator.validation else np.arange(0)
    rest = np.setdiff1d(np.arange(count), held_out)
    weights = arguments.get("sample_weight")
    weights = None if weights is None else weights[rest]
    test = arguments.get("test_data")
    return (
        estimator,
        whole.take(rest),
        whole.take(held_out) if len(held_out) else None,
        None if test is None else as_dataset(*test),
        weights,
    )


def free(estimator):
    """The estimator with settings that need no validation split."""
    return estimator.set_params(validation=0.0, keep="last", patience=0)


def in_memory(estimator, training, validation, test, weights):
    """Prepare the training in memory; without validation, nothing is held out."""
    if validation is None:
        estimator.set_params(validation=0.0)
    data = None if validation is None else (validation, None)
    prepared = estimator.prepare(training, None, weights, data)
    return prepared if test is None else estimator.monitor(prepared, (test, None))


def from_disk(estimator, training, validation, test, weights, folder, block, buffer=BUFFER):
    """Prepare the training from disk."""
    stored = store(training, folder / "a", block)
    held_out = None if validation is None else store(validation, folder / "b", block)
    prepared = prepare_stored(
        estimator, stored, held_out, folder / "encoded", buffer, sample_weight=weights
    )
    if test is None:
        return prepared
    return monitor_stored(estimator, prepared, store(test, folder / "c", block), folder / "encoded")


def same_figures(one, other):
    """Check that two encoders are the same but for rounding."""
    a, b = one.to_dict(), other.to_dict()
    assert a.keys() == b.keys()
    for name in a:
        if name in ("mean", "scale"):
            scale = np.array(b["scale"])
            np.testing.assert_allclose(
                np.array(a[name]) / scale, np.array(b[name]) / scale, atol=1e-12
            )
        elif name == "fill":
            np.testing.assert_allclose(
                np.array(a[name], float), np.array(b[name], float), rtol=1e-9, atol=1e-12
            )
        elif name == "static":
            same_figures(one.static, other.static)
        else:
            assert a[name] == b[name]


def bits(model):
    return [t.numpy().tobytes() for t in model.model_.state_dict().values()]


NUMBERS = range(24)


@pytest.mark.parametrize("number", NUMBERS)
def test_in_one_block_and_one_buffer_it_is_the_training_in_memory(number, tmp_path):
    estimator, *parts = split(number)
    expected = estimator.__class__(**estimator.get_params())
    expected.fit_prepared(in_memory(expected, *parts))
    estimator.fit_prepared(from_disk(estimator, *parts, tmp_path, ONE_BLOCK))
    assert bits(estimator) == bits(expected)
    assert estimator.history_ == expected.history_
    assert estimator.encoder_.to_dict() == expected.encoder_.to_dict()
    assert estimator.target_.to_dict() == expected.target_.to_dict()
    assert (estimator.columns_, estimator.chosen_) == (expected.columns_, expected.chosen_)
    one, other = estimator.baselines_.to_arrays(), expected.baselines_.to_arrays()
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("number", NUMBERS)
def test_in_many_blocks_the_figures_are_the_same(number, tmp_path):
    estimator, *parts = split(number)
    expected = in_memory(estimator.__class__(**estimator.get_params()), *parts)
    prepared = from_disk(estimator, *parts, tmp_path, SMALL)
    same_figures(prepared.encoder, expected.encoder)
    assert prepared.config == expected.config
    assert (prepared.model, prepared.training, prepared.plan, prepared.chosen) == (
        expected.model, expected.training, expected.plan, expected.chosen,
    )  # fmt: skip
    assert (prepared.class_weight is None) == (expected.class_weight is None)
    if expected.class_weight is not None:
        np.testing.assert_array_equal(prepared.class_weight, expected.class_weight)
    assert isinstance(prepared.examples, StoredExamples)
    for one, other in (
        (prepared.examples, expected.examples),
        (prepared.validation_examples, expected.validation_examples),
    ):
        assert (one is None) == (other is None)
        if other is not None:
            found = one.take(np.arange(len(one)))
            np.testing.assert_allclose(found.inputs.values, other.inputs.values, atol=1e-5)
            np.testing.assert_allclose(flatten(found.target), flatten(other.target), atol=1e-5)
            assert (found.weight is None) == (other.weight is None)
            if other.weight is not None:
                np.testing.assert_array_equal(flatten(found.weight), flatten(other.weight))
    if expected.monitor is not None:
        assert str(prepared.monitor) == str(expected.monitor)


def checkpointed(make, folder, monkeypatch):
    """Train with a checkpoint after each batch; return the estimator and copies of the folder."""
    save, copies = Saver.save, []

    def saving(self, state):
        save(self, state)
        copies.append(folder.with_name(f"{folder.name}-{len(copies)}"))
        shutil.copytree(folder, copies[-1])

    with monkeypatch.context() as patch:
        patch.setattr(Saver, "save", saving)
        return make(folder), copies


@pytest.mark.parametrize("number", [0, 2, 5])
def test_a_training_that_was_cut_off_in_any_fill_goes_on_with_the_same_bits(
    number, tmp_path, monkeypatch
):
    runs = iter(range(1000))
    _, *parts = split(number)
    stored = [
        None if part is None else store(part, tmp_path / str(k)) for k, part in enumerate(parts[:3])
    ]
    reads = []
    take = StoredExamples.take
    monkeypatch.setattr(
        StoredExamples, "take", lambda self, index: reads.append(len(index)) or take(self, index)
    )

    def make(folder=None, every=0.0):
        estimator = split(number)[0].set_params(batch_size=2, epochs=2)
        encoded = tmp_path / f"encoded-{next(runs)}"
        prepared = prepare_stored(
            estimator, stored[0], stored[1], encoded, BUFFER, sample_weight=parts[3]
        )
        examples = prepared.examples
        small = dataclasses.replace(examples, buffer=int(examples.sizes.sum()) // 3)
        reads.clear()
        checkpoints = None if folder is None else Checkpoints(folder, every)
        return estimator.fit_prepared(
            dataclasses.replace(prepared, examples=small), None, checkpoints
        )

    unbroken = make()
    assert len([count for count in reads if 2 <= count <= 12]) >= 6  # three fills an epoch
    fitted, copies = checkpointed(make, tmp_path / "c", monkeypatch)
    assert bits(fitted) == bits(unbroken)
    for folder in copies[:: max(1, len(copies) // 5)]:
        continued = make(folder, 1e6)
        assert bits(continued) == bits(unbroken)
        assert continued.history_ == unbroken.history_


def test_another_buffer_or_other_data_are_another_training(tmp_path):
    stored = store(split(2)[1], tmp_path / "a")

    def fit(data, buffer):
        chosen = free(split(2)[0]).set_params(batch_size=5, epochs=2)
        prepared = prepare_stored(chosen, data, None, tmp_path / "encoded", buffer)
        return chosen.fit_prepared(prepared, None, Checkpoints(tmp_path / "c", 0.0))

    fit(stored, 1200)
    with pytest.raises(SettingsError, match=r"shuffle buffer was 1,200 bytes and is 1,300 bytes"):
        fit(stored, 1300)
    with pytest.raises(SettingsError, match="the training split changed"):
        fit(stored.subset(np.arange(len(stored) - 1)), 1200)


def labelled_steps(rng, n=30):
    """Numbers with a label at some steps, and every seventh sequence without any."""
    X = [rng.normal(size=(int(t), 2)) for t in rng.integers(2, 8, n)]
    y = [[str(k) for k in rng.integers(0, 2, len(x))] for x in X]
    for i, row in enumerate(y):
        row[0] = None
        if i % 7 == 3:
            row[:] = [None] * len(row)
    return as_dataset(X, y)


@pytest.mark.parametrize("kind", ["none", "ones", "zeros", "each"])
def test_steps_and_weights_as_in_memory(kind, tmp_path):
    rng = np.random.default_rng(0)
    data = labelled_steps(rng)
    weights = None
    if kind != "none":
        rows = [np.ones(t) for t in data.lengths]
        if kind == "each":
            rows = [rng.random(t) + 0.5 for t in data.lengths]
        if kind == "zeros":
            rows[4][:] = 0
            rows[20][1] = 0
        weights = Ragged.from_list(rows)

    def make():
        return SequenceTagger(hidden_size=4, epochs=2, random_state=0, validation=0.0)

    with pytest.warns(UserWarning, match="no step of"):
        expected = make().fit(data, sample_weight=weights)
    for block in (ONE_BLOCK, SMALL):
        stored = store(data, tmp_path / f"{block}", block)
        with pytest.warns(UserWarning, match="no step of 4 of"):
            prepared = prepare_stored(
                model := make(), stored, None, tmp_path / "encoded", BUFFER, sample_weight=weights
            )
        model.fit_prepared(prepared)
        assert model.history_.gradients == expected.history_.gradients
        assert model.history_.labelled == expected.history_.labelled
        if block == ONE_BLOCK:
            assert bits(model) == bits(expected)
        else:
            for one, other in zip(model.history_.epochs, expected.history_.epochs, strict=True):
                np.testing.assert_allclose(one.loss, other.loss, rtol=1e-5)


def test_faults_name_the_sequence_of_the_split(tmp_path):
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(4, 2)) for _ in range(40)]
    X[27][:] = np.nan
    data = as_dataset(X, np.resize(["a", "b"], 40))
    stored = store(data, tmp_path / "a")
    with pytest.raises(DataError) as expected:
        SequenceClassifier(validation=0.0, keep="last").fit(data)
    with pytest.raises(DataError) as found:
        prepare_stored(SequenceClassifier(), stored, None, tmp_path / "encoded", BUFFER)
    assert str(found.value) == str(expected.value)
    assert "sequence 27:" in str(found.value)


def test_no_classes_to_tell_apart(tmp_path):
    data = as_dataset([np.ones((2, 2)) * i for i in range(9)], np.array(["a"] * 9))
    with pytest.raises(DataError, match="one class only, 'a'"):
        prepare_stored(
            SequenceClassifier(), store(data, tmp_path / "a"), None, tmp_path / "encoded", BUFFER
        )


def test_warm_start_goes_on_from_disk(tmp_path):
    estimator, training, *_ = split(1)
    options = {**free(estimator).get_params(), "warm_start": True}
    first = type(estimator)(**options).fit(training)
    both = [type(estimator)(**options).fit(training) for _ in range(2)]
    assert bits(both[0]) == bits(both[1]) == bits(first)
    both[0].fit(training)
    stored = store(training, tmp_path / "a")
    both[1].fit_prepared(prepare_stored(both[1], stored, None, tmp_path / "encoded", BUFFER))
    assert bits(both[0]) == bits(both[1])


def test_an_observer_sees_a_sample(tmp_path):
    estimator, training, *_ = split(1)
    prepared = prepare_stored(
        free(estimator), store(training, tmp_path / "a"), None, tmp_path / "encoded", BUFFER
    )
    estimator.fit_prepared(prepared, watch := Watch(every=1))
    assert watch.diagnoses


@pytest.mark.parametrize("steps", [2, 50])
def test_truncated_backpropagation_reads_chunks_from_disk(steps, tmp_path):
    data = labelled_steps(np.random.default_rng(0)).take(np.array([0, 1, 2, 4, 5, 6]))

    def make():
        options = {"tbptt": steps, "batch_size": 2, "hidden_size": 4, "epochs": 2}
        return SequenceTagger(**options, bidirectional=False, random_state=0, validation=0.0)

    expected, model = make().fit(data), make()
    stored = store(data, tmp_path / "a", ONE_BLOCK)
    model.fit_prepared(prepare_stored(model, stored, None, tmp_path / "encoded", BUFFER))
    assert bits(model) == bits(expected)
    assert model.history_ == expected.history_


def test_labels_may_begin_after_the_first_piece(tmp_path, monkeypatch):
    monkeypatch.setattr(StoredExamples.pieces, "__defaults__", (100,))
    data = labelled_steps(np.random.default_rng(0))
    held_out = data.take(np.array([3, 10, 0, 1]))  # the first two have no labels
    model = SequenceTagger(hidden_size=4, epochs=2, random_state=0)
    training = data.take(np.array([4, 5, 6, 7]))
    parts = store(training, tmp_path / "a"), store(held_out, tmp_path / "b")
    model.fit_prepared(prepare_stored(model, *parts, tmp_path / "encoded", BUFFER))
    expected = SequenceTagger(hidden_size=4, epochs=2, random_state=0)
    expected.fit(training, validation_data=(held_out, None))
    for one, other in zip(model.history_.epochs, expected.history_.epochs, strict=True):
        np.testing.assert_allclose(one.validation_loss, other.validation_loss, rtol=1e-6)
        assert one.validation_accuracy == other.validation_accuracy
