"""The page of one fitted estimator, with examples that are chosen from given sequences."""

from __future__ import annotations

from typing import Any

from elman.lab.assemble import EXAMPLES, LONGEST, LabPage, make_page
from elman.lab.examples import choose_examples
from elman.lab.payload import describe_run
from elman.lab.sizes import describe_cut


def make_lab(estimator: Any, encoded: Any, y: Any, name: str) -> LabPage:
    """Return the page of an estimator.

    Args:
        estimator: a fitted estimator.
        encoded: n sequences, a result of its `encode`.
        y: their labels in the format of `fit`; None if they are not known.
        name: name of the network in the page.
    """
    examples = choose_examples(estimator, encoded, y, most=EXAMPLES)
    index = [example.index for example in examples]
    run = describe_run(
        estimator,
        encoded,
        y,
        name=name,
        index=index,
        splits="",
        reasons=[example.reason for example in examples],
        most_steps=LONGEST,
    )
    long = int(encoded.inputs.lengths[index].max()) > LONGEST
    return make_page([run], [describe_cut(name, LONGEST)] if long else [])
