"""benchmarks/bench.py: what it prints can be read back, and a small run works from end to end."""

from __future__ import annotations

import dataclasses
import importlib
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
BENCH = ROOT / "benchmarks" / "bench.py"
sys.path.insert(0, str(BENCH.parent))
bench = importlib.import_module("bench")
contenders = importlib.import_module("speed.contenders")
memory = importlib.import_module("speed.memory")
readme = importlib.import_module("speed.readme")
report = importlib.import_module("speed.report")
rows = importlib.import_module("speed.rows")
timing = importlib.import_module("speed.timing")
worker = importlib.import_module("speed.worker")

HEAD = ["# Speed, 2026-01-01", "", "Hardware: a computer, 2 processors."]
SMALL = rows.Shape(2, 3, 4, 5)


def row(kind="step", cell="gru", shape=SMALL, threads=1, torch=2.0, jax=None, failed=""):
    task = rows.Task(kind, cell, shape, threads)
    if failed:
        return rows.Row(task, failed=failed)
    ratios = {"torch": torch} | ({} if jax is None else {"jax": jax})
    return rows.Row(
        task,
        measures={"elman": rows.Spread(1, 0.9, 1.2)}
        | {peer: rows.Spread(ratio, 0.9 * ratio, 1.2 * ratio) for peer, ratio in ratios.items()},
        ratios={peer: rows.Spread(ratio, 0.8 * ratio, ratio) for peer, ratio in ratios.items()},
        blocks=15,
    )


def test_the_pages_show_the_newest_result():
    result = bench.newest_result()
    assert result is not None
    pages = bench.updated_pages(result)
    assert [page.name for page in pages] == ["README.md"] * 2
    for page, text in pages.items():
        assert page.read_text(encoding="utf-8") == text, "run python benchmarks/bench.py --readme"


def test_the_summary_is_read_back():
    found = [row(cell=cell, torch=3, jax=0.5) for cell in rows.CELLS]
    found += [row("layer", threads=2), row("memory", torch=1.25)]
    text = report.report(found, HEAD)
    head, lines = report.read_table(text, report.SUMMARY)
    assert head == ["what", "threads", "RNN", "GRU", "LSTM"]
    assert lines == report.summary_rows(found)
    assert lines[0][1:] == [
        "1",
        "3x (missed by 70 %: >= 10x)",
        "3x (missed by 62 %: >= 8x)",
        "3x (missed by 25 %: >= 4x)",
    ]
    block = readme.long_block(text, "results/speed_2026-01-01.md", [])
    assert "| whole training step against PyTorch, H <= 64 | 3x | 3x | 3x |" in block
    assert "| lowest of all against JAX, 1 and 2 threads | 0.5x | 0.5x | 0.5x |" in block
    assert "a computer, 2 processors." in block and "(results/speed_2026-01-01.md)" in block
    page = f"above\n{readme.BEGIN}\nold\n{readme.END}\nbelow\n"
    new = readme.replace_block(page, block, "README.md")
    assert new == f"above\n{readme.BEGIN}\n{block}\n{readme.END}\nbelow\n"
    assert readme.replace_block(new, block, "README.md") == new


def test_the_short_table_is_a_range_over_machines():
    cells = list(rows.CELLS)
    found = [row(kind, cell, torch=2 + i) for kind in ("layer",) for i, cell in enumerate(cells)]
    found += [row("step", cell, torch=6.26, jax=0.5) for cell in cells]
    machine = readme.machine_of(report.report(found, HEAD))
    assert machine.name == "a computer, 2 processors"
    assert list(machine.speed.values()) == [[2, 3, 4], [6.26] * 3, [0.5] * 3]
    assert machine.share == {}
    alone = readme.short_block([machine])
    assert "| layer, forward and backward, against PyTorch | 2 | 3 | 4 |" in alone
    assert "SGEMM" not in alone and "machines" not in alone
    speed = {name: [1.04, 3, 12.6] for name in machine.speed}
    other = readme.Machine("another", speed, {"64 units": [71, 81], "128 units": [87, 87]})
    both = readme.short_block([machine, other])
    assert "| layer, forward and backward, against PyTorch | 1 to 2 | 3 | 4 to 13 |" in both
    assert "of 2 machines: (1) a computer, 2 processors; (2) another. " in both
    assert "71 to 81 % at 64 units, 87 % at 128 units (machine 2)." in both
    with_share = dataclasses.replace(machine, share={"64 units": [70, 75]})
    all_measured = readme.short_block([with_share, other])
    assert "70 to 81 % at 64 units" in all_measured
    assert "(machine" not in all_measured


