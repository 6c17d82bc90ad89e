"""scikit-learn estimators: preprocessing, model and training behind fit and predict."""

from elman.estimators.conversions import from_channels_first
from elman.estimators.encoder import EncodedSequences
from elman.estimators.estimators import (
    Estimator,
    SequenceClassifier,
    SequenceRegressor,
    SequenceTagger,
    StaticAblation,
    ablate_static,
    load,
)
from elman.estimators.prepare import Prepared
from elman.estimators.stream import Stream
from elman.estimators.stream_state import StreamState

__all__ = [
    "EncodedSequences",
    "Estimator",
    "Prepared",
    "SequenceClassifier",
    "SequenceRegressor",
    "SequenceTagger",
    "StaticAblation",
    "Stream",
    "StreamState",
    "ablate_static",
    "from_channels_first",
    "load",
]
