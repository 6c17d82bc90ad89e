"""Every mistake ends in one message that says what is wrong and what to do, and leaves nothing."""

import csv
import json
import shutil

import pytest
import torch
from conftest import SMALL

from elman.files import seal

TEXT = "text,label\n" + "".join(f"{w} day,{c}\n" for w, c in [("good", "x"), ("bad", "y")] * 10)


def refused(elman, tree, tmp_path, words, *messages):
    before = tree(tmp_path)
    done = elman(*words)
    assert done.code == 2, (done.out, done.err)
    assert done.err.count("Error: ") == 1
    for message in messages:
        assert message in done.err, done.err
    assert tree(tmp_path) == before
    return done


FILES = [
    ("one.csv", "text,label\na b,x\nc d,x\n", ["every sequence has the label 'x'", "column label"]),
    ("few.csv", TEXT + "odd day,z\n", ["line 22, column label", "'z' has 1", "at least 2"]),
    ("none.csv", "text,label\n", ["none.csv"]),
    ("empty.csv", "", ["the file is empty"]),
    ("hole.csv", TEXT + ",x\n", ["line 22, column text", "an empty sequence", "remove the row"]),
    ("nolabel.csv", TEXT + "a day,\n", ["line 22, column label", "the label is empty"]),
    ("short.csv", TEXT + "a day\n", ["line 22"]),
    ("long.csv", TEXT + "a day,x,more\n", ["line 22"]),
    (
        "word.csv",
        "label,a,b,c\nx,1,2,3\ny,4,oops,6\n" * 1 + "x,1,2,3\ny,4,5,6\n" * 4,
        ["line 3, column b", "'oops' is not a number"],
    ),
    ("nan.csv", "label,a,b,c\n" + "x,1,2,3\ny,4,5,6\n" * 5 + "x,nan,nan,nan\n", ["line 12"]),
    ("inf.csv", "label,a,b,c\n" + "x,1,2,3\ny,4,5,6\n" * 5 + "x,1,inf,\n", ["line 12", "column b"]),
    (
        "two.csv",
        "text,label,class\na b,x,y\nc d,y,x\n",
        ["2 columns could be the target: 'label', 'class'", "--target label"],
    ),
    (
        "tags.jsonl",
        '{"tokens": ["a", "b"], "tags": ["A"]}\n',
        ["line 1", "'tags' has 1 label, expected 2, one a step"],
    ),
    (
        "ragged.jsonl",
        '{"sequence": [[1, 2], [3]], "label": "x"}\n',
        ["line 1", "step 2 of 'sequence' has 1 channel, expected 2"],
    ),
    ("null.jsonl", '{"sequence": [null], "label": "x"}\n', ["line 1", "every value"]),
    ("broken.jsonl", '{"tokens": ["a"], "label": "x"}\n{"tokens": \n', ["line 2, column", "JSON"]),
    ("latin.csv", "text,label\nd\udce9j\udce0,x\n", ["line 2", "not UTF-8", "iconv"]),
    ("bad.ts", "@classLabel true a b\n@data\n1,2:c\n", ["line 3", "class 'c' is not among"]),
    ("data.xlsx", "x", ["files ending in '.xlsx' are not read"]),
]


