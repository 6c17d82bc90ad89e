"""Recurrent layers with torch.nn's names, arguments and weights, plus `lengths`; and of any cell.

GRUCell, LSTMCell and RNNCell are torch's own: in a single step there is nothing to make faster.
`Recurrent` runs a `Cell` of one's own; `register_cell` lets models and estimators name it.
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
