"""What is minimised, beside torch's own losses and formulas by hand, and its gradients."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from cases import make_examples, make_model, weights_of
from tolerances import assert_close
from torch.nn import functional

from elman.data.batches import Batch, Examples, make_batch
from elman.data.ragged import Ragged
from elman.errors import DataError, SettingsError, ShapeError
from elman.settings import TrainingSettings
from elman.tasks import TASKS
from elman.train import train
from elman.train.gradients import Autograd, OneCall, batch_loss, gradient_source
from elman.train.losses import Loss, check_loss
from elman.train.metrics import RunningMetrics

M, K = 13, 4
PLAIN = TrainingSettings(epochs=2, batch_size=8, token_dropout=0).resolve(False)
EVERY = [
    (task.output, name)
    for task in TASKS.values()
    if task.name == task.output
    for name in task.losses
]


def drawn(task, seed=0):
    """Outputs and target of M examples, float64."""
    generator = torch.Generator().manual_seed(seed)
    z = 2 * torch.randn(M, K, generator=generator, dtype=torch.float64)
    if task == "classification":
        return z, torch.randint(0, K, (M,), generator=generator)
    y = torch.randn(M, K, generator=generator, dtype=torch.float64)
    return z, (y > 0).double() if task == "multilabel" else y


def by_hand(loss, z, y):
    """The docstring's formulas, number by number."""
    out = []
    by_class = [1.0] * K if loss.class_weight is None else loss.class_weight.tolist()
    gamma = loss.focal_gamma if loss.name == "focal" else 0.0
    for row, target in zip(z.tolist(), y.tolist(), strict=True):
        if loss.task == "classification":
            p = math.exp(row[target]) / sum(map(math.exp, row))
            out.append(-by_class[target] * (1 - p) ** gamma * math.log(p))
            continue
        terms = []
        for k, (a, b) in enumerate(zip(row, target, strict=True)):
            if loss.task == "multilabel":
                p = 1 / (1 + math.exp(-a if b else a))
                terms.append(-(by_class[k] if b else 1) * (1 - p) ** gamma * math.log(p))
            else:
                e = abs(a - b)
                huber = e * e / 2 if e <= 1 else e - 0.5
                terms.append({"squared_error": e * e, "absolute": e, "huber": huber}[loss.name])
        out.append(sum(terms) / K)
    return torch.tensor(out, dtype=torch.float64)


@pytest.mark.parametrize(("task", "name"), EVERY)
@pytest.mark.parametrize("weighted", [False, True])
def test_every_loss_by_hand(task, name, weighted):
    z, y = drawn(task)
    by_class = torch.rand(K, dtype=torch.float64) + 0.5 if task != "regression" else None
    loss = Loss(task, name, focal_gamma=1.5, class_weight=by_class if weighted else None)
    expected = by_hand(loss, z, y)
    assert_close(loss.items(z, y), expected, "float64")
    own = torch.rand(M, dtype=torch.float64) if weighted else None
    mean, total = loss.mean(z, y, own)
    counts = torch.ones(M, dtype=torch.float64) if own is None else own
    share = by_class[y] if weighted and task == "classification" else 1.0
    assert total == pytest.approx(float((counts * share).sum()))
    assert float(mean) == pytest.approx(float((counts * expected).sum() / (counts * share).sum()))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_weighted_cross_entropy_is_torchs(smoothing):
    z, y = drawn("classification")
    by_class = torch.tensor([0.2, 1.0, 3.0, 0.5], dtype=torch.float64)
    found, total = Loss("classification", "cross_entropy", smoothing, 2.0, by_class).mean(z, y)
    assert_close(
        found, functional.cross_entropy(z, y, by_class, label_smoothing=smoothing), "float64"
    )
    assert total == pytest.approx(float(by_class[y].sum()))


