"""`elman info`."""

from __future__ import annotations

import json
import os
import platform
from typing import Any

import click

from elman.cli.signals import uninterrupted

# Processor features each instruction set's kernels need; csrc/dispatch.cpp checks the same.
_NEEDS = {
    "x86_64": {
        "avx2": "AVX2, FMA and BMI2",
        "avx512": "AVX-512 F, BW, CD, DQ and VL",
    },
}
_LAYERS = [
    ("elman's kernels", "RNN, GRU and LSTM on a CPU, in float32 and float64"),
    ("torch's layers", "everything else: other devices and dtypes, autocast, torch.func,"),
    ("", "forward-mode derivatives, tracing, subclasses of Tensor"),
    ("a loop in torch", "second derivatives where the first are of elman's kernels"),
]


@click.command("info")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """Show which kernels, threads and devices elman uses here, and why.

    Include it when you ask a question or report an error.
    """
    info = collect_info()
    click.echo(json.dumps(info, indent=2) if as_json else format_info(info))


def collect_info() -> dict[str, Any]:
    """Return facts about this installation and machine, JSON-ready.

    Raises: ElmanError if the kernels cannot be loaded.
    """
    from elman import __version__
    from elman.errors import ElmanError

    with uninterrupted():
        import torch

        try:
            from elman import ops as ops  # raises an error that says what is wrong with the kernels
        except ImportError as error:
            raise ElmanError(str(error)) from error
        from elman import _core

    runs = _core.isas()
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {
        "elman": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "system": platform.system(),
        "machine": platform.machine(),
        "kernels": {
            "uses": _core.isa(),
            "runs": runs,
            "lacks": {
                name: needs
                for name, needs in _NEEDS.get(platform.machine(), {}).items()
                if name not in runs
            },
        },
        "threads": torch.get_num_threads(),
        "processors": _processors(),
        "cuda": {
            "built": torch.version.cuda,
            "devices": [torch.cuda.get_device_name(i) for i in range(count)],
        },
    }


def format_info(info: dict[str, Any]) -> str:
    """Return the facts as text."""
    lines = [
        f"elman {info['elman']}, Python {info['python']}, torch {info['torch']}, "
        f"{info['system']} {info['machine']}",
        "",
        *(f"  {name:<16} {fact}" for name, fact in _lines(info)),
        "",
        "Recurrent layers run in",
        *(f"  {name:<16} {what}" for name, what in _LAYERS),
    ]
    return "\n".join(lines)


def _lines(info: dict[str, Any]) -> list[tuple[str, str]]:
    from elman.settings import TrainingSettings

    kernels, cuda = info["kernels"], info["cuda"]
    runs = kernels["runs"]
    reason = "the only ones compiled for it"
    if len(runs) > 1 or kernels["lacks"]:
        reason = f"the fastest this processor runs, of {', '.join(runs)}"
    default = TrainingSettings().threads
    return [
        ("kernels", f"{kernels['uses']}: {reason}"),
        *(("", f"not {name}: that needs {needs}") for name, needs in kernels["lacks"].items()),
        ("threads", f"{info['threads']} in layers, as torch.set_num_threads says;"),
        ("", f"{default} in elman train and the estimators, as their threads says"),
        ("processors", str(info["processors"])),
        ("CUDA", _cuda(cuda)),
    ]


def _cuda(cuda: dict[str, Any]) -> str:
    if cuda["devices"]:
        return f"yes: {', '.join(cuda['devices'])}"
    if cuda["built"] is None:
        return "no: this torch is built without it"
    return f"no: torch, built for CUDA {cuda['built']}, finds no device"


def _processors() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
