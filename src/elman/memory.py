"""Sizes of memory: read from text, written for people, and measured for this process."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from pathlib import Path

from elman.errors import SettingsError

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_UNITS = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}
_BINARY = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT])(I?)B?", re.IGNORECASE)
# Limit and use of a control group, as a container has one: version 2, then version 1.
_GROUPS = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)


def parse_size(text: str) -> int:
    """Return the bytes of a size such as 2GB, 500MB or 1.5GiB; KB is 1,000 and KiB 1,024 bytes.

    Raises: SettingsError if it is no size or has no unit.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise SettingsError(f"got {text!r:.100}, expected a size with its unit, such as 2GB")
    number, unit, binary = found.groups()
    size = int(float(number) * (_BINARY if binary else _UNITS)[unit.upper()])
    if not size:
        raise SettingsError(f"got {text!r:.100}, expected a size above 0, such as 2GB")
    return size


def write_size(size: float) -> str:
    """Return a size in words, such as 1.5 GB, with about two digits."""
    unit = next((u for u in "TGMK" if abs(size) >= _UNITS[u]), "")
    number = size / _UNITS[unit]
    digits = 1 if unit and abs(number) < 9.95 else 0
    return f"{number:,.{digits}f} {unit}B" if unit else f"{number:,.0f} bytes"


def resident_memory() -> int:
    """Return the bytes of this process that are in memory now."""
    return _status("VmRSS") or peak_memory()


def peak_memory() -> int:
    """Return the most bytes of this process that were in memory at once; 0 if not known."""
    # `ru_maxrss` counts the process that started this one too, so it is the second choice.
    if (size := _status("VmHWM")) or resource is None:
        return size
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def free_memory() -> int | None:
    """Return the bytes that a process can still take without swapping; None if it is not known.

    Inside a container this is what the container may still take.
    """
    free = []
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        free.append(int(line.split()[1]) * 1024)
    for limit, used in _GROUPS:
        with suppress(OSError, ValueError):
            most, now = (int((Path("/sys/fs/cgroup") / n).read_text()) for n in (limit, used))
            free.append(max(0, most - now))
    return min(free) if free else None


def _status(name: str) -> int:
    """Return an entry of this process's status in bytes; 0 where the system has none."""
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return 0
