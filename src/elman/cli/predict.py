"""`elman predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from elman.cli import uninterrupted
from elman.cli.options import data_argument, model_argument, reading_options


@click.command("predict")
@model_argument
@data_argument
@click.option(
    "-o", "--out", required=True, help="CSV file to write, or - for the terminal.", metavar="FILE"
)
@click.option("--overwrite", is_flag=True, help="Replace FILE.")
@reading_options
def command(model: Path, data: str, out: str, overwrite: bool, **options: Any) -> None:
    """Predict the sequences of DATA, labelled or not, with MODEL, a run or model folder."""
    from elman.errors import SettingsError

    with uninterrupted():
        from elman.runs.evaluation import predict

    path = Path(out)
    if out != "-" and path.is_dir():
        raise SettingsError(f"{path}: is a folder, expected a file to write. Name one with --out")
    if out != "-" and path.exists() and not overwrite:
        raise SettingsError(f"{path}: exists already. Name another with --out, or use --overwrite")
    if out != "-" and not path.parent.is_dir():
        raise SettingsError(f"{path}: there is no folder {path.parent}. Make it first")
    text, count, notes = predict(model, data, options)
    if out == "-":
        click.echo(text, nl=False)
    else:
        path.write_text(text, encoding="utf-8")
        click.echo(f"{count:,} sequences predicted, written to {path}")
    for note in notes:
        click.echo(note, err=out == "-")
