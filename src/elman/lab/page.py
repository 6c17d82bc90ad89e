"""The lab as one file: template, style sheet, modules and data put together.

The JavaScript is written as plain modules, without a build step. Here the modules that `main.js`
imports, directly or not, are joined in one script: each once, before those that import it, without
its `import` and `export`. So their names at the top level must be unique; a test holds this.
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
_VENDOR = "uPlot.iife.min.js"

# Modules that workers run: their text, for a Blob address, is the constant of this name.
WORKERS = {"worker": "WORKER_SOURCE"}


def build_page(payload: dict[str, Any], *, live: bool = False) -> str:
    """Return the page as one HTML document that opens offline.

    Args:
        payload: see `elman.lab.payload`.
        live: whether the page may ask the server that it came from.
    """
    script = _script()
    style = read("vendor/uPlot.min.css") + read("style.css")
    runs = payload["runs"]
    title = " and ".join(run["name"] for run in runs) or "Recurrent networks"
    fields = {
        "policy": _policy(script, live=live),
        "title": _escape(f"{title}: elman lab"),
        "summary": _escape(payload.get("summary", "")),
        "version": version("elman"),
        "style": style,
        "data": encode_json(payload),
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
def _script() -> str:
    """Return the script of the page: uPlot, the source of the workers, and our modules."""
    workers = "".join(
        f"const {constant} = {json.dumps(join_modules(name))};\n".replace("<", "\\u003c")
        for name, constant in WORKERS.items()
        if (PAGE / f"{name}.js").exists()
    )
    # Our names are the script's own, not the window's.
    script = f"{read(f'vendor/{_VENDOR}')}\n(() => {{\n{workers}{join_modules('main')}}})();\n"
    if "</script" in script.lower():
        raise ElmanError("the page's script holds </script, which would end it")
    return script


def join_modules(root: str) -> str:
    """Return the text of a module and of all that it imports, as one script."""
    return '"use strict";\n' + "".join(_plain(name) for name in modules_of(root))


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


def _plain(name: str) -> str:
    """Return the text of a module without its imports and exports."""
    return _EXPORT.sub("", _IMPORT.sub("", read(f"{name}.js")))


def _policy(script: str, *, live: bool) -> str:
    """Return the content security policy: this script and no other, and no request."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    source = "'self'" if live else "'none'"
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        f"img-src data: blob:; worker-src blob:; connect-src {source}; base-uri 'none'; "
        "form-action 'none'"
    )


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
