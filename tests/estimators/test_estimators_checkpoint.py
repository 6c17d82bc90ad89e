"""fit(checkpoint=): a fit that is cut off anywhere continues, and ends as an unbroken one."""

import copy
import os
import shutil

import numpy as np
import pytest
from cases import same_bits, weights_of

from elman import SequenceClassifier, SequenceRegressor, SequenceTagger
from elman.errors import SettingsError
from elman.train import Checkpoints
from elman.train.checkpoint import Saver, stored_seed

CASES = 8  # of those below that run by default; `slow` runs SLOW_CASES
SLOW_CASES = 300
ROWS = 20


def pick(rng, *values):
    return values[rng.integers(len(values))]


def sequences(rng, kind, count):
    """Sequences of 1 to 9 steps: numbers, numbers with gaps, tokens, text, or both."""
    lengths = rng.integers(1, 10, count)
    words = np.array(["an", "bee", "cat", "dog", "eel", "fox"])
    if kind == "tokens":
        return [list(rng.choice(words, length)) for length in lengths]
    if kind == "text":
        return [" ".join(rng.choice(words, length)) for length in lengths]
    tables = [rng.normal(size=(length, 2)) for length in lengths]
    if kind == "gaps":
        for table in tables:
            table[:-1][rng.random(table[:-1].shape) < 0.2] = np.nan
    if kind == "mixed":
        return [
            np.hstack([t.astype(object), rng.choice(words, (len(t), 1)).astype(object)])
            for t in tables
        ]
    return tables


def length_of(sequence):
    return len(sequence.split()) if isinstance(sequence, str) else len(sequence)


def targets(rng, task, X):
    """Targets that cannot be learned, so that every epoch changes the weights."""
    count = len(X)
    if task == "classification":
        return np.resize(["a", "b", "c"], count)
    if task == "multilabel":
        y = rng.integers(0, 2, (count, 3))
        y[:2] = [[1, 1, 0], [0, 0, 1]]
        return y
    if task == "regression":
        return rng.normal(size=(count, 2))
    if task == "tagging":
        y = [list(rng.choice(["x", "y"], length_of(x))) for x in X]
        y[0][0], y[1][0] = "x", "y"
        return y
    return [rng.normal(size=length_of(x)) for x in X]


def case(number):
    """One estimator with data, chosen at random from all that a training may depend on.

    Returns: a function that makes the estimator, and the arguments of `fit`.
    """
    rng = np.random.default_rng(number)
    task = pick(rng, "classification", "multilabel", "regression", "tagging", "numbers at steps")
    kind = pick(rng, "numbers", "gaps", "tokens", "text", "mixed")
    per_step = task in ("tagging", "numbers at steps")
    if per_step and kind == "text":
        kind = "tokens"
    losses = {"regression": ("auto", "absolute", "huber"), "multilabel": ("auto", "focal")}
    losses |= {"numbers at steps": losses["regression"]}
    held_out = pick(rng, 0.0, 0.3)
    options = {
        "cell": pick(rng, "rnn", "gru", "lstm"),
        "hidden_size": pick(rng, 3, 9),
        "num_layers": pick(rng, 1, 2),
        "bidirectional": pick(rng, False, True),
        "dropout": pick(rng, 0.0, 0.3),
        "epochs": 3,
        "batch_size": pick(rng, 5, 8, "full"),
        "optimizer": pick(rng, "adamw", "adam", "sgd"),
        "schedule": pick(rng, "cosine", "constant"),
        "loss": pick(rng, *losses.get(task, ("auto", "auto", "focal"))),
        "clip_norm": pick(rng, 1.0, 0.0),
        "validation": held_out,
        "patience": pick(rng, 0, 1, 2) if held_out else 0,
        "threads": pick(rng, 1, 2),
        "learning_rate": 0.02,
        "random_state": number,
        "keep_epochs": number % 3,
    }
    if held_out:
        options["keep"] = pick(rng, "best", "last")
    if kind in ("tokens", "text", "mixed"):
        options["token_dropout"] = pick(rng, 0.0, 2.0)
    if kind not in ("tokens", "text"):
        options["noise"] = pick(rng, 0.0, 0.2)
    if not per_step:
        options["readout"] = pick(rng, "last", "mean", "max")
    if task in ("classification", "multilabel", "tagging"):
        options["class_weight"] = pick(rng, None, "balanced")
        if options["loss"] == "auto":
            options["label_smoothing"] = pick(rng, 0.0, 0.1)
    X = sequences(rng, kind, ROWS)
    arguments = {"X": X, "y": targets(rng, task, X)}
    if rng.random() < 0.3:
        arguments["sample_weight"] = rng.random(ROWS) + 0.1
    if rng.random() < 0.3:
        arguments["static"] = rng.normal(size=(ROWS, 2))
    elif rng.random() < 0.4:
        test = sequences(rng, kind, 8)
        arguments["test_data"] = (test, targets(rng, task, test))
    estimators = {"tagging": SequenceTagger, "regression": SequenceRegressor}
    estimators["numbers at steps"] = SequenceRegressor
    if task == "numbers at steps":
        options["readout"] = "every"
    kind_of = estimators.get(task, SequenceClassifier)
    return lambda: kind_of(**options), arguments