@pytest.mark.parametrize(("name", "content", "messages"), FILES, ids=[f[0] for f in FILES])
def test_a_file_that_cannot_be_learnt_from(elman, tree, tmp_path, name, content, messages):
    (tmp_path / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    done = refused(elman, tree, tmp_path, ["train", name], f"Error: {name}", *messages)
    assert len(done.err.strip().splitlines()) == 1


def test_a_file_that_is_not_there(elman, tree, tmp_path):
    (tmp_path / "train.csv").write_text(TEXT)
    (tmp_path / "folder").mkdir()
    call = ["train", "trian.csv"]
    refused(
        elman, tree, tmp_path, call, "trian.csv: there is no such file. Did you mean 'train.csv'"
    )
    refused(elman, tree, tmp_path, ["train", "no/train.csv"], "there is no folder 'no'")
    refused(elman, tree, tmp_path, ["train", "folder"], "there is no file in this folder")
    refused(elman, tree, tmp_path, ["train", "digts"], "no such file or task", "'digits'")
    refused(elman, tree, tmp_path, ["train"], "no file or task named", "digits, sum-threshold")
    call = ["train", "train.csv", "--test", "tset.csv"]
    refused(elman, tree, tmp_path, call, "tset.csv: there is no such file")
    call = ["train", "train.csv", "--config", "tran.toml"]
    refused(elman, tree, tmp_path, call, "tran.toml: no such file")


FLAGS = [
    (["--epoch", 3], ["No such option '--epoch'", "--epochs"]),
    (["--hiden-size", 3], ["No such option '--hiden-size'", "--hidden-size"]),
    (["--cell", "grru"], ["Invalid value for '--cell'", "'rnn', 'gru', 'lstm'"]),
    (["--epochs", "many"], ["Invalid value for '--epochs'", "'many' is not INTEGER"]),
    (["--epochs", "1.5"], ["Invalid value for '--epochs'"]),
    (["--batch-size", "all"], ["Invalid value for '--batch-size'", "INTEGER|full"]),
    (["--epochs", 0], ["epochs: got 0, expected greater than or equal to 1"]),
    (["--dropout", 1, "--hidden-size", 0], ["dropout: got 1.0", "hidden_size: got 0"]),
    (["--learning-rate", "nan"], ["learning_rate: got nan"]),
    (["--validation", 1], ["validation: got 1.0"]),
    (["--test", 0], ["test: got 0.0"]),
    (["--seed", -1], ["seed: got -1"]),
    (["--log-every", 0], ["--log-every"]),
    (["--target", "lable"], ["there is no column 'lable'", "Did you mean 'label'"]),
    (["--text", "txt"], ["there is no column 'txt'"]),
    (["--text", "text", "--values", "text"], ["--text and --values exclude each other"]),
    (["--values", "text"], ["line 2, column text", "is not a number"]),
    (["--format", "jsonl"], ["line 1", "not valid JSON"]),
    (["--format", "csv"], ["Invalid value for '--format'"]),
    (["--id", "text"], ["text.csv"]),
    (["--nonlinearity", "relu"], ["nonlinearity: 'relu' is an option of cell 'rnn'"]),
    (["--no-scale"], ["scale: got False, but the sequences are text", "Leave it out"]),
    (["--validation", 0, "--keep", "best"], ["keep 'best' and patience need a validation split"]),
    (["--validation", 0, "--patience", 2], ["keep 'best' and patience need a validation split"]),
    (["--validation", "test", "--keep", "best"], ["keep 'best' and patience need"]),
    (["--validation", "test", "--patience", 2], ["keep 'best' and patience need"]),
    (["--readout", "every"], ["readout: got 'every', but the target is one class per sequence"]),
    (["--out", "text.csv"], ["text.csv: is a file, expected a folder"]),
    (["--out", "text.csv/run"], ["a part of the path is a file, expected a folder"]),
    (["--out", "."], ["exists already"]),
    (["--out", ".", "--overwrite"], ["you are in it"]),
    (["extra.csv"], ["Got unexpected extra argument"]),
]


@pytest.mark.parametrize(("flags", "messages"), FLAGS, ids=[str(f) for f, _ in FLAGS])
def test_a_flag_that_cannot_be_honoured(elman, tree, tmp_path, flags, messages):
    (tmp_path / "text.csv").write_text(TEXT)
    refused(elman, tree, tmp_path, ["train", "text.csv", *flags], *messages)


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("values.csv", ["--embedding-size", 3], "embedding_size: got 3, but the sequences are num"),
        ("values.csv", ["--tokens", "words"], "tokens: got 'words', but the sequences are numbers"),
        ("values.csv", ["--token-dropout", 1], "token_dropout: got 1.0, but the sequences are num"),
        ("tokens.jsonl", ["--no-scale"], "scale: got False, but the sequences are tokens"),
        ("tokens.jsonl", ["--tokens", "words"], "tokens: got 'words', but the sequences are token"),
        (
            "tags.jsonl",
            ["--readout", "mean"],
            "readout: got 'mean', but the target is a class at every step.",
        ),
        (
            "stepstags.csv",
            ["--readout", "last"],
            "readout: got 'last', but the target is a class at every step",
        ),
        ("tokens.jsonl", ["--id", "label"], "--id means nothing for the format jsonl"),
    ],
)
def test_a_flag_that_the_data_cannot_honour(elman, tree, tmp_path, files, name, flags, message):
    refused(elman, tree, tmp_path, ["train", files / name, *flags], message)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--test", 0.3], "test: got 0.3, but waves is a built-in task"),
        (["--format", "rows"], "format: got 'rows', but waves is a built-in task"),
        (["--target", "x"], "target: got 'x', but waves is a built-in task"),
        (["--validation", "x.csv"], "validation: got 'x.csv', but waves is a built-in task"),
        (["--tokens", "words"], "tokens: got 'words', but the sequences are numbers"),
    ],
)
def test_a_flag_that_a_task_cannot_honour(elman, tree, tmp_path, flags, message):
    refused(elman, tree, tmp_path, ["train", "waves", *flags], message)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_cuda(elman, tree, tmp_path):
    call = ["train", "waves", "--device", "cuda"]
    refused(elman, tree, tmp_path, call, "device: got 'cuda', but torch finds no CUDA device here")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian", "x.csv"], "No such command 'trian'. Did you mean 'train'?"),
        (["--versoin"], "--version"),
        (["evaluate"], "Missing argument 'MODEL'"),
        (["evaluate", "run"], "Missing argument 'DATA'"),
        (["predict", "run", "new.csv"], "Missing option '-o'"),
        (["predict", "run", "new.csv", "-o", "no/p.csv"], "there is no folder no. Make it first"),
        (
            ["predict", "run", "new.csv", "-o", "p.xlsx"],
            "the ending '.xlsx' is not a format for pred",
        ),
        (["tasks", "waves", "more"], "Got unexpected extra argument"),
        (["check", "run", "new.csv", "--targt", "x"], "--target"),
        (["evaluate", "nowhere", "new.csv"], "nowhere"),
        (["predict", "nowhere", "new.csv", "-o", "-"], "nowhere"),
        (["check", "nowhere", "new.csv"], "nowhere"),
    ],
)
def test_a_call_that_is_wrong(elman, tree, tmp_path, words, message):
    refused(elman, tree, tmp_path, words, message)


