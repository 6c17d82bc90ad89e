"""Numbers with decimal commas, thousands marks, units, signs and marks of missing values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from elman import SequenceClassifier
from elman.data import read, summarize, summary_text
from elman.data.numbers import find_form
from elman.errors import DataError

NAN = float("nan")

# The cells of a column, and the numbers that they are.
FORMS: list[tuple[str, list[str], list[float]]] = [
    ("decimal commas", ["20,13", "5", "-3,5", "1,5e-3"], [20.13, 5, -3.5, 0.0015]),
    ("thousands points", ["1.234,5", "12,0", "12.345.678,9"], [1234.5, 12, 12345678.9]),
    ("thousands commas", ["1,234.5", "2", "1,000,000.5"], [1234.5, 2, 1000000.5]),
    ("Indian groups", ["1,23,456.5", "5.5"], [123456.5, 5.5]),
    ("spaces", ["1 234", "5", "12\u202f345", "1\u00a0234,5"], [1234, 5, 12345, 1234.5]),
    ("Swiss", ["1'234.5", "5", "1’000"], [1234.5, 5, 1000]),
    ("degrees", ["12 °C", "-3.5 °C", "\u22122°C", "12\u00a0℃"], [12, -3.5, -2, 12]),
    ("percent", ["5%", "7.5 %", "-"], [5, 7.5, NAN]),
    ("dollars", ["$5", "-$5.50", "$-3", "($1,234.50)"], [5, -5.5, -3, -1234.5]),
    ("euros", ["€ 5", "€ 1.234,50"], [5, 1234.5]),
    ("euros after", ["5 €", "1\u00a0234,50 €"], [5, 1234.5]),
    ("compound unit", ["12.5 m/s²", "3 m/s²"], [12.5, 3]),
    ("two micro signs", ["12 µg/m³", "3 μg/m³"], [12, 3]),
    ("beats", ["72 beats/min", "80 beats/min"], [72, 80]),
    ("minus signs", ["\u22125", "+3", "–2.5", "1.5e\u22123"], [-5, 3, -2.5, 0.0015]),
    ("minus behind", ["5-", "3.25", "4"], [-5, 3.25, 4]),
    ("brackets", ["(5)", "3", "-2"], [-5, 3, -2]),
    ("padded", ["\u00a05\u00a0", "6 ", "\t7"], [5, 6, 7]),
    ("marks in most cells", ["-", "ND", "<LOD", "12", "#VALUE!", "missing"],
     [*[NAN] * 3, 12, *[NAN] * 2]),
    ("marks of programs", ["#N/A", "NULL", "None", "?", ".", "n.d.", "1.5"], [*[NAN] * 6, 1.5]),
    ("marks with units", ["5 mV", "--", "", "-0.5 mV"], [5, NAN, NAN, -0.5]),
    ("about", ["~5", "≈ 6.5", "7"], [5, 6.5, 7]),
    ("text of a spreadsheet", ['="0.5"', "'1.5", "2"], [0.5, 1.5, 2]),
    ("Fortran", ["0.15D+02", "1.5d-3"], [15, 0.0015]),
    ("powers of ten", ["1.5×10^3", "2 x 10^-2", "3*^2", "4"], [1500, 0.02, 300, 4]),
    ("exponents", ["1.5E+03", "2e-2", ".5", "5."], [1500, 0.02, 0.5, 5]),
]  # fmt: skip
# Cells that hold no numbers.
OTHERS = {
    "codes": ["1A", "2B", "1C"],
    "seats": ["1A", "2A", "3A"],
    "brackets only": ["(1)", "(2)", "(3)"],
    "marks only": ["-", "-", "ND"],
    "addresses": ["192.168.0.1", "10.0.0.7"],
    "times of day": ["12:30", "13:45"],
    "ids": ["r1", "r2", "s3"],
    "doses": ["5 mg", "10 ml", "1 tablet"],
    "dates": ["31.01.2024", "01.02.2024"],
    "ranges": ["10-20", "20-30"],
    "scores": ["1-0", "2-1"],
}


@pytest.mark.parametrize(("cells", "numbers"), [x[1:] for x in FORMS], ids=[x[0] for x in FORMS])
def test_forms(cells, numbers):
    form = find_form(cells)
    assert form is not None
    for given in (cells, pa.array(cells), pa.chunked_array([cells[:1], cells[1:]])):
        values, bad = form.read(given)
        np.testing.assert_array_equal(values, numbers)
        assert not bad.any()


@pytest.mark.parametrize("cells", OTHERS.values(), ids=OTHERS)
def test_what_is_no_number(cells):
    assert find_form(cells) is None


def table(*cells: str, mark: str = ",", head: str = "", label: str = "") -> str:
    """Return a file of four sequences, whose column `x` has these cells, again and again."""
    lines = [mark.join(["id", "t", head or "x", "label"])]
    for row in range(max(16, len(cells))):
        own = cells[row % len(cells)]
        own = f'"{own}"' if mark in own else own
        kind = label or ("cold", "warm")[row // 4 % 2]
        lines.append(mark.join([f"r{row // 4}", str(row % 4), own, kind]))
    return "\n".join(lines) + "\n"


def save(tmp_path: Any, text: str, name: str = "a.csv") -> Any:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_case_of_decimal_commas(tmp_path):
    path = save(tmp_path, table("20,13", "-5,5", "1,5e-3", "1.234,5", mark=";"))
    data = read(path)
    assert data.layout.values == ("x",) and data.layout.decimal == ","
    np.testing.assert_array_equal(data.inputs[0][:, 0], [20.13, -5.5, 0.0015, 1234.5])
    said = [guess.line for guess in data.layout.guesses if guess.role == "decimal"]
    assert said == ["--decimal ,: numbers such as 20,13 in 'x' (sure)"]


@pytest.mark.parametrize(
    ("cells", "unit"),
    [(("12 °C", "13.5 °C"), "°C"), (("5%", "7 %"), "%"), (("$5", "$1,234.5"), "$")],
)
def test_units_belong_to_the_channel(cells, unit, tmp_path):
    path = save(tmp_path, table(*cells))
    data = read(path)
    assert data.layout.units == (unit,)
    assert any(
        guess.role == "unit" and repr(cells[0]) in guess.line for guess in data.layout.guesses
    )
    model = SequenceClassifier(hidden_size=2, epochs=1, validation=0).fit(data)
    assert model.columns_.units == (unit,)
    # A later file may leave the unit out, and must not have another one.
    plain = save(tmp_path, table("12", "13.5"), "b.csv")
    assert len(model.predict(plain)) == 4
    with pytest.raises(
        DataError, match=rf"'x' are in bar, expected {'[$]' if unit == '$' else unit}"
    ):
        model.predict(save(tmp_path, table("12 bar", "13.5 bar"), "c.csv"))


def test_a_unit_in_cells_takes_precedence_over_the_name(tmp_path):
    data = read(save(tmp_path, table("12 °C", "13 °C", head="temp [K]")))
    model = SequenceClassifier(hidden_size=2, epochs=1, validation=0).fit(data)
    assert model.columns_.units == ("°C",)


@pytest.mark.parametrize(
    ("odd", "parts"),
    [
        ("54 °F", ("line 6, column x", "'54 °F' is in °F", "are in °C", "Convert it to °C")),
        ("54", ("line 6", "'54' has no unit", "are in °C", "Write all alike")),
        ("warm", ("line 6", "'warm' is not a number", "--missing warm")),
        ("<0.5", ("line 6", "It is a limit: write a number in its place", '--missing "<0.5"')),
    ],
)
def test_a_cell_of_another_form_is_named_with_its_line(odd, parts, tmp_path):
    path = save(tmp_path, table(*["12 °C", "13 °C", "14 °C", "15 °C"], odd, *["16 °C"] * 11))
    with pytest.raises(DataError) as caught:
        read(path)
    for part in parts:
        assert part in str(caught.value)


def test_labels_and_ids_stay_as_they_are(tmp_path):
    path = save(tmp_path, table("1,5", "2", mark=";", label="5%"))
    assert set(read(path).labels()) == {"5%"}
    text = "id,t,x,label\n" + "".join(
        f"{kilos} kg,{t},{t + kilos},{('5%', '7%')[kilos % 2]}\n"
        for kilos in range(6)
        for t in (0, 1, 2)
    )
    data = read(save(tmp_path, text))
    assert data.ids[:2] == ("0 kg", "1 kg") and set(data.labels()) == {"5%", "7%"}


def test_marks_are_named_with_their_counts(tmp_path):
    path = save(tmp_path, table("-", "-", "ND", "1.5", "2.5", "3", "-", "4"))
    data = read(path)
    assert data.layout.values == ("x",) and np.isnan(data.inputs.values).sum() == 8
    said = [guess.line for guess in data.layout.guesses if guess.role == "missing"]
    assert said == [
        "--missing -: 6 cells of 'x', beside numbers (sure)",
        "--missing ND: 2 cells of 'x', beside numbers (sure)",
    ]


def test_marks_of_the_caller_and_numbers_that_mean_missing(tmp_path):
    path = save(tmp_path, table("1.5", "OFF", "-999", "2.5"))
    with pytest.raises(DataError, match=r"'OFF' is not a number\. .* say --missing OFF"):
        read(path)
    data = read(path, missing="off,-999")
    assert data.layout.missing == ("off", "-999")
    np.testing.assert_array_equal(data.inputs[0][:, 0], [1.5, NAN, NAN, 2.5])
    later = save(tmp_path, table("1", "2", "-999.0", "OFF"), "b.csv")
    np.testing.assert_array_equal(read(later, layout=data.layout).inputs[0][:, 0], [1, 2, NAN, NAN])


def test_marks_in_most_cells_of_a_later_file(tmp_path):
    layout = read(save(tmp_path, table("1.5", "-", "2", "3"))).layout
    later = read(save(tmp_path, table("-", "-", "-", "7"), "b.csv"), layout=layout)
    assert np.isnan(later.inputs.values).sum() == 12


def test_sentinels_in_other_formats(tmp_path):
    lines = '{"x": [1, -999, 2], "label": "a"}\n{"x": [3, 4, -999.0], "label": "b"}\n'
    data = read(save(tmp_path, lines, "a.jsonl"), values="x", missing=-999)
    np.testing.assert_array_equal(data.inputs[0][:, 0], [1, NAN, 2])
    np.savez(tmp_path / "a.npz", X=np.array([[[-999.0], [1.0]], [[2.0], [3.0]]]), y=[0, 1])
    data = read(tmp_path / "a.npz", missing=[-999])
    np.testing.assert_array_equal(data.inputs[0][:, 0], [NAN, 1])
    frame = pa.table(
        {"id": [1, 1, 2, 2], "t": [0, 1, 0, 1], "x": [-999, 5, 6, 7], "label": list("aabb")}
    )
    pa.parquet.write_table(frame, tmp_path / "a.parquet")
    data = read(tmp_path / "a.parquet", missing="-999")
    np.testing.assert_array_equal(data.inputs[0][:, 0], [NAN, 5])


def test_text_of_a_frame_is_read_alike(tmp_path):
    frame = pa.table({
        "id": [1, 1, 2, 2], "t": [0, 1, 0, 1], "x": ["20,13", "5", None, "-1,5"],
        "power": ["5 kW", "6 kW", "ND", "7 kW"], "label": list("aabb"),
    })  # fmt: skip
    pa.parquet.write_table(frame, tmp_path / "a.parquet")
    for given in (tmp_path / "a.parquet", frame, frame.to_pandas()):
        data = read(given)
        assert data.layout.values == ("x", "power") and data.layout.units == ("", "kW")
        np.testing.assert_array_equal(data.inputs[1], [[NAN, NAN], [-1.5, 7]])


def test_times_with_decimal_commas(tmp_path):
    rows = [
        f"r{i};{k * 0.02:.2f};{k + i / 3:.3f};{'ab'[i % 2]}" for i in range(4) for k in range(5)
    ]
    text = "id;time_s;x;label\n" + "\n".join(rows).replace(".", ",")
    data = read(save(tmp_path, text))
    assert data.layout.time == "time_s" and data.layout.values == ("x",)


def test_numbers_to_predict_with_decimal_commas(tmp_path):
    rows = [f"r{i};{k};{k + i},5;{i},25" for i in range(6) for k in range(3)]
    data = read(save(tmp_path, "id;t;x;target\n" + "\n".join(rows)))
    assert data.task == "regression" and data.target.tolist() == [i + 0.25 for i in range(6)]


@pytest.mark.parametrize(
    ("cells", "flags", "numbers"),
    [
        (("1,234", "2,345"), {"decimal": ","}, [1.234, 2.345]),
        (("1,234", "2,345"), {"decimal": "."}, [1234, 2345]),
        (("1,234", "2,345", "12,5"), {}, [1.234, 2.345, 12.5]),
        (("1,234", "2,345.5", "12"), {}, [1234, 2345.5, 12]),
        (("1.234", "2.345"), {}, [1.234, 2.345]),
    ],
)
def test_decimals_or_thousands(cells, flags, numbers, tmp_path):
    data = read(save(tmp_path, table(*cells)), **flags)
    assert data.inputs.values[: len(cells), 0].tolist() == numbers


def test_points_beside_decimal_commas_are_asked_about(tmp_path):
    rows = [f"r{i};{k};{k},25;{1 + i}.{200 + k};{'ab'[i % 2]}" for i in range(4) for k in range(3)]
    path = save(tmp_path, "id;t;x;y;label\n" + "\n".join(rows))
    with pytest.raises(
        DataError, match=r"'1.200' in column 'y' may be a decimal number or thousands"
    ):
        read(path)
    assert read(path, decimal=",").inputs[0][0].tolist() == [0.25, 1200]


def test_an_earlier_file_settles_what_may_be_either(tmp_path):
    layout = read(save(tmp_path, table("1,25", "2,5", mark=";"))).layout
    later = save(tmp_path, table("1,234", "2,345", mark=";"), "b.csv")
    assert read(later, layout=layout).inputs.values[:2, 0].tolist() == [1.234, 2.345]


def with_void(cells: str, name: str = "z") -> str:
    """Return a file of eight sequences with a column of these cells beside the numbers of `x`."""
    rows = [f"r{i},{k},{i % 2 + k / 4},{cells},{'ab'[i % 2]}" for i in range(8) for k in range(3)]
    return f"id,t,x,{name},label\n" + "\n".join(rows) + "\n"


@pytest.mark.parametrize("cells", ["", "NA", "-", "#N/A"])
def test_a_column_without_a_value_is_left_out_by_name(cells, tmp_path):
    data = read(save(tmp_path, with_void(cells)))
    assert data.layout.values == ("x",) and not data.layout.categories
    (said,) = [guess for guess in data.layout.guesses if guess.role == "unused"]
    assert said.columns == ("z",) and said.reason == "no cell holds a value"
    assert "'z'" not in str(summarize(data)["warnings"])
    SequenceClassifier(hidden_size=2, epochs=1, validation=0).fit(data)


def test_a_named_column_without_a_value_is_refused_by_name(tmp_path):
    path = save(tmp_path, with_void(""))
    data = read(path, values="x,z")
    assert "'z' is missing in 100%" in summary_text(data, summarize(data))
    with pytest.raises(DataError, match="channel 'z' has no value in the training split"):
        SequenceClassifier(hidden_size=2, epochs=1, validation=0).fit(data)
    with pytest.raises(DataError, match=r"a\.csv: no cell of column 'z' holds a value"):
        read(path, values="z")


def test_a_column_of_the_type_null_has_no_value(tmp_path):
    frame = pa.table({
        "id": [i // 3 for i in range(12)], "t": [i % 3 for i in range(12)], "z": pa.nulls(12),
        "x": np.arange(12.0), "label": ["ab"[i // 3 % 2] for i in range(12)],
    })  # fmt: skip
    pa.parquet.write_table(frame, tmp_path / "a.parquet")
    for given in (frame, tmp_path / "a.parquet", frame.to_pandas()):
        assert read(given).layout.values == ("x",)


def test_a_data_set_of_one_wide_channel_is_fitted(tmp_path):
    rows = [f"{i},{i + 1},{i % 2},{'ab'[i % 2]}" for i in range(12)]
    data = read(save(tmp_path, "t1,t2,t3,label\n" + "\n".join(rows)))
    model = SequenceClassifier(hidden_size=2, epochs=1, validation=0).fit(data)
    assert len(model.predict(data)) == 12


def test_a_code_for_missing_values_is_suspected_with_the_flag(tmp_path):
    path = save(tmp_path, table("1.5", "-999", "2.5", "2"))
    (said,) = [w for w in summarize(read(path))["warnings"] if "code" in w]
    assert "'x' is -999 at 4 values" in said and said.endswith("say --missing -999")
    warnings = summarize(read(path, missing=-999))["warnings"]
    assert not any("code" in warning for warning in warnings)


def test_a_wide_table_with_columns_of_marks(tmp_path):
    rows = [f"{i}.5,{i},-,ND,{'ab'[i % 2]}" for i in range(12)]
    data = read(save(tmp_path, "t1,t2,t3,t4,label\n" + "\n".join(rows)))
    assert data.layout.values == ("t1", "t2", "t3", "t4") and np.isnan(data.inputs[0][2:]).all()


def test_marks_in_arff_and_ts(tmp_path):
    head = "@relation r\n@attribute t1 numeric\n@attribute t2 numeric\n@attribute t3 numeric\n"
    head += "@attribute class {a,b}\n@data\n"
    rows = "".join(f"1,ND,{i / 4},{'ab'[i % 2]}\nOFF,2,?,{'ab'[i % 2]}\n" for i in range(6))
    path = save(tmp_path, head + rows, "a.arff")
    with pytest.raises(DataError, match="'OFF' is not a number"):
        read(path)
    data = read(path, missing="OFF")
    np.testing.assert_array_equal(data.inputs[0][:, 0], [1, NAN, 0])
    assert [g.flag for g in data.layout.guesses if g.role == "missing"] == ["--missing ND"]
    head = "@problemName p\n@univariate true\n@classLabel true a b\n@data\n"
    path = save(tmp_path, head + "1,OFF,2:a\n-9,3,4:b\n", "a.ts")
    data = read(path, missing="off,-9")
    np.testing.assert_array_equal(data.inputs[0][:, 0], [1, NAN, 2])
    np.testing.assert_array_equal(data.inputs[1][:, 0], [NAN, 3, 4])


def test_numbers_written_as_text_in_json_lines(tmp_path):
    lines = [f'{{"sequence": ["1,5", "ND", "{i},25"], "label": "{"ab"[i % 2]}"}}' for i in range(6)]
    text = "\n".join(lines)
    data = read(save(tmp_path, text, "a.jsonl"))
    np.testing.assert_array_equal(data.inputs[0][:, 0], [1.5, NAN, 0.25])
    assert any("'ND'" in note for note in data.layout.notes)
    lines = [f'{{"x": [[1.5, "-"], [{i}, 2]], "label": "{"ab"[i % 2]}"}}' for i in range(6)]
    path = save(tmp_path, "\n".join(lines), "b.jsonl")
    data = read(path, values="x")
    np.testing.assert_array_equal(data.inputs[1], [[1.5, NAN], [1, 2]])
    path.write_text(path.read_text().replace('"-"', '"OFF"'))
    with pytest.raises(DataError, match=r"text \('OFF'\), expected a number"):
        read(path, values="x")
    data = read(path, values="x", missing="OFF")
    np.testing.assert_array_equal(data.inputs[1], [[1.5, NAN], [1, 2]])
