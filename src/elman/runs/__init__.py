"""One experiment from data to run folder.

Names are imported when first used: settings can be read and checked without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elman.runs.evaluation import check as check
    from elman.runs.evaluation import evaluate as evaluate
    from elman.runs.evaluation import predict as predict
    from elman.runs.experiment import Run as Run
    from elman.runs.experiment import run as run
    from elman.runs.explanation import ExplainOptions as ExplainOptions
    from elman.runs.explanation import explain as explain

_HOME = {
    "ExplainOptions": "elman.runs.explanation",
    "Run": "elman.runs.experiment",
    "check": "elman.runs.evaluation",
    "evaluate": "elman.runs.evaluation",
    "explain": "elman.runs.explanation",
    "predict": "elman.runs.evaluation",
    "run": "elman.runs.experiment",
}
__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'elman.runs' has no attribute {name!r}")
