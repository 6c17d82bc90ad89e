"""The Open Inference Protocol, version 2: what KServe, Triton and MLServer speak, as JSON.

Inputs are tensors by name, padded to the longest sequence, with `lengths` for the valid steps:

    numbers  x (n, T, C), null in gaps      tokens  tokens (n, T)      text  text (n,)
    mixed    a tensor (n, T) for each column, by its name; static features likewise, (n,)

Outputs: `probabilities` or `values`, (n, K), or (n, T, K) with zeros past each row's end; and
`predicted`: the class, (n,) or (n, T), or for several labels 1 for each that applies, (n, K).
Source: github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md
"""

from __future__ import annotations

import math
from itertools import chain
from typing import Any

from numpy.typing import NDArray
from pydantic_core import to_json
from starlette import requests
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from elman import __version__
from elman.errors import nearest
from elman.serve import Service
from elman.serve.batching import Computed, Request
from elman.serve.guard import RefusedError, json_response
from elman.serve.models import LoadedModel
from elman.serve.predict import Problem, make_record, parse, respond
from elman.tasks import TASKS

_WHOLE = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
DATATYPES = ("BOOL", *_WHOLE, "FP16", "FP32", "FP64", "BYTES")
LENGTHS = "lengths"
_MODEL = "/v2/models/{name}"
_VERSION = _MODEL + "/versions/{version}"


def list_inputs(model: LoadedModel) -> list[dict[str, Any]]:
    """Return name, datatype and shape of each input; -1 is any size."""
    encoder, form = model.estimator.encoder_, model.reader.form
    if encoder.kind == "mixed":
        kinds = ["BYTES" if c in encoder.categories else "FP64" for c in range(encoder.channels)]
        inputs = [_tensor(n, k, [-1, -1]) for n, k in zip(form.names, kinds, strict=True)]
    elif encoder.kind == "numbers":
        inputs = [_tensor("x", "FP64", [-1, -1, encoder.channels])]
    else:
        shape = [-1] if encoder.unit else [-1, -1]
        inputs = [_tensor("text" if encoder.unit else "tokens", "BYTES", shape)]
    inputs += [_tensor(n, "BYTES" if n in form.coded else "FP64", [-1]) for n in form.static]
    return inputs if encoder.unit else [*inputs, _tensor(LENGTHS, "INT64", [-1])]


def list_outputs(model: LoadedModel) -> list[dict[str, Any]]:
    """Return name, datatype and shape of each output, and the names of its K numbers."""
    target, steps = model.estimator.target_, [-1] * model.estimator.per_step
    names = {"parameters": {"names": list(map(str, target.output_names))}}
    if not TASKS[target.task].has_classes:
        return [_tensor("values", "FP64", [-1, *steps, target.num_outputs]) | names]
    predicted = _tensor("predicted", "BYTES", [-1, *steps])
    if not TASKS[target.task].single_label:
        predicted = _tensor("predicted", "INT64", [-1, target.num_outputs]) | names
    return [
        _tensor("probabilities", "FP64", [-1, *steps, target.num_outputs]) | names,
        predicted,
    ]


def _tensor(name: str, datatype: str, shape: list[int]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape}


def describe_model(model: LoadedModel) -> dict[str, Any]:
    """Return the metadata of the model."""
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": "elman",
        "inputs": list_inputs(model),
        "outputs": list_outputs(model),
    }


