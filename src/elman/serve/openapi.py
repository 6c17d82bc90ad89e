"""The OpenAPI document of the server, and a page that shows it without anything from elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np

from elman.export.parity import sample_sequences
from elman.serve.models import LoadedModel
from elman.serve.predict import make_record


def example_record(model: LoadedModel, steps: int = 3) -> Any:
    """Return a record that `/predict` of this model accepts."""
    encoded = sample_sequences(model.estimator, (steps,))
    static = {}
    if encoded.static is not None:
        values = [*encoded.static.numbers[0].tolist(), *encoded.static.categories[0].tolist()]
        static = {n: _plain(v) for n, v in zip(encoded.static.names, values, strict=True)}
    if encoded.encoder.unit:
        rows = encoded.sequences[0]
    else:
        rows = [_plain(step) for step in encoded.steps[0].tolist()]
    return make_record(model, rows, static)


def _plain(value: Any) -> Any:
    """Return values with few digits, and None where one is missing."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return None if np.isnan(value) else float(f"{value:.4g}")
    return value
