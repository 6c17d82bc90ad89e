"""Encoded sequences on disk are those in memory, and a buffer shuffles them as memory would."""

import dataclasses

import numpy as np
import pytest

from elman.data import shuffling
from elman.data.batches import Examples, InMemory, make_batch
from elman.data.encoded import ExamplesWriter, cut
from elman.data.ragged import Ragged
from elman.data.shuffling import Shuffled
from elman.errors import ModelFileError, SettingsError


def examples(kind="numbers", per_step=False, weighted=False, static=False, n=60, lengths=None):
    """Encoded sequences of a kind, with targets, weights and static features as asked for."""
    rng = np.random.default_rng(3)
    lengths = rng.integers(1, 9, n) if lengths is None else np.full(n, lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    total = int(offsets[-1])
    if kind == "tokens":
        values = rng.integers(1, 12, total)
    else:
        values = rng.normal(size=(total, 3)).astype(np.float32)
        if kind == "mixed":
            values[:, 2] = rng.integers(1, 7, total)
    features = rng.normal(size=(n, 2)).astype(np.float32) if static else None
    inputs = Ragged(values, offsets, features)
    count = total if per_step else n
    target = rng.integers(0, 4, count)
    if per_step:
        target[rng.random(total) < 0.2] = -100
    weight = rng.random(count).astype(np.float32) + 0.1
    if per_step:
        target, weight = Ragged(target, offsets), Ragged(weight, offsets)
    return Examples(inputs, target, weight if weighted else None, None, 2, np.arange(n) * 2)


def write(whole, folder, part=7, numbers=3, **changes):
    """Write examples to disk in parts."""
    writer = ExamplesWriter(folder, numbers)
    for start in range(0, len(whole), part):
        writer.add(whole.take(np.arange(start, min(start + part, len(whole)))))
    return dataclasses.replace(writer.finish(), **changes)


def assert_equal(one, other):
    """Check that two examples hold the same bits, in the same types."""
    for a, b in zip(dataclasses.astuple(one), dataclasses.astuple(other), strict=True):
        flat = [(a, b)] if not isinstance(a, tuple | Ragged) else []
        for x, y in flat:
            assert (x is None) == (y is None)
            if x is not None:
                np.testing.assert_array_equal(x, y)
    assert one.inputs.values.dtype == other.inputs.values.dtype
    np.testing.assert_array_equal(one.inputs.values, other.inputs.values)
    np.testing.assert_array_equal(one.inputs.offsets, other.inputs.offsets)


FORMS = [
    {"kind": kind, "per_step": per_step, "weighted": weighted, "static": static}
    for kind in ("numbers", "tokens", "mixed")
    for per_step in (False, True)
    for weighted, static in ((False, False), (True, True))
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(map(str, form.values())))
def test_what_was_written_is_read_again_in_any_order(form, tmp_path):
    whole = examples(**form)
    numbers = 2 if form["kind"] == "mixed" else 3
    stored = write(whole, tmp_path, numbers=numbers)
    rng = np.random.default_rng(0)
    for index in (np.arange(60), rng.permutation(60), rng.integers(0, 60, 9), np.arange(0)):
        assert_equal(stored.take(index), whole.take(index))
    part = rng.permutation(60)[:31]
    again = rng.integers(0, 31, 8)
    assert_equal(stored.subset(part).take(again), whole.take(part).take(again))
    np.testing.assert_array_equal(stored.lengths, whole.lengths)
    assert (stored.weighted, stored.known) == (whole.weighted, whole.known)
    for a, b in zip(stored.code_counts(numbers), whole.code_counts(numbers), strict=True):
        np.testing.assert_array_equal(a, b)
    pieces = list(stored.pieces(500))
    assert len(pieces) > 3
    assert [int(p) for piece in pieces for p in piece.places] == whole.places.tolist()


def test_a_part_of_the_steps_of_some_sequences_is_read(tmp_path):
    whole = examples(per_step=True, lengths=8)
    stored = write(whole, tmp_path)
    index, start, count = np.array([5, 2]), np.array([3, 0]), np.array([5, 2])
    found = stored.take_steps(index, start, count)
    assert found.inputs.lengths.tolist() == [5, 2]
    np.testing.assert_array_equal(found.inputs[0], whole.inputs[5][3:])
    np.testing.assert_array_equal(found.target[1], whole.target[2][:2])


def test_the_digest_knows_every_array_and_no_parts(tmp_path):
    whole = examples(weighted=True, static=True, per_step=True)
    digest = write(whole, tmp_path / "a").digest
    assert write(whole, tmp_path / "b", part=60).digest == digest
    changed = [
        dataclasses.replace(whole, target=whole.target.with_values(whole.target.values + 1)),
        dataclasses.replace(whole, weight=whole.weight.with_values(whole.weight.values * 2)),
        dataclasses.replace(whole, inputs=whole.inputs.with_values(whole.inputs.values * 2)),
        dataclasses.replace(
            whole, inputs=dataclasses.replace(whole.inputs, static=whole.inputs.static + 1)
        ),
        dataclasses.replace(whole, weight=None),
        dataclasses.replace(whole, unit=np.ones(1)),
    ]
    found = {write(other, tmp_path / f"c{k}").digest for k, other in enumerate(changed)}
    assert len(found | {digest}) == 7
    stored = write(whole, tmp_path / "d")
    assert stored.subset(np.arange(5)).digest != stored.subset(np.arange(6)).digest


def test_a_file_that_was_cut_off_is_no_data(tmp_path):
    stored = write(examples(), tmp_path)
    content = (tmp_path / "inputs").read_bytes()
    (tmp_path / "inputs").write_bytes(content[:-3])
    with pytest.raises(ModelFileError, match="inputs: ends before"):
        stored.take(np.arange(60))


def test_files_of_a_training_that_was_cut_off_are_replaced(tmp_path):
    write(examples(), tmp_path)
    whole = examples(n=20)
    assert_equal(write(whole, tmp_path).take(np.arange(20)), whole)


def batches(source, generator):
    return [source.make(plan) for plan in source.epoch(generator)]


@pytest.mark.parametrize("form", FORMS[:8:3], ids=lambda form: "-".join(map(str, form.values())))
def test_a_buffer_that_holds_everything_gives_the_batches_of_memory(form, tmp_path):
    whole = examples(**form)
    source, expected = Shuffled(write(whole, tmp_path), 7), InMemory(whole, 7)
    assert source.batches == expected.batches
    one, other = np.random.default_rng(5), np.random.default_rng(5)
    for _ in range(2):
        for mine, plan in zip(source.epoch(one), expected.epoch(other), strict=True):
            np.testing.assert_array_equal(source.places(mine), expected.places(plan))
            for a, b in zip(
                dataclasses.astuple(source.make(mine)),
                dataclasses.astuple(make_batch(whole, plan)),
                strict=True,
            ):
                assert (a is None and b is None) or (a.dtype == b.dtype and a.equal(b))


@pytest.mark.parametrize("size", [1, 7, 8])
@pytest.mark.parametrize("buffer", [1000, 1500, 9000])
def test_every_sequence_is_in_one_batch_of_an_epoch_whatever_the_buffer(size, buffer, tmp_path):
    stored = write(examples(n=61), tmp_path, buffer=buffer)
    source = Shuffled(stored, size)
    generator = np.random.default_rng(0)
    orders = []
    for _ in range(3):
        plans = source.epoch(generator)
        assert len(plans) == source.batches == -(-61 // size)
        places = [source.places(plan) for plan in plans]
        assert sorted(np.concatenate(places).tolist()) == [2 * i for i in range(61)]
        assert sorted(map(len, places))[1:] == [size] * (source.batches - 1)
        fills = {id(plan.fill): plan.fill for plan in list(plans)}
        assert all(int(stored.sizes[fill].sum()) <= buffer for fill in fills.values())
        assert len(fills) > 1 or buffer == 9000
        orders.append(np.concatenate(places).tolist())
    assert orders[0] != orders[1] != orders[2]


def test_an_epoch_is_continued_at_any_batch_and_reads_only_what_is_left(tmp_path, monkeypatch):
    stored = write(examples(n=61), tmp_path, buffer=900)
    source = Shuffled(stored, 7)
    whole = [source.places(p).tolist() for p in source.epoch(np.random.default_rng(1))]
    read = []
    take = type(stored).take
    monkeypatch.setattr(
        type(stored), "take", lambda self, index: read.append(len(index)) or take(self, index)
    )
    for start in range(source.batches + 1):
        rest = source.epoch(np.random.default_rng(1))[start:]
        assert not read
        assert [source.places(p).tolist() for p in rest] == whole[start:]
    list(map(source.make, source.epoch(np.random.default_rng(1))[6:]))
    assert 0 < sum(read) < 45


@pytest.mark.parametrize("buffer", [1000, 9000])
def test_processes_read_their_shares_of_each_batch(buffer, tmp_path, monkeypatch):
    stored = write(examples(n=61), tmp_path, buffer=buffer)
    sources = [Shuffled(stored, 7) for _ in range(3)]
    whole = batches(Shuffled(stored, 7), np.random.default_rng(0))
    read = []
    take = type(stored).take
    monkeypatch.setattr(
        type(stored), "take", lambda self, index: read.append(len(index)) or take(self, index)
    )
    for rank, source in enumerate(sources):
        plans = source.epoch(np.random.default_rng(0))
        for k, plan in enumerate(plans):
            own = source.make_share(plan, rank, 3)
            lengths = whole[k].lengths[rank::3]
            assert own.lengths.tolist() == lengths.tolist()
            assert own.x.equal(whole[k].x[rank::3, : lengths.max()])
            assert own.target.equal(whole[k].target[rank::3])
        if buffer == 1000:
            assert sum(read) < 30
        # The whole batch, as the search for a number that is not finite asks for it.
        assert source.make(plan).x.equal(whole[-1].x)
        assert source.make_share(plan, rank, 3).x.equal(own.x)
        read.clear()


def test_a_sorted_file_is_mixed_in_every_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(shuffling, "RUN_BYTES", 400)
    n = 2000
    whole = examples(n=n, lengths=4)
    whole = dataclasses.replace(whole, target=np.repeat(np.arange(4), n // 4))
    stored = write(whole, tmp_path, part=100, buffer=30_000)
    shares = [
        np.bincount(batch.target.numpy(), minlength=4) / 32
        for batch in batches(Shuffled(stored, 32), np.random.default_rng(0))[:-1]
    ]
    # By chance alone the share of a class in a batch of 32 has a deviation of .077.
    assert np.std(shares) < 0.12
    assert np.max(shares) < 0.75


def test_a_batch_that_the_buffer_cannot_hold_is_refused(tmp_path):
    stored = write(examples(), tmp_path, buffer=900)
    with pytest.raises(SettingsError, match=r"batch_size: a batch of 60 .* Raise --memory-limit"):
        Shuffled(stored, "full")


@pytest.mark.parametrize("most", [1, 5, 6, 100])
def test_sizes_are_cut_into_parts_that_fit(most):
    sizes = np.array([3, 2, 9, 1, 1, 1])
    parts = cut(sizes, most)
    assert [i for start, end in parts for i in range(start, end)] == list(range(6))
    assert all(sizes[s:e].sum() <= most or e - s == 1 for s, e in parts)
