"""The lab as one file: template, style sheet, modules and data put together.

The JavaScript is written as plain modules, without a build step. Here the modules that `main.js`
imports, directly or not, are joined in one script: each once, before those that import it, without
its `import` and `export`, comments and indentation. So their names at the top level must be unique,
and no text spans lines; tests hold this.

A worker, which trains beside the page, runs the same script: it comes as far as its own module and
returns there. So the modules that both need are in the page once.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from elman.errors import ElmanError

PAGE = Path(__file__).parent / "page"

_IMPORT = re.compile(r'^import \{[^}]*\} from "\./(\w+)\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(async )?function|class|const|let)", re.MULTILINE)
# Lines that are comments and no more, and empty lines.
_COMMENT = re.compile(r"^ *(/\*((?!\*/).)*\*/|//[^\n]*)?\n", re.MULTILINE | re.DOTALL)
ROOTS = ("main", "worker")
_ALONE = "This page asks nothing of any network: it can be kept, sent and opened offline."
_LIVE = "This page asks only the training that it shows, on this machine."


def build_page(payload: dict[str, Any], *, live: bool = False) -> str:
    """Return the page as one HTML document that opens offline.

    Args:
        payload: see `elman.lab.payload`.
        live: whether the page may ask the server that it came from.
    """
    vendor, script = read("vendor/uPlot.iife.min.js"), join_script()
    style = read("vendor/uPlot.min.css") + read("style.css")
    runs = payload["runs"]
    title = " and ".join(run["name"] for run in runs) or "Recurrent networks"
    fields = {
        "policy": _policy(vendor, script, live=live),
        "title": _escape(f"{title}: elman lab"),
        "summary": _escape(payload.get("summary", "")),
        "promise": _LIVE if live else _ALONE,
        "version": version("elman"),
        "style": style,
        "data": encode_json(payload),
        "vendor": vendor,
        "script": script,
    }
    return re.sub(r"\{\{ (\w+) \}\}", lambda found: fields[found[1]], read("index.html"))


def read(name: str) -> str:
    """Return the text of a file of the page."""
    return (PAGE / name).read_text(encoding="utf-8")


def encode_json(payload: dict[str, Any]) -> str:
    """Return JSON that can stand in an HTML element: without `<`, and in ASCII."""
    text = json.dumps(payload, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


@functools.cache
def join_script() -> str:
    """Return the script of the page and of its workers; its names are its own, not the window's."""
    shared = [name for name in modules_of("worker") if name != "worker"]
    rest = [name for name in modules_of("main") if name not in shared]
    script = (
        '(() => {\n"use strict";\n'
        + "".join(map(plain, shared))
        + f'if (typeof document === "undefined") {{\n{plain("worker")}return;\n}}\n'
        + "const WORKER_SOURCE = document.currentScript.textContent;\n"
        + "".join(map(plain, rest))
        + "})();\n"
    )
    if "</script" in script.lower():
        raise ElmanError("the page's script holds </script, which would end it")
    return script


def modules_of(root: str) -> list[str]:
    """Return the names of a module and of all that it imports, those that are imported first.

    Raises: ElmanError if modules import each other.
    """
    order: list[str] = []
    opened: list[str] = []

    def visit(name: str) -> None:
        if name in order:
            return
        if name in opened:
            raise ElmanError(f"modules import each other: {' -> '.join([*opened, name])}")
        opened.append(name)
        for imported in _IMPORT.findall(read(f"{name}.js")):
            visit(imported)
        order.append(opened.pop())

    visit(root)
    return order


def plain(name: str) -> str:
    """Return the text of a module without its imports, exports, comments and indentation."""
    text = _EXPORT.sub("", _IMPORT.sub("", read(f"{name}.js")))
    return re.sub(r"^ +", "", _COMMENT.sub("", text), flags=re.MULTILINE)


def _policy(*scripts: str, live: bool) -> str:
    """Return the content security policy: these scripts and no other, and no request."""
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    sources = " ".join(f"'sha256-{digest}'" for digest in digests)
    own = "'self'" if live else "'none'"
    return (
        f"default-src 'none'; script-src {sources}; style-src 'unsafe-inline'; "
        f"img-src data: blob:; worker-src blob:; connect-src {own}; "
        "base-uri 'none'; form-action 'none'"
    )


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
