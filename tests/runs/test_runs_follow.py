"""Records answered one by one are answered as a file with them is."""

import json
import random

import pytest
from record_cases import CASES, json_values, steps_table, wide_table

from elman.data import read
from elman.errors import ElmanError, SettingsError
from elman.estimators import SequenceClassifier, SequenceRegressor, SequenceTagger
from elman.runs.follow import LONGEST, Follower, follow, read_lines
from elman.runs.predictions import collect_predictions


def fit(case, **parameters):
    data = read(case.path, **case.reading)
    kind = {"tagging": SequenceTagger, "regression": SequenceRegressor}.get(
        data.task, SequenceClassifier
    )
    if data.task == "multilabel":
        from elman.estimators import MultilabelClassifier as kind  # noqa: N813
    if data.task == "regression" and data.layout.per_step:
        from elman.estimators import StepRegressor as kind  # noqa: N813
    parameters = {"streaming": True, "epochs": 1, "hidden_size": 5, "random_state": 0} | parameters
    return kind(validation=0, **parameters).fit(data)


def predict(model, path):
    """The records that `elman predict` writes for a file."""
    data = model.read(path, labelled=False)
    return list(collect_predictions(model, data, model.encode(data)).records())


def last_step(record):
    """What a prediction per step has of the last step."""
    return {
        key: {k: v[-1] for k, v in own.items()} if isinstance(own, dict) else own[-1]
        for key, own in record.items()
        if key in ("predicted", "probability")
    }


def without(record, *keys):
    return {key: value for key, value in record.items() if key not in keys}


@pytest.fixture(scope="module", params=list(CASES))
def trained(request, tmp_path_factory):
    case = CASES[request.param](tmp_path_factory.mktemp(request.param))
    return case, fit(case)


def with_id(step, key):
    """A step with the id of its sequence."""
    return {**step, "id": key} if isinstance(step, dict) else {"id": key, "step": step}


def test_the_last_answer_is_that_of_the_file(trained):
    case, model = trained
    expected = predict(model, case.path)
    follower = Follower(model)
    # All sequences take turns, so that each goes on after others.
    answers = {}
    for k in range(max(map(len, case.steps))):
        for i, steps in enumerate(case.steps):
            if k < len(steps):
                answers[i] = follower.answer(with_id(steps[k], i))
                assert answers[i]["id"] == i
                assert answers[i]["step"] == k + 1
    for i, record in enumerate(expected):
        found = without(answers[i], "id", "step")
        if model.per_step:
            found, record = without(found, "probabilities"), last_step(record)
        assert found == without(record, "sequence")


def test_whole_sequences_are_answered_as_the_file(trained):
    case, model = trained
    expected = predict(model, case.path)
    follower = Follower(model)
    for records in [case.records, *case.forms.values()]:
        if isinstance(records[0], str):
            continue  # pieces of a text that goes on
        for record, known in zip(records, expected, strict=True):
            assert without(follower.answer(record), "id", "steps") == without(known, "sequence")


@pytest.mark.parametrize("target", ["class", "tags", "labels", "numbers"])
@pytest.mark.parametrize("times", ["numbers", "dates"])
def test_tasks_and_times(tmp_path, target, times):
    case = steps_table(tmp_path, times=times, target=target)
    model = fit(case)
    expected = predict(model, case.path)
    follower = Follower(model)
    for steps, record in zip(case.steps, expected, strict=True):
        for step in steps:
            found = follower.answer(step)
        assert found["id"] == record["sequence"]
        found = without(found, "id", "step")
        if model.per_step:
            found, record = without(found, "probabilities"), last_step(record)
        assert found == without(record, "sequence")


@pytest.mark.parametrize(("window", "stride"), [(3, 3), (3, 1), (2, 3)])
def test_windows(tmp_path, window, stride):
    case = json_values(tmp_path, gaps=True)
    data = read(case.path, **case.reading)
    from elman.data.splits import cut_windows

    cut, _ = cut_windows(data, window, stride)
    import dataclasses

    layout = dataclasses.replace(cut.layout, window=window, stride=stride)
    model = fit(case)
    model.layout_ = layout
    expected = {}
    for record in predict(model, case.path):
        line, _, rest = record["sequence"].partition(" window ")
        expected[int(line.removeprefix("line ")) - 1, int(rest.split()[0])] = record
    follower = Follower(model)
    seen = set()
    for i, steps in enumerate(case.steps):
        for k, step in enumerate(steps):
            found = follower.answer(with_id(step, i))
            if stride > window and k % stride >= window:
                assert found["window"] is None and found["predicted"] is None
            elif found["complete"]:
                seen.add((i, found["window"]))
                record = expected[i, found["window"]]
                assert without(found, "id", "step", "window", "complete") == without(
                    record, "sequence"
                )
        whole = follower.answer(case.records[i])
        assert len(whole["windows"]) == sum(owner == i for owner, _ in expected)
    assert seen == set(expected)


