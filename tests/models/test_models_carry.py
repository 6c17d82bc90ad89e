"""States carried from one part of a sequence to the next: logits, gradients and refusals."""

import itertools

import pytest
import torch
from cases import make_model, make_sequences, past_end, stack_rows
from reference_model import native_loss, reference_logits, reference_loss
from tolerances import assert_close

from elman import _core
from elman.errors import SettingsError, ShapeError
from elman.models.carry import Carry
from elman.train.gradients import draw_masks

CELLS = [("rnn", "tanh"), ("rnn", "relu"), ("gru", "tanh"), ("lstm", "tanh")]
INPUTS = ["numbers", "tokens", "mixed"]
LENGTHS = [63, 1, 40, 23, 63]


@pytest.fixture(autouse=True)
def _poison():
    _core.poison(True)
    yield
    _core.poison(False)


def model_of(cell, inputs, **options):
    name, nonlinearity = cell
    kinds = {"tokens": inputs == "tokens", "mixed": inputs == "mixed"}
    options = {"readout": "every", "num_layers": 2, "nonlinearity": nonlinearity, **options}
    return make_model(name, **options, **kinds)


def rows_of(inputs, lengths=LENGTHS):
    return make_sequences(lengths, tokens=inputs == "tokens", mixed=inputs == "mixed")


def in_parts(model, rows, size, static=None):
    """The outputs of each row, read `size` steps at a time; rows that have ended are left out."""
    carry, outputs = Carry.of(model, len(rows)), [[] for _ in rows]
    for start in range(0, max(map(len, rows)), size):
        going = [i for i, row in enumerate(rows) if len(row) > start]
        part = Carry(
            tuple(state[:, going] for state in carry.states),
            torch.full((len(going),), start == 0),
        )
        x, lengths = stack_rows([rows[i][start : start + size] for i in going], pad=0)
        features = None if static is None else static[going]
        found = model(x, lengths, features, part)
        for k, i in enumerate(going):
            outputs[i].append(found[k, : lengths[k]])
            for whole, new in zip(carry.states, part.states, strict=True):
                whole[:, i] = new[:, k]
    return [torch.cat(each) for each in outputs]


@torch.no_grad()
@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("cell", CELLS)
def test_logits_have_the_same_bits_wherever_a_sequence_is_cut(cell, inputs):
    for dtype in (torch.float32, torch.float64):
        model = model_of(cell, inputs).to(dtype)
        rows = rows_of(inputs)
        rows = rows if inputs == "tokens" else [row.to(dtype) for row in rows]
        whole = [model(row[None])[0] for row in rows]
        for size in (1, 7, 62, 63, 100):
            parts = in_parts(model, rows, size)
            assert all(map(torch.equal, whole, parts))


@torch.no_grad()
@pytest.mark.parametrize("static_to", ["readout", "state", "both"])
def test_static_features_act_where_a_sequence_begins_and_at_every_output(static_to):
    model = model_of(("lstm", "tanh"), "numbers", static_size=2, static_to=static_to)
    rows, static = rows_of("numbers"), torch.randn(len(LENGTHS), 2)
    whole = [model(row[None], None, s[None])[0] for row, s in zip(rows, static, strict=True)]
    for size in (7, 63):
        assert all(map(torch.equal, whole, in_parts(model, rows, size, static)))


def compare_gradients(cell, inputs, loss, dropout, dtype, seed):
    """Loss, logits, gradients and last states of a part against autograd from constant states."""
    torch.manual_seed(seed)
    model = model_of(cell, inputs, dropout=dropout, hidden_size=5 + 12 * (seed % 2)).to(dtype)
    rows = rows_of(inputs, [6, 2, 5, 6, 1] * (1 + 6 * (seed % 2)))
    x, lengths = stack_rows(rows, extra=1, pad=0)
    x = x if inputs == "tokens" else x.to(dtype)
    B, T, K = *x.shape[:2], model.config.num_outputs
    outside = past_end(x, lengths)
    if loss == "squared":
        target = torch.randn(B, T, K, dtype=dtype).masked_fill(outside[..., None], float("nan"))
    else:
        target = torch.randint(-1, K, (B, T)).masked_fill(outside, 10**9)
        target[0, 0] = 0
    options = {}
    if loss == "weighted":
        options = {"class_weight": torch.rand(K, dtype=dtype) + 0.5, "label_smoothing": 0.1}
    states = model.config.cell_definition.initial_states
    first = tuple(torch.randn(2, B, model.config.hidden_size, dtype=dtype) for _ in states)
    begins = torch.arange(B) % 3 == 1
    carry, masks = Carry(first, begins), None
    if dropout:
        masks = draw_masks(model.config, B, T)
    value, logits, found = native_loss(
        model, x, lengths, target, masks=masks, carry=carry, **options
    )

    double, last = model.double(), []
    start = tuple(s.double().masked_fill(begins[None, :, None], 0.0) for s in first)
    x = x if inputs == "tokens" else x.double()
    wide = {n: o.double() if isinstance(o, torch.Tensor) else o for n, o in options.items()}
    target = target.double() if loss == "squared" else target
    outputs = reference_logits(double, x, lengths, masks, start, last)
    expected = reference_loss(outputs, target, lengths, **wide)
    slopes = torch.autograd.grad(expected, [p for _, p in double.named_parameters()])
    line = "kernels float64" if dtype is torch.float64 else "float32"
    assert_close(torch.tensor(value, dtype=dtype), expected.detach(), line)
    assert_close(logits[~outside], outputs.detach()[~outside], line)
    for (name, _), slope in zip(double.named_parameters(), slopes, strict=True):
        scale = max(1.0, float(slope.abs().max()))
        assert_close(found[name] / scale, slope / scale, line, name)
    for k, state in enumerate(carry.states):
        assert_close(state, torch.stack([each[k] for each in last]).detach(), line)


