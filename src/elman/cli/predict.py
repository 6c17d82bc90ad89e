"""`elman predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from elman.cli.options import data_argument, model_argument, reading_options
from elman.cli.signals import uninterrupted, when_ended
from elman.cli.streams import output_is_secondary
from elman.runs.prediction_files import WRITABLE, prediction_format


@click.command("predict")
@model_argument
@data_argument
@click.option(
    "-o",
    "--out",
    required=True,
    help=f"File to write; its ending chooses the format: {WRITABLE}. - prints CSV.",
    metavar="FILE",
)
@click.option("--overwrite", is_flag=True, help="Replace FILE.")
@reading_options
def command(model: Path, data: str, out: str, overwrite: bool, **options: Any) -> None:
    """Predict the sequences of DATA, labelled or not, with MODEL, a run or model folder.

    A table (CSV, TSV, Parquet, Arrow) has one row per sequence, or one per step where the model
    predicts every step; JSON lines have one object per sequence, with the spans of its tags.
    """
    path = None if out == "-" else Path(out)
    if path is not None:
        prediction_format(path, overwrite)  # before torch is imported, which takes seconds
        output_is_secondary()
    with uninterrupted():
        from elman.runs.evaluation import predict

    predictions, notes = predict(model, data, options, path, overwrite)
    if path is None:
        when_ended(lambda: "while the predictions were printed; they may be incomplete")
        click.echo(predictions.to_csv(), nl=False)
    else:
        when_ended(lambda: f"after the predictions were written to {path}")
        click.echo(f"{len(predictions):,} sequences predicted, written to {path}")
    for note in notes:
        click.echo(note, err=path is None)
