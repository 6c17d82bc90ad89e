"""The subcommands, each imported only when it is called, and what their errors come to."""

from __future__ import annotations

import importlib
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from elman.cli import torchrun
from elman.errors import ElmanError, NonFiniteError, RanksError, find_nearest, nearest

_COMMANDS = {
    "train": "Train a network on labelled sequences, evaluate it and plot the results.",
    "tune": "Search for good settings by cross-validation, and train with the best ones.",
    "evaluate": "Evaluate a trained model on other labelled data.",
    "predict": "Predict sequences with a trained model.",
    "serve": "Answer requests for predictions over HTTP.",
    "export": "Write a trained model for programs without elman: ONNX or C.",
    "explain": "Explain a trained network's prediction for one sequence.",
    "lab": "Write a page in which a trained network is seen, touched and understood.",
    "data": "Describe a data file, how it is read, and what is wrong with it.",
    "check": "Check that predictions do not depend on padding or batch.",
    "tasks": "List the built-in tasks.",
    "info": "Show which kernels, threads and devices are used here, and why.",
    "help": "Show this page, or that of a command.",
    "version": "Show the version.",
}


class _Group(click.Group):
    """Click group that imports only the command that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        if cmd_name in _INLINE:
            return _INLINE[cmd_name]
        module = importlib.import_module(f"elman.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in _COMMANDS:
            raise _no_such_command(args[0])
        if args:
            torchrun.refuse_command(args[0])
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


def _no_such_command(name: str) -> click.UsageError:
    hint = nearest(name, _COMMANDS) or f" Expected one of {', '.join(_COMMANDS)}."
    if Path(name).exists():
        hint = f" To train on the file: elman train {name}"
    return click.UsageError(f"No such command {name!r}.{hint}")


@click.command("help")
@click.argument("command", required=False)
@click.pass_context
def _help(ctx: click.Context, command: str | None) -> None:
    """Show the page of COMMAND, or the list of commands."""
    assert ctx.parent is not None  # it is a command of the group
    if command is None:
        click.echo(ctx.parent.get_help())
        return
    found = cli.get_command(ctx.parent, command)
    if found is None:
        raise _no_such_command(command)
    click.echo(found.get_help(click.Context(found, info_name=command, parent=ctx.parent)))


@click.command("version")
def _version() -> None:
    """Show the version of elman."""
    click.echo(f"elman {version('elman')}")


_INLINE = {"help": _help, "version": _version}


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(
    None, "-v", "-V", "--version", package_name="elman", message="elman %(version)s"
)
def cli() -> None:
    """Recurrent neural networks for labelled sequences.

    \b
    elman train digits                  built-in real data
    elman train train.csv               your own: CSV, JSON lines, Parquet, arrays, ...
    elman tune train.csv --trials 50    with settings that are searched for
    elman data train.csv                what is in the file
    elman evaluate RUN other.csv
    elman predict RUN new.csv -o predictions.csv
    elman explain RUN new.csv --row 17
    elman lab RUN                       see and touch the network
    elman export RUN --to onnx
    """


def run_command() -> int:
    """Run the command that the arguments name; return the exit code.

    An error prints one message: 2 for a user's error, 1 for a training that diverged.
    """
    for word in sys.argv[1:]:
        try:
            word.encode()
        except UnicodeEncodeError:
            return _fail(f"Error: {word!r} is not UTF-8. Rename the file", None, 2)
    try:
        _call(sys.argv[1:])
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        if isinstance(error, click.NoSuchOption):
            error = click.UsageError(
                f"No such option {error.option_name!r}.{_nearest_option(error)}", error.ctx
            )
        error.show()
        return error.exit_code
    except NonFiniteError as error:
        return _fail(f"Error: {error}", error, 1)
    except RanksError as error:
        if error.is_said:
            return 2
        torchrun.unmute()
        return _fail(f"Error: {error}", error, 2)
    except ElmanError as error:
        return _fail(f"Error: {error}", error, 2)
    except OSError as error:
        place = f"{error.filename}: " if error.filename is not None else ""
        return _fail(f"Error: {place}{error.strerror or error}", error, 2)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        text = f"Error: not enough memory: {error}. Use a smaller network, or batch_size"
        return _fail(text, error, 2)
    return 0


def _call(words: list[str]) -> None:
    """Do what `cli.main` does, except that Ctrl-C and a closed output are left to the caller."""
    instruction = os.environ.get("_ELMAN_COMPLETE")
    if instruction:
        from click.shell_completion import shell_complete

        sys.exit(shell_complete(cli, {}, "elman", "_ELMAN_COMPLETE", instruction))
    with cli.make_context("elman", words) as context:
        cli.invoke(context)


def _nearest_option(error: click.NoSuchOption) -> str:
    """Return ` Did you mean '--x'?` for the nearest option, or an empty string."""
    options = [o for p in error.ctx.command.params for o in p.opts] if error.ctx else []
    by_name = {option.lstrip("-").replace("-", "_"): option for option in options}
    found = find_nearest(error.option_name.lstrip("-").replace("-", "_"), by_name)
    return "" if found is None else f" Did you mean {by_name[found]!r}?"


def _fail(message: str, error: BaseException | None, code: int) -> int:
    """Print the error and the notes that the run folder added to it; return the exit code."""
    click.echo("\n".join([message, *getattr(error, "__notes__", [])]), err=True)
    return code
