"""One training loop, readable top to bottom, and what it needs."""

from elman.train.loop import EpochRecord, History, train

__all__ = ["EpochRecord", "History", "train"]
