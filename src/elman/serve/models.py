"""The model that a server answers with: loaded, tried out, and replaced while it answers.

A request reads `ServedModel.current` once and keeps that model to its end, so a new one never
meets a sequence that was encoded by another. The old one is freed with the last request, batch or
stream that uses it. A folder that holds no usable model is refused and said; the old one serves on.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from elman.errors import ElmanError, ModelFileError
from elman.estimators import Estimator, load
from elman.estimators.records import RecordReader
from elman.export.parity import sample_sequences
from elman.files import MANIFEST
from elman.guards import check_names
from elman.models.storage import CARD, find_model, to_files
from elman.runs.follow import Follower
from elman.tasks import TASKS

_LOG = logging.getLogger(__name__)
_TRIES = 5  # a folder that is replaced again and again while it is read
_PAUSE = 0.05  # seconds between them
_TRIAL_LENGTHS = (1, 2, 30)  # steps of the sequences that a new model is tried out on

_Signature = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model as it is used for a whole batch; another one takes its place between batches.

    Args:
        name: name in the routes of the Open Inference Protocol.
        version: 12 hexadecimal digits that change with the weights and the configuration.
        estimator: the fitted estimator.
        loaded: when it was loaded, in seconds since 1970.
        reader: reads records as its training file was read.
    """

    name: str
    version: str
    estimator: Estimator
    loaded: float = field(default_factory=time.time)
    reader: RecordReader = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "reader", RecordReader(self.estimator))  # it is frozen

    @cached_property
    def follower(self) -> Follower:
        """Answers steps; streams are forks of it, which share its weights."""
        return Follower(self.estimator)


class ServedModel:
    """Holds the current model, and replaces it when its folder holds another.

    Threads may read `current` at any time.

    Args:
        source: a fitted estimator, which is never replaced; or the folder of a run or model.
    Attributes:
        current: the model that answers new requests.
        problem: why what the folder holds now is not served; empty if it is served.
        refused: number of times that what the folder held was refused.
        replaced: number of times that the model was replaced.
    Raises: ModelFileError if the folder holds no model that can be used.
    """

    def __init__(self, source: Estimator | str | Path) -> None:
        self.problem = ""
        self.refused = self.replaced = 0
        self._lock = threading.Lock()
        self._folder = Path(source) if isinstance(source, str | Path) else None
        self._tried: _Signature = ()  # files of the folder when it was last loaded or refused
        self._seen: _Signature = ()  # at the last call of `poll`
        if self._folder is None:
            assert not isinstance(source, str | Path)
            self.current = _try_out(LoadedModel("model", _version_of(source), source))
        else:
            self._tried = self._seen = self._sign()
            self.current = self._load(self._folder)

    def poll(self) -> bool:
        """Take up another model if the folder holds one; blocks while it is loaded.

        Its files are looked at only: they are read when they have changed, and then not changed
        again until the next call, so that a copy in progress is not taken for a damaged model.

        Returns: whether the model was replaced.
        """
        if self._folder is None:
            return False
        with self._lock:
            before, self._seen = self._seen, self._sign()
            if self._seen in (self._tried, ()) or self._seen != before:
                return False
            try:
                return self._replace(self._folder)
            except ModelFileError:
                return False

    def reload(self) -> bool:
        """Load what the folder holds now, whether or not it has changed.

        Returns: whether the model was replaced; False if the folder holds the current one.
        Raises: ModelFileError if it cannot be served; the current one serves on.
        """
        if self._folder is None:
            raise ModelFileError(
                "the model was given to the server as an object, so there is no folder to load "
                "another one from. Start the server with a folder: elman serve RUN"
            )
        with self._lock:
            return self._replace(self._folder)

    def _replace(self, folder: Path) -> bool:
        self._tried = self._sign()
        try:
            new = self._load(folder)
            _refuse_other_requests(self.current.estimator, new.estimator)
        except ModelFileError as error:
            self.refused += 1
            if str(error) != self.problem:
                _LOG.warning(
                    "%s. Version %s serves on", str(error).rstrip("."), self.current.version
                )
            self.problem = str(error)
            raise
        self.problem = ""
        if new.version == self.current.version:
            return False
        old, self.current = self.current.version, new
        self.replaced += 1
        _LOG.info("%s: version %s replaces %s", folder, new.version, old)
        return True

    def _load(self, folder: Path) -> LoadedModel:
        """Load the folder's model and try it out. Raises ModelFileError."""
        for left in reversed(range(_TRIES)):
            before = self._sign()
            try:
                model = find_model(folder)
                sums, _ = check_names(model, may_differ=(CARD,))
                estimator = load(folder)
                if check_names(model, may_differ=(CARD,))[0] == sums:
                    name = folder.resolve().name
                    return _try_out(LoadedModel(name, _version_of(sums), estimator))
            except ModelFileError:
                # The folder may have been replaced between two of its files.
                if not left or self._sign() == before:
                    raise
            except (OSError, MemoryError) as error:
                raise ModelFileError(f"{folder}: cannot be loaded: {error!r:.200}") from error
            time.sleep(_PAUSE)
        raise ModelFileError(f"{folder}: was replaced again and again while it was read")

    def _sign(self) -> _Signature:
        """Return names, sizes and times of the model's files; empty if there is no model."""
        assert self._folder is not None
        try:
            files = sorted(find_model(self._folder).iterdir())
            marks = [(file.name, file.lstat()) for file in files if not file.name.startswith(".")]
        except (ElmanError, OSError):
            return ()
        return tuple((name, s.st_size, s.st_mtime_ns, s.st_ino) for name, s in marks)


