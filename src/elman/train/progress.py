"""Progress display: a bar in a terminal or notebook, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from elman.train.metrics import EpochRecord, RunningMetrics

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

_NOTEBOOK_LINES = 8  # the last lines, shown above the bar in a cell's output


def epoch_line(record: EpochRecord, epochs: int, tested: EpochRecord | None = None) -> str:
    """Return one line for an epoch: losses in nats with accuracies, or losses with RMSE.

    Args:
        tested: the last epoch whose weights were evaluated on the test split, if there is one.
    """
    line = f"epoch {record.epoch}/{epochs}  loss {_loss(record.loss)}"
    return line + _metric(record.accuracy, record.rmse) + _held_out(record, tested)


def _held_out(record: EpochRecord, tested: EpochRecord | None) -> str:
    """Return the validation loss and metric, or those of the test split with their epoch."""
    if record.validation_loss is not None:
        values = _metric(record.validation_accuracy, record.validation_rmse)
        return f"  validation loss {_loss(record.validation_loss)}{values}"
    if tested is None or tested.test_loss is None:
        return ""
    values = _metric(tested.test_accuracy, tested.test_rmse)
    at = "" if tested.epoch == record.epoch else f" (epoch {tested.epoch})"
    return f"  test loss {_loss(tested.test_loss)}{values}{at}"


def _loss(loss: float) -> str:
    """Return four decimals, or an exponent for the loss of a training that diverges."""
    return f"{loss:.4f}" if loss < 1e6 else f"{loss:.3e}"


def _metric(accuracy: float | None, rmse: float | None) -> str:
    return f"  RMSE {rmse:.4g}" if accuracy is None else f"  accuracy {accuracy:.4f}"


class Progress:
    """Interface of the progress display; this base class shows nothing."""

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def start(self, description: str) -> None:
        """Called once, before the first step, with how the gradients are computed."""

    def batch(self, number: int, batches: int, metrics: RunningMetrics) -> None:
        """Called after each step with its number, from 1, out of the epoch's `batches`."""

    def epoch(self, record: EpochRecord) -> None:
        """Called after each epoch."""

    def skip(self, record: EpochRecord) -> None:
        """Called instead for each epoch that was done before the training was continued."""


class Lines(Progress):
    """Plain lines: one per `every` epochs, and always the first and the last."""

    def __init__(self, epochs: int, every: int) -> None:
        self.epochs = epochs
        self.every = every
        self._unshown: EpochRecord | None = None
        self._tested: EpochRecord | None = None
        self._seconds = 0.0  # of all epochs so far

    def __exit__(self, *exception: object) -> None:
        if self._unshown is not None:  # the last epoch, after early stopping or Ctrl-C
            self.write(epoch_line(self._unshown, self.epochs, self._tested))

    def start(self, description: str) -> None:
        """Show how the gradients are computed."""
        self.write(description)

    def epoch(self, record: EpochRecord) -> None:
        """Show the epoch's line if it is due."""
        if record.test_loss is not None:
            self._tested = record
        due = record.epoch % self.every == 0 or record.epoch in (1, self.epochs)
        self._unshown = None if due else record
        self._seconds += record.seconds or 0.0
        if due:
            line = epoch_line(record, self.epochs, self._tested)
            self.write(line + self.time_left(record.epoch))

    def skip(self, record: EpochRecord) -> None:
        """Count the epoch, for the time left and the last line."""
        if record.test_loss is not None:
            self._tested = record
        self._unshown = record
        self._seconds += record.seconds or 0.0

    def time_left(self, epoch: int) -> str:
        """Return the time that the epochs after `epoch` will take; empty if it is under 1 s."""
        left = self._seconds / epoch * (self.epochs - epoch)
        return f"  {_clock(left)} left" if left >= 1 else ""

    def write(self, line: str) -> None:
        """Show a line."""
        print(line, flush=True)


class Terminal(Lines):
    """Lines above a bar, drawn by rich on the last line of a terminal."""

    def __init__(self, epochs: int, every: int) -> None:
        super().__init__(epochs, every)
        self._bar = _rich_bar()
        self._complete = 0
        self._skipped = 0
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
        here = done - self._skipped / self.epochs  # done since the start of this process
        left = (now - self._started) * (1 - done) / here if here > 0 else 0.0
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

    def skip(self, record: EpochRecord) -> None:
        """Count the epoch without the time that it took."""
        self._complete = self._skipped = record.epoch
        super().skip(record)

    def time_left(self, epoch: int) -> str:
        """Return nothing, because the bar shows the time."""
        return ""

    def redraw(self) -> None:
        """Show the current bar; in a terminal, rich refreshes it by itself."""

    def write(self, line: str) -> None:
        """Write above the bar."""
        self._bar.console.print(line, highlight=False, markup=False, soft_wrap=True)


class Notebook(Terminal):
    """Lines above a bar in one cell output, which ends with the last epoch's line.

    rich renders it, but IPython displays it, because rich's own live display needs ipywidgets.
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
        """Add a line, and hide the bar until the next batch."""
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
        verbose: 0 shows nothing; n shows a line every n epochs, and a bar where possible.
        epochs: number of epochs of the training.
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
