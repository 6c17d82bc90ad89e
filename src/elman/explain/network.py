"""The network to explain: a copy, with sequences and labels in its input format.

A user passes a `SequenceModel` with sequences in its input format, or a fitted estimator with
sequences and labels in the format that its `fit` takes. All other modules of `elman.explain` use an
`ExplainedNetwork`, which has the same interface for both.

Dimensions: n sequences, N steps in all, T steps of one sequence, C channels, K outputs.
"""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.dataset import Dataset
from elman.data.ragged import MISSING_CATEGORY, Ragged
from elman.errors import SettingsError, ShapeError
from elman.explain.forms import (
    OUTPUTS,
    OutputMeaning,
    Texts,
    check_input,
    check_label,
    check_name,
    count_of,
    default_channel_names,
    name_channels,
    numbered_codes,
)
from elman.models import SequenceModel
from elman.models.static import bind
from elman.tasks import TASKS

# Name of a static feature, its columns among the inputs, and the values of an unknown one.
StaticGroup = tuple[str, tuple[int, ...], tuple[float, ...]]


@runtime_checkable
class FittedEstimator(Protocol):
    """The part of a fitted estimator that is used here; its class is in a layer above this one."""

    @property
    def model_(self) -> SequenceModel:
        """The network, or one of several whose predictions the estimator averages."""

    @property
    def encoder_(self) -> Any:
        """Encodes sequences: `kind`, `read_steps`, `encode`, `gaps`, `categories`, `channels`."""

    @property
    def target_(self) -> Any:
        """Encodes labels: `encode`, and `classes`, or `names`, `mean` and `scale`."""

    @property
    def columns_(self) -> Any:
        """Column names of X: has `what` and `names`."""

    def read_sequences(self, X: Any) -> Any:
        """Take X out of its container."""

    def name_sequences(self, X: Any) -> tuple[str, ...]:
        """Return the name of each sequence of X; empty if it has none."""

    def is_encoded(self, X: Any) -> bool:
        """Whether X is a result of `encode`."""

    def read_labels(self, X: Any, y: Any) -> Any:
        """Check that y has a label for each sequence of X, or for each step."""


