"""What a run leaves that fails: all as it was, or an unfinished run that can be continued."""

import shutil
from pathlib import Path

import pytest
from run_files import same_files, tree

from elman import ElmanError, SettingsError, files, load
from elman.errors import NonFiniteError
from elman.runs.experiment import resume, run
from elman.runs.folder import RUN, check_output_folder
from elman.runs.unfinished import describe

FORWARD = "elman.train.gradients.OneCall.__call__"


def quiet_run(settings, **given):
    return run(settings, **{"verbose": 0, "echo": lambda text: None, **given})


def quiet_resume(folder, **given):
    return resume(folder, **{"verbose": 0, "echo": lambda text: None, **given})


def stop_at(monkeypatch, where, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(where, fail)


@pytest.fixture(scope="module")
def _place(tmp_path_factory):
    return tmp_path_factory.mktemp("whole") / "run"


@pytest.fixture
def whole(_place, settings):
    """A complete run, not to be changed."""
    return _place if _place.exists() else quiet_run(settings(), out=_place).folder


@pytest.fixture
def complete_run(whole):
    """From a path to a complete run there."""
    return lambda out: Path(shutil.copytree(whole, out))


@pytest.fixture
def killed(monkeypatch):
    """A kill: the process ends at a function, and nothing of it runs any more."""

    class Killed(BaseException):
        pass

    def kill(where, call):
        with monkeypatch.context() as patch:
            stop_at(patch, where, Killed())
            patch.setattr("elman.runs.folder._has_progress", lambda folder: True)
            with pytest.raises(Killed):
                call()

    return kill


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), ElmanError("diverged"), MemoryError()])
def test_a_run_that_fails_before_anything_is_done_leaves_all_as_it_was(
    settings, tmp_path, complete_run, monkeypatch, error, overwrite
):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "runs" / "mine"
    if overwrite:
        complete_run(out)
    was = tree(tmp_path)
    stop_at(monkeypatch, FORWARD, error)
    with pytest.raises(type(error)) as caught:
        quiet_run(settings(), out=out, overwrite=overwrite)
    assert tree(tmp_path) == was
    assert not hasattr(caught.value, "__notes__")


def test_settings_that_do_not_go_with_the_data_leave_nothing(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for wrong in (
        {"data": {"scale": False}},
        {"model": {"readout": "every"}},
        {"data": {"validation": 0.0}, "training": {"patience": 3}},
        {"data": {"target": "nothing"}},
        {"data": {"test": "nothing.csv"}},
    ):
        with pytest.raises(ElmanError):
            quiet_run(settings(**wrong))
    assert list(tmp_path.iterdir()) == []  # not even an empty runs/


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("elman.runs.experiment._evaluate", KeyboardInterrupt()),
        ("elman.plots.save_all", KeyboardInterrupt()),
        ("elman.runs.report_page.render", OSError(5, "Input/output error")),
        ("elman.runs.experiment._metrics", MemoryError()),
    ],
)
def test_an_evaluation_that_stops_is_finished_later(
    settings, tmp_path, monkeypatch, whole, where, error
):
    with monkeypatch.context() as patch:
        stop_at(patch, where, error)
        with pytest.raises(type(error)) as caught:
            quiet_run(settings(), out=tmp_path / "mine")
    out = tmp_path / "mine"
    note = f"The run stopped {describe(out)}"
    notes = getattr(caught.value, "__notes__", [])
    assert notes == [note][isinstance(error, KeyboardInterrupt) :]
    assert note.startswith("The run stopped after epoch 2, in the evaluation. To continue: ")
    assert note.endswith(f"elman train --resume {out}")
    # The trained model is not lost, whether or not the run goes on.
    assert load(out).predict(["a good day"]).shape == (1,)
    assert not (out / "metrics.json").exists()
    quiet_resume(out)
    same_files(out, whole)


def test_a_replaced_run_stays_until_the_new_one_is_complete(
    settings, tmp_path, complete_run, killed
):
    out = tmp_path / "mine"
    complete_run(out)
    old = tree(out)
    changed = settings(training={"seed": 1})
    killed("elman.plots.save_all", lambda: quiet_run(changed, out=out, overwrite=True))
    beside = tmp_path / "mine.replaced"
    assert tree(beside) == old
    assert load(out).random_state == 1
    with pytest.raises(SettingsError) as caught:
        quiet_run(settings(), out=out)
    text = str(caught.value)
    assert "holds an unfinished run, which stopped after epoch 2, in the evaluation" in text
    assert f"To continue: elman train --resume {out}" in text and "--overwrite" in text
    assert f"The run that it is to replace stays in {beside} until then" in text
    # A second --overwrite gives the unfinished run up and keeps the complete one.
    killed(FORWARD, lambda: quiet_run(settings(), out=out, overwrite=True))
    assert tree(beside) == old
    assert {p.name for p in tmp_path.iterdir() if p.is_dir()} == {"mine", "mine.replaced"}
    quiet_resume(out)
    assert {p.name for p in tmp_path.iterdir()} == {"mine"}
    assert load(out).random_state == 0


def test_an_unfinished_run_is_kept_until_the_one_that_replaces_it_is_complete(
    settings, tmp_path, killed
):
    out = tmp_path / "mine"
    killed("elman.plots.save_all", lambda: quiet_run(settings(), out=out))
    was = tree(out)
    killed(FORWARD, lambda: quiet_run(settings(), out=out, overwrite=True))
    assert tree(tmp_path / "mine.replaced") == was
    quiet_resume(out)
    assert {p.name for p in tmp_path.iterdir()} == {"mine"}


