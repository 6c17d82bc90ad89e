"""Write src/elman/lab/page/fromScratch.js: the lines of examples/rnn_from_scratch.py for the lab.

    python scripts/lab_code.py

An installed elman has no examples/, so the page holds a copy of three functions, with their line
numbers and the lines that its equations stand for. A line is found by its text. A test holds that
the copy is what this script makes.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "rnn_from_scratch.py"
MODULE = ROOT / "src" / "elman" / "lab" / "page" / "fromScratch.js"
FUNCTIONS = ("forward", "cross_entropy", "loss_and_gradients")
# The `line` of an equation in the page, and a text that only that line of the example has.
PLACES = {
    "step": "h[:, t] = np.tanh(",
    "output": "@ V.T + b_y",
    "probability": "log_p = shifted",
    "dy": "return -(true * log_p)",
    "above": 'dh = dy @ params["V"]',
    "da": "da = dh *",
    "dW": 'grads["W"] +=',
    "dU": 'grads["U"] +=',
    "db": 'grads["b_h"] +=',
    "back": 'dh = da @ params["U"]',
}
HEADER = """\
// Made by scripts/lab_code.py from examples/rnn_from_scratch.py; do not edit.

/** Functions with the number of their first line, and the line of an equation by its `line`. */
export const fromScratch = {
  file: "examples/rnn_from_scratch.py",
"""


def find_line(lines: list[str], text: str) -> int:
    """Return the number, from 1, of the only line that contains a text.

    Raises: ValueError if no line or more than one does.
    """
    found = [number for number, line in enumerate(lines, 1) if text in line]
    if len(found) != 1:
        raise ValueError(f"{EXAMPLE.name}: {len(found)} lines contain {text!r}, expected 1")
    return found[0]


def find_function(lines: list[str], name: str) -> tuple[int, str]:
    """Return the number of the first line of a function, from 1, and its text."""
    first = find_line(lines, f"def {name}(")
    after = [n for n, line in enumerate(lines) if n >= first and line and not line[0].isspace()]
    return first, "\n".join(lines[first - 1 : after[0]]).rstrip()


def make_module(source: str) -> str:
    """Return the text of fromScratch.js for the text of the example."""
    lines = source.splitlines()
    functions = ""
    for name in FUNCTIONS:
        first, body = find_function(lines, name)
        if "'" in body or "\\" in body:
            raise ValueError(f"{EXAMPLE.name}: {name} holds ' or \\, which need an escape here")
        texts = "".join(f"      '{line}',\n" for line in body.split("\n"))
        functions += (
            f'    {{ name: "{name}", first: {first}, text: [\n{texts}    ].join("\\n") }},\n'
        )
    places = "".join(f"    {key}: {find_line(lines, text)},\n" for key, text in PLACES.items())
    return f"{HEADER}  functions: [\n{functions}  ],\n  lines: {{\n{places}  }},\n}};\n"


if __name__ == "__main__":
    MODULE.write_text(make_module(EXAMPLE.read_text(encoding="utf-8")), encoding="utf-8")
