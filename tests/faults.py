"""Numbers the file operations of elman, and makes the Nth fail or stop the process there.

    with Faults() as faults:            # counts them
        model.save(folder)
    with Faults(at=7, fault="ENOSPC"):  # the seventh fails
        model.save(folder)

A fault is the name of a system error; `short`, a write that takes half of its bytes and after
which the disk is full; `kill`, SIGKILL before the operation;
`killed`, SIGKILL after it; or `interrupt`, Ctrl-C after it. With
`lasting`, every later operation fails too, those that clean up among them.
"""

import errno
import os
import signal
from unittest import mock

from elman import disk, files, guards

OPERATIONS = (
    "open", "write", "pwrite", "fsync", "close", "ftruncate", "fchmod", "chmod", "mkdir", "rename",
    "replace", "unlink", "rmdir",
)  # fmt: skip
# What needs no space still works on a full disk.
WITHOUT_SPACE = {"unlink", "rmdir", "close", "chmod", "fchmod"}


class Faults:
    """The module `os` of everything that writes, with one fault in it."""

    def __init__(self, at=0, fault="", lasting=False):
        self.at, self.fault, self.lasting = at, fault, lasting
        self.calls = []
        self.log = []  # name, arguments and result of each operation that succeeded
        self.full = False
        self._patches = [
            *(mock.patch.object(module, "os", self) for module in (disk, files, guards)),
            mock.patch.object(files, "_exchange", self._wrap("exchange", files._exchange)),
        ]

    def __enter__(self):
        for patch in self._patches:
            patch.start()
        return self

    def __exit__(self, *error):
        for patch in self._patches:
            patch.stop()

    def __getattr__(self, name):
        real = getattr(os, name)
        return self._wrap(name, real) if name in OPERATIONS else real

    @property
    def happened(self):
        """Whether the operation was reached."""
        return 0 < self.at <= len(self.calls)

    def _wrap(self, name, real):
        def call(*args, **kwargs):
            looks = name == "open" and not args[1] & (os.O_WRONLY | os.O_RDWR)
            self.calls.append("look" if looks else name)
            number = len(self.calls)
            if self.full and name in ("write", "pwrite"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            due = number == self.at or (self.lasting and number > self.at)
            if not self.at or not due:
                result = real(*args, **kwargs)
                self.log.append((name, args, result))
                return result
            if self.fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.fault == "killed":
                try:
                    real(*args, **kwargs)
                finally:
                    os.kill(os.getpid(), signal.SIGKILL)
            if self.fault == "interrupt":
                real(*args, **kwargs)
                raise KeyboardInterrupt
            if self.fault == "short":
                if name != "write":
                    return real(*args, **kwargs)
                self.full = True
                descriptor, content = args
                return real(descriptor, content[: len(content) // 2])
            code = getattr(errno, self.fault)
            if number > self.at and code == errno.ENOSPC and name in WITHOUT_SPACE:
                return real(*args, **kwargs)
            if name == "close":
                real(*args, **kwargs)  # a failing close still closes
            raise OSError(code, os.strerror(code))

        return call
