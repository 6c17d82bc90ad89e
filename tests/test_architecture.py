"""The levels of the rooms: imports point down only, are light, and run no hidden code."""

import ast
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import elman

SRC = Path(elman.__file__).parent
TESTS = Path(__file__).parent
FILES = sorted(SRC.rglob("*.py"))

LEVELS = {
    "errors": -2,
    "untrusted": -1.95,
    "disk": -1.9,
    "guards": -1.85,
    "memory": -1.85,
    "files": -1.8,
    "formats": -2,
    "tasks": -2,
    "validation": -1.5,
    "settings": -1,
    "setting_list": -0.9,
    "_core": -1,
    "ops": 0,
    "layers": 1,
    "data": 1,
    "models": 2,
    "train": 3,
    "evaluate": 3,
    "explain": 3.5,  # its results draw themselves, by plots
    "plots": 3,
    "lab": 3.9,
    "estimators": 4,
    "export": 4.5,
    "runs": 5,
    "serve": 5.5,
    "cli": 6,
    "__main__": 7,
    "__init__": 7,  # hands out names of the rooms below, when they are asked for
}


@dataclass(frozen=True)
class Import:
    """One imported elman module: where, what, and whether for type checkers alone."""

    line: int
    target: str
    typing_only: bool


def room(module):
    """The part of elman a dotted name below it belongs to: `elman.train.loop` is in `train`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in LEVELS else "__init__"


def is_type_checking(test):
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"


def imports(tree, package):
    """Every import in a file, those inside functions and by importlib too.

    Args:
        package: dotted package the file is in, for relative imports.
    """
    found = []

    def visit(node, typing_only):
        if isinstance(node, ast.If) and is_type_checking(node.test):
            for child in node.body:
                visit(child, True)
            for child in node.orelse:
                visit(child, typing_only)
            return
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join(parts[: len(parts) - node.level + 1] + [base] * bool(base))
            # `from elman import ops` names a module, `from elman import load` does not.
            names = [f"elman.{a.name}" for a in node.names] if base == "elman" else [base]
        elif isinstance(node, ast.Call):
            function = node.func
            called = getattr(function, "attr", getattr(function, "id", ""))
            if called in ("import_module", "__import__"):
                names = [a.value for a in node.args if isinstance(a, ast.Constant)]
        found.extend(Import(node.lineno, str(name), typing_only) for name in names)
        for child in ast.iter_child_nodes(node):
            visit(child, typing_only)

    visit(tree, False)
    return found


def upward(source, path):
    """Imports of a file that do not point down: line and what is imported.

    Args:
        source: its text.
        path: below src/elman, as `train/loop.py`.
    """
    own = path.parts[0].removesuffix(".py")
    package = ".".join(["elman", *path.parts[:-1]])
    wrong = []
    for found in imports(ast.parse(source), package):
        if found.target.split(".")[0] != "elman":
            continue
        other = room(found.target)
        if other == own or (other == "__init__" and found.target == "elman.__version__"):
            continue
        # Types of the same level, and of explain's results in plots, which they draw themselves by.
        sideways = LEVELS[other] - LEVELS[own] < 1 and found.typing_only
        if LEVELS[other] >= LEVELS[own] and not sideways:
            wrong.append(f"{path}:{found.line} imports {found.target}")
    return wrong


def test_imports_point_down_only():
    wrong = []
    for file in FILES:
        path = file.relative_to(SRC)
        wrong += upward(file.read_text(encoding="utf-8"), path)
    assert not wrong, "\n".join(wrong)


def test_every_room_has_a_level():
    rooms = {p.stem for p in SRC.glob("*.py")} | {p.parent.name for p in SRC.glob("*/__init__.py")}
    assert rooms <= set(LEVELS)
    assert len(FILES) > 30


@pytest.mark.parametrize(
    ("path", "source", "wrong"),
    [
        ("train/loop.py", "from elman.models import SequenceModel", False),
        ("train/loop.py", "from elman.estimators import load", True),
        ("train/loop.py", "import elman.evaluate", True),
        ("train/loop.py", "def f():\n    from elman import plots", True),
        ("train/loop.py", "from ..evaluate import report", True),
        ("train/loop.py", "from .schedule import learning_rate", False),
        ("train/loop.py", "from elman import SequenceClassifier", True),
        ("train/loop.py", "from elman import __version__", False),
        ("train/loop.py", "import importlib\nimportlib.import_module('elman.cli')", True),
        ("train/loop.py", "if TYPE_CHECKING:\n    from elman.evaluate import Report", False),
        ("train/loop.py", "if TYPE_CHECKING:\n    from elman.estimators import load", True),
        ("train/loop.py", "if typing.TYPE_CHECKING:\n    pass\nelse:\n    import elman.runs", True),
        ("layers/recurrent.py", "from elman.data import Ragged", True),
        ("errors.py", "from elman.setting_list import list_settings", True),
        ("settings.py", "from elman.errors import SettingsError", False),
        ("ops/functional.py", "from elman.ops.dispatch import run_layer", False),
        ("ops/functional.py", "from elman.layers import GRU", True),
        ("cli/train.py", "from elman.runs import run\nfrom elman.data import read", False),
        ("runs/report_page.py", "from elman.cli import main", True),
        ("data/read.py", "import elmanlike.cli", False),
    ],
)
def test_the_walk_sees_what_points_up(path, source, wrong):
    assert bool(upward(source, Path(path))) == wrong


def test_the_reference_needs_torch_and_the_table_alone():
    """The papers' equations are readable with torch and the table of cells alone.

    They judge everything else, so nothing else may enter them.
    """
    for name in ("reference.py", "cells.py"):
        text = (SRC / "ops" / name).read_text(encoding="utf-8")
        targets = {i.target for i in imports(ast.parse(text), "elman.ops")}
        ours = {t for t in targets if t.startswith("elman")}
        assert ours <= {"elman.ops.cells", "elman.errors", "elman.settings"}, name
        others = {t.split(".")[0] for t in targets - ours}
        assert others <= {"torch", *sys.stdlib_module_names}, name


# pydantic alone would double the time of `elman --help`; see elman.validation.
HEAVY = ["torch", "numpy", "sklearn", "matplotlib", "pydantic", "pyarrow", "scipy", "pandas"]


@pytest.mark.parametrize("module", ["elman", "elman.errors", "elman.settings", "elman.cli"])
def test_import_is_light(module):
    """In a process of its own: `elman --help` must not wait for torch."""
    code = f"import {module}, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]", done.stdout


UNSAFE_MODULES = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "runpy", "shelve", "yaml"}
UNSAFE_MODULES |= {"_pickle", "code", "builtins", "jsonpickle", "torch.hub", "torch.package"}
UNSAFE_NAMES = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "torch.save"}
UNSAFE_NAMES |= {f"{module}.load" for module in ("torch", "torch.jit", "torch.export", "numpy")}
UNSAFE_NAMES |= {"torch.serialization.load", "torch.hub.load", "numpy.lib.npyio.load"}
UNSAFE_OPTIONS = {"allow_pickle", "trust_remote_code", "weights_only", "shell"}
PICKLING = ("read_pickle", "to_pickle")


def full_names(tree):
    """What each imported name of a file stands for: `np` for `numpy`."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {a.asname: a.name for a in node.names if a.asname}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return found