def test_binary_cross_entropy_is_torchs():
    z, y = drawn("multilabel")
    by_label = torch.tensor([0.2, 1.0, 3.0, 0.5], dtype=torch.float64)
    found, _ = Loss("multilabel", "cross_entropy", class_weight=by_label).mean(z, y)
    expected = functional.binary_cross_entropy_with_logits(z, y, pos_weight=by_label)
    assert_close(found, expected, "float64")
    smooth, _ = Loss("multilabel", "cross_entropy", label_smoothing=0.2).mean(z, y)
    expected = functional.binary_cross_entropy_with_logits(z, y * 0.8 + 0.1)
    assert_close(smooth, expected, "float64")


@pytest.mark.parametrize(("task", "name"), EVERY)
def test_gradients_are_those_of_finite_differences(task, name):
    z, y = drawn(task)
    loss = Loss(task, name, focal_gamma=0.5)
    weight = torch.rand(M, dtype=torch.float64)
    z.requires_grad_()
    assert torch.autograd.gradcheck(lambda out: loss.mean(out, y, weight)[0], (z,))


@pytest.mark.parametrize("task", ["classification", "multilabel"])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_of_what_is_certain_has_a_finite_gradient(task, gamma):
    z = torch.tensor([[80.0, -80.0], [-80.0, 80.0]], requires_grad=True)
    y = torch.tensor([0, 0]) if task == "classification" else torch.tensor([[1.0, 0.0]] * 2)
    Loss(task, "focal", focal_gamma=gamma).mean(z, y)[0].backward()
    assert torch.isfinite(z.grad).all()
    assert z.grad[0].abs().max() < 1e-3 < z.grad[1].abs().min()


def test_focal_with_gamma_0_is_cross_entropy():
    for task in ("classification", "multilabel"):
        z, y = drawn(task)
        one = Loss(task, "focal", focal_gamma=0.0).items(z, y)
        assert_close(one, Loss(task, "cross_entropy").items(z, y), "float64")


def values(data, width=2, seed=0):
    """The same sequences with numbers to predict: their channels' means, or running means."""
    rng = np.random.default_rng(seed)
    steps = data.inputs.values[:, :1] @ rng.normal(size=(1, width)).astype(np.float32)
    unit = np.array([2.0, 0.5])[:width]
    if isinstance(data.target, Ragged):
        return Examples(data.inputs, data.inputs.with_values(steps), unit=unit)
    means = np.add.reduceat(steps, data.inputs.offsets[:-1]) / data.inputs.lengths[:, None]
    return Examples(data.inputs, means.astype(np.float32), unit=unit)


@pytest.mark.parametrize("readout", ["last", "every"])
@pytest.mark.parametrize("weighted", [False, True])
def test_native_and_autograd_agree_on_weights_and_values(readout, weighted):
    """Class weights, and squared error of values, go into the native call; the rest does not."""
    data = make_examples(12, per_step=readout == "every")
    cases = [
        ({}, data, Loss("classification", "cross_entropy", 0.1, 2.0, torch.tensor([1, 5, 0.3]))),
        (
            {"task": "regression", "num_outputs": 2},
            values(data),
            Loss("regression", "squared_error"),
        ),
    ]
    for options, examples, loss in cases:
        batch = make_batch(examples, np.arange(12))
        if weighted:
            shape = batch.lengths.shape if readout == "last" else batch.x.shape[:2]
            batch = dataclasses.replace(batch, weight=torch.rand(shape))
        model = make_model("lstm", readout, **options)
        source = gradient_source(model, PLAIN, loss, weighted=weighted)
        assert type(source) is (Autograd if weighted else OneCall)
        found = source(batch)
        grads = [p.grad.clone() for p in model.parameters()]
        judge = make_model("lstm", readout, **options).double()
        wide = dataclasses.replace(batch, x=batch.x.double())
        mean, outputs, target, weight = batch_loss(judge, wide, loss)
        mean.backward()
        assert found[0] == pytest.approx(float(mean.detach()), rel=1e-5)
        assert found[3] == pytest.approx(weight, rel=1e-6)
        assert_close(found[1].detach(), outputs.detach(), "float32")
        assert torch.equal(found[2], target)
        for one, other in zip(grads, judge.parameters(), strict=True):
            assert_close(one, other.grad, "float32")


