"""`POST /predict`: records as the training file had them, answered as `elman predict` writes them.

The body is one record, or an object {"sequences": [record, ...]}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from elman.errors import DataError, ElmanError, RecordError
from elman.runs.predictions import Predictions
from elman.serve import Service
from elman.serve.batching import Computed, OverloadError, Request, TooLongError
from elman.serve.guard import Headers, RefusedError, error_body, send_json
from elman.serve.models import LoadedModel


def parse(body: bytes) -> Any:
    """Return the value of a body of JSON. Raises RefusedError if it is not valid JSON."""
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise RefusedError(400, f"the body is not valid JSON: {error}") from None


def check_content_type(scope: Scope) -> None:
    """Raise RefusedError unless the request says that its body is JSON, and not compressed.

    A web page may send other types to any server without asking it first.
    """
    is_json = False
    for name, value in scope["headers"]:
        if name == b"content-type":
            is_json = value.partition(b";")[0].strip().lower() == b"application/json"
        elif name == b"content-encoding" and value.strip().lower() != b"identity":
            raise RefusedError(415, "expected a body that is not compressed")
    if not is_json:
        raise RefusedError(
            415, "expected a body of JSON, with the header Content-Type: application/json"
        )


class Problem(NamedTuple):
    """What is wrong with a request.

    Args:
        status: HTTP status.
        message: what is wrong and what to do, as the command prints it.
        field: key at fault; None if it is none.
        sequence: index of the record at fault, from 0; None if it is none.
        headers: further headers of the answer.
    """

    status: int
    message: str
    field: str | None = None
    sequence: int | None = None
    headers: Headers = ()


def find_problem(error: Exception) -> Problem:
    """Return what to answer to an error of a request; faults of the server are raised again."""
    if isinstance(error, RefusedError):
        return Problem(error.status, error.message, headers=error.headers)
    if isinstance(error, OverloadError):
        return Problem(429, str(error), headers=[(b"retry-after", b"1")])
    if isinstance(error, TooLongError):
        return Problem(413, str(error))
    if not isinstance(error, ElmanError):
        raise error
    field = error.column if isinstance(error, DataError) else None
    sequence = error.sequence if isinstance(error, RecordError) else None
    return Problem(422, str(error), None if field is None else str(field), sequence)


async def respond(
    service: Service,
    scope: Scope,
    receive: Receive,
    send: Send,
    make: Callable[[bytes], Request],
    explain: Callable[[Problem], bytes],
) -> None:
    """Have a request computed, and send its answer or what is wrong with it.

    Args:
        make: returns the request of a body, which the guard has read.
        explain: returns the body of an error.
    """
    body: bytes = (await receive())["body"]
    try:
        check_content_type(scope)
        answer = await service.batcher.submit(make(body))
    except Exception as error:
        problem = find_problem(error)
        await send_json(send, problem.status, explain(problem), problem.headers)
    else:
        await send_json(send, 200, answer)


class Predict:
    """The route, as an ASGI application: a request object of Starlette takes longer than a step."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        def make(body: bytes) -> Request:
            return Request(len(body), lambda model: read_records(body), write_answer)

        def explain(problem: Problem) -> bytes:
            return error_body(problem.message, problem.field, problem.sequence)

        await respond(self._service, scope, receive, send, make, explain)


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


def make_record(model: LoadedModel, rows: Any, static: Mapping[str, Any]) -> Any:
    """Return the steps of a sequence, and its static features, as a record of `/predict`.

    Args:
        rows: a list of numbers and categories for each step, a list of tokens, or a text.
        static: its static features by name.
    """
    form = model.reader.form
    key = form.row_key or form.other_key
    if form.names and (key is None or model.estimator.encoder_.kind == "mixed"):
        columns = (list(column) for column in zip(*rows, strict=True))
        return {**dict(zip(form.names, columns, strict=True)), **static}
    return {str(key): rows, **static}


def routes(service: Service) -> list[BaseRoute]:
    """Return the route."""
    return [Route("/predict", Predict(service), methods=["POST"])]