@pytest.mark.parametrize("fill", ["previous", "mean", "zero"])
def test_fill(tmp_path, fill):
    case = steps_table(tmp_path, gaps=False, static=False)
    model = fit(case)
    lines = case.path.read_text().splitlines()
    rows = [line.split(",") for line in lines]
    for k in (2, 6, 7):
        rows[k][2] = ""
    case.path.write_text("\n".join(map(",".join, rows)) + "\n")
    from elman.estimators.reading import read_as_trained

    data, _ = read_as_trained(model, case.path, False, fill=fill)
    expected = list(collect_predictions(model, data, model.encode(data)).records())
    follower = Follower(model, fill)
    answers = {}
    for row in rows[1:]:
        step = dict(zip(rows[0], row, strict=True))
        numbers = {n: float(step[n]) if step[n] else None for n in ("time", "temp", "hum")}
        answers[step["id"]] = follower.answer(without(step, "label") | numbers)
    for record in expected:
        found = answers[record["sequence"]]
        assert without(found, "id", "step") == without(record, "sequence")


def test_a_faulty_step_leaves_the_sequence_as_it_was(tmp_path):
    case = steps_table(tmp_path)
    model = fit(case)
    follower, calm = Follower(model), Follower(model)
    for step in case.steps[0]:
        for bad in ({**step, "hum": "abc"}, {**step, "hmu": 3}, {**step, "hum": None}):
            with pytest.raises(ElmanError, match=r"hum|hmu"):
                follower.answer(bad)
        assert follower.answer(step) == calm.answer(step)
    with pytest.raises(ElmanError, match="time"):  # the same time again
        follower.answer(case.steps[0][-1])
    with pytest.raises(ElmanError, match="one value for a whole sequence"):
        follower.answer({**case.steps[0][-1], "time": 1e6, "age": 99})


def test_reset_and_dropped_sequences(tmp_path):
    case = json_values(tmp_path)
    follower = Follower(fit(case), max_sequences=2)
    first = follower.answer({"id": "a", "step": [1.0, 2.0]})
    again = follower.answer({"id": "a", "step": [1.0, 2.0]})
    assert (first["step"], again["step"]) == (1, 2)
    assert follower.answer({"id": "a", "reset": True}) == {"id": "a", "reset": True}
    assert follower.answer({"id": "a", "step": [1.0, 2.0]}) == first
    assert "dropped" not in follower.answer({"id": "b", "step": [1, 2]})
    assert follower.answer({"id": "a", "step": [1, 2]})["step"] == 2
    assert follower.answer({"id": "c", "step": [1, 2]})["dropped"] == "b"
    assert follower.answer({"id": "a", "step": [1, 2]})["step"] == 3
    assert follower.answer({"id": "b", "step": [1, 2]})["step"] == 1
    assert follower.answer([1, 2])["step"] == 1  # the sequence without an id
    with pytest.raises(ElmanError, match="reset"):
        follower.answer({"id": "a", "reset": False})
    with pytest.raises(SettingsError):
        Follower(follower.estimator, max_sequences=0)


def test_ids_are_compared_as_text(tmp_path):
    follower = Follower(fit(json_values(tmp_path)))
    assert follower.answer({"id": 7, "step": [1, 2]})["id"] == 7
    assert follower.answer({"id": "7", "step": [1, 2]})["step"] == 2
    for wrong in (True, [1], {"a": 1}):
        with pytest.raises(ElmanError, match="'id' is"):
            follower.answer({"id": wrong, "step": [1, 2]})


def test_a_bidirectional_model_answers_whole_sequences_only(tmp_path):
    case = wide_table(tmp_path)
    model = fit(case, streaming=False, bidirectional=True)
    follower = Follower(model)
    expected = predict(model, case.path)
    assert without(follower.answer(case.records[3]), "steps") == without(expected[3], "sequence")
    with pytest.raises(SettingsError, match="--streaming"):
        follower.answer(1.5)


LINES = [
    (b"", None),
    (b" \r", None),
    (b"{", "not valid JSON"),
    (b"\xff", "UTF-8"),
    (b'{"step": [1, Infinity]}', "Infinity"),
    (b'{"step": [1, "x"]}', "text"),
    (b'{"step": [1]}', "1 channel"),
    (b'{"step": [1, 2, 3]}', "3 channels"),
    (b'{"step": null}', "missing"),
    (b'{"stp": [1, 2]}', "'stp' was not in the training data"),
    (b"[]", "empty"),
    (b"{}", "there are none"),
    (b'{"id": NaN, "step": [1, 2]}', "'id' is a number"),
    (b"3", "channel"),
    (b"null", "null"),
    (b'"abc"', "text"),
    (b"[" * 5000, "JSON"),
    (b'{"id": "\\ud800", "step": [1, 2]}', "surrogate"),
    (b'{"values": []}', "empty"),
    (b'{"values": [[1, 2], [3]]}', "step 2 of 'values' has 1 channel, expected 2"),
    (b'{"values": [[1e999, 2]]}', "too large"),
]


