"""Recordings of many steps: windows, excerpts, explanations and diagnostics in bounded memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from elman import SequenceTagger
from elman.data import Dataset, Layout, Ragged, read
from elman.data.splits import cut_windows, excerpts
from elman.errors import DataError
from elman.runs import diagnostics, explanation
from elman.runs.data_splits import read_splits
from elman.runs.explanation import ExplainOptions, explain_sequence
from elman.settings import DataSettings, TrainingSettings


def _write(path: Path, lengths: tuple[int, ...]) -> Dataset:
    rng = np.random.default_rng(0)
    lines = ["id,time,x,label"]
    for k, count in enumerate(lengths):
        for t, x in enumerate(rng.normal(size=count)):
            lines.append(f"r{k},{t},{x:.4f},{'high' if x > 0 else 'low'}")
    path.write_text("\n".join(lines) + "\n")
    return read(path)


def test_excerpts_hold_every_step_once(tmp_path: Path) -> None:
    data = _write(tmp_path / "a.csv", (25, 7, 30))
    pieces, owners = excerpts(data, 10)
    assert isinstance(pieces.inputs, Ragged) and isinstance(pieces.target, Ragged)
    assert pieces.lengths.tolist() == [10, 10, 5, 7, 10, 10, 10]
    assert owners.tolist() == [0, 0, 0, 1, 2, 2, 2]
    assert pieces.names[2] == "r0 window 3 from step 21"
    assert isinstance(data.inputs, Ragged)
    np.testing.assert_array_equal(pieces.inputs[2], data.inputs[0][20:])
    assert pieces.target[6].tolist() == data.target[2][20:].tolist()  # type: ignore[index]


def test_windows_of_a_long_recording_take_memory_for_its_steps_only() -> None:
    steps = 1_000_000  # a thousand windows of all steps would be 8 GB
    values = np.zeros((steps, 1))
    inputs = Ragged(values, np.array([0, steps]))
    data = Dataset(inputs, inputs.with_values(values[:, 0]), "memory", Layout("steps", "numbers"))
    windows, note = cut_windows(data, 1000, 1000)
    assert len(windows) == 1000 and windows.lengths.sum() == steps and "1,000 windows" in note


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call 12 steps a long sequence."""
    monkeypatch.setattr(diagnostics, "LONGEST", 12)
    monkeypatch.setattr(explanation, "LONGEST", 12)


@pytest.mark.usefixtures("short")
def test_a_long_recording_is_explained_in_excerpts(tmp_path: Path) -> None:
    data = _write(tmp_path / "a.csv", (40, 50))
    model = SequenceTagger(epochs=1, hidden_size=4, bidirectional=False, random_state=0).fit(data)
    found = explain_sequence(model, data, ExplainOptions(row="r1", step=30))
    assert found.name == "r1 window 3 from step 25" and found.steps == 12
    assert found.trace.steps == 12 and "excerpts of as many" in found.chosen
    chosen = explain_sequence(model, data, ExplainOptions(diagnosis=False, memory=False))
    assert chosen.steps <= 12 and " window " in chosen.name
    encoded = model.encode(data)
    part, sample = diagnostics._sample(model, data, encoded)
    assert len(part) == len(sample) and int(sample.inputs.lengths.max()) <= 12


def test_one_recording_is_divided_in_time_for_chunks(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["time,x,label"]
    lines += [
        f"{t},{x:.3f},{'high' if x > 0 else 'low'}" for t, x in enumerate(rng.normal(size=400))
    ]
    path = tmp_path / "one.csv"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"--window 20.*--tbptt 20"):
        read_splits(DataSettings(data=str(path)), 0)
    splits = read_splits(DataSettings(data=str(path)), 0, TrainingSettings(tbptt=30))
    assert splits.test.lengths.tolist() == [80] and splits.training.lengths.tolist() == [290]
    assert splits.test.windows is not None and splits.test.windows.tolist() == [[0, 320]]
    far = DataSettings(data=str(path), ahead=50, target="x", validation=0.2)
    splits = read_splits(far, 0, TrainingSettings(tbptt=30))
    assert splits.validation is not None and splits.validation.lengths.tolist() == [54]
    assert splits.training.lengths.tolist() == [270 - 54 - 50]
    assert not np.isnan(splits.training.target.values).any()  # type: ignore[union-attr]
