"""SIGINT, SIGTERM and SIGHUP in every phase of every command: out in time, and one line."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from forks import DATA, SMALL

from elman.cli import signals

PROMISED = 5.0  # seconds
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
NAMES = {
    signal.SIGINT: "Interrupted",
    signal.SIGTERM: "Interrupted by SIGTERM",
    signal.SIGHUP: "Interrupted by SIGHUP",
}

# What a command is made to wait in. Python code sees a signal at once; a compiled function, here a
# mutex that is locked twice, never returns to Python.
REACHED = "pathlib.Path('reached').touch()"
FOREVER = "while True: time.sleep(0.01)"
WAITS = {
    "python": f"{REACHED}\n    {FOREVER}",
    # Another thread says so, for the signal must not come before the function is called.
    "compiled": f"threading.Timer(0.3, lambda: {REACHED}).start()\n"
    "    mutex = ctypes.create_string_buffer(256)\n"
    "    for _ in range(2): ctypes.CDLL(None).pthread_mutex_lock(mutex)",
    # An exception that a signal raises in a destructor is printed and lost.
    "swallowed": f"try:\n        {REACHED}\n        {FOREVER}\n"
    f"    except KeyboardInterrupt: pass\n    {FOREVER}",
    # Half a second of work before the end, such as a last checkpoint.
    "cleanup": f"try:\n        {REACHED}\n        {FOREVER}\n"
    "    finally: time.sleep(0.5); pathlib.Path('cleaned').touch()",
    # Compiled code may answer an interruption with an error of its own.
    "turned": f"try:\n        {REACHED}\n        {FOREVER}\n"
    "    except KeyboardInterrupt: raise SystemError('error return without exception set')",
}
SETUP = """
import ctypes, importlib, pathlib, threading, time
def wait(*arguments, **options):
    {wait}
holder, name = {where!r}.rsplit(".", 1)
try:
    holder = importlib.import_module(holder)
except ImportError:
    module, inner = holder.rsplit(".", 1)
    holder = getattr(importlib.import_module(module), inner)
