"""`elman tasks`."""

from __future__ import annotations

import click


@click.command("tasks")
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """List the built-in tasks and their parameters, or describe the one called NAME.

    `elman train NAME` trains on a task; its parameters follow a colon:
    elman train copy-memory:T=50,train=10000.
    """
    from elman.data.builtin import BUILTIN_TASKS, find_task

    if name is None:
        width = max(len(name) for name in BUILTIN_TASKS)
        for task in BUILTIN_TASKS.values():
            click.echo(f"{task.name:{width}}  {task.summary}")
            parameters = ",".join(f"{p.name}={p.default}" for p in task.parameters.values())
            for line in (f":{parameters}" if parameters else "", task.known):
                if line:
                    click.echo(f"{'':{width}}  {line}")
        return
    task = find_task(name)
    click.echo(f"{task.name}: {task.summary}")
    for head, text in (("source", task.source), ("known", task.known)):
        if text:
            click.echo(f"  {head:<8}  {text}")
    for parameter in task.parameters.values():
        click.echo(f"  {parameter.name:<8}  {parameter.meaning} [default: {parameter.default}]")
