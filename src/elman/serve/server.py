"""The process: a socket, an event loop, and limits of what a connection may take up.

uvicorn itself waits without end for headers, however long they are, and for clients that do not
read their answers; `_LimitedProtocol` does not.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from elman.errors import SettingsError
from elman.serve.settings import ServeSettings

DRAIN = 3  # seconds for answers that are under way when the server is stopped
_HEADER_BYTES = 65536
_BACKLOG = 1024
# For every answer: nothing is executed or embedded, and types are as declared.
_HEADERS = [("x-content-type-options", "nosniff"), ("cache-control", "no-store")]
_FULL = (
    b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 0\r\n"
    b"connection: close\r\n\r\n"
)


def bind(settings: ServeSettings) -> socket.socket:
    """Return a socket bound to the address; `run` makes it listen.

    Raises: SettingsError if the port is taken, or the address is not one of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise SettingsError(f"host {settings.host}: no such address: {error.strerror}") from None
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with _explained(settings):
        try:
            bound.bind(address)
        except OSError:
            bound.close()
            raise
    return bound


def address_of(bound: socket.socket) -> str:
    """Return the address of a socket for URLs, such as http://127.0.0.1:8000."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def _explained(settings: ServeSettings) -> Iterator[None]:
    """Turn the system's errors of binding into messages that say what to do."""
    try:
        yield
    except OSError as error:
        port = settings.port
        reason, remedy = (error.strerror or str(error)).lower(), "Choose another with --port"
        if error.errno == errno.EADDRINUSE:
            reason = "it is taken by another program"
            remedy = f"Choose another, --port {port % 65535 + 1}, or --port 0 for any that is free"
        elif error.errno == errno.EACCES:
            remedy = "Ports below 1024 need privileges. Choose a higher one, --port 8000"
        elif error.errno == errno.EADDRNOTAVAIL:
            reason, remedy = "this machine has no such address", "Choose another with --host"
        raise SettingsError(f"port {port} of {settings.host}: {reason}. {remedy}") from None


def run(
    app: ASGIApp,
    bound: socket.socket,
    settings: ServeSettings,
    stopping: Callable[[Callable[[], None]], AbstractContextManager[None]],
    started: Callable[[], None],
) -> None:
    """Serve until a signal; answer what has arrived by then.

    Args:
        app: the application.
        bound: from `bind`.
        stopping: returns a context in which a signal calls the function it is given.
        started: called once connections are accepted.
    """
    with _explained(settings):
        bound.listen(_BACKLOG)

    class Protocol(_LimitedProtocol):
        limits = settings

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            with stopping(self.stop):
                yield

        def stop(self) -> None:
            self.should_exit = True

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            loop = asyncio.get_running_loop()
            loop.call_later(DRAIN, self.cancel)
            await super().shutdown(sockets)

        def cancel(self) -> None:
            for task in list(self.server_state.tasks):
                task.cancel()  # the guard then says that the server is stopping
            for connection in list(self.server_state.connections):
                connection.transport.close()

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                started()

    config = uvicorn.Config(
        app,
        http=Protocol,
        # It stops reading while a message is answered; the other one keeps 32 messages.
        ws="websockets-sansio",
        ws_max_size=settings.max_message,
        ws_per_message_deflate=False,
        lifespan="on",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        headers=_HEADERS,
        backlog=_BACKLOG,
    )
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(Server(config).serve([bound]))


class _LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with limits of connections, of headers, and of the time to read answers.

    Args:
        limits: set by a subclass.
    """

    limits: ServeSettings

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._in_headers = True
        self._header_bytes = 0
        self._begun = 0  # requests that began in the piece of data that arrived last
        self._in_body = self._is_half_closed = False
        # When the connection is given up, by what it waits for: headers, or the client's reading.
        self._deadlines: dict[str, asyncio.TimerHandle] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse the connection if there are too many, or begin to wait for its first request."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            transport.write(_FULL)
            transport.close()
            return
        self._wait_for("headers")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        for name in list(self._deadlines):
            self._end_wait(name)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what arrived, unless headers take too long or too many bytes."""
        if self.transport.is_closing():
            return
        self._begun, in_body = 0, self._in_body
        super().data_received(data)
        if not self._in_headers:
            if self._deadlines:
                self._end_wait("headers")
            return
        if self._begun < 2 and not in_body:  # else there are other requests before the headers
            self._header_bytes += len(data)
        if self._header_bytes > _HEADER_BYTES:
            self.send_400_response("The headers have too many bytes.")
        elif "headers" not in self._deadlines:
            self._wait_for("headers")

    def on_message_begin(self) -> None:
        """Note that headers follow."""
        self._in_headers, self._header_bytes = True, 0
        self._begun += 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Note that the headers have arrived."""
        self._in_headers, self._in_body = False, True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that the next byte is of another request."""
        self._in_body = False
        super().on_message_complete()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection of a client that sends no more, until all it sent is answered."""
        self._is_half_closed = self.cycle is not None and not self.cycle.response_complete
        return self._is_half_closed

    def on_response_complete(self) -> None:
        """Close such a connection after the last answer."""
        super().on_response_complete()
        if self._is_half_closed and self.cycle.response_complete:
            self.transport.close()

    def pause_writing(self) -> None:
        """Begin to wait for a client that does not read its answer."""
        super().pause_writing()
        self._wait_for("reading")

    def resume_writing(self) -> None:
        """End the wait for it."""
        self._end_wait("reading")
        super().resume_writing()

    def _wait_for(self, name: str) -> None:
        self._end_wait(name)
        timer = self.loop.call_later(self.limits.timeout, self.transport.abort)
        self._deadlines[name] = timer

    def _end_wait(self, name: str) -> None:
        timer = self._deadlines.pop(name, None)
        if timer is not None:
            timer.cancel()
