"""Base class of all estimators: fit, predict, evaluate and check."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.batches import pad, static_of
from elman.data.dataset import Dataset, Layout
from elman.errors import DataError
from elman.estimators.containers import InputContainer, check_steps, open_container
from elman.estimators.encoder import EncodedSequences
from elman.estimators.labels import refuse_other_lengths
from elman.estimators.parameters import Settings, refuse_missing_device, settle_next_steps
from elman.estimators.prepare import Prepared, Previous, prepare, read_split
from elman.estimators.storage import evaluation_mode
from elman.estimators.stream import StreamingEstimator
from elman.evaluate import Check, check_invariance
from elman.evaluate.features import one_hot_categories
from elman.layers.random_numbers import own_cuda_state
from elman.models import SequenceModel
from elman.models.carry import Carry
from elman.models.parts import spans
from elman.train import Checkpoints, EpochCallback, History, TorchThreads, train
from elman.train.checkpoint import CHECKPOINT_EVERY, make_checkpoints, stored_seed
from elman.train.monitor import Monitor
from elman.train.progress import make_progress

_BATCH = 256  # sequences per batch in prediction


class SequenceEstimator(StreamingEstimator):
    """Base class of classifier, tagger and regressor; do not use it directly."""

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        validation_data: tuple[Any, ...] | None = None,
        on_epoch: EpochCallback | None = None,
        groups: Any = None,
        column_names: Sequence[str] = (),
        test_data: tuple[Any, ...] | None = None,
        static: Any = None,
        checkpoint: str | Path | None = None,
        checkpoint_every: float = CHECKPOINT_EVERY,
    ) -> Self:
        """Train on labelled sequences.

        Ctrl-C ends training in the same way as early stopping and keeps the best model so far.

        Args:
            X: n sequences: list of (T_i, C) or (T_i,) arrays, array (n, T, C) or (n, T), list of
                token lists, or list of strings; or a list of tables (T_i, C), object arrays or
                data frames, with numbers and categories. Missing numbers are NaN. Or a data set
                from `elman.data.read`; files and frames are then read alike for predictions.
            y: a label or number for each sequence, or for each step; see the estimator's class.
                None means the labels of the data set X.
            sample_weight: n numbers, the weight of each sequence in the loss; with a target at
                every step, also n lists of a weight per step. A weight of 0 excludes it.
            validation_data: (X, y), (X, y, sample_weight) or (X, y, sample_weight, static), used
                for validation instead of a share of X.
            on_epoch: called with the record of each epoch; or an `elman.train.Observer`, such as
                `elman.explain.Watch`, which has access to the network itself.
            groups: n group labels, one per sequence; no group is divided for the validation split.
            column_names: names of the channels of X, if X is arrays.
            test_data: like `validation_data`, but evaluated only for the curve in `history_` and
                `plot_history`; the weights are the same bits without it. It costs at most 3 % of
                the training: a large test split is evaluated every few epochs, or a fixed sample
                of it; see `history_.monitored`.
            static: features of whole sequences, such as the age of a patient: an array (n,) or
                (n, k), a data frame, or columns by name. Numbers may be missing; columns with text
                are categories.
            checkpoint: a folder for checkpoints. If it holds one of a training with the same data
                and parameters, which was cut off, the training continues there and ends with the
                same bits as an unbroken one. A training that is complete is not repeated.
            checkpoint_every: seconds between checkpoints; 0 for one after each batch. They are
                further apart if writing them would take more than 2 % of the time.
        Raises: DataError, ShapeError or SettingsError; the message says what was expected.
        """
        checkpoints = make_checkpoints(checkpoint, checkpoint_every)
        prepared = self.prepare(
            X,
            y,
            sample_weight,
            validation_data,
            groups,
            column_names=column_names,
            static=static,
            seed=stored_seed(checkpoints, self.random_state),
        )
        if test_data is not None:
            prepared = self.monitor(prepared, test_data)
        return self.fit_prepared(prepared, on_epoch, checkpoints)

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
        static: Any = None,
        seed: int | None = None,
    ) -> Prepared:
        """Do everything in `fit` that precedes training; `fit_prepared` then trains.

        Args:
            X, y, sample_weight, validation_data, groups, static: as for `fit`.
            column_names, target_names: of the channels, if X has none, and the predicted numbers.
            layout: how the files that X and y come from were read; it is saved with the model.
            seed: used if `random_state` is no number; None draws one.
        Raises: the same errors as `fit`.
        """
        previous = self._previous() if self.warm_start else None
        if isinstance(X, Dataset):
            y = X.target if y is None else y
            target_names, layout = target_names or X.target_names, layout or X.layout
        container, settings = self._check_before(X, y, previous, seed)
        settings = settle_next_steps(settings, layout)
        return prepare(
            container.with_names(column_names),
            y,
            settings,
            targets=self.targets,
            per_step=self.per_step,
            sample_weight=sample_weight,
            validation_data=validation_data,
            groups=groups,
            previous=previous,
            target_names=target_names,
            layout=layout,
            static=static,
        )

    def monitor(
        self, prepared: Prepared, test_data: tuple[Any, ...], *, every_epoch: bool = False
    ) -> Prepared:
        """Return `prepared` with the test split, which `fit_prepared` then monitors.

        Args:
            prepared: the result of `prepare`.
            test_data: as for `fit`.
            every_epoch: evaluate all of it after every epoch, whatever that costs.
        Raises: the same errors as `fit`.
        """
        encoder, target = prepared.encoder, prepared.target
        test = read_split(test_data, prepared.columns, self.targets, self.per_step, encoder, target)
        sequences = encoder.encode_sequences(test.X, static=test.static)
        monitor = Monitor.plan(
            test.to_examples(sequences, target),
            prepared.examples,
            prepared.config,
            prepared.plan,
            every_epoch=every_epoch,
        )
        return dataclasses.replace(prepared, test_sequences=sequences, monitor=monitor)

    def fit_prepared(
        self,
        prepared: Prepared,
        on_epoch: EpochCallback | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> Self:
        """Train on the result of `prepare`.

        Args:
            on_epoch: as for `fit`.
            checkpoints: where to continue, and to write checkpoints.
        """
        continues = prepared.one_pass and prepared.continues is not None
        memory = dict(self._memory) if continues else {}
        model, history = self._train(prepared, memory, on_epoch, checkpoints)
        if continues:
            history = self.history_.with_pass(history, prepared.plan.keep_epochs)
        # Keep the baselines of the first pass: a later pass may see only a small part of the data.
        if continues:
            baselines = self.baselines_
        else:
            baselines = prepared.make_baselines(model, len(history.epochs))
        # Assign only now, so that the estimator is unchanged if training fails.
        self.encoder_, self.target_ = prepared.encoder, prepared.target
        self.columns_, self.layout_ = prepared.columns, prepared.layout
        self.model_, self.history_ = model, history
        self.chosen_, self.baselines_ = prepared.chosen, baselines
        self._memory = memory if prepared.one_pass else {}
        return self

    def partial_fit(
        self,
        X: Any,
        y: Any,
        classes: Any = None,
        sample_weight: Any = None,
        static: Any = None,
    ) -> Self:
        """Train for one pass over these sequences, starting from the current weights.

        The first call fixes the classes, channels, vocabulary, scaling and the baselines of
        `evaluate` for all later calls. The optimizer keeps its state between calls, also after
        pickling; after `load` it starts from an empty state. The learning rate is constant at
        `learning_rate`; `epochs`, `schedule`, `warmup`, `validation`, `patience` and `keep` apply
        only to `fit`.

        Args:
            X, y, sample_weight, static: the same as for `fit`.
            classes: all labels of any call, for the first one; None means those in its y.
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
            static=static,
        )
        return self.fit_prepared(prepared)

    def _check_before(
        self, X: Any, y: Any, previous: Previous | None, seed: int | None = None
    ) -> tuple[InputContainer, Settings]:
        """Check the parameters and the columns of X, before any sequence is read."""
        settings = self.check_parameters(self.readout, seed)
        refuse_missing_device(settings.training)
        if y is None:
            raise DataError(
                f"this {type(self).__name__} requires y to be passed, but the target y is None",
                remedy="Expected a label a sequence.",
            )
        container = open_container(X, None if previous is None else self.trained_columns())
        if previous is not None:
            check_steps(self, container)
        return container, settings

    def _previous(self) -> Previous | None:
        """What continued training takes over; None if the estimator is not fitted."""
        if not self.__sklearn_is_fitted__():
            return None
        return Previous(self.model_, self.encoder_, self.target_, self.columns_, self.layout_)

    def _train(
        self,
        prepared: Prepared,
        memory: dict[str, Tensor],
        on_epoch: EpochCallback | None,
        checkpoints: Checkpoints | None,
    ) -> tuple[SequenceModel, History]:
        """Make and train a network; `memory` is the state of the optimizer, updated in place."""
        plan = prepared.plan
        progress = make_progress(self.verbose, plan.epochs)
        generator = torch.Generator().manual_seed(plan.seed)
        with own_cuda_state(plan.device, plan.seed), TorchThreads(self.threads), progress:
            with TorchThreads(1):  # LAPACK may round orthogonal weights differently with more
                model = prepared.make_model(generator).to(plan.device)
            history = train(
                model,
                prepared.examples,
                prepared.validation_examples,
                plan,
                class_weight=prepared.class_weight,
                optimizer_state=memory,
                monitor=prepared.monitor,
                progress=progress,
                on_epoch=on_epoch,
                generator=generator,
                checkpoints=checkpoints,
            )
        return model.cpu(), history

    def predict_encoded(self, encoded: EncodedSequences) -> NDArray[np.float64]:
        """Return probabilities or values: (n, K), one row per sequence, or (N, K), one per step."""
        inputs = encoded.inputs
        count = len(inputs.values) if self.per_step else len(inputs)
        out = np.empty((count, self.target_.num_outputs))
        with torch.no_grad(), TorchThreads(self.threads), evaluation_mode(self.model_):
            for span in spans(self.model_, inputs.lengths, _BATCH):
                batch = inputs.between(span.index, span.start, span.stop)
                lengths = torch.from_numpy(batch.lengths)
                static = () if batch.static is None else (torch.from_numpy(batch.static),)
                outputs = self._predict_batch(
                    pad(batch), lengths, *static, carry=span.carry
                ).numpy()
                if self.per_step:
                    mask = np.arange(outputs.shape[1]) < batch.lengths[:, None]  # (B, T)
                    out[inputs.places_between(span.index, span.start, span.stop)] = outputs[mask]
                else:
                    out[span.index] = outputs
        return self.target_.to_output_units(out)

    def _predict_batch(
        self, x: Tensor, lengths: Tensor, *static: Tensor, carry: Carry | None = None
    ) -> Tensor:
        """Predict a padded batch, given lengths and features: (B, K) or (B, T, K), float64."""
        weight = next(self.model_.parameters(), x)  # of model_.double(), for example
        x, *rest = [t.to(weight.dtype) if t.is_floating_point() else t for t in (x, *static)]
        # A model with a forward pass of its own may not know of a carry.
        more = rest if carry is None else [rest[0] if rest else None, carry]
        return self.target_.transform_outputs(self.model_(x, lengths, *more))

    def predict(self, X: Any, static: Any = None) -> Any:
        """Predict each sequence, or each step.

        Args:
            X: sequences in the same form as for `fit`, with channels matched by name where there
                are names; a path or a long data frame, read as the training file was; a data set;
                or the result of `encode`.
            static: their static features, matched by name as in `fit`; None if X is a file, data
                set or result of `encode`, which have their own.
        Returns: the most probable class, (n,); for multilabel targets an integer indicator, (n, K),
            1 where the probability is above 1/2; or numbers in the target's unit, (n,), or (n, K)
            if y had K columns. Predictions per step are an object array of n arrays (T_i, ...).
        """
        encoded = self.encode(X, static=static)
        return self.split_steps(encoded, self.target_.decide(self.predict_encoded(encoded)))

    def evaluate(
        self,
        X: Any,
        y: Any = None,
        *,
        groups: Any = None,
        duplicates: Any = None,
        resamples: int = 1000,
        static: Any = None,
    ) -> Any:
        """Compare predictions with y, and with baselines fitted on the training split.

        Args:
            X, static: the same as for `predict`.
            y: their targets, in the same form as for `fit`; None for those of a file or data set.
            groups: n group labels, such as subjects; the intervals are then over whole groups.
            duplicates: n truth values, whether each sequence is in the training data too, without
                which the report then has the metrics as well.
            resamples: number of bootstrap resamples for the 95 % intervals; 0 for no intervals.
        Returns: a ClassificationReport, MultilabelReport or RegressionReport; it is displayed as
            tables in the terminal and in a notebook.
        Raises: DataError if y contains a class that does not occur in the training data.
        """
        X, y = self.read_labelled(X, y)
        encoded = self.encode(X, static=static)
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
            groups=groups,
            duplicates=duplicates,
            resamples=resamples,
        )

    def check(self, X: Any, tolerance: float | None = None, static: Any = None) -> list[Check]:
        """Check that predictions do not depend on padding or batch.

        Each sequence is predicted alone, in batches, in different orders and with different
        padding; see `elman.evaluate.check_invariance`.

        Args:
            X: sequences in the same form as for `fit`.
            tolerance: largest accepted difference in probability or standardised value. None means
                0, bitwise equality, or 1e-6 if torch runs `model_` (see `SequenceModel.is_exact`),
                because it sums in an order that depends on the batch size.
            static: the same as for `predict`.
        """
        inputs = self.encode(X, static=static).inputs
        if tolerance is None:
            tolerance = 0.0 if self.model_.is_exact() else 1e-6
        ids = list(range(self.encoder_.vocabulary_size))
        with torch.no_grad(), TorchThreads(self.threads), evaluation_mode(self.model_):
            return check_invariance(
                self._predict_batch,
                list(inputs),
                tolerance=tolerance,
                pad_ids=ids[1:4],
                static=static_of(inputs),
            )
