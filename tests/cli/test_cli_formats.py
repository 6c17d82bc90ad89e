"""Files of every format, folders included, through the whole command."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest


def sequences(count):
    """Sequences (T, 2) of unequal length and their classes, x and y in turns."""
    rng = np.random.default_rng(count)
    made = [rng.normal(i % 2, 1, (2 + i % 3, 2)).round(3) for i in range(count)]
    return made, ["xy"[i % 2] for i in range(count)]


def padded(made):
    X = np.full((len(made), max(map(len, made)), 2), np.nan)
    for i, sequence in enumerate(made):
        X[i, : len(sequence)] = sequence
    return X


def write_parquet(root, made, labels):
    columns = {"id": [], "t": [], "a": [], "b": []} | ({"label": []} if labels else {})
    for i, sequence in enumerate(made):
        for t, (a, b) in enumerate(sequence):
            row = [f"s{i}", t, a, b, *([labels[i]] if labels else [])]
            for cells, cell in zip(columns.values(), row, strict=True):
                cells.append(cell)
    pa.parquet.write_table(pa.table(columns), root / "a.parquet")
    return root / "a.parquet"


def write_lists(root, made, labels):
    columns = {"sequence": [s.tolist() for s in made]} | ({"label": labels} if labels else {})
    pa.feather.write_feather(pa.table(columns), root / "a.feather")
    return root / "a.feather"


def write_arff(root, made, labels):
    X = padded(made)
    lines = ["@relation r", "@attribute bag relational"]
    lines += [f"@attribute t{t} numeric" for t in range(X.shape[1])] + ["@end bag"]
    lines += ["@attribute class {x,y}"] * bool(labels) + ["@data"]
    for i, case in enumerate(X):
        channels = [",".join("?" if v != v else str(v) for v in case[:, c]) for c in (0, 1)]
        lines.append("'" + "\\n".join(channels) + "'" + (f",{labels[i]}" if labels else ""))
    (root / "a.arff").write_text("\n".join(lines))
    return root / "a.arff"


def write_tsv(root, made, labels):
    rows = [
        "\t".join([str("xy".index(labels[i]) + 1) if labels else "1", *map(str, case[:, 0])])
        for i, case in enumerate(padded(made))
    ]
    (root / "a.tsv").write_text("\n".join(rows).replace("nan", "NaN"))
    return root / "a.tsv"


def write_npz(root, made, labels):
    np.savez(root / "a.npz", X=padded(made), **({"y": labels} if labels else {}))
    return root / "a.npz"


def write_npy(root, made, labels):
    np.save(root / "X.npy", padded(made))
    if labels:
        np.save(root / "y.npy", np.array(labels))
    return root / "X.npy"


def write_folder(root, made, labels):
    for i, sequence in enumerate(made):
        below = root / "folder" / (labels[i] if labels else "")
        below.mkdir(parents=True, exist_ok=True)
        rows = "".join(f"{a},{b}\n" for a, b in sequence)
        (below / f"{i:02}.csv").write_text("a,b\n" + rows)
    return root / "folder"


def write_texts(root, made, labels):
    for i in range(len(made)):
        below = root / "texts" / (labels[i] if labels else "")
        below.mkdir(parents=True, exist_ok=True)
        (below / f"{i:02}.txt").write_text(f"a {['good', 'bad'][i % 2]} day {i}\n")
    return root / "texts"


WRITERS = {
    # writer: the format, and what the first sequence is called
    write_parquet: ("steps", "s0"),
    write_lists: ("jsonl", "row 1"),
    write_arff: ("ts", "line 10"),
    write_tsv: ("rows", "line 1"),
    write_npz: ("arrays", "sequence 1"),
    write_npy: ("arrays", "sequence 1"),
    write_folder: ("folder", "x/00.csv"),
    write_texts: ("folder", "x/00.txt"),
}


# tests/data reads files of every format; here the whole command runs on half of them.
LONG = (write_lists, write_tsv, write_npy, write_texts)
EACH = [
    pytest.param(w, marks=[pytest.mark.slow] if w in LONG else [], id=w.__name__) for w in WRITERS
]


@pytest.mark.parametrize("write", EACH)
def test_the_whole_command(elman, tmp_path, write, small):
    form, first = WRITERS[write]
    made, labels = sequences(30)
    places = {name: tmp_path / name for name in ("train", "test", "bare")}
    for place in places.values():
        place.mkdir()
    data = write(places["train"], made, labels)
    test = write(places["test"], *sequences(12))
    bare = write(places["bare"], sequences(12)[0], None)

    done = elman("train", data, "--test", test, *small, "--out", "r")
    assert done.code == 0, done.err
    config = (tmp_path / "r" / "config.toml").read_text()
    assert f'format = "{form}"' in config
    figures = json.loads((tmp_path / "r" / "metrics.json").read_text())
    assert set(figures["data_sha256"]) == {str(data), str(test)}

    done = elman("evaluate", "r", test, "--out", "e")
    assert done.code == 0, done.err
    rows = list(csv.DictReader((tmp_path / "e" / "predictions.csv").read_text().splitlines()))
    assert len(rows) == 12 and rows[0]["sequence"] == first

    done = elman("predict", "r", bare, "-o", "p.csv")
    assert done.code == 0, done.err
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 13
    done = elman("check", "r", bare)
    assert done.code == 0, done.err

    # The settings that were written read the same data in the same way.
    done = elman("train", "--config", tmp_path / "r" / "config.toml", "--quiet", "--out", "again")
    assert done.code == 0, done.err
    assert (tmp_path / "again" / "predictions.csv").read_bytes() == (
        tmp_path / "r" / "predictions.csv"
    ).read_bytes()


def test_a_gap_that_training_did_not_have(elman, tmp_path, small):
    rng = np.random.default_rng(0)
    rows = [f"s{i},{t},{rng.normal(i % 2):.3f},{'ab'[i % 2]}" for i in range(30) for t in range(3)]
    head = "id,t,level,label"
    (tmp_path / "train.csv").write_text("\n".join([head, *rows]))
    rows[4] = "s1,1,,b"
    (tmp_path / "new.csv").write_text("\n".join([head, *rows]))
    assert elman("train", "train.csv", "--id", "id", "--time", "t", *small, "--out", "r").code == 0
    for words in (["evaluate"], ["check"], ["predict", "-o", "p.csv"], ["explain", "--row", "s1"]):
        call = [words[0], "r", "new.csv", *words[1:]]
        done = elman(*call)
        assert done.code == 2
        assert "step 2 of the sequence that starts here is missing in channel 'level'" in done.err
        assert "Fill the gap (--fill previous, mean, zero)" in done.err
        for how in ("previous", "zero") if words[0] == "predict" else ("mean",):
            done = elman(*call, "--fill", how, *(["--overwrite"] if words[0] == "predict" else []))
            assert done.code == 0, done.err
            if words[0] != "check":
                note = f"were filled: 1 in 'level' (--fill {how})"
                assert note in done.out, done.out
    done = elman("predict", "r", "new.csv", "-o", "p.csv", "--fill", "means", "--overwrite")
    assert done.code == 2 and "Did you mean 'mean'?" in done.err
