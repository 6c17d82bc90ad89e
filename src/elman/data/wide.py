"""Tables with a column for every step: which columns are steps, and of which channels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from elman.data.faults import list_names
from elman.data.roles import ReadOptions, Schema
from elman.data.units import LONGEST_NAME
from elman.errors import SettingsError

_NUMBERED = re.compile(r"(.*?)[\s_.:-]*[\[(]?(\d+)[\])]?")
_STEP_FIRST = re.compile(r"[^\W\d_]*?[\s_.:-]?(\d+)[\s_.:-]+(\D.*)")
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
        columns = tuple(own[step] for own in found.values() for step in sorted(own))
        place = {name: i for i, name in enumerate(names)}
        places = [place[own[step]] for own in found.values() for step in sorted(own)]
        steps = len(longest)
        runs = [places[i : i + steps] for i in range(0, len(places), steps)]
        reordered = any(run != sorted(run) for run in runs)
        channels = tuple(stem or "value" for stem in found) if len(found) > 1 else ()
        return Wide(columns, channels, reordered)
    return None


def counts_steps(columns: Sequence[str]) -> bool:
    """Whether the names of numbered columns count steps, and not sensors."""
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
