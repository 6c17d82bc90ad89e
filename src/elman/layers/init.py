"""Starting weights that let a recurrent network learn over many steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from elman.layers.recurrent import RecurrentBase


@torch.no_grad()
def initialise_recurrent(layer: RecurrentBase) -> None:
    """Give `layer` orthogonal recurrent weights, Xavier input weights and the cell's first biases.

    Each gate's block is drawn on its own: an orthogonal (G*H, H) would make no block orthogonal.
    Biases are zero but for those that the cell sets, as 1 for the forget gate of an LSTM.

    Source: orthogonal weights, Saxe et al. 2014, arXiv:1312.6120; Xavier's, Glorot & Bengio 2010.
    """
    cell = layer.cell
    for name, parameter in layer.named_parameters():
        for i, block in enumerate(torch.split(parameter, layer.hidden_size)):
            if name.startswith(("weight_hh", "weight_hr")):
                _orthogonal(block)
            elif name.startswith("weight_ih"):
                nn.init.xavier_uniform_(block)
            else:
                # In one of the two biases alone, which add up.
                own = name.startswith("bias_ih")
                nn.init.constant_(block, cell.biases.get(cell.blocks[i], 0.0) if own else 0.0)


def _orthogonal(block: Tensor) -> None:
    """Draw an orthogonal matrix on one thread: the factorisation rounds differently on more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        nn.init.orthogonal_(block)
    finally:
        torch.set_num_threads(threads)
