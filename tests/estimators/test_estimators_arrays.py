"""Arrays of every library, and hints where an array or a list can be read in two ways."""

from __future__ import annotations

import copy
import datetime
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

from elman import (
    DataError,
    DataWarning,
    SequenceClassifier,
    SequenceTagger,
    ShapeError,
)
from elman.data import Ragged, read
from elman.errors import ElmanError, KindError
from elman.estimators.inputs import as_numbers

SMALL = {"hidden_size": 4, "epochs": 1, "validation": 0, "random_state": 0}
RNG = np.random.default_rng(0)
Y = np.arange(20) % 2
X = RNG.normal(size=(20, 12, 3))
PADDED = X.copy()
PADDED[:5, 8:] = np.nan
ENDS = np.array([8] * 5 + [12] * 15)
INNER = PADDED.copy()
INNER[3, 2] = np.nan  # a gap, and not an end


def fit(X, y=Y, estimator=SequenceClassifier, **settings):
    return estimator(**SMALL | settings).fit(X, y)


@pytest.fixture(scope="module")
def model():
    return fit(X)


def test_padding_means_the_same_in_every_container_and_in_files(tmp_path):
    np.savez(tmp_path / "a.npz", X=INNER, y=Y)
    data = read(tmp_path / "a.npz")
    assert data.lengths.tolist() == ENDS.tolist()
    wanted = fit(data).predict_proba(data)
    packed = Ragged.from_padded(INNER, ENDS)
    assert np.array_equal(fit(packed).predict_proba(packed), wanted)
    for form in (
        INNER,
        list(INNER),
        torch.tensor(INNER),
        INNER.tolist(),
        list(torch.tensor(INNER)),
    ):
        with pytest.warns(DataWarning, match="5 of 20 sequences end in steps of NaN alone"):
            fitted = fit(form)
        with pytest.warns(DataWarning, match="end in steps of NaN alone"):
            assert np.array_equal(fitted.predict_proba(form), wanted)
        with pytest.warns(DataWarning, match="end in steps of NaN alone"):
            assert fitted.score(form, Y) == fit(data).score(data)
    short = [x[:n] for x, n in zip(INNER, ENDS, strict=True)]
    assert np.array_equal(fit(short).predict_proba(short), wanted)


def test_lengths_keep_gaps_at_the_end():
    for lengths in ([12] * 20, (12,) * 20, torch.full((20,), 12), pd.Series([12] * 20)):
        kept = Ragged.from_padded(PADDED, lengths)
        assert kept.lengths.tolist() == [12] * 20
    assert fit(kept).encoder_.gaps.all()
    for lengths in ([12] * 19, [13] * 20, [0] * 20, [1.5] * 20):
        with pytest.raises(DataError, match="lengths"):
            Ragged.from_padded(PADDED, lengths)


@pytest.mark.filterwarnings("ignore:.*end in steps of NaN alone:UserWarning")
def test_labels_and_weights_of_steps_end_with_their_sequence():
    y = np.repeat(Y[:, None], 12, 1)
    tags, weights = y.tolist(), np.ones((20, 12))
    tagger = fit(PADDED, y, SequenceTagger)
    assert [len(p) for p in tagger.predict(PADDED)] == ENDS.tolist()
    short = [x[:n] for x, n in zip(PADDED, ENDS, strict=True)]
    cut = [t[:n] for t, n in zip(tags, ENDS, strict=True)]
    for labels, weight in ((tags, None), (tags, weights), (cut, None)):
        again = SequenceTagger(**SMALL).fit(PADDED, labels, sample_weight=weight)
        assert (
            np.concatenate(again.predict(short)).tolist()
            == np.concatenate(tagger.predict(PADDED)).tolist()
        )
    assert tagger.score(PADDED, tags) == tagger.score(short, cut)
    assert tagger.evaluate(PADDED, tags).accuracy == tagger.evaluate(short, cut).accuracy
    held = SequenceTagger(**SMALL).fit(X, y, validation_data=(PADDED, tags))
    assert np.isfinite(held.history_.epochs[0].validation_loss)


