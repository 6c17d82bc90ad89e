"""Write requirements-hashed.txt: the base install on Python 3.11, Linux x86-64, with SHA-256 sums.

    make lock

pip resolves the dependencies in pyproject.toml with the versions in constraints.txt, and reports
the file of each package on PyPI; nothing is downloaded but metadata. torch's build for the CPU
alone is not on PyPI, so requirements-hashed-cpu.txt keeps its line and leaves out CUDA's packages.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
HEADER = """\
# Made by `make lock`: the base install on Python 3.11, Linux x86-64{build}, with SHA-256 sums.
#     pip install --require-hashes -r {name}
"""
CUDA = re.compile(r"^(nvidia-|cuda-|triton==)")


def resolve() -> list[str]:
    """Return a line for each package, with its version and the sum of its file, by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        pip = [str(Path(folder, "bin", "pip")), "--disable-pip-version-check"]
        # Older versions download every file before they report it.
        subprocess.run([*pip, "install", "--quiet", "--upgrade", "pip>=25"], check=True)
        report = Path(folder, "report.json")
        options = ["--dry-run", "--ignore-installed", "--quiet", "--report", str(report)]
        pins = ["--constraint", str(ROOT / "constraints.txt")]
        # Without the machine's own settings, which may name other files of the same version.
        plain = {
            k: v for k, v in os.environ.items() if k not in ("PIP_FIND_LINKS", "PIP_INDEX_URL")
        }
        plain["PIP_CONFIG_FILE"] = os.devnull
        command = [*pip, "install", *options, *pins, *project["dependencies"]]
        subprocess.run(command, check=True, env=plain)
        packages = json.loads(report.read_text(encoding="utf-8"))["install"]
    lines = []
    for package in packages:
        name, version = package["metadata"]["name"], package["metadata"]["version"]
        digest = package["download_info"]["archive_info"]["hashes"]["sha256"]
        lines.append(f"{name}=={version} \\\n    --hash=sha256:{digest}\n")
    return sorted(lines, key=str.lower)


def main() -> None:
    """Write both files."""
    if sys.version_info[:2] != (3, 11):
        sys.exit("make lock: needs Python 3.11, whose files are listed")
    lines, cpu = resolve(), ROOT / "requirements-hashed-cpu.txt"
    torch = re.search(r"^torch==\S+\+cpu \\\n.*\n", cpu.read_text(encoding="utf-8"), re.MULTILINE)
    assert torch, f"{cpu}: expected a line torch==...+cpu with its sum"
    others = [line for line in lines if not CUDA.match(line) and not line.startswith("torch==")]
    name = "requirements-hashed.txt"
    (ROOT / name).write_text(HEADER.format(name=name, build="") + "".join(lines), encoding="utf-8")
    text = "".join(sorted([*others, torch[0]], key=str.lower))
    text = HEADER.format(name=cpu.name, build=", torch for the CPU alone") + text
    cpu.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
