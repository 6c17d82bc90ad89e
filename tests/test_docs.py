"""Every command and code block of the pages runs, page by page, in an empty folder."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from elman import cli

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "src" / "elman" / "ops").glob("*/README.md")),
]
FENCE = re.compile(r"^ *```(\w*)([^\n]*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
LANGUAGES = {"bash", "python", "toml", "csv", "json", "text", "", "pycon", "c", "math"}
# Their code runs in tests/test_lesson.py, as the notebooks that are made from these pages.
NOTEBOOKS = {"understand.md", "understand-training.md"}


def blocks(page: Path) -> list[tuple[str, str, str]]:
    return FENCE.findall(page.read_text(encoding="utf-8"))


def run_line(line: str, monkeypatch: pytest.MonkeyPatch, diagnostics: bool) -> None:
    words = shlex.split(line, comments=True)
    if words[0] == "elman":
        if words[1] == "train" and not diagnostics:
            words.append("--no-diagnostics")
        monkeypatch.setattr(sys, "argv", words)
        try:
            cli.main()
        except SystemExit as stop:
            assert not stop.code, f"{line} ended with {stop.code}"
    elif words[0] == "make":
        # Only that the target exists: `make test` inside the tests would not end.
        subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, check=True, capture_output=True)
    elif words[0] == "python":
        script = ROOT / words[1]
        subprocess.run([sys.executable, script, *words[2:]], check=True, capture_output=True)
    elif words[:2] == ["pip", "install"]:
        assert words[2:] == ["."]  # what the tests themselves were installed from
    else:
        pytest.fail(f"the tests do not know how to run: {line}")


# Pages whose runs are diagnosed as well; those of others do the same, and would take as long again.
DIAGNOSED = ("README.md", "explain.md")


# Of torch 2.13 about itself and about equal names of axes, while torch.onnx.export runs.
@pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec:FutureWarning")
@pytest.mark.filterwarnings("ignore:# The axis name")
@pytest.mark.usefixtures("quick_figures")
@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_page(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    for language, attributes, body in blocks(page):
        assert language in LANGUAGES, f"{page.name}: a block of {language}"
        name = re.search(r"file=(\S+)", attributes)
        if name:
            Path(name[1]).write_text(body, encoding="utf-8")
        if language == "bash":
            for line in body.replace("\\\n", " ").splitlines():
                if line.strip():
                    run_line(line, monkeypatch, page.name in DIAGNOSED)
        elif language == "python" and page.name not in NOTEBOOKS:
            exec(compile(body, page.name, "exec"), namespace)
        elif language == "c":
            # Each includes the program that the block before it has exported.
            [source] = [
                p for p in Path("runs").rglob("*.c") if p.stem in re.findall(r'"(\w+)\.h"', body)
            ]
            flags = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", f"-I{source.parent}"]
            command = ["gcc", *flags, "-o", "a.out", name[1], str(source), "-lm"]
            subprocess.run(command, check=True)
            subprocess.run(["./a.out"], check=True, capture_output=True)
        elif language == "toml":
            tomllib.loads(body)
        elif language == "json":
            whole = body.startswith("{\n")  # one object over several lines
            for line in [body] if whole else body.splitlines():
                json.loads(line)


def test_pages_name_files_that_exist():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} points to {target}"


def test_the_map_of_the_code_is_complete():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for folder in sorted((ROOT / "src" / "elman").iterdir()):
        if folder.is_dir() and (folder / "__init__.py").exists():
            assert f"`{folder.name}/`" in text, f"README's map lacks {folder.name}/"