def test_data_that_the_model_does_not_know(elman, tree, tmp_path, trained, files, others):
    (tmp_path / "new.csv").write_text("text,label\nold day,x\ngood day,z\nbad day,z\n")
    call = ["evaluate", trained("text.csv"), "new.csv"]
    message = "new.csv, line 3: classes that the training split does not have: 'z' (2 times)"
    refused(elman, tree, tmp_path, call, message)
    (tmp_path / "wide.ts").write_text("@classLabel true x y\n@data\n1,2:3,4:5,6:x\n")
    message = "wide.ts: 3 channels, expected 2 as before"
    for command in (["evaluate"], ["predict", "-o", "p.csv"], ["check"]):
        call = [command[0], trained("channels.ts"), "wide.ts", *command[1:]]
        refused(elman, tree, tmp_path, call, message)
    (tmp_path / "words.ts").write_text("@classLabel true x y\n@data\n1,b:3,4:x\n")
    call = ["predict", trained("channels.ts"), "words.ts", "-o", "p.csv"]
    refused(elman, tree, tmp_path, call, "words.ts, line 3", "channel 1, step 2")
    for run, data in (
        ("text.csv", "tokens.jsonl"),
        ("tokens.jsonl", "channels.ts"),
        ("channels.ts", "text.csv"),
        ("values.csv", "steps.csv"),
        ("tags.jsonl", "text.jsonl"),
    ):
        call = ["predict", trained(run), others / data, "-o", "p.csv"]
        refused(elman, tree, tmp_path, call, str(others / data))
    call = ["evaluate", trained("text.csv"), "waves"]
    refused(elman, tree, tmp_path, call, "the sequences are numbers, expected text as in training")
    call = ["evaluate", trained("steps.csv"), "running-parity"]
    refused(elman, tree, tmp_path, call, "a class at every step, expected one class per sequence")
    call = ["predict", trained("text.csv"), others / "text.csv", "-o", "p.csv", "--text", "txt"]
    refused(elman, tree, tmp_path, call, "there is no column 'txt'. Did you mean 'text'?")


