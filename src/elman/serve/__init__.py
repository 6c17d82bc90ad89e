"""A trained model behind HTTP: predictions, the Open Inference Protocol, and their limits.

Every file but `settings.py` needs the extra `serve`: pip install 'elman[serve]'.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from elman.serve.batching import Batcher
    from elman.serve.metrics import Metrics
    from elman.serve.models import ServedModel
    from elman.serve.settings import ServeSettings


@dataclass(frozen=True)
class Service:
    """What all routes share; `app.state.service` of the application.

    Args:
        settings: address, token and limits.
        models: the model that answers, which may be replaced between two batches.
        batcher: answers the requests, several at a time.
        metrics: what has happened so far.
    """

    settings: ServeSettings
    models: ServedModel
    batcher: Batcher
    metrics: Metrics
