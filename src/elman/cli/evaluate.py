"""`elman evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from elman.cli import uninterrupted
from elman.cli.options import data_argument, model_argument, reading_options


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
@reading_options
def command(model: Path, data: str, out: Path | None, overwrite: bool, **options: Any) -> None:
    """Evaluate MODEL, a run or model folder, on labelled DATA it was not trained on.

    Prints the metrics, and writes them with predictions and plots.
    """
    with uninterrupted():
        from elman.runs.evaluation import evaluate

    report, folder, notes = evaluate(model, data, options, out, overwrite)
    click.echo(f"{report}\n")
    for note in notes:
        click.echo(note)
    click.echo(f"Written to {folder}")
