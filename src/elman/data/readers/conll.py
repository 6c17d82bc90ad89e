"""CoNLL files: a token and its tags on each line, in columns, and a blank line after each sentence.

Columns are separated by tabs, blanks or, as spreadsheets save them, commas. All tasks of CoNLL, the
treebanks of Universal Dependencies (CoNLL-U) and most tools for named entities write such files.
"""

from __future__ import annotations

import csv
import dataclasses
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from elman.data.columns import TextColumn
from elman.data.dataset import Guess, Layout, Sure
from elman.data.evidence import id_tier
from elman.data.faults import Faults, format_count, is_number, list_names
from elman.data.names import TARGET_NAMES, TEXT_NAMES, TOKEN_NAMES, is_named
from elman.data.readers import TextFile
from elman.data.roles import ReadOptions
from elman.data.table import Column, Rows, Table
from elman.data.targets import find_scheme, name_scheme

SENTENCE = "sentence"  # name of the column of sentence ids
CONLLU = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
_DOCUMENT = "-DOCSTART-"
_TAG_NAMES = (
    *(*TARGET_NAMES, "pos", "ner", "chunk", "upos", "xpos", "deprel", "iob", "bio", "entity"),
    *("ner_tag", "ner_tags", "pos_tag", "pos_tags", "chunk_tag", "chunk_tags"),
)
_FORM_NAMES = (*TOKEN_NAMES, "form", "lemma", "id", "misc", "feats", "head")
_TEXTS = [name for name in TEXT_NAMES if name not in TOKEN_NAMES]
SAMPLE = 2000  # lines that show the columns
_BLANKS = re.compile(r"[ \t]+")  # other blanks may be tokens
_META = re.compile(r"#\s*(sent_id|newdoc|newpar|text|global\.columns|sent)\b")
_RANGE = re.compile(r"\d+[-.]\d+")  # of CoNLL-U: 1-2 is a word that is divided, 1.1 one left out


class Line(NamedTuple):
    """A token with its tags.

    Args:
        number: line of the file, from 1.
        cells: its columns.
        sentence: number of its sentence, from 0.
    """

    number: int
    cells: list[str]
    sentence: int


def holds_sentences(file: TextFile, faults: Faults, layout: Layout | None) -> bool:
    """Whether a text that could be a table is a CoNLL file; record it as a guess."""
    head = file.head(SAMPLE)
    if is_conll(head):
        if layout is None:
            why = "blank lines divide lines of columns"
            guess = Guess("format", (), why, "--format conll", "--format rows", "likely")
            faults.guesses.append(guess)
        return True
    # Tokens alone show nothing, but a table names the column of its sequences.
    names = re.split(r"[,;\t]", head.split("\n", 1)[0])
    return layout is not None and layout.blocks and layout.id not in names


def is_conll(text: str) -> bool:
    """Whether a text without an own ending is such a file: blank lines divide lines of columns."""
    head = text.split("\n", SAMPLE)[:SAMPLE]
    first = next((line for line in head if line.strip()), "")
    if first.startswith(_DOCUMENT) or _META.match(first):
        return True
    blocks = _blocks(head)
    sizes = [len(block) for block in blocks]
    # A file with a blank line after every line is a table that a program has spread.
    if len(blocks) < 2 or 2 * len(blocks) > sum(sizes):
        return False
    separator, width = _find_columns(head)
    lines = [_cut(line, separator) for block in blocks for line in block]
    rows = [cells for cells in lines if len(cells) == width]
    if width < 2 or len(rows) < 0.9 * len(lines):
        return False
    header = _is_header(rows)
    if header:
        # A table that says which sequence a row belongs to, or names its texts, is none.
        if any(id_tier(name) or is_named(name, _TEXTS) for name in rows[0]):
            return False
        rows = rows[1:]
    phrases = sum(" " in cell for cells in rows for cell in cells)
    words = [sum(not is_number(cell) for cell in column) for column in zip(*rows, strict=True)]
    # Long cells are texts, and numbers in blocks are recordings.
    if phrases * 10 > len(rows) or 2 * max(words[:-1]) < len(rows):
        return False
    tags = Counter(cells[-1] for cells in rows)
    if find_scheme(tags) is not None:
        return True
    # A table with stray blank lines has a header, whose last cell is no tag.
    if separator != " " and not header and tags[rows[0][-1]] < 2:
        return False
    return (2 if separator in ",;" else 1) * len(tags) < len(rows)


