"""What a search has found: a table of the trials, what mattered, and the best values."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from elman import files
from elman.errors import SettingsError
from elman.plots.style import save
from elman.plots.tuning import (
    TrialPoint,
    describe_losses,
    losses_and_importances,
    losses_by_value,
)
from elman.runs import html
from elman.runs.config import RunSettings
from elman.runs.experiment import Run
from elman.runs.tuning.space import Space
from elman.runs.tuning.trials import FAILED, SCORES, SECONDS, TRIES, Trials

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

_SHOWN = 10  # trials in the table of the terminal
_LEAST = 4  # complete trials from which on importances are computed


@dataclass(frozen=True)
class Results:
    """The trials of a search so far.

    Args:
        study: Optuna's view of the search.
        trials: all trials, by number.
        space: what varied.
        folder: of the search.
        run: the training with the best values, once it is done.
    """

    study: Study
    trials: tuple[FrozenTrial, ...]
    space: Space
    folder: Path
    run: Run | None = None

    @classmethod
    def of(cls, trials: Trials, space: Space, folder: Path) -> Results:
        """Return what a search has found so far."""
        return cls(trials.study(), tuple(trials.list()), space, folder)

    @property
    def complete(self) -> list[FrozenTrial]:
        """The trials that were trained on every fold, the best first."""
        done = [trial for trial in self.trials if kind_of(trial) == "complete"]
        return sorted(done, key=lambda trial: (trial.value, trial.number))

    @property
    def best(self) -> FrozenTrial:
        """The trial with the lowest mean validation loss. Raises SettingsError without any."""
        if not self.complete:
            counts = Counter(map(kind_of, self.trials))
            listed = ", ".join(f"{n} {kind}" for kind, n in counts.items())
            raise SettingsError(
                f"{self.folder}: no trial is complete ({listed}). Give more time with --timeout, "
                "or more --trials, to elman tune --resume"
            )
        return self.complete[0]

    def best_settings(self) -> RunSettings:
        """Return the settings of a training on all of the training part with the best values."""
        return self.space.settings(self.best.params)

    @cached_property
    def importances(self) -> dict[str, float]:
        """Share of the differences between trials that each setting explains; may be empty.

        Source: PED-ANOVA, Watanabe et al. 2023, arXiv:2304.10255, as Optuna computes it.
        """
        import optuna

        values = {trial.value for trial in self.complete}
        if len(self.complete) < _LEAST or len(values) < 2:
            return {}
        try:
            found = optuna.importance.get_param_importances(self.study)
        except (ValueError, RuntimeError):  # every setting has one value in these trials
            return {}
        return {name: share for name, share in found.items() if math.isfinite(share)}

    def lines(self, told: set[int]) -> Iterator[str]:
        """Return a line for each finished trial whose number is not in `told`, and add it there."""
        for trial in self.trials:
            if trial.state.is_finished() and trial.number not in told:
                told.add(trial.number)
                yield f"trial {trial.number + 1}/{len(self.trials)}  {self._describe(trial)}"

    def _describe(self, trial: FrozenTrial) -> str:
        values = ", ".join(f"{name} {show(value)}" for name, value in trial.params.items())
        kind = kind_of(trial)
        if kind == "complete":
            mark = " (the best so far)" if trial.number == self.best.number else ""
            return f"loss {trial.value:.4g}{mark}  {values}"
        if kind == "pruned":
            return f"stopped early at loss {trial.value:.4g}  {values}"
        return f"{trial.user_attrs.get(FAILED, kind)}  {values}"

    def table(self) -> list[list[str]]:
        """Return the best trials as rows of text, after a row of names."""
        names = [one.name for one in self.space.ranges]
        rows = [["trial", "loss", "sd of folds", *names]]
        for trial in self.complete[:_SHOWN]:
            scores = trial.user_attrs.get(SCORES, [])
            deviation = f"{np.std(scores, ddof=1):.2g}" if len(scores) > 1 else "-"
            values = [show(trial.params[name]) if name in trial.params else "-" for name in names]
            rows.append([str(trial.number + 1), f"{trial.value:.4g}", deviation, *values])
        return rows

    def __str__(self) -> str:
        """The table of the best trials, and what mattered."""
        rows = self.table()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            for row in rows
        ]
        more = len(self.complete) - _SHOWN
        if more > 0:
            lines.append(f"... and {more} more in {self.folder / 'trials.csv'}")
        lines += ["", self.summary(), self.describe_importances()]
        return "\n".join(lines)

    def summary(self) -> str:
        """Return how many trials ended how, in a sentence."""
        counts = Counter(map(kind_of, self.trials))
        words = {
            "complete": "complete",
            "pruned": "stopped early, worse than the median of the others",
            "diverged": "diverged",
            "failed": "failed",
            "waiting": "not run",
            "running": "running elsewhere",
        }
        return "; ".join(f"{counts[kind]} {text}" for kind, text in words.items() if counts[kind])

    def describe_importances(self) -> str:
        """Return what mattered, in a sentence."""
        if not self.importances:
            return "What mattered cannot be estimated from so few complete trials"
        shares = ", ".join(f"{name} {share:.0%}" for name, share in self.importances.items())
        return f"what mattered, of {len(self.complete)} complete trials: {shares}"

    def to_csv(self) -> str:
        """Return a table of all trials."""
        names = [one.name for one in self.space.ranges]
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(
            ["trial", "state", "loss", *names, "losses_of_folds", "seconds", "tries", "note"]
        )
        for trial in self.trials:
            attributes = trial.user_attrs
            scores = " ".join(f"{score:.6g}" for score in attributes.get(SCORES, []))
            writer.writerow(
                [
                    trial.number + 1,
                    kind_of(trial),
                    "" if trial.value is None else repr(trial.value),
                    *(show(trial.params.get(name, "")) for name in names),
                    scores,
                    attributes.get(SECONDS, ""),
                    attributes.get(TRIES, ""),
                    attributes.get(FAILED, ""),
                ]
            )
        return stream.getvalue()

    def points(self) -> list[TrialPoint]:
        """Return the finished trials that have a loss, for figures."""
        return [
            TrialPoint(trial.number + 1, trial.value, kind_of(trial) == "complete", trial.params)
            for trial in self.trials
            if trial.state.is_finished() and trial.value is not None and math.isfinite(trial.value)
        ]

    def write(self, title: str, created: str, summary: str, config: str, version: str) -> None:
        """Write trials.csv, the figures and report.html.

        Args:
            title: name of the data.
            created: ISO date and time.
            summary: how the data were read and divided, and what varied.
            config: the best settings, as TOML.
            version: of elman.
        Raises: WriteError.
        """
        files.write_file(self.folder / "trials.csv", self.to_csv())
        points = self.points()
        names = [one.name for one in self.space.ranges]
        with files.new_folder(self.folder / "plots", replace=True) as pictures:
            paths = [pictures / "trials.png", pictures / "values.png"]
            save(losses_and_importances(points, self.importances), paths[0])
            logs = {one.name for one in self.space.ranges if one.log}
            save(losses_by_value(points, names, logs), paths[1])
            figures = html.PageFigures(paths)
            shown = figures.show(
                html.PageFigure(paths[0], "Losses and what mattered", self._caption(points)),
                html.PageFigure(
                    paths[1],
                    "Losses by value",
                    "Each point is a trial, blue if it is complete, pale if it was stopped early, "
                    "at the loss that it had then. A valley says where a setting is best; a cloud "
                    "without a slope says that it does not matter much.",
                ),
            )
        head, *rows = self.table()
        sections = {
            "Trials": html.paragraphs(self.summary()) + html.table(head, rows, "best trials"),
            "Figures": shown,
            "Best settings": html.verbatim(config, "best settings as TOML"),
            "Data": html.verbatim(summary, "how the data were read and divided"),
        }
        page = html.render(
            "page.html.jinja",
            kind="search",
            created=created,
            title=title,
            lead=self._lead(),
            notes=[],
            sections=sections,
            version=version,
        )
        files.write_file(self.folder / "report.html", page)

    def _lead(self) -> str:
        text = (
            f"{len(self.trials)} trials of {len(self.space.ranges)} settings. The lowest mean "
            f"validation loss is {self.best.value:.4g}, of trial {self.best.number + 1}."
        )
        if self.run is None:
            return text
        return (
            f"{text} A network trained with its values on all of the training part, evaluated on "
            f"the test part, which no trial has seen: {self.run.reports['test'].headline()} "
            f"Its own report is {self.run.folder.name}/report.html."
        )

    def _caption(self, points: list[TrialPoint]) -> str:
        caution = (
            " The importances are estimated from the complete trials (PED-ANOVA) and are rough "
            "with few of them."
        )
        return describe_losses(points) + caution * bool(self.importances)


def kind_of(trial: FrozenTrial) -> str:
    """Return how a trial has ended, or what it does."""
    kinds = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
    kind = kinds.get(trial.state.name, trial.state.name.lower())
    return "diverged" if kind == "pruned" and FAILED in trial.user_attrs else kind


def show(value: Any) -> str:
    """Return a value of a setting as a table shows it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
