"""What all estimators share: from settings and sequences to a trained model and its predictions."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.batches import batch_by_length, pad
from elman.data.dataset import Layout
from elman.errors import DataError, SettingsError
from elman.estimators.card import describe_model, make_card
from elman.estimators.containers import InputContainer, check_columns, open_container
from elman.estimators.encoder import EncodedSequences
from elman.estimators.labels import Labels, refuse_other_lengths
from elman.estimators.parameters import Settings
from elman.estimators.prepare import Prepared, Previous, prepare, read_labels
from elman.estimators.storage import FittedState, write_card, write_folder
from elman.evaluate import Check, Report, check_invariance
from elman.evaluate.features import one_hot_categories
from elman.models import SequenceModel
from elman.train import EpochCallback, History, TorchThreads, train
from elman.train.progress import make_progress

_BATCH = 256  # sequences that are predicted at once


class SequenceEstimator(FittedState):
    """Base of classifier, tagger and regressor; not to be used itself."""

    @property
    def per_step(self) -> bool:
        """Whether there is a prediction at every step."""
        return self.readouts == ("every",)

    # -- training ------------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        validation_data: tuple[Any, ...] | None = None,
        on_epoch: EpochCallback | None = None,
        groups: Any = None,
    ) -> Self:
        """Train on labelled sequences.

        Ctrl-C ends the training as early stopping does, and keeps the best model so far.

        Args:
            X: n sequences: list of (T_i, C) or (T_i,) arrays, array (n, T, C) or (n, T), list of
                token lists, or list of strings; or a list of tables (T_i, C), object arrays or
                data frames, of numbers and categories. A missing number is NaN.
            y: a label or number for each sequence, or for each of its steps, as the class says.
            sample_weight: n numbers, how much each sequence counts in the loss, or, with a label or
                number at every step, n lists with one a step; 0 leaves it out.
            validation_data: (X, y) or (X, y, sample_weight) to watch the training by, instead of a
                share of X.
            on_epoch: called with the record of each epoch; or an `elman.train.Observer`, such as
                `elman.explain.Watch`, which sees the network itself.
            groups: of each sequence, n; the share held out to watch the training by is of whole
                groups.
        Raises: DataError, ShapeError or SettingsError, saying what was expected.
        """
        prepared = self.prepare(X, y, sample_weight, validation_data, groups)
        return self.fit_prepared(prepared, on_epoch)

    def prepare(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        validation_data: tuple[Any, ...] | None = None,
        groups: Any = None,
        *,
        column_names: Sequence[str] = (),
        target_names: Sequence[str] = (),
        layout: Layout | None = None,
    ) -> Prepared:
        """Do all of `fit` that comes before the training, which `fit_prepared` then does.

        Args:
            X, y, sample_weight, validation_data, groups: as for `fit`.
            column_names: of the channels, where X itself has none.
            target_names: of predicted numbers.
            layout: how the files were read that X and y come from; it is saved with the model.
        Raises: as `fit`.
        """
        previous = self._previous() if self.warm_start else None
        container, settings = self._check_before(X, y, previous)
        return prepare(
            container,
            y,
            settings,
            targets=self.targets,
            per_step=self.per_step,
            sample_weight=sample_weight,
            validation_data=validation_data,
            groups=groups,
            previous=previous,
            column_names=column_names,
            target_names=target_names,
            layout=layout,
        )

    def fit_prepared(self, prepared: Prepared, on_epoch: EpochCallback | None = None) -> Self:
        """Train on what `prepare` settled; `on_epoch` as for `fit`."""
        continues = prepared.one_pass and prepared.continues is not None
        memory = dict(self._memory) if continues else {}
        model, history = self._train(prepared, memory, on_epoch)
        if continues:
            before = self.history_.epochs
            last = dataclasses.replace(history.epochs[0], epoch=len(before) + 1)
            history = dataclasses.replace(history, epochs=[*before, last], kept_epoch=last.epoch)
        # The baselines of the first pass stay: a later one may see a small part of the data only.
        baselines = self.baselines_ if continues else prepared.make_baselines()
        # Assigned only now, so that a training that fails leaves the estimator as it was.
        self.encoder_, self.target_ = prepared.encoder, prepared.target
        self.columns_, self.layout_ = prepared.columns, prepared.layout
        self.model_, self.history_ = model, history
        self.chosen_, self.baselines_ = prepared.chosen, baselines
        self._memory = memory if prepared.one_pass else {}
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Train by one pass over these sequences, continuing from where the training is.

        The first call decides what later ones have to keep to: classes, channels, vocabulary,
        scaling, and the baselines of `evaluate`. The optimizer continues from where it was, also
        after pickling; after `load` it begins anew. The learning rate stays `learning_rate`:
        `epochs`, `schedule`, `warmup`, `validation`, `patience` and `keep` are `fit`'s alone.

        Args:
            X, y, sample_weight: as for `fit`.
            classes: all labels there will be, for the first call; None for those of its y.
        """
        previous = self._previous()
        container, settings = self._check_before(X, y, previous)
        prepared = prepare(
            container,
            y,
            settings,
            targets=self.targets,
            per_step=self.per_step,
            sample_weight=sample_weight,
            classes=classes,
            previous=previous,
            passes=0 if previous is None else len(self.history_.epochs),
        )
        return self.fit_prepared(prepared)

    def _check_before(
        self, X: Any, y: Any, previous: Previous | None
    ) -> tuple[InputContainer, Settings]:
        """Check what needs no look at the sequences: parameters, and the columns of X."""
        settings = self.check_parameters(self.readout)
        if settings.training.device == "cuda" and not torch.cuda.is_available():
            raise SettingsError(
                "device: got 'cuda', but torch finds no CUDA device here. Use 'cpu'"
            )
        if y is None:
            raise DataError(
                f"this {type(self).__name__} requires y to be passed, but the target y is None",
                remedy="Expected a label a sequence.",
            )
        container = open_container(X)
        if previous is not None:
            check_columns(self, container)
        return container, settings

    def _previous(self) -> Previous | None:
        """What a training that continues keeps to; None where there is nothing to continue."""
        if not self.__sklearn_is_fitted__():
            return None
        return Previous(self.model_, self.encoder_, self.target_, self.columns_, self.layout_)

    def _train(
        self,
        prepared: Prepared,
        memory: dict[str, Tensor],
        on_epoch: EpochCallback | None,
    ) -> tuple[SequenceModel, History]:
        """Make a network and train it; `memory` is the optimizer's, before and after."""
        plan = prepared.plan
        progress = make_progress(self.verbose, plan.epochs)
        # fork_rng leaves the caller's own random state as it was.
        with torch.random.fork_rng(), TorchThreads(self.threads), progress:
            torch.manual_seed(plan.seed)
            with TorchThreads(1):  # else LAPACK might round orthogonal weights in another way
                model = prepared.make_model().to(plan.device)
            history = train(
                model,
                prepared.examples,
                prepared.validation_examples,
                plan,
                class_weight=prepared.class_weight,
                optimizer_state=memory,
                progress=progress,
                on_epoch=on_epoch,
            )
        return model.cpu(), history

    # -- prediction ----------------------------------------------------------------------------

    def read_sequences(self, X: Any) -> Any:
        """Return X out of its container, which must be like the one that was trained with.

        What `encode` returned is returned as it is.
        """
        self._check_fitted()
        if isinstance(X, EncodedSequences):
            return X
        container = open_container(X)
        check_columns(self, container)
        return container.sequences

    def read_labels(self, X: Any, y: Any) -> Labels:
        """Return y checked: a label for each sequence, or each step, of X."""
        return read_labels(X, y, self.targets, per_step=self.per_step)

    def encode(self, X: Any) -> EncodedSequences:
        """Return X as the network reads it, which every method takes in place of X.

        To predict, evaluate and explain the same sequences, encode them once.

        Raises: DataError or ShapeError if X is not like the X of the training; DataError if it was
            encoded for another model.
        """
        sequences = self.read_sequences(X)
        return self.encoder_.encode_sequences(sequences)

    def predict_encoded(self, encoded: EncodedSequences) -> NDArray[np.float64]:
        """Return probabilities, or values, of encoded sequences: (n, K), or a row a step (N, K)."""
        inputs = encoded.inputs
        count = len(inputs.values) if self.per_step else len(inputs)
        out = np.empty((count, self.target_.num_outputs))
        places = inputs.with_values(np.arange(len(inputs.values)))
        with torch.no_grad(), TorchThreads(self.threads):
            for index in batch_by_length(inputs.lengths, _BATCH):
                batch = inputs.take(index)
                outputs = self._predict_batch(pad(batch), torch.from_numpy(batch.lengths)).numpy()
                if self.per_step:
                    mask = np.arange(outputs.shape[1]) < batch.lengths[:, None]  # (B, T)
                    out[places.take(index).values] = outputs[mask]
                else:
                    out[index] = outputs
        return self.target_.to_output_units(out)

    def _predict_batch(self, x: Tensor, lengths: Tensor) -> Tensor:
        """From a padded batch and its lengths to predictions, (B, K) or (B, T, K), float64."""
        return self.target_.transform_outputs(self.model_(x, lengths))

    def split_steps(self, encoded: EncodedSequences, predictions: NDArray[Any]) -> Any:
        """Return predictions as users have them: (n, ...), or of steps n arrays (T_i, ...)."""
        return list(encoded.inputs.with_values(predictions)) if self.per_step else predictions

    def predict(self, X: Any) -> Any:
        """Return the prediction for each sequence, or n arrays (T_i, ...) with one for each step.

        Returns: the likeliest class, (n,); of several labels whole numbers, (n, K), 1 where the
            label's probability is above 1/2; numbers in the target's unit, (n,), or (n, K) where
            y had K of them.
        """
        encoded = self.encode(X)
        return self.split_steps(encoded, self.target_.decide(self.predict_encoded(encoded)))

    def evaluate(self, X: Any, y: Any, *, resamples: int = 1000) -> Any:
        """Compare predictions with the truth, and with baselines fitted on the training split.

        Args:
            X: sequences, in the form they were trained in, or what `encode` made of them.
            y: their labels, in the form of `fit`.
            resamples: draws behind the 95 % intervals; 0 for none.
        Returns: a Report, MultilabelReport or RegressionReport; it prints as a table and shows as
            one in a notebook.
        Raises: DataError if y holds a class that training has not seen.
        """
        encoded = self.encode(X)
        inputs, labels = encoded.inputs, self.read_labels(encoded, y)
        refuse_other_lengths(inputs, labels)
        return self.target_.evaluate(
            labels,
            self.predict_encoded(encoded),
            lengths=inputs.lengths,
            owners=inputs.owners if self.per_step else None,
            baselines=self.baselines_.predict(
                one_hot_categories(inputs, len(self.encoder_.category_sizes))
            ),
            resamples=resamples,
        )

    def count_unknown(self, X: Any) -> Counter[str]:
        """Count the tokens of X that training has not seen and that are read as unknown."""
        encoded = self.encode(X)
        return self.encoder_.count_unknown(encoded.steps)

    def check(self, X: Any, tolerance: float | None = None) -> list[Check]:
        """Check that predictions do not depend on padding or batch.

        Each sequence is predicted alone, in batches, in other orders and with other padding; see
        `elman.evaluate.check_invariance`.

        Args:
            X: sequences, in the form they were trained in.
            tolerance: largest difference in probability, or standardised value, that passes. None
                means 0, the same bits, unless `model_` has been changed so that torch runs it (see
                `SequenceModel.native`); torch sums batches of other sizes in another order, and
                then it is 1e-6.
        """
        inputs = self.encode(X).inputs
        if tolerance is None:
            tolerance = 1e-6 if isinstance(self.model_.native(), str) else 0.0
        ids = list(range(self.encoder_.vocabulary_size))
        with torch.no_grad(), TorchThreads(self.threads):
            return check_invariance(
                self._predict_batch, list(inputs), tolerance=tolerance, pad_ids=ids[1:4]
            )

    # -- model folder --------------------------------------------------------------------------

    def describe_model(self) -> str:
        """Say in one line what the network is."""
        self._check_fitted()
        return describe_model(self.model_, self.encoder_)

    def save(self, folder: str | Path, *, data: str = "", report: Report | None = None) -> None:
        """Write model.safetensors, config.json and README.md into `folder`; `elman.load` reads it.

        Args:
            folder: made if missing; a model that is there already is replaced.
            data: what the model was trained on, for the card.
            report: metrics for the card.
        Raises: ModelFileError if the folder holds something else.
        """
        self._check_fitted()
        write_folder(Path(folder), self, make_card(self, data, report))

    def save_card(
        self, folder: str | Path, *, data: str = "", report: Report | None = None
    ) -> None:
        """Write the README.md of a model anew that `save` wrote; arguments as there."""
        self._check_fitted()
        write_card(Path(folder), make_card(self, data, report))
