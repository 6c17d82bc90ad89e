"""The forms in which cells hold numbers: decimal and thousands marks, units, signs, missing marks.

A column has one form, which is found in a sample of its cells and then read in whole-array
operations: `1.234,5` and `1,234.5`, `12 °C`, `$5`, `5%`, `(5)` for -5, the minus sign U+2212. Cells
of another form are faults, whose messages `explain` writes.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman.data.units import MARKS, MISSING, SAME_UNITS, USUAL_UNIT, spellings_of

_SPACES = " \u00a0\u2009\u202f\u2007"
_TICKS = "'’"
_MINUS = "\u2212\u2013\u2012\ufe63\uff0d-"  # the last, as it stands in character classes
_CURRENCY = (
    r"(?:[A-Z]{0,3}[$€£¥₹₽₩₺₿¢₫₴₦]|zł|kr\.?|Kč|Rs\.?|Fr\.?|USD|EUR|GBP|CHF|JPY|CNY|INR|AUD|CAD|SEK|NOK"
    r"|DKK|PLN|CZK|BRL|RUB|KRW|MXN|ZAR|TRY)"
)
_EXPONENT = rf"(?:[eEdD]|\s?[×x*·]\s?10\^?|\*\^)[+{_MINUS}]?\d+"  # of Fortran and Mathematica too
_APART = r"[~≈='\"]"  # about 5; how a spreadsheet writes text
_NUMBER = re.compile(
    rf"(?P<apart>{_APART}*)(?P<open>\()?\s*(?P<sign>[+{_MINUS}])?\s*(?P<before>{_CURRENCY})?\s*(?P<inner>[+{_MINUS}])?\s*"
    rf"(?P<body>(?:\d(?:[\d.,{_TICKS}]|[{_SPACES}](?=\d))*|[.,]\d+))"
    rf"(?P<exponent>{_EXPONENT})?(?P<gap>[{_SPACES}]*)"
    rf"(?P<after>[^\W\d_(]?[^()\d]*?(?:[²³⁻¹]|\^-?\d)*)(?P<close>\))?(?P<last>[{_MINUS}])?[\"']*(?P<end>;?)"
)
_RECOGNISED = re.compile(
    rf"(?:{_CURRENCY}|[%‰°º℃℉′″]|º[CF]|{USUAL_UNIT}(?:[/·* ]?{USUAL_UNIT}|[-^]?\d|[²³⁻¹]){{0,6}})"
    r"(?:/[^\W\d_]+[²³]?)?"
)
_FREE = re.compile(r"[^\W\d_][^\d()\[\]\"=<>;|]{0,14}")
_GROUPS = re.compile(
    rf"[1-9]\d{{0,2}}(?P<mark>[.,{_TICKS}{_SPACES}])(?:\d{{2,3}}(?P=mark))*\d{{3}}"
    r"(?:(?P<decimal>[.,])\d+)?"
)
_FEW = 8  # different numbers, below which 12A may as well be a code
_MANY = 10  # different numbers, from which a word among them is taken for a mark
_REPEATS = 0.02  # share of the cells from which on a word is no typing mistake
_USUAL_SHARE = 0.2  # of the numbers must have a thousands mark if none shows both marks


class _Seen(NamedTuple):
    """What one cell says of the form; `kind` is integer, long, point, comma, groups or both."""

    kind: str
    mark: str = ""  # of thousands
    decimal: str = ""  # in `both`
    unit: str = ""
    before: bool = False
    bracket: bool = False
    apart: bool = False
    body: str = ""


@dataclass
class Evidence:
    """What a sample of a column says of the form of its numbers.

    Args:
        numbers: the cells that are numbers in some form.
        words: other cells, which are not missing, with their counts.
        plain: whether all are numbers that Python reads.
        points: whether some have a decimal point; known for plain cells too.
        marked: whether there are marks that mean missing only beside numbers.
    """

    numbers: list[_Seen] = field(default_factory=list)
    words: Counter[str] = field(default_factory=Counter)
    plain: bool = False
    points: bool = False
    marked: bool = False
    size: int = 0
    cells: Sequence[str] = ()

    def count(self, kind: str, mark: str = "") -> int:
        """Return the number of cells of a kind, with a thousands mark if one is named."""
        return sum(n.kind == kind and mark in ("", n.mark) for n in self.numbers)

    def decimals(self, mark: str) -> int:
        """Return the number of cells that show which mark is the decimal one."""
        kind = "comma" if mark == "," else "point"
        return sum(n.kind == kind or (n.kind == "both" and n.decimal == mark) for n in self.numbers)

    @property
    def mark(self) -> str | None:
        """The decimal mark that the column shows by itself, or None."""
        commas, points = self.decimals(","), self.decimals(".")
        several = {n.mark for n in self.numbers if n.kind == "several"}
        if commas or points:
            return "," if commas > points else "."
        if several & {",", "."}:
            return "," if several == {"."} else "." if several == {","} else None
        return None

    @functools.cached_property
    def gaps(self) -> tuple[str, ...]:
        """The words that mean a missing value because they repeat beside numbers, as errors do."""
        if len({n.body for n in self.numbers}) < max(_MANY, 0.05 * self.size):
            return ()
        often = max(3, _REPEATS * self.size)
        # A word that stands once is a mistake, and one with a digit is a faulty number.
        found = (w for w, n in self.words.items() if n >= often and not re.search(r"[\d<>≤≥]", w))
        some = tuple(found)
        return some if len(some) < 4 else ()

    @property
    def commas(self) -> list[str]:
        """The cells with a comma."""
        return [n.body for n in self.numbers if "," in n.body]


def examine(cells: Sequence[str], missing: Sequence[str] = (), closely: bool = False) -> Evidence:
    """Return what cells say of the form of their numbers.

    Args:
        missing: further marks of missing values.
        closely: whether to look at each cell even if Python reads all of them.
    """
    evidence = Evidence(cells=cells)
    if not missing and not closely and _are_plain(cells):  # most columns of numbers
        evidence.size, evidence.plain = len(cells), True
        evidence.points = "." in "".join(cells)
        return evidence
    marks = MARKS | {mark.lower() for mark in missing}
    stripped = [cell.strip() for cell in cells]
    full = [cell for cell in stripped if cell.lower() not in marks]
    evidence.size = len(full)
    evidence.marked = any(c.lower() in marks and c.lower() not in MISSING for c in stripped)
    evidence.plain = _are_plain(full)
    evidence.points = evidence.plain and "." in "".join(full)
    if not evidence.plain or closely:
        for cell in full:
            seen = look(cell)
            if seen is None:
                evidence.words[cell] += 1
            else:
                evidence.numbers.append(seen)
        evidence.points |= evidence.decimals(".") > 0
    return evidence


def _are_plain(cells: Sequence[str]) -> bool:
    """Whether Python reads all cells as finite numbers; its 1_000 does not count."""
    try:
        values = np.fromiter(map(float, cells), np.float64, len(cells))
    except ValueError:
        return False
    return bool(np.isfinite(values).all()) and "_" not in "".join(cells)


@functools.lru_cache(maxsize=4096)
def look(cell: str) -> _Seen | None:
    """Return what a cell says of the form; None if it holds no number."""
    found = _NUMBER.fullmatch(cell) if len(cell) <= 80 else None  # with its unit
    if found is None or bool(found["open"]) != bool(found["close"]):
        return None
    signs = [found[name] for name in ("sign", "inner", "last") if found[name]]
    if len(signs) > 1 or (signs and found["open"]):
        return None
    unit, before = found["after"].strip(), bool(found["before"])
    if before:
        if unit:
            return None
        unit = found["before"]
    # A word after a space is a unit too.
    elif not (_RECOGNISED.fullmatch(unit) or (found["gap"] and _FREE.fullmatch(unit)) or not unit):
        return None
    kind, mark, decimal = _kind(found["body"])
    if not kind or (mark and found["exponent"]):
        return None
    for odd_way, usual in SAME_UNITS:
        unit = unit.replace(odd_way, usual)
    apart = bool(found["apart"] or found["end"])
    return _Seen(kind, mark, decimal, unit, before, bool(found["open"]), apart, found["body"])


def _kind(body: str) -> tuple[str, str, str]:
    """Return the kind of the digits, their thousands mark, and the decimal mark beside it."""
    if body.isdigit():
        return ("integer" if len(body) < 4 else "long"), "", ""
    if groups := _GROUPS.fullmatch(body):
        mark, decimal = groups["mark"], groups["decimal"] or ""
        if mark == decimal:
            return "", "", ""
        if decimal:
            return "both", mark, decimal
        several = body.count(mark) > 1
        # 1.234 may be either; 1 234 and 1'234 are thousands.
        return ("several" if several else "groups"), mark, ""
    if re.fullmatch(r"\d*\.\d+|\d+\.", body):
        return "point", "", "."
    return ("comma", "", ",") if re.fullmatch(r"\d*,\d+", body) else ("", "", "")


@dataclass(frozen=True)
class NumberForm:
    """The form in which the cells of a column hold numbers.

    Args:
        decimal: decimal mark, `.` or `,`.
        thousands: the characters that separate thousands, in any order; empty for none.
        unit: what stands after, or with `before` in front of, every number.
        brackets: whether (5) means -5.
        apart: whether marks such as ~, a spreadsheet's quotes or a final ; stand around numbers.
        marks: cells in small letters that mean a missing value.
    """

    decimal: str = "."
    thousands: str = ""
    unit: str = ""
    before: bool = False
    brackets: bool = False
    apart: bool = False
    marks: frozenset[str] = MISSING

    @classmethod
    def plain(cls, missing: Sequence[str] = ()) -> NumberForm:
        """Return the form of Python's numbers, with marks of missing values besides the usual."""
        return cls(marks=MARKS | {mark.lower() for mark in missing})

    @property
    def is_plain(self) -> bool:
        """Whether Python's float reads the cells that are numbers."""
        return self.decimal == "." and not (
            self.thousands or self.unit or self.brackets or self.apart
        )

    @functools.cached_property
    def pattern(self) -> str:
        """Regular expression of a number in this form, for Python's re and for RE2."""
        d = re.escape(self.decimal)
        whole = r"\d+"
        if self.thousands:
            t = f"[{re.escape(self.thousands)}]"
            whole = rf"(?:[1-9]\d{{0,2}}(?:{t}\d{{2,3}})*{t}\d{{3}}|\d+)"
        body = rf"(?:{whole}(?:{d}\d*)?|{d}\d+)(?:{_EXPONENT})?"
        sign, gap = f"[+{_MINUS}]?", f"[{_SPACES}]*"
        unit = "|".join(map(re.escape, sorted(spellings_of(self.unit))))
        before = f"(?:{unit}){gap}" if self.before else ""
        after = f"{gap}(?:{unit})" if self.unit and not self.before else ""
        # One sign at most: before all, between a unit and the number, or behind all.
        inside = f"|{before}[+{_MINUS}]{gap}{body}{after}" if self.before else ""
        core = f"(?:{sign}{gap}{before}{body}{after}|{before}{body}{after}[{_MINUS}]{inside})"
        if self.apart:
            core = f"{_APART}*{gap}{core}[\"']*;?"
        return f"^(?:{core}|\\({gap}{core}{gap}\\))$" if self.brackets else f"^{core}$"

    def parse(self, cells: Any) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return what `read` does, faster for cells that Python reads."""
        if self.is_plain and isinstance(cells, list):
            with suppress(ValueError):
                # float() accepts 1_000 and inf, which `read` refuses.
                values = np.fromiter(map(float, cells), np.float64, len(cells))
                if not np.isinf(values).any() and "_" not in "".join(cells):
                    return values, np.zeros(len(cells), dtype=bool)
        return self.read(cells)

    def read(self, cells: Any) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the cells as numbers, (n,), NaN where none is, and which are faulty, (n,).

        Args:
            cells: strings, as a sequence or as an array of pyarrow.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        text = _trimmed(cells)
        good = pc.match_substring_regex(text, self.pattern)
        digits = pc.if_else(good, text, None)
        try:  # most cells differ from Python's numbers in little
            found = pc.cast(self._shorten(digits), pa.float64())
        except pa.ArrowInvalid:
            for pattern, put in self._steps():
                digits = pc.replace_substring_regex(digits, pattern, put)
            found = pc.cast(digits, pa.float64())
        # A copy, which may be written to.
        values = np.array(found.to_numpy(zero_copy_only=False), dtype=np.float64)
        bad = ~good.to_numpy(zero_copy_only=False)
        if bad.any():
            lower = pc.utf8_lower(text.filter(pa.array(bad)))
            blank = pc.is_in(lower, value_set=pa.array(sorted(self.marks)))
            bad[bad] = ~blank.to_numpy(zero_copy_only=False)
        bad |= np.isinf(values)
        values[bad] = np.nan
        return values, bad

    def _shorten(self, digits: Any) -> Any:
        """Return cells without a unit behind, thousands marks and decimal commas."""
        import pyarrow.compute as pc

        if self.unit and not self.before and not re.search(r"[\d.,]", self.unit):
            digits = pc.utf8_rtrim(digits, _SPACES + "".join(spellings_of(self.unit)))
        for mark in self.thousands:
            digits = pc.replace_substring(digits, mark, "")
        return pc.replace_substring(digits, ",", ".") if self.decimal == "," else digits

    def _steps(self) -> list[tuple[str, str]]:
        """Return the replacements that turn a number of this form into one of Python."""
        steps = [(f"{_APART}|;$", "")] if self.apart else []
        steps += [(f"[{_MINUS}]", "-"), (r"(?:[dD]|\s?[×x*·]\s?10\^?|\*\^)([+-]?\d+)", r"e\1")]
        if self.unit:
            spellings = "|".join(map(re.escape, sorted(spellings_of(self.unit))))
            steps += [(f"^([(+-]*[{_SPACES}]*)(?:{spellings})", r"\1")] if self.before else []
            steps += [] if self.before else [(f"(?:{spellings})([)-]*)$", r"\1")]
        steps += [(f"[{_SPACES}{_TICKS}]", "")]
        if self.thousands:
            steps += [(f"[{re.escape(self.thousands)}]", "")]
        if self.decimal != ".":
            steps += [(re.escape(self.decimal), ".")]
        steps += [(r"^\((.*)\)$", r"-\1")] if self.brackets else []
        return [*steps, (r"^(.*\d\.?)-$", r"-\1")]


def _trimmed(cells: Any) -> Any:
    """Return cells as one array of pyarrow without surrounding spaces, empty for null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = cells
    if not isinstance(cells, pa.Array | pa.ChunkedArray):
        text = pa.array(cells, pa.large_string())
    text = text.combine_chunks() if isinstance(text, pa.ChunkedArray) else text
    return pc.utf8_trim_whitespace(pc.fill_null(text, "") if text.null_count else text)


