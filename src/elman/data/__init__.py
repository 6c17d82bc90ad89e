"""Labelled sequences: read them from files and describe how a file was interpreted."""

from elman.data.ahead import next_steps
from elman.data.builtin import BUILTIN_TASKS, load_task
from elman.data.dataset import Dataset, Layout
from elman.data.describe import describe, summary_text
from elman.data.profile import summarize
from elman.data.ragged import Ragged
from elman.data.read import read
from elman.data.targets import check_classes, check_gaps

__all__ = [
    "BUILTIN_TASKS",
    "Dataset",
    "Layout",
    "Ragged",
    "check_classes",
    "check_gaps",
    "describe",
    "load_task",
    "next_steps",
    "read",
    "summarize",
    "summary_text",
]
