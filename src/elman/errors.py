"""The exceptions elman raises on purpose.

    ElmanError
    ├── ShapeError      a tensor or array has the wrong shape      (also a ValueError and, as
    │                                                               torch's own, a RuntimeError)
    ├── DataError       a file or a sequence is wrong              (also a ValueError)
    │   ├── KindError   the type of the sequences is unsupported   (also a TypeError)
    │   └── RecordError a record of a request or a stream is wrong
    ├── SettingsError   a setting or flag is wrong                 (also a ValueError)
    ├── ModelFileError  a saved model or run cannot be used        (also a ValueError)
    ├── WriteError      a file or folder could not be written      (also an OSError)
    ├── ExportError     a model cannot be exported to a format     (also a ValueError)
    ├── RanksError      processes that train together cannot go on (also a RuntimeError)
    └── NonFiniteError  a loss or gradient is not finite           (also an ArithmeticError)

    DataWarning      data was read in a way that may not be meant (a UserWarning)

A message says what is wrong, what the value is, what was expected and what to do about it. The
command prints it without a traceback and exits with 2; with 1 where a training has diverged.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

# Control characters but for tabs and line ends, changes of the writing direction, and halves of
# characters, which no file of text can hold.
_UNPRINTABLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


_ENDLESS = re.compile(r"(\S{150})\S{450,}")  # a name or cell that nobody can read


def printable(text: str) -> str:
    """Return text with an escape such as \\x1b for each character that is not to be printed.

    Words of more than 600 characters are cut.
    """
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], _ENDLESS.sub(r"\1...", text))


class ElmanError(Exception):
    """Anything elman refuses to do."""

    def __str__(self) -> str:
        """Return the message, with an escape for each character that could act on a terminal.

        Names and cells of files are quoted in messages, and anyone may have made the file.
        """
        return printable(super().__str__())


class ShapeError(ElmanError, ValueError, RuntimeError):
    """A tensor or array has the wrong shape.

    torch raises either of the two built-in errors for this, so code written for torch's layers
    catches this one too.
    """


class DataError(ElmanError, ValueError):
    """A data file or a sequence cannot be used as it is.

    Args:
        problem: what is wrong and what was expected.
        remedy: what the user can do about it.
        source: the file, or the name of the data.
        line: line in the file, counted from 1.
        column: name or number of the column.
        rule: name of the violated rule, the same for all faults of one kind.

    An error for several faults has the location of the first and lists them in `faults`.
    """

    def __init__(
        self,
        problem: str,
        *,
        remedy: str = "",
        source: str = "",
        line: int | None = None,
        column: str | int | None = None,
        rule: str = "",
    ) -> None:
        self.problem = problem
        self.remedy = remedy
        self.source = source
        self.line = line
        self.column = column
        self.rule = rule
        self.faults: tuple[DataError, ...] = (self,)
        self.total = 1
        place = [source] if source else []
        if line is not None:
            place.append(f"line {line}")
        if column is not None:
            place.append(f"column {column}")
        text = f"{', '.join(place)}: {problem}" if place else problem
        super().__init__(f"{text.rstrip('.')}. {remedy}".strip() if remedy else text)

    @classmethod
    def of_many(cls, faults: Sequence[DataError], total: int, source: str) -> DataError:
        """Return one error that lists `faults`, the first of `total` faults in file `source`."""
        first = faults[0]
        if total == 1:
            return first
        listed = [f"  {str(fault).removeprefix(source).lstrip(',: ')}" for fault in faults]
        more = [f"  ... and {total - len(faults):,} more"] if total > len(faults) else []
        message = "\n".join([f"{source}: {total:,} faults", *listed, *more])
        return first._with_message(message, tuple(faults), total)

    def preceded_by(self, sentences: Sequence[str]) -> DataError:
        """Return the error with its message after `sentences`, the guesses it may follow from."""
        message = str(self).removeprefix(self.source).lstrip(",: ")
        start = f"{self.source}: " if self.source else ""
        message = "\n".join([start + sentences[0], *sentences[1:], message])
        return self._with_message(message, self.faults, self.total)

    def _with_message(self, message: str, faults: tuple[DataError, ...], total: int) -> DataError:
        """Return an error of the same kind and place with another message."""
        error = type(self)(
            self.problem,
            remedy=self.remedy,
            source=self.source,
            line=self.line,
            column=self.column,
            rule=self.rule,
        )
        error.faults, error.total = faults, total
        error.args = (message,)
        return error


class KindError(DataError, TypeError):
    """The type of the sequences is unsupported: a sparse matrix, or a table of other objects."""


class RecordError(DataError):
    """A record of a request or a stream cannot be used; `column` is the key at fault, if it is one.

    Attributes:
        sequence: index of the record among those that were given together, from 0.
    """

    sequence: int = 0


class DataWarning(UserWarning):
    """Sequences were read in one of two possible ways; says which, and how to choose the other."""


class SettingsError(ElmanError, ValueError):
    """A setting, flag or argument has a value that cannot be honoured."""


class ModelFileError(ElmanError, ValueError):
    """A saved model or run folder is missing, incomplete or not ours."""


class WriteError(ElmanError, OSError):
    """A file or folder could not be written; what stood there before still stands.

    Args:
        message: names the file or folder, the reason, and what to do.
        errno: number of the system's error; None if there is none.
        filename: the file or folder.
    """

    def __init__(self, message: str, errno: int | None = None, filename: str | None = None) -> None:
        super().__init__(message)
        self.message, self.errno, self.filename = message, errno, filename

    def __str__(self) -> str:
        return self.message  # OSError's own puts the number before it and the name behind

    def __reduce__(self) -> tuple[type[WriteError], tuple[str, int | None, str | None]]:
        return type(self), (self.message, self.errno, self.filename)


class ExportError(ElmanError, ValueError):
    """A model cannot be exported, or what was exported answers differently than elman does."""


class RanksError(ElmanError, RuntimeError):
    """Processes that train together cannot go on: one has ended, or trains on something else.

    Attributes:
        is_said: whether another process has printed why.
    """

    is_said = False


class NonFiniteError(ElmanError, ArithmeticError):
    """A loss or gradient is infinite or NaN in training; says where the first such number is.

    Args:
        stage: `weight`, `input`, `forward`, `loss`, `backward` or `gradient`, in the order of the
            computation; empty if all numbers were finite when the batch was recomputed.
        what: the number in words.
        value: its value.
        sequence: index in the training sequences, from 0; None if the number belongs to no single
            sequence. This and the arguments below are None where they do not apply.
        step: step of the sequence, from 1.
        layer: layer, from 0, as in torch's names of the weights.
        direction: `forward` or `backward`.
        gate: letter of the gate or state: r z n h, i f g o c h.
        unit: unit of the layer or channel of the input, from 0.
    """

    def __init__(
        self,
        text: str,
        *,
        stage: str = "",
        what: str = "",
        value: float = float("nan"),
        sequence: int | None = None,
        step: int | None = None,
        layer: int | None = None,
        direction: str | None = None,
        gate: str | None = None,
        unit: int | None = None,
    ) -> None:
        super().__init__(text)
        self.stage, self.what, self.value = stage, what, value
        self.sequence, self.step = sequence, step
        self.layer, self.direction, self.gate, self.unit = layer, direction, gate, unit


# What other libraries call it: these words are not similar to the name here.
_SYNONYMS = {
    "gpu": "cuda",
    "cuda:0": "cuda",
    "nvidia": "cuda",
    "fp32": "float32",
    "bf16": "bfloat16",
    "simplernn": "rnn",
    "elman": "rnn",
    "vanilla": "rnn",
    "mse": "squared_error",
    "l2": "squared_error",
    "mae": "absolute",
    "l1": "absolute",
    "ce": "cross_entropy",
    "nll": "cross_entropy",
    "byte": "bytes",
    "word": "words",
    "ner": "tagging",
    "binary": "classification",
    "multiclass": "classification",
    "multi-label": "multilabel",
    "forecasting": "regression",
    "csv": "rows",
    "tsv": "rows",
    "json": "jsonl",
    "npz": "arrays",
    "npy": "arrays",
    "ig": "integrated_gradients",
    "lr": "learning_rate",
    "test_size": "test",
    "layers": "num_layers",
    "hidden": "hidden_size",
    "n_layers": "num_layers",
    "n_epochs": "epochs",
    "embedding_dim": "embedding_size",
    "class_weights": "class_weight",
}


_LONGEST_NAME = 200  # characters; longer words are no misspelt names


def nearest(word: str, names: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the name nearest to `word`, or an empty string."""
    found = find_nearest(word, names)
    return "" if found is None else f" Did you mean {found!r}?"


def find_nearest(word: str, names: Iterable[str]) -> str | None:
    """Return the name nearest to `word`, or None if none is near.

    A name that differs only in case, or that another library uses for the same thing, goes first.
    """
    names = [name for name in names if len(name) <= _LONGEST_NAME]
    if len(word) > _LONGEST_NAME:  # the comparison takes time quadratic in the length
        return None
    by_lower = {name.lower(): name for name in names}
    lower = word.lower()
    meant = by_lower.get(lower) or by_lower.get(_SYNONYMS.get(lower, ""))
    if meant is not None and meant != word:
        return meant
    matches = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return matches[0] if matches else None
