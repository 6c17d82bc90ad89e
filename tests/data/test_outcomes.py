"""Names of outcomes are labels; properties of persons are not taken for the label."""

from __future__ import annotations

from pathlib import Path

import pytest

from elman.data import read
from elman.errors import DataError


def stays(folder: Path, label: str, sex: str = "sex") -> Path:
    """Write 40 stays of five hours with a property in words and an outcome in numbers."""
    rows = [
        f"{i},{'MF'[(i // 3) % 2]},{hour},{80 + (i * 7 + hour * 3) % 11}.5,{int(i % 5 == 0)}"
        for i in range(40)
        for hour in range(5)
    ]
    path = folder / "a.csv"
    path.write_text("\n".join([f"stay,{sex},hour,hr,{label}", *rows]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("label", ["died", "Survived", "readmitted", "churn", "is_fraud", "grade"])
def test_an_outcome_is_the_label_and_not_the_sex(label, tmp_path):
    data = read(stays(tmp_path, label))
    assert data.layout.target == label and data.static is not None
    assert data.static.names == ("sex",)


@pytest.mark.parametrize("name", ["sex", "gender", "Country", "patient_race"])
def test_a_property_of_persons_is_asked_about(name, tmp_path):
    path = stays(tmp_path, "x5", name)
    with pytest.raises(DataError, match=f"no column is known to be the target.*--target {name}"):
        read(path, labelled=True)
    assert read(path, target=name).layout.target == name


def test_a_measured_phase_is_an_input(tmp_path):
    rows = [
        f"{i},{t},{i * 0.37 + t * 0.11:.2f},{t * 0.7 + i:.3f}" for i in range(30) for t in range(6)
    ]
    (tmp_path / "a.csv").write_text("\n".join(["id,t,phase,v", *rows]) + "\n", encoding="utf-8")
    data = read(tmp_path / "a.csv")
    assert data.layout.target is None and data.layout.values == ("phase", "v")


def test_classes_in_the_first_line_of_a_small_file(tmp_path):
    lines = ["#good film today,pos", "#bad day ever,neg", "#nice sun here,pos", "#sad rain,neg"]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = read(tmp_path / "a.csv")
    assert data.inputs[0] == "#good film today" and len(data) == 4


def test_a_header_with_empty_names(tmp_path):
    rows = [f"{('ham', 'spam')[i % 2]},some words of message {i},,," for i in range(20)]
    (tmp_path / "a.csv").write_text("\n".join(["v1,v2,,,", *rows]) + "\n", encoding="utf-8")
    assert len(read(tmp_path / "a.csv", target="v1", text="v2")) == 20


def test_engines_and_cycles_are_no_archive(tmp_path):
    rows = [f"{u} {t} {u * 0.3 + t:.2f} {t * 0.7:.2f}" for u in range(1, 9) for t in range(1, 11)]
    (tmp_path / "a.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="no column is known to be the target"):
        read(tmp_path / "a.txt", labelled=True)
    assert len(read(tmp_path / "a.txt", id="1", time="2")) == 8
