"""Every format gives the same dataset; a second file is read as the first was."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aeon
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet
import pytest
import scipy.io.arff
from aeon.datasets import load_from_arff_file, load_from_ts_file, load_from_tsv_file
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.data import Dataset, Ragged, describe, read
from elman.errors import DataError

Sequences = list[list[list[float]]]
ARCHIVE = Path(aeon.__file__).parent / "datasets" / "data"
FIRST: Sequences = [[[0.1, 1.0], [0.2, -2.5], [1e-9, 3.0]], [[4.0, 5.0]], [[6.0, 7.0], [8.0, 9.0]]]
LABELS = ["up", "down", "up"]
SECOND: Sequences = [[[5.0, 5.5]], [[1.5, 2.5], [2.0, 3.0], [0.0, 0.25], [1.0, 1.0]]]


def long_frame(sequences: Sequences, labels: list[str] | None) -> pd.DataFrame:
    rows = [
        {"id": f"s{i}", "time": t, "a": step[0], "b": step[1]}
        | ({"label": labels[i]} if labels else {})
        for i, sequence in enumerate(sequences)
        for t, step in enumerate(sequence)
    ]
    return pd.DataFrame(rows)


def padded(sequences: Sequences) -> np.ndarray:
    longest = max(map(len, sequences))
    out = np.full((len(sequences), longest, 2), np.nan)
    for i, sequence in enumerate(sequences):
        out[i, : len(sequence)] = sequence
    return out


def write_lists(path: Path, sequences: Sequences, labels: list[str] | None) -> Path:
    columns: dict[str, Any] = {"sequence": sequences} | ({"label": labels} if labels else {})
    pa.parquet.write_table(pa.table(columns), path)
    return path


def write_npz(path: Path, sequences: Sequences, labels: list[str] | None) -> Path:
    np.savez(path, X=padded(sequences), **({"y": np.array(labels)} if labels else {}))
    return path


def write_lengths(path: Path, sequences: Sequences, labels: list[str] | None) -> Path:
    X = np.nan_to_num(padded(sequences), nan=1e6)
    lengths = [len(sequence) for sequence in sequences]
    named = {"y": np.array(labels)} if labels else {}
    np.savez_compressed(path, X=X, lengths=lengths, **named)
    return path


def write_npy(path: Path, sequences: Sequences, labels: list[str] | None) -> Path:
    folder = path.with_suffix("")
    folder.mkdir()
    np.save(folder / "X_train.npy", padded(sequences))
    if labels:
        np.save(folder / "y_train.npy", np.array(labels))
    return folder / "X_train.npy"


def write_arff(path: Path, sequences: Sequences, labels: list[str] | None) -> Path:
    longest = max(map(len, sequences))
    lines = ["% cases", "@RELATION 'x y'", "", "@attribute bag relational"]
    lines += [f"  @attribute t{i} numeric" for i in range(longest)] + ["@end bag"]
    lines += ["@attribute label {up, 'down'}"] if labels else []
    lines += ["@DATA"]
    for i, sequence in enumerate(sequences):
        channels = [
            [repr(step[c]) for step in sequence] + ["?"] * (longest - len(sequence)) for c in (0, 1)
        ]
        bag = "\\n".join(map(",".join, channels))
        lines.append(f'"{bag}"' + (f", {labels[i]}" if labels else ""))
    path.write_text("\n".join(lines))
    return path


def write_ts(path: Path, sequences: Sequences, labels: list[str] | None) -> Path:
    lines = ["@univariate false", f"@classLabel {'true up down' if labels else 'false'}", "@data"]
    for i, sequence in enumerate(sequences):
        case = ":".join(",".join(repr(step[c]) for step in sequence) for c in (0, 1))
        lines.append(case + (f":{labels[i]}" if labels else ""))
    path.write_text("\n".join(lines))
    return path


def write_folder(ending: str) -> Callable[[Path, Sequences, list[str] | None], Path]:
    def write(path: Path, sequences: Sequences, labels: list[str] | None) -> Path:
        path.mkdir()
        for i, sequence in enumerate(sequences):
            below = path / labels[i] if labels else path
            below.mkdir(exist_ok=True)
            file = below / f"{i}{ending}"
            if ending == ".npy":
                np.save(file, np.array(sequence))
            else:
                lines = [f"{a!r},{b!r}" for a, b in sequence]
                file.write_text("\n".join(["a,b", *lines]))
        return path

    return write


def frame_writer(write: Callable[[pd.DataFrame, Path], None]) -> Callable[..., Path]:
    def written(path: Path, sequences: Sequences, labels: list[str] | None) -> Path:
        write(long_frame(sequences, labels), path)
        return path

    return written


def stream(frame: pd.DataFrame, path: Path) -> None:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table)


def write_jsonl(path: Path, sequences: Sequences, labels: list[str] | None) -> Path:
    lines = [
        json.dumps({"sequence": s} | ({"label": labels[i]} if labels else {}))
        for i, s in enumerate(sequences)
    ]
    path.write_text("\n".join(lines))
    return path


WRITERS: dict[str, tuple[str, Callable[..., Path]]] = {
    "csv": ("a.csv", frame_writer(lambda f, p: f.to_csv(p, index=False))),
    "jsonl": ("a.jsonl", write_jsonl),
    "ts": ("a.ts", write_ts),
    "arff": ("a.arff", write_arff),
    "parquet": ("a.parquet", frame_writer(lambda f, p: f.to_parquet(p, index=False))),
    "feather": ("a.feather", frame_writer(lambda f, p: pa.feather.write_feather(f, p))),
    "arrow stream": ("a.arrow", frame_writer(stream)),
    "lists": ("a.parquet", write_lists),
    "npz": ("a.npz", write_npz),
    "npz with lengths": ("a.npz", write_lengths),
    "npy": ("a.npy", write_npy),
    "folder of csv": ("a", write_folder(".csv")),
    "folder of npy": ("a", write_folder(".npy")),
}


def back(dataset: Dataset) -> Sequences:
    assert isinstance(dataset.inputs, Ragged)
    assert dataset.inputs.values.dtype == np.float64 and dataset.inputs.offsets.dtype == np.int64
    return [sequence.tolist() for sequence in dataset.inputs]


def labels_of(dataset: Dataset) -> list[Any]:
    return [] if dataset.target is None else list(dataset.target)


@pytest.mark.parametrize("name", WRITERS)
def test_contract(name: str, tmp_path: Path) -> None:
    file, write = WRITERS[name]
    path = write(tmp_path / file, FIRST, LABELS)
    dataset = read(path, labelled=True)
    folders = name.startswith("folder")
    order = sorted(range(3), key=lambda i: (LABELS[i], i)) if folders else range(3)
    assert back(dataset) == [FIRST[i] for i in order]
    assert dataset.target is not None
    assert list(dataset.target) == [LABELS[i] for i in order]
    assert dataset.lines is not None or len(dataset.ids) == 3
    assert dataset.source == str(path)
    assert "2 channels" in describe(dataset) and "up (2), down (1)" in describe(dataset)

    # The layout that was found reads another file in the same way, without guessing.
    other = tmp_path / "other"
    other.mkdir()
    second = write(other / file, SECOND, None)
    again = read(second, layout=dataset.layout)
    assert back(again) == SECOND and again.target is None
    with pytest.raises(DataError):
        read(second, layout=dataset.layout, labelled=True)
    labelled = write(tmp_path / f"b{Path(file).suffix}", SECOND, ["down", "up"])
    tested = read(labelled, layout=dataset.layout, labelled=True)
    assert back(tested) == SECOND and labels_of(tested) == ["down", "up"]
    assert (
        dataclasses.replace(tested.layout, notes=(), guesses=())
        == dataclasses.replace(dataset.layout, notes=(), guesses=())
        or name == "npy"
    )  # the file of labels has a name of its own

    # The format that was found may be named.
    named = read(path, format=dataset.layout.format, labelled=True)
    assert back(named) == back(dataset)


def test_one_layout_reads_a_table_in_any_file(tmp_path: Path) -> None:
    frame = long_frame(FIRST, LABELS)
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet", index=False)
    layout = read(tmp_path / "a.csv").layout
    assert back(read(tmp_path / "a.parquet", layout=layout)) == FIRST
    layout = read(tmp_path / "a.parquet").layout
    assert back(read(tmp_path / "a.csv", layout=layout)) == FIRST
    assert back(read(frame, layout=layout)) == FIRST
    cases = read(write_ts(tmp_path / "a.ts", FIRST, LABELS)).layout
    assert back(read(write_npz(tmp_path / "a.npz", FIRST, LABELS), layout=cases)) == FIRST
    assert back(read(write_arff(tmp_path / "a.arff", FIRST, LABELS), layout=cases)) == FIRST
    arrays = read(tmp_path / "a.npz").layout
    assert back(read(tmp_path / "a.ts", layout=arrays)) == FIRST
    with pytest.raises(DataError, match=r"is a .ts file, expected a CSV or TSV table as before"):
        read(tmp_path / "a.ts", layout=layout)


FRAMES: dict[str, Callable[[pd.DataFrame], Any]] = {
    "pandas": lambda f: f,
    "pandas with pyarrow types": lambda f: f.convert_dtypes(dtype_backend="pyarrow"),
    "pandas categories": lambda f: f.astype({"id": "category", "label": "category"}),
    "pyarrow": lambda f: pa.Table.from_pandas(f, preserve_index=False),
    "multi-index": lambda f: f.set_index(["id", "time"]),
    "multi-index without names": lambda f: f.set_index(["id", "time"]).rename_axis([None, None]),
}


@pytest.mark.parametrize("name", FRAMES)
def test_frames(name: str) -> None:
    frame = FRAMES[name](long_frame(FIRST, LABELS))
    before = frame.copy() if isinstance(frame, pd.DataFrame) else frame
    dataset = read(frame)
    assert back(dataset) == FIRST and labels_of(dataset) == LABELS
    assert dataset.ids == ("s0", "s1", "s2") and dataset.source == "the frame"
    assert "the frame" in describe(dataset)
    assert before.equals(frame)
    assert back(read(frame, id=dataset.layout.id, target="label", values="a,b")) == FIRST


def test_polars() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(long_frame(FIRST, LABELS).to_dict("list"))
    assert back(read(frame)) == FIRST


def test_a_frame_with_a_row_a_sequence() -> None:
    frame = pd.DataFrame(
        {"t0": [1.5, 2, 3], "t1": [4, np.nan, 6], "t2": [7, np.nan, np.nan], "label": [1, 0, 1]}
    )
    dataset = read(frame, target="label")
    assert back(dataset) == [[[1.5], [4], [7]], [[2]], [[3], [6]]]
    assert labels_of(dataset) == ["1", "0", "1"]
    assert dataset.ids == ("row 1", "row 2", "row 3")
    texts = read(pd.DataFrame({"text": ["ab", "c d"], "label": [True, False]}))
    assert texts.inputs == ["ab", "c d"] and labels_of(texts) == ["True", "False"]


def test_types_of_columns(tmp_path: Path) -> None:
    day = pd.Timestamp("2024-01-01")
    big = 2**60
    frame = pd.DataFrame(
        {
            "id": [big, big, big + 1],
            "time": [day, day + pd.Timedelta(hours=1), day],
            "a": pd.array([1, None, 3], dtype="Int64"),
            "b": np.array([1, 2, 3], dtype=np.int8),
            "c": np.array([True, False, True]),
            "label": pd.Categorical(["x", "x", "y"]),
        }
    )
    frame.to_parquet(tmp_path / "a.parquet")
    for data in (frame, tmp_path / "a.parquet"):
        dataset = read(data, values="a,b", target="label")
        assert dataset.ids == (str(big), str(big + 1))  # apart, though not as float64
        first = [sequence.tolist() for sequence in dataset.inputs]
        np.testing.assert_array_equal(first[0], [[1, 1], [np.nan, 2]])
        assert first[1] == [[3, 3]]
        assert read(data, target="c", values="b", id="id").layout.per_step


def test_tags_and_tokens_in_list_columns(tmp_path: Path) -> None:
    columns = {"tokens": [["a", "b"], ["c"]], "tags": [["O", "B"], ["O"]], "intent": ["x", "y"]}
    pa.parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    for data in (tmp_path / "a.parquet", pa.table(columns), pd.DataFrame(columns)):
        dataset = read(data, target="tags")
        assert [tokens.tolist() for tokens in dataset.inputs] == columns["tokens"]  # type: ignore[union-attr]
        assert isinstance(dataset.target, Ragged)
        assert [tags.tolist() for tags in dataset.target] == columns["tags"]
        assert labels_of(read(data, target="intent")) == ["x", "y"]


def test_arrays_of_one_channel_and_labels_at_every_step(tmp_path: Path) -> None:
    X = np.arange(6.0).reshape(2, 3).astype(np.float32)
    np.savez(tmp_path / "a.npz", X=X, y=np.array([[0, 1, 1], [1, 0, 9]]), lengths=[3, 2])
    dataset = read(tmp_path / "a.npz")
    assert back(dataset) == [[[0], [1], [2]], [[3], [4]]]
    assert isinstance(dataset.target, Ragged)
    assert [tags.tolist() for tags in dataset.target] == [[0, 1, 1], [1, 0]]
    np.savez(tmp_path / "b.npz", signal=np.asfortranarray(X), kind=np.array([1.0, 0.0]))
    dataset = read(tmp_path / "b.npz", target="kind")
    assert labels_of(dataset) == [1, 0] and back(dataset)[1] == [[3], [4], [5]]
    np.save(tmp_path / "c.npy", X)
    np.save(tmp_path / "d.npy", np.array(["u", "v"]))
    assert labels_of(read(tmp_path / "c.npy", target=str(tmp_path / "d.npy"))) == ["u", "v"]
    assert read(tmp_path / "c.npy").target is None


def test_folder_of_texts(tmp_path: Path) -> None:
    for name, text in {"a/1.txt": "one two\n", "a/2.txt": "three", "b/1.txt": "four"}.items():
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).write_text(text)
    (tmp_path / "d" / ".DS_Store").write_bytes(b"\0")
    (tmp_path / "d" / "README").write_text("what this is")
    dataset = read(tmp_path / "d", labelled=True)
    assert dataset.inputs == ["one two", "three", "four"]
    assert labels_of(dataset) == ["a", "a", "b"]
    assert dataset.ids == ("a/1.txt", "a/2.txt", "b/1.txt")
    assert "left out beside the folders: 'README'" in describe(dataset)


def test_folder_with_times_and_tags(tmp_path: Path) -> None:
    for name, rows in {"x/1.csv": "0,1,u\n1,2,v\n", "y/1.csv": "0,3,u\n"}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(f"time,a,tag\n{rows}")
    dataset = read(tmp_path)
    assert back(dataset) == [[[1], [2]], [[3]]] and labels_of(dataset) == ["x", "y"]
    assert dataset.layout.time == "time"
    tagged = read(tmp_path, target="tag")
    assert isinstance(tagged.target, Ragged) and list(tagged.target.values) == ["u", "v", "u"]


def test_folder_with_categories_and_uneven_times(tmp_path: Path) -> None:
    for name, rows in {"x/1.csv": "0,1,u\n1,2,v\n5,3,u\n", "y/1.csv": "0,3,u\n2,4,v\n"}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(f"time,a,mood\n{rows}")
    dataset = read(tmp_path, categories="mood")
    assert dataset.layout.kind == "mixed" and dataset.layout.format == "folder"
    timed = read(tmp_path, values="a", time_difference=True)
    assert back(timed)[0] == [[1, 0], [2, 1], [3, 4]]
    assert back(read(tmp_path, layout=timed.layout)) == back(timed)


@pytest.mark.parametrize(
    ("name", "load"),
    [
        ("GunPoint/GunPoint_TRAIN.tsv", load_from_tsv_file),
        ("ArrowHead/ArrowHead_TRAIN.tsv", load_from_tsv_file),
        ("GunPoint/GunPoint_TRAIN.arff", load_from_arff_file),
        ("BasicMotions/BasicMotions_TRAIN.arff", load_from_arff_file),
        ("JapaneseVowels/JapaneseVowels_TRAIN.ts", load_from_ts_file),
        ("PickupGestureWiimoteZ/PickupGestureWiimoteZ_TRAIN.ts", load_from_ts_file),
    ],
)
def test_as_aeon_reads_it(name: str, load: Callable[[str], Any]) -> None:
    X, y = load(str(ARCHIVE / name))
    dataset = read(ARCHIVE / name, labelled=True)
    assert len(X) == len(dataset)
    for theirs, ours in zip(X, dataset.inputs, strict=True):
        np.testing.assert_array_equal(np.asarray(theirs).T, ours)
    assert list(map(str, y)) == labels_of(dataset)


def test_as_scipy_reads_it() -> None:
    path = ARCHIVE / "GunPoint" / "GunPoint_TRAIN.arff"
    data, meta = scipy.io.arff.loadarff(path)
    dataset = read(path)
    theirs = np.array([[row[name] for name in meta.names()[:-1]] for row in data])
    np.testing.assert_array_equal(theirs, np.stack(list(dataset.inputs))[:, :, 0])
    assert [row["target"].decode() for row in data] == labels_of(dataset)


def test_nan_at_the_end_of_a_file_without_a_header_is_a_shorter_sequence(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("1\t0.5\t1.5\tNaN\n1\t2.5\tNaN\tNaN\n-1\t0.5\tNaN\t3.5\n-1\t1.5\t2\t1\n")
    dataset = read(path)
    assert dataset.layout.target == "1"
    assert labels_of(dataset) == ["1", "1", "-1", "-1"]
    assert dataset.inputs.lengths.tolist() == [2, 1, 3, 3]  # type: ignore[union-attr]
    assert np.isnan(dataset.inputs[2][1, 0])


@settings(deadline=None, max_examples=25)
@given(data=st.data(), channels=st.integers(1, 3))
def test_any_numbers_in_binary_files(
    data: st.DataObject, channels: int, tmp_path_factory: Any
) -> None:
    number = st.floats(allow_nan=False, allow_infinity=False)
    step = st.lists(number, min_size=channels, max_size=channels)
    sequences = data.draw(st.lists(st.lists(step, min_size=1, max_size=5), min_size=1, max_size=5))
    folder: Path = tmp_path_factory.mktemp("p")
    rows = [
        {"id": i, "time": t, **{f"c{c}": v for c, v in enumerate(step)}, "label": "x"}
        for i, sequence in enumerate(sequences)
        for t, step in enumerate(sequence)
    ]
    pd.DataFrame(rows).to_parquet(folder / "a.parquet", index=False)
    names = [f"c{c}" for c in range(channels)]
    found = read(folder / "a.parquet", id="id", time="time", values=names, target="label")
    assert back(found) == sequences
    longest = max(map(len, sequences))
    X = np.zeros((len(sequences), longest, channels))
    for i, sequence in enumerate(sequences):
        X[i, : len(sequence)] = sequence
    np.savez(folder / "a.npz", X=X, lengths=list(map(len, sequences)))
    assert back(read(folder / "a.npz")) == sequences