class _Infer:
    """The route of inference, as an ASGI application."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        def make(body: bytes) -> Request:
            find_model(self._service, scope["path_params"])
            call = _Call(body)
            return Request(len(body), call.read, call.answer)

        def explain(problem: Problem) -> bytes:
            # The protocol has a text here, without the places of our own errors.
            return to_json({"error": problem.message})

        await respond(self._service, scope, receive, send, make, explain)


class _Call:
    """One inference: from the tensors of its body to records, and from predictions to tensors."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._id: str | None = None
        self._wanted: list[str] | None = None

    def read(self, model: LoadedModel) -> list[Any]:
        """Return the records that the input tensors hold."""
        value = parse(self._body)
        if not isinstance(value, dict) or not isinstance(value.get("inputs"), list):
            raise _refused('expected an object with "inputs", a list of tensors')
        if strange := set(value) - {"id", "parameters", "inputs", "outputs"}:
            raise _refused(f"{min(strange)!r:.80}: no such key. Expected id, inputs and outputs")
        if not isinstance(value.get("id", ""), str):
            raise _refused("id: expected text")
        self._id = value.get("id")
        self._wanted = _read_outputs(value.get("outputs"), model)
        expected = {tensor["name"]: tensor for tensor in list_inputs(model)}
        given: dict[str, tuple[list[int], list[Any]]] = {}
        for i, tensor in enumerate(value["inputs"]):
            name, shape, data = _read_tensor(tensor, f"inputs[{i}]")
            if name not in expected or name in given:
                what = "given twice" if name in given else "no such input"
                hint = nearest(name, expected) or f" Expected {', '.join(expected)}."
                raise _refused(f"input {name!r:.80}: {what}.{hint}")
            _check_shape(name, shape, expected[name]["shape"])
            given[name] = shape, data
        return _to_records(model, expected, given)

    def answer(self, model: LoadedModel, computed: Computed) -> bytes:
        """Return the body of the answer, with the output tensors."""
        target, encoded = model.estimator.target_, computed.encoded
        arrays: list[NDArray[Any]] = [computed.values]
        if TASKS[target.task].has_classes:
            arrays.append(target.decide(computed.values))
        outputs = []
        for tensor, array in zip(list_outputs(model), arrays, strict=True):
            if self._wanted is not None and tensor["name"] not in self._wanted:
                continue
            if encoded is not None:
                ragged = encoded.inputs
                if array.dtype.kind == "f":
                    array = ragged.with_values(array).to_padded()
                else:  # labels: empty text past each row's end
                    array = ragged.with_values(array.astype(object)).to_padded("")
            flat: list[Any] = array.ravel().tolist()
            if tensor["datatype"] == "BYTES":
                flat = list(map(str, flat))
            outputs.append({**tensor, "shape": list(array.shape), "data": flat})
        own = {} if self._id is None else {"id": self._id}
        names = {"model_name": model.name, "model_version": model.version}
        return to_json({**names, **own, "outputs": outputs})


def _refused(message: str) -> RefusedError:
    return RefusedError(400, message)


def _read_outputs(wanted: Any, model: LoadedModel) -> list[str] | None:
    """Return the names of the outputs that are asked for; None for all."""
    if wanted is None or wanted == []:
        return None
    known = [tensor["name"] for tensor in list_outputs(model)]
    if not isinstance(wanted, list):
        raise _refused("outputs: expected a list of objects with a name")
    names = []
    for each in wanted:
        name = each.get("name") if isinstance(each, dict) else None
        if not isinstance(name, str) or name not in known:
            raise _refused(f"output {name!r:.80}: no such output. Expected {', '.join(known)}")
        names.append(name)
    return names


def _read_tensor(tensor: Any, place: str) -> tuple[str, list[int], list[Any]]:
    """Return name, shape and flat data of an input tensor."""
    if not isinstance(tensor, dict):
        raise _refused(f"{place}: expected an object with name, shape, datatype and data")
    name, shape, data = (tensor.get(key) for key in ("name", "shape", "data"))
    if not isinstance(name, str):
        raise _refused(f"{place}: name: expected text")
    if tensor.get("datatype") not in DATATYPES:
        raise _refused(f"{name!r:.80}: datatype: expected one of {', '.join(DATATYPES)}")
    if not isinstance(shape, list) or not all(type(n) is int and n > 0 for n in shape):
        raise _refused(f"{name!r:.80}: shape: expected a list of whole numbers above 0")
    if not isinstance(data, list):
        raise _refused(f"{name!r:.80}: data: expected a list")
    for _ in range(len(shape)):  # the data may be nested as the shape says
        if {*map(type, data)} != {list}:
            break
        data = list(chain.from_iterable(data))
    if math.prod(shape) != len(data):
        raise _refused(
            f"{name!r:.80}: data has {len(data):,} values, expected {math.prod(shape):,}, the "
            "product of its shape"
        )
    return name, shape, data


