"""What tests of the compiled kernels share: every instruction set, and memory full of NaN."""

import pytest
from native_cases import kernels

from elman import _core


@pytest.fixture(params=_core.isas())
def isa(request):
    """Run with the kernels of one instruction set after the other."""
    with kernels(request.param):
        yield request.param


@pytest.fixture
def poisoned():
    """Fill working memory with NaN each time the kernels take some."""
    _core.poison(True)
    yield
    _core.poison(False)
