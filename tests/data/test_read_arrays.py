"""Arrays as people save them: which rows are steps, what is padding, what holds numbers."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from elman.data import describe, read
from elman.data.readers import npy
from elman.errors import DataError

LENGTHS = [5, 7, 3, 6]
OFFSETS = np.cumsum([0, *LENGTHS])
STEPS = np.arange(42.0).reshape(21, 2)
Y = np.array(["a", "b", "a", "b"])


def save(tmp_path, **arrays):
    path = tmp_path / "a.npz"
    np.savez(path, **arrays)
    return path


PACKED = {
    "lengths": {"X": STEPS, "lengths": np.array(LENGTHS)},
    "offsets": {"X": STEPS, "offsets": OFFSETS},
    "starts": {"X": STEPS, "starts": OFFSETS[:-1]},
    "row_splits": {"data": STEPS, "row_splits": OFFSETS.astype("u4")},
    "ids": {"X": STEPS, "ids": np.repeat(["p", "q", "r", "s"], LENGTHS)},
    "groups": {"X": STEPS, "groups": np.repeat([4, 5, 6, 7], LENGTHS)},
    "an array each": {f"rec{i}": part for i, part in enumerate(np.split(STEPS, OFFSETS[1:-1]))},
}


@pytest.mark.parametrize("kind", PACKED)
def test_sequences_that_are_not_padded(tmp_path, kind):
    dataset = read(save(tmp_path, **PACKED[kind], y=Y))
    assert dataset.lengths.tolist() == LENGTHS
    assert dataset.inputs.values.tolist() == STEPS.tolist()
    assert dataset.target.tolist() == Y.tolist()
    assert "steps" in describe(dataset) or "one sequence each" in describe(dataset)
    again = read(save(tmp_path, **PACKED[kind]), layout=dataset.layout, labelled=False)
    assert again.lengths.tolist() == LENGTHS


def test_names_of_sequences_that_are_not_padded(tmp_path):
    assert read(save(tmp_path, **PACKED["ids"], y=Y)).ids == ("p", "q", "r", "s")
    parts = read(save(tmp_path, **PACKED["an array each"], y=Y))
    assert parts.ids == ("rec0", "rec1", "rec2", "rec3")


def test_labels_at_the_steps_of_sequences_that_are_not_padded(tmp_path):
    y = np.arange(21) % 3
    dataset = read(save(tmp_path, **PACKED["offsets"], y=y))
    assert dataset.task == "tagging" and dataset.target.lengths.tolist() == LENGTHS
    assert dataset.target.values.tolist() == y.tolist()
    numbers = read(save(tmp_path, **PACKED["lengths"], y=y / 4))
    assert numbers.task == "regression" and numbers.target.values.tolist() == (y / 4).tolist()


def test_ids_in_blocks_that_do_not_stand_together(tmp_path):
    ids = np.repeat(["p", "q", "p", "s"], LENGTHS)
    with pytest.raises(DataError, match="do not stand together in array 'ids'"):
        read(save(tmp_path, X=STEPS, ids=ids, y=Y))


def test_groups_of_rows_that_could_be_steps_are_said(tmp_path):
    text = describe(read(save(tmp_path, **PACKED["groups"], y=np.arange(21) % 2)))
    assert "each row is a sequence; 'groups' groups the rows into 4" in text


def test_names_of_sequences_and_channels(tmp_path):
    X = np.arange(24.0).reshape(4, 3, 2)
    names, ids = np.array(["temp", "load"]), np.array(["w", "x", "y", "z"])
    dataset = read(save(tmp_path, X=X, y=Y, names=names, ids=ids))
    assert dataset.layout.channels == ("temp", "load") and dataset.ids == ("w", "x", "y", "z")
    assert read(save(tmp_path, X=X, y=Y, names=ids)).ids == ("w", "x", "y", "z")
    packed = read(save(tmp_path, **PACKED["lengths"], y=Y, names=names))
    assert packed.layout.channels == ("temp", "load")


def test_channels_first_is_said(tmp_path):
    X = np.zeros((4, 3, 50))
    X[:] = np.arange(50)
    text = describe(read(save(tmp_path, X=X, y=Y)))
    assert "4 sequences of 3 steps and 50 channels" in text
    assert "X.transpose(0, 2, 1)" in text
    X = X.transpose(0, 2, 1)
    assert "transpose" not in describe(read(save(tmp_path, X=X, y=Y)))


@pytest.mark.parametrize(
    ("dtype", "remedy"),
    [
        ("c16", "np.abs"),
        ("M8[s]", "np.timedelta64"),
        ("m8[s]", "np.timedelta64"),
        ([("a", "f4"), ("b", "f4")], "structured_to_unstructured"),
    ],
)
def test_arrays_of_other_than_numbers(tmp_path, dtype, remedy):
    with pytest.raises(DataError, match="expected numbers") as error:
        read(save(tmp_path, X=np.zeros((4, 5), dtype), y=Y))
    assert remedy in str(error.value)


@pytest.mark.parametrize("dtype", ["f2", ">f4", ">i2", "u1", "?", "f8"])
def test_arrays_of_every_type_of_number(tmp_path, dtype):
    X = (np.arange(40).reshape(4, 5, 2) % 2).astype(dtype)
    for order in ("C", "F"):
        dataset = read(save(tmp_path, X=np.asarray(X, order=order), y=Y))
        assert dataset.inputs.values.tolist() == X.reshape(20, 2).astype(float).tolist()


def test_arrays_of_words(tmp_path):
    words = np.array([["a", "b", "c"], ["b", "", ""], ["a", "a", ""], ["c", "b", "a"]])
    for form in (words, words.astype("S")):
        path = save(tmp_path, X=form, y=Y)
        dataset = read(path)
        assert dataset.layout.kind == "tokens" and dataset.lengths.tolist() == [3, 1, 2, 3]
        assert dataset.inputs[2].tolist() == ["a", "a"]
        assert read(path, layout=dataset.layout).inputs.values.tolist() == list("abcbaacba")
    with pytest.raises(DataError, match=r"expected numbers. Save numbers, X.astype\(float\)"):
        read(path, values="X")
    words[1, 2] = "b"
    with pytest.raises(DataError, match="sequence 2: step 2: the token is empty"):
        read(save(tmp_path, X=words, y=Y))


def test_whole_numbers_are_said_in_the_first_line(tmp_path):
    X = np.arange(40).reshape(4, 10)
    path = save(tmp_path, X=X, y=Y)
    first = describe(read(path)).split("\n")[0]
    assert first.endswith(": whole numbers, read as measurements; --text X reads them as tokens")
    tokens = read(path, text="X")
    first = describe(tokens).split("\n")[0]
    assert first.endswith(": whole numbers, read as tokens; --values X reads them as measurements")
    assert tokens.inputs[1].tolist() == [str(i) for i in range(10, 20)]
    assert read(path, layout=tokens.layout).layout.kind == "tokens"
    tags = read(save(tmp_path, X=X, y=X % 2, lengths=np.array([10, 4, 5, 6])), text="X")
    assert tags.task == "tagging" and tags.lengths.tolist() == [10, 4, 5, 6]
    for other in (X / 4, X % 2):
        assert "whole numbers," not in describe(read(save(tmp_path, X=other, y=Y)))
    with pytest.raises(DataError, match=r"float64 with the shape \(4, 10\), expected whole"):
        read(save(tmp_path, X=X / 4, y=Y), text="X")
    lines = ['{"sequence": [1, 2, 3], "label": "a"}', '{"sequence": [3, 9], "label": "b"}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    assert "read as measurements" in describe(read(tmp_path / "a.jsonl")).split("\n")[0]


def zeros(path, header_of, count):
    """Write X.npy with the header of an array, followed by `count` zeros."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, np.lib.format.header_data_from_array_1_0(header_of)
    )
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("X.npy", "w") as file,
    ):
        file.write(buffer.getvalue())
        for _ in range(count >> 20):
            file.write(bytes(1 << 20))
    return path


def test_headers_that_lie_take_no_memory(tmp_path, monkeypatch):
    path = zeros(tmp_path / "a.npz", np.zeros((10, 5)), 32 << 20)
    monkeypatch.setattr(zipfile.ZipExtFile, "readinto", None)
    with pytest.raises(DataError, match="33,554,432 bytes of content, expected 400 for shape"):
        read(path)


def test_bombs_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(npy, "LARGEST_UNCHECKED", 1 << 20)
    path = zeros(tmp_path / "a.npz", np.zeros((4 << 20) // 8), 4 << 20)
    with pytest.raises(DataError, match="bytes unpack to 4,194,") as error:
        read(path)
    assert error.value.rule == "memory" and "numpy.savez" in str(error.value)
    X = np.random.default_rng(0).normal(size=(100, 40, 50))
    X[:, 4:] = 0  # padded to ten times its length
    np.savez_compressed(path, X=X, y=np.arange(100) % 2)
    assert read(path).lengths.tolist() == [40] * 100


def test_archives_with_a_password(tmp_path):
    path = save(tmp_path, X=STEPS)
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02")
    content[at + 8] |= 1  # the flag of an encrypted entry
    path.write_bytes(content)
    with pytest.raises(DataError, match="password"):
        read(path)