def test_a_layers_share_of_a_matrix_product():
    shape = rows.Shape(2, 3, 4, 64)
    assert rows.layer_operations("gru", shape) == 2 * 3 * 64 * (2 * 4 + 3 * 64) * 6
    found = [
        dataclasses.replace(
            row("layer", "gru", size), sgemm=rows.Spread(100, 90, 110), share=rows.Spread(s, s, s)
        )
        for size, s in [(shape, 0.7), (shape._replace(B=4), 0.81), (shape._replace(H=512), 0.97)]
    ]
    text = report.report(found, HEAD)
    head, lines = report.read_table(text, "## Layer, forward and backward, 1 thread")
    at = head.index("GFLOP/s")
    assert head[at : at + 3] == ["GFLOP/s", "SGEMM GFLOP/s", "% of SGEMM"]
    # The row's layer takes 1 ms.
    expected = 1e-6 * rows.layer_operations("gru", shape)
    assert lines[0][at : at + 3] == [report.number(expected), "100 (90 to 110)", "70"]
    summary = {line[0]: line[2:] for line in report.summary_rows(found)}
    name = "layer forward + backward, share of SGEMM, H"
    assert summary[f"{name} = 64"] == ["not measured", "70 to 81 %", "not measured"]
    assert summary[f"{name} >= 256"][1] == "97 %"
    assert f"{name} = 128" not in summary
    found += [row(kind, cell, jax=2) for kind in ("layer", "step") for cell in rows.CELLS]
    share = readme.machine_of(report.report(found, HEAD)).share
    assert share == {"64 units": [70, 81], "256 units and more": [97]}


def test_an_unreadable_page_is_refused():
    with pytest.raises(ValueError, match="no table after '## Summary'"):
        readme.machine_of("# Speed\n\n## Summary\n\nnothing\n")
    with pytest.raises(ValueError, match=r"README\.md lacks"):
        readme.replace_block("no markers", "", "README.md")
    with pytest.raises(ValueError, match="no row 'layer"):
        readme.machine_of(report.report([row()], HEAD))
    failed = [row("layer", failed="differs"), row("step", jax=1)]
    with pytest.raises(ValueError, match="expected a number, got 'not measured'"):
        readme.machine_of(report.report(failed, HEAD))


def test_the_mean_is_geometric_and_over_the_shapes_of_the_figure():
    wide = SMALL._replace(H=512)
    found = [row(torch=2), row(torch=8), row(shape=wide, torch=100), row(threads=2, torch=100)]
    lines = {(figure, threads): cells for figure, threads, *cells in report.summary_rows(found)}
    assert lines["whole training step against PyTorch, H <= 64", "1"] == [
        "not measured",
        "4x (missed by 50 %: >= 8x)",
        "not measured",
    ]
    assert lines["whole training step against PyTorch, H >= 256", "1"][1] == "100x"
    assert lines["lowest of all against PyTorch", "1 and 2"][1] == "2x (met: >= 1x)"


def test_losses_and_failures_are_listed():
    found = [row(torch=0.7, jax=0.4), row("inference", torch=1.5), row("layer", failed="differs")]
    text = report.report(found, HEAD)
    assert "2 of 3 comparisons are below 1.00x." in text
    _, lines = report.read_table(text, "## Losses")
    assert [line[-2:] for line in lines] == [
        ["JAX", "0.4x (0.32 to 0.4)"],
        ["PyTorch", "0.7x (0.56 to 0.7)"],
    ]
    assert "- layer GRU (2,3,4,5), 1 thread: differs" in text
    assert "| GRU | 2,3,4,5 | failed |" in text
    summary = {line[0]: line[3] for line in report.summary_rows(found)}
    assert summary["layer forward + backward against PyTorch, H <= 64"] == "failed"
    assert summary["lowest of all against PyTorch"] == "failed"
    assert "0 of 1 comparisons" in report.report([row(torch=0.9999)], HEAD)


