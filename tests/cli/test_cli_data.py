"""`elman data`: what is in a file."""

import json
import subprocess
import sys


def test_figures(elman, files, others):
    done = elman("data", files / "steps.csv", "--test", others / "steps.csv")
    assert done.code == 0 and "30, of 2 to 4 steps" in done.out
    assert "12 sequences, 0 of them are in the training split too" in done.out
    done = elman("data", files / "steps.csv", "--values", "b", "--json")
    figures = json.loads(done.out)
    assert figures["sequences"] == 30 and [c["name"] for c in figures["channels"]] == ["b"]
    assert figures["layout"]["id"] == "id"


def test_every_layout(elman, files):
    for path in sorted(files.iterdir()):
        done = elman("data", path)
        assert done.code == 0, done.err


def test_a_task_brings_its_own_layout(elman):
    assert elman("data", "running-parity").code == 0
    done = elman("data", "running-parity", "--target", "x")
    assert done.code == 2 and "--target: running-parity is a built-in task" in done.err


def test_faults_are_listed(elman, tmp_path):
    (tmp_path / "a.csv").write_text("v1,v2,v3,label\n1,2,3,a\n1,x,3,a\n1,2\n")
    done = elman("data", "a.csv")
    assert done.code == 2
    assert done.err.splitlines() == [
        "Error: a.csv: 2 faults",
        "  line 3, column v2: 'x' is not a number. Correct the cell; if it marks a missing value,"
        " say --missing x.",
        "  line 4: 2 cells, expected 4 as on the first line. Fill the row up; a sequence that ends"
        " early needs empty cells after it.",
    ]


def test_no_torch_is_imported(files):
    code = (
        "import sys; from elman.cli.commands import cli; "
        f"cli.main(['data', {str(files / 'text.csv')!r}], standalone_mode=False); "
        "print([m for m in ('torch', 'sklearn', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_group_is_named_as_in_training(elman, tmp_path):
    rows = [f"{i},{i % 3},{t},{i + t}.5,{'ab'[i % 2]}" for i in range(8) for t in range(3)]
    (tmp_path / "a.csv").write_text("\n".join(["trial,site,t,x,label", *rows]))
    assert "left out site" in elman("data", "a.csv").out
    done = elman("data", "a.csv", "--group", "site")
    assert done.code == 0 and "1 channel: x" in done.out and "left out" not in done.out
    done = elman("data", "a.csv", "--group", "sote")
    assert done.code == 2 and "Did you mean 'site'?" in done.err
    done = elman("data", "a.csv", "--id", "trial,sote")
    assert done.code == 2 and "there is no column 'sote'. Did you mean 'site'?" in done.err


def test_dates_in_another_order_than_said(elman, tmp_path):
    rows = [f"{i},{12 + t}/01/2024,{i + t}.5,{'ab'[i % 2]}" for i in range(8) for t in range(3)]
    (tmp_path / "a.csv").write_text("\n".join(["id,date,x,label", *rows]))
    done = elman("data", "a.csv", "--dates", "mdy")
    assert done.code == 2 and "--dates mdy: no column holds dates in this order" in done.err
    done = elman("data", "a.csv", "--dates", "mdy", "--time", "date")
    assert done.code == 2 and "Give another order than --dates mdy, or" in done.err
