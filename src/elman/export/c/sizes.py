"""How many bytes of flash and RAM a C program takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from elman.export.c.source import Program


@dataclass(frozen=True)
class Sizes:
    """Bytes that a program takes.

    Args:
        weights: weights and biases.
        names: names of outputs, tokens and categories, with their codes.
        tables: scaling, and where the weights of each layer are.
        state: memory for one sequence.
        stack: arrays in the deepest call.
    """

    weights: int
    names: int
    tables: int
    state: int
    stack: int

    @property
    def flash(self) -> int:
        """All constants."""
        return self.weights + self.names + self.tables


def encoded(text: str) -> bytes:
    """Return a name as bytes in UTF-8."""
    return text.encode("utf-8", "surrogatepass")


def count_bytes(program: Program, pointer: int = 4) -> Sizes:
    """Return the bytes that a program takes.

    Args:
        program: the program.
        pointer: bytes of a pointer and of size_t.
    """
    t, config = program.tables, program.tables.config
    number, output = 4 + 4 * t.is_double, 4 + 4 * t.is_double_out
    weights = sum(m.bytes for m in t.matrices) + 4 * sum(v.values.size for v in t.vectors)
    entries = [name for _, _, table in program.vocabularies for name, _ in table]
    outputs = [encoded(str(name)) for name in program.estimator.target_.output_names]
    names = sum(len(encoded(name)) + 1 for name in entries) + len(entries) * 2 * pointer
    names += sum(len(name) + 1 + pointer for name in outputs)
    matrix = pointer * (2 + t.int8)
    tables = len(list(t.matrices)) * matrix
    tables += len(t.layers) * pointer * (1 + (config.cell == "gru"))
    tables += len(config.category_sizes) * (4 + 2 * pointer)  # sizes, lookup
    tables += len(t.static_sizes) * (8 + 2 * pointer)
    for scaling, size in ((t.numbers, number), (t.static_numbers, number), (t.outputs, output)):
        if scaling is not None:
            count, gaps = len(scaling.mean), int(scaling.gaps.sum())
            tables += count * size * (2 + (gaps > 0)) + count * (gaps > 0)
    state, stack = _memory(program, number)
    return Sizes(weights, names, tables, state, stack)


def _memory(program: Program, number: int) -> tuple[int, int]:
    """Return the bytes of the state, or workspace, and of the arrays in the deepest call.

    Args:
        program: the program.
        number: bytes of a raw number.
    """
    t, config = program.tables, program.tables.config
    cells, width = len(config.cell_definition.states), config.width
    pooled = config.readout in ("mean", "max")
    gaps = len(t.numbers.mean) if t.numbers.gaps.any() else 0
    inputs = t.numbers.inputs + sum(table.values.shape[1] for table in t.tables)
    static = 4 * max(t.static_numbers.inputs, 1) * bool(config.static_size)
    answer = 4 * width * (config.joins_readout + (config.readout == "mean"))
    if config.bidirectional:
        floats = 2 * config.hidden_size * cells + width * (not config.per_step)
        floats += width * (config.joins_readout + program.buffers * program.max_length)
        run = 4 * inputs + max(gaps * number, 4 * config.hidden_size)
        return 4 * floats, static + 4 * inputs + max(run, answer)
    floats = config.hidden_size * (config.num_layers * cells + pooled + config.joins_readout)
    before = 4 * floats
    if gaps:
        before += -before % number + gaps * number
    state = before + 4
    state += -state % (number if gaps else 4)
    step = 4 * inputs + gaps * number + 4 * config.hidden_size
    return state, max(step, answer, static)
