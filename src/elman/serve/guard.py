"""The outermost layer: who may ask, and how much. Whatever is not allowed here reaches no route.

A web page in the user's browser can reach a server on loopback. It cannot forge the Host header
of its own name, nor leave out the Origin header of a request that changes something, so both are
checked, for every route and method. Bodies are read here, within the limits of size and time, so
that no route can forget them.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from time import perf_counter
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from elman.serve.settings import ServeSettings

_JSON = (b"content-type", b"application/json")
Headers = Sequence[tuple[bytes, bytes]]
# Called with scope, status and seconds of each answer.
Observer = Callable[[Scope, int, float], None]


class RefusedError(Exception):
    """A request that is answered with an error.

    Args:
        status: HTTP status.
        message: what is wrong and what to do.
        headers: further headers of the answer.
    """

    def __init__(self, status: int, message: str, headers: Headers = ()) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers


def error_body(message: str, field: str | None = None, sequence: int | None = None) -> bytes:
    """Return the body of every error: what is wrong, and where in the request."""
    error: dict[str, Any] = {"message": message}
    if field is not None:
        error["field"] = field
    if sequence is not None:
        error["sequence"] = sequence
    return to_json({"error": error})


async def send_json(send: Send, status: int, body: bytes, headers: Headers = ()) -> None:
    """Send a complete answer of JSON."""
    length = (b"content-length", str(len(body)).encode())
    start = {"type": "http.response.start", "status": status, "headers": [_JSON, length, *headers]}
    await send(start)
    await send({"type": "http.response.body", "body": body})


def json_response(value: Any, status: int = 200) -> Response:
    """Return a value as an answer of JSON."""
    return Response(to_json(value), status, media_type="application/json")


def error_response(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return what is wrong with a request as its answer."""
    return Response(error_body(message), status, headers, "application/json")


class Guard:
    """Refuses what is not allowed; reads the body of what is.

    Args:
        app: the application behind it.
        settings: names, token and limits.
        observe: called after each HTTP request with its scope, status and seconds; refusals too.
    """

    def __init__(
        self, app: ASGIApp, settings: ServeSettings, observe: Observer | None = None
    ) -> None:
        self._app, self._settings, self._observe = app, settings, observe
        self._hosts = settings.hosts
        self._token = None if settings.token is None else f"Bearer {settings.token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, connection or event of the server's life."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            try:
                self._check(_read_headers(scope))
            except RefusedError:
                # Before it is accepted, the server answers a closed WebSocket with 403.
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
        elif self._observe is None:
            await self._handle(scope, receive, send)
        else:
            start, status = perf_counter(), 500

            async def watch(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            try:
                await self._handle(scope, receive, watch)
            finally:
                self._observe(scope, status, perf_counter() - start)

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _read_headers(scope)
        try:
            self._check(headers)
            body = await self._read_body(headers, receive)
        except RefusedError as refusal:
            if _has_body(headers) and b"expect" not in headers:
                await _discard(receive, 4 * self._settings.max_body)
            # What is left of the body is not read, so the connection cannot be used again.
            closing = [*refusal.headers, (b"connection", b"close")]
            await send_json(send, refusal.status, error_body(refusal.message), closing)
            return
        except asyncio.CancelledError:
            body = error_body("the server is stopping. Try again later")
            await send_json(send, 503, body, [(b"retry-after", b"5"), (b"connection", b"close")])
            return
        left: Message | None = {"type": "http.request", "body": body}

        async def receive_body() -> Message:
            nonlocal left
            message, left = left, None
            return await receive() if message is None else message

        await self._app(scope, receive_body, send)

    def _check(self, headers: dict[bytes, bytes]) -> None:
        """Raise RefusedError unless host, origin and token are allowed."""
        host = headers.get(b"host", b"").decode("latin-1")
        if not self._is_allowed(host):
            raise RefusedError(
                403,
                f"Host {host!r:.100} is not a name of this server. Use its address, or start it "
                "with --allow-host NAME",
            )
        origin = headers.get(b"origin")
        if origin is not None and origin.partition(b"://")[2].lower() != host.lower().encode():
            raise RefusedError(403, f"Origin {origin.decode('latin-1')!r:.100} is another web site")
        if self._token is not None:
            sent = headers.get(b"authorization", b"")
            scheme, _, value = sent.partition(b" ")
            if not hmac.compare_digest(scheme.capitalize() + b" " + value.strip(), self._token):
                raise RefusedError(
                    401,
                    "the token is missing or wrong. Send the header Authorization: Bearer TOKEN",
                    [(b"www-authenticate", b"Bearer")],
                )

    def _is_allowed(self, host: str) -> bool:
        """Whether a Host header names this server."""
        name = _name_of(host)
        if name is None:
            return False
        if name in self._hosts:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        # No web page has an address as its name unless it was loaded from there.
        return address.is_loopback or self._settings.public

    async def _read_body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """Return the whole body. Raises RefusedError if it is too large or arrives too slowly."""
        most = self._settings.max_body
        length = headers.get(b"content-length")
        if not _has_body(headers):
            return b""
        if length is not None and not length.isdigit():
            raise RefusedError(400, "Content-Length: expected a whole number")
        if length is not None and int(length[:20]) > most:
            raise _too_large(most)
        parts, size = [], 0
        try:
            async with asyncio.timeout(self._settings.timeout):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise RefusedError(400, "the client closed the connection")
                    part = message.get("body", b"")
                    size += len(part)
                    if size > most:
                        raise _too_large(most)
                    parts.append(part)
                    if not message.get("more_body", False):
                        return parts[0] if len(parts) == 1 else b"".join(parts)
        except TimeoutError:
            raise RefusedError(
                408, f"the body did not arrive within {self._settings.timeout:g} s. Send it faster"
            ) from None


def _has_body(headers: dict[bytes, bytes]) -> bool:
    return b"content-length" in headers or b"transfer-encoding" in headers


async def _discard(receive: Receive, most: int) -> None:
    """Read and drop the body of a refused request, for a second and up to `most` bytes.

    A connection that is closed with bytes unread is reset, and the client may lose the answer.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(1.0):
            while most > 0:
                message = await receive()
                most -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


def _read_headers(scope: Scope) -> dict[bytes, bytes]:
    """Return the headers by name. A second one of the same name replaces the first by nothing.

    Two Host, Origin or Authorization headers are an attempt to have different layers read
    different ones; joined they match no allowed value.
    """
    headers: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        headers[name] = value if name not in headers else headers[name] + b", " + value
    return headers


def _name_of(host: str) -> str | None:
    """Return the name or address in a Host header, without port; None if it is malformed."""
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return None
        port = port[1:]
    else:
        name, _, port = host.partition(":")
    return name.lower() if name and (not port or port.isdecimal()) else None


def _too_large(most: int) -> RefusedError:
    return RefusedError(
        413,
        f"the body has more than {most:,} bytes. Send fewer sequences at once, or start the server "
        "with a larger --max-body",
    )
