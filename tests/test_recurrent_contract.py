"""Padding and batch never change a result: for every cell, direction, readout and kind of input.

The prediction for a sequence is the same alone, in any batch, in any order and with any padding:
the same bits, where it comes from one native call. So is a batch's gradient. Models with planted
faults show that the check would notice.
"""

import itertools

import pytest
import torch
from cases import (
    CLASSES,
    PADS,
    READOUTS,
    TOKEN_PADS,
    make_model,
    make_sequences,
    past_end,
    stack_rows,
)
from reference_model import native_loss
from tolerances import TOLERANCES, assert_close
from torch.nn import functional

from elman import _core
from elman.errors import DataError
from elman.models import SequenceModel

LENGTHS = [5, 1, 9, 2, 9, 3, 6]
CELLS = [("rnn", "tanh"), ("rnn", "relu"), ("gru", "tanh"), ("lstm", "tanh")]

each_cell = pytest.mark.parametrize(("cell", "nonlinearity"), CELLS)
each_direction = pytest.mark.parametrize("bidirectional", [False, True], ids=["one", "both"])
each_readout = pytest.mark.parametrize("readout", READOUTS)
each_input = pytest.mark.parametrize("tokens", [False, True], ids=["numbers", "tokens"])


def answers(model, rows, *, native=True, threads=1, **how):
    """Probabilities of each row in one batch, float64: (K,), or (T_i, K) with a label a step.

    In one native call where the model can, or by its modules, as while it is trained by autograd.
    """
    x, lengths = stack_rows(rows, **how)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.set_grad_enabled(not native):
            found = model(x, lengths).detach().double().softmax(-1)
    finally:
        torch.set_num_threads(before)
    return [f[:n] if found.dim() == 3 else f for f, n in zip(found, lengths, strict=True)]


def batchings(rows, tokens):
    """Ways to put all rows into batches: name, order of the rows in it, further arguments."""
    n = len(rows)
    everyone = list(range(n))
    by_chance = torch.randperm(n, generator=torch.Generator().manual_seed(1)).tolist()
    longest_first = sorted(everyone, key=lambda i: -len(rows[i]))
    yield "all together", [everyone], {}
    yield "pairs", [everyone[i : i + 2] for i in range(0, n, 2)], {}
    yield "another batch size", [everyone * 5], {}
    yield "reversed order", [everyone[::-1]], {}
    yield "random order", [by_chance], {}
    yield "longest first", [longest_first], {}
    for threads in (2, 3):
        yield f"{threads} threads", [by_chance * 9], {"threads": threads}
    for extra in (1, 40):
        yield f"{extra} steps of padding more", [everyone], {"extra": extra}
        yield f"alone with {extra} steps of padding", [[i] for i in everyone], {"extra": extra}
    for pad in TOKEN_PADS if tokens else PADS:
        yield f"padded with {pad}", [everyone], {"extra": 2, "pad": pad}
        yield f"alone, padded with {pad}", [[i] for i in everyone], {"extra": 2, "pad": pad}


def differences(model, rows, tokens, native=True):
    """Largest difference, by batching, of a probability from that of the sequence alone."""
    alone = [answers(model, [row], native=native)[0] for row in rows]
    worst = {}
    for name, batches, how in batchings(rows, tokens):
        try:
            worst[name] = max(
                float((found - alone[i]).abs().nan_to_num(torch.inf).max())
                for batch in batches
                for i, found in zip(
                    batch,
                    answers(model, [rows[i] for i in batch], native=native, **how),
                    strict=True,
                )
            )
        except (IndexError, RuntimeError, DataError):
            worst[name] = float("inf")
    return worst


def broken(model, rows, tokens, native=True):
    """Names of the batchings that change an answer."""
    exact = native and not isinstance(model.native(), str)
    limit = TOLERANCES["exact" if exact else "batchings"].absolute
    found = differences(model, rows, tokens, native)
    return {name for name, worst in found.items() if not worst <= limit}


@each_cell
@each_direction
@each_readout
@each_input
@pytest.mark.parametrize("native", [True, False], ids=["native", "modules"])
def test_answers_depend_on_the_sequence_alone(
    cell, nonlinearity, bidirectional, readout, tokens, native
):
    """To the last bit in a native call; by the modules but for the sums of the linear layer."""
    model = make_model(
        cell,
        readout,
        tokens=tokens,
        nonlinearity=nonlinearity,
        bidirectional=bidirectional,
        num_layers=2 if readout in ("last", "max") else 1,
    )
    assert not isinstance(model.native(), str)
    rows = make_sequences(LENGTHS, tokens=tokens)
    assert broken(model, rows, tokens, native) == set()
    alone = torch.stack([answers(model, [row])[0][-CLASSES:].flatten()[:1] for row in rows])
    assert alone.std() > 1e-3  # a model that answers all alike would pass too