def _blocks(lines: Sequence[str]) -> list[list[str]]:
    """Return the lines between blank lines, without comments."""
    blocks: list[list[str]] = [[]]
    for line in lines:
        if not line.strip():
            blocks.append([])
        elif not line.startswith("#"):
            blocks[-1].append(line)
    return [block for block in blocks if block]


def _cut(line: str, separator: str) -> list[str]:
    line = line.rstrip("\r")
    if separator == " ":
        return _BLANKS.split(line.strip(" \t"))
    if separator == "\t":
        return [cell.strip(" ") for cell in line.split("\t")]
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=separator), [])]
    except csv.Error:  # a line end within the line, or a cell of more than 131,072 characters
        return [cell.strip() for cell in line.split(separator)]


def _find_columns(lines: Sequence[str]) -> tuple[str, int]:
    """Return the separator and the number of columns that most lines have."""
    rows = [line for line in lines if line.strip() and not line.startswith(("#", _DOCUMENT))]
    rows = rows or [line for line in lines if line.strip()]
    best: tuple[float, str, int] = (0.0, " ", 1)
    for separator in ("\t", " ", ",", ";"):
        counts = Counter(len(_cut(line, separator)) for line in rows)
        width, count = max(counts.items(), key=lambda item: (item[1], item[0]))
        share = count / len(rows) if width > 1 else 0.0
        # Commas are tokens as well; where tabs or blanks divide the lines, they do.
        if share > best[0] + 0.1:
            best = share, separator, width
    return best[1], best[2]


def _is_header(rows: Sequence[list[str]]) -> bool:
    """Whether the first line names the columns: usual names, and a tag that does not return."""
    if len(rows) < 2:
        return False
    first, *rest = rows
    named = sum(is_named(name, (*_TAG_NAMES, *_FORM_NAMES)) for name in first)
    return 2 * named >= len(first) and first[-1] not in {cells[-1] for cells in rest}


def read_conll(text: str, faults: Faults, options: ReadOptions) -> tuple[Table, ReadOptions, str]:
    """Read sentences of tokens; lines with another number of columns are faults and left out.

    Returns: the table, with a row per token and the column `sentence`; the options, with the
        sentence as id and, unless the caller or a layout says them, the tokens and the target; and
        that a row is one of the `steps`.
    """
    lines = text.split("\n")
    separator, width = _find_columns(lines[:SAMPLE])
    names = _global_names(lines)
    if names and len(names) == width:
        header = False
    found, ids = _read_lines(lines, separator, width, faults)
    if not found:
        faults.stop()
        raise faults.error("empty", "there is no token", "Check that it was written to the end.")
    header = names is None and _known_header(found, options.layout)
    if header:
        names = [name.strip() for name in found[0].cells]
        twice = [name for i, name in enumerate(names) if name in names[:i] or not name]
        if twice:
            problem = f"two columns are called {twice[0]!r}"
            raise faults.error("name twice", problem, "Give every column its own name.", line=1)
        found = found[1:]
    plain = names is None
    names = names or _usual_names(found, width)
    notes = []
    if names[0] == CONLLU[0]:
        whole = len(found)
        found = [line for line in found if not _RANGE.fullmatch(line.cells[0])]
        if len(found) < whole:
            left = whole - len(found)
            notes.append(f"left out {left:,} lines of ranges and empty nodes (ID 1-2 or 1.1)")
    layout = options.layout
    if layout and layout.text and plain and width == 1:
        names = [layout.text]  # the tokens alone, to be tagged
    elif layout and layout.blocks and layout.header and plain:
        raise faults.error(
            "header",
            "the first line does not name the columns, expected a header as before",
            f"Put the names of the training file above, such as {layout.text!r}.",
            line=found[0].number,
        )
    rows = Rows(faults, np.array([line.number for line in found], np.int64))
    columns: dict[str, Column] = {}
    key = options.id or (layout.id if layout else None) or SENTENCE
    if options.id not in names:  # a document may be a sequence as well
        key = f"{key} number" if key in names else key
        columns[key] = TextColumn(key, rows, _name_sentences(found, ids))
    for name, cells in zip(names, zip(*(line.cells for line in found), strict=True), strict=True):
        columns[name] = TextColumn(name, rows, list(cells))
    table = Table("table", columns, rows, len(found), separator, header, noun="column", blocks=True)
    options = _choose_roles(table, options, names, faults, [line.sentence for line in found])
    known = options.id if layout else key
    options = dataclasses.replace(options, id=known, notes=(*options.notes, *notes))
    return table, options, "steps"


