"""Tables with a column for every step: which columns are steps, and of which channels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from elman.data.faults import list_names
from elman.data.moments import are_even
from elman.data.roles import ReadOptions, Schema
from elman.data.units import LONGEST_NAME
from elman.errors import SettingsError

_NUMBERED = re.compile(r"(.*?)[\s_.:-]*[\[(]?(\d+)[\])]?")
_STEP_FIRST = re.compile(r"[^\W\d_]*?[\s_.:-]?(\d+)[\s_.:-]+(\D.*)")
_LONGEST_DATE = 40  # characters
_NUMBER_NAME = re.compile(r"[+-]?\d+(?:\.\d*)?")
# Times: 0.5, -200 ms, t=0.5, x_0.5; before the number, the name of a channel or of the time.
_TIMED = re.compile(
    r"(?P<stem>(?:[^\W\d_][\w ]*?[\s_:@=(\[-]+|[a-zA-Z])?)"
    r"(?P<number>[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)\s*"
    r"(?P<unit>(?:[nuµm]?s|min|h|d|secs?|seconds?|mins?|minutes?|hrs?|hours?|days?|weeks?|months?"
    r"|years?)?)[)\]]?"
)
# Stems of numbered columns that name steps; those of others may as well name sensors.
_STEP_STEMS = (
    *("", "t", "h", "hour", "step", "time", "time_step", "timestep", "day", "minute", "lag"),
    *("month", "week", "year", "frame", "sec", "second", "zeit", "stunde", "tag"),
)


class Wide(NamedTuple):
    """Columns of a wide table, one for each step of each channel.

    Args:
        columns: channel by channel, each in the order of its steps.
        channels: names of the channels; empty for one channel.
        reordered: whether the file has the steps in another order.
    """

    columns: tuple[str, ...]
    channels: tuple[str, ...]
    reordered: bool


def find_wide(names: Sequence[str], least: int = 3) -> Wide | None:
    """Return the columns whose names count the steps of one or more channels, if there are any.

    `t0, t1, ..., t10` is one channel, `x_1, x_2, y_1, y_2` and `1_x, 1_y, 2_x, 2_y` are two.

    Args:
        least: steps that a channel must have.
    """
    timed = _find_times(names, least)
    if timed is not None:
        return timed
    for pattern, stem, number in ((_NUMBERED, 1, 2), (_STEP_FIRST, 2, 1)):
        groups: dict[str, dict[int, str]] = {}
        for name in names:
            match = pattern.fullmatch(name.strip()) if len(name) <= LONGEST_NAME else None
            if match and len(match[number]) < 19:  # longer ones are no numbers of steps
                groups.setdefault(match[stem], {}).setdefault(int(match[number]), name)
        longest = max(groups.values(), key=len, default={})
        if len(longest) < max(least, 1):
            continue
        # Channels have the same steps; other numbered columns, such as two codes, are no series.
        found = {stem: own for stem, own in groups.items() if own.keys() == longest.keys()}
        return _join_channels(
            [(stem, [own[step] for step in sorted(own)]) for stem, own in found.items()], names
        )
    return None


def _find_times(names: Sequence[str], least: int) -> Wide | None:
    """Return the columns that are named by times or dates, which are the steps of channels.

    Numbers without a point and without a unit are counted, which `find_wide` does.
    """
    groups: dict[str, dict[float, str]] = {}
    units: dict[str, set[str]] = {}
    written = ""
    for name in names:
        match = _TIMED.fullmatch(name.strip()) if len(name) <= LONGEST_NAME else None
        if match:
            stem = match["stem"].rstrip(" _:@=([-")
            groups.setdefault(stem, {}).setdefault(float(match["number"]), name)
            units.setdefault(stem, set()).add(match["unit"])
            written += match["number"] if not match["unit"] else "."
    longest = max(groups.values(), key=len, default={})
    stems = [stem for stem, own in groups.items() if own.keys() == longest.keys()]
    if len(longest) >= max(least, 3) and all(len(units[stem]) == 1 for stem in stems):
        order = sorted(longest)
        # Sensors 1.1, 1.2, 2.1 of a device are no times: those of a name are at even distances.
        if "." in written and (stems == [""] or are_even(order)):
            return _join_channels([(s, [groups[s][at] for at in order]) for s in stems], names)
    dates = _find_dates(names, least)
    return _join_channels([("", dates)], names) if dates else None


def _find_dates(names: Sequence[str], least: int) -> list[str]:
    """Return the columns that are named by dates, in their order; empty if there are too few."""
    from elman.data.dates import read_moments  # imports pyarrow

    days = [n for n in names if len(n) < _LONGEST_DATE and sum(map(str.isdigit, n)) >= 3]
    days = [n for n in days if not n.strip().isdigit() and not _NUMBER_NAME.fullmatch(n.strip())]
    if len(days) < max(least, 3):
        return []
    codes = np.arange(len(days))
    found = read_moments([n.strip() for n in days], codes, numeric=False, named=True)
    if found is None or not found.form.is_dated:
        return []
    known = [(float(v), n) for v, n in zip(found.values, days, strict=True) if v == v]
    return [n for _, n in sorted(known)] if len({v for v, _ in known}) == len(known) else []


def _join_channels(found: Sequence[tuple[str, list[str]]], names: Sequence[str]) -> Wide:
    """Return the columns of channels, each with its name and its columns in order."""
    place = {name: i for i, name in enumerate(names)}
    runs = [[place[name] for name in own] for _, own in found]
    channels = tuple(stem or "value" for stem, _ in found) if len(found) > 1 else ()
    columns = tuple(name for _, own in found for name in own)
    return Wide(columns, channels, any(run != sorted(run) for run in runs))


def counts_steps(columns: Sequence[str]) -> bool:
    """Whether the names of numbered columns count steps, and not sensors."""
    if _find_times(columns, 3) is not None:
        return True
    return columns[0].rstrip("0123456789)]").rstrip("_-.[( ").lower() in _STEP_STEMS


def use_wide(schema: Schema, options: ReadOptions, wide: Wide) -> None:
    """Set the columns of a wide table."""
    schema.values = wide.columns
    why = "numbered columns"
    if wide.reordered:
        why += ", in the order of their numbers and not of the file"
    schema.guess("values", schema.values, why, "sure")
    split_channels(schema, options, wide.columns)


def split_channels(schema: Schema, options: ReadOptions, columns: Sequence[str]) -> None:
    """Set the channels of a table with a row per sequence, and bring its columns in order."""
    count = options.channels
    schema.values = tuple(columns)
    if not columns or count == 1:
        return
    wide = find_wide(columns, 2)
    fits = wide is not None and len(wide.columns) == len(columns)
    if wide and fits and len(wide.channels) == (count or len(wide.channels)):
        schema.values, schema.wide = wide.columns, wide.channels
    elif count:
        if len(columns) % count:
            raise SettingsError(
                f"channels: got {count}, but the {len(columns)} columns of values cannot be"
                " divided into as many equal parts. Name the columns with --values"
            )
        schema.wide = tuple(f"channel {c + 1}" for c in range(count))
    if schema.wide and not count:
        flag = f"--channels {len(schema.wide)}"
        why = f"the columns are numbered for each of {list_names(schema.wide, 4)}"
        schema.guess("channels", (), why, "sure", flag=flag, change="--channels 1")
