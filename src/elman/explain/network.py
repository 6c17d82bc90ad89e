"""What is explained: a network of its own, and one sequence (with its label) as it reads them.

Whoever explains may be given a `SequenceModel`, with sequences as the model reads them, or a fitted
estimator, with sequences and labels as they were given to `fit`. From here on there is no
difference.

Dimensions: T steps, C channels, K outputs.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.errors import DataError, SettingsError, ShapeError, nearest
from elman.models import SequenceModel
from elman.tasks import OutputName

Floats = NDArray[np.float64]


@runtime_checkable
class Estimator(Protocol):
    """What is asked of a fitted estimator; imports point down only, so it is known by its parts."""

    @property
    def model_(self) -> SequenceModel:
        """The network; one of them, if the estimator's answer is the mean of several."""

    @property
    def encoder_(self) -> Any:
        """Of sequences: `kind`, `steps(X)`, `encode(X)`, `gaps`, `categories`."""

    @property
    def target_(self) -> Any:
        """Of labels: `task`, `encode(labels)`, and `classes`, or `names`, `mean` and `scale`."""

    @property
    def columns_(self) -> Any:
        """Of X: `what`, `names`."""

    def read_sequences(self, X: Any) -> Any:
        """See `SequenceClassifier.read_sequences`."""

    def read_labels(self, X: Any, y: Any) -> Any:
        """See `SequenceClassifier.read_labels`."""


@dataclass(frozen=True)
class ExplainedSequence:
    """One sequence, and the network that reads it.

    Args:
        model: a copy of the user's network, in evaluation mode, its gradients empty.
        x: as the network reads it, (1, T, C) of the model's dtype or (1, T) int64, on its device.
        target: None without a label; else as the network learns it: the code, () int64; (K,) with 1
            where a label is there; (K,) values, for an estimator standardised; with an output at
            every step (T,) or (T, K).
        classes: names of the outputs, (K,): classes, labels, or of what numbers are predicted.
        input_names: of the C channels; `("token",)` for tokens.
        tokens: the text of each token, (T,); None for numbers.
        categories: for each column of categories, which stand behind the numbers, its T names.
        mean, scale: of a regression, (K,): a value in the target's unit is output * scale + mean.
    """

    model: SequenceModel
    x: Tensor
    target: Tensor | None
    classes: tuple[Any, ...]
    input_names: tuple[str, ...]
    tokens: tuple[str, ...] | None
    categories: tuple[tuple[str, ...], ...]
    mean: Tensor
    scale: Tensor

    @property
    def steps(self) -> int:
        """T."""
        return self.x.shape[1]

    @property
    def lengths(self) -> Tensor:
        """(1,) int64: T."""
        return torch.tensor([self.steps])

    @property
    def task(self) -> OutputName:
        """What the outputs are: of classification, multilabel or regression."""
        return self.model.config.task

    @property
    def per_step(self) -> bool:
        """Whether there is an output at every step."""
        return self.model.config.per_step

    @property
    def inputs(self) -> NDArray[Any]:
        """What is read at each step: (T, C) float64, or the texts of the tokens, (T,)."""
        if self.tokens is not None:
            return np.array(self.tokens, dtype=object)
        return self.x[0].detach().cpu().double().numpy()

    def distribution(self, outputs: Tensor) -> Tensor:
        """From outputs, (..., K), to probabilities, or to values in the target's unit."""
        if self.task == "classification":
            return torch.softmax(outputs, -1)
        if self.task == "multilabel":
            return torch.sigmoid(outputs)
        return outputs * self.scale + self.mean


