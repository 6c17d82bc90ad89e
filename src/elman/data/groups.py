"""Columns with one value per sequence: names of groups, static features, and what is no input.

A group is what several sequences are of, such as a subject: a network that sees it, or that is
tested on subjects of its training, recognises subjects and not their labels. A static feature is a
property, such as an age. Names decide first, then the values; what may be either is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman.data.dataset import Sure
from elman.data.evidence import id_tier, is_counter_name, split_words
from elman.data.guessing import FEW, RISING, Guesser
from elman.data.names import LABELS, PEOPLE, PROPERTIES
from elman.data.numbers import NumberForm
from elman.data.roles import ReadOptions, Schema
from elman.data.table import Table

Kind = Literal["group", "static", "id", "same", "label", "unclear"]

ENOUGH_GROUPS = 5  # from which on the split is by group; fewer leave too little to choose from
_CODE = re.compile(r"[^\W\d_]{1,12}[-_ .]?\d+|\d+[-_ .]?[^\W\d_]{1,3}")


class Judgement(NamedTuple):
    """What a column with one value per sequence is.

    Args:
        kind: `group`, `static`, `id` (one value for each sequence), `same` (one value in all),
            `label` (it determines the label, or has the name of one), or `unclear`.
        by_name: whether the name decides, and not only the values.
        number: of different values.
    """

    kind: Kind
    by_name: bool
    number: int


def judge_constant(
    name: str,
    values: Sequence[str],
    codes: NDArray[np.int64],
    numbers: NDArray[np.float64] | None,
    labels: NDArray[np.int64] | None,
) -> Judgement:
    """Judge a column that has one value per sequence.

    Args:
        values: the distinct values as text.
        codes: index of each sequence's value in them, (n,).
        numbers: the values as numbers, NaN for a gap; None if they are words.
        labels: label of each sequence, (n,), or None if there is not one for each.
    """
    counts = np.bincount(codes, minlength=len(values))
    used = np.flatnonzero(counts)
    count, total = len(used), len(codes)
    words = split_words(name)
    is_property = bool(PROPERTIES.intersection(words)) and id_tier(name) != 2
    is_group = is_group_name(name)
    if count == 1:
        return Judgement("same", False, count)
    fractions = numbers is not None and bool((numbers[np.isfinite(numbers)] % 1 != 0).any())
    if count == total:
        if is_property or fractions or (numbers is not None and not id_tier(name) and not is_group):
            return Judgement("static", is_property, count)
        return Judgement("id", bool(id_tier(name)), count)
    if is_property:
        return Judgement("static", True, count)
    if is_group:
        return Judgement("group", True, count)
    if LABELS.intersection(words):
        return Judgement("label", True, count)
    if fractions:
        return Judgement("static", False, count)
    texts = [values[code] for code in used.tolist()]
    if _names_things(texts, numbers if numbers is None else numbers[used], count):
        return Judgement("group", False, count)
    if labels is not None and _determines(codes, labels):
        # Whoever has it knows the label, or it names what has one label.
        return Judgement("group" if count >= ENOUGH_GROUPS else "label", False, count)
    if numbers is None and count >= 2 * ENOUGH_GROUPS and 2 * count <= total:
        return Judgement("unclear", False, count)
    return Judgement("static", False, count)


def has_constant_name(name: str) -> bool:
    """Whether a name says that its column is the same throughout a sequence."""
    return is_group_name(name) or bool(PROPERTIES.intersection(split_words(name)))


def is_group_name(name: str) -> bool:
    """Whether a name says that its column holds what several sequences are of."""
    return bool(id_tier(name)) or is_person_name(name)


def is_person_name(name: str) -> bool:
    """Whether a name says that its column holds persons or animals."""
    words = split_words(name)
    return bool(words) and (
        words[0] in PEOPLE or (len(words) == 1 and words[0].removesuffix("id") in PEOPLE)
    )


def _names_things(texts: list[str], numbers: NDArray[np.float64] | None, count: int) -> bool:
    """Whether values look like names of things: s01, s02, ..., or whole numbers without holes."""
    if numbers is None:
        return count >= 3 and all(map(_CODE.fullmatch, texts))
    known = numbers[np.isfinite(numbers)]
    if len(known) < ENOUGH_GROUPS or len(known) < count:
        return False
    return bool(known.max() - known.min() + 1 == count)


def _determines(codes: NDArray[np.int64], labels: NDArray[np.int64]) -> bool:
    """Whether all sequences with the same value have the same label, and labels differ."""
    pairs = len(np.unique(np.column_stack([codes, labels]), axis=0))
    different = len(np.unique(codes))
    # With about as many values as sequences, this is nothing but chance.
    return len(np.unique(labels)) > 1 and pairs == different and 2 * different <= len(codes)


def choose_group(candidates: Mapping[str, Judgement]) -> str | None:
    """Return the column by which sequences are divided, among those that name groups.

    Persons come first: an exercise or a session is done by one. Of several of a kind the coarsest
    with enough groups is taken, because it also keeps the finer ones whole.
    """
    best: tuple[bool, bool, bool, int] | None = None
    found = None
    for name, judged in candidates.items():
        enough = judged.number >= ENOUGH_GROUPS
        rank = (enough, is_person_name(name), judged.by_name, -judged.number)
        if best is None or rank > best:
            best, found = rank, name
    return found


def tell_constants(
    schema: Schema,
    options: ReadOptions,
    judged: Mapping[str, Judgement],
    is_numeric: Callable[[str], bool],
) -> None:
    """Set the group and the static features, and record every column that is left out.

    Args:
        judged: the columns with one value per sequence.
        is_numeric: whether a column holds numbers.
    """
    groups = {name: one for name, one in judged.items() if one.kind == "group"}
    if schema.group is None:
        schema.group = choose_group(groups)
    named = bool(options.text or options.values)
    static = [name for name, one in judged.items() if one.kind == "static"]
    if static and not named and not options.static:
        schema.static = tuple(static)
        sure: Sure = "likely" if all(judged[name].by_name for name in static) else "unsure"
        change = "--static none leaves them out"
        schema.guess("static", static, "one value for each sequence", sure, change=change)
    for name, one in judged.items():
        if name == schema.group and name in groups:
            _tell_group(schema, name, one)
        elif name not in schema.static and (not named or one.kind == "group"):
            reason, change = _describe(schema, name, one, is_numeric(name))
            if reason:
                flag = f"left out {name}"
                schema.guess("unused", [name], reason, "likely", flag=flag, change=change)


def _tell_group(schema: Schema, name: str, one: Judgement) -> None:
    sure: Sure = "likely" if one.by_name else "unsure"
    what = "names" if one.by_name else "seems to name"
    if one.number >= ENOUGH_GROUPS:
        reason = f"it {what} {one.number:,} groups of sequences, so each group stays in one split"
        schema.guess("group", [name], reason, sure, change="--split random divides groups")
        return
    reason = f"it {what} only {one.number:,} groups, too few to divide sequences by unasked"
    change = f"--group {name} keeps its sequences in one split"
    schema.guess("unused", [name], reason, sure, flag=f"left out {name}", change=change)


def _describe(schema: Schema, name: str, one: Judgement, numeric: bool) -> tuple[str, str]:
    """Return why a column is left out, and the flags that change it; no reason for an input."""
    static = f"--static {name} makes it an input"
    label = "" if schema.target else f", --target {name} makes it the label"
    group = f"--group {name} keeps its sequences in one split"
    values = f"{one.number:,} values in all"
    if one.kind == "group":
        return f"it names what several sequences are of, {values}", f"{group}, {static}{label}"
    if one.kind == "id":
        return "one value for each sequence, as an id", f"{static}{label}"
    if one.kind == "label":
        why = "it has the name of a label" if one.by_name else "it determines the label"
        return f"constant in each sequence, and {why}", f"{static}{label}"
    if one.kind == "unclear":
        why = f"constant in each sequence, {values}, perhaps names of groups"
        return why, f"{group}, {static}{label}"
    if one.kind == "static":
        return f"constant in each sequence, {values}", f"{static}{label}"
    return ("the same in the whole file", static) if id_tier(name) else ("", "")


def only_by_name(judged: Mapping[str, Judgement]) -> dict[str, Judgement]:
    """Return the groups and static features that are so by their names.

    Beside texts and tokens, other columns may as well be further labels, or remarks.
    """
    kinds = ("group", "static")
    return {name: one for name, one in judged.items() if one.by_name and one.kind in kinds}


def judge_keys(schema: Schema, table: Table, options: ReadOptions) -> None:
    """Judge the columns with one value per row, beside columns whose cells hold sequences."""
    used: set[str | None] = {schema.text, schema.group, schema.id}
    used |= {*schema.target, *schema.values, *schema.categories, *schema.static}
    judged: dict[str, Judgement] = {}
    numeric: dict[str, bool] = {}
    labels = None
    if len(schema.target) == 1 and (texts := table.columns[schema.target[0]].plain_texts()):
        labels = np.unique(texts, return_inverse=True)[1]
    for name, column in table.columns.items():
        texts = None if name in used else column.plain_texts()
        if texts is None or not texts:
            continue
        values, codes = np.unique(texts, return_inverse=True)
        numeric[name] = column.is_numeric
        numbers = None
        if column.is_numeric:
            numbers, bad = NumberForm().parse(values.tolist())
            numbers[bad] = np.nan  # a column of numbers may have a few cells of text
        judged[name] = judge_constant(name, values.tolist(), codes, numbers, labels)
    tell_constants(schema, options, only_by_name(judged), lambda name: numeric[name])


def set_aside(guesser: Guesser, inputs: list[str]) -> list[str]:
    """Return the inputs without columns that identify or count; each of those is a guess."""
    starts = guesser.evidence.starts(guesser.schema.id)
    several = int((starts[:-1] & ~starts[1:]).sum())  # sequences of two or more steps
    named = bool(guesser.options.text or guesser.options.values)
    void = {name for name in inputs if guesser.evidence.is_void(name)}
    constant = []
    kept: set[str] = set()
    for name in inputs:
        reason, change = "", "--values can make it an input"
        if name in guesser.chosen or len(void) == len(inputs):
            kept.add(name)
            continue
        if (
            name not in void
            and (several >= 3 or id_tier(name))
            and _is_constant(guesser, name, starts)
        ):
            constant.append(name)
            continue
        if named:
            kept.add(name)
            continue
        if name in void:
            reason = "no cell holds a value"
        elif guesser.evidence.time_tier(name) and guesser.evidence.rises(name, starts) >= RISING:
            reason, change = "it rises as a time does", f"--time {name} makes it the time"
        elif _counts(guesser, name, starts):
            reason = "it counts rows"
        elif guesser.evidence.is_dated(name):
            reason, change = "it holds dates", f"--time {name} makes it the time"
        if reason:
            flag = f"left out {name}"
            guesser.schema.guess("unused", [name], reason, "likely", flag=flag, change=change)
        else:
            kept.add(name)
    judged = _judge(guesser, constant, starts)
    _tell(guesser, judged)
    # A column that is the same in the whole file tells nothing, but was not left out either.
    same = {n for n, one in judged.items() if one.kind == "same" and not id_tier(n)}
    return [name for name in inputs if name in same or name in kept]


def _judge(
    guesser: Guesser, names: Sequence[str], starts: NDArray[np.bool_]
) -> dict[str, Judgement]:
    """Judge columns with one value per sequence.

    Args:
        starts: rows at which sequences start, (n,).
    """
    evidence, target = guesser.evidence, guesser.schema.target
    labels = None
    if len(target) == 1 and not evidence.changes_within(target[0], starts):
        labels = evidence.codes(target[0])[starts]
    return {
        name: judge_constant(
            name,
            evidence.different(name),
            evidence.codes(name)[_first_rows(guesser, name, starts)],
            evidence.distinct_numbers(name),
            labels,
        )
        for name in names
    }


def _is_constant(guesser: Guesser, name: str, starts: NDArray[np.bool_]) -> bool:
    """Whether a column has one value per sequence; where its name says so, with gaps."""
    if not guesser.evidence.changes_within(name, starts):
        return True
    # A value that was measured once in each sequence is an input all the same.
    return has_constant_name(name) and guesser.evidence.first_known(name, starts) is not None


def _first_rows(guesser: Guesser, name: str, starts: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the row with the value of each sequence, (n,)."""
    known = guesser.evidence.first_known(name, starts)
    return np.flatnonzero(starts) if known is None else known


