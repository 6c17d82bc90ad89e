"""elman's own training of the lab's tasks, step by step, to compare the page with."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from joined import join_modules
from torch import Tensor

from elman import estimators
from elman.data.builtin import load_task
from elman.lab import page
from elman.lab.tasks import LAB_TASKS
from elman.layers.random_numbers import current_generator, draw_rows
from elman.models.native import mask_shapes
from elman.train import gradients, train
from elman.train.state import TrainingState

CELLS = [("rnn", "tanh"), ("rnn", "relu"), ("gru", "tanh"), ("lstm", "tanh")]


class _EnoughError(Exception):
    """Enough steps were made."""


def choices(cell: tuple[str, str] = ("gru", "tanh"), **changes: Any) -> dict[str, Any]:
    """What a person chooses in the page."""
    chosen = {"cell": cell[0], "nonlinearity": cell[1], "hidden_size": 8, "num_layers": 1}
    chosen |= {"bidirectional": False, "readout": "last", "seed": 0, "breaks": []}
    return chosen | changes


def prepare(name: str, chosen: dict[str, Any]) -> Any:
    """Prepare elman's training for choices of the page."""
    parameters = {k: v for k, v in chosen.items() if k not in ("seed", "breaks", "readout")}
    if chosen["readout"] != "every" and LAB_TASKS[name].estimator == "SequenceClassifier":
        parameters["readout"] = chosen["readout"]
    kind = getattr(estimators, LAB_TASKS[name].estimator)
    data, _ = load_task(name, 0)
    return kind(random_state=chosen["seed"], **parameters).prepare(data, data.target)


def train_steps(
    monkeypatch: Any, prepared: Any, steps: int
) -> tuple[list[float], dict[str, Tensor]]:
    """Return the losses of the first steps of elman's training, and the weights after them."""
    losses: list[float] = []
    end_batch = TrainingState.end_batch

    def end(self: TrainingState, result: Any, norm: float) -> None:
        end_batch(self, result, norm)
        losses.append(result.loss)
        if len(losses) == steps:
            raise _EnoughError

    generator = torch.Generator().manual_seed(prepared.plan.seed)
    model = prepared.make_model(generator)
    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "end_batch", end)
        if not _draws_doubles():
            patch.setattr(gradients, "draw_masks", _draw_masks)
        with contextlib.suppress(_EnoughError):
            train(model, prepared.examples, None, prepared.plan, generator=generator)
    return losses, {name: value.clone() for name, value in model.state_dict().items()}


def _draws_doubles() -> bool:
    """Whether torch draws dropout here as everywhere but on Intel's CPUs, where MKL draws it."""
    first, second = (torch.Generator().manual_seed(0) for _ in range(2))
    kept = torch.empty(64, dtype=torch.bool).bernoulli_(0.5, generator=first)
    return torch.equal(kept, torch.rand(64, dtype=torch.float64, generator=second) < 0.5)


def _draw_masks(config: Any, batch: int, time: int) -> list[Tensor]:
    """Draw the masks of `elman.train.gradients.draw_masks` from doubles."""

    def draw(shape: tuple[int, ...]) -> Tensor:
        drawn = torch.rand(shape, dtype=torch.float64, generator=current_generator())
        return drawn < 1 - config.dropout

    shapes = mask_shapes(config, batch, time)
    return [draw_rows(draw, shape, steps=len(shape) > 2) for shape in shapes]


def with_settings(prepared: Any, **changes: Any) -> Any:
    """Return a prepared training with other settings."""
    return dataclasses.replace(prepared, plan=dataclasses.replace(prepared.plan, **changes))


def open_trainer(browser: Any, home: Path, tasks: dict[str, Any]) -> Iterator[Any]:
    """Open a page that holds trainer.js and the tasks; it may have no error and no request."""
    for path in page.PAGE.glob("*.js"):
        shutil.copy(path, home)
    shutil.copy(Path(__file__).parent / "trainer.js", home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "PAGE", home)
        script = join_modules("trainer")
    text = f"const TASKS = {page.encode_json(tasks)};"
    (home / "trainer.html").write_text(f"<!doctype html><script>{text}{script}</script>")
    with browser.open_page(home / "trainer.html", wait=False) as opened:
        yield opened
        assert not opened.errors
        assert not opened.requests


def run(trainer: Any, what: str, name: str, chosen: dict[str, Any], steps: int) -> Any:
    """Call a function of trainer.js."""
    return trainer.run(f"{what}(TASKS[{json.dumps(name)}], {json.dumps(chosen)}, {steps})")


def as_tensors(lists: dict[str, Any], like: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return lists of weights as tensors of the shapes of others."""
    assert set(lists) == set(like)
    return {name: torch.tensor(lists[name]).view_as(value) for name, value in like.items()}
