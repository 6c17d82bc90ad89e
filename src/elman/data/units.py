"""Units in the names and the cells of columns, and the marks of missing values."""

from __future__ import annotations

import re

# A unit at the end of a column's name. In square brackets any text with a letter, % or a degree
# sign is a unit, but not the [1] that numbers the channels of a key; in parentheses or after an
# underscore only a usual unit, because `acc (left)` and `acc_x` have none.
USUAL_UNIT = (
    r"(?:[munµkMG]?(?:s|m|g|A|V|W|Wh|Hz|Pa|bar|J|N|L|l|mol|Ω|ohm|T|K|lx|cd|F|H|C)|min|h|d|days?|"
    r"°C|°F|degC|degF|°|deg|rad|%|pct|ppm|ppb|dB|rpm|bpm|mmHg|psi|cm|hPa|knots?|a\.?u\.?)"
)
SAME_UNITS = (
    ("μ", "µ"),
    ("℃", "°C"),
    ("℉", "°F"),
    ("º", "°"),
)  # odd ways to write some, usual ones
# Marks of a missing value anywhere, and those that are one only in a column of numbers.
MISSING = frozenset({"", "?", "na", "n/a", "nan", "null", "none", "-nan", "+nan"})
_WORDS = (
    "nd n.d. n/d n.a. nil nat missing unknown undefined invalid error err void fehlt fehlend k.a."
    " n.v. no_data nodata nan(ind) -nan(ind) 1.#qnan -1.#ind 1.#ind #n/a #n/v #nv #value! #wert!"
    " #valeur! #valor! #div/0! #ref! #num! #name? #null! #bezug! #zahl! <na> <nan> <null> <lod"
    " <loq <mdl <bdl lod loq bdl blq bql bloq \\n (null) <none> not_available ol - -- --- ---- –"
    " — . .. ... ?? ??? * ** *** **** *****"
)
_PHRASES = ("no data", "not available", "not detected", "not measured", "below lod", "n. d.")
MARKS = MISSING | frozenset(_WORDS.split()) | frozenset(_PHRASES) | {"k. a.", "n. a."}
# These are too usual to be worth a line in the description of a file.
UNSAID = frozenset({"", "na", "nan", "-nan", "+nan"})
LONGEST_NAME = 200  # characters; the patterns of names take time quadratic in the length
# At most six further units: more of them would be tried in exponentially many ways.
_UNIT = re.compile(
    r".+?(?:\s*\[(?P<square>[^\[\]]*[^\W\d_][^\[\]]*|[^\[\]]*[%°][^\[\]]*)\]"
    rf"|\s*\((?P<round>{USUAL_UNIT}(?:[/·* ]?{USUAL_UNIT}|[-^]?\d|[²³⁻¹]){{0,6}})\)"
    r"|_(?P<suffix>[kmhM]?Pa|deg[CF]|[kM]?Hz|[mk]?Wh|mV|mA|ms|mm|cm|km|kg|rpm|bpm|mmHg|psi|ppm|pct))"
)


def unit_of(name: str) -> str | None:
    """Return the unit in a column's name, as in `temp [°C]`, `speed (m/s)` or `pressure_kPa`."""
    found = _UNIT.fullmatch(name) if len(name) <= LONGEST_NAME else None
    return found and (found["square"] or found["round"] or found["suffix"])


def spellings_of(unit: str) -> set[str]:
    """Return the ways in which a unit may be written; empty for none."""
    ways = {unit} if unit else set()
    for odd_way, usual in SAME_UNITS:
        ways |= {way.replace(usual, odd_way) for way in ways}
    return ways