def fit_and_copy(make, arguments, folder, monkeypatch):
    """Fit with a checkpoint after each batch; return the estimator and copies of the folder."""
    save, copies = Saver.save, []

    def saving(self, state):
        save(self, state)
        copy = folder.with_name(f"{folder.name}-{len(copies)}")
        shutil.copytree(folder, copy)
        copies.append(copy)

    with monkeypatch.context() as patch:
        patch.setattr(Saver, "save", saving)
        fitted = make().fit(**arguments, checkpoint=folder, checkpoint_every=0)
    return fitted, copies


def files_of(estimator, folder):
    """The bytes of the model folder."""
    estimator.save(folder)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def assert_continues(number, tmp_path, monkeypatch, most):
    """One case, continued from `most` of its checkpoints."""
    make, arguments = case(number)
    fitted, copies = fit_and_copy(make, arguments, tmp_path / "c", monkeypatch)
    unbroken = make().fit(**arguments)
    expected = files_of(unbroken, tmp_path / "unbroken")
    assert files_of(fitted, tmp_path / "fitted") == expected, number
    chosen = np.random.default_rng(number).permutation(len(copies))[:most]
    for i in chosen:
        continued = make().fit(**arguments, checkpoint=copies[i])
        assert continued.history_ == unbroken.history_, (number, i)
        assert files_of(continued, tmp_path / f"continued-{i}") == expected, (number, i)
    return len(chosen)


@pytest.mark.parametrize("number", range(CASES))
def test_continued_fit_ends_with_the_same_bytes(number, tmp_path, monkeypatch):
    assert_continues(number, tmp_path, monkeypatch, 2)


@pytest.mark.slow
def test_continued_fits_end_with_the_same_bytes(tmp_path, monkeypatch):
    count = 0
    for number in range(CASES, CASES + SLOW_CASES):
        folder = tmp_path / str(number)
        folder.mkdir()
        count += assert_continues(number, folder, monkeypatch, 100)
        shutil.rmtree(folder)
        print(number, count, flush=True)


OPTIONS = {"cell": "gru", "hidden_size": 4, "epochs": 4, "batch_size": 8, "dropout": 0.2}
OPTIONS |= {"noise": 0.1, "random_state": 0}
DATA = np.random.default_rng(0).normal(size=(24, 5, 2)).astype(np.float32)
LABELS = np.resize(["a", "b", "c"], 24)


def small(**changes):
    return SequenceClassifier(**{**OPTIONS, **changes})


def fit(folder=None, X=DATA, y=LABELS, make=small, **more):
    return make().fit(X, y, checkpoint=folder, checkpoint_every=0, **more)


