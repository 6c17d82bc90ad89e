"""Recurrent layers with torch.nn's names, arguments and weights, plus `lengths`.

GRUCell, LSTMCell and RNNCell are torch's own: a kernel would not make a single step faster.
`Recurrent` runs a user's own `Cell`; `register_cell` lets models and estimators find it by name.
"""

from torch.nn import GRUCell, LSTMCell, RNNCell

from elman.layers.recurrent import Recurrent, initialise_recurrent
from elman.layers.torch_layers import GRU, LSTM, RNN
from elman.ops.cells import Cell, register_cell

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Cell",
    "GRUCell",
    "LSTMCell",
    "RNNCell",
    "Recurrent",
    "initialise_recurrent",
    "register_cell",
]
