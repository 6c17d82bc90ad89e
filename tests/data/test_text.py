"""Words and characters as Unicode defines them, in many scripts; the places of tokens."""

from __future__ import annotations

import json
import re
import time
import unicodedata
from pathlib import Path
from statistics import median

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from elman import SequenceClassifier, load
from elman.data.text import RULE, Unit, choose_unit, split_texts, token_places
from elman.errors import ModelFileError
from elman.files import seal

# A text and its words, divided by |.
WORDS = [
    ("Latin", "The CAT can't sit.", "the|cat|can't|sit|."),
    ("quotation marks", "‘tis l’été “so” 'a' rock'n'roll", "‘|tis|l’été|“|so|”|'|a|'|rock'n'roll"),
    ("hyphens", "a well-known co-op – or—not", "a|well|-|known|co|-|op|–|or|—|not"),
    ("numbers", "3.14 1,234.5 -5 20% 2x v2.0 1. 3,", "3.14|1,234.5|-|5|20|%|2x|v2.0|1|.|3|,"),
    ("times", "12:30 10–12 1/2 $5.00", "12|:|30|10|–|12|1|/|2|$|5.00"),
    (
        "URLs",
        "see https://www.example.com/a_b?x=1",
        "see|https|:|/|/|www.example.com|/|a_b|?|x|=|1",
    ),
    ("addresses", "me@mail.example @you #tag", "me|@|mail.example|@|you|#|tag"),
    ("colons", "note:this a: b", "note|:|this|a|:|b"),
    ("accents apart", "e\u0301te\u0301 nai\u0308ve", "\xe9t\xe9|na\xefve"),
    ("German", "Straße ÜBER größer", "straße|über|größer"),
    ("Turkish", "İstanbul ISPARTA diyarbakır", "istanbul|isparta|diyarbakır"),
    ("Vietnamese", "Tiê\u0301ng Việt", "ti\u1ebfng|vi\u1ec7t"),
    ("Greek", "ΟΔΟΣ Ἀθῆναι;", "οδος|ἀθῆναι|;"),
    ("Cyrillic", "Привет, мир! Й", "привет|,|мир|!|й"),
    ("Armenian", "Բարեւ աշխարհ։", "բարեւ|աշխարհ|։"),
    ("Georgian", "გამარჯობა მსოფლიო", "გამარჯობა|მსოფლიო"),
    ("Hebrew", "שָׁלוֹם צה״ל ג׳ירפה ג'ירפה", "שָׁלוֹם|צה״ל|ג׳ירפה|ג'ירפה"),
    ("Arabic", "مَرْحَبًا بِكُمْ، ١٢٫٥", "مَرْحَبًا|بِكُمْ|،|١٢٫٥"),
    ("Persian", "می‌خواهم بروم", "می‌خواهم|بروم"),
    ("Hindi", "हिन्दी में चार शब्द।", "हिन्दी|में|चार|शब्द|।"),
    ("Bengali", "আমার সোনার বাংলা", "আমার|সোনার|বাংলা"),
    ("Tamil", "தமிழ் மொழி", "தமிழ்|மொழி"),
    ("Malayalam", "അവന്‍ വന്നു", "അവന്‍|വന്നു"),
    ("Sinhala", "ශ්‍රී ලංකා", "ශ්‍රී|ලංකා"),
    ("Amharic", "ሰላም ለዓለም።", "ሰላም|ለዓለም|።"),
    ("Korean", "한국어 텍스트 \u1112\u1161\u11ab", "한국어|텍스트|한"),
    ("Thai", "ที่นี่", "ที่|นี่"),
    ("Chinese", "我爱你。", "我|爱|你|。"),
    ("Japanese", "カタカナのテスト", "カタカナ|の|テスト"),
    ("emoji", "ok 👍🏽👨‍👩‍👧 🇩🇪🇫🇷 3️⃣ ❤️", "ok|👍🏽|👨‍👩‍👧|🇩🇪|🇫🇷|3️⃣|❤️"),
    ("invisible marks", "co\u00adop \u200eabc\u200f \ufeffx \u202bשלום\u202c", "coop|abc|x|שלום"),
    ("blanks", "a\u00a0b\u3000c\u200bd\te\r\nf", "a|b|c|d|e|f"),
    ("underscores", "__init__ _x a_1 _", "__init__|_x|a_1|_"),
    ("nothing", " \u200e\t", ""),
]


@pytest.mark.parametrize(("script", "text", "words"), WORDS, ids=[row[0] for row in WORDS])
def test_words(script: str, text: str, words: str) -> None:
    expected = words.split("|") if words else []
    assert split_texts([text], "words") == [expected]
    # However its accents are encoded, a text has the same words.
    for form in ("NFC", "NFD"):
        assert split_texts([unicodedata.normalize(form, text)], "words") == [
            [unicodedata.normalize("NFC", word) for word in expected]
        ]


CHARACTERS = [
    ("cafe\u0301", ["c", "a", "f", "\xe9"]),
    ("नमस्ते", ["न", "म", "स्ते"]),
    ("ที่นี่", ["ที่", "นี่"]),
    ("น้ำ", ["น้ำ"]),
    ("שָׁל", ["שָׁ", "ל"]),
    ("한\u1112\u1161\u11ab", ["한", "한"]),
    ("👨‍👩‍👧🇩🇪👍🏽", ["👨‍👩‍👧", "🇩🇪", "👍🏽"]),
    ("a\r\nb", ["a", "\r\n", "b"]),
    ("MKTAYIAK", list("MKTAYIAK")),
    ("Ab 我", ["A", "b", " ", "我"]),
]


