"""The model that the server answers with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elman.estimators import Estimator, load


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model as it is used for a whole batch; another one takes its place between batches.

    Args:
        name: name in the routes of the Open Inference Protocol.
        version: changes with the weights.
        estimator: the fitted estimator.
    """

    name: str
    version: str
    estimator: Estimator


class ServedModel:
    """Holds the current model.

    Args:
        source: a fitted estimator, or the folder of a run or model.
    """

    def __init__(self, source: Estimator | str | Path) -> None:
        if isinstance(source, str | Path):
            self.current = LoadedModel(Path(source).resolve().name, "1", load(source))
        else:
            self.current = LoadedModel("model", "1", source)
