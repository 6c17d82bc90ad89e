"""Settings from plain values: strict, bounded, every fault at once; and what the command shows."""

import dataclasses
import re

import numpy as np
import pytest

from elman.errors import ElmanError, SettingsError
from elman.setting_list import list_settings
from elman.settings import SECTIONS, DataSettings, ModelSettings, TrainingSettings
from elman.validation import validate_settings

GOOD = [
    (DataSettings, "test", [None, "test.csv", 0.2]),
    (DataSettings, "validation", [0.1, 0.0, "test", "validation.csv"]),
    (DataSettings, "format", [None, "rows", "steps", "jsonl", "conll", "ts"]),
    (DataSettings, "tokens", ["auto", "characters", "words", "bytes"]),
    (DataSettings, "scale", [True, False]),
    (DataSettings, "target", [None, "label"]),
    (DataSettings, "memory_limit", [None, "2GB", "500 MB", "1.5GiB"]),
    (ModelSettings, "cell", ["rnn", "gru", "lstm"]),
    (ModelSettings, "hidden_size", [1, 512]),
    (ModelSettings, "dropout", [0, 0.0, 0.5, 0.999]),
    (ModelSettings, "bidirectional", [True, False]),
    (ModelSettings, "readout", ["auto", "last", "mean", "max", "every"]),
    (TrainingSettings, "batch_size", [1, 32, "full"]),
    (TrainingSettings, "weight_decay", [None, 0, 0.0, 0.3]),
    (TrainingSettings, "patience", [None, 0, 15]),
    (TrainingSettings, "keep", [None, "best", "last"]),
    (TrainingSettings, "keep_epochs", [None, 0, 1, 20]),
    (TrainingSettings, "warmup", [0, 0.99]),
    (TrainingSettings, "seed", [0, 2**32 - 1]),
]


@pytest.mark.parametrize(
    ("kind", "name", "value"), [(k, n, v) for k, n, values in GOOD for v in values]
)
def test_good_values_are_taken(kind, name, value):
    found = getattr(validate_settings(kind, {name: value}), name)
    assert found == value
    default = dataclasses.replace(kind(), **{name: found})
    assert validate_settings(kind, {name: value}) == default


BAD = [
    (DataSettings, "test", [0.0, 1.0, -0.1, 1, True]),
    (DataSettings, "validation", [1.0, -0.1, True]),
    (DataSettings, "format", ["csv", 1]),
    (DataSettings, "scale", [1, "true", None]),
    (DataSettings, "target", [3]),
    (DataSettings, "memory_limit", [2, "2", "much", "0GB", True]),
    (ModelSettings, "cell", ["GRU", "", 1]),
    (ModelSettings, "hidden_size", [0, -1, 1.0, "64", True]),
    (ModelSettings, "num_layers", [0, 1.5, False]),
    (ModelSettings, "dropout", [1.0, 1, -0.1, "0.5", True, float("nan")]),
    (ModelSettings, "bidirectional", [0, 1, "yes"]),
    (TrainingSettings, "epochs", [0, "3", 3.0, True]),
    (TrainingSettings, "batch_size", [0, "all", 1.5]),
    (TrainingSettings, "tbptt", [0, -1, 2.0, "200", True]),
    (TrainingSettings, "learning_rate", [0, 0.0, -1.0, "fast", float("nan")]),
    (TrainingSettings, "weight_decay", [-0.1, "none", True]),
    (TrainingSettings, "warmup", [1.0, -0.1]),
    (TrainingSettings, "clip_norm", [-1.0, None]),
    (TrainingSettings, "label_smoothing", [1.0, -0.1]),
    (TrainingSettings, "patience", [-1, 1.5]),
    (TrainingSettings, "keep", ["first", True]),
    (TrainingSettings, "keep_epochs", [-1, 2.5, True, "all"]),
    (TrainingSettings, "precision", ["float16", 32, None]),
    (TrainingSettings, "seed", [-1, 2**32, 0.5, True]),
]


