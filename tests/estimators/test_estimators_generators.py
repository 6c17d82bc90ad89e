"""A training draws from its own generators: alone, in threads, and beside code that draws too."""

import random
import threading

import numpy as np
import pytest
import torch
from cases import unregister_cell

from elman import SequenceClassifier
from elman.layers import Cell, register_cell

FITS = 12
SMALL = {"hidden_size": 6, "num_layers": 2, "epochs": 2, "batch_size": 8, "random_state": 3}
CHANCE = {"dropout": 0.3, "noise": 0.1}


def draw_step(a, u, states):
    """A cell that draws while it is trained; a draw at other times would be refused."""
    n = torch.tanh(a["n"] + u["n"])
    if torch.is_grad_enabled() and DRAWS.is_set():
        n = torch.where(torch.rand_like(n) < 0.2, states["h"], n)
    return {"n": a["n"] + u["n"]}, {"n": n}, {"h": n}


DRAWS = threading.Event()  # off while the cell is checked


@pytest.fixture(scope="module", autouse=True)
def cell_that_draws():
    cell = Cell("draws", ("n",), draw_step, activations={"n": "tanh"})
    register_cell(cell)
    DRAWS.set()
    yield
    unregister_cell(cell)


RNG = np.random.default_rng(0)
NUMBERS = [RNG.normal(size=(3 + i % 5, 2)) for i in range(32)]
WORDS = [[f"w{v}" for v in RNG.integers(0, 9, 3 + i % 5)] for i in range(32)]
LABELS = ["a", "b"] * 16
WEIGHTS = RNG.uniform(0.5, 2, 32)


def fit_native():
    return SequenceClassifier(cell="lstm", **SMALL, **CHANCE).fit(NUMBERS, LABELS)


def fit_native_on_two_threads():
    return SequenceClassifier(cell="gru", threads=2, **SMALL, **CHANCE).fit(NUMBERS, LABELS)


def fit_tokens():
    model = SequenceClassifier(cell="rnn", token_dropout=1.0, dropout=0.3, **SMALL)
    return model.fit(WORDS, LABELS)


def fit_autograd():
    model = SequenceClassifier(cell="gru", token_dropout=1.0, dropout=0.3, **SMALL)
    return model.fit(WORDS, LABELS, sample_weight=WEIGHTS)


def fit_own_cell():
    return SequenceClassifier(cell="draws", **SMALL, **CHANCE).fit(NUMBERS[:16], LABELS[:16])


def fit_in_parts():
    model = SequenceClassifier(cell="gru", **SMALL, **CHANCE)
    for part in (slice(0, 16), slice(16, 32)):
        model.partial_fit(NUMBERS[part], LABELS[part])
    return model


def fit_again():
    model = SequenceClassifier(cell="gru", warm_start=True, **SMALL, **CHANCE)
    return model.fit(NUMBERS, LABELS).fit(NUMBERS, LABELS)


EVERY = [
    fit_native,
    fit_native_on_two_threads,
    fit_tokens,
    fit_autograd,
    fit_own_cell,
    fit_in_parts,
    fit_again,
]
each_fit = pytest.mark.parametrize("fit", EVERY, ids=lambda fit: fit.__name__)


def bits(model):
    """All bits of the weights, and of the losses on the way there."""
    weights = [tensor.numpy().tobytes() for tensor in model.model_.state_dict().values()]
    return b"".join(weights), [(e.loss, e.gradient_norm) for e in model.history_.epochs]


def run_together(jobs):
    """Results of functions that run in threads of their own, started together."""
    found = [None] * len(jobs)
    start = threading.Barrier(len(jobs))

    def run(place, job):
        start.wait()
        found[place] = job()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def global_states():
    numpy_state = np.random.get_state()
    return (
        torch.get_rng_state().tolist(),
        numpy_state[1].tolist(),
        numpy_state[2],
        random.getstate(),
    )


@each_fit
def test_the_global_generators_are_not_touched(fit):
    fit()  # imports that draw are done
    before = global_states()
    model = fit()
    model.predict(NUMBERS if fit not in (fit_tokens, fit_autograd) else WORDS)
    assert global_states() == before


@each_fit
def test_fits_in_threads_have_the_bits_of_a_fit_alone(fit):
    alone = bits(fit())
    found = run_together([fit] * FITS)
    assert [bits(model) == alone for model in found] == [True] * FITS


def test_different_fits_in_threads_beside_code_that_draws():
    jobs = [fit for fit in EVERY if fit is not fit_own_cell]
    alone = [bits(fit()) for fit in jobs]
    ended = threading.Event()

    def draw():
        """What a user's own code draws; the numbers must be those of a program without fits."""
        drawn = []
        while not ended.is_set() or len(drawn) < 100:
            drawn.append((torch.rand(()).item(), np.random.rand(), random.random()))
        return drawn

    def fits():
        found = run_together(jobs * 2)
        ended.set()
        return found

    torch.manual_seed(7)
    np.random.seed(7)
    random.seed(7)
    found, drawn = run_together([fits, draw])
    assert [bits(model) for model in found] == alone * 2
    torch.manual_seed(7)
    np.random.seed(7)
    random.seed(7)
    again = [(torch.rand(()).item(), np.random.rand(), random.random()) for _ in drawn]
    assert drawn == again


def test_a_callback_that_draws_changes_nothing():
    alone = bits(fit_native())
    model = SequenceClassifier(cell="lstm", **SMALL, **CHANCE)
    model.fit(NUMBERS, LABELS, on_epoch=lambda record: torch.rand(5))
    assert bits(model) == alone
