"""One step a call under no_grad: the bits of the whole sequence, and no weight out of date."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from elman import _core, layers
from elman.errors import ShapeError
from elman.layers import torch_layers

T, I, H = 5, 3, 33
KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "rnn": (layers.RNN, {}),
    "relu": (layers.RNN, {"nonlinearity": "relu"}),
    "gru": (layers.GRU, {}),
    "lstm": (layers.LSTM, {}),
    "projected": (layers.LSTM, {"proj_size": 7}),
}


def step_through(layer: nn.Module, x: Tensor, states: Any) -> tuple[Tensor, Any]:
    """Feed x, (T, 1, I), a step a call."""
    outputs = []
    for step in x.split(1):
        y, states = layer(step, states)
        outputs.append(y)
    return torch.cat(outputs), states


def zeros(layer: Any, dtype: torch.dtype) -> Any:
    h = torch.zeros(layer.num_layers, 1, layer.proj_size or H, dtype=dtype)
    c = torch.zeros(layer.num_layers, 1, H, dtype=dtype)
    return (h, c) if isinstance(layer, layers.LSTM) else h


def same(a: Any, b: Any) -> bool:
    if isinstance(a, tuple):
        return all(map(same, a, b))
    return torch.equal(a, b)


@pytest.fixture
def native_steps() -> Any:
    """Count the native calls of one step that were taken."""
    taken = []

    def step_layers(*arguments: Any) -> bool:
        taken.append(_core.step_layers(*arguments))
        return taken[-1]

    with mock.patch.object(torch_layers, "_core", mock.Mock(step_layers=step_layers)):
        yield taken


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_have_the_bits_of_the_whole_sequence(
    kind: str, dtype: torch.dtype, native_steps: list[bool]
) -> None:
    make, options = KINDS[kind]
    for num_layers, bias in ((1, True), (3, False)):
        layer = make(I, H, num_layers, bias=bias, dtype=dtype, **options)
        x = torch.randn(T, 1, I, dtype=dtype)
        with torch.no_grad():
            whole = layer(x)
            start = zeros(layer, dtype)
            native_steps.clear()
            assert same(step_through(layer, x, start), whole)
            assert native_steps == [True] * T
            assert same(start, zeros(layer, dtype))  # the caller's state is left alone
            first = layer(x[:1], start)
            if num_layers == 1:
                first[0].fill_(7.0)  # the output and the state have memory of their own
                state = first[1][0] if isinstance(first[1], tuple) else first[1]
                assert not (state == 7.0).any()
        native_steps.clear()
        y, _ = step_through(layer, x, zeros(layer, dtype))  # autograd follows the general path
        assert y.requires_grad and not native_steps
        assert torch.equal(y, whole[0])


def test_no_weight_is_out_of_date(native_steps: list[bool]) -> None:
    """However it is changed: in place, through .data, or by another parameter."""
    layer, x = layers.GRU(I, H), torch.randn(1, 1, I)
    start = torch.zeros(1, 1, H)
    with torch.no_grad():
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
            layer(x, start)
            before = layer(x, start + 0.5)[0]
            weight = getattr(layer, name)
            weight.data += 0.25
            after = layer(x, start + 0.5)[0]
            assert not torch.equal(after, before), name
            assert torch.equal(after, layer(torch.cat([x, x]), start + 0.5)[0][:1])
            setattr(layer, name, nn.Parameter(weight.detach().clone() * 2))
            doubled = layer(x, start + 0.5)[0]
            assert torch.equal(doubled, layer(torch.cat([x, x]), start + 0.5)[0][:1])
    assert all(native_steps)


def test_more_layers_than_are_remembered(native_steps: list[bool]) -> None:
    """The oldest is packed again; one that is too large is packed at every call."""
    many = [layers.RNN(I, 4 + k % 5) for k in range(12)] + [layers.LSTM(I, 400)]
    x = torch.randn(3, 1, I)
    before = _core.isa()
    try:
        with torch.no_grad():
            for isa in (*_core.isas(), before):
                _core.use_isa(isa)
                for _ in range(2):
                    for layer in many:
                        first = layer(x[:1])
                        steps = step_through(layer, x[1:], first[1])
                        assert same((torch.cat([first[0], steps[0]]), steps[1]), layer(x))
    finally:
        _core.use_isa(before)
    assert native_steps and all(native_steps)


def test_what_is_unusual_takes_the_general_path(native_steps: list[bool]) -> None:
    layer, x, h = layers.GRU(I, H, 2), torch.randn(1, 1, I), torch.randn(2, 1, H)
    with torch.no_grad():
        expected = layer(x, h)
        wide = torch.randn(2, 1, 2 * H)
        wide[:, :, ::2] = h
        for odd_x, odd_h in (
            (x, wide[:, :, ::2]),
            (torch.complex(x, -x).conj().imag, h),  # views that torch negates lazily
            (x, torch.complex(h, -h).conj().imag),
            (x.expand(2, 1, I)[:1], h),
        ):
            assert same(layer(odd_x, odd_h), expected)
        native_steps.clear()
        with torch.autocast("cpu", torch.bfloat16):
            layer(x, h)
        with torch.autograd.forward_ad.dual_level():
            layer(x, h)
        dropping = layers.GRU(I, H, 2, dropout=0.9)
        assert not torch.equal(dropping(x, h)[0], dropping(x, h)[0])
        both = layers.GRU(I, H, bidirectional=True)
        both(x, h)
        assert not native_steps
        assert torch.equal(dropping.eval()(x, h)[0], dropping(x, h)[0])
        assert native_steps == [True] * 2


def test_wrong_arguments_raise_as_they_did() -> None:
    gru, lstm = layers.GRU(I, H), layers.LSTM(I, H)
    x, h = torch.zeros(1, 1, I), torch.zeros(1, 1, H)
    with torch.no_grad():
        for layer, args, message in (
            (gru, (x, (h, h)), "hx: expected h0"),
            (lstm, (x, h), "hx: expected h0 and c0"),
            (lstm, (x, (h, "c")), "hx: expected h0 and c0"),
            (gru, (x, h.view(1, H)), "hx should also be 3-D"),
            (gru, (x, 7), "hx: expected h0"),
            (gru, (x[:, :, :2], h), "input_size"),
            (gru, ([0.0] * I, h), "input: got a list"),
        ):
            with pytest.raises(ShapeError, match=message):
                layer(*args)
        small = layers.GRU(I, H)
        small.weight_hh_l0 = nn.Parameter(torch.zeros(6, 2))
        with pytest.raises(ShapeError, match="weight_hh: got"):
            small(x, h)
        gone = layers.GRU(I, H)
        gone.weight_ih_l0.untyped_storage().resize_(16)
        with pytest.raises(ShapeError, match="its memory has 16 bytes"):
            gone(x, h)
