"""Real files: the archive's, compared with aeon's loader, and the project's own data."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pytest

from elman.data import Ragged, check_classes, describe, read
from elman.errors import DataError

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="no ../shared/data beside the checkout"
)


def _aeon_data() -> Path | None:
    # Found, not imported: the import takes seconds.
    spec = importlib.util.find_spec("aeon")
    return Path(spec.origin).parent / "datasets" / "data" if spec and spec.origin else None


@pytest.mark.parametrize("name", ["JapaneseVowels", "ItalyPowerDemand", "BasicMotions"])
@pytest.mark.parametrize("part", ["TRAIN", "TEST"])
def test_same_as_aeon(name: str, part: str) -> None:
    folder = _aeon_data()
    if folder is None:
        pytest.skip("aeon is not installed")
    path = folder / name / f"{name}_{part}.ts"
    if not path.exists():
        pytest.skip("this aeon does not bring the file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from aeon.datasets import load_from_ts_file

        cases, classes = load_from_ts_file(str(path))
    data = read(path, labelled=True)
    assert isinstance(data.inputs, Ragged) and isinstance(data.target, np.ndarray)
    assert len(data) == len(cases)
    for ours, theirs in zip(data.inputs, cases, strict=True):
        np.testing.assert_array_equal(ours, theirs.T)
    # aeon writes labels in small letters; ours stay as they are.
    assert [str(label).lower() for label in data.target] == list(classes)
    assert "@classLabel" in describe(data)


@needs_shared
def test_names() -> None:
    train = read(SHARED / "names_train.csv", labelled=True)
    assert (train.layout.text, train.layout.target) == ("name", "language")
    check_classes(train)
    test = read(SHARED / "names_test.csv", layout=train.layout, labelled=True)
    assert set(test.target) <= set(train.target)  # type: ignore[arg-type]


@needs_shared
def test_snips() -> None:
    path = SHARED / "snips_dev.jsonl"
    with pytest.raises(DataError, match="`--target tags` a class at every step"):
        read(path)
    intents = read(path, target="intent")
    tags = read(path, target="tags")
    assert isinstance(intents.target, np.ndarray) and isinstance(tags.target, Ragged)
    assert isinstance(tags.inputs, Ragged)
    np.testing.assert_array_equal(tags.target.offsets, tags.inputs.offsets)
    check_classes(intents)
    check_classes(tags)
