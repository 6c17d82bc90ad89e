"""The OpenAPI document of the server, and a page that shows it without anything from elsewhere.

GET /openapi.json    schemas of the model that is served: its channels, classes and limits
GET /docs            the same as a page, and a command to try

The schemas describe the plainest form of a record; the reader accepts the others of the training
file too.
"""

from __future__ import annotations

import json
import shlex
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from elman import __version__
from elman.export.parity import sample_sequences
from elman.serve import Service
from elman.serve.docs_page import CONTENT_SECURITY, render
from elman.serve.guard import json_response
from elman.serve.models import LoadedModel
from elman.serve.oip import DATATYPES, list_inputs, list_outputs
from elman.serve.predict import make_record
from elman.serve.settings import ServeSettings
from elman.tasks import TASKS

Floats = NDArray[np.float64]
Schema = dict[str, Any]
_TEXT: Schema = {"type": "string"}
_PROBABILITY: Schema = {"type": "number", "minimum": 0, "maximum": 1}
_LARGEST = 1e308  # number of a record
# With a letter or digit: text of blanks alone has no words.
_WORD: Schema = {"type": "string", "pattern": "[A-Za-z0-9]"}
_REFUSALS = {
    400: "The body is not valid JSON.",
    401: "The token is missing or wrong.",
    403: "The Host or Origin header is not one of this server.",
    408: "The body did not arrive in time.",
    409: "The model's folder holds none that can be served.",
    413: "The body, a sequence or all of them are longer than the limit.",
    415: "The body is not declared as JSON.",
    422: "A record cannot be read; the message is that of the command.",
    429: "More requests wait than the limit; try again after the seconds in Retry-After.",
    503: "The server is stopping, or its queue is full.",
}


def example_record(model: LoadedModel, steps: int = 3) -> Any:
    """Return a record that `/predict` of this model accepts."""
    encoded = sample_sequences(model.estimator, (steps,))
    encoder, static = encoded.encoder, {}
    if encoded.static is not None:
        values = [*encoded.static.numbers[0].tolist(), *encoded.static.categories[0].tolist()]
        static = {n: _plain(v) for n, v in zip(encoded.static.names, values, strict=True)}
    if encoder.vocabulary:  # known tokens, of which a sample has only some
        tokens = [token for token in encoder.vocabulary if not token.isspace()][:steps]
        text = (" " if encoder.unit == "words" else "").join(tokens)
        return make_record(model, text if encoder.unit else tokens, static)
    rows = [_plain(step) for step in encoded.steps[0].tolist()]
    for column, known in encoder.categories.items():
        for row in rows:
            row[column] = next(filter(None, known), "")
    return make_record(model, rows, static)


