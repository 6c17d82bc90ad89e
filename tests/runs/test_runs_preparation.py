"""A run prepares once: what is read, chosen and written once, and the names that come with it."""

import numpy as np
import pandas as pd
import pytest

from elman import DataError, ShapeError, load
from elman.estimators import encoder, storage
from elman.estimators import prepare as preparation
from elman.runs.config import merge
from elman.runs.experiment import run


def quiet_run(settings, **options):
    return run(settings, verbose=0, echo=lambda _: None, **options)


def count_calls(monkeypatch, owner, name, sizes):
    real = getattr(owner, name)

    def spy(*args, **options):
        result = real(*args, **options)
        sizes.append(len(result) if hasattr(result, "__len__") else 1)
        return result

    monkeypatch.setattr(owner, name, spy)


def test_sequences_are_read_once(settings, tmp_path, monkeypatch):
    """Each split is cut and encoded once, a model is written once; a trace reads one sequence."""
    sizes = {"cut": [], "encode_steps": [], "save_folder": [], "choose": []}
    count_calls(monkeypatch, encoder, "cut", sizes["cut"])
    count_calls(monkeypatch, encoder.Encoder, "encode_steps", sizes["encode_steps"])
    count_calls(monkeypatch, storage, "save_folder", sizes["save_folder"])
    count_calls(monkeypatch, preparation, "choose_settings", sizes["choose"])
    quiet_run(settings(data={"validation": 0.25}), out=tmp_path / "run")
    splits = [size for size in sizes["cut"] if size > 1]
    assert len(splits) == len([size for size in sizes["encode_steps"] if size > 1]) == 3
    assert sum(splits) == 30
    assert len(sizes["save_folder"]) == len(sizes["choose"]) == 1


def test_a_model_knows_its_columns(tmp_path):
    """Names of channels and of what is predicted are those of the file; predictions take frames."""
    rng = np.random.default_rng(0)
    rows = [
        f"R{i},{t},{rng.normal():.3f},{rng.normal() + i:.3f},{i}"
        for i in range(20)
        for t in range(4)
    ]
    file = tmp_path / "long.csv"
    file.write_text("\n".join(["id,time,vibration,heat,strain", *rows]) + "\n")
    given = {"data": str(file), "task": "regression", "target": "strain", "id": "id"}
    chosen = {"data": given, "model": {"hidden_size": 4}, "training": {"epochs": 1}}
    done = quiet_run(merge(chosen, {"report": {"diagnostics": False}}), out=tmp_path / "run")
    for model in (done.estimator, load(done.folder)):
        assert model.columns_.names == ("vibration", "heat")
        assert model.target_.names == ("strain",)
        assert model.layout_.id == "id"
        assert model.chosen_.startswith("chosen for 16 sequences")
        with pytest.raises(DataError, match="step 2, channel 'heat' is missing"):
            model.predict([[[0.0, 1.0], [0.0, np.nan]]])
    X = [rng.normal(size=(4, 2)) for _ in range(3)]
    frames = [pd.DataFrame(x, columns=["vibration", "heat"]) for x in X]
    assert (model.predict(frames) == model.predict(X)).all()
    swapped = [frame[["heat", "vibration"]] for frame in frames]
    assert (model.predict(swapped) == model.predict(X)).all()
    with pytest.raises(ShapeError, match=r"there is no column 'heat'.* Did you mean 'Heat'"):
        model.predict([frame.rename(columns={"heat": "Heat"}) for frame in frames])
