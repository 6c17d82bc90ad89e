"""`elman tasks`."""

from __future__ import annotations

import click


@click.command("tasks")
def command() -> None:
    """List the built-in tasks, one line each."""
    from elman.data.tasks import TASKS

    width = max(len(name) for name in TASKS)
    for task in TASKS.values():
        click.echo(f"{task.name:{width}}  {task.summary}")
