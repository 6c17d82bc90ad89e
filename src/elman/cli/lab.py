"""`elman lab`."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path
from typing import Any

import click

from elman.cli.options import reading_options
from elman.cli.signals import uninterrupted, when_ended
from elman.cli.streams import output_is_secondary
from elman.cli.watching import follow_training
from elman.errors import SettingsError
from elman.settings import READING_SETTINGS


@click.command("lab")
@click.argument("runs", nargs=-1, metavar="[RUN [RUN2]]", type=click.Path(path_type=Path))
@click.option(
    "--data",
    metavar="DATA",
    help="File or built-in task whose sequences are the examples; or where the file is now on "
    "which the run was trained. [default: the test part of RUN]",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="Page to write. [default: RUN/lab.html, made anew; lab.html here for two runs or none]",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing page.")
@click.option(
    "--open/--no-open", "opened", default=True, help="Open it in the browser. [default: open]"
)
@reading_options
def command(
    runs: tuple[Path, ...],
    data: str | None,
    out: Path | None,
    overwrite: bool,
    opened: bool,
    **values: Any,
) -> None:
    """Write one page in which the network of RUN, a run or model folder, is seen and touched.

    The page is one file of at most 3 MB that opens offline: scrub through gates, states and
    gradients of example sequences, change an input and see every part follow. With RUN2 both runs
    are compared side by side. Without a run, the page trains small networks on the built-in tasks.
    A run that is still training is served to the browser, and the page follows it to its end.
    """
    if len(runs) > 2:
        raise SettingsError(
            f"{runs[2]}: got {len(runs)} runs, expected at most two, which are compared"
        )
    options = {name: values.pop(name) for name in (*READING_SETTINGS, "fill")}
    named = ["--data"] if data is not None else []
    named += [f"--{name}" for name, value in options.items() if value is not None]
    if named and not runs:
        raise SettingsError(
            f"{named[0]}: belongs to a run, whose page shows these sequences. Expected: elman lab "
            "RUN --data DATA"
        )
    output_is_secondary()
    with uninterrupted():
        from elman.runs.lab import write_lab
        from elman.runs.unfinished import is_training

    if len(runs) == 1 and is_training(runs[0]):
        if out is not None or named:
            raise SettingsError(
                f"{runs[0]}: is still training. To follow it, leave the other arguments out: "
                f"elman lab {runs[0]}"
            )
        follow_training(runs[0], lambda address: opened and open_in_browser(address))
        return
    path, size, notes = write_lab(runs, data, options, out, overwrite)
    when_ended(lambda: f"after the page was written to {path}")
    for note in notes:
        click.echo(note)
    said = f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
    click.echo(f"{path}: {said}, opens in any browser, also offline")
    if opened and not open_in_browser(path.resolve().as_uri()):
        click.echo(f"No browser was found here. Open {path} in one")


def open_in_browser(address: str) -> bool:
    """Show an address in the browser; return False if there is none to show it in.

    A browser that runs in the terminal is none: it would take the place of what is printed.
    """
    graphical = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    try:
        return graphical and webbrowser.open_new_tab(address)
    except (webbrowser.Error, OSError):
        return False
