"""`elman serve` as a process: its address, a port that is taken, signals, limits of connections."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest
from serving import TOKEN, listening

from elman import cli

ELMAN = [sys.executable, "-m", "elman", "serve"]


@pytest.fixture(scope="module")
def folder(numbers, tmp_path_factory):
    path = tmp_path_factory.mktemp("serve") / "model"
    numbers[0].save(path)
    return path


@contextlib.contextmanager
def serving(folder, *options):
    """A server on a free port: the process, its address, and the lines that it printed."""
    process = subprocess.Popen(
        [*ELMAN, str(folder), "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        lines = [process.stdout.readline() for _ in range(3)]
        address = re.search(r"http://\S+?:\d+", "".join(lines))
        assert address, process.communicate(timeout=10)
        yield process, address[0], lines
    finally:
        process.kill()
        process.communicate()


def connect(address):
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def test_the_printed_line_works_and_the_end_is_orderly(folder, numbers):
    with serving(folder) as (process, address, lines):
        assert address.startswith("http://127.0.0.1:")
        words = shlex.split(lines[2].removeprefix("Try").strip())
        assert words[0] == "curl" and words[1] == f"{address}/predict"
        done = subprocess.run(["curl", "-sS", *words[1:]], capture_output=True, check=True)
        assert json.loads(done.stdout)["predictions"][0]["predicted"] in ("up", "down")

        # A request whose body is under way when the signal comes is still answered.
        body = json.dumps(numbers[1][0].tolist()).encode()
        with connect(address) as late:
            host = address.removeprefix("http://")
            late.sendall(
                f"POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n".encode()
            )
            time.sleep(0.3)
            start = time.monotonic()
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            with pytest.raises(OSError):
                connect(address).close()
            late.sendall(body)
            answer = b""
            while part := late.recv(65536):
                answer += part
            assert answer.startswith(b"HTTP/1.1 200") and b"predictions" in answer, answer
        assert process.wait(5) == 143
        assert time.monotonic() - start < 4
        assert process.stderr.read() == (
            "Interrupted by SIGTERM while serving; what had been asked was answered. To start "
            "again, run the same command\n"
        )


def test_a_request_without_end_does_not_hold_up_the_end(folder):
    with serving(folder) as (process, address, _), connect(address) as slow:
        host = address.removeprefix("http://")
        slow.sendall(
            f"POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9\r\n\r\n".encode()
        )
        time.sleep(0.2)
        # Under nohup, which these tests may run under, a server does not end with its terminal.
        hangs_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
        process.send_signal(signal.SIGHUP if hangs_up else signal.SIGTERM)
        # Seconds after the promised five, for a busy machine: a server that waits never ends.
        assert process.wait(20) == (129 if hangs_up else 143)
        assert "Traceback" not in process.stderr.read()


def call(monkeypatch, capsys, *words):
    """Run the command in this process; return its exit code and what it wrote to stderr."""
    monkeypatch.setattr(sys, "argv", ["elman", "serve", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    out, err = capsys.readouterr()
    assert not out
    return stop.value.code, err


def test_a_port_that_is_taken_is_one_message(folder, monkeypatch, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, said = call(monkeypatch, capsys, folder, "--port", port)
    assert code == 2 and said.count("\n") == 1
    assert f"port {port}" in said and "--port 0" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "0.0.0.0"], "--public and --token-file"),
        (["--host", "0.0.0.0", "--public"], "--public and --token-file"),
        (
            ["--host", "no.such.name.invalid", "--public", "--token-file", "token"],
            "no such address",
        ),
        (["--host", "192.0.2.1", "--public", "--token-file", "token"], "no such address"),
        (["--token-file", "short"], "expected at least 22"),
        (["--token-file", "two"], "in one line"),
        (["--token-file", "missing"], "missing"),
        (["--queue", "0"], "queue: got 0"),
        (["--latency-ms", "-1"], "latency_ms: got -1"),
    ],
)
def test_settings_that_are_refused(folder, tmp_path, monkeypatch, capsys, options, said):
    monkeypatch.chdir(tmp_path)
    for name, text in (("token", TOKEN), ("short", "12345"), ("two", f"{TOKEN}\n{TOKEN}")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    code, message = call(monkeypatch, capsys, folder, *options)
    assert code == 2 and said in message


def test_a_public_address_needs_the_token(numbers):
    with listening(numbers[0], host="0.0.0.0", public=True, token=TOKEN) as address:
        assert httpx.get(f"{address}/v2").status_code == 401
        answer = httpx.get(f"{address}/v2", headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status_code != 401
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_headers_have_a_limit_in_time(numbers):
    with listening(numbers[0], timeout=0.5) as address, connect(address) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: ")
        start = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            assert slow.recv(100) == b""
        assert 0.3 < time.monotonic() - start < 3


def test_headers_have_a_limit_in_bytes(numbers):
    with listening(numbers[0]) as address, connect(address) as long:
        long.sendall(b"GET / HTTP/1.1\r\n")
        answer = b""
        for _ in range(17):
            long.sendall(b"X: " + b"a" * 4000 + b"\r\n")
        answer = long.recv(1000)
        assert answer.startswith(b"HTTP/1.1 400") and b"too many bytes" in answer


def test_connections_have_a_limit_and_come_back(numbers):
    with listening(numbers[0], max_connections=3) as address:
        held = [connect(address) for _ in range(3)]
        time.sleep(0.1)
        with connect(address) as more:
            assert more.recv(100).startswith(b"HTTP/1.1 429")
        for one in held:
            one.close()
        time.sleep(0.1)
        assert httpx.get(f"{address}/nothing").status_code == 404


def test_a_client_that_reads_nothing_is_dropped(numbers):
    """Answers that fill every buffer: the server gives the connection up when the time is over."""
    clf, X = numbers
    body = json.dumps({"sequences": [X[0].tolist()] * 400}).encode()
    with listening(clf, timeout=1) as address, connect(address) as deaf:
        host = address.removeprefix("http://")
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        request = (
            f"POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        deaf.settimeout(5)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            for _ in range(500):
                deaf.sendall(request)


def test_help_is_light():
    code = "import sys, elman.cli; sys.argv = ['elman', 'serve', '--help']\n"
    code += "try:\n    elman.cli.main()\nexcept SystemExit: pass\n"
    code += "print('MODULES', *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    modules = done.stdout.split("MODULES", 1)[1].split()
    assert {"uvicorn", "starlette", "torch", "pydantic"}.isdisjoint(modules)