def unsafe(source):
    """Names in a file through which data could become code, called or only mentioned."""
    tree = ast.parse(source)
    known = full_names(tree)

    def resolve(node):
        if isinstance(node, ast.Attribute):
            return f"{resolve(node.value)}.{node.attr}"
        return known.get(node.id, node.id) if isinstance(node, ast.Name) else "?"

    found = [name for name in known.values() if name in UNSAFE_NAMES]
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            name = resolve(node)
            if name in UNSAFE_NAMES or name.endswith(PICKLING):
                found.append(name)
        elif isinstance(node, ast.Call):
            found += sorted({k.arg for k in node.keywords} & UNSAFE_OPTIONS)
    targets = [found_import.target for found_import in imports(tree, "")]
    return found + [t for t in targets if {t, t.split(".")[0]} & UNSAFE_MODULES]


def test_no_pickle_and_no_code_from_files():
    found = {str(f.relative_to(SRC)): unsafe(f.read_text(encoding="utf-8")) for f in FILES}
    assert not {name: names for name, names in found.items() if names}


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("import pickle", True),
        ("def f():\n    from pickle import loads", True),
        ("import torch\ntorch.load(path, weights_only=True)", True),
        ("np.load(path, allow_pickle=True)", True),
        ("eval('1')", True),
        ("exec(text)", True),
        ("model.eval()", False),
        ("re.compile('x')", False),
        ("'no pickle here'", False),
        ("__import__(name)", True),
        ("run = eval", True),
        ("from torch import load", True),
        ("from torch import load as read\nread(path)", True),
        ("import torch as t\nt.load(path)", True),
        ("import numpy\nnumpy.load(path)", True),
        ("from numpy import load\nload(path)", True),
        ("import yaml\nyaml.load(text)", True),
        ("from joblib import load", True),
        ("import builtins", True),
        ("import pandas as pd\npd.read_pickle(path)", True),
        ("subprocess.run(text, shell=True)", True),
        ("torch.compile(f)", False),
        ("from safetensors.torch import save", False),
    ],
)
def test_the_search_sees_what_is_unsafe(source, wrong):
    assert bool(unsafe(source)) == wrong
