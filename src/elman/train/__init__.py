"""One training loop, readable top to bottom, and what it needs."""

from elman.train.loop import EpochRecord, History, train
from elman.train.settings import TrainingSettings

__all__ = ["EpochRecord", "History", "TrainingSettings", "train"]
