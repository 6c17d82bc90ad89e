"""Steps without a label: no loss, no gradient, no metric; the same bits as a weight of 0."""

import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from sklearn.metrics import accuracy_score, r2_score  # noqa: TID253
from torch.nn import functional

from elman import DataError, SequenceRegressor, SequenceTagger, load
from elman.data.batches import Examples, make_batch
from elman.data.ragged import Ragged
from elman.models import ModelConfig, SequenceModel
from elman.settings import TrainingSettings
from elman.train.gradients import Autograd, OneCall, gradient_source

PLAIN = TrainingSettings(epochs=2, batch_size=8, token_dropout=0).resolve(False)
SMALL = {"hidden_size": 4, "epochs": 2, "random_state": 0}


def same_bits(*models):
    first, *others = (m.model_.state_dict() for m in models)
    return all(torch.equal(first[k], other[k]) for other in others for k in first)


@pytest.fixture(scope="module")
def walks():
    """24 walks of 3 to 7 steps, tags, values, and which steps are not labelled."""
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(3 + i % 5, 2)) for i in range(24)]
    tags = [["up" if v > 0 else "down" for v in x[:, 0]] for x in X]
    gaps = [rng.random(len(x)) < 0.3 for x in X]
    for gap in gaps:
        gap[0] = False
    return X, tags, [x.sum(1).cumsum() for x in X], gaps


@pytest.fixture(scope="module")
def fitted(walks):
    X, tags, _, gaps = walks
    weights = [1.0 - gap for gap in gaps]
    return SequenceTagger(**SMALL).fit(X, tags, sample_weight=weights)


def marked(tags, gaps, mark):
    return [
        [mark if gap else tag for tag, gap in zip(own, gap_of, strict=True)]
        for own, gap_of in zip(tags, gaps, strict=True)
    ]


@pytest.mark.parametrize("mark", [None, float("nan"), -100, "", pd.NA])
def test_a_mark_is_a_weight_of_0_to_the_bit(walks, fitted, mark):
    X, tags, _, gaps = walks
    y = marked(tags, gaps, mark)
    model = SequenceTagger(**SMALL).fit(X, y)
    assert model.classes_.tolist() == ["down", "up"]
    assert same_bits(model, fitted)
    assert "one native call" in model.history_.gradients
    missing, total = sum(map(sum, gaps)), sum(map(len, gaps))
    assert model.history_.labelled.startswith(f"{missing} of {total} steps are not labelled")
    # A prediction is still given at every step.
    predicted = model.predict(X)
    assert [len(own) for own in predicted] == [len(own) for own in tags]
    known = ~np.concatenate(gaps)
    true, found = np.concatenate(tags)[known], np.concatenate(predicted)[known]
    assert model.score(X, y) == pytest.approx(accuracy_score(true, found))
    report = model.evaluate(X, y, resamples=20)
    assert report.accuracy == pytest.approx(accuracy_score(true, found))
    assert (report.steps, report.unlabelled) == (total - missing, missing)
    assert int(report.confusion_matrix.sum()) == total - missing
    assert f"{total - missing} labelled steps of {total}" in str(report)
    # So do the baselines.
    share = (true == fitted.classes_[1]).mean()
    majority = max(share, 1 - share)
    assert report.baselines["majority class"]["accuracy"] == pytest.approx(majority)


def test_what_stands_at_a_step_of_weight_0_changes_nothing(walks, fitted):
    X, tags, _, gaps = walks
    weights = [1.0 - gap for gap in gaps]
    other = SequenceTagger(**SMALL).fit(X, marked(tags, gaps, "up"), sample_weight=weights)
    assert same_bits(other, fitted)
    first, second = (m.baselines_.to_arrays() for m in (other, fitted))
    assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("options", [{"loss": "focal"}, {"class_weight": "balanced"}])
def test_losses_and_class_weights_leave_them_out(walks, options):
    X, tags, _, gaps = walks
    weights = [1.0 - gap for gap in gaps]
    by_mark = SequenceTagger(**SMALL, **options).fit(X, marked(tags, gaps, None))
    by_weight = SequenceTagger(**SMALL, **options).fit(
        X, marked(tags, gaps, "up"), sample_weight=weights
    )
    assert same_bits(by_mark, by_weight)


@pytest.mark.parametrize("mark", [None, float("nan")])
def test_numbers_at_every_step(walks, mark):
    X, _, values, gaps = walks
    y = [
        [mark if gap else float(v) for v, gap in zip(own, gap_of, strict=True)]
        for own, gap_of in zip(values, gaps, strict=True)
    ]
    kind = {"readout": "every", **SMALL}
    model = SequenceRegressor(**kind).fit(X, y)
    filled = [np.where(gap, 1e6, own) for own, gap in zip(values, gaps, strict=True)]
    weights = [1.0 - gap for gap in gaps]
    assert same_bits(model, SequenceRegressor(**kind).fit(X, filled, sample_weight=weights))
    assert "the number to predict is missing at some steps" in model.history_.gradients
    known = ~np.concatenate(gaps)
    true, found = np.concatenate(values)[known], np.concatenate(model.predict(X))[known]
    assert model.target_.mean == pytest.approx(true.mean())
    assert model.score(X, y) == pytest.approx(r2_score(true, found))
    report = model.evaluate(X, y, resamples=20)
    assert report.r2 == pytest.approx(r2_score(true, found))
    assert report.unlabelled == int((~known).sum())


def test_minus_100_is_a_number_to_predict(walks):
    X, _, values, _ = walks
    y = [np.where(np.arange(len(own)) == 1, -100.0, own) for own in values]
    model = SequenceRegressor(readout="every", **SMALL).fit(X, y)
    assert model.target_.mean == pytest.approx(np.concatenate(y).mean())
    assert not model.history_.labelled


