"""`elman train` under torchrun: one run by several processes, and what happens if one dies."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from elman.cli import torchrun
from elman.errors import SettingsError

SMALL = ["--hidden-size", "4", "--epochs", "40", "--batch-size", "8", "--dropout", "0.2"]
SAME = ["model/model.safetensors", "metrics.jsonl", "predictions.csv", "config.toml"]


# The command, with all data that have a memory limit read from disk, however small they are.
FROM_DISK = """
import sys
from elman.runs import streamed
streamed.IN_MEMORY, streamed._BLOCK = 1e9, 2000
from elman.cli import main
main()
"""


def start(folder, *words, processes=2, restarts=0, program=("-m", "elman")):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(processes), "--max-restarts", str(restarts)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": ""}
    return subprocess.Popen(
        [*command, *program, *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process, seconds=240):
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        process.terminate()
    return process.returncode, out, err


def find_rank(parent, rank):
    """The process of a rank that torchrun has started."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "status").read_text(encoding="utf-8")
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"PPid:\t{parent}\n" in status and f"RANK={rank}".encode() in environment:
            return int(folder.name)
    return None


def has_reached(checkpoints, number):
    return any(int(path.name) >= number for path in checkpoints.glob("[0-9]*"))


def wait_for(condition, *arguments, seconds=200):
    end = time.monotonic() + seconds
    while not (found := condition(*arguments)):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("torchrun")
    rows = ["id,value,label"]
    for i in range(60):
        rows += [
            f"{i},{(i * 7 + t * 3) % 11 / 4 + i % 2:.2f},{'ab'[i % 2]}" for t in range(3 + i % 4)
        ]
    (folder / "data.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


WORDS = ["train", "data.csv", "--id", "id", "--target", "label", "--no-diagnostics", *SMALL]


@pytest.mark.parametrize(
    "kills", [[(20, 1)], pytest.param([(20, 1), (120, 0)], marks=pytest.mark.slow)]
)
def test_a_killed_rank_leads_to_the_result_of_an_unbroken_run(kills, data):
    whole = start(data, *WORDS, "--out", "whole", "--overwrite")
    code, out, err = end(whole)
    assert code == 0, out + err
    assert out.count("epoch 1/40") == 1 and "2 processes (gloo), 1 thread each" in out
    assert out.count("Everything is in whole") == 1

    broken = start(
        data, *WORDS, "--out", "broken", "--overwrite", "--checkpoint-every", "0", restarts=2
    )
    checkpoints = data / "broken" / "checkpoints"
    try:
        for number, rank in kills:
            wait_for(has_reached, checkpoints, number)
            os.kill(wait_for(find_rank, broken.pid, rank), signal.SIGKILL)
        code, out, err = end(broken)
    finally:
        broken.terminate()
    assert code == 0, out + err
    assert out.count("Resuming broken, which stopped in epoch") == len(kills)
    for name in SAME:
        assert (data / "broken" / name).read_bytes() == (data / "whole" / name).read_bytes(), name
    assert not (data / "broken" / "checkpoints").exists()


def test_processes_read_from_disk_what_one_process_does(data):
    (data / "from_disk.py").write_text(FROM_DISK, encoding="utf-8")
    words = [*WORDS, "--memory-limit", "2GB", "--epochs", "3", "--dropout", "0", "--overwrite"]
    several = start(data, *words, "--out", "several", program=["from_disk.py"])
    code, out, err = end(several)
    assert code == 0, out + err
    assert "from disk: the sequences" in out and "2 processes (gloo)" in out
    alone = subprocess.run(
        [sys.executable, "from_disk.py", *words, "--out", "alone"],
        cwd=data,
        check=True,
        capture_output=True,
        text=True,
    )
    assert "from disk: the sequences" in alone.stdout
    losses = [
        [
            json.loads(line)["loss"]
            for line in (data / name / "metrics.jsonl").read_text().splitlines()
        ]
        for name in ("several", "alone")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert not list(data.glob("*scratch*"))


def test_commands_that_cannot_be_shared_are_refused(monkeypatch):
    torchrun.refuse_command("predict")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("predict", "serve", "tune", "evaluate"):
        with pytest.raises(SettingsError, match=f"Run elman {name} without torchrun"):
            torchrun.refuse_command(name)
    torchrun.refuse_command("train")


def test_other_ranks_print_nothing_but_their_own_errors(monkeypatch, capsys):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, expected in (("0", "said\n"), ("1", "")):
        monkeypatch.setenv("RANK", rank)
        with torchrun.muted_follower():
            print("said")
            print("said", file=sys.stderr)
        assert capsys.readouterr() == (expected, expected)
    with torchrun.muted_follower():
        torchrun.unmute()
        print("lost its data", file=sys.stderr)
    assert capsys.readouterr().err == "lost its data\n"
