"""The equations of a step: their numbers give the pass, and stand where the page says they do."""

from __future__ import annotations

import json
import math
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from engine_cases import CELLS, OUTPUTS, READOUTS, every_choice, expected_of, make_case

from elman.lab.page import PAGE, modules_of
from elman.ops.cells import find_cell

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LAB_CODE = runpy.run_path(str(ROOT / "scripts" / "lab_code.py"))
EXAMPLE = ROOT / "examples" / "rnn_from_scratch.py"
CLAMPS = [
    {"layer": 1, "direction": 0, "name": "h", "unit": 1, "value": 0.3, "from": 1, "to": 4},
    {"layer": 0, "direction": 0, "name": "h", "unit": 0, "value": 0.5, "from": 2, "to": 2},
]


def joined(*names: str) -> str:
    """The modules that these import and a file of the tests, as one script."""
    order = dict.fromkeys(name for root in names for name in modules_of(root))
    texts = [(PAGE / f"{name}.js").read_text("utf-8") for name in order]
    texts.append((HERE / "equations.js").read_text("utf-8"))
    plain = (re.sub(r"^import \{[^}]*\} from [^;]*;\n", "", t, flags=re.MULTILINE) for t in texts)
    return re.sub(r"^export ", "", "".join(plain), flags=re.MULTILINE)


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    path = tmp_path_factory.mktemp("equations") / "page.html"
    script = joined("backward", "gradientEquations", "fromScratch")
    path.write_text(f'<meta charset="utf-8"><script>{script}</script>', encoding="utf-8")
    with browser.open_page(path, wait=False) as opened:
        yield opened
        assert not opened.errors


def check(page, case, changes=None):
    return page.run(f"checkEquations({json.dumps(case.to_json(changes))})")


def clamps_of(cell: str) -> list[dict]:
    own = {"rnn": [], "gru": ["r", "z", "n"], "lstm": ["i", "f", "g", "o", "c"]}[cell]
    return CLAMPS + [
        {"layer": 1, "direction": 0, "name": name, "unit": u, "value": 0.2, "from": 1, "to": 3}
        for u, name in enumerate(own)
    ]


@pytest.mark.parametrize("touched", [False, True], ids=["as it is", "clamped and erased"])
@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("cell", CELLS, ids="-".join)
def test_the_numbers_give_the_pass(page, cell, readout, touched):
    turn = READOUTS.index(readout)
    kind = ("numbers", "tokens", "mixed", "categories")[turn]
    task = ("classification", "multilabel", "regression")[turn % 3]
    static = (None, "readout", "state", "both")[turn]
    case = make_case(*cell, 2, turn != 0, readout, kind, task, static)
    changes = {"clamps": clamps_of(cell[0]), "erased": [0, 3]} if touched else {}
    found = check(page, case, changes)
    assert found["worst"] < 1e-12 and found["sums"] < 1e-12
    assert found["count"] > 500 and found["added"] == 5 * 3 * (2 if turn == 0 else 4)
    assert bool(found["clamped"]) is touched
    if touched:
        return
    expected = expected_of(case)
    blocks = find_cell(*cell).blocks
    for place in ("0 forward", "1 forward"):
        layer = f"{place[0]} 0"
        for name in find_cell(*cell).traced:
            values = np.reshape(found["values"][f"{layer} {name}"], (5, -1)).T
            np.testing.assert_allclose(values, expected[f"{place} {name}"], atol=1e-7)
        da = expected[f"{place} da"].reshape(-1, len(blocks), 5)
        for b, name in enumerate(blocks):
            values = np.reshape(found["values"][f"{layer} da_{name}"], (5, -1)).T
            np.testing.assert_allclose(values, da[:, b], atol=1e-7)
        values = np.reshape(found["values"][f"{layer} dh"], (5, -1)).T
        np.testing.assert_allclose(values, expected[f"{place} dh"], atol=1e-7)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_gates_of_tanh_have_their_own_slope(page, cell):
    """Networks that are trained in the page can have them."""
    case = make_case(cell, "tanh", 2, True, "last", "numbers", "classification", None)
    given = case.to_json(None)
    given["config"]["gate_activation"] = "tanh"
    found = page.run(f"checkEquations({json.dumps(given)})")
    assert found["worst"] < 1e-12 and found["sums"] < 1e-12 and found["count"] > 500


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS, ids="-".join)
def test_the_numbers_give_the_pass_of_every_network(page, cell):
    for choice in every_choice():
        if choice[:2] != cell:
            continue
        case = make_case(*choice, units=3, steps=4)
        for changes in ({}, {"clamps": CLAMPS[1:], "erased": [1]}):
            found = check(page, case, changes)
            assert found["worst"] < 1e-11 and found["sums"] < 1e-11, (case.name, changes)


