"""From docs/understand.md, the source of the lesson, to its notebook and its figures.

    python tests/lesson.py

writes examples/understand.ipynb anew, and draws docs/images/understand-*.svg by running the page.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "understand.md"
NOTEBOOK = ROOT / "examples" / "understand.ipynb"
IMAGES = ROOT / "docs" / "images"
CODE = re.compile(r"^```python[^\n]*\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


def code(text: str) -> list[str]:
    """The page's blocks of Python."""
    return CODE.findall(text)


def notebook(text: str) -> dict[str, Any]:
    """The page as a notebook: figures are shown where they are drawn, and nothing is saved."""
    text = re.sub(r"^!\[.*\]\(images/.*\)\n\n?", "", text, flags=re.MULTILINE)
    text = re.sub(r"As a notebook it is\n?.*?\. ", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r"\]\((?!https?:|\.\./)", "](../docs/", text).replace("](../examples/", "](")
    text = re.sub(r"<details>.*?</details>", _unfolded, text, flags=re.DOTALL)
    cells = []
    for k, part in enumerate(CODE.split(text)):
        part = part.strip()
        if k % 2:
            part = re.sub(r"^(.*)\.savefig\(.*\)$", r"display(\1)", part, flags=re.MULTILINE)
            cells.append({"cell_type": "code", "execution_count": None, "outputs": []})
        elif part:
            cells.append({"cell_type": "markdown"})
        else:
            continue
        cells[-1] |= {"id": f"cell-{k}", "metadata": {}, "source": part.splitlines(keepends=True)}
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    about = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": about, "nbformat": 4, "nbformat_minor": 5}


def as_text(book: dict[str, Any]) -> str:
    """The notebook as its file has it."""
    return json.dumps(book, indent=1, ensure_ascii=False) + "\n"


def _unfolded(match: re.Match[str]) -> str:
    """An answer with code in it: a notebook cannot fold over several cells."""
    if "```" not in match[0]:
        return match[0]
    return re.sub(r"</?details>", "", match[0]).replace(
        "<summary>Answer</summary>", "*Answer*, with code:"
    )


def draw(text: str) -> None:
    """Run the page in an empty folder, and take over what it saved of its figures."""
    import matplotlib as mpl

    # Text as text and no date: small files, which change only where the picture does.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "elman"})
    os.environ["SOURCE_DATE_EPOCH"] = "0"
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            exec("\n".join(code(text)), {})
            for path in Path(folder).glob("understand-*.svg"):
                lines = path.read_text(encoding="utf-8").splitlines()
                IMAGES.joinpath(path.name).write_text(
                    "\n".join(line.rstrip() for line in lines) + "\n", encoding="utf-8"
                )
        finally:
            os.chdir(before)


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    NOTEBOOK.write_text(as_text(notebook(page)), encoding="utf-8")
    draw(page)