@dataclass(frozen=True)
class ExplainedNetwork:
    """From sequences as a user has them to Subjects that share one copy of the network.

    Args:
        model: the copy.
        estimator: whose network it is; None for a bare SequenceModel.
    """

    model: SequenceModel
    estimator: Estimator | None

    @classmethod
    def of(cls, model: Any, dtype: torch.dtype | None = torch.float64) -> ExplainedNetwork:
        """Copy the network of `model`, a SequenceModel or a fitted estimator.

        Args:
            dtype: of the copy; None for that of the user's network.
        Raises: SettingsError for anything else.
        """
        estimator = None
        if not isinstance(model, SequenceModel):
            if not isinstance(model, Estimator):
                unfitted = hasattr(model, "fit") and hasattr(model, "read_sequences")
                raise SettingsError(
                    f"model: got a {type(model).__name__}, expected a SequenceModel or a fitted "
                    "SequenceClassifier, SequenceTagger or SequenceRegressor."
                    + (" Call fit first" if unfitted else "")
                )
            estimator = model
        network = copy.deepcopy(model.model_ if estimator else model)
        if dtype is not None:
            network = network.to(dtype)
        network.zero_grad(set_to_none=True)
        return cls(network.eval(), estimator)

    @property
    def classes(self) -> tuple[Any, ...]:
        """Names of the outputs, (K,); numbers from 0 for a bare network's classes."""
        if self.estimator is None:
            config = self.model.config
            numbered = range(config.num_outputs)
            if config.task == "regression":
                return tuple(f"output {k + 1}" for k in numbered)
            return tuple(numbered)
        target = self.estimator.target_
        if target.task == "regression":
            return tuple(target.names)
        return tuple(target.classes.tolist())

    def read(self, sequence: Any, label: Any = None) -> ExplainedSequence:
        """Bring one sequence, and its label if it has one, to the form that the network reads.

        Args:
            sequence: for a bare network a tensor or array, (T, C) or (T,) whole numbers; for an
                estimator one entry of an X as `fit` takes it.
            label: for a bare network a code; (K,) with 1 where a label is there; (K,) values or one
                number; with an output at every step one a step. For an estimator one entry of y.
        Raises: DataError or ShapeError, saying what was expected.
        """
        weight = self.model.output.weight
        mean, scale = torch.zeros_like(weight[:, 0]), torch.ones_like(weight[:, 0])
        tokens: tuple[str, ...] | None = None
        categories: tuple[tuple[str, ...], ...] = ()
        if self.estimator is None:
            x = _as_tensor(sequence, "sequence").to(weight.device)
        else:
            X = self.estimator.read_sequences([sequence])
            x = torch.from_numpy(self.estimator.encoder_.encode(X).values).to(weight.device)
            tokens, categories = _texts(self.estimator.encoder_, X)
            if self.model.config.task == "regression":
                target = self.estimator.target_
                mean, scale = (torch.tensor(v).to(weight) for v in (target.mean, target.scale))
        x = self._checked(x)
        names = self._input_names()
        if tokens is None and x.ndim == 1:
            tokens = tuple(str(token) for token in x.tolist())
        if not categories:
            codes = x[:, self.model.config.input_size :] if x.ndim == 2 else x[:, None][:, :0]
            categories = tuple(tuple(f"{c:g}" for c in column) for column in codes.T.tolist())
        found = None if label is None else self._target(sequence, label, len(x))
        return ExplainedSequence(
            self.model, x[None], found, self.classes, names, tokens, categories, mean, scale
        )

    def _checked(self, x: Tensor) -> Tensor:
        """Return x, (T, C) of the model's dtype or (T,) int64, if the network can read it."""
        config = self.model.config
        wanted = "token ids (T,)" if config.vocabulary_size else f"numbers (T, {config.columns})"
        wide = (1,) if config.vocabulary_size else (2, config.columns)
        if (x.ndim, *x.shape[1:]) != wide or len(x) == 0:
            raise ShapeError(
                f"sequence: got shape {tuple(x.shape)}, expected {wanted} of one sequence, at "
                "least 1 step"
            )
        if config.vocabulary_size:
            if x.is_floating_point() or x.dtype is torch.bool:
                raise ShapeError(f"sequence: got {x.dtype}, expected whole numbers, {wanted}")
            _check_codes(x, config.vocabulary_size, "token")
            return x.long()
        x = x.to(self.model.output.weight.dtype)
        if not bool(torch.isfinite(x).all()):
            step, channel = (int(i) for i in (~torch.isfinite(x)).nonzero()[0])
            raise DataError(
                f"sequence: step {step + 1}, channel {self._input_names()[channel]} is "
                f"{float(x[step, channel])}",
                remedy="Expected finite numbers: fill the gap.",
            )
        for k, size in enumerate(config.category_sizes):
            _check_codes(x[:, config.input_size + k], size, "category")
        return x

    def _input_names(self) -> tuple[str, ...]:
        config = self.model.config
        if config.vocabulary_size:
            return ("token",)
        if self.estimator is None:
            return tuple(f"channel {c + 1}" for c in range(config.columns))
        encoder, columns = self.estimator.encoder_, self.estimator.columns_
        known = columns.names if columns.what == "channels" else None
        count = encoder.channels
        given = list(known or ("value",)) if count == 1 or known else []
        given = given or [f"channel {c + 1}" for c in range(count)]
        numbers = [given[c] for c in range(count) if c not in encoder.categories]
        flags = [f"{name} observed" for name, gap in zip(numbers, encoder.gaps, strict=True) if gap]
        return (*numbers, *flags, *(given[c] for c in encoder.categories))

    def _target(self, sequence: Any, label: Any, steps: int) -> Tensor:
        """Bring a label to the form of `ExplainedSequence.target`."""
        config, weight = self.model.config, self.model.output.weight
        if self.estimator is None:
            found = _as_tensor(label, "label")
        else:
            self._refuse_unknown(label)
            labels = self.estimator.read_labels([sequence], [label])
            codes = self.estimator.target_.encode(labels)
            # With a label at every step, those of all steps; else those of the only sequence.
            found = torch.as_tensor(codes.values if config.per_step else codes[0])
        classes = config.task == "classification"
        shape = (steps,) if config.per_step else ()
        if not classes:
            if found.ndim == len(shape) and config.num_outputs == 1:
                found = found[..., None]
            shape = (*shape, config.num_outputs)
        if found.shape != shape:
            raise ShapeError(
                f"label: got shape {tuple(found.shape)}, expected {shape}"
                + (", one a step" if config.per_step else "")
            )
        if not classes:
            return found.to(weight)
        if found.is_floating_point() or found.dtype is torch.bool:
            raise ShapeError(f"label: got {found.dtype}, expected a class's code, a whole number")
        if not bool(((found >= 0) & (found < config.num_outputs)).all()):
            raise DataError(f"label: got {label!r:.60}, expected 0 to {config.num_outputs - 1}")
        return found.long().to(weight.device)

    def _refuse_unknown(self, label: Any) -> None:
        """Raise DataError for a label that is none of the classes, in words that name it."""
        if self.model.config.task != "classification" or self.model.config.per_step:
            return
        if label in self.classes:
            return
        known = ", ".join(repr(c) for c in self.classes[:5])
        more = len(self.classes) - 5
        raise DataError(
            f"label: got {label!r:.60}, expected one of the classes {known}"
            + (f" and {more} more" if more > 0 else "")
            + nearest(str(label), [str(c) for c in self.classes])
        )


