"""Truncated backpropagation through time: which chunks are read, and the gradients of each."""

import copy
import dataclasses
import itertools

import numpy as np
import pytest
import torch
from cases import Hook, by_modules, make_examples, make_model, same_bits, weights_of
from reference_model import reference_logits
from tolerances import assert_close
from torch.nn import functional

from elman.data.batches import Examples, batch_randomly
from elman.data.ragged import Ragged
from elman.errors import NonFiniteError, SettingsError
from elman.models import SequenceModel
from elman.models.static import first_states
from elman.settings import TrainingSettings
from elman.train import train
from elman.train.gradients import Autograd, OneCall, gradient_source
from elman.train.losses import Loss
from elman.train.streams import LEAST_CHUNKS, Streams, StreamStates, divide

PLAN = TrainingSettings(epochs=2, batch_size=4, token_dropout=0, learning_rate=0.02, tbptt=5)
KINDS = ["numbers", "tokens", "mixed"]


def examples_of(lengths, kind="numbers", *, seed=0, gaps=0.0, weights=False, numbers=False):
    """Sequences with a label, or two numbers, at every step; some steps have none."""
    options = {"tokens": kind == "tokens", "mixed": kind == "mixed"}
    data = make_examples(len(lengths), per_step=True, seed=seed, longest=1, **options)
    rng = np.random.default_rng(seed)
    N, offsets = sum(lengths), np.concatenate([[0], np.cumsum(lengths)])
    if kind == "tokens":
        values = rng.integers(2, 9, N)
    else:
        values = rng.normal(size=(N, 2)).astype(np.float32)
    if kind == "mixed":
        codes = np.column_stack([rng.integers(0, 7, N), rng.integers(0, 3, N)])
        values = np.hstack([values, codes.astype(np.float32)])
    gap = rng.random(N) < gaps
    if numbers:
        target = rng.normal(size=(N, 3)).astype(np.float32)
        target[gap] = np.nan
        data = dataclasses.replace(data, unit=np.ones(3))
    else:
        target = rng.integers(0, 3, N)
        target[gap] = -100
    weight = rng.uniform(0.5, 2, N).astype(np.float32) if weights else None
    return dataclasses.replace(
        data,
        inputs=Ragged(values, offsets),
        target=Ragged(target, offsets),
        weight=None if weight is None else Ragged(weight, offsets),
    )


# -- which chunks an epoch has -----------------------------------------------------------------

LENGTHS = {
    "short and long": [3, 40, 17, 5, 61, 1, 20, 33, 8],
    "one long": [5000],
    "fewer than streams": [900, 300],
    "one much longer": [4000, 7, 9, 30, 12, 50],
    "equal": [50] * 7,
    "a multiple of the chunk": [25, 10, 5, 50],
    "as long as a chunk": [5, 4, 3, 5, 1, 2, 5],
}


@pytest.mark.parametrize("name", LENGTHS)
@pytest.mark.parametrize("size", [1, 4, "full"])
def test_an_epoch_reads_every_step_once_and_in_order(name, size):
    data = examples_of(LENGTHS[name])
    source = Streams(data, 5, size)
    lengths = data.inputs.lengths
    batches, orders = set(), []
    for seed in range(3):
        seen = [np.zeros(n, int) for n in lengths]
        at = {}  # sequence and the step after the last chunk of each stream
        begun = [0] * len(lengths)
        plans = source.epoch(np.random.default_rng(seed))
        for plan in plans:
            assert len(plan.streams) == len(set(plan.streams.tolist())) <= source.count
            assert 1 <= plan.lengths.min() <= plan.lengths.max() <= 5
            for stream, sequence, start, length, begins in zip(*plan, strict=True):
                seen[sequence][start : start + length] += 1
                # A chunk goes on where its stream has ended, or its stream begins a piece.
                assert begins or at[stream] == (sequence, start)
                begun[sequence] += begins
                at[stream] = sequence, start + length
        assert all((each == 1).all() for each in seen)
        assert begun == source.pieces.tolist()
        batches.add(len(plans))
        orders.append([plan.sequences.tolist() for plan in plans])
    assert batches == {source.batches}
    if len(lengths) > 4:
        assert orders[0] != orders[1]
        assert orders[0] == [
            plan.sequences.tolist() for plan in source.epoch(np.random.default_rng(0))
        ]