@dataclass(frozen=True)
class ExplainedNetwork:
    """A bare network, which reads tensors and arrays of numbers.

    Args:
        model: a copy of the user's network, in evaluation mode and without gradients.
        output_names: classes, labels, or names of the predicted numbers, (K,).
        channel_names: names of the C channels, with their units where the file has them. For an
            estimator: numbers, then for each number with gaps in training whether it is missing,
            then categories. `("token",)` for tokens.
        category_values: for each channel the text of each code from 0: `missing` and `observed`
            where the channel tells whether a number is missing, the values of a category; empty for
            numbers and tokens.
        mean, scale: (K,): a value in the target's unit is output * scale + mean; 0 and 1 for
            classes and for a bare network.
    """

    model: SequenceModel
    output_names: tuple[Any, ...]
    channel_names: Texts
    category_values: tuple[Texts, ...]
    mean: Tensor
    scale: Tensor

    @classmethod
    def of(cls, model: Any, dtype: torch.dtype | None = torch.float64) -> ExplainedNetwork:
        """Copy the network of `model`, a SequenceModel or a fitted estimator.

        Args:
            dtype: dtype of the copy; None for that of the user's network. float64 by default: in
                float32, rounding errors of a long sequence exceed the documented tolerances.
        Raises: SettingsError unless `model` is one of these.
        """
        estimator = None
        if isinstance(model, FittedEstimator):
            estimator, model = model, model.model_
        elif not isinstance(model, SequenceModel):  # an estimator before `fit` has no `model_`
            raise SettingsError(
                f"model: got a {type(model).__name__}, expected a SequenceModel or a fitted "
                "SequenceClassifier, SequenceTagger or SequenceRegressor."
                + (" Call fit first" if hasattr(model, "read_sequences") else "")
            )
        network = copy.deepcopy(model)
        if dtype is not None:
            network = network.to(dtype)
        # deepcopy copies gradients as well, and evaluation mode turns dropout off.
        network.zero_grad(set_to_none=True)
        bias = network.eval().output.bias
        mean, scale = torch.zeros_like(bias), torch.ones_like(bias)
        has_classes = TASKS[network.config.task].has_classes
        if estimator is None:
            numbers = range(network.config.num_outputs)
            names = tuple(numbers) if has_classes else tuple(f"output {k + 1}" for k in numbers)
            inputs, values = default_channel_names(network.config), numbered_codes(network.config)
            return ExplainedNetwork(network, names, inputs, values, mean, scale)
        target = estimator.target_
        names = tuple(target.classes.tolist() if has_classes else target.names)
        if not has_classes:
            mean, scale = (torch.tensor(v).to(bias) for v in (target.mean, target.scale))
        inputs, values = name_channels(estimator, network.config)
        return ExplainedEstimator(network, names, inputs, values, mean, scale, estimator)

    @property
    def meaning(self) -> OutputMeaning:
        """The meaning of the outputs for the task: classification, multilabel or regression."""
        return OUTPUTS[self.model.config.task]

    @property
    def has_classes(self) -> bool:
        """Whether the outputs are scores of classes or labels; if not, they are numbers."""
        return TASKS[self.model.config.task].has_classes

    def distribution(self, outputs: Tensor) -> Tensor:
        """Convert outputs, (..., K), to probabilities, or to values in the target's unit."""
        # For classes the scale is 1 and the mean 0, which leave a probability unchanged to the bit.
        return self.meaning.to_distribution(outputs) * self.scale + self.mean

    def describe(self) -> str:
        """Describe the network in a few words."""
        config = self.model.config
        cell = config.cell.upper()
        if config.cell == "rnn":
            cell += f" ({config.nonlinearity})"
        return (
            f"{cell}, {count_of(config.num_layers, 'layer')} of "
            f"{count_of(config.hidden_size, 'unit')}"
            + (" in both directions" if config.bidirectional else "")
            + f", readout {config.readout}"
        )

    def read_sequences(self, X: Any) -> Any:
        """Extract the sequences from X, in the form that the three methods below take."""
        return X.inputs if isinstance(X, Dataset) else X

    def name_sequences(self, X: Any) -> tuple[str, ...]:
        """Return the name of each sequence of X, such as its id in a file; empty if it has none."""
        return X.name_sequences() if isinstance(X, Dataset) else ()

    def encode(self, sequences: Any) -> Ragged:
        """Convert sequences to the network's input format: (N, C) numbers, or (N,) int64.

        Raises: DataError or ShapeError naming a sequence that the network cannot read.
        """
        names = _numbered("sequence", "X", len(sequences))
        inputs = [
            check_input(self.model, x, name) for x, name in zip(sequences, names, strict=True)
        ]
        return Ragged.from_list([x.cpu().numpy() for x in inputs])

    def encode_labels(self, sequences: Any, labels: Any) -> NDArray[Any] | Ragged:
        """Convert labels to targets: (n,) codes, int64, or (n, K); a Ragged if each step has one.

        Raises: DataError or ShapeError naming a label that the network cannot learn.
        """
        names = _numbered("label", "y", len(labels))
        targets = [
            check_label(self.model, label, len(x), name).cpu().numpy()
            for x, label, name in zip(sequences, labels, names, strict=True)
        ]
        return Ragged.from_list(targets) if self.model.config.per_step else np.stack(targets)

    def numeric_steps(self, sequences: Any) -> Ragged:
        """The numeric columns, (N, C), as the user passed them, before standardisation."""
        inputs = self.encode(sequences)
        numbers = inputs.values[:, : self.model.config.input_size]
        return inputs.with_values(numbers.astype(np.float64))

    def read(self, sequence: Any, label: Any = None) -> ExplainedSequence:
        """Convert one sequence, and its label if there is one, to the network's input format.

        Args:
            sequence: for a bare network a tensor or array, (T, C) or (T,) whole numbers; for an
                estimator one entry of X in the format that `fit` takes. Also a Dataset of one
                sequence, whose name is then known.
            label: for a bare network a class code; (K,) with 1 for each label that applies; (K,)
                values or one number; one of these for each step if the network has an output at
                every step. For an estimator one entry of y.
        Raises: DataError or ShapeError, saying what was expected.
        """
        whole = isinstance(sequence, Dataset) or self.is_encoded(sequence)
        X = sequence if whole else [sequence]
        if len(X) != 1:
            raise ShapeError(
                f"sequence: got {len(X):,} sequences, expected one. Choose one with "
                "take(numpy.array([index]))"
            )
        sequences, names = self.read_sequences(X), self.name_sequences(X)
        encoded = self.encode(sequences)
        values = torch.from_numpy(encoded.values)
        # Also checked for an estimator, because a user may have replaced its network.
        x = check_input(self.model, values, "sequence", self.channel_names)
        tokens, categories = self._texts(sequences, x)
        target = None
        if label is not None:
            self._check_class(label)
            codes = self.encode_labels(sequences, [label])
            # A Ragged holds the labels of all steps; otherwise row 0 is the only sequence's label.
            codes = codes.values if isinstance(codes, Ragged) else codes[0]
            target = check_label(self.model, codes, len(x), "label")
        bound = self.bind(encoded, 0)
        return ExplainedSequence(bound, x[None], target, tokens, categories, "".join(names))

    def bind(self, encoded: Ragged, index: int) -> Self:
        """Return the network with the static features of one sequence, if there are any."""
        if encoded.static is None:
            return self
        model = bind(self.model, torch.from_numpy(encoded.static[index]))
        return dataclasses.replace(self, model=model)

    def static_groups(self) -> list[StaticGroup]:
        """Return the name of each static feature, its inputs and the values that say nothing."""
        return [(f"static {k + 1}", (k,), (0.0,)) for k in range(self.model.config.static_size)]

    def is_encoded(self, X: Any) -> bool:
        """Whether X is a result of the estimator's `encode`."""
        return False

    def _check_class(self, label: Any) -> None:
        """Raise DataError, suggesting the nearest class, if the label is not a class."""

    def _texts(self, sequences: Any, x: Tensor) -> tuple[Texts | None, tuple[Texts, ...]]:
        """Texts of a single sequence's tokens (None for numbers) and of its categories."""
        if x.ndim == 1:
            return tuple(str(token) for token in x.tolist()), ()
        coded = [(x[:, c], texts) for c, texts in enumerate(self.category_values) if texts]
        return None, tuple(tuple(texts[int(k)] for k in codes.tolist()) for codes, texts in coded)