def test_what_a_user_called_replaced_is_not_touched(settings, tmp_path, complete_run, killed):
    out = tmp_path / "mine"
    complete_run(out)
    for name in ("mine.replaced", "mine.replaced-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.tex").write_text("mine")
    killed(FORWARD, lambda: quiet_run(settings(), out=out, overwrite=True))
    assert (tmp_path / "mine.replaced-3" / "metrics.json").is_file()
    quiet_resume(out)
    assert {p.name for p in tmp_path.iterdir()} == {"mine", "mine.replaced", "mine.replaced-2"}
    assert (tmp_path / "mine.replaced" / "thesis.tex").read_text() == "mine"


def test_killed_before_the_new_run_takes_the_place_of_the_old(
    settings, tmp_path, complete_run, killed
):
    out = tmp_path / "mine"
    complete_run(out)
    old = tree(out)
    killed("elman.runs.folder._exchange", lambda: quiet_run(settings(), out=out, overwrite=True))
    assert tree(out) == old
    quiet_run(settings(), out=out, overwrite=True)
    assert {p.name for p in tmp_path.iterdir()} == {"mine"}


@pytest.mark.parametrize(
    "where", ["elman.runs.folder.Record.read", "elman.runs.experiment.complete"]
)
def test_killed_within_the_last_lines(settings, tmp_path, complete_run, killed, where):
    """Everything is written, and unfinished.json is still there: the run counts as complete."""
    out = tmp_path / "mine"
    complete_run(out)
    killed(where, lambda: quiet_run(settings(), out=out, overwrite=True))
    assert (out / "unfinished.json").exists() and (out / "metrics.json").exists()
    with pytest.raises(SettingsError, match="is complete; there is nothing to resume"):
        quiet_resume(out)
    assert not (out / "unfinished.json").exists()
    assert {p.name for p in tmp_path.iterdir()} == {"mine"}


def test_a_system_that_cannot_exchange_folders(
    settings, tmp_path, complete_run, monkeypatch, killed
):
    monkeypatch.setattr("elman.files.exchange", lambda first, second: False)
    out = tmp_path / "mine"
    complete_run(out)
    old = tree(out)
    killed(FORWARD, lambda: quiet_run(settings(), out=out, overwrite=True))
    assert tree(tmp_path / "mine.replaced") == old
    quiet_resume(out)
    assert {p.name for p in tmp_path.iterdir()} == {"mine"}


def test_a_second_process_is_refused(settings, tmp_path, complete_run, monkeypatch):
    out = tmp_path / "mine"
    complete_run(out)
    caught = []

    def second(*_, **__):
        for overwrite in (False, True):
            with pytest.raises(SettingsError) as error:
                quiet_run(settings(), out=out, overwrite=overwrite)
            caught.append(str(error.value))
        with pytest.raises(SettingsError) as error:
            quiet_resume(out)
        caught.append(str(error.value))
        raise KeyboardInterrupt

    was = tree(out)
    monkeypatch.setattr("elman.runs.experiment._train", second)
    with pytest.raises(KeyboardInterrupt):
        quiet_run(settings(), out=out, overwrite=True)
    assert all("is writing there" in text for text in caught), caught
    assert tree(out) == was


def test_two_runs_that_choose_the_same_name(settings, tmp_path, monkeypatch):
    """The slower one takes the next name; it must not remove the other's files."""
    monkeypatch.chdir(tmp_path)
    lock, made = files.lock, []

    def slow(folder):
        if not made:
            made.append(folder)
            quiet_run(settings(), out=folder)
        return lock(folder)

    monkeypatch.setattr(files, "lock", slow)
    done = quiet_run(settings(training={"seed": 1}))
    assert done.folder.name == made[0].name + "-2"
    assert load(made[0]).random_state == 0


def test_a_default_folder_beside_an_unfinished_run(settings, tmp_path, monkeypatch, killed):
    monkeypatch.chdir(tmp_path)
    killed(FORWARD, lambda: quiet_run(settings()))
    (first,) = (tmp_path / "runs").glob("[0-9]*")
    said = []
    done = quiet_run(settings(), echo=said.append)
    assert done.folder.name == first.name + "-2"
    name = first.relative_to(tmp_path)
    note = f"{name} is unfinished; it stopped in epoch 1 of 2. To continue: elman train --resume"
    assert f"{note} {name}" in said


def test_a_run_in_the_folder_that_one_is_in(settings, tmp_path, monkeypatch):
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    stop_at(monkeypatch, FORWARD, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        quiet_run(settings(), out=type(empty)("."))
    assert list(empty.iterdir()) == []
    monkeypatch.undo()
    monkeypatch.chdir(empty)
    quiet_run(settings(), out=type(empty)("."))
    assert (empty / "metrics.json").is_file()
    with pytest.raises(SettingsError, match=r"you are in it\. Go to another folder"):
        check_output_folder(type(empty)("."), True, RUN)


def test_a_link_to_a_run(settings, tmp_path, complete_run):
    real, link = tmp_path / "real", tmp_path / "link"
    complete_run(real)
    link.symlink_to(real)
    quiet_run(settings(training={"seed": 1}), out=link, overwrite=True)
    assert link.is_symlink() and load(real).random_state == 1
    assert {p.name for p in tmp_path.iterdir()} == {"real", "link"}


def test_a_training_that_diverges_in_its_first_epoch(settings, tmp_path, monkeypatch):
    stop_at(monkeypatch, FORWARD, NonFiniteError("the training has diverged"))
    with pytest.raises(NonFiniteError) as caught:
        quiet_run(settings(), out=tmp_path / "mine")
    (note,) = caught.value.__notes__
    assert "but no epoch has ended, so there are no weights to keep" in note
    assert f"elman train --config {tmp_path / 'mine' / 'config.toml'} --learning-rate 0.0" in note
