"""Where gradients come from: the choice and its reason, both sources alike, whose memory it is."""

import contextlib
import copy
import dataclasses
import io
import math
import pickle
import signal

import pytest
import torch
from cases import make_examples, make_model
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from tolerances import assert_close
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from elman import _core
from elman.data.batches import make_batch
from elman.errors import ElmanError, SettingsError
from elman.models import SequenceModel
from elman.models.native import NativeModel
from elman.settings import TrainingSettings
from elman.train import train
from elman.train.gradients import Autograd, OneCall, gradient_source

QUICK = TrainingSettings(epochs=3, batch_size=8, token_dropout=0, learning_rate=0.02).resolved(
    False
)
ONE_CALL = f"gradients by one native call a batch ({_core.isa()})"


class Child(SequenceModel):
    pass


def settings(**changes):
    return dataclasses.replace(QUICK, **changes)


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def by_modules(model):
    """The same model with a hook that does nothing, so that its gradients come by autograd."""
    model.register_forward_pre_hook(lambda *_: None)
    return model


def whole_batch(data):
    return make_batch(data, torch.arange(len(data)).numpy())


REASONS = [
    (lambda m: m.register_forward_hook(lambda *_: None), "a module has hooks or a parametrization"),
    (lambda m: m.bfloat16(), "the model computes in torch.bfloat16"),
    (lambda m: m.to("meta"), "the model is on meta"),
    (
        lambda m: setattr(m.recurrent, "dropout", 0.5),
        "a module is not the one that the config asks",
    ),
    (lambda m: m.output.double(), "a parameter is missing, or not of the shape, dtype or device"),
    (lambda m: m.output.bias.register_hook(lambda g: g), "a parameter has hooks"),
    (
        lambda m: m.output.bias.register_post_accumulate_grad_hook(lambda p: None),
        "a parameter has hooks",
    ),
]


@pytest.mark.parametrize(("change", "why"), REASONS, ids=[why for _, why in REASONS])
def test_the_reason_for_autograd_is_named(change, why):
    model = make_model()
    assert type(gradient_source(model, QUICK)) is OneCall
    model = make_model()
    change(model)
    source = gradient_source(model, QUICK)
    assert type(source) is Autograd
    assert source.description.startswith(f"gradients by autograd: {why}")


def test_more_reasons_for_autograd():
    assert gradient_source(make_model(kind=Child), QUICK).description == (
        "gradients by autograd: Child is a subclass"
    )
    with torch.autocast("cpu"):
        found = gradient_source(make_model(), QUICK).description
        assert found == "gradients by autograd: autocast is on"
    with pytest.warns(UserWarning, match="Anomaly Detection"), torch.autograd.detect_anomaly():
        found = gradient_source(make_model(), QUICK).description
    assert found == "gradients by autograd: anomaly detection is on"
    assert gradient_source(make_model(), QUICK).description == ONE_CALL


@pytest.mark.gpu
def test_cuda_is_a_reason_for_autograd():
    found = gradient_source(make_model().cuda(), QUICK).description
    assert found == "gradients by autograd: the model is on cuda:0"


@pytest.mark.parametrize("modules", [False, True])
def test_the_choice_is_told_once_and_kept(modules):
    model = by_modules(make_model()) if modules else make_model()
    told = []
    history = train(
        model,
        make_examples(),
        None,
        QUICK,
        on_start=told.append,
        on_batch=lambda *_: told.append("batch"),
    )
    wanted = "gradients by autograd: a module has hooks or a parametrization"
    assert told[0] == history.gradients == (wanted if modules else ONE_CALL)
    assert set(told[1:]) == {"batch"}


