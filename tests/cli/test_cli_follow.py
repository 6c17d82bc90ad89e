"""`elman predict RUN --follow` as a process of its own, with pipes."""

import io
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from elman.data import read
from elman.estimators import SequenceClassifier, load

ELMAN = str(Path(sys.executable).with_name("elman"))
LIMIT = 60  # seconds for an answer; it takes seconds to import torch


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("follow")
    rng = np.random.default_rng(0)
    lines = ["id,temp,hum,label"]
    for i in range(12):
        rows = rng.normal(i % 2 * 2 - 1, 1, (3 + i % 3, 2)).round(2)
        lines += [f"s{i},{a},{b},{['low', 'high'][i % 2]}" for a, b in rows]
    (folder / "train.csv").write_text("\n".join(lines) + "\n")
    clf = SequenceClassifier(streaming=True, epochs=1, hidden_size=4, random_state=0)
    clf.fit(read(folder / "train.csv")).save(folder / "model")
    return folder / "model"


class Following:
    """The process, with one line at a time to it and from it."""

    def __init__(self, model, *flags):
        words = [ELMAN, "predict", str(model), "--follow", *flags]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0)
        self.rest = b""

    def send(self, data):
        self.process.stdin.write(data)

    def receive(self):
        """The next line of the output; fails if it does not come."""
        while b"\n" not in self.rest:
            assert select.select([self.process.stdout], [], [], LIMIT)[0], "no answer"
            chunk = os.read(self.process.stdout.fileno(), 1 << 16)
            assert chunk, self.process.stderr.read()
            self.rest += chunk
        line, self.rest = self.rest.split(b"\n", 1)
        return json.loads(line)

    def ask(self, record):
        self.send(json.dumps(record).encode() + b"\n")
        return self.receive()

    def end(self):
        self.process.stdin.close()
        out = self.process.stdout.read()
        code = self.process.wait(LIMIT)
        return code, out, self.process.stderr.read().decode()


@pytest.fixture
def start(model):
    started = []

    def begin(*flags):
        started.append(Following(model, *flags))
        return started[-1]

    yield begin
    for own in started:
        own.process.kill()
        own.process.wait()
        for stream in (own.process.stdin, own.process.stdout, own.process.stderr):
            stream.close()


def step(key, temp, hum):
    return {"id": key, "temp": temp, "hum": hum}


def test_each_line_is_answered_before_the_next_is_written(start, model):
    """A process that reads ahead, or keeps its answers back, would wait for ever here."""
    own = start("--max-sequences", "2")
    first = own.ask(step("a", 1, 2))
    assert list(first) == ["id", "step", "predicted", "probability", "probabilities"]
    other = own.ask(step("b", -1, -2))
    assert (other["id"], other["step"]) == ("b", 1)
    second = own.ask(step("a", 0.5, 0.25))
    assert second["step"] == 2
    # Halves of a line, then two lines at once.
    own.send(b'{"id": "b", "temp"')
    assert not select.select([own.process.stdout], [], [], 0.2)[0]
    own.send(b': 1, "hum": 1}\n{"id": "a", "temp": 3, "hum": 4}\n\n')
    assert [own.receive()["step"], own.receive()["step"]] == [2, 3]
    # A whole sequence has the answer of its steps.
    whole = own.ask({"id": "a", "temp": [1, 0.5, 3], "hum": [2, 0.25, 4]})
    clf = load(model)
    expected = clf.predict_proba([np.array([[1, 2], [0.5, 0.25], [3, 4.0]])])[0]
    assert list(whole["probabilities"].values()) == expected.round(6).tolist()
    # Faults are answers, and the sequence goes on.
    bad = own.ask(step("a", "abc", 1))
    assert (bad["id"], bad["field"], bad["line"]) == ("a", "temp", 8)
    assert "'abc' is not a number" in bad["error"]
    own.send(b"nonsense\n")
    assert "not valid JSON" in own.receive()["error"]
    assert own.ask(step("c", 1, 1))["dropped"] == "b"
    assert own.ask({"id": "a", "reset": True}) == {"id": "a", "reset": True}
    again = own.ask(step("a", 1, 2))
    assert again == first
    own.send(json.dumps(step("a", 0.5, 0.25)).encode())  # a last line without its end
    code, out, err = own.end()
    assert json.loads(out) == second
    assert code == 1
    assert err == "2 of 12 lines could not be read\n"


