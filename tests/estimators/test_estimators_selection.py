"""scikit-learn's tools over a list of unequal arrays."""

import numpy as np
import pytest
import sklearn  # noqa: TID253
from sklearn.model_selection import (  # noqa: TID253
    GridSearchCV,
    GroupKFold,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import Pipeline  # noqa: TID253
from sklearn.preprocessing import FunctionTransformer  # noqa: TID253

from elman import SequenceClassifier, SequenceRegressor, SequenceTagger

SMALL = {"hidden_size": 4, "epochs": 2, "batch_size": 8, "random_state": 0}


def halved(X):
    return [x[::2] for x in X]


def test_cross_validation_is_fitting_by_hand(numbers):
    X, y = numbers
    scores = cross_val_score(SequenceClassifier(**SMALL), X, y, cv=StratifiedKFold(3))
    for found, (train, test) in zip(scores, StratifiedKFold(3).split(X, y), strict=True):
        model = SequenceClassifier(**SMALL).fit([X[i] for i in train], [y[i] for i in train])
        assert found == model.score([X[i] for i in test], [y[i] for i in test])
    shares = cross_val_predict(SequenceClassifier(**SMALL), X, y, cv=3, method="predict_proba")
    assert shares.shape == (24, 2)


def test_groups_stay_together(numbers):
    X, y = numbers
    groups = np.arange(24) // 4
    seen = []

    class Watched(SequenceClassifier):
        def fit(self, X, y, sample_weight=None):
            seen.append({x.tobytes() for x in X})
            return super().fit(X, y)

    cross_val_score(Watched(**SMALL), X, y, groups=groups, cv=GroupKFold(3))
    for part in seen:
        inside = {int(g) for x, g in zip(X, groups, strict=True) if x.tobytes() in part}
        assert len(part) == 4 * len(inside) == 16


def test_search_through_a_pipeline(numbers):
    X, y = numbers
    steps = [("halve", FunctionTransformer(halved)), ("net", SequenceClassifier(**SMALL))]
    search = GridSearchCV(
        Pipeline(steps),
        {"net__cell": ["rnn", "gru"], "net__learning_rate": [1e-3, 3e-2]},
        cv=2,
        scoring="neg_log_loss",
    )
    search.fit(X, y)
    assert len(search.cv_results_["params"]) == 4
    best = search.best_estimator_.named_steps["net"]
    assert best.cell == search.best_params_["net__cell"]
    np.testing.assert_array_equal(search.predict_proba(X), best.predict_proba(halved(X)))


@pytest.mark.parametrize("kind", ["random", "halving"])
def test_other_searches_of_scikit_learn(numbers, kind):
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import HalvingGridSearchCV, RandomizedSearchCV

    X, y = numbers
    space = {"hidden_size": [3, 4], "learning_rate": [1e-3, 3e-2]}
    model = SequenceClassifier(**{**SMALL, "epochs": 2})
    if kind == "random":
        search = RandomizedSearchCV(model, space, n_iter=2, cv=2, random_state=0)
    else:
        search = HalvingGridSearchCV(model, space, cv=2, factor=2, random_state=0)
    search.fit(X, y)
    assert search.best_params_["hidden_size"] in (3, 4)
    assert search.predict(X).shape == (len(X),)


def test_a_tagger_and_a_regressor_too(numbers, tags):
    X, _ = numbers
    found = cross_val_score(SequenceTagger(**SMALL), X, tags(X), cv=3)
    assert ((found >= 0) & (found <= 1)).all()
    values = [float(x.mean()) for x in X]
    found = cross_val_score(SequenceRegressor(**SMALL), X, values, cv=3, scoring="r2")
    assert found.shape == (3,)


def test_weights_are_routed(numbers):
    X, y = numbers
    weight = np.where(np.arange(24) < 12, 1.0, 5.0)
    plain = SequenceClassifier(**SMALL).fit(X, y, sample_weight=weight)
    with sklearn.config_context(enable_metadata_routing=True):
        model = SequenceClassifier(**SMALL)
        model.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        search = GridSearchCV(model, {"hidden_size": [4]}, cv=2).fit(X, y, sample_weight=weight)
        np.testing.assert_array_equal(search.predict_proba(X), plain.predict_proba(X))
        refused = GridSearchCV(SequenceClassifier(**SMALL), {"hidden_size": [4]}, cv=2)
        with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError, match="sample_weight"):
            refused.fit(X, y, sample_weight=weight)
    assert not np.array_equal(
        plain.predict_proba(X), SequenceClassifier(**SMALL).fit(X, y).predict_proba(X)
    )