@pytest.mark.parametrize(("text", "expected"), CHARACTERS)
def test_characters(text: str, expected: list[str]) -> None:
    assert split_texts([text], "characters") == [expected]
    assert split_texts([unicodedata.normalize("NFD", text)], "characters") == [
        [unicodedata.normalize("NFC", letter) for letter in expected]
    ]


ALPHABET = (
    "aZé\u0301İ'’.:,;_-\"1 \t\n\r\u0b85\u0b9fאב׳״ا\u064bक्षะกคำカ日の"
    "\u200b\u200c\u200d\u00ad\ufeff🇩🇪👍🏽👨\u202f\u1112\u1161\u11ab\x1c"
)


@given(st.text(st.sampled_from(ALPHABET), max_size=12) | st.text(max_size=12))
def test_tokens_and_their_places(text: str) -> None:
    for unit in ("words", "characters"):
        (tokens,) = split_texts([text], unit)
        places = token_places(text, unit)
        cut = [split_texts([text[a:b]], unit)[0] for a, b in places]
        assert [token for own in cut for token in own] == tokens
        assert all(a >= b for (a, _), (_, b) in zip(places[1:], places, strict=False))


@pytest.mark.parametrize(
    ("text", "words"),
    [("א'1", ["א'", "1"]), ("ג'ירפה", ["ג'ירפה"]), ("ז'_", ["ז'", "_"]), ("1'2", ["1'2"])],
)
def test_geresh_ends_a_word(text: str, words: list[str]) -> None:
    assert split_texts([text], "words") == [words]


def test_a_joined_pictograph_ends_a_word() -> None:
    assert split_texts(["1\u200d👍1 a\u200d👍b"], "words") == [["1\u200d👍", "1", "a\u200d👍", "b"]]


@given(st.text(st.sampled_from(ALPHABET.replace(":", "")), max_size=10))
def test_words_end_where_the_library_says(text: str) -> None:
    """All boundaries are those of the regular expression library, but for invisible text."""
    text = text.translate(dict.fromkeys(map(ord, "\u00ad\ufeff\u200b\x1c")))
    # A mark after a blank belongs to the blank, and is a token of its own here.
    text = regex.sub(r"(?V1)(?<=^|[\s\u202f])[\p{WB=Extend}\p{WB=ZWJ}]+", "", text)
    found = {end for a, b in token_places(text, "words") for end in (a, b)}
    blanks = {i for i in range(len(text)) if text[i].isspace() and text[i] != "\u202f"}
    expected = {m.start() for m in regex.finditer(r"(?V1)(?w)\b", text)}
    expected = {i for i in expected if not ({i} <= blanks and {i - 1} <= blanks | {-1})}
    expected = {i for i in expected if not (i == len(text) and i - 1 in blanks)}
    assert found == expected if text else not found


@given(st.text(st.characters(max_codepoint=127), max_size=30))
def test_ascii_has_the_same_words(text: str) -> None:
    """The pattern for ASCII gives what the pattern for all text gives."""
    marked = split_texts([f"é {text}"], "words")[0][1:]
    whole = split_texts([text], "words")[0]
    assert marked == whole


def test_places_of_bytes_and_capitals() -> None:
    assert token_places("aé", "bytes") == [(0, 1), (1, 2), (1, 2)]
    # A capital I with a dot would become two characters in lower case.
    text = "İİ x"
    assert [text[a:b] for a, b in token_places(text, "words")] == ["İİ", "x"]


@pytest.mark.parametrize(
    ("texts", "unit"),
    [
        (["a good film", "two hours of it"], "words"),
        (["Anna", "Bo Li"], "characters"),
        (["我 爱 你 们", "你 好 世 界"], "characters"),
        (["ฉัน รัก คุณ มาก", "สวัสดี ครับ ผม ชื่อ"], "characters"),
        (["हिन्दी में चार शब्द", "यह एक वाक्य है"], "words"),
        (["한국어 텍스트 세 개", "이것은 문장 입니다"], "words"),
        (["a film about 我 and you", "the end"], "words"),
    ],
)
def test_the_unit_follows_the_script(texts: list[str], unit: Unit) -> None:
    assert choose_unit(texts) == unit


def test_a_model_keeps_its_rule(tmp_path: Path) -> None:
    texts = ["यह हिन्दी है।", "ce n’est pas l’été", "e\u0301te\u0301 a\u0300 la mer"] * 4
    model = SequenceClassifier(hidden_size=4, epochs=1, validation=0, tokens="words")
    model.fit(texts, ["a", "b", "b"] * 4)
    assert {"हिन्दी", "n’est", "été", "à"} <= set(model.encoder_.vocabulary)
    model.save(tmp_path / "m")
    again = load(tmp_path / "m")
    composed = [unicodedata.normalize("NFC", text) for text in texts]
    assert (again.predict_proba(composed) == model.predict_proba(texts)).all()
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert config["encoder"]["rule"] == RULE
    config["encoder"]["rule"] = "another"
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    seal(tmp_path / "m")
    with pytest.raises(ModelFileError, match="split by 'another'"):
        load(tmp_path / "m")


@pytest.mark.parametrize("text", ["The film, however good, isn't for me. ", "It’s a naïve film – "])
def test_english_is_split_as_fast_as_by_the_simplest_pattern(text: str) -> None:
    """At most twice the time of a pattern of letters and marks."""
    texts = [text * 20] * 100
    simple = re.compile(r"\w+|[^\w\s]")
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(7):
        start = time.perf_counter()
        split_texts(texts, "words")
        middle = time.perf_counter()
        for each in texts:
            simple.findall(each.lower())
        times[0].append(middle - start)
        times[1].append(time.perf_counter() - middle)
    assert median(times[0]) < 3 * median(times[1])
