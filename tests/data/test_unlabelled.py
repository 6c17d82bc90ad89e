"""Steps that are not labelled, and labels that stand in one row of their sequence."""

import json

import numpy as np
import pandas as pd
import pytest

from elman.data import describe, read
from elman.data.profile import summarize
from elman.data.ragged import is_labelled
from elman.data.unlabelled import leave_out_unlabelled
from elman.errors import DataError

LENGTHS = [3, 2, 4, 3, 2, 4]
OWNERS = [i for i, n in enumerate(LENGTHS) for _ in range(n)]
STEPS = [t for n in LENGTHS for t in range(n)]
# A class at every step, of which some are not known.
TAGS = ["up" if (i + t) % 2 else "down" for i, t in zip(OWNERS, STEPS, strict=True)]
KNOWN = [(i + 2 * t) % 3 != 1 for i, t in zip(OWNERS, STEPS, strict=True)]
MISSING = len(KNOWN) - sum(KNOWN)


def table(labels):
    rows = zip(OWNERS, STEPS, labels, strict=True)
    lines = [f"{i},{t},{(7 * i + 3 * t) % 11 / 10},{label}" for i, t, label in rows]
    return "\n".join(["id,t,x,label", *lines]) + "\n"


def write(tmp_path, text, name="data.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


def guesses(dataset, role="task"):
    return [guess.line for guess in dataset.layout.guesses if guess.role == role]


def marked(mark):
    return [tag if known else mark for tag, known in zip(TAGS, KNOWN, strict=True)]


@pytest.mark.parametrize("mark", ["", " ", "nan", "NaN", "null", "-100", "<NA>", "-100.0"])
def test_a_step_without_a_label_in_a_table(tmp_path, mark):
    found = read(write(tmp_path, table(marked(mark))), labelled=True)
    assert found.task == "tagging"
    assert found.target.values.tolist() == marked(None)
    assert found.labels().count("up") == sum(t == "up" for t in marked(None))
    said = f"a class at every step, 2 classes; {MISSING} of {len(KNOWN)} steps are not labelled"
    assert said in describe(found)
    assert summarize(found)["target"]["unlabelled"] == MISSING
    assert found.layout.class_names == ("down", "up")


@pytest.mark.parametrize("mark", ["-100", "", "NA", "None", "?"])
def test_classes_that_are_numbers(tmp_path, mark):
    codes = [str(int(tag == "up")) if tag else mark for tag in marked(None)]
    found = read(write(tmp_path, table(codes)), labelled=True)
    assert found.layout.class_names == ("0", "1")
    assert int((~is_labelled(found.target.values)).sum()) == MISSING


@pytest.mark.parametrize("others", ["-200", "100"])
def test_minus_100_is_a_class_among_its_like(tmp_path, others):
    codes = ["-100" if tag == "up" else others for tag in TAGS]
    found = read(write(tmp_path, table(codes)), labelled=True)
    assert set(found.layout.class_names) == {"-100", others}
    (note,) = [note for note in found.layout.notes if "-100" in note]
    assert "-100 is read as a class" in note


@pytest.mark.parametrize("mark", ["NA", "none", "?", "-"])
def test_a_word_that_may_mean_nothing_is_a_class_and_said(tmp_path, mark):
    found = read(write(tmp_path, table(marked(mark))), labelled=True)
    assert set(found.layout.class_names) == {"down", "up", mark}
    assert f"{mark!r} is read as a class" in "\n".join(found.layout.notes)
    # The caller decides.
    other = read(write(tmp_path, table(marked(mark))), labelled=True, missing=mark)
    assert set(other.layout.class_names) == {"down", "up"}


def test_pandas_makes_floats_of_whole_numbers_beside_a_gap(tmp_path):
    """The classes are those of a file without gaps, in which pandas writes 1 and not 1.0."""
    codes = [float(tag == "up") if tag else None for tag in marked(None)]
    frame = pd.DataFrame({"id": OWNERS, "t": STEPS, "x": np.arange(len(TAGS)) / 7, "label": codes})
    frame.to_csv(tmp_path / "gaps.csv", index=False)
    found = read(tmp_path / "gaps.csv", labelled=True)
    assert found.layout.class_names == ("0", "1")
    assert read(frame, labelled=True).target.values.tolist() == found.target.values.tolist()
    whole = frame.assign(label=[int(tag == "up") for tag in TAGS])
    whole.to_csv(tmp_path / "whole.csv", index=False)
    again = read(tmp_path / "whole.csv", layout=found.layout, labelled=True)
    assert again.layout.class_names == ("0", "1")
    # And the other way round: a file of floats for a model of whole numbers.
    first = read(tmp_path / "whole.csv", labelled=True)
    whole.assign(label=whole.label.astype(float)).to_csv(tmp_path / "floats.csv", index=False)
    floats = read(tmp_path / "floats.csv", layout=first.layout, labelled=True)
    assert floats.layout.class_names == ("0", "1")
    # Without a model they stay as written.
    assert read(tmp_path / "floats.csv").layout.class_names == ("0.0", "1.0")


def test_tags_in_json_lines(tmp_path):
    for mark in (None, -100, ""):
        lines, start = [], 0
        for n in LENGTHS:
            own = marked(mark)[start : start + n]
            lines.append(json.dumps({"sequence": list(range(n)), "tags": own}))
            start += n
        found = read(write(tmp_path, "\n".join(lines), "data.jsonl"), labelled=True)
        assert found.target.values.tolist() == marked(None)
    lines[2] = json.dumps({"sequence": [0, 1, 2, 3], "tags": [None] * 4})
    found = read(write(tmp_path, "\n".join(lines), "data.jsonl"), labelled=True)
    assert not is_labelled(found.target[2]).any()


@pytest.mark.parametrize("mark", [-100, np.nan])
def test_padded_arrays(tmp_path, mark):
    X = np.full((6, 5, 2), np.nan)
    y = np.full((6, 5), mark)
    start = 0
    for i, n in enumerate(LENGTHS):
        X[i, :n] = np.arange(2 * n).reshape(n, 2) / 3
        own = marked(None)[start : start + n]
        y[i, :n] = [mark if tag is None else int(tag == "up") for tag in own]
        start += n
    np.savez(tmp_path / "a.npz", X=X, y=y)
    found = read(tmp_path / "a.npz", labelled=True)
    expected = [None if tag is None else int(tag == "up") for tag in marked(None)]
    assert found.target.values.tolist() == expected
    # Among numbers to predict NaN means that there is none; -100 is a number.
    np.savez(tmp_path / "b.npz", X=X, y=y + 0.5)
    found = read(tmp_path / "b.npz", labelled=True)
    assert found.task == "regression"
    missing = int(np.isnan(found.target.values).sum())
    assert missing == (MISSING if np.isnan(mark) else 0)


def test_numbers_at_every_step(tmp_path):
    values = [f"{i + t / 4}" if known else "" for i, t, known in
              zip(OWNERS, STEPS, KNOWN, strict=True)]  # fmt: skip
    found = read(write(tmp_path, table(values)), labelled=True)
    assert (found.task, found.layout.per_step) == ("regression", True)
    assert np.isnan(found.target.values).tolist() == [not known for known in KNOWN]
    assert f"a number at every step; {MISSING} of {len(KNOWN)} steps" in describe(found)
    assert "nan" not in describe(found)
    numbers = [value or "-100" for value in values]
    told = read(write(tmp_path, table(numbers)), labelled=True)
    assert not np.isnan(told.target.values).any()
    assert f"-100 occurs {MISSING} times" in "\n".join(told.layout.notes)
    again = read(write(tmp_path, table(numbers)), labelled=True, missing="-100")
    assert int(np.isnan(again.target.values).sum()) == MISSING


@pytest.mark.parametrize("at", [0, 1, -1, -2])
@pytest.mark.parametrize("kind", ["words", "numbers"])
def test_a_label_in_one_row_of_its_sequence(tmp_path, at, kind):
    own = [("abc"[i % 3] if kind == "words" else f"{i % 3}.5") for i in range(6)]
    row = [t == at % LENGTHS[i] for i, t in zip(OWNERS, STEPS, strict=True)]
    text = table([own[i] if here else "" for i, here in zip(OWNERS, row, strict=True)])
    found = read(write(tmp_path, text), labelled=True)
    assert found.target.tolist() == (own if kind == "words" else [float(v) for v in own])
    where = {0: "the first row", 1: "row 2", -1: "the last row", -2: "the row before the last row"}[
        at
    ]
    (line,) = [line for line in guesses(found) if "stands in" in line]
    assert f"each label stands in {where} of its sequence, the others are empty" in line
    # A later file is read alike, wherever its labels stand.
    full = table([own[i] for i in OWNERS])
    again = read(write(tmp_path, full, "later.csv"), layout=found.layout, labelled=True)
    assert again.target.tolist() == found.target.tolist()
    if kind == "words":
        steps = read(write(tmp_path, text), labelled=True, task="tagging")
        assert steps.task == "tagging"
        assert int(is_labelled(steps.target.values).sum()) == 6


def test_the_first_row_of_sequences_of_equal_length(tmp_path):
    rows = [
        f"{i},{t},{i + t}.5,{'ab'[i % 2] if t == 0 else ''}" for i in range(6) for t in range(8)
    ]
    found = read(write(tmp_path, "\n".join(["id,t,x,label", *rows])), labelled=True)
    assert any("stands in the first row of its sequence" in line for line in guesses(found))


def test_labels_at_different_places_are_of_steps(tmp_path):
    row = [t == i % LENGTHS[i] for i, t in zip(OWNERS, STEPS, strict=True)]
    labels = ["abc"[i % 3] if here else "" for i, here in zip(OWNERS, row, strict=True)]
    found = read(write(tmp_path, table(labels)), labelled=True)
    assert found.task == "tagging"
    (line,) = guesses(found)
    assert line.startswith("--task tagging: some steps have no label") and "(unsure)" in line
    whole = read(write(tmp_path, table(labels)), labelled=True, task="classification")
    assert whole.target.tolist() == ["abc"[i % 3] for i in range(6)]


def test_a_constant_label_that_some_rows_lack(tmp_path):
    labels = ["abc"[i % 3] if t != 1 else "" for i, t in zip(OWNERS, STEPS, strict=True)]
    found = read(write(tmp_path, table(labels)), labelled=True)
    assert found.target.tolist() == ["abc"[i % 3] for i in range(6)]
    (line,) = guesses(found)
    assert "each sequence has one label, which some of its rows lack" in line


def test_a_sequence_without_its_label_is_a_fault_in_training(tmp_path):
    labels = ["abc"[i % 3] if t == 0 and i != 3 else "" for i, t in zip(OWNERS, STEPS, strict=True)]
    path = write(tmp_path, table(labels))
    with pytest.raises(DataError) as caught:
        read(path, labelled=True)
    (fault,) = caught.value.faults
    assert (fault.line, fault.column) == (2 + sum(LENGTHS[:3]), "label")
    assert "no row of this sequence has a label" in str(fault)
    # Where labels are not needed, they are not used, which is said.
    found = read(path)
    assert found.target is None
    assert "1 of 6 sequences have no label, so labels are not used" in "\n".join(found.layout.notes)


def test_two_labels_in_one_sequence_name_the_row(tmp_path):
    labels = ["ab"[t % 2] if t < 2 else "" for i, t in zip(OWNERS, STEPS, strict=True)]
    path = write(tmp_path, table(labels))
    assert read(path, labelled=True).task == "tagging"
    with pytest.raises(DataError, match=r"line 3, column label: label 'b' differs from 'a'"):
        read(path, labelled=True, task="classification")


@pytest.mark.parametrize("form", ["rows", "steps"])
def test_a_target_without_any_value(tmp_path, form):
    text = table([""] * len(TAGS))
    if form == "rows":
        text = "text,label\n" + "".join(f"word{i} and more words,\n" for i in range(8))
    path = write(tmp_path, text)
    with pytest.raises(DataError) as caught:
        read(path, labelled=True)
    assert "every cell of the target 'label' is empty" in str(caught.value)
    assert len(caught.value.faults) <= 1
    found = read(path)
    assert found.target is None
    assert "so that there are no labels" in "\n".join(found.layout.notes)


def test_one_recording_may_be_labelled_in_part(tmp_path):
    rows = [f"{t},{t % 7 / 7},{'ab'[t // 50 % 2] if t % 3 else ''}" for t in range(200)]
    found = read(write(tmp_path, "\n".join(["time,x,label", *rows])), labelled=True)
    assert (len(found), found.task) == (1, "tagging")
    rows = [f"{t},{t % 7 / 7},{'a' if t % 3 else ''}" for t in range(200)]
    found = read(write(tmp_path, "\n".join(["time,x,label", *rows])), labelled=True)
    assert found.task == "tagging"
    assert "some steps of the one recording have no label" in "\n".join(guesses(found))


@pytest.mark.parametrize(
    ("lengths", "row", "words"),
    [
        ([8, 8, 8], 0, "in the first row of"),
        ([8, 8, 8], 7, "in the last row of"),
        ([8, 8, 8], 2, "in row 3 of"),
        ([8, 7, 9], 0, "in the first row of"),
        ([8, 7, 9], -1, "in the last row of"),
        ([8, 7, 9], 2, "in row 3 of"),
        ([8, 7, 9], -2, "in the row before the last row of"),
        ([8, 7, 9], -3, "in the row 2 before the last row of"),
    ],
)
def test_the_row_of_the_label_is_said_in_words(tmp_path, lengths, row, words):
    lines = ["id,t,x,label"]
    for i, n in enumerate(lengths * 2):
        labels = ["ab"[i % 2] if t == row % n else "" for t in range(n)]
        lines += [f"s{i},{t},{(3 * i + t) % 7},{label}" for t, label in enumerate(labels)]
    found = read(write(tmp_path, "\n".join(lines)), labelled=True)
    assert found.task == "classification"
    assert words in "\n".join(guesses(found))


def test_null_for_all_tags_of_a_line(tmp_path):
    records = [{"tokens": ["a", "b", "c"], "tags": ["x", "y", "x"]} for _ in range(4)]
    records.append({"tokens": ["a", "b"], "tags": None})
    path = write(tmp_path, "\n".join(map(json.dumps, records)), "d.jsonl")
    found = read(path, labelled=True)
    assert (found.task, len(found)) == ("tagging", 5)
    assert found.target[4].tolist() == [None, None]
    kept, note = leave_out_unlabelled(found)
    assert len(kept) == 4
    assert "1 of 5 sequences are left out of the training" in note
    records[1]["tags"] = 3
    path.write_text("\n".join(map(json.dumps, records)))
    with pytest.raises(
        DataError, match=r"'tags' is a whole number .3., expected a list, a label a step"
    ):
        read(path, labelled=True)


def test_null_among_labels_of_rows_is_said(tmp_path):
    rows = [f"text number {i},{'x' if i % 2 else 'null'}" for i in range(8)]
    found = read(write(tmp_path, "\n".join(["text,label", *rows])), labelled=True)
    assert "'null' is read as a class" in "\n".join(found.layout.notes)


@pytest.mark.parametrize("label", ["007", "01.02.2024", "1/2/24", "TRUE", "+1", "12:30", "1.0"])
def test_labels_stay_as_they_are_written(tmp_path, label):
    rows = [
        f"s{i},{t},{(3 * i + t) % 7},{label if i % 2 else '0' + label}"
        for i in range(6)
        for t in range(3)
    ]
    path = write(tmp_path, "\n".join(["id,t,x,label", *rows]))
    found = read(path, labelled=True)
    assert found.target.tolist() == ["0" + label, label] * 3
    assert read(path, layout=found.layout, labelled=True).target.tolist() == found.target.tolist()
