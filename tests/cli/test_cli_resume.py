"""`elman train --resume` and `--finish`: what they refuse, and what they say."""

import pytest


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["x.csv"], "DATA: a resumed run keeps its data and settings"),
        (["--epochs", 3], "--epochs: a resumed run keeps its data and settings"),
        (["--no-scale"], "--scale: a resumed run keeps"),
        (["--out", "r", "--overwrite"], "--out, --overwrite: a resumed run keeps"),
        (["--config", "c.toml", "--print-config"], "--config, --print-config: a resumed run"),
    ],
)
def test_what_would_change_a_resumed_run_is_refused(elman, words, message):
    done = elman("train", "--resume", "my run", *words)
    assert done.code == 2
    assert message in done.err
    assert "out: elman train --resume 'my run'\n" in done.err


def test_finish_belongs_to_resume(elman):
    done = elman("train", "x.csv", "--finish")
    assert done.code == 2
    assert "Expected: elman train --resume RUN --finish" in done.err


def test_what_is_no_unfinished_run(elman, tree, trained, tmp_path):
    run = trained("text.csv")
    was = tree(run)
    for flags in ([], ["--finish"]):
        done = elman("train", "--resume", run, *flags)
        assert (done.code, tree(run)) == (2, was)
        assert f"{run}: is complete; there is nothing to resume. See {run}/report.html" in done.err
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("nowhere", "no such folder"),
        ("file", "is a file, expected the folder of an unfinished run"),
        ("empty", "holds no unfinished run, because there is no unfinished.json"),
    ):
        done = elman("train", "--resume", name)
        assert done.code == 2 and f"{name}: {message}" in done.err
    assert {p.name for p in tmp_path.iterdir()} == {"file", "empty"}


def test_a_time_between_checkpoints_that_is_none(elman, files, tmp_path):
    for every in ("inf", "nan", "-1", "x"):
        done = elman("train", files / "text.csv", "--checkpoint-every", every, "--out", "r")
        assert done.code == 2 and "checkpoint" in done.err, done.err
    assert list(tmp_path.iterdir()) == []


def test_a_diverged_run_is_finished(elman, tmp_path):
    flags = ["--cell", "rnn", "--nonlinearity", "relu", "--optimizer", "sgd", "--clip-norm", 0]
    flags += ["--learning-rate", 1000, "--warmup", 0.9, "--patience", 0, "--hidden-size", 4]
    flags += ["--epochs", 30, "--validation", 0.1, "--no-diagnostics", "--out", "r"]
    done = elman("train", "waves:train=100,test=40", *flags)
    assert done.code == 1
    assert "save these weights: elman train --resume r --finish\n" in done.err
    done = elman("train", "--resume", "r", "--finish")
    # The weights of that epoch are saved, and are said to be no good.
    assert done.code == 1 and "The run folder is complete" in done.err
    assert "Resuming r, which stopped in epoch 2 of 30" in done.out
    assert "ended on request after epoch 1; the weights of epoch 1 are evaluated" in done.out
    assert (tmp_path / "r" / "metrics.json").is_file()
