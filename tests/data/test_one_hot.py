"""One-hot targets in files: columns or arrays of 0 and 1 with exactly one 1 per row are classes."""

import numpy as np
import pytest

from elman.data import read
from elman.errors import DataError


def write(folder, text, name="d.csv"):
    path = folder / name
    path.write_text(text)
    return path


def rows_of(ones, header="text,a,b,c"):
    cells = [",".join(map(str, row)) for row in ones]
    return "\n".join([header, *(f"text number {i},{cell}" for i, cell in enumerate(cells))])


def said(found):
    return "\n".join(f"{g.reason} {g.flag} {g.change}" for g in found.layout.guesses)


EYE = np.eye(3, dtype=int)[np.arange(12) % 3].tolist()


@pytest.mark.parametrize("cells", [(0, 1), ("0.0", "1.0"), ("False", "True"), ("false", "TRUE")])
def test_columns_with_one_1_a_row_are_classes(cells, tmp_path):
    path = write(tmp_path, rows_of([[cells[v] for v in row] for row in EYE]))
    found = read(path, target="a,b,c", text="text", labelled=True)
    assert found.task == "classification"
    assert found.target.tolist() == ["a", "b", "c"] * 4
    assert "exactly one 1" in said(found)
    assert "--task multilabel" in said(found)
    several = read(path, target="a,b,c", text="text", task="multilabel", labelled=True)
    assert several.task == "multilabel"
    assert several.target[0] == frozenset({"a"})
    # A later file is read as the first was, whatever its rows hold.
    for first in (found, several):
        again = read(path, layout=first.layout, labelled=True)
        assert again.target.tolist() == first.target.tolist()


def test_a_later_file_that_is_not_one_hot_is_refused(tmp_path):
    path = write(tmp_path, rows_of(EYE))
    layout = read(path, target="a,b,c", text="text", labelled=True).layout
    other = write(tmp_path, rows_of([*EYE, [1, 1, 0], [0, 0, 0]]), "e.csv")
    with pytest.raises(DataError) as caught:
        read(other, layout=layout, labelled=True)
    message = str(caught.value)
    assert "2 ones" in message
    assert "line 14" in message
    unlike = read(other, target="a,b,c", text="text", labelled=True)
    assert unlike.task == "multilabel"
    with pytest.raises(DataError, match="2 ones"):
        read(other, target="a,b,c", text="text", task="classification", labelled=True)


def test_steps(tmp_path):
    rows = [f"s{i // 4},{i % 4},{i / 7:.2f},{i % 2},{(i + 1) % 2}" for i in range(40)]
    path = write(tmp_path, "\n".join(["id,t,x,walk,run", *rows]))
    found = read(path, target="walk,run", labelled=True)
    assert found.task == "tagging"
    assert found.target.values[:3].tolist() == ["run", "walk", "run"]
    rows = [f"s{i // 4},{i % 4},{i / 7:.2f},{i // 4 % 2},{(i // 4 + 1) % 2}" for i in range(40)]
    path = write(tmp_path, "\n".join(["id,t,x,walk,run", *rows]))
    found = read(path, target="walk,run", labelled=True)
    assert (found.task, found.target.tolist()) == ("classification", ["run", "walk"] * 5)
    rows[1] = "s0,1,0.14,,"
    path = write(tmp_path, "\n".join(["id,t,x,walk,run", *rows]))
    found = read(path, target="walk,run", labelled=True, task="tagging")
    assert found.target.values[:2].tolist() == ["run", None]


def save(folder, **arrays):
    path = folder / "d.npz"
    np.savez(path, **arrays)
    return path


def test_arrays(tmp_path):
    X = np.random.default_rng(0).normal(size=(40, 10, 2))
    codes = np.arange(40) % 3
    path = save(tmp_path, X=X, y=np.eye(3)[codes])
    found = read(path, labelled=True)
    assert (found.task, found.target.tolist()) == ("classification", codes.tolist())
    assert "exactly one 1" in said(found)
    assert read(path, layout=found.layout, labelled=True).target.tolist() == codes.tolist()
    numbers = read(path, labelled=True, task="regression")
    assert numbers.target.shape == (40, 3)
    several = read(path, labelled=True, task="multilabel")
    assert several.target[1] == frozenset({1})
    assert read(path, layout=several.layout, labelled=True).task == "multilabel"


def test_arrays_of_several_labels(tmp_path):
    X = np.random.default_rng(0).normal(size=(40, 10, 2))
    y = np.random.default_rng(1).integers(0, 2, size=(40, 3))
    found = read(save(tmp_path, X=X, y=y), labelled=True)
    assert found.task == "multilabel"
    assert found.target.tolist() == [frozenset(np.flatnonzero(row).tolist()) for row in y]


def test_arrays_with_one_hot_steps(tmp_path):
    X = np.random.default_rng(0).normal(size=(8, 5, 2))
    codes = np.arange(40).reshape(8, 5) % 3
    X[3, 3:] = np.nan
    y = np.eye(3)[codes]
    y[3, 3:] = 0
    y[5, 1] = 0
    found = read(save(tmp_path, X=X, y=y), labelled=True)
    assert found.task == "tagging"
    assert found.target[0].tolist() == codes[0].tolist()
    assert found.target[3].tolist() == codes[3, :3].tolist()
    assert found.target[5].tolist() == [codes[5, 0], None, *codes[5, 2:]]


def test_one_event_in_each_sequence_is_no_class(tmp_path):
    X = np.random.default_rng(0).normal(size=(12, 4, 2))
    y = np.eye(4, dtype=int)[np.arange(12) % 4]
    found = read(save(tmp_path, X=X, y=y), labelled=True)  # as many columns as steps
    assert found.task == "tagging"
    assert "--task classification" in said(found)
    found = read(save(tmp_path, X=X, y=y), labelled=True, task="classification")
    assert found.target.tolist() == (np.arange(12) % 4).tolist()
