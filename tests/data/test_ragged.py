"""Missing numbers: read as NaN wherever a file may leave a value out, and told with their place."""

import numpy as np
import pytest

from elman import DataError
from elman.data import Ragged, check_gaps, describe, hashing, read
from elman.data.ragged import (
    Gap,
    carry_forward,
    fill_gaps,
    first_gap,
    sequences_with_gaps,
    sequences_without_values,
    to_objects,
)
from elman.data.splits import hold_out

NAN = np.nan


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "id,a,b,label\nx,1,,u\nx,?,2,u\ny,NA,3,v\ny,4,nan,v\n"),
        ("a.tsv", "id\ta\tb\tlabel\nx\t1\t\tu\nx\tnull\t2\tu\ny\tn/a\t3\tv\ny\t4\tNaN\tv\n"),
        (
            "a.jsonl",
            '{"sequence": [[1, null], [NaN, 2]], "label": "u"}\n'
            '{"sequence": [[null, 3], [4, null]], "label": "v"}\n',
        ),
        ("a.ts", "@classLabel true u v\n@data\n1,?:NaN,2:u\n?,4:3,?:v\n"),
    ],
)
def test_a_missing_value_is_nan_in_every_format(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    data = read(path)
    expected = np.array([[1, NAN], [NAN, 2], [NAN, 3], [4, NAN]])
    np.testing.assert_array_equal(data.inputs.values, expected)
    assert data.inputs.lengths.tolist() == [2, 2]
    said = describe(data)
    assert "missing    4 of 8 values (50.0%), in 2 of 2 sequences, in 2 of 2 channels" in said


def test_a_batch_does_not_ask_for_the_lengths_of_all_sequences(monkeypatch):
    """An epoch of n / 32 batches would be quadratic in n."""
    ragged = Ragged.from_list([np.arange(n) for n in (3, 1, 4, 2)])
    index, refuse = np.array([2, 0]), property(lambda self: pytest.fail("lengths of all"))
    monkeypatch.setattr(Ragged, "lengths", refuse)
    assert ragged.take(index).offsets.tolist() == [0, 4, 7]
    assert ragged.between(index, 1, 4).values.tolist() == [1, 2, 3, 1, 2]
    assert ragged.lengths_of(index).tolist() == [4, 3]


def test_empty_cells_at_the_end_of_a_row_are_no_steps(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("label,v1,v2,v3,v4\na,1,,3,\nb,,2,NA,\n")
    data = read(path)
    np.testing.assert_array_equal(data.inputs[0][:, 0], [1, NAN, 3])
    np.testing.assert_array_equal(data.inputs[1][:, 0], [NAN, 2, NAN])


def test_gaps_do_not_hide_what_is_wrong(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id,a,b,label\nx,,1,u\nx,2,,u\ny,,,v\ny,five,,v\n")
    with pytest.raises(DataError, match="line 5, column a: 'five' is not a number"):
        read(path)
    path.write_text("id,a,b,label\nx,,1,u\nx,2,,u\ny,,,v\ny,,,v\n")
    with pytest.raises(DataError, match="line 4, column a: every value of this sequence is miss"):
        read(path)


def test_carried_forward_against_a_loop():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 9, 40)
    values = rng.normal(size=(lengths.sum(), 3))
    values[rng.random(values.shape) < 0.5] = NAN
    numbers = Ragged(values, np.concatenate([[0], np.cumsum(lengths)]))
    fill = np.array([10.0, 20.0, 30.0])
    found = numbers.with_values(carry_forward(numbers, fill))
    for sequence, filled in zip(numbers, found, strict=True):
        last = fill.copy()
        for step, own in zip(sequence, filled, strict=True):
            last = np.where(np.isnan(step), last, step)
            np.testing.assert_array_equal(own, last)
    np.testing.assert_array_equal(
        sequences_with_gaps(numbers), [np.isnan(s).any(0) for s in numbers]
    )
    np.testing.assert_array_equal(
        sequences_without_values(numbers), [np.isnan(s).all() for s in numbers]
    )


def test_the_first_gap_that_is_not_allowed():
    numbers = Ragged.from_list([np.array([[1, NAN], [2, 3]]), np.array([[1, NAN], [NAN, 3]])])
    assert first_gap(numbers, np.array([False, True])) == Gap(1, 1, 0)
    assert first_gap(numbers, np.array([True, False])) == Gap(0, 0, 1)
    assert first_gap(numbers, np.array([True, True])) is None


def test_a_new_gap_in_a_file_is_told_with_its_place(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id,a,b,label\nx,1,2,u\nx,3,4,u\ny,5,6,v\ny,7,,v\n")
    data = read(path)
    check_gaps(data, np.array([False, True]))
    with pytest.raises(DataError, match=r"line 4, column b: step 2 .* in channel 'b', which had"):
        check_gaps(data, np.array([True, False]))
    mixed = read(path, categories="a", values="b", id="id")
    check_gaps(mixed, np.array([True]))
    with pytest.raises(DataError, match=r"line 4, column b: step 2 .* in channel 'b'"):
        check_gaps(mixed, np.array([False]))
    path.write_text("label,v1,v2,v3\na,1,2,3\nb,1,,3\n")
    with pytest.raises(DataError, match=r"line 3, column v2: step 2 .* had no gaps in the trai"):
        check_gaps(read(path), np.array([False]))


@pytest.mark.parametrize("seed", range(6))
def test_what_has_the_only_gaps_stays_in_the_training_part(seed):
    gaps = np.zeros((10, 2), dtype=bool)
    gaps[3, 1] = True
    first, second = hold_out(10, 0.5, seed, np.array(list("ab") * 5), gaps=gaps)
    assert 3 in first
    assert sorted([*first, *second]) == list(range(10))


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("refuse", [NAN, 1.0, NAN, NAN, 4.0, NAN]),
        ("previous", [1.0, 1.0, 1.0, NAN, 4.0, 4.0]),
        ("mean", [7.0, 1.0, 7.0, 7.0, 4.0, 7.0]),
        ("zero", [0.0, 1.0, 0.0, 0.0, 4.0, 0.0]),
    ],
)
def test_gaps_are_filled_within_a_sequence(how, expected):
    """Sequences of 3, 1 and 2 steps; the second has no value at all, the second channel may not."""
    first = np.array([NAN, 1.0, NAN, NAN, 4.0, NAN])
    numbers = Ragged(np.column_stack([first, first]), np.array([0, 3, 4, 6]))
    filled = fill_gaps(numbers, np.array([False, True]), how, np.array([7.0, 8.0]))
    assert np.array_equal(filled.values[:, 0], expected, equal_nan=True)
    assert np.array_equal(filled.values[:, 1], first, equal_nan=True)
    assert np.array_equal(numbers.values[:, 0], first, equal_nan=True)


@pytest.mark.parametrize("hashed", [4, 1 << 20])
@pytest.mark.parametrize("channels", [1, 3])
def test_equal_sequences_and_no_others_have_equal_hashes(
    hashed: int, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "_HASHED", hashed)
    rng = np.random.default_rng(0)
    values = [-0.0, 0.0, 1.0, np.nan]  # few, so that many sequences are equal
    own = [rng.choice(values, (rng.integers(0, 4), channels)) for _ in range(400)]
    sequences = Ragged.from_list(own, np.float64)
    hashes = hashing.hash_sequences(sequences.with_values(hashing.to_bits(sequences.values)))
    names = [(len(one), one.tobytes()) for one in own]
    assert len(set(names)) < len(names)
    assert len(set(zip(names, hashes.tolist(), strict=True))) == len(set(names))
    assert len(set(hashes.tolist())) == len(set(names))


def test_texts_and_sets_have_bits() -> None:
    texts = to_objects(["a", "b", "a", frozenset("x"), frozenset("x")])
    bits = hashing.to_bits(texts)
    assert bits[0] == bits[2] != bits[1] and bits[3] == bits[4]
