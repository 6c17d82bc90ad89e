"""`elman train`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from elman.cli.options import setting_options
from elman.cli.signals import uninterrupted, when_ended
from elman.cli.streams import output_is_secondary
from elman.cli.watching import keeping_epochs, watching
from elman.errors import SettingsError
from elman.formats import READABLE
from elman.setting_list import list_settings

if TYPE_CHECKING:
    from elman.runs.config import RunSettings


@click.command(
    "train",
    help=f"""Train a network on DATA, evaluate it on held-out sequences, and plot the results.

    DATA is a file, a folder of files, or a built-in task (`elman tasks` lists them). The files that
    elman reads: {READABLE}.

    A training that was stopped, by whatever, is continued by `elman train --resume RUN`.
    """,
)
@click.argument("data", required=False)
@click.option(
    "--config", type=click.Path(path_type=Path), help="TOML file of settings; flags override it."
)
@click.option("--print-config", is_flag=True, help="Print the resulting settings and exit.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Run folder. [default: runs/<date>-<name>]"
)
@click.option("--overwrite", is_flag=True, help="Replace an existing run.")
@click.option(
    "--resume",
    "resumed",
    metavar="RUN",
    type=click.Path(path_type=Path),
    help="Continue the unfinished run in this folder, in place of DATA and settings.",
)
@click.option(
    "--finish",
    is_flag=True,
    help="With --resume: train no more, but evaluate and save the best weights so far.",
)
@click.option(
    "--checkpoint-every",
    metavar="SECONDS",
    type=click.FloatRange(0),
    help="Time between two checkpoints; 0 writes one after every batch. [default: 30]",
)
@click.option(
    "--log-every",
    type=click.IntRange(1),
    help="Epochs between two lines of progress. [default: 1]",
)
@click.option("--quiet", is_flag=True, help="Print errors only.")
@click.option(
    "--watch",
    is_flag=True,
    help="Print an address at which a browser of this machine shows the network while it trains. "
    "Weights of 20 epochs are kept unless --keep-epochs says otherwise.",
)
@setting_options
def command(
    data: str | None,
    config: Path | None,
    print_config: bool,
    out: Path | None,
    overwrite: bool,
    resumed: Path | None,
    finish: bool,
    checkpoint_every: float | None,
    log_every: int | None,
    quiet: bool,
    watch: bool,
    **flags: Any,
) -> None:
    """Train a network, evaluate it on held-out sequences, and plot the results."""
    from elman.runs.config import to_toml

    if resumed is not None:
        others = {"DATA": data, "--config": config, "--out": out, **_as_flags(flags)}
        others |= {"--print-config": print_config or None, "--overwrite": overwrite or None}
        refuse_others(resumed, [name for name, value in others.items() if value is not None])
    else:
        if finish:
            raise SettingsError(
                "--finish: belongs to --resume RUN, which continues an unfinished run. Expected: "
                "elman train --resume RUN --finish"
            )
        settings = settings_from({"data": data, **flags}, config)
        if print_config:
            click.echo(to_toml(settings), nl=False)
            return

    output_is_secondary()
    shown = watching(watch)
    with uninterrupted():
        from elman.runs.experiment import follow, resume, run
        from elman.runs.unfinished import describe
        from elman.train.checkpoint import CHECKPOINT_EVERY
        from elman.train.distributed import from_env

    def echo(text: str) -> None:
        if not quiet:
            click.echo(text)

    def on_folder(folder: Path) -> None:
        when_ended(lambda: describe(folder))

    shown |= {"echo": echo, "on_folder": on_folder}
    with from_env() as ranks:
        if ranks is not None and not ranks.is_first:
            follow()
            return
        if resumed is not None:
            done = resume(
                resumed,
                finish=finish,
                checkpoint_every=checkpoint_every,
                verbose=0 if quiet else log_every,
                **shown,
            )
        else:
            done = run(
                keeping_epochs(settings) if watch else settings,
                out=out,
                overwrite=overwrite,
                command=shlex.join(["elman", *sys.argv[1:]]),
                verbose=0 if quiet else log_every or 1,
                checkpoint_every=CHECKPOINT_EVERY if checkpoint_every is None else checkpoint_every,
                **shown,
            )
    when_ended(lambda: f"after the run was written to {done.folder}")
    echo(f"\n{done.reports['test']}\n\n{done.result}")
    echo(
        f"{done.seconds:.1f} s. Everything is in {done.folder}; open {done.folder / 'report.html'}"
    )
    if done.diverged:
        click.echo(f"Error: {done.diverged}", err=True)
        sys.exit(1)


def _as_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    return {f"--{name.replace('_', '-')}": value for name, value in flags.items()}


def refuse_others(resumed: Path, others: Sequence[str]) -> None:
    """Refuse what would change a run that is resumed. Raises SettingsError."""
    if others:
        raise SettingsError(
            f"{', '.join(others)}: a resumed run keeps its data and settings, so that it ends with "
            f"the result of an unbroken one. Leave {'them' if len(others) > 1 else 'it'} out: "
            f"{shlex.join(['elman', 'train', '--resume', str(resumed)])}"
        )


def settings_from(flags: Mapping[str, Any], config: Path | None) -> RunSettings:
    """Merge the flags that are set, not None, over a TOML file."""
    from elman.runs.config import merge, read_toml

    values: dict[str, dict[str, Any]] = {}
    for setting in list_settings():
        if flags[setting.name] is not None:
            values.setdefault(setting.section, {})[setting.name] = flags[setting.name]
    return merge(values, file=read_toml(config) if config else None)
