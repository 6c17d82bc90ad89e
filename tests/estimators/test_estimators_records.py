"""Records in JSON are read as the training file is: the same bits, the same messages."""

import numpy as np
import pytest
from record_cases import CASES, N

from elman.data import Ragged, read
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
