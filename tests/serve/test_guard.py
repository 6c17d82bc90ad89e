"""Every route and method refuses a missing token, a wrong Host and a foreign Origin."""

from __future__ import annotations

import asyncio

import pytest
from serving import TOKEN, Client
from starlette.routing import WebSocketRoute

from elman.serve.app import create_app
from elman.serve.settings import ServeSettings

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
GOOD = {"Host": "127.0.0.1:8000", "Authorization": f"Bearer {TOKEN}"}
ATTACKS = {
    "no token": ({"Authorization": None}, 401),
    "wrong token": ({"Authorization": f"Bearer {TOKEN[:-1]}x"}, 401),
    "another scheme": ({"Authorization": f"Basic {TOKEN}"}, 401),
    "wrong host": ({"Host": "evil.example:8000"}, 403),
    "host that ends as ours": ({"Host": "127.0.0.1.evil.example"}, 403),
    "other address as host": ({"Host": "192.0.2.1:8000"}, 403),
    "no host": ({"Host": ""}, 403),
    "foreign origin": ({"Origin": "http://evil.example"}, 403),
    "origin of another port": ({"Origin": "http://127.0.0.1:9000"}, 403),
    "origin of a file": ({"Origin": "null"}, 403),
    "origin that begins as ours": ({"Origin": "http://127.0.0.1:8000.evil.example"}, 403),
}


@pytest.fixture(scope="module")
def client(numbers):
    client = Client(create_app(numbers[0], ServeSettings(token=TOKEN)))
    yield client
    client.close()


def all_paths(client):
    service = client.app.state.service
    names = {"name": service.models.current.name, "version": service.models.current.version}
    routes = [r for r in client.app.routes if not isinstance(r, WebSocketRoute)]
    paths = [route.path.format(**names) for route in routes]
    assert "/predict" in paths and "/metrics" in paths and len(paths) > 10
    return [*paths, "/", "/no/such/path", "/../etc/passwd", "//predict"]


def headers_of(change):
    return {k: v for k, v in {**GOOD, **change}.items() if v is not None}


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_route_and_method_is_guarded(client, attack):
    change, status = ATTACKS[attack]
    for path in all_paths(client):
        for method in METHODS:
            answer = client.request(method, path, headers=headers_of(change), json=[[1, 2]])
            assert answer.status_code == status, (method, path, answer.status_code)
            assert "www-authenticate" in answer.headers or status != 401


def test_what_is_allowed_passes(client):
    """So that the test above cannot pass because everything is refused."""
    for change in (
        {},
        {"Host": "localhost"},
        {"Host": "[::1]:8000"},
        {"Host": "LOCALHOST:8000"},
        {"Origin": "http://127.0.0.1:8000"},
        {"Authorization": f"bearer  {TOKEN}"},
    ):
        headers = headers_of(change)
        for method, path in (("GET", "/health/live"), ("POST", "/predict")):
            answer = client.request(method, path, headers=headers, json=[[1, 2]])
            assert answer.status_code == 200, (change, answer.text)
    for path in all_paths(client):
        statuses = {m: client.request(m, path, headers=GOOD).status_code for m in METHODS}
        assert not {401, 403} & {*statuses.values()}, (path, statuses)


def open_socket(client, path, headers):
    """The first message that the application sends when a WebSocket is opened."""
    pairs = [(k.lower().encode(), v.encode()) for k, v in headers.items()]
    scope = {
        "type": "websocket",
        "extensions": {"websocket.http.response": {}},
        "path": path,
        "headers": pairs,
        "query_string": b"",
    }
    scope |= {
        "subprotocols": [],
        "scheme": "ws",
        "root_path": "",
        "extensions": {"websocket.http.response": {}},
    }
    sent, waiting = [], [{"type": "websocket.connect"}]

    async def receive():
        return waiting.pop() if waiting else {"type": "websocket.disconnect", "code": 1000}

    async def send(message):
        sent.append(message)

    async def run():
        await client.app(scope, receive, send)

    asyncio.run_coroutine_threadsafe(run(), client.loop).result(10)
    return sent[0]


@pytest.mark.parametrize("attack", ATTACKS)
def test_web_sockets_are_guarded(client, attack):
    paths = [r.path for r in client.app.routes if isinstance(r, WebSocketRoute)]
    for path in [*paths, "/no/such/socket"]:
        first = open_socket(client, path, headers_of(ATTACKS[attack][0]))
        assert (first["type"], first["code"]) == ("websocket.close", 1008)
    for path in paths:
        # The route answers: this model reads in both directions, so it has no stream.
        answer = open_socket(client, path, headers_of({}))
        assert (answer["type"], answer["status"]) == ("websocket.http.response.start", 409)


