"""Long tables with a variable and its value in each row become one row per time step."""

from __future__ import annotations

import numpy as np
import pytest

from elman.data import describe, read
from elman.errors import DataError

VITALS = ("HR", "Temp", "RespRate")


def values(n=12, steps=5):
    """The value of each vital at each step of each stay, some of them gaps."""
    rng = np.random.default_rng(0)
    found = rng.normal(size=(n, steps, 3)).round(3)
    found[rng.random(found.shape) < 0.3] = np.nan
    found[:, 0] = 1.5
    return found


def measurements(found):
    """Rows of id, time, variable, value and label."""
    return [
        (i, t, VITALS[v], found[i, t, v], i % 2)
        for i, t, v in np.argwhere(~np.isnan(found)).tolist()
    ]


def write(tmp_path, head, rows, name="a.csv"):
    path = tmp_path / name
    path.write_text("\n".join([head, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (("id", "time", "variable", "value", "label"), None),
        (("stay_id", "hour", "Parameter", "Value", "outcome"), None),
        (("id", "t", "variable", "value", "label"), "melted"),  # as pandas and R melt
        (("patient", "Time", "measurement", "val", "class"), "variables"),
    ],
)
def test_variables_become_channels(names, order, tmp_path):
    found = values()
    rows = measurements(found)
    if order:
        rows.sort(key=lambda row: (VITALS.index(row[2]), row[0], row[1])[: 3 if order else 1])
    dataset = read(write(tmp_path, ",".join(names), rows))
    layout = dataset.layout
    assert (layout.id, layout.time, layout.target) == (names[0], names[1], names[4])
    assert set(layout.values) == set(VITALS) and layout.melted == names[2:4]
    kept = ~np.isnan(found).all(axis=2)
    assert dataset.lengths.tolist() == kept.sum(axis=1).tolist()
    columns = [VITALS.index(name) for name in layout.values]
    for i, sequence in enumerate(dataset.inputs):
        np.testing.assert_array_equal(sequence[:, :3], found[i][kept[i]][:, columns])
    assert dataset.target.tolist() == [str(i % 2) for i in range(12)]
    assert "each row is one measurement" in describe(dataset)


def test_a_later_file_has_the_same_channels(tmp_path):
    found = values()
    layout = read(write(tmp_path, "id,time,variable,value,label", measurements(found))).layout
    rows = [row[:4] for row in measurements(found) if row[2] != "Temp"]
    path = write(tmp_path, "id,time,variable,value", rows, "later.csv")
    later = read(path, layout=layout, labelled=False)
    assert later.layout.values == layout.values
    assert np.isnan(later.inputs.values[:, layout.values.index("Temp")]).all()


def test_faults_have_the_lines_of_the_file(tmp_path):
    rows = measurements(values())
    rows[3] = (*rows[3][:3], "high", rows[3][4])
    with pytest.raises(DataError, match="line 5, column value: 'high' is not a number"):
        read(write(tmp_path, "id,time,variable,value,label", rows))
    rows = measurements(values())
    rows[1] = (*rows[1][:2], rows[0][2], *rows[1][3:])
    with pytest.raises(DataError, match="line 3, column variable: variable 'HR' has two values"):
        read(write(tmp_path, "id,time,variable,value,label", rows))


def test_other_tables_stay_as_they_are(tmp_path):
    rows = [(i, t, "ab"[(i + t) % 2], i + t / 7, i % 2) for i in range(12) for t in range(5)]
    dataset = read(write(tmp_path, "id,time,mode,value,label", rows))
    assert dataset.layout.categories == ("mode",) and dataset.layout.melted == ()
