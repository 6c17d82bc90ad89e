"""What Prometheus asks a server for: requests, their times, batches, streams and the model.

Each application has a registry of its own, so that two of them in one process do not mix. Labels
take only values from short lists, so that no client can make the number of time series grow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from starlette.routing import BaseRoute, Route
from starlette.types import Scope

from elman.serve.models import ServedModel

CONTENT_TYPE = CONTENT_TYPE_LATEST
OTHER = "other"
_METHODS = ("GET", "HEAD", "POST", "OPTIONS")
# From half a millisecond, about one prediction on a free machine, to the time limit of a request.
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The metrics of one server.

    Args:
        models: the served model, whose version and replacements are read when they are asked for.
        waiting: returns the number of requests that wait for a batch.
    """

    def __init__(self, models: ServedModel, waiting: Callable[[], float] | None = None) -> None:
        self._paths: dict[object, str] = {}
        self.registry = registry = CollectorRegistry()
        self._requests = Counter(
            "elman_requests",
            "Requests that were answered, by route and status.",
            ("route", "method", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "elman_request_seconds",
            "Seconds from the first byte of a request to the last of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._batches = Histogram(
            "elman_batch_sequences",
            "Sequences that were computed together.",
            buckets=_SIZES,
            registry=registry,
        )
        self._batch_seconds = Histogram(
            "elman_batch_seconds",
            "Seconds that the network took for a batch.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.streams = Gauge("elman_streams", "Open connections of /stream.", registry=registry)
        self.steps = Counter(
            "elman_stream_steps", "Steps that were answered in /stream.", registry=registry
        )
        if waiting is not None:
            queue = Gauge(
                "elman_queue_requests", "Requests that wait for a batch.", registry=registry
            )
            queue.set_function(waiting)
        registry.register(_ModelCollector(models))
        ProcessCollector(registry=registry)

    def know(self, routes: Iterable[BaseRoute]) -> None:
        """Take the paths of the application's routes, by which requests are counted."""
        paths = [route for route in routes if isinstance(route, Route)]
        self._paths = {route.endpoint: route.path for route in paths}

    def answered(self, scope: Scope, status: int, seconds: float) -> None:
        """Count an answer to an HTTP request, refused ones included."""
        route = self._paths.get(scope.get("endpoint"), OTHER)
        method = scope["method"] if scope["method"] in _METHODS else OTHER
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def computed(self, sequences: int, seconds: float) -> None:
        """Count a batch of the network."""
        self._batches.observe(sequences)
        self._batch_seconds.observe(seconds)

    def to_text(self) -> bytes:
        """Return all metrics in the text format of Prometheus, of type `CONTENT_TYPE`."""
        return generate_latest(self.registry)


class _ModelCollector(Collector):
    """Reads the metrics of the model from the model itself."""

    def __init__(self, models: ServedModel) -> None:
        self._models = models

    def collect(self) -> Iterable[Metric]:
        models, current = self._models, self._models.current
        info = InfoMetricFamily("elman_model", "The model that answers.")
        info.add_metric([], {"name": current.name, "version": current.version})
        yield info
        yield GaugeMetricFamily(
            "elman_model_loaded_timestamp_seconds", "When it was loaded.", current.loaded
        )
        yield GaugeMetricFamily(
            "elman_model_problem",
            "1 if what the model's folder holds now cannot be served.",
            float(bool(models.problem)),
        )
        loads = CounterMetricFamily(
            "elman_model_loads", "Models that the folder held, by result.", labels=["result"]
        )
        loads.add_metric(["replaced"], models.replaced)
        loads.add_metric(["refused"], models.refused)
        yield loads
