"""Training files of every layout, with their sequences as records, whole and step by step."""

import json
import math
from typing import Any, NamedTuple

import numpy as np

N = 12  # sequences of each file


class Case(NamedTuple):
    """A training file and its sequences in JSON.

    Args:
        path: the file or folder.
        reading: arguments of `elman.data.read`.
        records: each sequence as a record of the file's own form.
        forms: further forms of the same sequences, by a name.
        steps: each sequence as records of its single steps; empty for whole texts.
    """

    path: Any
    reading: dict[str, Any]
    records: list[Any]
    forms: dict[str, list[Any]]
    steps: list[list[Any]]


def _lengths():
    return [3 + i % 4 for i in range(N)]


def _write(path, lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _cell(value):
    return "" if value is None else str(value)


def _columns(steps, once=()):
    """Return one object from the objects of steps; the keys of `once` have one value."""
    return {k: steps[0][k] if k in once else [s[k] for s in steps] for k in steps[0]}


def steps_table(folder, *, times="numbers", gaps=True, static=True, target="class"):
    """A row per step: numbers, a category, uneven times, static features, a label."""
    rng = np.random.default_rng(0)
    sequences = []
    for i, length in enumerate(_lengths()):
        now, steps = 5.0 * i, []
        for k in range(length):
            now += round(float(rng.uniform(0.5, 2)), 2)
            time = round(now, 2)
            if times == "dates":
                time = f"2024-03-{1 + i:02d}T12:{10 + 3 * k + k % 2:02d}:00"
            temp = round(float(rng.normal(20, 3)), 3)
            step = {"id": f"s{i}", "time": time, "temp": None if gaps and k == 1 else temp}
            step |= {"hum": int(rng.integers(30, 60)), "mode": ["on", "off"][int(rng.integers(2))]}
            if static:
                step |= {"age": 30 + i, "site": "north" if i % 3 else "south"}
            steps.append(step | {"label": _target(target, i, k)})
        sequences.append(steps)
    lines = [",".join(sequences[0][0])]
    lines += [",".join(map(_cell, step.values())) for steps in sequences for step in steps]
    once = ("id", "age", "site", "label")
    own = [[{k: v for k, v in s.items() if k != "label"} for s in steps] for steps in sequences]
    names = ["age", "site"] if static else []
    nested = [
        {"id": steps[0]["id"], **{n: steps[0][n] for n in names},
         "steps": [{k: v for k, v in s.items() if k not in ("id", *names)} for s in steps]}
        for steps in own
    ]  # fmt: skip
    reading = {"categories": "mode", "static": names or "none", "target": "label"}
    if target == "numbers":
        reading["task"] = "regression"
    return Case(
        _write(folder / "steps.csv", lines),
        reading,
        [_columns(steps, once) for steps in own],
        {"nested": nested, "objects": own},
        own,
    )


def _target(kind, i, k):
    if kind == "tags":
        return ["low", "high", "mid"][(i + k) % 3]
    return {"class": ["yes", "no"][i % 2], "labels": ["a|b", "b", "a"][i % 3]}.get(
        kind, i * 1.5 - 3
    )


def wide_table(folder):
    """A row per sequence, a column per step; shorter ones end in empty cells."""
    rng = np.random.default_rng(1)
    values = [rng.normal(0, 1, length).round(3).tolist() for length in _lengths()]
    names = [f"t{k + 1}" for k in range(6)]
    full = [own + [None] * (6 - len(own)) for own in values]
    lines = [",".join(["label", *names])]
    lines += [",".join([["x", "y"][i % 2], *map(_cell, own)]) for i, own in enumerate(full)]
    records = [dict(zip(names, own, strict=True)) for own in full]
    short = [{k: v for k, v in own.items() if v is not None} for own in records]
    return Case(
        _write(folder / "wide.csv", lines),
        {},
        records,
        {"short": short, "lists": values, "values": [{"values": own} for own in values]},
        [[*own] for own in values],
    )


def channel_table(folder):
    """A row per sequence, a column per step of each of two channels."""
    rng = np.random.default_rng(2)
    names = [f"{c}_{k + 1}" for c in ("ax", "ay") for k in range(4)]
    lines, records, rows = [",".join([*names, "label"])], [], []
    for i in range(N):
        own = rng.normal(0, 1, 8).round(3).tolist()
        lines.append(",".join([*map(str, own), ["u", "v"][i % 2]]))
        records.append(dict(zip(names, own, strict=True)))
        rows.append(np.reshape(own, (2, 4)).T.tolist())
    named = [[dict(zip(("ax", "ay"), row, strict=True)) for row in own] for own in rows]
    return Case(
        _write(folder / "channels.csv", lines),
        {"channels": 2},
        records,
        {
            "rows": rows,
            "values": [{"values": own} for own in rows],
            "named": [_columns(own) for own in named],
            "objects": named,
        },
        named,
    )


def text_table(folder):
    """A text and its label in each row."""
    rng = np.random.default_rng(3)
    words = ["good", "bad", "film", "the", "plot", "it's", "naïve"]
    texts = [" ".join(rng.choice(words, length + 1)) for length in _lengths()]
    lines = ["text,label", *(f"{text},{['p', 'n'][i % 2]}" for i, text in enumerate(texts))]
    return Case(
        _write(folder / "texts.csv", lines),
        {},
        [{"text": text} for text in texts],
        {"bare": texts},
        [text.split() for text in texts],
    )


def json_values(folder, *, gaps=False):
    """JSON lines with several channels under one key."""
    rng = np.random.default_rng(4)
    rows = [rng.normal(0, 1, (length, 2)).tolist() for length in _lengths()]
    if gaps:
        for own in rows:
            own[1][0] = None
    lines = [json.dumps({"values": own, "label": i % 2}) for i, own in enumerate(rows)]
    return Case(
        _write(folder / "values.jsonl", lines),
        {"values": "values"},
        [{"values": own} for own in rows],
        {"bare": rows},
        [[{"step": row} for row in own] for own in rows],
    )


def json_tokens(folder):
    """JSON lines with tokens."""
    rng = np.random.default_rng(5)
    rows = [rng.choice(list("abcd"), length).tolist() for length in _lengths()]
    lines = [json.dumps({"tokens": own, "label": "pn"[i % 2]}) for i, own in enumerate(rows)]
    return Case(
        _write(folder / "tokens.jsonl", lines),
        {},
        [{"tokens": own} for own in rows],
        {"bare": rows},
        [[{"tokens": token} for token in own] for own in rows],
    )


def json_mixed(folder):
    """JSON lines with numbers, categories and static features under keys of their own."""
    rng = np.random.default_rng(6)
    records, steps = [], []
    for i, length in enumerate(_lengths()):
        own = {
            "speed": rng.normal(0, 1, length).tolist(),
            "gear": rng.choice(["R", "N", "1"], length).tolist(),
        }
        own["gear"][1] = None
        static = {"age": 20.5 + i, "site": "xyz"[i % 3]}
        records.append(own | static)
        pairs = zip(own["speed"], own["gear"], strict=True)
        steps.append(
            [{"speed": s, "gear": g} | (static if k == 0 else {}) for k, (s, g) in enumerate(pairs)]
        )
    lines = [json.dumps(own | {"label": "ab"[i % 2]}) for i, own in enumerate(records)]
    reading = {"values": "speed", "categories": "gear", "static": "age,site"}
    rows = [
        {"values": [list(pair) for pair in zip(own["speed"], own["gear"], strict=True)],
         "age": own["age"], "site": own["site"]}
        for own in records
    ]  # fmt: skip
    return Case(_write(folder / "mixed.jsonl", lines), reading, records, {"rows": rows}, steps)


def conll(folder):
    """Sentences with a tag for each token."""
    rng = np.random.default_rng(7)
    rows = [rng.choice(["John", "lives", "in", "Rome"], length).tolist() for length in _lengths()]
    lines = []
    for own in rows:
        lines += [f"{token} {'B-PER' if token == 'John' else 'O'}" for token in own] + [""]
    return Case(
        _write(folder / "tags.conll", lines), {}, [{"1": own} for own in rows],
        {"bare": rows, "tokens": [{"tokens": own} for own in rows]},
        [[*own] for own in rows],
    )  # fmt: skip


def ts_file(folder):
    """A .ts file with two channels."""
    rng = np.random.default_rng(8)
    rows = [rng.normal(0, 1, (5, 2)).round(3).tolist() for _ in range(N)]
    lines = ["@problemName x", "@timestamps false", "@univariate false", "@dimensions 2"]
    lines += ["@classLabel true a b", "@data"]
    for i, own in enumerate(rows):
        channels = [",".join(map(str, channel)) for channel in zip(*own, strict=True)]
        lines.append(":".join([*channels, "ab"[i % 2]]))
    return Case(
        _write(folder / "x.ts", lines), {}, [{"values": own} for own in rows], {"bare": rows},
        [[{"step": row} for row in own] for own in rows],
    )  # fmt: skip


def arrays(folder):
    """NumPy arrays, padded with NaN."""
    rng = np.random.default_rng(9)
    X = np.full((N, 6, 3), math.nan)
    rows = [rng.normal(0, 1, (length, 3)) for length in _lengths()]
    for padded, own in zip(X, rows, strict=True):
        padded[: len(own)] = own
    np.savez(folder / "arrays.npz", X=X, y=np.array(list("ab" * (N // 2))))
    lists = [own.tolist() for own in rows]
    return Case(
        folder / "arrays.npz", {}, [{"values": own} for own in lists], {"bare": lists}, lists
    )


CASES = {
    "steps": steps_table,
    "wide": wide_table,
    "channels": channel_table,
    "text": text_table,
    "values": json_values,
    "tokens": json_tokens,
    "mixed": json_mixed,
    "conll": conll,
    "ts": ts_file,
    "arrays": arrays,
}