def _global_names(lines: Sequence[str]) -> list[str] | None:
    """Return the names of the columns in the first comment of CoNLL-U Plus."""
    match = re.match(r"#\s*global\.columns\s*=\s*(.+)", lines[0].lstrip("\ufeff"))
    return match[1].split() if match else None


def _usual_names(found: Sequence[Line], width: int) -> list[str]:
    """Return the names of the ten columns of CoNLL-U, or else numbers from 1."""
    counted = all(line.cells[0].replace("-", "").replace(".", "").isdigit() for line in found[:100])
    return list(CONLLU) if width == 10 and counted else [str(i) for i in range(1, width + 1)]


def _known_header(found: Sequence[Line], layout: Layout | None) -> bool:
    """Whether the first line names the columns, as in the file of the layout if there is one."""
    first = found[0].cells
    if layout and layout.header and {layout.text, *layout.categories} & {*first}:
        return True
    return _is_header([line.cells for line in found[:SAMPLE]])


def _read_lines(
    lines: Sequence[str], separator: str, width: int, faults: Faults
) -> tuple[list[Line], dict[int, str]]:
    """Return the tokens, and the `sent_id` of sentences that have one."""
    found: list[Line] = []
    ids: dict[int, str] = {}
    tags = set(_tags(lines, separator, width))
    sentence, started = 0, False
    for number, line in enumerate(lines, 1):
        if not line.strip():
            sentence, started = sentence + started, False
            continue
        cells = _cut(line, separator)
        if line.startswith("#") and not _is_token(line, cells, width, tags):
            name = re.match(r"#\s*sent_id\s*=?\s*(.+)", line)
            if name:
                ids[sentence] = name[1].strip()
        elif cells[0] == _DOCUMENT:
            sentence, started = sentence + started, False
        elif len(cells) != width:
            faults.add(
                "width",
                f"{format_count(len(cells), 'column')}, expected {width} as on most lines",
                "Every line needs a token and all of its tags; a blank line ends a sentence.",
                line=number,
            )
        else:
            found.append(Line(number, cells, sentence))
            started = True
    return found, ids


def _tags(lines: Sequence[str], separator: str, width: int) -> Iterator[str]:
    for line in lines:
        if not line.startswith("#") and line.strip():
            cells = _cut(line, separator)
            if len(cells) == width:
                yield cells[-1]


def _is_token(line: str, cells: list[str], width: int, tags: set[str]) -> bool:
    """Whether a line that starts with # is a token, such as #tag, and not a comment."""
    if _META.match(line) or len(cells) != width:
        return False
    return cells[-1] in tags if width > 1 else " " not in line.strip()


