"""The README.md that lies beside a model: what it is, what it learnt from, how good it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from elman.data.faults import format_count
from elman.estimators.targets import ClassTarget, MultilabelTarget, NumericTarget

if TYPE_CHECKING:
    from elman.estimators.base import SequenceEstimator
    from elman.estimators.encoder import Encoder
    from elman.evaluate import Report


def describe_model(estimator: SequenceEstimator) -> str:
    """Say in one line what the network is."""
    model = estimator.model_
    config = model.config
    cell = config.cell.upper() if config.cell != "rnn" else f"RNN ({config.nonlinearity})"
    weights = sum(p.numel() for p in model.parameters())
    layers = "1 layer" if config.num_layers == 1 else f"{config.num_layers} layers"
    direction = "both directions" if config.bidirectional else "one direction"
    readout = "an output at every step" if config.per_step else f"readout {config.readout}"
    observed = int(estimator.encoder_.gaps.sum())
    columns = [
        f"{n:,} categories in {width} numbers"
        for n, width in zip(config.category_sizes, config.category_widths, strict=True)
    ]
    source = (
        ", ".join([format_count(len(estimator.encoder_.mean), "channel"), *columns])
        + (f" and, for {format_count(observed, 'channel')}, what was observed" if observed else "")
        if not config.vocabulary_size
        else f"embedding of {config.vocabulary_size:,} tokens in {config.embedding_size} numbers"
    )
    what = {"classification": "classes", "multilabel": "labels", "regression": "values"}[
        config.task
    ]
    what = what.removesuffix("s") if config.num_outputs == 1 else what
    return (
        f"{source}, {cell} of {config.hidden_size} units, {layers}, {direction}, {readout}, "
        f"{config.num_outputs} {what}: {weights:,} weights"
    )


def _gaps(encoder: Encoder) -> str:
    names = ", ".join(map(str, np.flatnonzero(encoder.gaps)[:20]))
    return f", NaN where a value is missing in channels {names}" if names else ""


def what_is_given(estimator: SequenceEstimator) -> str:
    """Say what is predicted of a sequence."""
    per_step = estimator.per_step
    if isinstance(target := estimator.target_, NumericTarget):
        what = "a number" if target.num_outputs == 1 else f"{target.num_outputs} numbers"
        return f"{what} at every step of a sequence" if per_step else f"{what} for each sequence"
    if isinstance(target, MultilabelTarget):
        return f"any of {target.num_outputs} labels for each sequence"
    return "a label at every step of a sequence" if per_step else "a class for each sequence"


def model_card(
    estimator: SequenceEstimator,
    data: str,
    report: Report | None,
) -> str:
    """Return the card as Markdown with the YAML header that model hubs read."""
    name = type(estimator).__name__
    target = estimator.target_
    task = what_is_given(estimator)
    pipeline = "token-classification" if estimator.per_step else "other"
    if isinstance(target, NumericTarget):
        pipeline = "other"
        each = zip(target.names, target.mean, target.scale, strict=True)
        listed = "\n".join(f"- {n}: mean {m:.6g}, deviation {s:.6g}" for n, m, s in each)
        listed = f"Of the training part:\n\n{listed}"
        limits = "It always answers, also for a sequence unlike all it has seen."
    else:
        labels = [str(c) for c in target.classes.tolist()]
        shown = ", ".join(f"`{label}`" for label in labels[:20])
        more = f" and {len(labels) - 20} more" if len(labels) > 20 else ""
        listed = (
            f"{'Labels' if isinstance(target, MultilabelTarget) else 'Classes'}: {shown}{more}."
        )
        limits = "A label is given where its own probability is above 1/2; none may be."
    if isinstance(target, ClassTarget):
        limits = (
            "It always names one of its classes, also for a sequence that belongs to none. Its "
            "probabilities are\ncalibrated no better than the calibration error says, and only on "
            "data like the test part."
        )
    history = estimator.history_
    encoder = estimator.encoder_
    form = {
        "numbers": f"arrays of numbers (steps, {encoder.channels}){_gaps(encoder)}",
        "tokens": f"lists of tokens, {len(encoder.vocabulary):,} of them known",
        "mixed": f"tables (steps, {encoder.channels}) of numbers and, in columns "
        f"{', '.join(map(str, encoder.categories))}, categories",
        "text": f"strings, cut into {encoder.unit}, {len(encoder.vocabulary):,} of them known",
    }[encoder.kind]
    settings = {k: v for k, v in estimator.get_params().items() if k not in ("verbose",)}
    figures = "Not measured on sequences it never saw."
    if report is not None:
        beside = [f"- {n}: {text}" for n, text in estimator.baselines_.description.items()]
        figures = "\n".join(
            [
                "On sequences it never saw:",
                "",
                "```",
                str(report),
                "```",
                "",
                "Beside it:",
                "",
                *beside,
            ]
        )
    return f"""---
library_name: elman
pipeline_tag: {pipeline}
tags: [recurrent-neural-network, {estimator.model_.config.cell}, sequences]
---

# {name}: {task}

{describe_model(estimator)}.

```python
from elman import load

model = load("path/to/this/folder")
model.predict(X)  # X: {form}
```

## Data

{data or "Sequences given from Python; their origin was not recorded."}

{listed}

## Training

{len(history.epochs)} epochs ({history.stopped}); the weights are those of epoch \
{history.kept_epoch}; {history.gradients}. Settings:

```json
{json.dumps(settings, indent=2, default=str)}
```

## Figures

{figures}

## Intended use and limits

Made to give {task} to sequences like those it was trained on, with the same
{"language and spelling" if encoder.vocabulary else "channels in the same order and units"}.
{limits} It has
not been examined for bias or for safety; do not let it decide about people on its own.
"""
