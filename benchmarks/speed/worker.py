"""The processes that measure; all timed rows of one number of threads come from one."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

from .rows import PEERS, Row, Task, layer_operations, spread

# As fast as 256 and 384, within 2 %, and 1024 is slower: the two matrices fit the L2 cache.
PRODUCT_SIZE = 512
PRODUCT_OPERATIONS = 2 * PRODUCT_SIZE**3


def results_from(function: Callable[..., None], *arguments: Any) -> Iterator[Any]:
    """Yield what `function` sends over the connection it gets last, in a new process."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=function, args=(*arguments, sender))
    process.start()
    sender.close()
    try:
        while True:
            yield receiver.recv()
    except EOFError:
        pass
    finally:
        receiver.close()
        process.join()


def limit_processors(threads: int) -> bool:
    """Keep this process to as many processors as it has threads; False if the system cannot.

    That is what makes JAX, whose pool has a thread a processor, run in one thread: its flag
    xla_cpu_multi_thread_eigen=false does not. Must come before torch and JAX are imported.
    """
    if not hasattr(os, "sched_setaffinity"):
        return False
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    return True


def has_jax() -> bool:
    return importlib.util.find_spec("jax") is not None


def run_pass(
    tasks: Sequence[Task], seconds: float, patience: float, connection: Connection
) -> None:
    """Measure `tasks`, all of one number of threads, and send a Row for each.

    Args:
        seconds: for each.
        patience: seconds to wait for a quiet machine, all in all.
    """
    threads = tasks[0].threads
    limited = limit_processors(threads)

    import torch

    from .timing import wait_until_quiet

    torch.set_num_threads(threads)
    with_jax = has_jax() and (limited or threads == os.cpu_count())
    for task in tasks:
        patience -= wait_until_quiet(patience)
        connection.send(measure_row(task, seconds, with_jax))
    connection.close()


def measure_row(task: Task, seconds: float, with_jax: bool) -> Row:
    """Build the contenders, see that they agree, time them. A fault becomes a failed row.

    A layer on one thread is timed in turn with a matrix product too: what the core can do at best
    changes with its clock, and so from minute to minute.
    """
    from .timing import measure, usage, used_by_others

    load = os.getloadavg()[0]
    single = task.threads == 1
    try:
        runs, compilation, failed = contenders_of(task, with_jax)
        if failed:
            return Row(task, failed=failed)
        sgemm = {"sgemm": matrix_product()} if task.kind == "layer" and single else {}
        before = usage()
        blocks = measure({**runs, **sgemm}, seconds)
        others = used_by_others(before)
    except Exception as error:  # what one cell and shape cannot do must not end the others
        return Row(task, failed=f"{type(error).__name__}: {error}")
    peers = [peer for peer in PEERS if peer in runs]
    rates = [1e-9 * PRODUCT_OPERATIONS / b.seconds("sgemm", single) for b in blocks if sgemm]
    operations = layer_operations(task.cell, task.shape)
    layer_rates = [1e-9 * operations / b.seconds("elman", single) for b in blocks if sgemm]
    shares = [layer / rate for layer, rate in zip(layer_rates, rates, strict=True)]
    return Row(
        task,
        measures={c: spread([1e3 * b.seconds(c, single) for b in blocks]) for c in runs},
        ratios={p: spread([b.ratio(p, single) for b in blocks]) for p in peers},
        clock={c: spread([1e3 * b.wall[c] for b in blocks]).median for c in runs},
        clock_ratios={p: spread([b.ratio(p) for b in blocks]).median for p in peers},
        blocks=len(blocks),
        load=(load, os.getloadavg()[0]),
        others=others,
        compilation=compilation,
        sgemm=spread(rates) if rates else None,
        share=spread(shares) if shares else None,
    )


def matrix_product() -> Callable[[], Any]:
    """The product of two square float32 matrices, as torch computes it (MKL or OpenBLAS)."""
    import torch

    a, b = torch.randn(2, PRODUCT_SIZE, PRODUCT_SIZE)
    out = torch.empty(PRODUCT_SIZE, PRODUCT_SIZE)
    return lambda: torch.mm(a, b, out=out)


def contenders_of(
    task: Task, with_jax: bool
) -> tuple[dict[str, Callable[[], Any]], float | None, str]:
    """Return callables by contender, seconds of JAX's first call, and their disagreements."""
    from . import contenders as ours

    problem = ours.make_problem(task.cell, task.shape)
    runs: dict[str, Callable[[], Any]] = {}
    results: dict[str, Any] = {}
    compilation = None
    limit = ours.LAYER_LIMIT
    if task.kind == "step":
        limit = ours.LOSS_LIMIT
        for name, make in ours.STEPS.items():
            results[name] = ours.losses_of(make(problem, ours.RATE))
            runs[name] = make(problem, ours.TIMED_RATE)
    else:
        build = {
            "layer": ours.layer_contender,
            "inference": ours.inference_contender,
            "by step": ours.stepwise_contender,
        }[task.kind]
        for name in ("elman", "torch"):
            runs[name], read_results = build(name, problem)
            results[name] = read_results()
    if with_jax and task.kind != "layer":
        from . import jax_peer

        clock = time.process_time if task.threads == 1 else time.perf_counter
        if task.kind == "step":
            place, compilation = jax_peer.faster(
                lambda before: (before, jax_peer.jax_step(problem, ours.TIMED_RATE, before)),
                lambda made: made[1],
                clock,
            )
            runs["jax"] = place[1]
            results["jax"] = ours.losses_of(jax_peer.jax_step(problem, ours.RATE, place[0]))
        elif task.kind == "inference":
            (runs["jax"], read_results), compilation = jax_peer.faster(
                lambda before: jax_peer.inference_contender(problem, before),
                lambda made: made[0],
                clock,
            )
            results["jax"] = read_results()
        else:
            runs["jax"], read_results = jax_peer.stepwise_contender(problem)
            results["jax"] = read_results()
    faults = {
        name: ours.disagreement(results[name], results["torch"], limit)
        for name in runs
        if name != "torch"
    }
    for run in runs.values():
        run()
    wrong = [f"{name} differs from torch: {fault}" for name, fault in faults.items() if fault]
    return runs, compilation, "; ".join(wrong)