def test_sequences_within_a_chunk_are_batched_as_in_full_backpropagation():
    data = examples_of(LENGTHS["as long as a chunk"])
    plans = Streams(data, 5, 3).epoch(np.random.default_rng(1))
    expected = batch_randomly(data.inputs.lengths, 3, np.random.default_rng(1))
    assert [plan.sequences.tolist() for plan in plans] == [each.tolist() for each in expected]
    assert all(plan.begins.all() and not plan.starts.any() for plan in plans)


def test_long_sequences_are_divided_only_where_that_shortens_an_epoch():
    assert divide(np.array([25_000]), 32).tolist() == [32]
    assert divide(np.array([500] * 4), 8).tolist() == [2] * 4
    assert divide(np.array([500] * 5), 8).tolist() == [1] * 5  # as long with ten halves
    assert divide(np.array([500] * 33), 32).tolist() == [1] * 33
    assert divide(np.array([LEAST_CHUNKS * 3]), 8).tolist() == [3]
    assert divide(np.array([2 * LEAST_CHUNKS - 1]), 8).tolist() == [1]
    many = divide(np.array([1] * 100_000 + [50_000]), 10)
    assert many[:-1].max() == 1 < many[-1]
    # The pieces are equal to a chunk, and the streams end together.
    source = Streams(examples_of([5003]), 5, 8)
    assert source.count == 8 and source.batches == 126
    rows = [len(plan.streams) for plan in source.epoch(np.random.default_rng(0))]
    assert set(rows[:125]) == {8}


def test_the_batch_holds_the_steps_of_its_plan():
    data = examples_of(LENGTHS["short and long"], "mixed", gaps=0.3, weights=True)
    source = Streams(data, 5, 3)
    for plan in source.epoch(np.random.default_rng(0)):
        batch = source.make(plan)
        assert batch.part.streams.tolist() == plan.streams.tolist()
        assert batch.lengths.tolist() == plan.lengths.tolist()
        assert source.places(plan) is plan.sequences
        for i, (sequence, start, length) in enumerate(
            zip(plan.sequences, plan.starts, plan.lengths, strict=True)
        ):
            at = slice(start, start + length)
            assert np.array_equal(batch.x[i, :length], data.inputs[sequence][at])
            assert np.array_equal(batch.target[i, :length], data.target[sequence][at])
            assert np.array_equal(batch.weight[i, :length], data.weight[sequence][at])
            assert not batch.x[i, length:].any()


def test_processes_divide_a_batch_and_exchange_the_states():
    """Three of them, each with the states of all streams afterwards: those of one alone."""
    data = examples_of(LENGTHS["short and long"])
    source, model = Streams(data, 5, 4), make_model("lstm", "every")
    gradients = gradient_source(model, PLAN.resolve(False))
    alone = StreamStates(model, source.count)
    ranks = [StreamStates(model, source.count) for _ in range(3)]
    for plan in source.epoch(np.random.default_rng(0)):
        gradients.streams = alone
        gradients(source.make(plan))
        sums, rows = [], []
        for rank, states in enumerate(ranks):
            gradients.streams = states
            batch = source.make_share(plan, rank, 3)
            gradients(batch)
            part, own = [], copy.deepcopy(states)
            own.add_up(part.append, counts=batch.share.counts)
            sums.append(part)
            rows += batch.part.streams.tolist() if batch.share.counts else []
        assert sorted(rows) == plan.streams.tolist()
        for rank, states in enumerate(ranks):
            totals = iter([torch.stack(each).sum(0) for each in zip(*sums, strict=True)])
            counts = source.make_share(plan, rank, 3).share.counts
            states.add_up(lambda tensor, left=totals: tensor.copy_(next(left)), counts=counts)
            states.commit()
        alone.commit()
        for states in ranks:
            for name, tensor in alone.to_tensors().items():
                assert torch.equal(states.to_tensors()[name], tensor)
    gradients.release()


# -- the gradients of a chunk --------------------------------------------------------------------


