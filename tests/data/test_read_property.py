"""What is written comes back exactly, whatever it is."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.data import Dataset, Ragged, describe, read
from elman.errors import ElmanError

# Any character but NUL, half surrogates, and what csv cannot keep apart.
CHARACTERS = st.characters(exclude_characters="\0", exclude_categories=("Cs",))
TEXTS = st.text(CHARACTERS, min_size=1, max_size=12).filter(lambda s: s.strip())
NUMBERS = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300)
LABELS = st.sampled_from(["a", "b b", "ü", "x,y", 'q"'])


def back(dataset: Dataset) -> list[Any]:
    assert isinstance(dataset.inputs, Ragged)
    return [sequence.tolist() for sequence in dataset.inputs]


@settings(deadline=None, max_examples=60)
@given(
    rows=st.lists(st.tuples(TEXTS, LABELS), min_size=1, max_size=8), mark=st.sampled_from(",;\t")
)
def test_texts_in_csv(rows: list[tuple[str, str]], mark: str, tmp_path_factory: Any) -> None:
    path: Path = tmp_path_factory.mktemp("p") / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=mark, quoting=csv.QUOTE_ALL)
        writer.writerows([("text", "label"), *rows])
    data = read(path)
    assert data.inputs == [text for text, _ in rows]
    assert list(data.target) == [label for _, label in rows]  # type: ignore[arg-type]
    # Each line number is where the row begins.
    content = path.read_text(encoding="utf-8")
    assert data.lines is not None
    for (text, _), line in zip(rows, data.lines, strict=True):
        if not set(text) & set("\r\n"):
            start = content.replace("\r\n", "\n").replace("\r", "\n").split("\n")[line - 1]
            assert start.startswith('"' + text.replace('"', '""') + '"')


@settings(deadline=None, max_examples=40)
@given(rows=st.lists(st.lists(NUMBERS, min_size=1, max_size=6), min_size=2, max_size=6))
def test_numbers_in_rows(rows: list[list[float]], tmp_path_factory: Any) -> None:
    path: Path = tmp_path_factory.mktemp("p") / "a.csv"
    width = max(3, *map(len, rows))
    header = ",".join([f"v{i}" for i in range(width)] + ["label"])
    lines = [",".join([*map(repr, row), *[""] * (width - len(row)), "x"]) for row in rows]
    path.write_text("\n".join([header, *lines]))
    assert back(read(path)) == [[[v] for v in row] for row in rows]


@settings(deadline=None, max_examples=40)
@given(data=st.data(), channels=st.integers(1, 3))
def test_numbers_in_steps_jsonl_and_ts(
    data: st.DataObject, channels: int, tmp_path_factory: Any
) -> None:
    step = st.lists(NUMBERS, min_size=channels, max_size=channels)
    sequences = data.draw(st.lists(st.lists(step, min_size=2, max_size=5), min_size=1, max_size=5))
    folder: Path = tmp_path_factory.mktemp("p")
    names = [f"c{i}" for i in range(channels)]

    steps = [",".join(["id", "time", *names, "label"])]
    for i, sequence in enumerate(sequences):
        steps += [",".join([str(i), str(t), *map(repr, v), "x"]) for t, v in enumerate(sequence)]
    (folder / "a.csv").write_text("\n".join(steps))

    lines = [json.dumps({"sequence": sequence, "label": "x"}) for sequence in sequences]
    (folder / "a.jsonl").write_text("\n".join(lines))

    cases = [
        ":".join([*(",".join(repr(v[c]) for v in sequence) for c in range(channels)), "x"])
        for sequence in sequences
    ]
    (folder / "a.ts").write_text("\n".join(["@classLabel true x", "@data", *cases]))

    for name in ("a.csv", "a.jsonl", "a.ts"):
        dataset = read(folder / name)
        assert back(dataset) == sequences, name
        assert dataset.target is not None and set(dataset.target) == {"x"}
        assert isinstance(dataset.inputs, Ragged) and dataset.inputs.values.dtype == np.float64


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_tokens_and_tags_in_jsonl(data: st.DataObject, tmp_path_factory: Any) -> None:
    path: Path = tmp_path_factory.mktemp("p") / "a.jsonl"
    pair = st.tuples(st.text(CHARACTERS, min_size=1, max_size=5), st.sampled_from("OBI"))
    lines = data.draw(st.lists(st.lists(pair, min_size=1, max_size=5), min_size=1, max_size=5))
    ascii_only = data.draw(st.booleans())
    path.write_text(
        "\n".join(
            json.dumps(
                {"tokens": [t for t, _ in x], "tags": [g for _, g in x]}, ensure_ascii=ascii_only
            )
            for x in lines
        ),
        encoding="utf-8",
    )
    dataset = read(path, labelled=True)
    assert back(dataset) == [[t for t, _ in x] for x in lines]
    assert isinstance(dataset.target, Ragged) and dataset.layout.per_step
    assert [tags.tolist() for tags in dataset.target] == [[g for _, g in x] for x in lines]


PIECES = [*",;:\t\n\r@#?{}[]\\ ", '"', "null", "true", "NaN", "1e999", "-1", "@data", "\u2028", "é",
          "\0", "id", "label", "[]", '""', "\n\n"]  # fmt: skip
VALID = {
    "a.csv": "id,time,a,b,label\nx,1,0.1,0.2,up\nx,2,0.3,0.4,up\ny,1,0.5,0.6,down\n",
    "b.csv": "label,v1,v2,v3\na,1,2,\nb,3,4,5\n",
    "a.jsonl": '{"tokens": ["a", "b"], "label": "x"}\n{"tokens": ["b"], "label": "y"}\n',
    "b.jsonl": '{"sequence": [[1, 2], [3, 4]], "tags": ["a", "b"]}\n',
    "a.ts": "@univariate false\n@equalLength true\n@classLabel true a b\n@data\n1,2:3,4:a\n",
}


@pytest.mark.parametrize("name", VALID)
def test_a_damaged_file_is_read_or_refused_and_never_crashes(name: str, tmp_path: Path) -> None:
    random = Random(0)
    path = tmp_path / name
    path.write_text(VALID[name])
    layout = read(path).layout
    refused = 0
    for _ in range(400):
        content = VALID[name]
        for _ in range(random.randint(1, 3)):
            at = random.randrange(len(content) + 1)
            content = (
                content[:at] + random.choice(PIECES) + content[at + random.choice([0, 1, 5]) :]
            )
        path.write_bytes(content.encode())
        settings: dict[str, Any] = random.choice([{}, {"labelled": True}, {"layout": layout}])
        try:
            assert describe(read(path, **settings))
        except ElmanError as error:
            assert str(error).startswith(str(path))
            refused += 1
    assert 0 < refused < 400
