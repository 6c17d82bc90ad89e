"""`elman data`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from elman.cli.options import data_argument, guessing_options
from elman.cli.signals import uninterrupted

if TYPE_CHECKING:
    from elman.data.text import Unit


@click.command("data")
@data_argument
@click.option("--test", help="test file, read in the same way as DATA and compared with it")
@click.option(
    "--tokens",
    type=click.Choice(["characters", "words", "bytes"]),
    help="unit that text is split into [default: chosen from the data]",
)
@click.option("--group", help="column or key of groups, as in training; it is not an input")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@guessing_options
def command(
    data: str, test: str | None, tokens: Unit | None, as_json: bool, **options: Any
) -> None:
    """Describe DATA, how it is read, and what may spoil training.

    Nothing is trained and nothing is written. Every fault of the file is listed.
    """
    with uninterrupted():
        from elman.data import BUILTIN_TASKS, Dataset, load_task, read, summarize, summary_text
    from elman.data.builtin import split_name
    from elman.errors import SettingsError

    settings = {name: value for name, value in options.items() if value is not None}
    other: Dataset | None = None
    if split_name(data)[0] in BUILTIN_TASKS and not Path(data).is_file():
        if settings or test:
            name = next(iter({**settings, "test": test}))
            raise SettingsError(f"--{name}: {data} is a built-in task. Leave it out")
        dataset, other = load_task(data, 0)
    else:
        dataset = read(data, **settings)
        if test is not None:
            other = read(test, layout=dataset.layout)
    profile = summarize(dataset, other, tokens)
    text = json.dumps(profile, indent=2) if as_json else summary_text(dataset, profile, tokens)
    click.echo(text)
