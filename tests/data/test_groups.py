"""Columns with one value per sequence are groups or static features, and never silent inputs."""

from __future__ import annotations

import json

import numpy as np
import pytest

from elman.data import read
from elman.errors import DataError

PEOPLE = ["anna", "bob", "carl", "dora", "eve", "fay", "gus", "hal", "ida", "jo"]


def steps(tmp_path, columns, label=lambda i: "ab"[i % 2], count=40):
    """A file of `count` sequences of four steps, with further columns: name -> value of i."""
    rng = np.random.default_rng(0)
    rows = [
        ",".join([str(i), *(str(value(i)) for value in columns.values()), str(t),
                  f"{rng.normal():.2f}", label(i)])
        for i in range(count) for t in range(4)
    ]  # fmt: skip
    path = tmp_path / "a.csv"
    path.write_text("\n".join([",".join(["id", *columns, "t", "x", "label"]), *rows]) + "\n")
    return path


# A name, its value in sequence i, and whether the label goes with it.
GROUPS = [
    ("subject", lambda i: i % 10, True),
    ("subject", lambda i: i % 10, False),
    ("participant", lambda i: f"P{i % 10:02}", True),
    ("pid", lambda i: 100 + 7 * (i % 10), False),
    ("user", lambda i: f"user_{i % 6}", False),
    ("site", lambda i: i % 8, True),
    ("who", lambda i: PEOPLE[i % 10], False),
    ("Proband", lambda i: i % 10 + 1, True),
    ("speaker", lambda i: PEOPLE[i % 10], True),
    ("patientId", lambda i: 9000 + i % 10, False),
    ("vp_nr", lambda i: i % 10 + 1, False),
    ("mouse", lambda i: f"m{i % 7}", True),
    # By content: codes without holes, names such as k3, and words of which each has one label.
    ("zz", lambda i: i % 10, False),
    ("zz", lambda i: f"k{i % 10}", False),
    ("zz", lambda i: PEOPLE[i % 10], True),
]