def reference_step(model, data, source, plan, row, loss):
    """Sum of losses and weights of a row: states by reading its piece again, without a gradient."""
    sequence, start = int(plan.sequences[row]), int(plan.starts[row])
    first = source._first * source.steps
    begin = max(
        int(s)
        for s, of in zip(first, source._sequence, strict=True)
        if of == sequence and s <= start
    )
    static = None
    if data.inputs.static is not None:
        static = torch.from_numpy(data.inputs.static[[sequence]]).double()
    states = tuple(state.detach() for state in first_states(model, static))

    def read(a, b, states, last):
        x = torch.from_numpy(data.inputs[sequence][a:b])[None]
        x = x.double() if x.is_floating_point() else x
        return reference_logits(model, x, torch.tensor([b - a]), None, states, last)

    if begin < start:
        last = []
        with torch.no_grad():
            read(begin, start, states, last)
        states = tuple(torch.stack([layer[k] for layer in last]) for k in range(len(last[0])))
    end = start + int(plan.lengths[row])
    outputs = read(start, end, states, None)[0]
    target = torch.from_numpy(data.target[sequence][start:end])
    weight = torch.ones(end - start, dtype=torch.float64)
    if data.weight is not None:
        weight = torch.from_numpy(data.weight[sequence][start:end]).double()
    known = target >= 0 if target.dim() == 1 else ~target.isnan().any(-1)
    if not known.any():
        return outputs.sum() * 0, 0.0
    outputs, target, weight = outputs[known], target[known], weight[known]
    if target.dim() == 1:
        by_class = loss.class_weight[target] if loss.class_weight is not None else 1.0
        items = functional.cross_entropy(
            outputs, target, reduction="none", weight=loss.class_weight
        )
        return (weight * items).sum(), float((weight * by_class).sum())
    items = (outputs - target.double()).square().mean(-1)
    return (weight * items).sum(), float(weight.sum())


def compare_epoch(model, data, *, size=3, steps=5, loss=None, expected=None):
    """Every batch's loss and gradients, with states carried on, against the reference."""
    model = model.double()
    plan = PLAN.resolve(False)
    loss = loss or Loss.of(model.config.task, plan)
    known, count = data.known
    source = Streams(data, steps, size)
    gradients = gradient_source(model, plan, loss, weighted=data.weighted, gaps=known < count)
    if expected is not None:
        assert type(gradients) is expected
    gradients.streams = StreamStates(model, source.count)
    for chunks in source.epoch(np.random.default_rng(3)):
        batch = source.make(chunks)
        x = batch.x.double() if batch.x.is_floating_point() else batch.x
        static = None if batch.static is None else batch.static.double()
        weight = None if batch.weight is None else batch.weight.double()
        batch = dataclasses.replace(batch, x=x, static=static, weight=weight)
        result = gradients(batch)
        found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        rows = [
            reference_step(model, data, source, chunks, row, loss)
            for row in range(len(chunks.streams))
        ]
        total = sum(weight for _, weight in rows)
        mean = sum(part for part, _ in rows) / (total or 1.0)
        slopes = torch.autograd.grad(mean, list(model.parameters()), allow_unused=True)
        assert result.weight == pytest.approx(total, abs=1e-6)
        assert result.loss == pytest.approx(float(mean.detach()), abs=1e-10)
        for (name, p), slope in zip(model.named_parameters(), slopes, strict=True):
            slope = torch.zeros_like(p) if slope is None else slope
            assert_close(found.get(name, torch.zeros_like(p)), slope, "float64", name)
        gradients.streams.commit()
    gradients.release()


CELLS = [("rnn", "tanh"), ("rnn", "relu"), ("gru", "tanh"), ("lstm", "tanh")]
LONG = [13, 4, 30, 1, 11, 70]


def tagger(cell, kind="numbers", **options):
    name, nonlinearity = cell
    kinds = {"tokens": kind == "tokens", "mixed": kind == "mixed"}
    return make_model(
        name, "every", nonlinearity=nonlinearity, **kinds, **{"num_layers": 2, **options}
    )


@pytest.mark.parametrize(("cell", "kind"), [*zip(CELLS, itertools.cycle(KINDS), strict=False)])
def test_gradients_are_those_of_autograd_with_constant_states(cell, kind):
    data = examples_of(LONG, kind, gaps=0.4)
    compare_epoch(tagger(cell, kind), data, expected=OneCall)


@pytest.mark.parametrize("cell", CELLS[2:])
def test_by_autograd_the_gradients_are_the_same(cell):
    data = examples_of(LONG, "mixed", gaps=0.4, weights=True)
    compare_epoch(tagger(cell, "mixed"), data, expected=Autograd)
    compare_epoch(by_modules(tagger(cell, "mixed")), data, expected=Autograd)


