"""A data set on disk is the data set in memory: all of it, parts of it, and what splits need."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import record_cases
from same_data import assert_same

import elman
from elman.data import read
from elman.data.dataset import Dataset, Layout
from elman.data.ragged import Ragged, sequences_with_gaps, to_objects
from elman.data.splits import hold_out, list_traits
from elman.data.store import BLOCKS, StoreWriter, is_store, open_store
from elman.errors import ModelFileError

BLOCK = 700  # bytes: two to ten sequences


def store(dataset, folder, block=BLOCK, piece=5):
    folder.mkdir(exist_ok=True)
    writer = StoreWriter(folder, block)
    for start in range(0, len(dataset), piece):
        writer.add(dataset.take(np.arange(start, min(len(dataset), start + piece))))
    return writer.finish()


def numbers(n=40, **layout):
    """Sequences of numbers with gaps, and a number, or two, for each."""
    rng = np.random.default_rng(0)
    steps = [rng.normal(size=(1 + i % 4, 2)) for i in range(n)]
    for i in range(0, n, 7):
        steps[i][0, i % 2] = np.nan
    form = Layout(format="arrays", kind="numbers", values=("a", "b"), target="y", **layout)
    return Dataset(Ragged.from_list(steps), rng.normal(size=n), "numbers", form)


def sets(n=40):
    """Texts with sets of labels, of mixed characters, and one that no UTF-8 can hold."""
    texts = [f"text {i} äß漢 \ud800" if i % 9 == 1 else f"word {i}\n" * (i % 5) for i in range(n)]
    labels = to_objects([frozenset({"a", "b", 3} if i % 3 else {"c"}) for i in range(n)])
    return Dataset(texts, labels, "texts", Layout(format="jsonl", kind="text", target="y"))


def tags(n=30, columns=0):
    """Tokens with a label, a gap or a number at every step."""
    rng = np.random.default_rng(1)
    tokens = [to_objects([f"w{int(k)}" for k in rng.integers(0, 9, 1 + i % 6)]) for i in range(n)]
    if columns:
        target = Ragged.from_list([rng.normal(size=(len(own), columns)) for own in tokens])
    else:
        labels = [
            to_objects([None, "B", True, 1, "late"][i % 5 :][:1] * len(own))
            for i, own in enumerate(tokens)
        ]
        target = Ragged.from_list(labels, dtype=object)
    layout = Layout(format="jsonl", kind="tokens", target="y,z" if columns else "y", per_step=True)
    return Dataset(Ragged.from_list(tokens), target, "tags", layout)


MADE = {
    "numbers": numbers(),
    "two targets": dataclasses.replace(numbers(), target=np.tile([[1.0, 2], [np.nan, 3]], (20, 1))),
    "no target": dataclasses.replace(numbers(), target=None),
    "groups": dataclasses.replace(numbers(), groups=tuple(f"g{i % 3}" for i in range(40))),
    "times": dataclasses.replace(numbers(), starts=np.arange(40.0), lines=np.arange(40) * 3),
    "windows": dataclasses.replace(numbers(), windows=np.arange(80).reshape(40, 2)),
    "sets": sets(),
    "tags": tags(),
    "numbers per step": tags(columns=2),
}


@pytest.fixture(params=MADE)
def dataset(request):
    return MADE[request.param]


def test_what_is_stored_comes_back_unchanged(dataset, tmp_path):
    stored = store(dataset, tmp_path)
    assert len(stored.block_numbers) > 3
    assert_same(stored.take(np.arange(len(dataset))), dataset)
    reopened = open_store(tmp_path)
    assert reopened.layout == stored.layout
    assert_same(reopened.take(np.arange(len(dataset))), dataset)


def test_blocks_hold_every_sequence_once_in_the_order_of_the_file(dataset, tmp_path):
    stored = store(dataset, tmp_path)
    found = []
    for index, part in stored.blocks():
        assert_same(part, dataset.take(index))
        found += index.tolist()
    assert found == list(range(len(dataset)))


def test_any_order_can_be_taken_and_any_part_is_a_store(dataset, tmp_path):
    stored = store(dataset, tmp_path)
    rng = np.random.default_rng(3)
    index = rng.permutation(len(dataset))[:17]
    assert_same(stored.take(index), dataset.take(index))
    assert_same(stored.take(index[:0]), dataset.take(index[:0]))
    part = stored.subset(index)
    assert_same(part.take(np.arange(17)), dataset.take(index))
    assert_same(part.subset(np.arange(3, 9)).take(np.arange(6)), dataset.take(index[3:9]))
    seen = np.zeros(17, int)
    for own, block in part.blocks():
        assert_same(block, dataset.take(index[own]))
        seen[own] += 1
    assert (seen == 1).all()


def test_the_index_says_what_splits_ask(dataset, tmp_path):
    stored = store(dataset, tmp_path)
    assert stored.lengths.tolist() == dataset.lengths.tolist()
    assert stored.task == dataset.task
    assert stored.target_names == dataset.target_names
    assert stored.groups == dataset.groups
    assert (stored.starts is None) == (dataset.starts is None)
    if dataset.numbers is not None:
        assert (stored.gaps == sequences_with_gaps(dataset.numbers)).all()
    if dataset.target is None or isinstance(dataset.target, Ragged):
        assert stored.target is None
    else:
        assert stored.target.dtype == dataset.target.dtype
        assert np.array_equal(stored.target, dataset.target, equal_nan=stored.target.dtype != "O")
    labels = dataset.target if stored.step_labels is not None else None
    traits = list_traits(len(dataset), labels, stored.gaps)
    assert list_traits(len(dataset), stored.step_labels, stored.gaps) == traits
    if labels is not None:
        kept = hold_out(len(dataset), 0.3, 1, labels)
        again = hold_out(len(dataset), 0.3, 1, stored.step_labels)
        assert all(map(np.array_equal, kept, again))


def test_equal_sequences_have_equal_digests(dataset, tmp_path):
    twice = dataset.take(np.concatenate([np.arange(len(dataset)), [4, 2, 9]]))
    stored = store(twice, tmp_path)
    contents, digests = twice.contents(), stored.digests
    same = contents[:, None] == contents
    assert (same == (digests[:, None] == digests)).all()
    assert same.sum() >= len(twice) + 6


@pytest.mark.parametrize("name", record_cases.CASES)
def test_files_of_every_layout(name, tmp_path):
    case = record_cases.CASES[name](tmp_path)
    dataset = read(case.path, **case.reading)
    stored = store(dataset, tmp_path / "store")
    assert_same(stored.take(np.arange(len(dataset))), dataset)
    # The notes and guesses are part of the layout, too.
    assert stored.layout == dataset.layout


def test_labels_and_categories_of_all_pieces_are_in_the_layout(tmp_path):
    dataset = MADE["sets"]
    tmp_path.joinpath("x").mkdir()
    writer = StoreWriter(tmp_path / "x")
    for start in (0, 20):
        part = dataset.take(np.arange(start, start + 20))
        names, values = ("b", 3) if start else ("a",), (("q",) if start else ("z",),)
        layout = dataclasses.replace(part.layout, class_names=names, category_values=values)
        writer.add(dataclasses.replace(part, layout=layout))
    stored = writer.finish()
    assert stored.layout.class_names == (3, "a", "b")
    assert stored.layout.category_values == (("q", "z"),)


def test_digests_are_the_same_in_every_process(tmp_path):
    store(MADE["tags"], tmp_path)
    code = (
        "import json, sys; from pathlib import Path; from elman.data.store import open_store\n"
        "stored = open_store(Path(sys.argv[1]))\n"
        "from elman.data.store_index import digest_sequences\n"
        "read = digest_sequences(stored.take(stored.rows))\n"
        "assert (read == stored.digests).all()"
    )
    subprocess.run(
        [sys.executable, "-c", code, tmp_path],
        env={"PYTHONHASHSEED": "1", "PYTHONPATH": str(Path(elman.__file__).parents[1])},
        check=True,
    )


def test_a_store_that_was_not_finished_is_none(tmp_path):
    writer = StoreWriter(tmp_path, BLOCK)
    writer.add(MADE["numbers"])
    assert not is_store(tmp_path)
    store(MADE["tags"], tmp_path)  # what is left of the other is not read
    assert is_store(tmp_path)
    assert_same(open_store(tmp_path).take(np.arange(30)), MADE["tags"])


def test_a_damaged_store_is_refused(tmp_path):
    stored = store(MADE["tags"], tmp_path)
    path = tmp_path / BLOCKS
    data = bytearray(path.read_bytes())
    data[9] ^= 255
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=r"blocks.bin: a block of the stored data is damaged"):
        stored.take(np.arange(3))
    path.write_bytes(data[:-4])
    with pytest.raises(ModelFileError, match=r"blocks.bin: .* bytes, expected"):
        open_store(tmp_path)
