"""Paragraphs and tables of a report, rendered by rich in a terminal and as HTML in a notebook."""

from __future__ import annotations

import html
import io
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from rich.console import RenderableType

WIDTH = 80  # columns of plain text
HEAD_WIDTH = 14  # longer header cells are wrapped, so that five columns fit
UNDEFINED = "–"


@dataclass(frozen=True)
class TextTable:
    """A table of text for display.

    Args:
        title: title of the table.
        head: header cells, one per column; the first column names the rows.
        rows: cells as text.
        note: paragraph below the table; may be empty.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


Block = str | TextTable  # a paragraph, whose line breaks are kept, or a table


def to_rich(blocks: Sequence[Block]) -> RenderableType:
    """Return paragraphs and tables as a rich renderable that adapts to any width."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = []
    for i, block in enumerate(blocks):
        if isinstance(block, str):
            part: RenderableType = Text(block)
        else:
            table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
            heads = [[block.head[0]], *(textwrap.wrap(c, HEAD_WIDTH) for c in block.head[1:])]
            depth = max(map(len, heads))
            for k, lines in enumerate(heads):
                # A short header is aligned with its numbers. `Text` prevents rich from parsing
                # square brackets in a label as markup.
                head = Text("\n" * (depth - len(lines)) + "\n".join(lines))
                table.add_column(head, justify="right" if k else "left", overflow="fold")
            for row in block.rows:
                table.add_row(*map(Text, row))
            part = Group(table, Text("\n" + block.note)) if block.note else table
        parts.append(Padding(part, (0, 0, 0 if i == len(blocks) - 1 else 1, 0)))
    return Group(*parts)


def to_text(blocks: Sequence[Block]) -> str:
    """Return paragraphs and tables as plain text of `WIDTH` columns."""
    from rich.console import Console

    stream = io.StringIO()
    # No colours and a fixed width, because the text is also written to files and model cards.
    console = Console(
        file=stream, width=WIDTH, color_system=None, force_terminal=False, legacy_windows=False
    )
    console.print(to_rich(blocks))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()).rstrip()


def to_html(blocks: Sequence[Block]) -> str:
    """Return paragraphs and tables as HTML that inherits the colours of the page."""
    inner = "".join(
        _html_paragraphs(block)
        if isinstance(block, str)
        else _html_table(block) + _html_paragraphs(block.note)
        for block in blocks
    )
    return f'<div style="font-variant-numeric:tabular-nums">{inner}</div>'


def one_line(label: object, most: int = 24) -> str:
    """Return a label on one line of at most `most` characters."""
    # Labels come from files: a line break or control character would break a table.
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(label))
    return text if len(text) <= most else text[: most - 1] + "…"


def plural(word: str, count: int) -> str:
    """Return the word, as a plural unless `count` is 1."""
    if count == 1:
        return word
    return word + ("es" if word.endswith("s") else "s")


def to_json(label: Any) -> Any:
    """Return a label as a JSON-compatible value."""
    value = label.item() if isinstance(label, np.generic) else label
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def format_share(value: float | None) -> str:
    """Return a share with three decimals."""
    return UNDEFINED if value is None else f"{value:.3f}"


def format_amount(value: float | None) -> str:
    """Return a number in the target's own unit with four significant digits."""
    return UNDEFINED if value is None else f"{value:.4g}"


def decimals_of(low: float, high: float) -> int:
    """Return the number of decimals that an interval supports.

    Half its width keeps two digits if they are below 35, else one, as the Particle Data Group
    rounds errors (pdg.lbl.gov, "Introduction", section 5.3).
    """
    half = (high - low) / 2
    if not (half > 0 and math.isfinite(half)):
        return 3
    exponent = math.floor(math.log10(half))
    leading = half / 10.0**exponent
    return max(0, -exponent + (1 if leading < 3.55 else 0))


def _html_paragraphs(text: str) -> str:
    paragraph = '<p style="margin:0.4em 0;max-width:50em">{}</p>'
    return "".join(paragraph.format(html.escape(line)) for line in text.split("\n") if line)


def _html_table(table: TextTable) -> str:
    cell = "padding:0.2em 0.8em;border-bottom:1px solid rgba(128,128,128,0.3);text-align:"

    def line(cells: Sequence[str], tag: str) -> str:
        sides = ["left"] + ["right"] * (len(cells) - 1)
        inner = "".join(
            f'<{tag} style="{cell}{side}">{html.escape(text)}</{tag}>'
            for text, side in zip(cells, sides, strict=True)
        )
        return f"<tr>{inner}</tr>"

    body = "".join(line(row, "td") for row in table.rows)
    return (
        '<table style="border-collapse:collapse;color:inherit;background:transparent;'
        f'margin:0.6em 0"><thead>{line(table.head, "th")}</thead><tbody>{body}</tbody></table>'
    )