def test_every_line_has_an_answer(tmp_path):
    follower = Follower(fit(json_values(tmp_path)))
    for line, message in LINES:
        answer = follower.answer_line(line, 7)
        if message is None:
            assert answer is None
        else:
            assert message in answer["error"], line
            assert answer["line"] == 7
            assert "\n" not in json.dumps(answer)
    good = follower.answer_line(b'\xef\xbb\xbf{"step": [1, NaN]}\r', 8)
    assert "line" in good  # no gap in training
    assert "error" not in follower.answer_line(b'\xef\xbb\xbf{"step": [1, 2]}\r', 8)


def test_lines_are_answered_before_more_is_read(tmp_path):
    follower = Follower(fit(json_values(tmp_path)))
    log = []
    chunks = iter([b"[1, 2]\n[3", b", 4]\n\n[5, 6]", b""])

    def take(size):
        log.append("read")
        return next(chunks)

    results = list(follow(follower, take, lambda text: log.append(json.loads(text)["step"])))
    assert log == ["read", 1, "read", 2, "read", 3]
    assert results == [True] * 3


ATOMS = [
    None, True, 0, -1, 1.5, 1e999, float("nan"), 1e308, 1e300, 10**400, "", " ", "abc", "1,5",
    "1.5", "NaN", "\ud800", "\x00", "2024-02-30", "x" * 3000, [], {}, [[]], [{}], {"": 1}, [None],
    ["a"], [1], [[1]], [1, [2]], {"steps": []}, {"step": None}, {"a": {"b": {"c": {"d": 1}}}},
]  # fmt: skip
KEYS = ["", "id", "step", "steps", "values", "text", "time", "label", "reset", "temp", "a.b"]


def mutate(record, rng):
    """A record with a part that was changed, left out or added."""
    kind = rng.random()
    if kind < 0.15 or not isinstance(record, dict | list) or not record:
        return rng.choice(ATOMS)
    record = record.copy()
    place = rng.choice(list(record)) if isinstance(record, dict) else rng.randrange(len(record))
    if kind < 0.3:
        del record[place]
    elif kind < 0.45 and isinstance(record, dict):
        record[rng.choice([*KEYS, f"{place}x"])] = rng.choice(ATOMS)
    elif kind < 0.45:
        record.insert(place, rng.choice(ATOMS))
    else:
        record[place] = mutate(record[place], rng)
    return record


@pytest.mark.parametrize("fill", ["refuse", "previous", "zero"])
def test_mutated_records_are_answered_or_refused(trained, fill):
    case, model = trained
    rng = random.Random(fill)
    follower = Follower(model, fill, max_sequences=3)
    pool = [r for own in [case.records, *case.forms.values(), *case.steps[:2]] for r in own[:3]]
    answers = 0
    for _ in range(30):
        record = mutate(rng.choice(pool), rng)
        if isinstance(record, dict) and "id" not in record and rng.random() < 0.5:
            record["id"] = rng.choice("abcd")
        try:
            answer = follower.answer(record)
        except ElmanError as error:
            assert "no check has foreseen" not in str(error)
            assert len(str(error)) < 5000
        else:
            answers += 1
            json.dumps(answer, allow_nan=False)
    assert 0 < answers < 30


def lines_of(*chunks):
    given = iter([*chunks, b""])
    return list(read_lines(lambda size: next(given)))


def test_long_lines():
    line = b"x" * LONGEST
    half = len(line) // 2
    found = lines_of(line[:half], line[half:], b"\nab", b"c\n", line, b"y", b"z\nd")
    assert [own and len(own) for own in found] == [LONGEST, 3, None, 1]
    assert lines_of(b"\n\na") == [b"", b"", b"a"]


@pytest.mark.parametrize("name", list(CASES))
def test_answers_have_the_bits_of_the_estimator(tmp_path, name):
    """The rounded answers above could hide a difference."""
    case = CASES[name](tmp_path)
    model = fit(case)
    encoded = model.encode(model.read(case.path))
    expected = model.predict_encoded(encoded)
    if model.per_step:
        expected = expected[encoded.steps.offsets[1:] - 1]
    found = []
    follower = Follower(model)
    follower._predict = lambda answer: found.append(answer) or {}
    for i, steps in enumerate(case.steps):
        for step in steps:
            follower.answer(with_id(step, i))
        assert found[-1].tobytes() == expected[i].tobytes()
