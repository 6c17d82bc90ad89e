"""Times are recognised by their content in every usual form, and their differences are seconds."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from elman.data import read
from elman.data.dates import read_moments
from elman.errors import DataError


def seconds(*cells, numeric=False, named=True, dates=None):
    found = read_moments(list(cells), np.arange(len(cells)), dates, numeric=numeric, named=named)
    assert found is not None
    return found


# Two cells, and the seconds between them.
FORMS = [
    ("2024-01-31T12:00", "2024-02-01T12:00", 86_400),
    ("2024-01-31 12:00:00.25", "2024-01-31 12:00:01", 0.75),
    ("2024-01-31T12:00:00+01:00", "2024-01-31T12:00:00Z", 3600),
    ("2024-02-28", "2024-03-01", 2 * 86_400),  # a leap year
    ("2023-02-28", "2023-03-01", 86_400),
    ("2024/01/31 23:59", "2024/02/01 00:00", 60),
    ("31.01.2024 12:00", "01.02.2024 12:00", 86_400),
    ("01/31/2024", "02/01/2024", 86_400),
    ("31/01/2024", "01/02/2024", 86_400),
    ("1/2/24", "1/13/24", 11 * 86_400),
    ("Jan 31, 2024", "Feb 1, 2024", 86_400),
    ("31 January 2024 12:00", "1 February 2024 12:00", 86_400),
    ("31. Januar 2024", "1. März 2024", 30 * 86_400),
    ("31 janv. 2024", "1 févr. 2024", 86_400),
    ("31-JAN-24", "01-FEB-24", 86_400),
    ("12:00:01.5", "12:00:03", 1.5),
    ("11:59 AM", "12:01 PM", 120),
    ("01/31/2024 11:59:59 PM", "02/01/2024 12:00:00 AM", 1),
    ("2024-W05", "2024-W06", 7 * 86_400),
    ("2024-01", "2024-03", 60 * 86_400),
    ("2024Q1", "2024Q2", 91 * 86_400),
    ("2024-031", "2024-060", 29 * 86_400),
    ("20240131T120000", "20240131T120001", 1),
    ("20240131_120000", "20240131_120001", 1),
    ("Wed Jan 31 12:00:00 2024", "Wed Jan 31 12:00:01 2024", 1),
    ("Wed, 31 Jan 2024 12:00:00 +0000", "Wed, 31 Jan 2024 12:00:00 -0100", 3600),
    ("31/Jan/2024:12:00:00 +0000", "31/Jan/2024:12:00:01 +0000", 1),
    ("0 days 00:00:01", "1 days 00:00:01.5", 86_400.5),
    ("25:00:00", "26:00:00", 3600),
    ("01:02.5", "01:03.75", 1.25),
    ("45:30", "46:00", 30),
    ("PT1.5S", "PT2M", 118.5),
    ("2024年1月31日", "2024年2月1日", 86_400),
    ("2024. 1. 31.", "2024. 2. 1.", 86_400),
    ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z", 0.5),  # a leap second
    ("2024-10-27 02:30:00 CEST", "2024-10-27 02:00:00 CET", 1800),
    ("2024-01-31T12:00:00.000000001", "2024-01-31T12:00:00.000000003", 2e-9),
]


@pytest.mark.parametrize(("first", "second", "passed"), FORMS)
def test_seconds_between_two_times(first, second, passed):
    found = seconds(first, second)
    assert found.form.in_seconds and not found.form.unclear
    np.testing.assert_allclose(np.diff(found.values), [passed], rtol=1e-12)


NUMBERS = [
    ("20240131", "20240301", 30 * 86_400, False),
    ("20240131120000", "20240131120001", 1, False),
    ("202401311200", "202401311201", 60, True),
    ("202401", "202402", 31 * 86_400, True),
    ("1706702400", "1706702401", 1, True),
    ("1706702400.25", "1706702400.5", 0.25, True),
    ("1706702400000", "1706702400020", 0.02, True),
    ("1706702400000000", "1706702400000020", 2e-5, True),
    ("1706702400000000123", "1706702400000001123", 1e-6, True),
]


@pytest.mark.parametrize(("first", "second", "passed", "named"), NUMBERS)
def test_seconds_between_two_numbers(first, second, passed, named):
    found = seconds(first, second, numeric=True, named=named)
    assert found.form.in_seconds
    np.testing.assert_allclose(np.diff(found.values), [passed], rtol=1e-6)


@pytest.mark.parametrize("cells", [("0", "0.5"), ("3", "4"), ("20241399", "20241400")])
def test_other_numbers_stay_in_their_own_unit(cells):
    found = seconds(*cells, numeric=True)
    assert not found.form.in_seconds
    np.testing.assert_array_equal(found.values, np.array(cells, float))


@pytest.mark.parametrize(
    "cells", [("walk", "run"), ("v1.2.3", "v1.2.4"), ("1.2.3", "1.2.4"), ("sub-01", "sub-02"),
              ("192.168.1.1", "192.168.1.2"), ("walk 3", "walk 24"), ("", "NA")],
)  # fmt: skip
def test_other_text_is_no_time(cells):
    assert read_moments(list(cells), np.arange(2), numeric=False, named=True) is None


def test_dates_that_are_none_are_missing():
    found = seconds("2024-02-30", "2024-02-29", "2024-03-01", "soon")
    assert np.isnan(found.values).tolist() == [True, False, False, True]


def file(tmp_path, times, name="when", more=""):
    """A file of three sequences of as many steps."""
    rows = [f"r{i},{cell},{i + k / 7:.2f},{'ab'[i % 2]}{more}"
            for i in range(3) for k, cell in enumerate(times)]  # fmt: skip
    path = tmp_path / "a.csv"
    path.write_text("\n".join([f"id,{name},x,label", *rows]) + "\n", encoding="utf-8")
    return path


def said(layout, role):
    return next(guess.line for guess in layout.guesses if guess.role == role)


MINUTES = [dt.datetime(2024, 1, 31, 23, 57) + dt.timedelta(minutes=k) for k in (0, 1, 2, 5)]
NAMES = [
    ("datetime", [m.isoformat() for m in MINUTES]),
    ("ds", [f"{m:%Y-%m-%d %H:%M}" for m in MINUTES]),
    ("ts", [f"{m.replace(tzinfo=dt.UTC).timestamp() * 1000:.0f}" for m in MINUTES]),
    ("Datum", [f"{m:%d.%m.%Y %H:%M}" for m in MINUTES]),
    ("whatever", [f"{m:%m/%d/%Y %H:%M}" for m in MINUTES]),
    ("logged", [f"{m:%d/%m/%Y %I:%M:%S %p}" for m in MINUTES]),
    ("zzz", [f"{m:%Y%m%d%H%M%S}" for m in MINUTES]),
    ("clock", [f"{m:%H:%M}" for m in MINUTES]),  # passes midnight
    ("Uhrzeit", [f"{m:%H:%M:%S}.000" for m in MINUTES]),
]


@pytest.mark.parametrize(("name", "cells"), NAMES, ids=[n for n, _ in NAMES])
def test_times_are_found_whatever_their_name(name, cells, tmp_path):
    dataset = read(file(tmp_path, cells, name))
    layout = dataset.layout
    assert (layout.id, layout.time, layout.values) == ("id", name, ("x",))
    assert layout.time_difference and layout.seconds  # uneven: 60, 60 and 180 s
    np.testing.assert_allclose(dataset.inputs[0][:, 1], [0, 60, 60, 180])
    assert "steps are 60 to 180 apart, median 60 s" in said(layout, "time_difference")
    again = read(file(tmp_path, cells, name), layout=layout)
    np.testing.assert_array_equal(again.inputs.values, dataset.inputs.values)


def test_midnight_is_said(tmp_path):
    layout = read(file(tmp_path, ["23:58", "23:59", "00:00"], "clock")).layout
    assert "a fall to the early hours is midnight" in said(layout, "time")
    layout = read(file(tmp_path, ["12:58", "12:59", "13:00"], "clock")).layout
    assert "midnight" not in said(layout, "time") and "clock times" in said(layout, "time")


def test_hours_of_the_day_pass_midnight(tmp_path):
    dataset = read(file(tmp_path, ["22", "23", "0", "1", "2"], "hour"), time_difference=True)
    np.testing.assert_array_equal(dataset.inputs[0][:, 1], [0, 1, 1, 1, 1])
    assert "midnight" in said(dataset.layout, "time")


def test_day_and_month_are_asked_about_and_remembered(tmp_path):
    unclear = file(tmp_path, ["01/02/2024", "01/03/2024", "01/04/2024"], "date")
    with pytest.raises(DataError, match=r"the day or the month first.*--dates dmy.*--dates mdy"):
        read(unclear)
    day, month = read(unclear, dates="dmy"), read(unclear, dates="mdy")
    assert day.layout.time_difference and not month.layout.time_difference
    np.testing.assert_array_equal(day.inputs[0][:, 1], [0, 29 * 86_400, 31 * 86_400])
    # What one file shows holds for the next.
    shown = read(file(tmp_path, ["11/01/2024", "12/01/2024", "13/01/2024", "15/01/2024"], "date"))
    assert shown.layout.dates == "dmy" and "day first" in said(shown.layout, "time")
    later = read(file(tmp_path, ["01/02/2024", "01/03/2024"], "date"), layout=shown.layout)
    np.testing.assert_array_equal(later.inputs[0][:, 1], [0, 29 * 86_400])


def test_rising_dates_show_their_order(tmp_path):
    # Read with the month first, these days would fall at every month.
    cells = ["01/02/2024", "12/02/2024", "01/03/2024", "12/03/2024", "01/04/2024"]
    assert read(file(tmp_path, cells, "date")).layout.dates == "dmy"


def test_faults_name_the_form_of_the_others(tmp_path):
    cells = ["1", "31.01.2024 12:00", "31.01.2024 12:01", "31.01.2024 12:02"]
    with pytest.raises(DataError) as caught:
        read(file(tmp_path, cells, "time"))
    text = str(caught.value)
    assert "time '1', expected a time such as 31.01.2024 12:00, as in most rows" in text
    assert "ISO" not in text and "line 2," in text
    with pytest.raises(DataError, match=r"column 'mood' holds no times: 'calm' is neither"):
        read(file(tmp_path, ["calm", "glad", "calm"], "mood"), time="mood")


def test_a_clock_that_goes_back_is_told_of_summer_time(tmp_path):
    cells = ["2024-10-27 02:30", "2024-10-27 02:45", "2024-10-27 02:00", "2024-10-27 02:15"]
    with pytest.raises(DataError, match="If the clocks went back here, write the times with their"):
        read(file(tmp_path, cells, "time"), id="id", time="time")
    zoned = [f"{cell}+0{2 - k // 2}:00" for k, cell in enumerate(cells)]
    assert len(read(file(tmp_path, zoned, "time")).inputs[0]) == 4


def test_numbers_in_place_of_dates_are_refused_later(tmp_path):
    layout = read(file(tmp_path, NAMES[0][1], "time")).layout
    with pytest.raises(DataError, match="are numbers, expected dates or clock times as before"):
        read(file(tmp_path, ["0", "1", "2"], "time"), layout=layout)


def frames():
    import pandas as pd
    import polars as pl

    base = {
        "id": ["a"] * 3 + ["b"] * 3,
        "x": [0.1, 0.2, 0.4, 0.3, 0.5, 0.7],
        "label": list("uuuvvv"),
    }
    moments = [dt.datetime(2024, 1, 31, 12, 0, k) for k in (0, 1, 5)] * 2
    passed = [dt.timedelta(seconds=k) for k in (0, 1, 5)] * 2
    days = [dt.date(2024, 2, 28) + dt.timedelta(days=k) for k in (0, 1, 5)] * 2
    yield "datetime64", pd.DataFrame({**base, "when": moments}), 4
    yield (
        "time zone",
        pd.DataFrame({**base, "when": pd.Series(moments).dt.tz_localize("Europe/Berlin")}),
        4,
    )
    yield (
        "timestamps",
        pd.DataFrame({**base, "when": np.array([pd.Timestamp(m) for m in moments], dtype=object)}),
        4,
    )
    yield "timedelta", pd.DataFrame({**base, "when": pd.to_timedelta(passed)}), 4
    yield "dates", pd.DataFrame({**base, "when": np.array(days, dtype=object)}), 4 * 86_400
    yield "polars datetime", pl.DataFrame({**base, "when": moments}), 4
    yield "polars date", pl.DataFrame({**base, "when": days}), 4 * 86_400
    yield "polars duration", pl.DataFrame({**base, "when": passed}), 4
    yield "arrow", pl.DataFrame({**base, "when": moments}).to_arrow(), 4
    yield "arrow duration", pl.DataFrame({**base, "when": passed}).to_arrow(), 4


def test_frames_hold_times_of_every_type(tmp_path):
    for name, frame, last in frames():
        dataset = read(frame)
        assert dataset.layout.time == "when" and dataset.layout.seconds, name
        assert dataset.inputs[0][-1, -1] == last, name


def test_parquet_holds_times(tmp_path):
    import polars as pl

    for name, frame, last in frames():
        if isinstance(frame, pl.DataFrame):
            frame.write_parquet(tmp_path / "a.parquet")
            dataset = read(tmp_path / "a.parquet")
            assert dataset.layout.time == "when", name
            assert dataset.inputs[0][-1, -1] == last, name
