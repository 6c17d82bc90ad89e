"""Kernels in a process of its own: threads, forks and the end of the process. A script, no test.

`python native_process.py NAME [COUNT]` runs the function of that name: test_native_threads.py does.
Where a process forks, torch itself must have stayed on one thread and its number of threads must
not have been set: torch's own pools do not survive a fork.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy
import numpy as np
import torch
from torch.utils.data import DataLoader

from elman import _core, ops

B, T, I, H = 67, 40, 5, 50  # 4 chunks of rows, and more than the least work for threads
SECONDS = 60  # a child that takes longer hangs


def problem(seed: int = 0, steps: int = T) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = [(B, steps, I), (3 * H, I), (3 * H, H), (3 * H,), (3 * H,), (B, H)]
    return [torch.randn(s, generator=generator).mul_(0.3).requires_grad_() for s in sizes]


def lengths_of(x: torch.Tensor) -> torch.Tensor:
    """From half of the steps to all, (B,)."""
    rows, steps, _ = x.shape
    return steps - torch.arange(rows) % ((steps + 1) // 2)


def solve(arguments: list[torch.Tensor]) -> list[torch.Tensor]:
    """y, h_n and all gradients, without a large operation of torch's."""
    y, h_n = ops.gru(*arguments, lengths_of(arguments[0]))
    return [y, h_n, *torch.autograd.grad([y, h_n], arguments, [y.detach(), h_n.detach()])]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(np.array_equal(x.detach(), y.detach()) for x, y in zip(a, b, strict=True))


def running() -> int:
    """Threads of this process."""
    return len(list(Path("/proc/self/task").iterdir()))


def threads() -> None:
    """One more thread for each that is asked for, none for small work, the same bits."""
    torch.set_num_threads(1)
    wanted = solve(problem())
    small = problem(steps=1)
    torch.set_num_threads(4)  # which starts threads of torch's
    before = running()
    solve(small)  # as many chunks of rows, but little to do
    assert running() == before, "small work has no threads"
    for count in (1, 2, 3, 4, 3, 1):
        torch.set_num_threads(count)
        before = running()
        assert same(solve(problem()), wanted), count
        print("threads", count, "more", running() - before)
    for count in (1, 2, 3, 4):  # without gradients
        torch.set_num_threads(count)
        with torch.no_grad():
            arguments = problem()
            y, h_n = ops.gru(*arguments, lengths_of(arguments[0]))
        assert same([y, h_n], wanted[:2])


def with_torch() -> None:
    """torch's own threads before, between, after, and at the same time."""
    torch.set_num_threads(1)
    wanted = solve(problem())
    a = torch.randn(400, 400)
    product = a @ a
    torch.set_num_threads(3)

    def multiply(rounds: int) -> None:
        for _ in range(rounds):
            torch.testing.assert_close(a @ a, product)

    for _ in range(5):
        multiply(1)
        assert same(solve(problem()), wanted)
    others = [threading.Thread(target=multiply, args=(20,)) for _ in range(2)]
    for other in others:
        other.start()
    for _ in range(10):
        assert same(solve(problem()), wanted)
    for other in others:
        other.join()


def busy() -> None:
    """Daemon threads that are hardly ever out of the kernels, and then in no code of torch's."""
    tensors = [t.detach() for t in problem()]
    x, weight_ih, weight_hh, bias_ih, bias_hh, h0 = (t.data_ptr() for t in tensors)
    results = [torch.empty(B, T, H), torch.empty(B, H)]
    y, h_n = (t.data_ptr() for t in results)
    weights = [weight_ih, weight_hh, bias_ih, bias_hh, 0]
    call = _core.LayerCall(
        cell="gru",
        is_double=False,
        reverse=False,
        sizes=(B, T, I, H, 0),
        lengths=0,
        weights=weights,
        x=(x, I, T * I),
        y=(y, H, T * H),
        h0=h0,
        c0=0,
        reserve=0,
        threads=3,
    )

    def forever(keep: list[torch.Tensor]) -> None:
        while True:
            call.forward(h_n=h_n, c_n=0)

    for _ in range(3):
        threading.Thread(target=forever, args=(tensors + results,), daemon=True).start()
    time.sleep(0.2)


def finished(child: int) -> int:
    """Exit status of a child; one that hangs is killed."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -signal.SIGALRM


def children(count: int, act: Callable[[], object]) -> None:
    """Fork; each child acts and ends as a program does; all must end well."""
    for i in range(count):
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            act()
            sys.exit(0)
        status = finished(child)
        assert status == 0, f"child {i} ended with {status}"


def give_three() -> None:
    """Have the kernels take three threads, without what torch starts when it is told so."""
    torch.get_num_threads = lambda: 3


def fork(count: int) -> None:
    """The pool after a fork, in child and parent, while other threads use it or not."""
    give_three()
    wanted = solve(problem())

    def act() -> None:
        assert running() == 1, "threads do not survive a fork"
        assert same(solve(problem()), wanted)
        assert running() == 3, "the child has threads of its own"
        assert same(solve(problem()), wanted)

    children(count, act)
    assert same(solve(problem()), wanted)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for found in pool.map(_digest, range(4)):
            assert found == _digest(0)
    loader = DataLoader(
        list(range(6)),
        batch_size=2,
        num_workers=2,
        collate_fn=_collate,
        multiprocessing_context="fork",
    )
    for found in loader:
        assert same([found], wanted[:1])
    busy()
    children(count, lambda: os._exit(0 if same(solve(problem()), wanted) else 1))
    os._exit(0)  # how a process with such threads ends is asked elsewhere


def fork_estimator() -> None:
    """A child fits with threads like its parent, although torch's do not survive the fork."""
    from elman import SequenceClassifier

    X = numpy.random.default_rng(0).normal(size=(40, 12, 3))

    def fit() -> bytes:
        model = SequenceClassifier(hidden_size=8, epochs=2, validation=0, threads=2, random_state=0)
        return model.fit(X, numpy.arange(40) % 2).predict_proba(X).tobytes()

    wanted = fit()
    torch.randn(300, 300) @ torch.randn(300, 300)
    children(2, lambda: os._exit(0 if fit() == wanted else 1))
    os._exit(0)


def _digest(_: int) -> list[str]:
    return [hashlib.sha256(t.detach().numpy()).hexdigest() for t in solve(problem())]


def _collate(_: list[int]) -> torch.Tensor:
    return solve(problem())[0].detach()


def end(count: int) -> None:
    """A process whose pool waits ends, and ends well."""
    give_three()
    children(count, lambda: solve(problem()))


def end_busy(count: int) -> None:
    """A process ends while threads of Python are inside the kernels."""
    children(count, busy)


if __name__ == "__main__":
    globals()[sys.argv[1]](*(int(argument) for argument in sys.argv[2:]))
