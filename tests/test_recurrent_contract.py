"""Padding and company never matter: for every cell, direction, readout and kind of input.

The answer for a sequence is the same alone, in any batch, in any order and with any padding, and so
is a batch's gradient. Models with planted faults show that the check would notice.
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
    stack_rows,
)
from tolerances import TOLERANCES, assert_close
from torch.nn import functional

from elman.models import SequenceModel

LENGTHS = [5, 1, 9, 2, 9, 3, 6]
CELLS = [("rnn", "tanh"), ("rnn", "relu"), ("gru", "tanh"), ("lstm", "tanh")]

each_cell = pytest.mark.parametrize(("cell", "nonlinearity"), CELLS)
each_direction = pytest.mark.parametrize("bidirectional", [False, True], ids=["one", "both"])
each_readout = pytest.mark.parametrize("readout", READOUTS)
each_input = pytest.mark.parametrize("tokens", [False, True], ids=["numbers", "tokens"])


@torch.no_grad()
def answers(model, rows, **how):
    """Probabilities of each row in one batch: (K,), or (T_i, K) with an output at every step."""
    x, lengths = stack_rows(rows, **how)
    found = model(x, lengths).softmax(-1)
    return [f[:n] if found.dim() == 3 else f for f, n in zip(found, lengths, strict=True)]


def batchings(rows, tokens):
    """Ways to put all rows into batches: name, order of the rows in it, further arguments."""
    n = len(rows)
    everyone = list(range(n))
    by_chance = torch.randperm(n, generator=torch.Generator().manual_seed(1)).tolist()
    longest_first = sorted(everyone, key=lambda i: -len(rows[i]))
    yield "company", [everyone], {}
    yield "pairs", [everyone[i : i + 2] for i in range(0, n, 2)], {}
    yield "another batch size", [everyone * 5], {}
    yield "reversed order", [everyone[::-1]], {}
    yield "random order", [by_chance], {}
    yield "longest first", [longest_first], {}
    for extra in (1, 40):
        yield f"{extra} steps of padding more", [everyone], {"extra": extra}
        yield f"alone with {extra} steps of padding", [[i] for i in everyone], {"extra": extra}
    for pad in TOKEN_PADS if tokens else PADS:
        yield f"padded with {pad}", [everyone], {"extra": 2, "pad": pad}
        yield f"alone, padded with {pad}", [[i] for i in everyone], {"extra": 2, "pad": pad}


def differences(model, rows, tokens):
    """Largest difference, by batching, of a probability from that of the sequence alone."""
    alone = [answers(model, [row])[0] for row in rows]
    worst = {}
    for name, batches, how in batchings(rows, tokens):
        try:
            worst[name] = max(
                float((found - alone[i]).abs().nan_to_num(torch.inf).max())
                for batch in batches
                for i, found in zip(
                    batch, answers(model, [rows[i] for i in batch], **how), strict=True
                )
            )
        except (IndexError, RuntimeError):
            worst[name] = float("inf")
    return worst


def broken(model, rows, tokens):
    """Names of the batchings that change an answer."""
    limit = TOLERANCES["batchings"].absolute
    return {n for n, worst in differences(model, rows, tokens).items() if not worst <= limit}


@each_cell
@each_direction
@each_readout
@each_input
def test_answers_depend_on_the_sequence_alone(cell, nonlinearity, bidirectional, readout, tokens):
    layers = 2 if readout in ("last", "max") else 1
    model = make_model(
        cell,
        readout,
        tokens=tokens,
        nonlinearity=nonlinearity,
        bidirectional=bidirectional,
        num_layers=layers,
    )
    rows = make_sequences(LENGTHS, tokens=tokens)
    assert broken(model, rows, tokens) == set()
    alone = torch.stack([answers(model, [row])[0][-CLASSES:].flatten()[:1] for row in rows])
    assert alone.std() > 1e-3  # a model that answers all alike would pass too


def batch_gradients(model, rows, targets, **how):
    """Gradient of the mean loss of a batch, by parameter."""
    x, lengths = stack_rows(rows, **how)
    logits = model(x, lengths)
    if logits.dim() == 3:
        inside = torch.arange(logits.shape[1]) < lengths[:, None]
        logits, targets = logits[inside], torch.cat([t.expand(len(r)) for t, r in targets])
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


class _Faulty(SequenceModel):
    """A model that reads the recurrent layer's states wrongly; the subclass says how."""

    def states(self, x, lengths):
        """The stack's outputs, (B, T, D*H), as SequenceModel has them."""
        if self.config.vocabulary_size:
            inside = torch.arange(x.shape[1]) < lengths[:, None]
            x = self.embedding(torch.where(inside, x, 0))
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


COMPANY = {"company", "random order", "1 steps of padding more"}
NAN = {"padded with nan", "alone, padded with nan"}


@pytest.mark.parametrize(
    ("fault", "readout", "bidirectional", "tokens", "caught_by"),
    [
        (LastColumn, "last", False, False, COMPANY),
        (LastColumn, "last", False, True, COMPANY),
        (BackwardReadsLastColumn, "last", True, False, COMPANY),
        (MeanOverT, "mean", False, False, COMPANY),
        (MeanOverT, "mean", True, True, COMPANY),
        (MaxWithPadding, "max", False, False, COMPANY),
        (MaxWithPadding, "max", True, True, COMPANY),
        (IgnoresLengths, "last", True, False, COMPANY | NAN),
        (IgnoresLengths, "last", True, True, COMPANY | {"padded with -1", "padded with 2"}),
        (FlipsWholeRows, "last", True, False, COMPANY),
        (MixesRows, "last", False, False, {"company", "pairs"}),
        (EmbedsPadding, "last", False, True, {"padded with -1", "padded with 1000000000"}),
        (EveryStepShifted, "every", False, False, COMPANY),
    ],
)
def test_a_planted_fault_is_noticed(fault, readout, bidirectional, tokens, caught_by):
    model = make_model(
        "gru", readout, tokens=tokens, bidirectional=bidirectional, seed=1, kind=fault
    )
    found = broken(model, make_sequences(LENGTHS, tokens=tokens), tokens)
    assert caught_by <= found