def test_a_sequence_of_nan_alone_is_refused():
    empty = X.copy()
    empty[4] = np.nan
    with pytest.raises(DataError, match="sequence 4: all values are NaN"):
        fit(empty)


def test_channels_first_is_said(model):
    turned = X.transpose(0, 2, 1)
    for form in (turned, list(turned), torch.tensor(turned.copy()), turned.tolist()):
        with pytest.warns(DataWarning, match=r"20 sequences of 3 steps and 12.*X.transpose\(0, 2"):
            fit(form)
    for form in (turned, list(turned)):
        with pytest.raises(ShapeError, match=r"12 channels, expected 3 as in.*x\.T for x in X"):
            model.predict(form)
    ragged = [RNG.normal(size=(3, 10 + i)) for i in range(20)]
    with pytest.raises(ShapeError, match=r"channels first, \(C, T\), give \[x.T for x in X\]"):
        fit(ragged)
    named = SequenceClassifier(**SMALL).fit(turned, Y, column_names=[f"c{i}" for i in range(12)])
    assert named.columns_.count == 12  # whoever names 12 channels has 12


@pytest.mark.parametrize(
    "form",
    [
        lambda x: torch.tensor(x, requires_grad=True),
        lambda x: [torch.tensor(row, requires_grad=True) for row in x],
        lambda x: x.astype(">f8"),
        lambda x: np.asfortranarray(x),
        lambda x: np.ma.array(x),
        lambda x: x[::-1][::-1],
        lambda x: pd.DataFrame(
            {c: [pd.Series(row[:, k]) for row in x] for k, c in enumerate("abc")}
        ),
        lambda x: torch.nested.nested_tensor([torch.tensor(r) for r in x], layout=torch.jagged),
    ],
)
def test_the_same_numbers_in_another_container(model, form):
    given = form(X)
    assert np.array_equal(fit(given, torch.tensor(Y)).predict_proba(given), model.predict_proba(X))


def test_numbers_of_every_size():
    whole = RNG.integers(0, 9, size=(20, 6, 2))
    wanted = fit(whole.astype(float)).predict_proba(whole.astype(float))
    read_only = whole.astype(float)
    read_only.flags.writeable = False
    forms = [whole.astype(t) for t in ("f2", "f4", "u1", "i8", ">i4")]
    forms += [torch.tensor(whole).bfloat16(), torch.tensor(whole).half(), read_only]
    for form in forms:
        assert np.array_equal(fit(form).predict_proba(form), wanted)


def test_memory_maps(tmp_path, model):
    np.save(tmp_path / "a.npy", X)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert np.array_equal(fit(mapped).predict_proba(mapped), model.predict_proba(X))


def test_what_is_masked_is_a_gap():
    mask = X > 1.5
    masked = np.ma.array(X, mask=mask)
    gaps = np.where(mask, np.nan, X)
    wanted = fit(gaps).predict_proba(gaps)
    for form in (masked, list(masked), np.ma.array((X * 0 + 1).astype(int), mask=mask)):
        assert fit(form).encoder_.gaps.all()
    assert np.array_equal(fit(masked).predict_proba(list(masked)), wanted)
    with pytest.raises(DataError, match="1 of 20 labels are missing, at places 3"):
        fit(X, np.ma.array(Y, mask=np.arange(20) == 3))


