"""Kills trainings and compares what the resumed ones leave with unbroken ones.

    make torture                 300 kills, or as many as fit 180 s
    make torture KILLS=2000 LIMIT=7200

A training is started in a fork, killed, resumed, killed again, ..., resumed to its end, and its
files are compared with those of the unbroken training, byte for byte. A kill is SIGKILL at a random
instant, SIGKILL before a numbered file operation, or SIGTERM or SIGINT at a random instant. After
each kill, everything that stands under its own name must be complete.
"""

import argparse
import collections
import contextlib
import hashlib
import json
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

from forks import Forks

TESTS = Path(__file__).parents[1]
OURS = ("metrics.jsonl", "predictions.csv", "config.toml")
MOST_KILLS = 8  # of one training, before it is resumed to its end
PROMISED = 5.0  # seconds from SIGTERM or SIGINT to the end

# A training of few file operations: a process is killed before each of them once.
SHORT = "short"
# Small trainings that between them draw every kind of random number and end in every way.
_FAST = ("--no-diagnostics", "--threads", 1)
CASES = {
    SHORT: (
        *("waves:train=24,test=8", "--cell", "rnn", "--hidden-size", 3, "--epochs", 2),
        *("--batch-size", 16, "--dropout", 0.2, "--validation", 0.2, *_FAST),
    ),
    "numbers": (
        *("waves:train=80,test=20", "--cell", "gru", "--hidden-size", 6, "--epochs", 4),
        *("--batch-size", 16, "--dropout", 0.2, "--noise", 0.1, "--validation", 0.2, *_FAST),
        *("--learning-rate", 0.3, "--schedule", "constant"),  # so that the best epoch is not last
    ),
    "text": (
        *("../text.csv", "--cell", "lstm", "--bidirectional", "--num-layers", 2, "--epochs", 3),
        *("--hidden-size", 5, "--batch-size", 8, "--dropout", 0.3, "--token-dropout", 1, *_FAST),
        *("--optimizer", "adam", "--keep", "last"),
    ),
    "tags": (
        *("../tags.jsonl", "--cell", "rnn", "--hidden-size", 5, "--epochs", 3, "--batch-size", 8),
        *("--optimizer", "sgd", "--learning-rate", 0.05, "--dropout", 0.1, *_FAST),
        *("--label-smoothing", 0.1, "--schedule", "constant", "--patience", 2),
    ),
    "values": (
        *("../values.csv", "--cell", "gru", "--hidden-size", 5, "--epochs", 3, "--batch-size", 8),
        *("--loss", "huber", "--noise", 0.2, "--validation", 0.2, "--readout", "mean", *_FAST),
    ),
}


class BrokenError(AssertionError):
    """A promise was broken."""


def write_data(root):
    """Write the data files of the cases."""
    rng = random.Random(0)
    words = ["good", "bad", "fine", "poor", "day", "night", "a", "the"]
    rows = [(" ".join(rng.choices(words, k=rng.randint(1, 9))), "xyz"[i % 3]) for i in range(60)]
    (root / "text.csv").write_text("text,label\n" + "".join(f"{a},{b}\n" for a, b in rows))
    with (root / "tags.jsonl").open("w") as file:
        for text, _ in rows:
            tokens = text.split()
            file.write(json.dumps({"tokens": tokens, "tags": [t[0] for t in tokens]}) + "\n")
    with (root / "values.csv").open("w") as file:
        file.write("id,t,a,b,target\n")
        for i in range(50):
            level = rng.gauss(0, 1)
            for t in range(rng.randint(2, 9)):
                a, b = level + rng.gauss(0, 0.3), rng.gauss(0, 1)
                file.write(f"s{i},{t},{a:.3f},{b:.3f},{level:.3f}\n")


