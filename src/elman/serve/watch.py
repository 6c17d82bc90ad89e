"""The page of a training that is running, served on loopback from a thread of its process.

Only the page and its events have an address, which holds a secret: another user or web site of this
machine cannot guess it. A browser's EventSource sends no headers of ours, so the secret is in the
path. Host and Origin are checked as for `elman serve`.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import math
import secrets
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from elman.errors import ElmanError
from elman.runs.watching import News, Seen
from elman.serve.guard import Guard, error_response
from elman.serve.settings import ServeSettings

LOOK = 0.25  # seconds between two looks into the folder
# A look may take this share of the time until the next one, so that the training loses no more.
_SHARE = 0.01
_ALIVE = 10.0  # seconds between two signs of life, without which a proxy closes the connection
_ALL = 10**6  # files of weights
_READERS = 20  # browsers at a time
_PATIENCE = 1.5  # seconds for the thread to end
_LAST_NEWS = 1.5  # seconds at most for the pages to be told that the training has ended
_OPENING = 1.0  # seconds in which a page that was served asks for its events
_HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Watch:
    """The application: the page, and the events that tell it what is new.

    Args:
        page: the page, before the first epoch.
        news: what is new in the folder of the run.
    """

    def __init__(self, page: str, news: News) -> None:
        self.page, self.news = page.encode(), news
        self.token = secrets.token_urlsafe(24)
        self.readers = 0
        self.served = -math.inf  # when the page was asked for last
        self.ended = threading.Event()
        self._next = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._answer(scope)(scope, receive, send)

    def _answer(self, scope: Scope) -> ASGIApp:
        head, _, rest = scope["path"].removeprefix("/").partition("/")
        if not hmac.compare_digest(head.encode(), self.token.encode()):
            return error_response(403, "the address is not the one that was printed", _HEADERS)
        if scope["method"] not in ("GET", "HEAD"):
            return error_response(405, "expected GET", _HEADERS)
        if rest == "":
            self.served = time.monotonic()
            return Response(self.page, 200, _HEADERS, "text/html; charset=utf-8")
        if rest != "events":
            return error_response(404, "there is only the page and its events", _HEADERS)
        if self.readers >= _READERS:
            return error_response(503, f"{_READERS} pages follow this training already", _HEADERS)
        return StreamingResponse(self._events(), 200, _HEADERS, "text/event-stream")

    async def _events(self) -> AsyncIterator[str]:
        """Yield what is new to one page, until it leaves or the training has ended."""
        seen, spoken = Seen(), time.monotonic()
        self.readers += 1
        try:
            yield "retry: 1000\n\n"
            while True:
                last = self.ended.is_set()
                self._look(last)
                for message in self.news.since(seen):
                    yield f"data: {json.dumps(message, allow_nan=False)}\n\n"
                    spoken = time.monotonic()
                if last or seen.state == "complete":
                    return
                if time.monotonic() - spoken > _ALIVE:
                    yield ": still training\n\n"
                    spoken = time.monotonic()
                await asyncio.sleep(LOOK)
        finally:
            self.readers -= 1

    def _look(self, last: bool) -> None:
        """Read the folder, if it is time; all pages share what was read."""
        now = time.monotonic()
        if now < self._next and not last:
            return
        started = time.thread_time()
        self.news.read(*((_ALL,) if last else ()))
        self._next = now + max(LOOK * 0.9, (time.thread_time() - started) / _SHARE)


@contextmanager
def serve_page(page: str, news: News) -> Iterator[str]:
    """Serve a page from a thread for the duration of the block, and yield its address.

    At the end the pages that are open are told the last news.
    """
    watch = Watch(page, news)
    guarded = Guard(watch, ServeSettings(port=0))
    config = uvicorn.Config(
        guarded,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", 0))
        server = uvicorn.Server(config)
        # A daemon: the process must not wait for a browser when it is to end.
        thread = threading.Thread(
            target=server.run, args=([bound],), name="elman-watch", daemon=True
        )
        thread.start()
        try:
            _wait_until_started(server, thread)
            yield f"http://127.0.0.1:{bound.getsockname()[1]}/{watch.token}/"
        finally:
            watch.ended.set()
            _wait_for_readers(watch)
            server.should_exit = True
            thread.join(_PATIENCE)


def _wait_until_started(server: uvicorn.Server, thread: threading.Thread) -> None:
    while not server.started:
        if not thread.is_alive():
            raise ElmanError("the page cannot be served: its server did not start")
        time.sleep(0.005)


def _wait_for_readers(watch: Watch) -> None:
    """Give the pages a moment to be told that the training has ended, those too that still open."""
    end = time.monotonic() + _LAST_NEWS
    while (now := time.monotonic()) < end and (watch.readers or now < watch.served + _OPENING):
        time.sleep(0.01)
