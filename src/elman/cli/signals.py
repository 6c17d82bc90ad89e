"""Signals: whatever runs, the command ends within seconds and says how to go on.

A first signal raises an exception in the main thread, so that a training writes a last checkpoint.
Compiled code does not return to Python when a signal comes, and an import must not be interrupted;
a thread therefore ends the process by force when `LIMIT` is over, or at once after a second Ctrl-C.
Neither damages a file, because every file is complete under its name or not there.
"""

from __future__ import annotations

import atexit
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from elman.cli.torchrun import is_follower

LIMIT = 4.0  # seconds from a signal to the end by force; 5 are promised
# The same during imports: nothing is written yet, and loading torch's libraries holds Python's
# lock, on a busy machine for more than a second.
_IMPORT_LIMIT = 1.5
# Shells, `timeout` and process managers pass one Ctrl-C on twice, within a few milliseconds.
_TWICE = 0.05  # seconds within which two signals are one

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # SIGHUP: the terminal was closed
NOTHING_WRITTEN = "before anything was written. To start again, run the same command"


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP was received; what handles Ctrl-C handles it in the same way."""


class Signals:
    """The signals that a process has received, and what it says of them.

    Args:
        received: number of the first signal; None before.
        describe: returns where the command was and how to go on, such as "in epoch 3 of 30. To
            continue: elman train --resume runs/first". Also called from another thread.
        stop: called at the first signal in place of raising, if there is one; see `passed_to`.
        pipe: where the numbers of signals are written for `watch`.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.describe: Callable[[], str] = lambda: NOTHING_WRITTEN
        self.deferred = 0
        self.over = False
        self.stop: Callable[[], None] | None = None
        self.pipe: int | None = None
        self._said = threading.Lock()
        if is_follower():
            self._said.acquire()  # rank 0 says it

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP, as shells report them."""
        return 128 + (self.received or signal.SIGINT)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Raise for the first signal; further ones must not disturb what that began."""
        if self.received is None and not self.over:
            self.received = number
            if self.stop is not None:
                if self.pipe is not None:  # an event loop has put its own pipe in place of ours
                    os.write(self.pipe, bytes([number]))
                self.stop()
            elif not self.deferred:
                self.raise_received()

    def raise_received(self) -> None:
        """Raise the exception of the signal that was received, if there is one."""
        if self.received is not None:
            raise KeyboardInterrupt if self.received == signal.SIGINT else Terminated

    def line(self, notes: tuple[str, ...] = ()) -> str:
        """Return the line that says what ended the command, where, and how to go on.

        Args:
            notes: the notes of the exception.
        """
        by = "" if self.exit_code == 130 else f" by {signal.Signals(self.exit_code - 128).name}"
        try:
            place = f" {self.describe()}"
        except Exception:  # a folder that somebody else removed meanwhile: end all the same
            place = ""
        return ". ".join([f"Interrupted{by}{place}", *notes])

    def say(self, error: BaseException | None) -> int:
        """Write the line, unless the other thread has; return the exit code.

        Args:
            error: what the signal led to, whose notes are written too.
        """
        if self._said.acquire(blocking=False):
            # A terminal shows ^C without a line break.
            start = "\n" if self.exit_code == 130 and sys.stderr.isatty() else ""
            text = start + self.line(tuple(getattr(error, "__notes__", ()))) + "\n"
            sys.stderr.write(text)
            sys.stderr.flush()
        return self.exit_code

    def watch(self, pipe: int) -> None:
        """End the process by force if the main thread does not; run in a thread of its own.

        Args:
            pipe: gets the number of each signal as a byte, even while compiled code runs; a byte
                of 0 ends the thread.
        """
        first: tuple[int, float] | None = None
        while True:
            left = None if first is None else self._time_left(first[1])
            numbers = os.read(pipe, 64) if select.select([pipe], [], [], left)[0] else b""
            if first is not None and (
                self._time_left(first[1]) == 0.0 or _is_second_ctrl_c(numbers, first[1])
            ):
                self._end_by_force(first[0])
            for number in numbers:
                if number == 0:
                    return
                if first is None and number in _handled():
                    first = number, time.monotonic()

    def _time_left(self, since: float) -> float:
        """Return the seconds that are left for the main thread after a signal."""
        limit = min(LIMIT, _IMPORT_LIMIT) if self.deferred else LIMIT
        return max(0.0, since + limit - time.monotonic())

    def _end_by_force(self, number: int) -> None:
        if self.received is None:  # the main thread has had no time to note it
            self.received = number
        if self._said.acquire(blocking=False):
            with suppress(OSError):  # nobody may read what is said, and that must not block
                if select.select([], [2], [], 0)[1]:
                    os.write(2, f"{self.line()}\n".encode(errors="backslashreplace"))
        with suppress(OSError):
            if "rich" in sys.modules and os.isatty(1):
                os.write(1, b"\x1b[?25h")  # its bar hides the cursor
        os._exit(self.exit_code)


