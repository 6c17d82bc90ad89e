"""Progress of a training: a bar in a terminal or notebook, plain lines anywhere else."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from elman.train.metrics import EpochRecord, RunningMetrics

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

_NOTEBOOK_LINES = 8  # a cell's output keeps the last ones above the bar


def epoch_line(record: EpochRecord, epochs: int) -> str:
    """One epoch in one line: losses in nats with accuracies, or losses with errors of numbers."""
    training, validation = _metric(record.accuracy, record.rmse), ""
    if record.validation_loss is not None:
        validation = f"  validation loss {record.validation_loss:.4f}"
        validation += _metric(record.validation_accuracy, record.validation_rmse)
    return f"epoch {record.epoch}/{epochs}  loss {record.loss:.4f}{training}{validation}"


def _metric(accuracy: float | None, rmse: float | None) -> str:
    return f"  RMSE {rmse:.4g}" if accuracy is None else f"  accuracy {accuracy:.4f}"


class Progress:
    """What a training reports to while it runs; this one shows nothing, its subclasses do."""

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def start(self, description: str) -> None:
        """Called once, before the first step, with where the gradients come from."""

    def batch(self, number: int, batches: int, metrics: RunningMetrics) -> None:
        """Called after each step, with its number of the epoch's `batches`."""

    def epoch(self, record: EpochRecord) -> None:
        """Called after each epoch."""


class Lines(Progress):
    """Plain lines: one every `every` epochs; the first and the last are always shown."""

    def __init__(self, epochs: int, every: int) -> None:
        self.epochs = epochs
        self.every = every
        self._unshown: EpochRecord | None = None

    def __exit__(self, *exception: object) -> None:
        if self._unshown is not None:  # early stopping or Ctrl-C: this was the last epoch
            self.write(epoch_line(self._unshown, self.epochs))

    def start(self, description: str) -> None:
        """Show where the gradients come from."""
        self.write(description)

    def epoch(self, record: EpochRecord) -> None:
        """Show the epoch's line if it is due."""
        due = record.epoch % self.every == 0 or record.epoch in (1, self.epochs)
        self._unshown = None if due else record
        if due:
            self.write(epoch_line(record, self.epochs))

    def write(self, line: str) -> None:
        """Show a line."""
        print(line, flush=True)


class Terminal(Lines):
    """Lines above a bar, drawn by rich on the last line of a terminal."""

    def __init__(self, epochs: int, every: int) -> None:
        super().__init__(epochs, every)
        self._bar = _rich_bar()
        self._complete = 0
        self._started = time.perf_counter()
        self._drawn = 0.0

    def __enter__(self) -> Terminal:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()
        super().__exit__(*exception)

    def batch(self, number: int, batches: int, metrics: RunningMetrics) -> None:
        """Move the bar, at most ten times a second."""
        now = time.perf_counter()
        if now - self._drawn < 0.1:
            return
        self._drawn = now
        done = (self._complete + number / batches) / self.epochs
        left = (now - self._started) * (1 - done) / done
        epoch = min(self._complete + 1, self.epochs)
        self._bar.update(
            self._bar.task_ids[0],
            completed=done,
            description=f"epoch {epoch}/{self.epochs}  loss {metrics.mean_loss:.4f}"
            f"{_metric(metrics.accuracy, metrics.rmse)}  {_clock(left)} left",
        )
        self.redraw()

    def epoch(self, record: EpochRecord) -> None:
        """Count the epoch, and show its line if it is due."""
        self._complete = record.epoch
        super().epoch(record)

    def redraw(self) -> None:
        """Show the bar as it is now; a terminal's draws itself."""

    def write(self, line: str) -> None:
        """Write above the bar."""
        self._bar.console.print(line, highlight=False, markup=False, soft_wrap=True)


class Notebook(Terminal):
    """Lines above a bar in one output of a cell, which ends as the last epoch's line.

    rich draws it, but IPython shows and replaces it: rich's own live display asks for ipywidgets.
    """

    def __init__(self, epochs: int, every: int) -> None:
        super().__init__(epochs, every)
        self._lines: list[str] = []
        self._handle: Any = None

    def __enter__(self) -> Notebook:
        return self

    def __exit__(self, *exception: object) -> None:
        Lines.__exit__(self, *exception)

    def redraw(self) -> None:
        """Show the bar under the lines so far."""
        self._show(self._bar)

    def write(self, line: str) -> None:
        """Add a line, and take the bar away until the next batch."""
        self._lines.append(line)
        self._show()

    def _show(self, *below: RichProgress) -> None:
        from IPython.display import display
        from rich.table import Table
        from rich.text import Text

        output = Table.grid()
        output.add_row(Text("\n".join(self._lines[-_NOTEBOOK_LINES:])))
        for bar in below:
            output.add_row(bar)
        if self._handle is None:
            self._handle = display(output, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(output)


def make_progress(verbose: int, epochs: int) -> Progress:
    """Choose how to show a training.

    Args:
        verbose: 0 for nothing; n for a line every n epochs, with a bar where one can be drawn.
        epochs: of the training.
    """
    if not verbose:
        return Progress()
    shell = sys.modules.get("IPython")
    if shell is not None and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell":
        return Notebook(epochs, verbose)
    return (Terminal if sys.stdout.isatty() else Lines)(epochs, verbose)


def _rich_bar() -> RichProgress:
    from rich.progress import BarColumn, Progress, TextColumn

    bar = Progress(BarColumn(bar_width=24), TextColumn("{task.description}"), transient=True)
    bar.add_task("", total=1.0)
    return bar


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
