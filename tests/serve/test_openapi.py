"""The OpenAPI document: every route is in it, and requests and answers are as it says."""

from __future__ import annotations

import base64
import hashlib
import re

import jsonschema
import numpy as np
import pytest
from kinds import KINDS, make_model
from starlette.routing import Route

from elman.serve.openapi import example_record


def resolved(document, name):
    """A schema with the others in reach of its references."""
    return {"$ref": f"#/components/schemas/{name}", "components": document["components"]}


def test_every_route_and_method_is_described(numbers, open_client):
    client = open_client(numbers[0])
    document = client.get("/openapi.json").json()
    described = {(p, m.upper()) for p, item in document["paths"].items() for m in item}
    routes = [route for route in client.app.routes if isinstance(route, Route)]
    assert described == {(r.path, m) for r in routes for m in r.methods - {"HEAD"}}


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_and_its_answer_are_as_described(kind, open_client):
    estimator = make_model(kind)
    client = open_client(estimator)
    model = client.app.state.service.models.current
    document = client.get("/openapi.json").json()
    record = example_record(model)
    if kind != "mixed":  # described as a list of steps; the example has a list for each column
        jsonschema.validate(record, resolved(document, "Records"))
    one = client.post("/predict", record)
    several = client.post("/predict", {"sequences": [record, record]})
    for answer in (one, several):
        assert answer.status_code == 200, answer.text
        jsonschema.validate(answer.json(), resolved(document, "Predictions"))
    first, second, third = (*one.json()["predictions"], *several.json()["predictions"])
    assert first | {"sequence": 0} == second | {"sequence": 0} == third | {"sequence": 0}
    metadata = client.get(f"/v2/models/{model.name}").json()
    jsonschema.validate(metadata, resolved(document, "ModelMetadata"))
    wrong = client.post("/predict", {"sequences": [record, {"x": 1}]})
    assert wrong.status_code == 422 and wrong.json()["error"]["sequence"] == 1, wrong.text
    jsonschema.validate(wrong.json(), resolved(document, "Error"))


@pytest.mark.parametrize("kind", KINDS)
def test_records_are_answered_as_the_estimator_does(kind, open_client):
    """Beside the tests of the protocol, which compare all values of all kinds."""
    estimator = make_model(kind)
    client = open_client(estimator)
    model = client.app.state.service.models.current
    record = example_record(model, steps=5)
    expected = estimator.predict_encoded(model.reader.read_sequences([record]))
    [found] = client.post("/predict", record).json()["predictions"]
    decided = estimator.target_.decide(expected)
    if estimator.per_step or kind in ("values", "value"):
        values = found["predicted"]
        values = list(values.values()) if isinstance(values, dict) else np.atleast_1d(values)
        assert np.ravel(values).tolist() == pytest.approx(np.ravel(decided).tolist()) or (
            list(values) == decided.tolist()
        )
    else:
        values = [*found["probabilities"].values()]
        np.testing.assert_allclose(values, expected[0], atol=5e-7)


def test_the_page_needs_nothing_from_elsewhere(numbers, open_client):
    client = open_client(numbers[0])
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "<script" not in page.text and not re.search(r"(src|@import|url\()", page.text)
    links = re.findall(r'href="([^"]*)"', page.text)
    ids = {f"#{i}" for i in re.findall(r'id="([^"]*)"', page.text)}
    assert links and {*links} <= ids | {"/openapi.json"}
    [style] = re.findall(r"<style>(.*?)</style>", page.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = page.headers["content-security-policy"]
    assert f"style-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy


def test_names_of_the_data_are_escaped(open_client):
    from elman import SequenceClassifier

    X = [np.ones((3, 1)) * i for i in range(12)]
    y = ["<script>alert(1)</script>", "b"] * 6
    clf = SequenceClassifier(hidden_size=2, epochs=1, random_state=0, verbose=0).fit(X, y)
    page = open_client(clf).get("/docs").text
    assert "<script" not in page and "&lt;script" in page