getattr(holder, name)
setattr(holder, name, wait)
"""
PHASES = {
    "train": [
        "elman.runs.config.merge",
        "elman.runs.preparation.read_splits",
        "elman.runs.preparation.prepare",
        "elman.train.gradients.OneCall.__call__",
        "elman.train.loop.validate",
        "elman.estimators.storage.save_folder",
        "elman.runs.experiment.collect_predictions",
        "elman.plots.save_all",
        "elman.runs.report_page.render",
    ],
    "tune": [
        "elman.runs.config.merge",
        "elman.runs.tuning.read_splits",
        "elman.runs.tuning.open_store",
        "elman.train.gradients.OneCall.__call__",
        "elman.runs.tuning.experiment.run",
    ],
    "evaluate": [
        "elman.runs.evaluation.load",
        "elman.runs.evaluation.collect_predictions",
        "elman.plots.save_all",
        "elman.runs.report_page.render",
    ],
    "predict": ["elman.runs.evaluation.load", "elman.runs.evaluation.collect_predictions"],
    "explain": ["elman.runs.explanation.load_model_and_data", "elman.runs.explanation.trace"],
    "lab": [
        "elman.runs.lab.load",
        "elman.runs.lab.choose_examples",
        "elman.lab.assemble.build_page",
    ],
    "check": ["elman.runs.evaluation.load_model_and_data"],
    "export": ["elman.runs.evaluation.load", "elman.export.onnx.compare"],
    "data": ["elman.data.load_task", "elman.data.summarize"],
    "tasks": ["elman.data.builtin.find_task"],
    "info": ["elman.cli.info.collect_info"],
}
DRAWN = "elman.runs.evaluation.collect_predictions"
NOT_COVERED_HERE = {"help", "version", "serve"}  # over in milliseconds; tests/serve


def words_of(command, run):
    """Return the words of a command that works."""
    return {
        "train": ("train", DATA, *SMALL, "--validation", 0.2, "--out", "r"),
        "tune": ("tune", DATA, *SMALL, "--trials", 2, "--folds", 2, "--out", "t"),
        "evaluate": ("evaluate", run, DATA, "--out", "e"),
        "predict": ("predict", run, DATA, "-o", "p.csv"),
        "explain": ("explain", run, DATA, "--out", "x"),
        "lab": ("lab", run, "--no-open", "-o", "lab.html"),
        "check": ("check", run, DATA),
        "export": ("export", run, "--to", "onnx", "-o", "m.onnx"),
        "data": ("data", DATA),
        "tasks": ("tasks", "waves"),
        "info": ("info",),
    }[command]


def start_waiting(forks, folder, words, where, wait="python", more="", **options):
    """Start a command that waits in the function `where`; return it once it is there."""
    setup = SETUP.format(where=where, wait=WAITS[wait]) + more
    fork = forks.start(*words, cwd=folder, setup=setup, **options)
    end = time.monotonic() + 60
    while not (Path(folder) / "reached").exists():
        assert time.monotonic() < end and "Traceback" not in fork.err, (where, fork.err)
        time.sleep(0.005)
    return fork


def check_end(fork, number, since, within=PROMISED):
    """Check exit code, time, and the one line."""
    assert fork.wait(30) == CODES[number], fork.err
    assert time.monotonic() - since < within
    lines = [line for line in fork.err.splitlines() if not line.endswith(" ...")]  # of explain
    assert len(lines) == 1, fork.err
    assert lines[0].startswith(NAMES[number])
    return lines[0]


def test_every_command_is_covered():
    from elman.cli.commands import _COMMANDS

    assert set(PHASES) | NOT_COVERED_HERE == set(_COMMANDS)


PAIRS = [(command, where) for command in PHASES for where in PHASES[command]]
# A sample: every phase once, the signals in turn; drawing takes seconds.
SAMPLE = [
    (*pair, list(CODES)[i % 3]) for i, pair in enumerate(PAIRS) if not pair[1].endswith("render")
]
ALL = [
    pytest.param(*pair, number, marks=() if (*pair, number) in SAMPLE else pytest.mark.slow)
    for pair in PAIRS
    for number in CODES
]


@pytest.mark.parametrize(("command", "where", "number"), ALL)
def test_a_signal_in_every_phase(forks, trained, tmp_path, command, where, number):
    fork = start_waiting(forks, tmp_path, words_of(command, trained), where)
    line = check_end(fork, number, fork.send(number), within=3)
    assert any(words in line for words in ("--resume", "run the same command", "model"))
    left = {path.name for path in tmp_path.iterdir()} - {"r"}
    searched = {"t"} if where.endswith("experiment.run") else set()  # its trials are kept
    assert left == {"out.txt", "err.txt", "reached"} | searched


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize("wait", ["compiled", "swallowed"])
def test_code_that_does_not_heed_the_signal(forks, trained, tmp_path, number, wait):
    soon = "import elman.cli.signals; elman.cli.signals.LIMIT = 0.5"
    words = words_of("evaluate", trained)
    fork = start_waiting(forks, tmp_path, words, DRAWN, wait, more=soon)
    line = check_end(fork, number, fork.send(number), within=2)
    assert "run the same command" in line


def test_the_limit_leaves_time(forks, trained, tmp_path):
    """The same with the limit of the package."""
    assert signals.LIMIT < PROMISED
    fork = start_waiting(forks, tmp_path, words_of("predict", trained), DRAWN, "compiled")
    since = fork.send(signal.SIGTERM)
    check_end(fork, signal.SIGTERM, since)
    assert time.monotonic() - since > signals.LIMIT - 0.5  # it was given the time to end by itself


@pytest.mark.parametrize("wait", ["compiled", "swallowed"])
@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_ctrl_c_ends_at_once(forks, trained, tmp_path, wait, first):
    fork = start_waiting(forks, tmp_path, words_of("evaluate", trained), DRAWN, wait)
    fork.send(first)
    time.sleep(0.3)
    since = fork.send(signal.SIGINT)
    check_end(fork, first, since, within=0.5)


def test_a_signal_that_is_passed_on_twice_is_one(forks, trained, tmp_path):
    """`timeout` sends SIGTERM to the process and then to its group; shells do it with Ctrl-C."""
    for number in CODES:
        folder = tmp_path / number.name
        folder.mkdir()
        fork = start_waiting(forks, folder, words_of("evaluate", trained), DRAWN, "cleanup")
        since = fork.send(number)
        time.sleep(0.01)
        fork.send(number)
        check_end(fork, number, since)
        assert (folder / "cleaned").exists()


def test_further_sigterms_do_not_disturb_the_cleanup(forks, trained, tmp_path):
    fork = start_waiting(forks, tmp_path, words_of("evaluate", trained), DRAWN, "cleanup")
    since = fork.send(signal.SIGTERM)
    for _ in range(3):
        time.sleep(0.1)
        fork.send(signal.SIGTERM)
    check_end(fork, signal.SIGTERM, since)
    assert (tmp_path / "cleaned").exists()


def test_signals_that_are_ignored_stay_ignored(forks, tmp_path):
    """`nohup elman train ...`, and a command in the background of a script."""
    ignored = (signal.SIGHUP, signal.SIGINT)
    fork = start_waiting(forks, tmp_path, ("data", DATA), "elman.data.summarize", ignore=ignored)
    for number in ignored:
        fork.send(number)
    time.sleep(0.3)
    check_end(fork, signal.SIGTERM, fork.send(signal.SIGTERM))


def test_an_import_is_not_interrupted(forks, tmp_path):
    """The exception is raised when the import is over, or the process ends at the limit."""
    more = "from elman.cli import tasks, signals; wait = tasks.command.callback\n"
    more += "def slowly(name):\n    import pathlib, time\n    with signals.uninterrupted():\n"
    more += "        pathlib.Path('reached').touch(); time.sleep(0.7); "
    more += "pathlib.Path('imported').touch()\n    time.sleep(60)\n"
    more += "tasks.command.callback = slowly"
    fork = forks.start("tasks", cwd=tmp_path, setup=more)
    while not (tmp_path / "reached").exists():
        time.sleep(0.005)
    check_end(fork, signal.SIGINT, fork.send(signal.SIGINT))
    assert (tmp_path / "imported").exists()


def test_a_failure_that_a_signal_caused_is_no_traceback(forks, trained, tmp_path):
    fork = start_waiting(forks, tmp_path, words_of("evaluate", trained), DRAWN, "turned")
    check_end(fork, signal.SIGTERM, fork.send(signal.SIGTERM))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("delay", [0.15, 0.5, 1.0])
def test_a_fresh_process(tmp_path, number, delay):
    """In the start-up and the imports of a real process."""
    elman = str(Path(sys.executable).with_name("elman"))
    process = subprocess.Popen(
        [elman, "train", DATA, "--epochs", "100000", "--patience", "0", "--out", "r"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    # Before Python has begun to import the package, the signal is Python's own.
    time.sleep(delay)
    process.send_signal(number)
    since = time.monotonic()
    err = process.communicate(timeout=60)[1]
    assert time.monotonic() - since < PROMISED
    if process.returncode == -number and delay < 0.5:
        return
    assert process.returncode == CODES[number], err
    assert len(err.splitlines()) == 1
    assert "elman train --resume" in err or "run the same command" in err


def test_nothing_is_left_of_the_handlers(monkeypatch, capsys):
    """`main` called from Python gives back the handlers, the streams and its thread."""
    import threading

    from elman.cli import main

    was = [signal.getsignal(n) for n in CODES], sys.stdout, sys.stderr, threading.active_count()
    files = len(list(Path("/proc/self/fd").iterdir()))
    monkeypatch.setattr(sys, "argv", ["elman", "version"])
    with pytest.raises(SystemExit):
        main()
    now = [signal.getsignal(n) for n in CODES], sys.stdout, sys.stderr, threading.active_count()
    assert now == was
    assert len(list(Path("/proc/self/fd").iterdir())) == files


@pytest.mark.parametrize("number", CODES)
def test_a_signal_before_the_handlers_are_in_place(forks, tmp_path, number):
    """It comes while the watching thread starts, before the command has begun."""
    setup = "import os, threading; start = threading.Thread.start\n"
    setup += f"def late(self):\n    start(self); os.kill(os.getpid(), {int(number)})\n"
    setup += "threading.Thread.start = late"
    since = time.monotonic()
    check_end(forks.start("tasks", cwd=tmp_path, setup=setup), number, since)


def test_a_signal_after_the_command_has_ended(forks, tmp_path):
    """The exit code stays that of the command."""
    for number in CODES:
        setup = "import os, threading; join = threading.Thread.join\n"
        setup += f"def late(self, *timeout):\n    os.kill(os.getpid(), {int(number)})\n"
        setup += "    join(self, *timeout)\nthreading.Thread.join = late"
        done = forks.run("tasks", cwd=tmp_path, setup=setup)
        assert (done.code, done.err) == (0, "")


def test_an_import_that_takes_too_long(forks, tmp_path):
    """Nothing is written during imports, so that less time need be given to them."""
    setup = "from elman.cli import tasks, signals\ndef slowly(name):\n    import pathlib, time\n"
    setup += "    with signals.uninterrupted():\n        pathlib.Path('reached').touch()\n"
    setup += "        time.sleep(60)\ntasks.command.callback = slowly"
    fork = forks.start("tasks", cwd=tmp_path, setup=setup)
    while not (tmp_path / "reached").exists():
        time.sleep(0.005)
    check_end(fork, signal.SIGTERM, fork.send(signal.SIGTERM), within=3)
