"""A model one step at a time: the answer after each step, as if the sequence ended there.

A `Stepper` keeps a copy of a model's weights; what it knows of each sequence is in a state, a
dictionary of tensors with one row per sequence. Rows are independent, so they can be copied from
one state into another, split and joined.

    h, c    states of each layer, (B, L, H); further ones for a cell that has others
    sum     sum of the top layer's h over the steps so far, (B, H), for the readout `mean`
    max     their maximum, (B, H), for the readout `max`
    steps   number of steps so far, (B,) int64
    joined  contribution of the static features to the readout, (B, H), where they are joined to it

Dimensions: B batch, L layers, C channels, H hidden, S static inputs, K outputs.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.nn import functional

from elman.errors import SettingsError, ShapeError
from elman.models import static as features
from elman.models.model import SequenceModel
from elman.models.native import check_input

State = dict[str, Tensor]


class Stepper:
    """The forward pass of one model, step by step, with the weights that it has now.

    Later changes of the model do not reach a stepper. Threads may share one, each with its own
    states.

    Args:
        model: with one direction; dropout is left out, as in evaluation mode.
    Raises: SettingsError for a model that runs in both directions, or a subclass of SequenceModel
        with a forward pass of its own.
    """

    def __init__(self, model: SequenceModel) -> None:
        if model.config.bidirectional:
            raise SettingsError(
                "bidirectional: this model also reads each sequence from its end, so it has no"
                " answer before the end. Train one with --no-bidirectional (bidirectional=False)"
            )
        if type(model).forward is not SequenceModel.forward:
            raise SettingsError(
                f"{type(model).__name__} has a forward pass of its own, which cannot be cut into"
                " steps; expected a SequenceModel"
            )
        self.config = model.config
        self._model = copy.deepcopy(model).eval()
        self._dtype = next(model.recurrent.parameters()).dtype

    def begin(self, batch: int, static: Tensor | None = None) -> State:
        """Return the state of `batch` sequences before their first step.

        Args:
            static: their static features, (B, S), of the weights' dtype; None if S is 0.
        Raises: ShapeError for static features of another shape.
        """
        config, model = self.config, self._model
        linear = features.linear_exactly if model.is_exact() else functional.linear
        zeros = torch.zeros(batch, config.hidden_size, dtype=self._dtype)
        with torch.no_grad():
            static = features.check_static(model, zeros, static)
            states = features.first_states(model, static, linear)
            state: State = {}
            for i, name in enumerate(config.cell_definition.initial_states):
                first = states[i].transpose(0, 1) if states else zeros[:, None]
                first = first.expand(-1, config.num_layers, -1)
                state[name] = first.clone(memory_format=torch.contiguous_format)
            if config.readout == "mean":
                state["sum"] = zeros.clone()
            elif config.readout == "max":
                state["max"] = torch.full_like(zeros, -torch.inf)
            state["steps"] = torch.zeros(batch, dtype=torch.int64)
            if static is not None and config.joins_readout:
                layer = model.static_join
                state["joined"] = linear(static, layer.weight[:, config.width :], layer.bias)
        return state

    def step(self, x: Tensor, state: State, rows: Tensor | None = None) -> Tensor:
        """Take one step of each sequence, and return the logits of the sequences so far.

        Args:
            x: numbers, (B, C), of the model's dtype, with category codes after the numbers; or
                token ids, (B,) integers. With `rows`, one row for each of these.
            state: from `begin`; updated in place.
            rows: the rows of the state that take a step, int64, each at most once; the others keep
                their state. None means all.
        Returns: logits or values, (B, K), in the order of x; on the CPU in float32 or float64 they
            have the same bits as the model's for the whole sequence so far.
        Raises: ShapeError; DataError for a token or category code out of range.
        """
        if rows is not None:
            part = {name: tensor[rows] for name, tensor in state.items()}
            logits = self.step(x, part)
            for name, tensor in part.items():
                state[name][rows] = tensor
            return logits
        config, model = self.config, self._model
        with torch.no_grad():
            whole = x[:, None]  # (B, 1, C), or (B, 1)
            check_input(config, self._dtype, state["h"].device, whole, None)
            if len(x) != len(state["steps"]):
                raise ShapeError(f"x: got {len(x)} rows, expected {len(state['steps'])}")
            names = config.cell_definition.initial_states
            hx = tuple(state[name].transpose(0, 1).contiguous() for name in names)
            mask = torch.ones(len(x), 1, dtype=torch.bool)
            _, final = model.recurrent(model._embed(whole, mask), hx if len(hx) > 1 else hx[0])
            for name, new in zip(names, final if len(hx) > 1 else (final,), strict=True):
                state[name].copy_(new.transpose(0, 1))
            state["steps"] += 1
            read = self._read(state)
            if (joined := state.get("joined")) is not None:
                P = model.static_join.weight[:, : config.width]
                linear = features.linear_exactly if model.is_exact() else functional.linear
                read = torch.relu(linear(read, P, None) + joined)
            if config.static_size and model.is_exact():
                return features.linear_exactly(read, model.output.weight, model.output.bias)
            outputs: Tensor = model.output(read)
            return outputs

    def _read(self, state: State) -> Tensor:
        """Update sum or maximum, and return the readout, (B, H)."""
        top = state["h"][:, -1]
        if self.config.readout == "mean":
            state["sum"] += top
            return state["sum"] / state["steps"][:, None].to(top.dtype)
        if self.config.readout == "max":
            # As amax does, `maximum` passes NaN on.
            state["max"].copy_(torch.maximum(state["max"], top))
            return state["max"]
        return top
