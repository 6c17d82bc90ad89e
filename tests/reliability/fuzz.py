"""Millions of damaged inputs: `make fuzz INPUTS=1000000`, or `python tests/reliability/fuzz.py`.

Every input is made from a valid one, or from nothing, by a `Random` seeded with the seed, the name
of the target and the number of the input, so that each can be made again. Worker processes read
them, with a limit on their memory; the parent watches, kills a worker that hangs, and goes on after
one that crashes. An input is a finding if reading it

    crash      ends the process
    hang       takes more than 20 s of processor time
    slow       takes more than 1 s of processor time
    memory     needs more memory than twice its size and 64 MB
    exception  raises anything but an ElmanError, or the one that stands for such an exception
    message    raises an error whose message is empty, endless, or spoils a terminal
    silent     gives another result than the whole file, although its format has a checksum

Findings that end at the same line of code are one finding; its first inputs are kept in a folder
each, with a `finding.json`, for `--replay`.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import hashlib
import importlib
import json
import mmap
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from mutators import mutate

from elman.errors import DataError, ElmanError

Files = dict[str, bytes]  # content by path, relative to the folder in which they are written
SLOW, HANG = 1.0, 20.0  # seconds of processor time
MEMORY = 64 << 20  # bytes above twice the size of an input
HEADROOM = 4 << 30  # bytes of address space that a worker may take beyond what its imports took
REPLACED = 75  # exit code of a worker that has done its share
KEPT = 3  # inputs kept of one finding
LONGEST = 20_000  # characters of a message
REFRESH = 20_000  # inputs after which a worker is replaced, so that its memory stays comparable
KINDS = ("read", "refused", "crash", "hang", "slow", "memory", "exception", "message", "silent")


@dataclass(frozen=True)
class Target:
    """Something that reads files that anyone may have made.

    Args:
        name: unique among the targets.
        corpus: makes valid inputs, the same ones each time.
        run: reads the input at a path, the first file or folder of `Files`. It raises an ElmanError
            to refuse it. What it returns is compared if `checked`.
        words: pieces that mutations insert.
        checked: whether every byte of the file counts and has a checksum, so that a changed file
            is refused or read as before.
        generate: makes an input from nothing; half of the inputs, if given.
        change: makes an input from the corpus; by default one file of one input is mutated.
        weight: how many inputs a turn has, for quick targets.
    """

    name: str
    corpus: Callable[[], list[Files]]
    run: Callable[[Path], object]
    words: tuple[bytes, ...] = ()
    checked: bool = False
    generate: Callable[[Random], Files] | None = None
    change: Callable[[Random, list[Files]], Files] | None = None
    weight: int = 1
    cache: dict[str, Any] = field(default_factory=dict, compare=False)

    def inputs(self) -> list[Files]:
        """Return the corpus, which is made once."""
        if "inputs" not in self.cache:
            self.cache["inputs"] = self.corpus()
        found: list[Files] = self.cache["inputs"]
        return found

    def make(self, seed: int, number: int) -> tuple[int, Files]:
        """Return an input, and which of the corpus it was made from, -1 if from none."""
        random = Random(f"{seed}/{self.name}/{number}")
        if self.generate is not None and random.random() < 0.5:
            return -1, self.generate(random)
        corpus = self.inputs()
        if self.change is not None:
            return -1, self.change(random, corpus)
        which = random.randrange(len(corpus))
        files = dict(corpus[which])
        name = random.choice(list(files))
        whole = files[name]
        others = [content for own in corpus for content in own.values()]
        files[name] = mutate(random, whole, self.words, () if self.checked else others)
        # Two whole files in one are not damaged, nor if a header, which has no checksum, differs.
        while self.checked and (whole in files[name] or files[name].count(whole[-8:]) > 1):
            files[name] = mutate(random, whole, self.words)
        return which, files


def write(files: Files, folder: Path) -> Path:
    """Write an input into an empty folder; return what a target is given."""
    for name, content in files.items():
        path = folder / name
        if path.parent != folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder / next(iter(files)).split("/")[0]


def clear(folder: Path) -> None:
    """Empty a folder."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


@dataclass(frozen=True)
class Finding:
    """What was wrong with one input; findings of equal kind and place are one."""

    target: str
    kind: str
    place: str
    text: str
    seed: int = 0
    number: int = -1

    @property
    def key(self) -> str:
        """The same for all inputs of one finding."""
        return hashlib.sha256(f"{self.kind} {self.place}".encode()).hexdigest()[:10]


