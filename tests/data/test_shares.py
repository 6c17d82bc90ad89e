"""Several processes divide the batches of a source: together they have every row once."""

import numpy as np
import pytest
from test_encoded import examples, write

from elman.data.batches import InMemory, Share
from elman.data.shuffling import Shuffled


def rows_of(batch):
    """The rows of a batch without their padding, and their targets, as bytes."""
    lengths = batch.lengths.tolist()
    return [
        (batch.x[i, :n].numpy().tobytes(), batch.target[i].numpy().tobytes())
        for i, n in enumerate(lengths)
    ]


def make_sources(folder, buffer):
    whole = examples()
    if buffer is None:
        return [InMemory(whole, 7) for _ in range(4)]
    return [Shuffled(write(whole, folder / str(k), buffer=buffer), 7) for k in range(4)]


@pytest.mark.parametrize("buffer", [None, 1500, 10**6])
@pytest.mark.parametrize("ranks", [2, 3, 9])
def test_the_shares_of_a_batch_are_its_rows(ranks, buffer, tmp_path):
    alone, *own = make_sources(tmp_path, buffer)
    own = [*own, *make_sources(tmp_path / "more", buffer), *make_sources(tmp_path / "m", buffer)]
    sources = [alone, *own[:ranks]]
    plans = [source.epoch(np.random.default_rng(3)) for source in sources]
    for number in range(alone.batches):
        whole = alone.make(plans[0][number])
        count, seen = len(whole.lengths), []
        for rank in range(ranks):
            batch = sources[rank + 1].make_share(plans[rank + 1][number], rank, ranks)
            share = batch.share
            assert (share.batch, share.time) == (count, whole.x.shape[1])
            assert share.counts == (rank < count)
            expected = rows_of(whole)[share.rows]
            assert rows_of(batch) == expected
            seen += list(range(count))[share.rows] if share.counts else []
        assert sorted(seen) == list(range(count))


def test_a_process_reads_its_share_of_a_fill_alone(tmp_path, monkeypatch):
    source, *_ = make_sources(tmp_path, 1500)
    read, take = [], type(source.examples).take
    monkeypatch.setattr(
        type(source.examples), "take", lambda self, i: read.extend(i) or take(self, i)
    )
    for plan in source.epoch(np.random.default_rng(0)):
        assert len(source.make_share(plan, 1, 3).lengths) <= 3
    # Of 60 sequences a third, and one more in each of the nine batches.
    assert 10 <= len(read) <= 30 and len(set(read)) == len(read)


def test_rows_are_divided_evenly():
    lengths = np.arange(1, 11)
    shares = [Share.of(lengths, rank, 4) for rank in range(4)]
    steps = [int(lengths[share.rows].sum()) for share in shares]
    assert max(steps) - min(steps) <= 10 and sum(steps) == 55
    assert {share.time for share in shares} == {10}
