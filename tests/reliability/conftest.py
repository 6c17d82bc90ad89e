"""Forks of the command, and a small run for all tests."""

import pytest
from forks import DATA, SMALL, Forks


@pytest.fixture(scope="session")
def forks():
    server = Forks()
    yield server
    server.close()


@pytest.fixture(scope="session")
def trained(forks, tmp_path_factory):
    """The folder of a run."""
    folder = tmp_path_factory.mktemp("trained")
    done = forks.run("train", DATA, *SMALL, "--out", "run", cwd=folder)
    assert done.code == 0, done.err
    return folder / "run"
