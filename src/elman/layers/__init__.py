"""Recurrent layers with torch.nn's names, arguments and weights, plus `lengths`."""

from elman.layers.init import initialise_recurrent
from elman.layers.recurrent import GRU, LSTM, RNN

__all__ = ["GRU", "LSTM", "RNN", "initialise_recurrent"]