DAMAGE = {
    "no config": lambda m: (m / "config.json").unlink(),
    "no weights": lambda m: (m / "model.safetensors").unlink(),
    "half a config": lambda m: (m / "config.json").write_text('{"format"'),
    "half of the weights": lambda m: (m / "model.safetensors").write_bytes(
        (m / "model.safetensors").read_bytes()[:100]
    ),
    "another estimator": lambda m: edit(m, "estimator", "subprocess.Popen"),
    "another parameter": lambda m: edit(m, "parameters", {"hiden_size": 3}),
    "another network": lambda m: edit(m, "model", {"cell": "x"}),
    "other classes": lambda m: edit(m, "target", {"classes": ["x"]}),
    "another layout": lambda m: edit(m, "layout", {"format": "xml"}),
}


def edit(model, key, value):
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, key: value}))
    seal(model)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_model(elman, tree, tmp_path, trained, others, damage):
    shutil.copytree(trained("text.csv"), tmp_path / "run")
    DAMAGE[damage](tmp_path / "run" / "model")
    data = others / "text.csv"
    for words in (
        ["evaluate", "run", data],
        ["predict", "run", data, "-o", "p.csv"],
        ["check", "run", data],
    ):
        refused(elman, tree, tmp_path, words, "run")


def test_what_is_there_is_not_written_over(elman, tree, tmp_path, trained, files, others, small):
    run = tmp_path / "run"
    shutil.copytree(trained("text.csv"), run)
    data = files / "text.csv"
    refused(elman, tree, tmp_path, ["train", data, "--out", run], "exists already", "--overwrite")
    (run / "notes.txt").write_text("mine")
    call = ["train", data, "--out", run, "--overwrite"]
    refused(elman, tree, tmp_path, call, "holds 'notes.txt', which is no part of an elman run")
    (run / "notes.txt").unlink()
    call = ["evaluate", run, data, "-o", run, "--overwrite"]
    refused(elman, tree, tmp_path, call, "is no part of an evaluation")
    # Wrong settings, and wrong data, leave the old run as it was.
    call = ["train", data, "--out", run, "--overwrite", "--no-scale"]
    refused(elman, tree, tmp_path, call, "scale: got False")
    call = ["train", "x.csv", "--out", run, "--overwrite"]
    refused(elman, tree, tmp_path, call, "x.csv")
    project = tmp_path / "project"
    project.mkdir()
    (project / "config.toml").write_text("mine")
    (project / "data.csv").write_text("mine")
    call = ["train", data, "--out", project, "--overwrite"]
    refused(elman, tree, tmp_path, call, "holds 'data.csv'")
    (tmp_path / "p.csv").write_text("mine")
    call = ["predict", run, data, "-o", "p.csv"]
    refused(elman, tree, tmp_path, call, "p.csv: exists already", "--overwrite")
    call = ["predict", run, data, "-o", "project", "--overwrite"]
    refused(elman, tree, tmp_path, call, "project: is a folder, expected a file")
    assert elman("predict", run, data, "-o", "p.csv", "--overwrite").code == 0
    assert (tmp_path / "p.csv").read_text().startswith("sequence,")
    assert elman("train", data, *small, "--out", run, "--overwrite").code == 0
    assert not list(tmp_path.glob(".*"))


