"""`elman serve` under load, beside a plain handler of FastAPI around torch.nn.

    python benchmarks/serving.py --out FILE       # 1, 16 and 64 clients; FILE as in results/
    python benchmarks/serving.py --soak 100000    # that many requests, and the memory meanwhile
    python benchmarks/serving.py --requests 300 --seconds 2 --rounds 1     # a short look

Both servers run one process each on loopback, with the same network and weights, and their answers
are compared first. The load generator is a third process: each client keeps a connection and sends
a request when its last one is answered. In every round the servers take turns; medians of the
rounds are given. All three share the machine's processors, so the processor time of each server
per request is given too: it says what the server itself costs, however busy the machine is.

A run is bounded: by --requests and --seconds for each server, number of clients and round.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from load.generator import Load, make_request, run

HERE = Path(__file__).parent
STEPS, CHANNELS = 50, 8
NAMES = {"elman": "elman serve", "fastapi": "FastAPI + torch.nn"}


@dataclass(frozen=True)
class Server:
    """A server in a process of its own."""

    name: str
    port: int
    process: subprocess.Popen[bytes]

    @property
    def processor_seconds(self) -> float:
        """Processor time of all threads so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def memory(self) -> float:
        """Resident memory in MB."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def train(folder: Path, cell: str, hidden: int) -> list[list[list[float]]]:
    """Save a small trained classifier; return sequences to ask about."""
    from elman import SequenceClassifier

    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, STEPS, CHANNELS)) * 3 + 1
    y = np.array(["rest", "run", "walk"])[rng.integers(0, 3, 64)]
    clf = SequenceClassifier(
        cell=cell, hidden_size=hidden, epochs=1, random_state=0, verbose=0, readout="last"
    )
    clf.fit(x, y).save(folder)
    return np.round(x, 4).tolist()


@contextlib.contextmanager
def serve(name: str, folder: Path) -> Iterator[Server]:
    """Start a server, and end it at the end of the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = {
        "elman": [sys.executable, "-m", "elman", "serve", str(folder), "--port", str(port)],
        "fastapi": [sys.executable, str(HERE / "load" / "handler.py"), str(folder), str(port)],
    }[name]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        for _ in range(600):
            if process.poll() is not None:
                raise SystemExit(f"{name}: ended with {process.returncode}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        yield Server(name, port, process)
    finally:
        process.terminate()
        process.wait(30)


def bodies(name: str, sequences: list[list[list[float]]]) -> list[tuple[bytes, int]]:
    """Return the requests for sequences, in the form that a server takes, which succeed."""
    records = sequences if name == "elman" else [{"rows": rows} for rows in sequences]
    return [(make_request(json.dumps(record).encode()), 200) for record in records]


def ask(server: Server, sequences: list[list[list[float]]]) -> list[dict[str, float]]:
    """Return the probabilities that a server answers."""
    found = []
    for rows in sequences:
        body = json.dumps(rows if server.name == "elman" else {"rows": rows}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{server.port}/predict",
            body,
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            answer = json.load(response)
        found.append(answer["predictions"][0] if "predictions" in answer else answer)
    return [answer["probabilities"] for answer in found]


def compare(servers: list[Server], sequences: list[list[list[float]]]) -> float:
    """Return the largest difference of the servers' probabilities, which end at 6 digits."""
    first, second = (ask(server, sequences[:16]) for server in servers)
    worst = max(abs(a[k] - b[k]) for a, b in zip(first, second, strict=True) for k in b)
    if worst > 1e-5:
        raise SystemExit(f"the servers differ by {worst}")
    return worst


@dataclass(frozen=True)
class Cell:
    """One server under one number of clients, in one round."""

    rate: float
    p50: float
    p99: float
    server_ms: float  # processor time of the server per request
    client_ms: float  # and of the load generator

    @classmethod
    def median(cls, cells: list[Cell]) -> Cell:
        """Return the medians over rounds."""
        names = ("rate", "p50", "p99", "server_ms", "client_ms")
        return cls(*(statistics.median(getattr(cell, name) for cell in cells) for name in names))


def measure(
    server: Server, requests: list[tuple[bytes, int]], clients: int, most: int, seconds: float
) -> Cell:
    """Put one load on a server. Ends the program if an answer is not as expected."""
    before, own = server.processor_seconds, time.process_time()
    load = run(Load(requests, most, seconds), server.port, clients)
    own, spent = time.process_time() - own, server.processor_seconds - before
    if load.faults:
        raise SystemExit(f"{server.name}, {clients} clients: {load.faults.most_common(3)}")
    count = len(load.times)
    return Cell(
        load.rate,
        load.percentile(0.5),
        load.percentile(0.99),
        1000 * spent / count,
        1000 * own / count,
    )


def compare_throughput(arguments: argparse.Namespace, folder: Path) -> list[str]:
    """Measure both servers in turns; return the lines of the result."""
    sequences = train(folder, arguments.cell, arguments.hidden)
    with serve("elman", folder) as elman, serve("fastapi", folder) as fastapi:
        servers = [elman, fastapi]
        worst = compare(servers, sequences)
        requests = {server.name: bodies(server.name, sequences) for server in servers}
        for server in servers:  # the first requests load what is loaded late
            measure(server, requests[server.name], 16, 200, 10)
        cells: dict[tuple[int, str], list[Cell]] = {}
        for _ in range(arguments.rounds):
            for clients in arguments.clients:
                for server in servers:
                    cell = measure(
                        server,
                        requests[server.name],
                        clients,
                        arguments.requests,
                        arguments.seconds,
                    )
                    cells.setdefault((clients, server.name), []).append(cell)
                servers.reverse()
        memory = {server.name: server.memory for server in servers}
    lines = [
        f"A {arguments.cell.upper()} of {arguments.hidden} units in both directions, sequences of "
        f"{STEPS} steps and {CHANNELS} channels, one in a request. Largest difference of the "
        f"probabilities {worst:.0e}. Medians of {arguments.rounds} rounds of up to "
        f"{arguments.requests:,} requests or {arguments.seconds:g} s.",
        "",
        "| clients | server | requests/s | p50 ms | p99 ms | processor ms per request |"
        " of the load generator |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for clients in arguments.clients:
        both = {name: Cell.median(cells[clients, name]) for name in NAMES}
        for name, cell in both.items():
            lines.append(
                f"| {clients} | {NAMES[name]} | {cell.rate:,.0f} | {cell.p50:.2f} | {cell.p99:.2f}"
                f" | {cell.server_ms:.3f} | {cell.client_ms:.3f} |"
            )
        ours, theirs = both["elman"], both["fastapi"]
        lines.append(
            f"| {clients} | elman to FastAPI | {ours.rate / theirs.rate:.2f}x | "
            f"{theirs.p50 / ours.p50:.2f}x | {theirs.p99 / ours.p99:.2f}x | "
            f"{theirs.server_ms / ours.server_ms:.2f}x | |"
        )
    held = ", ".join(f"{NAMES[name]} {size:.0f} MB" for name, size in memory.items())
    return [*lines, "", f"Memory afterwards: {held}."]


def soak(arguments: argparse.Namespace, folder: Path) -> list[str]:
    """Send many requests, a tenth of them faulty, replace the model meanwhile; watch the memory.

    Ends the program if an answer is not as expected, or memory grows by more than 5 MB after the
    first fifth.
    """
    sequences = train(folder, arguments.cell, arguments.hidden)
    total = arguments.soak
    marks: list[tuple[int, float]] = []
    with serve("elman", folder) as server:
        requests = bodies("elman", sequences)
        for i in range(0, len(requests), 10):
            faulty = [[["a", "b"]], [[1, 2], [3]], {"nothing": 1}, "text", [], 1e308, {}][i // 10]
            requests[i] = make_request(json.dumps(faulty).encode()), 422

        def watch(count: int) -> None:
            if count % max(1, total // 20) == 0:
                marks.append((count, server.memory))

        load = run(Load(requests, total, arguments.seconds, watch), server.port, 16)
        if load.faults:
            raise SystemExit(f"soak: {load.faults.most_common(3)}")
    settled = marks[len(marks) // 5 :]
    grown = settled[-1][1] - settled[0][1]
    lines = [
        f"{len(load.times):,} requests of 16 clients in {load.end - load.begin:.0f} s, "
        f"{load.statuses[422]:,} of them faulty: {load.rate:,.0f} requests/s.",
        "",
        "| requests | memory of the server, MB |",
        "| --- | --- |",
        *(f"| {count:,} | {size:.1f} |" for count, size in marks),
        "",
        f"Growth after the first fifth: {grown:.1f} MB.",
    ]
    if grown > 5:
        raise SystemExit("\n".join([*lines, "the memory grows"]))
    return lines


def head(title: str) -> list[str]:
    """Return the first lines of a result file: machine, versions and command."""
    packages = ("elman", "torch", "starlette", "uvicorn", "fastapi", "numpy")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    return [
        f"# {title}, {datetime.date.today()}",
        "",
        f"{platform.machine()}, {os.cpu_count()} processors; load before {os.getloadavg()[0]:.1f}; "
        f"Python {platform.python_version()}, {versions}.",
        f"`python {' '.join([Path(__file__).relative_to(HERE.parent).as_posix(), *sys.argv[1:]])}`",
        "",
    ]


def main() -> None:
    """Measure, print, and write the result file if everything was measured as usual."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cell", choices=["gru", "lstm"], default="gru")
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--soak", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None, help="file to write the result to")
    arguments = parser.parse_args()
    if arguments.seconds is None:
        arguments.seconds = 900 if arguments.soak else 10
    lines = head("Memory of the server" if arguments.soak else "Serving")
    with tempfile.TemporaryDirectory() as folder:
        job = soak if arguments.soak else compare_throughput
        lines += job(arguments, Path(folder) / "model")
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