@pytest.mark.parametrize("isa", _core.isas())
@each_cell
@pytest.mark.parametrize("H", [1, 17, 33])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_same_bits_with_every_instruction_set(isa, cell, nonlinearity, H, dtype):
    """Sizes off the width of vectors, a steep network, and rows that differ much in length."""
    readout = READOUTS[H % 4]
    model = make_model(
        cell, readout, nonlinearity=nonlinearity, bidirectional=True, num_layers=3, hidden_size=H
    ).to(dtype)
    with torch.no_grad():
        model.output.weight.mul_(20)
    rows = [row.to(dtype) for row in make_sequences([40, 3, 17, 1, 40, 2, 29, 5], seed=2)]
    before = _core.isa()
    _core.use_isa(isa)
    try:
        assert broken(model, rows, False) == set()
    finally:
        _core.use_isa(before)


@pytest.mark.parametrize("K", [2, 3, 8, 17, 100])
def test_a_softmax_in_float64_treats_each_row_alone(K):
    """Of the rows of a batch, of those of a part of it, and of each by itself: the same bits."""
    logits = torch.randn(70, 5, K, dtype=torch.float64) * 20
    whole = logits.softmax(-1)
    for part in (slice(0, 1), slice(3, 20), slice(69, None)):
        assert torch.equal(logits[part].softmax(-1), whole[part])
    for i, j in itertools.product(range(0, 70, 23), range(5)):
        assert torch.equal(logits[i, j].softmax(-1), whole[i, j])
        assert torch.equal(logits[i, None, j].softmax(-1)[0], whole[i, j])


def batch_gradients(model, rows, targets, **how):
    """Gradient of the mean loss of a batch, by parameter."""
    x, lengths = stack_rows(rows, **how)
    logits = model(x, lengths)
    if logits.dim() == 3:
        mask = torch.arange(logits.shape[1]) < lengths[:, None]
        logits, targets = logits[mask], torch.cat([t.expand(len(r)) for t, r in targets])
    else:
        targets = torch.stack([t for t, _ in targets])
    loss = functional.cross_entropy(logits, targets)
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


@each_cell
@each_direction
@each_readout
@each_input
def test_gradients_depend_on_the_sequences_alone(
    cell, nonlinearity, bidirectional, readout, tokens
):
    """Any padding gives the batch's gradient, and that is the mean of each sequence's own."""
    model = make_model(
        cell, readout, tokens=tokens, nonlinearity=nonlinearity, bidirectional=bidirectional
    )
    rows = make_sequences(LENGTHS, tokens=tokens)
    targets = [(torch.tensor(i % CLASSES), row) for i, row in enumerate(rows)]
    wanted = batch_gradients(model, rows, targets)
    for extra, pad in itertools.product((1, 30), TOKEN_PADS if tokens else PADS):
        found = batch_gradients(model, rows, targets, extra=extra, pad=pad)
        for name, gradient in found.items():
            what = f"{name}, {extra} steps padded with {pad}"
            assert_close(gradient, wanted[name], "gradient of batchings", what)

    share = [len(r) if readout == "every" else 1 for r in rows]
    for name, gradient in wanted.items():
        total = torch.zeros_like(gradient)
        for row, target, weight in zip(rows, targets, share, strict=True):
            total += weight / sum(share) * batch_gradients(model, [row], [target])[name]
        assert_close(gradient, total, "gradient of batchings", f"{name}, one by one")


@each_cell
@each_direction
@each_readout
@each_input
def test_native_gradients_ignore_the_padding(cell, nonlinearity, bidirectional, readout, tokens):
    """Any padding gives the same loss and the same gradient to the last bit."""
    model = make_model(
        cell, readout, tokens=tokens, nonlinearity=nonlinearity, bidirectional=bidirectional
    )
    rows = make_sequences(LENGTHS * 5, tokens=tokens)

    def run(extra, pad):
        x, lengths = stack_rows(rows, extra=extra, pad=pad)
        classes = torch.arange(len(rows)) % CLASSES
        if readout == "every":
            outside = past_end(x, lengths)
            classes = classes[:, None].expand(x.shape[:2]).masked_fill(outside, 10**9)
        loss, _, gradients = native_loss(model, x, lengths, classes)
        return loss, gradients

    loss, wanted = run(0, 0)
    for extra, pad in itertools.product((1, 30), TOKEN_PADS if tokens else PADS):
        again, found = run(extra, pad)
        assert again == loss
        for name, gradient in found.items():
            assert_close(gradient, wanted[name], "exact", f"{name}, {extra} steps of {pad}")