def test_a_failing_prediction_leaves_the_old_file(elman, tree, tmp_path, trained):
    (tmp_path / "p.csv").write_text("old")
    (tmp_path / "bad.csv").write_text("text\n\n,\n")
    call = ["predict", trained("text.csv"), "bad.csv", "-o", "p.csv", "--overwrite"]
    refused(elman, tree, tmp_path, call, "bad.csv")


def test_a_training_that_diverges(elman, tree, tmp_path, files):
    call = ["train", files / "values.csv", "--cell", "rnn", "--nonlinearity", "relu"]
    call += ["--optimizer", "sgd", "--learning-rate", 1e9, "--clip-norm", 0, "--quiet"]
    done = elman(*call, "--out", "r")
    assert done.code == 1
    assert "training has diverged" in done.err
    assert "Lower the learning rate" in done.err
    # What was written is kept, and the message says what it is.
    assert "r is kept, unfinished. It holds the settings (config.toml)" in done.err
    assert "no epoch has ended, so there are no weights to keep" in done.err
    assert "elman train --config r/config.toml --learning-rate 1e+08 --out r --over" in done.err
    names = {p.name for p in (tmp_path / "r").iterdir()}
    assert names >= {"config.toml", "unfinished.json"} and "metrics.json" not in names
    # It can be replaced, and if that diverges too, the complete run before it stays beside it.
    again = ["train", files / "values.csv", *SMALL, "--out", "r", "--overwrite"]
    assert elman(*again).code == 0
    before = tree(tmp_path / "r")
    done = elman(*call, "--out", "r", "--overwrite")
    assert done.code == 1 and "stays in r.replaced until then" in done.err
    assert tree(tmp_path / "r.replaced") == before


def test_a_training_whose_loss_ends_far_above_that_of_an_untrained_network(elman, tmp_path, files):
    call = ["train", files / "values.csv", *SMALL, "--learning-rate", 30, "--out", "r"]
    done = elman(*call)
    assert done.code == 1
    assert done.err.startswith("Error: The training has diverged: its loss is ")
    assert "Try a learning rate of 3 instead of 30" in done.err
    assert "The run folder is complete" in done.err
    assert "The training has diverged" in (tmp_path / "r" / "report.html").read_text("utf-8")
    assert json.loads((tmp_path / "r" / "metrics.json").read_text())["epochs"] == 2


def test_a_name_that_is_not_unicode(elman, tree, tmp_path):
    refused(elman, tree, tmp_path, ["train", "caf\udce9.csv"], "is not UTF-8. Rename the file")


def test_not_enough_memory(elman, tree, tmp_path, files, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 4 TB")

    monkeypatch.setattr("elman.estimators.prepare.SequenceModel", fail)
    refused(elman, tree, tmp_path, ["train", files / "text.csv"], "not enough memory", "smaller")


def test_a_disk_that_is_full(elman, tree, tmp_path, files, small, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device", "runs/x/model.safetensors")

    monkeypatch.setattr("elman.estimators.storage.save_folder", fail)
    done = elman("train", files / "text.csv", "--out", "run", *small)
    assert done.code == 2, done.err
    assert "runs/x/model.safetensors: No space left on device" in done.err
    # The run is kept, because its training is done, and it can be completed.
    assert "To continue: elman train --resume run" in done.err
    monkeypatch.undo()  # also of the folder
    monkeypatch.chdir(tmp_path)
    assert elman("train", "--resume", "run").code == 0
    assert (tmp_path / "run/metrics.json").is_file()


def test_rows_are_counted_as_an_editor_counts(elman, tree, tmp_path):
    """A cell with a line break in it, before the fault."""
    with (tmp_path / "q.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["text", "label"], ["a\nb", "x"], ["c", "y"], ["", "x"]])
    refused(elman, tree, tmp_path, ["train", "q.csv"], "q.csv, line 5, column text")
