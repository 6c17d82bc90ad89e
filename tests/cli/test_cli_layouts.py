"""Data of every layout through the whole command: train, evaluate, predict, check."""

import csv
import json
import re

import pyarrow.feather
import pyarrow.parquet
import pytest

LAYOUTS = {
    # file: classes, whether a row is a step, what a sequence is called
    "text.csv": (["x", "y"], False, "line 2"),
    "values.csv": (["x", "y"], False, "line 2"),
    "steps.csv": (["x", "y"], False, "s0"),
    "stepstags.csv": (["neg", "pos"], True, "s0"),
    "tokens.jsonl": (["x", "y"], False, "line 1"),
    "tags.jsonl": (["a", "b", "c", "g"], True, "line 1"),
    "text.jsonl": (["0", "1"], False, "line 1"),
    "sequence.jsonl": (["x", "y"], False, "line 1"),
    "channels.ts": (["x", "y"], False, "line 6"),
}


def steps_of(path):
    """Steps of each sequence of a test file."""
    text = path.read_text()
    if path.suffix == ".jsonl":
        return [len(json.loads(line)["tokens"]) for line in text.splitlines()]
    ids = [row["id"] for row in csv.DictReader(text.splitlines())]
    return [ids.count(name) for name in dict.fromkeys(ids)]


def check_rows(rows, classes, per_step, first, truth):
    names = ["sequence", *["step"] * per_step, *["true"] * truth, "predicted", "probability"]
    each = [] if per_step else [f"p({c})" for c in classes]
    found = list(rows[0])
    assert [n for n in found if n != "token"] == [*names, *each]
    assert rows[0]["sequence"] == first
    for row in rows:
        assert row["predicted"] in classes
        assert 1 / len(classes) - 1e-6 <= float(row["probability"]) <= 1
        if truth:
            assert row["true"] in classes
        if not per_step:
            shares = {c: float(row[f"p({c})"]) for c in classes}
            assert sum(shares.values()) == pytest.approx(1, abs=3e-6)
            assert max(shares.values()) == float(row["probability"]) == shares[row["predicted"]]


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_whole_command(elman, trained, others, tmp_path, name, tree):
    classes, per_step, first = LAYOUTS[name]
    run = trained(name)
    before = tree(run)

    done = elman("evaluate", run, others / name, "--out", tmp_path / "e")
    assert done.code == 0, done.err
    assert "12 sequences" in done.out
    assert f"Written to {tmp_path / 'e'}" in done.out
    figures = json.loads((tmp_path / "e" / "metrics.json").read_text())["evaluation"]
    assert figures["count"] == 12
    assert [str(c) for c in figures["classes"]] == classes
    accuracy = re.search(r"^accuracy +([\d.]+)", done.out, re.MULTILINE)
    assert float(accuracy[1]) == pytest.approx(figures["accuracy"], abs=5e-4)

    for source, truth in ((others / name, True), (others / "bare" / name, False)):
        out = tmp_path / "p.csv"
        done = elman("predict", run, source, "-o", out, "--overwrite")
        assert done.code == 0, done.err
        assert done.out == f"12 sequences predicted, written to {out}\n"
        rows = list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))
        here = first if truth or name != "channels.ts" else "line 6"
        check_rows(rows, classes, per_step, here, truth)
        if per_step:
            sizes = steps_of(others / name)
            assert len(rows) == sum(sizes)
            assert [int(r["step"]) for r in rows] == [t + 1 for n in sizes for t in range(n)]
        else:
            assert len(rows) == 12
        if truth:
            right = sum(r["true"] == r["predicted"] for r in rows) / len(rows)
            assert right == pytest.approx(figures["accuracy"])
            labelled = [(r["predicted"], r["probability"]) for r in rows]
        else:
            assert [(r["predicted"], r["probability"]) for r in rows] == labelled

    done = elman("check", run, others / "bare" / name)
    assert done.code == 0
    assert re.search(r"All \d+ checks passed: .* alone, to the last bit\n\Z", done.out)
    assert tree(run) == before  # reading a run leaves it as it was


@pytest.mark.parametrize("name", ["text.csv", "stepstags.csv", "channels.ts"])
def test_evaluating_what_has_no_labels(elman, trained, others, name, tmp_path):
    done = elman("evaluate", trained(name), others / "bare" / name)
    assert done.code == 2
    assert done.err.startswith(f"Error: {others / 'bare' / name}")
    assert list(tmp_path.iterdir()) == []


def test_the_ending_chooses_the_format(elman, tmp_path, trained, others):
    """Every format of predictions holds what the CSV file holds."""
    run, data = trained("tags.jsonl"), others / "tags.jsonl"
    tables = {}
    for ending in ("csv", "tsv", "jsonl", "parquet", "arrow"):
        done = elman("predict", run, data, "-o", f"p.{ending}")
        assert done.out == f"12 sequences predicted, written to p.{ending}\n"
        tables[ending] = (tmp_path / f"p.{ending}").read_bytes()
    rows = list(csv.DictReader(tables["csv"].decode().splitlines()))
    assert tables["tsv"] == tables["csv"].replace(b",", b"\t")
    records = [json.loads(line) for line in tables["jsonl"].decode().splitlines()]
    assert [r["sequence"] for r in records] == list(dict.fromkeys(r["sequence"] for r in rows))
    tags = [tag for record in records for tag in record["predicted"]]
    assert tags == [row["predicted"] for row in rows]
    for record in records:
        spelt = [s["label"] for s in record["spans"] for _ in range(s["start"], s["end"] + 1)]
        assert spelt == record["predicted"]
    for table in (
        pyarrow.parquet.read_table(tmp_path / "p.parquet", partitioning=None),
        pyarrow.feather.read_table(tmp_path / "p.arrow"),
    ):
        assert table.column_names == list(rows[0])
        assert [str(step) for step in table["step"].to_pylist()] == [r["step"] for r in rows]
        assert table["predicted"].to_pylist() == tags


