"""The page that shows an OpenAPI document: HTML and a style, no script, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from typing import Any

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff; }
pre { background: #f4f4f4; padding: .8rem; overflow-x: auto; white-space: pre-wrap;
      overflow-wrap: anywhere; }
code { font-size: 14px; }
h2 { margin-top: 2rem; }
h3 code { font-size: 16px; }
summary { cursor: pointer; }
td { padding: .1rem 1rem .1rem 0; vertical-align: top; }
@media (prefers-color-scheme: dark) {
  body { color: #ddd; background: #181818; } pre { background: #282828; }
}
"""
_SUM = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
# A browser loads and runs nothing but the style above.
CONTENT_SECURITY = (
    f"default-src 'none'; style-src 'sha256-{_SUM}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def render(document: dict[str, Any], command: str) -> str:
    """Return the page.

    Args:
        document: from `openapi.make_document`.
        command: a command line to try.
    """
    info = document["info"]
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>{escape(info['title'])}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(info['title'])}</h1>",
        f"<p>Version {escape(info['version'])}: {escape(info['description'])}</p>",
        f"<h2>Try it</h2><pre><code>{escape(command)}</code></pre>",
        "<h2>Paths</h2>",
        *(
            _render_operation(path, method, operation)
            for path, item in document["paths"].items()
            for method, operation in item.items()
        ),
        "<h2>Schemas</h2>",
        *(_render_schema(*pair) for pair in document["components"]["schemas"].items()),
        '<p>The same for programs: <a href="/openapi.json">/openapi.json</a>, OpenAPI '
        f"{escape(document['openapi'])}</p></body></html>",
    ]
    return "\n".join(parts)


def _render_operation(path: str, method: str, operation: dict[str, Any]) -> str:
    request = operation.get("requestBody")
    asked = f"<p>Body: {_link(request)}</p>" if request else ""
    rows = "".join(
        f"<tr><td>{status}</td><td>{escape(answer['description'])}</td><td>{_link(answer)}</td></tr>"
        for status, answer in operation["responses"].items()
    )
    return (
        f"<h3><code>{method.upper()} {escape(path)}</code></h3>"
        f"<p>{escape(operation['summary'])}</p>{asked}<table>{rows}</table>"
    )


def _link(part: dict[str, Any]) -> str:
    """Return a link to the schema of a body, or its type."""
    for kind, content in part["content"].items():
        name = content["schema"].get("$ref", "").rpartition("/")[2]
        return f'<a href="#{name}">{name}</a>' if name else escape(kind)
    return ""


def _render_schema(name: str, schema: dict[str, Any]) -> str:
    text = escape(json.dumps(schema, indent=2, ensure_ascii=False))
    return f'<details id="{name}"><summary>{name}</summary><pre><code>{text}</code></pre></details>'
