"""`elman export`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from elman.cli.options import Choice, model_argument
from elman.cli.signals import uninterrupted, when_ended
from elman.cli.streams import output_is_secondary
from elman.export import FORMATS, ExportOptions, refuse_options

_TITLES = "; ".join(f"{name}: {kind.title}" for name, kind in FORMATS.items())
_OUTPUTS = " or ".join(kind.output for kind in FORMATS.values())


@click.command("export")
@model_argument
@click.option("--to", required=True, type=Choice(list(FORMATS)), help=f"Format. {_TITLES}.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help=f"Where to write. [default: MODEL/exports/{_OUTPUTS}; here if MODEL is no run folder]",
)
@click.option(
    "--data",
    metavar="FILE",
    help="Compare the exported model with elman on the sequences of this file too; a built-in task "
    "stands for its test split. [default for c: the test part of the run]",
)
@click.option(
    "--int8", is_flag=True, help="For c: weights in int8, and the accuracy before and after."
)
@click.option(
    "--name",
    help="For c: name of the files and prefix of the names in them. [default: elman]",
)
@click.option(
    "--max-length",
    type=click.IntRange(min=1),
    help="For c, in both directions: steps of a sequence at most. [default: as in the data]",
)
@click.option(
    "--longest",
    type=click.IntRange(min=1),
    metavar="STEPS",
    help="Compare on random sequences of at most this many steps, for a network that is not used "
    "on longer ones. [default: 1000]",
)
@click.option(
    "--streaming",
    is_flag=True,
    help="For onnx, in one direction: read sequences in pieces, with the state as inputs and "
    "outputs.",
)
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
def command(
    model: Path,
    to: str,
    out: Path | None,
    data: str | None,
    longest: int | None,
    overwrite: bool,
    int8: bool,
    name: str | None,
    max_length: int | None,
    streaming: bool,
) -> None:
    """Write MODEL, a run or model folder, for programs without elman.

    The exported model is compared with elman on sequences of 1 to 1,000 steps. If an answer
    differs by more than 1e-5, nothing is written.
    """
    output_is_secondary()
    options = ExportOptions(
        overwrite, int8=int8, max_length=max_length, longest=longest, streaming=streaming
    )
    options = options if name is None else dataclasses.replace(options, name=name)
    refuse_options(to, options)
    with uninterrupted():
        from elman.runs.evaluation import export

    report, notes = export(model, to, out, options, data)
    when_ended(lambda: f"after the export was written to {report.files[0][0]}")
    click.echo(f"{report}")
    for note in notes:
        click.echo(note)
