"""Sequences that a model cannot be trained on are refused before anything is computed."""

import numpy as np
import pytest
import torch
from cases import CHANNELS, VOCABULARY, make_examples, make_model

from elman.data.batches import Examples
from elman.data.ragged import Ragged
from elman.errors import DataError, ShapeError
from elman.settings import TrainingSettings
from elman.train import train

QUICK = TrainingSettings(epochs=1, patience=0, keep="last")


def numbers(*lengths, channels=CHANNELS, dtype=np.float32):
    return Ragged.from_list([np.zeros((n, channels), dtype) for n in lengths])


def tokens(*values):
    return Ragged.from_list([np.array(v) for v in values])


def codes(*values):
    return np.array(values)


def steps(*values):
    return Ragged.from_list([np.array(v) for v in values])


WRONG = [
    ("last", Examples(numbers(), codes()), DataError, "got no sequences"),
    ("last", Examples(numbers(3, 0, 2), codes(0, 1, 0)), DataError, ", sequence 1: got no steps"),
    ("last", Examples(numbers(3, 2), codes(0)), ShapeError, "got 1 labels for 2 sequences"),
    ("last", Examples(numbers(3, 2), codes(0, 1, 0)), ShapeError, "got 3 labels for 2 sequences"),
    ("last", Examples(numbers(3, 2), codes(0, 3)), DataError, "classes: got codes from 0 to 3"),
    ("last", Examples(numbers(3, 2), codes(-1, 2)), DataError, "classes: got codes from -1 to 2"),
    ("last", Examples(numbers(3), codes(2**62)), DataError, "classes: got codes from"),
    ("last", Examples(numbers(3, 2), codes(0.0, 1.0)), ShapeError, "classes: got float64"),
    ("last", Examples(numbers(3, 2), codes([0], [1])), ShapeError, "classes: got int64 of shape"),
    (
        "last",
        Examples(numbers(3, channels=5), codes(0)),
        ShapeError,
        r"got steps of shape \(5,\), expected \(2,\)",
    ),
    ("last", Examples(tokens([1, 2]), codes(0)), ShapeError, r"got steps of shape \(\), expected"),
    (
        "last",
        Examples(numbers(2), steps([0, 1])),
        ShapeError,
        "got a label at every step, which readout 'last' does not go with",
    ),
    (
        "every",
        Examples(numbers(2), codes(0)),
        ShapeError,
        "got a label a sequence, which readout 'every' does not go with",
    ),
    (
        "every",
        Examples(numbers(2, 3), steps([0, 1, 0], [1, 0])),
        ShapeError,
        ", sequence 0: got 3 labels for 2 steps",
    ),
    (
        "every",
        Examples(numbers(3, 2), steps([0, 1, 0], [1])),
        ShapeError,
        ", sequence 1: got 1 labels for 2 steps",
    ),
    ("every", Examples(numbers(2), steps([0, 7])), DataError, "classes: got codes from 0 to 7"),
    ("tokens", Examples(tokens([1, 9]), codes(0)), DataError, "tokens: got codes from 1 to 9"),
    ("tokens", Examples(tokens([-1, 2]), codes(0)), DataError, "tokens: got codes from -1 to 2"),
    ("tokens", Examples(tokens([1.0, 2.0]), codes(0)), ShapeError, "tokens: got float64"),
    ("tokens", Examples(numbers(3), codes(0)), ShapeError, r"got steps of shape \(2,\), expected"),
]


@pytest.mark.parametrize(("kind", "wrong", "error", "message"), WRONG)
@pytest.mark.parametrize("part", ["training", "validation"])
def test_a_part_that_does_not_go_with_the_model(kind, wrong, error, message, part):
    readout = "every" if kind == "every" else "last"
    model = make_model("gru", readout, tokens=kind == "tokens")
    right = make_examples(tokens=kind == "tokens", per_step=kind == "every")
    parts = (wrong, right) if part == "training" else (right, wrong)
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(error, match=f"^{part}.*{message}"):
        train(model, *parts, QUICK)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize("kind", [np.float64, np.int64, np.float16])
def test_numbers_of_another_precision(kind):
    """Batches are of the data's own dtype, and a model reads its own only."""
    data = Examples(numbers(3, 2, dtype=kind), codes(0, 1))
    with pytest.raises(ShapeError, match=r"x: got torch.*, expected torch\.float32"):
        train(make_model(), data, None, QUICK)


def test_the_largest_codes_that_there_are():
    """The last token and the last class are read and counted."""
    rows = [[VOCABULARY - 1], [0, VOCABULARY - 1], [1]]
    history = train(make_model(tokens=True), Examples(tokens(*rows), codes(2, 0, 2)), None, QUICK)
    assert history.epochs[0].loss > 0
