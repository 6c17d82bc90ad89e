"""POST /predict: the same predictions as the estimator's, however requests are batched."""

from __future__ import annotations

import numpy as np


def probabilities(answer):
    assert answer.status_code == 200, answer.text
    return np.array([[*p["probabilities"].values()] for p in answer.json()["predictions"]])


def test_one_record_and_several_are_answered_as_the_estimator_does(numbers, open_client):
    clf, X = numbers
    client = open_client(clf)
    expected = clf.predict_proba(X)
    one = probabilities(client.post("/predict", X[0].tolist()))
    every = client.post("/predict", {"sequences": [x.tolist() for x in X]})
    np.testing.assert_allclose(one, expected[:1], atol=5e-7)  # six digits are sent
    np.testing.assert_allclose(probabilities(every), expected, atol=5e-7)
    assert [p["predicted"] for p in every.json()["predictions"]] == clf.predict(X).tolist()


def test_requests_at_the_same_time_get_their_own_answers(numbers, open_client):
    clf, X = numbers
    client = open_client(clf, latency_ms=50)
    sizes = []
    client.app.state.service.batcher.on_batch = lambda n, seconds: sizes.append(n)
    expected = clf.predict_proba(X)
    for _ in range(2):  # the first time nothing is known of how many come
        answers = client.gather(*(("POST", "/predict", {"json": x.tolist()}) for x in X))
        np.testing.assert_allclose(np.vstack([*map(probabilities, answers)]), expected, atol=5e-7)
    assert sum(sizes) == 2 * len(X) and max(sizes) > 1


def test_a_bad_request_does_not_harm_those_of_its_batch(numbers, open_client):
    clf, X = numbers
    client = open_client(clf, latency_ms=50)
    bodies = [X[0].tolist(), [[1.0]], X[1].tolist(), "text", X[2].tolist()]
    answers = client.gather(*(("POST", "/predict", {"json": body}) for body in bodies))
    assert [a.status_code for a in answers] == [200, 422, 200, 422, 200]
    np.testing.assert_allclose(
        np.vstack([probabilities(answers[i]) for i in (0, 2, 4)]),
        clf.predict_proba(X[:3]),
        atol=5e-7,
    )
    assert answers[1].json()["error"]["message"]
