"""Runs of the command in forks of one process that has everything imported.

A fork starts in milliseconds where a fresh process takes seconds to import torch, so that hundreds
of runs can be killed. Run as a script, this file is that process: a line of JSON asks it to start a
command or to wait for one.
"""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

DATA = "waves:train=60,test=20"
SMALL = ("--epochs", 2, "--hidden-size", 4, "--no-diagnostics")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Forks:
    """The process that forks, seen from the test."""

    def __init__(self):
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._ask(do="ping") == "ready"

    def _ask(self, **request):
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        line = self._server.stdout.readline()
        assert line, "the forking process has ended"
        return json.loads(line)

    def start(self, *words, cwd, out=None, err=None, setup="", ignore=()):
        """Start `elman WORDS`.

        Args:
            cwd: its folder; relative paths below are in it.
            out, err: files that standard output and error are written to; "" closes them; None
                means a file in `cwd`.
            setup: Python code that the fork runs first, such as a patch.
            ignore: numbers of signals that are ignored.
        """
        out = str(Path(cwd) / "out.txt") if out is None else str(out)
        err = str(Path(cwd) / "err.txt") if err is None else str(err)
        pid = self._ask(
            do="start",
            words=[str(word) for word in words],
            cwd=str(cwd),
            out=out,
            err=err,
            setup=setup,
            ignore=[int(number) for number in ignore],
        )
        return Fork(self, pid, out, err)

    def run(self, *words, timeout=120, **options):
        """Run `elman WORDS` to its end."""
        fork = self.start(*words, **options)
        fork.wait(timeout)
        return fork

    def wait(self, pid, timeout):
        """Return the exit code, negative for a signal; None if it still runs."""
        return self._ask(do="wait", pid=pid, timeout=timeout)

    def close(self):
        """End the process."""
        self._server.stdin.close()
        self._server.wait(timeout=60)
        self._server.stdout.close()


class Fork:
    """One command that runs or has ended."""

    def __init__(self, forks, pid, out, err):
        self._forks, self.pid, self._out, self._err = forks, pid, out, err
        self.code = None

    def wait(self, timeout=120):
        """Wait for the end; return the exit code."""
        self.code = self._forks.wait(self.pid, timeout)
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            self._forks.wait(self.pid, 10)
            raise AssertionError(f"still runs after {timeout} s; {self.err}")
        return self.code

    def send(self, number):
        """Send a signal; return the time."""
        os.kill(self.pid, number)
        return time.monotonic()

    @property
    def out(self):
        """What it wrote to standard output."""
        return Path(self._out).read_text()

    @property
    def err(self):
        """What it wrote to standard error."""
        path = Path(self._err)  # made by the fork
        return path.read_text() if path.exists() else ""


def serve():
    """Answer the requests of standard input."""
    answers = os.fdopen(os.dup(1), "w")
    requests = os.fdopen(os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    import torch

    torch.set_num_threads(1)
    import_everything()
    for line in requests:
        request = json.loads(line)
        if request["do"] == "start":
            answer = os.fork()
            if not answer:
                run_in_fork(request, answers.fileno(), requests.fileno())
        elif request["do"] == "wait":
            answer = wait_for(request["pid"], request["timeout"])
        else:
            answer = "ready"
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def import_everything():
    """Import what the commands import late, so that forks need not."""
    import importlib
    import pkgutil

    import elman

    for module in pkgutil.walk_packages(elman.__path__, "elman."):
        if module.name not in ("elman.__main__", "elman.estimators.aeon"):
            importlib.import_module(module.name)
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    # Most of the time of a small run; how figures look is tested elsewhere.
    ConstrainedLayoutEngine.execute = lambda self, figure: None
    drawn = io.BytesIO()
    Figure(figsize=(1, 1)).savefig(drawn, format="png")

    def save(figure, target, **options):
        if isinstance(target, Path):
            target.write_bytes(drawn.getvalue())
        else:
            target.write(drawn.getvalue())

    Figure.savefig = save
    from elman import plots

    assert plots._draw
    plots._draw = lambda *arguments: Figure()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(None):
        # A training imports more when it runs: a second and a half of torch's optimisers.
        from elman.cli import main

        sys.argv = [
            "elman",
            "train",
            *map(str, ("waves", *SMALL, "--quiet", "--out", f"{folder}/r")),
        ]
        with contextlib.suppress(SystemExit):
            main()


def wait_for(pid, timeout):
    end = time.monotonic() + timeout
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            return None
        time.sleep(0.002)


def run_in_fork(request, *private):
    """Be the command; never returns."""
    code = 70
    try:
        for descriptor in private:
            os.close(descriptor)
        for descriptor, path in ((1, request["out"]), (2, request["err"])):
            if path:
                opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
                os.dup2(opened, descriptor)
                os.close(opened)
            else:
                os.close(descriptor)
                name = {1: "stdout", 2: "stderr"}[descriptor]
                setattr(sys, name, None)  # as in a process that was started like this
                setattr(sys, f"__{name}__", None)
        os.chdir(request["cwd"])
        for number in SIGNALS:
            ignored = number in request["ignore"]
            usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, signal.SIG_IGN if ignored else usual)
        sys.argv = ["elman", *request["words"]]
        exec(compile(request["setup"], "setup", "exec"), {})
        from elman.cli import main

        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
    except BaseException:
        traceback.print_exc()
    # os._exit leaves out what the parent's own exit does. What is buffered is lost, as it should
    # not: the command has flushed it.
    os._exit(code)


if __name__ == "__main__":
    serve()
