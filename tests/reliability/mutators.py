"""Changes that damage a file, and values that no file should hold; all drawn from a `Random`."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from random import Random

LARGEST = 1 << 20  # bytes of a mutated file
# What readers stumble over, in text of any format.
WORDS: tuple[bytes, ...] = (
    *(b"", b" ", b",", b";", b"\t", b"\n", b"\r", b"\r\n", b"\n\n", b":", b"'", b'"', b'""', b"\\"),
    *(b"#", b"%", b"@", b"?", b"{", b"}", b"[", b"]", b"[]", b"{}", b"(", b")", b"|", b"=", b"\0"),
    *(b"null", b"None", b"NaN", b"-nan", b"inf", b"-Infinity", b"true", b"1e999", b"-1e-999"),
    *(b"9" * 20, b"9" * 400, b"1" * 5000, b"-0", b"0x10", b"1_000", b"1e5", b"1.5.2", b"--1", b"+"),
    *(b"1,5", b"1.000,5", b"1'000", b"5 %", b"5 km", b"<0.1", b"10:30", b"1e308", b"5e-324"),
    *(b"9999-12-31", b"10000-01-01", b"0000-00-00", b"2024-02-30", b"31/12/99999", b"24:00:00"),
    *(b"2024-01-01T00:00:00Z", b"2024-01-01 00:00:00+99:99", b"1/1/1", b"-9223372036854775809"),
    *(b"18446744073709551616", b"99999-01-01T00:00:00", b"2262-04-12", b"1677-09-20", b"1 days"),
    *("\u2028é\u00a0\u202e".encode(), b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\x1b[31m"),
    *("٣\u0661\u2212５½Ⅷ".encode(), "😀".encode(), b"\xc3", b"\x85", b"\x1a", b"\x0c", b"\x1c"),
    *(b'"\\ud800"', b"\\u0000", b"label", b"id", b"time", b"text", b"y", b"class", b"[" * 3000),
    *(b'{"a":' * 2000, b"[1," * 500, b"__proto__", b"a.b.c", b"x[1]", b"value_1", b"t0", b"../x"),
)
# Numbers at the edges of their types.
INTEGERS = (
    *(0, 1, -1, 2, 7, 8, 16, 127, 128, 255, 256, 1000, 32767, 32768, 65535, 65536, 100_000),
    *((1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 62), (1 << 63) - 1, -(1 << 63), -2),
)
Mutator = Callable[[Random, bytes, Sequence[bytes]], bytes]


def _span(random: Random, data: bytes, most: int = 64) -> tuple[int, int]:
    at = random.randrange(len(data) + 1)
    return at, min(len(data), at + random.choice((1, 2, 4, 8, random.randint(1, most))))


def _flip_bits(random: Random, data: bytes, words: Sequence[bytes]) -> bytes:
    out = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 8))):
        if out:
            out[random.randrange(len(out))] ^= 1 << random.randrange(8)
    return bytes(out)


def _set_bytes(random: Random, data: bytes, words: Sequence[bytes]) -> bytes:
    start, end = _span(random, data, 16)
    fill = random.choice((random.randbytes(end - start), b"\0" * (end - start)))
    return data[:start] + random.choice((fill, b"\xff" * (end - start))) + data[end:]


def _insert_word(random: Random, data: bytes, words: Sequence[bytes]) -> bytes:
    start, end = _span(random, data, 8)
    end = random.choice((start, end))
    return data[:start] + random.choice(words) + data[end:]


def _insert_bytes(random: Random, data: bytes, words: Sequence[bytes]) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.randbytes(random.choice((1, 2, 4, 100))) + data[at:]


def _delete(random: Random, data: bytes, words: Sequence[bytes]) -> bytes:
    start, end = _span(random, data)
    return data[:start] + data[end:]


def _cut(random: Random, data: bytes, words: Sequence[bytes]) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[at:] if random.random() < 0.1 else data[:at]


def _repeat(random: Random, data: bytes, words: Sequence[bytes]) -> bytes:
    start, end = _span(random, data)
    times = random.choice((2, 2, 3, 10, 300))
    return data[:start] + data[start:end] * times + data[end:]


def _move(random: Random, data: bytes, words: Sequence[bytes]) -> bytes:
    start, end = _span(random, data)
    piece, rest = data[start:end], data[:start] + data[end:]
    at = random.randrange(len(rest) + 1)
    return rest[:at] + piece + rest[at:]


def _set_integer(random: Random, data: bytes, words: Sequence[bytes]) -> bytes:
    size = random.choice((1, 2, 4, 8))
    if len(data) < size:
        return data
    at = random.randrange(len(data) - size + 1)
    at -= at % size if random.random() < 0.5 else 0  # most formats align their numbers
    order = random.choice(("little", "little", "little", "big"))
    old = int.from_bytes(data[at : at + size], order)  # type: ignore[arg-type]
    new = random.choice((random.choice(INTEGERS), old + random.choice((-8, -1, 1, 8)), old << 1))
    packed = (new % (1 << 8 * size)).to_bytes(size, order)  # type: ignore[arg-type]
    return data[:at] + packed + data[at + size :]


def _change_number(random: Random, data: bytes, words: Sequence[bytes]) -> bytes:
    """Replace a number that is written in digits."""
    found = list(re.finditer(rb"\d+", data[:20_000]))
    if not found:
        return data
    match = random.choice(found)
    new = random.choice(
        (
            random.choice(words),
            b"%d" % random.choice(INTEGERS),
            match[0] * random.choice((2, 40, 400)),
            b"%d.%d" % (random.randrange(1000), random.randrange(1000)),
        )
    )
    return data[: match.start()] + new + data[match.end() :]


def _lines(random: Random, data: bytes, words: Sequence[bytes]) -> bytes:
    """Repeat, drop, exchange or join lines."""
    lines = data.split(b"\n")
    i, j = random.randrange(len(lines)), random.randrange(len(lines))
    what = random.randrange(5)
    if what == 0:
        lines.insert(i, lines[j])
    elif what == 1:
        del lines[i]
    elif what == 2:
        lines[i], lines[j] = lines[j], lines[i]
    elif what == 3:
        lines[i] = random.choice(words)
    else:
        lines[i] = lines[i] + lines[j]
    return b"\n".join(lines)


def _cells(random: Random, data: bytes, words: Sequence[bytes]) -> bytes:
    """Change a cell, or a column: what stands between two marks, in one line or in all."""
    mark = random.choice((b",", b",", b"\t", b":", b" ", b'"'))
    lines = [line.split(mark) for line in data.split(b"\n")]
    column = random.randrange(max(map(len, lines)))
    new = random.choice(words)
    chosen = {random.randrange(len(lines))} if random.random() < 0.5 else set(range(len(lines)))
    for i in chosen:
        if column < len(lines[i]):
            lines[i][column] = new
    return b"\n".join(mark.join(line) for line in lines)


def _doubles(random: Random, data: bytes, words: Sequence[bytes]) -> bytes:
    """Write a float that is special over eight bytes."""
    if len(data) < 8:
        return data
    at = random.randrange(len(data) - 7) & ~7
    value = random.choice((float("nan"), float("inf"), -float("inf"), 1e308, 5e-324, -0.0, 2.0**63))
    return data[:at] + struct.pack("<d", value) + data[at + 8 :]


_ANY: tuple[Mutator, ...] = (_flip_bits, _set_bytes, _insert_bytes, _delete, _cut, _repeat, _move)
BINARY: tuple[Mutator, ...] = (*_ANY, _flip_bits, _set_integer, _set_integer, _doubles)
TEXT: tuple[Mutator, ...] = (*_ANY, *(_insert_word, _change_number, _lines, _cells) * 2)


def mutate(
    random: Random, data: bytes, words: Sequence[bytes] = (), others: Sequence[bytes] = ()
) -> bytes:
    """Return `data` after one to four changes.

    Args:
        words: pieces to insert, besides `WORDS`.
        others: files of the same kind; one change in twenty appends the end of one of them.
    """
    text = b"\0" not in data[:4096] and data[:4096].isascii()
    mutators = TEXT if text or random.random() < 0.1 else BINARY
    pool = words if words and random.random() < 0.3 else WORDS
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 4))):
        if others and random.random() < 0.05:
            other = random.choice(others)
            data = (
                data[: random.randrange(len(data) + 1)] + other[random.randrange(len(other) + 1) :]
            )
        else:
            data = random.choice(mutators)(random, data, pool)
    return data[:LARGEST]