def find_form(
    sample: Sequence[str] | Evidence, decimal: str | None = None, missing: Sequence[str] = ()
) -> NumberForm | None:
    """Return the form of the numbers in a column, or None if it holds no numbers.

    Args:
        sample: cells of the column, or what they say.
        decimal: decimal mark; None for the one that the column shows.
        missing: marks of missing values besides the usual ones.
    """
    seen = sample if isinstance(sample, Evidence) else examine(sample, missing)
    marks = MARKS | {mark.lower() for mark in (*missing, *seen.gaps)}
    if seen.plain and not (decimal == "," and seen.count("groups", ".")):
        # Marks such as - without any number do not make a column one of numbers.
        return None if not seen.size and seen.marked else NumberForm(marks=marks)
    # (1) is a label if all numbers are in brackets.
    numbers = seen.numbers if any(not n.bracket or n.before for n in seen.numbers) else []
    units = Counter((n.unit, n.before) for n in numbers)
    if not _are_numbers(numbers, seen):
        return None
    (unit, before), most = units.most_common(1)[0]
    # Doses such as 5 mg, 10 ml and 1 tablet are categories; many numbers in two units are faults.
    if 3 * most < 2 * len(numbers) and len({n.body for n in numbers}) < _FEW:
        return None
    mark = decimal or seen.mark or "."
    return NumberForm(
        mark,
        _thousands(seen, mark, forced=decimal is not None),
        unit,
        before,
        any(n.bracket for n in numbers),
        any(n.apart for n in numbers),
        marks,
    )


