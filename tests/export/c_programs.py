"""Models of every kind, written as C and compiled together in one program."""

from __future__ import annotations

import dataclasses
import itertools
import subprocess

import numpy as np
import torch

from elman import SequenceClassifier, SequenceRegressor, SequenceTagger
from elman.export import to_c
from elman.models import SequenceModel

FLAGS = [
    *("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow"),
    *("-Wdouble-promotion", "-Wvla", "-fsanitize=undefined,address", "-fno-sanitize-recover=all"),
]
KINDS = ("numbers", "gaps", "far", "tokens", "text", "bytes", "mixed", "categories")
TASKS = ("classes", "labels", "number", "numbers", "tags", "every number")
STATIC = ("", "readout", "state", "both")
CELLS = (("rnn", "tanh"), ("rnn", "relu"), ("gru", "tanh"), ("lstm", "tanh"))
N = 12


def sequences(kind, random):
    """N sequences of 5 steps of one kind."""
    if kind in ("numbers", "gaps", "far"):
        X = [3 + 2 * random.standard_normal((5, 3)) for _ in range(N)]
        for x in X:
            x[:, 2] += 1.7e9 * (kind == "far")
            if kind == "gaps":
                x[1, 0] = x[3, 2] = np.nan
        return X
    if kind == "tokens":
        return [
            [str(t) for t in random.choice(["p", 'q"?', "é", "\\", "??="], 5)] for _ in range(N)
        ]
    if kind in ("text", "bytes"):
        words = ["the", "cat", "sat", "on", "Zürich", "a", "*/", "don't", "3.14"]
        return [" ".join(random.choice(words, 5)) for _ in range(N)]
    names = ["red", "blue", "", "a*/b??/"]
    columns = [random.choice(names, 5) for _ in range(N)]
    if kind == "categories":
        return [[[c, "xy"[i % 2]] for i, c in enumerate(own)] for own in columns]
    return [
        [
            [c or None, float(random.standard_normal()), None if i == 2 else 5.0 + i]
            for i, c in enumerate(own)
        ]
        for own in columns
    ]


def fit(kind, task, static, seed=0):
    """An estimator for sequences of that kind; its weights will be replaced."""
    random = np.random.default_rng(seed)
    X = sequences(kind, random)
    options = {"hidden_size": 5, "epochs": 1, "verbose": 0, "random_state": seed, "validation": 0}
    options |= {"embedding_size": 3} if kind not in ("numbers", "gaps", "far") else {}
    options |= {"tokens": "bytes"} if kind == "bytes" else {}
    features = None
    if static:
        options["static_to"] = static
        ages = random.uniform(20, 90, N)
        ages[3] = np.nan
        features = {"age": ages, "size": random.normal(1e6, 1, N), "site": list('a"?b') * 3}
    y = {
        "classes": [["one", 'two"', "*/"][i % 3] for i in range(N)],
        "labels": [{"p", "q"}, {"q"}, set(), {"r"}] * 3,
        "number": 20 + random.standard_normal(N),
        "numbers": np.column_stack([1e9 + random.standard_normal(N), random.standard_normal(N)]),
        "tags": [list("abcab")] * N,
        "every number": [random.standard_normal((5, 2)) for _ in range(N)],
    }[task]
    if task in ("tags", "every number") and kind in ("text", "bytes"):
        units = SequenceClassifier(
            hidden_size=2,
            epochs=1,
            verbose=0,
            **{k: v for k, v in options.items() if k == "tokens"},
        )
        lengths = units.fit(X, [0, 1] * (N // 2)).encode(X).inputs.lengths
        y = [
            list("ab" * 20)[:n] if task == "tags" else random.standard_normal((n, 2))
            for n in lengths
        ]
    if task in ("number", "numbers", "every number"):
        options |= {"readout": "every"} if task == "every number" else {}
        estimator = SequenceRegressor(**options)
    else:
        estimator = (SequenceTagger if task == "tags" else SequenceClassifier)(**options)
    return estimator.fit(X, y, static=features), (X, y, None, features)


def with_network(estimator, seed=0, **changes):
    """Replace the network by one of another cell, depth, direction or readout; random weights."""
    config = dataclasses.replace(estimator.model_.config, **changes)
    model = SequenceModel(config, torch.Generator().manual_seed(seed))
    with torch.no_grad():  # biases begin at zero, and would hide one that is left out
        for name, weight in model.named_parameters():
            if "bias" in name:
                weight.uniform_(-0.5, 0.5, generator=torch.Generator().manual_seed(seed))
    estimator.model_ = model.eval()
    return estimator


def combinations():
    """Every kind, task and place of static features; and for each every cell, depth, direction and
    readout."""
    networks = itertools.product(CELLS, (1, 2, 3), (False, True))
    networks = list(networks)
    for kind, task, static in itertools.product(KINDS, TASKS, STATIC):
        readouts = ("every",) if task in ("tags", "every number") else ("last", "mean", "max")
        for (cell, depth, bidirectional), readout in itertools.product(networks, readouts):
            changes = {"cell": cell[0], "nonlinearity": cell[1], "num_layers": depth}
            yield (
                (kind, task, static),
                changes | {"bidirectional": bidirectional, "readout": readout},
            )


def write(folder, name, estimator, data=None, **options):
    """Write a program, and a file that includes all of it."""
    if estimator.model_.config.bidirectional:
        options.setdefault("max_length", 30)
    report = to_c(estimator, folder, name=name, test_data=data, **options)
    text = f'#define {name.upper()}_NO_MAIN\n#include "{name}.c"\n#include "{name}_test.c"\n'
    (folder / f"{name}_all.c").write_text(text)
    return report


def compile_and_run(folder, names, flags=FLAGS):
    """Compile all programs into one, and return the largest difference of each from elman."""
    lines = [f"float {name}_test(void);" for name in names]
    calls = [f'    printf("{name} %g\\n", (double){name}_test());' for name in names]
    main = ["#include <stdio.h>", *lines, "int main(void) {", *calls, "    return 0;", "}"]
    (folder / "main.c").write_text("\n".join(main) + "\n")
    sources = [folder / "main.c", *(folder / f"{name}_all.c" for name in names)]
    run(["gcc", *flags, "-o", folder / "all", *sources, "-lm"])
    lines = run([folder / "all"]).splitlines()
    return {line.split()[0]: float(line.split()[1]) for line in lines}


def run(command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"[:4000]
    return done.stdout
