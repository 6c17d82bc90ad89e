"""Standard output and error that are full, closed, or left by their reader."""

import os
import threading
from pathlib import Path

import pytest
from forks import DATA, SMALL

PRODUCTS = {
    "data": ("data", DATA),
    "json": ("data", DATA, "--json"),
    "tasks": ("tasks",),
    "task": ("tasks", "waves"),
    "info": ("info",),
    "help": ("help",),
    "flag": ("train", "--help"),
    "version": ("--version",),
    "settings": ("train", DATA, "--print-config"),
    "predict": ("predict", "{run}", DATA, "-o", "-"),
    "check": ("check", "{run}", DATA),
}
FILES = {
    "train": (("train", DATA, *SMALL, "--out", "new"), "new/metrics.json"),
    "predict": (("predict", "{run}", DATA, "-o", "new.csv"), "new.csv"),
    "evaluate": (
        ("evaluate", "{run}", DATA, "--no-diagnostics", "--out", "new"),
        "new/metrics.json",
    ),
    "explain": (
        (
            *("explain", "{run}", DATA, "--no-memory", "--no-diagnosis", "--no-attribution"),
            *("--no-gradient", "--out", "new"),
        ),
        "new/index.html",
    ),
}
CLOSED = "Standard output cannot be written: it is closed."


def with_run(words, run):
    return [str(word).replace("{run}", str(run)) for word in words]


def left_by_its_reader(folder):
    """Return the path of a pipe whose reader opens it and leaves."""
    path = folder / "pipe"
    os.mkfifo(path)
    threading.Thread(target=lambda: path.open("rb").close(), daemon=True).start()
    return path


def wait_until_left(path):
    """Return code that waits for the reader to leave."""
    return (
        f"import select; p = select.poll(); p.register(1, 0); assert p.poll(20000), {str(path)!r}"
    )


@pytest.mark.parametrize("words", PRODUCTS.values(), ids=PRODUCTS)
def test_a_reader_who_has_seen_enough(forks, trained, tmp_path, words):
    """`elman data train.csv | head -1` ends quietly, as if SIGPIPE had ended it."""
    out = left_by_its_reader(tmp_path)
    setup = wait_until_left(out)
    done = forks.run(*with_run(words, trained), cwd=tmp_path, out=out, setup=setup)
    assert (done.code, done.err) == (141, "")


@pytest.mark.parametrize("out", ["/dev/full", ""], ids=["full", "closed"])
@pytest.mark.parametrize("words", PRODUCTS.values(), ids=PRODUCTS)
def test_output_that_is_lost_is_an_error(forks, trained, tmp_path, words, out):
    done = forks.run(*with_run(words, trained), cwd=tmp_path, out=out)
    assert done.code == 2
    reason = "no space left on device" if out else "it is closed"
    assert done.err == (
        f"Error: standard output cannot be written: {reason}. Send it to another file or program\n"
    )


ALL = [
    pytest.param(*FILES[name], out, marks=marks, id=f"{name}-{out}")
    for name in FILES
    for out in ("/dev/full", "", "left")
    # A sample: what is drawn by explain takes seconds.
    for marks in ([pytest.mark.slow] if name == "explain" and out != "left" else [],)
]


@pytest.mark.parametrize(("words", "file", "out"), ALL)
def test_files_are_written_all_the_same(forks, trained, tmp_path, words, file, out):
    setup = ""
    if out == "left":
        out = left_by_its_reader(tmp_path)
        setup = wait_until_left(out)
    done = forks.run(*with_run(words, trained), cwd=tmp_path, out=out, setup=setup)
    assert done.code == 0, done.err
    said = [line for line in done.err.splitlines() if not line.endswith(" ...")]  # of explain
    assert len(said) == 1
    reason = "no space left on device" if out == "/dev/full" else "it is closed"
    assert said[0] == (
        f"Standard output cannot be written: {reason}. "
        "The command goes on without it; its files are not affected"
    )
    assert (tmp_path / file).is_file()


def test_the_files_are_the_same(forks, tmp_path):
    """All but times and the command line."""
    for name, out in (("whole", None), ("closed", "")):
        folder = tmp_path / name
        folder.mkdir()
        assert forks.run("train", DATA, *SMALL, "--out", "r", cwd=folder, out=out).code == 0
    whole, closed = (
        {p.relative_to(tmp_path / name): p for p in (tmp_path / name / "r").rglob("*.*")}
        for name in ("whole", "closed")
    )
    assert whole.keys() == closed.keys()
    for name in ("r/predictions.csv", "r/model/model.safetensors"):
        assert whole[Path(name)].read_bytes() == closed[Path(name)].read_bytes()


@pytest.mark.parametrize("err", ["/dev/full", ""], ids=["full", "closed"])
def test_messages_that_are_lost_change_nothing(forks, trained, tmp_path, err):
    words, file = FILES["explain"]  # writes to standard error while it works
    assert forks.run(*with_run(words, trained), cwd=tmp_path, err=err).code == 0
    assert (tmp_path / file).is_file()
    assert forks.run("train", "no-such-file.csv", cwd=tmp_path, err=err).code == 2
    assert forks.run("nonsense", cwd=tmp_path, err=err).code == 2
    assert forks.run("tasks", cwd=tmp_path, out="", err=err).code == 2


def test_no_file_takes_the_place_of_a_closed_stream(forks, tmp_path):
    """What a library prints to descriptor 2 must not end up in a file that got the number 2."""
    setup = "import elman.cli.tasks as tasks; was = tasks.command.callback\n"
    setup += "def opening(name):\n    import os\n    number = os.open('file', os.O_CREAT)\n"
    setup += "    assert number > 2, number\ntasks.command.callback = opening"
    done = forks.run("tasks", cwd=tmp_path, out="", err="", setup=setup)
    assert done.code == 0
    assert (tmp_path / "file").exists()


def test_a_pipe_in_non_blocking_mode(forks, tmp_path):
    """A parent such as Node.js makes its end non-blocking; a slow reader then is no failure."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    setup = "import os; os.set_blocking(1, False)\n"
    setup += "import elman.cli.tasks as tasks, click\n"
    setup += "tasks.command.callback = lambda name: [click.echo('x' * 9999) for i in range(40)]"
    fork = forks.start("tasks", cwd=tmp_path, out=path, setup=setup)
    with path.open("rb") as reader:
        text = reader.read()
    assert fork.wait() == 0, fork.err
    assert text == (b"x" * 9999 + b"\n") * 40