def interrupt_after(epoch):
    def on_epoch(record):
        if record.epoch == epoch:
            raise KeyboardInterrupt

    return on_epoch


def same(one, other):
    weights = same_bits(weights_of(one.model_), weights_of(other.model_))
    return weights and one.history_ == other.history_


def test_an_interrupted_fit_stops_early_and_is_continued_by_the_next(tmp_path):
    stopped = fit(tmp_path / "c", on_epoch=interrupt_after(2))
    assert stopped.history_.stopped == "interrupted after epoch 2"
    assert len(stopped.predict(DATA)) == 24
    continued = fit(tmp_path / "c")
    assert continued.history_.stopped == "all epochs done"
    assert same(continued, small().fit(DATA, LABELS))


def test_without_a_random_state_the_seed_of_the_checkpoint_is_used(tmp_path):
    def make():
        return small(random_state=None)

    fit(tmp_path / "c", make=make, on_epoch=interrupt_after(2))
    continued = fit(tmp_path / "c", make=make)
    seed = stored_seed(Checkpoints(tmp_path / "c"), None)
    assert same(continued, small(random_state=seed).fit(DATA, LABELS))
    assert not same(continued, fit(tmp_path / "other", make=make))


def test_a_complete_fit_is_not_repeated(tmp_path, monkeypatch):
    first = fit(tmp_path / "c")
    monkeypatch.setattr("elman.data.batches.make_batch", None)  # no batch is trained
    records = []
    assert same(fit(tmp_path / "c", on_epoch=records.append), first)
    assert records == first.history_.epochs


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    folder = tmp_path_factory.mktemp("complete") / "c"
    fit(folder, validation_data=(DATA[:6], LABELS[:6]), sample_weight=np.arange(24) + 1.0)
    return folder


OTHER = [
    ({"make": lambda: small(hidden_size=5)}, "hidden_size was 4 and is 5"),
    ({"make": lambda: small(learning_rate=0.5)}, r"learning_rate was \S+ and is 0\.5"),
    ({"make": lambda: small(random_state=1)}, "seed was 0 and is 1"),
    ({"make": lambda: small(epochs=5)}, "epochs was 4 and is 5"),
    (
        {"make": lambda: small(class_weight={"a": 2.0})},
        "class_weight was None.*class weights: none before",
    ),
    ({"X": DATA + 1e-3 * (np.arange(24) == 7)[:, None, None]}, "the training split changed"),
    ({"y": np.roll(LABELS, 1)}, "the training split changed"),
    ({"sample_weight": np.ones(24)}, "the training split changed"),
    ({"validation_data": (DATA[:6], LABELS[1:7])}, ": the validation split changed"),
    ({"test_data": (DATA[:6], LABELS[:6])}, "the test split"),
    (
        {
            "static": np.arange(24.0),
            "validation_data": (DATA[:6], LABELS[:6], None, np.arange(6.0)),
        },
        "static_size was 0 and is 1",
    ),
]


@pytest.mark.parametrize(("change", "message"), OTHER, ids=[m[:30] for _, m in OTHER])
def test_another_training_is_refused_and_the_message_says_what_changed(complete, change, message):
    same_as_before = {
        "validation_data": (DATA[:6], LABELS[:6]),
        "sample_weight": np.arange(24) + 1.0,
    }
    with pytest.raises(SettingsError, match=f"holds a checkpoint of another training.*{message}"):
        fit(complete, **{**same_as_before, **change})


def test_what_does_not_change_the_result_is_not_refused(complete):
    """The native calls give the same bits for any number of threads; verbose only prints."""
    arguments = {"validation_data": (DATA[:6], LABELS[:6])}
    weights = np.arange(24) + 1.0  # with sample weights autograd computes, and threads count
    with pytest.raises(SettingsError, match="threads was 1 and is 2"):
        fit(complete, sample_weight=weights, make=lambda: small(threads=2), **arguments)
    again = fit(complete, sample_weight=weights, make=lambda: small(verbose=9), **arguments)
    assert len(again.history_.epochs) == 4


