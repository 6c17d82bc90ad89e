"""examples/pytorch_loop.py with elman's layer and with torch's: one line differs, and no result."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

EXAMPLE = Path(__file__).parents[2] / "examples" / "pytorch_loop.py"
OURS = "\nfrom elman.layers import GRU\n"
THEIRS = "\nfrom torch.nn import GRU\n"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The example, and the same file with the one line changed to torch's layer."""
    text = EXAMPLE.read_text(encoding="utf-8")
    assert text.count(OURS) == 1
    changed = tmp_path_factory.mktemp("loop") / "torch_loop.py"
    changed.write_text(text.replace(OURS, THEIRS), encoding="utf-8")
    return EXAMPLE, changed


def test_nothing_else_of_elman_is_imported() -> None:
    tree = ast.parse(EXAMPLE.read_text(encoding="utf-8"))
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(n) for n in imports if "elman" in ast.unparse(n)] == [OURS.strip()]


def test_weights_outputs_and_gradients_as_torch(programs: tuple[Path, Path]) -> None:
    results = []
    for path in programs:
        module = load(path)
        torch.manual_seed(3)
        model = module.Classifier(33)
        waves = module.Waves(17, torch.Generator().manual_seed(5))
        x, lengths, target = module.collate(waves.items)
        assert x.shape[:2] == (17, int(lengths.max())) and lengths.unique().numel() > 5
        logits = model(x, lengths)
        torch.nn.functional.cross_entropy(logits, target).backward()
        results.append((type(model.recurrent).__module__, model, logits))
    (ours, model, logits), (theirs, other, expected) = results
    assert (ours.split(".")[0], theirs.split(".")[0]) == ("elman", "torch")
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-6)
    for (name, p), (name_of_other, q) in zip(
        model.named_parameters(), other.named_parameters(), strict=True
    ):
        assert name == name_of_other
        assert torch.equal(p, q)
        assert q.grad.abs().max() > 0
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-6)


def test_it_trains_as_with_torch(programs: tuple[Path, Path]) -> None:
    histories = []
    for path in programs:
        module = load(path)
        torch.manual_seed(0)
        waves = module.Waves(200, torch.Generator().manual_seed(0))
        loader = torch.utils.data.DataLoader(waves, 20, collate_fn=module.collate)
        model = module.Classifier(16)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        learned = [module.run_epoch(model, loader, optimizer) for _ in range(6)]
        before = {name: p.clone() for name, p in model.named_parameters()}
        learned.append(module.run_epoch(model, loader))
        assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
        histories.append(torch.tensor(learned))
    torch.testing.assert_close(histories[0], histories[1], rtol=0, atol=0.004)
    assert histories[1][0, 0] - histories[1][-1, 0] > 0.05  # it did begin to learn


def test_run_as_a_program(tmp_path: Path) -> None:
    pattern = r"epoch +(\d+)   loss (\S+)   accuracy (\S+)   test loss (\S+)   test accuracy (\S+)"
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, str(EXAMPLE), "--epochs", "8"]
    run = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, check=True, text=True)
    assert run.stderr == ""
    epochs = [[float(value) for value in row] for row in re.findall(pattern, run.stdout)]
    assert [row[0] for row in epochs] == list(range(1, 9))
    assert re.search(r"^\d+\.\d s with elman$", run.stdout, re.MULTILINE)
    assert epochs[-1][1] < 0.2 and epochs[-1][4] > 0.95
    assert [path.name for path in tmp_path.iterdir()] == ["pytorch_loop.png"]
    assert (tmp_path / "pytorch_loop.png").read_bytes().startswith(b"\x89PNG")


def test_waves_have_lengths_of_their_own_and_balanced_classes() -> None:
    module = load(EXAMPLE)
    waves = module.Waves(600, torch.Generator().manual_seed(0))
    lengths = {len(wave) for wave, _ in waves.items}
    assert (min(lengths), max(lengths)) == (20, 40)
    counts = torch.bincount(torch.tensor([kind for _, kind in waves.items]))
    assert len(counts) == 3 and counts.min() > 160
    x, lengths, _ = module.collate(waves.items[:9])
    for row, length in zip(x, lengths, strict=True):
        assert not row[length:].any()
