"""The application: every route behind the guard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from elman.estimators import Estimator
from elman.serve import Service, oip, openapi, operation, predict, stream
from elman.serve.batching import Batcher
from elman.serve.guard import Guard, error_response
from elman.serve.metrics import Metrics
from elman.serve.models import ServedModel
from elman.serve.settings import ServeSettings

# Each returns the routes of its file, given the service.
ROUTES = (predict.routes, oip.routes, openapi.routes, stream.routes, operation.routes)


def create_app(source: Estimator | str | Path, settings: ServeSettings | None = None) -> Starlette:
    """Return the ASGI application that serves a model.

    Args:
        source: a fitted estimator, or the folder of a run or model.
        settings: address, token and limits; None for the defaults, which serve loopback.
    Raises: ModelFileError if the model cannot be loaded.
    """
    settings = ServeSettings() if settings is None else settings
    models = ServedModel(source)
    batcher = Batcher(models, settings)
    metrics = Metrics(models, lambda: batcher.waiting)
    batcher.on_batch = metrics.computed
    service = Service(settings, models, batcher, metrics)
    routes = [route for make in ROUTES for route in make(service)]
    metrics.know(routes)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with operation.watch(service):
            yield
        service.batcher.close()

    app = Starlette(
        routes=routes,
        middleware=[Middleware(Guard, settings, metrics.answered)],
        exception_handlers={HTTPException: _answer_http_error, Exception: _answer_fault},
        lifespan=lifespan,
    )
    app.state.service = service
    return app


async def _answer_http_error(request: Request, error: Exception) -> Response:
    """Answer a path or method that there is not, in the form of all errors."""
    assert isinstance(error, HTTPException)
    message = {
        404: f"no such path: {request.url.path:.100}. See /docs",
        405: f"{request.method} is not a method of {request.url.path:.100}",
    }.get(error.status_code, error.detail)
    return error_response(error.status_code, message, error.headers)


async def _answer_fault(request: Request, error: Exception) -> Response:
    """Answer a fault of the server; the log has its traceback."""
    return error_response(500, "the server failed to answer; its log says why")
