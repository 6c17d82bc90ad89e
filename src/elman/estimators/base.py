"""What classifier and tagger share: from settings and sequences to a trained, saved model."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state
from torch import Tensor

from elman.data.batches import Examples, batch_by_length, pad
from elman.data.ragged import Ragged
from elman.data.splits import check_groups
from elman.errors import DataError, SettingsError, ShapeError
from elman.estimators.containers import check_columns, open_container, refuse_other_columns
from elman.estimators.contract import Contract
from elman.estimators.defaults import DataStatistics, choose, validation_share
from elman.estimators.encoder import Encoder
from elman.estimators.examples import LabelledSequences, lengths_of, refuse_other_lengths
from elman.estimators.inputs import check_sequences
from elman.estimators.parameters import Parameters
from elman.estimators.resume import carried_over, continued, labels_of, one_pass, with_classes
from elman.estimators.targets import Labels, Target
from elman.estimators.weights import counted, sample_weights
from elman.evaluate import (
    Baselines,
    Check,
    Report,
    check_invariance,
)
from elman.evaluate.features import one_hot_categories
from elman.models import ModelConfig, SequenceModel
from elman.settings import DataSettings, ModelSettings, TrainingSettings
from elman.train import EpochCallback, History, TorchThreads, train
from elman.train.losses import check_loss
from elman.train.progress import make_progress
from elman.validation import validate_settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from elman.data.dataset import Layout

_BATCH = 256
_MODEL = tuple(f.name for f in dataclasses.fields(ModelSettings) if f.name != "readout")
_TRAINING = tuple(f.name for f in dataclasses.fields(TrainingSettings) if f.name != "seed")
# What only one kind of input can honour, with the default that asks for nothing.
_NUMBERS_ONLY = {"scale": True, "noise": None}
_TOKENS_ONLY = {"embedding_size": None, "token_dropout": None}


class SequenceEstimator(Parameters, Contract):
    """Base of classifier, tagger and regressor; not to be used itself."""

    readouts: ClassVar[tuple[str, ...]]
    tasks: ClassVar[tuple[str, ...]] = ("classification",)

    target_: Target
    classes_: NDArray[Any]
    encoder_: Encoder
    model_: SequenceModel
    history_: History
    chosen_: str
    baselines_: Baselines
    _memory: dict[str, Tensor]

    def _fit(
        self,
        X: Any,
        y: Any,
        readout: str,
        sample_weight: Any,
        validation_data: tuple[Any, ...] | None,
        on_epoch: EpochCallback | None,
        once: bool = False,
        classes: Any = None,
        groups: Any = None,
    ) -> None:
        """Train; `once` is one pass over X, of a training that goes on, with these `classes`."""
        network, asked = self._settings(readout)
        going_on = self.__sklearn_is_fitted__() and (once or self.warm_start)
        if y is None:
            raise DataError(
                f"this {type(self).__name__} requires y to be passed, but the target y is None",
                remedy="Expected a label a sequence.",
            )
        found = open_container(X)
        columns = found.columns()
        if going_on:
            network = carried_over(network, self.model_)
            check_columns(self, found)
            columns = self.columns_
        # Whole, so that a fault is told by the place that the sequence has in the caller's X.
        X, kind = check_sequences(found.sequences, self.encoder_.kind if going_on else self.inputs)
        part = self._part(X, y, sample_weight, groups)
        target = self.target_ if going_on else self._learn_target(labels_of(part.labels, classes))
        if classes is not None:
            target = with_classes(target, classes)
        check_loss(target.task, asked)
        share = validation_share(len(part), asked) if self.validation is None else self.validation
        share = 0.0 if once or validation_data is not None else share
        part, held = part.parted(
            kind, share, asked.seed, stratified=target.task == "classification"
        )
        if validation_data is not None:
            refuse_other_columns(open_container(validation_data[0]), columns)
            held = self._watched(*validation_data)
        encoder = self.encoder_ if going_on else None
        if encoder is None:
            target = target.fit_scaling(part.labels)
            encoder = Encoder.fit(part.X, inputs=kind, tokens=self.tokens, scale=self.scale)
        self._refuse_unused(encoder)
        training = part.examples(encoder, target)
        figures = DataStatistics.from_training(
            encoder,
            training.inputs.lengths,
            target.num_outputs,
            per_step=self.per_step,
            task=target.task,
            scaled=self.scale,
        )
        network, asked, chosen = choose(figures, network, asked)
        before = self.history_.epochs if once and going_on else []
        memory = dict(self._memory) if once and going_on else {}
        if once:
            asked = one_pass(asked, len(before))
        config = ModelConfig(
            **{k: v for k, v in dataclasses.asdict(network).items() if v is not None},
            task=target.task,
            num_outputs=target.num_outputs,
            input_size=encoder.input_size,
            vocabulary_size=encoder.vocabulary_size,
            category_sizes=encoder.category_sizes,
        )
        model, history = self._train(
            lambda: continued(self.model_, config) if going_on else SequenceModel(config),
            training,
            None if held is None else held.examples(encoder, target),
            asked,
            target.class_weights(asked.class_weight, part.labels),
            memory,
            on_epoch,
        )
        if before:
            last = dataclasses.replace(history.epochs[0], epoch=len(before) + 1)
            history = dataclasses.replace(history, epochs=[*before, last], kept_epoch=last.epoch)
        self.columns_, self._memory = columns, memory if once else {}
        self._set_target(target)
        self.encoder_ = encoder
        self.model_, self.history_, self.chosen_ = model, history, chosen
        if before:
            return  # the baselines are those of the first pass
        self.baselines_ = Baselines.from_training(
            one_hot_categories(training.inputs, len(encoder.category_sizes)),
            target.to_array(part.labels),
            target.num_outputs,
            vocabulary_size=encoder.vocabulary_size or None,
            per_step=self.per_step,
            task=target.task,
        )

    def _train(
        self,
        make: Callable[[], SequenceModel],
        training: Examples,
        watched: Examples | None,
        asked: TrainingSettings,
        by_class: NDArray[np.float64] | None,
        memory: dict[str, Tensor],
        on_epoch: EpochCallback | None,
    ) -> tuple[SequenceModel, History]:
        """Make a network and train it; `memory` is the optimizer's, before and after."""
        settings = asked.resolve(watched is not None)
        progress = make_progress(self.verbose, settings.epochs)
        # fork_rng leaves the caller's own random state as it was.
        with torch.random.fork_rng(), TorchThreads(self.threads), progress:
            torch.manual_seed(settings.seed)
            with TorchThreads(1):  # else LAPACK might round orthogonal weights in another way
                model = make().to(settings.device)
            history = train(
                model,
                training,
                watched,
                settings,
                class_weight=by_class,
                optimizer_state=memory,
                progress=progress,
                on_epoch=on_epoch,
            )
        return model.cpu(), history

    @property
    def per_step(self) -> bool:
        """Whether there is an answer at every step."""
        return self.readouts == ("every",)

    def _read(self, y: Any) -> Labels:
        """Check labels, or what else is predicted, by themselves."""
        raise NotImplementedError

    def _learn_target(self, labels: Labels) -> Target:
        """Say what is predicted."""
        raise NotImplementedError

    def _set_target(self, target: Target) -> None:
        """Keep what is predicted."""
        self.target_ = target

    def _part(self, X: Any, y: Any, sample_weight: Any, groups: Any = None) -> LabelledSequences:
        """Sequences and what is known of them, without those that count nothing."""
        labels = self.read_labels(X, y)
        if isinstance(X, Ragged):
            refuse_other_lengths(X, labels)
        groups = None if groups is None else check_groups(groups, len(X))
        if sample_weight is None:
            return LabelledSequences(X, labels, None, groups)
        weights = sample_weights(sample_weight, lengths_of(labels), per_step=self.per_step)
        part = LabelledSequences(X, labels, weights, groups)
        used = counted(weights)
        return part.take(used) if len(used) < len(part) else part

    def _watched(self, X: Any, y: Any, sample_weight: Any = None) -> LabelledSequences:
        """What the caller wants the training to be watched by."""
        return self._part(open_container(X).sequences, y, sample_weight)

    def _settings(self, readout: str) -> tuple[ModelSettings, TrainingSettings]:
        seed: Any = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(2**31 - 1)
        network, training = self.check_parameters(readout, seed)
        if training.device == "cuda" and not torch.cuda.is_available():
            raise SettingsError(
                "device: got 'cuda', but torch finds no CUDA device here. Use 'cpu'"
            )
        return network, training

    def check_parameters(self, readout: str, seed: int) -> tuple[ModelSettings, TrainingSettings]:
        """Check every parameter, and say all that is wrong in one SettingsError."""
        faults = []
        found: list[Any] = []
        groups: list[tuple[type[Any], dict[str, Any]]] = [
            (ModelSettings, {**{n: getattr(self, n) for n in _MODEL}, "readout": readout}),
            (TrainingSettings, {**{n: getattr(self, n) for n in _TRAINING}, "seed": seed}),
            (DataSettings, {n: getattr(self, n) for n in ("tokens", "scale", "validation")}),
        ]
        for kind, values in groups:
            try:
                found.append(validate_settings(kind, values))
            except SettingsError as error:
                faults.append(str(error).replace("seed:", "random_state:"))
        if self.inputs not in ("auto", "numbers", "tokens", "text", "mixed"):
            faults.append(
                f"inputs: got {self.inputs!r}, expected 'auto', 'numbers', 'tokens', 'text' or "
                "'mixed'"
            )
        if isinstance(self.validation, str):
            faults.append(
                f"validation: got {self.validation!r}, expected a share from 0 up to, not "
                "including, 1; give a part of your own to fit(..., validation_data=(X, y))"
            )
        if readout not in (*self.readouts, "auto"):
            faults.append(
                f"readout: got {readout!r}, expected 'last', 'mean', 'max' or 'auto' in a "
                "classifier, 'every' in a tagger, and any of them in a regressor"
            )
        if faults:
            raise SettingsError("\n".join(faults))
        network, training, _ = found
        return network, training

    def _refuse_unused(self, encoder: Encoder) -> None:
        """Refuse a setting that this kind of input cannot honour."""
        unused: dict[str, Any] = {}
        if encoder.kind != "mixed":
            unused |= _TOKENS_ONLY if encoder.kind == "numbers" else _NUMBERS_ONLY
        if encoder.kind != "text":
            unused["tokens"] = "auto"
        for name, default in unused.items():
            if getattr(self, name) != default:
                raise SettingsError(
                    f"{name}: got {getattr(self, name)!r}, but the sequences are {encoder.kind}, "
                    "which have no such setting. Leave it out"
                )

    def read_labels(self, X: Any, y: Any) -> NDArray[Any] | Ragged:
        """Check that y has a label for each sequence, or each step, of X."""
        if hasattr(y, "__array__"):
            y = np.asarray(y)
        if not hasattr(y, "__len__"):
            raise DataError(f"y is a {type(y).__name__}", remedy="Expected a label a sequence.")
        if len(y) != len(X):
            raise ShapeError(f"y: got {len(y)} labels, expected {len(X)}, one a sequence of X")
        return self._read(y)

    def _model_output(self, inputs: Ragged) -> NDArray[np.float64]:
        """Probabilities, or values, of encoded sequences: (n, K), or a row a step (N, K)."""
        count = len(inputs.values) if self.per_step else len(inputs)
        out = np.empty((count, self.target_.num_outputs))
        answers = self._answers()
        places = inputs.with_values(np.arange(len(inputs.values)))
        with torch.no_grad(), TorchThreads(self.threads):
            for index in batch_by_length(inputs.lengths, _BATCH):
                batch = inputs.take(index)
                found = answers(pad(batch), torch.from_numpy(batch.lengths)).numpy()
                if self.per_step:
                    inside = np.arange(found.shape[1]) < batch.lengths[:, None]  # (B, T)
                    out[places.take(index).values] = found[inside]
                else:
                    out[index] = found
        return self.target_.to_output_units(out)

    def _answers(self) -> Callable[[Tensor, Tensor], Tensor]:
        """From a padded batch and its lengths to answers, (B, K) or (B, T, K), float64."""

        def answers(x: Tensor, lengths: Tensor) -> Tensor:
            return self.target_.transform_outputs(self.model_(x, lengths))

        return answers

    def read_sequences(self, X: Any) -> Any:
        """X out of its container, which must be like the one that was trained with."""
        self._check_fitted()
        found = open_container(X)
        check_columns(self, found)
        return found.sequences

    def _encode_inputs(self, X: Any) -> Ragged:
        X = self.read_sequences(X)
        return self.encoder_.encode(X)

    def evaluate(self, X: Any, y: Any, *, resamples: int = 1000) -> Any:
        """Compare with the truth, beside baselines that were fitted on the training part.

        Args:
            X: sequences, in the form they were trained in.
            y: their labels, in the form of `fit`.
            resamples: draws behind the 95 % intervals; 0 for none.
        Returns: a Report, MultilabelReport or RegressionReport; it prints as a table and shows as
            one in a notebook.
        Raises: DataError if y holds a class that training has not seen.
        """
        X = self.read_sequences(X)
        inputs = self.encoder_.encode(X)
        labels = self.read_labels(X, y)
        refuse_other_lengths(inputs, labels)
        return self.target_.evaluate(
            labels,
            self._model_output(inputs),
            lengths=inputs.lengths,
            owners=inputs.owners if self.per_step else None,
            baselines=self.baselines_.predict(
                one_hot_categories(inputs, len(self.encoder_.category_sizes))
            ),
            resamples=resamples,
        )

    def count_unknown(self, X: Any) -> Counter[str]:
        """Count the tokens of X that training has not seen and that are read as unknown."""
        X = self.read_sequences(X)
        return self.encoder_.unknown(X)

    def check(self, X: Any, tolerance: float | None = None) -> list[Check]:
        """Prove that an answer depends on its own sequence alone.

        Each sequence is asked alone, in batches, in other orders and with other padding; see
        `elman.evaluate.check_invariance`.

        Args:
            X: sequences, in the form they were trained in.
            tolerance: largest difference in probability, or standardised value, that passes. None
                means 0, the same bits, unless `model_` has been changed so that torch runs it (see
                `SequenceModel.native`); torch sums batches of other sizes in another order, and
                then it is 1e-6.
        """
        inputs = self._encode_inputs(X)
        if tolerance is None:
            tolerance = 1e-6 if isinstance(self.model_.native(), str) else 0.0
        ids = list(range(self.encoder_.vocabulary_size))
        with torch.no_grad(), TorchThreads(self.threads):
            return check_invariance(
                self._answers(), list(inputs), tolerance=tolerance, pad_ids=ids[1:4]
            )

    def plot_history(self) -> Figure:
        """Draw loss and accuracy, or error, over the epochs."""
        from elman import plots

        self._check_fitted()
        records = [record.to_dict() for record in self.history_.epochs]
        return plots.history(records, kept_epoch=self.history_.kept_epoch)

    def save(
        self,
        folder: str | Path,
        *,
        data: str = "",
        layout: Layout | None = None,
        report: Report | None = None,
    ) -> None:
        """Write model.safetensors, config.json and README.md into `folder`; `elman.load` reads it.

        Args:
            folder: made if missing; a model that is there already is replaced.
            data: what the model was trained on, for the card.
            layout: how its files were read, for reading others in the same way.
            report: figures for the card.
        Raises: ModelFileError if the folder holds something else.
        """
        from elman.estimators.storage import save

        self._check_fitted()
        save(self, Path(folder), data=data, layout=layout, report=report)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def _check_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet: call fit first")