def test_contenders_take_turns(monkeypatch):
    order = []
    clock = [0.0]
    pace = {"elman": 0.1, "torch": 0.3, "jax": 0.2}

    def run(name):
        order.append(name[0])
        # The machine slows down without end: a ratio within a turn hardly feels it.
        clock[0] += pace[name] * (1 + clock[0] / 1000)

    with monkeypatch.context() as patch:
        patch.setattr(timing.time, "perf_counter", lambda: clock[0])
        blocks = timing.measure({n: lambda n=n: run(n) for n in pace}, seconds=10, fewest=2)
    assert "".join(order[6:]).startswith("etj" + "jte" + "etj")
    assert len(blocks) == math.ceil(10 / 0.6)
    ratios = rows.spread([block.ratio("torch") for block in blocks])
    assert ratios.median == pytest.approx(3, rel=0.01)
    assert len(timing.measure({"elman": lambda: None}, seconds=0, fewest=3)) == 3
    assert len(timing.measure({"elman": lambda: None}, seconds=9, most=9)) == 9


def test_spread():
    assert rows.spread([2.0]) == (2, 2, 2)
    assert rows.spread([float(v) for v in range(11)]) == (5, 1, 9)


def test_disagreement_sees_every_fault():
    good = {"output": torch.tensor([1.0, 100.0]), "h_n": torch.zeros(2)}
    assert contenders.disagreement(good, good, 0.0) == ""
    near = good | {"output": torch.tensor([1.005, 100.0])}
    assert contenders.disagreement(near, good, 1e-4) == ""
    assert contenders.disagreement(near, good, 1e-5) == "output by 5.0e-05"
    for wrong in (torch.tensor([1.0, torch.nan]), torch.tensor([1.0, 101.0])):
        assert "output by" in contenders.disagreement(good | {"output": wrong}, good, 1e-4)
    assert "instead of" in contenders.disagreement(good | {"h_n": torch.zeros(1, 2)}, good, 1)
    assert "instead of" in contenders.disagreement({"h_n": torch.zeros(2)}, good, 1)


@pytest.mark.parametrize("kind", ["layer", "step", "inference", "by step"])
def test_a_wrong_answer_is_not_timed(kind, monkeypatch):
    task = rows.Task(kind, "gru", SMALL, 1)
    assert not worker.measure_row(task, 0.01, with_jax=False).failed
    make = contenders.make_layer

    def with_other_weights_for_torch(library, problem):
        layer = make(library, problem)
        if library == "torch":
            layer.weight_hh_l0.data.mul_(1.5)
        return layer

    monkeypatch.setattr(contenders, "make_layer", with_other_weights_for_torch)
    found = worker.measure_row(task, 0.01, with_jax=False)
    assert found.failed.startswith("elman differs from torch: ")
    assert not found.measures


def test_a_fault_fails_its_row_alone(monkeypatch):
    def fault(*arguments):
        raise RuntimeError("out of order")

    monkeypatch.setitem(contenders.STEPS, "elman", fault)
    found = worker.measure_row(rows.Task("step", "gru", SMALL, 1), 0.01, with_jax=False)
    assert found.failed == "RuntimeError: out of order"


def test_a_process_that_ends_early_is_noticed():
    assert list(worker.results_from(print)) == []


def test_memory_is_the_peers_over_ours_and_of_the_same_training(monkeypatch):
    task = rows.Task("memory", "gru", SMALL, 1)
    held = {"elman": 2 * memory.MIB, "torch": 3 * memory.MIB}
    losses = {"elman": [0.7, 0.6], "torch": [0.7, 0.6]}

    def sent(function, task, contender):
        return iter([(held[contender], losses[contender])])

    monkeypatch.setattr(memory, "results_from", sent)
    found = memory.measure_row(task)
    assert found.measures == {"elman": (2, 2, 2), "torch": (3, 3, 3)}
    assert found.ratios == {"torch": (1.5, 1.5, 1.5)}
    losses["elman"] = [0.7, 0.61]
    assert "losses differ" in memory.measure_row(task).failed
    losses["elman"] = [0.7, math.nan]
    assert "losses differ" in memory.measure_row(task).failed
    monkeypatch.setattr(memory, "results_from", lambda *_: iter([]))
    assert memory.measure_row(task).failed == "elman: the process ended early"


def test_a_busy_machine_is_noticed(monkeypatch):
    used = iter([timing.Usage(0, 0, 0), timing.Usage(2, 3, 2), timing.Usage(2, 2, 2), None])
    monkeypatch.setattr(timing, "usage", lambda: next(used))
    before = timing.usage()
    assert timing.used_by_others(before) == 0.5
    assert timing.used_by_others(before) == 0
    assert timing.used_by_others(before) is None
    busy = dataclasses.replace(row(threads=2), others=0.5)
    quiet = dataclasses.replace(row(), others=0.1)
    assert "During 1 of 2 rows" in report.report([busy, quiet], HEAD)
    assert "During" not in report.report([quiet], HEAD)


