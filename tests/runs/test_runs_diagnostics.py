"""What a report says about its network, what it leaves out, and why."""

import base64
import itertools
import re

import numpy as np
import pytest

from elman.errors import SettingsError
from elman.explain import Memory
from elman.plots import style
from elman.runs import diagnostics, html
from elman.runs.experiment import run
from elman.runs.explanation import find_row
from elman.runs.html import PageFigure, PageFigures


def test_a_report_has_it(trained):
    done, _ = trained
    page = (done.folder / "report.html").read_text(encoding="utf-8")
    heads = re.findall(r"<h(\d)>(.*?)</h", page)
    levels = [int(level) for level, _ in heads]
    assert levels[0] == 1 and all(b - a <= 1 for a, b in itertools.pairwise(levels))
    titles = [title for _, title in heads]
    for title in ("Diagnosis", "Memory", "Notable sequences",
                  "Most confident and right", "Most undecided"):  # fmt: skip
        assert title in titles
    names = {path.name for path in (done.folder / "plots").iterdir()}
    assert {"memory.png", "trace_undecided.png", "accuracy_by_class.png"} <= names
    assert "Examined: " in page
    assert len(page.encode()) < 3_000_000


def test_what_would_take_too_long_is_left_out_with_the_reason(trained, monkeypatch):
    done, _ = trained
    found = diagnostics._measure_memory(done.estimator, None, 5000.0, 1e6)
    assert isinstance(found, str) and "so long" in found
    asked = []
    monkeypatch.setattr(diagnostics, "memory", lambda *a, **how: asked.append(how))
    diagnostics._measure_memory(done.estimator, None, 10.0, 1e9)
    diagnostics._measure_memory(done.estimator, None, 300.0, 1.2e5)
    assert asked[0] == {"sequences": 40, "lags": 32}
    assert asked[1]["lags"] == 8 and 20 <= asked[1]["sequences"] <= 40


def test_pictures_are_made_to_fit(tmp_path):
    from matplotlib.figure import Figure

    # A pattern as of a heat map; WebP takes less than half of the bytes of its PNG.
    x, y = np.meshgrid(np.linspace(0, 9, 600), np.linspace(0, 9, 300))
    paths = []
    for name in "abc":
        figure = Figure(figsize=(4, 2))
        figure.figimage(np.round(np.sin(x * y), 1), cmap="viridis")
        paths.append(tmp_path / f"{name}.png")
        figure.savefig(paths[-1], dpi=style.DPI)
    sizes = [len(base64.b64encode(path.read_bytes())) for path in paths]
    shown = [PageFigure(path, path.stem, "words", "alt") for path in paths]
    assert PageFigures(paths, sum(sizes)).show(*shown).count("<img") == 3
    smaller = PageFigures(paths, sum(sizes) // 2).show(*shown)
    assert smaller.count("<img") == 3 and len(smaller) < sum(sizes) // 2 + 1500
    one = len(re.findall(r'base64,([^"]+)', smaller)[0])
    few = PageFigures(paths, one + 10).show(*shown)
    assert few.count("<img") == 1 and "b</strong> would make this page too large" in few
    assert 'alt="alt"' in few


def test_no_page_grows_past_three_megabytes():
    style = html.render(
        "page.html.jinja", kind="", title="", lead="", created="", notes=[], sections={}, version=""
    )
    assert html.MOST_BYTES + len(style) < 2_500_000  # half a megabyte for words and tables


def test_rows_by_name_and_number():
    assert find_row(None, ["a", "b"]) == 0
    assert [find_row(row, ["a", "b"]) for row in ("b", "1", "0")] == [1, 1, 0]
    assert find_row("0", ["7", "0"]) == 1  # a name goes before a number
    for row, names, words in (("2", ["a", "b"], "0 to 1"), ("a", ["a", "a"], "2 sequences")):
        with pytest.raises(SettingsError, match=words):
            find_row(row, names)


def test_memory_is_there_for_a_test_part_of_several(trained):
    done, _ = trained
    model = done.estimator
    found = diagnostics._measure_memory(model, model.encode(["a b", "c"]), 2.0, 1e9)
    assert isinstance(found, Memory)
    alone = diagnostics._measure_memory(model, model.encode(["a b"]), 2.0, 1e9)
    assert isinstance(alone, str) and "1 sequences" in alone


def test_switched_off_the_report_says_so_and_how_to_have_them(settings, tmp_path):
    done = run(settings(), out=tmp_path / "run", verbose=0, echo=lambda _: None)
    page = (done.folder / "report.html").read_text(encoding="utf-8")
    assert "The diagnostics were switched off" in page and "elman explain FOLDER DATA" in page
    assert "Notable sequences" not in page
    assert not {"memory.png", "doctor.png"} & {p.name for p in (done.folder / "plots").iterdir()}