def test_padding_takes_no_part_in_any_loss():
    """Whatever stands past the ends in input, target or weight."""
    data = values(make_examples(9, per_step=True))
    batch = make_batch(data, np.arange(9))
    weight = torch.rand(batch.x.shape[:2])
    outside = torch.arange(batch.x.shape[1]) >= batch.lengths[:, None]
    model = make_model("gru", "every", task="regression", num_outputs=2)
    for name in TASKS["regression"].losses:
        found = []
        for junk in (0.0, 1e9, float("nan")):
            x, target, own = batch.x.clone(), batch.target.clone(), weight.clone()
            x[outside] = target[outside] = own[outside] = junk
            spoilt = Batch(x, batch.lengths, target, own)
            found.append(float(batch_loss(model, spoilt, Loss("regression", name))[0].detach()))
        assert found[0] == found[1] == found[2]


def test_a_weight_of_two_is_the_sequence_twice():
    data = make_examples(8)
    twice = np.array([0, 1, 2, 3, 4, 5, 6, 7, 2, 5])
    weight = np.ones(8, np.float32)
    weight[[2, 5]] = 2
    found = []
    for examples in (
        Examples(data.inputs.take(twice), data.target[twice]),
        Examples(data.inputs, data.target, weight),
    ):
        model = make_model()
        settings = dataclasses.replace(PLAIN, batch_size="full", epochs=4, optimizer="sgd")
        history = train(model, examples, examples, settings)
        found.append((weights_of(model), [e.validation_loss for e in history.epochs]))
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-5)
    for name in found[0][0]:
        assert_close(found[0][0][name], found[1][0][name], "training", name)


def test_the_epochs_loss_is_the_weighted_mean_of_all():
    data = make_examples(30)
    weight = np.random.default_rng(0).random(30).astype(np.float32)
    examples = Examples(data.inputs, data.target, weight)
    model = make_model()
    by_class = np.array([1.0, 4.0, 1.0])
    settings = dataclasses.replace(PLAIN, class_weight="balanced", epochs=1)
    history = train(model, examples, examples, settings, class_weight=by_class)
    logits = model(*(lambda b: (b.x, b.lengths))(make_batch(data, np.arange(30)))).detach()
    target = torch.from_numpy(data.target)
    each = functional.cross_entropy(
        logits, target, torch.tensor(by_class).float(), reduction="none"
    )
    total = torch.from_numpy(weight) * torch.tensor(by_class)[target]
    expected = float((torch.from_numpy(weight) * each).sum() / total.sum())
    assert history.epochs[0].validation_loss == pytest.approx(expected, rel=1e-5)


def test_values_are_learnt_and_told_in_their_unit():
    data = values(make_examples(60))
    model = make_model(task="regression", num_outputs=2)
    settings = dataclasses.replace(PLAIN, epochs=30, learning_rate=0.02)
    history = train(model, data, data, settings)
    assert history.gradients.startswith("gradients by one native call")
    last = history.epochs[-1]
    assert last.accuracy is None and last.validation_accuracy is None
    assert last.validation_loss < 0.3 * history.epochs[0].validation_loss
    batch = make_batch(data, np.arange(60))
    errors = (model(batch.x, batch.lengths).detach() - batch.target).double().numpy()
    rmse = (np.sqrt((errors**2).mean(0)) * data.unit).mean()
    assert last.validation_rmse == pytest.approx(rmse, rel=1e-6)
    assert set(last.to_dict()) >= {"rmse", "validation_rmse"}
    assert "accuracy" not in last.to_dict()


