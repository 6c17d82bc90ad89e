"""Where gradients come from: the choice and its reason, and that both sources train alike."""

import dataclasses
import math

import pytest
import torch
from cases import Hook, assert_released, by_modules, make_examples, make_model, weights_of
from tolerances import assert_close

from elman import _core
from elman.data.batches import make_batch
from elman.errors import ElmanError, SettingsError
from elman.models import SequenceModel
from elman.settings import TrainingSettings
from elman.train import train
from elman.train.gradients import Autograd, OneCall, gradient_source

QUICK = TrainingSettings(epochs=3, batch_size=8, token_dropout=0, learning_rate=0.02).resolve(False)
ONE_CALL = f"gradients by one native call a batch ({_core.isa()})"


class Child(SequenceModel):
    pass


def settings(**changes):
    return dataclasses.replace(QUICK, **changes)


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
        progress=Hook(told.append, lambda *_: told.append("batch")),
    )
    wanted = "gradients by autograd: a module has hooks or a parametrization"
    assert history.gradients == (wanted if modules else ONE_CALL)
    assert told[0] == f"{history.gradients}\n{history.determinism}"
    assert set(told[1:]) == {"batch"}


def test_hooks_and_subclasses_take_part_in_training():
    """What is in the way of the native call is not left out: it does its work."""
    data, seen = make_examples(), []
    model = make_model()
    model.recurrent.register_forward_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    model.output.bias.register_hook(lambda gradient: gradient * 0)
    before = weights_of(model)
    train(model, data, None, settings(epochs=1, optimizer="sgd"))
    assert seen == [True] * 5
    after = weights_of(model)
    assert torch.equal(after["output.bias"], before["output.bias"])
    assert not torch.equal(after["output.weight"], before["output.weight"])


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("kind", [{}, {"tokens": True}, {"mixed": True}], ids=str)
@pytest.mark.parametrize("readout", ["last", "every"])
def test_both_sources_train_alike(readout, kind, optimizer):
    data = make_examples(**kind, per_step=readout == "every")
    chosen = settings(optimizer=optimizer, label_smoothing=0.1, clip_norm=0.5, epochs=2)
    models, histories = [], []
    for modules in (False, True):
        model = make_model("lstm", readout, **kind, bidirectional=True)
        models.append(by_modules(model) if modules else model)
        histories.append(train(models[-1], data, data, dataclasses.replace(chosen, keep="last")))
    for one, other in zip(*(history.epochs for history in histories), strict=True):
        for name in ("loss", "validation_loss", "gradient_norm"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-4)
        assert one.accuracy == other.accuracy
    one, other = map(weights_of, models)
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
        found.append(weights_of(model))
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


LATER = [
    (lambda m: m.register_forward_hook(lambda *_: None), "a module has hooks or a parametrization"),
    (lambda m: m.output.bias.register_hook(lambda g: g), "a parameter has hooks"),
    (
        lambda m: setattr(m.recurrent, "dropout", 0.5),
        "a module is not the one that the config",
    ),
]


@pytest.mark.parametrize(("change", "why"), LATER, ids=[why for _, why in LATER])
def test_what_comes_in_the_way_while_training_is_an_error(change, why):
    """Native calls would pass it by; in a training by autograd it takes part from then on."""
    message = f"{why}.*this changed while the model was being trained"
    with pytest.raises(ElmanError, match=message):
        model = make_model()
        train(model, make_examples(), None, QUICK, on_epoch=lambda record: change(model))
    model = by_modules(make_model())
    train(model, make_examples(), None, QUICK, on_epoch=lambda record: change(model))


def test_what_a_callback_undoes_does_not_count():
    """A hook to look at the states with, say, as long as it is gone before the next batch."""
    model, seen = make_model(), []

    def look(record):
        hook = model.recurrent.register_forward_hook(lambda *given: seen.append(given[2][0].shape))
        model(torch.zeros(1, 5, 2))
        hook.remove()

    history = train(model, make_examples(), None, QUICK, on_epoch=look)
    assert history.gradients == ONE_CALL
    assert seen == [(1, 5, 6)] * 3


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
        before = weights_of(model)
        history = train(model, data, None, chosen)
        after = weights_of(model)
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
