"""Networks and pages for the tests of touching and scrubbing, and what these read of a page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import torch

from elman.explain import trace
from elman.lab.page import build_page
from elman.lab.payload import describe_run

TOP = 8  # pixels above the lines of a chart, as in lineChart.js


def write_page(path: Path, model: Any, X: Any, y: Any = None, **options: Any) -> Path:
    """Write the page of one network."""
    run = describe_run(model, X, y, name=path.stem, **options)
    payload = {"version": 1, "elman": "0", "mode": "file", "notes": [], "runs": [run], "tasks": []}
    path.write_text(build_page(payload), encoding="utf-8")
    return path


def sharpen(model: Any, sequence: Any, factor: float = 2.0) -> Any:
    """Make a small change of the input change the answer visibly.

    The weights become larger, and the answer to this sequence undecided.
    """
    with torch.no_grad():
        for weight in model.model_.parameters():
            weight.mul_(factor)
        model.model_.output.bias -= torch.tensor(trace(model, sequence).outputs[-1])
    return model


def fit(kind: type[Any], X: Any, y: Any, **options: Any) -> Any:
    """Train an estimator for one epoch, whose answers depend clearly on the input."""
    names = {"column_names": options.pop("column_names")} if "column_names" in options else {}
    static = {"static": options.pop("static")} if "static" in options else {}
    settings: dict[str, Any] = {"hidden_size": 5, "validation": 0, "epochs": 1, "random_state": 0}
    model = kind(**settings | options).fit(X, y, **names, **static)
    first = {name: values[:1] for name, values in static.get("static", {}).items()}
    return sharpen(model, model.encode(X[:1], static=first) if static else X[0])


def make_mixed(count: int = 6, steps: int = 7) -> tuple[list[Any], list[str], dict[str, Any]]:
    """Sequences of a temperature with gaps, a load and a category; labels; static features."""
    rng = np.random.default_rng(3)
    X = [np.empty((steps, 3), dtype=object) for _ in range(count)]
    for x in X:
        x[:, 0], x[:, 1] = rng.normal(20, 5, steps).round(1), rng.normal(0, 40, steps).round(1)
        x[:, 2] = rng.choice(["idle", "run", "fault"], steps)
    X[0][2, 0], X[1][0, 0], X[2][3, 2] = None, None, None
    static = {"age": [1.0, 2.5, None, 4.0, 7.0, 3.0], "make": ["A", "B", None, "A", "B", "A"]}
    return X, ["calm", "rough", "calm", "rough", "calm", "rough"], static


def state_of(page: Any) -> dict[str, Any]:
    """The state in the address of the page."""
    parts = re.findall(r"(\w+)=([^&]*)", page.run("location.hash"))
    return {name: json.loads(unquote(value)) for name, value in parts}


def go_to(page: Any, step: int) -> None:
    """Move the slider to a step, counted from 0."""
    page.run(
        "(() => { const s = document.getElementById('choose-step');"
        f" s.value = {step + 1}; s.dispatchEvent(new Event('input')); }})()"
    )
    page.settle()


def wait_until_drawn(page: Any, chart_of: str = "#panel-gradient .body > canvas ~ canvas") -> None:
    """Wait for the lowest of the charts, so that nothing moves under the mouse any more."""
    page.wait_for(f"document.querySelector({json.dumps(chart_of)}).chart")
    page.settle()


def text(page: Any, selector: str) -> str:
    found: str = page.run(f"document.querySelector({json.dumps(selector)})?.textContent ?? ''")
    return found


def answers(page: Any, step: int) -> dict[str, float]:
    """Name and value of each output in the table of the answer at a step."""
    go_to(page, step)
    rows = page.run(
        "[...document.querySelectorAll('#panel-output table.bars tr')].map((row) =>"
        " [row.children[0].textContent, row.children[1].textContent])"
    )
    return {name: number(value) for name, value in rows}


def number(value: str) -> float:
    """The first number of a text of the page."""
    return float(re.search(r"-?[\d.]+(e-?\d+)?", value.replace("−", "-"))[0])  # type: ignore[index]


def chart(page: Any, selector: str) -> dict[str, Any]:
    """What a chart of lines shows: steps, low, high, bottom, and the values that can be dragged."""
    found: dict[str, Any] = page.run(
        f"(() => {{ const c = document.querySelector({json.dumps(selector)}); return "
        "{...c.chart, handles: [...c.chart.handles], width: c.clientWidth, height: c.clientHeight};"
        " })()"
    )
    return found


def point(drawn: dict[str, Any], step: int, value: float) -> tuple[float, float]:
    """Place of a value in a chart, as shares of the canvas."""
    left, right = 72, 10  # as in axis.js
    x = left + (drawn["width"] - left - right) * (step + 0.5) / drawn["steps"]
    share = (value - drawn["low"]) / (drawn["high"] - drawn["low"])
    return x / drawn["width"], (drawn["bottom"] - share * (drawn["bottom"] - TOP)) / drawn["height"]


def ghost_pixels(page: Any, selector: str) -> int:
    """How many pixels of a canvas have the colour of the former run."""
    found: int = page.run(
        f"(() => {{ const c = document.querySelector({json.dumps(selector)});"
        " const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0;"
        " for (let i = 0; i < d.length; i += 4)"
        " n += d[i] === 0x76 && d[i + 1] === 0x76 && d[i + 2] === 0x76; return n; })()"
    )
    return found
