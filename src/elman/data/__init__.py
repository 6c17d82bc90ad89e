"""Labelled sequences: reading them from files, and saying how a file was understood."""

from elman.data.check import check_classes, check_gaps
from elman.data.dataset import Dataset, Layout
from elman.data.describe import describe
from elman.data.ragged import Ragged
from elman.data.read import read
from elman.data.summary import summarize, summary_text
from elman.data.tasks import TASKS, load_task

__all__ = [
    "TASKS",
    "Dataset",
    "Layout",
    "Ragged",
    "check_classes",
    "check_gaps",
    "describe",
    "load_task",
    "read",
    "summarize",
    "summary_text",
]
