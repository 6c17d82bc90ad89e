"""A model one step at a time: the answer after each step, as if the sequence ended there.

A `Stepper` keeps a copy of a model's weights; what it knows of each sequence is in a state, a
dictionary of tensors with one row per sequence. Rows are independent, so they can be copied from
one state into another, split and joined.

    h, c    states of each layer, (B, L, H); further ones for a cell that has others
    sum     sum of the top layer's h over the steps so far, (B, H), for the readout `mean`
    max     their maximum, (B, H), for the readout `max`
    steps   number of steps so far, (B,) int64
    joined  contribution of the static features to the readout, (B, H), where they are joined to it

A `NativeStream` adds what is around a network in one native call: raw numbers are standardised, and
outputs become probabilities or values.

Dimensions: B batch, L layers, C channels, H hidden, S static inputs, K outputs.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from elman import _core
from elman.errors import SettingsError, ShapeError
from elman.models import static as features
from elman.models.model import SequenceModel
from elman.models.native import NativeModel, check_input, convert_error
from elman.ops.native import count_threads

State = dict[str, Tensor]
_Addresses = tuple[int, int, int, int, int, int]  # as in _core.pyi


class Stepper:
    """The forward pass of one model, step by step, with the weights that it has now.

    Later changes of the model do not reach a stepper. Threads may share one, each with its own
    states. Autocast and torch.func do not apply to it.

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
        weight: Any = next(model.recurrent.parameters())
        self._dtype, self._device = weight.dtype, weight.device
        self._exact = model.is_exact()
        self._linear = features.linear_exactly if self._exact else functional.linear
        self.core = _make_core(self._model) if self._exact else None
        config = model.config
        # The whole-sequence call reads out in torch where static features set the first state.
        pools = {"mean": "sum", "max": "max"}.get(config.readout)
        self._pooled = pools
        self._native_pool = None if config.sets_state else pools

    @property
    def is_native(self) -> bool:
        """Whether a step is one native call, with the same bits as the whole sequence."""
        return self.core is not None

    def begin(self, batch: int, static: Tensor | None = None) -> State:
        """Return the state of `batch` sequences before their first step.

        Args:
            static: their static features, (B, S), of the weights' dtype; None if S is 0.
        Raises: ShapeError for static features of another shape.
        """
        config, model = self.config, self._model
        zeros = torch.zeros(batch, config.hidden_size, dtype=self._dtype, device=self._device)
        with torch.no_grad():
            static = features.check_static(model, zeros, static)
            states = features.first_states(model, static, self._linear)
            state: State = {}
            for i, name in enumerate(config.cell_definition.initial_states):
                first = states[i].transpose(0, 1) if states else zeros[:, None]
                first = first.expand(-1, config.num_layers, -1)
                state[name] = first.clone(memory_format=torch.contiguous_format)
            if self._pooled:
                state[self._pooled] = zeros if self._pooled == "sum" else zeros - torch.inf
            state["steps"] = torch.zeros(batch, dtype=torch.int64)
            if static is not None and config.joins_readout:
                layer = model.static_join
                state["joined"] = self._linear(static, layer.weight[:, config.width :], layer.bias)
        return state

    def step(self, x: Tensor, state: State, rows: Tensor | None = None) -> Tensor:
        """Take one step of each sequence, and return the logits of the sequences so far.

        Args:
            x: numbers, (B, C), of the model's dtype, with category codes after the numbers; or
                token ids, (B,) integers. With `rows`, one row for each of these.
            state: from `begin`; updated in place, unless an error is raised.
            rows: the rows of the state that take a step, int64, each at most once; the others keep
                their state. None means all.
        Returns: logits or values, (B, K), in the order of x; on the CPU in float32 or float64 they
            have the same bits as the model's for the whole sequence so far.
        Raises: ShapeError; DataError for a token or category code out of range.
        """
        whole = x[:, None]  # (B, 1, C), or (B, 1)
        check_input(self.config, self._dtype, self._device, whole, None)
        with torch.no_grad():
            if self.core is None:
                return self._step_in_torch(whole, state, rows)
            x = x.to(torch.int64) if self.config.vocabulary_size else x
            x = x.resolve_neg().contiguous()
            if rows is not None:
                rows = rows.to("cpu", torch.int64).contiguous()
            outputs = self._outputs_of_core()
            logits = torch.empty(len(x), outputs, dtype=self._dtype)
            try:
                self.core.step(
                    count=len(x),
                    rows=0 if rows is None else rows.data_ptr(),
                    x=x.data_ptr(),
                    state=self.addresses(state),
                    logits=logits.data_ptr(),
                    threads=count_threads(),
                )
            except (IndexError, MemoryError) as error:
                raise convert_error(error, whole) from None
            return self._add_static(logits, state, rows) if self.config.static_size else logits

    def addresses(self, state: State) -> _Addresses:
        """Check a state, and return what the native call reads of it."""
        config = self.config
        tensors = [state.get(name) for name in ("h", "c")]
        tensors.append(state[self._native_pool] if self._native_pool else None)
        steps = state["steps"]
        batch = len(steps)
        states = (batch, config.num_layers, config.hidden_size)
        shapes = (states, states, (batch, config.hidden_size))
        expected = {*config.cell_definition.states, *filter(None, [self._native_pool])}
        fits = expected <= state.keys() and _core.read_lengths(steps, batch)
        if batch and not (
            fits and _core.read_tensors(tensors, shapes, self._dtype is torch.float64)
        ):
            found = ", ".join(f"{k} {tuple(v.shape)} {v.dtype}" for k, v in state.items())
            raise ShapeError(f"state: got {found}; expected what begin({batch}) returns")
        h, c, pooled = (0 if tensor is None else tensor.data_ptr() for tensor in tensors)
        return batch, h, c, pooled, steps.data_ptr(), 0

    def _outputs_of_core(self) -> int:
        if not self.config.static_size:
            return self.config.num_outputs
        return 0 if self.config.sets_state else self.config.width

    def _add_static(self, logits: Tensor, state: State, rows: Tensor | None) -> Tensor:
        """The outputs, with the operations of the whole-sequence call (`models.static`)."""
        model = self._model
        joined = state.get("joined")
        joined = joined if rows is None or joined is None else joined[rows]
        if self.config.sets_state:
            part = state if rows is None else {k: v[rows] for k, v in state.items()}
            read = self._read(part, part["h"][:, -1])
            if rows is not None and self._pooled:
                state[self._pooled][rows] = part[self._pooled]
            if joined is not None:
                P = model.static_join.weight[:, : self.config.width]
                read = torch.relu(self._linear(read, P, None) + joined)
        else:
            assert joined is not None
            read = torch.relu(logits + joined)
        return self._linear(read, model.output.weight, model.output.bias)

    def _step_in_torch(self, whole: Tensor, state: State, rows: Tensor | None) -> Tensor:
        """The same through the model's modules, whatever they are."""
        config, model = self.config, self._model
        part = state if rows is None else {name: v[rows] for name, v in state.items()}
        if len(whole) != len(part["steps"]):
            raise ShapeError(f"x: got {len(whole)} rows, expected {len(part['steps'])}")
        names = config.cell_definition.initial_states
        hx = tuple(part[name].transpose(0, 1).contiguous() for name in names)
        mask = torch.ones(len(whole), 1, dtype=torch.bool, device=self._device)
        y, final = model.recurrent(model._embed(whole, mask), hx if len(hx) > 1 else hx[0])
        for name, new in zip(names, final if len(hx) > 1 else (final,), strict=True):
            part[name].copy_(new.transpose(0, 1))
        part["steps"] += 1
        # As in the whole-sequence call: what a hook makes of y reaches every readout but `last`.
        read = self._read(part, part["h"][:, -1] if config.readout == "last" else y[:, 0])
        if rows is not None:
            for name, tensor in part.items():
                state[name][rows] = tensor
        if "joined" in part:
            P = model.static_join.weight[:, : config.width]
            read = torch.relu(functional.linear(read, P) + part["joined"])
        outputs: Tensor = model.output(read)
        return outputs

    def _read(self, state: State, top: Tensor) -> Tensor:
        """Add the top layer's output, (B, H), to sum or maximum, and return the readout, (B, H)."""
        if self._pooled == "sum":
            state["sum"] += top
            return state["sum"] / state["steps"].to(top)[:, None]
        if self._pooled == "max":
            # As amax does, `maximum` passes NaN on.
            state["max"].copy_(torch.maximum(state["max"], top))
            return state["max"]
        return top