@dataclass(frozen=True)
class ExplainedEstimator(ExplainedNetwork):
    """The network of a fitted estimator; it takes sequences in the format of `fit`.

    Args:
        estimator: the estimator that the network belongs to.
    """

    estimator: FittedEstimator

    def read_sequences(self, X: Any) -> Any:
        """Extract the sequences from X, in the form that the three methods below take."""
        return self.estimator.read_sequences(X)

    def name_sequences(self, X: Any) -> tuple[str, ...]:
        """Return the name of each sequence of X, such as its id in a file; empty if it has none."""
        return self.estimator.name_sequences(X)

    def static_groups(self) -> list[StaticGroup]:
        """Return the name of each static feature, its inputs and the values that say nothing."""
        encoder = self.estimator.encoder_.static
        return [] if encoder is None else list(encoder.groups)

    def is_encoded(self, X: Any) -> bool:
        """Whether X is a result of the estimator's `encode`."""
        return self.estimator.is_encoded(X)

    def encode(self, sequences: Any) -> Ragged:
        """Convert sequences to the network's input format: (N, C) numbers, or (N,) int64."""
        encoded: Ragged = self.estimator.encoder_.encode(sequences)
        return encoded

    def encode_labels(self, sequences: Any, labels: Any) -> NDArray[Any] | Ragged:
        """Convert labels to targets: (n,) codes, int64, or (n, K); Ragged if each step has one."""
        checked = self.estimator.read_labels(sequences, labels)
        targets: NDArray[Any] | Ragged = self.estimator.target_.encode(checked)
        return targets

    def numeric_steps(self, sequences: Any) -> Ragged:
        """The numeric columns, (N, C), as the user passed them, before standardisation."""
        encoder = self.estimator.encoder_
        steps = encoder.read_steps(sequences)
        values = np.asarray(steps.values[:, encoder.number_columns], dtype=np.float64)
        numbers: Ragged = steps.with_values(values)
        return numbers

    def _check_class(self, label: Any) -> None:
        """Raise DataError, suggesting the nearest class, if the label is not a class."""
        config = self.model.config
        if TASKS[config.task].single_label and not config.per_step:
            check_name("label", label, self.output_names, "one of the classes")

    def _texts(self, sequences: Any, x: Tensor) -> tuple[Texts | None, tuple[Texts, ...]]:
        """Texts of a single sequence's tokens (None for numbers) and of its categories."""
        encoder = self.estimator.encoder_
        if self.model.config.vocabulary_size:
            return tuple(str(token) for token in encoder.read_steps(sequences).values.tolist()), ()
        _, texts = super()._texts(sequences, x)
        if not encoder.categories:
            return None, texts
        # An unknown category has the same code as every other one, but a text of its own.
        steps = encoder.read_steps(sequences)
        columns = [
            tuple(
                "missing" if name == MISSING_CATEGORY
                else name if name in known
                else f"{name} (unknown)"
                for name in encoder.name_categories(steps, c)
            )
            for c, known in encoder.categories.items()
        ]  # fmt: skip
        return None, (*texts[: -len(columns)], *columns)


