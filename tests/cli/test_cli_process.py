"""The command as its own process: start-up time, what it imports, Ctrl-C, a terminal, a pipe."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from elman.cli.signals import NOTHING_WRITTEN

ELMAN = [str(Path(sys.executable).with_name("elman"))]
MODULES = (
    "import sys; sys.argv = ['elman', {words}]\ntry:\n    import elman.cli; elman.cli.main()\n"
)
MODULES += "except SystemExit: pass\nprint('MODULES', *sys.modules)"
LONG = [
    "train",
    "waves:train=100,test=40",
    "--epochs",
    "10000",
    "--patience",
    "0",
    "--hidden-size",
    "4",
    "--validation",
    "0.1",
    "--no-diagnostics",
]


def call(*words, **options):
    options = {"capture_output": True, "text": True, "timeout": 120, **options}
    return subprocess.run([*ELMAN, *map(str, words)], check=False, **options)


def test_help_is_quick():
    """0.3 s is promised on an idle machine; the bound leaves room for a busy one."""
    times = []
    for _ in range(5):
        started = time.perf_counter()
        done = call("--help")
        times.append(time.perf_counter() - started)
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: elman")
    assert min(times) < 1.0, times


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["predict", "-h"], ["--vers"]])
def test_help_imports_nothing_heavy(words):
    code = MODULES.format(words=", ".join(map(repr, words)))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    modules = done.stdout.split("MODULES", 1)[1].split()
    assert "click" in modules
    heavy = {"torch", "numpy", "sklearn", "matplotlib", "pyarrow", "pydantic", "scipy", "rich"}
    assert heavy.isdisjoint(modules)


def test_settings_are_printed_without_torch():
    words = "'train', 'waves', '--epochs', '3', '--print-config'"
    done = subprocess.run(
        [sys.executable, "-c", MODULES.format(words=words)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "epochs = 3" in done.stdout
    assert "torch" not in done.stdout.split("MODULES", 1)[1].split()


def test_as_a_module():
    command = [sys.executable, "-m", "elman", "tasks"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "running-parity" in done.stdout


def heed_ctrl_c():
    """In the child: a shell that starts the tests in the background has it ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def start(*words, **options):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    return subprocess.Popen([*ELMAN, *map(str, words)], preexec_fn=heed_ctrl_c, **options)


def wait_for(condition, process, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


def lines_of(path):
    return path.read_text().splitlines() if path.is_file() else []


def test_ctrl_c_keeps_a_run_that_can_be_resumed(tmp_path):
    run = tmp_path / "run"
    process = start(*LONG, "--out", run, cwd=tmp_path)
    # A file that is written as it goes can be read from outside.
    wait_for(lambda: len(lines_of(run / "metrics.jsonl")) >= 2, process)
    assert json.loads(lines_of(run / "metrics.jsonl")[0])["epoch"] == 1
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, (out, err)
    assert err.startswith("Interrupted")
    epoch = len(lines_of(run / "metrics.jsonl")) + 1
    assert f"in epoch {epoch} of 10000. To continue: elman train --resume {run}\n" in err
    assert not (run / "metrics.json").exists()
    done = call("predict", run, "waves", "-o", tmp_path / "p.csv")
    assert done.returncode == 2 and "--resume" in done.stderr and "--finish" in done.stderr
    done = call("train", "waves", "--out", run)
    assert done.returncode == 2
    assert f"{run}: holds an unfinished run, which stopped in epoch {epoch}" in done.stderr


def train_small_run(run):
    small = ("--epochs", 1, "--hidden-size", 2, "--no-diagnostics")
    call("train", "waves", *small, "--out", run)  # absolute, so the working folder does not matter


@pytest.mark.parametrize("old", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_ctrl_c_in_the_first_epoch_leaves_nothing(tmp_path, old):
    run = tmp_path / "runs" / "mine"
    before = []
    if old:
        train_small_run(run)
        before = sorted(tmp_path.rglob("*"))
        assert run in before
    # An epoch of many large steps, so that the first is not over when the signal comes.
    flags = ["--hidden-size", "700", "--num-layers", "3", "--batch-size", "4", "--bidirectional"]
    process = start("train", "waves", *flags, "--out", run, "--overwrite", cwd=tmp_path)
    wait_for(lambda: (run / "metrics.jsonl").is_file() and not (run / "model").exists(), process)
    time.sleep(0.5)
    assert lines_of(run / "metrics.jsonl") == []
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, (out, err)
    assert err.strip() == f"Interrupted {NOTHING_WRITTEN}"
    assert "Traceback" not in out
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.05, 0.3, 0.6, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0])
def test_ctrl_c_at_any_moment(tmp_path, delay):
    """Whenever it comes: no traceback, and either a run that can be resumed, or nothing."""
    run = tmp_path / "run"
    process = start(
        "train", "waves", "--epochs", "30", "--no-diagnostics", "--out", run, cwd=tmp_path
    )
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    if process.returncode == -signal.SIGINT:  # before Python could catch it
        assert delay < 1
    else:
        assert process.returncode == 130, (out, err)
        assert "Traceback" not in err
    assert not list(tmp_path.glob(".*"))
    if run.exists():
        assert call("train", "--resume", run).returncode == 0
        assert call("predict", run, "waves", "-o", tmp_path / "p.csv").returncode == 0