def _place(error: BaseException) -> str:
    """Return the type of an error and the last line of elman in its traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "/elman/" in f.filename and "/tests/" not in f.filename]
    name = type(error).__name__
    if not frames:
        return name
    where = (own or frames)[-1]
    return f"{name} {Path(where.filename).name}:{where.name}:{where.lineno}"


def _check_message(error: ElmanError) -> str:
    """Return what is wrong with a message, or an empty string."""
    text = str(error)
    if not text.strip():
        return "empty"
    if len(text) > LONGEST:
        return "endless"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "not Unicode"
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\u202a-\u202e\u2066-\u2069]", text):
        return "control characters"
    return ""


def try_input(
    target: Target, path: Path, size: int, expected: object = None
) -> tuple[str, str, str]:
    """Run a target on one input.

    Args:
        size: bytes of the input.
        expected: result that a checked target has to give, or None.
    Returns: kind, place and text of the finding; the kind is `read` or `refused` without one.
    """
    _reset_peak()
    before, start = _memory()[1], time.process_time()
    found = ("read", "", "")
    try:
        result = target.run(path)
        if expected is not None and result != expected:
            found = ("silent", target.name, f"{str(result)[:200]}, expected {str(expected)[:200]}")
    except ElmanError as error:
        cause = error.__cause__
        if isinstance(error, DataError) and error.rule == "unexpected":
            found = ("exception", _place(cause or error), f"{error}\n{_trace(cause or error)}")
        elif bad := _check_message(error):
            place = f"{bad} {_place(error)} {getattr(error, 'rule', '')}"
            found = ("message", place, ascii(str(error)[:500]))
        else:
            found = ("refused", getattr(error, "rule", "") or type(error).__name__, "")
    except Exception as error:
        found = ("exception", _place(error), _trace(error))
    spent, peak = time.process_time() - start, _memory()[0]
    if found[0] in ("read", "refused"):
        if spent > SLOW:
            found = ("slow", target.name, f"{spent:.1f} s of processor time, then {found[0]}")
        elif peak - before > 2 * size + MEMORY:
            found = ("memory", target.name, f"{(peak - before) >> 20} MB for {size:,} bytes")
    return found


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))[-3000:]


_STATUS: list[int] = []


def _memory() -> tuple[int, int]:
    """Return the peak of the memory of this process and what it is now, in bytes."""
    if not _STATUS:
        _STATUS.append(os.open("/proc/self/status", os.O_RDONLY))
        _STATUS.append(os.open("/proc/self/clear_refs", os.O_WRONLY))
    text = os.pread(_STATUS[0], 4096, 0)
    peak, now = (re.search(name + rb":\s+(\d+)", text) for name in (b"VmHWM", b"VmRSS"))
    assert peak and now
    return int(peak[1]) << 10, int(now[1]) << 10


def _reset_peak() -> None:
    _memory()
    os.pwrite(_STATUS[1], b"5", 0)  # man 5 proc: the peak starts again at what it is now


class Fuzzer:
    """Reads inputs in worker processes and collects what is found.

    Args:
        targets: take turns.
        seed: of all inputs.
        out: folder of the findings.
        workers: processes.
        seconds: stop after so many, if not 0.
    """

    def __init__(
        self, targets: Sequence[Target], seed: int, out: Path, workers: int, seconds: float = 0.0
    ) -> None:
        self.targets, self.seed, self.out = targets, seed, out
        self.workers, self.seconds = workers, seconds
        self.turns = [at for at, target in enumerate(targets) for _ in range(target.weight)]
        self.findings: Counter[tuple[str, str, str]] = Counter()  # target, kind, place
        # Shared with the workers: of each the input it is at and when, in ns of its processor time,
        # it began, 0 in between; and how often a target ended in each of the kinds.
        self.state = memoryview(mmap.mmap(-1, 16 * workers)).cast("q")
        self.counts = memoryview(mmap.mmap(-1, 8 * len(KINDS) * len(targets))).cast("q")
        self.scratch = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))

    def run(self, inputs: int) -> int:
        """Try so many inputs; return how many were tried."""
        for target in self.targets:
            target.inputs()
        start = time.monotonic()
        living: dict[int, int] = {}  # worker by process
        try:
            for worker in range(self.workers):
                living[self._fork(worker, worker, inputs)] = worker
            while living:
                time.sleep(0.05)
                over = bool(self.seconds) and time.monotonic() - start > self.seconds
                for process, worker in list(living.items()):
                    done, status = os.waitpid(process, os.WNOHANG)
                    number, began = self.state[2 * worker : 2 * worker + 2]
                    if not done:
                        if began and _processor_time(process) - began / 1e9 > HANG:
                            os.kill(process, signal.SIGKILL)
                        elif over:
                            os.kill(process, signal.SIGTERM)
                        continue
                    del living[process]
                    self._collect(worker)
                    code = os.waitstatus_to_exitcode(status)
                    if code in (-signal.SIGTERM, 0):
                        continue
                    if code == REPLACED:
                        living[self._fork(worker, number, inputs)] = worker
                        continue
                    if code > 0 or not began:  # a fault of the fuzzer, or of making an input
                        raise RuntimeError(f"worker {worker} ended with {code}")
                    self._record_end(worker, number, code)
                    living[self._fork(worker, number + self.workers, inputs)] = worker
        finally:
            for process in living:
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)
            shutil.rmtree(self.scratch, ignore_errors=True)
        return int(sum(self.counts))

    def _fork(self, worker: int, first: int, inputs: int) -> int:
        """Return a process that tries every input of a worker from the first on."""
        self.state[2 * worker], self.state[2 * worker + 1] = first, 0
        sys.stdout.flush()
        process = os.fork()
        if process:
            return process
        code = 1
        try:
            code = self._work(worker, first, inputs)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def _work(self, worker: int, number: int, inputs: int) -> int:
        """Try every input of a worker from `number` on; return REPLACED if there are more."""
        folder = self.scratch / f"files{worker}"
        folder.mkdir(exist_ok=True)
        clear(folder)
        log = (self.scratch / f"found{worker}").open("a")
        faulthandler.enable((self.scratch / f"stack{worker}").open("w"))
        warnings.simplefilter("ignore")
        expected = warm_up(self.targets, folder)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + HEADROOM,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        last = number + REFRESH * self.workers
        while number < min(last, inputs):
            at = self.turns[number % len(self.turns)]
            target = self.targets[at]
            which, files = target.make(self.seed, number)
            path = write(files, folder)
            self.state[2 * worker] = number
            self.state[2 * worker + 1] = time.process_time_ns()
            wanted = expected[target.name][which] if target.checked and which >= 0 else None
            kind, place, text = try_input(target, path, sum(map(len, files.values())), wanted)
            self.counts[at * len(KINDS) + KINDS.index(kind)] += 1
            if kind not in ("read", "refused"):
                finding = Finding(target.name, kind, place, text, self.seed, number)
                log.write(json.dumps(finding.__dict__) + "\n")
                log.flush()
            self.state[2 * worker + 1] = 0
            clear(folder)
            number += self.workers
            self.state[2 * worker] = number
        return REPLACED if number < inputs else 0

    def _record_end(self, worker: int, number: int, code: int) -> None:
        """Record an input that ended its worker by a signal."""
        at = self.turns[number % len(self.turns)]
        name = self.targets[at].name
        stack = (self.scratch / f"stack{worker}").read_text()
        lines = re.findall(r'File "(.*?)", line (\d+) in (\S+)', stack)
        own = next((line for line in lines if "/elman/" in line[0]), ("", "0", name))
        kind = "hang" if code == -signal.SIGKILL else "crash"
        place = f"{signal.Signals(-code).name} {Path(own[0]).name}:{own[2]}:{own[1]}"
        self.counts[at * len(KINDS) + KINDS.index(kind)] += 1
        place = name if kind == "hang" else place
        self._keep(Finding(name, kind, place, stack[-3000:], self.seed, number))

    def _collect(self, worker: int) -> None:
        """Take the findings that a worker wrote down."""
        path = self.scratch / f"found{worker}"
        for line in path.read_text().splitlines():
            self._keep(Finding(**json.loads(line)))
        path.unlink()

    def _keep(self, finding: Finding) -> None:
        """Count a finding, and keep its input if it is among the first of its kind."""
        self.findings[finding.target, finding.kind, finding.place] += 1
        same = [count for (_, kind, place), count in self.findings.items()
                if (kind, place) == (finding.kind, finding.place)]  # fmt: skip
        if sum(same) > KEPT:
            return
        target = next(own for own in self.targets if own.name == finding.target)
        folder = self.out / f"{finding.kind}-{finding.key}-{sum(same)}"
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "input").mkdir(parents=True)
        which, files = target.make(finding.seed, finding.number)
        write(files, folder / "input")
        entry = finding.__dict__ | {"files": list(files), "corpus": which}
        (folder / "finding.json").write_text(json.dumps(entry, indent=2))

    def report(self, seconds: float) -> str:
        """Return the counts as text."""
        width = len(KINDS)
        rows = {
            target.name: list(self.counts[at * width : (at + 1) * width])
            for at, target in enumerate(self.targets)
        }
        rows["all"] = [sum(column) for column in zip(*rows.values(), strict=True)]
        lines = [f"{'target':24}{'inputs':>10}{'read':>10}{'refused':>10}{'findings':>10}"]
        for name, (read, refused, *bad) in rows.items():
            tried = read + refused + sum(bad)
            lines.append(f"{name:24}{tried:10,}{read:10,}{refused:10,}{sum(bad):10,}")
        rate = sum(rows["all"]) / max(seconds, 1e-9)
        lines.append(f"seed {self.seed}, {seconds:.0f} s, {rate:,.0f} inputs a second")
        for (name, kind, place), count in self.findings.most_common():
            key = Finding(name, kind, place, "").key
            lines.append(f"{count:6,} x {kind} in {name}: {place} ({kind}-{key})")
        return "\n".join(lines)


def warm_up(targets: Sequence[Target], folder: Path) -> dict[str, list[object]]:
    """Return the results of the valid inputs, which imports what the targets need.

    An input that is refused, as one that needs a flag, has the result None.
    """
    results: dict[str, list[object]] = {}
    for target in targets:
        results[target.name] = []
        for files in target.inputs():
            path = write(files, folder)
            try:
                results[target.name].append(target.run(path))
            except ElmanError:
                results[target.name].append(None)
            clear(folder)
    return results


def _processor_time(process: int) -> float:
    """Return the seconds of processor time of a process, 0 if it is gone."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def replay(targets: Sequence[Target], folder: Path) -> int:
    """Try the kept inputs below a folder again, each in a process; return how many still fail."""
    failing = 0
    for path in sorted(folder.rglob("finding.json")):
        entry = json.loads(path.read_text())
        target = next((own for own in targets if own.name == entry["target"]), None)
        if target is None:
            continue
        inner = path.parent / "input" / entry["files"][0].split("/")[0]
        size = sum(p.stat().st_size for p in (path.parent / "input").rglob("*") if p.is_file())
        reader, writer = os.pipe()
        process = os.fork()
        if not process:
            warnings.simplefilter("ignore")
            with tempfile.TemporaryDirectory() as scratch:
                results = warm_up([target], Path(scratch))[target.name]
            wanted = results[entry["corpus"]] if target.checked and entry["corpus"] >= 0 else None
            signal.alarm(int(HANG) + 10)
            found = try_input(target, inner, size, wanted)
            os.write(writer, json.dumps(found).encode()[:60_000])
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as stream:
            answer = stream.read()
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        kind, place, text = json.loads(answer) if answer else ("crash", str(code), "")
        failing += kind not in ("read", "refused")
        print(f"{path.parent.name}: {target.name}: {kind} {place}")
        if kind not in ("read", "refused"):
            print("    " + text.strip().replace("\n", "\n    ")[-1500:])
    return failing


