"""Starting weights that let a recurrent network learn over many steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from elman.layers.recurrent import LSTM, _Recurrent


@torch.no_grad()
def initialise_recurrent(layer: _Recurrent) -> None:
    """Give `layer` orthogonal recurrent weights, Xavier input weights and zero biases.

    Each gate's block is drawn on its own. The forget gate of an LSTM starts with bias 1, so that
    the cell remembers before it has learnt to.

    Source: orthogonal weights, Saxe et al. 2014, arXiv:1312.6120; forget bias, Gers et al. 2000,
    doi:10.1162/089976600300015015, and Jozefowicz et al. 2015.
    """
    hidden = layer.hidden_size
    for name, parameter in layer.named_parameters():
        for gate, block in enumerate(torch.split(parameter, hidden)):
            if name.startswith(("weight_hh", "weight_hr")):
                _orthogonal(block)
            elif name.startswith("weight_ih"):
                nn.init.xavier_uniform_(block)
            else:
                forget = isinstance(layer, LSTM) and gate == 1 and name.startswith("bias_ih")
                nn.init.constant_(block, 1.0 if forget else 0.0)


def _orthogonal(block: Tensor) -> None:
    """Draw an orthogonal matrix on one thread: a factorisation rounds otherwise on more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        nn.init.orthogonal_(block)
    finally:
        torch.set_num_threads(threads)
