"""serve/metrics.py: what is counted, under names and labels that no client can multiply."""

from __future__ import annotations

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from elman.estimators import SequenceClassifier
from elman.serve.metrics import Metrics
from elman.serve.models import ServedModel


@pytest.fixture(scope="module")
def served():
    X = np.random.default_rng(0).normal(size=(20, 4, 2))
    return ServedModel(SequenceClassifier(epochs=1, hidden_size=4).fit(X, np.arange(20) % 2))


def read(metrics):
    families = text_string_to_metric_families(metrics.to_text().decode())
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def test_batches_streams_and_the_model_are_counted(served):
    metrics = Metrics(served, lambda: 7)
    metrics.computed(3, 0.004)
    metrics.streams.inc()
    metrics.steps.inc(5)
    found = read(metrics)
    assert found["elman_batch_sequences_sum",] == 3
    assert found["elman_batch_seconds_bucket", ("le", "0.005")] == 1
    assert found["elman_batch_seconds_bucket", ("le", "0.002")] == 0
    assert found["elman_queue_requests",] == 7
    assert found["elman_streams",] == 1 and found["elman_stream_steps_total",] == 5
    version = served.current.version
    assert found["elman_model_info", ("name", "model"), ("version", version)] == 1
    assert found["elman_model_loads_total", ("result", "refused")] == 0
    assert found["process_resident_memory_bytes",] > 1e6


def test_requests_are_counted_by_route_whatever_the_client_asks(served, open_client):
    client = open_client(served.current.estimator)
    for path in ("/health/live", "/health/live", "/random1", "/random2"):
        client.get(path)
    client.request("BREW1", "/health/live")
    client.request("BREW2", "/health/live")
    client.get("/health/live", headers={"host": "evil.example"})
    client.post("/predict", [[1, 2], [3, 4]])
    counts = {
        key[1:]: n
        for key, n in read(client.app.state.service.metrics).items()
        if key[0] == "elman_requests_total"
    }
    expected = [
        ("GET", "/health/live", "200", 2),
        ("GET", "other", "404", 2),
        ("other", "/health/live", "405", 2),
        ("GET", "other", "403", 1),
        ("POST", "/predict", "200", 1),
    ]
    assert counts == {
        (("method", method), ("route", route), ("status", status)): n
        for method, route, status, n in expected
    }


def test_two_servers_in_one_process_do_not_mix(served):
    first, second = Metrics(served), Metrics(served)
    first.steps.inc()
    assert read(second)["elman_stream_steps_total",] == 0