def test_predicting_to_the_terminal(elman, trained, others):
    done = elman("predict", trained("text.csv"), others / "text.csv", "-o", "-")
    assert done.code == 0
    assert done.out.startswith("sequence,true,predicted,probability,p(x),p(y)\nline 2,x,")
    assert len(done.out.splitlines()) == 13
    assert done.err == ""


def test_unknown_tokens_are_told(elman, trained, tmp_path):
    path = tmp_path / "new.jsonl"
    path.write_text('{"tokens": ["a", "zebra", "zebra"]}\n{"tokens": ["quux", "b"]}\n')
    done = elman("predict", trained("tokens.jsonl"), path, "-o", "p.csv")
    assert done.code == 0
    expected = (
        f"3 of 5 tokens (60.0%) of {path} were not seen in training and are read as unknown: "
        "'zebra', 'quux'"
    )
    assert expected in done.out
    done = elman("predict", trained("tokens.jsonl"), path, "-o", "-")
    assert expected in done.err
    assert expected not in done.out


def test_a_test_and_a_validation_file(elman, files, others, small, tmp_path):
    done = elman(
        "train",
        files / "text.csv",
        *small,
        "--test",
        others / "text.csv",
        "--validation",
        others / "text.csv",
        "--out",
        "r",
    )
    assert done.code == 0, done.err
    figures = json.loads((tmp_path / "r" / "metrics.json").read_text())
    assert [figures[p]["count"] for p in ("train", "validation", "test")] == [30, 12, 12]
    assert set(figures["data_sha256"]) == {str(files / "text.csv"), str(others / "text.csv")}


def test_columns_by_flag(elman, files, others, small, tmp_path):
    """Two columns with labels, and another order of the columns later."""
    text = ["words,mood,place,n"]
    text += [
        f"{w} day,{m},{p},{i}"
        for i in range(6)
        for w, m, p in (("good", "up", "here"), ("bad", "down", "here"), ("good", "up", "there"))
    ]
    (tmp_path / "two.csv").write_text("\n".join(text) + "\n")
    done = elman("train", "two.csv", "--target", "mood", "--text", "words", *small, "--out", "r")
    assert done.code == 0, done.err
    (tmp_path / "turned.csv").write_text("n,mood,words\n1,up,good day\n2,down,bad day\n")
    done = elman("evaluate", "r", "turned.csv")
    assert done.code == 0, done.err
    (tmp_path / "renamed.csv").write_text("feeling,words\nup,good day\ndown,bad day\n")
    done = elman("evaluate", "r", "renamed.csv", "--target", "feeling")
    assert done.code == 0, done.err
    done = elman("evaluate", "r", "renamed.csv")
    assert done.code == 2
    assert "there is no column 'mood'" in done.err


ODD = {
    "labels": ["ja, nein", "日本"],
    "truth": ["true", "false"],
    "headings": ["predicted", "true"],
    "digits": ["0", "1"],
    "quotes": ['say "x"', "it's"],
}


EACH = [
    pytest.param(v, marks=[pytest.mark.slow] if k in ("truth", "headings", "digits") else [], id=k)
    for k, v in ODD.items()
]


@pytest.mark.parametrize("labels", EACH)
def test_odd_names_and_labels(elman, small, tmp_path, labels):
    folder = tmp_path / "some Döner & co"
    folder.mkdir()
    data = folder / "my data,1 (ü).csv"
    with data.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows([f"{['good', 'bad'][i % 2]} day", labels[i % 2]] for i in range(20))
    run = folder / "a run"
    done = elman("train", data, *small, "--out", run)
    assert done.code == 0, done.err
    with (run / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {r["true"] for r in rows} == set(labels)
    assert [r[f"p({labels[0]})"] for r in rows]
    done = elman("train", "--config", run / "config.toml", "--quiet", "--out", folder / "again")
    assert done.code == 0, done.err
    assert (folder / "again" / "predictions.csv").read_bytes() == (
        run / "predictions.csv"
    ).read_bytes()
    done = elman("evaluate", run, data)
    assert done.code == 0, done.err
    assert (run / "evaluations" / "my data,1 (ü)" / "metrics.json").is_file()


def test_one_step_and_very_long_sequences(elman, small, tmp_path):
    rows = [f"{i % 2},{i}" + (",1" * 4999 if i % 2 else "," * 4999) for i in range(12)]
    header = ",".join(["label", *(f"v{j}" for j in range(5000))])
    (tmp_path / "long.csv").write_text("\n".join([header, *rows]) + "\n")
    done = elman("train", "long.csv", *small, "--epochs", 1, "--out", "r")
    assert done.code == 0, done.err
    done = elman("predict", "r", "long.csv", "-o", "p.csv")
    assert done.out.startswith("12 sequences")


def test_huge_values_and_a_constant_channel(elman, small, tmp_path):
    lines = ["id,t,a,b,label"]
    lines += [
        f"{i},{t},{(i % 2 * 2 - 1) * (t + 1)}e30,7,{'xy'[i % 2]}"
        for i in range(20)
        for t in range(3)
    ]
    (tmp_path / "huge.csv").write_text("\n".join(lines) + "\n")
    done = elman("train", "huge.csv", *small, "--out", "r")
    assert done.code == 0, done.err
    (tmp_path / "larger.csv").write_text("id,t,a,b\n1,0,1e300,7\n1,1,1e300,7\n")
    done = elman("predict", "r", "larger.csv", "-o", "-")
    assert done.code == 2
    assert "sequence 0: channel 'a' holds 1.0e+300, too large for the network" in done.err
