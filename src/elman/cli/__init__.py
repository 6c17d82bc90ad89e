"""The command `elman`. Each subcommand's file is imported when it is called."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from elman.errors import ElmanError, nearest

_COMMANDS = {
    "train": "Train a network on labelled sequences, evaluate and plot it.",
    "evaluate": "Evaluate a trained model on other labelled data.",
    "predict": "Predict sequences with a trained model.",
    "check": "Prove that a model's answers ignore padding and company.",
    "tasks": "List the built-in tasks.",
}


class _Group(click.Group):
    """Commands by name; only the one that is called is imported."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"elman.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in _COMMANDS:
            raise click.UsageError(f"No such command {args[0]!r}.{nearest(args[0], _COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(None, "--version", package_name="elman", message="elman %(version)s")
def cli() -> None:
    """Recurrent neural networks for labelled sequences.

    \b
    elman train digits                  built-in real data
    elman train train.csv               your own: CSV, TSV, JSON lines or .ts
    elman evaluate RUN other.csv
    elman predict RUN new.csv -o predictions.csv
    """


def main() -> None:
    """Run the command; what a user did wrong ends in one message and exit code 2."""
    try:
        cli.main(prog_name="elman", standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except ElmanError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted; nothing was written.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