def _plain(value: Any) -> Any:
    """Return values with few digits, and None where one is missing."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return None if np.isnan(value) else float(f"{value:.4g}")
    return value


def example_command(model: LoadedModel, address: str, token: str = "") -> str:
    """Return a command line that asks for a prediction.

    Args:
        address: of the server, such as http://127.0.0.1:8000.
        token: shell expression of the token; empty if the server needs none.
    """
    words = ["curl", f"{address}/predict", "-H", "Content-Type: application/json"]
    secret = f' -H "Authorization: Bearer {token}"' if token else ""
    body = shlex.quote(json.dumps(example_record(model), ensure_ascii=False))
    return f"{shlex.join(words)}{secret} -d {body}"


def _list_of(items: Schema, most: int | None = None) -> Schema:
    return {"type": "array", "items": items, "minItems": 1} | ({"maxItems": most} if most else {})


def _object(properties: dict[str, Schema], required: bool = True, closed: bool = True) -> Schema:
    schema: Schema = {"type": "object", "properties": properties}
    schema |= {"required": list(properties)} if required and properties else {}
    return schema | ({"additionalProperties": False} if closed else {})


def _numbers(mean: Floats, scale: Floats) -> list[Schema]:
    """Return the schema of each of C numbers: those that are finite in float32 once standardised.

    The bounds are exact: a client that tests them sends the next number beyond.
    """
    bounds = []
    for sign in (-1.0, 1.0):
        # Positive float64 have the order of their bits as integers; 0 is always within.
        low = np.zeros(len(mean), np.int64)
        high = np.full(len(mean), _LARGEST).view(np.int64) + 1
        while (high - low > 1).any():
            middle = low + (high - low) // 2
            with np.errstate(over="ignore"):
                inputs = ((sign * middle.view(np.float64) - mean) / scale).astype(np.float32)
            within = np.isfinite(inputs)
            low, high = np.where(within, middle, low), np.where(within, high, middle)
        bounds.append((sign * low.view(np.float64)).tolist())
    return [
        {"type": "number", "minimum": least, "maximum": most}
        for least, most in zip(*bounds, strict=True)
    ]


def record_schema(model: LoadedModel, settings: ServeSettings) -> Schema:
    """Return the schema of a record."""
    encoder, form = model.estimator.encoder_, model.reader.form
    own = iter(
        () if encoder.static is None else _numbers(encoder.static.mean, encoder.static.scale)
    )
    static = {name: _WORD if name in form.coded else next(own) for name in form.static}
    numbers = _numbers(encoder.mean, encoder.scale)
    if encoder.kind == "mixed":
        rest = iter(numbers)
        columns = {
            name: _WORD if c in encoder.categories else next(rest)
            for c, name in enumerate(form.names)
        }
        rows = _list_of(_object(columns), settings.max_length)
        return _object({form.free_key("steps"): rows, **static}) if static else rows
    if encoder.unit:
        rows = {**_WORD, "maxLength": settings.max_length}
    elif encoder.kind == "tokens":
        rows = _list_of(_WORD, settings.max_length)
    else:
        channels = [
            {**number, "type": ["number", "null"]} if has_gaps else number
            for number, has_gaps in zip(numbers, encoder.gaps, strict=True)
        ]
        row = _list_of(channels[0], len(channels)) | {"minItems": len(channels)}
        if any(channel != channels[0] for channel in channels):
            row |= {"prefixItems": channels, "items": False}
        rows = _list_of(row, settings.max_length)
    key = form.row_key or form.other_key
    whole = _object({str(key): rows, **static})
    if key is None:  # the columns of the training file have both names
        lists = zip(form.names, map(_list_of, numbers), strict=True)
        whole = _object(dict(lists) | static)
        return whole if static else rows
    return whole if static else {"anyOf": [rows, whole]}


def prediction_schema(model: LoadedModel) -> Schema:
    """Return the schema of the prediction for a sequence, as `elman predict` writes JSON lines."""
    target, per_step = model.estimator.target_, model.estimator.per_step
    task = TASKS[target.task]
    names = list(map(str, target.output_names))
    number: Schema = {"type": ["number", "null"]}
    if not task.has_classes:
        each = {"type": "array", "items": number} if per_step else number
        value = each if len(names) == 1 else _object(dict.fromkeys(names, each))
        return _object({"sequence": {}, "predicted": value})
    label: Schema = {"enum": list(target.output_names)}
    if per_step:
        lists = {"predicted": label, "probability": _PROBABILITY, "spans": {"type": "object"}}
        fields = {name: {"type": "array", "items": each} for name, each in lists.items()}
        return _object({"sequence": {}, **fields}, closed=False)
    by_name = _object(dict.fromkeys(names, _PROBABILITY))
    if not task.single_label:
        labels = {"type": "array", "items": {"enum": names}}
        return _object({"sequence": {}, "predicted": labels, "probabilities": by_name})
    fields = {"predicted": label, "probability": _PROBABILITY, "probabilities": by_name}
    return _object({"sequence": {}, **fields})


def _tensors(tensors: list[Schema], data: bool) -> Schema:
    """Return the schema of a list of tensors, with their data or without."""
    shape = {"type": "array", "items": {"type": "integer"}}
    fields: Schema = {"name": {"enum": [tensor["name"] for tensor in tensors]}}
    fields |= {"shape": shape, "datatype": {"enum": list(DATATYPES)}}
    more = {"data": {"type": "array"}} if data else {}
    return _list_of(_object({**fields, **more}, closed=False))


def make_schemas(model: LoadedModel, settings: ServeSettings) -> dict[str, Schema]:
    """Return all schemas by name."""
    inputs, outputs = list_inputs(model), list_outputs(model)
    records = _object({"sequences": _list_of({"$ref": _at("Record")})})
    place = {"field": _TEXT, "sequence": {"type": "integer", "minimum": 0}}
    error = {**_object({"message": _TEXT}), "properties": {"message": _TEXT, **place}}
    predictions = {"type": "array", "items": {"$ref": _at("Prediction")}}
    named = {"model_name": _TEXT, "model_version": _TEXT}
    infer = _object({"inputs": _tensors(inputs, True)})
    known = {"enum": [tensor["name"] for tensor in outputs]}
    infer["properties"] |= {"id": _TEXT, "outputs": _list_of(_object({"name": known}))}
    about = {"name": _TEXT, "versions": _list_of(_TEXT), "platform": _TEXT}
    about |= {"inputs": _tensors(inputs, False), "outputs": _tensors(outputs, False)}
    return {
        "Record": {**record_schema(model, settings), "examples": [example_record(model)]},
        "Records": {"anyOf": [records, {"$ref": _at("Record")}]},
        "Prediction": prediction_schema(model),
        "Predictions": _object({"model": _TEXT, "version": _TEXT, "predictions": predictions}),
        "Error": _object({"error": error}),
        "ProtocolError": _object({"error": {"anyOf": [_TEXT, error]}}),
        "InferenceRequest": infer,
        "InferenceResponse": _object({**named, "outputs": _tensors(outputs, True)}, closed=False),
        "ModelMetadata": _object(about),
        "Status": {"type": "object"},
    }


def _at(name: str) -> str:
    return f"#/components/schemas/{name}"


def _content(schema: str) -> Schema:
    return {"application/json": {"schema": {"$ref": _at(schema)}}}


# Path, method, what it does, schema of the request and of the answer, and further refusals.
_OIP = "Open Inference Protocol: "
_ROWS: list[tuple[str, str, str, str | None, str | None, tuple[int, ...]]] = [
    ("/predict", "post", "Predict one record, or several.", "Records", "Predictions",
     (400, 408, 413, 415, 422, 429)),
    ("/health/live", "get", "Whether the process answers.", None, "Status", ()),
    ("/health/ready", "get", "Whether it takes requests.", None, "Status", (503,)),
    ("/metrics", "get", "Counters and times for Prometheus.", None, None, ()),
    ("/models/reload", "post", "Load what the model's folder holds now.", None, "Status",
     (409, 429)),
    ("/openapi.json", "get", "This document.", None, "Status", ()),
    ("/docs", "get", "This document as a page.", None, None, ()),
    ("/v2", "get", f"{_OIP}name and version of the server.", None, "Status", ()),
    ("/v2/health/live", "get", f"{_OIP}whether the process answers.", None, "Status", ()),
    ("/v2/health/ready", "get", f"{_OIP}whether it takes requests.", None, "Status", ()),
    *(
        row
        for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")
        for row in (
            (path, "get", f"{_OIP}inputs and outputs of the model.", None, "ModelMetadata", (404,)),
            (f"{path}/ready", "get", f"{_OIP}whether it is loaded.", None, "Status", (404,)),
            (f"{path}/infer", "post", f"{_OIP}predict tensors.", "InferenceRequest",
             "InferenceResponse", (400, 404, 408, 413, 415, 422, 429)),
        )
    ),
]  # fmt: skip


def make_document(service: Service) -> Schema:
    """Return the OpenAPI document for the current model."""
    model, settings = service.models.current, service.settings
    names = {"name": model.name, "version": model.version}
    refusals = (401, 403) if settings.token else (403,)
    paths: dict[str, Schema] = {}
    for path, method, text, request, answer, more in _ROWS:
        kind = {"/docs": "text/html", "/metrics": "text/plain"}.get(path)
        content = {kind: {"schema": _TEXT}} if answer is None else _content(answer)
        error = "ProtocolError" if path.startswith("/v2") else "Error"
        responses: Schema = {"200": {"description": "The answer.", "content": content}}
        for status in sorted({*refusals, *more, 503}):
            said = _REFUSALS.get(status, "No such model or version.")
            responses[str(status)] = {"description": said, "content": _content(error)}
        operation: Schema = {"summary": text, "responses": responses}
        operation["operationId"] = f"{method} {path}"
        if request is not None:
            operation["requestBody"] = {"required": True, "content": _content(request)}
        operation["parameters"] = [
            {"name": n, "in": "path", "required": True, "schema": {"enum": [value]}}
            for n, value in names.items()
            if f"{{{n}}}" in path
        ]
        paths.setdefault(path, {})[method] = operation
    secured = {"token": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"elman: {model.name}",
            "version": model.version,
            "description": f"{model.estimator.describe_model()}. elman {__version__}.",
        },
        "paths": paths,
        "components": {
            "schemas": make_schemas(model, settings),
            **({"securitySchemes": secured} if settings.token else {}),
        },
        **({"security": [{"token": []}]} if settings.token else {}),
    }


def routes(service: Service) -> list[BaseRoute]:
    """Return the routes of this file."""

    async def document(request: Request) -> Response:
        return json_response(make_document(service))

    async def page(request: Request) -> Response:
        address = f"{request.url.scheme}://{request.headers['host']}"
        token = "$TOKEN" if service.settings.token else ""
        command = example_command(service.models.current, address, token)
        html = render(make_document(service), command)
        return Response(
            html, headers={"content-security-policy": CONTENT_SECURITY}, media_type="text/html"
        )

    return [Route("/openapi.json", document), Route("/docs", page)]
