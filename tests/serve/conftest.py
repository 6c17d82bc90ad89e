"""A small trained model, and an application that serves it without sockets."""

from __future__ import annotations

import numpy as np
import pytest
from serving import Client, make_sequences

from elman import SequenceClassifier
from elman.serve.app import create_app
from elman.serve.settings import ServeSettings


@pytest.fixture(scope="session")
def numbers():
    """A classifier of two channels of numbers, and its sequences."""
    X = make_sequences()
    y = np.array(["up" if x[:, 0].sum() > 0 else "down" for x in X])
    clf = SequenceClassifier(cell="gru", hidden_size=8, epochs=1, random_state=0, verbose=0)
    return clf.fit(X, y), X


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
