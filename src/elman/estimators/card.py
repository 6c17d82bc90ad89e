"""A model described and saved: the model card, README.md, and the page of the lab."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from elman.data.dataset import Dataset
from elman.data.faults import format_count, list_names
from elman.estimators.encoder import Encoder
from elman.estimators.reading import SequenceReader, read_if_file
from elman.estimators.storage import FittedState, write_folder
from elman.evaluate import Report
from elman.models import SequenceModel
from elman.models.storage import replace_card
from elman.tasks import TASKS

if TYPE_CHECKING:
    from elman.lab.assemble import LabPage


def describe_model(model: SequenceModel, encoder: Encoder) -> str:
    """Return a one-line description of the network."""
    config = model.config
    cell = config.cell.upper() if config.cell != "rnn" else f"RNN ({config.nonlinearity})"
    weights = sum(p.numel() for p in model.parameters())
    layers = "1 layer" if config.num_layers == 1 else f"{config.num_layers} layers"
    direction = "both directions" if config.bidirectional else "one direction"
    readout = "an output at every step" if config.per_step else f"readout {config.readout}"
    observed = int(encoder.gaps.sum())
    columns = [
        f"{n:,} categories in {width} numbers"
        for n, width in zip(config.category_sizes, config.category_widths, strict=True)
    ]
    source = (
        ", ".join([format_count(len(encoder.mean), "channel"), *columns])
        + (f" and, for {format_count(observed, 'channel')}, what was observed" if observed else "")
        if not config.vocabulary_size
        else f"embedding of {config.vocabulary_size:,} tokens in {config.embedding_size} numbers"
    )
    if encoder.static is not None and config.static_to is not None:
        names = list_names(encoder.static.names, 6)
        places = {"readout": "the readout", "state": "the first state"}
        place = places.get(config.static_to, "the readout and the first state")
        readout += f", static features {names} joined to {place}"
    noun = TASKS[config.task].nouns[config.num_outputs != 1]
    return (
        f"{source}, {cell} of {config.hidden_size} units, {layers}, {direction}, {readout}, "
        f"{config.num_outputs} {noun}: {weights:,} weights"
    )


def _describe_input(encoder: Encoder) -> str:
    """Describe what X contains, for the comment after `model.predict(X)`."""
    if encoder.kind == "text":
        return f"strings, cut into {encoder.unit}, {len(encoder.vocabulary):,} of them known"
    if encoder.kind == "tokens":
        return f"lists of tokens, {len(encoder.vocabulary):,} of them known"
    if encoder.kind == "mixed":
        columns = ", ".join(map(encoder.name_column, encoder.categories))
        return (
            f"tables (steps, {encoder.channels}) of numbers and, in columns {columns}, categories"
        )
    gaps = ", ".join(map(encoder.name_column, np.flatnonzero(encoder.gaps)[:20]))
    missing = f", NaN where a value is missing in channels {gaps}" if gaps else ""
    return f"arrays of numbers (steps, {encoder.channels}){missing}"


def _describe_call(encoder: Encoder) -> str:
    """Return the line of code that predicts."""
    if encoder.static is None:
        return f"model.predict(X)  # X: {_describe_input(encoder)}"
    names = ", ".join(encoder.static.names)
    return (
        f"# X: {_describe_input(encoder)}; S: a frame with the columns {names}, a row a sequence\n"
        "model.predict(X, static=S)"
    )


def make_card(estimator: FittedState, data: str, report: Report | None) -> str:
    """Return the card as Markdown with the YAML header that model hubs read.

    Args:
        estimator: a fitted estimator.
        data: description of the training data; empty if it is not known.
        report: metrics on held-out sequences, or None.
    """
    target, history, encoder = estimator.target_, estimator.history_, estimator.encoder_
    config = estimator.model_.config
    per_step = config.per_step
    task = target.describe(per_step=per_step)
    tagging = per_step and TASKS[target.task].has_classes
    settings = {k: v for k, v in estimator.to_config()["parameters"].items() if k != "verbose"}
    metrics = "Not evaluated on held-out sequences."
    if report is not None:
        baselines = [f"- {n}: {text}" for n, text in estimator.baselines_.description.items()]
        metrics = "\n".join(
            [
                "On held-out sequences:",
                "",
                "```",
                str(report),
                "```",
                "",
                "The baselines:",
                "",
                *baselines,
            ]
        )
    return f"""---
