"""Files whose steps hold numbers and categories, and whose steps come unevenly in time."""

import numpy as np
import pytest

from elman import DataError, SettingsError
from elman.data import describe, read
from elman.data.dataset import TIME_DELTA

NAN = np.nan
WARDS = """id,time,pulse,drug,temperature,ward,note,label
a,0,70,none,36.5,north,one,ill
a,1,,aspirin,37,north,two,ill
b,0,80,none,,south,three,well
b,1,81,,36.6,south,four,well
"""
STEPS = [
    [70, 36.5, "none", "north"],
    [NAN, 37, "aspirin", "north"],
    [80, NAN, "none", "south"],
    [81, 36.6, "", "south"],
]


def same(found, expected):
    assert [[str(v) for v in row] for row in found] == [
        [str(float(v)) if isinstance(v, int | float) else v for v in row] for row in expected
    ]


@pytest.fixture
def write(tmp_path):
    def write(content, name="a.csv"):
        path = tmp_path / name
        path.write_text(content)
        return path

    return write


def test_words_beside_numbers_are_guessed(write):
    data = read(write(WARDS), target="label")
    assert (data.layout.kind, data.layout.values) == ("mixed", ("pulse", "temperature"))
    # Wards repeat, twice on average; drugs and notes do not.
    assert data.layout.categories == ("ward",)
    said = describe(data)
    assert "--categories ward: words that repeat" in said and "left out: 'drug', 'note'" in said


def test_named_columns(write):
    path = write(WARDS)
    data = read(path, target="label", categories="drug,ward")
    same(data.inputs.values, STEPS)
    assert data.layout.channels == ("pulse", "temperature", "drug", "ward")
    said = describe(data)
    assert "2 channels: pulse, temperature; categories, columns drug, ward" in said
    assert "missing    2 of 8 values" in said and "[70, 36.5, none, north]" in said
    again = read(path, layout=data.layout)
    same(again.inputs.values, STEPS)
    alone = read(path, target="label", values="pulse,temperature")
    assert (alone.layout.kind, alone.layout.categories) == ("numbers", ())
    ranged = read(path, target="label", values="pulse", categories="ward:note")
    assert ranged.layout.categories == ("ward", "note")


def test_categories_alone(write):
    data = read(write("id,drug,ward,label\na,x,n,u\na,y,n,u\nb,x,s,v\nb,y,s,v\n"),
                id="id", categories="drug,ward")  # fmt: skip
    assert data.layout.kind == "mixed" and data.inputs.values.tolist()[1] == ["y", "n"]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"categories": "drug", "text": "ward"}, SettingsError, "--text and --categories exclude"),
        ({"categories": "drag"}, DataError, r"no column 'drag'\. Did you mean 'drug'"),
        ({"categories": "drug", "values": "drug"}, DataError, "'drug' is used twice"),
        ({"categories": "drug", "format": "rows"}, SettingsError, "a row a time step"),
    ],
)
def test_what_is_refused(write, given, error, message):
    with pytest.raises(error, match=message):
        read(write(WARDS), target="label", **given)


def test_keys_side_by_side(write):
    path = write(
        '{"p": [70, null], "xy": [[1, 2], [3, 4]], "drug": ["a", null],'
        ' "ward": [1, 2], "label": "u"}\n'
        '{"p": [80], "xy": [[5, 6]], "drug": ["b"], "ward": [1], "label": "v"}\n',
        "a.jsonl",
    )
    data = read(path, values="p,xy", categories="drug,ward")
    same(data.inputs.values, [[70, 1, 2, "a", "1"], [NAN, 3, 4, "", "2"], [80, 5, 6, "b", "1"]])
    assert data.layout.channels == ("p", "xy[1]", "xy[2]", "drug", "ward")
    same(read(path, layout=data.layout).inputs.values, data.inputs.values)
    numbers = read(path, values=["p", "xy"])
    np.testing.assert_array_equal(numbers.inputs.values, [[70, 1, 2], [NAN, 3, 4], [80, 5, 6]])
    np.testing.assert_array_equal(
        read(path, layout=numbers.layout).inputs.values, numbers.inputs.values
    )
    path.write_text('{"p": [70, 71], "drug": ["a"], "label": "u"}\n')
    with pytest.raises(DataError, match="line 1: 'drug' has 1 step, expected 2 as 'p'"):
        read(path, values="p", categories="drug")
    with pytest.raises(DataError, match="no key 'drag'"):
        read(path, values="p", categories="drag")
    path.write_text('{"p": [70], "drug": [0.5], "label": "u"}\n')
    with pytest.raises(DataError, match="line 1: step 1 of 'drug' is a number"):
        read(path, values="p", categories="drug")


def test_uneven_time_becomes_a_channel(write):
    path = write("id,time,v,label\na,0,1,u\na,1,2,u\na,5,3,u\nb,7,4,v\nb,7.5,5,v\n")
    data = read(path)
    assert data.layout.time_difference and data.layout.channels == ("v", TIME_DELTA)
    assert data.inputs.values.tolist() == [[1, 0], [2, 1], [3, 4], [4, 0], [5, 0.5]]
    assert "--time-difference: steps are 0.5 to 4 apart, median 1" in describe(data)
    assert read(path, time_difference=False).inputs.values.shape == (5, 1)
    even = write("id,time,v,label\na,0,1,u\na,1,2,u\nb,7,4,v\nb,8.009,5,v\n", "b.csv")
    assert not read(even).layout.time_difference
    # As in training, however the new file is.
    again = read(even, layout=data.layout)
    assert again.inputs.values[:, 1].tolist() == [0, 1, 0, pytest.approx(1.009)]
    asked = read(even, time_difference=True)
    assert asked.layout.time_difference and asked.inputs.values.shape == (4, 2)


def test_dates_pass_in_seconds_and_stand_before_categories(write):
    path = write(
        "id,date,v,c,label\na,2024-01-01,1,x,u\na,2024-01-02,2,y,u\na,2024-01-04,3,x,u\n"
        "b,2024-01-01,4,x,v\n"
    )
    data = read(path, target="label", categories="c")
    assert data.layout.channels == ("v", TIME_DELTA, "c")
    same(data.inputs.values, [[1, 0, "x"], [2, 86400, "y"], [3, 172800, "x"], [4, 0, "x"]])


def test_time_that_cannot_be_a_channel(write):
    with pytest.raises(SettingsError, match="time_difference: there is no column of times"):
        read(write("id,v,label\na,1,u\na,2,u\nb,3,v\nb,3,v\n"), id="id", time_difference=True)
    tokens = "id,time,token,label\na,1,x,u\na,3,y,u\nb,1,z,v\nb,9,x,v\n"
    assert read(write(tokens)).layout.kind == "tokens"
    with pytest.raises(SettingsError, match="Name the column with --categories instead of --text"):
        read(write(tokens), time_difference=True)
    with pytest.raises(SettingsError, match="--time-difference means nothing for the format ts"):
        read(write("@classLabel true u v\n@data\n1,2:u\n", "a.ts"), time_difference=True)
