"""A load generator for HTTP/1.1: clients that each send a request when the last is answered.

It shares the machine with the server, so it does as little as it can: requests are bytes made
beforehand, connections are kept, and of an answer only the status and the length are read.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Load:
    """What a number of clients send in one go, and what came back.

    Args:
        requests: bytes of complete requests, each with the status expected of its answer.
        most: number of requests after which no more are sent.
        seconds: time after which no more are sent.
        on_answer: called after each answer with the number of answers so far; None for nothing.
    Attributes:
        times: seconds from each request to the last byte of its answer.
        statuses: number of answers by status.
        faults: what went wrong, by number: other statuses than expected, lost connections.
    """

    requests: Sequence[tuple[bytes, int]]
    most: int
    seconds: float
    on_answer: Callable[[int], None] | None = None
    sent: int = 0
    times: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    begin: float = 0.0
    end: float = 0.0

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.times) / (self.end - self.begin)

    def percentile(self, share: float) -> float:
        """Return the time in ms within which a share of the requests was answered."""
        return float(np.quantile(self.times, share)) * 1000


class _Client(asyncio.Protocol):
    """One connection; it sends its next request when the last one is answered."""

    def __init__(self, load: Load, done: asyncio.Future[None]) -> None:
        self._load, self._done = load, done
        self._buffer = b""
        self._size = 0  # bytes of the answer; 0 until its headers are complete
        self._expected: int | None = None  # status of the answer that is awaited

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        load = self._load
        if load.sent >= load.most or time.perf_counter() > load.begin + load.seconds:
            self._expected = None
            self._transport.close()
            return
        request, self._expected = load.requests[load.sent % len(load.requests)]
        load.sent += 1
        self._start = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if not self._size:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end].lower()
            self._size = end + 4 + int(head.partition(b"content-length:")[2].partition(b"\r")[0])
        if len(self._buffer) < self._size:
            return
        load, status = self._load, int(self._buffer[9:12])
        load.times.append(time.perf_counter() - self._start)
        load.statuses[status] += 1
        if status != self._expected:
            load.faults[self._buffer[: self._size].decode("utf-8", "replace")[:500]] += 1
        self._buffer, self._size = self._buffer[self._size :], 0
        if load.on_answer is not None:
            load.on_answer(len(load.times))
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if self._expected is not None:
            self._load.faults[f"connection lost: {error}"] += 1
        if not self._done.done():
            self._done.set_result(None)


def make_request(body: bytes, path: str = "/predict", method: str = "POST") -> bytes:
    """Return the bytes of a request with a body of JSON."""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def run(load: Load, port: int, clients: int) -> Load:
    """Let that many clients send the load to a server on loopback; returns when all are done."""
    import uvloop

    async def send() -> None:
        loop = asyncio.get_running_loop()
        finished = [loop.create_future() for _ in range(clients)]
        load.begin = time.perf_counter()
        for done in finished:
            await loop.create_connection(lambda done=done: _Client(load, done), "127.0.0.1", port)
        limit = load.seconds + 60
        await asyncio.wait_for(asyncio.gather(*finished), limit)
        load.end = time.perf_counter()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(send())
    return load
