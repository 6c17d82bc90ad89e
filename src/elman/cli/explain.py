"""`elman explain`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from elman.cli.options import Choice, data_argument, model_argument, reading_options
from elman.cli.signals import uninterrupted, when_ended
from elman.cli.streams import output_is_secondary
from elman.settings import READING_SETTINGS

_METHODS = ("integrated_gradients", "gradient_x_input", "occlusion")
_OUTPUTS = ("log_odds", "logit", "log_probability", "probability", "value")


@click.command("explain")
@model_argument
@data_argument
@click.option(
    "--row",
    help="Sequence to explain: its name in the first column of predictions.csv, such as 'line 18', "
    "or, if none has that name, its number, counted from 0. [default: a wrong or "
    "else an undecided one]",
)
@click.option(
    "--label",
    type=Choice(["true", "predicted"]),
    help="Label of the loss whose gradient is shown. [default: true where DATA has labels]",
)
@click.option(
    "--method",
    type=Choice(_METHODS),
    default="integrated_gradients",
    help="Attribution method. [default: integrated_gradients]",
)
@click.option(
    "--about",
    metavar="CLASS",
    help="Class, label or value that is attributed to the steps. [default: predicted]",
)
@click.option(
    "--output",
    type=Choice(_OUTPUTS),
    help="Number that is attributed. [default: log_odds, or value]",
)
@click.option(
    "--baseline",
    type=Choice(["zero", "unknown"]),
    help="Attribution baseline. [default: unknown for tokens and categories, else zero]",
)
@click.option(
    "--step",
    type=int,
    help="Step to explain, for a tagger, counted from 1. [default: a wrong or an undecided one]",
)
@click.option("--span", type=int, help="Steps that occlusion replaces at a time. [default: 1]")
@click.option(
    "--stride", type=int, help="Steps between two spans of occlusion. [default: the span]"
)
@click.option(
    "--sequences",
    type=int,
    help="Sequences of DATA that memory and doctor use. [default: up to 100 and 256]",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, help="Seed of the random sample. [default: 0]"
)
@click.option(
    "--gradient/--no-gradient",
    default=True,
    help="Show the gradient through time. [default: gradient]",
)
@click.option(
    "--attribution/--no-attribution",
    default=True,
    help="Attribute the prediction to the steps. [default: attribution]",
)
@click.option(
    "--memory/--no-memory",
    default=True,
    help="Measure how far back the network's memory reaches. [default: memory]",
)
@click.option(
    "--diagnosis/--no-diagnosis",
    default=True,
    help="Let the doctor examine the network. [default: diagnosis]",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="Folder to write. [default: MODEL/explanations/<name of DATA>-row-<row>]",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing explanation.")
@reading_options
def command(model: Path, data: str, out: Path | None, overwrite: bool, **values: Any) -> None:
    """Explain what MODEL, a run or model folder, predicts for one sequence of DATA.

    Shows every state and gate, the gradient through time and the attribution of each step; and for
    the network as a whole, how far back its memory reaches and the findings of the doctor. Prints a
    summary with all findings, and writes a page with all figures. What is being computed is shown
    on the standard error output; --no-memory and --no-diagnosis leave out the slowest parts.
    """
    output_is_secondary()
    with uninterrupted():
        from elman.runs.explanation import ExplainOptions, explain

    options = {name: values.pop(name) for name in (*READING_SETTINGS, "fill")}
    explain_options = ExplainOptions(**values)
    started = time.perf_counter()

    def progress(part: str) -> None:
        click.echo(f"{time.perf_counter() - started:5.1f} s  {part} ...", err=True)

    explanation, folder, notes = explain(
        model, data, options, explain_options, out, overwrite, progress
    )
    when_ended(lambda: f"after the explanation was written to {folder}")
    click.echo(f"{explanation}\n")
    for note in notes:
        click.echo(note)
    click.echo(f"Written to {folder}; open {folder / 'index.html'}")
