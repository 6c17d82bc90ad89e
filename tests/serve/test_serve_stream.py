"""/stream: the answers of a connection are those for the whole sequence so far, bit for bit."""

from __future__ import annotations

import contextlib
import json

import httpx
import numpy as np
import pytest
from serving import listening
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from elman import SequenceClassifier, SequenceRegressor, SequenceTagger

RNG = np.random.default_rng(0)
X = [RNG.normal(size=(int(n), 2)) for n in RNG.integers(3, 8, 24)]
FEW = {"hidden_size": 5, "epochs": 1, "random_state": 0, "bidirectional": False}


@pytest.fixture(scope="module")
def clf():
    return SequenceClassifier(readout="mean", **FEW).fit(X, ["a", "b", "c"] * 8)


@contextlib.contextmanager
def opened(estimator, **settings):
    """A server on loopback; yields a client for HTTP, and a function that opens a stream."""
    with listening(estimator, poll=0, **settings) as address:
        stream = address.replace("http", "ws") + "/stream"
        with httpx.Client(base_url=address) as client:
            yield client, lambda **more: connect(stream, **more)


def say(socket, value):
    """Send a value, or a text or bytes as they are, and return the answer."""
    socket.send(value if isinstance(value, str | bytes) else json.dumps(value))
    return json.loads(socket.recv(timeout=10))


def status_of(open_stream, **options):
    """The status with which a stream is refused, and the answer's message."""
    with pytest.raises(InvalidStatus) as refused:
        open_stream(**options)
    response = refused.value.response
    return response.status_code, response.body.decode()


def expected(estimator, sequence, t):
    [row] = estimator.predict_proba([sequence[: t + 1]])
    return {k: round(p, 6) for k, p in zip(map(str, estimator.classes_), row.tolist(), strict=True)}


def test_each_answer_is_that_for_the_sequence_so_far(clf):
    with opened(clf) as (_, open_stream), open_stream() as socket:
        for sequence in X[:3]:
            for t, step in enumerate(sequence):
                answer = say(socket, step.tolist())
                assert answer["step"] == t + 1
                assert answer["probabilities"] == expected(clf, sequence, t)
                assert answer["predicted"] == clf.predict([sequence[: t + 1]])[0]
            assert say(socket, {"reset": True}) == {"reset": True}


def test_sequences_share_a_connection_and_connections_share_nothing(clf):
    with opened(clf) as (_, open_stream), open_stream() as one, open_stream() as two:
        for t in range(3):
            for name, sequence in (("a", X[0]), (7, X[1])):
                answer = say(one, {"id": name, "step": sequence[t].tolist()})
                assert answer["id"] == name and answer["step"] == t + 1
                assert answer["probabilities"] == expected(clf, sequence, t)
            answer = say(two, {"id": "a", "step": X[2][t].tolist()})
            assert answer["probabilities"] == expected(clf, X[2], t)
        assert say(one, {"id": "a", "reset": True}) == {"id": "a", "reset": True}
        assert say(one, {"id": "a", "step": X[0][0].tolist()})["step"] == 1
        assert say(one, {"id": 7, "step": X[1][3].tolist()})["step"] == 4
        assert say(two, {"id": "a", "step": X[2][3].tolist()})["step"] == 4


BAD = [
    "", "{", "null", "[1]", "[1, 2, 3]", '["x", 2]', "[[1, 2], [3, 4]]", "[NaN, 1]", "[1e999, 1]",
    '"text"', "[]", "{}", '{"reset": 1}', '{"id": [], "step": [1, 2]}', '{"id": true, "step": [1]}',
    '{"step": [1, 2], "other": 3}',
    "[" * 5000, '{"step": [1, null]}', '{"step": "ab"}', "[" + "1," * 3000 + "1]",
    "[true, false]", "\x00", "[1e308, 1]",
]  # fmt: skip


def test_a_bad_message_is_answered_and_changes_nothing(clf):
    with opened(clf) as (_, open_stream), open_stream() as socket:
        for message in BAD:
            say(socket, X[0][0].tolist())
            found = say(socket, message)
            assert set(found) == {"error"} and found["error"]["message"], message
            answer = say(socket, X[0][1].tolist())
            assert answer["step"] == 2 and answer["probabilities"] == expected(clf, X[0], 1)
            say(socket, {"reset": True})
        # Bytes are read as text.
        assert say(socket, b"[1, 2]")["step"] == 1
        assert "not valid JSON" in say(socket, b'"\xff\xfe"')["error"]["message"]


def test_a_model_of_both_directions_says_what_to_train():
    both = SequenceClassifier(hidden_size=4, epochs=1, bidirectional=True).fit(X, ["a", "b"] * 12)
    with opened(both) as (client, open_stream):
        status, body = status_of(open_stream)
        assert status == 409 and "--streaming" in json.loads(body)["error"]["message"]
        assert client.get("/health/live").status_code == 200


