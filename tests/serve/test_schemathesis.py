"""schemathesis against the server's own OpenAPI document: a bounded sample, over loopback."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from serving import listening

# No JSON schema can say that a tensor has as many values as the product of its shape.
CONFIG = """
[[operations]]
include-path-regex = "/infer$"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400"]
"""


@pytest.mark.slow
def test_the_server_keeps_its_own_contract_at_length(numbers, tmp_path):
    attack(numbers, tmp_path, examples=200)


def test_the_server_keeps_its_own_contract(numbers, tmp_path):
    attack(numbers, tmp_path, examples=3)


def attack(numbers, folder, examples):
    """Run schemathesis with all its checks; its report is the message of a failure."""
    (folder / "schemathesis.toml").write_text(CONFIG)
    with listening(numbers[0], poll=0) as address:
        command = [sys.executable, "-c", "from schemathesis.cli import schemathesis as run; run()"]
        command.append("--config-file=schemathesis.toml")
        options = [f"--max-examples={examples}", "--seed=1", "--generation-database=none"]
        options += ["--phases=examples,coverage,fuzzing", "--checks=all", "--no-color"]
        done = subprocess.run(
            [*command, "run", f"{address}/openapi.json", *options],
            capture_output=True,
            text=True,
            cwd=folder,
            env={**os.environ, "SCHEMATHESIS_HOOKS": ""},
            timeout=500,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
