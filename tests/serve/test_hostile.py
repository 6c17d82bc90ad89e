"""A server on loopback under clients that break the rules of HTTP, or bend them."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket

import httpx
import pytest
from serving import listening

LIMIT = 10  # seconds for any answer


@pytest.fixture(scope="module")
def server(numbers):
    with listening(numbers[0], timeout=0.7, max_body=100_000) as address:
        yield address.removeprefix("http://")


def connect(server):
    host, port = server.split(":")
    return socket.create_connection((host, int(port)), LIMIT)


def request(body, path="/predict", headers="", length=None):
    body = body if isinstance(body, bytes) else body.encode()
    length = len(body) if length is None else length
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\n{headers}\r\n".encode()
        + body
    )


GOOD = request("[[1, 2], [3, 4]]")


def read_answers(connection, count):
    """Read that many answers, or all until the connection ends; return their statuses."""
    data, statuses = b"", []
    connection.settimeout(LIMIT)
    while len(statuses) < count:
        head, end, rest = data.partition(b"\r\n\r\n")
        if end:
            fields = head.lower().partition(b"content-length:")[2].partition(b"\r")[0]
            size = int(fields or 0)
            if len(rest) >= size:
                statuses.append(int(head[9:12]))
                data = rest[size:]
                continue
        with contextlib.suppress(ConnectionResetError):
            if piece := connection.recv(1 << 16):
                data += piece
                continue
        break
    return statuses


def ask(server, data):
    with connect(server) as connection:
        connection.sendall(data)
        return read_answers(connection, 1)


@pytest.fixture(autouse=True)
def still_answers(server):
    yield
    assert ask(server, GOOD) == [200]


GET = "GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n"
CHUNKED = (
    b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
CASES = [
    (request("[" * 50_000 + "]" * 49_000), 400),
    (request('{"a":' * 15_000 + "1" + "}" * 15_000), 400),
    *[(request(text), 400) for text in ("", "[[NaN, 1]]", "[[Infinity, 1]]", "[[1,2],]", "\x00")],
    (request("[[" + "9" * 90_000 + ", 1]]"), 400),
    *[
        (request(text), 422)
        for text in (
            *("null", "true", "5", '"text"', "[]", "[[]]", "{}", "[[1e999, 1]]", "[[1e308, 1]]"),
            *('[["a", "b"]]', "[[[1], [2]]]", "[[1, 2], [3]]", '{"sequences": []}', "[[null, 1]]"),
            *('{"sequences": null}', '{"sequences": [[[1, 2]], "x"]}', "[[true, false]]"),
            '{"' + "k" * 90_000 + '": 1}',
        )
    ],
    (request(b'"\xff\xfe"'), 400),
    (request("[[1, 2]]".encode("utf-16")), 400),
    (request("[[1, 2]]", headers="Content-Encoding: gzip\r\n"), 415),
    (request("[[1, 2]]", length=10**12), 413),
    (request("[[1, 2]]", length=10**40), 400),
    (request("[[1, 2]]", length=-3), 400),
    (request("[[1, 2]]", headers="Content-Length: 3\r\n"), 400),
    (request("[[1, 2]]", headers="Transfer-Encoding: chunked\r\n"), 400),
    (CHUNKED + b"8\r\n[[1, 2]]\r\n0\r\n\r\n", 200),
    (CHUNKED + b"FFFFFFFFFFFFFFF\r\nabc", 408),
    (CHUNKED + b"zz\r\nabc", 400),
    (CHUNKED + b"1\r\n \r\n" * 100_001, 413),
    (b"GET /health/live HTTP/1.1\r\n\r\n", 403),
    (GET.encode() + b"Host: evil.example\r\n\r\n", 403),
    (GET.encode() + b"Origin: null\r\n\r\n", 403),
    (b"GET /%2e%2e/%00/%ff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 404),
    (b"GET http://evil.example/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 404),
    (GET.replace("GET", "BREW").encode() + b"\r\n", 400),
    (GET.replace("GET", "DELETE").encode() + b"\r\n", 405),
    (GET.encode() + b"X: a\x00b\r\n\r\n", 400),
    (GET.encode() + b"Upgrade: websocket\r\nConnection: upgrade\r\n\r\n", 400),
    (bytes.fromhex("16030100c8010000c40303") + bytes(200), 400),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
]


def test_broken_requests_have_their_status(server):
    for data, status in CASES:
        assert ask(server, data) == [status], (data[:300], status)


def test_a_half_closed_connection_is_answered(server):
    with connect(server) as connection:
        connection.sendall(GOOD * 3)
        connection.shutdown(socket.SHUT_WR)
        assert read_answers(connection, 4) == [200, 200, 200]
    with connect(server) as connection:
        connection.sendall(request("[[1, 2]]", length=50))
        connection.shutdown(socket.SHUT_WR)
        assert read_answers(connection, 1) in ([], [400], [408])


def test_requests_in_one_piece_are_all_answered(server):
    """Pipelining: more bytes than the limit of headers, and cut anywhere."""
    count = 1200
    data = GOOD * count
    assert len(data) > 2 * 65536
    for cut in (0, 65_501):
        with connect(server) as connection:
            connection.sendall(data[:cut])
            connection.sendall(data[cut:])
            assert read_answers(connection, count) == [200] * count


def test_clients_that_leave_in_the_middle(server):
    for i in range(200):
        with connect(server) as connection:
            connection.sendall(GOOD[: i * len(GOOD) // 199])
            if i % 2:  # the connection is reset, not closed
                option = b"\x01\x00\x00\x00\x00\x00\x00\x00"
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)


def test_mutated_requests_are_answered_or_refused(server):
    generator = random.Random(0)
    rounds = int(os.environ.get("HOSTILE_REQUESTS", "300"))
    for _ in range(rounds):
        data = bytearray(GOOD)
        for _ in range(generator.randint(1, 6)):
            data[generator.randrange(len(data))] = generator.randrange(256)
        with connect(server) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            assert set(read_answers(connection, 1)) <= {200, 400, 403, 404, 405, 408, 413, 415, 422}


def test_a_flood_of_connections_ends(numbers):
    with listening(numbers[0], timeout=1, max_connections=50) as address:
        server = address.removeprefix("http://")
        held = [connect(server) for _ in range(150)]
        refused = 0
        for connection in held[50:]:
            with contextlib.suppress(ConnectionResetError):
                refused += connection.recv(100).startswith(b"HTTP/1.1 429")
        assert refused >= 95
        for connection in held[:50]:  # they say nothing, so they are given up
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(100) == b""
            connection.close()
        assert httpx.post(f"{address}/predict", json=[[1, 2]]).status_code == 200
        for connection in held:
            connection.close()


def test_messages_do_not_show_the_servers_code(server):
    for data, _ in CASES[:20]:
        with connect(server) as connection:
            connection.sendall(data)
            answer = connection.recv(1 << 16).partition(b"\r\n\r\n")[2]
            assert b"Traceback" not in answer and b".py" not in answer
            if answer.startswith(b"{"):
                assert json.loads(answer)["error"]["message"]
