"""What `elman train --watch` and `elman lab` have in common: a page that follows a training."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from elman.cli.signals import uninterrupted, when_ended
from elman.errors import SettingsError

if TYPE_CHECKING:
    from elman.runs.config import RunSettings

_LOOK = 0.5  # seconds between two looks whether the training goes on


def watching(watch: bool) -> dict[str, Any]:
    """Return the argument `watching` of a run that prints the address of its page, if wanted.

    Raises: SettingsError if a package that serves the page is missing.
    """
    if not watch:
        return {}
    serve_page = load_server("--watch")

    @contextmanager
    def show(folder: Path, work: Any) -> Iterator[None]:
        from elman.runs.watching import News, live_page

        with serve_page(live_page(folder, work), News(folder)) as address:
            click.echo(f"Watch the training at {address} (this machine only, until it ends)")
            yield

    return {"watching": show}


def load_server(what: str) -> Any:
    """Return `elman.serve.watch.serve_page`.

    Args:
        what: what needs it, for the message.
    Raises: SettingsError if a package is missing.
    """
    with uninterrupted():
        try:
            from elman.serve.watch import serve_page
        except ModuleNotFoundError as error:
            raise SettingsError(
                f"{what} needs {error.name}, which is not installed. To install it: pip install "
                "'elman[lab]'"
            ) from None
    return serve_page


def keeping_epochs(settings: RunSettings) -> RunSettings:
    """Return the settings with the default of small networks for kept epochs, unless one is set."""
    from elman.train.kept import DEFAULT

    if settings.training.keep_epochs is not None:
        return settings
    training = dataclasses.replace(settings.training, keep_epochs=DEFAULT)
    return dataclasses.replace(settings, training=training)


def follow_training(run: Path, show: Callable[[str], object]) -> None:
    """Serve the page of a run that another process trains, until that has ended.

    Args:
        run: the run folder.
        show: called with the address.
    """
    serve_page = load_server("to follow a training, elman lab")
    with uninterrupted():
        from elman.runs.unfinished import is_training
        from elman.runs.watching import News, live_page, read_work

    when_ended(lambda: f"while following {run}, whose training goes on")
    work = read_work(run)
    with serve_page(live_page(run, work), News(run)) as address:
        click.echo(f"Watch the training at {address} (this machine only); Ctrl-C ends the watching")
        show(address)
        while is_training(run):
            time.sleep(_LOOK)
    click.echo(f"The training has ended. To write its page to a file: elman lab {run}")