def test_end_of_input(start):
    own = start()
    assert own.ask(step("a", 1, 2))["step"] == 1
    assert own.end() == (0, b"", "")


def test_sigterm(start):
    own = start()
    assert own.ask(step("a", 1, 2))["step"] == 1
    own.process.send_signal(signal.SIGTERM)
    assert own.process.wait(LIMIT) == 143
    assert own.process.stderr.read() == b"Interrupted by SIGTERM after 1 answer\n"


def test_reader_leaves(start):
    own = start()
    own.ask(step("a", 1, 2))
    own.process.stdout.close()
    own.send(json.dumps(step("a", 1, 2)).encode() + b"\n")
    assert own.process.wait(LIMIT) in (0, 141)
    assert b"Traceback" not in own.process.stderr.read()


# In this process, because a start takes seconds.


def give(monkeypatch, text):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def test_answers_are_those_of_the_command(elman, model, monkeypatch, tmp_path):
    rows = [("a", 1, 2), ("a", 0.5, 1), ("b", 3, -1), ("b", 2, 2), ("b", 1, 0.125)]
    text = "\n".join(["id,temp,hum", *(f"{k},{t},{h}" for k, t, h in rows)]) + "\n"
    (tmp_path / "new.csv").write_text(text)
    assert elman("predict", model, "new.csv", "--out", "new.jsonl").code == 0
    lines = (tmp_path / "new.jsonl").read_text().splitlines()
    expected = {record.pop("sequence"): record for record in map(json.loads, lines)}
    give(monkeypatch, "\n".join(json.dumps(step(*row)) for row in rows))
    done = elman("predict", model, "--follow")
    assert (done.code, done.err) == (0, "")
    last = {answer.pop("id"): answer for answer in map(json.loads, done.out.splitlines())}
    assert [answer.pop("step") for answer in last.values()] == [2, 3]
    assert last == expected


def test_fill(elman, model, monkeypatch):
    give(monkeypatch, '{"temp": 1, "hum": null}\n')
    refused = elman("predict", model, "--follow")
    assert refused.code == 1
    assert "missing in channel 'hum'" in json.loads(refused.out)["error"]
    give(monkeypatch, '{"temp": 1, "hum": null}\n')
    filled = elman("predict", model, "--follow", "--fill", "mean")
    assert filled.code == 0
    assert json.loads(filled.out)["step"] == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["new.csv", "--follow"], "--follow < new.csv"),
        (["--follow", "--out", "x.csv"], "Leave --out and --overwrite out"),
        (["--follow", "--overwrite"], "Leave --out and --overwrite out"),
        (["--follow", "--values", "temp"], "--values"),
        (["--follow", "--decimal", ","], "--decimal"),
        (["--follow", "--max-sequences", "0"], "max-sequences"),
        (["new.csv", "--out", "x.csv", "--max-sequences", "3"], "add --follow"),
        (["--out", "x.csv"], "DATA"),
        (["new.csv"], "--out"),
    ],
)
def test_options_that_cannot_be_honoured(elman, model, words, message):
    done = elman("predict", model, *words)
    assert done.code == 2
    assert message in done.err


def test_a_model_of_two_directions_says_what_to_train(elman, monkeypatch, tmp_path):
    X = [np.full((3, 1), float(i % 2)) for i in range(8)]
    clf = SequenceClassifier(bidirectional=True, epochs=1, hidden_size=3, random_state=0)
    clf.fit(X, ["a", "b"] * 4).save(tmp_path / "both")
    give(monkeypatch, '1.0\n{"values": [1, 1, 1]}\n')
    done = elman("predict", tmp_path / "both", "--follow")
    step_answer, whole = map(json.loads, done.out.splitlines())
    assert "--streaming" in step_answer["error"]
    assert whole["predicted"] in ("a", "b")
    assert done.code == 1
