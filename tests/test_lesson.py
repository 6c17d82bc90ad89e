"""The lesson: quotes are the example's lines, formulas are what GitHub renders, pictures are drawn
by code, and the notebooks are the pages, with the outputs that their code gives."""

from __future__ import annotations

import copy
import json
import re

import numpy as np
import pytest
from lesson import (
    CODE,
    DRAWINGS,
    IMAGES,
    PAGES,
    ROOT,
    as_text,
    differences,
    execute,
    notebook,
    notebook_of,
    picture,
    saved,
    small_picture,
    without_outputs,
)

TEXTS = {name: path.read_text(encoding="utf-8") for name, path in PAGES.items()}
EXAMPLE = (ROOT / "examples" / "rnn_from_scratch.py").read_text(encoding="utf-8")
MOST_KB = 700  # of a notebook with its pictures

# GitHub renders formulas with MathJax, without the macros that could load or define something.
MACROS = {
    *("aligned", "bar", "begin", "cdot", "diag", "dots", "end", "frac", "langle", "log", "lVert"),
    *("mathrm", "max", "odot", "qquad", "rangle", "rVert", "sigma", "sum", "tanh", "text", "top"),
}


def test_the_quoted_code_is_the_examples():
    (quoted,) = re.findall(
        r"^```python quote=\S+\n(.*?)^```\n", TEXTS["understand"], re.MULTILINE | re.DOTALL
    )
    assert quoted.count("def ") == 3
    assert quoted in EXAMPLE


def test_every_line_beside_an_equation_is_the_examples():
    lines = {line.split("  #")[0].strip() for line in EXAMPLE.splitlines()}
    text = TEXTS["understand"]
    table = text[text.index("| equation | line |") :].split("\n\n")[0]
    quoted = re.findall(r"\| `(.*)` \|$", table, re.MULTILINE)
    assert len(quoted) == 11
    assert not set(quoted) - lines


def test_every_figure_is_drawn_by_the_code():
    pictures = set(DRAWINGS)
    for text in TEXTS.values():
        shown = [
            name
            for name in re.findall(r"\]\(images/(.*?)\)", text)
            if name not in DRAWINGS and not name.startswith("lab-")  # the lab's page, photographed
        ]
        assert shown == saved(text)
        pictures |= set(shown)
    assert {path.name for path in IMAGES.glob("understand-*.svg")} == pictures


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_is_what_its_code_draws(name):
    assert f"](images/{name})" in TEXTS["understand"]
    assert IMAGES.joinpath(name).read_text(encoding="utf-8") == DRAWINGS[name](), (
        f"docs/images/{name} is not what tests/lesson_drawing.py draws. Run python tests/lesson.py"
    )


def test_a_drawing_is_legible_on_light_and_dark():
    """Each colour of the ink has a contrast of 3 or more (WCAG) with the drawing's own ground."""

    def luminance(colour):
        parts = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    for draw in DRAWINGS.values():
        light, dark = draw().split("@media (prefers-color-scheme: dark)")
        for style in (light, dark.split("</style>")[0]):
            rules = re.findall(r"([\w.\- ]+) \{[^}]*?(fill|stroke): (#\w{6})", style)
            ground = next(colour for name, _, colour in rules if name.strip() == ".card")
            inks = [c for name, _, c in rules if name.strip().startswith(("text", "path", ".head"))]
            assert len(inks) >= 5
            for ink in inks:
                high, low = sorted((luminance(ink), luminance(ground)), reverse=True)
                assert (high + 0.05) / (low + 0.05) > 3