@pytest.mark.slow
def test_killed_while_it_replaces_a_run(tmp_path):
    """SIGKILL: the old run stays complete beside the new one, should the next fail too."""
    run, beside = tmp_path / "run", tmp_path / "run.replaced"
    train_small_run(run)
    old = (run / "metrics.json").read_bytes()
    for _ in range(2):
        process = start(*LONG, "--out", run, "--overwrite", cwd=tmp_path)
        wait_for(lambda: len(lines_of(run / "metrics.jsonl")) >= 2, process)
        process.kill()
        process.communicate()
        assert not (run / "metrics.json").exists()
        assert (beside / "metrics.json").read_bytes() == old
    done = call("train", "waves", "--out", run, cwd=tmp_path)
    assert done.returncode == 2 and f"is in {beside}" in done.stderr


def test_a_terminal_shows_a_bar(tmp_path):
    """Under a pseudo-terminal the bar moves, and the lines stay when it is gone."""
    main, side = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    process = subprocess.Popen(
        [
            *ELMAN,
            *[
                "train",
                "waves:train=200,test=40",
                "--epochs",
                "12",
                "--log-every",
                "4",
                "--validation",
                "0.1",
                "--no-diagnostics",
                "--out",
                "r",
            ],
        ],
        stdout=side,
        stderr=side,
        stdin=subprocess.DEVNULL,
        cwd=tmp_path,
        env=environment,
    )
    os.close(side)
    shown = b""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if select.select([main], [], [], 1)[0]:
            try:
                chunk = os.read(main, 65536)
            except OSError:  # the other side is closed
                break
            if not chunk:
                break
            shown += chunk
    os.close(main)
    assert process.wait(timeout=60) == 0
    text = shown.decode()
    assert "━" in text
    assert re.search(r"epoch \d+/12  loss \d\.\d{4}  accuracy \d\.\d{4}  \d:\d\d left", text)
    lines = re.findall(r"^epoch (\d+)/12 .*validation loss", text.replace("\x1b[2K", "\n"), re.M)
    assert lines == ["1", "4", "8", "12"]
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor is shown again


@pytest.mark.slow
def test_a_terminal_that_is_not_unicode(tmp_path):
    rows = [f"{['good', 'bad'][i % 2]} day,{['näin', '日本'][i % 2]}\n" for i in range(20)]
    (tmp_path / "d.csv").write_text("text,label\n" + "".join(rows), encoding="utf-8")
    done = subprocess.run(
        [*ELMAN, "train", "d.csv", "--epochs", "1", "--hidden-size", "2", "--out", "r"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
    )
    assert done.returncode == 0, done.stderr
    assert b"\\u65e5\\u672c" in done.stdout
    assert "日本" in (tmp_path / "r" / "predictions.csv").read_text(encoding="utf-8")


def test_no_network_and_no_questions(tmp_path):
    """With sockets forbidden and standard input closed, the whole command works."""
    guard = tmp_path / "guard"
    guard.mkdir()
    (guard / "sitecustomize.py").write_text(
        "import socket\n"
        "def refuse(*a, **k): raise RuntimeError('the network was asked')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
    )
    path = os.pathsep.join([str(guard), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = call(
        "train",
        "running-parity",
        "--no-diagnostics",
        "--epochs",
        1,
        "--hidden-size",
        2,
        "--out",
        tmp_path / "r",
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert (tmp_path / "r" / "report.html").is_file()
