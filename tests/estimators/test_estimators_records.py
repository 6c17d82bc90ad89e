"""Records in JSON are read as the training file is: the same bits, the same messages."""

import numpy as np
import pytest
from record_cases import CASES, N, steps_table

from elman.data import Ragged, read
from elman.errors import RecordError
from elman.estimators import SequenceClassifier, SequenceTagger
from elman.estimators.records import RecordReader


def fit(case, **reading):
    data = read(case.path, **(case.reading | reading))
    kind = SequenceTagger if data.task == "tagging" else SequenceClassifier
    return kind(epochs=1, hidden_size=4, random_state=0, validation=0).fit(data)


@pytest.fixture(scope="module", params=list(CASES))
def trained(request, tmp_path_factory):
    case = CASES[request.param](tmp_path_factory.mktemp(request.param))
    return case, fit(case)


def assert_same(found, expected):
    assert found.inputs.offsets.tolist() == expected.inputs.offsets.tolist()
    assert found.inputs.values.tobytes() == expected.inputs.values.tobytes()
    if expected.inputs.static is not None:
        assert found.inputs.static.tobytes() == expected.inputs.static.tobytes()


def test_records_are_read_as_the_file_is(trained):
    case, model = trained
    expected = model.encode(model.read(case.path))
    reader = RecordReader(model)
    for name, records in {"own": case.records, **case.forms}.items():
        assert len(records) == N, name
        assert_same(reader.read_sequences(records), expected)
        one_by_one = [reader.read_sequences([record]) for record in records]
        assert all(len(own) == 1 for own in one_by_one)
        values = np.concatenate([own.inputs.values for own in one_by_one])
        assert values.tobytes() == expected.inputs.values.tobytes()


def test_plain_records_and_the_reader_of_files_agree(trained):
    case, model = trained
    reader = RecordReader(model)
    plain = 0
    for record in case.records:
        found = reader.plain.sequence(record)
        if found is None:
            continue
        plain += 1
        slow = reader._read_as_file(record)
        assert_same(reader._encode([found]), reader._encode([slow]))
    assert plain or any(None in values for r in case.records for values in _lists(r))


def _lists(record):
    return [v if isinstance(v, list) else [v] for v in record.values()]


def test_steps_are_those_of_the_file(trained):
    case, model = trained
    encoded = model.encode(model.read(case.path))
    reader = RecordReader(model)
    for i, steps in enumerate(case.steps):
        before, rows = None, []
        for step in steps:
            assert reader.form.is_step(step)
            before = reader.read_step(step, before)
            rows.append(before.values)
            if before.static is not None:
                assert before.static.numbers.tolist() == encoded.static.numbers[i : i + 1].tolist()
        if model.encoder_.channels:
            steps = Ragged(np.stack(rows), np.array([0, len(rows)]))
            found = model.encoder_.encode_steps(steps).values
            assert found.tobytes() == encoded.inputs[i].tobytes()
        elif model.encoder_.kind == "tokens":
            assert rows == encoded.steps[i].tolist()
        else:
            tokens = model.encode([" ".join(rows)]).steps
            assert tokens.values.tolist() == encoded.steps[i].tolist()


def test_whole_sequences_are_no_steps(trained):
    case, model = trained
    form = RecordReader(model).form
    for records in [case.records, *case.forms.values()]:
        bare_text = isinstance(records[0], str)  # a piece of a text that goes on
        assert [form.is_step(record) for record in records] == [bare_text] * N


@pytest.mark.parametrize(
    "times",
    [
        ["2024-03-01", "2024-03-02", "2024-03-05"],
        ["2024-02-28T23:59", "2024-02-29T00:01", "2024-03-01T12:30"],
        ["2024-03-01 12:00:00.25", "2024-03-01 12:00:00.75", "2024-03-01 12:00:03.125001"],
        ["2024-03-01T12:00:00Z", "2024-03-01T12:00:01Z", "2024-03-01T13:00:00Z"],
        ["2024-03-01T12:00:00+02:00", "2024-03-01T11:00:00+00:00", "2024-03-01T13:00:00+00:30"],
    ],
)
def test_dates_are_read_as_in_files(tmp_path, times):
    model = fit(steps_table(tmp_path, times="dates"))
    reader = RecordReader(model)
    record = {"age": 30, "site": "north", "time": times, "temp": [1, 2, 3], "hum": [4, 5, 6]}
    record["mode"] = ["on", "off", "on"]
    plain, slow = reader.plain.sequence(record), reader._read_as_file(record)
    assert plain is not None
    assert_same(reader._encode([plain]), reader._encode([slow]))
    before, passed = None, []
    for k, time in enumerate(times):
        own = {n: v[k] if isinstance(v, list) else v for n, v in record.items()} | {"time": time}
        before = reader.read_step(own, before)
        passed.append(before.values[2])
    # From step to step the origin of the seconds is another, which moves the last bits.
    assert passed == pytest.approx([row[2] for row in plain.steps.tolist()], rel=1e-12)
    for wrong in (
        [times[1], times[0], times[2]],
        [times[0]] * 3,
        [times[0], "2024-02-30", times[2]],
    ):
        with pytest.raises(RecordError, match="time"):
            reader.read_sequences([record | {"time": wrong}])
