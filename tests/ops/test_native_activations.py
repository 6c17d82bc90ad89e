"""tanh and sigmoid of the kernels: errors in units in the last place, infinities, NaN.

A layer whose weights leave nothing else to do shows them: with U = 0 and W = 1 an rnn is tanh(x),
and with h0 = 1 and only W_z = 1 a gru is sigmoid(x). That asks the kernels as they are built. All
arguments of float32 go through csrc/tests/activations.cpp, compiled with the flags of the build.
"""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
import torch
from native_cases import ROOT, compile_for

from elman import _core, ops

# Units in the last place, of which docs/kernels.md says more.
LIMITS = {"tanh": 3.5, "sigmoid": 2.5}
FINFO = {torch.float32: np.finfo(np.float32), torch.float64: np.finfo(np.float64)}
both_types = pytest.mark.parametrize("dtype", FINFO, ids=str)


def tanh(x):
    """Through the kernels, (N,)."""
    one, zero = x.new_ones(1, 1), x.new_zeros(1, 1)
    return ops.rnn(x[:, None, None], one, zero)[0].flatten()


def sigmoid(x):
    """Through the kernels, (N,); x finite."""
    weight_ih, weight_hh = x.new_tensor([[0.0], [1.0], [0.0]]), x.new_zeros(3, 1)
    h0 = x.new_ones(len(x), 1)
    return ops.gru(x[:, None, None], weight_ih, weight_hh, None, None, h0)[0].flatten()


def exact(name, x):
    """In numpy's widest type, (N,)."""
    wide = x.numpy().astype(np.longdouble)
    with np.errstate(over="ignore", under="ignore"):
        return np.tanh(wide) if name == "tanh" else 1 / (1 + np.exp(-wide))


def units(found, expected, info):
    """Distance in units in the last place of what is expected; of the smallest normal below it."""
    _, exponent = np.frexp(np.maximum(np.abs(expected), np.longdouble(info.tiny)))
    unit = np.ldexp(np.longdouble(info.eps), exponent - 1)
    return np.abs(found.numpy().astype(np.longdouble) - expected) / unit


def arguments(dtype):
    """Finite numbers of every exponent and sign, and many where the functions bend, (N,)."""
    bits = torch.arange(0, 2**32, 16411, dtype=torch.int64)
    if dtype == torch.float32:
        every = (bits - 2**31).to(torch.int32).view(torch.float32)
    else:
        every = (bits - 2**31).mul(2**32 + 977).view(torch.float64)
    dense = torch.linspace(-25, 25, 200_001, dtype=torch.float64).to(dtype)
    x = torch.cat([every, dense, dense / 64])
    return x[x.isfinite()]


@both_types
@pytest.mark.parametrize("function", [tanh, sigmoid])
def test_error(isa, function, dtype):
    x = arguments(dtype)
    if dtype == torch.float64 and np.finfo(np.longdouble).eps == FINFO[dtype].eps:
        pytest.skip("nothing wider than float64 here")
    if function is sigmoid:  # which stands still at the smallest normal number
        x = x[x > {torch.float32: -87, torch.float64: -708}[dtype]]
    else:  # denormal numbers are flushed to zero
        x = x[x.abs() >= float(FINFO[dtype].tiny)]
    found, expected = function(x), exact(function.__name__, x)
    error = units(found, expected, FINFO[dtype])
    assert error.max() <= LIMITS[function.__name__], x[int(error.argmax())]
    assert error.max() > 0.5, "the kernels are meant, not a library's function"


@both_types
def test_ends(isa, dtype):
    """Infinities saturate, nothing leaves the range of its function, NaN stays NaN."""
    inf, nan, tiny = torch.inf, torch.nan, float(FINFO[dtype].tiny)
    large = float(FINFO[dtype].max)
    x = torch.tensor([inf, -inf, large, -large, 1e3, -1e3, 0.0, -0.0, nan, -nan], dtype=dtype)
    assert torch.equal(tanh(x[:8]), torch.tensor([1, -1, 1, -1, 1, -1, 0, 0], dtype=dtype))
    assert tanh(x[8:]).isnan().all()
    found = sigmoid(x[2:8])
    assert torch.equal(found[[0, 2, 4, 5]], torch.tensor([1, 1, 0.5, 0.5], dtype=dtype))
    assert (found[[1, 3]] >= 0).all() and (found[[1, 3]] < 2 * tiny).all()
    for argument, lowest, highest in ((inf, 1, 1), (-inf, 0, 2 * tiny)):
        bias = torch.tensor([0, argument, 0], dtype=dtype)
        zeros = torch.zeros(3, 1, dtype=dtype)
        one = torch.ones(1, 1, dtype=dtype)
        _, h_n = ops.gru(one[None], zeros, zeros, bias, torch.zeros_like(bias), one)
        assert lowest <= float(h_n) <= highest
    assert (tanh(torch.tensor([tiny / 4, -tiny / 4], dtype=dtype)).abs() <= tiny).all()
    every = arguments(dtype)
    assert (tanh(every).abs() <= 1).all()
    assert ((sigmoid(every) >= 0) & (sigmoid(every) <= 1)).all()


@pytest.mark.parametrize("cell", [ops.rnn, ops.gru, ops.lstm], ids=lambda c: c.__name__)
def test_nan_is_carried_on(isa, cell):
    """A NaN at one step of one row: there and after it, and nowhere else."""
    x = torch.randn(3, 5, 2)
    x[1, 2, 0] = torch.nan
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[cell.__name__]
    y, _ = cell(x, torch.randn(gates * 9, 2), torch.randn(gates * 9, 9))
    hit = torch.zeros(3, 5, dtype=torch.bool)
    hit[1, 2:] = True
    assert torch.equal(y.isnan().all(2), hit) and torch.equal(y.isnan().any(2), hit)


def test_denormal_numbers_of_others(isa):
    """They count as zero in the kernels, and are what they were outside."""
    tiny = torch.tensor([1e-30])
    one = torch.ones(1, 1)
    y, _ = ops.rnn(torch.full((1, 1, 1), 1e-39), one, one)
    assert y == 0
    assert 0 < tiny * 1e-10 < 1e-39


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float", "double"])
@pytest.mark.parametrize("isa", _core.isas())
def test_all_arguments(tmp_path, isa, dtype):
    """Every float32 there is, and 10^8 float64."""
    program = tmp_path / "activations"
    compile_for(isa, str(ROOT / "csrc" / "tests" / "activations.cpp"), "-o", str(program))
    printed = subprocess.run([program, dtype], check=True, capture_output=True, text=True).stdout
    words = printed.split()
    for name, error in zip(words[::3], words[1::3], strict=True):
        assert float(error) <= LIMITS[name], printed