def test_hooks_and_subclasses_take_part_in_training():
    """What is in the way of the native call is not left out: it does its work."""
    data, seen = make_examples(), []
    model = make_model()
    model.recurrent.register_forward_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    model.output.bias.register_hook(lambda gradient: gradient * 0)
    before = weights(model)
    train(model, data, None, settings(epochs=1, optimizer="sgd"))
    assert seen == [True] * 5
    after = weights(model)
    assert torch.equal(after["output.bias"], before["output.bias"])
    assert not torch.equal(after["output.weight"], before["output.weight"])


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("tokens", [False, True], ids=["numbers", "tokens"])
@pytest.mark.parametrize("readout", ["last", "every"])
def test_both_sources_train_alike(readout, tokens, optimizer):
    data = make_examples(tokens=tokens, per_step=readout == "every")
    chosen = settings(optimizer=optimizer, label_smoothing=0.1, clip_norm=0.5, epochs=2)
    models, histories = [], []
    for modules in (False, True):
        model = make_model("lstm", readout, tokens=tokens, bidirectional=True)
        models.append(by_modules(model) if modules else model)
        histories.append(train(models[-1], data, data, dataclasses.replace(chosen, keep="last")))
    for one, other in zip(*(history.epochs for history in histories), strict=True):
        for name in ("loss", "validation_loss", "gradient_norm"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-4)
        assert one.accuracy == other.accuracy
    one, other = map(weights, models)
    for name in one:
        assert_close(one[name], other[name], "training", name)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
        lambda p: torch.optim.Adam(p, lr=0.02, amsgrad=True),
        lambda p: torch.optim.AdamW(p, lr=0.02, foreach=True),
        lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5),
        lambda p: torch.optim.Adagrad(p, lr=0.05),
        lambda p: torch.optim.Adafactor(p, lr=0.05),
    ],
)
def test_any_optimiser_of_torch_steps_on_the_models_own_parameters(make):
    """Also one that looks at a parameter's shape, and one that clears the gradients itself."""
    batch = whole_batch(make_examples(12))
    found = []
    for kind in (OneCall, Autograd):
        model = make_model() if kind is OneCall else by_modules(make_model())
        source = gradient_source(model, QUICK)
        assert type(source) is kind
        optimizer = make(model.parameters())
        for i in range(4):
            source(batch)
            source.clip(0.5)
            optimizer.step()
            optimizer.zero_grad(set_to_none=bool(i % 2))
        found.append(weights(model))
    for name in found[0]:
        assert_close(found[0][name], found[1][name], "training", name)


def test_clipping_is_torchs():
    batch = whole_batch(make_examples(12))
    native = gradient_source(make_model(), QUICK)
    modules = gradient_source(by_modules(make_model()), QUICK)
    for limit in (math.inf, 10.0, 0.05):
        norms = []
        for source in (native, modules):
            source(batch)
            norms.append(source.clip(limit))
            assert type(norms[-1]) is float
        assert norms[0] == pytest.approx(norms[1], rel=1e-5)
        for one, other in zip(native.model.parameters(), modules.model.parameters(), strict=True):
            assert_close(one.grad, other.grad, "float32")
    after = torch.cat([p.grad.flatten() for p in native.model.parameters()]).norm()
    assert float(after) == pytest.approx(0.05, rel=1e-4)


def storages(tensors):
    return {t.untyped_storage().data_ptr() for t in tensors}


def assert_released(model):
    """Each parameter has memory of its own, just enough for it, and no gradient."""
    parameters = list(model.parameters())
    assert all(p.grad is None for p in parameters)
    assert len(storages(parameters)) == len(parameters)
    for p in parameters:
        assert p.untyped_storage().nbytes() == p.numel() * p.element_size()
        assert p.is_leaf


@pytest.mark.parametrize(("decay", "pieces"), [(0.3, 2), (0.0, 1)])
def test_parameters_and_gradients_are_views_of_two_tensors(decay, pieces):
    """An optimiser has a tensor or two to go through; what it does shows in the model."""
    model = make_model("lstm", tokens=True, bidirectional=True, num_layers=2)
    before = weights(model)
    own = list(model.parameters())
    source = gradient_source(model, settings(weight_decay=decay))
    assert same(weights(model), before)
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
    after = weights(model)
    source.release()
    assert same(weights(model), after)
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
        calls["on_start"] = stop
    elif ending == "diverged":
        chosen = settings(optimizer="sgd", learning_rate=1e30, clip_norm=0.0, warmup=0.0)
    elif ending == "error":
        calls["on_batch"] = lambda *_: 1 / 0
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
    batch, before = whole_batch(data), weights(model)
    nn.functional.cross_entropy(model(batch.x, batch.lengths), batch.target).backward()
    optimizer.step()
    assert not same(weights(model), before)


