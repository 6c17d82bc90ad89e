"""What one step of training does to the weights, beside torch's own optimisers in a plain loop."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from cases import CHANNELS, CLASSES, VOCABULARY, make_examples, make_model
from tolerances import assert_close
from torch import nn
from torch.nn import functional
from torch.optim.optimizer import register_optimizer_step_pre_hook

from elman.data.batches import Batch, Examples, make_batch
from elman.data.ragged import Ragged
from elman.models import ModelConfig, SequenceModel
from elman.settings import TrainingSettings
from elman.train import train
from elman.train.examples import unknown_probabilities
from elman.train.gradients import batch_loss, decay_groups
from elman.train.losses import Loss
from elman.train.metrics import RunningMetrics
from elman.train.optimizer import FusedAdam, learning_rate, make_optimizer

PLAIN = TrainingSettings(
    epochs=3,
    batch_size="full",
    learning_rate=0.05,
    schedule="constant",
    warmup=0.0,
    clip_norm=0.0,
    weight_decay=0.0,
    token_dropout=0.0,
)


def plain(**changes):
    return dataclasses.replace(PLAIN, **changes)


def by_hand(model, data, steps, optimizer, **loss_options):
    """A plain torch loop over all sequences at once; the losses before each step."""
    losses = []
    batch = make_batch(data, np.arange(len(data)))
    for _ in range(steps):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(batch.x, batch.lengths), batch.target, **loss_options)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("tokens", [False, True], ids=["numbers", "tokens"])
@pytest.mark.parametrize("decay", [0.0, 0.4])
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("sgd", lambda groups: torch.optim.SGD(groups, lr=0.05, momentum=0.9)),
        ("adam", lambda groups: torch.optim.Adam(groups, lr=0.05)),
        ("adamw", lambda groups: torch.optim.AdamW(groups, lr=0.05)),
    ],
)
def test_optimisers_are_torchs(name, make, decay, tokens):
    """Three steps with and without decay, which leaves biases and embeddings out."""
    data = make_examples(12, tokens=tokens)
    ours, theirs = make_model(tokens=tokens), make_model(tokens=tokens)
    history = train(ours, data, None, plain(optimizer=name, weight_decay=decay))
    matrices = {"recurrent.weight_ih_l0", "recurrent.weight_hh_l0", "output.weight"}
    named = dict(theirs.named_parameters())
    assert matrices < set(named)
    groups = [
        {"params": [named[n] for n in sorted(matrices)], "weight_decay": decay},
        {"params": [p for n, p in named.items() if n not in matrices], "weight_decay": 0.0},
    ]
    losses = by_hand(theirs, data, 3, make(groups))
    assert [r.loss for r in history.epochs] == pytest.approx(losses, rel=1e-5)
    for parameter, (what, wanted) in zip(ours.parameters(), named.items(), strict=True):
        assert_close(parameter.detach(), wanted.detach(), "training", what)


@pytest.mark.parametrize("decoupled", [False, True], ids=["adam", "adamw"])
@pytest.mark.parametrize("decay", [0.0, 0.4])
def test_adam_is_torchs_to_the_last_bit(decay, decoupled):
    """Two groups, a parameter without gradient, a changing rate, a state handed over."""

    def start(kind):
        generator = torch.Generator().manual_seed(3)
        shapes = [(33, 7), (5,), (4, 2), (9,)]
        parameters = [torch.randn(s, generator=generator, requires_grad=True) for s in shapes]
        groups = [
            {"params": parameters[:2], "weight_decay": decay},
            {"params": parameters[2:], "weight_decay": 0.0},
        ]
        options = {"fused": True, "decoupled_weight_decay": decoupled}
        return parameters, kind(groups, lr=0.1, **options)

    def go_on(parameters, optimizer, steps):
        generator = torch.Generator().manual_seed(4)
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = 0.1 / (step + 1)
            for i, parameter in enumerate(parameters):
                gradient = torch.randn(parameter.shape, generator=generator)
                parameter.grad = None if i == 2 or (i == 3 and not step) else gradient
            optimizer.step()

    ours, mine = start(FusedAdam)
    theirs, torchs = start(torch.optim.Adam)
    go_on(ours, mine, 5)
    go_on(theirs, torchs, 5)
    assert all(map(torch.equal, ours, theirs))
    mine.load_state_dict(torchs.state_dict())  # and the other way round
    torchs.load_state_dict(copy.deepcopy(mine.state_dict()))
    go_on(ours, mine, 2)
    go_on(theirs, torchs, 2)
    assert all(map(torch.equal, ours, theirs))
    with pytest.raises(TypeError, match="closure"):
        mine.step(lambda: 1.0)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_decay_pulls_at_matrices_alone(name):
    """Every parameter is in one group, biases and embeddings in the one without decay."""
    model = make_model("lstm", tokens=True, bidirectional=True, num_layers=2)
    chosen = plain(optimizer=name, weight_decay=None).resolve(True)
    optimizer = make_optimizer(decay_groups(model, chosen), chosen)
    names = {p: n for n, p in model.named_parameters()}
    groups = [{names[p] for p in group["params"]} for group in optimizer.param_groups]
    assert set().union(*groups) == set(names.values())
    decays = [group["weight_decay"] for group in optimizer.param_groups]
    if name == "adamw":
        decayed, free = groups
        assert not decayed & free
        assert {n for n in names.values() if "bias" in n or n.startswith("embedding")} == free
        assert decays == [0.3, 0.0]
    else:  # no decay, and so no reason for a second group
        assert decays == [0.0]


def test_decay_alone_shrinks_matrices_and_nothing_else():
    """With a learning rate but next to no gradient, adamw leaves biases and embeddings alone."""
    model = make_model(tokens=True)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    chosen = plain(optimizer="adamw", weight_decay=0.5).resolve(True)
    optimizer = make_optimizer(decay_groups(model, chosen), chosen)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        matrix = "weight" in name and not name.startswith("embedding")
        wanted = before[name] * (1 - 0.05 * 0.5 if matrix else 1)
        assert_close(parameter.detach(), wanted, "training", name)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_recipe_of_a_plain_torch_loop(cell):
    """torch.nn layers, Adam and a full batch, seeded alike: the same losses, epoch by epoch."""
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(24, 7, CHANNELS)).astype(np.float32)
    codes = rng.integers(0, CLASSES, 24)
    data = Examples(Ragged.from_list(list(rows)), codes)
    config = ModelConfig(
        cell=cell,
        num_outputs=CLASSES,
        input_size=CHANNELS,
        hidden_size=10,
        readout="last",
        bidirectional=False,
        initialization="torch",
    )
    torch.manual_seed(5)
    ours = SequenceModel(config)
    torch.manual_seed(5)
    kind = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[cell]
    recurrent, output = kind(CHANNELS, 10, batch_first=True), nn.Linear(10, CLASSES)

    history = train(ours, data, None, plain(optimizer="adam", epochs=5, learning_rate=0.01))
    optimizer = torch.optim.Adam([*recurrent.parameters(), *output.parameters()], lr=0.01)
    x, target = torch.from_numpy(rows), torch.from_numpy(codes)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        y, _ = recurrent(x)
        loss = functional.cross_entropy(output(y[:, -1]), target)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    found = torch.tensor([r.loss for r in history.epochs])
    assert_close(found, torch.tensor(losses), "training")
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_label_smoothing_is_torchs_and_not_for_validation(smoothing):
    data = make_examples(12)
    ours, theirs = make_model(), make_model()
    history = train(
        ours, data, data, plain(optimizer="adam", label_smoothing=smoothing, keep="last")
    )
    losses = by_hand(
        theirs, data, 3, torch.optim.Adam(theirs.parameters(), lr=0.05), label_smoothing=smoothing
    )
    assert [r.loss for r in history.epochs] == pytest.approx(losses, rel=1e-5)
    batch = make_batch(data, np.arange(12))
    unsmoothed = functional.cross_entropy(theirs(batch.x, batch.lengths), batch.target)
    assert history.epochs[-1].validation_loss == pytest.approx(float(unsmoothed.detach()), rel=1e-4)


def applied_norms(run):
    """Norm of the gradient as each optimiser step saw it, while `run` runs."""
    norms = []

    def note(optimizer, *_):
        assert 1 <= len(optimizer.param_groups) <= 2
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
        norms.append(math.sqrt(sum(float((g.double() ** 2).sum()) for g in gradients)))

    hook = register_optimizer_step_pre_hook(note)
    try:
        run()
    finally:
        hook.remove()
    return norms


def test_clipping_limits_the_gradient_that_is_applied():
    data = make_examples()
    limit = 0.05
    histories = []
    norms = applied_norms(
        lambda: histories.append(
            train(make_model(), data, None, plain(batch_size=8, clip_norm=limit))
        )
    )
    assert len(norms) == 15
    assert max(norms) <= limit * (1 + 1e-5)
    # What is recorded is the gradient's own norm, before it was cut.
    assert all(r.gradient_norm > 2 * limit for r in histories[0].epochs)


def test_clipping_leaves_short_gradients_alone():
    data = make_examples()
    free = applied_norms(lambda: train(make_model(), data, None, plain()))
    wide = applied_norms(lambda: train(make_model(), data, None, plain(clip_norm=1e3)))
    assert free == wide
    assert max(free) < 1e3


def test_clip_norm_0_is_no_limit():
    data = make_examples()
    data.inputs.values[:] *= 100
    model = make_model("rnn", nonlinearity="relu")
    histories = []
    norms = applied_norms(
        lambda: histories.append(train(model, data, None, plain(epochs=1, learning_rate=1e-9)))
    )
    assert norms[0] > 10
    assert histories[0].epochs[0].gradient_norm == pytest.approx(norms[0], rel=1e-5)


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
@pytest.mark.parametrize(("warmup", "steps"), [(0.0, 10), (0.1, 100), (0.05, 7), (0.9, 10)])
def test_schedule(schedule, warmup, steps):
    chosen = plain(schedule=schedule, warmup=warmup, learning_rate=0.5)
    rates = [learning_rate(chosen, step, steps) for step in range(steps)]
    rising = math.ceil(warmup * steps)
    assert all(0 < rate <= 0.5 for rate in rates)
    if rising:  # equal strides from zero
        strides = np.diff([0.0, *rates[:rising]])
        assert strides == pytest.approx([strides[0]] * rising)
        assert rates[rising - 1] + strides[0] >= 0.5
    after = rates[rising:]
    if schedule == "constant":
        assert after == [0.5] * len(after)
    else:
        assert after == sorted(after, reverse=True)
        assert after[0] == pytest.approx(0.5, rel=0.25 if warmup * steps < 1 else 0.05)
        length = steps - warmup * steps
        assert rates[-1] == pytest.approx(0.25 * (1 - math.cos(math.pi / length)), rel=1e-6)


def test_cosine_ends_near_zero_and_is_half_way_at_half_time():
    chosen = plain(schedule="cosine", warmup=0.0, learning_rate=2.0)
    assert learning_rate(chosen, 0, 1000) == 2.0
    assert learning_rate(chosen, 500, 1000) == pytest.approx(1.0)
    assert learning_rate(chosen, 999, 1000) < 1e-5


def test_the_schedule_reaches_the_optimiser():
    """Each step is taken at the rate of the schedule, over all steps of all epochs."""
    chosen = plain(batch_size=8, schedule="cosine", warmup=0.2, epochs=4)
    rates = []
    hook = register_optimizer_step_pre_hook(
        lambda optimizer, *_: rates.append({g["lr"] for g in optimizer.param_groups})
    )
    try:
        history = train(make_model(), make_examples(20), None, chosen)
    finally:
        hook.remove()
    assert rates == [{learning_rate(chosen, step, 12)} for step in range(12)]
    assert [{r.learning_rate} for r in history.epochs] == rates[2::3]


def test_token_dropout_has_the_stated_chance():
    """alpha / (alpha + count), by token; padding and unknown never; nothing in validation."""
    rng = np.random.default_rng(0)
    share = np.array([0.5, 0.3, 0.15, 0.04, 0.01])
    rows = [rng.choice(np.arange(2, 7), rng.integers(1, 30), p=share) for _ in range(200)]
    rows.append(np.array([1, 1, 2]))  # an id of unknown in the data stays what it is
    data = Examples(Ragged.from_list(rows), rng.integers(0, 2, len(rows)))
    counts = np.bincount(data.inputs.values, minlength=VOCABULARY)
    model = make_model(tokens=True)
    read = {True: np.zeros(VOCABULARY), False: np.zeros(VOCABULARY)}

    def note(module, arguments):
        x, lengths = arguments
        inside = torch.arange(x.shape[1]) < lengths[:, None]
        assert (x[~inside] == 0).all()
        read[module.training] += np.bincount(x[inside].numpy(), minlength=VOCABULARY)

    model.register_forward_pre_hook(note)
    epochs, alpha = 40, 20.0
    chosen = plain(
        epochs=epochs, token_dropout=alpha, batch_size=64, learning_rate=1e-9, patience=0
    )
    train(model, data, data, chosen)
    assert (read[False] == counts * epochs).all()
    for token in range(2, 7):
        n = counts[token] * epochs
        chance = alpha / (alpha + counts[token])
        dropped = n - read[True][token]
        assert abs(dropped - chance * n) < 5 * math.sqrt(n * chance * (1 - chance))
    assert read[True].sum() == counts.sum() * epochs
    assert read[True][0] == 0


def test_no_token_dropout():
    tokens, numbers = make_examples(tokens=True), make_examples()
    assert unknown_probabilities(tokens, 0.0, 0) == []
    assert unknown_probabilities(numbers, 0.25, numbers.inputs.values.shape[1]) == []
    (chances,) = unknown_probabilities(tokens, 0.25, 0)
    assert (chances[:2] == 0).all()
    counts = np.bincount(tokens.inputs.values)
    assert chances[2:].tolist() == [0.25 / (0.25 + count) for count in counts[2:]]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_batch_loss_per_step_against_a_loop(smoothing):
    """Steps past the ends take no part, whatever stands there in input or target."""
    data = make_examples(9, per_step=True)
    model = make_model("gru", "every").double()
    batch = make_batch(data, np.arange(9))
    x = batch.x.double()
    outside = torch.arange(x.shape[1]) >= batch.lengths[:, None]
    x[outside] = float("nan")
    target = batch.target.masked_fill(outside, 10**6)
    loss, logits, codes, counted = batch_loss(
        model, Batch(x, batch.lengths, target), Loss("classification", "cross_entropy", smoothing)
    )
    metrics = RunningMetrics()
    metrics.add(loss.detach(), logits, codes)

    total, hits, count = 0.0, 0, 0
    for row, steps in zip(data.inputs, data.target, strict=True):
        scores = model(torch.from_numpy(row).double()[None])[0].detach()
        for at, code in zip(scores.log_softmax(-1), steps, strict=True):
            total -= float((1 - smoothing) * at[code] + smoothing * at.mean())
            hits += int(at.argmax()) == code
            count += 1
    assert count == data.inputs.lengths.sum() == metrics.count == len(codes) == counted
    assert_close(loss.detach(), torch.tensor(total / count, dtype=torch.float64), "float64")
    assert metrics.accuracy == hits / count
    assert metrics.mean_loss == pytest.approx(total / count)


@pytest.mark.parametrize("K", [2, 100])
def test_metrics_count_all_batches_whenever_it_is_asked(K):
    """Whether it counts each batch as it comes, or many at once, and in the middle of them."""
    generator = torch.Generator().manual_seed(0)
    metrics, hits, total = RunningMetrics(), 0, 0
    for number in range(300):
        logits = torch.randn(1 + number % 9, K, generator=generator)
        target = torch.randint(0, K, (len(logits),), generator=generator)
        hits += int((logits.argmax(1) == target).sum())
        total += len(logits)
        metrics.add(0.5, logits, target)
        if number % 41 == 0:
            assert metrics.accuracy == hits / total
    assert metrics.accuracy == metrics.accuracy == hits / total
    assert metrics.count == total
    assert metrics.mean_loss == pytest.approx(0.5)


def test_metrics_keep_few_numbers():
    metrics = RunningMetrics()
    for _ in range(50):
        metrics.add(0.5, torch.zeros(500, 60), torch.zeros(500, dtype=torch.int64))
        assert not metrics._pending


def test_metrics_weigh_batches_by_their_labels():
    metrics = RunningMetrics()
    logits = torch.tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]])
    metrics.add(torch.tensor(1.0), logits, torch.tensor([0, 1, 1]))
    metrics.add(torch.tensor(5.0), logits[:1], torch.tensor([0]))
    assert metrics.mean_loss == pytest.approx((3 * 1 + 5) / 4)
    assert metrics.accuracy == 3 / 4
