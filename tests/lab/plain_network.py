"""A network with clamped gates and erased steps, in plain torch that autograd differentiates.

Written for the tests of the page's engine and sharing nothing with it: an erased step is one that
is not in the sequence at all, and gradients come from autograd.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from engine_cases import Case
from torch import Tensor
from torch.nn import functional

Hold = Callable[[str, Tensor], Tensor]
Gate = Callable[[Tensor], Tensor]
Masks = dict[str, Any]


@dataclass
class PlainStep:
    """One step of one layer and direction: leaves of the graph, so that they get gradients."""

    t: int
    a: Tensor
    u: Tensor
    values: dict[str, Tensor]


def cell_step(
    cell: str, gate: Gate, a: Tensor, u: Tensor, old: dict[str, Tensor], hold: Hold
) -> dict[str, Tensor]:
    """Gates and states after one step; `hold` clamps each before the next one reads it.

    Args:
        gate: the function of the gates r, z, i, f and o; of h of a simple RNN.
    """
    if cell == "rnn":
        return {"h": hold("h", gate(a + u))}
    if cell == "gru":
        (a_r, a_z, a_n), (u_r, u_z, u_n) = a.chunk(3), u.chunk(3)
        r = hold("r", gate(a_r + u_r))
        z = hold("z", gate(a_z + u_z))
        n = hold("n", torch.tanh(a_n + r * u_n))
        return {"r": r, "z": z, "n": n, "h": hold("h", n + z * (old["h"] - n))}
    sums = (a + u).chunk(4)
    i, f, o = (hold(n, gate(sums[k])) for n, k in (("i", 0), ("f", 1), ("o", 3)))
    g = hold("g", torch.tanh(sums[2]))
    c = hold("c", f * old["c"] + i * g)
    return {"i": i, "f": f, "g": g, "o": o, "c": c, "h": hold("h", o * torch.tanh(c))}


class PlainNetwork:
    """The network of a case, in float64; `weights` are leaves that get gradients.

    Args:
        clamps: as in the page's `changes`, every field given.
        dropout: masks as in the page's `changes`, with the shapes of what they multiply.
        gate: what the gates of a gru or lstm apply to their sums.
    """

    def __init__(
        self,
        case: Case,
        clamps: list[dict[str, Any]],
        dropout: Masks | None = None,
        gate: Gate = torch.sigmoid,
    ) -> None:
        self.config = case.model.config
        self.weights = {
            name: w.double().clone().requires_grad_() for name, w in case.model.state_dict().items()
        }
        self.static = None if case.static is None else case.static.double()
        self.clamps, self.dropout, self.gate = clamps, dropout or {}, gate
        if self.config.cell == "rnn":
            self.gate = torch.relu if self.config.nonlinearity == "relu" else torch.tanh
        self.steps: dict[tuple[int, int], list[PlainStep]] = {}

    def embed(self, row: Tensor) -> Tensor:
        """The input of the first layer at one step, (I,)."""
        config = self.config
        if config.vocabulary_size:
            return self.weights["embedding.weight"][int(row)]
        numbers = config.input_size
        tables = (f"embeddings.{k}.weight" for k in range(len(config.category_sizes)))
        parts = [self.weights[name][int(row[numbers + k])] for k, name in enumerate(tables)]
        return torch.cat([row[:numbers].double(), *parts])

    def first_states(self, place: int) -> dict[str, Tensor]:
        """The states before the first step of one layer and direction."""
        config, H = self.config, self.config.hidden_size
        names = ["h", "c"][: 1 + (config.cell == "lstm")]
        if not config.sets_state:
            return {name: torch.zeros(H, dtype=torch.float64) for name in names}
        raw = self.weights["static_state.weight"] @ self.static + self.weights["static_state.bias"]
        places = config.num_layers * (2 if config.bidirectional else 1)
        states = functional.softsign(raw).view(len(names), places, H)
        return {name: states[k, place] for k, name in enumerate(names)}

    def run_layer(self, layer: int, d: int, inputs: list[Tensor], kept: list[int]) -> list[Tensor]:
        """The hidden states of one layer and direction at the kept steps."""
        end = f"l{layer}" + ("_reverse" if d else "")
        W, U, b, b_hh = (
            self.weights[f"recurrent.{name}_{end}"]
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        config = self.config
        state = self.first_states(layer * (2 if config.bidirectional else 1) + d)
        order = list(zip(kept, inputs, strict=True))
        for t, e in reversed(order) if d else order:
            a, u = W @ e + b, U @ state["h"] + b_hh
            a.retain_grad()
            u.retain_grad()

            def hold(name: str, values: Tensor, t: int = t) -> Tensor:
                for clamp in self.clamps:
                    where = (clamp["layer"], clamp["direction"], clamp["name"])
                    if where == (layer, d, name) and clamp["from"] <= t <= clamp["to"]:
                        unit = torch.arange(len(values))
                        unit = unit[unit == clamp["unit"]] if clamp["unit"] is not None else unit
                        values = values.index_fill(0, unit, clamp["value"])
                return values

            values = cell_step(config.cell, self.gate, a, u, state, hold)
            values["h"].retain_grad()
            state = {name: values[name] for name in state}
            self.steps.setdefault((layer, d), []).append(PlainStep(t, a, u, values))
        steps = sorted(self.steps[layer, d], key=lambda step: step.t)
        return [step.values["h"] for step in steps]

    def outputs(self, x: Tensor, kept: list[int]) -> Tensor:
        """Outputs of the steps of x in `kept`, which are numbered as in x: (K,) or (kept, K)."""
        self.steps = {}
        config = self.config
        masks, between = self.dropout, self.dropout.get("between", [])
        below = [self.embed(x[t]) for t in kept]
        if "embedded" in masks:
            below = [e * masks["embedded"][t] for e, t in zip(below, kept, strict=True)]
        for layer in range(config.num_layers):
            sides = [
                self.run_layer(layer, d, below, kept) for d in (0, 1)[: 1 + config.bidirectional]
            ]
            below = [torch.cat(both) for both in zip(*sides, strict=True)]
            if layer < len(between):
                below = [h * between[layer][t] for h, t in zip(below, kept, strict=True)]
        h = torch.stack(below)
        H = config.hidden_size
        read = {
            "last": torch.cat([h[-1, :H], h[0, H:]]),
            "mean": h.mean(0),
            "max": h.amax(0),
            "every": h,
        }[config.readout]
        if config.joins_readout:
            features = self.static if read.ndim == 1 else self.static.expand(len(read), -1)
            joined = torch.cat([read, features], -1)
            weight, bias = self.weights["static_join.weight"], self.weights["static_join.bias"]
            read = torch.relu(functional.linear(joined, weight, bias))
        read = read * masks["read"] if "read" in masks else read
        return functional.linear(read, self.weights["output.weight"], self.weights["output.bias"])

    def losses(self, outputs: Tensor, label: Tensor) -> Tensor:
        """The loss of each output."""
        if self.config.task == "classification":
            return functional.cross_entropy(outputs, label, reduction="none")
        if self.config.task == "multilabel":
            each = functional.binary_cross_entropy_with_logits
        else:
            each = functional.mse_loss
        return each(outputs, label.double(), reduction="none").mean(-1)


def changed(
    case: Case,
    clamps: list[dict[str, Any]],
    erased: list[int],
    dropout: Masks | None = None,
    gate: Gate = torch.sigmoid,
) -> dict[str, Any]:
    """What the engine should find, by the names of `runCase`, at the kept steps only.

    Returns: arrays whose first axis is the kept steps, except gradients and `loss`; NaN where a
        network with one output a sequence has not read any step.
    """
    network, steps = PlainNetwork(case, clamps, dropout, gate), len(case.x)
    kept = [t for t in range(steps) if t not in erased]
    per_step = case.model.config.per_step
    final = network.outputs(case.x, kept)
    label = case.label[kept] if per_step else case.label
    loss = network.losses(final, label).sum()
    loss.backward()
    found: dict[str, Any] = {"kept": kept, "loss": loss, "final": final}
    for (layer, d), run in network.steps.items():
        place = f"{layer} {'backward' if d else 'forward'}"
        run = sorted(run, key=lambda step: step.t)
        for name in run[0].values:
            found[f"{place} {name}"] = torch.stack([step.values[name] for step in run])
        found[f"{place} dh"] = torch.stack([_gradient(step.values["h"]) for step in run])
        found[f"{place} da"] = torch.stack([_gradient(step.a) for step in run])
        found[f"{place} du"] = torch.stack([_gradient(step.u) for step in run])
    for name, weight in network.weights.items():
        found[f"gradient {name}"] = _gradient(weight)
    found = {
        name: value.detach().numpy() if isinstance(value, Tensor) else value
        for name, value in found.items()
    }
    if not per_step and not dropout:
        rows = np.full((steps, case.model.config.num_outputs), np.nan)
        for t in range(steps):
            if beginning := [s for s in kept if s <= t]:
                rows[t] = network.outputs(case.x, beginning).detach().numpy()
        found["outputs"] = rows
    return found


def _gradient(values: Tensor) -> Tensor:
    return torch.zeros_like(values) if values.grad is None else values.grad
