"""Whose memory weights and gradients have while they are trained and after; threads; Ctrl-C."""

import contextlib
import copy
import dataclasses
import io
import pickle
import signal

import pytest
import torch
from cases import (
    Hook,
    assert_released,
    by_modules,
    make_examples,
    make_model,
    same_bits,
    weights_of,
)
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from elman.data.batches import make_batch
from elman.errors import ElmanError
from elman.models.native import NativeModel
from elman.settings import TrainingSettings
from elman.train import train
from elman.train.gradients import gradient_source

QUICK = TrainingSettings(epochs=3, batch_size=8, token_dropout=0, learning_rate=0.02).resolve(False)


def settings(**changes):
    return dataclasses.replace(QUICK, **changes)


def whole_batch(data):
    return make_batch(data, torch.arange(len(data)).numpy())


def storages(tensors):
    return {t.untyped_storage().data_ptr() for t in tensors}


@pytest.mark.parametrize(("decay", "pieces"), [(0.3, 2), (0.0, 1)])
def test_parameters_and_gradients_are_views_of_two_tensors(decay, pieces):
    """An optimiser has a tensor or two to go through; what it does shows in the model."""
    model = make_model("lstm", tokens=True, bidirectional=True, num_layers=2)
    before = weights_of(model)
    own = list(model.parameters())
    source = gradient_source(model, settings(weight_decay=decay))
    assert same_bits(weights_of(model), before)
    assert [id(p) for p in model.parameters()] == [id(p) for p in own]
    flat = [p for group in source.groups for p in group]
    assert len(flat) == pieces
    assert sum(p.numel() for p in flat) == sum(p.numel() for p in own)
    source(whole_batch(make_examples(12, tokens=True)))
    assert storages(own) == storages(flat)
    assert len(storages(own)) == 1
    assert len(storages([p.grad for p in own + flat])) == 1
    total = sum(float((p.grad.double() ** 2).sum()) for p in own)
    assert total == pytest.approx(sum(float((p.grad.double() ** 2).sum()) for p in flat))
    assert total > 0
    with torch.no_grad():
        for p in flat:
            p.sub_(p.grad)
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name] - p.grad), name
    after = weights_of(model)
    source.release()
    assert same_bits(weights_of(model), after)
    assert_released(model)


