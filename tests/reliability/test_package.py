"""elman opens no connection and starts no other program: from the sources, and from the wheel."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
AUDITED = Path(__file__).parent / "audited.py"
NO_NETWORK = ["unshare", "--map-root-user", "--net"]  # a network namespace without interfaces


def namespace():
    """The command that takes the network away, or nothing where the kernel does not permit it."""
    if shutil.which("unshare") is None:
        return []
    done = subprocess.run([*NO_NETWORK, "true"], capture_output=True, check=False)
    return [] if done.returncode else NO_NETWORK


def run_audited(folder, python_path, *, options=(), whole=False):
    """Run the script where no program has left a cache: matplotlib's list of fonts is made anew."""
    (folder / "home").mkdir(parents=True)
    own = {"HOME": str(folder / "home"), "PYTHONPATH": python_path}
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "LD_LIBRARY_PATH")}
    command = [*namespace(), sys.executable, *options, str(AUDITED), str(folder)]
    command += ["all"] if whole else []
    done = subprocess.run(
        command, env=kept | own, capture_output=True, text=True, timeout=300, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_the_sources_open_and_start_nothing(tmp_path):
    code, said = run_audited(tmp_path, str(ROOT / "src"))
    assert code == 0 and "forbidden: nothing" in said, said
    assert f"used {ROOT / 'src' / 'elman'}" in said


@pytest.mark.parametrize(
    "planted",
    [
        "import socket; socket.socket()",
        "import socket; socket.getaddrinfo('localhost', 1)",
        "import subprocess; subprocess.run(['true'])",
        "import os; os.system('true')",
        "import os; os.fork() or os._exit(0)",
        "import os; os.posix_spawn('/bin/true', ['true'], {})",
        "import os; os.spawnv(os.P_WAIT, '/bin/true', ['true'])",
        "import urllib.request as r; r.urlopen('file:///dev/null')",
        "import _posixsubprocess, os; os.popen('true').read()",
        "import ctypes; ctypes.CDLL('/tmp/planted.so')",
    ],
)
def test_the_hook_hears(planted):
    code = (
        f"import sys; sys.path.insert(0, {str(AUDITED.parent)!r}); import audited\n"
        "sys.addaudithook(audited.listen)\n"
        f"try:\n    {planted}\nexcept OSError:\n    pass\n"
        "sys.exit(len(audited.found))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, check=False)
    assert done.returncode >= 1 and not done.stderr, done


SOCKETS = {"asyncio", "http", "socketserver", "ssl", "urllib", "uvicorn", "uvloop", "websockets"}


def imported(path):
    """The packages that a source file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        yield from (name.partition(".")[0] for name in names)


def test_sockets_are_known_to_the_server_alone():
    """The exception: serve/ listens. Elsewhere `socket` names the machine, and nothing else."""
    source = ROOT / "src" / "elman"
    knowing = {f.relative_to(source) for f in source.rglob("*.py") if SOCKETS & {*imported(f)}}
    assert knowing and {path.parts[0] for path in knowing} == {"serve"}
    for file in source.rglob("*.py"):
        if "serve" not in file.parts:
            used = set(re.findall(r"\bsocket\.(\w+)", file.read_text(encoding="utf-8")))
            assert used <= {"gethostname"}, (file, used)


@pytest.mark.slow
def test_the_wheel_opens_and_starts_nothing(tmp_path):
    """The built wheel, installed without the sources and beside the dependencies of these tests."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "-C", f"build-dir={tmp_path / 'build'}"]
    build = [*pip, "wheel", str(ROOT), "--wheel-dir", str(tmp_path), *options]
    subprocess.run(build, check=True, capture_output=True, timeout=600)
    [wheel] = tmp_path.glob("elman-*.whl")
    site = tmp_path / "site"
    install = [*pip, "install", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, capture_output=True, timeout=300)
    # Without the site module no .pth file leads back to the sources.
    path = os.pathsep.join([str(site), sysconfig.get_path("purelib")])
    code, said = run_audited(tmp_path / "run", path, options=["-S"], whole=True)
    assert code == 0 and "forbidden: nothing" in said, said
    assert f"used {site / 'elman'}" in said


def pins(name):
    """Versions by package, of a file of requirements, and the number of sums in it."""
    text = (ROOT / name).read_text(encoding="utf-8")
    found = re.findall(r"^([\w.-]+)==([\w.]+)", text, re.MULTILINE)
    versions = {re.sub(r"[-_.]+", "-", package).lower(): version for package, version in found}
    return versions, len(re.findall(r"--hash=sha256:[0-9a-f]{64}$", text, re.MULTILINE))


@pytest.mark.parametrize("name", ["requirements-hashed.txt", "requirements-hashed-cpu.txt"])
def test_the_sums_belong_to_the_pinned_versions(name):
    pinned, _ = pins("constraints.txt")
    hashed, sums = pins(name)
    assert sums == len(hashed) > 30
    others = {k for k in hashed if hashed[k] != pinned.get(k)}
    assert all(k.startswith(("nvidia-", "cuda-", "triton")) for k in others), others
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for requirement in project["dependencies"]:
        assert re.split(r"[<>=~]", requirement)[0] in hashed, requirement


def test_the_security_page_names_what_exists():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    for name in re.findall(r"`([\w.-]+\.txt)`", text):
        assert (ROOT / name).exists(), name
    for target in re.findall(r"`make (\w+)`", text):
        subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True)
    assert "SECURITY.md" in (ROOT / "README.md").read_text(encoding="utf-8")
