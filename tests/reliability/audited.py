"""Run elman under an audit hook: what opens a connection or starts a process is reported.

    python tests/reliability/audited.py FOLDER [all]

imports elman, reads a file, trains, reports, predicts and loads in FOLDER, in one process, and
prints each forbidden event with the lines that led to it. With `all` it also diagnoses, evaluates,
explains and checks. Exits with 1 if there was an event. Python's interpreter itself raises audit
events, whoever calls and by what name.
"""

from __future__ import annotations

import sys

FORBIDDEN = (
    "socket.",
    "subprocess.",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "os.startfile",
    "os.system",
    "pty.",
    "_winapi.CreateProcess",
    "urllib.",
    "http.",
    "ftplib.",
    "imaplib.",
    "nntplib.",
    "poplib.",
    "smtplib.",
    "telnetlib.",
    "webbrowser.",
    "ensurepip.",
)
found: list[str] = []


def listen(event: str, arguments: tuple[object, ...]) -> None:
    """Keep forbidden events, and libraries that are loaded from outside the installation."""
    loads = event == "ctypes.dlopen" and is_foreign(arguments[0])
    # A host's name is read from the kernel, without a socket; locks and temporary files hold it.
    if event == "socket.gethostname" or not (event.startswith(FORBIDDEN) or loads):
        return
    lines, frame = [], sys._getframe(1)
    while frame is not None and len(lines) < 12:
        lines.append(f"    {frame.f_code.co_filename}:{frame.f_lineno}")
        frame = frame.f_back
    found.append("\n".join([f"{event} {arguments!r}"[:300], *lines]))


def is_foreign(library: object) -> bool:
    """Whether a library is neither the process itself, nor named plainly, nor installed with us."""
    name = library.decode() if isinstance(library, bytes) else library
    if name is None or "/" not in str(name):
        return False
    return not any(str(name).startswith(folder) for folder in (*filter(None, sys.path), sys.prefix))


def write_table(path: str) -> None:
    """Write sequences with a column of numbers, one of words, and a label."""
    with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123 - before any import
        file.write("id,value,mode,label\n")
        for i in range(40):
            for t in range(4 + i % 3):
                file.write(
                    f"{i},{(i * 7 + t * 3) % 11 / 4:.2f},{'xyz'[(i + t) % 3]},{'ab'[i % 2]}\n"
                )


def use_elman(everything: bool) -> None:
    """Do what a user does with elman, in the current folder."""
    import elman
    from elman import cli

    write_table("data.csv")
    roles = ["--id", "id", "--target", "label"]
    few = ["--epochs", "2", "--hidden-size", "4", "--out", "run"]
    commands = [
        ["data", "data.csv"],
        ["train", "data.csv", *roles, *few, *([] if everything else ["--no-diagnostics"])],
        ["predict", "run", "data.csv", "-o", "predictions.csv"],
    ]
    more = [
        ["info"],
        ["tasks"],
        ["evaluate", "run", "data.csv"],
        ["explain", "run", "data.csv", "--row", "1"],
        ["check", "run", "data.csv"],
    ]
    for words in [*commands, *(more if everything else [])]:
        sys.argv = ["elman", *words]
        try:
            cli.main()
        except SystemExit as stop:
            if stop.code:
                raise RuntimeError(f"elman {' '.join(words)} ended with {stop.code}") from None
    model = elman.load("run/model")
    model.predict("data.csv")
    print("used", elman.__file__)


if __name__ == "__main__":
    import os

    sys.addaudithook(listen)
    os.chdir(sys.argv[1])
    use_elman(sys.argv[2:] == ["all"])
    print("\n".join(["forbidden:", *found]) if found else "forbidden: nothing")
    sys.exit(bool(found))