@pytest.mark.parametrize("cell", CELLS, ids="-".join)
def test_the_line_of_numbers_can_be_calculated(page, cell):
    """Brackets and signs are such that Python, too, calculates the value from the text."""
    names = {
        "sigmoid": lambda a: 1 / (1 + math.exp(-a)),
        "tanh": math.tanh,
        "relu": lambda a: max(0.0, a),
        "__builtins__": {},
    }
    case = make_case(*cell, 1, False, "every", "numbers", "multilabel", seed=3)
    place = {"layer": 0, "direction": 0, "unit": 2, "step": 3, "output": 1}
    written = page.run(f"writeEquations({json.dumps(case.to_json())}, {json.dumps(place)})")
    assert len(written) >= 13 - len(find_cell(*cell).gates)
    for key, _, numbers, value, _ in written:
        for sign, python in (("−", "-"), ("·", "*"), ("σ", "sigmoid"), ("²", "**2")):
            numbers = numbers.replace(sign, python)
        assert eval(numbers, names) == pytest.approx(value, abs=1e-12), (key, numbers)


def test_the_equations_are_those_of_the_library(page):
    """The symbols of the new states, as the docstrings of ops/cells.py and explain/backward.py."""
    expected = {
        ("rnn", "tanh"): {"h": "tanh(a_t)", "da_h": "dh_t · (1 − h_t²)"},
        ("rnn", "relu"): {"h": "relu(a_t)", "da_h": "dh_t · [h_t > 0]"},
        ("gru", "tanh"): {
            "h": "(1 − z_t) · n_t + z_t · h_t-1",
            "a_n": "W_n x_t + b_n + r_t · u_n",
            "da_z": "dh_t · (h_t-1 − n_t) · z_t · (1 − z_t)",
        },
        ("lstm", "tanh"): {
            "c": "f_t · c_t-1 + i_t · g_t",
            "h": "o_t · tanh(c_t)",
            "dc": "back_c,t+1 + dh_t · o_t · (1 − tanh(c_t)²)",
        },
    }
    for cell, symbols in expected.items():
        case = make_case(*cell, outputs=OUTPUTS)
        place = {"layer": 0, "direction": 0, "unit": 0, "step": 1, "output": 0}
        written = page.run(f"writeEquations({json.dumps(case.to_json())}, {json.dumps(place)})")
        found = {key: text for key, text, *_ in written}
        assert {key: found[key] for key in symbols} == symbols
    case = make_case("gru", bidirectional=True)
    place = {"layer": 0, "direction": 1, "unit": 0, "step": 1, "output": 0}
    written = page.run(f"writeEquations({json.dumps(case.to_json())}, {json.dumps(place)})")
    found = {key: text for key, text, *_ in written}
    assert found["h"] == "(1 − z_t) · n_t + z_t · h_t+1"
    assert found["back"] == "dh_t-1 · z_t-1 + U⊤ du_t-1"


def test_lines_of_the_example_are_true():
    """The page's copy of rnn_from_scratch.py is the file; if not: python scripts/lab_code.py."""
    made = LAB_CODE["make_module"](EXAMPLE.read_text("utf-8"))
    assert (PAGE / "fromScratch.js").read_text("utf-8") == made


def test_every_line_of_an_equation_is_known(page):
    case = make_case("rnn", "tanh")
    place = {"layer": 0, "direction": 0, "unit": 0, "step": 1, "output": 0}
    written = page.run(f"writeEquations({json.dumps(case.to_json())}, {json.dumps(place)})")
    lines = page.run("fromScratch.lines")
    assert {line for *_, line in written if line} == set(lines)
    for name, number in lines.items():
        text = page.run(
            f"fromScratch.functions.map(({{ first, text }}) => text.split('\\n')[{number} - first])"
        )
        assert any(LAB_CODE["PLACES"][name] in (each or "") for each in text)


def test_a_moved_or_doubled_line_is_noticed():
    source = EXAMPLE.read_text("utf-8")
    moved = LAB_CODE["make_module"]("# one more line\n" + source)
    assert moved != LAB_CODE["make_module"](source)
    first, second = (
        int(re.search(r"step: (\d+)", text)[1])  # type: ignore[index]
        for text in (LAB_CODE["make_module"](source), moved)
    )
    assert second == first + 1
    with pytest.raises(ValueError, match="2 lines contain"):
        LAB_CODE["make_module"](source + "\n# da = dh * 2\n")
    with pytest.raises(ValueError, match="0 lines contain"):
        LAB_CODE["make_module"](source.replace("np.tanh(", "np.sin("))
