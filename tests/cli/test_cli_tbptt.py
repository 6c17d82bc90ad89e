"""`elman train --tbptt`: what is said and written, how it combines, and what is refused."""

import json

import numpy as np
import pytest

STEPS = ["--id", "id", "--target", "label", "--task", "tagging", "--no-diagnostics"]
SMALL = ["--hidden-size", 4, "--epochs", 2, "--batch-size", 4]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Twelve recordings of 40 to 200 steps, with a label at every step."""
    file, rng = tmp_path_factory.mktemp("recordings") / "steps.csv", np.random.default_rng(0)
    lines = ["id,a,b,label"]
    for k in range(12):
        rows = rng.normal(size=(int(rng.integers(40, 200)), 2)).round(3)
        lines += [f"r{k},{a},{b},{'up' if a > b else 'down'}" for a, b in rows]
    file.write_text("\n".join(lines) + "\n")
    return file


def epochs_of(folder):
    """The records of the epochs, without their durations."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def test_a_run_in_streams(elman, recordings, tmp_path):
    done = elman("train", recordings, *STEPS, *SMALL, "--tbptt", 20, "--out", "run")
    assert done.code == 0, done.err
    assert ", truncated after 20 steps of each of 4 streams" in done.out
    assert ", one direction, " in done.out
    assert "--bidirectional" not in done.out.split("What to try")[-1]
    assert "tbptt = 20" in (tmp_path / "run" / "config.toml").read_text()
    again = elman("train", "--config", "run/config.toml", "--out", "again")
    assert again.code == 0, again.err
    for name in ("model/model.safetensors", "predictions.csv"):
        one, other = ((tmp_path / run / name).read_bytes() for run in ("run", "again"))
        assert one == other


def test_a_chunk_that_covers_every_recording_changes_nothing(elman, recordings, tmp_path):
    for name, more in (("whole", []), ("chunk", ["--tbptt", 500])):
        done = elman(
            "train", recordings, *STEPS, *SMALL, "--no-bidirectional", *more, "--out", name
        )
        assert done.code == 0, done.err
    assert "no sequence is longer, so nothing is cut off" in done.out
    for name in ("model/model.safetensors", "predictions.csv"):
        one, other = ((tmp_path / run / name).read_bytes() for run in ("whole", "chunk"))
        assert one == other
    assert epochs_of(tmp_path / "whole") == epochs_of(tmp_path / "chunk")


def test_next_step_prediction_in_streams(elman, recordings):
    done = elman(
        *("train", recordings, "--id", "id", "--values", "a,b", "--ahead", 2, "--tbptt", 20),
        *(*SMALL, "--no-diagnostics", "--out", "run"),
    )
    assert done.code == 0, done.err
    assert ", truncated after 20 steps of each of 4 streams" in done.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["missing.csv", "--tbptt", 20, "--bidirectional"],
            "tbptt: got 20, but bidirectional is on",
        ),
        (["digits", "--tbptt", 20], "tbptt: got 20, but there is one target for a whole sequence"),
        (["digits", "--tbptt", 0], "tbptt: got 0, expected greater than or equal to 1"),
        (["digits", "--tbptt", "2.5"], "--tbptt"),
    ],
)
def test_what_cannot_be_truncated_is_refused(elman, arguments, message):
    done = elman("train", *arguments, "--out", "run")
    assert done.code in (1, 2)
    assert message in done.err
