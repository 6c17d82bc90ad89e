"""The figures of a dataset, and what is worth a look in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elman.data import load_task, read, summarize, summary_text


def found(content: str, tmp_path: Path, test: str | None = None, **flags: Any) -> dict[str, Any]:
    path = tmp_path / "a.csv"
    path.write_text(content)
    dataset = read(path, **flags)
    other = None
    if test is not None:
        (tmp_path / "b.csv").write_text(test)
        other = read(tmp_path / "b.csv", layout=dataset.layout)
    figures = summarize(dataset, other)
    assert json.loads(json.dumps(figures)) is not None
    text = summary_text(dataset, figures)
    for warning in figures["warnings"]:
        assert warning in text
    return figures


def steps(rows: dict[str, list[Any]], n: int = 24) -> str:
    """A table of n sequences of two steps; each column repeats what it is given."""
    head = ["id", "t", *rows]
    lines = [
        ",".join(
            map(str, [f"s{i // 2}", i % 2, *(cells[i % len(cells)] for cells in rows.values())])
        )
        for i in range(2 * n)
    ]
    return "\n".join([",".join(head), *lines])


LABELS = ["x", "x", "y", "y"]
NOISE = np.random.default_rng(0).normal(size=48).round(3).tolist()


def test_figures(tmp_path: Path) -> None:
    gappy = [value if i % 4 else "" for i, value in enumerate(NOISE)]
    figures = found(steps({"a": NOISE, "b": gappy, "label": LABELS}), tmp_path)
    assert figures["sequences"] == 24
    assert figures["lengths"] == {"min": 2, "median": 2.0, "max": 2, "unit": "steps"}
    a, b = figures["channels"]
    assert (a["name"], a["min"], a["max"], a["missing"]) == ("a", min(NOISE), max(NOISE), 0)
    assert a["mean"] == pytest.approx(np.mean(NOISE)) and a["deviation"] == pytest.approx(
        np.std(NOISE)
    )
    there = [value for value in gappy if value != ""]
    assert (b["missing"], b["mean"]) == (12, pytest.approx(np.mean(there)))
    assert figures["missing"] == 12
    assert figures["target"] == {"name": "label", "per_step": False, "classes": {"x": 12, "y": 12}}
    assert figures["repeats"] == {"sequences": 0, "contradicting": 0}
    assert figures["warnings"] == []


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        ({"a": NOISE, "b": [1], "label": LABELS}, ["constant, so without information: 'b'"]),
        ({"a": NOISE, "b": [3, 3, 7, 7], "label": LABELS}, ["'b' determines the label"]),
        ({"a": NOISE, "b": [3, 7], "tag": ["u", "v"]}, ["'b' determines the label"]),
        ({"a": NOISE, "b": list(range(48)), "label": LABELS}, ["'b' only counts or names"]),
        (
            {"a": NOISE, "b": [i // 2 * 7 % 31 for i in range(48)], "label": LABELS},
            ["'b' only counts or names"],
        ),
        ({"a": [*NOISE[:47], -999], "label": LABELS}, ["'a' is -999 at 1 value", "--missing -999"]),
        ({"a": [*NOISE[:47], -50], "label": LABELS}, []),
        ({"a": NOISE, "b": [1e6 * v for v in NOISE], "label": LABELS}, ["differ in scale"]),
        ({"a": NOISE, "b": ["", "", 5, ""], "label": LABELS}, ["'b' is missing in 75%"]),
        ({"a": NOISE, "label": ["x"]}, ["every label is 'x'"]),
        ({"a": NOISE, "label": ["X", "X", "x ", "x"]}, ["one class or several? 'X', 'x'"]),
        ({"a": NOISE, "label": ["1", "1", "1.0", "1.0"]}, ["one class or several? '1', '1.0'"]),
        ({"a": NOISE, "label": ["1", "1", "one", "one"]}, ["numbers ('1') and words ('one')"]),
        ({"a": NOISE, "label": ["x"] * 46 + ["y"] * 2}, ["1 class of fewer than 10", "y (1)"]),
        ({"a": [1, 2, 1, 2], "label": LABELS}, ["repeated with different labels", ": 1 sequence"]),
    ],
)
def test_warnings(rows: dict[str, list[Any]], parts: list[str], tmp_path: Path) -> None:
    values = ",".join(name for name in rows if name not in ("label", "tag"))
    warnings = "\n".join(found(steps(rows), tmp_path, values=values)["warnings"])
    for part in parts:
        assert part in warnings
    if not parts:
        assert warnings == ""


def test_far_values(tmp_path: Path) -> None:
    content = steps({"a": [*NOISE * 40, -777], "label": LABELS}, n=980)
    warnings = found(content, tmp_path)["warnings"]
    assert any("'a' has a value" in w and "say --missing -777" in w for w in warnings)


def test_long_sequences(tmp_path: Path) -> None:
    rows = [f"{i},{'xy'[i % 2]},{'ab' * 1500}" for i in range(20)]
    figures = found("\n".join(["number,label,text", *rows]), tmp_path)
    assert figures["lengths"] == {"min": 3000, "median": 3000.0, "max": 3000, "unit": "characters"}
    assert "20 sequences of more than 2,000 steps" in figures["warnings"][0]
    assert figures["tokens"]["different"] == 2


def test_a_test_part(tmp_path: Path) -> None:
    head = "text,label\n"
    figures = found(head + "ab,x\nab,x\ncd,y\n", tmp_path, head + "ab,x\nef,z\n")
    assert figures["repeats"] == {"sequences": 1, "contradicting": 0}
    assert figures["test"] == {
        "source": str(tmp_path / "b.csv"),
        "sequences": 2,
        "repeats": 1,
        "classes": {"x": 1, "z": 1},
        "classes_unseen": ["z"],
        "classes_absent": ["y"],
    }
    assert any("are in the training split" in warning for warning in figures["warnings"])


def test_tokens_and_tasks() -> None:
    for name in ("digits", "running-parity"):
        training, test = load_task(name, 0)
        figures = summarize(training, test)
        assert figures["test"]["sequences"] == len(test)
        assert summary_text(training, figures)


def test_categories(tmp_path: Path) -> None:
    rows = {"a": NOISE, "mood": ["glad", "sad", "", "glad"], "label": LABELS}
    path = tmp_path / "a.csv"
    path.write_text(steps(rows))
    dataset = read(path, categories="mood")
    figures = summarize(dataset)
    mood = {"name": "mood", "different": 2, "common": [("glad", 24), ("sad", 12)], "missing": 12}
    assert figures["channels"][-1] == mood
    line = next(x for x in summary_text(dataset, figures).splitlines() if "2 different" in x)
    assert line.split() == ["mood", "2", "different", "glad", "(24),", "sad", "(12)", "12"]
