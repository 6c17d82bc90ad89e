"""What an ONNX file says of itself: names, vocabulary, categories and settings, as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from elman import __version__
from elman.estimators import Estimator
from elman.estimators.reading import task_of
from elman.models.model import FIRST_TOKEN, UNKNOWN


def describe(estimator: Estimator) -> dict[str, str]:
    """Return the metadata of a fitted estimator's ONNX file: JSON by key.

    Keys: `elman`, the version; `task`; `outputs`, the classes, labels or names of numbers;
    `inputs`, what each input of the graph holds; `reading`, how the training file was read; `model`
    and `settings`, the network and the parameters that it was trained with.
    """
    config = estimator.to_config()
    layout = {k: v for k, v in (config["layout"] or {}).items() if k not in ("guesses", "notes")}
    facts = {
        "elman": __version__,
        "task": task_of(estimator),
        "outputs": list(estimator.target_.output_names),
        "inputs": describe_inputs(estimator),
        "reading": layout,
        "model": dataclasses.asdict(estimator.model_.config),
        "settings": config["parameters"],
    }
    # In ASCII, because a token may be a half of a character, which no file of text can hold.
    return {name: json.dumps(fact, allow_nan=False) for name, fact in facts.items()}


def describe_inputs(estimator: Estimator) -> dict[str, Any]:
    """Return what each input of the graph holds, by its name.

    A list has an entry for each column. The id of a name is its place in the list plus `first`;
    every other name has the id `unknown`.
    """
    encoder, columns = estimator.encoder_, estimator.columns_
    if encoder.kind in ("tokens", "text"):
        inputs: dict[str, Any] = {"tokens": _numbered(encoder.vocabulary)}
        if encoder.unit is not None:
            inputs["tokens"] |= {"unit": encoder.unit, "rule": encoder.to_dict()["rule"]}
    else:
        names = columns.channel_names or [f"channel {c + 1}" for c in range(encoder.channels)]
        units = columns.units or (None,) * encoder.channels
        numbers = encoder.number_columns
        gaps = encoder.gaps.tolist()
        inputs = {}
        if numbers:
            inputs["x"] = [
                {"name": names[c], "unit": units[c], "may_be_missing": gaps[k]}
                for k, c in enumerate(numbers)
            ]
        if encoder.categories:
            inputs["codes"] = [
                {"name": names[c], **_numbered(known)} for c, known in encoder.categories.items()
            ]
    if (static := encoder.static) is not None:
        if static.number_names:
            pairs = zip(static.number_names, static.gaps.tolist(), strict=True)
            inputs["static"] = [{"name": n, "may_be_missing": gap} for n, gap in pairs]
        if static.categories:
            others = zip(static.names[len(static.mean) :], static.categories, strict=True)
            inputs["static_codes"] = [
                {"name": name, **_numbered(dict.fromkeys(known, 0))} for name, known in others
            ]
    return inputs


def _numbered(names: Mapping[str, int]) -> dict[str, Any]:
    return {"names": list(names), "first": FIRST_TOKEN, "unknown": UNKNOWN}
