"""Several processes train as one does: gradients, random numbers, figures and weights."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import rank_cases
import torch
from safetensors.torch import load_file

from elman.layers import register_cell

HERE = Path(__file__).parent


def torchrun(*arguments, processes=2, more=(), **environment):
    """What a program under torchrun has printed; it must succeed."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", *more]
    command += ["--nproc-per-node", str(processes), *map(str, arguments)]
    own = {"OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(
        command, env=os.environ | own, capture_output=True, text=True, timeout=300, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    file = tmp_path_factory.mktemp("ranks") / "found.safetensors"
    code, out, err = torchrun(HERE / "rank_cases.py", file, processes=3)
    assert code == 0, out + err
    return load_file(file)


@pytest.mark.parametrize("name", rank_cases.CASES)
def test_three_processes_train_as_one_does(name, shared, own_cell):
    expected = rank_cases.run(name)
    assert int(shared["ranks"]) == 3
    for key, value in expected.items():
        found = shared[f"{name}/{key}"]
        if key in ("generator", "kept"):
            assert torch.equal(found, value), key
        else:
            torch.testing.assert_close(found, value, rtol=1e-5, atol=1e-6, equal_nan=True, msg=key)


@pytest.fixture
def own_cell():
    from cases import unregister_cell

    register_cell(rank_cases.MGU)
    yield
    unregister_cell(rank_cases.MGU)
