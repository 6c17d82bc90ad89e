"""`elman explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from elman.cli import uninterrupted
from elman.cli.options import data_argument, model_argument, reading_options
from elman.settings import READING

_METHODS = ("integrated_gradients", "gradient_x_input", "occlusion")
_OUTPUTS = ("log_odds", "logit", "log_probability", "probability", "value")


@click.command("explain")
@model_argument
@data_argument
@click.option(
    "--row",
    help="which sequence: by its name in the first column of predictions.csv, as 'line 18', or, if "
    "none is called so, by its number, counted from 0 [default: the first]",
)
@click.option(
    "--label",
    type=click.Choice(["true", "predicted"]),
    help="whose loss the gradient comes from [default: the true one, where DATA has labels]",
)
@click.option(
    "--method",
    type=click.Choice(_METHODS),
    default="integrated_gradients",
    help="how it is found out which steps decided [default: integrated_gradients]",
)
@click.option(
    "--about", metavar="CLASS", help="class, label or value that they decided [default: predicted]"
)
@click.option(
    "--output",
    type=click.Choice(_OUTPUTS),
    help="number of it that is shared out among them [default: log_odds, or value]",
)
@click.option(
    "--baseline",
    type=click.Choice(["zero", "unknown"]),
    help="what stands for nothing [default: unknown for tokens and categories, else zero]",
)
@click.option(
    "--step", type=int, help="of a tagger: the step that is explained, from 1 [default: the last]"
)
@click.option("--span", type=int, help="of occlusion: steps replaced at a time [default: 1]")
@click.option(
    "--stride", type=int, help="of occlusion: steps from one span to the next [default: the span]"
)
@click.option(
    "--sequences",
    type=int,
    help="of DATA, that memory and doctor look at [default: up to 100 and 256]",
)
@click.option("--seed", type=click.IntRange(0), default=0, help="of what is drawn [default: 0]")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="folder to write [default: MODEL/explanations/<name of DATA>-row-<row>]",
)
@click.option("--overwrite", is_flag=True, help="replace an explanation that is in the way")
@reading_options
def command(model: Path, data: str, out: Path | None, overwrite: bool, **given: Any) -> None:
    """Lay open what MODEL, a run or model folder, does with one sequence of DATA, and why.

    Every state and gate, the gradient on its way back, the steps that decided; and of the network,
    how far back it remembers and what the doctor finds. Prints the gist and writes a page with all
    pictures.
    """
    with uninterrupted():
        from elman.runs import ExplainOptions, explain

    options = {name: given.pop(name) for name in READING}
    found, folder, notes = explain(model, data, options, ExplainOptions(**given), out, overwrite)
    click.echo(f"{found}\n")
    for note in notes:
        click.echo(note)
    click.echo(f"Written to {folder}; open {folder / 'index.html'}")
