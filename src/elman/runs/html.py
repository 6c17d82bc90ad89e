"""Self-contained HTML pages with embedded figures, rendered from jinja2 templates.

A page is one file without scripts or external resources. All pages share the layout of
`templates/page.html.jinja`; tables, facts and notes are macros of `templates/macros.html.jinja`.
"""

from __future__ import annotations

import base64
import dataclasses
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

HALF_WIDTH = 520  # in CSS pixels: two figures of this width fit side by side on a page of 60 rem
MOST_BYTES = 2_400_000  # bytes of a page's figures in base64; keeps the page below 3 MB
_TEMPLATES = Path(__file__).with_name("templates")
_PRINTABLE_EXCEPTIONS = "\n\t\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class PageFigure:
    """A PNG file on a page.

    Args:
        path: the file.
        title: title of the figure.
        caption: what is shown and what to look for.
        alt: alternative text; the title is used if it is empty.
    """

    path: Path
    title: str
    caption: str
    alt: str = ""


def render(template: str, **context: Any) -> Markup:
    """Return a template of this package filled with values, which are escaped unless Markup.

    Args:
        template: file name such as `page.html.jinja`; the file lists its values.
    """
    return Markup(_environment().get_template(template).render(**context))


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], name: str, *, ends_in_text: bool = False
) -> Markup:
    """Return a table whose first column names the rows.

    Args:
        name: description of the content for screen readers.
        ends_in_text: whether the last column is text, which is left-aligned.
    """
    return _macro("table", head, rows, name, ends_in_text)


def facts(values: Mapping[str, object]) -> Markup:
    """Return names and values, one pair per line; empty values are omitted."""
    return _macro("facts", values)


def paragraphs(text: str) -> Markup:
    """Return a paragraph for each line of a text."""
    return _macro("paragraphs", text)


def note(text: str) -> Markup:
    """Return a note in small print; empty for an empty text."""
    return _macro("note", text)


def verbatim(text: str, name: str) -> Markup:
    """Return text in a fixed-width font, as in a terminal."""
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
    """The figures of one page, read once and compressed to a maximum size without loss.

    Args:
        paths: PNG files, the most important first.
        most: maximum bytes of all figures in base64. Larger ones are compressed as lossless WebP,
            which keeps every pixel's colour; if that is not enough, the last ones are omitted, and
            the page says where they are.
    """

    def __init__(self, paths: Sequence[Path], most: int = MOST_BYTES) -> None:
        images = {path: _Image.of_png(path.read_bytes()) for path in paths}
        if _base64_size(images.values()) > most:
            images = {path: image.compressed() for path, image in images.items()}
        # Figures that do not fit are named on the page and remain as separate files.
        while images and _base64_size(images.values()) > most:
            images.popitem()
        self._images = images

    def show(self, *figures: PageFigure) -> Markup:
        """Return figures side by side, as HTML; empty for none."""
        return _macro("figures", [self._image(figure) for figure in figures])

    def _image(self, figure: PageFigure) -> dict[str, Any]:
        """Return the values that the macro `figures` reads."""
        values: dict[str, Any] = {
            "title": figure.title,
            "caption": figure.caption,
            "alt": figure.alt or figure.title,
            "where": f"{figure.path.parent.name}/{figure.path.name}",
            "data": "",
        }
        if image := self._images.get(figure.path):
            wide = image.width > HALF_WIDTH
            values |= {"width": image.width, "height": image.height, "wide": wide}
            values |= {"format": image.format, "data": base64.b64encode(image.content).decode()}
        return values


@dataclass(frozen=True)
class _Image:
    """A compressed image, its format as in its media type, and its size in CSS pixels."""

    content: bytes
    format: str
    width: int
    height: int

    @classmethod
    def of_png(cls, png: bytes) -> _Image:
        # A PNG begins with 16 bytes of signature and chunk header, then its width and height.
        width, height = (n * 96 // style.DPI for n in struct.unpack(">II", png[16:24]))
        return cls(png, "png", width, height)

    def compressed(self) -> _Image:
        """Return the same pixels as WebP, which takes about half of a PNG's bytes."""
        from PIL import Image, features  # installed with matplotlib

        if not features.check("webp"):
            return self
        stream = io.BytesIO()
        with Image.open(io.BytesIO(self.content)) as image:
            # Without `exact`, colours of transparent pixels may change.
            image.save(stream, format="webp", lossless=True, exact=True, quality=60, method=4)
        if len(stream.getvalue()) >= len(self.content):
            return self
        return dataclasses.replace(self, content=stream.getvalue(), format="webp")


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,  # makes a missing value an error instead of an empty string
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_clean,
    )


def _macro(name: str, *values: Any) -> Markup:
    """Call one of the macros of `macros.html.jinja`."""
    return Markup(getattr(_environment().get_template("macros.html.jinja").module, name)(*values))


def _clean(value: Any) -> Any:
    """Replace characters of a template value that cannot be printed or encoded as UTF-8."""
    if hasattr(value, "__html__"):
        return value
    text = str(value)
    if text.isprintable():  # also megabytes of a figure, at once
        return text
    return "".join(
        c if c.isprintable() or c in _PRINTABLE_EXCEPTIONS else "\N{REPLACEMENT CHARACTER}"
        for c in text
    )


def _base64_size(images: Iterable[_Image]) -> int:
    """Return the size of images in base64, in bytes."""
    return sum(-(-len(image.content) // 3) * 4 for image in images)