@pytest.mark.parametrize("to_none", [True, False])
def test_gradients_cleared_by_the_caller_do_no_harm(to_none):
    found = []
    for clear in (False, True):
        model = make_model()

        def on_batch(*_, model=model, clear=clear):
            if clear:
                model.zero_grad(set_to_none=to_none)

        train(model, make_examples(), None, QUICK, on_batch=on_batch)
        found.append(weights(model))
    assert same(*found)


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

    def on_batch(number, batches, tally):
        if number == 3:
            taken.append((weights(model), list(copies(model))))

    train(model, make_examples(tokens=True), None, settings(epochs=2), on_batch=on_batch)
    assert len(taken) == 2
    for wanted, found in taken:
        assert len(found) == 6
        for one in found:
            assert one.keys() == wanted.keys()
            assert same(wanted, one)


def test_weights_loaded_while_training_count():
    """Put into the model in place, they are what the next step starts from."""
    fresh = make_model(seed=5).state_dict()
    model, seen = make_model(), []

    def on_batch(number, batches, tally):
        if number < batches:
            model.load_state_dict(fresh)
        seen.append(weights(model))

    train(model, make_examples(), None, settings(epochs=1), on_batch=on_batch)
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
        train(model, make_examples(), None, QUICK, on_batch=lambda *_: move(model))


FREEZES = {
    "embedding": ["embedding.weight"],
    "recurrent": [f"recurrent.{k}_l0" for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")],
    "output": ["output.weight", "output.bias"],
    "one bias": ["recurrent.bias_ih_l0"],
    "all biases": ["recurrent.bias_ih_l0", "recurrent.bias_hh_l0", "output.bias"],
}


def frozen(names, modules):
    model = make_model(tokens=True)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in names)
        if name in names:
            parameter.grad = torch.full_like(parameter, 100.0)  # of some earlier backward pass
    return by_modules(model) if modules else model


@pytest.mark.parametrize("names", FREEZES.values(), ids=FREEZES)
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_frozen_parameters_stay_as_they_are(names, optimizer):
    """By either source; the others are trained, and clipped, as if the frozen were not there."""
    data = make_examples(tokens=True)
    chosen = settings(optimizer=optimizer, clip_norm=0.2, weight_decay=0.3)
    found, norms = [], []
    for modules in (False, True):
        model = frozen(names, modules)
        before = weights(model)
        history = train(model, data, None, chosen)
        after = weights(model)
        assert (history.gradients == ONE_CALL) == (not modules)
        for name in after:
            assert torch.equal(after[name], before[name]) == (name in names), name
        assert [p.requires_grad for p in model.parameters()] == [n not in names for n in after]
        found.append(after)
        norms.append([record.gradient_norm for record in history.epochs])
        assert_released(model)
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)
    for name in found[0]:
        assert_close(found[0][name], found[1][name], "training", name)


def test_frozen_parameters_get_no_gradient():
    model = frozen(["recurrent.weight_hh_l0"], False)
    source = gradient_source(model, QUICK)
    model.zero_grad()
    source(whole_batch(make_examples(12, tokens=True)))
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == (name == "recurrent.weight_hh_l0")
    assert all(p.requires_grad for group in source.groups for p in group)


@pytest.mark.parametrize("modules", [False, True])
def test_a_model_that_is_all_frozen_is_an_error(modules):
    model = make_model()
    if modules:
        by_modules(model)
    model.requires_grad_(False)
    with pytest.raises(SettingsError, match="requires_grad is off for every parameter"):
        train(model, make_examples(), None, QUICK)


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
        train(model, make_examples(), None, chosen, on_batch=lambda *_: replace(model))


@pytest.mark.parametrize("modules", [False, True])
@pytest.mark.parametrize("now", [False, True])
def test_freezing_while_training_is_an_error(modules, now):
    """It would have no effect: what is trained is settled at the start."""
    model = make_model()
    if modules:
        by_modules(model)
    model.output.bias.requires_grad_(not now)
    with pytest.raises(ElmanError, match="were replaced, frozen or freed while it was being"):
        train(
            model,
            make_examples(),
            None,
            QUICK,
            on_epoch=lambda record: model.output.bias.requires_grad_(now),
        )


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
            train(model, make_examples(), None, QUICK, on_batch=note, on_epoch=note)
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
        kept.append(weights(model))
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
    assert same(weights(model), kept[-1])
    assert_released(model)