def _check_shape(name: str, shape: list[int], expected: list[int]) -> None:
    fits = len(shape) == len(expected)
    if not fits or any(b not in (-1, a) for a, b in zip(shape, expected, strict=True)):
        raise _refused(f"{name!r:.80}: got shape {shape}, expected {expected}, -1 being any size")


def _to_records(
    model: LoadedModel,
    expected: dict[str, dict[str, Any]],
    given: dict[str, tuple[list[int], list[Any]]],
) -> list[Any]:
    """Return a record for each of n sequences, of its valid steps and static features."""
    for name in expected:
        if name not in given and name != LENGTHS:
            raise _refused(f"input {name!r:.80} is missing. Expected {', '.join(expected)}")
    counts = {name: shape[0] for name, (shape, _) in given.items()}
    steps = {name: shape[1] for name, (shape, _) in given.items() if len(shape) > 1}
    if len({*counts.values()}) > 1 or len({*steps.values()}) > 1:
        shapes = ", ".join(f"{name} {shape}" for name, (shape, _) in given.items())
        raise _refused(f"expected as many sequences and steps in all inputs, got {shapes}")
    form = model.reader.form
    count, time = next(iter(counts.values())), next(iter(steps.values()), 1)
    lengths = given[LENGTHS][1] if LENGTHS in given else [time] * count
    for length in lengths:
        if type(length) is not int or not 1 <= length <= time:
            raise _refused(
                f"{LENGTHS}: got {length!r:.40}, expected whole numbers from 1 to {time}"
            )
    static = [{name: given[name][1][i] for name in form.static} for i in range(count)]
    columns = [data for name, (_, data) in given.items() if name not in {*form.static, LENGTHS}]
    if model.estimator.encoder_.kind == "mixed":
        ordered = [given[name][1] for name in form.names]
        rows: list[Any] = [list(row) for row in zip(*ordered, strict=True)]
    elif model.estimator.encoder_.kind == "numbers":
        width, data = model.estimator.encoder_.channels, columns[0]
        rows = [data[i : i + width] for i in range(0, len(data), width)]
    elif model.estimator.encoder_.unit:
        return [make_record(model, each, own) for each, own in zip(columns[0], static, strict=True)]
    else:
        rows = columns[0]
    starts = range(0, count * time, time)
    return [
        make_record(model, rows[start : start + length], own)
        for start, length, own in zip(starts, lengths, static, strict=True)
    ]


def find_model(service: Service, path: dict[str, str]) -> LoadedModel:
    """Return the model that a path names. Raises RefusedError if it is not the one served."""
    model = service.models.current
    for key, own in (("name", model.name), ("version", model.version)):
        if path.get(key, own) != own:
            raise RefusedError(404, f"no {key} {path[key]!r:.80} here. Expected {own!r}")
    return model


def routes(service: Service) -> list[BaseRoute]:
    """Return the routes of the protocol."""

    async def server(request: requests.Request) -> Response:
        return json_response({"name": "elman", "version": __version__, "extensions": []})

    async def live(request: requests.Request) -> Response:
        return json_response({"live": True})

    async def ready(request: requests.Request) -> Response:
        return json_response({"ready": True})

    async def metadata(request: requests.Request) -> Response:
        return _about(service, request, describe_model)

    async def model_ready(request: requests.Request) -> Response:
        return _about(service, request, lambda model: {"name": model.name, "ready": True})

    infer = _Infer(service)
    return [
        Route("/v2", server),
        Route("/v2/health/live", live),
        Route("/v2/health/ready", ready),
        *(
            route
            for model in (_MODEL, _VERSION)
            for route in (
                Route(model, metadata),
                Route(f"{model}/ready", model_ready),
                Route(f"{model}/infer", infer, methods=["POST"]),
            )
        ),
    ]


def _about(service: Service, request: requests.Request, describe: Any) -> Response:
    try:
        return json_response(describe(find_model(service, request.path_params)))
    except RefusedError as refusal:
        return json_response({"error": refusal.message}, refusal.status)
