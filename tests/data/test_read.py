"""Files are understood without flags, and as the flags say where they say something."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elman.data import Dataset, Ragged, read
from elman.data.dataset import Layout

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(content: str, name: str = "a.csv") -> Path:
        path = tmp_path / name
        path.write_text(content, encoding="utf-8", newline="")
        return path

    return write


def inputs(dataset: Dataset) -> list[Any]:
    """Return the sequences as lists."""
    assert isinstance(dataset.inputs, Ragged)
    return [sequence.tolist() for sequence in dataset.inputs]


def labels(dataset: Dataset) -> list[Any]:
    """Return the labels as a list, or as lists where there is one a step."""
    assert dataset.target is not None
    return [x.tolist() if isinstance(x, np.ndarray) else x for x in dataset.target]


STEPS = "series,time,a,b,mood\nx,1,0.1,2,up\nx,2,0.2,3,up\ny,1,0.3,4,down\ny,2,0.4,5,down\n"

# content, name of the file, and what the layout must be.
LAYOUTS: list[tuple[str, str, dict[str, Any]]] = [
    ("name,language\nIvanov,ru\nSmith,en\n", "a.csv", {"format": "rows", "kind": "text",
     "text": "name", "target": "language"}),
    ("Text\tLabel\nhello there\tx\nbye\ty\n", "a.tsv", {"text": "Text", "target": "Label",
     "delimiter": "\t"}),
    ("text;label\nhello, there;x\nbye;y\n", "a.csv", {"text": "text", "delimiter": ";"}),
    ("what,kind\none,p\ntwo,p\nthree,q\nfour,q\n", "a.csv", {"text": "what", "target": "kind"}),
    ("id,text,label\n1,hello,x\n2,bye,y\n", "a.csv", {"text": "text", "target": "label"}),
    ("id,remark,label\n1,hello,x\n2,bye,y\n", "a.csv", {"text": "remark", "values": ()}),
    (",remark,label\n0,hello,x\n1,bye,y\n", "a.csv", {"text": "remark", "values": ()}),
    ("bits,label\n0101,1\n0111,0\n", "a.csv", {"kind": "text", "text": "bits"}),
    ("sequence,label\nMKV,a\nMKV,a\nAAV,b\n", "a.csv", {"kind": "text", "text": "sequence"}),
    ("v1,v2,v3,label\n1,2,3,a\n4,5,6,b\n", "a.csv", {"format": "rows", "kind": "numbers",
     "values": ("v1", "v2", "v3"), "target": "label"}),
    ("id,v1,v2,v3,label\n1,1,2,3,a\n2,4,5,6,b\n", "a.csv", {"values": ("v1", "v2", "v3")}),
    (",v1,v2,v3,label\n0,1,2,3,a\n1,4,5,6,b\n", "a.csv", {"values": ("v1", "v2", "v3")}),
    ("v1,v2,v3,who\n1,2,3,a\n4,5,6,b\n", "a.csv", {"values": ("v1", "v2", "v3"), "target": "who"}),
    ("v1,v2,y\n1,2,0\n4,5,1\n", "a.csv", {"values": ("v1", "v2"), "target": "y"}),
    (STEPS, "a.csv", {"format": "steps", "kind": "numbers", "id": "series", "time": "time",
     "values": ("a", "b"), "target": "mood", "per_step": False}),
    (STEPS.replace("mood", "label").replace("3,up", "3,down"), "a.csv", {"format": "steps",
     "target": "label", "per_step": True}),
    ("id,token,tag\n1,the,D\n1,cat,N\n2,a,D\n2,dog,N\n", "a.csv", {"format": "steps",
     "kind": "tokens", "text": "token", "target": "tag", "per_step": True, "time": None}),
    ("id,nucleotide,label\n1,A,x\n1,C,x\n2,G,y\n2,T,y\n", "a.csv", {"kind": "tokens",
     "text": "nucleotide", "per_step": False}),
    ("item_id;timestamp;v;class\n1;2024-01-01;1;a\n1;2024-01-02T10:00;1;a\n2;2024-01-01;3;b\n",
     "a.csv", {"format": "steps", "id": "item_id", "time": "timestamp", "values": ("v",)}),
    ("trial,activity,x,y,z\n1,sit,1,2,3\n1,sit,1,2,4\n2,run,3,4,5\n2,sit,1,1,1\n", "a.csv",
     {"id": "trial", "values": ("x", "y", "z"), "target": "activity", "per_step": True}),
    ("sentence_id,word,pos,tag\n1,the,D,O\n1,cat,N,O\n2,Bob,P,B\n2,ran,V,O\n", "a.csv",
     {"id": "sentence_id", "text": "word", "target": "tag", "per_step": True}),
    ("tweet,date,user_id,label\nhi,2024-01-01,1,x\nho,2024-01-01,1,y\n", "a.csv",
     {"format": "rows", "text": "tweet", "target": "label"}),
    ('{"tokens": ["a"], "label": 1}\n', "a.jsonl", {"format": "jsonl", "kind": "tokens",
     "text": "tokens", "target": "label"}),
    ('{"text": "a b", "label": 1}\n', "a.json", {"kind": "text", "text": "text"}),
    ('{"text": "a b", "tokens": ["a"], "tags": ["O"]}\n', "a.ndjson", {"kind": "tokens",
     "target": "tags", "per_step": True}),
    ('{"sequence": [1, 2.5], "label": true}\n', "a.jsonl", {"kind": "numbers",
     "values": ("sequence",), "text": None}),
    ('{"sequence": [[1, 2]], "y": "u"}\n', "a.jsonl", {"values": ("sequence[1]", "sequence[2]")}),
    ('{"sequence": ["a", "b"], "label": 1}\n', "a.jsonl", {"kind": "tokens", "text": "sequence"}),
    ('{"text": "a", "label": 1}\n', "a.txt", {"format": "jsonl"}),
    ("# c\n@classLabel true a b\n@DATA\n1,2:a\n", "a", {"format": "ts", "target": "class"}),
    ("@univariate false\n@classLabel true a b\n@data\n1,2:3,4:a\n", "a.ts", {"format": "ts",
     "kind": "numbers", "values": ("channel 1", "channel 2")}),
    ("text,label\na,b\n", "a.txt", {"format": "rows", "kind": "text"}),
]  # fmt: skip


@pytest.mark.parametrize(("content", "name", "expected"), LAYOUTS)
def test_layout_is_guessed_and_reads_the_same_again(
    content: str, name: str, expected: dict[str, Any], write: Write
) -> None:
    path = write(content, name)
    first = read(path, labelled=True)
    assert {key: getattr(first.layout, key) for key in expected} == expected
    again = read(path, layout=first.layout, labelled=True)
    assert not again.layout.notes or again.layout.notes == first.layout.notes[:1]
    assert _same_but_notes(again.layout, first.layout)
    assert labels(again) == labels(first)
    if isinstance(first.inputs, list):
        assert again.inputs == first.inputs
    else:
        assert inputs(again) == inputs(first)


def _same_but_notes(a: Layout, b: Layout) -> bool:
    keys = [key for key in vars(a) if key not in ("guesses", "notes")]
    return all(getattr(a, key) == getattr(b, key) for key in keys)


def test_rows_of_numbers_end_at_the_trailing_empty_cells(write: Write) -> None:
    data = read(write("label,v1,v2,v3\na,1,2,3\n b ,4,,\n"))
    assert inputs(data) == [[[1], [2], [3]], [[4]]]
    assert labels(data) == ["a", "b"]
    assert data.lines is not None and data.lines.tolist() == [2, 3]


def test_no_header_when_all_of_the_first_line_is_numbers(write: Write) -> None:
    data = read(write("1\t0.5\t0.6\n2\t0.7\t\n"), target="1")
    assert not data.layout.header and data.layout.values == ("2", "3")
    assert inputs(data) == [[[0.5], [0.6]], [[0.7]]] and labels(data) == ["1", "2"]


def test_steps_give_ids_lines_and_both_channels(write: Write) -> None:
    data = read(write(STEPS))
    assert data.ids == ("x", "y") and labels(data) == ["up", "down"]
    assert inputs(data) == [[[0.1, 2], [0.2, 3]], [[0.3, 4], [0.4, 5]]]
    assert data.lines is not None and data.lines.tolist() == [2, 4]


def test_flags_win_over_guesses(write: Write) -> None:
    data = read(write(STEPS), values="b", target="a", id="series")
    assert data.layout.values == ("b",) and data.layout.target == "a" and data.layout.per_step
    rows = read(write(STEPS), format="rows", values=["a", "b"])
    assert rows.layout.format == "rows" and len(rows) == 4
    ranged = read(write("label,v1,v2,v3,v4\na,1,2,3,4\nb,5,6,7,8\n"), values="v2:v3,v4")
    assert ranged.layout.values == ("v2", "v3", "v4")
    keyed = read(write('{"w": ["a"], "c": 1, "x": [1]}\n', "a.jsonl"), text="w", target="c")
    assert inputs(keyed) == [["a"]] and labels(keyed) == [1]
    numbers = read(write('{"w": ["a"], "x": [[1, 2]]}\n', "a.jsonl"), values="x")
    assert inputs(numbers) == [[[1, 2]]] and numbers.target is None


@pytest.mark.parametrize("value", ["x", 3, True])
def test_json_labels_keep_their_type(value: Any, write: Write) -> None:
    import json

    data = read(write(json.dumps({"text": "a", "label": value}) + "\n", "a.jsonl"))
    assert labels(data) == [value] and type(labels(data)[0]) is type(value)


def test_lines_are_right_after_quoted_newlines_and_blank_lines(write: Write) -> None:
    content = 'text,label\r\n"a\r\n""b"", c",x\r\n\r\nd,y\r\n"e\nf",z\r\n\r\n'
    data = read(write(content))
    assert data.inputs == ['a\r\n"b", c', "d", "e\nf"]
    assert data.lines is not None and data.lines.tolist() == [2, 5, 6]


def test_byte_order_mark_is_no_part_of_a_name(write: Write) -> None:
    assert read(write("\ufefftext,label\na,b\n")).layout.text == "text"
    assert read(write('\ufeff{"text": "a"}\n', "a.jsonl")).inputs == ["a"]


def test_ts_ignores_comments_and_case_of_tags(write: Write) -> None:
    content = "#c\n@Univariate false\n@CLASSLABEL true A b\n\n@data\n#c\n1,2: 3 ,4: A \n\n5:6:b\n"
    data = read(write(content, "a.ts"))
    assert inputs(data) == [[[1, 3], [2, 4]], [[5, 6]]] and labels(data) == ["A", "b"]
    assert data.lines is not None and data.lines.tolist() == [7, 9]


def test_unlabelled_files(write: Write) -> None:
    ts = read(write("@classLabel false\n@data\n1,2:3,4\n", "a.ts"))
    assert ts.target is None and inputs(ts) == [[[1, 3], [2, 4]]]
    ignored = read(write("v1,v2,y\n1,2,0\n4,5,1\n"), labelled=False)
    assert ignored.target is None and inputs(ignored) == [[[1], [2]], [[4], [5]]]
    assert read(write("text\nhello\n")).target is None


@pytest.mark.parametrize(
    ("train", "new", "name"),
    [
        ("name,language\na,x\nb,y\n", "name\na\nb\n", "a.csv"),
        ("name,language\na,x\nb,y\n", "other,name\n1,a\n2,b\n", "a.csv"),
        ("v1,v2,label\n1,2,x\n3,4,y\n", "v1,v2\n1,2\n3,4\n", "a.csv"),
        (STEPS, STEPS.replace("mood", "remark"), "a.csv"),
        ('{"text": "a", "label": 1}\n', '{"text": "a"}\n', "a.jsonl"),
        (
            '{"sequence": [[1, 2]], "label": 1}\n',
            '{"sequence": [[1, 2]], "language": "z"}\n',
            "a.jsonl",
        ),
        (
            "@classLabel true a\n@data\n1,2:a\n",
            "@classLabel false\n@data\n1,2\n",
            "a.ts",
        ),
    ],
)
def test_prediction_reads_a_file_without_the_target(
    train: str, new: str, name: str, write: Write
) -> None:
    from elman.errors import DataError

    layout = read(write(train, name), labelled=True).layout
    path = write(new, name)
    data = read(path, layout=layout)
    assert data.target is None and data.layout.target is None and not data.layout.per_step
    with pytest.raises(DataError):
        read(path, layout=layout, labelled=True)


@pytest.mark.parametrize(
    ("train", "new", "name", "part"),
    [
        (
            '{"sequence": [[1, 2]], "label": 1}\n',
            '{"sequence": [[1, 2, 3]], "label": 1}\n',
            "a.jsonl",
            "3 channels, expected 2",
        ),
        (
            "@classLabel true a\n@data\n1,2:3,4:a\n",
            "@classLabel true a\n@data\n1,2:a\n",
            "a.ts",
            "1 channel, expected 2",
        ),
        (STEPS, STEPS.replace(",b,", ",c,"), "a.csv", "there is no column 'b'"),
        ("text,label\na,x\n", "1,2\n3,4\n", "a.csv", "holds only numbers"),
        ("1,2,3\n4,5,6\n", "1,2\n3,4\n", "a.csv", "there is no column '3'"),
        (
            '{"text": "a", "label": 1}\n',
            '{"text": ["a"], "label": 1}\n',
            "a.jsonl",
            "expected text",
        ),
        (
            '{"text": "a", "label": 1}\n',
            '{"text": "a"}\n{"text": "a", "label": 1}\n',
            "a.jsonl",
            "not on the first line",
        ),
        (
            "id,t,v,label\nx,1,1,a\nx,2,1,a\ny,1,1,b\ny,2,1,b\n",
            "id,t,v,label\nx,1,1,a\nx,2,1,b\n",
            "a.csv",
            "'b' differs from 'a'",
        ),
    ],
)
def test_another_file_that_does_not_fit_the_layout(
    train: str, new: str, name: str, part: str, write: Write
) -> None:
    from elman.errors import DataError

    layout = read(write(train, name)).layout
    with pytest.raises(DataError) as caught:
        read(write(new, name), layout=layout)
    assert part in str(caught.value)


def test_another_format_than_the_layout_needs_a_word(write: Write) -> None:
    from elman.errors import DataError

    layout = read(write("id,token,label\n1,a,x\n1,b,x\n2,c,y\n2,d,y\n")).layout
    path = write('{"tokens": ["a", "b"], "label": "x"}\n', "b.jsonl")
    with pytest.raises(DataError, match="--format jsonl"):
        read(path, layout=layout)
    assert inputs(read(path, layout=layout, format="jsonl")) == [["a", "b"]]
    text = write('{"text": "ab", "label": "x"}\n', "b.jsonl")
    with pytest.raises(DataError, match="are text, expected tokens"):
        read(text, layout=layout, format="jsonl")


def test_columns_the_layout_does_not_name_are_noted(write: Write) -> None:
    layout = read(write("v1,v2,v3,label\n1,2,3,x\n3,4,5,y\n")).layout
    data = read(write("v1,v2,v3,v4,label\n1,2,3,4,x\n3,4,5,6,y\n"), layout=layout)
    assert data.layout.values == ("v1", "v2", "v3")
    assert any("'v4'" in note for note in data.layout.notes)


def test_a_long_text_is_not_a_fault(write: Write) -> None:
    import csv

    limit = csv.field_size_limit()
    long = "ab" * 200_000
    assert read(write(f"text,label\n{long},x\n")).inputs == [long]
    assert csv.field_size_limit() == limit


def test_many_rows_take_seconds(write: Write) -> None:
    rows = "".join(f"{i // 100},{i % 100},0.25,{i % 7}.5,u\n" for i in range(300_000))
    path = write("id,time,a,b,label\n" + rows)
    start = time.perf_counter()
    data = read(path)
    # About a second on one core; the bound only catches what is quadratic.
    assert time.perf_counter() - start < 20
    assert len(data) == 3000 and data.inputs[0].shape == (100, 2)  # type: ignore[union-attr]


def test_import_is_light() -> None:
    heavy = ("torch", "pyarrow", "pandas")
    code = f"import elman.data, sys; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
