"""The pieces of a page that needs nothing else: no script, nothing fetched from outside."""

from __future__ import annotations

import base64
import html
import io
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from elman.plots.style import DPI

HALF_WIDTH = 520  # CSS pixels, up to which two pictures stand side by side
MOST_BYTES = 2_400_000  # of a page's pictures as text, so that the page stays below 3 MB


@dataclass(frozen=True)
class PageFigure:
    """A PNG file on a page.

    Args:
        path: the file.
        title: what it is.
        words: how to read it.
        alt: for who cannot see it: the gist of what it shows; the title, if empty.
    """

    path: Path
    title: str
    words: str
    alt: str = ""


def document(
    *,
    kicker: str,
    title: str,
    of: str,
    lead: str,
    above: str,
    sections: Mapping[str, str],
    version: str,
) -> str:
    """Return a page, to be written as UTF-8.

    Args:
        kicker: the line over the title, HTML.
        title: of the page.
        of: what kind of page it is, in the browser's title bar.
        lead: the gist in a sentence or two.
        above: HTML between the lead and the first section.
        sections: HTML by heading; empty ones are left out.
        version: of elman.
    """
    body = "".join(f"<section><h2>{text(t)}</h2>{b}</section>" for t, b in sections.items() if b)
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(title)}: {text(of)}</title>
<style>{resources.files("elman.runs.report").joinpath("templates/page.css").read_text("utf-8")}</style>
</head>
<body><header>
<p class="kicker">{kicker}</p>
<h1>{text(title)}</h1>
<p class="lead">{text(lead)}</p>
{above}
</header><main>
{body}
</main>
<footer><p>Made by elman {text(version)}. Nothing here is fetched from elsewhere.</p></footer>
</body></html>
"""


def when(created: str) -> str:
    """An ISO date and time for reading."""
    return f'<time datetime="{text(created)}">{text(created.replace("T", " "))}</time>'


def notes(sentences: Sequence[str]) -> str:
    """What to know before believing a page; empty for none."""
    items = "".join(f"<li>{text(sentence)}</li>" for sentence in sentences)
    return items and f'<ul class="notes" aria-label="Notes">{items}</ul>'


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    name: str,
    above: str = "",
    *,
    ends_in_text: bool = False,
) -> str:
    """A table whose first column names the rows.

    Args:
        above: a line of head cells, HTML.
        ends_in_text: whether the last column is text, which begins at the left.
    """
    cells = [f'<th scope="col">{text(cell)}</th>' if cell else "<td></td>" for cell in head]
    body = ""
    for first, *others in rows:
        body += f'<tr><th scope="row">{text(first)}</th>'
        body += "".join(f"<td>{text(cell)}</td>" for cell in others) + "</tr>"
    lines = f"<thead>{above}<tr>{''.join(cells)}</tr></thead><tbody>{body}</tbody>"
    kind = ' class="ends-in-text"' if ends_in_text else ""
    return scroll(f"<table{kind}>{lines}</table>", name)


def facts(values: Mapping[str, object]) -> str:
    """Names and values, one pair a line."""
    return f"<dl>{''.join(f'<dt>{text(k)}</dt><dd>{text(v)}</dd>' for k, v in values.items())}</dl>"


def lines(told: str) -> str:
    """A paragraph for each line of a text."""
    return "".join(f'<p class="told">{text(line)}</p>' for line in told.splitlines() if line)


def scroll(inner: str, name: str) -> str:
    """What is too wide for a narrow screen scrolls by itself, by keyboard too."""
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{text(name)}">{inner}</div>'


def folded(summary: str, inner: str) -> str:
    """What is shown when it is asked for."""
    return f"<details><summary>{text(summary)}</summary>{inner}</details>"


class PageFigures:
    """The pictures of one page, read once and made to fit.

    Args:
        paths: PNG files, in the order in which they matter.
        most: bytes of all of them as text. If they are more, they are drawn with 256 colours; if
            that is not enough, the last are left out.
    """

    def __init__(self, paths: Sequence[Path], most: int = MOST_BYTES) -> None:
        found = {path: path.read_bytes() for path in paths}
        if _as_text(found.values()) > most:
            found = {path: min(png, _plainer(png), key=len) for path, png in found.items()}
        while found and _as_text(found.values()) > most:
            found.popitem()
        self._found = found

    def show(self, *pictures: PageFigure) -> str:
        """Return pictures side by side, as HTML; empty for none."""
        figures = "".join(self._figure(picture) for picture in pictures)
        return figures and f'<div class="pictures">{figures}</div>'

    def _figure(self, picture: PageFigure) -> str:
        title, words = text(picture.title), text(picture.words)
        png = self._found.get(picture.path)
        if png is None:
            where = text(f"{picture.path.parent.name}/{picture.path.name}")
            return (
                f'<p class="note"><strong>{title}</strong> would make this page large: {where}.</p>'
            )
        width, height = (n * 96 // DPI for n in struct.unpack(">II", png[16:24]))  # PNG's header
        return (
            f'<figure{" class=wide" if width > HALF_WIDTH else ""}><div class="card">'
            f'<img alt="{text(picture.alt or picture.title)}" width="{width}" height="{height}" '
            f'src="data:image/png;base64,{base64.b64encode(png).decode()}"></div><figcaption>'
            f"<strong>{title}.</strong> {words}</figcaption></figure>"
        )


def _as_text(pictures: Iterable[bytes]) -> int:
    """Bytes that they take in base64."""
    return sum(-(-len(png) // 3) * 4 for png in pictures)


def _plainer(png: bytes) -> bytes:
    """The same picture with 256 colours at most."""
    from PIL import Image  # comes with matplotlib

    stream = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        few = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        few.save(stream, format="png", optimize=True)
    return stream.getvalue()


def text(words: object) -> str:
    """Escape for HTML; letters that cannot be printed, or written as UTF-8, become a mark."""
    kept = "\n\t\N{NO-BREAK SPACE}"
    mark = "\N{REPLACEMENT CHARACTER}"
    return html.escape("".join(c if c.isprintable() or c in kept else mark for c in str(words)))