def test_gradients_of_numbers_at_every_step():
    model = tagger(CELLS[2], task="regression", num_outputs=3)
    compare_epoch(model, examples_of(LONG, numbers=True), expected=OneCall)
    compare_epoch(model, examples_of(LONG, numbers=True, gaps=0.3), expected=Autograd)


def test_gradients_with_class_weights():
    loss = Loss(
        "classification", "cross_entropy", class_weight=torch.tensor([0.5, 1, 3.0]).double()
    )
    compare_epoch(tagger(CELLS[3]), examples_of(LONG, gaps=0.2), loss=loss, expected=OneCall)


def test_static_features_set_the_first_state_of_a_piece_only():
    data = examples_of(LONG)
    static = np.random.default_rng(0).normal(size=(len(LONG), 2)).astype(np.float32)
    data = dataclasses.replace(data, inputs=dataclasses.replace(data.inputs, static=static))
    model = tagger(CELLS[2], static_size=2, static_to="state")
    compare_constant_state_gradients(model, data)


def compare_constant_state_gradients(model, data):
    """As compare_epoch, where the first state has a gradient of its own: autograd by hand."""
    model = model.double()
    plan = PLAN.resolve(False)
    source = Streams(data, 5, 3)
    gradients = gradient_source(model, plan)
    gradients.streams = StreamStates(model, source.count)
    own = {}
    for chunks in source.epoch(np.random.default_rng(3)):
        batch = source.make(chunks)
        batch = dataclasses.replace(batch, x=batch.x.double(), static=batch.static.double())
        result = gradients(batch)
        found = {n: p.grad.clone() for n, p in model.named_parameters()}
        total, count, ends = 0.0, 0, {}
        for row, (stream, sequence) in enumerate(
            zip(chunks.streams.tolist(), chunks.sequences.tolist(), strict=True)
        ):
            features = torch.from_numpy(data.inputs.static[[sequence]]).double()
            states = first_states(model, features) if chunks.begins[row] else own[stream]
            length, last = int(chunks.lengths[row]), []
            x = batch.x[row : row + 1, :length]
            outputs = reference_logits(model, x, torch.tensor([length]), None, states, last)
            target = batch.target[row, :length]
            total = total + functional.cross_entropy(outputs[0], target, reduction="sum")
            count += length
            ends[stream] = tuple(
                torch.stack([layer[k] for layer in last]).detach() for k in range(len(last[0]))
            )
        own |= ends
        slopes = torch.autograd.grad(total / count, list(model.parameters()), allow_unused=True)
        assert result.loss == pytest.approx(float(total.detach()) / count, abs=1e-10)
        for (name, p), slope in zip(model.named_parameters(), slopes, strict=True):
            slope = torch.zeros_like(p) if slope is None else slope
            assert_close(found[name], slope, "float64", name)
        gradients.streams.commit()


# -- whole trainings -----------------------------------------------------------------------------


def trained(model, data, **changes):
    history = train(model, data, None, dataclasses.replace(PLAN, **changes))
    return weights_of(model), history