def _name_sentences(found: Sequence[Line], ids: dict[int, str]) -> list[str]:
    """Return the id of each token's sentence: `sent_id` if all have their own, or a number."""
    order = list(dict.fromkeys(line.sentence for line in found))
    named = [ids.get(sentence, "") for sentence in order]
    if not all(named) or len(set(named)) < len(named):
        named = [str(i) for i in range(1, len(order) + 1)]
    by_sentence = dict(zip(order, named, strict=True))
    return [by_sentence[line.sentence] for line in found]


# Which column is what.


def _choose_roles(
    table: Table,
    options: ReadOptions,
    names: Sequence[str],
    faults: Faults,
    sentences: Sequence[int],
) -> ReadOptions:
    """Return the options with the columns of tokens and tags, and the task; the rest is guessed."""
    target = _named(options.target, names)
    text = _named(options.text, names)
    options = dataclasses.replace(options, target=target, text=text)
    layout = options.layout
    if layout is not None and not target:
        return options
    chosen = {target, text, *options.values, *options.categories, options.group}
    if text is None and not (options.values or options.categories):
        text = _find_tokens(table, names, chosen)
        faults.guesses.append(
            Guess("text", (text,), "the column of tokens", f"--text {text}", "--text NAME", "sure")
        )
    if target is None and options.labelled is not False:
        free = [name for name in names if name not in chosen and name != text]
        target = _find_target(table, free, faults)
    if target is None:
        return dataclasses.replace(options, text=text)
    tags: dict[int, list[str]] = {}
    for sentence, tag in zip(sentences, table.columns[target].texts(), strict=True):
        tags.setdefault(sentence, []).append(tag)
    scheme = name_scheme(tags.values())
    notes = (f"--target {target}: tags of entities in the scheme {scheme}",) if scheme else ()
    # A tag at every step, even if all tags of a short file are O.
    task = options.task or "tagging"
    notes = (*options.notes, *notes)
    return dataclasses.replace(options, text=text, target=target, task=task, notes=notes)


def _named(name: str | None, names: Sequence[str]) -> str | None:
    """Return the column that a name or its number from 1 means."""
    if name is None or name in names or not name.isdecimal() or not 0 < int(name) <= len(names):
        return name
    return names[int(name) - 1]


def _find_tokens(table: Table, names: Sequence[str], chosen: set[str | None]) -> str:
    """Return the column of tokens: by its name, or the first with many different words."""
    free = [name for name in names if name not in chosen] or list(names)
    for usual in ("form", *TOKEN_NAMES):
        for name in free:
            if is_named(name, (usual,)):
                return name
    different = {}
    for name in free:
        column = table.columns[name]
        count = len(set(column.texts()))
        different[name] = 0 if column.is_numeric and count > 1 else count
    most = max(different.values())
    return next(name for name in free if 2 * different[name] >= most)


def _find_target(table: Table, free: Sequence[str], faults: Faults) -> str | None:
    """Return the column of tags: of entities, or the last one whose words repeat."""
    cells = {name: table.columns[name].texts() for name in free}
    different = {name: set(own) - {"_"} for name, own in cells.items()}
    usable = [
        name
        for name in free
        if len(different[name]) > 1
        and 2 * len(different[name]) <= max(len(cells[name]), 20)
        and not all(is_number(cell) for cell in different[name])
    ]
    if not usable:
        return free[-1] if free and len(different[free[-1]]) > 0 else None
    entities = [name for name in usable if find_scheme(different[name])]
    found, why = usable[-1], "the last column of tags"
    sure: Sure = "likely"
    if "UPOS" in usable:
        found, why = "UPOS", "the parts of speech of CoNLL-U"
    elif entities:
        found, why, sure = entities[-1], "the last column of tags of entities", "sure"
    others = [name for name in usable if name != found]
    if others:
        why += f"; {list_names(others, 4)} could be it as well"
    else:
        sure = "sure"
    guess = Guess("target", (found,), why, f"--target {found}", "--target NAME", sure)
    faults.guesses.append(guess)
    return found
