"""The same seed gives the same bits: run again, and for any number of threads.

Sizes are such that the kernels share out their work (least_work in csrc/network_call.cpp).
"""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import CHANNELS, add_categories, make_model, past_end
from reference_model import native_loss

from elman import SequenceClassifier, SequenceTagger, _core
from elman.data.batches import Examples
from elman.data.ragged import Ragged
from elman.settings import TrainingSettings
from elman.train import train
from elman.train.gradients import draw_masks

TASKS = Path("/proc/self/task")
THREADS = (1, 2, 3)
LARGE = {"hidden_size": 40, "num_layers": 2, "bidirectional": True}


@pytest.fixture(autouse=True)
def _one_thread_after():
    yield
    torch.set_num_threads(1)


def large_batch(tokens, every, B=70, T=30, mixed=False):
    """Ragged rows, some far shorter than others."""
    lengths = torch.randint(1, T + 1, (B,))
    lengths[B // 2] = T
    x = torch.randint(0, 9, (B, T)) if tokens else torch.randn(B, T, CHANNELS)
    x = add_categories(x) if mixed else x
    target = torch.randint(0, 3, (B, T) if every else (B,))
    return x, lengths, target


def in_threads(run):
    """What `run` gives with one thread, with two and with three."""
    found = []
    for threads in THREADS:
        torch.set_num_threads(threads)
        found.append(run())
    return found


@pytest.mark.skipif(not TASKS.exists(), reason="no list of threads to look at")
def test_work_of_this_size_is_shared_out():
    """Else the tests below would hold for one thread alone. Five are asked for nowhere else."""
    model, (x, lengths, target) = make_model("gru", **LARGE), large_batch(False, False, B=90)
    before = len(list(TASKS.iterdir()))
    torch.set_num_threads(5)
    native_loss(model, x, lengths, target)
    assert len(list(TASKS.iterdir())) > before


@pytest.mark.parametrize("isa", _core.isas())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("cell", "nonlinearity"), [("rnn", "tanh"), ("rnn", "relu"), ("gru", "tanh"), ("lstm", "tanh")]
)
def test_loss_and_gradients_for_any_number_of_threads(cell, nonlinearity, dtype, isa):
    readout = {"rnn": "every", "gru": "mean", "lstm": "max"}[cell]
    tokens, mixed = cell == "gru" or nonlinearity == "relu", cell == "lstm"
    options = {"nonlinearity": nonlinearity, "dropout": 0.3, **LARGE}
    model = make_model(cell, readout, tokens=tokens, mixed=mixed, **options).to(dtype)
    x, lengths, target = large_batch(tokens, readout == "every", mixed=mixed)
    x = x if tokens else x.to(dtype)
    masks = draw_masks(model.config, *x.shape[:2])
    before = _core.isa()
    _core.use_isa(isa)
    try:
        first, *others = in_threads(lambda: native_loss(model, x, lengths, target, masks=masks))
    finally:
        _core.use_isa(before)
    assert np.isfinite(first[0])
    for loss, logits, gradients in others:
        assert loss == first[0]
        assert torch.equal(logits, first[1])
        for name, gradient in gradients.items():
            assert torch.equal(gradient, first[2][name]), name


@pytest.mark.parametrize("readout", ["last", "every"])
@pytest.mark.parametrize("B", [1, 9, 70, 300])
def test_logits_for_any_number_of_threads(readout, B):
    model = make_model("lstm", readout, **LARGE)
    x, lengths, _ = large_batch(False, False, B)
    with torch.no_grad():
        first, *others = in_threads(lambda: model(x, lengths))
    inside = ~past_end(first, lengths) if readout == "every" else slice(None)
    for logits in others:
        assert torch.equal(logits[inside], first[inside])


def examples(tokens, every, n=90):
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 40, n)
    if tokens:
        rows = [rng.integers(2, 9, m) for m in lengths]
    else:
        rows = [rng.normal(size=(m, CHANNELS)).astype(np.float32) for m in lengths]
    if every:
        target = Ragged.from_list([rng.integers(0, 3, m) for m in lengths])
    else:
        target = rng.integers(0, 3, n)
    return Examples(Ragged.from_list(rows), target)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize(
    ("readout", "tokens"), [("last", True), ("every", False), ("mean", False), ("max", True)]
)
def test_whole_trainings_for_any_number_of_threads(readout, tokens, optimizer):
    """With dropout, clipping and validation: the same weights and the same history."""
    data = examples(tokens, readout == "every")
    chosen = TrainingSettings(epochs=2, optimizer=optimizer, clip_norm=0.3, label_smoothing=0.1)

    def run():
        model = make_model("gru", readout, tokens=tokens, dropout=0.3, **LARGE)
        torch.manual_seed(4)
        history = train(model, data, data, chosen)
        records = [dataclasses.replace(r, seconds=0) for r in history.epochs]
        return {n: p.clone() for n, p in model.state_dict().items()}, records

    first, *others = [*in_threads(run), run()]
    for weights, records in others:
        assert records == first[1]
        for name, weight in weights.items():
            assert torch.equal(weight, first[0][name]), name


@pytest.mark.parametrize("kind", [SequenceClassifier, SequenceTagger])
def test_estimators_for_any_number_of_threads(kind):
    data = examples(True, kind is SequenceTagger)
    X = [[f"t{token}" for token in row] for row in data.inputs]
    y = list(data.target) if kind is SequenceTagger else data.target
    found = []
    for threads in (*THREADS, 3):
        model = kind(
            hidden_size=40, num_layers=2, dropout=0.2, epochs=2, threads=threads, random_state=0
        ).fit(X, y)
        probabilities = model.predict_proba(X)
        found.append((model.model_.state_dict(), np.concatenate(list(probabilities))))
    for weights, probabilities in found[1:]:
        assert all(torch.equal(weights[name], found[0][0][name]) for name in weights)
        assert np.array_equal(probabilities, found[0][1])
