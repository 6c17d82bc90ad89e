"""Settings from TOML and back: nothing is lost, and every wrong key is told its right place."""

import dataclasses
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman import SettingsError
from elman.runs.config import RunSettings, merge, read_toml, settings_hash, to_toml
from elman.setting_list import list_settings
from elman.settings import SECTIONS


def write(tmp_path, text):
    path = tmp_path / "my.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_setting_has_a_line():
    text = to_toml(RunSettings())
    for field in list_settings():
        assert f"\n{field.name} = " in text or f"\n# {field.name} =" in text
    assert [line for line in text.splitlines() if line.startswith("[")] == [
        "[data]",
        "[model]",
        "[training]",
        "[report]",
    ]


def test_defaults_come_back(tmp_path):
    path = write(tmp_path, to_toml(RunSettings()))
    assert merge(file=read_toml(path)) == RunSettings()


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
SHARE = st.floats(0.01, 0.99)


@given(
    data=TEXT,
    target=TEXT,
    validation=SHARE | TEXT,
    test=SHARE | TEXT,
    scale=st.booleans(),
    rate=st.floats(0, 1e300, exclude_min=True),
    batch=st.integers(1, 10**6) | st.just("full"),
    decay=st.floats(0, 1) | st.none(),
    seed=st.integers(0, 2**32 - 1),
)
def test_anything_comes_back(
    tmp_path_factory, data, target, validation, test, scale, rate, batch, decay, seed
):
    path = tmp_path_factory.getbasetemp() / "round.toml"
    settings = merge(
        {
            "data": {
                "data": data,
                "target": target,
                "validation": validation,
                "test": test,
                "scale": scale,
            },
            "training": {
                "learning_rate": rate,
                "batch_size": batch,
                "weight_decay": decay,
                "seed": seed,
            },
        }
    )
    path.write_bytes(to_toml(settings).encode())
    again = merge(file=read_toml(path))
    assert again == settings
    assert settings_hash(again) == settings_hash(settings)


def test_the_hash_tells_every_setting_apart():
    seen = {settings_hash(RunSettings())}
    changes = 0
    for section, kind in SECTIONS.items():
        for field in dataclasses.fields(kind):
            whole = RunSettings()
            part = getattr(whole, section)
            # Past __post_init__: any other value will do.
            changed = dataclasses.replace(whole)
            other = object.__new__(kind)
            other.__dict__.update({**part.__dict__, field.name: "something else"})
            object.__setattr__(changed, section, other)
            seen.add(settings_hash(changed))
            changes += 1
    assert len(seen) == changes + 1


def test_later_layers_win():
    settings = merge(
        {"model": {"cell": "lstm", "hidden_size": 3}, "training": {"epochs": 7}},
        {"model": {"cell": "rnn"}, "data": {"data": "x.csv"}},
    )
    assert settings.model.cell == "rnn"
    assert settings.model.hidden_size == 3
    assert settings.training.epochs == 7
    assert settings.data.data == "x.csv"


WRONG = [
    ("[model]\nhiden_size = 3", "[model] hiden_size: no such setting. Did you mean 'hidden_size'?"),
    (
        "[model]\nhidden-size = 3",
        "[model] hidden-size: no such setting. Did you mean 'hidden_size'",
    ),
    ("[model]\nepochs = 3", "[model] epochs: belongs below [training]"),
    ("epochs = 3", "epochs: belongs below [training]"),
    ("epoch = 3", "epoch: no such section or setting. Did you mean 'epochs'?"),
    ("[modle]\ncell = 'gru'", "modle: no such section or setting. Did you mean 'model'?"),
    ("model = 3", "model: is a section, written [model]"),
    ("[[model]]\ncell = 'gru'", "model: is a section, written [model]"),
    ("[model\ncell = 'gru'", "cannot be read as TOML"),
    ("[model]\ncell = gru", "line 2"),
    ("[model]\ncell = 'gru'\ncell = 'rnn'", "line 3: cell: given twice, first in line 2"),
]


