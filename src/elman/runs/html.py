"""Pages of one file each, from jinja2 templates, with their figures inside.

A page is one file that needs nothing else: no script, nothing loaded from outside. The frame of
every page is `templates/page.html.jinja`, its pieces (tables, facts, notes) are the macros of
`templates/macros.html.jinja`.
"""

from __future__ import annotations

import base64
import functools
import io
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from elman.plots import style

if TYPE_CHECKING:
    from jinja2 import Environment

HALF_WIDTH = 520  # CSS pixels; two figures up to this width fit side by side on a page of 60 rem
MOST_BYTES = 2_400_000  # of a page's figures in base64, so that the page stays below 3 MB
_TEMPLATES = Path(__file__).with_name("templates")
_PRINTABLE_EXCEPTIONS = "\n\t\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class PageFigure:
    """A PNG file on a page.

    Args:
        path: the file.
        title: what it is.
        caption: a description, and what to look for.
        alt: a summary for those who cannot see it; the title, if empty.
    """

    path: Path
    title: str
    caption: str
    alt: str = ""


def render(template: str, **context: Any) -> Markup:
    """Return a template of this package filled with values, which are escaped unless Markup.

    Args:
        template: file name, such as `page.html.jinja`, which lists its own values.
    """
    return Markup(_environment().get_template(template).render(**context))


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], name: str, *, ends_in_text: bool = False
) -> Markup:
    """Return a table whose first column names the rows.

    Args:
        name: what it holds, for those who cannot see it.
        ends_in_text: whether the last column is text, which is aligned to the left.
    """
    return _macro("table", head, rows, name, ends_in_text)


def facts(values: Mapping[str, object]) -> Markup:
    """Return names and values, one pair a line; empty values are left out."""
    return _macro("facts", values)


def paragraphs(text: str) -> Markup:
    """Return a paragraph for each line of a text."""
    return _macro("paragraphs", text)


def note(text: str) -> Markup:
    """Return a note in small print; empty for an empty text."""
    return _macro("note", text)


def verbatim(text: str, name: str) -> Markup:
    """Return text of fixed width, as a terminal shows it."""
    return _macro("verbatim", text, name)


def folded(summary: str, inner: Markup) -> Markup:
    """Return content that is hidden until its summary is opened."""
    return _macro("folded", summary, inner)


def subheading(text: str) -> Markup:
    """Return a heading inside a section."""
    return _macro("subheading", text)


def findings(items: Sequence[tuple[str, str, Mapping[str, object]]]) -> Markup:
    """Return a list of findings: title, message and facts of each; empty for none."""
    return _macro("findings", items)


class PageFigures:
    """The figures of one page, read once and made to fit.

    Args:
        paths: PNG files, the most important first.
        most: bytes of all of them in base64. If they are more, they are reduced to 256 colours; if
            that is not enough, the last ones are left out, and the page says where they are.
    """

    def __init__(self, paths: Sequence[Path], most: int = MOST_BYTES) -> None:
        images = {path: path.read_bytes() for path in paths}
        if _base64_size(images.values()) > most:
            images = {path: min(png, _quantize(png), key=len) for path, png in images.items()}
        # Figures that no longer fit are named on the page, and remain as files beside it.
        while images and _base64_size(images.values()) > most:
            images.popitem()
        self._images = images

    def show(self, *figures: PageFigure) -> Markup:
        """Return figures side by side, as HTML; empty for none."""
        return _macro("figures", [self._image(figure) for figure in figures])

    def _image(self, figure: PageFigure) -> dict[str, Any]:
        """The values that the macro `figures` reads."""
        values: dict[str, Any] = {
            "title": figure.title,
            "caption": figure.caption,
            "alt": figure.alt or figure.title,
            "where": f"{figure.path.parent.name}/{figure.path.name}",
            "data": "",
        }
        if png := self._images.get(figure.path):
            # A PNG begins with 16 bytes of signature and chunk header, then its width and height.
            width, height = (n * 96 // style.DPI for n in struct.unpack(">II", png[16:24]))
            values |= {"width": width, "height": height, "wide": width > HALF_WIDTH}
            values["data"] = base64.b64encode(png).decode()
        return values


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,  # a missing value is an error, not an empty place on the page
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_clean,
    )


def _macro(name: str, *values: Any) -> Markup:
    """Call one of the macros of `macros.html.jinja`."""
    return Markup(getattr(_environment().get_template("macros.html.jinja").module, name)(*values))


def _clean(value: Any) -> Any:
    """Replace characters that cannot be printed, or written as UTF-8, in a value of a template."""
    if hasattr(value, "__html__"):
        return value
    return "".join(
        c if c.isprintable() or c in _PRINTABLE_EXCEPTIONS else "\N{REPLACEMENT CHARACTER}"
        for c in str(value)
    )


def _base64_size(images: Iterable[bytes]) -> int:
    """Bytes that images take in base64."""
    return sum(-(-len(png) // 3) * 4 for png in images)


def _quantize(png: bytes) -> bytes:
    """The same image with 256 colours at most."""
    from PIL import Image  # comes with matplotlib

    stream = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        # Dithering would turn flat areas into noise, which PNG cannot compress.
        few = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        few.save(stream, format="png", optimize=True)
    return stream.getvalue()
