"""A training from disk is the training in memory, for every kind of input and target."""

import numpy as np
import pytest
from test_estimators_checkpoint import case

from elman.data.dataset import Dataset, Layout, Static
from elman.data.encoded import StoredExamples
from elman.data.ragged import Ragged, flatten, to_objects
from elman.data.store import StoreWriter
from elman.estimators.stored import monitor_stored, prepare_stored

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
