"""A saved model is the same model; a folder that is damaged or edited is refused with a reason."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from elman import ModelFileError, SequenceClassifier, SequenceTagger, load
from elman.files import seal

FILES = {"model.safetensors", "config.json", "README.md", "manifest.json"}
SMALL = {"hidden_size": 4, "epochs": 2, "random_state": 0}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folders of fitted models, by kind; copy one before changing it."""
    root = tmp_path_factory.mktemp("models")
    rng = np.random.default_rng(0)
    numbers = [rng.normal(i % 2, 1, (3, 2)) for i in range(12)]
    tokens = [["a", "b", "yes" if i % 2 else "no"] for i in range(12)]
    models = {
        "numbers": SequenceClassifier(**SMALL).fit(numbers, ["x", "y"] * 6),
        "tokens": SequenceClassifier(**SMALL).fit(tokens, [0, 1] * 6),
        "text": SequenceClassifier(**SMALL).fit([" ".join(t) for t in tokens], [False, True] * 6),
        "tags": SequenceTagger(**SMALL).fit(tokens, [["A", "B", "YN"[i % 2]] for i in range(12)]),
    }
    inputs = {"numbers": numbers, "tokens": tokens, "text": [" ".join(t) for t in tokens]}
    inputs["tags"] = tokens
    for name, model in models.items():
        model.save(root / name)
    return root, models, inputs


@pytest.mark.parametrize("kind", ["numbers", "tokens", "text", "tags"])
def test_all_of_it_comes_back(saved, kind, tmp_path):
    root, models, inputs = saved
    model, X = models[kind], inputs[kind]
    again = load(root / kind)
    assert again.get_params() == model.get_params()
    assert again.classes_.tolist() == model.classes_.tolist()
    # How long an epoch took is not saved: the same training always writes the same bytes.
    untimed = [dataclasses.replace(record, seconds=None) for record in model.history_.epochs]
    assert again.history_ == dataclasses.replace(model.history_, epochs=untimed)
    assert again.history_.gradients.startswith("gradients by one native call")
    assert again.encoder_.to_dict() == model.encoder_.to_dict()
    assert again.model_.config == model.model_.config
    assert not again.model_.training
    for got, expected in zip(again.predict_proba(X), model.predict_proba(X), strict=True):
        assert np.array_equal(got, expected)
    assert again.predict(X[:3])[0].dtype == model.predict(X[:3])[0].dtype
    y = model.predict(X)
    assert str(again.evaluate(X, y)) == str(model.evaluate(X, y))
    again.plot_history()
    again.save(tmp_path / "again")
    for file in FILES:
        assert (tmp_path / "again" / file).read_bytes() == (root / kind / file).read_bytes()
    # A loaded model can be trained afresh.
    again.fit(X, y if kind == "tags" else model.classes_.tolist() * 6)


def test_the_files_hold_no_pickle(saved):
    root, models, _ = saved
    for kind in models:
        files = {p.name for p in (root / kind).iterdir()}
        assert files == FILES
        for path in (root / kind).iterdir():
            # A pickle begins with 0x80 and its protocol, 2 to 5; the size of a header may be 0x80.
            start = path.read_bytes()[:2]
            assert not (start[0] == 0x80 and start[1] <= 5)
        json.loads((root / kind / "config.json").read_text(), parse_constant=pytest.fail)


def test_the_card_says_what_it_is(saved):
    root, *_ = saved
    text = (root / "tags" / "README.md").read_text()
    assert text.startswith("---\nlibrary_name: elman\npipeline_tag: token-classification\n")
    assert "SequenceTagger: a label at every step" in text
    assert "`A`, `B`, `N`, `Y`" in text
    assert "; gradients by one native call a batch (" in text


def test_saving_over_a_model_and_not_over_else(saved, tmp_path):
    _root, models, _inputs = saved
    folder = tmp_path / "m"
    models["numbers"].save(folder)
    models["tokens"].save(str(folder))
    assert load(folder).encoder_.kind == "tokens"
    models["numbers"].save(folder)
    assert load(folder).encoder_.kind == "numbers"
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(ModelFileError, match=r"holds mine\.txt, expected an empty folder or a"):
        models["tokens"].save(folder)
    with pytest.raises(ModelFileError, match=r"mine\.txt: not listed in manifest\.json"):
        load(folder)
    with pytest.raises(ModelFileError, match="is a file, expected a folder"):
        models["tokens"].save(folder / "mine.txt")
    (folder / "mine.txt").unlink()
    (folder / ".DS_Store").write_text("of a file manager")
    assert load(folder).encoder_.kind == "numbers"
    (folder / ".DS_Store").unlink()


