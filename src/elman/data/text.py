"""The units that text is split into: characters, words or bytes; and sequences counted in them.

Characters and words are those of Unicode Standard Annex #29, "Unicode Text Segmentation": what a
reader sees as one letter, and what a double click selects. Equal text has equal tokens, however its
accents are encoded: every token is in the normal form NFC.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Literal, get_args

import numpy as np
import regex
from numpy.typing import NDArray

from elman.data.dataset import Dataset
from elman.data.ragged import Ragged

Unit = Literal["characters", "words", "bytes"]
UNITS: tuple[Unit, ...] = get_args(Unit)
# Name of the rules below. A model stores it: under other rules the same text has other tokens.
RULE = "UAX #29, NFC"
_BYTES = [chr(b) if 32 <= b < 127 else f"\\x{b:02x}" for b in range(256)]
# Scripts that write words without blanks between them.
_UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Line_Break=Complex_Context}]")
_LETTER = regex.compile(r"\p{Alphabetic}")
_SAMPLE = 1000  # texts that choose the unit
# Invisible: the soft hyphen, marks of direction, the word joiner and the byte order mark.
_INVISIBLE = dict.fromkeys(map(ord, "\xad\u061c\u200e\u200f\u2060\ufeff"))
_INVISIBLE |= dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)])


def _word_pattern() -> str:
    """Return the pattern of a word, or else of a mark, by the rules WB3 to WB16 of UAX #29.

    A colon is no part of a word, as in the word boundaries of CLDR and ICU.
    """
    # WB4: marks after a character belong to it. WB3c: so do pictographs after a joiner, but as
    # they are no letters, the word ends with them.
    marks = r"[\p{WB=Extend}\p{WB=Format}\p{WB=ZWJ}]*+"
    end = rf"(?:(?<=\u200d)\p{{Extended_Pictographic}}{marks})*+"
    hebrew, letter, digit = r"\p{WB=Hebrew_Letter}", r"\p{WB=ALetter}", r"\p{WB=Numeric}"
    # WB7a to WB7c: quotation marks stand for geresh and gershayim.
    quoted = rf"{hebrew}{marks}(?:\"{marks}(?={hebrew}))?+"
    geresh = rf"'(?<={hebrew}[\p{{WB=Extend}}\p{{WB=Format}}\p{{WB=ZWJ}}]*'){marks}"
    one = rf"(?:{letter}{marks}|{quoted})"
    # WB5 to WB7: letters, and can't, l’été, example.com
    between = rf"[\p{{WB=MidLetter}}\p{{WB=MidNumLet}}'--[:\uFE55\uFF1A]]{marks}"
    letters = rf"{one}(?:(?:{between}(?=[{letter}{hebrew}]))?+{one})*+"
    # WB8, WB11, WB12: 3.14 and 1,234.5
    point = rf"[\p{{WB=MidNum}}\p{{WB=MidNumLet}}']{marks}"
    digits = rf"{digit}{marks}(?:(?:{point}(?={digit}))?+{digit}{marks})*+"
    # WB9, WB10, WB13: v2, 3D, カタカナ
    run = rf"(?:(?:{letters}|{digits})++|(?:\p{{WB=Katakana}}{marks})++)"
    # WB13a, WB13b: snake_case
    join = rf"(?:\p{{WB=ExtendNumLet}}{marks})"
    word = rf"{join}*+{run}(?:{join}++{run})*+(?:{join}++|{geresh})?+|{join}++"
    # WB15, WB16: flags; everything else is one character with its marks.
    flag = rf"\p{{Regional_Indicator}}{marks}"
    return rf"(?:{word}|{flag}(?:{flag})?+|[^\s\u200b\x1c-\x1f]{marks}){end}"


_WORD = regex.compile(_word_pattern(), regex.V1)
# The same for ASCII in lower case, six times as fast.
_ASCII_WORD = re.compile(
    r"(?:[a-z]+(?:['.][a-z]+)*|[0-9]+(?:[.',;][0-9]+)*|_+)+|[^\w\s\x1c-\x1f]", re.ASCII
)
_PIECE = re.compile(r"[^ \t\r\n]+")
# A character of several code points has one of these; syllables of Hangul are whole without.
_CLUSTERED = regex.compile(
    r"[^\p{GCB=Other}\p{GCB=Control}\p{GCB=LF}\p{GCB=LV}\p{GCB=LVT}]", regex.V1
)
_CLUSTER = regex.compile(r"\X")


def choose_unit(texts: Sequence[str]) -> Unit:
    """Return the unit for texts: words if they average at least three, else characters.

    Words are counted by the blanks between them, so texts in scripts without blanks are split into
    characters: Chinese, Japanese, Thai, Lao, Khmer, Burmese.
    """
    choice = UnitChoice()
    choice.add(texts)
    return choice.unit


class UnitChoice:
    """The unit that `choose_unit` chooses, for texts that are added part by part."""

    def __init__(self) -> None:
        self._words = self._count = 0
        self._first: list[str] = []

    def add(self, texts: Sequence[str]) -> None:
        """Count the words of further texts."""
        self._words += sum(len(text.split()) for text in texts)
        self._count += len(texts)
        self._first.extend(texts[: _SAMPLE - len(self._first)])

    @property
    def unit(self) -> Unit:
        """The unit for all texts so far."""
        if self._words < 3 * self._count:
            return "characters"
        sample = "".join(text for text in self._first if not text.isascii())
        unspaced = len(_UNSPACED.findall(sample)) if sample else 0
        if not unspaced:
            return "words"
        letters = len(_LETTER.findall("".join(self._first)))
        return "characters" if 2 * unspaced > letters else "words"


def split_texts(texts: Sequence[str], unit: Unit) -> list[list[str]]:
    """Split texts into characters, lower-case words and single punctuation marks, or bytes.

    Bytes are UTF-8: printable ASCII is written as the character itself, others as `\\xc3`.
    """
    if unit == "words":
        return [_split_words(text) for text in texts]
    if unit == "bytes":
        return [[_BYTES[b] for b in text.encode()] for text in texts]
    return [_split_characters(text) for text in texts]


def token_places(text: str, unit: Unit) -> list[tuple[int, int]]:
    """Return where each token of `split_texts` starts and ends, in code points of the text."""
    if unit == "bytes":
        return [(i, i + 1) for i, letter in enumerate(text) for _ in letter.encode()]
    pattern = _WORD if unit == "words" else _CLUSTER
    clean = _clean_word if unit == "words" else _compose
    return [match.span() for match in pattern.finditer(text) if clean(match[0])]


def _split_characters(text: str) -> list[str]:
    text = _compose(text)
    if (text.isascii() and "\r" not in text) or not _CLUSTERED.search(text):
        return list(text)
    found: list[str] = _CLUSTER.findall(text)
    return found


def _split_words(text: str) -> list[str]:
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    # The narrow blank joins 10\u202f000; every other blank is between words.
    pieces = _PIECE.findall(text) if "\u202f" in text else text.split()
    return list(chain.from_iterable(map(_split_piece, pieces)))


@functools.lru_cache(maxsize=1 << 16)
def _split_piece(piece: str) -> tuple[str, ...]:
    """Return the words of a text without blanks; most pieces occur again."""
    if piece.isascii():
        return tuple(_ASCII_WORD.findall(piece.lower()))
    return tuple(_find_words(piece))


def _find_words(text: str) -> Iterator[str]:
    yield from filter(None, map(_clean_word, _WORD.findall(text)))


def _clean_word(word: str) -> str:
    """Return a word in lower case and NFC, without characters that are not seen."""
    whole = _compose(word).translate(_INVISIBLE)
    # İ becomes i and a dot in most languages; in those that write it, it becomes i.
    return _compose(whole.replace("İ", "i").lower())


def _compose(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def count_steps(dataset: Dataset, unit: Unit | None = None) -> tuple[NDArray[np.int64], str]:
    """Return the steps of each sequence, (n,), and what they are: `steps`, or the units of text.

    Args:
        unit: what text is split into; None chooses it as a training does.
    """
    if isinstance(dataset.inputs, Ragged):
        return dataset.inputs.lengths, "steps"
    texts = dataset.inputs
    unit = unit or choose_unit(texts)
    return np.array([len(own) for own in split_texts(texts, unit)], dtype=np.int64), unit
