"""One Chromium for all tests of the lab that a process runs."""

import pytest
from browser import CHROMIUM, Browser


@pytest.fixture(scope="session")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    running = Browser()
    yield running
    running.close()
