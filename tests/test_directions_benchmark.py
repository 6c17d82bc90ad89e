"""benchmarks/directions.py: what messages and docs say of it is what it measured."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from elman.estimators.stream import STREAMING_COST

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
directions = importlib.import_module("directions")
ROW = re.compile(
    r"^\| ([^|]+?) \| (\d\.\d{3})[^|]* \| (\d\.\d{3})[^|]* \| ([+-]\d\.\d{3}) \|$", re.M
)


def test_the_cost_is_what_was_measured() -> None:
    newest = max((ROOT / "benchmarks" / "results").glob("directions_*.md"))
    measured = ROW.findall(newest.read_text(encoding="utf-8"))
    assert [row[0] for row in measured] == list(directions.LOADERS)
    differences = [float(row[3]) for row in measured]
    mean, least, most = np.mean(differences), min(differences), max(differences)
    assert f"{-100 * mean:.1f} percentage points less" in STREAMING_COST
    assert f"from {-100 * least:.1f} less to {100 * most:.1f} more" in STREAMING_COST
    page = (ROOT / "docs" / "streaming.md").read_text(encoding="utf-8")
    assert newest.name in page
    assert f"The mean is {mean:+.3f}" in page
    assert [row[1:] for row in ROW.findall(page)] == [row[1:] for row in measured]


@pytest.mark.parametrize("values", [[0.5], [0.25, 0.75]])
def test_mean_and_range(values: list[float]) -> None:
    assert directions.show(values) == f"0.500 ({min(values):.3f} to {max(values):.3f})"


def test_the_built_in_task_is_drawn_by_the_seed(tmp_path: Path) -> None:
    first, again, other = (directions.load_waves(tmp_path, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.X[0], again.X[0])
    assert first.X[0].shape != other.X[0].shape or (first.X[0] != other.X[0]).any()
