"""serve/operation.py: health, metrics and another model, through the application."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from elman import SequenceClassifier
from elman.serve.app import create_app
from elman.serve.settings import ServeSettings


@pytest.fixture(scope="module")
def other(numbers):
    _, X = numbers
    y = ["up" if x[:, 0].sum() > 0 else "down" for x in X]
    return SequenceClassifier(hidden_size=5, epochs=1, random_state=3, verbose=0).fit(X, y)


def test_health_names_the_model_that_answers(numbers, open_client):
    client = open_client(numbers[0])
    assert client.get("/health/live").json() == {"status": "live"}
    ready = client.get("/health/ready")
    version = client.app.state.service.models.current.version
    assert ready.status_code == 200
    assert ready.json() == {"status": "ready", "model": "model", "version": version}


def test_a_full_queue_is_not_ready(numbers, open_client):
    client = open_client(numbers[0], queue=1)
    batcher = client.app.state.service.batcher
    batcher.waiting += 1
    assert client.get("/health/ready").status_code == 503
    assert client.get("/health/ready").json()["status"] == "busy"
    assert client.get("/health/live").status_code == 200
    batcher.waiting -= 1
    assert client.get("/health/ready").status_code == 200


def test_metrics_count_a_prediction(numbers, open_client):
    client = open_client(numbers[0])
    client.post("/predict", numbers[1][0].tolist())
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "elman_batch_sequences_count 1.0" in answer.text
    assert 'elman_requests_total{method="POST",route="/predict",status="200"} 1.0' in answer.text


def test_reload_takes_up_what_the_folder_holds(numbers, other, open_client, tmp_path):
    numbers[0].save(tmp_path / "m")
    client = open_client(tmp_path / "m")
    first = client.get("/health/ready").json()["version"]
    same = client.post("/models/reload", None)
    assert same.status_code == 200
    assert same.json() == {"replaced": False, "model": "m", "version": first}
    other.save(tmp_path / "m")
    second = client.post("/models/reload", None).json()
    assert second["replaced"] and second["version"] != first
    weights = tmp_path / "m" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    refused = client.post("/models/reload", None)
    assert refused.status_code == 409 and "damaged" in refused.json()["error"]["message"]
    ready = client.get("/health/ready")
    assert ready.status_code == 200 and ready.json()["version"] == second["version"]
    assert "damaged" in ready.json()["problem"]
    assert "elman_model_problem 1.0" in client.get("/metrics").text
    assert client.post("/predict", numbers[1][0].tolist()).status_code == 200


def test_a_server_without_a_folder_says_so(numbers, open_client):
    refused = open_client(numbers[0]).post("/models/reload", None)
    assert refused.status_code == 409 and "elman serve RUN" in refused.json()["error"]["message"]


def test_one_load_at_a_time(numbers, open_client, tmp_path, monkeypatch):
    numbers[0].save(tmp_path / "m")
    client = open_client(tmp_path / "m")
    models, load = client.app.state.service.models, threading.Event()
    monkeypatch.setattr(models, "reload", lambda: load.wait(10) and False)
    threading.Timer(0.3, load.set).start()
    found = client.gather(*[("POST", "/models/reload", {})] * 5)
    assert sorted(answer.status_code for answer in found) == [200, 429, 429, 429, 429]


def test_the_folder_is_watched(numbers, other, tmp_path):
    numbers[0].save(tmp_path / "m")
    app = create_app(tmp_path / "m", ServeSettings(poll=0.02))
    models = app.state.service.models
    first = models.current

    async def wait():
        async with app.router.lifespan_context(app):
            other.save(tmp_path / "m")
            until = time.monotonic() + 20
            while models.current is first and time.monotonic() < until:
                await asyncio.sleep(0.01)

    asyncio.run(wait())
    assert models.current is not first and models.replaced == 1


@pytest.mark.slow
def test_many_replacements_under_load_fail_no_request(numbers, other, open_client, tmp_path):
    hammer(numbers, other, open_client, tmp_path, rounds=200)


def test_replacements_under_load_fail_no_request(numbers, other, open_client, tmp_path):
    hammer(numbers, other, open_client, tmp_path, rounds=12)


def hammer(numbers, other, open_client, folder, rounds):
    """Replace the model while clients ask; every answer has the bits of the version it names."""
    clf, X = numbers
    clf.save(folder / "m")
    client = open_client(folder / "m", poll=0)
    models = client.app.state.service.models
    versions = {models.current.version: clf}
    other.save(folder / "m")
    models.reload()
    versions[models.current.version] = other
    done, faults = threading.Event(), []

    def replace():
        for i in range(rounds):
            (clf, other)[i % 2].save(folder / "m")
            if not models.reload():
                faults.append("not replaced")
        done.set()

    thread = threading.Thread(target=replace)
    thread.start()
    seen = set()
    expected = {
        version: [
            {str(k): round(p, 6) for k, p in zip(model.classes_, row, strict=True)}
            for row in model.predict_proba(X).tolist()
        ]
        for version, model in versions.items()
    }
    while not done.is_set():
        for i, answer in enumerate(
            client.gather(*[("POST", "/predict", {"json": x.tolist()}) for x in X])
        ):
            assert answer.status_code == 200, answer.text
            body = answer.json()
            seen.add(body["version"])
            assert body["predictions"][0]["probabilities"] == expected[body["version"]][i]
    thread.join()
    assert not faults and len(seen) == 2 and models.refused == 0
