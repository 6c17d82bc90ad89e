"""The C source of a model, from its constants: header, implementation and test program."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from elman import __version__
from elman.estimators import Estimator
from elman.export.c import literals
from elman.export.c.sizes import Sizes, count_bytes, encoded
from elman.export.c.tables import Scaling, Tables
from elman.export.c.words import make_arguments, make_words
from elman.export.raw_inputs import RawInputs

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class Program:
    """A model as C.

    Args:
        name: prefix of all names, and of the files.
        tables: its constants.
        estimator: the model, for names.
        max_length: steps that a bidirectional model can read; 0 for any number.
        quality: how good it is and how it was checked, a sentence each.
        origin: what it was made from.
    """

    name: str
    tables: Tables
    estimator: Estimator
    max_length: int
    quality: tuple[str, ...] = ()
    origin: str = "a trained model"

    @property
    def buffers(self) -> int:
        """Number of layers whose outputs a bidirectional model keeps at the same time."""
        config = self.tables.config
        return min(2, config.num_layers - 1 + config.per_step) if config.bidirectional else 0

    def header(self) -> str:
        """Return NAME.h."""
        return self._render("model.h.jinja")

    def source(self) -> str:
        """Return NAME.c."""
        return self._render("model.c.jinja")

    def test(self, raw: RawInputs, expected: NDArray[np.float64], source: str) -> str:
        """Return NAME_test.c, which compares the program with `expected`, (n, K) or (N, K).

        Args:
            source: where the sequences are from, as ` of the test part`; may be empty.
        """
        number, output = self._types
        return self._render(
            "model_test.c.jinja",
            sequences=range(len(raw.offsets) - 1),
            source=literals.comment(source),
            lengths=literals.numbers(np.diff(raw.offsets), "size_t"),
            token_values=literals.array(raw.codes, "int32_t"),
            number_values=literals.array(raw.numbers, number),
            code_values=literals.array(raw.codes, "int32_t"),
            static_number_values=literals.array(raw.static_numbers, number),
            static_code_values=literals.array(raw.static_codes, "int32_t"),
            expected_values=literals.array(expected, output),
        )

    @property
    def _types(self) -> tuple[str, str]:
        names = ("float", "double")
        return names[self.tables.is_double], names[self.tables.is_double_out]

    @functools.cached_property
    def vocabularies(self) -> tuple[tuple[str, str, tuple[tuple[str, int], ...]], ...]:
        """Name in C, comment, and sorted names with their codes, of each table of names."""
        encoder = self.estimator.encoder_
        found = []
        if encoder.vocabulary_size:
            found.append(("vocabulary", "The tokens.", encoder.vocabulary))
        for k, (column, known) in enumerate(encoder.categories.items()):
            title = f"The categories of column {k}, {encoder.name_column(column)}."
            found.append((f"category_{k}", title, known))
        if encoder.static is not None:
            texts = encoder.static.names[len(encoder.static.mean) :]
            for k, known_names in enumerate(encoder.static.categories):
                title = f"The categories of static feature {k}, {texts[k]!r}."
                found.append((f"static_{k}", title, {n: i for i, n in enumerate(known_names, 2)}))
        return tuple(
            (name, literals.comment(title), tuple(sorted(_findable(known), key=_by_bytes)))
            for name, title, known in found
        )

    @functools.cached_property
    def sizes(self) -> Sizes:
        """What the program takes of flash and RAM."""
        return count_bytes(self)

    def _render(self, template: str, **more: Any) -> str:
        text = _environment().get_template(template).render(**self._context(), **more)
        return text.replace("\n\n\n", "\n\n")

    def _context(self) -> dict[str, Any]:
        """Return the values of the templates."""
        t, config = self.tables, self.tables.config
        number, output = self._types
        encoder, target = self.estimator.encoder_, self.estimator.target_
        gaps = t.numbers.gaps
        sizes = {key: f"{getattr(self.sizes, key):,}" for key in
                 ("flash", "weights", "names", "state", "stack")}  # fmt: skip
        return {
            **make_arguments(self),
            **make_words(self),
            "name": self.name,
            "NAME": self.name.upper(),
            "version": __version__,
            "origin": literals.comment(self.origin),
            "summary": literals.comment(self.estimator.describe_model()),
            "quality": [line for text in self.quality for line in literals.wrap(text)],
            "sizes": sizes,
            "t": t,
            "cell": config.cell,
            "task": config.task,
            "readout": config.readout,
            "pooled": config.readout in ("mean", "max"),
            "per_step": config.per_step,
            "bidirectional": config.bidirectional,
            "memory": "workspace" if config.bidirectional else "state",
            "max_length": self.max_length,
            "buffers": self.buffers,
            "tokens": bool(config.vocabulary_size),
            "unit": encoder.unit,
            "numbers": len(t.numbers.mean),
            "columns": len(config.category_sizes),
            "inputs_size": t.numbers.inputs + sum(m.values.shape[1] for m in t.tables),
            "outputs": config.num_outputs,
            "gaps": bool(gaps.any()),
            "all_gaps": bool(gaps.all()),
            "scaling": _constants(t.numbers, number),
            **_static_context(t, number),
            "out_scaling": None if t.outputs is None else _constants(t.outputs, output),
            "number": number,
            "output": output,
            "any_numbers": bool(len(t.numbers.mean) or len(t.static_numbers.mean)),
            "lookup": bool(self.vocabularies),
            "vocabularies": [
                {
                    "name": name,
                    "title": title,
                    "entries": [(literals.string(n), c) for n, c in table],
                }
                for name, title, table in self.vocabularies
            ],
            "output_names": [literals.string(str(name)) for name in target.output_names],
            "constants": list(_written(t)),
            "named_matrices": [
                {"name": f"{matrix.name}_matrix", "matrix": matrix}
                for matrix in (
                    *(t.tables if config.vocabulary_size else ()),
                    *(t.static_state or ())[:1],
                    *(t.static_readout or ())[:2],
                    t.output,
                )
            ],
            "matrix": _matrix,
        }


def _static_context(t: Tables, number: str) -> dict[str, Any]:
    """Return the values of the templates for static features."""
    config = t.config
    return {
        "static": bool(config.static_size),
        "joins": config.joins_readout,
        "static_numbers": len(t.static_numbers.mean),
        "static_inputs": t.static_numbers.inputs,
        "static_gaps": bool(t.static_numbers.gaps.any()),
        "static_columns": len(t.static_sizes),
        "static_scaling": _constants(t.static_numbers, number),
        "static_most": literals.numbers(np.add(t.static_sizes, 1), "int32_t"),
        "static_first": literals.numbers(
            t.static_numbers.inputs + np.cumsum([0, *t.static_sizes[:-1]]), "int32_t"
        ),
    }


def _findable(known: Any) -> list[tuple[str, int]]:
    """Return names and codes without names that hold a NUL, which ends a string in C."""
    return [(name, code) for name, code in known.items() if "\0" not in name]


def _by_bytes(entry: tuple[str, int]) -> bytes:
    return encoded(entry[0])


def _constants(scaling: Scaling, kind: str) -> dict[str, str]:
    fill = np.where(scaling.gaps, scaling.fill, 0.0)
    return {
        "mean": literals.numbers(scaling.mean, kind),
        "scale": literals.numbers(scaling.scale, kind),
        "fill": literals.numbers(fill, kind),
        "gaps": literals.numbers(scaling.gaps, "uint8_t"),
    }


def _written(tables: Tables) -> Any:
    """Yield every array of weights: type, name, size, comment and values."""
    for m in tables.matrices:
        rows, columns = m.values.shape
        kind = "weight"
        yield {
            "type": kind,
            "name": m.name,
            "size": f"{rows} * {columns}",
            "title": m.title,
            "content": literals.array(m.values, "int8_t" if tables.int8 else "float"),
        }
        if m.scale is not None:
            yield {
                "type": "float",
                "name": f"{m.name}_scale",
                "size": str(rows),
                "title": "The scale of each row.",
                "content": literals.array(m.scale, "float"),
            }
    for v in tables.vectors:
        yield {
            "type": "float",
            "name": v.name,
            "size": str(len(v.values)),
            "title": v.title,
            "content": literals.array(v.values, "float"),
        }


def _matrix(matrix: Any) -> str:
    """Return the initialiser of a matrix."""
    scale = "" if matrix.scale is None else f"{matrix.name}_scale, "
    return f"{{ {matrix.name}, {scale}{matrix.values.shape[1]} }}"


@functools.cache
def _environment() -> Environment:
    import jinja2

    return jinja2.Environment(  # no HTML, so nothing is escaped
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