def _version_of(model: Estimator | Mapping[str, str]) -> str:
    """Return the version of an estimator, or of a folder with these sums by file name."""
    if isinstance(model, Mapping):
        text = "".join(f"{name} {model[name]}\n" for name in sorted({*model} - {CARD})).encode()
    else:
        text = to_files(model.to_tensors(), model.to_config())[MANIFEST]
    return hashlib.sha256(text).hexdigest()[:12]


def _try_out(model: LoadedModel) -> LoadedModel:
    """Predict a few sequences, so that the first request finds everything ready.

    Raises: ModelFileError if the model cannot predict, or predicts no finite numbers.
    """
    try:
        answers = model.estimator.predict_encoded(
            sample_sequences(model.estimator, lengths=_TRIAL_LENGTHS)
        )
        if not model.estimator.model_.config.bidirectional:
            model.follower.fork()
    except (ElmanError, RuntimeError) as error:
        raise ModelFileError(f"{model.name}: the model cannot predict: {error}") from error
    if not np.isfinite(answers).all():
        raise ModelFileError(
            f"{model.name}: the model predicts NaN or infinity. Train it again, or scale its inputs"
        )
    return model


def _refuse_other_requests(old: Estimator, new: Estimator) -> None:
    """Raise ModelFileError if requests for the old model would fail with the new one.

    Its classes, vocabulary, weights and sizes may be others.
    """
    before, after = _describe_requests(old), _describe_requests(new)
    if not old.model_.config.bidirectional:
        before["its directions"] = "one"  # /stream needs it
        after["its directions"] = "both" if new.model_.config.bidirectional else "one"
    for what, value in before.items():
        if after[what] != value:
            raise ModelFileError(
                f"the new model differs in {what}: got {after[what]!s:.100}, expected "
                f"{value!s:.100} as in the model that is served. Requests of its clients would "
                "fail. To serve the new model, start the server again"
            )


def _describe_requests(estimator: Estimator) -> dict[str, Any]:
    """Return what a request must hold, and what an answer holds, in words."""
    encoder, layout, config = estimator.encoder_, estimator.layout_, estimator.model_.config
    static = encoder.static
    return {
        "its input": encoder.kind,
        "its columns": list(encoder.names) or encoder.channels,
        "its categorical columns": sorted(encoder.categories),
        "its static features": [] if static is None else list(static.names),
        "its format": None if layout is None else layout.format,
        "its target": f"{config.task}, {'every step' if config.per_step else 'the sequence'}",
        "its outputs": () if TASKS[config.task].has_classes else estimator.target_.output_names,
    }