library_name: elman
pipeline_tag: {"token-classification" if tagging else "other"}
tags: [recurrent-neural-network, {config.cell}, sequences]
---

# {type(estimator).__name__}: {task}

{describe_model(estimator.model_, encoder)}.

```python
from elman import load

model = load("path/to/this/folder")
{_describe_call(encoder)}
```

## Data

{data or "Sequences given from Python; their origin was not recorded."}

{target.describe_outputs()}

## Training

{len(history.epochs)} epochs ({history.stopped}); the weights are those of epoch \
{history.kept_epoch}; {"; ".join(filter(None, (history.gradients, history.determinism)))}. \
Settings:

```json
{json.dumps(settings, indent=2, default=str)}
```

## Metrics

{metrics}

## Intended use and limits

It predicts {task}, for sequences like those it was trained on, with the same
{"language and spelling" if encoder.vocabulary else "channels in the same order and units"}.
{target.limits} It has
not been examined for bias or for safety; do not let it decide about people on its own.
"""


class SavedEstimator(SequenceReader):
    """Base class that describes the network and saves the estimator."""

    def describe_model(self) -> str:
        """Return a one-line description of the network."""
        self._check_fitted()
        return describe_model(self.model_, self.encoder_)

    def save(
        self,
        folder: str | Path,
        *,
        data: str = "",
        report: Report | None = None,
        kept_epochs: bool = True,
    ) -> None:
        """Write model.safetensors, config.json and README.md into `folder`; `elman.load` reads it.

        Args:
            folder: created if missing; an existing model in it is replaced.
            data: description of the training data, for the model card.
            report: metrics for the model card.
            kept_epochs: whether `kept_epochs_` are saved too, if there are any. They make the file
                of weights larger, and no prediction needs them.
        Raises: ModelFileError if the folder contains anything other than a model.
        """
        self._check_fitted()
        write_folder(Path(folder), self, make_card(self, data, report), kept_epochs)

    def lab(
        self,
        X: Any,
        y: Any = None,
        path: str | Path | None = None,
        *,
        static: Any = None,
        name: str = "network",
        overwrite: bool = False,
    ) -> LabPage:
        """Return a page in which the network is seen and touched; a notebook shows it.

        It is one file of at most 3 MB that opens offline. Its examples are up to 30 sequences of
        X: typical, wrong and undecided ones, of each class.

        Args:
            X, static: the same as for `predict`.
            y: their labels, in the same form as for `fit`; None for those of a file or data set, or
                if they are not known.
            path: a file to write the page to as well; None for none.
            name: name of the network in the page.
            overwrite: replace an existing file.
        Returns: the page, whose `save(path)` writes it too; its `notes` say what was left out.
        Raises: SettingsError for a cell of your own, whose equations are Python code, and for a
            network that is too large for the page.
        """
        from elman.lab.single import make_lab

        self._check_fitted()
        X = read_if_file(self, X)
        y = X.target if y is None and isinstance(X, Dataset) else y
        page = make_lab(self, self.encode(X, static=static), y, name)
        if path is not None:
            page.save(path, overwrite=overwrite)
        return page

    def save_card(
        self, folder: str | Path, *, data: str = "", report: Report | None = None
    ) -> None:
        """Rewrite the README.md in a folder written by `save`; same arguments as `save`."""
        self._check_fitted()
        replace_card(Path(folder), make_card(self, data, report))