CASES = list(
    itertools.product(
        CELLS, INPUTS, ["plain", "weighted", "squared"], [0.0, 0.4], [torch.float64, torch.float32]
    )
)


@pytest.mark.parametrize("number", range(0, len(CASES), 11))
def test_gradients_of_a_part_are_those_of_autograd_from_constant_states(number):
    compare_gradients(*CASES[number], seed=number)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(CASES)))
def test_gradients_of_a_part_in_every_combination(number):
    compare_gradients(*CASES[number], seed=number)


def test_the_modules_and_the_native_call_compute_the_same_part():
    torch.manual_seed(0)
    model = model_of(("gru", "tanh"), "numbers").double()
    x, lengths = stack_rows([row.double() for row in rows_of("numbers", [5, 3])])
    states = (torch.randn(2, 2, 6, dtype=torch.float64),)
    native = Carry(states)
    loss, _, found = native_loss(
        model, x, lengths, torch.ones(2, 5, dtype=torch.int64), carry=native
    )
    carry = Carry(states)
    outputs = model(x, lengths, None, carry)
    expected = reference_loss(outputs, torch.ones(2, 5, dtype=torch.int64), lengths)
    slopes = torch.autograd.grad(expected, list(model.parameters()))
    assert_close(torch.tensor(loss, dtype=torch.float64), expected.detach(), "float64")
    for (name, _), slope in zip(model.named_parameters(), slopes, strict=True):
        assert_close(found[name], slope, "float64", name)
    assert_close(native.states[0], carry.states[0].detach(), "float64")


def test_several_threads_and_rows_in_any_order_give_the_same_bits():
    torch.manual_seed(0)
    model = model_of(("lstm", "tanh"), "numbers", hidden_size=40)
    x, lengths = stack_rows(rows_of("numbers", [30, 12, 30, 7] * 20))
    first = tuple(torch.randn(2, 80, 40) for _ in range(2))
    target = torch.randint(0, 3, (80, 30))
    results = []
    for threads in (1, 2, 4):
        carry = Carry(tuple(state.clone() for state in first))
        loss, logits, found = native_loss(model, x, lengths, target, carry=carry, threads=threads)
        results.append((loss, [logits, *found.values(), *carry.states]))
    for loss, tensors in results[1:]:
        assert loss == results[0][0]
        assert all(map(torch.equal, tensors, results[0][1]))
    with torch.no_grad():
        order = torch.randperm(80)
        carry = Carry(tuple(state[:, order] for state in first))
        logits = model(x[order], lengths[order], None, carry)
    inside = ~past_end(x, lengths)[order]
    assert torch.equal(logits[inside], results[0][1][0][order][inside])
    assert all(
        torch.equal(a, b[:, order]) for a, b in zip(carry.states, results[0][1][-2:], strict=True)
    )


def test_states_that_do_not_fit_are_refused():
    model = model_of(("lstm", "tanh"), "numbers")
    x, lengths = stack_rows(rows_of("numbers", [4, 2]))
    good = torch.zeros(2, 2, 6)
    wrong = [
        (good,),
        (good, good, good),
        (good, torch.zeros(2, 3, 6)),
        (good.double(), good.double()),
        (torch.zeros(1, 2, 6), torch.zeros(1, 2, 6)),
    ]
    for states in wrong:
        with (
            torch.no_grad(),
            pytest.raises(ShapeError, match=r"carry: got .*expected 2 of \(2, 2, 6\)"),
        ):
            model(x, lengths, None, Carry(states))
    both = model_of(("gru", "tanh"), "numbers", bidirectional=True)
    with pytest.raises(SettingsError, match="--no-bidirectional"):
        Carry.of(both, 2)
    with torch.no_grad(), pytest.raises(ShapeError, match="carry"):
        both(x, lengths, None, Carry((torch.zeros(4, 2, 6),)))


def test_a_failed_call_leaves_the_states_as_they_were():
    model = model_of(("gru", "tanh"), "tokens")
    carry = Carry.of(model, 1)
    before = carry.states
    with torch.no_grad(), pytest.raises(Exception, match="token 99"):
        model(torch.tensor([[99]]), None, None, carry)
    assert carry.states is before
