"""The contenders: elman with its defaults, and other libraries as their users write them.

Each takes a Data and a seed and returns the predicted labels of the test split: a list of them, or
for tags a list of lists.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from elman import SequenceClassifier, SequenceTagger
from peers.sets import Data

PLAIN_SECONDS = 75.0
Predictions = list[Any]


class CannotError(Exception):
    """This contender does not take such data; the message says why."""


def elman(data: Data, seed: int, **settings: Any) -> Predictions:
    """elman with default settings."""
    kind = SequenceTagger if data.kind == "tags" else SequenceClassifier
    model = kind(random_state=seed, **settings)
    model.fit(data.X, data.y)
    return [p.tolist() if data.kind == "tags" else p for p in model.predict(data.X_test)]


def summaries(data: Data, seed: int) -> Predictions:
    """Logistic regression on each sequence's summaries: one of elman's baselines."""
    quick = elman_baseline(data)
    inputs = quick.encoder_.encode(data.X_test)
    codes = quick.baselines_.decide(inputs)
    name = next(n for n in codes if n != "majority class")
    labels = quick.classes_[codes[name]]
    if data.kind == "tags":
        return [row.tolist() for row in inputs.with_values(labels)]
    return labels.tolist()


def elman_baseline(data: Data) -> Any:
    """An estimator fitted for a single epoch, for the baselines that are fitted with it."""
    kind = SequenceTagger if data.kind == "tags" else SequenceClassifier
    return kind(hidden_size=1, epochs=1, validation=0.0, random_state=0).fit(data.X, data.y)


def _codes(data: Data) -> tuple[list[Any], list[np.ndarray], list[np.ndarray], bool, list[Any]]:
    """Classes, training and test sequences as arrays or token ids, whether ids, and codes."""
    tags = data.kind == "tags"
    flat = [t for row in data.y for t in row] if tags else data.y
    classes = sorted(set(flat))
    place = {label: i for i, label in enumerate(classes)}
    codes = [[place[t] for t in row] for row in data.y] if tags else [place[t] for t in data.y]
    if data.kind == "numbers":
        steps = np.concatenate(data.X)
        mean, scale = steps.mean(0), steps.std(0) + 1e-9
        scaled = [
            [((x - mean) / scale).astype(np.float32) for x in X] for X in (data.X, data.X_test)
        ]
        return classes, *scaled, False, codes
    numbers = {t: i for i, t in enumerate(sorted({t for x in data.X for t in x}), 2)}
    ids = [[np.array([numbers.get(t, 1) for t in x]) for x in X] for X in (data.X, data.X_test)]
    return classes, *ids, True, codes


def plain_torch(data: Data, seed: int) -> Predictions:
    """A bidirectional GRU of 64 units as in a tutorial: packed, Adam, 75 s or 100 epochs."""
    import torch
    from torch import nn
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

    torch.manual_seed(seed)
    classes, X, X_test, tokens, codes = _codes(data)
    tags = data.kind == "tags"
    size = 64 if tokens else X[0].shape[1]
    table = nn.Embedding(max(int(x.max()) for x in X) + 1, 64) if tokens else nn.Identity()
    layer = nn.GRU(size, 64, batch_first=True, bidirectional=True)
    output = nn.Linear(128, len(classes))
    net = nn.ModuleList([table, layer, output])
    adam = torch.optim.Adam(net.parameters(), lr=1e-3)

    def forward(rows: list[np.ndarray]) -> torch.Tensor:
        x = table(pad_sequence([torch.from_numpy(r) for r in rows], batch_first=True))
        lengths = torch.tensor([len(r) for r in rows])
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, h = layer(packed)
        if tags:
            return output(pad_packed_sequence(y, batch_first=True)[0])
        return output(torch.cat([h[-2], h[-1]], 1))

    order = np.random.default_rng(seed)
    until = time.perf_counter() + PLAIN_SECONDS
    for _ in range(100):
        places = order.permutation(len(X))
        for start in range(0, len(X), 32):
            if time.perf_counter() > until:
                break
            batch = places[start : start + 32]
            logits = forward([X[i] for i in batch])
            if tags:
                target = pad_sequence(
                    [torch.tensor(codes[i]) for i in batch], batch_first=True, padding_value=-100
                )
                loss = nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten())
            else:
                loss = nn.functional.cross_entropy(logits, torch.tensor([codes[i] for i in batch]))
            adam.zero_grad()
            loss.backward()
            adam.step()
    codes_of_rows: Predictions = []
    with torch.no_grad():
        for start in range(0, len(X_test), 256):
            rows = X_test[start : start + 256]
            best = forward(rows).argmax(-1).tolist()
            codes_of_rows += (
                [b[: len(r)] for b, r in zip(best, rows, strict=True)] if tags else best
            )
    return (
        [[classes[c] for c in row] for row in codes_of_rows]
        if tags
        else [classes[c] for c in codes_of_rows]
    )


def keras(data: Data, seed: int) -> Predictions:
    """Padded to the longest, masked, a bidirectional GRU of 64 units, early stopping on 10 %."""
    import keras as k

    k.utils.set_random_seed(seed)
    classes, X, X_test, tokens, codes = _codes(data)
    tags = data.kind == "tags"
    longest = max(len(x) for x in (*X, *X_test))

    def padded(rows: Any, dtype: str) -> Any:
        return k.utils.pad_sequences(rows, longest, dtype=dtype, padding="post")

    kind = "int32" if tokens else "float32"
    front = (
        [k.layers.Embedding(max(int(x.max()) for x in X) + 1, 64, mask_zero=True)]
        if tokens
        else [k.layers.Masking(0.0)]
    )
    net = k.Sequential(
        [
            *front,
            k.layers.Bidirectional(k.layers.GRU(64, return_sequences=tags)),
            k.layers.Dense(len(classes), activation="softmax"),
        ]
    )
    net.compile("adam", "sparse_categorical_crossentropy")
    order = np.random.default_rng(seed).permutation(len(X))
    inputs = padded(X, kind)[order]
    target = (padded(codes, "int32") if tags else np.array(codes))[order]
    stop = k.callbacks.EarlyStopping(patience=5, restore_best_weights=True)
    net.fit(inputs, target, validation_split=0.1, epochs=50, callbacks=[stop], verbose=0)
    best = net.predict(padded(X_test, kind), verbose=0, batch_size=256).argmax(-1)
    if tags:
        return [[classes[c] for c in row[: len(x)]] for row, x in zip(best, X_test, strict=True)]
    return [classes[c] for c in best]


def _cube(data: Data) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n, C, T) of both parts, and labels; only for numbers of equal length."""
    if data.kind != "numbers":
        raise CannotError("takes numbers only")
    if len({len(x) for x in (*data.X, *data.X_test)}) > 1:
        raise CannotError("takes equal lengths only")
    X, X_test = (np.stack(part).transpose(0, 2, 1) for part in (data.X, data.X_test))
    return X, np.array(data.y), X_test