def test_a_seed_of_numpy_is_saved(tmp_path, saved):
    _, _, inputs = saved
    options = {**SMALL, "random_state": np.int64(7), "hidden_size": np.int32(4)}
    model = SequenceClassifier(**options).fit(inputs["numbers"], ["x", "y"] * 6)
    model.save(tmp_path / "m")
    assert load(tmp_path / "m").random_state == 7
    model.set_params(random_state=np.random.RandomState(0)).save(tmp_path / "m")
    assert load(tmp_path / "m").random_state is None


def edit(*path, value=None, remove=False):
    def change(folder):
        file = folder / "config.json"
        config = json.loads(file.read_text())
        at = config
        for key in path[:-1]:
            at = at[key]
        if remove:
            del at[path[-1]]
        else:
            at[path[-1]] = value
        file.write_text(json.dumps(config))
        seal(folder)  # as whoever changes a model on purpose can do

    change.__name__ = f"{'.'.join(map(str, path))}={'removed' if remove else value!r:.30}"
    return change


def tensor(name, change, resealed=True):
    """Change the weights, and unless told otherwise the manifest with them."""

    def apply(folder):
        file = folder / "model.safetensors"
        tensors = load_file(file)
        change(tensors)
        save_file(tensors, file)
        if resealed:
            seal(folder)

    apply.__name__ = f"tensor {name}, resealed {resealed}"
    return apply


def truncate(name):
    def change(folder):
        file = folder / name
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    change.__name__ = f"truncate {name}"
    return change


def unlink(name):
    def change(folder):
        (folder / name).unlink()

    change.__name__ = f"no {name}"
    return change


DAMAGE = [
    (unlink("config.json"), "no config.json there"),
    (unlink("model.safetensors"), "no model.safetensors there"),
    (truncate("config.json"), "config.json: damaged: has"),
    (truncate("model.safetensors"), "model.safetensors: damaged: has"),
    (edit("estimator", value="os.system"), "estimator 'os.system', expected one of Sequence"),
    (edit("estimator", value="SequenceTagger"), "'readout': no such parameter"),
    (edit("estimator", value=["x"]), "estimator: got a list of 1 values, expected text"),
    (edit("estimator", remove=True), "no 'estimator'"),
    (edit("parameters", "hiden_size", value=3), "'hiden_size': no such parameter. Did you mean"),
    (edit("parameters", "hidden_size", value=-3), "hidden_size: got -3, expected greater"),
    (edit("parameters", "threads", value="x"), "threads: got 'x'"),
    (edit("parameters", "random_state", value="x"), "random_state: got 'x'"),
    (edit("parameters", value=None), "parameters: got null, expected an object"),
    (edit("model", "cell", value="transformer"), "cell: got 'transformer', expected 'rnn', 'gru'"),
    (edit("model", "cell", value="lstm"), "do not fit config.json"),
    (edit("model", "hidden_size", value=5), "do not fit config.json"),
    (edit("model", "hidden_size", value=0), "hidden_size: got 0"),
    (edit("model", "hidden_size", value=10**9), "hidden_size is 1,000,000,000, but there are"),
    (edit("model", "num_layers", value=2), "do not fit config.json"),
    (edit("model", "num_outputs", value=3), "num_outputs is 3, but there are 2"),
    (edit("model", "input_size", value=3), "input_size is 3, but there are 2"),
    (edit("model", "vocabulary_size", value=3), "vocabulary_size"),
    (edit("model", "readout", value="every"), "readout: got 'every', expected 'last', 'mean'"),
    (edit("model", "strange", value=1), "strange: no such setting"),
    (edit("model", "readout", remove=True), "model: no 'readout'"),
    (edit("target", "classes", value=["x"]), "num_outputs is 2, but there are 1"),
    (edit("target", "classes", value=["x", "x"]), "expected different str"),
    (edit("target", "classes", value=["x", ["y"]]), "classes: expected labels of 'str"),
    (edit("target", "classes", remove=True), "no 'classes'"),
    (edit("encoder", "mean", value=[0.0]), "mean and scale: expected as many numbers"),
    (edit("encoder", "mean", value=["a", "b"]), "encoder: mean: 0: got 'a', expected a number"),
    (edit("encoder", "scale", value=[0.0, 1.0]), "scale above 0"),
    (edit("encoder", "kind", value="images"), "encoder: kind: got 'images', expected 'numbers' or"),
    (edit("encoder", "kind", remove=True), "encoder: no 'kind'"),
    (edit("encoder", value=[]), "encoder: got a list of 0 values, expected an object"),
    (
        edit("history", "epochs", 0, "loss", value="low"),
        "history: epochs: 0: loss: got 'low', expected a whole number or a number",
    ),
    (edit("history", "epochs", 0, "loss", remove=True), "epochs: 0: no 'loss'"),
    (edit("history", "kept_epoch", value=None), "kept_epoch: got null, expected a whole number"),
    (edit("history", "gradients", value=3), "gradients: got 3, expected text"),
    (edit("history", "gradients", remove=True), "no 'gradients'"),
    (
        edit("layout", value={"format": "xml", "kind": "numbers"}),
        "layout: format: got 'xml', expected 'rows' or",
    ),
    (edit("layout", value={"format": "rows"}), "layout: no 'kind'"),
    (edit("layout", value=3), "layout: got 3, expected an object or null"),
    (edit("format", value=99), "format 99, this version of elman reads"),
    (tensor("gone", lambda t: t.pop("model.output.bias")), "do not fit config.json"),
    (
        tensor("exchanged", lambda t: t["model.output.bias"].add_(1), resealed=False),
        "model.safetensors: damaged: its content is not that which was written",
    ),
    (
        tensor("wide", lambda t: t.update({"model.output.bias": torch.ones(9)})),
        "do not fit config.json",
    ),
    (
        tensor("steps", lambda t: t["baseline.per_step"].fill_(1)),
        "baselines: per_step is 1, not 0",
    ),
    (
        tensor("NaN", lambda t: t["baseline.constant"].fill_(float("nan"))),
        "baselines: constant holds float64 or NaN",
    ),
    (
        tensor("type", lambda t: t.update({"baseline.task": torch.zeros(1)})),
        "baselines: task holds float32",
    ),
    (tensor("more", lambda t: t.update({"more": torch.zeros(1)})), "'more': no such tensor"),
    (edit("layout", value={"format": "rows", "kind": "numbers", "window": -1}), "window: got -1"),
    (
        edit("layout", value={"format": "rows", "kind": "numbers", "melted": ["x"]}),
        "melted: got",
    ),
    (
        edit("layout", value={"format": "rows", "kind": "numbers", "text": "x"}),
        "text: got 'x', expected null, because the steps are numbers",
    ),
    (
        edit("layout", value={"format": "rows", "kind": "numbers", "delimiter": "x"}),
        "delimiter: got 'x', expected one of comma",
    ),
    (edit("history", "kept_epoch", value=3), "kept_epoch: got 3, expected at most 2"),
    (edit("history", "epochs", 0, "epoch", value=2), "epochs: not numbered from 1"),
    (edit("columns", "names", value=["a"]), "columns: names, units or a count of no columns"),
    (edit("parameters", "verbose", value="x"), "verbose: got 'x', expected a whole number"),
    (
        tensor("no baseline", lambda t: t.pop("baseline.summaries.weights")),
        "array 'summaries.weights'",
    ),
]


