"""`elman export --to c`: what it writes, and how it is tested on the run's own test part."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from elman.runs.config import merge
from elman.runs.experiment import run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run in one direction and one in both, on a file of numbers."""
    root = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    rows = [[["a", "b"][i % 2], *np.round(rng.normal(i % 2, 1, 6), 3)] for i in range(60)]
    text = "\n".join(",".join(map(str, row)) for row in [["label", *"uvwxyz"], *rows])
    (root / "data.csv").write_text(text + "\n")
    for name, bidirectional in (("one", False), ("both", True)):
        values = {
            "data": {"data": str(root / "data.csv"), "format": "rows"},
            "model": {"hidden_size": 4, "bidirectional": bidirectional},
            "training": {"epochs": 2},
            "report": {"diagnostics": False},
        }
        run(merge(values), out=root / name, verbose=0, echo=list)
    return root


@pytest.mark.parametrize("name", ["one", "both"])
def test_the_test_part_of_the_run_is_compared(elman, trained, tmp_path, name):
    folder = shutil.copytree(trained / name, tmp_path / "run")
    accuracy = json.loads((folder / "metrics.json").read_text())["test"]["accuracy"]
    done = elman("export", "run", "--to", "c", "--name", "m")
    assert done.code == 0, done.err
    told = f"On 12 sequences of the test part of {trained / 'data.csv'}: accuracy {accuracy:.3f}"
    assert f"{told} in elman, {accuracy:.3f} in C." in done.out
    assert ("Sequences have at most 6 steps" in done.out) == (name == "both")
    out = folder / "exports" / "c"
    command = ["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-o", "t"]
    command += ["m_test.c", "m.c", "-lm"]
    subprocess.run(command, cwd=out, check=True)
    said = subprocess.run(["./t"], cwd=out, check=True, capture_output=True, text=True).stdout
    assert re.match(r"m: passed, largest difference \d", said)
    done = elman("export", "run", "--to", "c", "--int8")
    assert told in done.out
    assert "with int8 weights" in done.out
    assert elman("export", "run", "--to", "c").code == 2  # elman.h is there


def test_a_run_without_its_data_says_so(elman, trained, tmp_path):
    for name in ("one", "both"):
        shutil.copytree(trained / name, tmp_path / name)
        path = tmp_path / name / "config.toml"
        path.write_text(path.read_text().replace("data.csv", "gone.csv"))
    done = elman("export", "one", "--to", "c")
    assert done.code == 0
    assert "The test part of the run cannot be read, so the export was not tested" in done.out
    assert "gone.csv: there is no such file" in done.out
    assert "--data FILE" in done.out
    done = elman("export", "both", "--to", "c")
    assert done.code == 2
    assert "gone.csv: there is no such file" in done.err
    assert "--max-length N" in done.err
    assert not (tmp_path / "both" / "exports").exists()
    done = elman("export", "both", "--to", "c", "--data", trained / "data.csv")
    assert "On 60 sequences of" in done.out
    done = elman("export", "both/model", "--to", "c", "--max-length", 4, "-o", "model")
    assert "both/model is no run folder" in done.out
    assert (tmp_path / "model" / "elman.c").is_file()


def test_changed_data_are_not_taken_for_the_test_part(elman, trained, tmp_path):
    folder = shutil.copytree(trained / "one", tmp_path / "one")
    path = folder / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["data_sha256"] = dict.fromkeys(metrics["data_sha256"], "0" * 64)
    path.write_text(json.dumps(metrics))
    done = elman("export", "one", "--to", "c")
    assert "data.csv has changed since the training" in done.out
    assert "was not measured" in done.out


def test_options_of_the_other_format_are_refused(elman, trained, tmp_path):
    shutil.copytree(trained / "one", tmp_path / "one")
    for option in (["--int8"], ["--name", "x"], ["--max-length", 5]):
        done = elman("export", "one", "--to", "onnx", *option)
        assert done.code == 2
        assert f"{option[0]}: an export --to onnx has no such option, only --to c" in done.err
    done = elman("export", "one", "--to", "c", "--max-length", 5)
    assert "Leave --max-length (max_length) out" in done.err
    assert not (tmp_path / "one" / "exports").exists()
