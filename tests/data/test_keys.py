"""Several columns name a sequence or hold its time together; what has two readings is asked."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from elman.data import read
from elman.errors import DataError
from elman.runs.data_splits import read_splits
from elman.settings import DataSettings


def write(tmp_path, head, rows):
    path = tmp_path / "a.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def trials(tmp_path, timed=True, sessions=1):
    """Three trials of each session of eight subjects, counted from 0 in each."""
    rng = np.random.default_rng(0)
    rows = [
        ",".join([f"s{s}", *[str(e)] * (sessions > 1), str(k), *[str(t)] * timed,
                  f"{rng.normal():.2f}", f"{rng.normal():.2f}", "ab"[k % 2]])
        for s in range(8) for e in range(sessions) for k in range(3) for t in range(5)
    ]  # fmt: skip
    head = ["subject", *(["session"] if sessions > 1 else []), "trial", *(["t"] if timed else [])]
    return write(tmp_path, ",".join([*head, "x", "v", "label"]), rows)


@pytest.mark.parametrize("timed", [True, False])
def test_subject_and_trial_name_a_sequence(timed, tmp_path):
    path = trials(tmp_path, timed)
    dataset = read(path)
    layout = dataset.layout
    assert (layout.id, layout.group, layout.values) == ("subject,trial", "subject", ("x", "v"))
    assert dataset.ids[:4] == ("s0-0", "s0-1", "s0-2", "s1-0")
    assert set(dataset.lengths.tolist()) == {5} and dataset.groups[:4] == ("s0",) * 3 + ("s1",)
    guess = next(guess for guess in layout.guesses if guess.role == "id")
    assert guess.flag == "--id subject,trial" and "together" in guess.reason
    named = read(path, id="subject,trial")
    assert named.ids == dataset.ids and named.layout.values == ("x", "v")
    assert read(path, layout=layout).ids == dataset.ids


def test_three_columns_name_a_sequence(tmp_path):
    dataset = read(trials(tmp_path, sessions=2))
    assert dataset.layout.id == "subject,session,trial" and len(dataset) == 48
    assert dataset.layout.group == "subject"


def test_joined_names_stay_different(tmp_path):
    rows = [f"{a},{b},{t},1.5,{label}" for a, b, label in (("1", "1-1", "u"), ("1-1", "1", "v"))
            for t in range(3)]  # fmt: skip
    with pytest.raises(DataError, match="different cells that are equal when joined"):
        read(write(tmp_path, "run,part,t,x,label", rows), id="run,part")
    with pytest.raises(DataError, match="there is no column"):
        read(tmp_path / "a.csv", id="run,nothing")


def test_a_date_and_a_clock_are_one_time(tmp_path):
    moments = [dt.datetime(2024, 1, 30, 22) + dt.timedelta(hours=5 * k) for k in range(8)]
    rows = [f"r{i},{m:%d/%m/%Y},{m:%H:%M:%S},{i + k / 9:.2f},{'ab'[i % 2]}"
            for i in range(4) for k, m in enumerate(moments)]  # fmt: skip
    path = write(tmp_path, "id,Date,Time,x,label", rows)
    dataset = read(path, time_difference=True)
    assert dataset.layout.time == "Date,Time" and dataset.layout.dates == "dmy"
    assert set(dataset.inputs[0][1:, 1]) == {5 * 3600.0}
    again = read(path, layout=dataset.layout)
    np.testing.assert_array_equal(again.inputs.values, dataset.inputs.values)


def acceleration(tmp_path, head, person=True):
    rng = np.random.default_rng(0)
    rows = [
        ",".join([*([str(i // 30)] if person else []), *(f"{v:.2f}" for v in rng.normal(size=3)),
                  "abc"[i // 10 % 3]])
        for i in range(300)
    ]  # fmt: skip
    return write(tmp_path, head, rows)


@pytest.mark.parametrize("name", ["user_id", "subject", "participant", "patientid"])
def test_rows_of_a_person_are_asked_about(name, tmp_path):
    path = acceleration(tmp_path, f"{name},acc_x,acc_y,acc_z,label")
    with pytest.raises(DataError) as caught:
        read(path)
    text = str(caught.value)
    assert f"--id {name}" in text and "--format rows" in text and "3 steps" in text
    steps = read(path, id=name)
    assert len(steps) == 10 and steps.layout.per_step and steps.layout.values[0] == "acc_x"
    rows = read(path, format="rows")
    assert len(rows) == 300 and set(rows.lengths.tolist()) == {3} and rows.layout.group == name


def test_windows_say_that_rows_are_steps(tmp_path):
    path = acceleration(tmp_path, "acc_x,acc_y,acc_z,label", person=False)
    with pytest.raises(DataError, match=r"--format rows.*--format steps"):
        read(path)
    for more in ({}, {"split": "time"}, {"split": "time", "validation": 0.2}):
        splits = read_splits(DataSettings(str(path), window=20, **more), 0)
        assert "after a gap of 20" in "\n".join(splits.notes)
        first, last = splits.training.windows[:, 1], splits.test.windows[:, 1]
        assert first.max() + 20 + 20 <= last.min()
    assert splits.validation is not None
    before = splits.validation.windows[:, 1]
    assert first.max() + 40 <= before.min() and before.max() + 40 <= last.min()


def test_numbers_at_every_step_of_one_recording(tmp_path):
    rng = np.random.default_rng(0)
    rows = [f"{a:.2f},{b:.2f},{a + b:.3f}" for a, b in rng.normal(size=(300, 2))]
    path = write(tmp_path, "temp,wind,load", rows)
    splits = read_splits(DataSettings(str(path), window=30, target="load", split="time"), 0)
    assert splits.whole.task == "regression" and splits.whole.layout.per_step


def test_the_latest_of_several_recordings(tmp_path):
    moments = [dt.datetime(2024, 1, 1 + (7 * i) % 10) for i in range(10)]
    rows = [f"r{i},{m + dt.timedelta(minutes=k):%d.%m.%Y %H:%M},{k / 7:.2f},{'ab'[i % 2]}"
            for i, m in enumerate(moments) for k in range(40)]  # fmt: skip
    path = write(tmp_path, "id,when,x,label", rows)
    splits = read_splits(DataSettings(str(path), window=10, split="time"), 0)
    assert splits.test.starts.min() > splits.training.starts.max()
