"""The scikit-learn contract, and one set of names and defaults for estimators, flags and files."""

import dataclasses
import inspect

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure  # noqa: TID253
from sklearn.base import clone, is_classifier  # noqa: TID253
from sklearn.exceptions import NotFittedError  # noqa: TID253
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split  # noqa: TID253
from sklearn.pipeline import make_pipeline  # noqa: TID253

from elman import SequenceClassifier, SequenceRegressor, SequenceTagger
from elman.evaluate import Report
from elman.setting_list import list_settings
from elman.settings import DataSettings, ModelSettings, TrainingSettings

BOTH = [SequenceClassifier, SequenceTagger]
SMALL = {"hidden_size": 5, "epochs": 2, "batch_size": 8, "random_state": 0}


def settings_defaults():
    found = {}
    for section in (ModelSettings, TrainingSettings):
        found |= {f.name: f.default for f in dataclasses.fields(section)}
    found |= {
        f.name: f.default
        for f in dataclasses.fields(DataSettings)
        if f.name in ("tokens", "scale", "validation")
    }
    # Chosen by the command from its data, and by its flag --log-every.
    return found | {"inputs": "auto", "warm_start": False, "verbose": 0}


@pytest.mark.parametrize("estimator", BOTH)
def test_settings_and_estimators_agree(estimator):
    wanted = settings_defaults()
    wanted["random_state"] = None  # scikit-learn's name, and its default
    del wanted["seed"]
    if estimator is SequenceTagger:
        del wanted["readout"]
    parameters = inspect.signature(estimator).parameters
    assert {n: p.default for n, p in parameters.items()} == wanted
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters.values())
    for name, default in wanted.items():
        assert type(parameters[name].default) is type(default), name


@pytest.mark.parametrize("estimator", [SequenceClassifier, SequenceTagger, SequenceRegressor])
def test_every_argument_is_documented(estimator):
    """In the order of the signature, by the help of its setting where nothing else is said."""
    text = inspect.getdoc(estimator)
    places = [text.index(f"\n    {name}: ") for name in inspect.signature(estimator).parameters]
    assert places == sorted(places)
    shown = " ".join(text.split())
    for name in ("hidden_size", "clip_norm", "warmup", "patience"):
        (entry,) = (f for f in list_settings() if f.name == name)
        assert f"{name}: {entry.help}" in shown
    assert "Lin et al. 2017" in text or estimator is SequenceRegressor
    assert "which is less sensitive to large errors" in shown or estimator is not SequenceRegressor
    assert text.index("\nAttributes:") > places[-1]


@pytest.mark.parametrize("estimator", BOTH)
def test_parameters_go_in_and_out(estimator):
    model = estimator(cell="lstm", random_state=4)
    assert model.get_params()["cell"] == "lstm"
    assert model.set_params(hidden_size=9) is model
    copy = clone(model)
    assert copy is not model
    assert copy.get_params() == model.get_params()
    assert "cell='lstm'" in repr(model)
    with pytest.raises(ValueError, match="hiden_size"):
        model.set_params(hiden_size=3)
    with pytest.raises(TypeError, match="hiden_size"):
        estimator(hiden_size=3)
    strange = object()
    assert estimator(cell=strange).cell is strange  # checked by fit, so that clone can copy


