"""What holds for every test: seeds, one thread, no lucky memory, a count of GPU tests."""

from __future__ import annotations

import os
import random

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # asked for by deterministic algorithms

import numpy as np
import pytest
import torch


def pytest_configure() -> None:
    # The tensors of the tests are small: a second thread costs more than it brings, and with
    # pytest-xdist every core has a process. Sums in one order make "the same bits" a fair question.
    torch.set_num_threads(1)
    # torch.empty hands out NaN, and the largest integer, instead of what lay there before: reading
    # memory that nobody wrote fails every time and not once a month.
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    # torch gives most warnings once a process: which test fails for one would hang on the order.
    torch.set_warn_always(True)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    count = sum("gpu" in report.keywords for report in skipped)
    if count:
        terminalreporter.write_line(f"{count} GPU tests skipped: no CUDA device")


@pytest.fixture
def quick_figures(monkeypatch):
    """Figures that are drawn as ever, but without a layout, which takes half of the time.

    For tests of what is written where. How figures look is tested in tests/plots.
    """
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    monkeypatch.setattr(ConstrainedLayoutEngine, "execute", lambda self, figure: None)
