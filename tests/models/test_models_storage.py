"""Model folders: the same bits back, whole or not at all, and a reason for every refusal."""

import errno
import json
import os
import re
from pathlib import Path

import pytest
import torch
from cases import make_model, make_sequences, stack_rows
from tolerances import assert_close

from elman import load
from elman.errors import ModelFileError, WriteError
from elman.files import seal
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
    assert config == CONFIG
    assert (folder / "README.md").read_text() == "# card\n"
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.md",
        "config.json",
        "manifest.json",
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
    for file in ("model.safetensors", "config.json", "README.md", "manifest.json"):
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


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.mark.parametrize("at", ["fsync", "write", "replace", "mkdir"])
def test_a_crash_leaves_the_old_folder(saved, monkeypatch, at):
    """The disk is full as a model is written: what stood there before is there still."""
    before = contents(saved)

    def crash(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, at, crash)
    with pytest.raises(WriteError, match="no space left"):
        save_folder(saved, {"w": torch.ones(1)}, {"other": 1}, "new")
    monkeypatch.undo()
    assert contents(saved) == before
    load_folder(saved)
    save_folder(saved, {"w": torch.ones(1)}, {"other": 1}, "new")  # nothing left in the way
    assert sorted(p.name for p in saved.iterdir()) == sorted(before)
    assert [p.name for p in saved.parent.iterdir()] == ["m"]


def test_config_must_be_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        save_folder(tmp_path, {}, {"loss": float("nan")}, "")


def spoil(name, data):
    """Replace a file, and the manifest with it."""

    def change(folder):
        (folder / name).write_bytes(data)
        seal(folder)

    return change


def cut(folder):
    file = folder / "model.safetensors"
    spoil(file.name, file.read_bytes()[:-5])(folder)


def header(text, data=b""):
    """Replace the weights by a safetensors file with this header."""
    padded = text.encode()
    return spoil("model.safetensors", len(padded).to_bytes(8, "little") + padded + data)


def entry(dtype="F32", shape=(1,), offsets=(0, 4), more=""):
    values = {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}
    return '{"w": ' + json.dumps(values)[:-1] + more + "}}"


def link(name):
    def change(folder):
        (folder / name).rename(folder.parent / name)
        (folder / name).symlink_to(folder.parent / name)

    return change


def replace(name, make):
    def change(folder):
        (folder / name).unlink()
        make(folder / name)

    return change


def other_model(folder):
    save_folder(folder.parent / "other", {"w": torch.ones(1)}, {"other": 1}, "new")
    (folder.parent / "other" / "config.json").rename(folder / "config.json")


def sparse(path):
    with path.open("wb") as file:
        file.truncate(10 * 2**30)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "no config.json there. Expected a model folder"),
        (lambda f: (f / "model.safetensors").unlink(), "no model.safetensors there. Expected a"),
        (spoil("config.json", b"{"), "config.json: not valid JSON"),
        (spoil("config.json", b""), "config.json: not valid JSON"),
        (spoil("config.json", b"\xff\xfe"), "config.json: not valid JSON"),
        (spoil("config.json", b"[1]"), "format null, this version of elman reads 2"),
        (spoil("config.json", b"{}"), "format null, this version of elman reads 2"),
        (spoil("config.json", b'{"format": 3}'), "format 3, this version of elman reads 2"),
        (spoil("config.json", b'{"format": "2"}'), "format '2', this version of elman reads 2"),
        (spoil("config.json", b'{"format": true}'), "format true, this version of elman reads 2"),
        (spoil("config.json", b'{"format": 2, "format": 2}'), "the key 'format' occurs twice"),
        (
            spoil("config.json", b"[" + b"[]," * 10**6 + b"1]"),
            "would take up 196 MiB of memory, expected at most",
        ),
        (spoil("model.safetensors", b""), "model.safetensors: damaged"),
        (spoil("model.safetensors", b"\x80\x04K\x01."), "model.safetensors: damaged"),
        (spoil("model.safetensors", b"\xff" * 200), "model.safetensors: damaged"),
        (cut, "model.safetensors: damaged"),
        (header(entry()), "its header describes 4 bytes of weights, but there are 0"),
        (header(entry(), b"12345"), "describes 4 bytes of weights, but there are 5"),
        (header(entry(offsets=(1, 5)), b"12345"), "a gap or an overlap before 'w'"),
        (header(entry(offsets=(0, 8)), b"12345678"), "'w' of shape (1,) does not fill its place"),
        (header(entry(shape=(2**40, 2**40)), b"1234"), "does not fill its place"),
        (header(entry(shape=(-1, -1)), b"1234"), "does not fill its place"),
        (header(entry(shape=(0, 2**62), offsets=(0, 0))), "does not fill its place"),
        (header(entry(shape=(1,) * 1000), b"1234"), "does not fill its place"),
        (header(entry(shape=(True,)), b"1234"), "shape: 0: got true, expected a whole number"),
        (header(entry(offsets=(0, 4, 4)), b"1234"), "does not fill its place"),
        (header(entry(offsets=())), "does not fill its place"),
        (header(entry(dtype="F31"), b"1234"), "dtype: got 'F31', expected 'F64' or 'F32' or"),
        (header(entry(dtype="BOOL", shape=(4,)), b"\0\1\2\1"), "'w' holds no truth values"),
        (header(entry(more=', "name": 1'), b"1234"), "'name': no such key"),
        (header(entry(more=', "shape": [1]'), b"1234"), "the key 'shape' occurs twice"),
        (header('{"__metadata__": {"a": "b"}}'), "'a': no such key"),
        (header("[]"), "header: got a list of 0 values, expected an object"),
        (header("[" * 10_000), "nested too deeply"),
        (header("{" + ",".join(f'"{i}":{{}}' for i in range(5000)) + "}"), "5,000 tensors"),
        (link("config.json"), "config.json: is a link, expected a file"),
        (link("model.safetensors"), "model.safetensors: is a link, expected a file"),
        (link("README.md"), "README.md: is a link, expected a file"),
        (link("manifest.json"), "manifest.json: is"),
        (replace("config.json", Path.mkdir), "config.json: missing, but listed in manifest.json"),
        (replace("config.json", os.mkfifo), "config.json: is no regular file"),
        (replace("manifest.json", os.mkfifo), "manifest.json: is no regular file"),
        (replace("config.json", sparse), "config.json: damaged: has 10,737,418,240 bytes"),
        (replace("manifest.json", sparse), "manifest.json: has 10,737,418,240 bytes"),
        (lambda f: (f / "more").write_text("x"), "more: not listed in manifest.json"),
        (lambda f: (f / "manifest.json").unlink(), "manifest.json: missing"),
        (other_model, "config.json: damaged"),
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
    spoil("config.json", b"[" * 100_000)(saved)
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
    assert json.loads(text)["format"] == 2


