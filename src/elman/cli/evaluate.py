"""`elman evaluate`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from elman.cli.options import data_argument, memory_option, model_argument, reading_options
from elman.cli.signals import uninterrupted, when_ended
from elman.cli.streams import output_is_secondary


@click.command("evaluate")
@model_argument
@data_argument
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="Folder to write. [default: MODEL/evaluations/<name of DATA>]",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing evaluation.")
@click.option(
    "--diagnostics/--no-diagnostics",
    default=True,
    help="Report memory, notable sequences and their traces. [default: diagnostics]",
)
@memory_option
@reading_options
def command(
    model: Path,
    data: str,
    out: Path | None,
    overwrite: bool,
    diagnostics: bool,
    memory_limit: str | None,
    **options: Any,
) -> None:
    """Evaluate MODEL, a run or model folder, on labelled DATA it was not trained on.

    Prints the metrics, and writes report.html, the page that `elman train` writes too, with the
    metrics, predictions and plots.
    """
    output_is_secondary()
    with uninterrupted():
        from elman.runs.evaluation import evaluate

    report, folder, notes = evaluate(
        model,
        data,
        options,
        out,
        overwrite,
        diagnostics=diagnostics,
        command=shlex.join(["elman", *sys.argv[1:]]),
        memory_limit=memory_limit,
        say=click.echo,
    )
    when_ended(lambda: f"after the evaluation was written to {folder}")
    click.echo(f"{report}\n")
    for note in notes:
        click.echo(note)
    click.echo(f"Written to {folder}; open {folder / 'report.html'}")