def all_targets(folder: Path) -> list[Target]:
    """Return the `TARGETS` of every file `fuzz_*.py` of a folder, in alphabetical order."""
    found: list[Target] = []
    sys.path.insert(0, str(folder))
    for path in sorted(folder.glob("fuzz_*.py")):
        found += importlib.import_module(path.stem).TARGETS
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz and print the counts; return 1 if anything was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=0.0, help="stop after so many; 0: never")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--targets", default="", help="only those with one of these words in them")
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"), help="of the findings")
    parser.add_argument("--from", dest="folder", type=Path, default=Path(__file__).parent,
                        help="folder of the files fuzz_*.py with the targets")  # fmt: skip
    parser.add_argument("--replay", type=Path, help="folder of findings to try again")
    chosen = parser.parse_args(arguments)
    words = chosen.targets.split(",")
    targets = [t for t in all_targets(chosen.folder) if any(word in t.name for word in words)]
    if chosen.replay:
        return 1 if replay(targets, chosen.replay) else 0
    start = time.monotonic()
    fuzzer = Fuzzer(targets, chosen.seed, chosen.out, chosen.workers, chosen.seconds)
    fuzzer.run(chosen.inputs)
    print(fuzzer.report(time.monotonic() - start))
    return 1 if fuzzer.findings else 0


if __name__ == "__main__":
    sys.modules["fuzz"] = sys.modules["__main__"]  # the targets import it by name
    sys.exit(main())
