"""Workers that are killed at any instant: no trial is lost, and none counts twice."""

import collections
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState

from elman import files as writer
from elman.errors import ModelFileError
from elman.runs import tuning
from elman.runs.tuning import trials as room
from elman.runs.tuning.storage import JOURNAL, open_store
from elman.runs.tuning.trials import Trials

TUNE = [sys.executable, "-m", "elman", "tune"]


def make(folder, wanted=4):
    """Trials of a search that trains nothing."""
    folder.mkdir(exist_ok=True)
    made = Trials(open_store(folder, "", "s"), "s", wanted)
    made.make({"x": 1.0}, {"owner": "a"})
    return made


def states(made):
    return collections.Counter(trial.state.name for trial in made.list())


def test_trials_are_made_once(tmp_path):
    make(tmp_path)
    assert make(tmp_path).make({}, {"owner": "b"})["owner"] == "a"
    assert states(make(tmp_path, 6)) == {"WAITING": 6}


def test_a_trial_of_a_dead_worker_waits_again_with_its_values(tmp_path):
    made = make(tmp_path)
    with made.store.alive("worker-1"):
        _, trial = made.take("worker-1")
        value = trial.suggest_float("y", 0, 1)
        with make(tmp_path).store.alive("worker-2"):
            _, other = make(tmp_path).take("worker-2")
            assert other.number == 1  # the first one's worker lives
    _, again = made.take("worker-3")  # as if the process had died
    assert again.number == 0 and again.suggest_float("y", 0, 1) == value
    assert made.list()[0].user_attrs["tries"] == 2
    assert not made.finish(
        trial, "worker-1", TrialState.COMPLETE, 1.0
    )  # it is not its own any more
    assert made.finish(again, "worker-3", TrialState.COMPLETE, 2.0)
    assert not made.finish(again, "worker-3", TrialState.COMPLETE, 3.0)
    assert made.list()[0].value == 2.0


def test_a_trial_whose_worker_dies_again_and_again_fails(tmp_path):
    made = make(tmp_path, wanted=1)
    for _ in range(room.MOST_TRIES):
        assert made.take("worker-1") is not None
    assert made.take("worker-1") is None
    [trial] = made.list()
    assert trial.state.name == "FAIL" and "memory" in trial.user_attrs["failed"]


def test_a_process_that_died_between_two_lines_loses_nothing(tmp_path):
    """Every prefix of the journal, also within a line, leads to every trial once."""
    made = make(tmp_path / "a")
    with made.store.alive("worker-1"):
        _, trial = made.take("worker-1")
        trial.suggest_float("y", 0, 1)
        made.finish(trial, "worker-1", TrialState.COMPLETE, 1.0)
    content = (tmp_path / "a" / JOURNAL).read_bytes()
    cuts = [i + 1 for i, byte in enumerate(content) if byte == ord("\n")]
    cuts += [cut - 7 for cut in cuts]
    for number, cut in enumerate(cuts):
        folder = tmp_path / f"cut{number}"
        folder.mkdir()
        (folder / JOURNAL).write_bytes(content[:cut])
        other = make(folder)
        taken = []
        while (pair := other.take("worker-2")) is not None:
            taken.append(pair[1].number)
            other.finish(pair[1], "worker-2", TrialState.COMPLETE, 0.0)
        finished = states(other)
        assert finished == {"COMPLETE": 4}, (cut, finished)
        assert len(set(taken)) == len(taken)


def test_half_a_line_of_a_killed_writer_does_not_spoil_the_next(tmp_path):
    made = make(tmp_path)
    journal = tmp_path / JOURNAL
    with journal.open("ab") as file:
        file.write(b'{"op_code":4,"wor')
    assert states(made) == states(make(tmp_path)) == {"WAITING": 4}
    made.take("worker-1")
    assert all(json.loads(line) for line in journal.read_bytes().splitlines())
    with journal.open("ab") as file:
        file.write(b"nonsense\n")
    with pytest.raises(ModelFileError, match=r"journal.jsonl, line \d+"):
        make(tmp_path)


def test_lines_of_many_writers_are_whole(tmp_path):
    """Threads with descriptors of their own are to the lock what processes are."""
    path = tmp_path / "log"
    writer.append_together(path, [])
    seen = []

    def write(number):
        for i in range(50):
            writer.append_together(path, [f"{number}:{i}:" + "x" * (7 * i)])
            seen.append(writer.read_together(path).count(b"\n"))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = path.read_text().splitlines()
    assert len(lines) == 200 and max(seen) == 200
    assert sorted(tuple(map(int, line.split(":")[:2])) for line in lines) == [
        (number, i) for number in range(4) for i in range(50)
    ]


def start(files, folder, *more, **options):
    words = [str(files / "values.csv"), "--trials", "8", "--folds", "2", "--epochs", "40"]
    words += ["--hidden-size", "8", "--no-diagnostics", "--out", str(folder), *map(str, more)]
    return subprocess.Popen(
        [*TUNE, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )


def workers_of(process):
    """Process numbers of the children."""
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(number) for number in path.read_text().split()] if path.exists() else []


def finished(folder):
    with_state = collections.Counter()
    try:
        lines = writer.read_lines(folder / JOURNAL)
    except OSError:
        return with_state
    for line in map(json.loads, lines):
        if line["op_code"] == 6 and line["state"] in (1, 2, 3):
            with_state[line["trial_id"]] += 1
    return with_state


def test_killed_workers_and_a_killed_search(files, tmp_path):
    """SIGKILL to workers, then to the search itself; --resume ends with each trial once."""
    folder = tmp_path / "t"
    process = start(files, folder, "--workers", 2)
    killed, end = [], time.monotonic() + 200
    while len(killed) < 2:
        assert time.monotonic() < end and process.poll() is None, process.communicate()[0]
        if (folder / JOURNAL).exists() and len(finished(folder)) > len(killed):
            killed.append(workers_of(process)[len(killed) % 2])
            os.kill(killed[-1], signal.SIGKILL)
        time.sleep(0.02)
    while killed[0] in workers_of(process):  # until the search has noticed, and a moment to say so
        assert time.monotonic() < end and process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    time.sleep(0.2)
    children = workers_of(process)
    process.kill()
    said = process.communicate()[0]
    assert "was killed by SIGKILL; another takes its place" in said
    while any(map(alive, children)):
        assert time.monotonic() < end  # no worker outlives its search
        time.sleep(0.05)
    before = finished(folder)
    results = tuning.resume(folder, workers=1, echo=lambda text: None)
    after = finished(folder)
    assert set(after) == set(range(8)) and set(after.values()) == {1}
    assert set(before) <= set(after) and len(before) < 8
    assert [trial.number for trial in results.trials] == list(range(8))
    assert results.run is not None


def alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_test_of_a_lost_trial_can_fail(tmp_path, monkeypatch):
    """A planted fault: without giving back, the trial of a dead worker is lost."""
    monkeypatch.setattr(Trials, "_give_back", lambda *arguments: None)
    made = make(tmp_path, wanted=1)
    assert made.take("worker-1") is not None
    assert made.take("worker-2") is None and states(made) == {"RUNNING": 1}
