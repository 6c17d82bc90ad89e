"""Recurrent layers with torch.nn's names, arguments and weights, plus `lengths`.

The cells are torch's own: a single step leaves nothing to fuse.
"""

from torch.nn import GRUCell, LSTMCell, RNNCell

from elman.layers.init import initialise_recurrent
from elman.layers.recurrent import GRU, LSTM, RNN

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell", "initialise_recurrent"]