def test_limits_of_connections_and_sequences(clf):
    with opened(clf, max_streams=2, max_sequences=2) as (_, open_stream):
        with open_stream() as one, open_stream():
            status, body = status_of(open_stream)
            assert status == 429 and "at most 2" in body
            for name in "ab":
                assert say(one, {"id": name, "step": [1, 2]})["step"] == 1
            answer = say(one, {"id": "c", "step": [1, 2]})
            assert answer["step"] == 1 and answer["dropped"] == "a"  # it waited longest
            assert say(one, {"id": "b", "step": [1, 2]})["step"] == 2
        with open_stream() as again:
            assert say(again, [1, 2])["step"] == 1


def test_a_silent_stream_is_closed(clf):
    with opened(clf, stream_idle=0.2) as (client, open_stream):
        with open_stream() as socket:
            assert say(socket, [1, 2])["step"] == 1
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(timeout=10)
            assert closed.value.rcvd.code == 1008 and "0.2 s" in closed.value.rcvd.reason
        assert "elman_streams 0.0" in client.get("/metrics").text
        assert "elman_stream_steps_total 1.0" in client.get("/metrics").text


def test_the_guard_stands_before_it(clf):
    with opened(clf) as (_, open_stream):
        assert status_of(open_stream, origin="http://evil.example")[0] == 403
        assert status_of(open_stream, additional_headers={"Host": "evil.example"})[0] == 403


def test_a_stream_keeps_its_model_and_new_ones_have_the_new_one(clf, tmp_path):
    clf.save(tmp_path / "m")
    other = SequenceClassifier(readout="max", **FEW | {"random_state": 5}).fit(X, ["a", "b"] * 12)
    with opened(tmp_path / "m") as (client, open_stream), open_stream() as before:
        say(before, X[0][0].tolist())
        other.save(tmp_path / "m")
        assert client.post("/models/reload").json()["replaced"]
        with open_stream() as after:
            answer = say(after, X[0][0].tolist())
            assert answer["probabilities"] == expected(other, X[0], 0)
        answer = say(before, X[0][1].tolist())
        assert answer["probabilities"] == expected(clf, X[0], 1)


def test_text_tags_numbers_and_static_features(tmp_path):
    tagger = SequenceTagger(**FEW).fit([["a", "b", "a"], ["b", "c"]] * 8, [[0, 1, 0], [1, 1]] * 8)
    with opened(tagger) as (_, open_stream), open_stream() as socket:
        rows = tagger.predict_proba([["a", "c"]])[0].tolist()
        for token, row in zip("ac", rows, strict=True):
            answer = say(socket, json.dumps(token))
            assert list(answer["probabilities"].values()) == [round(p, 6) for p in row]
    text = SequenceClassifier(**FEW).fit(["abba", "cabb"] * 8, [0, 1] * 8)
    with opened(text) as (_, open_stream), open_stream() as socket:
        say(socket, '"a"')
        assert say(socket, '"b"')["probabilities"] == expected(text, "ab", 1)
        # A text of several tokens is as many steps; a long one is computed in another thread.
        long = "ab" * 3000
        assert say(socket, json.dumps(long))["step"] == 6002
        assert say(socket, '"b"')["probabilities"] == expected(text, "ab" + long + "b", 6003)
    values = SequenceRegressor(**FEW).fit(X, [[x.sum(), x.max()] for x in X])
    with opened(values) as (_, open_stream), open_stream() as socket:
        answer = say(socket, X[0][0].tolist())
        found = np.array(list(answer["predicted"].values()))
        assert np.allclose(found, values.predict([X[0][:1]])[0], rtol=1e-6)
    table = tmp_path / "data.csv"
    lines = [
        f"{i},{t},{(i * 7 + t) % 5 / 4},{'xy'[(i + t) % 2]},{20 + i},{'pq'[i % 2]}"
        for i in range(16)
        for t in range(3 + i % 3)
    ]
    table.write_text("\n".join(["id,time,flow,mode,age,label", *lines]) + "\n", encoding="utf-8")
    from elman.data import read

    data = read(table, id="id", time="time", target="label", static="age")
    mixed = SequenceClassifier(**FEW).fit(data)
    with opened(mixed) as (_, open_stream), open_stream() as socket:
        assert say(socket, {"flow": 0.25, "mode": "x", "age": 20})["step"] == 1
        answer = say(socket, {"flow": 0.5, "mode": "y"})
        assert answer["step"] == 2
        assert "flw" in say(socket, {"flw": 0.5, "mode": "y"})["error"]["message"]
        assert say(socket, {"flow": "much", "mode": "y"})["error"]["field"] == "flow"
        whole = read(table, id="id", time="time", target="label", static="age")
        assert whole.names[0] == "0"
        first = mixed.predict_proba(whole)  # the first sequence: 3 steps of which 2 were sent
        assert first.shape == (16, 2)