def content(run):
    """Return what must be equal, by name: digests, and metrics.json without times."""
    found = {}
    for path in [*(run / name for name in OURS), *sorted((run / "model").iterdir())]:
        found[path.relative_to(run).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    metrics = json.loads((run / "metrics.json").read_text())
    metrics.pop("seconds")
    found["metrics.json"] = metrics
    found["entries"] = sorted(path.name for path in run.iterdir())
    return found


def check_standing(run, expected):
    """Check that whatever stands under its own name in an interrupted run is complete."""
    if not run.exists():
        return "before the run folder"
    names = {path.name for path in run.iterdir()}
    if not names & {"unfinished.json", "metrics.json"}:
        raise BrokenError(f"{run}: a run folder that says nothing of itself: {sorted(names)}")
    for name in names & {"unfinished.json", "metrics.json"}:
        json.loads((run / name).read_text())
    for name in ("predictions.csv", "config.toml"):
        path = run / name
        if path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() != expected[name]:
            raise BrokenError(f"{path}: not complete")
    for checkpoint in (run / "checkpoints").glob("[0-9]*"):
        check_seal(checkpoint)
    if (run / "model").exists():
        check_seal(run / "model")
    report = run / "report.html"
    if report.exists() and not report.read_text().rstrip().endswith("</html>"):
        raise BrokenError(f"{report}: not complete")
    if "metrics.json" in names:
        return "after the last file"
    if "predictions.csv" in names:
        return "drawing and reporting"
    if "model" in names:
        return "evaluating"
    return "training, with a checkpoint" if "checkpoints" in names else "before a checkpoint"


def check_seal(folder):
    """Check that a folder under its own name is complete."""
    from elman import files
    from elman.errors import ModelFileError

    try:
        files.check_seal(folder)
    except ModelFileError as error:
        raise BrokenError(str(error)) from error


class Torture:
    """Kills trainings in forks of one process.

    Args:
        root: folder for the runs.
        cases: arguments of `elman train`, by name.
        plant: Python code that breaks a promise in every resumed fork; see test_torture.py.
        every: --checkpoint-every.
        forks: the process; None for one of its own.
    """

    def __init__(self, root, cases=CASES, plant="", every=0, forks=None):
        self.root, self.cases, self.plant = Path(root), cases, plant
        self.every = every
        self.forks = forks or Forks()
        self.counts = collections.Counter()
        self.unbroken = {}
        write_data(self.root)

    def close(self):
        """End the process that forks."""
        self.forks.close()

    def words(self, case):
        """Return the words that start a case."""
        return ("train", *self.cases[case], "--out", "r", "--checkpoint-every", self.every)

    def measure(self, case):
        """Run a case unbroken; return its content, seconds and number of file operations."""
        if case not in self.unbroken:
            folder = self.new_folder()
            started = time.monotonic()
            done = self.forks.run(*self.words(case), cwd=folder, setup=counting())
            seconds = time.monotonic() - started
            if done.code:
                raise BrokenError(f"{case}: {done.err}")
            operations = int((folder / "operations").read_text())
            self.unbroken[case] = content(folder / "r"), seconds, operations
            shutil.rmtree(folder)
        return self.unbroken[case]

    def new_folder(self):
        """Return an empty folder, directly below that of the data files."""
        return Path(tempfile.mkdtemp(dir=self.root))

    def kill(self, folder, words, case, how, at):
        """Start a command and end it; return whether it was still running.

        Args:
            how: `instant`, `operation`, `SIGTERM` or `SIGINT`.
            at: seconds after the start; for `operation` its number.
        """
        setup = self.plant
        if how == "operation":
            setup += killing(at)
        fork = self.forks.start(*words, cwd=folder, setup=setup)
        if how == "operation":
            code = fork.wait()
        else:
            time.sleep(at)
            number = signal.SIGKILL if how == "instant" else signal.Signals[how]
            since = fork.send(number)
            code = fork.wait()
            if number != signal.SIGKILL and code not in (0, 128 + number, -number):
                raise BrokenError(f"{how}: exit code {code}: {fork.err}")
            if code == 128 + number:
                self.check_line(fork, folder, time.monotonic() - since)
        if code not in (0, -signal.SIGKILL) and code < 126:
            raise BrokenError(f"{' '.join(map(str, words))}: exit code {code}: {fork.err}")
        if code:
            place = check_standing(folder / "r", self.measure(case)[0])
            self.counts[f"by {how}"] += 1
            self.counts[f"while {place}"] += 1
            self.counts["kills"] += 1
        return bool(code)

    def check_line(self, fork, folder, seconds):
        """Check what a command says that a signal has ended."""
        if seconds > PROMISED:
            raise BrokenError(f"out after {seconds:.1f} s")
        self.counts["longest exit, ms"] = max(self.counts["longest exit, ms"], int(1000 * seconds))
        lines = fork.err.splitlines()
        unfinished = (folder / "r" / "unfinished.json").exists()
        expected = "elman train --resume r" if unfinished else "run the same command"
        if len(lines) != 1 or not (expected in lines[0] or "written" in lines[0]):
            raise BrokenError(f"it said {fork.err!r}")

    def chain(self, case, kills):
        """Start a training, kill it as `kills` says, resume it to its end, and compare.

        Args:
            kills: pairs of how and when, see `kill`.
        """
        folder, run = self.new_folder(), None
        expected = self.measure(case)[0]
        run = folder / "r"
        for how, at in kills:
            if (run / "metrics.json").exists():
                break
            resumed = (run / "unfinished.json").exists()
            words = ("train", "--resume", "r") if resumed else self.words(case)
            self.kill(folder, words, case, how, at)
        if (run / "unfinished.json").exists() and not (run / "metrics.json").exists():
            words = ("train", "--resume", "r")
        else:
            words = None if (run / "metrics.json").exists() else self.words(case)
        if words is not None:
            done = self.forks.run(*words, cwd=folder, setup=self.plant)
            if done.code:
                raise BrokenError(f"{case}: {' '.join(map(str, words))}: {done.err}")
        else:  # killed after its last file, which the next command notices
            self.forks.run("train", "--resume", "r", cwd=folder)
        found = content(run)
        for name in expected:
            if found.get(name) != expected[name]:
                raise BrokenError(f"{case}, killed at {kills}: {name} differs, kept in {folder}")
        left = [path.name for path in folder.iterdir() if path.name.startswith(".r")]
        if [name for name in left if not name.endswith(".lock")]:
            raise BrokenError(f"{case}, killed at {kills}: left {left}")
        shutil.rmtree(folder)
        self.counts["trainings compared"] += 1


def counting():
    """Return code that writes the number of file operations at the end."""
    return (
        f"import sys, pathlib, atexit\nsys.path.insert(0, {str(TESTS)!r})\n"
        "from faults import Faults\nfaults = Faults()\nfaults.__enter__()\n"
        "import elman.cli as cli\nmain = cli.main\n"
        "def counted():\n    try:\n        main()\n    finally:\n"
        "        pathlib.Path('operations').write_text(str(len(faults.calls)))\n"
        "cli.main = counted\n"
    )


def killing(number):
    """Return code that kills the process before a file operation."""
    return (
        f"\nimport sys\nsys.path.insert(0, {str(TESTS)!r})\n"
        f"from faults import Faults\nfaults = Faults(at={number}, fault='kill')\n"
        "faults.__enter__()\n"
    )


def random_kills(rng, seconds, operations):
    """Return how and when to kill one training, several times."""
    kills = []
    for _ in range(rng.randint(1, MOST_KILLS)):
        how = rng.choices(("instant", "operation", "SIGTERM", "SIGINT"), (60, 30, 5, 5))[0]
        # Resumed trainings are shorter, and a kill that comes too late is none.
        share = rng.random() if not kills else rng.random() * 0.6
        at = max(1, int(share * operations)) if how == "operation" else share * seconds
        kills.append((how, at))
    return kills


def work(torture, cases, stop, rng, systematic):
    """Kill until `stop` says so.

    Args:
        systematic: numbers of file operations of `SHORT` that are still to be killed at; shared.
    """
    number = 0
    while not stop():
        case = SHORT if number % 2 == 0 and systematic else rng.choice(cases)
        number += 1
        _, seconds, operations = torture.measure(case)
        kills = random_kills(rng, seconds, operations)
        if case == SHORT:
            with contextlib.suppress(IndexError):
                kills = [("operation", systematic.pop()), *kills[:2]]
                torture.counts["first kill at the next operation of a training in turn"] += 1
        torture.chain(case, kills)


def main():
    """Print the counts; exit with 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    failures, started = [], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="torture-") as root:
        workers = [Torture(_made(Path(root) / str(i))) for i in range(options.jobs)]

        def stop():
            total = sum(worker.counts["kills"] for worker in workers)
            return (
                failures or total >= options.kills or time.monotonic() - started > options.seconds
            )

        systematic = list(range(1, workers[0].measure(SHORT)[2] + 1))
        operations = len(systematic)
        random.Random(options.seed).shuffle(systematic)

        def run(index):
            try:
                rng = random.Random(options.seed * 1000 + index)
                work(workers[index], list(CASES), stop, rng, systematic)
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=run, args=(i,)) for i in range(options.jobs)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            next((t for t in threads if t.is_alive()), threads[0]).join(30)
            total = sum(worker.counts["kills"] for worker in workers)
            print(f"{total} kills, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        counts = collections.Counter()
        for worker in workers:
            longest = max(counts["longest exit, ms"], worker.counts["longest exit, ms"])
            counts.update(worker.counts)
            counts["longest exit, ms"] = longest
            worker.close()
        if failures:
            kept = Path(root).rename(f"{root}-kept")
            Path(root).mkdir()  # which the context manager removes
            print(f"kept in {kept}")
    counts["promises broken"] = len(failures)
    print(f"seed {options.seed}, {time.monotonic() - started:.0f} s")
    print(f"{operations} file operations in the training {SHORT!r}, {len(systematic)} not tried")
    for name, count in sorted(counts.items()):
        print(f"{count:6}  {name}")
    for failure in failures:
        print(f"FAILED: {failure!r}")
    return bool(failures)


def _made(folder):
    folder.mkdir()
    return folder


if __name__ == "__main__":
    sys.exit(main())
