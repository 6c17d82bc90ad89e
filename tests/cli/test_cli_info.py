"""What `elman info` says of this machine, and of others."""

import json
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from elman import _core
from elman.cli import info

ROOT = Path(__file__).parent.parent.parent


def said(out, name):
    """The lines of one fact, without its name."""
    found = re.search(rf"^  {name} +(.+(?:\n {{10,}}.+)*)", out, re.MULTILINE)
    assert found, out
    return [line.strip() for line in found[1].splitlines()]


@pytest.fixture
def facts():
    return info.collect_info()


def test_here(elman):
    done = elman("info")
    assert (done.code, done.err) == (0, "")
    first = f"elman {version('elman')}, Python {platform.python_version()}, torch "
    assert done.out.startswith(f"{first}{torch.__version__}, {platform.system()} ")
    assert said(done.out, "kernels")[0].startswith(f"{_core.isa()}: the ")
    assert all(name in said(done.out, "kernels")[0] for name in _core.isas())
    assert said(done.out, "threads")[0].startswith(f"{torch.get_num_threads()} in layers")
    assert said(done.out, "CUDA")[0].startswith("yes" if torch.cuda.is_available() else "no")
    assert max(map(len, done.out.splitlines())) <= 100
    assert elman("info", "-h").out == elman("info", "--help").out
    assert re.search(r"^  info +\w", elman("--help").out, re.MULTILINE)


def test_json(elman, facts):
    done = elman("info", "--json")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    assert found == facts
    assert found["kernels"]["uses"] == _core.isa()
    assert found["kernels"]["runs"] == _core.isas()
    assert found["threads"] == torch.get_num_threads()
    assert found["processors"] >= 1
    assert len(found["cuda"]["devices"]) == torch.cuda.device_count()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names x86-64's instruction sets")
@pytest.mark.parametrize(("runs", "lacking"), [(1, ["avx2", "avx512"]), (2, ["avx512"]), (3, [])])
def test_a_processor_that_lacks_some(elman, monkeypatch, runs, lacking):
    runs = ["baseline", "avx2", "avx512"][:runs]
    monkeypatch.setattr(_core, "isas", lambda: runs)
    monkeypatch.setattr(_core, "isa", lambda: runs[-1])
    uses, *others = said(elman("info").out, "kernels")
    assert uses == f"{runs[-1]}: the fastest this processor runs, of {', '.join(runs)}"
    assert [line.partition(": that needs ")[0] for line in others] == [f"not {n}" for n in lacking]
    found = json.loads(elman("info", "--json").out)["kernels"]
    assert list(found["lacks"]) == lacking


def test_one_instruction_set(facts):
    facts["kernels"] = {"uses": "neon", "runs": ["neon"], "lacks": {}}
    assert said(info.format_info(facts), "kernels") == ["neon: the only ones compiled for it"]


@pytest.mark.parametrize(
    ("built", "devices", "text"),
    [
        (None, [], "no: this torch is built without it"),
        ("13.0", [], "no: torch, built for CUDA 13.0, finds no device"),
        ("13.0", ["One", "Two"], "yes: One, Two"),
    ],
)
def test_cuda(facts, built, devices, text):
    facts["cuda"] = {"built": built, "devices": devices}
    assert said(info.format_info(facts), "CUDA") == [text]


def test_what_is_compiled_in():
    """The instruction sets that are named are those that CMake builds besides the baseline."""
    build = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    x86 = re.search(r"if\(ELMAN_X86_64\)(.*?)endif", build, re.DOTALL)[1]
    assert re.findall(r"add_kernels\((\w+)", x86) == list(info._NEEDS["x86_64"])
    if platform.machine() == "x86_64":
        assert _core.isas() == ["baseline", *info._NEEDS["x86_64"]][: len(_core.isas())]


def test_without_kernels():
    """A message that says what to do, and no traceback."""
    code = (
        "import sys; sys.modules['elman._core'] = None; sys.argv = ['elman', 'info']\n"
        "import elman.cli; elman.cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: elman._core, the compiled kernels, cannot be loaded")
    assert "`pip install .`" in done.stderr
    assert len(done.stderr.splitlines()) == 1