class _Faulty(SequenceModel):
    """A model that reads the recurrent layer's states wrongly; the subclass says how."""

    def states(self, x, lengths):
        """The stack's outputs, (B, T, D*H), as SequenceModel has them."""
        if self.config.vocabulary_size:
            mask = torch.arange(x.shape[1]) < lengths[:, None]
            x = self.embedding(torch.where(mask, x, 0))
        return self.recurrent(x, lengths=lengths)[0]


class LastColumn(_Faulty):
    def forward(self, x, lengths):
        return self.output(self.states(x, lengths)[:, -1])


class BackwardReadsLastColumn(_Faulty):
    """Right forward; backward, the state at the batch's last step instead of the row's first."""

    def forward(self, x, lengths):
        y = self.states(x, lengths)
        H = self.config.hidden_size
        own = y[torch.arange(len(y)), lengths - 1, :H]
        return self.output(torch.cat([own, y[:, -1, H:]], -1))


class MeanOverT(_Faulty):
    def forward(self, x, lengths):
        return self.output(self.states(x, lengths).mean(1))


class MaxWithPadding(_Faulty):
    def forward(self, x, lengths):
        return self.output(self.states(x, lengths).amax(1))


class IgnoresLengths(_Faulty):
    """Right readout over states that ran through the padding."""

    def forward(self, x, lengths):
        if self.config.vocabulary_size:
            x = self.embedding(x)
        y, _ = self.recurrent(x)
        return self.output(y[torch.arange(len(y)), lengths - 1])


class FlipsWholeRows(_Faulty):
    """The backward direction starts in the padding, as flip(1) of a padded batch does."""

    def forward(self, x, lengths):
        y, _ = self.recurrent(torch.where(torch.isfinite(x), x, 0.0))
        H = self.config.hidden_size
        own = y[torch.arange(len(y)), lengths - 1, :H]
        return self.output(torch.cat([own, y[:, 0, H:]], -1))


class MixesRows(_Faulty):
    """Normalises over the batch, as batch normalisation left in training mode does."""

    def forward(self, x, lengths):
        logits = super().forward(x, lengths)
        return logits - logits.mean(0)


class EmbedsPadding(SequenceModel):
    """Right otherwise, but looks up the padding too."""

    def forward(self, x, lengths):
        self.embedding(x)
        return super().forward(x, lengths)


class EveryStepShifted(_Faulty):
    """Per step; each output sees the batch's end, which attention without a mask does."""

    def forward(self, x, lengths):
        y = self.states(x, lengths)
        return self.output(y + y.mean(1, keepdim=True))


BATCH = {"all together", "random order", "1 steps of padding more"}
NAN = {"padded with nan", "alone, padded with nan"}


@pytest.mark.parametrize(
    ("fault", "readout", "bidirectional", "tokens", "caught_by"),
    [
        (LastColumn, "last", False, False, BATCH),
        (LastColumn, "last", False, True, BATCH),
        (BackwardReadsLastColumn, "last", True, False, BATCH),
        (MeanOverT, "mean", False, False, BATCH),
        (MeanOverT, "mean", True, True, BATCH),
        (MaxWithPadding, "max", False, False, BATCH),
        (MaxWithPadding, "max", True, True, BATCH),
        (IgnoresLengths, "last", True, False, BATCH | NAN),
        (IgnoresLengths, "last", True, True, BATCH | {"padded with -1", "padded with 2"}),
        (FlipsWholeRows, "last", True, False, BATCH),
        (MixesRows, "last", False, False, {"all together", "pairs"}),
        (EmbedsPadding, "last", False, True, {"padded with -1", "padded with 1000000000"}),
        (EveryStepShifted, "every", False, False, BATCH),
    ],
)
def test_a_planted_fault_is_noticed(fault, readout, bidirectional, tokens, caught_by):
    model = make_model(
        "gru", readout, tokens=tokens, bidirectional=bidirectional, seed=1, kind=fault
    )
    found = broken(model, make_sequences(LENGTHS, tokens=tokens), tokens)
    assert caught_by <= found