def _make_core(model: SequenceModel) -> _core.Stepper | None:
    """The native call of a model that is exact; its outputs as `_outputs_of_core` says."""
    config, output = model.config, None
    if config.sets_state:  # the states are all that is read
        changes: dict[str, Any] = {"num_outputs": 0, "readout": "last"}
        config = dataclasses.replace(config, static_size=0, static_to=None, **changes)
        weight = model.output.weight.new_empty(0, config.width)
        output = {"weight": weight, "bias": weight.new_empty(0)}
    elif config.static_size:  # P readout(h)
        config = features.without_static(config)
        P = model.static_join.weight.detach()[:, : config.width]
        output = {"weight": P, "bias": P.new_zeros(config.width)}
    native = NativeModel.of(config, model.output.weight.dtype)
    weights = native.weights(model, output)
    return None if weights is None else native.stepper(weights)


class NativeStream:
    """One native call from raw inputs to answers, for a native model without static features.

        numbers: a gap takes its channel's value of the step before, then (x - mean) / scale, and a
        mask channel for each channel that may have gaps        outputs: softmax, sigmoid or scaled

    It is bound to one state and may be used by one thread at a time.

    Args:
        stepper: native.
        state: from its `begin`, with `last` added: each numeric channel's latest value, (B, C)
            float64, at first `fill`. Updated in place; its tensors must not be replaced.
        mean, scale, fill: of the numeric channels, (C,), as in `elman.estimators.encoder.Encoder`;
            empty for tokens.
        outputs: `softmax` or `sigmoid` for probabilities, `scaled` for values.
        output_mean, output_scale: (K,) of `scaled`: values are output * output_scale + output_mean.
    Raises: ShapeError for a state or numbers that do not fit the model.
    """

    def __init__(
        self,
        stepper: Stepper,
        state: State,
        *,
        mean: Sequence[float] = (),
        scale: Sequence[float] = (),
        fill: Sequence[float] = (),
        outputs: str,
        output_mean: Sequence[float] = (),
        output_scale: Sequence[float] = (),
    ) -> None:
        if stepper.core is None or stepper.config.static_size:
            raise ShapeError("stepper: expected a native one without static features")
        last, channels = state["last"], len(mean)
        shape = (len(state["steps"]), channels)
        if last.shape != shape or (
            last.numel() and not _core.read_tensors((last,), (shape,), True)
        ):
            raise ShapeError(f"last: got {tuple(last.shape)} {last.dtype}, expected {shape}")
        self._state = tuple(state.values())  # alive as long as their addresses are in use
        self._outputs, config = stepper.config.num_outputs, stepper.config
        # Shape and type of one row's step.
        self._row = () if config.vocabulary_size else (channels + len(config.category_sizes),)
        self._dtype = np.dtype(np.int64 if config.vocabulary_size else np.float64)
        # Below two chunks of rows a step stays on one thread.
        self._is_large = len(last) >= 16
        try:
            self._step = _core.Stream(
                stepper.core,
                _floats(mean),
                _floats(scale),
                _floats(fill),
                outputs,
                _floats(output_mean),
                _floats(output_scale),
                (*stepper.addresses(state)[:5], last.data_ptr()),
            ).step
        except ValueError as error:
            raise ShapeError(str(error)) from None

    def step(
        self, x: NDArray[Any], rows: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64] | None:
        """Take one step of each sequence, and return the answers for the sequences so far.

        Args:
            x: raw numbers, (B, C) float64, NaN for a gap, with category codes after them; or token
                ids, (B,) int64. With `rows`, one row for each of these.
            rows: int64, the rows of the state that take a step, each at most once; None means all.
        Returns: (B, K) in the order of x, bit for bit what the whole sequence gives. None, with the
            state unchanged, for a gap that the model does not take or a number beyond float32: the
            encoder says which.
        Raises: ShapeError; DataError for a token or category code out of range.
        """
        count = len(x)
        if x.shape[1:] != self._row or x.dtype != self._dtype:
            raise ShapeError(
                f"x: got {x.shape} {x.dtype}, expected {(count, *self._row)} {self._dtype}"
            )
        out = np.empty((count, self._outputs))
        try:
            done = self._step(
                np.ascontiguousarray(x), out, rows, count, count_threads() if self._is_large else 1
            )
        except (IndexError, MemoryError) as error:
            raise convert_error(error, torch.empty(x.shape, device="meta")) from None
        return out if done else None


def _floats(values: Sequence[float]) -> list[float]:
    return [float(value) for value in values]