@pytest.mark.parametrize("name", ["config.json", "manifest.json", "model.safetensors"])
def test_every_flipped_bit_is_refused(tmp_path, name):
    save_folder(tmp_path / "m", {"w": torch.ones(1)}, {"a": "x"}, "card")
    # In the manifest's entry of the card, whose edits are allowed, it is a warning, here an error.
    refused = (ModelFileError, UserWarning) if name == "manifest.json" else ModelFileError
    path = tmp_path / "m" / name
    with path.open("r+b") as file:
        data = file.read()
        for place in range(8 * len(data)):
            os.pwrite(file.fileno(), bytes([data[place // 8] ^ 1 << place % 8]), place // 8)
            with pytest.raises(refused):
                load_folder(tmp_path / "m")
            os.pwrite(file.fileno(), data, 0)
    load_folder(tmp_path / "m")


def test_text_without_utf8_comes_back(tmp_path):
    save_folder(tmp_path / "m", {"w": torch.ones(1)}, {"classes": ["\ud800", "é"]}, "\ud800")
    assert load_folder(tmp_path / "m")[1] == {"classes": ["\ud800", "é"]}


def test_a_config_that_could_not_be_read_back_is_not_saved(tmp_path):
    with pytest.raises(ModelFileError, match="would take up"):
        save_folder(tmp_path / "m", {"w": torch.ones(1)}, {"v": [[]] * 600_000}, "")
    assert not (tmp_path / "m").exists()


def test_loading_draws_no_random_numbers_and_takes_the_weights_as_they_are(tmp_path):
    model = make_model("lstm").double()
    save_folder(tmp_path / "m", model.state_dict(), CONFIG, "")
    tensors, _ = load_folder(tmp_path / "m")
    with torch.device("meta"):
        other = make_model("lstm")
    storage.restore(other, tensors, "m")
    for name, weight in other.named_parameters():
        assert weight.requires_grad
        assert weight.data_ptr() == tensors[name].data_ptr()
        assert weight.dtype == torch.float64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.fill_(float("nan")), "'output.bias' holds NaN or infinity"),
        (lambda t: t.fill_(float("-inf")), "'output.bias' holds NaN or infinity"),
    ],
)
def test_weights_that_are_not_finite(change, message):
    tensors = make_model().state_dict()
    change(tensors["output.bias"])
    with pytest.raises(ModelFileError, match=message):
        storage.restore(make_model(seed=1), tensors, "here")


@pytest.mark.parametrize("dtype", [torch.int64, torch.float64, torch.bool])
def test_weights_of_another_type(dtype):
    tensors = make_model().state_dict()
    tensors["output.bias"] = tensors["output.bias"].to(dtype)
    with pytest.raises(ModelFileError, match="expected floating-point numbers of one type"):
        storage.restore(make_model(seed=1), tensors, "here")


@pytest.mark.parametrize("name", ["classifier", "tagger", "regressor"])
@pytest.mark.parametrize("version", [2])
def test_a_model_of_each_format_loads(version, name, monkeypatch):
    """Never make these files again: they are what people have. See tests/fixtures."""
    fixtures = Path(__file__).parent.parent / "fixtures"
    monkeypatch.syspath_prepend(str(fixtures))
    from make_models import outputs

    folder = fixtures / f"model-{version}"
    expected = json.loads((folder / "outputs.json").read_text(encoding="utf-8"))[name]
    found = outputs(load(folder / name), name)
    for one, other in zip(found, expected, strict=True):
        assert_close(torch.tensor(one), torch.tensor(other), "float32")
