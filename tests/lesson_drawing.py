"""The drawing of the unrolled network in docs/understand.md, as SVG text.

It brings its own background, so that it is legible on a light and on a dark page; where the reader
prefers dark, background and ink change together.
"""

from __future__ import annotations

import itertools

STYLE = """
  .card { fill: #ffffff; stroke: #c8c8c8 }
  .box { fill: #e3f0f8; stroke: #0072b2; stroke-width: 1.5 }
  .input { fill: #f4f4f4; stroke: #767676 }
  .output { fill: #fdeee3; stroke: #d55e00; stroke-width: 1.5 }
  text { font: italic 17px Georgia, "Times New Roman", serif; fill: #333333; text-anchor: middle }
  text.note { font: 13px Helvetica, Arial, sans-serif; fill: #5c5c5c }
  text.weight { fill: #0072b2 }
  text.weight.output-weight { fill: #b54f00 }
  tspan.sub { font-size: 12px }
  path { fill: none; stroke: #5c5c5c; stroke-width: 1.5 }
  .head { fill: #5c5c5c }
  @media (prefers-color-scheme: dark) {
    .card { fill: #161b22; stroke: #4a5058 }
    .box { fill: #12324a; stroke: #56b4e9 }
    .input { fill: #262c34; stroke: #9aa0a6 }
    .output { fill: #452a14; stroke: #e69f00 }
    text { fill: #e6e6e6 }
    text.note { fill: #b4b9bf }
    text.weight { fill: #7cc4ef }
    text.weight.output-weight { fill: #eeb33b }
    path { stroke: #b4b9bf }
    .head { fill: #b4b9bf }
  }
""".strip("\n")
WIDTH, HEIGHT = 800, 300
BOX = 54  # side of the square of a state
STATES, INPUTS, OUTPUTS = 150, 240, 58  # heights of the middles of the three rows


def symbol(x: float, y: float, letter: str, index: str = "", kind: str = "") -> str:
    """A letter with its index, around x, on the line y."""
    sub = f'<tspan class="sub" dy="4">{index}</tspan>' if index else ""
    name = f' class="{kind}"' if kind else ""
    return f'<text{name} x="{x:g}" y="{y:g}">{letter}{sub}</text>'


def note(x: float, y: float, words: str) -> str:
    """Upright words, around x, on the line y."""
    return f'<text class="note" x="{x:g}" y="{y:g}">{words}</text>'


def box(x: float, y: float, kind: str = "box", size: float = BOX) -> str:
    """A square around (x, y)."""
    corner = f'x="{x - size / 2:g}" y="{y - size / 2:g}"'
    return f'<rect class="{kind}" {corner} width="{size:g}" height="{size:g}" rx="7"/>'


def arrow(*points: tuple[float, float]) -> str:
    """A line through the points with a head at its end."""
    line = "M" + " L".join(f"{x:g} {y:g}" for x, y in points)
    return f'<path d="{line}" marker-end="url(#head)"/>'


def column(x: float, index: str) -> list[str]:
    """One step: the input below, W, and the state."""
    return [
        box(x, INPUTS, "input", 40),
        symbol(x, INPUTS + 5, "x", index),
        arrow((x, INPUTS - 20), (x, STATES + BOX / 2 + 2)),
        symbol(x + 16, INPUTS - 34, "W", kind="weight"),
        box(x, STATES),
        symbol(x, STATES + 5, "h", index),
    ]


def between(left: float, right: float) -> list[str]:
    """The arrow from one state to the next, with U."""
    ends = (left + BOX / 2, STATES), (right - BOX / 2 - 2, STATES)
    return [arrow(*ends), symbol((left + right) / 2, STATES - 9, "U", kind="weight")]


def output(x: float) -> list[str]:
    """What reads the state at x: V, the logits y, and the probabilities p."""
    return [
        arrow((x, STATES - BOX / 2), (x, OUTPUTS + 22)),
        symbol(x - 15, STATES - 40, "V", kind="weight output-weight"),
        box(x, OUTPUTS, "output", 40),
        symbol(x, OUTPUTS + 5, "y"),
        arrow((x + 20, OUTPUTS), (x + 86, OUTPUTS)),
        note(x + 53, OUTPUTS - 10, "softmax"),
        symbol(x + 99, OUTPUTS + 5, "p"),
    ]


def unrolled() -> str:
    """The network as a loop on the left, and once per step on the right."""
    loop, steps = 78.0, {"1": 300.0, "2": 410.0, "3": 520.0, "T": 676.0}
    top, side = STATES - 58, loop + 52
    parts = [
        *column(loop, "t"),
        arrow(
            (loop + BOX / 2, STATES),
            (side, STATES),
            (side, top),
            (loop, top),
            (loop, STATES - BOX / 2 - 2),
        ),
        symbol(side + 13, STATES - 28, "U", kind="weight"),
        note(loop, 288, "one network"),
        f'<text class="note" style="font-size: 22px" x="168" y="{STATES + 8}">=</text>',
        symbol(205, STATES + 5, "h", "0"),
        note(205, STATES + 28, "all zero"),
    ]
    for index, x in steps.items():
        parts += column(x, index)
        parts.append(note(x, 288, "last step" if index == "T" else f"step {index}"))
    places = list(steps.values())
    parts += between(205 - BOX / 2 + 16, places[0])
    for left, right in itertools.pairwise(places[:3]):
        parts += between(left, right)
    middle = (places[2] + places[3]) / 2
    parts += [
        arrow((places[2] + BOX / 2, STATES), (middle - 18, STATES)),
        note(middle, STATES + 4, "· · ·"),
        arrow((middle + 18, STATES), (places[3] - BOX / 2 - 2, STATES)),
        symbol(middle + 36, STATES - 9, "U", kind="weight"),
        symbol(places[2] + 42, STATES - 9, "U", kind="weight"),
        *output(places[3]),
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'width="{WIDTH}" height="{HEIGHT}" role="img" aria-labelledby="title">',
            '<title id="title">A recurrent network as a loop, and unrolled: at every step the same '
            "W reads the input x and the same U reads the previous state h; V reads the last "
            "state.</title>",
            f"<style>\n{STYLE}\n</style>",
            '<defs><marker id="head" viewBox="0 0 8 8" refX="6.5" refY="4" markerWidth="7" '
            'markerHeight="7" orient="auto"><path class="head" style="stroke: none" '
            'd="M0 0 L8 4 L0 8 z"/></marker></defs>',
            f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" '
            'rx="10"/>',
            *parts,
            "</svg>",
            "",
        ]
    )
