"""Random arguments for the operators: whatever they are, an answer or an exception, never a crash.

    python tests/ops/fuzz_operators.py SEED COUNT

runs COUNT calls in this process and prints what came of them as JSON. A test runs it in a process
of its own, because the fault that it looks for ends the process. Answers to sound arguments are
compared with the reference loop. An exception that is neither elman's nor torch's is a fault.
"""

from __future__ import annotations

import json
import random
import sys
import warnings
from collections import Counter

import torch

from elman import layers, ops
from elman.errors import ElmanError
from elman.ops.cells import KERNELS
from elman.ops.reference import run_reference

SIZES = (0, 1, 1, 2, 3, 5, 8, 17)
NAMES = ("x", "weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "h0", "c0", "lengths")
DTYPES = (
    torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool,
    torch.complex64, torch.float64, torch.float32,
)  # fmt: skip


def sound(rng, cell):
    """Arguments that fit together, by name; sizes may be 0."""
    B, T, I, H = (rng.choice(SIZES) for _ in range(4))
    dtype = rng.choice((torch.float32, torch.float64))
    rows = len(cell.blocks) * H
    P = rng.randrange(1, H) if cell.name == "lstm" and H > 1 and rng.random() < 0.3 else 0
    batch_first = rng.random() < 0.5

    def draw(*shape):
        # Small, so that the states of a ReLU do not grow until rounding shows.
        return (0.2 * torch.randn(shape, dtype=dtype)).requires_grad_(rng.random() < 0.5)

    biased = rng.random() < 0.7
    values = {
        "x": draw(*((B, T, I) if batch_first else (T, B, I))),
        "weight_ih": draw(rows, I),
        "weight_hh": draw(rows, P or H),
        "bias_ih": draw(rows) if biased else None,
        "bias_hh": draw(rows) if biased else None,
        "weight_hr": draw(P, H) if P else None,
        "h0": draw(B, P or H) if rng.random() < 0.5 else None,
        "c0": draw(B, H) if cell.name == "lstm" and rng.random() < 0.5 else None,
        "lengths": torch.randint(0, T + 1, (B,)) if rng.random() < 0.5 else None,
    }
    return values, batch_first


def spoil(rng, tensor):
    """The tensor changed in one way, most of which no kernel can read."""
    if tensor is None:
        return torch.randn([rng.choice(SIZES) for _ in range(rng.randrange(4))])
    t = tensor.detach()
    way = rng.randrange(16)
    if way == 0:
        return t.to(rng.choice(DTYPES))
    if way == 1:
        return t.to("meta")
    if way == 2:
        return None
    if way == 3:
        return torch.randn([rng.choice(SIZES) for _ in range(rng.randrange(5))]).to(t.dtype)
    if way == 4:  # as sharding does between uses
        t = t.clone()
        t.untyped_storage().resize_(0)
        return t
    if way == 5:
        t = t.clone()
        t.untyped_storage().resize_(rng.randrange(1 + t.untyped_storage().nbytes()))
        return t
    if way == 6:  # right shape, strange strides
        wide = torch.randn(*[2 * size + 1 for size in t.shape]).to(t.dtype)
        return wide[tuple(slice(0, 2 * size, 2) for size in t.shape)]
    if way == 7 and t.dim():  # huge, without memory
        return t.new_zeros(()).expand(*t.shape[:-1], rng.choice((2**31, 2**40, 2**60)))
    if way == 8 and t.dim() > 1:
        return t.new_zeros(()).expand(rng.choice((2**40, 2**60)), *t.shape[1:])
    if way == 9:
        return t.to_sparse() if t.dim() else t
    if way == 10 and t.is_floating_point():
        return torch._neg_view(t)
    if way == 11:
        return torch.randint(-(2**62), 2**62, t.shape)
    if way == 12:
        return t.numpy()
    if way == 13:
        return torch._efficientzerotensor(t.shape, dtype=t.dtype)
    if way == 14 and t.dim() > 1:
        return t.transpose(0, 1).contiguous().transpose(0, 1)
    return t[..., :-1] if t.dim() else t


def through_function(rng, cell, v, batch_first):
    named = {n: t for n, t in v.items() if n not in ("c0", "weight_hr") or cell.name == "lstm"}
    if cell.name == "rnn":
        named["nonlinearity"] = cell.kernel.removeprefix("rnn_")
    call = {"rnn": ops.rnn, "gru": ops.gru, "lstm": ops.lstm}[cell.name]
    y, final = call(**named, batch_first=batch_first, reverse=v.get("reverse", False))
    return y, final


def through_operator(rng, cell, v, batch_first):
    tensors = [v[name] for name in NAMES]
    keep = rng.random() < 0.5
    y, h_n, _, reserve = torch.ops.elman.recurrence(*tensors, cell.kernel, False, batch_first, keep)
    if rng.random() < 0.5:
        results = [y, reserve, torch.randn_like(y), torch.randn_like(h_n), None]
        if rng.random() < 0.5:
            place = rng.randrange(4)
            results[place] = spoil(rng, results[place])
        if rng.random() < 0.3:
            place = rng.randrange(9)
            tensors[place] = spoil(rng, tensors[place])
        needed = [rng.random() < 0.7 for _ in range(8 if rng.random() < 0.9 else rng.randrange(12))]
        torch.ops.elman.recurrence_backward(
            *tensors, *results, needed, cell.kernel, False, batch_first
        )
    return y, h_n


def through_layer(rng, cell, v, batch_first):
    I, H = max(1, rng.choice(SIZES)), max(1, rng.choice(SIZES))
    make = {"rnn": layers.RNN, "gru": layers.GRU, "lstm": layers.LSTM}[cell.name]
    layer = make(I, H, bidirectional=rng.random() < 0.3, batch_first=batch_first)
    if rng.random() < 0.6:
        name = rng.choice([n for n, _ in layer.named_parameters()])
        spoiled = spoil(rng, getattr(layer, name))
        if isinstance(spoiled, torch.Tensor):
            layer._parameters[name] = spoiled
    x = torch.randn(rng.choice(SIZES), rng.choice(SIZES), I)
    x = spoil(rng, x) if rng.random() < 0.4 else x
    lengths = torch.ones(rng.choice(SIZES), dtype=torch.int64)
    y, _ = layer(x, None, spoil(rng, lengths) if rng.random() < 0.2 else None)
    if y.requires_grad:
        if rng.random() < 0.3:  # between forward and backward
            layer.weight_hh_l0.untyped_storage().resize_(rng.randrange(8))
        y.sum().backward()


def one(rng):
    """Make one call; what came of it in one word."""
    cell = KERNELS[rng.choice(list(KERNELS))]
    values, batch_first = sound(rng, cell)
    whole = rng.random() < 0.3
    for name in [] if whole else rng.sample(NAMES, rng.choice((1, 1, 2, 3))):
        values[name] = spoil(rng, values[name])
    door = rng.choice((through_function, through_operator, through_layer))
    outcome = door(rng, cell, values, batch_first)
    if not whole or outcome is None:
        return "answered"
    y, _ = outcome
    v = {name: None if t is None else t.detach() for name, t in values.items()}
    states = (v["h0"], v["c0"])[: len(cell.states)]
    weights = [v[n] for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    expected, _ = run_reference(
        cell, v["x"], *weights, states, v["lengths"], False, batch_first, v["weight_hr"]
    )
    torch.testing.assert_close(y.detach(), expected, rtol=1e-4, atol=1e-4)
    if door is through_function and y.requires_grad:
        y.sum().backward()
    return "equal to the reference"


def main(seed: int, count: int) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    found: Counter[str] = Counter()
    faults = []
    for k in range(count):
        rng = random.Random(f"{seed} {k}")
        torch.manual_seed(k)
        try:
            found[one(rng)] += 1
        except ElmanError:
            found["refused by elman"] += 1
        except (RuntimeError, ValueError, MemoryError, TypeError) as error:
            found["refused by torch"] += 1
            if "Internal error" in str(error) or "INTERNAL ASSERT" in str(error):
                faults.append(f"{k}: {error!r:.300}")
        except Exception as error:
            faults.append(f"{k}: {error!r:.300}")
    print(json.dumps({"calls": count, "faults": faults, **dict(sorted(found.items()))}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
