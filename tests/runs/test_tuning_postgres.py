"""A search on a real PostgreSQL: joined, killed, resumed, and its password kept to itself."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState

from elman.errors import SettingsError
from elman.runs import tuning
from elman.runs.config import merge
from elman.runs.tuning.storage import Database, hide_password, open_store, without_password
from elman.runs.tuning.trials import Trials

PASSWORD = "s3cret-w0rd"
SMALL = {
    "model": {"hidden_size": 4},
    "training": {"epochs": 2},
    "report": {"diagnostics": False},
}


def programs():
    """Where initdb and pg_ctl are; None if PostgreSQL is not installed."""
    found = [Path(path).parent for path in [shutil.which("initdb")] if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((p for p in found if (p / "pg_ctl").exists() and (p / "initdb").exists()), None)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a database on loopback, of a server that was started for these tests."""
    folder = programs()
    if folder is None:
        pytest.skip("PostgreSQL is not installed (initdb, pg_ctl)")
    root = Path("/tmp") / f"elman-postgres-{os.getpid()}"  # short, as paths of sockets have to be
    root.mkdir()
    as_user = []
    if os.getuid() == 0:  # which PostgreSQL refuses to run as
        other = pwd.getpwnam("nobody")
        os.chown(root, other.pw_uid, other.pw_gid)
        as_user = ["setpriv", f"--reuid={other.pw_uid}", f"--regid={other.pw_gid}"]
        as_user += ["--clear-groups"]
    word = root / "word"
    word.write_text(PASSWORD)
    word.chmod(0o644)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def call(name, *words):
        command = [*as_user, str(folder / name), "-D", str(root / "data"), *words]
        done = subprocess.run(
            command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert not done.returncode, done.stderr

    options = ["-A", "scram-sha-256", "-U", "elman", f"--pwfile={word}", "-E", "UTF8"]
    call("initdb", *options, "--no-sync", "--locale=C")
    flags = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={root} -F"
    call("pg_ctl", "-w", "-l", str(root / "log"), "-o", flags, "start")
    try:
        yield f"postgresql://elman:{PASSWORD}@127.0.0.1:{port}/postgres"
    finally:
        call("pg_ctl", "-w", "-m", "immediate", "stop")
        shutil.rmtree(root)


def trials_of(server, name, wanted=4, lost_after=2.0):
    made = Trials(open_store(Path(), server, name, lost_after), name, wanted)
    made.make({"x": 1.0}, {"owner": name})
    return made


def test_a_silent_worker_loses_its_trial(server):
    made = trials_of(server, "silent")
    with made.store.alive("worker-1"):
        _, trial = made.take("worker-1")
        value = trial.suggest_float("y", 0, 1)
        time.sleep(3.5)  # it is alive, and shows it
        other = trials_of(server, "silent")
        assert other.take("worker-2")[1].number == 1
    time.sleep(3.5)  # neither shows that it lives
    _, again = other.take("worker-3")
    assert again.number == 0 and again.suggest_float("y", 0, 1) == value
    assert not made.finish(trial, "worker-1", TrialState.COMPLETE, 1.0)
    assert other.finish(again, "worker-3", TrialState.COMPLETE, 2.0)
    assert [t.number for t in other.list()] == [0, 1, 2, 3]
    assert other.list()[0].value == 2.0


def test_a_worker_that_died_in_the_lock_loses_nothing(server):
    """A trial that runs and has no worker was taken by a process that died while it took it."""
    made = trials_of(server, "lock", wanted=1)
    study = made.study()
    made.store.optuna.set_trial_state_values(study.trials[0]._trial_id, state=TrialState.RUNNING)
    assert made.take("worker-1")[1].number == 0


def test_two_machines_and_a_kill(server, files, tmp_path):
    """The same command twice; one is killed; the other finishes all, and each trial once."""
    words = [str(files / "values.csv"), "--trials", "6", "--folds", "2", "--epochs", "25"]
    words += ["--hidden-size", "8", "--no-diagnostics", "--storage", server, "--lost-after", "6"]
    command = [sys.executable, "-m", "elman", "tune", *words, "--name", "two", "--out"]
    first, second = (
        subprocess.Popen(
            [*command, str(tmp_path / name)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name in "ab"
    )
    made, end = None, time.monotonic() + 200
    while first.poll() is None:
        assert time.monotonic() < end
        if (tmp_path / "a" / "tuning.json").exists() and (tmp_path / "b" / "tuning.json").exists():
            made = made or Trials(open_store(Path(), server, "two"), "two", 6)
            with contextlib.suppress(KeyError):  # until one of them has made the search
                if any(t.state.is_finished() for t in made.list()):
                    first.send_signal(signal.SIGKILL)
                    break
        time.sleep(0.1)
    first.communicate()
    said, _ = second.communicate(timeout=240)
    assert second.returncode == 0, said
    found = made.list()
    assert [trial.number for trial in found] == list(range(6))
    assert all(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in found), found
    assert PASSWORD not in said and "***" in said
    for folder in ("a", "b"):
        for path in (tmp_path / folder).rglob("*"):
            assert not path.is_file() or PASSWORD.encode() not in path.read_bytes(), path
    for folder in ("a", "b"):  # whichever did not start the search can train the last network too
        if not (tmp_path / folder / "run" / "metrics.json").exists():
            results = tuning.resume(tmp_path / folder, url=server, echo=lambda text: None)
            assert results.run is not None and [t.number for t in results.trials] == list(range(6))
    tomls = [(tmp_path / folder / "best.toml").read_text() for folder in "ab"]
    assert tomls[0] == tomls[1]


def test_another_search_of_the_same_name_is_refused(server, files, tmp_path):
    settings = merge({"data": {"data": str(files / "values.csv")}, **SMALL})
    first = tuning.Search.of(settings, trials=1, folds=2, name="same")
    tuning.tune(first, out=tmp_path / "a", url=server, echo=lambda text: None)
    said = []
    joined = tuning.tune(
        tuning.Search.of(settings, trials=1, folds=2, name="same"),
        out=tmp_path / "b",
        url=server,
        echo=said.append,
    )
    assert joined.run is None and "elman tune --resume" in said[-1]
    other = tuning.Search.of(settings, trials=1, folds=3, name="same")
    with pytest.raises(SettingsError, match="folds: 2 there, 3 here"):
        tuning.tune(other, out=tmp_path / "c", url=server, echo=lambda text: None)
    more = tuning.Search.of(settings, trials=2, folds=2, name="same")
    with pytest.raises(SettingsError, match="has 1 trial"):
        tuning.tune(more, out=tmp_path / "d", url=server, echo=lambda text: None)


@pytest.mark.parametrize(
    "change",
    [
        lambda url: url.replace(PASSWORD, "wr0ng-w0rd"),
        lambda url: url.replace("/postgres", "/nothing"),
        lambda url: "postgresql://elman:wr0ng-w0rd@127.0.0.1:1/postgres",
    ],
)
def test_a_database_that_cannot_be_used(server, change):
    with pytest.raises(SettingsError, match="the database cannot be used") as error:
        Database(change(server), "x", 1.0)
    assert "wr0ng" not in str(error.value) and PASSWORD not in str(error.value)


def test_addresses():
    assert hide_password("postgres://u:p@h/d") == "postgresql://u:***@h/d"
    assert without_password("postgresql://u@h/d?password=p&sslmode=require") == (
        "postgresql://u@h/d?sslmode=require"
    )
    assert without_password("") == ""
    for wrong in ("sqlite:///x.db", "mysql://u:pw@h/d", "nonsense", "http://h"):
        with pytest.raises(SettingsError, match="Expected postgresql://") as error:
            without_password(wrong)
        assert "pw" not in str(error.value)
