"""A small trained model, and an application that serves it without sockets."""

from __future__ import annotations

import asyncio
import threading

import httpx
import numpy as np
import pytest

from elman import SequenceClassifier
from elman.serve.app import create_app
from elman.serve.settings import ServeSettings

TOKEN = "a-token-of-enough-characters"


def make_sequences(count=24, channels=2, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(int(rng.integers(3, 9)), channels)) for _ in range(count)]


@pytest.fixture(scope="session")
def numbers():
    """A classifier of two channels of numbers, and its sequences."""
    X = make_sequences()
    y = np.array(["up" if x[:, 0].sum() > 0 else "down" for x in X])
    clf = SequenceClassifier(cell="gru", hidden_size=8, epochs=1, random_state=0, verbose=0)
    return clf.fit(X, y), X


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


@pytest.fixture
def open_client():
    """Makes clients, and closes them at the end of the test."""
    clients = []

    def make(estimator, **settings):
        clients.append(Client(create_app(estimator, ServeSettings(**settings))))
        return clients[-1]

    yield make
    for client in clients:
        client.close()