def stop(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("modules", [False, True])
@pytest.mark.parametrize(
    "ending", ["done", "interrupted", "interrupted at once", "diverged", "error"]
)
def test_nothing_is_left_behind(ending, modules):
    """However a training ends, the gradients' memory is given back."""
    data, model = make_examples(), make_model()
    if modules:
        by_modules(model)
    chosen, calls = settings(), {}
    if ending == "interrupted":
        calls["on_epoch"] = stop
    elif ending == "interrupted at once":
        calls["progress"] = Hook(start=stop)
    elif ending == "diverged":
        chosen = settings(optimizer="sgd", learning_rate=1e30, clip_norm=0.0, warmup=0.0)
    elif ending == "error":
        calls["progress"] = Hook(batch=lambda *_: 1 / 0)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    expected = (KeyboardInterrupt, ElmanError, ZeroDivisionError)
    with contextlib.suppress(*expected):
        train(model, data, None, chosen, **calls)
    assert_released(model)


def test_a_model_can_be_trained_again_after_its_training():
    data, model = make_examples(), make_model()
    for _ in range(3):
        first = train(model, data, None, QUICK).epochs
    assert first[-1].loss < first[0].loss
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batch, before = whole_batch(data), weights_of(model)
    nn.functional.cross_entropy(model(batch.x, batch.lengths), batch.target).backward()
    optimizer.step()
    assert not same_bits(weights_of(model), before)


@pytest.mark.parametrize("to_none", [True, False])
def test_gradients_cleared_by_the_caller_do_no_harm(to_none):
    found = []
    for clear in (False, True):
        model = make_model()

        def on_batch(*_, model=model, clear=clear):
            if clear:
                model.zero_grad(set_to_none=to_none)

        train(model, make_examples(), None, QUICK, progress=Hook(batch=on_batch))
        found.append(weights_of(model))
    assert same_bits(*found)


def copies(model):
    """Copies of a model by every way there is."""
    yield copy.deepcopy(model).state_dict()
    yield pickle.loads(pickle.dumps(model)).state_dict()
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    yield torch.load(file, weights_only=False).state_dict()
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    yield torch.load(file)
    yield load_tensors(save_tensors(model.state_dict()))
    yield copy.deepcopy(model.state_dict())


def test_copies_made_while_training_are_whole_and_of_their_own():
    model, taken = make_model("lstm", tokens=True, bidirectional=True), []

    def on_batch(number, batches, metrics):
        if number == 3:
            taken.append((weights_of(model), list(copies(model))))

    train(
        model, make_examples(tokens=True), None, settings(epochs=2), progress=Hook(batch=on_batch)
    )
    assert len(taken) == 2
    for wanted, found in taken:
        assert len(found) == 6
        for one in found:
            assert one.keys() == wanted.keys()
            assert same_bits(wanted, one)


def test_weights_loaded_while_training_count():
    """Put into the model in place, they are what the next step starts from."""
    fresh = make_model(seed=5).state_dict()
    model, seen = make_model(), []

    def on_batch(number, batches, metrics):
        if number < batches:
            model.load_state_dict(fresh)
        seen.append(weights_of(model))

    train(model, make_examples(), None, settings(epochs=1), progress=Hook(batch=on_batch))
    moved = max(float((seen[-1][n] - fresh[n]).abs().max()) for n in fresh)
    assert 0 < moved <= 0.05


@pytest.mark.parametrize(
    "move",
    [
        lambda m: m.double(),
        lambda m: m.output.half(),
        lambda m: setattr(m.output.weight, "data", torch.zeros(3, 6)),
        lambda m: setattr(m.output.weight, "data", torch.zeros(0)),
    ],
)
def test_parameters_moved_while_training_are_an_error(move):
    """Their memory is what the native call reads: nothing else may come to stand there."""
    model = make_model()
    with pytest.raises(ElmanError, match="parameters were moved while it was being trained"):
        train(model, make_examples(), None, QUICK, progress=Hook(batch=lambda *_: move(model)))


@pytest.mark.parametrize("modules", [False, True])
@pytest.mark.parametrize(
    "replace",
    [
        lambda m: m.to("meta"),
        lambda m: setattr(m.output, "weight", nn.Parameter(torch.zeros(3, 6))),
        lambda m: setattr(m, "output", nn.Linear(6, 3)),
    ],
)
def test_parameters_replaced_while_training_are_an_error(replace, modules):
    """The new ones would not be trained."""
    model = by_modules(make_model()) if modules else make_model()
    chosen = settings(batch_size="full")
    with pytest.raises(ElmanError, match="were replaced, frozen or freed while it was being"):
        train(model, make_examples(), None, chosen, progress=Hook(batch=lambda *_: replace(model)))


@pytest.mark.parametrize("modules", [False, True])
@pytest.mark.parametrize("ending", ["done", "error"])
def test_threads_of_torch_are_the_callers_but_for_a_step(modules, ending):
    """Beside a native call torch has one: its fused optimisers would share out a few numbers."""
    model, seen, inside = make_model(), set(), set()
    if modules:
        by_modules(model)
    hook = register_optimizer_step_pre_hook(lambda *_: inside.add(torch.get_num_threads()))

    def note(*_):
        seen.add(torch.get_num_threads())
        if ending == "error" and len(inside) == 1:
            raise ZeroDivisionError

    torch.set_num_threads(2)
    try:
        with contextlib.suppress(ZeroDivisionError):
            train(model, make_examples(), None, QUICK, progress=Hook(batch=note), on_epoch=note)
        assert torch.get_num_threads() == 2
        with contextlib.suppress(ElmanError):
            data = make_examples()
            data.inputs.values[:] = float("nan")
            train(model, data, None, QUICK, on_epoch=note)
        assert torch.get_num_threads() == 2
    finally:
        hook.remove()
        torch.set_num_threads(1)
    assert seen == {2}
    assert inside == {2 if modules else 1}


def test_the_native_call_has_all_threads(monkeypatch):
    asked = []
    original = NativeModel.loss_and_gradients

    def spy(self, *arguments, threads, **options):
        asked.append(threads)
        return original(self, *arguments, threads=threads, **options)

    monkeypatch.setattr(NativeModel, "loss_and_gradients", spy)
    torch.set_num_threads(3)
    try:
        train(make_model(), make_examples(), None, settings(epochs=1))
    finally:
        torch.set_num_threads(1)
    assert set(asked) == {3}


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers of signals")
def test_ctrl_c_in_the_middle_of_a_call():
    """The signal comes while the kernels run; Python hears of it when the call is over."""
    model = make_model("lstm", hidden_size=48, num_layers=2, bidirectional=True)
    data, kept = make_examples(64, longest=60), []

    def on_epoch(record):
        kept.append(weights_of(model))
        if record.epoch == 2:
            signal.setitimer(signal.ITIMER_REAL, 0.005)

    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        history = train(
            model, data, None, settings(epochs=10**6, batch_size="full"), on_epoch=on_epoch
        )
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert history.stopped == f"interrupted after epoch {len(kept)}"
    assert 2 <= len(kept) == history.kept_epoch
    assert same_bits(weights_of(model), kept[-1])
    assert_released(model)
