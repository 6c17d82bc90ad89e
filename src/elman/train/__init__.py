"""The training loop with its losses, optimizer, metrics and progress display."""

from elman.train.checkpoint import Checkpoints
from elman.train.distributed import from_env
from elman.train.gradients import TorchThreads
from elman.train.kept import read_kept_epochs
from elman.train.loop import train
from elman.train.metrics import EpochCallback, EpochRecord, History, Observer

__all__ = [
    "Checkpoints",
    "EpochCallback",
    "EpochRecord",
    "History",
    "Observer",
    "TorchThreads",
    "from_env",
    "read_kept_epochs",
    "train",
]
