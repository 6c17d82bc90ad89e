"""The second part of the table of broken networks: settings, and a label at every step."""

import copy

import numpy as np
import torch
from broken_networks import broken, classified, fit, pulses
from doctor_cases import signs, sums, waves

from elman import SequenceClassifier, SequenceRegressor, SequenceTagger

# --- settings


@broken("learning_rate_too_high", remedy="Try", sampled=True)
def learning_rate_3():
    X, y = waves(80)
    return classified(X, y, waves(60, seed=1), learning_rate=3.0)


@broken("learning_rate_too_low", "too_few_updates", remedy="learning rate of", sampled=True)
def learning_rate_1e_7():
    X, y = waves(80)
    return classified(X, y, waves(60, seed=1), learning_rate=1e-7)


@broken("too_few_updates", "learning_rate_too_low", remedy="epochs", sampled=True)
def three_epochs_at_1e_4():
    X, y = waves(100)
    return classified(X, y, waves(60, seed=1), learning_rate=1e-4, epochs=3)


@broken("stopped_too_early", "too_few_updates", remedy="Train", sampled=False)
def two_epochs():
    X, y = waves(100)
    return classified(X, y, waves(60, seed=1), epochs=2, batch_size="full")


@broken("strong_regularisation", remedy="dropout")
def dropout_95():
    X, y = waves(80)
    return classified(X, y, waves(60, seed=1), dropout=0.95, num_layers=2, hidden_size=6)


@broken("strong_regularisation", remedy="weight_decay")
def weight_decay_300():
    X, y = waves(80)
    return classified(X, y, waves(60, seed=1), weight_decay=300.0)


@broken("strong_regularisation", remedy="noise")
def noise_of_50():
    X, y = waves(80)
    return classified(X, y, waves(60, seed=1), noise=50.0, epochs=10)


@broken("frozen_weights", "zero_weights", remedy="requires_grad")
def frozen_weights():
    X, y = waves(80)
    model = fit(SequenceClassifier, X, y, epochs=1, learning_rate=1e-5)
    for parameter in model.model_.parameters():
        parameter.requires_grad_(False)
    return model, X, y, waves(60, seed=1)


@broken("zero_weights", remedy="new weights", sampled=True)
def weights_of_zero():
    X, y = waves(80)
    model = copy.deepcopy(fit(SequenceClassifier, X, y, epochs=3))
    with torch.no_grad():
        model.model_.recurrent.weight_ih_l0.zero_()
        if hasattr(model.model_.recurrent, "weight_ih_l0_reverse"):
            model.model_.recurrent.weight_ih_l0_reverse.zero_()
    return model, X, y, waves(60, seed=1)


@broken("not_finite", remedy="lower learning rate")
def weights_that_are_not_finite():
    X, y = waves(80)
    model = fit(SequenceClassifier, X, y, epochs=3)
    with torch.no_grad():
        model.model_.recurrent.weight_hh_l0[0, 0] = torch.nan
    return model, X, y, waves(60, seed=1)


@broken("too_few_units", remedy="hidden_size")
def one_unit():
    rng = np.random.default_rng(0)

    def draw(n):
        X = [rng.normal(size=(12, 4)) for _ in range(n)]
        for x in X:
            x += rng.choice([-1, 1], 4) * 0.9
        return X, ["".join("+" if m > 0 else "-" for m in x[:, :3].mean(0)) for x in X]

    return classified(*draw(200), draw(100), hidden_size=1, bidirectional=False)


@broken("overfitting", "stopped_too_early", remedy="")
def too_many_epochs():
    rng = np.random.default_rng(0)

    def draw(n):
        X = [rng.normal(size=(15, 6)) for _ in range(n)]
        return X, ["up" if x[:, 0].mean() + rng.normal(0, 0.25) > 0 else "down" for x in X]

    return classified(*draw(60), draw(150), epochs=150, hidden_size=48, noise=0, dropout=0.0,
                      weight_decay=0.0)  # fmt: skip


@broken("vanishing_gradients", "learnt_nothing", "no_signal", remedy="")
def simple_network_for_a_long_dependency():
    rng = np.random.default_rng(0)

    def draw(n):
        X = [rng.normal(size=(150, 1)) for _ in range(n)]
        return X, ["up" if x[0, 0] > 0 else "down" for x in X]

    return classified(*draw(100), draw(80), cell="rnn", bidirectional=False, readout="last",
                      epochs=15)  # fmt: skip


# --- a label at every step


@broken("shifted_tags", "held_out_labels_shifted", remedy="step")
def tags_one_step_late():
    rng = np.random.default_rng(0)

    def draw(n):
        X = ["".join(rng.choice(list("abcdef"), 12)) for _ in range(n)]
        return X, [["vowel" if c in "ae" else "other" for c in [*w[1:], "b"]] for w in X]

    X, y = draw(80)
    return fit(SequenceTagger, X, y, bidirectional=False), X, y, draw(60)


@broken("held_out_labels_shifted", remedy="Move the labels by 1 step", sampled=True)
def held_out_tags_one_step_late():
    rng = np.random.default_rng(0)

    def draw(n):
        X = ["".join(rng.choice(list("abcdef"), 12)) for _ in range(n)]
        return X, [["vowel" if c in "ae" else "other" for c in w] for w in X]

    X, y = draw(80)
    new, tags = draw(60)
    return fit(SequenceTagger, X, y, epochs=10), X, y, (new, [["other", *t[:-1]] for t in tags])


@broken("no_signal", remedy="belongs to its sequence")
def tags_of_other_sequences():
    X, y = signs(60)
    rng = np.random.default_rng(0)
    y = [list(rng.choice(["up", "down"], len(tags))) for tags in y]
    new, tags = signs(60, seed=1)
    tags = [list(rng.choice(["up", "down"], len(t))) for t in tags]
    return fit(SequenceTagger, X, y, epochs=25), X, y, (new, tags)


@broken("shifted_channels", "exchanged_channels", "reversed_steps", remedy="")
def regression_with_moved_values():
    X, y = sums(100)
    new, values = sums(60, seed=1)
    return fit(SequenceRegressor, X, y, epochs=40), X, y, ([x + 30 for x in new], values)


@broken("other_targets", remedy="unit")
def regression_in_another_unit():
    X, y = sums(100)
    new, values = sums(60, seed=1)
    return fit(SequenceRegressor, X, y, epochs=40), X, y, (new, [1000 * v for v in values])


@broken("held_out_shift", remedy="source")
def channel_without_values_later():
    def draw(n, seed, share):
        rng = np.random.default_rng(seed)
        X, y = pulses(n, seed)
        for x in X:
            x[rng.random(len(x)) < share, 0] = np.nan
        return X, y

    return classified(*draw(120, 0, 0.05), draw(80, 1, 1.0))


@broken("exchanged_channels", remedy="order")
def regression_with_exchanged_channels():
    X, y = sums(100)
    rng = np.random.default_rng(3)
    X = [np.column_stack([x[:, 0], rng.normal(size=10)]) for x in X]
    new, values = sums(60, seed=1)
    new = [np.column_stack([rng.normal(size=10), x[:, 0]]) for x in new]
    return fit(SequenceRegressor, X, y, epochs=40), X, y, (new, values)