def test_two_hosts_are_one_too_many(client):
    for name in ("Host", "Authorization"):
        headers = [*GOOD.items(), (name, GOOD[name])]
        assert client.get("/health/live", headers=headers).status_code in (401, 403)


def test_a_name_is_allowed_by_a_flag(numbers, open_client):
    client = open_client(numbers[0], allow_host="models.example, other.example")
    for host, status in (("models.example:80", 200), ("OTHER.example", 200), ("x.example", 403)):
        assert client.get("/health/live", headers={"Host": host}).status_code == status


def test_bodies_have_a_limit(numbers, open_client):
    client = open_client(numbers[0], max_body=1000)

    async def chunks():
        for _ in range(30):
            yield b"[" * 100

    kind = {"Content-Type": "application/json"}
    whole = client.request("POST", "/predict", content=b"[" * 1001, headers=kind)
    pieces = client.request("POST", "/predict", content=chunks(), headers=kind)
    for answer in (whole, pieces):
        assert answer.status_code == 413 and "--max-body" in answer.json()["error"]["message"]
    assert client.request("POST", "/predict", content=b"[" * 1000, headers=kind).status_code == 400


def test_a_body_must_arrive_in_time(numbers, open_client):
    client = open_client(numbers[0], timeout=0.2)

    async def slow():
        yield b"["
        await asyncio.sleep(0.5)
        yield b"]"

    answer = client.request("POST", "/predict", content=slow())
    # httpx gives its transport whole chunks as they come.
    assert answer.status_code == 408 and "0.2 s" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "headers", "status", "said"),
    [
        (b"[[1, 2]]", {}, 415, "Content-Type: application/json"),
        (b"[[1, 2]]", {"Content-Type": "text/plain"}, 415, "Content-Type"),
        (b"[[1, 2]]", {"Content-Type": "application/json; charset=utf-8"}, 200, ""),
        (b"[[1, 2]", None, 400, "not valid JSON"),
        (b"", None, 400, "not valid JSON"),
        (b"[[1, NaN]]", None, 400, "not valid JSON"),
        (b"[" * 100_000, None, 400, "not valid JSON"),
        (b"[[1, 1e999]]", None, (400, 422), ""),
        (b"[[1, " + b"9" * 5000 + b"]]", None, (400, 422), ""),
        (b'"\xff"', None, 400, "not valid JSON"),
        (b"[]", None, 422, ""),
        (b"{}", None, 422, ""),
        (b'{"sequences": []}', None, 422, "empty list"),
        (b'{"sequences": 3}', None, 422, "a list of records"),
        (b'{"sequences": [[[1, 2]]], "x": 1}', None, 422, "alone"),
        (b'{"sequences": [[[1, 2]], [[1, "a"]]]}', None, 422, "'a'"),
        (b"[[1, 2], [3]]", None, 422, ""),
    ],
)
def test_bodies_of_every_form(numbers, open_client, body, headers, status, said):
    client = open_client(numbers[0])
    headers = {"Content-Type": "application/json"} if headers is None else headers
    answer = client.request("POST", "/predict", content=body, headers=headers)
    expected = status if isinstance(status, tuple) else (status,)
    assert answer.status_code in expected, answer.text
    if answer.status_code != 200:
        assert said in answer.json()["error"]["message"]


def test_a_fault_names_sequence_and_field(numbers, open_client):
    client = open_client(numbers[0])
    error = client.post("/predict", {"sequences": [[[1, 2]], {"values": [[1, 2]], "x": 1}]})
    assert error.json()["error"] == {
        "message": error.json()["error"]["message"],
        "sequence": 1,
        "field": "x",
    }


def test_lengths_have_limits(numbers, open_client):
    client = open_client(numbers[0], max_length=10, max_steps=15, max_records=4)
    for records, status, said in (
        ([[[1, 2]] * 10], 200, ""),
        ([[[1, 2]], [[1, 2]] * 11], 413, "sequence 1 has 11 steps, expected at most 10"),
        ([[[1, 2]]] * 4, 200, ""),
        ([[[1, 2]]] * 5, 413, "the request has 5 sequences, expected at most 4"),
        ([[[1, 2]] * 8] * 2, 413, "16 steps in all, expected at most 15"),
    ):
        answer = client.post("/predict", {"sequences": records})
        assert answer.status_code == status and said in answer.text
    # Two requests of one batch are not one request.
    answers = client.gather(*[("POST", "/predict", {"json": [[1, 2]] * 8})] * 8)
    assert {a.status_code for a in answers} == {200}
