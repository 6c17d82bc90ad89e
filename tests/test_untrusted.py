"""Reading JSON of strangers: what is refused, in which words, and at what cost."""

import os
import socket
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from typing import Literal

import pytest

from elman import ModelFileError
from elman.untrusted import open_file, parse_json, read_as, read_file

DEEP = b"[" * 100_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b'{"a": 1, "a": 1}', "the key 'a' occurs twice in one object"),
        (b'[{"b": [{"c": 1, "d": 2, "c": 3}]}]', "the key 'c' occurs twice"),
        (b'{"a": 1, "\\u0061": 2}', "the key 'a' occurs twice"),
        (b"[NaN]", "NaN is no number of JSON"),
        (b"-Infinity", "-Infinity is no number of JSON"),
        (b"1" * 5000, "not valid JSON: Exceeds the limit"),
        (DEEP, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"[1] x", "not valid JSON: Extra data"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
    ],
)
def test_json_that_is_refused(text, message):
    with pytest.raises(ModelFileError, match=message) as caught:
        parse_json(text, "config.json")
    assert str(caught.value).startswith("config.json: ")
    assert len(str(caught.value)) < 400


def test_json_that_is_accepted():
    text = '{"a": [1, 2.5, null, true, "\\ud800 é"], "b": {}}'
    value = parse_json(text.encode(), "config.json")
    assert value == {"a": [1, 2.5, None, True, "\ud800 é"], "b": {}}


@dataclass(frozen=True)
class Point:
    x: float
    tags: tuple[str, ...] = ()
    kind: Literal["a", "b"] | None = None


@dataclass(frozen=True)
class Shape:
    points: tuple[Point, ...]
    count: int
    closed: bool
    names: dict[str, int | None]
    fill: list[float | None]


def make(**changes):
    points = [{"x": 1, "tags": ["t"], "kind": "a"}, {"x": 2.5}]
    values = {"points": points, "count": 2, "closed": True, "names": {"n": None}, "fill": [1, None]}
    return {**values, **changes}


def test_read_as_a_dataclass():
    points = (Point(1.0, ("t",), "a"), Point(2.5))
    expected = Shape(points, 2, True, {"n": None}, [1.0, None])
    found = read_as(Shape, make(), "f")
    assert found == expected
    assert type(found.points[0].x) is type(found.fill[0]) is float


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"points": [{"x": "1"}]}, "f: points: 0: x: got '1', expected a number"),
        ({"points": [{"x": True}]}, "f: points: 0: x: got true, expected a number"),
        ({"points": [{}]}, "f: points: 0: no 'x'"),
        (
            {"points": [{"x": 1, "tag": []}]},
            "f: points: 0: 'tag': no such key. Did you mean 'tags'?",
        ),
        ({"points": [{"x": 1, "tags": ["a", 2]}]}, "f: points: 0: tags: 1: got 2, expected text"),
        ({"points": [{"x": 1, "tags": "ab"}]}, "f: points: 0: tags: got 'ab', expected a list"),
        ({"points": [{"x": 1, "kind": "c"}]}, "kind: got 'c', expected 'a' or 'b' or null"),
        ({"points": [{"x": float("inf")}]}, "f: points: 0: x: got inf, expected a finite number"),
        ({"points": [{"x": 10**400}]}, "expected a number below 2^63"),
        ({"points": {}}, "f: points: got an object with 0 keys, expected a list"),
        ({"points": [[1, 2]]}, "f: points: 0: got a list of 2 values, expected an object, the"),
        ({"count": 2.0}, "f: count: got 2.0, expected a whole number"),
        ({"count": True}, "f: count: got true, expected a whole number"),
        ({"count": 2**63}, "f: count: got 9223372036854775808, expected a number below 2^63"),
        ({"count": 10**4000}, r"... (4,001 digits), expected"),
        ({"closed": 1}, "f: closed: got 1, expected true or false"),
        ({"closed": None}, "f: closed: got null, expected true or false"),
        ({"names": {"m": "x"}}, "f: names: m: got 'x', expected a whole number or null"),
        ({"names": []}, "f: names: got a list of 0 values, expected an object"),
        ({"fill": [None, "x" * 999]}, "... (999 characters), expected a number or null"),
        ({"more": 1}, "f: 'more': no such key."),
    ],
)
def test_what_is_not_of_the_type(changes, message):
    with pytest.raises(ModelFileError) as caught:
        read_as(Shape, make(**changes), "f")
    assert message in str(caught.value)
    assert len(str(caught.value)) < 200


def other_files(tmp_path):
    """Names of things that are no file of at most 100 bytes, with what is said about them."""
    (tmp_path / "file").write_bytes(b"{}")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"x" * 101)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(10 * 2**30)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    return {
        "link": "is a link, expected a file",
        "dangling": "is a link, expected a file",
        "folder": "is a folder, expected a file",
        "pipe": "is a named pipe, expected a file",
        "large": "101 bytes, expected at most 100",
        "sparse": "10,737,418,240 bytes, expected at most 100",
        "socket": "is a socket, expected a file",
        "missing": "cannot be read: No such file",
        "/dev/zero": "is a device, expected a file",
    }


def test_only_regular_files_are_read(tmp_path):
    for name, message in other_files(tmp_path).items():
        for read in (read_file, open_file):
            with pytest.raises(ModelFileError, match=message) as caught:
                read(tmp_path / name, 100)
            assert str(tmp_path / name) in str(caught.value)
    assert read_file(tmp_path / "file", 2) == b"{}"


BOMBS = {
    "lists": b"[" + b"[]," * 2_000_000 + b"[]]",
    "objects": b"[" + b"{}," * 2_000_000 + b"{}]",
    "numbers": b"[" + b"1.5," * 2_000_000 + b"1]",
    "words": b"[" + b'"aa",' * 2_000_000 + b"1]",
    "wide": b'["' + "\U0001f600".encode() + b"a" * 8_000_000 + b'"]',
    "keys": b"{" + b",".join(b'"%x":1' % i for i in range(700_000)) + b"}",
    "halfway": b"[" + b"[]," * 480_000 + b"[]]",
}


@pytest.mark.parametrize("name", BOMBS)
def test_memory_is_bounded(tmp_path, name):
    """Parsing takes at most twice the file and 64 MiB, also where it is not refused."""
    path = tmp_path / "config.json"
    path.write_bytes(BOMBS[name])
    code = """
        import resource, sys
        from pathlib import Path
        from elman import ModelFileError
        from elman.untrusted import parse_json, read_file
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        data = read_file(Path(sys.argv[1]), 2**28)
        try:
            parse_json(data, "config.json")
        except ModelFileError as error:
            assert "would take up" in str(error), error
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) * 1024 <= 2 * path.stat().st_size + 64 * 2**20
