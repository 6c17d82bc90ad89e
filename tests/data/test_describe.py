"""The text that says how a file was understood."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from elman.data import Dataset, Layout, Ragged, describe, read, summarize, summary_text


def described(content: str, name: str, tmp_path: Path) -> list[str]:
    path = tmp_path / name
    path.write_text(content)
    text = describe(read(path)).replace(str(path), name)
    assert len(text.splitlines()) <= 14
    assert max(map(len, text.splitlines())) <= 100
    return text.splitlines()


def test_rows_of_text(tmp_path: Path) -> None:
    assert described("name,language\nIvanov,ru\nSmith,en\nLi,zh\n", "a.csv", tmp_path) == [
        "a.csv",
        "  format     one row a sequence, comma between cells",
        "  sequences  3, of 2 to 6 characters (median 5)",
        "  input      text, column 'name', split into characters (--tokens)",
        "  target     column 'language', one class per sequence, 3 classes",
        "             ru (1), en (1), zh (1)",
        "  first      line 2: 'Ivanov' -> ru",
        "Guessed; each flag overrides its guess:",
        "  --target language: by its name (sure)",
        "  --format rows: no column of sequence ids repeats (sure)",
        "  --text name: by its name (sure)",
    ]


def test_steps(tmp_path: Path) -> None:
    content = "id,time,a,b,note,label\nx,1,0.1,2,n,u\nx,2,0.2,3,m,u\ny,1,0.3,4,o,v\ny,2,0.4,5,p,v\n"
    assert described(content, "a.csv", tmp_path) == [
        "a.csv",
        "  format     one row a time step, comma between cells",
        "  sequences  2, each of 2 steps",
        "  input      numbers, 2 channels: a, b",
        "  target     column 'label', one class per sequence, 2 classes",
        "             u (1), v (1)",
        "  first      line 2: [0.1, 2], [0.2, 3] -> u",
        "Guessed; each flag overrides its guess:",
        "  --target label: by its name (sure)",
        "  --format steps: column 'id' repeats (sure)",
        "  --id id: by its name (sure)",
        "  --time time: by its name (sure)",
        "  --values a,b: the columns of numbers; left out: 'note' (likely)",
    ]


def test_tags(tmp_path: Path) -> None:
    lines = described('{"tokens": ["a", "b", "a"], "tags": ["O", "B", "O"]}\n', "a.jsonl", tmp_path)
    assert lines[3:7] == [
        "  input      tokens, key 'tokens', 2 different",
        "  target     key 'tags', a class at every step, 2 classes",
        "             O (2), B (1)",
        "  first      line 1: a/O b/B a/O",
    ]


def test_ts(tmp_path: Path) -> None:
    content = "@classLabel true a\n@data\n" + ",".join(["1.5"] * 9) + ":a\n"
    lines = described(content, "a.ts", tmp_path)
    assert lines[3:] == [
        "  input      numbers, 1 channel: channel 1",
        "  target     @classLabel, one class per sequence, 1 class",
        "             a (9)".replace("9", "1"),
        "  first      line 3: 1.5, 1.5, 1.5, 1.5, 1.5, 1.5, ... -> a",
    ]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (
            "text,label\n"
            + "word " * 500
            + ",x\n"
            + "".join(f"t,{'l' * 30}{i}\n" for i in range(50)),
            "a.csv",
        ),
        (
            ",".join(f"v{i}" for i in range(200))
            + ",y\n"
            + ",".join(["0.123456789"] * 200)
            + ",a\n",
            "a.csv",
        ),
        (
            '{"sequence": [' + ",".join(["[" + ",".join(["0.123456"] * 40) + "]"] * 9) + "]}\n",
            "a.jsonl",
        ),
        ("1,2,3\n4,5,6\n", "a.csv"),
        ("text\nonly\n", "a.csv"),
    ],
)
def test_large_things_are_shortened(content: str, name: str, tmp_path: Path) -> None:
    lines = described(content, name, tmp_path)
    assert lines[5 if "target     none" in "\n".join(lines) else 6].startswith("  first")


def test_nothing_to_show(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\na,x\nb,y\n")
    assert "none" in describe(read(path).take(np.array([], dtype=np.int64)))


@pytest.mark.parametrize("numbers", [True, False])
def test_generated_data_names_no_file_format(numbers: bool) -> None:
    steps = np.zeros((3, 2)) if numbers else np.array(["a", "b", "a"], dtype=object)
    layout = Layout(
        "rows",
        "numbers" if numbers else "tokens",
        target="label",
        text=None if numbers else "tokens",
        values=("u", "v") if numbers else (),
    )
    inputs = Ragged(steps, np.array([0, 1, 3]))
    data = Dataset(inputs, np.array(["x", "y"], dtype=object), "task copy", layout)
    assert describe(data).splitlines() == [
        "task copy",
        "  sequences  2, of 1 to 2 steps (median 2)",
        "  input      " + ("numbers, 2 channels: u, v" if numbers else "tokens, 2 different"),
        "  target     generated, one class per sequence, 2 classes",
        "             x (1), y (1)",
        "  first      " + ("[0, 0] -> x" if numbers else "a -> x"),
    ]


def test_doubtful_labels_are_told(tmp_path: Path) -> None:
    lines = described("text,label\na,1\nb,1.0\nc,one\n", "a.csv", tmp_path)
    doubt = "labels are numbers ('1', '1.0') and words ('one'): is one a mistake?"
    assert lines[-2:] == [
        "  --target label: one class or several? '1', '1.0'",
        f"  --target label: {doubt}",
    ]


def test_text_is_counted_in_the_units_it_is_split_into(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('review,label\n"the plot holds, and how",good\ntwo long hours and more,bad\n')
    data = read(path)
    # As the network reads it: five words and a comma, and five words.
    assert "sequences  2, of 5 to 6 words (median 6)" in describe(data)
    assert "column 'review', split into words (--tokens)" in describe(data)
    assert "sequences  2, each of 23 bytes" in describe(data, "bytes")
    figures = summarize(data)
    assert figures["lengths"]["unit"] == figures["tokens"]["what"] == "words"
    assert figures["lengths"]["max"] == 6
    assert "words: and (2)" in summary_text(data, figures)
