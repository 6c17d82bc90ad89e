"""What each step contributes to the gradient of each parameter, as factors.

Dimensions: T steps, K outputs; a parameter is (m, n) or (m,).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elman.explain.backward import BackwardPass
from elman.explain.network import ExplainedSequence
from elman.models.unrolled import weight_names


@dataclass(frozen=True)
class Contribution:
    """What every step contributes to the gradient of one parameter, in O(T*(m+n)) numbers.

    The contributions themselves would take O(T*m*n), so their factors are stored.

    Args:
        letter: the parameter's letter in the equations: W, U, V, b_h, b_y or E, the embeddings.
        shape: shape of the parameter.
        left: left factor, (T, m).
        right: right factor, (T, n), for a matrix: step t contributes the outer product of left_t
            and right_t. None for a bias: step t contributes left_t.
        rows: (T,), for an embedding table: step t contributes left_t to row rows_t; else None.
    """

    letter: str
    shape: tuple[int, ...]
    left: Tensor
    right: Tensor | None = None
    rows: Tensor | None = None

    def at(self, step: int) -> Tensor:
        """The contribution of one step, in the shape of the parameter."""
        if self.rows is not None:
            contribution = self.left.new_zeros(self.shape)
            contribution[self.rows[step]] = self.left[step]
            return contribution
        if self.right is None:
            return self.left[step]
        return torch.outer(self.left[step], self.right[step])

    def along(self, direction: Tensor) -> Tensor:
        """Inner product of each contribution with a tensor of the parameter's shape, (T,)."""
        if self.rows is not None:
            return (self.left * direction[self.rows]).sum(1)
        if self.right is None:
            return self.left @ direction
        return ((self.left @ direction) * self.right).sum(1)

    def norms(self) -> Tensor:
        """Frobenius norm of each step's contribution, (T,); |left| |right| for an outer product."""
        sizes = self.left.square().sum(1).sqrt()
        return sizes if self.right is None else sizes * self.right.square().sum(1).sqrt()

    def total(self) -> Tensor:
        """The gradient: the sum of all contributions."""
        if self.rows is not None:
            return self.left.new_zeros(self.shape).index_add(0, self.rows, self.left)
        if self.right is None:
            return self.left.sum(0)
        total: Tensor = self.left.T @ self.right
        return total


def contributions_of(
    explained: ExplainedSequence, backward: BackwardPass, hidden: Tensor
) -> dict[str, Contribution]:
    """The factors of every parameter's gradient, in the order of the forward pass."""
    config, x = explained.model.config, explained.x[0]
    shapes = {name: tuple(p.shape) for name, p in explained.model.named_parameters()}
    contributions: dict[str, Contribution] = {}
    if config.vocabulary_size:
        name = "embedding.weight"
        contributions[name] = Contribution("E", shapes[name], backward.embedded, rows=x)
    start = config.input_size
    for k, width in enumerate(config.category_widths):
        name = f"embeddings.{k}.weight"
        columns = backward.embedded[:, start : start + width]
        codes = x[:, config.input_size + k].long()
        contributions[name] = Contribution("E", shapes[name], columns, rows=codes)
        start += width
    for each in backward.layers:
        layer = each.forward
        factors = (
            ("W", each.da, layer.inputs),
            ("U", each.du, layer.previous["h"]),
            ("b_h", each.da, None),
            ("b_h", each.du, None),
        )
        names = weight_names(layer.layer, layer.direction == "backward")
        for name, (letter, left, right) in zip(names, factors, strict=True):
            contributions[name] = Contribution(letter, shapes[f"recurrent.{name}"], left, right)
    # The output layer reads the sum over the steps of share_t * h_t. With one output a sequence,
    # the gradient of b_y does not come from any one step; it is assigned to the last.
    name, dy = "output.weight", backward.dy
    contributions[name] = Contribution("V", shapes[name], dy, backward.share * hidden)
    if not config.per_step:
        dy = torch.cat([torch.zeros_like(dy[1:]), dy[-1:]])
    contributions["output.bias"] = Contribution("b_y", shapes["output.bias"], dy)
    return contributions
