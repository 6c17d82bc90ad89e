"""Targets of the fuzzer: model folders and checkpoints, damaged or changed and sealed again."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from fuzz import Files, Target
from mutators import mutate

from elman import SequenceClassifier, SequenceRegressor, SequenceTagger, load
from elman.data import read
from elman.guards import make_manifest

WEIGHTS, CONFIG, MANIFEST = "model.safetensors", "config.json", "manifest.json"
SMALL: dict[str, Any] = {"hidden_size": 3, "epochs": 2, "random_state": 0}
STEPS = "id,time,a,b,c,label\n" + "".join(
    f"{i},{t},{i % 2 + 0.1 * t},{0.3 * t},{'uv'[(i + t) % 2]},{'xy'[i % 2]}\n"
    for i in range(12)
    for t in range(3)
)
NUMBERS: list[Any] = [None, True, False, 0, -1, 1, 2, 3, 0.5, -0.0, 1e308, -1e308, 5e-324, 2**31]
NUMBERS += [2**53, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**30, 10**400, float("nan")]
NUMBERS += [float("inf"), 1e-320, 100_000, 1_000_000_000]
TEXTS: list[Any] = ["", "x", "a" * 1000, "\ud800", "\0", "é\u202e", "NaN", "../..", "os.system"]
NESTED: list[Any] = [[], {}, [[]], [None], [0] * 100, {"a": {"b": []}}, ["x", 1, None]]


def _numbers() -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.normal(i % 2, 1, (3 + i % 2, 2)) for i in range(12)]


def _gaps() -> list[Any]:
    sequences = _numbers()
    sequences[1][1, 0] = np.nan
    return sequences


def _mixed() -> list[Any]:
    return [np.array([[1.5, "u"], [0.5 * i, "v"]], dtype=object) for i in range(12)]


def _file() -> Path:
    path = Path(tempfile.gettempdir()) / "elman-fuzz-steps.csv"
    path.write_text(STEPS, encoding="utf-8")
    return path


TOKENS = [["a", "b", "yes" if i % 2 else "no"] for i in range(12)]
SENTENCES = [" ".join(words) for words in TOKENS]
TAGS = [["A", "B", "YN"[i % 2]] for i in range(12)]
CLASSES = ["x", "y"] * 6
VALUES = [[float(i), 0.5 * i] for i in range(12)]
AGES = {"age": [float(i) for i in range(12)], "sex": ["m", "f"] * 6}


@cache
def inputs() -> dict[str, tuple[Any, Any, Any]]:
    """Sequences, labels and static features by name of the model."""
    steps = [[0.1 * t for t in range(len(x))] for x in _numbers()]
    return {
        "numbers": (_numbers(), CLASSES, None),
        "gaps": (_gaps(), [1, 2] * 6, None),
        "tokens": (TOKENS, [False, True] * 6, None),
        "text": (SENTENCES, CLASSES, None),
        "mixed": (_mixed(), CLASSES, None),
        "tags": (TOKENS, TAGS, None),
        "labels": (_numbers(), [{"p"}, {"p", "q"}, set()] * 4, None),
        "values": (_numbers(), VALUES, None),
        "steps": (_numbers(), steps, None),
        "static": (_numbers(), CLASSES, AGES),
        "file": (_file(), None, None),
    }


def _estimator(name: str) -> Any:
    if name == "tags":
        return SequenceTagger(**SMALL)
    if name == "values":
        return SequenceRegressor(**SMALL, cell="rnn", validation=0.25)
    if name == "steps":
        return SequenceRegressor(**SMALL, readout="every")
    cell = {"numbers": "lstm", "tokens": "rnn"}.get(name, "gru")
    return SequenceClassifier(**SMALL, cell=cell, num_layers=2 if name == "gaps" else 1)


def _files(folder: Path, inside: str) -> Files:
    return {f"{inside}/{path.name}": path.read_bytes() for path in sorted(folder.iterdir())}


@cache
def models() -> list[Files]:
    """A model of each kind, as files below a folder with the name of the model."""
    found = []
    with tempfile.TemporaryDirectory() as root:
        for name, (X, y, static) in inputs().items():
            estimator = _estimator(name)
            if name == "file":
                X = read(X, target="label", id="id", time="time")
            estimator.fit(X, y, static=static).save(Path(root) / name)
            found.append(_files(Path(root) / name, name))
    return found


def use(path: Path) -> str:
    """Load a model and do with it what a user does; return its predictions as text."""
    model = load(path)
    X, y, static = inputs()[path.name]
    predictions = [np.asarray(p).tolist() for p in model.predict(X, static=static)]
    for own in X if isinstance(X, list) else []:
        assert len(own)
    str(model.evaluate(X, y, resamples=0, static=static))
    model.describe_model()
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "again")
    return str(predictions)


def seal_again(files: Files) -> Files:
    """Return the files with the manifest that fits them, as an attacker would make it."""
    folder = next(iter(files)).rpartition("/")[0]
    inner = {name.split("/")[-1]: data for name, data in files.items()}
    inner.pop(MANIFEST, None)
    return {f"{folder}/{name}": data for name, data in inner.items()} | {
        f"{folder}/{MANIFEST}": make_manifest(inner)
    }


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values below a JSON value."""
    found = [path] if path else []
    if isinstance(value, dict):
        for key, inner in value.items():
            found += _places(inner, (*path, key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            found += _places(inner, (*path, place))
    return found


def change_value(random: Random, value: Any) -> Any:
    """Return something else in place of a JSON value."""
    kind = random.randrange(5)
    if kind == 0 and isinstance(value, bool | int | float) and abs(value) < 1e300:
        return random.choice([value + 1, value - 1, -value, value * 10, value * 1e9, float(value)])
    if kind == 1 and isinstance(value, str):
        return random.choice([value[:-1], value + "x", value.upper(), value * 50, value + "\n"])
    if kind == 2 and isinstance(value, list) and value:
        at = random.randrange(len(value))
        return random.choice(
            [value[:at] + value[at + 1 :], [*value, value[at]], value[::-1], value * 30, [value]]
        )
    return copy.deepcopy(random.choice(random.choice([NUMBERS, TEXTS, NESTED])))


def change_json(random: Random, data: Any) -> str:
    """Return a JSON value as text, with one to three changes."""
    data = json.loads(json.dumps(data))
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        places = _places(data)
        if not places:
            break
        *path, key = random.choice(places)
        at = data
        for step in path:
            at = at[step]
        what = random.randrange(8)
        if what == 0:
            del at[key]
        elif what == 1 and isinstance(at, dict):
            at[random.choice([*at, "more", "format"])] = at.pop(key)
        elif what == 2:
            *path, other = random.choice(places)
            source = data
            try:
                for step in path:
                    source = source[step]
                at[key] = json.loads(json.dumps(source[other]))
            except (KeyError, IndexError, TypeError):
                continue
        else:
            at[key] = change_value(random, at[key])
    text = json.dumps(data, ensure_ascii=False)
    if random.random() < 0.05:
        text = json.dumps(data, indent=1)
        lines = text.splitlines(keepends=True)
        at_line = random.randrange(len(lines))
        text = "".join([*lines[:at_line], lines[at_line], *lines[at_line:]])
    return text


def change_weights(random: Random, data: bytes) -> bytes:
    """Return a safetensors file with a changed header, or changed numbers."""
    length = int.from_bytes(data[:8], "little")
    header, body = data[8 : 8 + length], bytearray(data[8 + length :])
    kind = random.randrange(4)
    if kind == 0:
        return mutate(random, data, (b"F32", b"I64", b'"shape"', b"data_offsets"), [])
    if kind == 1 and body:
        for _ in range(random.choice([1, 4, 40])):
            at = random.randrange(0, len(body), 4)
            number = random.choice([0.0, 1e38, -1e38, 1e-40, 3.0, -1.0, 1e10])
            value = np.float32(number).tobytes() if at % 8 else np.int64(number % 2**40).tobytes()
            body[at : at + len(value)] = value[: len(body) - at]
        return data[: 8 + length] + bytes(body)
    text = change_json(random, json.loads(header)).encode("utf-8", "backslashreplace")
    grown = bytes(random.choice([0, 0, 8, 4096])) if kind == 3 else b""
    return len(text).to_bytes(8, "little") + text + bytes(body) + grown


def damage(random: Random, corpus: list[Files]) -> Files:
    """Change files and not the manifest: cut, flipped, swapped, removed or added."""
    files = dict(random.choice(corpus))
    folder = next(iter(files)).rpartition("/")[0]
    name = random.choice([n for n in files if not n.endswith("README.md")])
    kind = random.randrange(5)
    if kind == 0:
        other = random.choice(corpus)
        files[name] = other[next(n for n in other if n.split("/")[-1] == name.split("/")[-1])]
    elif kind == 1:
        del files[name]
    elif kind == 2:
        files[f"{folder}/{random.choice(['more', 'config.json.bak', 'x/y'])}"] = b"{}"
    else:
        files[name] = mutate(random, files[name], (), [])
    return files


def change_and_seal(random: Random, corpus: list[Files]) -> Files:
    """Change the content of a model, and make its manifest again."""
    files = dict(random.choice(corpus))
    folder = next(iter(files)).split("/")[0]
    config, weights = f"{folder}/{CONFIG}", f"{folder}/{WEIGHTS}"
    if random.random() < 0.6:
        changed = change_json(random, json.loads(files[config]))
        files[config] = changed.encode("utf-8", "backslashreplace")
    else:
        files[weights] = change_weights(random, files[weights])
    return seal_again(files)


def change_entry(random: Random, corpus: list[Files]) -> Files:
    """Change how the model of a file reads files, and make its manifest again."""
    files = dict(next(own for own in corpus if next(iter(own)).startswith("file/")))
    config = json.loads(files[f"file/{CONFIG}"])
    key = random.choice(["layout", "layout", "columns", "encoder", "target"])
    entry = change_json(random, config[key])
    text = json.dumps({**config, key: "ENTRY"}).replace('"ENTRY"', entry)
    files[f"file/{CONFIG}"] = text.encode("utf-8", "backslashreplace")
    return seal_again(files)


def change_baselines(random: Random, corpus: list[Files]) -> Files:
    """Change numbers and types of the arrays of the baselines, and make the manifest again."""
    files = dict(random.choice(corpus))
    name = next(own for own in files if own.endswith(WEIGHTS))
    length = int.from_bytes(files[name][:8], "little")
    header, body = json.loads(files[name][8 : 8 + length]), bytearray(files[name][8 + length :])
    entry = header[random.choice([key for key in header if key.startswith("baseline.")])]
    start, end = entry["data_offsets"]
    whole: list[int] = [0, -1, 1, 2, 7, 100, 10**6, 2**31, 2**40, 2**62, -(2**63)]
    real = [0.0, -1.0, np.nan, np.inf, -np.inf, 1e308, 5e-324]
    if start < end:
        at = start + 8 * random.randrange((end - start) // 8)
        is_whole = entry["dtype"] == "I64"
        number = np.int64(random.choice(whole)) if is_whole else np.float64(random.choice(real))
        body[at : at + 8] = number.tobytes()
    if random.random() < 0.2:
        entry["dtype"] = random.choice(["F64", "I64"])
    text = json.dumps(header).encode()
    files[name] = len(text).to_bytes(8, "little") + text + bytes(body)
    return seal_again(files)


def bomb(random: Random) -> bytes:
    """Return a JSON text that is small and unfolds to much."""
    size = random.choice([1000, 30_000, 300_000])
    make: list[Callable[[], str]] = [
        lambda: "[" * size,
        lambda: "[" * size + "]" * size,
        lambda: '{"a":' * size,
        lambda: "[" + "[]," * size + "0]",
        lambda: "[" + "{}," * size + "0]",
        lambda: "[" + "1e5," * size + "0]",
        lambda: "{" + ",".join(f'"k{i}":0' for i in range(size)) + "}",
        lambda: '"' + "\U0001f600" + "x" * (20 * size) + '"',
        lambda: "1" * size,
        lambda: "1." + "1" * size,
        lambda: '{"a":1,' * 900 + '"a":2' + "}" * 900,
        lambda: "[" + '"abc",' * size + "0]",
    ]
    return random.choice(make)().encode()


def bomb_and_seal(random: Random, corpus: list[Files]) -> Files:
    """Put a bomb in the place of a file or of a value of config.json."""
    files = dict(random.choice(corpus))
    folder = next(iter(files)).split("/")[0]
    kind = random.randrange(4)
    text = bomb(random)
    if kind == 0:
        files[f"{folder}/{CONFIG}"] = text
    elif kind == 1:
        files[f"{folder}/{WEIGHTS}"] = len(text).to_bytes(8, "little") + text + bytes(64)
    elif kind == 2:
        files[f"{folder}/{MANIFEST}"] = text
        return files
    else:
        config = json.loads(files[f"{folder}/{CONFIG}"])
        *path, key = random.choice(_places(config))
        at = config
        for step in path:
            at = at[step]
        at[key] = "BOMB"
        files[f"{folder}/{CONFIG}"] = json.dumps(config).encode().replace(b'"BOMB"', text)
    return seal_again(files)


@cache
def trainings() -> dict[str, tuple[Callable[[], Any], str]]:
    """Estimators that training begins with, and the weights it ends with, by name."""
    made: dict[str, Callable[[], Any]] = {
        "numbers": lambda: SequenceClassifier(**LONGER, dropout=0.3, noise=0.1, cell="lstm"),
        "tags": lambda: SequenceTagger(**LONGER, token_dropout=0.5, optimizer="adam", num_layers=2),
        "values": lambda: SequenceRegressor(**LONGER, optimizer="sgd", validation=0.25),
    }
    return {name: (make, weights_of(_fit(name, make()))) for name, make in made.items()}


LONGER: dict[str, Any] = {"hidden_size": 3, "epochs": 3, "batch_size": 4, "random_state": 0}


def _fit(name: str, estimator: Any, **options: Any) -> Any:
    X, y, _ = inputs()[name]
    return estimator.fit(X, y, **options)


def weights_of(estimator: Any) -> str:
    """The weights and the history of a trained estimator as text."""
    weights = {k: v.tolist() for k, v in estimator.model_.state_dict().items()}
    return str((weights, [record.loss for record in estimator.history_.epochs]))


@cache
def checkpoints() -> list[Files]:
    """Checkpoints in the middle of an epoch, at its end, and of a training that has ended."""
    found: list[Files] = []

    def keep(folder: Path, name: str) -> None:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        found.extend(_files(path, f"{name}/{path.name}") for path in paths)

    with tempfile.TemporaryDirectory() as root:
        for name, (make, _) in trainings().items():
            folder = Path(root) / name
            _fit(
                name,
                make(),
                checkpoint=folder,
                checkpoint_every=0,
                on_epoch=lambda record, folder=folder, name=name: keep(folder, name),
            )
            keep(folder, name)
    return found


def resume(path: Path) -> str:
    """Continue a training from a checkpoint that may be another's work."""
    make, _ = trainings()[path.name]
    return weights_of(_fit(path.name, make(), checkpoint=path))


def resume_damaged(path: Path) -> str:
    """Continue from a damaged checkpoint, or begin anew: the weights are the same."""
    found = resume(path)
    if found != trainings()[path.name][1]:
        raise AssertionError("other weights than those of the unbroken training")
    return found


def change_checkpoint(random: Random, corpus: list[Files]) -> Files:
    """Change the content of a checkpoint, and make its manifest again."""
    files = dict(random.choice(corpus))
    state = next(name for name in files if name.endswith("state.json"))
    tensors = next(name for name in files if name.endswith("state.safetensors"))
    kind = random.random()
    if kind < 0.1:
        files[random.choice([state, tensors])] = bomb(random)
    elif kind < 0.6:
        values = json.loads(files[state])
        inner = change_json(random, values["state"])
        text = json.dumps({**values, "state": "STATE"}).replace('"STATE"', inner)
        if kind < 0.2:
            text = change_json(random, values)
        files[state] = text.encode("utf-8", "backslashreplace")
    else:
        files[tensors] = change_weights(random, files[tensors])
    return seal_again(files)


TARGETS = [
    Target("model", models, use, change=damage),
    Target("model sealed again", models, use, change=change_and_seal),
    Target("model of a file", models, use, change=change_entry),
    Target("model's baselines", models, use, change=change_baselines),
    Target("model with a bomb", models, use, change=bomb_and_seal),
    Target("checkpoint", checkpoints, resume_damaged, change=damage),
    Target("checkpoint sealed again", checkpoints, resume, change=change_checkpoint),
]
