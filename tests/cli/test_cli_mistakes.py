"""One mistake of each kind for every command: the message says what, where, expected and remedy."""

import os

import pytest

TRAIN = [
    (["missing.csv"], ["missing.csv: there is no such file", "The folder holds"]),
    (["txet.csv"], ["Did you mean 'text.csv'?"]),
    (["no/text.csv"], ["there is no folder 'no'. Check the path"]),
    (["empty.csv"], ["empty.csv: the file is empty. Check that it was written to the end"]),
    (["empty"], ["there is no file in this folder. Give a file, or a folder with a file"]),
    (["damaged.parquet"], ["cannot be read as Parquet", "Check that it was written"]),
    (["RUN"], ["is the folder of a run or model, expected data. To use the model: elman predict"]),
    (["text.csv", "--target", "lable"], ["no column 'lable'. Did you mean 'label'?"]),
    (["text.csv", "--test", "values.csv"], ["values.csv: there is no column 'text'"]),
    (["text.csv", "--config", "empty"], ["empty: is a folder, expected a TOML file"]),
    (["text.csv", "--config", "RUN"], ["expected a TOML file, such as ", "config.toml"]),
    (
        ["steps.csv", "--id", "id", "--time", "t", "--window", 99],
        ["window: got 99, but the longest"],
    ),
    (["text.csv", "--class-weight", "ballanced"], ["Did you mean 'balanced'?"]),
    (["text.csv", "--out", "empty.csv"], ["empty.csv: is a file, expected a folder"]),
    (["text.csv", "--epoch", 3], ["No such option '--epoch'. Did you mean '--epochs'?"]),
]
APPLY = [
    (["text.csv", "text.csv"], ["text.csv: is a file, expected the folder of a model or run"]),
    (["empty", "text.csv"], ["empty: no config.json there. Expected a model folder, which `save`"]),
    (
        ["stopped", "text.csv"],
        ["this run has no model", "elman train --config stopped/config.toml"],
    ),
    (["RUN/model/config.json", "text.csv"], ["is a file", "such as ", "/model"]),
    (["nowhere", "text.csv"], ["nowhere: no such folder"]),
    (["RUN", "missing.csv"], ["missing.csv: there is no such file"]),
    (["RUN", "digts"], ["no such file or task: 'digts'. Did you mean 'digits'?"]),
    (["RUN", "empty.csv"], ["the file is empty"]),
    (["RUN", "values.csv"], ["values.csv: there is no column 'text'"]),
    (["RUN", "text.csv", "--text", "txt"], ["no column 'txt'. Did you mean 'text'?"]),
    (["RUN", "text.csv", "--targt", "x"], ["Did you mean '--target'?"]),
    (["RUN", "new.csv"], ["'z'"]),
]
PREDICT = [
    (["-o", "empty"], ["empty: is a folder, expected a file to write"]),
    (["-o", "no/p.csv"], ["there is no folder no. Make it first"]),
    (["-o", "text.csv"], ["text.csv: exists already"]),
    (["-o", "p.xlsx"], ["the ending '.xlsx' is not a format for predictions; expected CSV (.csv)"]),
    (["-o", "locked/p.csv"], ["no permission to write there. Name another with --out"]),
]
CALLS = [
    *((["train", *words], messages) for words, messages in TRAIN),
    *(
        ([command, *words, *(["-o", "p.csv"] if command == "predict" else [])], messages)
        for command in ("evaluate", "predict", "check", "explain")
        for words, messages in APPLY
        if words[-1] != "new.csv" or command == "evaluate"
    ),
    *((["predict", "RUN", "text.csv", *words], messages) for words, messages in PREDICT),
    (["explain", "RUN", "text.csv", "--about", "z"], ["about: got 'z', expected one of 'x', 'y'"]),
    (["explain", "RUN", "text.csv", "--row", "lin 3"], ["Did you mean 'line 3'?"]),
    (["data", "missing.csv"], ["there is no such file"]),
    (["data", "text.csv", "--test", "missing.csv"], ["missing.csv: there is no such file"]),
    (["data", "digits", "--target", "x"], ["--target: digits is a built-in task. Leave it out"]),
    (["tasks", "digts"], ["There is no task 'digts'. Did you mean 'digits'?"]),
    (["info", "--jsn"], ["Did you mean '--json'?"]),
    (["help", "evalute"], ["Did you mean 'evaluate'?"]),
    (["evalute", "RUN", "text.csv"], ["No such command 'evalute'. Did you mean 'evaluate'?"]),
]


@pytest.fixture
def place(tmp_path, files, monkeypatch):
    """A folder with files of every kind that is wrong."""
    for name in ("text.csv", "values.csv", "steps.csv"):
        (tmp_path / name).write_bytes((files / name).read_bytes())
    (tmp_path / "new.csv").write_text("text,label\na good day,z\na bad day,x\n")
    for name in ("empty.csv", "stopped/config.toml", "stopped/metrics.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "damaged.parquet").write_text("garbage")
    for name in ("empty", "locked"):
        (tmp_path / name).mkdir()
    # Not by chmod, which does not bind the administrator, who may run the tests.
    allowed = os.access
    monkeypatch.setattr(
        "os.access", lambda path, mode: "locked" not in str(path) and allowed(path, mode)
    )
    return tmp_path


@pytest.mark.parametrize(
    ("words", "messages"), CALLS, ids=[" ".join(map(str, c[0])) for c in CALLS]
)
def test_a_mistake(elman, tree, place, trained, words, messages):
    run = trained("text.csv")
    before = tree(place), tree(run)
    done = elman(*(str(word).replace("RUN", str(run)) for word in words))
    assert done.code == 2, (done.out, done.err)
    assert done.err.count("Error: ") == 1
    for message in messages:
        assert message in done.err, done.err
    assert (tree(place), tree(run)) == before