def test_labels_are_learnt():
    data = make_examples(60)
    both = np.stack([data.target, 1 - data.target], 1).astype(np.float32)
    model = make_model(task="multilabel", num_outputs=2)
    settings = dataclasses.replace(PLAIN, epochs=30, learning_rate=0.02)
    examples = Examples(data.inputs, both)
    history = train(model, examples, examples, settings)
    assert history.gradients == "gradients by autograd: the loss is binary cross-entropy"
    last = history.epochs[-1]
    batch = make_batch(examples, np.arange(60))
    right = ((model(batch.x, batch.lengths) > 0) == (batch.target > 0)).all(1).float().mean()
    assert last.validation_accuracy == pytest.approx(float(right))
    assert last.validation_accuracy > 0.8
    assert "rmse" not in last.to_dict()


def test_running_metrics_of_values_are_the_mean_of_the_outputs_errors():
    z, y = drawn("regression")
    unit = np.array([1.0, 2.0, 3.0, 4.0])
    metrics = RunningMetrics(unit=unit)
    for at in (slice(0, 5), slice(5, M)):
        metrics.add(0.5, z[at], y[at])
    expected = (((z - y) ** 2).mean(0).sqrt().numpy() * unit).mean()
    assert metrics.rmse == pytest.approx(expected)
    assert metrics.accuracy is None


NUMBERS = [[0.5, 1.0]] * 3
REFUSED = [
    ({"loss": "squared_error"}, "classification", "loss: got 'squared_error', expected 'auto'"),
    (
        {"loss": "focal"},
        "regression",
        "loss: got 'focal', expected 'auto' or one of 'squared_error'",
    ),
    ({"label_smoothing": 0.1}, "regression", "label_smoothing: got 0.1, but numbers are predicted"),
    ({"class_weight": "balanced"}, "regression", "class_weight: got 'balanced', but numbers are"),
]


@pytest.mark.parametrize(("given", "task", "message"), REFUSED)
def test_what_the_task_does_not_have_is_refused(given, task, message):
    with pytest.raises(SettingsError, match=message):
        check_loss(task, TrainingSettings(**given))


@pytest.mark.parametrize("given", [{"focal_gamma": 1.0}, {"loss": "focal", "label_smoothing": 0.1}])
def test_settings_of_a_loss_that_is_not_asked_for(given):
    with pytest.raises(SettingsError, match="loss"):
        TrainingSettings(**given)


def test_class_weights_need_both_the_setting_and_its_numbers():
    with pytest.raises(SettingsError, match="class_weight: expected both"):
        train(make_model(), make_examples(), None, PLAIN, class_weight=np.ones(3))


def spoilt(task, target, weight=None, unit=None, per_step=False):
    data = make_examples(3, per_step=per_step)
    options = {} if task == "classification" else {"task": task, "num_outputs": 2}
    model = make_model("gru", "every" if per_step else "last", **options)
    target = data.target if target is None else np.array(target, dtype=np.float32)
    return model, Examples(data.inputs, target, weight, unit)


BAD = [
    (("regression", NUMBERS), ShapeError, "unit: expected the value of 1"),
    (("multilabel", NUMBERS), DataError, "labels: expected 1 where a label is set, else 0"),
    (("regression", [[0.5]] * 3, None, np.ones(2)), ShapeError, r"expected floats \(N, 2\)"),
    (("regression", [[np.nan, 1]] * 3, None, np.ones(2)), DataError, "not finite"),
    (("classification", None, np.array([1.0, -1.0, 1.0])), DataError, "finite numbers from 0"),
    (("classification", None, np.array([1.0, 0.0, 1.0])), DataError, "above 0 in every sequence"),
    (("classification", None, np.ones(2)), ShapeError, "got 2 weights for 3 sequences"),
    (("classification", None, np.ones(3), None, True), ShapeError, "expected one a step"),
    (("classification", None, None, np.ones(1)), ShapeError, "unit: expected the value of 1"),
]


@pytest.mark.parametrize(("given", "kind", "message"), BAD)
def test_targets_and_weights_that_do_not_go_with_the_model(given, kind, message):
    model, data = spoilt(*given)
    with pytest.raises(kind, match=message):
        train(model, data, None, PLAIN)
