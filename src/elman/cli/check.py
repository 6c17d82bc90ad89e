"""`elman check`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from elman.cli import uninterrupted
from elman.cli.options import data_argument, model_argument, reading_options


@click.command("check")
@model_argument
@data_argument
@reading_options
def command(model: Path, data: str, **options: Any) -> None:
    """Check that the predictions of MODEL for DATA do not depend on padding or batch.

    Every sequence is predicted alone, in batches, in other orders and with other padding (NaN too);
    the largest difference in probability is printed. Exits with 1 if any difference is above 0:
    predictions must be the same to the last bit.
    """
    with uninterrupted():
        from elman.runs.evaluation import check

    checks = check(model, data, options)
    for entry in checks:
        verdict = "ok  " if entry.passed else "FAIL"
        click.echo(f"{verdict}  {entry.worst:8.1e}  {entry.name}: {entry.detail}")
    failed = sum(not entry.passed for entry in checks)
    if failed:
        click.echo(
            f"{failed} of {len(checks)} checks failed: predictions depend on other sequences"
        )
        sys.exit(1)
    exact = "" if any(entry.worst for entry in checks) else ", to the last bit"
    click.echo(
        f"All {len(checks)} checks passed: a prediction depends on its own sequence alone{exact}"
    )
