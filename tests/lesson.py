"""From the pages of the lesson to their notebooks, with outputs, and their figures.

    python tests/lesson.py

runs docs/understand.md, docs/understand-training.md and examples/first_network.ipynb in a kernel
and writes examples/*.ipynb anew, outputs included, and the pictures in docs/images. After a change
of a page's words alone,

    python tests/lesson.py --text

takes the words over into the notebooks and keeps their outputs.
"""

from __future__ import annotations

import base64
import io
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from lesson_drawing import unrolled

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
EXAMPLES = ROOT / "examples"
PAGES = {name: ROOT / "docs" / f"{name}.md" for name in ("understand", "understand-training")}
DRAWINGS = {"understand-unrolled.svg": unrolled}  # pictures that no code of a page draws
CODE = re.compile(r"^```python[^\n]*\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
COLOURS = 64  # of a stored picture; enough for anti-aliased text and a colour bar

# In a process of its own: the kernel's libraries warn, and warnings are errors in the tests.
RUN = """
import sys, nbclient, nbformat
book = nbformat.read(sys.argv[1], 4)
client = nbclient.NotebookClient(book, timeout=300, kernel_name="python3", record_timing=False)
client.execute(cwd=sys.argv[2])
nbformat.write(book, sys.argv[3])
"""


def notebook_of(name: str) -> Path:
    """The notebook of a page."""
    return EXAMPLES / f"{name}.ipynb"


def code(text: str) -> list[str]:
    """The page's blocks of Python."""
    return CODE.findall(text)


def saved(text: str) -> list[str]:
    """The names of the pictures that the page's code draws for the page, in their order."""
    return re.findall(r'savefig\("(understand-.*?)"\)', "\n".join(code(text)))


def notebook(text: str) -> dict[str, Any]:
    """The page as a notebook without outputs: figures are shown where they are drawn."""
    for name in saved(text):
        text = re.sub(rf"^!\[.*\]\(images/{re.escape(name)}\)\n\n?", "", text, flags=re.MULTILINE)
    text = re.sub(r"As a notebook with its outputs it is\n?.*?\. ", "", text, count=1, flags=re.S)
    text = re.sub(r"\]\((?!https?:|\.\./|#)", "](../docs/", text).replace("](../examples/", "](")
    text = re.sub(r"<details>.*?</details>", _unfolded, text, flags=re.DOTALL)
    # GitHub's fences keep Markdown out of a formula; Jupyter knows dollars only.
    text = re.sub(r"^```math\n(.*?)^```\n", r"$$\n\1$$\n", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"\$`(.*?)`\$", r"$\1$", text)
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


def _unfolded(match: re.Match[str]) -> str:
    """An answer with code in it: a notebook cannot fold over several cells."""
    if "```" not in match[0]:
        return match[0]
    return re.sub(r"</?details>", "", match[0]).replace(
        "<summary>Answer</summary>", "*Answer*, with code:"
    )


def without_outputs(book: dict[str, Any]) -> dict[str, Any]:
    """The notebook before it ran."""
    empty = {"execution_count": None, "outputs": []}
    cells = [c | empty if c["cell_type"] == "code" else c for c in book["cells"]]
    about = {k: v for k, v in book["metadata"].items() if k != "outputs_made_with"}
    return book | {"cells": cells, "metadata": about}


def execute(book: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run a notebook from top to bottom in a kernel, in an empty folder.

    Returns: the notebook with outputs as they are stored: pictures small, no running times.
    """
    before, after = folder / "before.ipynb", folder / "after.ipynb"
    empty = folder / "empty"
    empty.mkdir()
    before.write_text(as_text(without_outputs(book)), encoding="utf-8")
    words = [sys.executable, "-c", RUN, str(before), str(empty), str(after)]
    subprocess.run(words, check=True, capture_output=True, timeout=400)
    assert not list(empty.iterdir()), "the notebook has left files behind"
    outputs = {c["id"]: c for c in json.loads(after.read_text(encoding="utf-8"))["cells"]}
    cells = []
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            ran = outputs[cell["id"]]
            cell = cell | {
                "execution_count": ran["execution_count"],
                "outputs": [stored_output(output) for output in one_stream(ran["outputs"])],
            }
        cells.append(cell)
    about = without_outputs(book)["metadata"] | {"outputs_made_with": machine()}
    return book | {"cells": cells, "metadata": about}


def one_stream(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put together what was printed in succession: the kernel cuts it where a moment passes."""
    result: list[dict[str, Any]] = []
    for output in outputs:
        before = result[-1] if result else {}
        if output["output_type"] == "stream" and output["name"] == before.get("name"):
            result[-1] = before | {"text": "".join(before["text"]) + "".join(output["text"])}
        else:
            result.append(output)
    return result


def stored_output(output: dict[str, Any]) -> dict[str, Any]:
    """One output as it is stored: the time that it took does not belong to the result."""
    if output["output_type"] == "stream":
        return output | {"text": _lines(_without_times("".join(output["text"])))}
    data = {}
    for kind, value in output["data"].items():
        text = "".join(value)
        if kind == "image/png":
            data[kind] = small_picture(text)
        else:
            data[kind] = _lines(_without_times(re.sub(r" at 0x[0-9a-f]+", "", text)))
    return output | {"data": data}


def _without_times(text: str) -> str:
    return re.sub(r"\d+(\.\d+)?(?= m?s\b)", "0", text)


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def picture(encoded: str) -> Any:
    """A picture of a notebook, decoded."""
    from PIL import Image

    return Image.open(io.BytesIO(base64.b64decode(encoded)))


def small_picture(encoded: str) -> str:
    """The picture at the size at which a notebook shows it (96 dpi of 150), with few colours."""
    from PIL import Image

    full = picture(encoded).convert("RGB")
    size = round(full.width * 0.64), round(full.height * 0.64)
    stream = io.BytesIO()
    few = full.resize(size, Image.Resampling.LANCZOS).quantize(COLOURS, kmeans=1)
    few.save(stream, format="png", optimize=True)
    return base64.b64encode(stream.getvalue()).decode()


def machine() -> dict[str, str]:
    """What the last digits of a training depend on."""
    import torch

    from elman import _core

    return {"torch": torch.__version__.split("+")[0], "kernels": _core.isa()}


def differences(stored: dict[str, Any], made: dict[str, Any]) -> list[str]:
    """What the outputs of a stored notebook have that those just made have not, in words.

    The kinds of outputs and the sizes of pictures always have to agree. Words, numbers (to three
    digits) and pictures have to agree where both were made with the same torch on a CPU with the
    same instructions; elsewhere a training ends with other last digits.
    """
    found = []
    exact = stored["metadata"].get("outputs_made_with") == made["metadata"]["outputs_made_with"]
    for cell, other in zip(stored["cells"], made["cells"], strict=True):
        if cell["cell_type"] != "code":
            continue
        outputs = [_kinds(c["outputs"]) for c in (cell, other)]
        if [kind for kind, _ in outputs[0]] != [kind for kind, _ in outputs[1]]:
            found.append(f"{cell['id']}: other outputs")
            continue
        for (kind, value), (_, expected) in zip(*outputs, strict=True):
            if kind == "image/png":
                found += [f"{cell['id']}: {m}" for m in _compare_pictures(value, expected, exact)]
            elif exact and not _same_text(value, expected):
                found.append(f"{cell['id']}: stored {value!r}, made {expected!r}")
    return found


def _kinds(outputs: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The outputs of a cell as (kind, content)."""
    result = []
    for output in outputs:
        content = output.get("data", {"stdout": output.get("text")})
        result += [(kind, "".join(value)) for kind, value in content.items()]
    return result


NUMBER = re.compile(r"-?\d[\d,]*\.?\d*(?:e[+-]?\d+)?")


def _same_text(text: str, expected: str) -> bool:
    words, others = (NUMBER.sub("#", t).split() for t in (text, expected))
    pairs = zip(NUMBER.findall(text), NUMBER.findall(expected), strict=False)
    return words == others and all(a == b or _close(a, b) for a, b in pairs)


def _close(a: str, b: str) -> bool:
    first, second = (float(text.replace(",", "")) for text in (a, b))
    return math.isclose(first, second, rel_tol=1e-3, abs_tol=1e-12)  # below: errors of rounding


def _compare_pictures(encoded: str, expected: str, exact: bool) -> list[str]:
    import numpy as np

    pictures = [picture(text).convert("RGB") for text in (encoded, expected)]
    if max(abs(a - b) for a, b in zip(pictures[0].size, pictures[1].size, strict=True)) > 4:
        return [f"a picture of {pictures[0].size} pixels, made {pictures[1].size}"]
    if exact and pictures[0].size == pictures[1].size:
        a, b = (np.asarray(p, dtype=np.float64) for p in pictures)
        if (distance := float(np.abs(a - b).mean())) > 0.5:
            return [f"a picture differs by {distance:.2f} of 255 on average"]
    return []


def as_text(book: dict[str, Any]) -> str:
    """The notebook as its file has it."""
    return json.dumps(book, indent=1, ensure_ascii=False) + "\n"


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


def take_over_words(name: str) -> None:
    """Write a page's words into its notebook. Raises ValueError if the code has changed as well."""
    path = notebook_of(name)
    stored = json.loads(path.read_text(encoding="utf-8"))
    book = notebook(PAGES[name].read_text(encoding="utf-8"))
    ran = [c for c in stored["cells"] if c["cell_type"] == "code"]
    new = [c for c in book["cells"] if c["cell_type"] == "code"]
    if [c["source"] for c in ran] != [c["source"] for c in new]:
        raise ValueError(f"{PAGES[name]}: its code has changed. Run python tests/lesson.py {name}")
    for cell, before in zip(new, ran, strict=True):
        cell.update({key: before[key] for key in ("execution_count", "outputs")})
    path.write_text(as_text(book | {"metadata": stored["metadata"]}), encoding="utf-8")


def main() -> None:
    """Make everything anew; the pages named on the command line only, if there are any."""
    if sys.argv[1:] == ["--text"]:
        for name in PAGES:
            take_over_words(name)
        return
    chosen = sys.argv[1:] or [*PAGES, "first_network"]
    for name, drawing in DRAWINGS.items():
        IMAGES.joinpath(name).write_text(drawing(), encoding="utf-8")
    for name in chosen:
        path = notebook_of(name)
        if name in PAGES:
            page = PAGES[name].read_text(encoding="utf-8")
            draw(page)
            book = notebook(page)
        else:
            book = json.loads(path.read_text(encoding="utf-8"))
        with tempfile.TemporaryDirectory() as folder:
            path.write_text(as_text(execute(book, Path(folder))), encoding="utf-8")


if __name__ == "__main__":
    main()
