"""`elman train`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from elman.cli.options import setting_options
from elman.cli.signals import uninterrupted, when_ended
from elman.cli.streams import output_is_secondary
from elman.formats import READABLE
from elman.settings import list_settings

if TYPE_CHECKING:
    from elman.runs.config import RunSettings


@click.command(
    "train",
    help=f"""Train a network on DATA, evaluate it on held-out sequences, and plot the results.

    DATA is a file, a folder of files, or a built-in task (`elman tasks` lists them). The files that
    elman reads: {READABLE}.
    """,
)
@click.argument("data", required=False)
@click.option(
    "--config", type=click.Path(path_type=Path), help="TOML file of settings; flags override it."
)
@click.option("--print-config", is_flag=True, help="Print the resulting settings and exit.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Run folder. [default: runs/<date>-<name>]"
)
@click.option("--overwrite", is_flag=True, help="Replace an existing run.")
@click.option(
    "--log-every",
    type=click.IntRange(1),
    default=1,
    help="Epochs between two lines of progress. [default: 1]",
)
@click.option("--quiet", is_flag=True, help="Print errors only.")
@setting_options
def command(
    data: str | None,
    config: Path | None,
    print_config: bool,
    out: Path | None,
    overwrite: bool,
    log_every: int,
    quiet: bool,
    **flags: Any,
) -> None:
    """Train a network, evaluate it on held-out sequences, and plot the results."""
    from elman.runs.config import to_toml

    settings = settings_from({"data": data, **flags}, config)
    if print_config:
        click.echo(to_toml(settings), nl=False)
        return

    output_is_secondary()
    with uninterrupted():
        from elman.runs.experiment import run

    def echo(text: str) -> None:
        if not quiet:
            click.echo(text)

    done = run(
        settings,
        out=out,
        overwrite=overwrite,
        command=shlex.join(["elman", *sys.argv[1:]]),
        verbose=0 if quiet else log_every,
        echo=echo,
    )
    when_ended(lambda: f"after the run was written to {done.folder}")
    echo(f"\n{done.reports['test']}\n\n{done.result}")
    echo(
        f"{done.seconds:.1f} s. Everything is in {done.folder}; open {done.folder / 'report.html'}"
    )
    if done.diverged:
        click.echo(f"Error: {done.diverged}", err=True)
        sys.exit(1)
    if done.interrupted:
        click.echo("Interrupted: the best model so far was evaluated and saved.", err=True)
        sys.exit(130)


def settings_from(flags: Mapping[str, Any], config: Path | None) -> RunSettings:
    """Merge the flags that are set, not None, over a TOML file."""
    from elman.runs.config import merge, read_toml

    values: dict[str, dict[str, Any]] = {}
    for setting in list_settings():
        if flags[setting.name] is not None:
            values.setdefault(setting.section, {})[setting.name] = flags[setting.name]
    return merge(values, file=read_toml(config) if config else None)