@pytest.mark.parametrize("estimator", BOTH)
@pytest.mark.parametrize(
    "method", ["predict", "predict_proba", "check", "count_unknown", "plot_history", "save"]
)
def test_nothing_goes_before_fit(estimator, method, tmp_path):
    arguments = [] if method == "plot_history" else [tmp_path / "m" if method == "save" else [[1]]]
    with pytest.raises(NotFittedError, match=f"this {estimator.__name__} is not fitted yet"):
        getattr(estimator(), method)(*arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_fit_keeps_the_model(numbers):
    X, y = numbers
    model = SequenceClassifier(**SMALL).fit(X, y)
    before = model.predict_proba(X)
    with pytest.raises(ValueError, match="one class only"):
        model.fit(X, ["low"] * len(X))
    np.testing.assert_array_equal(model.predict_proba(X), before)


def test_fit_does_not_touch_what_it_is_given(numbers):
    X, y = numbers
    copies = [s.copy() for s in X]
    model = SequenceClassifier(**SMALL)
    parameters = model.get_params()
    assert model.fit(X, y) is model
    assert model.get_params() == parameters
    for one, two in zip(X, copies, strict=True):
        np.testing.assert_array_equal(one, two)


def test_scikit_learns_tools_take_it(numbers, tokens):
    for X, y in (numbers, tokens):
        model = SequenceClassifier(**SMALL)
        assert is_classifier(model)
        scores = cross_val_score(model, X, y, cv=2)
        assert scores.shape == (2,)
        search = GridSearchCV(model, {"hidden_size": np.array([3, 4]), "cell": ["rnn"]}, cv=2)
        assert search.fit(X, y).best_estimator_.cell == "rnn"
        X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
        assert 0 <= make_pipeline(model).fit(X_train, y_train).score(X_test, y_test) <= 1


def test_evaluate_and_pictures(numbers, tags):
    X, y = numbers
    model = SequenceClassifier(**SMALL).fit(X, y)
    report = model.evaluate(X, y)
    assert isinstance(report, Report)
    assert report.accuracy == model.score(X, y)
    assert report.classes == ("high", "low")
    assert set(report.intervals) >= {"accuracy"}
    assert "majority class" in report.baselines
    assert "accuracy" in str(report)
    assert isinstance(model.plot_history(), Figure)
    tagger = SequenceTagger(**SMALL).fit(X, tags(X))
    report = tagger.evaluate(X, tags(X))
    assert report.count == len(X)
    assert report.steps == sum(map(len, X))
    assert isinstance(tagger.plot_history(), Figure)


@pytest.mark.parametrize("estimator", BOTH)
def test_padding_and_company_never_matter(estimator, data, tags):
    for X, y in data.values():
        y = tags(X) if estimator is SequenceTagger else y
        model = estimator(**SMALL, bidirectional=True).fit(X, y)
        assert all(check.passed for check in model.check(X))
        alone = [model.predict_proba([s])[0] for s in X]
        turned = model.predict_proba(X[::-1])[::-1]
        for one, two, three in zip(alone, model.predict_proba(X), turned, strict=True):
            np.testing.assert_array_equal(one, two)
            np.testing.assert_array_equal(one, three)


def test_check_asks_for_the_same_bits_where_they_can_be_had(numbers):
    """None is 0 for a model in one native call and 1e-6 for one that torch runs."""
    X, y = numbers
    model = SequenceClassifier(**SMALL, bidirectional=True).fit(X, y)
    for given, expected in ((None, 0), (1e-3, 1e-3), (0.0, 0)):
        found = model.check(X, given) if given is not None else model.check(X)
        assert {check.tolerance for check in found} == {expected}
        assert all(check.worst == 0 and check.passed for check in found)
    model.model_.register_forward_hook(lambda *_: None)
    assert {check.tolerance for check in model.check(X)} == {1e-6}
    assert all(check.passed for check in model.check(X))
    model.model_.register_forward_hook(
        lambda *given: given[2] + torch.tensor([0, 1e-4 * len(given[2])])
    )
    failed = [check for check in model.check(X) if not check.passed]
    assert {check.name for check in failed} >= {"other sequences", "batch size"}
    assert all(check.passed for check in model.check(X, 0.1))


@pytest.mark.parametrize(("cell", "factor"), [("rnn", 2), ("gru", 6), ("lstm", 6)])
def test_nor_do_they_where_the_weights_are_large(cell, factor):
    """A network trained for long is steep: rounding of another kind would show well above 1e-6."""
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(n, 2)) for n in rng.integers(3, 40, 60)]
    y = [x[:, 0].sum() > 0 for x in X]
    model = SequenceClassifier(cell=cell, hidden_size=32, epochs=1, random_state=0).fit(X, y)
    with torch.no_grad():
        for parameter in model.model_.parameters():
            parameter *= factor
    assert max(check.worst for check in model.check(X)) == 0
    x, lengths = torch.zeros(1, 39, 2), torch.tensor([39])
    assert model.model_(x, lengths).dtype == torch.float32  # what is trained, and saved, stays so


def test_score_takes_labels_as_fit_does(numbers):
    """scikit-learn's own accuracy refuses an array of objects that are whole numbers."""
    X, y = numbers
    codes = np.array([int(label == "high") for label in y], dtype=object)
    clf = SequenceClassifier(hidden_size=4, epochs=2, random_state=0).fit(X, codes)
    assert clf.score(X, codes) == clf.score(X, codes.tolist()) == clf.evaluate(X, codes).accuracy
