"""`elman export`: what it writes where, what it says, and what it refuses."""

import json
import re
import shutil

import numpy as np
import pytest

import elman as package
from elman import export
from elman.export import ExportOptions, Format
from elman.runs.config import merge
from elman.runs.experiment import run
from elman.runs.folder import check_output_folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run on a built-in task, and one on a file of text; trained once."""
    root = tmp_path_factory.mktemp("runs")
    rows = [f"a {['good', 'bad'][i % 2]} day number {i},{['yes', 'no'][i % 2]}" for i in range(40)]
    (root / "days.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    for name, data in (("waves", "waves:train=60,test=20"), ("days", str(root / "days.csv"))):
        values = {"model": {"hidden_size": 4}, "training": {"epochs": 1}}
        values["model"] |= {"bidirectional": name == "waves"}
        values |= {"report": {"diagnostics": False}}
        run(merge({"data": {"data": data}, **values}), out=root / name, verbose=0, echo=list)
    return root


@pytest.fixture
def run_folder(runs, tmp_path):
    return shutil.copytree(runs / "waves", tmp_path / "first")


def ask(path, **feeds):
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    (outputs,) = session.run(None, feeds)
    return outputs, session.get_modelmeta().custom_metadata_map


def test_a_run_gets_its_export(elman, run_folder):
    done = elman("export", "first", "--to", "onnx")
    assert done.code == 0, done.err
    path = run_folder / "exports" / "model.onnx"
    assert re.fullmatch(
        r"first/exports/model\.onnx: ONNX, [\d,]+ bytes\nCompared with elman: largest difference "
        r"of probabilities \d\.\de-\d\d, over 14 sequences of up to 1,000 steps\n",
        done.out,
    )
    x = np.sin(np.arange(30))[None, :, None]
    answer, facts = ask(path, x=x, lengths=np.array([30]))
    expected = package.load(run_folder).predict_proba(x)
    assert np.abs(answer - expected).max() < 1e-6
    assert json.loads(facts["outputs"]) == ["sawtooth", "sine", "square"]
    # The folder is still that of a run, which --overwrite replaces.
    check_output_folder(run_folder, overwrite=True)
    again = elman("export", "first", "--to", "onnx")
    assert again.code == 2
    assert "first/exports/model.onnx: exists already" in again.err
    assert "--overwrite" in again.err
    assert elman("export", "first", "--to", "onnx", "--overwrite").code == 0


def test_a_model_folder_and_a_named_file(elman, runs, tmp_path):
    assert elman("export", runs / "days" / "model", "--to", "onnx").code == 0
    assert (tmp_path / "model.onnx").is_file()
    out = "new/folder/days.onnx"
    assert elman("export", runs / "days", "--to", "onnx", "-o", out).code == 0
    assert (tmp_path / out).read_bytes() == (tmp_path / "model.onnx").read_bytes()
    assert not (runs / "days" / "exports").exists()


def test_sequences_of_a_file_are_compared_too(elman, runs, run_folder, tmp_path):
    done = elman("export", runs / "days", "--to", "onnx", "--data", runs / "days.csv", "-o", "d")
    assert "over 54 sequences of up to 1,000 steps" in done.out
    done = elman("export", "first", "--to", "onnx", "--data", "waves", "--longest", 20)
    assert re.search(r"over 2\d\d sequences of up to \d\d steps", done.out)
    done = elman("export", "first", "--to", "onnx", "--data", runs / "days.csv", "-o", "e.onnx")
    assert done.code == 2
    assert "the sequences are text, expected numbers as in training" in done.err
    assert not (tmp_path / "e.onnx").exists()


def test_streaming_needs_one_direction(elman, run_folder, runs):
    done = elman("export", "first", "--to", "onnx", "--streaming")
    assert done.code == 2
    assert "Train one that reads forwards: elman train DATA --streaming" in done.err
    assert not (run_folder / "exports").exists()
    done = elman("export", runs / "days", "--to", "onnx", "--streaming")
    assert done.code == 0, done.err
    assert (runs / "days" / "exports" / "model-streaming.onnx").is_file()


def test_what_is_refused(elman, run_folder, tmp_path):
    assert "Did you mean 'onnx'?" in elman("export", "first", "--to", "onx").err
    assert "Missing option '--to'. Choose from:\n\tonnx" in elman("export", "first").err
    done = elman("export", "nothing", "--to", "onnx")
    assert done.code == 2
    assert "nothing" in done.err
    assert elman("export", "first", "--to", "onnx", "--longest", 0).code == 2
    done = elman("export", "first", "--to", "onnx", "-o", "first/model")
    assert "first/model: is a folder, expected a file" in done.err
    assert not (run_folder / "exports").exists()


def test_an_option_that_a_format_lacks_is_refused(elman, run_folder, monkeypatch):
    bare = Format("nothing", "nothing", ("overwrite",), lambda *_: pytest.fail("was written"))
    monkeypatch.setitem(export.FORMATS, "onnx", bare)
    monkeypatch.setitem(export.FORMATS, "other", Format("o", "o", ("longest",), bare.write))
    done = elman("export", "first", "--to", "onnx", "--longest", 9)
    assert done.code == 2
    expected = "--longest: an export --to onnx has no such option, only --to c and --to other"
    assert expected in done.err
    with pytest.raises(package.SettingsError, match=r"--data: .* no such option"):
        export.refuse_options("onnx", ExportOptions(data=object()))


def test_an_unfinished_run_is_said_to_be_one(elman, run_folder):
    (run_folder / "metrics.json").unlink()
    (run_folder / "unfinished.json").write_text('{"replaces": ""}')
    done = elman("export", "first", "--to", "onnx")
    assert "first is unfinished" in done.out + done.err