@pytest.mark.parametrize(
    ("kind", "name", "value"), [(k, n, v) for k, n, values in BAD for v in values]
)
def test_bad_values_are_refused(kind, name, value):
    with pytest.raises(SettingsError, match=re.escape(f"{name}: got {value!r}, expected ")) as e:
        validate_settings(kind, {name: value})
    assert isinstance(e.value, ElmanError)
    assert isinstance(e.value, ValueError)
    assert len(str(e.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("kind", "name", "value", "message"),
    [
        (
            ModelSettings,
            "cell",
            "gruu",
            "cell: got 'gruu', expected 'rnn', 'gru' or 'lstm'; to use a cell of your own, "
            "register it: elman.layers.register_cell(cell). Did you mean 'gru'?",
        ),
        (
            ModelSettings,
            "hidden_size",
            0,
            "hidden_size: got 0, expected greater than or equal to 1",
        ),
        (ModelSettings, "dropout", 1.0, "dropout: got 1.0, expected less than 1"),
        (ModelSettings, "hidden_size", "3", "hidden_size: got '3', expected a valid integer"),
        (
            TrainingSettings,
            "batch_size",
            "all",
            "batch_size: got 'all', expected a valid integer or 'full'",
        ),
    ],
)
def test_the_message_says_what_is_expected(kind, name, value, message):
    with pytest.raises(SettingsError, match=f"^{re.escape(message)}$"):
        validate_settings(kind, {name: value})


@pytest.mark.parametrize(
    ("kind", "wrong", "right"),
    [
        (ModelSettings, "hiden_size", "hidden_size"),
        (ModelSettings, "cells", "cell"),
        (TrainingSettings, "learning_rates", "learning_rate"),
        (TrainingSettings, "epoch", "epochs"),
        (DataSettings, "validate", "validation"),
    ],
)
def test_unknown_names_come_with_the_nearest(kind, wrong, right):
    message = f"{wrong}: no such setting. Did you mean {right!r}?"
    with pytest.raises(SettingsError, match=re.escape(message)):
        validate_settings(kind, {wrong: 1})


def test_unknown_name_unlike_any():
    with pytest.raises(SettingsError, match=r"^xyzzy: no such setting\.$"):
        validate_settings(ModelSettings, {"xyzzy": 1})


def test_all_faults_at_once_with_their_place():
    wrong = {"cel": "gru", "hidden_size": 0, "dropout": 2.0, "num_layers": 2, "cell": "x"}
    with pytest.raises(SettingsError) as caught:
        validate_settings(ModelSettings, wrong, "config.toml, [model]")
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert all(line.startswith("config.toml, [model]: ") for line in lines)
    named = {line.split(": ")[1] for line in lines}
    assert named == {"cel", "hidden_size", "dropout", "cell"}


def test_a_setting_of_another_section_is_unknown():
    with pytest.raises(SettingsError, match="epochs: no such setting"):
        validate_settings(ModelSettings, {"epochs": 3})


@pytest.mark.parametrize("kind", SECTIONS.values())
def test_nothing_given_is_the_defaults(kind):
    assert validate_settings(kind, {}) == kind()
    for entry in dataclasses.fields(kind):
        assert entry.default is not dataclasses.MISSING


@pytest.mark.parametrize("kind", SECTIONS.values())
def test_the_defaults_are_themselves_valid(kind):
    assert validate_settings(kind, dataclasses.asdict(kind())) == kind()


def test_whole_numbers_pass_for_floats_and_numpys_for_pythons():
    found = validate_settings(
        TrainingSettings,
        {"learning_rate": 1, "epochs": np.int64(3), "clip_norm": np.float32(0.5)},
    )
    assert found == TrainingSettings(learning_rate=1.0, epochs=3, clip_norm=0.5)
    assert type(found.epochs) is int
    assert type(found.clip_norm) is float
    assert validate_settings(ModelSettings, {"bidirectional": np.True_}).bidirectional is True
    with pytest.raises(SettingsError):
        validate_settings(TrainingSettings, {"epochs": np.float64(3)})


def test_settings_that_do_not_go_together():
    with pytest.raises(SettingsError, match="nonlinearity: 'relu' is an option of cell 'rnn'"):
        validate_settings(ModelSettings, {"cell": "gru", "nonlinearity": "relu"})
    assert validate_settings(ModelSettings, {"cell": "rnn", "nonlinearity": "relu"}).cell == "rnn"


@pytest.mark.parametrize("kind", SECTIONS.values())
def test_settings_do_not_change(kind):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(kind(), dataclasses.fields(kind)[0].name, 1)


def test_fields_cover_every_setting_with_a_help():
    found = {(f.section, f.name): f for f in list_settings()}
    assert len(found) == len(list_settings())
    expected = {
        (section, entry.name): entry
        for section, kind in SECTIONS.items()
        for entry in dataclasses.fields(kind)
    }
    assert found.keys() == expected.keys()
    for key, field in found.items():
        assert len(field.help) > 3, key
        assert field.help[0] == field.help[0].upper(), key
        assert field.help.endswith("."), key
        assert "[default" not in field.help and not field.default_text.endswith("."), key
        assert field.default == expected[key].default
        assert field.choices or field.types, key
    assert len({name for _, name in found}) == len(found)  # a flag says no section


@pytest.mark.parametrize(
    ("section", "name", "choices", "types"),
    [
        ("data", "test", (), (str, float)),
        ("data", "format", ("rows", "steps", "jsonl", "conll", "ts", "arrays", "folder"), ()),
        ("data", "scale", (), (bool,)),
        ("model", "cell", ("rnn", "gru", "lstm"), ()),
        ("model", "dropout", (), (float,)),
        ("training", "batch_size", ("full",), (int,)),
        ("training", "weight_decay", (), (float,)),
    ],
)
def test_fields_say_what_is_accepted(section, name, choices, types):
    field = next(f for f in list_settings() if (f.section, f.name) == (section, name))
    assert field.choices == choices
    assert field.types == types


@pytest.mark.parametrize(
    ("given", "validation", "decay", "patience", "keep"),
    [
        ({}, True, 0.3, 15, "best"),
        ({}, False, 0.3, 0, "last"),
        ({"optimizer": "sgd"}, True, 0.0, 15, "best"),
        ({"optimizer": "adam"}, True, 0.0, 15, "best"),
        ({"weight_decay": 0.1, "patience": 2, "keep": "last"}, True, 0.1, 2, "last"),
        ({"weight_decay": 0.0, "patience": 0}, True, 0.0, 0, "best"),
        ({"keep": "last", "patience": 0}, False, 0.3, 0, "last"),
    ],
)
def test_resolved(given, validation, decay, patience, keep):
    found = TrainingSettings(**given).resolve(validation)
    assert (found.weight_decay, found.patience, found.keep) == (decay, patience, keep)
    assert found.resolve(validation) == found


@pytest.mark.parametrize("given", [{"keep": "best"}, {"patience": 1}])
def test_resolved_without_a_validation_part(given):
    with pytest.raises(SettingsError, match="need a validation split"):
        TrainingSettings(**given).resolve(False)
