"""`elman explain`: one sequence of a file laid open, on runs of every kind of data."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from elman.runs import explanation
from elman.runs.explanation_words import OUTPUTS

PICTURES = {
    "trace.png", "bptt.png", "distance.png", "attribution.png", "memory.png", "doctor.png",
    "influence.png",
    "gates/layer_0_forward.png",
}  # fmt: skip


def written(folder):
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_a_labelled_file(elman, trained, others, tmp_path):
    run = trained("text.csv")
    done = elman("explain", run, others / "text.csv", "--row", "3", "--out", "page")
    assert done.code == 0, done.err
    assert written(tmp_path / "page") - {"gates/layer_0_backward.png"} == PICTURES | {"index.html"}
    assert "Sequence line 5 of" in done.out and "(number 3, counted from 0)" in done.out
    assert "True: y. Predicted: " in done.out
    assert "from the loss of the true label, y" in done.out
    assert len(done.out.splitlines()) <= 40
    assert done.out.endswith("open page/index.html\n")
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert page.count("<img ") == len(written(tmp_path / "page")) - 1
    for heading in ("What the network did", "Where the gradient comes from", "Which steps decided",
                    "Memory", "Diagnosis"):  # fmt: skip
        assert f"<h2>{heading}</h2>" in page
    # By its name in predictions.csv it is the same sequence; a name goes before a number.
    again = elman("explain", run, others / "text.csv", "--row", "line 5", "--out", "again")
    assert again.out.replace("again", "page") == done.out
    taken = elman("explain", run, others / "text.csv", "--out", "page")
    assert taken.code == 2 and "exists already" in taken.err
    default = elman("explain", run, others / "text.csv", "--out", "page", "--overwrite")
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert default.code == 0, default.err
    chosen = next(line for line in default.out.splitlines() if line.startswith("Chosen: "))
    assert "wrong" in chosen and chosen[1:].rstrip(".") in page


def test_parts_can_be_left_out(elman, trained, others, tmp_path):
    """What is left out is not computed, drawn or reported, and the page says so."""
    flags = ["--no-gradient", "--no-attribution", "--no-memory", "--no-diagnosis"]
    run, data = trained("text.csv"), others / "text.csv"
    done = elman("explain", run, data, *flags, "--out", "page")
    assert done.code == 0, done.err
    assert {p.split("/")[0] for p in written(tmp_path / "page")} == {
        "trace.png",
        "gates",
        "index.html",
    }
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    for flag in flags:
        assert f"left out ({flag})" in done.out.lower() and f"({flag})" in page
    assert [line.split(" s  ")[1] for line in done.err.splitlines()] == [
        "model and data ...",
        "choice of a sequence ...",
        "trace ...",
        "figures ...",
    ]
    # It can be replaced by a complete one, which says what it computes while it does.
    done = elman("explain", run, data, "--out", "page", "--overwrite")
    for part in ("gradient through time", "attribution", "memory of", "diagnosis of"):
        assert part in done.err


def test_every_finding_is_printed(elman, trained, others, monkeypatch):
    """With its whole message and its remedy, however many there are."""
    from elman.explain import Diagnosis
    from elman.explain.doctor.findings import Finding

    real = explanation.doctor
    found = tuple(
        Finding(f"finding_{i}", "note", f"message {i} " + "x" * 300, 1.0, 0.5, f"remedy {i}")
        for i in range(7)
    )

    def many(*arguments, **options):
        diagnosis = real(*arguments, **options)
        assert isinstance(diagnosis, Diagnosis)
        return dataclasses.replace(diagnosis, findings=found)

    monkeypatch.setattr(explanation, "doctor", many)
    done = elman("explain", trained("text.csv"), others / "text.csv", "--out", "page")
    assert done.code == 0, done.err
    for i in range(7):
        assert f"message {i} " + "x" * 300 in done.out.lower().replace("\n", " ")
        assert f"remedy {i}" in done.out.lower()


def test_an_unlabelled_file_below_the_run(elman, trained, others):
    run = trained("values.csv")
    data = others / "bare" / "values.csv"
    for name in ("values-row-line-4", "values-row-line-4-2"):
        done = elman("explain", run, data, "--row", "line 4", "--method", "occlusion", "--span", 2,
                     "--output", "probability", "--about", "x", "--sequences", 5)  # fmt: skip
        assert done.code == 0, done.err
        assert f"Written to {run / 'explanations' / name};" in done.out
    assert "The true label is not known." in done.out
    assert "predicted label" in done.out and "because the true one is not known" in done.out
    assert "Occlusion: probability of x" in done.out
    assert "5 of 12 sequences" in done.out


def test_a_tagger(elman, trained, others):
    done = elman("explain", trained("tags.jsonl"), others / "tags.jsonl", "--step", 2,
                 "--label", "predicted", "--out", "page")  # fmt: skip
    assert done.code == 0, done.err
    assert "at step 2" in done.out and "from the loss of the predicted label" in done.out


REFUSED = [
    (["--row", 30], ["row: got '30', expected a number from 0 to 11, or a name such as 'line 2'"]),
    (["--row", -1], ["row: got '-1'"]),
    (["--row", "line 44"], ["row: got 'line 44'", "Did you mean"]),
    (["--label", "no"], ["Invalid value for '--label'"]),
    (["--about", "z"], ["about: got 'z', expected one of 'x', 'y'"]),
    (["--step", 2], ["step: got 2, but this network has one output a sequence"]),
    (["--span", 2], ["span: got 2", "belongs to occlusion"]),
    (["--method", "occlusion", "--stride", 3], ["stride: got 3"]),
    (["--output", "value"], ["output: got 'value'"]),
    (["--sequences", 1], ["sequences: got 1, expected 2 to 12"]),
    (["--sequences", 9999], ["sequences: got 9999, expected 2 to 12, as the data hold 12"]),
    (["--method", "occlusion", "--span", 9999], ["span: got 9999, expected at most 3, the steps"]),
    (["--method", "occlusion", "--span", 0], ["span: got 0"]),
    (["--method", "ig"], ["Invalid value for '--method'", "Did you mean 'integrated_gradients'?"]),
    (["--no-attribution", "--about", "x"], ["about: got 'x', but --no-attribution leaves out"]),
    (["--no-gradient", "--label", "true"], ["label: got 'true', but --no-gradient leaves out"]),
    (["--no-memory", "--no-diagnosis", "--sequences", 5], ["sequences: got 5, but --no-memory"]),
    (["--out", "."], ["exists already"]),
]


@pytest.mark.parametrize(("flags", "messages"), REFUSED, ids=lambda v: str(v[:2]))
def test_mistakes_end_in_one_line(elman, trained, others, tree, tmp_path, flags, messages):
    (tmp_path / "mine.txt").write_text("mine")
    run = trained("text.csv")
    before = tree(tmp_path), tree(run)
    done = elman("explain", run, others / "text.csv", *flags)
    assert done.code == 2 and done.err.count("Error: ") == 1, done.err
    assert all(message in done.err for message in messages), done.err
    assert (tree(tmp_path), tree(run)) == before


def test_mistakes_about_the_data(elman, trained, others, tmp_path):
    run = trained("text.csv")
    done = elman("explain", run, others / "bare" / "text.csv", "--label", "true")
    assert done.code == 2 and "label: got 'true'" in done.err and "no labels" in done.err
    done = elman("explain", run, others / "values.csv")
    assert done.code == 2 and "\nError: " in done.err
    (tmp_path / "new.csv").write_text("text,label\na good day,z\na bad day,x\n")
    done = elman("explain", run, "new.csv", "--row", 0)
    assert done.code == 2 and "'z'" in done.err and "--label predicted" in done.err
    done = elman("explain", run, "new.csv", "--row", 0, "--label", "predicted", "--out", "page")
    assert done.code == 0, done.err


def test_a_step_without_a_label_is_a_dash():
    traced = SimpleNamespace(per_step=True)
    assert (
        OUTPUTS["classification"].describe(traced, np.array([None, "a", "b"], dtype=object))
        == "- a b"
    )