@pytest.mark.parametrize(("change", "message"), DAMAGE, ids=[c.__name__ for c, _ in DAMAGE])
def test_a_damaged_folder(saved, tmp_path, change, message):
    root, *_ = saved
    folder = tmp_path / "m"
    shutil.copytree(root / "numbers", folder)
    change(folder)
    with pytest.raises(ModelFileError, match=re.escape(message)) as caught:
        load(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (
            "tokens",
            edit("encoder", "vocabulary", value=["a", "a", "b", "no"]),
            "encoder: a name twice",
        ),
        ("tokens", edit("encoder", "unit", value="words"), "encoder: kind 'tokens' with unit"),
        ("text", edit("encoder", "unit", value="lines"), "encoder: unit: got 'lines', expected"),
        ("tags", edit("model", "readout", value="last"), "readout: got 'last'"),
        ("tags", edit("estimator", value="SequenceClassifier"), "readout: got 'every', expected"),
    ],
)
def test_other_damaged_folders(saved, tmp_path, kind, change, message):
    root, *_ = saved
    folder = tmp_path / "m"
    shutil.copytree(root / kind, folder)
    change(folder)
    with pytest.raises(ModelFileError, match=re.escape(message)):
        load(folder)


@pytest.mark.parametrize(
    "change",
    [lambda card: card.unlink(), lambda card: card.write_text("mine"), lambda card: flip(card, 9)],
    ids=["removed", "edited", "same size"],
)
def test_a_card_may_be_edited(saved, tmp_path, change):
    root, _models, inputs = saved
    shutil.copytree(root / "numbers", tmp_path / "m")
    change(tmp_path / "m" / "README.md")
    with pytest.warns(UserWarning, match=r"README\.md: is not the text that was saved") as caught:
        model = load(tmp_path / "m")
    assert model.score(inputs["numbers"], ["x", "y"] * 6) >= 0
    assert caught[0].filename == __file__


def flip(file, bit):
    data = bytearray(file.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    file.write_bytes(data)


def test_no_folder(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "first").mkdir()
    with pytest.raises(ModelFileError, match="nowhere"):
        load(tmp_path / "nowhere")
    with pytest.raises(ModelFileError, match="Did you mean 'first'"):
        load(tmp_path / "runs" / "frist")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelFileError, match="file"):
        load(tmp_path / "file")