def _are_numbers(numbers: list[_Seen], seen: Evidence) -> bool:
    """Whether the cells of a column are numbers, a few faulty ones apart."""
    if not numbers:
        return False
    bodies = {n.body for n in numbers}
    # 2A and 3B are codes; 0.5V and 1.2V are not.
    letters = [n for n in numbers if len(n.unit) == 1 and n.unit.isalpha() and not n.before]
    fractions = any(n.kind in ("point", "comma", "both") for n in numbers)
    if 2 * len(letters) > len(numbers) and not fractions and len(bodies) < _FEW:
        return False
    # A limit, such as <0.5, is the fault of a number.
    limits = sum(n for word, n in seen.words.items() if re.match(r"[<>≤≥]\s*\d", word))
    limits = limits if len(bodies) >= _MANY else 0
    if 2 * (len(numbers) + limits) >= seen.size - sum(seen.words[word] for word in seen.gaps):
        return True
    return len(seen.words) <= 2 and len(bodies) >= _MANY


def _thousands(seen: Evidence, decimal: str, forced: bool) -> str:
    """Return the thousands marks of a column, given its decimal mark."""
    grouped = Counter(n.mark for n in seen.numbers if n.mark)
    found = _SPACES if set(_SPACES) & grouped.keys() else ""
    found += _TICKS if set(_TICKS) & grouped.keys() else ""
    other = "," if decimal == "." else "."
    clear = seen.count("both", other) + seen.count("several", other)
    usual = grouped[other] >= _USUAL_SHARE * len(seen.numbers) and not seen.count("long")
    # One 1,234 among 1.5 and 2.5 may be a mistake for 1.234.
    return found + other if grouped[other] and (clear or forced or usual) else found
