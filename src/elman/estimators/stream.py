"""A trained estimator one step at a time: the answer after each step, as if it were the last."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.data.ragged import Fill
from elman.errors import SettingsError, ShapeError
from elman.estimators.card import SavedEstimator
from elman.estimators.static import find_static
from elman.estimators.storage import FittedState
from elman.estimators.stream_inputs import StepReader
from elman.estimators.stream_state import StreamState
from elman.estimators.targets import ClassTarget, MultilabelTarget, NumericTarget, Target
from elman.models.stepping import NativeStream, State, Stepper

Floats = NDArray[np.float64]
# Measured by benchmarks/directions.py; docs/streaming.md has the table.
STREAMING_COST = (
    "Over six data sets, one direction had 1.2 percentage points less accuracy than both on "
    "average, from 3.2 less to 0.2 more (docs/streaming.md)."
)
_STATIC = "static"  # the array of a StreamState that no step reads
# What a native call makes of the outputs, as `transform_outputs` of the target does.
_OUTPUTS: dict[type[Target], str] = {
    ClassTarget: "softmax",
    MultilabelTarget: "sigmoid",
    NumericTarget: "scaled",
}


class Stream:
    """B sequences that grow one step at a time, and the answer for each after every step.

    `step` returns what `predict_proba`, or `predict` of a regressor, returns for the whole sequence
    so far: on the CPU the same bits. For a target at every step it is the row of the new step. Each
    call takes the same time, however long the sequences are.

    A stream keeps the weights of the moment when it was made; training the estimator further does
    not change it. Threads may not use one stream at the same time, but each its own: `fork` makes
    another one for the same weights.

    Args:
        estimator: fitted, with a network of one direction.
        batch_size, static, fill: as for `stream` of the estimator.
    """

    def __init__(
        self,
        estimator: FittedState,
        batch_size: int = 1,
        static: Any = None,
        fill: Fill = "refuse",
    ) -> None:
        if estimator.model_.config.bidirectional:
            raise SettingsError(
                "stream: this model also reads each sequence from its end, so it has no answer "
                "before the end. Train one that reads in one direction: elman train DATA "
                f"--streaming, or {type(estimator).__name__}(streaming=True); --no-bidirectional "
                f"and bidirectional=False do the same. {STREAMING_COST}"
            )
        self._stepper = Stepper(estimator.model_)
        self._target, self._per_step = estimator.target_, estimator.per_step
        self._encoder = estimator.encoder_
        self._reader = StepReader(estimator.encoder_, estimator.trained_columns(), fill)
        self._dtype = next(estimator.model_.parameters()).dtype
        self._fingerprint = _fingerprint(estimator)
        self._start(batch_size, static)

    def _start(self, batch_size: int, static: Any) -> None:
        """Begin `batch_size` sequences."""
        if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer):
            raise SettingsError(f"batch_size: got {batch_size!r:.40}, expected a whole number")
        if batch_size < 1:
            raise SettingsError(f"batch_size: got {batch_size}, expected at least 1")
        features = self._encode_static(static, int(batch_size))
        self._set(self._begin(int(batch_size), features), features)

    def _set(self, state: State, features: NDArray[np.float32] | None) -> None:
        """Replace all sequences."""
        self._state, self._static = state, features
        self._last: Floats = state["last"].numpy()  # the same memory
        self._steps: NDArray[np.int64] = state["steps"].numpy()
        self._native = None
        if not self._stepper.is_native or features is not None:
            return
        encoder, target = self._encoder, self._target
        unit = (target.mean, target.scale) if isinstance(target, NumericTarget) else ()
        self._native = NativeStream(
            self._stepper,
            state,
            mean=encoder.mean.tolist(),
            scale=encoder.scale.tolist(),
            fill=encoder.fill.tolist(),
            outputs=_OUTPUTS[type(target)],
            output_mean=unit[0].tolist() if unit else (),
            output_scale=unit[1].tolist() if unit else (),
        )

    @property
    def batch_size(self) -> int:
        """B, the number of sequences."""
        return len(self._steps)

    @property
    def steps(self) -> NDArray[np.int64]:
        """Number of steps that each sequence took since it began, (B,)."""
        return self._steps.copy()

    def step(self, x: Any, rows: Any = None) -> Floats:
        """Take one more step of each sequence, and return the answers for the sequences so far.

        If anything is wrong with x, no sequence takes the step.

        Args:
            x: one step of each, in the form of training: an array (B, C), with NaN where a value is
                missing; a list of B rows of numbers and categories, of B tokens, or of B texts of
                one character, word or byte; a frame of B rows, or a list of B records, with their
                columns matched by name. For a single sequence, also its step alone.
            rows: the sequences that take a step, as indices or truth values, (B,); x and the answer
                have a row for each of them, and the others stay as they are. None means all.
        Returns: probabilities of the classes or labels, (B, K), or values in the target's unit.
        Raises: DataError or ShapeError if x is not of the form of training.
        """
        index = self._index(rows)
        count = self.batch_size if index is None else len(index)
        return self._advance(self._reader.read(x, count), index)

    def feed(self, X: Any, rows: Any = None) -> Any:
        """Take several more steps of each sequence, as many as it has in X.

        If anything is wrong with X, no sequence takes a step.

        Args:
            X: the next steps of each sequence, in the form of training: a list of B arrays, tables,
                token lists or texts, of any lengths from 1, or an array (B, T, C). Texts are split
                into characters, words or bytes one by one, so a word must not be divided.
            rows: as for `step`.
        Returns: the answers after the last steps, (B, K); for a target at every step, an object
            array of B arrays, (T_i, K), one row for each new step.
        Raises: DataError or ShapeError if X is not of the form of training.
        """
        index = self._index(rows)
        index = np.arange(self.batch_size) if index is None else index
        sequences = self._reader.read_sequences(X, len(index))
        before = {name: tensor.clone() for name, tensor in self._state.items()}
        lengths = np.array([len(own) for own in sequences], dtype=np.int64)
        answers = [np.empty((n if self._per_step else 1, self.num_outputs)) for n in lengths]
        try:
            for t in range(lengths.max(initial=0)):
                places = np.flatnonzero(lengths > t)
                found = self._advance(np.stack([sequences[i][t] for i in places]), index[places])
                for row, i in zip(found, places.tolist(), strict=True):
                    answers[i][t if self._per_step else 0] = row
        except BaseException:
            for name, tensor in before.items():
                self._state[name].copy_(tensor)
            raise
        if not self._per_step:
            return np.concatenate(answers)
        split = np.empty(len(answers), dtype=object)
        split[:] = answers
        return split

    def decide(self, answers: Floats) -> Any:
        """Return the answers of `step` as `predict` returns them: classes, labels or values."""
        return self._target.decide(np.asarray(answers))

    @property
    def num_outputs(self) -> int:
        """K, the number of classes, labels or values."""
        return self._target.num_outputs

    def reset(self, rows: Any = None, static: Any = None) -> None:
        """Begin new sequences.

        Args:
            rows: the sequences that begin anew, as for `step`; None means all.
            static: static features of the new sequences, one row for each of them; None means those
                of the sequences that they replace.
        """
        index = self._index(rows)
        index = np.arange(self.batch_size) if index is None else index
        features = None if self._static is None else self._static[index]
        if static is not None:
            features = self._encode_static(static, len(index))
            if self._static is not None and features is not None:
                self._static[index] = features
        for name, tensor in self._begin(len(index), features).items():
            self._state[name][torch.from_numpy(index)] = tensor

    @property
    def state(self) -> StreamState:
        """All that the stream knows of its sequences, as arrays: a copy.

        A state that is assigned replaces all sequences, also by another number of them. It must
        come from a stream of the same model, which may have been saved and loaded in between.
        """
        arrays = {
            name: tensor.to(_storable(tensor.dtype)).numpy().copy()
            for name, tensor in self._state.items()
        }
        if self._static is not None:
            arrays[_STATIC] = self._static.copy()
        return StreamState(arrays, self._fingerprint)

    @state.setter
    def state(self, state: StreamState) -> None:
        if not isinstance(state, StreamState):
            raise SettingsError(
                f"state: got a {type(state).__name__}, expected a StreamState, which stream.state "
                "and StreamState.load return"
            )
        state.check(self.state)
        arrays = {name: own.copy() for name, own in state.arrays.items()}
        features = arrays.pop(_STATIC, None)
        kinds = {name: tensor.dtype for name, tensor in self._state.items()}
        self._set({k: torch.from_numpy(own).to(kinds[k]) for k, own in arrays.items()}, features)

    def fork(self, batch_size: int = 1, static: Any = None) -> Stream:
        """Return a stream of new sequences with the same weights, which are not copied.

        Args:
            batch_size, static: as for `stream` of the estimator.
        """
        other = object.__new__(Stream)
        other.__dict__.update(self.__dict__)
        other._start(batch_size, static)
        return other

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(
            "a stream cannot be copied or pickled: keep stream.state, and assign it to another "
            "stream of the model, which estimator.stream() and stream.fork() make"
        )

    def __repr__(self) -> str:
        return f"Stream(batch_size={self.batch_size}, steps={self.steps.tolist()!s:.60})"

    def _advance(self, steps: NDArray[Any], index: NDArray[np.int64] | None) -> Floats:
        """Take steps that `StepReader.read` returned, and return the answers, (b, K)."""
        reader, native = self._reader, self._native
        raw = reader.to_raw(steps, self._steps, index)
        if native is not None:
            answers = native.step(raw, index)
            if answers is not None:
                return answers
        # Only here gaps are filled, or refused, and so are numbers that are too large.
        rows = slice(None) if index is None else index
        inputs, last = reader.encode(raw, self._last[rows], self._steps, index)
        x = torch.from_numpy(inputs)
        if x.is_floating_point():
            x = x.to(self._dtype)
        logits = self._stepper.step(
            x, self._state, None if index is None else torch.from_numpy(index)
        )
        self._last[rows] = last
        answers = self._target.transform_outputs(logits).numpy()
        return self._target.to_output_units(answers)

    def _begin(self, count: int, features: NDArray[np.float32] | None) -> State:
        """Return the state of `count` new sequences."""
        static = None if features is None else torch.from_numpy(features).to(self._dtype)
        last = torch.from_numpy(self._reader.begin(count))
        return {**self._stepper.begin(count, static), "last": last}

    def _encode_static(self, static: Any, count: int) -> NDArray[np.float32] | None:
        """Return the static features of `count` sequences as network inputs, (count, S)."""
        features = find_static(None, static, count, self._encoder)
        encoder = self._encoder.static
        if features is None or encoder is None:
            return None
        return encoder.encode(encoder.fill_gaps(features, self._reader.fill))

    def _index(self, rows: Any) -> NDArray[np.int64] | None:
        """Return `rows` as indices, each once; None means all."""
        if rows is None:
            return None
        index = np.atleast_1d(np.asarray(rows))
        count = self.batch_size
        if index.dtype == bool and index.shape == (count,):
            return np.flatnonzero(index)
        if index.ndim != 1 or (index.dtype.kind not in "iu" and index.size):
            raise ShapeError(
                f"rows: got {rows!r:.60}, expected indices below {count}, or {count} truth values"
            )
        index = index.astype(np.int64)
        if index.size and not -count <= index.min() <= index.max() < count:
            raise ShapeError(f"rows: got {rows!r:.60}, expected indices below {count}")
        index %= count
        if len(np.unique(index)) < len(index):
            raise ShapeError(f"rows: got {rows!r:.60}, in which a sequence occurs twice")
        return index


class StreamingEstimator(SavedEstimator):
    """The part of an estimator that answers step by step."""

    def stream(self, batch_size: int = 1, static: Any = None, *, fill: Fill = "refuse") -> Stream:
        """Return a stream: B sequences that grow one step at a time, with an answer after each.

        The network must read in one direction: train with `streaming=True`, or the command with
        `--streaming`.

        Args:
            batch_size: B, the number of sequences.
            static: their static features, as for `predict`; None if the model reads none.
            fill: for gaps in channels that had none in training: `refuse`, `previous`, `mean` or
                `zero`. `previous` needs an earlier value of the channel in the sequence.
        Raises: SettingsError for a network that reads in both directions.
        Examples:
            >>> import numpy as np
            >>> from elman import SequenceClassifier
            >>> X = [np.sin(np.arange(n) * step) for n in (9, 12) for step in (0.5, 1.0) * 10]
            >>> clf = SequenceClassifier(streaming=True, epochs=2, random_state=0)
            >>> stream = clf.fit(X, ["slow", "fast"] * 20).stream()
            >>> answers = [stream.step(x) for x in X[0]]
            >>> bool((answers[-1] == clf.predict_proba(X[:1])).all())
            True
        """
        self._check_fitted()
        return Stream(self, batch_size, static, fill)


def _fingerprint(estimator: FittedState) -> str:
    """Return the SHA-256 of all that an answer depends on: network, weights, encoding, target."""
    config = estimator.to_config()
    parts = {name: config[name] for name in ("model", "encoder", "target")}
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True, allow_nan=True).encode())
    for name, tensor in sorted(estimator.model_.state_dict().items()):
        digest.update(f"{name} ".encode())
        _digest_weight(digest, tensor)
    return digest.hexdigest()


def _digest_weight(digest: Any, weight: Any) -> None:
    """Add a weight to a digest; layers that torch has quantized keep tuples of them."""
    if isinstance(weight, tuple):
        for part in weight:
            _digest_weight(digest, part)
    elif isinstance(weight, Tensor):
        weight = weight.detach().cpu()
        weight = weight.dequantize() if weight.is_quantized else weight
        digest.update(f"{weight.dtype} {tuple(weight.shape)};".encode())
        digest.update(weight.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    else:
        digest.update(f"{weight};".encode())


def _storable(dtype: torch.dtype) -> torch.dtype:
    """Return the type that NumPy has for the same numbers."""
    return torch.float32 if dtype is torch.bfloat16 else dtype