def aeon(name: str) -> Callable[[Data, int], Predictions]:
    """A classifier of aeon at its own defaults."""

    def run(data: Data, seed: int) -> Predictions:
        X, y, X_test = _cube(data)
        if name == "MiniRocketClassifier":
            from aeon.classification.convolution_based import MiniRocketClassifier

            return MiniRocketClassifier(random_state=seed).fit(X, y).predict(X_test).tolist()
        from aeon.classification import deep_learning

        model = getattr(deep_learning, name)(random_state=seed)
        return model.fit(X, y).predict(X_test).tolist()

    return run


def sktime(name: str) -> Callable[[Data, int], Predictions]:
    """A recurrent classifier of sktime at its own defaults."""

    def run(data: Data, seed: int) -> Predictions:
        X, y, X_test = _cube(data)
        from sktime.classification import deep_learning

        model = getattr(deep_learning, name)(random_state=seed)
        return list(model.fit(X, y).predict(X_test))

    return run


CONTENDERS: dict[str, Callable[[Data, int], Predictions]] = {
    "elman": elman,
    "plain torch": plain_torch,
    "Keras": keras,
    "logistic regression": summaries,
    "sktime GRU": sktime("GRUClassifier"),
    "sktime LSTM-FCN": sktime("LSTMFCNClassifier"),
    "aeon FCN": aeon("FCNClassifier"),
    "aeon InceptionTime": aeon("InceptionTimeClassifier"),
    "aeon MiniRocket": aeon("MiniRocketClassifier"),
}


def predict(contender: str, data: Data, seed: int) -> tuple[Predictions, float]:
    """The contender's predictions, and the seconds it took to train and to predict."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the peers' warnings
        started = time.perf_counter()
        predictions = CONTENDERS[contender](data, seed)
        return predictions, time.perf_counter() - started