@pytest.mark.parametrize(("text", "message"), WRONG, ids=[m for _, m in WRONG])
def test_a_wrong_file(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        read_toml(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_all_faults_of_a_file_at_once(tmp_path):
    path = write(tmp_path, "epoch = 3\n[model]\ncel = 'gru'\nepochs = 2\n")
    with pytest.raises(SettingsError) as caught:
        read_toml(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert all(line.startswith(str(path)) for line in lines)
    with pytest.raises(SettingsError) as caught:
        merge({"model": {"hidden_size": 0, "cell": "x"}, "training": {"epochs": "3"}})
    assert len(str(caught.value).splitlines()) == 3


LINES = {
    # file: (line, beginning of the message) of every fault, in order
    """epochs = 3
[model]
hiden_size = 3

[training]
cell = "gru"
[trainning]
seed = 1
""": [
        (1, "epochs: belongs below [training]"),
        (3, "[model] hiden_size: no such setting"),
        (6, "[training] cell: belongs below [model]"),
        (7, "trainning: no such section or setting. Did you mean 'training'?"),
    ],
    # Syntax errors do not hide one another, nor what else is wrong.
    """# a comment
[model]
cell = gru
hidden_size = "many"
num_layers = 2
[data]
scale = True
validation = 1.5
unknown = 1
num_layers
""": [
        (3, "cannot be read as TOML: the value is none of TOML's. Put text in quotes"),
        (4, "[model] hidden_size: got 'many', expected a valid integer"),
        (7, "cannot be read as TOML: the value is none of TOML's"),
        (8, "[data] validation: got 1.5, expected"),
        (9, "[data] unknown: no such setting"),
        (10, "cannot be read as TOML: Expected '='"),
    ],
    "[model]\ncell = 'gru'\n[model]\ncell = 'rnn'\n": [
        (3, "[model]: given twice, first in line 1"),
        (4, "cell: given twice, first in line 2"),
    ],
    """[data]
values = \"\"\"a,
b = 3
c\"\"\"
[training.class_weight]
no = 2.0
[training]
epoch = 7
""": [(8, "[training] epoch: no such setting. Did you mean 'epochs'?")],
    "[training\nepochs = 3\n[data]\nsed = 1": [
        (1, "cannot be read as TOML: Expected ']'"),
        (2, "epochs: belongs below [training]"),
        (4, "[data] sed: no such setting"),
    ],
    "[training]\r\nepoch = 3\r\n": [(2, "[training] epoch: no such setting")],
}


@pytest.mark.parametrize("text", LINES, ids=range(len(LINES)))
def test_every_fault_of_a_file_has_its_line(tmp_path, text):
    path = tmp_path / "my.toml"
    path.write_bytes(text.encode())
    with pytest.raises(SettingsError) as caught:
        read_toml(path)
    found = str(caught.value).splitlines()
    expected = [f"{path}, line {line}: {message}" for line, message in LINES[text]]
    assert len(found) == len(expected), found
    for one, beginning in zip(found, expected, strict=True):
        assert one.startswith(beginning)


def test_a_wrong_value_has_its_line_unless_a_flag_takes_its_place(tmp_path):
    text = "[data]\nstride = 3\n\n[training]\nseed = -1\nepochs = '3'\nloss = 'focal'\n"
    file = read_toml(write(tmp_path, text + "label_smoothing = 0.1\n"))
    with pytest.raises(SettingsError) as caught:
        merge(file=file)
    assert [line.split(": ")[0] for line in str(caught.value).splitlines()] == [
        f"{file.path}, line {n}" for n in (2, 5, 6)
    ]
    flags = {"data": {"window": 9}, "training": {"seed": 1, "epochs": "4"}}
    with pytest.raises(SettingsError, match=r"^epochs: got '4'"):
        merge(flags, file=file)
    flags["training"]["epochs"] = 4
    with pytest.raises(SettingsError, match=r"line 8: \[training\] label_smoothing: got 0.1"):
        merge(flags, file=file)
    flags["training"]["label_smoothing"] = 0.0
    assert merge(flags, file=file).training.seed == 1


def test_a_file_that_is_not_there(tmp_path):
    write(tmp_path, "")
    with pytest.raises(SettingsError, match=r"mx\.toml: no such file\. Did you mean 'my\.toml'\?"):
        read_toml(tmp_path / "mx.toml")
    with pytest.raises(SettingsError, match="no such file"):
        read_toml(tmp_path / "nowhere" / "my.toml")
    with pytest.raises(SettingsError, match="is a folder, expected a TOML file"):
        read_toml(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"[data]\ndata = '\xe9'\n")
    with pytest.raises(SettingsError, match="cannot be read as TOML"):
        read_toml(tmp_path / "latin.toml")


@pytest.mark.parametrize("value", [*string.whitespace, "\x7f", "\\", '"', "'", "'''", "é", "\x00"])
def test_odd_characters(tmp_path, value):
    settings = merge({"data": {"target": f"a{value}b"}})
    path = tmp_path / "odd.toml"
    path.write_bytes(to_toml(settings).encode())
    assert merge(file=read_toml(path)) == settings
