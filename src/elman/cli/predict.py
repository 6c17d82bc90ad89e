"""`elman predict`."""

from __future__ import annotations

import sys
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

import click

from elman.cli.options import memory_option, model_argument, reading_options
from elman.cli.signals import uninterrupted, when_ended
from elman.cli.streams import output_is_secondary
from elman.errors import SettingsError
from elman.runs.prediction_files import WRITABLE, prediction_format
from elman.settings import MAX_SEQUENCES


@click.command("predict")
@model_argument
@click.argument("data", required=False)
@click.option(
    "-o",
    "--out",
    help=f"File to write; its ending chooses the format: {WRITABLE}. - prints CSV.",
    metavar="FILE",
)
@click.option("--overwrite", is_flag=True, help="Replace FILE.")
@click.option(
    "--follow",
    is_flag=True,
    help="Answer JSON lines from standard input as they come, each by one line on standard output: "
    "steps of sequences that grow, or whole sequences. Instead of DATA and --out.",
)
@click.option(
    "--max-sequences",
    type=click.IntRange(min=1),
    help="With --follow, sequences that may grow at the same time; one more drops the one that "
    f"has waited longest. [default: {MAX_SEQUENCES:,}]",
)
@memory_option
@reading_options
@click.pass_context
def command(
    context: click.Context,
    /,
    model: Path,
    data: str | None,
    out: str | None,
    overwrite: bool,
    follow: bool,
    max_sequences: int | None,
    memory_limit: str | None,
    **options: Any,
) -> None:
    """Predict the sequences of DATA, labelled or not, with MODEL, a run or model folder.

    A table (CSV, TSV, Parquet, Arrow) has one row per sequence, or one per step where the model
    predicts every step; JSON lines have one object per sequence, with the spans of its tags. DATA
    and --out are required, unless --follow is given.
    """
    if follow:
        _refuse_other_options(data, out, overwrite, {**options, "memory_limit": memory_limit})
        _follow(model, options["fill"], max_sequences or MAX_SEQUENCES)
        return
    if max_sequences is not None:
        raise SettingsError("--max-sequences goes with --follow. Leave it out, or add --follow")
    parameters = {parameter.name: parameter for parameter in context.command.params}
    if data is None:
        raise click.MissingParameter(ctx=context, param=parameters["data"])
    if out is None:
        raise click.MissingParameter(ctx=context, param=parameters["out"])
    path = None if out == "-" else Path(out)
    if path is not None:
        prediction_format(path, overwrite)  # before torch is imported, which takes seconds
        output_is_secondary()
    with uninterrupted():
        from elman.runs.evaluation import predict_file

    def show(piece: str) -> None:
        when_ended(lambda: "while the predictions were printed; they may be incomplete")
        click.echo(piece, nl=False)

    count, notes = predict_file(
        model,
        data,
        options,
        path,
        overwrite,
        show=show,
        memory_limit=memory_limit,
        say=partial(click.echo, err=path is None),
    )
    if path is not None:
        when_ended(lambda: f"after the predictions were written to {path}")
        click.echo(f"{count:,} sequences predicted, written to {path}")
    for note in notes:
        click.echo(note, err=path is None)


def _refuse_other_options(
    data: str | None, out: str | None, overwrite: bool, options: dict[str, Any]
) -> None:
    """Refuse what --follow cannot honour."""
    if data is not None:
        raise SettingsError(
            f"--follow reads standard input, and {data!r} is given too. Leave it out, or pass it "
            f"on: elman predict RUN --follow < {data}"
        )
    if out is not None or overwrite:
        raise SettingsError(
            "--follow answers on standard output. Leave --out and --overwrite out, and write "
            "> FILE to keep the answers"
        )
    chosen = [name for name, value in options.items() if value is not None and name != "fill"]
    if chosen:
        raise SettingsError(
            f"--{chosen[0].replace('_', '-')}: --follow reads records as the training file was "
            "read. Leave it out"
        )


def _follow(model: Path, fill: str | None, max_sequences: int) -> None:
    with uninterrupted():
        from elman.estimators import load
        from elman.runs.follow import Follower, follow

    follower = Follower(load(model), fill or "refuse", max_sequences)  # type: ignore[arg-type]
    answered = failed = 0

    def write(text: str) -> None:
        nonlocal answered
        answered += 1  # before a reader of the answer can send a signal
        click.echo(text, nl=False)

    when_ended(lambda: f"after {answered:,} answer{'s' * (answered != 1)}")
    stdin = cast(BufferedReader, sys.stdin.buffer)
    # `read1` returns what is there; `read` would wait for more.
    for good in follow(follower, stdin.read1, write):
        failed += not good
    if failed:
        click.echo(f"{failed:,} of {answered:,} lines could not be read", err=True)
        sys.exit(1)
