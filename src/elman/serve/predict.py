"""`POST /predict`: records as the training file had them, answered as `elman predict` writes them.

The body is one record, or an object {"sequences": [record, ...]}.
"""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json, to_json
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from elman.errors import DataError, ElmanError, RecordError
from elman.runs.predictions import Predictions
from elman.serve import Service
from elman.serve.batching import Computed, OverloadError, Request, TooLongError
from elman.serve.guard import RefusedError, error_body, send_json
from elman.serve.models import LoadedModel


def parse(body: bytes) -> Any:
    """Return the value of a body of JSON. Raises RefusedError if it is not valid JSON."""
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise RefusedError(400, f"the body is not valid JSON: {error}") from None


def check_content_type(scope: Scope) -> None:
    """Raise RefusedError unless the request says that its body is JSON.

    A web page may send other types to any server without asking it first.
    """
    for name, value in scope["headers"]:
        if name == b"content-type":
            if value.partition(b";")[0].strip().lower() == b"application/json":
                return
            break
    raise RefusedError(
        415, "expected a body of JSON, with the header Content-Type: application/json"
    )


async def receive_body(receive: Receive) -> bytes:
    """Return the body, which the guard has read."""
    body: bytes = (await receive())["body"]
    return body


async def answer(service: Service, request: Request, send: Send) -> None:
    """Have the request computed, and send its answer or what is wrong with it."""
    try:
        body = await service.batcher.submit(request)
    except Exception as error:
        await send_error(send, error)
    else:
        await send_json(send, 200, body)


async def send_error(send: Send, error: Exception) -> None:
    """Send what is wrong with a request: 4xx with the message that the command prints."""
    if isinstance(error, RefusedError):
        await send_json(send, error.status, error_body(error.message), error.headers)
    elif isinstance(error, OverloadError):
        await send_json(send, 429, error_body(str(error)), [(b"retry-after", b"1")])
    elif isinstance(error, TooLongError):
        await send_json(send, 413, error_body(str(error)))
    elif isinstance(error, ElmanError):
        field = error.column if isinstance(error, DataError) else None
        sequence = error.sequence if isinstance(error, RecordError) else None
        body = error_body(str(error), None if field is None else str(field), sequence)
        await send_json(send, 422, body)
    else:
        raise error


class Predict:
    """The route, as an ASGI application: a request object of Starlette takes longer than a step."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        body = await receive_body(receive)
        try:
            check_content_type(scope)
        except RefusedError as refusal:
            await send_error(send, refusal)
            return
        request = Request(len(body), lambda model: read_records(body), write_answer)
        await answer(self._service, request, send)


def read_records(body: bytes) -> list[Any]:
    """Return the records of a body."""
    value = parse(body)
    if isinstance(value, dict) and "sequences" in value:
        records = value["sequences"]
        if len(value) > 1 or not isinstance(records, list):
            raise RefusedError(
                422, 'sequences: expected {"sequences": [...]}, a list of records alone'
            )
        if not records:
            raise RefusedError(422, "sequences: got an empty list, expected at least one record")
        return records
    return [value]


def write_answer(model: LoadedModel, computed: Computed) -> bytes:
    """Return the body of an answer."""
    records = list(make_predictions(model, computed).records())
    return to_json({"model": model.name, "version": model.version, "predictions": records})


def make_predictions(model: LoadedModel, computed: Computed) -> Predictions:
    """Return predictions as the command collects them."""
    target, encoded = model.estimator.target_, computed.encoded
    steps, texts, unit = None, (), None
    if encoded is not None:
        steps, unit = encoded.steps, encoded.encoder.unit
        texts = () if unit is None else encoded.sequences
    return Predictions(
        target.task,
        target.output_names,
        computed.values,
        computed.names,
        steps=steps,
        texts=texts,
        unit=unit,
    )


def routes(service: Service) -> list[BaseRoute]:
    """Return the route."""
    return [Route("/predict", Predict(service), methods=["POST"])]