def formulas(text):
    """The formulas of a page, of both forms, and the text without them and without code."""
    blocks = re.findall(r"^```math\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    inline = re.findall(r"\$`(.*?)`\$", prose)
    return blocks, inline, re.sub(r"`[^`\n]*`", "", re.sub(r"\$`.*?`\$", "", prose))


@pytest.mark.parametrize("name", PAGES)
def test_formulas_are_of_the_forms_that_github_renders(name):
    """With $ or $$ alone, Markdown takes underscores and backslashes out of a formula first."""
    blocks, inline, rest = formulas(TEXTS[name])
    assert (len(blocks), len(inline)) > (0, 3)
    assert "$" not in rest
    for formula in [*blocks, *inline]:
        assert set(re.findall(r"\\([a-zA-Z]+)", formula)) <= MACROS, formula
        assert formula.count("{") == formula.count("}")
        assert re.findall(r"\\begin\{(\w+)\}", formula) == re.findall(r"\\end\{(\w+)\}", formula)
    for formula in inline:
        assert "\n" not in formula and "|" not in formula  # it may stand in a table
    # Before and after a formula GitHub needs a space, an end of the line or a punctuation mark.
    prose = re.sub(r"^```.*?^```$", "", TEXTS[name], flags=re.MULTILINE | re.DOTALL)
    assert not re.search(r"\w\$`|`\$\w", prose)


def test_formulas_are_kept_in_the_notebook():
    for text in TEXTS.values():
        blocks, inline, _ = formulas(text)
        cells = [c for c in notebook(text)["cells"] if c["cell_type"] == "markdown"]
        told = "\n".join("".join(c["source"]) for c in cells)
        assert all(f"$$\n{block}$$" in told for block in blocks)
        assert all(f"${formula}$" in told for formula in inline)
        assert "```math" not in told and "$`" not in told


@pytest.mark.parametrize("name", PAGES)
def test_links_between_sections_arrive(name):
    anchors = {}
    for other, text in TEXTS.items():
        titles = re.findall(r"^#+ (.*)$", CODE.sub("", text), re.MULTILINE)
        anchors[f"{other}.md"] = {
            re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles
        }
    for page, anchor in re.findall(r"\]\((understand[\w-]*\.md)#([^)]*)\)", TEXTS[name]):
        assert anchor in anchors[page]


@pytest.mark.parametrize("name", PAGES)
def test_the_notebook_is_the_page(name):
    book = json.loads(notebook_of(name).read_text(encoding="utf-8"))
    assert as_text(without_outputs(book)) == as_text(notebook(TEXTS[name])), (
        f"examples/{name}.ipynb is not what docs/{name}.md says. Run python tests/lesson.py {name}"
    )


@pytest.mark.parametrize("name", PAGES)
def test_the_notebook_runs_and_its_outputs_are_those_stored(name, tmp_path):
    path = notebook_of(name)
    stored = json.loads(path.read_text(encoding="utf-8"))
    made = execute(stored, tmp_path)
    shown = [
        o for c in made["cells"] for o in c.get("outputs", []) if "image/png" in o.get("data", {})
    ]
    assert len(shown) == sum(block.count(".savefig(") for block in CODE.findall(TEXTS[name]))
    assert not differences(stored, made), f"Run python tests/lesson.py {name}"
    assert path.stat().st_size < 1000 * MOST_KB


def test_differences_of_outputs_are_found():
    """A number, a word, a picture or an output that is not what the code makes."""
    stored = json.loads(notebook_of("understand").read_text(encoding="utf-8"))
    assert not differences(stored, copy.deepcopy(stored))
    text = next(k for k, c in enumerate(stored["cells"]) if "RMSE" in str(c.get("outputs")))
    printed = "".join(stored["cells"][text]["outputs"][0]["text"])

    def with_text(old, new):
        changed = copy.deepcopy(stored)
        output = changed["cells"][text]["outputs"][0]
        before = "".join(output["text"])
        assert old in before
        output["text"] = before.replace(old, new, 1).splitlines(keepends=True)
        return differences(changed, stored)

    assert with_text(re.findall(r"RMSE (0\.\d+)", printed)[0], "0.123")
    assert with_text("RMSE", "MAE")
    assert not with_text("RMSE", "RMSE ")  # spaces do not matter

    fewer = copy.deepcopy(stored)
    fewer["cells"][text]["outputs"].append(fewer["cells"][text]["outputs"][0])
    assert differences(fewer, stored)
    shown = [
        output["data"]
        for cell in stored["cells"]
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    other = copy.deepcopy(stored)
    for cell in other["cells"]:
        for output in cell.get("outputs", []):
            if output.get("data", {}).get("image/png") == shown[0]["image/png"]:
                output["data"]["image/png"] = shown[1]["image/png"]
    assert any("picture" in line for line in differences(other, stored))
    # Made elsewhere, only the kinds of outputs and the sizes of pictures have to agree.
    elsewhere = copy.deepcopy(stored)
    elsewhere["metadata"]["outputs_made_with"] = {"torch": "0", "kernels": "none"}
    elsewhere["cells"][text]["outputs"][0]["text"] = ["something else\n"]
    assert not differences(elsewhere, stored)


def test_a_stored_picture_is_small_and_still_the_picture():
    stored = json.loads(notebook_of("understand").read_text(encoding="utf-8"))
    shown = [
        output["data"]["image/png"]
        for cell in stored["cells"]
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert max(len(text) for text in shown) < 120_000
    again = picture(small_picture(shown[0]))
    assert again.size == tuple(round(side * 0.64) for side in picture(shown[0]).size)
