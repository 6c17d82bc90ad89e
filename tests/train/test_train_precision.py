"""Precision and determinism: who computes in bfloat16 or TF32, and what is said about bits."""

import dataclasses
import types

import numpy as np
import pytest
import torch
from cases import make_examples, make_model

from elman import SequenceClassifier
from elman.data.batches import make_batch
from elman.errors import SettingsError
from elman.settings import TrainingPlan, TrainingSettings
from elman.train import train
from elman.train.gradients import batch_loss, gradient_source
from elman.train.loop import validate
from elman.train.losses import Loss
from elman.train.precision import describe_determinism, matrix_precision

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SETTINGS = TrainingSettings(
    epochs=4, batch_size=8, token_dropout=0, learning_rate=0.02, device="cuda"
)
BACKENDS = (torch.backends.cuda.matmul, torch.backends.cudnn.rnn, torch.backends.cudnn.conv)


def in_precision(precision):
    """The settings of a GPU; a model on the CPU is then trained by the same code there."""
    return dataclasses.replace(SETTINGS, precision=precision)


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_the_cpu_refuses_another_precision(precision):
    message = f"precision: got '{precision}', but device 'cpu', which computes in float32"
    with pytest.raises(SettingsError, match=message):
        TrainingSettings(precision=precision)
    X, y = [np.ones((3, 1))] * 4, [0, 1, 0, 1]
    with pytest.raises(SettingsError, match=message):
        SequenceClassifier(precision=precision).fit(X, y)


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_a_gpu_without_the_precision_refuses_it(precision, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    X, y = [np.ones((3, 1))] * 4, [0, 1, 0, 1]
    with pytest.raises(SettingsError, match=rf"'{precision}', but Tesla T4 \(compute capability 7"):
        SequenceClassifier(device="cuda", precision=precision).fit(X, y)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("readout", ["last", "mean", "every"])
@pytest.mark.parametrize("tokens", [False, True], ids=["numbers", "tokens"])
def test_bfloat16_computes_the_network_in_bfloat16_and_nothing_else(cell, readout, tokens):
    data = make_examples(tokens=tokens, per_step=readout == "every")
    model, batch = make_model(cell, readout, tokens=tokens), make_batch(data, np.arange(8))
    dtypes = []
    hook = model.output.register_forward_hook(lambda _, __, out: dtypes.append(out.dtype))
    plan = in_precision("bfloat16").resolve(False)
    source = gradient_source(model, plan)
    found = source(batch)
    hook.remove()
    assert dtypes == [torch.bfloat16]
    assert found.outputs.dtype == torch.float32
    expected, outputs, _, weight = batch_loss(model, batch, Loss.of("classification", plan))
    assert 0 < abs(found.loss - expected.item()) < 0.02
    assert found.weight == weight
    assert not torch.equal(found.outputs, outputs)
    gradients = [p.grad.clone() for p in model.parameters()]
    assert {g.dtype for g in gradients} == {torch.float32}
    model.zero_grad()
    expected.backward()
    for gradient, parameter in zip(gradients, model.parameters(), strict=True):
        # bfloat16 has 8 bits: a relative error of 2**-9 a product, and some tens of products.
        assert (gradient - parameter.grad).norm() < 0.05 * parameter.grad.norm() + 1e-3


def test_a_training_in_bfloat16_learns_and_is_validated_in_bfloat16():
    data, model = make_examples(), make_model()
    history = train(model, data, data, in_precision("bfloat16"))
    losses = [record.loss for record in history.epochs]
    assert losses[-1] < 0.8 * losses[0]
    assert history.gradients == "gradients by autograd: the precision is bfloat16"
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    loss = Loss.of("classification", TrainingPlan())
    kept = history.epochs[history.kept_epoch - 1].validation_loss
    assert kept == validate(model, data, loss, CPU, "bfloat16").mean_loss
    assert kept != validate(model, data, loss, CPU).mean_loss


def test_the_native_path_is_left_for_another_precision():
    model = make_model()
    for precision in ("tf32", "bfloat16"):
        said = gradient_source(model, in_precision(precision).resolve(False)).description
        assert said == f"gradients by autograd: the precision is {precision}"


@pytest.mark.parametrize(
    ("precision", "expected"), [("float32", "ieee"), ("tf32", "tf32"), ("bfloat16", "ieee")]
)
def test_float32_is_float32_on_a_gpu(precision, expected):
    before = [backend.fp32_precision for backend in BACKENDS]
    model = make_model()
    there = types.SimpleNamespace(parameters=lambda: iter([types.SimpleNamespace(device=CUDA)]))
    with pytest.raises(KeyboardInterrupt), matrix_precision(precision, there):
        assert [backend.fp32_precision for backend in BACKENDS] == [expected] * 3
        raise KeyboardInterrupt
    assert [backend.fp32_precision for backend in BACKENDS] == before
    with matrix_precision("tf32", model):
        assert [backend.fp32_precision for backend in BACKENDS] == before


def test_what_is_said_about_bits(monkeypatch):
    data = make_examples()
    native = train(make_model(), data, None, TrainingSettings(epochs=1))
    assert native.determinism == (
        "deterministic: the same bits on every run, for any number of threads"
    )
    model = make_model()
    model.register_forward_hook(lambda *_: None)
    watched = train(model, data, None, TrainingSettings(epochs=1))
    assert watched.determinism == "deterministic: the same bits on every run with one thread"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    said = describe_determinism(CPU, native=False)
    assert said.startswith("not deterministic: torch may add sums in another order on 3 threads")
    assert "--threads 1" in said
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: False)
    said = describe_determinism(CUDA, native=False)
    assert said.startswith("not deterministic: on device cuda")
    assert "torch.use_deterministic_algorithms(True)" in said
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    assert describe_determinism(CUDA, native=False).startswith("deterministic: ")
    monkeypatch.setattr(torch, "is_deterministic_algorithms_warn_only_enabled", lambda: True)
    assert describe_determinism(CUDA, native=False).startswith("not deterministic: ")


@pytest.mark.gpu
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_on_a_gpu_every_precision_learns_and_float32_is_as_exact_as_the_cpu(cell, precision):
    rng = np.random.default_rng(0)
    y = np.arange(64) % 2
    X = [rng.normal(size=(9, 3)) + label for label in y]
    settings = {"cell": cell, "hidden_size": 64, "epochs": 5, "noise": 0, "random_state": 0}
    there = SequenceClassifier(device="cuda", precision=precision, **settings).fit(X, y)
    assert there.score(X, y) > 0.9
    assert {p.dtype for p in there.model_.parameters()} == {torch.float32}
    here = SequenceClassifier(**settings).fit(X, y)
    off = abs(there.history_.epochs[0].loss - here.history_.epochs[0].loss)
    assert off < (1e-4 if precision == "float32" else 0.05)
