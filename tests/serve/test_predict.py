"""POST /predict: the same predictions as the estimator's, however requests are batched."""

from __future__ import annotations

import threading
import time

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


def held_up(client, count, body):
    """Send requests that the server cannot compute yet; return what releases and what joins them.

    Returns: an event that lets the server go on, and a function that returns the answers.
    """
    batcher, go_on, answers = client.app.state.service.batcher, threading.Event(), []
    compute = batcher._compute

    def wait(batch, now):
        assert go_on.wait(30)
        return compute(batch, now)

    batcher._compute = wait
    requests = [("POST", "/predict", {"json": body})] * count
    sender = threading.Thread(target=lambda: answers.extend(client.gather(*requests)))
    sender.start()
    end = time.monotonic() + 30
    while batcher.waiting < count:
        assert time.monotonic() < end
        time.sleep(0.001)

    def join():
        sender.join(30)
        batcher._compute = compute
        return answers

    return go_on, join


def test_an_overloaded_server_refuses_at_once_and_recovers(numbers, open_client):
    client, body = open_client(numbers[0], queue=4), numbers[1][0].tolist()
    go_on, answers = held_up(client, 4, body)
    refused = client.post("/predict", body)
    assert refused.status_code == 429 and refused.headers["retry-after"] == "1"
    assert "at most 4 may" in refused.json()["error"]["message"]
    go_on.set()
    assert [answer.status_code for answer in answers()] == [200] * 4
    assert client.post("/predict", body).status_code == 200
    assert client.app.state.service.batcher.waiting == 0


def test_a_request_that_has_waited_too_long_is_not_computed(numbers, open_client):
    client, body = open_client(numbers[0], timeout=0.2, max_batch=1), numbers[1][0].tolist()
    go_on, answers = held_up(client, 2, body)
    time.sleep(0.3)
    go_on.set()
    late = answers()
    assert sorted(answer.status_code for answer in late) == [200, 429]
    assert any("waited for more than 0.2 s" in answer.text for answer in late)
    assert client.post("/predict", body).status_code == 200


def test_a_request_alone_has_the_answer_of_the_thread(numbers, open_client):
    clf, X = numbers
    client, used = open_client(clf), []
    batcher = client.app.state.service.batcher
    batcher.on_batch = lambda n, seconds: used.append(threading.current_thread().name)
    bodies = [client.post("/predict", X[0].tolist()).content for _ in range(20)]
    assert len(set(bodies)) == 1
    assert used[0] == "batches" and used[-1] != "batches"  # the second one alone is not handed on
