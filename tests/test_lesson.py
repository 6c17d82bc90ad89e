"""docs/understand.md: its quotes are the example's lines, its notebook is the page, and runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys

from lesson import CODE, IMAGES, NOTEBOOK, PAGE, ROOT, as_text, code, notebook
from test_notebook import RUN

TEXT = PAGE.read_text(encoding="utf-8")
EXAMPLE = (ROOT / "examples" / "rnn_from_scratch.py").read_text(encoding="utf-8")


def test_the_quoted_code_is_the_examples():
    (quoted,) = re.findall(r"^```python quote=\S+\n(.*?)^```\n", TEXT, re.MULTILINE | re.DOTALL)
    assert quoted.count("def ") == 3
    assert quoted in EXAMPLE


def test_every_line_beside_an_equation_is_the_examples():
    lines = {line.split("  #")[0].strip() for line in EXAMPLE.splitlines()}
    table = TEXT[TEXT.index("| equation | line |") :].split("\n\n")[0]
    quoted = re.findall(r"\| `(.*)` \|$", table, re.MULTILINE)
    assert len(quoted) == 11
    assert not set(quoted) - lines


def test_every_figure_is_drawn_by_the_code():
    shown = re.findall(r"\]\(images/(.*?)\)", TEXT)
    saved = re.findall(r'savefig\("(understand-.*?)"\)', "\n".join(code(TEXT)))
    assert shown == saved
    assert {path.name for path in IMAGES.glob("understand-*")} == set(shown)


def test_the_notebook_is_the_page():
    assert NOTEBOOK.read_text(encoding="utf-8") == as_text(notebook(TEXT)), (
        "examples/understand.ipynb is not what docs/understand.md says. Run python tests/lesson.py"
    )


def test_the_notebook_runs_and_shows_its_figures(tmp_path):
    done = tmp_path / "done.ipynb"
    words = [sys.executable, "-c", RUN, str(NOTEBOOK), str(tmp_path), str(done)]
    subprocess.run(words, check=True, capture_output=True, timeout=400)
    cells = json.loads(done.read_text(encoding="utf-8"))["cells"]
    shown = [o for c in cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
    assert len(shown) == sum(block.count(".savefig(") for block in CODE.findall(TEXT))
    assert [path.name for path in tmp_path.iterdir()] == ["done.ipynb"]