def test_threads_may_change_where_the_kernels_train(tmp_path):
    fit(tmp_path / "c", on_epoch=interrupt_after(2))
    continued = fit(tmp_path / "c", make=lambda: small(threads=2))
    assert same(continued, small().fit(DATA, LABELS))


def test_warm_start_continues_from_its_own_weights(tmp_path):
    """The folder of the first fit is refused; one of its own works, and is continued."""
    first = fit(tmp_path / "first").set_params(warm_start=True)
    with pytest.raises(SettingsError, match="the initial weights changed"):
        first.fit(DATA, LABELS, checkpoint=tmp_path / "first", checkpoint_every=0)
    assert same(first, small().fit(DATA, LABELS))  # unchanged by the refusal
    unbroken = clone_fitted(first).fit(DATA, LABELS)
    once = clone_fitted(first)
    once.fit(
        DATA, LABELS, checkpoint=tmp_path / "c", checkpoint_every=0, on_epoch=interrupt_after(2)
    )
    again = clone_fitted(first).fit(DATA, LABELS, checkpoint=tmp_path / "c", checkpoint_every=0)
    assert same(again, unbroken)
    assert not same(again, first)


def clone_fitted(estimator):
    return copy.deepcopy(estimator)


@pytest.mark.parametrize("every", [-1, float("nan"), float("inf"), "30", True, None])
def test_seconds_are_checked_before_anything_is_read(every, tmp_path):
    with pytest.raises(
        SettingsError, match=r"checkpoint_every: got .*, expected seconds, 0 or more"
    ):
        small().fit(None, None, checkpoint=tmp_path, checkpoint_every=every)


@pytest.mark.parametrize("name", ["notes.txt", "000000000001", "model"])
def test_a_folder_that_holds_something_else_is_refused_and_left_alone(name, tmp_path):
    (tmp_path / name).write_text("mine")
    with pytest.raises(SettingsError, match=f"holds {name}, expected nothing but checkpoints"):
        fit(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with pytest.raises(SettingsError, match="is a file, expected a folder of checkpoints"):
        fit(tmp_path / name)
    assert (tmp_path / name).read_text() == "mine"


def test_a_link_in_the_folder_is_refused(complete, tmp_path):
    (tmp_path / "000000000001").symlink_to(complete / max(p.name for p in complete.iterdir()))
    with pytest.raises(SettingsError, match="holds 000000000001"):
        fit(tmp_path)


def test_two_fits_at_once_do_not_share_a_folder(tmp_path):
    refused = []

    def second(record):
        if record.epoch == 1:
            with pytest.raises(SettingsError, match=f"process {os.getpid()} is writing there"):
                fit(tmp_path / "c")
            refused.append(record)

    first = fit(tmp_path / "c", on_epoch=second)
    assert refused and same(first, small().fit(DATA, LABELS))


class Watching:
    """An observer: it sees the network, so epochs without their weights are not repeated."""

    def __init__(self, until=99):
        self.until, self.epochs = until, []

    def begin(self, model, training, loss):
        pass

    def epoch(self, record):
        self.epochs.append(record.epoch)
        if record.epoch == self.until:
            raise KeyboardInterrupt


def test_epochs_are_repeated_to_a_function_but_not_to_an_observer(tmp_path):
    observer, again, records = Watching(2), Watching(), []
    fit(tmp_path / "c", on_epoch=observer)
    shutil.copytree(tmp_path / "c", tmp_path / "d")
    fit(tmp_path / "c", on_epoch=again)
    fit(tmp_path / "d", on_epoch=lambda record: records.append(record.epoch))
    assert (observer.epochs, again.epochs, records) == ([1, 2], [3, 4], [1, 2, 3, 4])
