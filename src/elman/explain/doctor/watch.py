"""The doctor at a training that goes on."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable

import numpy as np
import torch

from elman.data.batches import Examples
from elman.errors import ElmanError, SettingsError
from elman.explain.doctor.examine import examine
from elman.explain.doctor.findings import Diagnosis
from elman.explain.doctor.inputs import DiagnosisInput, TrainingRecord
from elman.models import SequenceModel
from elman.train.loop import EpochRecord
from elman.train.losses import Loss


def _say(text: str) -> None:
    print(text, file=sys.stderr)


class Watch:
    """Looks at a network before its training and every few epochs, and tells what is new.

    Hand it to `fit(X, y, on_epoch=Watch())`. It looks at a sample of the training part, changes
    nothing and draws nothing: the weights come out the same, to the last bit, as without it.

    Args:
        every: epochs from one look to the next.
        sequences: that are looked at.
        notify: called with the text of each finding that is a warning or worse, once.
        seed: of the sample.

    Attributes:
        diagnoses: of each look the epoch, 0 before the training, and what was found.
    """

    def __init__(
        self,
        every: int = 5,
        sequences: int = 64,
        notify: Callable[[str], None] = _say,
        seed: int = 0,
    ) -> None:
        for name, value in (("every", every), ("sequences", sequences)):
            if value < 1:
                raise SettingsError(f"{name}: got {value}, expected 1 or more")
        self.every = every
        self.sequences = sequences
        self.notify = notify
        self.seed = seed
        self.diagnoses: list[tuple[int, Diagnosis]] = []
        self._notified: set[tuple[object, ...]] = set()
        self._records: list[EpochRecord] = []
        self._model: SequenceModel | None = None

    def begin(self, model: SequenceModel, training: Examples, loss: Loss) -> None:
        """Hear what is going to be trained; `fit` calls it. Looks once, before the first step."""
        self._model, self._training, self._loss = model, training, loss
        self._records, self._notified, self.diagnoses = [], set(), []
        self._look(0)

    def __call__(self, record: EpochRecord) -> None:
        """Hear of an epoch."""
        if self._model is None:
            raise ElmanError(
                "Watch: it was not told which network is trained. Hand it to an estimator's fit as "
                "on_epoch, or call begin(model, examples, loss) first"
            )
        self._records.append(record)
        if len(self._records) % self.every == 0:
            self._look(len(self._records))

    def _look(self, epoch: int) -> None:
        assert self._model is not None
        record = None
        if self._records:  # that it has stopped, or what it keeps, is not known yet
            losses = [r.validation_loss or r.loss for r in self._records]
            record = TrainingRecord(tuple(self._records), int(np.argmin(losses)) + 1, "", {})
        model = copy.deepcopy(self._model).eval()
        model.zero_grad(set_to_none=True)
        inputs = DiagnosisInput.from_training(model, self._training, self._loss, record)
        with torch.random.fork_rng(devices=[]):
            found = examine(inputs, [], None, sequences=self.sequences, probe=False, seed=self.seed)
        self.diagnoses.append((epoch, found))
        for finding in found.findings:
            key = (finding.name, finding.layer, finding.direction, finding.gate)
            if finding.severity != "note" and key not in self._notified:
                self._notified.add(key)
                self.notify(f"epoch {epoch}: {finding}")
