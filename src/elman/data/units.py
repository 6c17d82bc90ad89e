"""Units in the names and the cells of columns."""

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
