"""`elman serve`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from elman.cli.options import field_options, model_argument
from elman.cli.signals import passed_to, uninterrupted, when_ended
from elman.cli.streams import output_is_secondary
from elman.errors import SettingsError
from elman.serve.settings import ServeSettings

_MOST_TOKEN = 4096  # bytes of a file with a token


@click.command("serve")
@model_argument
@field_options(ServeSettings, without=("token",))
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File with the secret that every request must carry: Authorization: Bearer SECRET.",
)
def command(model: Path, token_file: Path | None, **options: Any) -> None:
    """Answer requests for predictions of MODEL, a run or model folder, over HTTP.

    Only programs of this machine can ask, unless --public is given. /docs of the address that is
    printed describes every path; `POST /predict` takes records as the training file had them.

    Ctrl-C or SIGTERM stops the server; requests that have arrived are still answered.
    """
    values = {name: value for name, value in options.items() if value is not None}
    with uninterrupted():
        from elman.validation import validate_settings

        try:
            from elman.serve.server import address_of, bind, run
        except ModuleNotFoundError as error:
            raise SettingsError(
                f"elman serve needs {error.name}, which is not installed. To install it: pip "
                "install 'elman[serve]'"
            ) from None
    if token_file is not None:
        values["token"] = _read_token(token_file)
    settings = validate_settings(ServeSettings, values)
    with bind(settings) as bound:  # before torch is imported: a port that is taken is said at once
        with uninterrupted():
            from elman.serve.app import create_app
            from elman.serve.openapi import example_command
        app = create_app(model, settings)
        loaded = app.state.service.models.current
        address = address_of(bound)
        output_is_secondary()
        when_ended(
            lambda: (
                "while serving; what had been asked was answered. To start again, run the same "
                "command"
            )
        )

        def say() -> None:
            click.echo(f"Model       {loaded.estimator.describe_model()}")
            click.echo(f"Serving at  {address}, described at {address}/docs; Ctrl-C stops it")
            token = f"$(cat {shlex.quote(str(token_file))})" if token_file else ""
            click.echo(f"Try         {example_command(loaded, address, token)}")

        run(app, bound, settings, passed_to, say)


def _read_token(path: Path) -> str:
    """Return the secret in a file, without the line end."""
    from elman.untrusted import read_file

    try:
        return read_file(path.resolve(), _MOST_TOKEN).decode("ascii").strip()
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: expected a secret of ASCII characters, in one line") from None