def read_sequence(
    model: Any, sequence: Any, label: Any = None, dtype: torch.dtype | None = torch.float64
) -> ExplainedSequence:
    """Read one sequence of a network; arguments and errors as `ExplainedNetwork.of` and `.read`."""
    return ExplainedNetwork.of(model, dtype).read(sequence, label)


def _as_tensor(values: Any, name: str) -> Tensor:
    try:
        return torch.as_tensor(values).detach()
    except (TypeError, ValueError, RuntimeError):
        raise ShapeError(
            f"{name}: got a {type(values).__name__}, expected a tensor or an array of numbers, as "
            "the network reads them; an estimator takes what its fit takes"
        ) from None


def _check_codes(codes: Tensor, size: int, what: str) -> None:
    """Raise DataError unless codes, (T,), are whole numbers from 0 to size - 1."""
    bad = ~((codes >= 0) & (codes < size) & (codes == codes.floor()))
    if bool(bad.any()):
        step = int(bad.nonzero()[0])
        raise DataError(
            f"sequence: step {step + 1} is {codes[step].item():g}, which is no {what}",
            remedy=f"Expected whole numbers from 0 to {size - 1}.",
        )


def _texts(encoder: Any, X: Any) -> tuple[tuple[str, ...] | None, tuple[tuple[str, ...], ...]]:
    """Tokens of the only sequence in X, and the names in its columns of categories."""
    if encoder.kind in ("tokens", "text"):
        return tuple(str(token) for token in encoder.read_steps(X).values.tolist()), ()
    if not encoder.categories:
        return None, ()
    steps = encoder.read_steps(X).values
    return None, tuple(tuple(str(v) for v in steps[:, c].tolist()) for c in encoder.categories)
