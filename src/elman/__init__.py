"""Recurrent neural networks for labelled sequences.

Names are imported when first used, so that `import elman` and `elman --help` stay fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elman import explain as explain
    from elman import export as export
    from elman import layers as layers
    from elman.errors import DataError as DataError
    from elman.errors import DataWarning as DataWarning
    from elman.errors import ElmanError as ElmanError
    from elman.errors import ModelFileError as ModelFileError
    from elman.errors import SettingsError as SettingsError
    from elman.errors import ShapeError as ShapeError
    from elman.estimators import SequenceClassifier as SequenceClassifier
    from elman.estimators import SequenceRegressor as SequenceRegressor
    from elman.estimators import SequenceTagger as SequenceTagger
    from elman.estimators import StreamState as StreamState
    from elman.estimators import load as load

    __version__: str

_HOME = {
    "SequenceClassifier": "elman.estimators",
    "SequenceRegressor": "elman.estimators",
    "SequenceTagger": "elman.estimators",
    "StreamState": "elman.estimators",
    "load": "elman.estimators",
    "ElmanError": "elman.errors",
    "DataError": "elman.errors",
    "DataWarning": "elman.errors",
    "ModelFileError": "elman.errors",
    "SettingsError": "elman.errors",
    "ShapeError": "elman.errors",
}
_ROOMS = (
    "explain",
    "export",
    "layers",
)  # subpackages used by their full name, such as `elman.explain.trace`
__all__ = [*_HOME, *_ROOMS]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("elman")
    if name in _ROOMS:
        return importlib.import_module(f"elman.{name}")
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'elman' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
