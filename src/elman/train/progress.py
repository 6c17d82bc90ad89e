"""Showing how a training goes: a bar in a terminal or notebook, plain lines anywhere else."""

from __future__ import annotations

import html
import sys
import time
from typing import Any

from elman.train.loop import EpochRecord
from elman.train.tally import Tally


def epoch_line(record: EpochRecord, epochs: int) -> str:
    """One epoch in one line: losses in nats with accuracies, or losses with errors of numbers."""
    own, watched = _figure(record.accuracy, record.rmse), ""
    if record.validation_loss is not None:
        watched = f"  validation loss {record.validation_loss:.4f}"
        watched += _figure(record.validation_accuracy, record.validation_rmse)
    return f"epoch {record.epoch}/{epochs}  loss {record.loss:.4f}{own}{watched}"


def _figure(accuracy: float | None, rmse: float | None) -> str:
    return f"  RMSE {rmse:.4g}" if accuracy is None else f"  accuracy {accuracy:.4f}"


class Progress:
    """Plain lines: one every `every` epochs, the first and the last always. 0 for none."""

    def __init__(self, epochs: int, every: int) -> None:
        self.epochs = epochs
        self.every = every
        self._unshown: EpochRecord | None = None
        self._started = time.perf_counter()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._unshown is not None:
            self.write(epoch_line(self._unshown, self.epochs))

    def start(self, description: str) -> None:
        """Hear, once, where the gradients come from."""
        self.write(description)

    def batch(self, number: int, batches: int, tally: Tally) -> None:
        """Hear of a finished batch; plain lines say nothing of it."""

    def epoch(self, record: EpochRecord) -> None:
        """Hear of a finished epoch."""
        due = record.epoch % self.every == 0 or record.epoch in (1, self.epochs)
        self._unshown = None if due else record
        if due:
            self.write(epoch_line(record, self.epochs))

    def write(self, line: str) -> None:
        """Show a line."""
        print(line, flush=True)


class Silent(Progress):
    """Shows nothing."""

    def write(self, line: str) -> None:
        """Show nothing."""


class _Bar(Progress):
    """A bar under the lines; subclasses draw it."""

    def __init__(self, epochs: int, every: int) -> None:
        super().__init__(epochs, every)
        self._complete = 0
        self._drawn = 0.0

    def batch(self, number: int, batches: int, tally: Tally) -> None:
        """Draw the bar, at most ten times a second."""
        now = time.perf_counter()
        if now - self._drawn < 0.1:
            return
        self._drawn = now
        done = (self._complete + number / batches) / self.epochs
        left = (now - self._started) * (1 - done) / done
        epoch = min(self._complete + 1, self.epochs)
        self.draw(
            done,
            f"epoch {epoch}/{self.epochs}  loss {tally.mean_loss:.4f}"
            f"{_figure(tally.accuracy, tally.rmse)}  {_clock(left)} left",
        )

    def epoch(self, record: EpochRecord) -> None:
        """Count the epoch, and write its line if it is due."""
        self._complete = record.epoch
        super().epoch(record)

    def draw(self, done: float, text: str) -> None:
        """Draw the bar at a share from 0 to 1."""
        raise NotImplementedError


class Terminal(_Bar):
    """A bar on the last line of a terminal, drawn by rich."""

    def __enter__(self) -> Terminal:
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        self._rich = RichProgress(
            BarColumn(bar_width=24), TextColumn("{task.description}"), transient=True
        )
        self._task = self._rich.add_task("", total=1.0)
        self._rich.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._rich.stop()
        super().__exit__(*exception)

    def draw(self, done: float, text: str) -> None:
        """Move the bar."""
        self._rich.update(self._task, completed=done, description=text)

    def write(self, line: str) -> None:
        """Write above the bar."""
        self._rich.console.print(line, highlight=False, markup=False, soft_wrap=True)


class Notebook(_Bar):
    """A bar in a cell's output that ends as the last epoch's line."""

    def __init__(self, epochs: int, every: int) -> None:
        super().__init__(epochs, every)
        self._lines: list[str] = []
        self._handle: Any = None

    def draw(self, done: float, text: str) -> None:
        """Show the bar under the lines so far."""
        bar = f'<progress value="{done:.4f}" max="1" style="width:16em"></progress> '
        self._show(bar + html.escape(text))

    def write(self, line: str) -> None:
        """Add a line."""
        self._lines.append(html.escape(line))
        self._show("")

    def _show(self, last: str) -> None:
        from IPython.display import HTML, display

        lines = "<br>".join([*self._lines[-8:], *([last] if last else [])])
        content = HTML(  # type: ignore[no-untyped-call]
            f'<div style="font-family:monospace;white-space:pre-wrap">{lines}</div>'
        )
        if self._handle is None:
            self._handle = display(content, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(content)


def make_progress(verbose: int, epochs: int) -> Progress:
    """Choose how to show a training.

    Args:
        verbose: 0 for nothing; n for a line every n epochs, with a bar where one can be drawn.
        epochs: of the training.
    """
    if not verbose:
        return Silent(epochs, 1)
    shell = sys.modules.get("IPython")
    if shell is not None and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell":
        return Notebook(epochs, verbose)
    if sys.stdout.isatty():
        return Terminal(epochs, verbose)
    return Progress(epochs, verbose)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
