"""Sizes of memory: read, written, and measured against what the system counts."""

import resource
import subprocess
import sys

import pytest

from elman.errors import SettingsError
from elman.memory import free_memory, parse_size, peak_memory, resident_memory, write_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2GB", 2_000_000_000),
        ("500MB", 500_000_000),
        ("500 mb", 500_000_000),
        ("1.5GiB", 3 * 2**29),
        ("64K", 64_000),
        ("64KiB", 65_536),
        (" 1T ", 10**12),
    ],
)
def test_sizes_are_read(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["2", "", "GB", "-1GB", "2PB", "two GB", "1,5GB", "0MB", "1e3MB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(SettingsError, match="such as 2GB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [(999, "999 bytes"), (1500, "1.5 KB"), (2.04e9, "2.0 GB"), (987e6, "987 MB"), (1e13, "10 TB")],
)
def test_sizes_are_written(size, text):
    assert write_size(size) == text


def test_the_peak_is_what_the_process_took():
    code = (
        "from elman.memory import peak_memory, resident_memory\n"
        "before = peak_memory()\n"
        "block = b'1' * 200_000_000\n"
        "full = resident_memory()\n"
        "del block\n"
        "print(peak_memory() - before, full - resident_memory())"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    peak, freed = map(int, done.stdout.split())
    assert 190e6 < peak < 230e6
    assert 190e6 < freed < 230e6


def test_measures_agree_with_each_other():
    assert resident_memory() <= peak_memory()
    assert peak_memory() <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 * 1.01
    free = free_memory()
    assert free is None or free > 0
