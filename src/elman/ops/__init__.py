"""The recurrences as functions on tensors: one layer, one direction, a whole sequence at a time."""

from elman.ops import checks as checks  # first: it says what to do where the kernels are missing
from elman.ops import operators as operators  # defines torch.ops.elman
from elman.ops.functional import gru, lstm, rnn

__all__ = ["gru", "lstm", "rnn"]
