"""Model folders: the same bits back, whole or not at all, and a reason for every refusal."""

import json
import os
import re

import pytest
import torch
from cases import make_model, make_sequences, stack_rows

from elman.errors import ModelFileError
from elman.models import load_folder, save_folder, storage

CONFIG = {"cell": "gru", "classes": ["à", "b"], "nested": {"x": [1, 2.5, None]}}


@pytest.fixture
def saved(tmp_path):
    model = make_model("lstm", bidirectional=True)
    save_folder(tmp_path / "m", model.state_dict(), CONFIG, "# card\n")
    return tmp_path / "m"


def test_the_same_bits_come_back(tmp_path):
    model = make_model("lstm", "mean", bidirectional=True, num_layers=2)
    folder = tmp_path / "some" / "where"
    save_folder(folder, model.state_dict(), CONFIG, "# card\n")
    tensors, config = load_folder(folder)
    assert {k: v for k, v in config.items() if k != "weights_sha256"} == {"format": 1, **CONFIG}
    assert (folder / "README.md").read_text() == "# card\n"
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    state = model.state_dict()
    assert tensors.keys() == state.keys()
    for name, tensor in tensors.items():
        assert tensor.dtype == state[name].dtype
        assert torch.equal(tensor, state[name]), name
    other = make_model("lstm", "mean", bidirectional=True, num_layers=2, seed=9)
    storage.restore(other, tensors, "m")
    x, lengths = stack_rows(make_sequences([3, 1, 5]))
    assert torch.equal(other(x, lengths), model(x, lengths))


def test_any_tensor(tmp_path):
    tensors = {
        "nan": torch.tensor([float("nan"), float("-inf"), -0.0]),
        "view": torch.arange(6.0).reshape(2, 3).T,
        "none": torch.zeros(0, 3),
        "long": torch.tensor([2**62 + 1]),
        "double": torch.tensor(1e-300, dtype=torch.float64),
        "leaf": torch.ones(2, requires_grad=True),
    }
    save_folder(tmp_path, tensors, {}, "")
    found, _ = load_folder(tmp_path)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        one, other = (t.detach().contiguous().numpy().tobytes() for t in (found[name], tensor))
        assert one == other


