"""`elman tune`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from elman.cli.options import setting_options
from elman.cli.signals import NOTHING_WRITTEN, uninterrupted, when_ended
from elman.cli.streams import output_is_secondary
from elman.cli.train import settings_from
from elman.errors import SettingsError


@click.command(
    "tune",
    help="""Search for good settings on DATA by cross-validation, and train with the best ones.

    The test part is held out first, and no trial sees it. Each trial trains a network per fold of
    the training part; the last network is trained on all of it and evaluated on the test part.
    Settings that are given do not vary.

    A search that was stopped, by whatever, is continued by `elman tune --resume FOLDER`.
    """,
)
@click.argument("data", required=False)
@click.option("--trials", type=click.IntRange(1), help="Trials to finish. [default: 50]")
@click.option(
    "--workers", type=click.IntRange(1), help="Processes that run trials here. [default: 1]"
)
@click.option("--folds", type=click.IntRange(2), help="Folds of a trial. [default: 3]")
@click.option(
    "--space",
    type=click.Path(path_type=Path),
    help="TOML file of what varies. [default: five to seven settings, by the data]",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(0, min_open=True),
    help="Begin no trial after this time. [default: no limit]",
)
@click.option(
    "--storage",
    metavar="URL",
    help="postgresql://USER:PASSWORD@HOST:PORT/DATABASE, where the same command on other machines "
    "works on the same trials. [default: a file in the folder]",
)
@click.option(
    "--lost-after",
    metavar="SECONDS",
    type=click.FloatRange(1),
    help="With --storage: a worker that has shown no sign of life for this time is dead, and "
    "another one runs its trial. [default: 60]",
)
@click.option("--name", help="Name of the search in the database. [default: made from the data]")
@click.option(
    "--config", type=click.Path(path_type=Path), help="TOML file of settings; flags override it."
)
@click.option(
    "--out",
    "-o",
    type=click.Path(path_type=Path),
    help="Folder of the search. [default: runs/<date>-<name>-tuning]",
)
@click.option(
    "--resume",
    "resumed",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Continue the search in this folder, in place of DATA and settings.",
)
@click.option("--quiet", is_flag=True, help="Print errors only.")
@click.option("--work", "working", type=click.Path(path_type=Path), hidden=True)
@setting_options
def command(
    data: str | None,
    trials: int | None,
    workers: int | None,
    folds: int | None,
    space: Path | None,
    timeout: float | None,
    storage: str | None,
    lost_after: float | None,
    name: str | None,
    config: Path | None,
    out: Path | None,
    resumed: Path | None,
    quiet: bool,
    working: Path | None,
    **flags: Any,
) -> None:
    """Search for good settings by cross-validation, and train with the best ones."""
    if resumed is None and working is None:
        settings = settings_from({"data": data, **flags}, config)
    output_is_secondary()
    with uninterrupted():
        from elman.runs import tuning
        from elman.runs.tuning.space import read_ranges

    if working is not None:
        when_ended(lambda: "in a trial, which another worker takes")
        tuning.work_for(working)
        return

    def echo(text: str) -> None:
        if not quiet:
            click.echo(text)

    def on_folder(folder: Path) -> None:
        again = shlex.join(["elman", "tune", "--resume", str(folder)])

        def describe() -> str:
            if not (folder / tuning.RECORD).is_file():
                return NOTHING_WRITTEN
            return f"in the search; the finished trials are kept. To continue: {again}"

        when_ended(describe)

    if resumed is not None:
        fixed: dict[str, Any] = {"DATA": data, "--folds": folds, "--space": space, "--name": name}
        fixed |= {"--config": config, "--out": out, "--lost-after": lost_after}
        fixed |= {f"--{key.replace('_', '-')}": value for key, value in flags.items()}
        _refuse_others([key for key, value in fixed.items() if value is not None])
        results = tuning.resume(
            resumed,
            trials=trials,
            workers=workers,
            timeout=timeout,
            url=storage or "",
            echo=echo,
            on_folder=on_folder,
        )
    else:
        values: dict[str, Any] = {
            "trials": trials,
            "workers": workers,
            "folds": folds,
            "name": name,
        }
        values |= {"lost_after": lost_after}
        search = tuning.Search.of(
            settings,
            space=read_ranges(space) if space else {},
            timeout=timeout,
            command=shlex.join(["elman", *_without_password(sys.argv[1:], storage)]),
            **{key: value for key, value in values.items() if value is not None},
        )
        results = tuning.tune(search, out=out, url=storage or "", echo=echo, on_folder=on_folder)
    when_ended(lambda: f"after the search was written to {results.folder}")
    if results.run is not None:
        echo(f"\n{results.run.reports['test']}\n\n{results.run.result}")
    best = shlex.join(["elman", "train", "--config", str(results.folder / tuning.BEST)])
    echo(f"Everything is in {results.folder}; the best settings again: {best}")


def _refuse_others(others: list[str]) -> None:
    """Refuse what would change a search that is resumed. Raises SettingsError."""
    if others:
        raise SettingsError(
            f"{', '.join(others)}: a search that is resumed keeps its data and settings. "
            f"Leave {'them' if len(others) > 1 else 'it'} out; --trials, --workers, --timeout "
            "and --storage may change"
        )


def _without_password(words: list[str], url: str | None) -> list[str]:
    """Return the words of a command line with the address of the database as it may be written."""
    if not url:
        return words
    from elman.runs.tuning.storage import without_password

    return [word.replace(url, without_password(url)) for word in words]
