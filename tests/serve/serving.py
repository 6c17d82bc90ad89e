"""What the tests of the server share: sequences, a client without sockets, a server in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import httpx
import numpy as np

from elman.serve.app import create_app
from elman.serve.server import bind, run
from elman.serve.settings import ServeSettings

TOKEN = "a-token-of-enough-characters"


def make_sequences(count=24, channels=2, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(int(rng.integers(3, 9)), channels)) for _ in range(count)]


class Client:
    """Requests to an application, in an event loop of its own that lives as long as the client."""

    def __init__(self, app, base="http://127.0.0.1:8000"):
        self.app = app
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base)

    def gather(self, *requests):
        """Send requests at the same time; each is (method, path, options)."""

        async def send():
            return await asyncio.gather(
                *(
                    self.client.request(method, path, **options)
                    for method, path, options in requests
                )
            )

        return asyncio.run_coroutine_threadsafe(send(), self.loop).result(60)

    def request(self, method, path, **options):
        return self.gather((method, path, options))[0]

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def post(self, path, json, **options):
        return self.request("POST", path, json=json, **options)

    def close(self):
        asyncio.run_coroutine_threadsafe(self.client.aclose(), self.loop).result(10)
        self.app.state.service.batcher.close()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@contextlib.contextmanager
def listening(estimator, **settings):
    """A server in a thread of this process; yields its address."""
    settings = ServeSettings(port=0, **settings)
    stops, ready = [], threading.Event()

    @contextlib.contextmanager
    def stopping(stop):
        stops.append(stop)
        yield

    with bind(settings) as bound:
        arguments = (create_app(estimator, settings), bound, settings, stopping, ready.set)
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        thread.start()
        assert ready.wait(20)
        try:
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        finally:
            stops[0]()
            thread.join(10)
        assert not thread.is_alive()