@pytest.mark.parametrize(("name", "value", "determined"), GROUPS)
def test_groups_are_found(name, value, determined, tmp_path):
    label = (lambda i: "ab"[i % 10 > 4]) if determined and name == "zz" else None
    label = label or ((lambda i: "ab"[i % 2]) if determined else (lambda i: "ab"[i // 20]))
    dataset = read(steps(tmp_path, {name: value}, label))
    layout = dataset.layout
    assert (layout.id, layout.values, layout.static) == ("id", ("x",), ())
    assert layout.group == name
    assert dataset.groups == tuple(str(value(i)) for i in range(40))
    guess = next(guess for guess in layout.guesses if guess.role == "group")
    assert guess.flag == f"--group {name}" and guess.change.startswith("--split random")
    assert f"{len({value(i) for i in range(40)})} groups" in guess.reason
    again = read(steps(tmp_path, {name: value}, label), layout=layout)
    assert again.groups == dataset.groups


PROPERTIES = [
    ("age", lambda i: 20 + 3 * (i % 9)),
    ("sex", lambda i: "mf"[i // 3 % 2]),
    ("weight_kg", lambda i: 60 + 1.5 * (i % 9)),
    ("Alter", lambda i: 20 + 3 * (i % 9)),
    ("BMI", lambda i: f"{20 + i / 7:.1f}"),
    ("zz", lambda i: f"{1 + i % 6 / 4:.2f}"),
    ("zz", lambda i: ["low", "mid", "high"][i // 2 % 3]),
]


@pytest.mark.parametrize(("name", "value"), PROPERTIES)
def test_properties_are_static_features(name, value, tmp_path):
    path = steps(tmp_path, {name: value})
    dataset = read(path)
    assert (dataset.layout.values, dataset.layout.static) == (("x",), (name,))
    assert dataset.groups == () and dataset.static is not None and dataset.static.names == (name,)
    guess = next(guess for guess in dataset.layout.guesses if guess.role == "static")
    assert guess.flag == f"--static {name}" and guess.change.startswith("--static none")
    left = read(path, static="none")
    assert left.static is None and f"left out {name}" in [g.flag for g in left.layout.guesses]
    # Whoever names the inputs gets no others.
    assert read(path, values="x").static is None


def test_what_would_tell_the_label_is_left_out(tmp_path):
    columns = {"mortality": lambda i: i // 2 % 2, "ward": lambda i: "AB"[i % 2]}
    layout = read(steps(tmp_path, columns)).layout
    assert (layout.values, layout.static, layout.group) == (("x",), (), None)
    left = {guess.columns[0]: guess.line for guess in layout.guesses if guess.role == "unused"}
    assert "has the name of a label" in left["mortality"]
    assert "determines the label" in left["ward"] and "--static ward" in left["ward"]


def test_persons_come_before_other_groups(tmp_path):
    columns = {"session": lambda i: i % 20, "subject": lambda i: i % 10, "age": lambda i: i % 10}
    layout = read(steps(tmp_path, columns)).layout
    assert (layout.group, layout.static) == ("subject", ("age",))
    assert "left out session" in [guess.flag for guess in layout.guesses]
    named = read(steps(tmp_path, columns), group="session").layout
    assert named.group == "session" and "left out subject" in [g.flag for g in named.guesses]


def test_groups_of_rows(tmp_path):
    rng = np.random.default_rng(0)
    cells = [",".join(f"{v:.2f}" for v in rng.normal(size=5)) for _ in range(40)]
    rows = [f"s{i % 8},{30 + i % 7},{'ab'[i % 2]},{cells[i]}" for i in range(40)]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["subject,age,label,t1,t2,t3,t4,t5", *rows]))
    layout = read(path).layout
    assert (layout.group, layout.static, len(layout.values)) == ("subject", ("age",), 5)
    rows = [f"{PEOPLE[i % 10]},{i % 5},word {i} is here,{'ab'[i % 2]}" for i in range(40)]
    path.write_text("\n".join(["who,stars,text,label", *rows]))
    dataset = read(path)
    assert (dataset.layout.text, dataset.layout.group, dataset.static) == ("text", "who", None)


def test_groups_of_json_lines(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [{"speaker": f"s{i % 8}", "age": 30 + i % 7, "scenario": i % 3, "sequence": [i, 2.5, 3],
             "label": "ab"[i % 2]} for i in range(40)]  # fmt: skip
    path.write_text("\n".join(map(json.dumps, rows)))
    dataset = read(path)
    assert (dataset.layout.group, dataset.layout.static) == ("speaker", ("age",))
    assert dataset.groups[:2] == ("s0", "s1") and dataset.static.numbers[1, 0] == 31
    # A file without the key is predicted all the same.
    path.write_text("\n".join(json.dumps({k: r[k] for k in ("age", "sequence")}) for r in rows))
    assert len(read(path, layout=dataset.layout)) == 40


def test_rows_are_named_by_their_ids(tmp_path):
    path = tmp_path / "a.csv"
    rows = [f"r{i},{i},{i + 1},{i + 2},{'ab'[i % 2]}" for i in range(12)]
    path.write_text("\n".join(["sample_id,t1,t2,t3,label", *rows]))
    dataset = read(path)
    assert dataset.layout.format == "rows" and dataset.ids[:3] == ("r0", "r1", "r2")
    assert read(path, id="sample_id").ids == dataset.ids
    path.write_text("\n".join(["t1,t2,t3", "1,2,3"]))
    assert read(path, layout=dataset.layout, labelled=False).names == ["line 2"]


def test_a_group_with_gaps_is_no_input(tmp_path):
    path = steps(tmp_path, {"subject": lambda i: i % 10})
    lines = path.read_text().splitlines()
    lines[3] = lines[3].replace("0,0,", "0,,", 1)
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match="line 4, column subject: the group is empty"):
        read(path, group="subject")
    layout = read(path).layout
    assert (layout.values, layout.group) == (("x",), None)
    assert any("but not in every row" in guess.line for guess in layout.guesses)


def test_a_static_feature_may_stand_in_one_row(tmp_path):
    path = steps(tmp_path, {"age": lambda i: 20 + i % 9})
    lines = path.read_text().splitlines()
    lines = [x if k % 4 == 1 else ",".join([x.split(",")[0], "", *x.split(",")[2:]])
             for k, x in enumerate(lines) if k]  # fmt: skip
    path.write_text("\n".join(["id,age,t,x,label", *lines]))
    dataset = read(path)
    assert dataset.layout.static == ("age",) and dataset.static.numbers[1, 0] == 21


def test_a_value_measured_once_is_an_input(tmp_path):
    path = steps(tmp_path, {"glucose": lambda i: 5.5 + i})
    lines = path.read_text().splitlines()
    lines = [x if k % 4 == 1 else ",".join([x.split(",")[0], "", *x.split(",")[2:]])
             for k, x in enumerate(lines) if k]  # fmt: skip
    path.write_text("\n".join(["id,glucose,t,x,label", *lines]))
    assert read(path).layout.values == ("glucose", "x")
