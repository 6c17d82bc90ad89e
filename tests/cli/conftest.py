"""The command called in this process, and small files of every layout."""

import csv
import json
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from elman.cli import main


@dataclass(frozen=True)
class Result:
    """What a call of the command came to."""

    code: int
    out: str
    err: str


@pytest.fixture
def elman(monkeypatch, capsys):
    """Call the command as from a shell: `elman("train", path, "--epochs", 2)`."""

    def call(*words):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["elman", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Result(code, captured.out, captured.err)

    return call


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    """Each test starts in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)


SMALL = ("--hidden-size", 4, "--epochs", 2, "--no-diagnostics", "--quiet")


@pytest.fixture
def small():
    """Flags of a small, silent training."""
    return SMALL


def write_csv(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def write_lines(path, records):
    text = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records)
    path.write_text(text, encoding="utf-8")


def make_files(root, count=30):
    """Write a file of every layout, with labels; classes take turns."""
    rng = np.random.default_rng(count)
    pairs = [(i, "xy"[i % 2]) for i in range(count)]
    word = ["good", "bad"]
    text = [[f"a {word[i % 2]} day", label] for i, label in pairs]
    write_csv(root / "text.csv", [["text", "label"], *text])
    values = [
        [label, *rng.normal(i % 2, 1, 3 + i % 4).round(3), *[""] * (3 - i % 4)]
        for i, label in pairs
    ]
    write_csv(root / "values.csv", [["label", *(f"v{j}" for j in range(6))], *values])
    steps = [["id", "t", "a", "b", "label"]]
    tagged = [["id", "t", "a", "tag"]]
    for i, label in pairs:
        for t in range(2 + i % 3):
            a, b = rng.normal(i % 2, 1, 2).round(3)
            steps.append([f"s{i}", t, a, b, label])
            tagged.append([f"s{i}", t, a, "pos" if a > 0 else "neg"])
    write_csv(root / "steps.csv", steps)
    write_csv(root / "stepstags.csv", tagged)
    tokens = [["a", "b", word[i % 2], "c"][i % 2 :] for i, _ in pairs]
    write_lines(
        root / "tokens.jsonl",
        [{"tokens": t, "label": label} for t, (_, label) in zip(tokens, pairs, strict=True)],
    )
    write_lines(root / "tags.jsonl", [{"tokens": t, "tags": [w[0] for w in t]} for t in tokens])
    write_lines(root / "text.jsonl", [{"text": r[0], "label": i % 2} for i, r in enumerate(text)])
    write_lines(
        root / "sequence.jsonl",
        [
            {"sequence": rng.normal(i % 2, 1, (2 + i % 3, 2)).round(3).tolist(), "label": label}
            for i, label in pairs
        ],
    )
    cases = []
    for i, label in pairs:
        channels = rng.normal(i % 2, 1, (2, 2 + i % 3)).round(3)
        cases.append(":".join([*(",".join(map(str, channel)) for channel in channels), label]))
    header = ["@univariate false", "@dimensions 2", "@equalLength false", "@classLabel true x y"]
    (root / "channels.ts").write_text("\n".join([*header, "@data", *cases]) + "\n")
    return root


def without_labels(source, target):
    """Write a file again, without its labels."""
    text = source.read_text(encoding="utf-8")
    if source.suffix == ".jsonl":
        records = [json.loads(line) for line in text.splitlines()]
        for record in records:
            record.pop("label", None)
            record.pop("tags", None)
        write_lines(target, records)
    elif source.suffix == ".ts":
        text = text.replace("@classLabel true x y", "@classLabel false")
        text = text.replace(":x\n", "\n").replace(":y\n", "\n")
        target.write_text(text)
    else:
        rows = list(csv.reader(text.splitlines()))
        at = next(i for i, name in enumerate(rows[0]) if name in ("label", "tag"))
        write_csv(target, [[c for i, c in enumerate(row) if i != at] for row in rows])
    return target


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """A folder with a file of every layout, 30 sequences each."""
    return make_files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="session")
def others(tmp_path_factory):
    """The same layouts with other sequences: 12 each, labelled, and below bare/ without labels."""
    root = make_files(tmp_path_factory.mktemp("others"), 12)
    (root / "bare").mkdir()
    for path in list(root.iterdir()):
        if path.is_file():
            without_labels(path, root / "bare" / path.name)
    return root


@pytest.fixture(scope="session")
def trained(files, tmp_path_factory):
    """Run folders of small trainings, not to be changed: trained("text.csv")."""
    from elman.runs.config import merge
    from elman.runs.experiment import run

    root = tmp_path_factory.mktemp("trained")

    def get(name):
        out = root / name.replace(".", "-")
        if not out.exists():
            settings = merge(
                {
                    "data": {"data": str(files / name)},
                    "model": {"hidden_size": 4},
                    "training": {"epochs": 1},
                    "report": {"diagnostics": False},
                }
            )
            run(settings, out=out, verbose=0, echo=lambda text: None)
        return out

    return get


@pytest.fixture
def tree():
    """Every path below a folder, and the content of every file."""

    def list_all(root):
        return {
            str(p.relative_to(root)): p.read_bytes() if p.is_file() else None
            for p in sorted(root.rglob("*"))
        }

    return list_all


@pytest.fixture(autouse=True)
def _figures(quick_figures):
    """Every figure is drawn, but not laid out."""