REFUSED = {
    "complex": (X + 1j, "Complex data.*np.abs"),
    "list of complex": (list(X + 1j), "sequence 0: Complex data.*X.imag"),
    "complex objects": (list((X + 1j).astype(object)), "Complex data"),
    "complex tensor": (torch.tensor(X) + 1j, "Complex data"),
    "lists of complex": ((X[:, :, 0] + 1j).tolist(), "Complex data"),
    "dates": (X.astype("M8[s]"), "got dates.*np.timedelta64"),
    "list of dates": (list(X.astype("M8[s]")), "got dates"),
    "time differences": (X.astype("m8[s]"), "got time differences"),
    "objects with dates": (
        [np.array([[1.0, datetime.datetime(2024, 1, 1)]], object)] * 20,
        "got dates",
    ),
    "frames with dates": (
        [pd.DataFrame({"t": pd.date_range("2024", periods=3), "x": 1.0})] * 20,
        "got dates",
    ),
    "records": (np.zeros((20, 5), [("a", "f4")]), "structured_to_unstructured"),
    "sparse": (scipy.sparse.csr_matrix(X[:, :, 0]), "sparse.*toarray"),
    "list of sparse": ([scipy.sparse.csr_matrix(x) for x in X], "sequence 0.*sparse"),
    "sparse tensor": (torch.tensor(X).to_sparse(), "to_dense"),
    "no values": (torch.empty(20, 3, 2, device="meta"), "meta"),
    "generator": ((x for x in X), r"a generator.*list\(X\)"),
    "map": (map(abs, X), r"a map.*list\(X\)"),
    "dictionary": (dict(enumerate(X)), r"a dict.*X.values"),
    "set": ({1, 2}, "a set"),
    "TensorDataset": (torch.utils.data.TensorDataset(torch.tensor(X)), "dataset.tensors"),
    "DataLoader": (torch.utils.data.DataLoader(X), "a DataLoader.*loader.dataset"),
    "Subset": (torch.utils.data.Subset(X, [1, 2]), "a Subset of torch.*for x, y in dataset"),
    "columns of two levels": (
        pd.DataFrame(X[:, :, 0], columns=pd.MultiIndex.from_product([["x", "y"], range(6)])),
        "2 levels.*np.stack",
    ),
    "no sequences": (X[:0], "no sequences"),
    "no steps": (X[:, :0], "sequence 0 is empty"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_a_remedy(name):
    given, message = REFUSED[name]
    with pytest.raises(DataError, match=f"(?s){message}"):
        fit(given, Y[: len(given)] if name == "no sequences" else Y)


def test_nested_frames():
    nested = pd.DataFrame({c: [pd.Series(x[:, k]) for x in X] for k, c in enumerate("abc")})
    model = fit(nested)
    assert model.columns_.names == ("a", "b", "c")
    assert np.array_equal(model.predict_proba(nested[["c", "a", "b"]]), model.predict_proba(nested))
    nested["b"] = [pd.Series([1.0])] * 20
    with pytest.raises(ShapeError, match="row 0 has channels of 12, 1, 12 steps"):
        fit(nested)


def waves(kind=int):
    return [[kind(70 + 9 * np.sin(t / 3 + i)) for t in range(30)] for i in range(20)]


@pytest.mark.parametrize(
    ("lists", "why"),
    [
        (waves(), "neighbours in time are alike"),
        ([[v - 70 for v in x] for x in waves()], "some are negative"),
        (RNG.integers(0, 4000, (20, 30)).tolist(), "of 600 are different"),
    ],
)
def test_whole_numbers_that_look_like_measurements(lists, why):
    with pytest.warns(DataWarning, match=f"read as tokens, but look like.*{why}.*inputs='numbers'"):
        assert fit(lists).encoder_.kind == "tokens"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fit(lists, inputs="numbers").encoder_.kind == "numbers"
        assert fit(lists, inputs="tokens").encoder_.kind == "tokens"
        assert fit([np.asarray(x, float) for x in lists]).encoder_.kind == "numbers"


def ids():
    drawn = np.random.default_rng(1).zipf(1.3, size=(20, 60)).clip(max=400)
    return [row[: 40 + i].tolist() for i, row in enumerate(drawn)]


def test_whole_numbers_that_look_like_tokens():
    lists = ids()
    assert fit(lists).encoder_.kind == "tokens"  # without a warning
    assert fit(RNG.integers(1, 9, (20, 30)).tolist()).encoder_.kind == "tokens"
    after, before = np.zeros((20, 60), int), np.zeros((20, 60), int)
    for i, row in enumerate(lists):
        after[i, : len(row)], before[i, 60 - len(row) :] = row, row
    for padded in (after, before):
        with pytest.warns(
            DataWarning, match="looks like token ids, padded with 0.*inputs='tokens'"
        ):
            assert fit(padded).encoder_.kind == "numbers"
        assert fit(padded, inputs="tokens").encoder_.kind == "tokens"
    assert fit(np.array(waves())).encoder_.kind == "numbers"  # without a warning


def test_one_float_among_whole_numbers_is_said():
    lists = ids()
    lists[3][2] = float(lists[3][2])
    with pytest.warns(DataWarning, match="1 of .* whole numbers are floats"):
        assert fit(lists).encoder_.kind == "numbers"
    lists[3][2] += 0.5
    assert fit(lists).encoder_.kind == "numbers"  # certainly, and without a warning


def test_unknown_whole_numbers_are_counted():
    model = fit([[1, 2, 3], [3, 1, 2]] * 10)
    assert len(model.predict([[1, 2.0, 3]])) == 1  # 2.0 is the token 2
    with pytest.warns(DataWarning, match=r"2 of 5 tokens \(40%\) were not in the training data"):
        model.predict([[1, 9, 8], [1, 2]])
    words = fit([["a", "b"], ["b", "a"]] * 10)
    words.predict([["c", "b"]])  # unknown words are usual


def test_kind_error_is_a_type_error():
    with pytest.raises(TypeError) as error:
        fit(scipy.sparse.dok_array(X[:, :, 0]))
    assert isinstance(error.value, KindError)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_models_that_torch_has_converted(model):
    x = torch.tensor(X[:4], dtype=torch.float32)
    quantized = torch.ao.quantization.quantize_dynamic(
        copy.deepcopy(model.model_), {torch.nn.Linear}, dtype=torch.qint8
    )
    wanted = model.model_(x).detach()
    assert torch.allclose(quantized(x).detach(), wanted, atol=0.1)
    assert not torch.equal(quantized(x).detach(), wanted)
    half = copy.deepcopy(model.model_).half()
    assert torch.allclose(half(x.half()).float(), wanted, atol=0.01)
    with pytest.raises(ShapeError, match=r"got torch\.float32, expected torch.float16"):
        half(x)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int8", "uint64", "bool"])
@pytest.mark.parametrize("shape", [(5, 4, 3), (5, 4), (5, 1, 1), (0, 4), (5, 0, 2), (5, 4, 0)])
def test_an_array_is_read_at_once_like_its_sequences_one_by_one(dtype, shape):
    numbers = np.random.default_rng(0).integers(0, 2, shape)
    for X in (numbers.astype(dtype), np.asfortranarray(numbers.astype(dtype))):
        try:
            expected = as_numbers(list(X))
        except ElmanError as error:
            with pytest.raises(type(error), match=re.escape(str(error))):
                as_numbers(X)
            continue
        found = as_numbers(X)
        np.testing.assert_array_equal(found.values, expected.values)
        np.testing.assert_array_equal(found.offsets, expected.offsets)
        assert found.values.dtype == np.float64 and found.values.flags.c_contiguous
        assert found.padded is None and not np.shares_memory(found.values, X)


def test_gaps_and_padding_in_an_array_are_those_of_its_sequences():
    X = np.random.default_rng(0).normal(size=(4, 5, 2))
    X[0, 2], X[1, 4, 0] = np.nan, np.nan  # gaps
    np.testing.assert_array_equal(as_numbers(X).values, X.reshape(-1, 2))
    X[2, 3:] = np.nan  # padding
    with pytest.warns(UserWarning, match="end"):
        found = as_numbers(X)
    assert found.lengths.tolist() == [5, 5, 3, 5] and found.padded.tolist() == [5] * 4
    X[2, 3:], X[3, 1, 1] = 0, np.inf
    with pytest.raises(DataError, match="sequence 3: step 2, channel 1 is inf"):
        as_numbers(X)
