"""Parameters of a C program's functions, and the sentences of its comments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from elman.export.c import literals

if TYPE_CHECKING:
    from elman.export.c.source import Program

_MOST_LINES = 40  # names of inputs in the comment
_EQUATIONS = {
    "rnn": "h' = {f}(W x + b + U h + b')",
    "gru": "r, z = sigmoid(W x + b + U h + b')    n = tanh(W_n x + b_n + r (U_n h + b'_n))    "
    "h' = (1 - z) n + z h",
    "lstm": "i, f, o = sigmoid(W x + b + U h + b')    g = tanh(...)    c' = f c + i g    "
    "h' = o tanh(c')",
}
_READOUTS = {
    "last": "the top layer's last state",
    "mean": "the mean of the top layer's outputs",
    "max": "the maximum of each of the top layer's outputs",
    "every": "the top layer's output at each step",
}


def make_arguments(program: Program) -> dict[str, Any]:
    """Return parameters and arguments of the functions, and arguments of calls."""
    t, name = program.tables, program.name
    config, NAME = t.config, name.upper()
    bidirectional = config.bidirectional
    numbers, gaps, columns = len(t.numbers.mean), t.numbers.gaps.any(), len(config.category_sizes)
    step, sequence, encode, encoded, at, test_step, test_sequence = ([] for _ in range(7))
    if config.vocabulary_size:
        step.append("int32_t token")
        sequence.append("const int32_t *tokens")
        encode.append("int32_t token")
        encoded.append("token")
        at.append("tokens[t]")
        test_step.append("tokens[step]")
        test_sequence.append("tokens + step")
    if numbers:
        for own in (step, sequence):
            own.append(f"const {name}_number *numbers")
        encode += ["const number *numbers", *["number *filled"] * bool(gaps)]
        encoded += ["numbers", *["filled"] * bool(gaps)]
        at += ["numbers + t * NUMBERS", *["filled"] * bool(gaps)]
        for own in (test_step, test_sequence):
            own.append(f"numbers + step * {NAME}_NUMBERS")
    if columns:
        for own in (step, sequence, encode):
            own.append("const int32_t *codes")
        encoded.append("codes")
        at.append("codes + t * CATEGORIES")
        for own in (test_step, test_sequence):
            own.append(f"codes + step * {NAME}_CATEGORIES")
    static, static_names, test_static = [], [], []
    if len(t.static_numbers.mean):
        static.append(f"const {name}_number *static_numbers")
        static_names.append("static_numbers")
        test_static.append(f"static_numbers + i * {NAME}_STATIC_NUMBERS")
    if t.static_sizes:
        static.append("const int32_t *static_codes")
        static_names.append("static_codes")
        test_static.append(f"static_codes + i * {NAME}_STATIC_CATEGORIES")
    names = [each.split("*")[-1].split()[-1] for each in (sequence if bidirectional else step)]
    return {
        "step_parameters": ", ".join(step),
        "step_arguments": ", ".join(names),
        "sequence_parameters": ", ".join(sequence),
        "sequence_arguments": ", ".join(each.split("*")[-1] for each in sequence),
        "encode_parameters": _each(encode),
        "encode_arguments": _each(encoded),
        "encode_at_arguments": _each(at),
        "static_parameters": _each(static),
        "static_parameters_last": "".join(f", {each}" for each in static),
        "static_arguments": _each(static_names),
        "static_arguments_last": "".join(f", {each}" for each in static_names),
        "codes_argument": "static_codes, " if t.static_sizes else "",
        "test_step": ", ".join(test_step),
        "test_sequence": ", ".join(test_sequence),
        "test_static": _each(test_static),
    }


def _each(parts: Sequence[str]) -> str:
    return "".join(f"{part}, " for part in parts)


def make_words(program: Program) -> dict[str, Any]:
    """Return the sentences of the comments."""
    t, encoder, target = program.tables, program.estimator.encoder_, program.estimator.target_
    config, NAME, name = t.config, program.name.upper(), program.name
    every = " of each step, step after step" if config.bidirectional else ""
    help_lines, inputs = [], []
    own = encoder.number_columns
    if config.vocabulary_size:
        place = f"{name}_token" + (f" or {name}_byte" if encoder.unit == "bytes" else "")
        help_lines.append(f"token: its id, from {place}." if not every else
                          f"tokens: the id{every}, from {place}.")  # fmt: skip
        if encoder.unit is not None:
            inputs += literals.wrap(_SPLITTING[encoder.unit].format(name=name))
    if own:
        gap = f"; NaN where one is missing, if [{'NaN'}] is written beside it above"
        help_lines.append(f"numbers: {NAME}_NUMBERS numbers{every}, as in the training data"
                          f"{gap if t.numbers.gaps.any() else ''}.")  # fmt: skip
        inputs += _list("numbers", [encoder.name_column(c) for c in own], t.numbers.gaps)
    if encoder.categories:
        help_lines.append(f"codes: {NAME}_CATEGORIES codes{every}, from {name}_category.")
        inputs += _list("codes", [encoder.name_column(c) for c in encoder.categories])
    if encoder.static is not None:
        split = len(encoder.static.mean)
        names = list(map(repr, encoder.static.names))
        inputs += _list("static_numbers", names[:split], t.static_numbers.gaps)
        inputs += _list("static_codes", names[split:])
    outputs = [str(each) for each in target.output_names]
    steps = " for each step" if config.bidirectional and config.per_step else ""
    answer = {
        "classification": f"the probability of each class{steps}, in the order of {name}_names",
        "multilabel": f"the probability of each label{steps}, in the order of {name}_names",
        "regression": f"{', '.join(outputs[:20])}{', ...' if len(outputs) > 20 else ''}{steps}, in "
        "the units of the training data",
    }[config.task]
    doubles = "double, because some are so far from zero that float32 would lose digits"
    arithmetic = "All arithmetic is in float"
    if t.is_double or t.is_double_out:
        arithmetic += ", except for the scaling of numbers, which float32 could not hold"
    activation = config.nonlinearity or "tanh"
    return {
        "inputs": inputs or ["The inputs are described below."],
        "step_help": " ".join(help_lines).rstrip("."),
        "sequence_help": [line for text in help_lines for line in literals.wrap(text)],
        "answer_in_words": "\n * ".join(literals.wrap(answer + ".")),
        "arithmetic": f"{arithmetic}.",
        "number_reason": f"Raw numbers: {doubles} of (x - mean) / scale." if t.is_double else
        "Raw numbers. float32 is enough for this model: all are within a few deviations of zero.",
        "output_reason": f"Answers: {doubles}." if t.is_double_out else "Answers.",
        "names_help": {
            "classification": "The classes, in the order of the answer.",
            "multilabel": "The labels, in the order of the answer.",
            "regression": "The names of the numbers of an answer.",
        }[config.task],
        "equations": [
            *literals.wrap(_EQUATIONS[config.cell].format(f=activation)),
            f"The output layer reads {_READOUTS[config.readout]}.",
        ],
    }  # fmt: skip


_SPLITTING = {
    "bytes": "The tokens are the bytes of the text in UTF-8.",
    "characters": "The tokens are the characters of the text as a reader sees them (Unicode UAX "
    "#29), in the normal form NFC; in ASCII text, each byte is one.",
    "words": "The tokens are the words and punctuation marks of the text in lower case (Unicode "
    "UAX #29), in the normal form NFC: \"Don't go.\" is don't, go and the full stop.",
}  # fmt: skip


def _list(name: str, titles: Sequence[str], gaps: NDArray[np.bool_] | None = None) -> list[str]:
    """Return a line for each input: its index, name, and whether it may be missing."""
    lines = []
    for k, title in enumerate(titles[:_MOST_LINES]):
        mark = "  [NaN if missing]" if gaps is not None and gaps[k] else ""
        lines += literals.wrap(f"{name}[{k}]: {title if title != str(k) else 'no name'}{mark}")
    more = len(titles) - _MOST_LINES
    return [*lines, f"{name}: and {more:,} more"] if more > 0 else lines
