"""Columns that are named by times or dates are the steps of one or more channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from elman.data import read

DAYS = pd.date_range("2024-01-25", periods=12)
NAMES = {
    "seconds": [f"{k * 0.1:.1f}" for k in range(12)],
    "beyond 1": [f"{k * 0.5}" for k in range(12)],
    "with a unit": [f"{k * 0.5}s" for k in range(12)],
    "milliseconds": [f"{k * 10} ms" for k in range(12)],
    "around an event": [f"{k * 100 - 500}ms" for k in range(12)],
    "named": [f"t={k * 0.5}" for k in range(12)],
    "days of two months": list(DAYS.strftime("%Y-%m-%d")),
    "months and days": list(DAYS.strftime("%m/%d/%y")),
    "German days": list(DAYS.strftime("%d.%m.%Y")),
    "months": list(pd.date_range("2023-07-01", periods=12, freq="MS").strftime("%b %Y")),
    "spectrum": [f"{350 + k * k * 0.5}" for k in range(12)],
}
VALUES = np.random.default_rng(0).normal(size=(30, 12)).round(3)


def write(folder: Path, names: list[str], values: np.ndarray = VALUES) -> Path:
    frame = pd.DataFrame(values, columns=names)
    frame["label"] = ["cold", "warm"] * 15
    frame.to_csv(folder / "a.csv", index=False)
    return folder / "a.csv"


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_one_channel(names, tmp_path):
    data = read(write(tmp_path, names))
    assert data.layout.values == tuple(names) and not data.layout.wide and data.static is None
    assert data.inputs[0][:, 0].tolist() == VALUES[0].tolist()
    again = read(tmp_path / "a.csv", layout=data.layout)
    assert again.inputs.values.tolist() == data.inputs.values.tolist()


def test_times_are_brought_in_order(tmp_path):
    names = NAMES["days of two months"]
    data = read(write(tmp_path, names[::-1]))
    assert data.layout.values == tuple(names)
    assert any("not of the file" in guess.reason for guess in data.layout.guesses)


def test_two_channels_at_the_same_times(tmp_path):
    names = [f"{c}_{k * 0.5}" for c in "xy" for k in range(6)]
    data = read(write(tmp_path, names))
    assert data.layout.wide == ("x", "y") and data.inputs[0].shape == (6, 2)


def test_parts_of_sensors_are_no_times(tmp_path):
    names = [f"v{a}.{b}" for a in (1, 2, 3) for b in (1, 2, 3, 4)]
    assert read(write(tmp_path, names)).layout.wide == ("v1", "v2", "v3")
