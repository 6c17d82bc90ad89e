"""Guesses are printed by a training and kept with the model; errors that may follow repeat them."""

from __future__ import annotations

import numpy as np
import pytest

from elman.errors import DataError, SettingsError
from elman.estimators import load
from elman.runs.config import RunSettings
from elman.runs.data_splits import read_splits
from elman.runs.evaluation import predict
from elman.runs.experiment import run
from elman.settings import DataSettings, ReportSettings, TrainingSettings


@pytest.fixture
def recording(tmp_path):
    """A file of one recording, without a column of ids."""
    rng = np.random.default_rng(0)
    state = np.repeat(rng.integers(0, 2, 40), 10)
    moments = np.datetime64("2024-01-01T00:00:00") + np.arange(400) * 3600
    rows = [f"{t},{rng.normal() + 2 * s:.3f},{['low', 'high'][s]}"
            for t, s in zip(moments, state, strict=True)]  # fmt: skip
    path = tmp_path / "load.csv"
    path.write_text("\n".join(["date,demand,state", *rows]) + "\n")
    return path


def test_one_recording_is_cut_into_windows(recording, tmp_path):
    settings = RunSettings(
        data=DataSettings(str(recording), window=20, stride=10),
        training=TrainingSettings(epochs=1),
        report=ReportSettings(diagnostics=False),
    )
    said = []
    run(settings, out=tmp_path / "run", verbose=0, echo=said.append)
    text = "\n".join(said)
    assert "--format steps: no column says which sequence a row belongs to" in text
    assert "80 steps held out (20%, the last steps of the recording, after a gap of 20)" in text
    layout = load(tmp_path / "run").layout_
    assert (layout.id, layout.time, layout.window) == (None, "date", 20)
    assert {guess.role for guess in layout.guesses} >= {"id", "time", "target", "values"}
    predicted, _ = predict(tmp_path / "run", str(recording), {})
    assert len(predicted) == 39


def test_one_recording_without_windows_is_told_about_them(recording):
    with pytest.raises(DataError) as caught:
        read_splits(DataSettings(str(recording)), 0)
    text = str(caught.value)
    assert text.index("--id NAME changes it") < text.index("one recording of 400 steps")
    assert "--window 20" in text and "too few" not in text
    with pytest.raises(SettingsError, match="one recording can only be divided in time"):
        read_splits(DataSettings(str(recording), window=20, split="random"), 0)


def test_errors_after_the_reading_repeat_the_guess(tmp_path):
    rows = [f"r{i},{k},{i + k / 10:.2f},{'a' if i else 'b'}" for i in range(6) for k in range(5)]
    path = tmp_path / "data.csv"
    path.write_text("\n".join(["id,t,x,site_note", *rows]))
    with pytest.raises(DataError) as caught:
        read_splits(DataSettings(str(path)), 0)
    text = str(caught.value)
    assert text.startswith(f"{path}: column 'site_note' was read as the label, a guess (likely")
    assert text.index("--target NAME") < text.index("'b' has 1")