def _tell(guesser: Guesser, judged: dict[str, Judgement]) -> None:
    """Set the group and the static features, and record every column that is left out."""
    columns, gaps = guesser.table.columns, guesser.evidence.gaps
    whole = {n: one for n, one in judged.items() if one.kind != "group" or not gaps(n)}
    for name in judged:
        if name not in whole:
            reason, flag = "it names groups of sequences, but not in every row", "left out "
            change = f"--static {name} makes it an input"
            guesser.schema.guess("unused", [name], reason, flag=flag + name, change=change)
    tell_constants(guesser.schema, guesser.options, whole, lambda name: columns[name].is_numeric)


def _counts(guesser: Guesser, name: str, starts: NDArray[np.bool_]) -> bool:
    whole = np.zeros(len(starts), dtype=bool)
    whole[:1] = True
    evidence = guesser.evidence
    # In a short table, measurements may count by chance.
    if is_counter_name(name):
        return evidence.counts(name, whole) or evidence.counts(name, starts)
    return len(starts) >= FEW and evidence.counts(name, whole)


def set_counters_aside(guesser: Guesser, names: Sequence[str]) -> None:
    """Set the names of the rows and the group, and record other columns that count or date."""
    every = np.ones(len(guesser.table), dtype=bool)
    judged = _judge(guesser, [name for name in names if id_tier(name)], every)
    own = [name for name, one in judged.items() if one.kind == "id"]
    named = [name for name in own if id_tier(name) == 2] or own
    if named and guesser.schema.id is None:
        guesser.schema.id = named[0]
        why = "one value for each row, which names its sequence"
        guesser.schema.guess("id", named[:1], why, "sure")
        del judged[named[0]]
    for name in names:
        if name not in judged and name != guesser.schema.id:
            flag, change = f"left out {name}", "--values NAMES can make it an input"
            reason = "it names, counts or dates the rows"
            guesser.schema.guess("unused", [name], reason, flag=flag, change=change)
    _tell(guesser, judged)


def set_constants_aside(guesser: Guesser, names: Sequence[str], by_name: bool = False) -> None:
    """Set the group and the static features among columns that are not used.

    Args:
        by_name: whether only names decide.
    """
    judged = _judge(guesser, names, np.ones(len(guesser.table), dtype=bool))
    judged = only_by_name(judged) if by_name else judged
    _tell(guesser, judged)
