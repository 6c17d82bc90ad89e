"""The compiled module and the packages it travels in: what lies inside, and that it works there."""

from __future__ import annotations

import ast
import operator
import os
import platform
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import elman
from elman import _core

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "elman"


def output(*command, **options):
    """What a command prints; the test shows all of it where the command fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, **options)
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout


def weak(file):
    """Functions of an object file of which the linker keeps one where several files have them."""
    symbols = [line.split() for line in output("nm", "--defined-only", str(file)).splitlines()]
    return {name for *_, kind, name in symbols if kind in "WVu"}


def mixed(build):
    """Functions that a plain CPU might get as compiled for AVX: theirs are not theirs alone.

    An inline function that the compiler did not inline is in every object file that uses it.
    """
    objects = {file: weak(file) for file in build.rglob("*.o")}
    avx = [file for file in objects if "kernels_avx" in str(file)]
    assert bool(avx) == (platform.machine() == "x86_64")
    return {s for f in avx for other in objects if other != f for s in objects[f] & objects[other]}


def signatures(tree):
    """Functions and methods of a stub and the names of their arguments, as `LayerCall.forward`."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = [a.arg for a in node.args.args + node.args.kwonlyargs]
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{k}": v for k, v in signatures(node).items()}
    return found


def sources():
    """Files of the package that belong into a wheel: modules, types, templates, the lab's page."""
    suffixes = (".py", ".pyi", ".typed", ".jinja", ".css", ".js", ".html")
    files = {file for file in PACKAGE.rglob("*") if file.suffix in suffixes}
    files |= set((PACKAGE / "lab/page/vendor").iterdir()) | {PACKAGE / "py.typed"}
    return {file.relative_to(PACKAGE.parent) for file in files}


def packaged(files):
    """Files of a wheel without its metadata; all that `sources` names has to be among them."""
    inside = {file for file in files if not file.parts[0].endswith(".dist-info")}
    assert not sources() - inside
    return inside


def test_the_stub_has_what_the_module_has():
    stub = signatures(ast.parse((PACKAGE / "_core.pyi").read_text(encoding="utf-8")))
    public = {name for name in dir(_core) if not name.startswith("_")}
    assert {name.split(".")[0] for name in stub} == public
    for name, arguments in stub.items():
        function = operator.attrgetter(name)(_core)
        signature = function.__doc__.partition("(")[2].partition(") ->")[0].replace(" *,", "")
        names = [a.partition(":")[0] for a in re.split(r", (?=\w+:)", signature) if a]
        assert names == arguments, name


def test_every_source_and_template_gets_into_the_wheel(tmp_path):
    """Without the compiled module, so that it takes a second."""
    options = {"wheel.cmake": "false", "wheel.py-api": "py3", "build-dir": str(tmp_path / "build")}
    code = f"from scikit_build_core.build import build_wheel as b; b({str(tmp_path)!r}, {options})"
    output(sys.executable, "-c", code, cwd=ROOT)
    [wheel] = tmp_path.glob("elman-*.whl")
    templates = [file for file in sources() if file.suffix == ".jinja"]
    assert len(templates) >= 3
    others = packaged({Path(name) for name in zipfile.ZipFile(wheel).namelist()}) - sources()
    assert {file.suffix for file in others} <= {".so"}  # one that was built into the source folder


@pytest.mark.slow
def test_wheel(tmp_path):
    """The package without its sources: nothing is compiled where it is used."""
    build = tmp_path / "build"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "-C", f"build-dir={build}"]
    output(*pip, "wheel", str(ROOT), "--wheel-dir", str(tmp_path), *options)
    [wheel] = tmp_path.glob("elman-*.whl")
    files = {Path(name) for name in zipfile.ZipFile(wheel).namelist()}

    binary = packaged(files) - sources()
    assert {f.name.split(".")[0] for f in binary} == {"_core"} and len(binary) == 1, binary

    site = tmp_path / "site"
    output(*pip, "install", "--no-deps", "--no-index", "--target", str(site), str(wheel))
    # Without the site module no .pth file leads back to the sources; torch is found all the same.
    path = os.pathsep.join([str(site), sysconfig.get_path("purelib")])
    code = (
        "import elman, elman._core, elman.layers, torch\n"
        "print(elman.__file__, elman._core.__file__, elman.__version__, sep='\\n')\n"
        "y, _ = elman.layers.GRU(2, 3)(torch.zeros(4, 1, 2))\n"
        "print(tuple(y.shape))\n"
        "from elman.runs import html\n"
        "print(html.subheading('Read from a template'))\n"
    )
    printed = output(
        sys.executable, "-S", "-c", code, cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}
    ).splitlines()
    assert [Path(p).parent for p in printed[:2]] == [site / "elman"] * 2
    shown = "<h3>Read from a template</h3>"
    assert [line for line in printed[2:] if line] == [elman.__version__, "(4, 1, 3)", shown]
    assert not mixed(build)


@pytest.mark.slow
def test_sdist(tmp_path):
    """All that is needed to build, and nothing that happened to lie around."""
    code = f"from scikit_build_core.build import build_sdist; build_sdist({str(tmp_path)!r})"
    output(sys.executable, "-c", code, cwd=ROOT)
    [sdist] = tmp_path.glob("elman-*.tar.gz")
    with tarfile.open(sdist) as archive:
        files = {Path(*Path(m.name).parts[1:]) for m in archive if m.isfile()}
    sources = {f.relative_to(ROOT) for f in (ROOT / "csrc").rglob("*") if f.is_file()}
    assert sources | {Path("CMakeLists.txt"), Path("src/elman/_core.pyi")} <= files
    caches = {"build", "dist", "__pycache__"}
    assert not {f for f in files if f.parts[0].startswith(".") or caches & {*f.parts}}
