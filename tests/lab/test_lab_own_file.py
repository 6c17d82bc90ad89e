"""A file of the user's own in the page: how it is read, and that elman trains alike on it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from training_cases import as_tensors, choices, open_trainer, train_steps

from elman import SequenceClassifier, SequenceRegressor
from elman.estimators.defaults import DataStatistics, choose
from elman.settings import ModelSettings, TrainingSettings

RNG = np.random.default_rng(4)


@pytest.fixture(scope="module")
def trainer(browser: Any, tmp_path_factory: Any) -> Any:
    yield from open_trainer(browser, tmp_path_factory.mktemp("own"), {})


def read(trainer: Any, text: str) -> Any:
    return trainer.run(f"readOwn({json.dumps(text)})")


def sequences_of(split: Any) -> list[np.ndarray]:
    ends = np.cumsum(split["lengths"])
    return np.split(np.array(split["x"]), ends[:-1])


def numbers_file(rows: int = 60, *, header: bool = True, comma: bool = False) -> str:
    lines = []
    for _ in range(rows):
        x = RNG.normal(3, 2, RNG.integers(3, 7))
        cells = [f"{v:.3f}" for v in x] + [""] * (6 - len(x)) + ["up" if x[-1] > x[0] else "down"]
        text = (";" if comma else ",").join(cells)
        lines.append(text.replace(".", ",") if comma else text)
    names = [f"v{i}" for i in range(6)] + ["label"]
    return "\n".join([(";" if comma else ",").join(names)] * header + lines) + "\n"


@pytest.mark.parametrize(("header", "comma"), [(True, False), (False, True)])
def test_numbers_with_classes(trainer: Any, monkeypatch: Any, header: bool, comma: bool) -> None:
    text = numbers_file(header=header, comma=comma)
    task = read(trainer, text)
    assert task["outputs"]["names"] == ["down", "up"]
    rows = [line.split(";" if comma else ",") for line in text.splitlines()[header:]]
    if comma:
        rows = [[cell.replace(",", ".") for cell in row] for row in rows]
    known = {(tuple(float(c) for c in row[:-1] if c), row[-1]) for row in rows}
    found = {
        (tuple(x), task["outputs"]["names"][y])
        for split in (task["train"], task["test"])
        for x, y in zip(sequences_of(split), split["target"], strict=True)
    }
    assert found == known and len(task["test"]["target"]) == 12
    assert "last column" in " ".join(task["rows"]) or "label" in " ".join(task["rows"])
    # elman trains the same network on the training rows that the page has chosen.
    X = [x[:, None] for x in sequences_of(task["train"])]
    y = np.array(["down", "up"], dtype=object)[task["train"]["target"]]
    estimator = SequenceClassifier(
        cell="lstm", hidden_size=8, bidirectional=False, readout="last", random_state=0
    )
    prepared = estimator.prepare(X, y)
    for key, value in task["settings"].items():
        assert value == getattr(prepared.plan, key, getattr(prepared.config, key, None)), key
    losses, weights = train_steps(monkeypatch, prepared, 20)
    chosen = json.dumps(choices(("lstm", "tanh")))
    same = trainer.run(f"runTraining(known['own file: data.csv'], {chosen}, 20)")
    np.testing.assert_allclose([s["loss"] for s in same["steps"]], losses, atol=1e-4)
    for name, value in as_tensors(same["weights"], weights).items():
        np.testing.assert_allclose(value, weights[name], atol=1e-4)


def test_tokens_text_and_numbers_to_predict(trainer: Any, monkeypatch: Any) -> None:
    words = [[str(RNG.choice(["red", "blue", "green"])) for _ in range(4)] for _ in range(30)]
    rows = "\n".join(",".join([*w, "yes" if w[0] == "red" else "no"]) for w in words)
    task = read(trainer, rows)
    assert task["vocabulary"] == ["<pad>", "<unknown>", "blue", "green", "red"]
    text = "text,label\n" + "\n".join(f'"{"".join(w)}, x",{i % 3}' for i, w in enumerate(words))
    task = read(trainer, text)
    assert task["outputs"]["names"] == ["0", "1", "2"] and "," in task["vocabulary"]
    assert max(task["train"]["lengths"]) <= 23
    x = RNG.normal(size=(40, 5))
    task = read(trainer, "\n".join(",".join(f"{v:.4f}" for v in [*row, row.sum()]) for row in x))
    assert task["config"]["task"] == "regression"
    X = [s[:, None] for s in sequences_of(task["train"])]
    mean, scale = task["outputs"]["mean"][0], task["outputs"]["scale"][0]
    y = np.array(task["train"]["target"]) * scale + mean
    estimator = SequenceRegressor(
        hidden_size=8, bidirectional=False, readout="last", random_state=0
    )
    losses, _ = train_steps(monkeypatch, estimator.prepare(X, y), 20)
    chosen = json.dumps(choices())
    same = trainer.run(f"runTraining(known['own file: data.csv'], {chosen}, 20)")
    np.testing.assert_allclose([s["loss"] for s in same["steps"]], losses, atol=1e-4)
    assert torch.tensor(losses).isfinite().all()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "The file is empty"),
        ("abc\n", "Line 1 has a single cell"),
        ("1,2,a\n" * 5, "5 rows of data, expected 10"),
        ("1,2,a\n" * 6000, "6,000 rows of data"),
        ("1,2,a\n" * 12, 'Every label is "a"'),
        ("1,2,a\n" * 10 + "1,,3,b\n", "Line 11, value 2 is empty"),
        ("1,2,a\n" * 10 + "1,2,\n", "Line 11 has no label"),
        ("1,2,a\n" * 10 + ",,b\n", "Line 11 has 0 steps"),
        (("1," * 501 + "a\n") * 10, "Line 1 has 501 steps"),
    ],
)
def test_what_is_wrong_is_said(trainer: Any, text: str, expected: str) -> None:
    assert expected in read(trainer, text)["error"]


def test_settings_are_chosen_as_elman_chooses_them(trainer: Any) -> None:
    for count in (8, 90, 128, 129, 400, 512, 513, 3000):
        for steps in (1.0, 12.5, 400.0):
            for tokens in (False, True):
                for task in ("classification", "regression"):
                    outputs = 3 if task == "classification" else 1
                    statistics = DataStatistics(
                        count, steps, 0 if tokens else 1, 0, 5 * tokens, outputs, False, task
                    )
                    _, training, _ = choose(statistics, ModelSettings(), TrainingSettings())
                    call = f"chooseSettings({count}, {steps}, {json.dumps(not tokens)}, '{task}')"
                    found = trainer.run(call)
                    for key in ("epochs", "batch_size", "learning_rate", "weight_decay"):
                        assert found[key] == getattr(training, key), (key, statistics)
                    assert found["noise"] == (training.noise or 0.0), statistics
                    assert found["label_smoothing"] == training.label_smoothing, statistics
