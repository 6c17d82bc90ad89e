"""Files that were made, or damaged, so that a check of them costs more than the file is worth."""

from __future__ import annotations

import time

import pytest

from elman.data import read
from elman.data.evidence import split_words
from elman.data.readers import arff
from elman.data.units import unit_of
from elman.data.wide import find_wide
from elman.errors import DataError, find_nearest

SECONDS = 2.0  # a linear pass takes milliseconds; a quadratic or exponential one took 3 to 15 s


@pytest.fixture
def clock():
    start = time.process_time()
    yield
    assert time.process_time() - start < SECONDS


@pytest.mark.parametrize(
    "line",
    [
        "1" + " " * 40_000 + "x,a",
        "1," + "\t" * 40_000 + "'",
        "1,'" + "\\'" * 40_000,
        "1,'" + "a" * 40_000 + "\\",
        "'a'" + " " * 40_000 + "'b',c",
    ],
)
def test_long_arff_lines(tmp_path, clock, line):
    path = tmp_path / "a.arff"
    path.write_text(f"@relation r\n@attribute x numeric\n@attribute c {{a,b}}\n@data\n{line}\n")
    with pytest.raises(DataError, match="line 5"):
        read(path)


def test_arff_cells_as_before():
    cells = {
        "1, 2 ,3": ["1", "2", "3"],
        " 'a, b' , \"it\\'s\",?": ["a, b", "it's", ""],
        "a b  , c": ["a b", "c"],
        "'a\\nb',": ["a\nb", ""],
        "'a": None,
        "it's,b": None,
        "'a'b,c": None,
    }
    assert {line: arff._cells(line) for line in cells} == cells


@pytest.mark.parametrize("ending", ["arff", "ts"])
def test_thousands_of_unknown_classes(tmp_path, clock, ending):
    path = tmp_path / f"a.{ending}"
    names = [f"class_number_{i}" for i in range(2000)]
    if ending == "arff":
        header = ["@relation r", "@attribute x numeric", "@attribute y numeric"]
        header += ["@attribute c {" + ",".join(names) + "}"]
        rows = [f"{i},1,clas_number_{i}" for i in range(2000)]
    else:
        header = ["@univariate true", "@classLabel true " + " ".join(names)]
        rows = [f"{i},1,2:clas_number_{i}" for i in range(2000)]
    path.write_text("\n".join([*header, "@data", *rows]))
    with pytest.raises(DataError, match="Did you mean 'class_number_0'") as error:
        read(path)
    assert error.value.total == 2000


@pytest.mark.parametrize(
    "name", ["a (" + "m" * 240 + "!)", "a" + " " * 30_000 + "x", "a" + "1" * 30_000, "[" * 30_000]
)
def test_names_that_no_pattern_survives(clock, name):
    assert (unit_of(name), find_nearest(name, [name + "s"])) == (None, None)
    split_words(name)
    find_wide([name] * 4)


def test_short_names_with_many_units(clock):
    assert unit_of("a (" + "m" * 60 + "!)") is None


def test_units_of_several_parts_as_before():
    assert [unit_of(f"x ({unit})") for unit in ("m/s^2", "kg m/s²", "min", "left")] == [
        *("m/s^2", "kg m/s²", "min", None)
    ]