def test_the_same_model_gives_the_same_files(tmp_path):
    model = make_model()
    for name in "ab":
        save_folder(tmp_path / name, model.state_dict(), CONFIG, "card")
    for file in ("model.safetensors", "config.json", "README.md"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_run_folder_holds_its_model(tmp_path):
    save_folder(tmp_path / "model", {"w": torch.ones(1)}, CONFIG, "")
    tensors, _ = load_folder(tmp_path)
    assert torch.equal(tensors["w"], torch.ones(1))


def test_saving_again_replaces(saved):
    save_folder(saved, {"w": torch.ones(1)}, {"other": 1}, "new")
    tensors, config = load_folder(saved)
    assert set(tensors) == {"w"}
    assert config["other"] == 1
    assert (saved / "README.md").read_text() == "new"


@pytest.mark.parametrize("at", ["fsync", "replace"])
def test_a_crash_leaves_the_old_file(saved, monkeypatch, at):
    """The power goes as the weights are written: what stood there before is there still."""
    before = {p.name: p.read_bytes() for p in saved.iterdir()}

    def crash(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(*((os, "fsync") if at == "fsync" else (storage.Path, "replace")), crash)
    with pytest.raises(OSError, match="no space"):
        save_folder(saved, {"w": torch.ones(1)}, {"other": 1}, "new")
    monkeypatch.undo()
    after = {p.name: p.read_bytes() for p in saved.iterdir() if not p.name.endswith(".partial")}
    assert after == before
    load_folder(saved)
    save_folder(saved, {"w": torch.ones(1)}, {"other": 1}, "new")  # nothing left in the way
    assert sorted(p.name for p in saved.iterdir()) == sorted(before)


def test_written_out_before_it_takes_the_name(tmp_path, monkeypatch):
    """fsync comes before the rename, and at the rename the new file is whole."""
    events = []
    sync, replace = os.fsync, storage.Path.replace

    def spy_replace(self, target):
        events.append(("replace", self.read_bytes()))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", lambda f: (events.append(("fsync", b"")), sync(f)))
    monkeypatch.setattr(storage.Path, "replace", spy_replace)
    storage.write_atomically(tmp_path / "file", b"data" * 1000)
    assert events == [("fsync", b""), ("replace", b"data" * 1000)]
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_config_must_be_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        save_folder(tmp_path, {}, {"loss": float("nan")}, "")


def spoil(name, data):
    def change(folder):
        (folder / name).write_bytes(data)

    return change


def cut(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-5])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "no config.json there. Expected a model folder"),
        (lambda f: (f / "model.safetensors").unlink(), "no model.safetensors there. Expected a"),
        (spoil("config.json", b"{"), "config.json: not valid JSON"),
        (spoil("config.json", b""), "config.json: not valid JSON"),
        (spoil("config.json", b"\xff\xfe"), "config.json: not valid JSON"),
        (spoil("config.json", b"[1]"), "format None, this version of elman reads 1"),
        (spoil("config.json", b"{}"), "format None, this version of elman reads 1"),
        (spoil("config.json", b'{"format": 2}'), "format 2, this version of elman reads 1"),
        (spoil("config.json", b'{"format": "1"}'), "format '1', this version of elman reads 1"),
        (spoil("model.safetensors", b""), "model.safetensors: damaged"),
        (spoil("model.safetensors", b"\x80\x04K\x01."), "model.safetensors: damaged"),
        (spoil("model.safetensors", b"\xff" * 200), "model.safetensors: damaged"),
        (cut, "model.safetensors: damaged"),
    ],
)
def test_a_folder_that_is_no_model(saved, change, message):
    change(saved)
    with pytest.raises(ModelFileError, match=re.escape(message)) as caught:
        load_folder(saved)
    assert str(saved) in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_no_folder(tmp_path):
    (tmp_path / "digits").mkdir()
    with pytest.raises(ModelFileError, match=r"digit: no such folder\. Did you mean 'digits'\?"):
        load_folder(tmp_path / "digit")
    with pytest.raises(ModelFileError, match="no such folder"):
        load_folder(tmp_path / "no" / "where")
    with pytest.raises(ModelFileError, match=r"no config\.json there"):
        load_folder(tmp_path / "digits")
    (tmp_path / "file").write_text("{}")
    with pytest.raises(ModelFileError, match="is a file, expected the folder of a model or run"):
        load_folder(tmp_path / "file")


def test_a_deep_config_is_refused(saved):
    (saved / "config.json").write_text("[" * 100_000)
    with pytest.raises(ModelFileError, match="not valid JSON"):
        load_folder(saved)


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_weights_that_do_not_fit(change):
    model = make_model()
    tensors = dict(model.state_dict())
    if change == "missing":
        del tensors["output.bias"]
    elif change == "extra":
        tensors["more"] = torch.ones(1)
    else:
        tensors["output.bias"] = torch.ones(99)
    with pytest.raises(ModelFileError, match=r"here: the weights do not fit config\.json"):
        storage.restore(model, tensors, "here")


def test_config_is_readable(saved):
    text = (saved / "config.json").read_text(encoding="utf-8")
    assert '"à"' in text
    assert text.endswith("}\n")
    assert json.loads(text)["format"] == 1


def test_weights_of_another_save_are_refused(saved):
    weights = (saved / "model.safetensors").read_bytes()
    save_folder(saved, {"w": torch.ones(1)}, {"other": 1}, "new")
    (saved / "model.safetensors").write_bytes(weights)
    with pytest.raises(ModelFileError, match="cut off"):
        load_folder(saved)
