"""A guessed group divides the splits, and what that changes is measured and said."""

from __future__ import annotations

import json

import numpy as np
import pytest

from elman.evaluate.groups import compare_groups
from elman.runs.data_splits import read_splits, resolve_data
from elman.settings import DataSettings


def recognisable(tmp_path, subjects, form="steps", label=lambda s: "ab"[s % 2]):
    """Four sequences of each subject; its level alone tells the label."""
    rng = np.random.default_rng(0)
    level = rng.permutation(subjects) * 4.0
    lines = []
    for i in range(4 * subjects):
        s = i % subjects
        values = [f"{level[s] + rng.normal() / 4:.2f}" for _ in range(6)]
        if form == "steps":
            lines += [f"{i},s{s},{t},{value},{label(s)}" for t, value in enumerate(values)]
        elif form == "rows":
            lines.append(",".join([f"s{s}", label(s), *values]))
        else:
            row = {"subject": f"s{s}", "label": label(s), "sequence": list(map(float, values))}
            lines.append(json.dumps(row))
    heads = {"steps": ["id,subject,t,x,label"], "jsonl": [],
             "rows": ["subject,label,t1,t2,t3,t4,t5,t6"]}  # fmt: skip
    path = tmp_path / ("a.jsonl" if form == "jsonl" else "a.csv")
    path.write_text("\n".join([*heads[form], *lines]) + "\n")
    return str(path)


@pytest.mark.parametrize("form", ["steps", "rows", "jsonl"])
def test_a_guessed_group_divides_the_splits(form, tmp_path):
    splits = read_splits(DataSettings(recognisable(tmp_path, 16, form), validation=0.2), 0)
    parts = [set(part.groups) for part in (splits.training, splits.validation, splits.test)]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    text = "\n".join(splits.notes)
    assert "4 of 16 groups by subject" in text and "warning" not in text
    assert "if they are divided at random" in text and "as here" in text
    # The configuration that is written down divides alike, without a guess.
    assert resolve_data(DataSettings(str(tmp_path)), splits.whole.layout).group == "subject"


def test_both_accuracies_are_said_where_sequences_are_divided_at_random(tmp_path):
    path = recognisable(tmp_path, 16)
    for split in ("random", "stratified"):
        splits = read_splits(DataSettings(path, split=split), 0)
        (warning,) = [note for note in splits.notes if note.startswith("warning")]
        assert "do not hold for a new 'subject'; --group subject divides by it" in warning
        numbers = [
            float(word.rstrip(",;.")) for word in warning.split() if word[:2] in ("0.", "1.")
        ]
        assert numbers[0] > 0.7 and numbers[1] < 0.65
        assert splits.test.groups == () and splits.whole.layout.group is None
        assert "--group subject: " not in "\n".join(g.line for g in splits.whole.layout.guesses)


def test_few_groups_are_not_divided_unasked(tmp_path):
    path = recognisable(tmp_path, 4)
    splits = read_splits(DataSettings(path), 0)
    assert splits.test.groups == ()
    assert any(note.startswith("warning") for note in splits.notes)
    divided = read_splits(DataSettings(path, group="subject"), 0)
    assert not set(divided.test.groups) & set(divided.training.groups)


def test_groups_that_cannot_be_held_out_are_said(tmp_path):
    # Each subject has a class of its own, so that none can be left out of the training.
    path = recognisable(tmp_path, 6, label=lambda s: f"class {s}")
    splits = read_splits(DataSettings(path), 0)
    assert any("no 'subject' can be held out as a whole" in note for note in splits.notes)
    assert len(splits.test) == 6


def test_groups_that_change_nothing_are_not_warned_about(tmp_path):
    rng = np.random.default_rng(1)
    rows = [f"{i},s{i % 8},{t},{(i // 8) % 2 * 3 + rng.normal() / 4:.2f},{'ab'[(i // 8) % 2]}"
            for i in range(64) for t in range(5)]  # fmt: skip
    (tmp_path / "a.csv").write_text("\n".join(["id,subject,t,x,label", *rows]))
    for split in (None, "random"):
        notes = read_splits(DataSettings(str(tmp_path / "a.csv"), split=split), 0).notes
        assert not any("accuracy" in note for note in notes)


def test_comparison_by_what_a_sequence_holds():
    rng = np.random.default_rng(0)
    groups = [f"g{i % 12}" for i in range(96)]
    labels = np.array([i % 12 % 2 for i in range(96)])
    texts = [f"i am g{i % 12} and say {rng.integers(99)}" for i in range(96)]
    found = compare_groups(texts, labels, groups)
    assert found.random > 0.95 and found.grouped < 0.7 and found.differs
    honest = [f"{'good' if label else 'bad'} words {rng.integers(99)}" for label in labels]
    found = compare_groups(honest, labels, groups)
    assert found.random == found.grouped == 1 and not found.differs
    assert compare_groups(texts, labels, [str(i) for i in range(96)]) is None
