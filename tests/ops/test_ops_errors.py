"""A wrong argument is named, with what it is and what it should be."""

import re

import pytest
import torch
from cases import CELLS, RAGGED, make_arguments, run_op

from elman import ops
from elman.errors import ElmanError, SettingsError, ShapeError

B, T, I, H = RAGGED.B, RAGGED.T, RAGGED.I, RAGGED.H


def wrong(cell):
    """Changes to sound arguments, each with the message it must raise."""
    rows = cell.gates * H
    one = torch.float64
    whole = f"{one} on cpu as x"
    cases = [
        ({"x": (B, T)}, f"x: got ({B}, {T}), expected 3 dimensions (B, T, I)"),
        ({"x": (B, T, I, 1)}, "x: got"),
        ({"x": (B, T, I + 1)}, f"weight_ih: got ({rows}, {I}), expected ({rows}, {I + 1})"),
        ({"weight_ih": (rows, I + 1)}, f"weight_ih: got ({rows}, {I + 1}), expected ({rows}, {I})"),
        ({"weight_ih": (rows + 1, I)}, f"weight_ih: got ({rows + 1}, {I})"),
        ({"weight_ih": (rows * I,)}, f"weight_ih: got ({rows * I},)"),
        ({"weight_hh": (rows + 1, H)}, f"weight_hh: got ({rows + 1}, {H}), expected ({cell.gates}"),
        ({"weight_hh": (rows,)}, f"weight_hh: got ({rows},), expected ({cell.gates}*H, H)"),
        ({"bias_ih": (rows + 1,)}, f"bias_ih: got ({rows + 1},), expected ({rows},)"),
        ({"bias_hh": (rows, 1)}, f"bias_hh: got ({rows}, 1), expected ({rows},)"),
        ({"bias_ih": None}, "bias_ih and bias_hh: give both or neither"),
        ({"bias_hh": None}, "bias_ih and bias_hh: give both or neither"),
        ({"lengths": (B + 1,)}, f"lengths: got ({B + 1},) torch.int64, expected ({B},) integers"),
        ({"lengths": (B, 1)}, f"lengths: got ({B}, 1)"),
        ({"lengths": ()}, "lengths: got ()"),
        (
            {"lengths": torch.ones(B)},
            f"lengths: got ({B},) torch.float32, expected ({B},) integers",
        ),
        (
            {"lengths": torch.tensor([1, 2, T + 1, 1, 1])},
            f"lengths: got 1 to {T + 1}, expected 0 to T = {T}",
        ),
        (
            {"lengths": torch.tensor([1, -1, 2, 3, 4])},
            f"lengths: got -1 to 4, expected 0 to T = {T}",
        ),
    ]
    for name in cell.states:
        cases += [
            ({name: (B + 1, H)}, f"{name}: got ({B + 1}, {H}), expected ({B}, {H})"),
            ({name: (B, H + 1)}, f"{name}: got ({B}, {H + 1}), expected ({B}, {H})"),
            ({name: (1, B, H)}, f"{name}: got (1, {B}, {H}), expected ({B}, {H})"),
        ]
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", *cell.states):
        shape = {"weight_ih": (rows, I), "weight_hh": (rows, H), "h0": (B, H), "c0": (B, H)}
        small = torch.zeros(shape.get(name, (rows,)), dtype=torch.float32)
        cases.append(({name: small}, f"{name}: got torch.float32 on cpu, expected {whole}"))
    return cases


ALL = [
    pytest.param(cell, change, message, id=f"{cell}-{message.split(',')[0]}")
    for cell in CELLS
    for change, message in wrong(cell)
]


@pytest.mark.parametrize(("cell", "change", "message"), ALL)
def test_shape_error(cell, change, message):
    arguments = {n: t.detach() for n, t in make_arguments(cell, RAGGED).items()}
    lengths = RAGGED.ends
    for name, value in change.items():
        if isinstance(value, tuple):
            value = torch.ones(value, dtype=torch.int64 if name == "lengths" else torch.float64)
        if name == "lengths":
            lengths = value
        else:
            arguments[name] = value
    with pytest.raises(ShapeError, match=re.escape(message)) as caught:
        run_op(cell, arguments, lengths)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, ElmanError)


def test_unknown_nonlinearity():
    with pytest.raises(SettingsError, match="nonlinearity: got 'sigmoid', expected 'tanh' or"):
        ops.rnn(torch.zeros(1, 1, 1), torch.zeros(1, 1), torch.zeros(1, 1), nonlinearity="sigmoid")