@pytest.mark.parametrize("autograd", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_a_chunk_that_covers_the_sequences_is_full_backpropagation(cell, autograd):
    data = examples_of(LONG * 3, "mixed", gaps=0.2, weights=autograd)
    results = []
    for steps in (None, 70, 1000):
        model = tagger(cell, "mixed").double()
        doubled = data.inputs.with_values(data.inputs.values.astype(np.float64))
        weights, history = trained(
            model, dataclasses.replace(data, inputs=doubled), tbptt=steps, epochs=3
        )
        results.append((weights, history.epochs[-1].loss, history.epochs[-1].accuracy))
    for weights, loss, accuracy in results[1:]:
        assert accuracy == results[0][2]
        assert loss == pytest.approx(results[0][1], abs=1e-10)
        for name, tensor in weights.items():
            assert float((tensor - results[0][0][name]).abs().max()) < 1e-10


def test_the_log_says_how_the_sequences_are_read():
    _, history = trained(tagger(CELLS[2]), examples_of([5000]), epochs=1)
    assert history.gradients.endswith(
        ", truncated after 5 steps of each of 4 streams; 1 long sequence divided into 4 pieces, so "
        "that every stream has as much to read: each piece starts from the first state"
    )
    _, history = trained(tagger(CELLS[2]), examples_of([50] * 9), epochs=1)
    assert history.gradients.endswith(", truncated after 5 steps of each of 4 streams")
    _, history = trained(tagger(CELLS[2]), examples_of([5, 2]), epochs=1)
    assert history.gradients.endswith(
        "truncated after 5 steps: no sequence is longer, so nothing is cut off"
    )


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_chunks_without_a_label_move_the_states_and_no_weight(optimizer):
    """Only the last steps of a sequence are labelled: the same network as without the others."""
    data = examples_of([40])
    data.target.values[:35] = -100
    model = tagger(CELLS[2])
    before = weights_of(model)
    settings = dataclasses.replace(PLAN, epochs=1, optimizer=optimizer)
    changed = []
    progress = Hook(batch=lambda *_: changed.append(not same_bits(before, weights_of(model))))
    record = train(model, data, None, settings, progress=progress).epochs[0]
    assert changed == [False] * 7 + [True]
    # By hand: one step, on the gradient of the last chunk from the states of the 35 steps.
    again = tagger(CELLS[2])
    source = Streams(data, 5, 4)
    gradients = gradient_source(again, settings.resolve(False), gaps=True)
    gradients.streams = StreamStates(again, source.count)
    for chunks in source.epoch(np.random.default_rng(0)):
        result = gradients(source.make(chunks))
        gradients.streams.commit()
    assert result.weight == 5
    norm = gradients.clip(float("inf"))
    assert record.gradient_norm == pytest.approx(norm)
    assert record.loss == pytest.approx(result.loss)
    gradients.release()


def test_a_long_memory_is_carried_across_chunks():
    """The label is the sign of the first number of the sequence, many chunks ago."""
    rng = np.random.default_rng(0)
    first = rng.choice([-1.0, 1.0], 64)
    rows = []
    for sign in first:
        row = np.zeros((24, 2), dtype=np.float32)
        row[0, 0], row[:, 1] = 2 * sign, rng.normal(size=24) * 0.1
        rows.append(row)
    target = Ragged.from_list([np.full(24, int(sign > 0)) for sign in first])
    data = Examples(Ragged.from_list(rows), target)
    model = make_model("gru", "every", hidden_size=12)
    settings = dataclasses.replace(PLAN, epochs=40, batch_size=16, tbptt=6)
    history = train(model, data, None, settings)
    assert history.epochs[-1].accuracy > 0.95


def test_the_place_of_a_fault_is_that_in_the_sequence():
    data = examples_of([40, 33])
    data.inputs.values[31, 1] = np.nan
    with pytest.raises(NonFiniteError) as caught:
        train(tagger(CELLS[2]), data, None, PLAN)
    assert (caught.value.sequence, caught.value.step, caught.value.stage) == (0, 32, "input")


def test_a_fault_that_comes_from_an_earlier_chunk_is_found():
    """A state that doubles at every step: infinite only with the states of the chunks before."""
    model = make_model("rnn", "every", nonlinearity="relu", hidden_size=1, num_outputs=2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.recurrent.weight_ih_l0.fill_(1e5)
        model.recurrent.weight_hh_l0.fill_(1e3)
    values = np.zeros((30, 2), dtype=np.float32)
    values[0] = 1
    data = Examples(Ragged.from_list([values]), Ragged.from_list([np.zeros(30, dtype=np.int64)]))
    with pytest.raises(NonFiniteError) as caught:
        train(model, data, None, dataclasses.replace(PLAN, learning_rate=1e-9, warmup=0.0))
    assert caught.value.stage == "forward" and caught.value.gate == "h"
    assert caught.value.step == 13  # 2e5 * 1e3**12 is beyond float32, 2e5 * 1e3**11 is not


class Own(SequenceModel):
    def forward(self, x, lengths=None, static=None):
        return super().forward(x, lengths, static)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: make_model("gru", "last"), "readout 'last' gives one output for a whole sequence"),
        (lambda: tagger(CELLS[2], bidirectional=True), "--no-bidirectional"),
        (lambda: make_model("gru", "every", kind=Own), "Own has a forward pass of its own"),
    ],
)
def test_what_cannot_be_truncated_is_refused(model, message):
    data = make_examples(per_step="every" in message or "last" not in message)
    with pytest.raises(SettingsError, match=message):
        train(model(), data, None, PLAN)
