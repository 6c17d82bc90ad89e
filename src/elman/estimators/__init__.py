"""The scikit-learn contract: preprocessing, model and training behind fit and predict."""

from elman.estimators.channels import from_channels_first
from elman.estimators.classifier import SequenceClassifier
from elman.estimators.regressor import SequenceRegressor
from elman.estimators.storage import load
from elman.estimators.tagger import SequenceTagger

Estimator = SequenceClassifier | SequenceRegressor | SequenceTagger

__all__ = [
    "Estimator",
    "SequenceClassifier",
    "SequenceRegressor",
    "SequenceTagger",
    "from_channels_first",
    "load",
]
