"""JSON as programs write it: lists, objects around lists, columns, objects per step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from elman.data import Dataset, Ragged, read
from elman.errors import DataError

WORDS = [{"tokens": ["a", "b"], "label": "x"}, {"tokens": ["b"], "label": "y"}]
STEPS: list[dict[str, Any]] = [
    {"id": "a", "label": "x", "steps": [{"t": 0, "x": 1.5}, {"t": 1, "x": 2.5}]},
    {"id": "b", "label": "y", "steps": [{"t": 0, "x": 3}, {"t": 2, "x": None}, {"t": 3, "x": 4}]},
]
FRAME = pd.DataFrame(
    {"id": ["a", "a", "b", "b"], "t": [0, 1, 0, 1], "x": [0.5, 1, 2, 4], "label": list("uuvv")}
)


def load(path: Path, content: str, **settings: Any) -> Dataset:
    path.write_text(content)
    return read(path, **settings)


def refusal(path: Path, text: str, **settings: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        load(path, text, **settings)
    return caught.value


def lists(data: Dataset) -> list[Any]:
    inputs = data.inputs
    return [own.tolist() for own in inputs] if isinstance(inputs, Ragged) else inputs


def labels(data: Dataset) -> list[Any]:
    assert isinstance(data.target, np.ndarray)
    return data.target.tolist()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.json"


def lines(records: list[Any], end: str = "") -> str:
    return "".join(json.dumps(record) + end + "\n" for record in records)


@pytest.mark.parametrize(
    ("text", "starts"),
    [
        (json.dumps(WORDS, indent=2), [2, 9]),
        (json.dumps(WORDS, indent="\t") + "\n", [2, 9]),
        (json.dumps(WORDS), None),
        ("[\n" + ",\n".join(map(json.dumps, WORDS)) + "\n]\n", [2, 3]),
        ("[" + ",\n".join(map(json.dumps, WORDS)) + "]", [1, 2]),
        (json.dumps({"version": 1, "data": WORDS}, indent=1), [4, 11]),
        (json.dumps({"result": {"count": 2, "items": WORDS}}, indent=1), [5, 12]),
        ('{"data": [\n' + ",\n".join(map(json.dumps, WORDS)) + '\n], "n": 2}', [2, 3]),
        ("\n".join(json.dumps(record, indent=2) for record in WORDS), [1, 8]),
        ("\ufeff" + "\n\n".join(map(json.dumps, WORDS)) + "\n\n", [1, 3]),
        (lines(WORDS, ","), [1, 2]),
        (lines([WORDS[0]]) + "\ufeff" + lines([WORDS[1]]), [1, 2]),
        (lines(WORDS).replace("\n", "\r\n"), [1, 2]),
        (json.dumps({"tokens": [["a", "b"], ["b"]], "label": ["x", "y"]}), None),
        (json.dumps({"r1": WORDS[0], "r2": WORDS[1]}, indent=1), [2, 9]),
    ],
)
@pytest.mark.parametrize("ending", [".json", ".jsonl"])
def test_forms_of_a_file_with_an_object_a_sequence(
    text: str, starts: list[int] | None, ending: str, path: Path
) -> None:
    data = load(path.with_suffix(ending), text)
    assert lists(data) == [["a", "b"], ["b"]]
    assert labels(data) == ["x", "y"]
    assert (None if data.lines is None else data.lines.tolist()) == starts
    # Where lines do not tell the objects apart, they are numbered.
    assert data.names == (["object 1", "object 2"] if starts is None else data.names)
    again = read(data.source, layout=data.layout)
    assert lists(again) == lists(data) and labels(again) == labels(data)


@pytest.mark.parametrize("orient", ["records", "columns", "index", "split", "table"])
def test_forms_of_pandas(orient: Any, path: Path) -> None:
    data = load(path, FRAME.to_json(orient=orient, indent=2))
    assert lists(data) == [[[0.5], [1.0]], [[2.0], [4.0]]]
    assert (labels(data), data.ids) == (["u", "v"], ("a", "b"))
    assert (data.layout.format, data.layout.id, data.layout.time) == ("steps", "id", "t")
    by_line = load(path, FRAME.to_json(orient="records", lines=True), layout=data.layout)
    assert lists(by_line) == lists(data)


def test_rows_of_values(path: Path) -> None:
    rows = [["id", "t", "x", "label"], *FRAME.to_numpy().tolist()]
    assert lists(load(path, json.dumps(rows))) == [[[0.5], [1.0]], [[2.0], [4.0]]]
    assert lists(load(path, "[[1, 2.5], [4]]")) == [[[1.0], [2.5]], [[4.0]]]
    assert lists(load(path, "[1, 2.5]\n[4]\n")) == [[[1.0], [2.5]], [[4.0]]]
    assert lists(load(path, '[["a", "b"], ["c"]]')) == [["a", "b"], ["c"]]
    assert lists(load(path, '["one text", "another"]')) == ["one text", "another"]
    fault = refusal(path, json.dumps([*rows[:3], [1, 2]], indent=1))
    assert (fault.line, fault.problem) == (20, "2 values, expected 4")


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("key", ["steps", "sequence", "data"])
def test_objects_per_step(key: str, indent: int | None, path: Path) -> None:
    found = [{**record, key: record["steps"]} for record in STEPS]
    for record in found:
        if key != "steps":
            del record["steps"]
    text = json.dumps(found, indent=indent)
    data = load(path, text if indent else lines(found))
    assert lists(data) == [
        [[1.5, 0.0], [2.5, 1.0]],
        [[3.0, 0.0], [pytest.approx(np.nan, nan_ok=True), 2.0], [4.0, 1.0]],
    ]
    assert (labels(data), data.ids, data.layout.time) == (["x", "y"], ("a", "b"), "t")
    assert data.lines is not None
    assert data.lines.tolist() == ([2, 16] if indent else [1, 2])
    note = f"each object is a sequence, and the objects under {key!r} are its steps"
    assert note in data.layout.notes
    alone = load(path, json.dumps({key: STEPS[1]["steps"], "id": "q"}), layout=data.layout)
    assert lists(alone)[0][0] == [3.0, 0.0] and alone.ids == ("q",)


def test_lists_per_channel(path: Path) -> None:
    found = [{"features": {"x": [1, 2], "y": [0.5, 4]}, "label": label} for label in "ab"]
    data = load(path, lines(found))
    assert data.layout.channels == ("features.x", "features.y")
    assert lists(data) == [[[1.0, 0.5], [2.0, 4.0]]] * 2
    assert "nested objects are read as keys such as 'features.x', 'features.y'" in data.layout.notes
    timed = [{"t": [0, 1], "acc": [[1, 2], [3, 4]], "kind": label} for label in "ab"]
    data = load(path, lines(timed), target="kind")
    assert (data.layout.channels, data.layout.time) == (("acc[1]", "acc[2]"), "t")
    alone = load(path, json.dumps({"t": [0, 1, 2], "acc": [[1, 2], [3, 4], [5, 6]]}))
    assert lists(alone) == [[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]]
    alone = read(path, layout=data.layout)
    assert lists(alone) == [[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]]
    # A name that was given is followed as before.
    named = load(path, lines(timed), target="kind", values="acc")
    assert named.layout.format == "jsonl" and named.layout.channels == ("acc[1]", "acc[2]")


def test_a_label_in_an_inner_object(path: Path) -> None:
    hits = [{"_id": i, "_source": {"values": [1, i], "label": "uv"[i]}} for i in range(2)]
    data = load(path, json.dumps({"took": 1, "hits": {"total": 2, "hits": hits}}))
    assert (data.layout.target, labels(data)) == ("_source.label", ["u", "v"])
    assert lists(data) == [[[1.0], [0.0]], [[1.0], [1.0]]]
    coordinates = [{"at": {"x": [1, 2.5], "y": [3, 4]}} for _ in range(2)]
    assert load(path, json.dumps(coordinates)).layout.channels == ("at.x", "at.y")


def test_objects_without_lists_are_rows(path: Path) -> None:
    log = [
        {"ts": f"2024-01-01T00:00:{i:02d}", "device": f"d{i // 10}", "temp": i % 7 + 0.5}
        | {"meta": {"on": i // 10 % 2 == 1}}
        for i in range(40)
    ]
    data = load(path, lines(log), target="meta.on")
    assert (data.layout.id, data.layout.time, data.layout.values) == ("device", "ts", ("temp",))
    assert labels(data) == ["false", "true", "false", "true"]
    words = [{"sent_id": i // 2, "token": w, "tag": t} for i, (w, t) in enumerate(["aX", "bY"] * 2)]
    assert lists(load(path, lines(words))) == [["a", "b"], ["a", "b"]]
    text = load(path, json.dumps({"text": ["good film", "dull"], "label": [1, 0]}))
    assert (text.layout.format, labels(text)) == ("jsonl", [1, 0])


def test_rows_that_lack_a_key_have_no_value_there(path: Path) -> None:
    log = [
        {"id": i // 5, "t": i % 5, "label": "ab"[i // 5 % 2], **({"x": i / 2} if i % 3 else {})}
        | ({"error": "E1"} if i == 7 else {})
        for i in range(20)
    ]
    data = load(path, lines(log))
    numbers = data.numbers
    assert numbers is not None
    np.testing.assert_array_equal(numbers[0][:, 0], [np.nan, 0.5, 1, np.nan, 2])
    note = "'x' is missing in 7 of 20 objects, and has no value there"
    assert note in data.layout.notes and data.layout.categories == ("error",)


def test_numbers_written_as_text(path: Path) -> None:
    found = [{"signal": ["1.5", "2", ""], "label": label} for label in "ab"]
    data = load(path, lines(found))
    np.testing.assert_array_equal(lists(data)[0], [[1.5], [2.0], [np.nan]])
    assert "'signal': numbers written as text are read as numbers" in data.layout.notes
    assert lists(load(path, lines(found).replace('""', '"c"'), text="signal"))[0][2] == "c"
    # Digits may be tokens.
    digits = load(path, lines([{"code": ["1", "0"], "label": "a"}]))
    assert lists(digits) == [["1", "0"]]
    table = [{**record, "x": str(record["x"])} for record in FRAME.to_dict("records")]
    assert lists(load(path, json.dumps(table))) == [[[0.5], [1.0]], [[2.0], [4.0]]]


@pytest.mark.parametrize(
    ("text", "line", "parts"),
    [
        (json.dumps({"train": WORDS, "test": WORDS}), None, ("'train', 'test'", "jq .train")),
        ("[{'tokens': ['a']}]", 1, ("double quotes",)),
        (json.dumps(WORDS, indent=2).replace("],", "]", 1), 7, ("',' delimiter",)),
        (json.dumps(WORDS, indent=2)[:-3], 14, ("ends too early",)),
        ('{"data": [\n' + ",\n".join(map(json.dumps, WORDS * 3)) + "\n", 8, ("ends too early",)),
        ('[\n{"tokens": ["a"], "label": "x"},\n]', 3, ("Remove the comma before ]",)),
        (json.dumps([*WORDS, {"tokens": ["a"]}], indent=2), 15, ("key 'label' is missing",)),
        (json.dumps([WORDS[0], 5], indent=2), 9, ("expected an object",)),
        ("[]", 1, ("the list is empty",)),
        ("5", 1, ("expected an object",)),
        ("[" * 50_000, 1, ("recursion",)),
        ('{"a":' * 50_000, 1, ("recursion",)),
        ('[\n{"sequence": [1, Infinity], "label": 1}]', 2, ("Infinity is no number",)),
        ('[\n\n{"tokens": ["\\ud800"], "label": 1}]', 3, ("surrogate",)),
        (json.dumps({"x": [[1, 2], [3, 4]], "z": [0.5, 1]}), None, ("--format rows",)),
        (json.dumps({"train": {"x": [[1]]}, "test": {"x": [[1]]}}), None, ("splits", "jq .train")),
        (lines([{"label": "a"}, {"label": "b", "x": [1]}]), None, ("no key is known",)),
        (lines([STEPS[0], {**STEPS[1], "steps": []}]), 2, ("empty sequence", "'steps'")),
        (lines([STEPS[0], {**STEPS[1], "steps": 5}]), 2, ("expected a list of objects",)),
        (lines([{"a": [1.5, 2], "b": [1], "label": 1}]), 1, ("'b' has 1 value, expected 2",)),
        (lines([{"a.b": 1, "a": {"b": 2}, "label": 1}]), 1, ("two keys are called 'a.b'",)),
        (lines([{"a": {"b": {"c": {"d": {"e": {"f": 1}}}}}, "x": [1]}]), 1, ("nested too deep",)),
    ],
)
def test_faults(text: str, line: int | None, parts: tuple[str, ...], path: Path) -> None:
    error = refusal(path, text)
    assert error.line == line, error
    assert all(part in str(error) for part in parts), error


def test_flags_decide_what_the_only_object_is(path: Path) -> None:
    text = json.dumps({"x": [[1, 2], [3, 4]], "label": ["a", "b"]})
    several = load(path, text)
    (guess,) = [guess for guess in several.layout.guesses if guess.role == "format"]
    assert (guess.flag, guess.change) == ("--format rows", "--format jsonl")
    assert lists(load(path, text, format="rows")) == lists(several)
    assert lists(several) == [[[1.0], [2.0]], [[3.0], [4.0]]]
    assert lists(load(path, text, layout=several.layout)) == lists(several)
    one = load(path, text, format="jsonl")
    assert lists(one) == [[[1.0, 2.0], [3.0, 4.0]]] and isinstance(one.target, Ragged)
    assert lists(load(path, text, layout=one.layout)) == lists(one)
    flat = json.dumps({"x": [0.5, 1.5, 3], "label": ["a", "b", "a"]})
    assert len(load(path, flat, format="steps")) == 1
