"""What each step contributes to the gradient of each parameter, as factors.

Dimensions: T steps, K outputs; a parameter is (m, n) or (m,).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elman.explain.backward import BackwardPass
from elman.explain.forward import ForwardPass
from elman.explain.network import ExplainedSequence
from elman.models.static import check_static
from elman.models.unrolled import weight_names


@dataclass(frozen=True)
class Contribution:
    """What every step contributes to the gradient of one parameter, in O(T*(m+n)) numbers.

    The contributions themselves would take O(T*m*n), so their factors are stored.

    Args:
        letter: the parameter's letter in the equations: W, U, V, b_h, b_y, E for the embeddings,
            or P, b_s, A and a for static features.
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
    explained: ExplainedSequence, backward: BackwardPass, forward: ForwardPass
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
    # The readout is the sum over the steps of share_t * h_t. With one output a sequence, the
    # gradient of b_y does not come from any one step; it is assigned to the last.
    dy, parts = backward.dy, backward.share * forward.hidden
    at_end = dy if config.per_step else torch.cat([torch.zeros_like(dy[1:]), dy[-1:]])
    if config.static_size:
        contributions |= _of_features(explained, backward, forward, parts)
    if config.joins_readout:  # what the output layer reads is no sum over steps
        dy, parts = at_end, forward.read.expand(len(dy), -1)
    contributions["output.weight"] = Contribution("V", shapes["output.weight"], dy, parts)
    contributions["output.bias"] = Contribution("b_y", shapes["output.bias"], at_end)
    return contributions


def _of_features(
    explained: ExplainedSequence, backward: BackwardPass, forward: ForwardPass, parts: Tensor
) -> dict[str, Contribution]:
    """The factors of the layers that read static features; what no step has goes to an end.

    Args:
        parts: the part of each step in the readout, (T, D*H).
    """
    model, config, steps = explained.model, explained.model.config, len(parts)
    found: dict[str, Contribution] = {}
    s = check_static(model, parts[:1], None)
    assert s is not None
    if config.sets_state:
        raw = torch.nn.functional.linear(s, model.static_state.weight, model.static_state.bias)[0]
        names = config.cell_definition.initial_states
        left = raw.new_zeros(steps, len(names), len(backward.layers), config.hidden_size)
        for place, layer in enumerate(backward.layers):
            first = steps - 1 if layer.forward.direction == "backward" else 0
            for k, name in enumerate(names):
                left[first, k, place] = layer.start[name]
        left = left.reshape(steps, -1) / (1 + raw.abs()) ** 2  # the derivative of softsign
        shape = tuple(model.static_state.weight.shape)
        found["static_state.weight"] = Contribution("A", shape, left, s.expand(steps, -1))
        found["static_state.bias"] = Contribution("a", shape[:1], left)
    if config.joins_readout:
        left = (backward.dy @ model.output.weight) * (forward.read > 0)  # (T, D*H)
        end = torch.ones(steps, 1).to(left)
        if not config.per_step:
            end[:-1] = 0
        right = torch.cat([parts, end * s], 1)
        shape = tuple(model.static_join.weight.shape)
        found["static_join.weight"] = Contribution("P", shape, left, right)
        found["static_join.bias"] = Contribution("b_s", shape[:1], left * end)
    return found