def test_minus_100_is_a_class_among_other_negative_ones(walks):
    X, tags, _, _ = walks
    y = [[-100 if tag == "up" else -200 for tag in own] for own in tags]
    assert SequenceTagger(**SMALL).fit(X, y).classes_.tolist() == [-200, -100]
    y = [[-1 if tag == "up" else 1 for tag in own] for own in tags]
    y[0][0] = -100
    assert SequenceTagger(**SMALL).fit(X, y).classes_.tolist() == [-1, 1]


def test_a_sequence_without_labels_is_left_out_with_a_warning(walks):
    X, tags, _, _ = walks
    y = [[None] * len(own) if i in (3, 5) else own for i, own in enumerate(tags)]
    with pytest.warns(UserWarning, match="no step of 2 of 24 sequences is labelled; they are left"):
        model = SequenceTagger(**SMALL, validation=0).fit(X, y)
    rest = [i for i in range(24) if i not in (3, 5)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alone = SequenceTagger(**SMALL, validation=0).fit(
            [X[i] for i in rest], [tags[i] for i in rest]
        )
    assert same_bits(model, alone)
    # They can be predicted, and evaluation counts the others.
    assert len(model.predict(X)) == 24
    assert model.evaluate(X, y, resamples=0).count == 22
    with pytest.raises(DataError, match="y: no step is labelled"):
        model.score(X[:2], [[None] * len(own) for own in tags[:2]])


def test_a_class_that_only_validation_would_have_stays_in_training(walks):
    X, tags, _, _ = walks
    y = [
        ["rare" if i == 7 and t == 0 else None if t == 1 else tag for t, tag in enumerate(own)]
        for i, own in enumerate(tags)
    ]
    for seed in range(3):
        model = SequenceTagger(**{**SMALL, "random_state": seed}, validation=0.3).fit(X, y)
        assert model.classes_.tolist() == ["down", "rare", "up"]


FORMS = {
    "float array": lambda own: np.array([np.nan if v is None else v for v in own], dtype=float),
    "Int64": lambda own: pd.Series(own, dtype="Int64"),
    "arrow": lambda own: pa.array(own),
    "objects": lambda own: np.array(own, dtype=object),
    "torch's": lambda own: torch.tensor([-100 if v is None else v for v in own]),
    "tuple": tuple,
}


@pytest.mark.parametrize("form", list(FORMS))
def test_whole_numbers_in_every_form(walks, form):
    X, tags, _, gaps = walks
    y = marked([[int(tag == "up") for tag in own] for own in tags], gaps, None)
    model = SequenceTagger(**SMALL).fit(X, [FORMS[form](own) for own in y])
    assert model.classes_.tolist() == [0, 1]
    assert model.classes_.dtype.kind == "i"
    assert same_bits(model, SequenceTagger(**SMALL).fit(X, y))


def test_categorical_and_text_of_pandas(walks):
    X, tags, _, gaps = walks
    y = marked(tags, gaps, None)
    plain = SequenceTagger(**SMALL).fit(X, y)
    for dtype in ("category", "string", object):
        assert same_bits(
            plain, SequenceTagger(**SMALL).fit(X, [pd.Series(v, dtype=dtype) for v in y])
        )


def test_saving_and_one_more_pass(walks, tmp_path):
    X, tags, _, gaps = walks
    y = marked(tags, gaps, None)
    model = SequenceTagger(**SMALL)
    for _ in range(2):
        model.partial_fit(X, y)
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    report, other = (m.evaluate(X, y, resamples=0) for m in (model, again))
    assert report.to_dict() == other.to_dict()


@pytest.mark.parametrize("path", ["native", "autograd", "numbers"])
def test_the_gradient_is_that_of_the_labelled_steps_alone(path):
    torch.manual_seed(0)
    task = "regression" if path == "numbers" else "classification"
    model = SequenceModel(
        ModelConfig(task=task, num_outputs=3, input_size=2, hidden_size=5, readout="every")
    )
    rng, lengths = np.random.default_rng(0), [4, 2, 5]
    X = Ragged.from_list([rng.normal(size=(n, 2)) for n in lengths], np.float32)
    codes = np.array([0, 1, -100, 2, 2, -100, 1, 1, -100, 0, -100])
    known = np.flatnonzero(codes >= 0)
    target, unit = codes, None
    if path == "numbers":
        target = np.where(codes[:, None] < 0, np.nan, rng.normal(size=(11, 3))).astype(np.float32)
        unit = np.ones(3)
    batch = make_batch(Examples(X, X.with_values(target), unit=unit), np.arange(3))
    source = gradient_source(model, PLAIN, weighted=path == "autograd", gaps=path == "numbers")
    assert isinstance(source, OneCall if path == "native" else Autograd)
    result = source(batch)
    found = [p.grad.clone() for p in model.parameters()]
    assert (result.weight, len(result.outputs), len(result.target)) == (7, 7, 7)
    source.release()
    rows = torch.tensor([(r, t) for r, n in enumerate(lengths) for t in range(n)])[known]
    z = model(batch.x, batch.lengths)[rows[:, 0], rows[:, 1]]
    one = functional.mse_loss if path == "numbers" else functional.cross_entropy
    loss = one(z, torch.from_numpy(target[known]))
    loss.backward()
    assert result.loss == pytest.approx(loss.item(), rel=1e-5)
    for got, p in zip(found, model.parameters(), strict=True):
        torch.testing.assert_close(got, p.grad, atol=1e-6, rtol=1e-4)