def test_waiting_for_a_quiet_machine_ends(monkeypatch):
    monkeypatch.setattr(timing, "used_by_others", lambda before: 1.0)
    assert 0.2 <= timing.wait_until_quiet(0.1) < 5
    monkeypatch.setattr(timing, "used_by_others", lambda before: 0.0)
    assert 0.2 <= timing.wait_until_quiet(600) < 100
    assert timing.wait_until_quiet(0) < 0.1


def test_the_standard_rows_are_those_of_the_targets():
    work = rows.tasks(rows.KINDS, list(rows.CELLS), [1, 2])
    assert len(work) == len(set(work)) == 3 * (2 * (8 + 8 + 9 + 1) + 3)
    single = rows.tasks(["inference"], ["rnn"], [1], [rows.Shape(1, 9, 2, 3)])
    assert [task.kind for task in single] == ["inference", "by step"]


@pytest.mark.parametrize(
    "given",
    [
        "--rows layers",
        "--rows layer,,step",
        "--cells elman",
        "--shapes 3x4x5",
        "--shapes 3x4x5x0",
        "--threads 0",
        "--threads some",
        "--threads 100000",
        "--seconds -1",
        "--wait nan",
        "--seconds inf",
        "--fast",
        "more",
    ],
)
def test_options_that_make_no_sense_are_refused(given, capsys):
    with pytest.raises(SystemExit) as stop:
        bench.parse_arguments(given.split())
    assert stop.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_options():
    found = bench.parse_arguments(["--rows", "step,layer", "--shapes", "1x2x3x4,5x6x7x8"])
    assert found.rows == ["layer", "step"]
    assert found.cells == ["rnn", "gru", "lstm"]
    assert found.shapes == [rows.Shape(1, 2, 3, 4), rows.Shape(5, 6, 7, 8)]
    assert bench.parse_arguments(["--threads", "all,1"]).threads == sorted({1, bench.processors()})


def smoke(tmp_path, *flags):
    out = tmp_path / "speed.md"
    done = subprocess.run(
        [sys.executable, BENCH, "--smoke", "--out", out, *flags],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out.read_text(encoding="utf-8")


def check(text, cells, titles):
    _, lines = report.read_table(text, report.SUMMARY)
    assert any(figure.startswith("lowest of all against PyTorch") for figure, *_ in lines)
    assert readme.long_block(text, "speed.md", []).count("\n") > 3
    for title in titles:
        head, lines = report.read_table(text, f"## {title}, 1 thread")
        assert {line[0] for line in lines} == cells
        figures = [i for i, name in enumerate(head) if name.endswith((" ms", " MiB", " / elman"))]
        assert len(figures) >= 3
        for line in lines:
            assert len(line) == len(head)
            for i in figures:
                value = float(line[i].split("x")[0].split(" ")[0])
                assert math.isfinite(value)
                assert value >= 0


def test_a_small_run(tmp_path):
    text = smoke(tmp_path, "--cells", "gru")
    check(text, {"GRU"}, report.TITLES.values())


@pytest.mark.slow
def test_a_small_run_of_every_cell(tmp_path):
    text = smoke(tmp_path, "--rows", "layer,step,inference", "--threads", "1,all")
    check(text, {"RNN", "GRU", "LSTM"}, [t for k, t in report.TITLES.items() if k != "memory"])


def test_the_benchmark_of_reading_runs_from_end_to_end() -> None:
    script = ROOT / "benchmarks" / "reading.py"
    command = [sys.executable, str(script), "--rows", "1000", "--rounds", "1"]
    page = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "## wide: 1,000 rows" in page and "## long: 2,000 rows" in page
    rows = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")]
    assert rows.count("elman") == rows.count("pyarrow") == rows.count("polars") == 2
    assert "`elman data` on `long`:" in page


def test_a_small_run_of_the_stepping_benchmark() -> None:
    """It compares the answers of all contenders before it takes time."""
    script = ROOT / "benchmarks" / "stepping.py"
    done = subprocess.run(
        [sys.executable, script, "--rounds", "2", "--cells", "rnn"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| RNN | 64 |")]
    assert [row.count("x |") for row in rows] == [3, 1] or "JAX |" in done.stdout