def _is_second_ctrl_c(numbers: bytes, since: float) -> bool:
    return signal.SIGINT in numbers and time.monotonic() - since >= _TWICE


def _handled() -> list[int]:
    """Return the numbers of the signals that this system has."""
    return [int(getattr(signal, name)) for name in _NAMES if hasattr(signal, name)]


def _ignore(numbers: list[int]) -> None:
    """Ignore signals while Python shuts down, which would answer Ctrl-C with a traceback."""
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


_current: Signals | None = None


@contextmanager
def handled() -> Iterator[Signals]:
    """Handle the signals that end a process, for the duration of a `with` block.

    A signal that the process was started to ignore stays ignored: SIGHUP under `nohup`, SIGINT for
    a command that a script started in the background.
    """
    global _current
    state = Signals()
    if threading.current_thread() is not threading.main_thread():
        yield state
        return
    before = {n: signal.getsignal(n) for n in _handled()}
    ours = [n for n, handler in before.items() if handler is not signal.SIG_IGN]
    # A signal that comes before everything is in place is raised at the end of it.
    state.deferred = 1
    for number in ours:
        signal.signal(number, state.handle)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    state.pipe = writing
    wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    watching = threading.Thread(target=state.watch, args=(reading,), daemon=True)
    watching.start()
    outer, _current = _current, state
    try:
        yield state
    finally:
        state.over = True  # the command has ended; a signal now must not turn it into a failure
        state.pipe = None
        signal.set_wakeup_fd(wakeup)
        _current = outer
        os.write(writing, b"\0")
        watching.join()
        os.close(reading)
        os.close(writing)
        atexit.unregister(_ignore)
        atexit.register(_ignore, ours)
        for number in ours:
            signal.signal(number, before[number])


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Defer signals during imports: an interrupted import leaves torch and NumPy unusable."""
    state = _current
    if state is None:
        yield
        return
    state.deferred += 1
    try:
        yield
    finally:
        state.deferred -= 1
    if not state.deferred:
        state.raise_received()


@contextmanager
def passed_to(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` at the first signal, and raise it at the end of the block.

    For an event loop, which must not be interrupted in the middle of an answer.
    """
    state = _current
    if state is None:
        yield
        return
    state.stop = stop
    if state.received is not None:
        stop()
    try:
        yield
    finally:
        state.stop = None
    state.raise_received()


def begin() -> None:
    """Raise from here on what is received, and now what was received since `handled`."""
    if _current is not None:
        _current.deferred -= 1
        if not _current.deferred:
            _current.raise_received()


def when_ended(describe: Callable[[], str]) -> None:
    """Set what is said of a signal from here on: where the command was and how to go on.

    Args:
        describe: see `Signals`; quick, because the process has seconds left.
    """
    if _current is not None:
        _current.describe = describe


def is_ending() -> bool:
    """Whether a signal is ending the command."""
    return _current is not None and _current.received is not None
