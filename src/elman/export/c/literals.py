"""Numbers, strings and comments as C source."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.errors import ExportError

_WIDTH = 100
_LONGEST = 4095  # characters of a string that every C99 compiler must accept
_ESCAPES = {ord("\\"): "\\\\", ord('"'): '\\"', ord("?"): "\\?"}  # ?: trigraphs


def number(value: Any, kind: str) -> str:
    """Return a number as a constant that the compiler reads as the same number.

    Args:
        kind: its type in C: `float`, `double`, or a type of integers.
    """
    if kind not in ("float", "double"):
        return str(int(value))
    if np.isnan(value):
        return "NAN"
    # The shortest digits that are read back as the same float32 or float64.
    text = str(np.float32(value)) if kind == "float" else repr(float(value))
    text = text if "." in text or "e" in text else f"{text}.0"
    return f"{text}f" if kind == "float" else text


def numbers(values: Iterable[Any], kind: str) -> str:
    """Return numbers on one line."""
    return ", ".join(number(value, kind) for value in values)


def array(values: NDArray[Any], kind: str) -> str:
    """Return the lines of an array; each row of a matrix begins a new line."""
    lines: list[str] = []
    for own in values.reshape(len(values), -1) if values.ndim > 1 else [values]:
        line = "   "
        for value in own:
            text = f" {number(value, kind)},"
            if len(line) + len(text) > _WIDTH:
                lines.append(line)
                line = "   "
            line += text
        lines.append(line)
    return "\n".join(lines)


def string(text: str) -> str:
    """Return text as a string constant in UTF-8, of ASCII characters only.

    Raises: ExportError for text that is too long for a compiler.
    """
    content = text.encode("utf-8", "surrogatepass")
    if len(content) > _LONGEST:
        raise ExportError(
            f"the name {text[:40]!r}... has {len(content):,} bytes, and C compilers need to accept "
            f"{_LONGEST:,}. Train with shorter names"
        )
    # Three octal digits, because a longer hexadecimal escape would take in what follows.
    escaped = (_ESCAPES.get(b, chr(b) if 32 <= b < 127 else f"\\{b:03o}") for b in content)
    return f'"{"".join(escaped)}"'


def comment(text: str) -> str:
    """Return text that is safe in a comment: on one line, and without its end."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return line.replace("*/", "* /").replace("/*", "/ *").replace("??", "? ?").rstrip("\\")


def wrap(text: str, indent: str = "") -> list[str]:
    """Return text as lines of a comment; further ones begin with `indent`."""
    return textwrap.wrap(
        comment(text), _WIDTH - 3, subsequent_indent=indent, break_long_words=False
    ) or [""]
