"""What nobody has set is chosen from the data: once, in words, and the same everywhere."""

import dataclasses

import numpy as np
import pytest

from elman import SequenceClassifier, SequenceTagger
from elman.estimators.defaults import (
    EFFORT,
    EXTENSION,
    LEAST_STEPS,
    SMALLEST_BATCH,
    DataStatistics,
    choose,
)
from elman.runs.config import merge
from elman.runs.data_splits import read_splits
from elman.runs.preparation import prepare
from elman.settings import ModelSettings, TrainingSettings

NUMBERS = DataStatistics(100, 20.0, 3, 0, 0, 4, False)
TOKENS = DataStatistics(100, 20.0, 0, 0, 50, 4, True)
STATIC = dataclasses.replace(NUMBERS, static=2)
OPEN_MODEL = [f.name for f in dataclasses.fields(ModelSettings) if f.default in (None, "auto")]
OPEN_TRAINING = [
    f.name
    for f in dataclasses.fields(TrainingSettings)
    if f.default is None
    # of which None means something
    and f.name not in ("patience", "keep", "keep_epochs", "class_weight", "tbptt")
]
ONLY_TOKENS = {"embedding_size", "token_dropout"}
ONLY_NUMBERS = {"noise"}


@pytest.mark.parametrize("effort", ["quick", "normal", "high"])
@pytest.mark.parametrize("figures", [NUMBERS, TOKENS, STATIC])
def test_all_that_is_open_is_chosen_and_told(figures, effort):
    network, training, told = choose(figures, ModelSettings(), TrainingSettings(effort=effort))
    unused = ONLY_TOKENS if figures.channels else ONLY_NUMBERS
    unused = unused if figures.static else unused | {"static_to"}
    for owner, names in ((network, OPEN_MODEL), (training, OPEN_TRAINING)):
        for name in names:
            value = getattr(owner, name)
            assert (value is None) == (name in unused), name
            assert (f" {name} " in told) == (name not in unused), name
    assert str(figures) in told and effort in told
    assert (network.readout == "every") == figures.per_step


def test_what_is_given_stays():
    model = ModelSettings(cell="lstm", hidden_size=7, dropout=0.0, readout="mean")
    network, training, told = choose(NUMBERS, model, TrainingSettings(epochs=3))
    assert (network.cell, network.hidden_size, network.dropout) == ("lstm", 7, 0.0)
    assert (network.readout, training.epochs) == ("mean", 3)
    assert " epochs " not in told and " hidden_size " not in told
    again = choose(NUMBERS, network, training)
    assert again[:2] == (network, training)
    assert again[2] == "every setting was given"


def length(sequences, steps, **given):
    """Epochs, batch size and optimizer steps that are chosen for numbers of one length."""
    statistics = DataStatistics(sequences, steps, 1, 0, 0, 2, False)
    _, training, _ = choose(statistics, ModelSettings(), TrainingSettings(**given))
    size = sequences if training.batch_size == "full" else training.batch_size
    return training.epochs, training.batch_size, training.epochs * -(-sequences // size)


@pytest.mark.parametrize("effort", ["quick", "normal", "high"])
@pytest.mark.parametrize(
    ("sequences", "steps"),
    [(50, 150), (2016, 60), (300, 128), (400, 80), (200, 150), (5000, 30), (40, 200), (15_000, 7)],
)
def test_few_or_long_sequences_get_enough_optimizer_steps(effort, sequences, steps):
    """Quick trainings of 189 and 370 steps had learnt next to nothing (DNA, GunPoint)."""
    epochs, batch, updates = length(sequences, steps, effort=effort)
    assert updates >= LEAST_STEPS
    # The batch shrinks before the training gets longer, and never below SMALLEST_BATCH.
    assert batch in (8, 16, 32)
    if epochs > 3 and epochs * sequences * steps > 1.05 * EFFORT[effort][0]:
        assert batch == SMALLEST_BATCH


@pytest.mark.parametrize("effort", ["quick", "normal", "high"])
@pytest.mark.parametrize(("sequences", "steps"), [(200, 5000), (30, 40_000), (1000, 2000)])
def test_the_extension_is_bounded(effort, sequences, steps):
    epochs, batch, _ = length(sequences, steps, effort=effort)
    assert batch == 8
    allowed = EXTENSION * EFFORT[effort][0] / (sequences * steps)
    assert epochs == 3 or epochs <= allowed + 1


def test_settings_that_are_given_are_not_shortened_or_extended():
    assert length(2016, 60, effort="quick", epochs=2) == (2, 32, 126)
    _, batch, updates = length(2016, 60, effort="quick", batch_size=32)
    assert (batch, updates >= LEAST_STEPS) == (32, True)
    assert length(800, 10, batch_size="full")[:2] == (400, "full")
    assert length(12, 40)[0] == 400  # the largest number of epochs


def test_no_decay_without_adamw():
    _, training, _ = choose(NUMBERS, ModelSettings(), TrainingSettings(optimizer="sgd"))
    assert training.weight_decay == 0


def test_the_command_and_the_estimator_choose_alike(tmp_path):
    """The command resolves all settings first; the estimator chooses while it fits."""
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(rng.integers(4, 9), 1)) for _ in range(30)]
    y = ["up" if x.sum() > 0 else "down" for x in X]
    rows = "\n".join(
        f"{b}," + ",".join(map(str, a[:, 0])) + "," * (8 - len(a))
        for a, b in zip(X, y, strict=True)
    )
    file = tmp_path / "numbers.csv"
    file.write_text("kind," + ",".join(f"t{i}" for i in range(8)) + "\n" + rows + "\n")
    settings = merge({"data": {"data": str(file)}, "training": {"epochs": 2}})
    splits = read_splits(settings.data, 0)
    training = splits.training
    by_command, prepared, found = prepare(settings, splits)
    by_command.fit_prepared(prepared)
    told = by_command.chosen_
    assert f" for {len(training)} sequences" in told and "2 outputs" in told
    told_by_fit = SequenceClassifier(epochs=2, random_state=0)
    held = splits.validation
    told_by_fit.fit(
        training.inputs,
        training.target,
        validation_data=None if held is None else (held.inputs, held.target),
    )
    assert told_by_fit.chosen_ == told
    again, prepared, same = prepare(found, splits)
    assert same == found
    again.fit_prepared(prepared)
    assert again.chosen_ == "every setting was given"
    assert (again.predict_proba(X) == told_by_fit.predict_proba(X)).all()
    assert (by_command.predict_proba(X) == told_by_fit.predict_proba(X)).all()


def test_a_tagger_says_what_it_chose():
    X = [["a", "b"], ["b", "a", "a"]] * 6
    tagger = SequenceTagger(epochs=1, random_state=0).fit(X, X)
    assert "2 outputs a step" in tagger.chosen_ and "embedding_size" in tagger.chosen_
