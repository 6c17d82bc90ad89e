"""Paragraphs and tables as plain text for a terminal and as HTML for a notebook."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence

Rows = list[list[str]]
Table = tuple[list[str], Rows]  # head and rows; the first column is names


def as_text(parts: Sequence[str | Table]) -> str:
    """Return the parts with a blank line between them, of at most 80 columns where they can."""
    texts = []
    for part in parts:
        if isinstance(part, str):
            texts.append("\n".join(textwrap.fill(line, 80) for line in part.split("\n")))
        else:
            head, rows = part
            texts.append(_align([textwrap.wrap(cell, 14) or [""] for cell in head], rows))
    return "\n\n".join(texts)


def as_html(parts: Sequence[str | Table]) -> str:
    """Return the parts as tables that take colours from the page, light or dark."""
    paragraph = '<p style="margin:0.4em 0;max-width:50em">{}</p>'
    inner = ""
    for part in parts:
        if isinstance(part, str):
            inner += "".join(paragraph.format(html.escape(line)) for line in part.split("\n"))
        else:
            inner += _html_table(*part)
    return f'<div style="font-variant-numeric:tabular-nums">{inner}</div>'


def one_line(label: object, most: int = 24) -> str:
    """Return a label on one line of at most `most` characters."""
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(label))
    return text if len(text) <= most else text[: most - 1] + "…"


def plural(word: str, count: int) -> str:
    """Return the word, with an ending unless it is one."""
    if count == 1:
        return word
    return word + ("es" if word.endswith("s") else "s")


def size(count: int, steps: int | None) -> str:
    """Say how many sequences, and labelled steps, there were."""
    what = f"{count:,} {plural('sequence', count)}"
    return what if steps is None else f"{what}, {steps:,} labelled {plural('step', steps)}"


def three(value: float) -> str:
    """Return a share with three decimals."""
    return f"{value:.3f}"


def _align(head: list[list[str]], rows: Rows) -> str:
    """Lay out a table: first column to the left, the others to the right."""
    depth = max(len(lines) for lines in head)
    above = [[""] * (depth - len(lines)) + lines for lines in head]
    body = [[column[i] for column in above] for i in range(depth)] + rows
    widths = [max(len(row[i]) for row in body) for i in range(len(head))]
    lines = []
    for row in body:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _html_table(head: list[str], rows: Rows) -> str:
    cell = "padding:0.2em 0.8em;border-bottom:1px solid rgba(128,128,128,0.3);text-align:"

    def line(cells: list[str], tag: str) -> str:
        sides = ["left"] + ["right"] * (len(cells) - 1)
        inner = "".join(
            f'<{tag} style="{cell}{side}">{html.escape(text)}</{tag}>'
            for text, side in zip(cells, sides, strict=True)
        )
        return f"<tr>{inner}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return (
        '<table style="border-collapse:collapse;color:inherit;background:transparent;'
        f'margin:0.6em 0"><thead>{line(head, "th")}</thead><tbody>{body}</tbody></table>'
    )
