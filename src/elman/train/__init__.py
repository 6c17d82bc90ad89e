"""One training loop, readable top to bottom, and what it needs."""

from elman.train.gradients import TorchThreads
from elman.train.loop import train
from elman.train.metrics import EpochCallback, EpochRecord, History, Observer

__all__ = ["EpochCallback", "EpochRecord", "History", "Observer", "TorchThreads", "train"]
