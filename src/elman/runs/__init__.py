"""One experiment from data to run folder.

Names are imported when first used: settings can be read and checked without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elman.runs.experiment import Run as Run
    from elman.runs.experiment import run as run
    from elman.runs.question import Question as Question
    from elman.runs.question import explain as explain
    from elman.runs.use import check as check
    from elman.runs.use import evaluate as evaluate
    from elman.runs.use import predict as predict

_HOME = {
    "Question": "elman.runs.question",
    "Run": "elman.runs.experiment",
    "check": "elman.runs.use",
    "evaluate": "elman.runs.use",
    "explain": "elman.runs.question",
    "predict": "elman.runs.use",
    "run": "elman.runs.experiment",
}
__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'elman.runs' has no attribute {name!r}")
