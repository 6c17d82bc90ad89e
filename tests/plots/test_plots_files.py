"""Pictures as files and in notebooks: which are made, how they show, what they leave behind."""

import gc
import subprocess
import sys
import textwrap
import weakref

import numpy as np
import pytest

from elman import plots

DRAWERS = (
    plots.confusion_matrix,
    plots.roc,
    plots.precision_recall,
    plots.calibration,
    plots.accuracy_by_class,
    plots.accuracy_by_length,
)


def is_png(data):
    return data.startswith(b"\x89PNG")


@pytest.mark.parametrize("k", [2, 5, 18])
def test_save_all_writes_what_left_out_does_not_name(tmp_path, random_report, records, k):
    report = random_report(k)
    paths = plots.save_all(records, report, tmp_path / "new" / "folder", kept_epoch=4)
    assert all(is_png(path.read_bytes()) for path in paths)
    ranking = "precision_recall.png" if k == 18 else "roc.png"
    assert [path.name for path in paths] == [
        "history.png", "confusion_matrix.png", ranking, "calibration.png",
        "accuracy_by_class.png", "accuracy_by_length.png",
    ]  # fmt: skip
    assert len(plots.left_out(records, report)) == 1


def test_the_rule_between_roc_and_precision_recall(make_report):
    def chosen(rare):
        true = np.array([1] * rare + [0] * (100 - rare))
        reasons = plots.left_out([], make_report(true, np.full((100, 2), 0.5)))
        return {"roc.png", "precision_recall.png"} - set(reasons)

    assert chosen(9) == {"precision_recall.png"}
    assert chosen(10) == {"roc.png"}
    assert chosen(0) == set()


def test_reasons_are_given(tmp_path, make_report):
    report = make_report(np.zeros(5, int), np.tile([0.6, 0.4], (5, 1)))
    reasons = plots.left_out([], report)
    assert reasons["history.png"] == "no epoch was recorded"
    assert reasons["roc.png"] == "only one class occurs"
    assert reasons["accuracy_by_class.png"] == "only one class occurs"
    assert reasons["accuracy_by_length.png"] == "all sequences have the same length"
    names = [path.name for path in plots.save_all([], report, tmp_path)]
    assert names == ["confusion_matrix.png", "calibration.png"]


@pytest.mark.parametrize("draw", DRAWERS)
def test_labels_of_any_kind_can_be_drawn(random_report, draw):
    names = (None, 3, "$\\frac$", "中文", "a\tb\x00", "\N{PILE OF POO}" * 40)
    figure = draw(random_report(6, classes=names))
    assert is_png(figure._repr_png_()[0])


@pytest.mark.parametrize("draw", DRAWERS)
@pytest.mark.parametrize("case", [{"n": 1}, {"n": 2}, {"n": 40, "tagger": True}])
def test_few_sequences_can_be_drawn(random_report, draw, case):
    assert is_png(draw(random_report(2, **case))._repr_png_()[0])


def test_the_same_picture_has_the_same_bytes(random_report):
    report = random_report(3)
    assert plots.roc(report)._repr_png_() == plots.roc(report)._repr_png_()


def test_the_readers_own_style_changes_nothing_and_is_left_as_it_was(random_report, records):
    import matplotlib as mpl

    report = random_report(3)

    def draw():
        figures = plots.roc(report), plots.history(records), plots.accuracy_by_length(report)
        return [figure._repr_png_() for figure in figures]

    plain = draw()
    dark = {
        "axes.facecolor": "black", "text.color": "white", "xtick.color": "white",
        "ytick.labelcolor": "white", "axes.grid": True, "font.size": 20,
        "font.family": ["serif"], "savefig.facecolor": "black", "xtick.labelsize": 20,
    }  # fmt: skip
    with mpl.rc_context(dark):
        before = dict(mpl.rcParams)
        assert draw() == plain
        assert dict(mpl.rcParams) == before


def test_figures_are_not_kept(random_report):
    figure = plots.roc(random_report(2))
    alive = weakref.ref(figure)
    del figure
    gc.collect()
    assert alive() is None


def test_nothing_is_imported_before_the_first_picture_and_pyplot_never(tmp_path):
    script = f"""
        import sys
        from elman import plots
        assert "matplotlib" not in sys.modules
        records = [{{"epoch": 1, "loss": 1.0, "accuracy": 0.5}}]
        plots.history(records).savefig({str(tmp_path / "h.png")!r})
        assert "matplotlib.pyplot" not in sys.modules
        assert "elman.evaluate" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)
    assert (tmp_path / "h.png").exists()


@pytest.mark.parametrize("inline", [False, True])
def test_a_notebook_shows_the_picture_once(records, inline):
    formatters = pytest.importorskip("IPython.core.formatters")
    from matplotlib.figure import Figure

    shown = formatters.DisplayFormatter()
    if inline:  # what the inline backend sets up
        from IPython.core.pylabtools import print_figure

        shown.formatters["image/png"].for_type(Figure, lambda f: print_figure(f, base64=True))
    data, metadata = shown.format(plots.history(records))
    pictures = [mime for mime in data if mime != "text/plain"]
    assert pictures == ["image/png"]
    if not inline:
        assert metadata["image/png"] == {"width": 768, "height": 307}
