"""Routes for whoever operates the server: health, metrics, and taking up another model.

GET  /health/live      the process answers
GET  /health/ready     it takes requests; 503 while its queue is full
GET  /metrics          for Prometheus
POST /models/reload    load what the model's folder holds now; 409 if that cannot be served
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from elman.errors import ModelFileError
from elman.serve import Service
from elman.serve.guard import error_response, json_response
from elman.serve.metrics import CONTENT_TYPE

_LOG = logging.getLogger(__name__)


def routes(service: Service) -> list[BaseRoute]:
    """Return the routes of this file."""
    models, loading = service.models, asyncio.Lock()

    async def live(request: Request) -> Response:
        return json_response({"status": "live"})

    async def ready(request: Request) -> Response:
        full = service.batcher.waiting >= service.settings.queue
        return json_response(
            {"status": "busy" if full else "ready", **_describe(service)}, 200 + 303 * full
        )

    async def metrics(request: Request) -> Response:
        return Response(service.metrics.to_text(), headers={"content-type": CONTENT_TYPE})

    async def reload(request: Request) -> Response:
        if loading.locked():
            text = "another request has the model loaded already. Wait for its answer"
            return error_response(429, text, {"retry-after": "1"})
        async with loading:
            try:
                replaced = await to_thread.run_sync(models.reload)
            except ModelFileError as error:
                return error_response(409, str(error))
        return json_response({"replaced": replaced, **_describe(service)})

    return [
        Route("/health/live", live),
        Route("/health/ready", ready),
        Route("/metrics", metrics),
        Route("/models/reload", reload, methods=["POST"]),
    ]


@asynccontextmanager
async def watch(service: Service) -> AsyncIterator[None]:
    """Look for another model in the folder from time to time during an `async with` block."""
    task = asyncio.create_task(_poll(service)) if service.settings.poll else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _poll(service: Service) -> None:
    while True:
        await asyncio.sleep(service.settings.poll)
        try:
            await to_thread.run_sync(service.models.poll)
        except Exception:  # such as MemoryError: the server goes on with the model that it has
            _LOG.exception("the model's folder could not be looked at")


def _describe(service: Service) -> dict[str, Any]:
    models = service.models
    described = {"model": models.current.name, "version": models.current.version}
    return described | ({"problem": models.problem} if models.problem else {})
