"""The workers of a search on this machine: processes of the same command.

The only file outside serve/ that starts processes. A worker reads what it must not be told on the
command line from its standard input, and stops when that is closed: no worker outlives its search.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from elman.errors import ElmanError, SettingsError
from elman.untrusted import parse_json

_LOOK = 0.3  # seconds between two looks at the workers
_STOP = 1.5  # seconds that a worker has to give its trial back; else it counts as killed
_DEATHS = 10  # of workers without a finished trial in between, after which the search ends


class _Worker:
    """One process, its last words on standard error, and its number from 1."""

    def __init__(self, number: int, folder: Path, order: dict[str, Any]) -> None:
        self.number = number
        self.process = subprocess.Popen(
            [sys.executable, "-m", "elman", "tune", "--work", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C goes to the search, which then stops its workers
        )
        self._said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        with suppress(OSError):  # it was killed already
            self._input.write(json.dumps(order).encode() + b"\n")
            self._input.flush()

    @property
    def _input(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            for line in stream:
                self._said = [*self._said[-20:], line.decode(errors="replace")]

    def last_words(self) -> str:
        """Return what an ended worker has written to standard error last."""
        self._reader.join(1.0)
        return "".join(self._said).strip()

    def close(self) -> None:
        """Ask the worker to stop."""
        with suppress(OSError):
            self._input.close()

    def end(self, until: float) -> None:
        """Wait for a worker that was asked to stop; end it by force after a time."""
        try:
            self.process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(1.0)


def supervise(
    folder: Path,
    count: int,
    order: dict[str, Any],
    on_look: Callable[[], int],
    echo: Callable[[str], None],
) -> None:
    """Run workers until every trial is finished; replace those that are killed.

    Args:
        folder: of the search.
        count: number of workers.
        order: what they are told on standard input.
        on_look: called now and then; returns the number of finished trials.
        echo: called with each message.
    Raises: SettingsError with the message of a worker that failed.
    """
    workers = [_Worker(number + 1, folder, order) for number in range(count)]
    deaths, finished = 0, on_look()
    try:
        while workers:
            time.sleep(_LOOK)
            if (now := on_look()) > finished:
                deaths, finished = 0, now
            for worker in list(workers):
                code = worker.process.poll()
                if code is None:
                    continue
                workers.remove(worker)
                worker.close()
                if code > 0:
                    raise _failure(worker)
                if code < 0:
                    deaths += 1
                    if deaths > _DEATHS:
                        raise SettingsError(
                            f"{deaths} workers were killed one after the other by "
                            f"{_name(-code)}, perhaps because the memory is not enough. Use fewer "
                            "--workers"
                        )
                    echo(
                        f"worker {worker.number} was killed by {_name(-code)}; another takes its "
                        "place, and its trial is run again"
                    )
                    workers.append(_Worker(worker.number, folder, order))
        on_look()
    finally:
        for worker in workers:
            worker.close()
        until = time.monotonic() + _STOP
        for worker in workers:
            worker.end(until)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _failure(worker: _Worker) -> ElmanError:
    text = worker.last_words().removeprefix("Error: ") or "it said nothing"
    return SettingsError(f"worker {worker.number}: {text}")


def read_order() -> dict[str, Any]:
    """Return what the search has told this worker; from then on, stop when it is gone."""
    line = b""
    while not line.endswith(b"\n") and (more := os.read(0, 1)):
        line += more
    order = parse_json(line or b"null", "standard input")
    if not isinstance(order, dict):
        raise SettingsError("--work: is for elman tune itself, which starts its workers with it")

    def watch() -> None:
        # Not sys.stdin, whose lock a waiting thread would hold at the end of the process.
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
    return order
