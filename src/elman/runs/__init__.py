"""One experiment from data to run folder."""

from elman.runs.experiment import Run, run
from elman.runs.use import check, evaluate, predict

__all__ = ["Run", "check", "evaluate", "predict", "run"]
