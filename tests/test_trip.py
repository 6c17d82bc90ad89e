"""A row of a file reaches the kernels through few files, and the docs list them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "architecture.md"
MOST_FILES = 67
# Called on the way, but never given the row: settings, names of built-in tasks, what is shown, the
# test split that is monitored, random generators, the precision, and what writes the run folder
# and checkpoints.
NOT_ON_THE_WAY = {
    "__init__.py",
    "cli/__init__.py",
    "cli/signals.py",
    "cli/streams.py",
    "cli/torchrun.py",
    "data/builtin/__init__.py",
    "data/store.py",
    "disk.py",
    "files.py",
    "guards.py",
    "memory.py",
    "layers/random_numbers.py",
    "runs/config.py",
    "runs/folder.py",
    "runs/processes.py",
    "runs/streamed.py",
    "runs/unfinished.py",
    "setting_list.py",
    "settings.py",
    "train/checkpoint.py",
    "train/distributed.py",
    "train/identity.py",
    "train/kept.py",
    "train/monitor.py",
    "train/precision.py",
    "train/progress.py",
    "train/state.py",
    "train/uninterrupted.py",
    "validation.py",
}
TRIP = '''
import sys
from pathlib import Path
import elman
from elman import _core, cli
from elman.models import native
from elman.runs import experiment  # imported before the recording, which makes imports slow

SRC = str(Path(elman.__file__).parent)
files = []


class Arrived(BaseException):
    """The first batch is about to enter the kernels."""


class Network(_core.Network):
    def loss_and_gradients(self, **arguments):
        raise Arrived


class Kernels:
    Network = Network
    __getattr__ = staticmethod(lambda name: getattr(_core, name))


def is_importing(frame):
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_code.co_filename.startswith(SRC):
            return True
        frame = frame.f_back
    return False


def record(frame, event, argument):
    path = frame.f_code.co_filename
    if event != "call" or not path.startswith(SRC) or is_importing(frame):
        return
    name = Path(path).relative_to(SRC).as_posix()
    if not files and (name, frame.f_code.co_name) == ("data/read.py", "read"):
        while frame is not None:  # who asked for the file, the command first
            if frame.f_code.co_filename.startswith(SRC):
                files.insert(0, Path(frame.f_code.co_filename).relative_to(SRC).as_posix())
            frame = frame.f_back
        files[:] = dict.fromkeys(name for name in files if name != "__main__.py")
    elif files and name not in files:
        files.append(name)


native._core = Kernels()
sys.argv = ["elman", "train", "train.csv", "--target", "language", "--epochs", "1", "--out", "run"]
sys.setprofile(record)
try:
    cli.main()
except Arrived:
    sys.setprofile(None)
    print("trip:", *files)
'''


def listed() -> list[str]:
    section = PAGE.read_text(encoding="utf-8").split("## The trip of a row")[1].split("\n## ")[0]
    return re.findall(r"^\d+\. `([^`]+)`", section, re.MULTILINE)


def test_the_trip_of_a_row_is_short_and_documented(tmp_path):
    rows = [f"{word}{i},{label}" for i in range(12) for word, label in (("ca", "x"), ("ya", "y"))]
    (tmp_path / "train.csv").write_text("\n".join(["word,language", *rows]) + "\n")
    done = subprocess.run(
        [sys.executable, "-c", TRIP],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    (line,) = [text for text in done.stdout.splitlines() if text.startswith("trip:")] or [done]
    files = [name for name in str(line).split()[1:] if name not in NOT_ON_THE_WAY]
    assert files[0].startswith("cli/") and "models/native.py" in files, line
    assert len(files) <= MOST_FILES, files
    assert listed() == files
