"""The Open Inference Protocol: metadata as announced, tensors in and out, errors as a text."""

from __future__ import annotations

import numpy as np
import pytest
from kinds import KINDS, make_model


@pytest.fixture(scope="module", params=list(KINDS))
def kind(request):
    return make_model(request.param)


def to_tensors(model, encoded):
    """The tensors of a request, from sequences as they were before encoding."""
    encoder = encoded.encoder
    lengths = encoded.steps.lengths
    n, time = len(lengths), int(lengths.max())
    tensors = []

    def add(name, datatype, array):
        data = [None if v != v else v for v in array.ravel().tolist()]
        tensors.append(
            {"name": name, "datatype": datatype, "shape": list(array.shape), "data": data}
        )

    if encoder.unit:
        add("text", "BYTES", np.array(encoded.sequences, dtype=object))
    else:
        values = encoded.steps.values
        padded = np.full((n, time, *values.shape[1:]), "x" if encoder.kind == "tokens" else 7.0)
        padded = padded.astype(object)
        padded[np.arange(time) < lengths[:, None]] = values
        if encoder.kind == "mixed":
            for c, name in enumerate(model.reader.form.names):
                add(name, "BYTES" if c in encoder.categories else "FP64", padded[:, :, c])
        elif encoder.kind == "numbers":
            add("x", "FP64", padded)
        else:
            add("tokens", "BYTES", padded)
        add("lengths", "INT64", lengths)
    if encoded.static is not None:
        numbers = encoded.static.numbers.shape[1]
        for c, name in enumerate(encoded.static.names):
            of_numbers = c < numbers
            column = (
                encoded.static.numbers[:, c]
                if of_numbers
                else (encoded.static.categories[:, c - numbers])
            )
            add(name, "FP64" if of_numbers else "BYTES", column)
    return tensors


def test_every_kind_is_answered_as_the_estimator_does(kind, open_client):
    client = open_client(kind)
    model = client.app.state.service.models.current
    from elman.export.parity import sample_sequences

    encoded = sample_sequences(kind, (3, 1, 6))
    metadata = client.get(f"/v2/models/{model.name}").json()
    tensors = to_tensors(model, encoded)
    announced = {t["name"]: (t["datatype"], len(t["shape"])) for t in metadata["inputs"]}
    assert {t["name"]: (t["datatype"], len(t["shape"])) for t in tensors} == announced
    answer = client.post(f"/v2/models/{model.name}/infer", {"id": "7", "inputs": tensors})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["id"], found["model_name"]) == ("7", model.name)
    assert [t["name"] for t in found["outputs"]] == [t["name"] for t in metadata["outputs"]]
    values, *decided = (
        np.array(t["data"], dtype=object).reshape(t["shape"]) for t in found["outputs"]
    )
    expected = kind.predict_encoded(encoded)
    labels = kind.target_.decide(expected)
    if kind.per_step:
        mask = np.arange(values.shape[1]) < encoded.inputs.lengths[:, None]
        assert not values[~mask].any()
        values, decided = values[mask], [d[mask] for d in decided]
    np.testing.assert_array_equal(values.astype(float), expected)
    for own in decided:
        np.testing.assert_array_equal(own.astype(str), labels.astype(str))


def test_metadata_and_health(numbers, open_client):
    client = open_client(numbers[0])
    model = client.app.state.service.models.current
    root = f"/v2/models/{model.name}"
    assert client.get("/v2").json()["name"] == "elman"
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    for path in (root, f"{root}/versions/{model.version}"):
        assert client.get(path).json()["versions"] == [model.version]
        assert client.get(f"{path}/ready").json() == {"name": model.name, "ready": True}
    for path in ("/v2/models/other", f"{root}/versions/1"):
        for answer in (client.get(path), client.post(f"{path}/infer", {"inputs": []})):
            assert answer.status_code == 404 and "Expected" in answer.json()["error"]


X = {"name": "x", "datatype": "FP32", "shape": [1, 2, 2], "data": [1, 2, 3, 4]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inputs": [X | {"data": [[[1, 2], [3, 4]]]}]}, None),
        ({"inputs": [X], "outputs": [{"name": "predicted"}]}, None),
        ({"inputs": [X | {"data": [1, 2, 3]}]}, "has 3 values, expected 4"),
        ({"inputs": [X | {"shape": [1, 4, 1]}]}, "got shape [1, 4, 1]"),
        ({"inputs": [X | {"shape": [1, -2, -2]}]}, "whole numbers above 0"),
        ({"inputs": [X | {"shape": [2, 2]}]}, "got shape"),
        ({"inputs": [X | {"name": "X"}]}, "Did you mean 'x'?"),
        ({"inputs": [X, X]}, "given twice"),
        ({"inputs": []}, "'x' is missing"),
        ({"inputs": [X | {"datatype": "FP31"}]}, "datatype: expected one of"),
        ({"inputs": [X | {"data": [1, "a", 3, 4]}]}, "'a'"),
        ({"inputs": [X | {"data": [1, None, 3, 4]}]}, "no gaps in"),
        ({"inputs": [X, X | {"name": "lengths", "shape": [1], "data": [3]}]}, "from 1 to 2"),
        ({"inputs": [X, X | {"name": "lengths", "shape": [2], "data": [1, 1]}]}, "as many"),
        ({"inputs": [X], "outputs": [{"name": "y"}]}, "no such output"),
        ({"inputs": [X], "output": []}, "no such key"),
        ({"inputs": [X], "id": 3}, "id: expected text"),
        ([], "expected an object"),
    ],
)
def test_requests_of_every_form(numbers, open_client, change, said):
    client = open_client(numbers[0])
    answer = client.post("/v2/models/model/infer", change)
    if said is None:
        assert answer.status_code == 200
        assert len(answer.json()["outputs"]) == 2 - ("outputs" in change)
    else:
        assert answer.status_code in (400, 422), answer.text
        assert said in answer.json()["error"]
