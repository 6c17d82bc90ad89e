"""`elman check`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from elman.cli.options import data_argument, model_argument, reading_options
from elman.cli.signals import uninterrupted


@click.command("check")
@model_argument
@data_argument
@reading_options
def command(model: Path, data: str, **options: Any) -> None:
    """Check that the predictions of MODEL for DATA do not depend on padding or batch.

    Every sequence is predicted alone, in batches, in other orders and with other padding (NaN too);
    the largest difference in probability, or in standardised value, is printed. Exits with 1 if one
    is above the bound, which is printed too. The bound is 0, the same bits, where elman's kernels
    compute the network, as they do on a CPU for rnn, gru and lstm; and 1e-6 where torch computes
    it, such as for a cell of your own, because torch's sums depend on the size of the batch.
    """
    with uninterrupted():
        from elman.runs.evaluation import check

    checks, reason = check(model, data, options)
    for entry in checks:
        verdict = "ok  " if entry.passed else "FAIL"
        click.echo(f"{verdict}  {entry.worst:8.1e}  {entry.name}: {entry.detail}")
    failed = sum(not entry.passed for entry in checks)
    if failed:
        click.echo(
            f"{failed} of {len(checks)} checks failed: predictions depend on other sequences"
        )
        click.echo(f"The bound is {checks[0].tolerance:g}" + f": {reason}" * bool(reason))
        sys.exit(1)
    worst = max(entry.worst for entry in checks)
    exact = f", up to {worst:.1e}" if worst else ", to the last bit"
    click.echo(
        f"All {len(checks)} checks passed: a prediction depends on its own sequence alone{exact}"
    )
    if reason:
        click.echo(f"The bound is {checks[0].tolerance:g}, because torch computes it: {reason}")