@dataclass(frozen=True)
class ExplainedSequence:
    """One sequence with the network that reads it.

    Args:
        network: the copy that is explained.
        x: the network's input, (1, T, C) of the model's dtype or (1, T) int64, on its device.
        target: None without a label; else the target: the class code, () int64; (K,) with 1 for
            each label that applies; (K,) values, standardised for an estimator; with an output at
            every step (T,) or (T, K).
        tokens: the text of each token, (T,); None for numbers.
        categories: for each channel with `category_values`, its T texts; these channels follow the
            numbers.
        name: name of the sequence in its file; empty if it has none.
    """

    network: ExplainedNetwork
    x: Tensor
    target: Tensor | None
    tokens: Texts | None
    categories: tuple[Texts, ...]
    name: str = ""

    @property
    def model(self) -> SequenceModel:
        """The copy of the network."""
        return self.network.model

    @property
    def steps(self) -> int:
        """Number of steps, T."""
        return self.x.shape[1]

    @property
    def lengths(self) -> Tensor:
        """The length T as the network takes it, (1,) int64."""
        return torch.tensor([self.steps])

    @property
    def per_step(self) -> bool:
        """Whether the network has an output at every step."""
        return self.model.config.per_step

    @property
    def inputs(self) -> NDArray[Any]:
        """The input of each step: (T, C) float64, or the texts of the tokens, (T,)."""
        if self.tokens is not None:
            return np.array(self.tokens, dtype=object)
        return self.x[0].detach().cpu().double().numpy()


def read_sequence(
    model: Any, sequence: Any, label: Any = None, dtype: torch.dtype | None = torch.float64
) -> ExplainedSequence:
    """Read one sequence; for arguments and errors see `ExplainedNetwork.of` and `.read`."""
    return ExplainedNetwork.of(model, dtype).read(sequence, label)


def _numbered(noun: str, container: str, count: int) -> list[str]:
    """Names of sequences or labels in messages; a single one gets no number."""
    return [noun] if count == 1 else [f"{container}: {noun} {i}" for i in range(count)]
