"""A pytest plugin: elman's recurrent layers stand in torch.nn while torch's own tests run.

Imported before any test file is, so that what those take from torch.nn is ours. docs/layers.md has
the command.
"""

import torch

from elman import layers

NAMES = ("RNN", "GRU", "LSTM")

for _name in NAMES:
    for _place in (torch.nn, torch.nn.modules):
        setattr(_place, _name, getattr(layers, _name))


def pytest_report_header() -> str:
    """Say in the head of the report whose layers are tested."""
    return f"torch.nn: {', '.join(NAMES)} are elman's"
