"""A sample of `make fuzz`, and what the fuzzer itself finds if there is something to find."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PLANTED = """
import os, signal, time
import fuzz
from fuzz import Target
from elman.errors import DataError

fuzz.HANG, fuzz.SLOW = 3.0, 0.4
kept = []

def read(path):
    data = path.read_bytes()
    if len(data) < 90:
        raise DataError("cut off", remedy="Write it again.", source=str(path))
    return data[:4]

def fail(kind):
    def run(path):
        data = path.read_bytes()
        if data == b"0123456789" * 10:
            return data
        if kind == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if kind == "hang" or kind == "slow":
            start = time.process_time()
            while kind == "hang" or time.process_time() - start < 0.5:
                pass
        if kind == "memory":
            kept[:] = [b"y" * (80 << 20)]
            kept.clear()
        if kind == "exception":
            raise KeyError(len(data))
        if kind == "unexpected":
            raise DataError("no", source="a", rule="unexpected") from KeyError("b")
        if kind == "message":
            raise DataError("no " * 9000, source="a")
        return len(data)
    return run

KINDS = ("crash", "hang", "slow", "memory", "exception", "unexpected", "message", "silent")
CORPUS = [{"a.txt": b"0123456789" * 10}]
TARGETS = [Target(kind, lambda: CORPUS, fail(kind), checked=kind == "silent") for kind in KINDS]
TARGETS.append(Target("fine", lambda: CORPUS, read))
"""


def fuzz(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(HERE / "fuzz.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def count(text: str, name: str) -> list[int]:
    """Inputs, read, refused and findings of a target."""
    row = next(line for line in text.splitlines() if re.match(rf"{name}  ", line))
    return [int(word.replace(",", "")) for word in row[24:].split()]


def test_no_finding_in_a_sample(tmp_path: Path) -> None:
    done = fuzz("--inputs", 4000, "--workers", 1, "--seconds", 60, "--out", tmp_path, "--seed", 1)
    assert done.returncode == 0, done.stdout + done.stderr
    tried, read, refused, findings = count(done.stdout, "all")
    assert findings == 0 and tried == read + refused
    assert tried > 1000 and read > 0.03 * tried and refused > 0.3 * tried, done.stdout


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("planted")
    (folder / "fuzz_planted.py").write_text(PLANTED)
    done = fuzz("--from", folder, "--inputs", 18, "--workers", 2, "--out", folder / "found")
    assert done.returncode == 1, done.stderr
    return folder, done.stdout


@pytest.mark.parametrize(
    "name", ["crash", "hang", "slow", "memory", "exception", "message", "silent"]
)
def test_every_kind_is_found_kept_and_found_again(name: str, planted: tuple[Path, str]) -> None:
    folder, text = planted
    assert count(text, name) == [2, 0, 0, 2]
    found = [json.loads(path.read_text()) for path in folder.glob("found/*/finding.json")]
    assert [own["kind"] for own in found if own["target"] == name] == [name] * 2
    assert f"2 x {name} in {name}:" in text
    kept = next(folder.glob(f"found/{name}-*"))
    assert (kept / "input" / "a.txt").read_bytes() != b"0123456789" * 10
    if name not in ("hang", "slow"):
        again = fuzz("--from", folder, "--replay", kept)
        assert again.returncode == 1 and f"{name}: {name}" in again.stdout


def test_what_stands_for_an_exception_is_one(planted: tuple[Path, str]) -> None:
    assert "2 x exception in unexpected: KeyError" in planted[1]


def test_the_rest_is_counted_as_read_or_refused(planted: tuple[Path, str]) -> None:
    tried, read, refused, findings = count(planted[1], "fine")
    assert (tried, findings) == (2, 0) and read + refused == 2
    assert count(planted[1], "all")[0] == 18


def test_inputs_are_the_same_again(tmp_path: Path) -> None:
    code = "import fuzz, fuzz_readers as f, hashlib; print(hashlib.sha256(repr("
    code += "[t.make(3, i) for t in f.TARGETS for i in range(20)]).encode()).hexdigest())"
    command = [sys.executable, "-c", code]
    runs = [subprocess.run(command, cwd=HERE, capture_output=True, text=True) for _ in range(2)]
    assert runs[0].stdout and runs[0].stdout == runs[1].stdout, runs[0].stderr
