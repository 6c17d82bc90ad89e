"""A pytest plugin: elman's recurrent layers and cells stand in torch.nn while torch's tests run.

    PYTHONPATH=tests/layers pytest -p torch_plugin <pytorch>/test/test_nn.py -k "rnn or lstm or gru"

Imported before any test file is, so that what those take from torch.nn is ours.
"""

import torch

from elman import layers

NAMES = ("RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell")

for _name in NAMES:
    for _place in (torch.nn, torch.nn.modules):
        setattr(_place, _name, getattr(layers, _name))


def pytest_report_header() -> str:
    """Say in the head of the report whose layers are tested."""
    return f"torch.nn: {', '.join(NAMES)} are elman's"
