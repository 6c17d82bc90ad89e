"""Static features of files: one value per sequence, from every layout that can hold them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from elman.data import Dataset, read
from elman.data.splits import cut_windows
from elman.errors import DataError, SettingsError

STEPS = """id,t,x,age,sex,label
a,0,1,71,f,u
a,1,2,71,f,u
b,0,3,,m,v
b,1,3,20,,v
c,0,1,NA,,u
c,1,1,,NA,u
"""


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def check(data: Dataset, numbers: list[float], categories: list[str]) -> None:
    assert data.static is not None and data.static.names == ("age", "sex")
    np.testing.assert_array_equal(data.static.numbers[:, 0], numbers)
    assert data.static.categories[:, 0].tolist() == categories
    assert data.layout.static == ("age", "sex") and data.layout.static_categories == ("sex",)


def test_steps_have_one_value_per_sequence_which_may_stand_once(tmp_path: Path) -> None:
    data = read(write(tmp_path, "s.csv", STEPS), static="age,sex")
    check(data, [71, 20, np.nan], ["f", "m", ""])
    assert data.layout.values == ("x",)  # the features are no channels
    frame = read(pd.read_csv(tmp_path / "s.csv"), static=["sex", "age"])
    check(frame, [71, 20, np.nan], ["f", "m", ""])
    # A later file is read alike, in another order of its columns.
    shuffled = pd.read_csv(tmp_path / "s.csv", dtype=str)[["sex", "age", "id", "t", "label", "x"]]
    shuffled.to_csv(tmp_path / "later.csv", index=False)
    check(read(tmp_path / "later.csv", layout=data.layout), [71, 20, np.nan], ["f", "m", ""])


def test_a_second_value_within_a_sequence_is_a_fault_on_its_line(tmp_path: Path) -> None:
    bad = write(tmp_path, "bad.csv", STEPS.replace("a,1,2,71,f", "a,1,2,72,m"))
    with pytest.raises(DataError) as caught:
        read(bad, static="age,sex")
    assert [(f.line, f.column) for f in caught.value.faults] == [(3, "age"), (3, "sex")]
    assert "'72' differs from '71'" in str(caught.value)


def test_a_feature_is_a_category_if_categories_names_it(tmp_path: Path) -> None:
    path = write(tmp_path, "s.csv", STEPS.replace("f", "1").replace("m", "2"))
    numbers = read(path, static="age,sex").static
    assert numbers is not None and numbers.numbers.shape == (3, 2)
    data = read(path, static="age,sex", categories="sex")
    check(data, [71, 20, np.nan], ["1", "2", ""])
    assert data.layout.categories == () and data.layout.kind == "numbers"
    check(read(path, layout=data.layout), [71, 20, np.nan], ["1", "2", ""])


def test_rows_and_json_lines(tmp_path: Path) -> None:
    text = "age,sex,t1,t2,t3,label\n71,f,1,2,3,u\n,m,2,2,,v\n"
    data = read(write(tmp_path, "r.csv", text), static="age,sex")
    check(data, [71, np.nan], ["f", "m"])
    assert data.layout.values == ("t1", "t2", "t3")
    words = "text,age,sex,label\na b c,71,f,u\nd e f,,m,v\n"
    check(read(write(tmp_path, "w.csv", words), static="age,sex"), [71, np.nan], ["f", "m"])
    lines = (
        '{"x": [1, 2], "age": 71, "sex": "f", "label": "u"}\n'
        '{"x": [1], "age": null, "sex": null, "label": "v"}\n'
    )
    data = read(write(tmp_path, "j.jsonl", lines), static="age,sex", values="x")
    check(data, [71, np.nan], ["f", ""])
    wrong = write(tmp_path, "k.jsonl", lines.replace("71", "[71]"))
    with pytest.raises(DataError, match=r"line 1.*'age' is a list, expected a number, or null"):
        read(wrong, layout=data.layout)


def test_arrays(tmp_path: Path) -> None:
    X, static = np.zeros((4, 3, 2)), np.arange(8.0).reshape(4, 2)
    names = np.array(["age", "bmi"])
    np.savez(tmp_path / "a.npz", X=X, y=[0, 1, 0, 1], static=static, static_names=names)
    data = read(tmp_path / "a.npz")
    assert data.static is not None and data.static.names == ("age", "bmi")
    np.testing.assert_array_equal(data.static.numbers, static)
    assert any(guess.flag == "--static static" for guess in data.layout.guesses)
    again = read(tmp_path / "a.npz", layout=data.layout)
    assert again.layout.static == ("age", "bmi")
    assert read(tmp_path / "a.npz", static="none").static is None
    np.savez(tmp_path / "b.npz", X=X, y=[0, 1, 0, 1], sex=["f", "m", "f", "m"])
    data = read(tmp_path / "b.npz", static="sex")
    assert data.static is not None and data.static.categories[:, 0].tolist() == [*"fmfm"]
    np.savez(tmp_path / "c.npz", X=X, y=[0, 1, 0, 1], static=static[:3])
    with pytest.raises(DataError, match="has 3 values, expected 4, one for each sequence"):
        read(tmp_path / "c.npz")


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "s.csv", STEPS)
    with pytest.raises(DataError, match=r"no column 'ag'\. Did you mean 'age'"):
        read(path, static="ag")
    with pytest.raises(DataError, match="used twice, as --static and as --values"):
        read(path, static="age", values="x,age")
    with pytest.raises(SettingsError, match="'none' beside names"):
        read(path, static="none,age")
    case = "@problemName a\n@classLabel true u v\n@data\n1,2,3:u\n2,3,4:v\n"
    with pytest.raises(SettingsError, match="--static means nothing"):
        read(write(tmp_path, "c.ts", case), static="age")


def test_features_follow_their_sequences(tmp_path: Path) -> None:
    data = read(write(tmp_path, "s.csv", STEPS), static="age,sex")
    taken = data.take(np.array([2, 0]))
    check(taken, [np.nan, 71], ["", "f"])
    windows, _ = cut_windows(data, 1, 1)
    check(windows, [71, 71, 20, 20, np.nan, np.nan], ["f", "f", "m", "m", "", ""])
    # Equal steps with other features are not the same sequence.
    same = STEPS.replace("b,0,3", "b,0,1").replace("b,1,3", "b,1,2")
    a, b, _ = read(write(tmp_path, "e.csv", same), static="age,sex").contents()
    c, d, _ = read(tmp_path / "e.csv", static="none", values="x").contents()
    assert a != b and c == d
