"""The kernels' pool: worth its threads, one for all callers, and no trouble to anybody.

What concerns a whole process (its threads, forks, its end) runs in one of its own:
native_process.py.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from cases import CELLS, make_arguments, run_op
from native_cases import output_gradients, ragged, solve

from elman import _core

SCRIPT = Path(__file__).with_name("native_process.py")
linux = pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")


def run_process(*arguments):
    """What a function of native_process.py prints."""
    command = [sys.executable, "-W", "error", str(SCRIPT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "terminate" not in done.stderr and "Traceback" not in done.stderr, done.stderr
    return done.stdout


@linux
def test_number_of_threads():
    """Each thread that is asked for is used, and kept; the caller is the first of them."""
    assert run_process("threads").splitlines() == [
        "threads 1 more 0",
        "threads 2 more 1",
        "threads 3 more 1",
        "threads 4 more 1",
        "threads 3 more 0",
        "threads 1 more 0",
    ]


def test_beside_the_threads_of_torch():
    run_process("with_torch")


@linux
def test_fork():
    """Children have the pool's memory but none of its threads, whoever is using it."""
    run_process("fork", "2")


@linux
def test_fork_of_an_estimator_with_threads():
    run_process("fork_estimator")


@pytest.mark.slow
@linux
def test_fork_often():
    run_process("fork", "20")


def test_end_of_the_process():
    run_process("end", "2")


@pytest.mark.xfail(strict=True, reason="module.cpp: the lock is asked for as the program ends")
@pytest.mark.skipif(sys.version_info >= (3, 14), reason="Python stops such threads by itself")
def test_end_of_the_process_inside_the_kernels():
    run_process("end_busy", "3")


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_several_callers_at_once(three_threads):
    """One gets the pool and the others do without; each finds what it finds alone."""
    sizes = [(67, 100), (67, 100), (67, 40), (67, 30)]
    problems = []
    for cell, (B, T) in zip(CELLS, sizes, strict=True):
        for dtype in (torch.float32, torch.float64):
            shape = ragged(B, T, 3, 50)
            arguments = make_arguments(cell, shape, dtype)
            problems.append(
                (cell, shape, arguments, output_gradients(cell, shape, dtype, torch.nan))
            )

    def answer(problem):
        cell, shape, arguments, dy = problem
        return solve(run_op(cell, arguments, shape.ends), arguments, dy)

    wanted = [answer(p) for p in problems]
    wrong, rounds = [], 10
    barrier = threading.Barrier(4)

    def call(first):
        torch.set_num_threads(1 + first % 4)
        for n in range(rounds):
            barrier.wait()
            k = (first * 2 + n) % len(problems)
            for name, found in answer(problems[k]).items():
                if not torch.equal(found, wanted[k][name]):
                    wrong.append((k, name))

    callers = [threading.Thread(target=call, args=(i,)) for i in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong
    assert len(callers) * rounds > len(problems)


def test_memory_is_shared_between_callers(poisoned):
    """What forward keeps for backward comes from one store: no two owners of a block."""
    kept, barrier = [], threading.Barrier(4)

    def take(first):
        barrier.wait()
        for n in range(200):
            block = _core.reserve(500 + 100 * (n % 5), False)
            block.fill_(first)
            if n % 3:
                kept.append((first, block))
            assert (block == first).all()

    callers = [threading.Thread(target=take, args=(i,)) for i in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(kept) == 4 * 133
    assert all((block == first).all() for first, block in kept)
    addresses = [block.data_ptr() for _, block in kept]
    assert len(set(addresses)) == len(addresses)
    assert all(a % 64 == 0 for a in addresses)
