"""`/stream`: a WebSocket whose sequences grow by one step with each message.

    client   {"temp": 21.5, "flow": 3}     [21.5, 3]     "token"     {"id": "a", "step": [21.5, 3]}
    server   {"step": 1, "predicted": "ok", "probability": 0.93, "probabilities": {...}}
    client   {"id": "a", "reset": true}
    server   {"id": "a", "reset": true}

Messages and answers are those of `elman predict --follow`, except that an error has the form of all
errors of the server, {"error": {"message": ...}}, and that whole sequences belong to /predict. What
is wrong with a message changes no state. A connection keeps the model with which it began. Steps
are computed in the event loop: handing one to another thread takes longer than the step.
"""

from __future__ import annotations

import asyncio

from anyio import to_thread
from pydantic_core import to_json
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from elman.errors import ElmanError, SettingsError
from elman.runs.follow import RESET, Follower
from elman.serve import Service
from elman.serve.guard import RefusedError, error_body, error_response
from elman.serve.predict import find_problem, parse

_POLICY = 1008  # close code: the client broke a rule that the reason names
_LARGE = 2048  # bytes; longer messages, such as texts of many tokens, go to another thread


def routes(service: Service) -> list[BaseRoute]:
    """Return the route."""
    settings, metrics = service.settings, service.metrics
    connections = 0

    async def stream(socket: WebSocket) -> None:
        nonlocal connections
        if connections >= settings.max_streams:
            text = f"{connections} streams are open, at most {settings.max_streams} may. Try later"
            await _deny(socket, 429, text, {"retry-after": "1"})
            return
        try:
            follower = service.models.current.follower.fork(settings.max_sequences)
        except SettingsError as error:
            await _deny(socket, 409, str(error))
            return
        connections += 1
        metrics.streams.inc()
        try:
            await socket.accept()
            await _answer_all(socket, follower, service)
        except WebSocketDisconnect:
            pass
        finally:
            connections -= 1
            metrics.streams.dec()

    return [WebSocketRoute("/stream", stream)]


async def _answer_all(socket: WebSocket, follower: Follower, service: Service) -> None:
    """Answer message after message until the client leaves or is silent for too long."""
    idle, loop = service.settings.stream_idle, asyncio.get_running_loop()
    try:
        async with asyncio.timeout(idle) as limit:
            while True:
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                text = message.get("text")
                data = message["bytes"] if text is None else text.encode("utf-8", "surrogatepass")
                if len(data) > _LARGE:
                    answer = await to_thread.run_sync(_answer, follower, data)
                else:
                    answer = _answer(follower, data)
                await socket.send_text(answer)
                service.metrics.steps.inc()
                limit.reschedule(loop.time() + idle)
                # Messages that have arrived already are received without waiting: without this,
                # a client that sends many keeps all others from being answered.
                await asyncio.sleep(0)
    except TimeoutError:
        # Not without a limit either: the client may not read.
        async with asyncio.timeout(1):
            await socket.close(_POLICY, f"no message for {idle:g} s")


def _answer(follower: Follower, message: bytes) -> str:
    """Return the answer to one message, or what is wrong with it."""
    try:
        record, form = parse(message), follower.reader.form
        is_reset = isinstance(record, dict) and RESET in record
        if not (is_reset or form.is_step(record)):
            raise RefusedError(
                422,
                "expected one step, such as a value for each channel. POST /predict takes whole "
                "sequences",
            )
        return to_json(follower.answer(record)).decode()
    except (RefusedError, ElmanError) as error:
        problem = find_problem(error)
        return error_body(problem.message, problem.field).decode()


async def _deny(
    socket: WebSocket, status: int, message: str, headers: dict[str, str] | None = None
) -> None:
    """Answer the request for a WebSocket with an error."""
    await socket.send_denial_response(error_response(status, message, headers))
