"""Arrays of other libraries as NumPy arrays of numbers, and hints about what they may hold.

Nothing is lost in silence: masked values become NaN, and complex numbers, dates and records, of
which a conversion to float would keep a part, are refused with the remedy.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from elman.data.ragged import ask_channels_first, is_channels_first
from elman.errors import DataError, DataWarning, KindError, ShapeError

_MOST = 100_000  # values looked at to decide what whole numbers are
_REMEDIES = {
    "c": "Give what matters of complex numbers: np.abs(X), or real and imaginary parts as "
    "channels: np.stack([X.real, X.imag], axis=-1).",
    "M": "Give numbers, such as seconds: (X - X.min()) / np.timedelta64(1, 's').",
    "m": "Give numbers, such as seconds: X / np.timedelta64(1, 's').",
    "V": "Give the fields as channels: numpy.lib.recfunctions.structured_to_unstructured(X).",
}
_LOSSY: tuple[tuple[str, tuple[type, ...]], ...] = (
    ("c", (complex, np.complexfloating)),
    ("M", (date, np.datetime64)),
    ("m", (timedelta, np.timedelta64)),
)
_WHAT = {"c": "Complex data not supported", "M": "dates", "m": "time differences", "V": "records"}


def to_array(x: Any, where: str) -> NDArray[Any]:
    """Return an array, tensor or nested list as a NumPy array that holds the same values.

    Tensors are copied to the CPU, without gradients; bfloat16 becomes float32; masked values become
    NaN.

    Args:
        where: what x is, for messages, such as `X` or `sequence 3`.
    Raises: KindError for sparse data; DataError for complex numbers, dates and records; whatever
        NumPy raises for anything that is no array.
    """
    if isinstance(x, torch.Tensor):
        x = _from_tensor(x, where)
    if is_sparse(x):
        raise KindError(
            f"{where}: got a sparse matrix; sparse data is not supported",
            remedy="Give X.toarray().",
        )
    if isinstance(x, np.ma.MaskedArray):
        refuse_lossy(x.data, where)
        if x.dtype.kind in "fiub":
            mask = np.ma.getmaskarray(x)  # type: ignore[no-untyped-call]
            x = np.where(mask, np.nan, x.data.astype(np.float64))
    array = np.asarray(x)
    refuse_lossy(array, where)
    return array


def _from_tensor(x: torch.Tensor, where: str) -> NDArray[Any]:
    if x.layout is not torch.strided:
        raise KindError(
            f"{where}: got a sparse tensor; sparse data is not supported",
            remedy="Give X.to_dense().",
        )
    if x.device.type == "meta":
        raise KindError(f"{where}: got a tensor on the device meta, which holds no values")
    x = x.dequantize() if x.is_quantized else x
    x = x.detach().cpu().resolve_conj().resolve_neg()
    if x.is_floating_point() and x.dtype not in (torch.float16, torch.float32, torch.float64):
        x = x.float()  # bfloat16 and the types of 8 bits, which NumPy does not have
    array: NDArray[Any] = x.numpy()
    return array


def refuse_lossy(array: NDArray[Any], where: str) -> None:
    """Raise DataError for a type of which a conversion to float would lose a part."""
    kind: str = array.dtype.kind
    if kind == "O":
        kinds = {type(value) for value in array.flat}
        lossy = ((c, own) for c, own in _LOSSY for each in kinds if issubclass(each, own))
        kind = next((c for c, own in lossy), kind)
    if kind in _REMEDIES:
        found = _WHAT[kind] if kind == "c" else f"got {_WHAT[kind]}, {array.dtype}"
        raise DataError(f"{where}: {found}", remedy=_REMEDIES[kind])


def refuse_column_levels(X: Any) -> None:
    """Raise KindError for a frame of pandas whose columns have several levels."""
    if getattr(getattr(X, "columns", None), "nlevels", 1) > 1:
        raise KindError(
            f"X: the columns of the frame have {X.columns.nlevels} levels, such as "
            f"{X.columns[0]}, and nothing says which is the channel and which the step",
            remedy="Give an array (n, T, C). If the first level is the channel: "
            "np.stack([X[name].to_numpy() for name in X.columns.unique(0)], axis=-1).",
        )


def is_sparse(x: Any) -> bool:
    """Whether x is a sparse matrix of SciPy, which is not imported for this."""
    return hasattr(x, "toarray") and hasattr(x, "nnz")


def unwrap(X: Any) -> Any:
    """Return X, or the list of its sequences if X is a nested tensor or holds tensors.

    Raises: KindError for loaders, datasets, generators and dictionaries, which cannot be indexed by
        sequence, with the line that makes sequences of them.
    """
    if is_sparse(X):
        return to_array(X, "X")  # refuses it; some are dictionaries as well
    if isinstance(X, torch.Tensor):
        return [to_array(x, "X") for x in X.unbind()] if X.is_nested else to_array(X, "X")
    if isinstance(X, list | tuple):
        own = (torch.Tensor, np.ma.MaskedArray)
        for i, x in enumerate(X):
            if isinstance(x, np.ndarray):
                refuse_lossy(x, f"sequence {i}")
        if any(isinstance(x, own) or is_sparse(x) for x in X):
            return [
                to_array(x, f"sequence {i}") if isinstance(x, own) or is_sparse(x) else x
                for i, x in enumerate(X)
            ]
        return X
    name = type(X).__name__
    if isinstance(X, torch.utils.data.DataLoader):
        raise KindError(
            "X is a DataLoader, expected the sequences themselves",
            remedy="Give its data set's: X = [x for x, y in loader.dataset], and y likewise.",
        )
    if isinstance(X, torch.utils.data.TensorDataset):
        raise KindError(
            "X is a TensorDataset, expected the sequences themselves",
            remedy="Give its tensors: X, y = dataset.tensors.",
        )
    if isinstance(X, torch.utils.data.Dataset):
        raise KindError(
            f"X is a {name} of torch, expected the sequences themselves",
            remedy="Give X = [x for x, y in dataset], y = [y for x, y in dataset].",
        )
    if isinstance(X, Iterator):
        raise KindError(
            f"X is a {name}, which can be read only once, expected the sequences themselves",
            remedy="Give list(X).",
        )
    if isinstance(X, dict | set | frozenset):
        raise KindError(
            f"X is a {name}, expected a list or an array of sequences",
            remedy="Give list(X.values())."
            if isinstance(X, dict)
            else "Give a list: a set has no order, in which labels could follow.",
        )
    if hasattr(X, "column_names") and hasattr(X, "features"):  # of Hugging Face
        raise KindError(
            f"X is a {name} with the columns {X.column_names}, expected the sequences themselves",
            remedy="Give a column: X = list(dataset['text']), y = list(dataset['label']).",
        )
    return X


def join_nested(table: NDArray[Any]) -> list[NDArray[np.float64]] | None:
    """Return sequences (T_i, C) from a table of series, one for each channel of each row.

    Returns: None if a cell holds something else.
    Raises: ShapeError if the channels of a row have unequal lengths.
    """
    if table.dtype != object or table.ndim != 2 or not table.size:
        return None
    if not all(
        isinstance(c, list | tuple | np.ndarray) or hasattr(c, "to_numpy") for c in table.flat
    ):
        return None
    sequences = []
    for i, row in enumerate(table):
        try:
            channels = [to_array(cell, f"row {i}").astype(np.float64) for cell in row]
        except (TypeError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            return None
        if any(channel.ndim != 1 for channel in channels):
            return None
        if len({len(channel) for channel in channels}) > 1:
            raise ShapeError(
                f"X: row {i} has channels of {', '.join(str(len(c)) for c in channels)} steps, "
                "expected series of equal length in a row"
            )
        sequences.append(np.column_stack(channels))
    return sequences


def hint_channels_first(X: Any) -> None:
    """Warn if sequences have more channels than steps, as those that are stored (C, T) have."""
    if isinstance(X, np.ndarray) and X.ndim == 3 and X.dtype.kind in "fiub":
        shape = X.shape
    elif isinstance(X, list | tuple) and X:
        shapes = set(map(_shape_of, X))
        shape = (len(X), *shapes.pop()) if len(shapes) == 1 else ()
    else:
        return
    if len(shape) == 3 and shape[1] and is_channels_first(*shape[1:]):
        _warn(ask_channels_first("X", shape, "give"))


def _shape_of(x: Any) -> tuple[int, ...]:
    """Return the shape of a sequence, or of the first step of nested lists."""
    if isinstance(x, list | tuple) and x and isinstance(x[0], list | tuple):
        return len(x), len(x[0])
    return x.shape if isinstance(x, np.ndarray) and x.dtype.kind in "fiub" else ()


def hint_ends(count: int, total: int) -> None:
    """Warn that steps of NaN alone were read as the end of `count` of `total` sequences."""
    _warn(
        f"X: {count:,} of {total:,} sequences end in steps of NaN alone, which are read as padding "
        "after the end, as in files. To keep them as gaps, give the lengths: "
        "elman.data.Ragged.from_padded(X, lengths)"
    )


def hint_whole_numbers(X: Any, kind: str) -> None:
    """Warn if whole numbers were read as tokens and look like measurements, or the other way."""
    if kind == "tokens" and isinstance(X, list | tuple):
        if why := _measured(X):
            _warn(
                f"X: lists of whole numbers were read as tokens, but look like measurements: {why}."
                " Say which: inputs='numbers', or arrays of float, [np.asarray(x, float) for x in "
                "X]; or inputs='tokens'"
            )
    elif kind == "numbers" and isinstance(X, list | tuple) and isinstance(X[0], list | tuple):
        values = [v for x in X for v in x if isinstance(v, int | float)]
        floats = [v for v in values if isinstance(v, float)]
        if 0 < len(floats) <= len(values) / 10 and all(v.is_integer() for v in floats):
            _warn(
                f"X: {len(floats):,} of {len(values):,} whole numbers are floats, such as "
                f"{floats[0]}, so all were read as measurements. Lists of integers alone are read "
                "as tokens. Say which: inputs='numbers' or inputs='tokens'"
            )
    elif kind == "numbers" and isinstance(X, np.ndarray) and _are_padded_ids(X):
        _warn(
            "X: an array of whole numbers was read as measurements, but looks like token ids, "
            "padded with 0. Say which: inputs='tokens' or inputs='numbers'"
        )


def _measured(X: Sequence[Any]) -> str:
    """Return why lists of integers look like measurements, or an empty string."""
    if not all(isinstance(v, int | np.integer) for x in X[:100] for v in x):
        return ""
    heads: list[NDArray[np.float64]] = []
    count = 0
    for x in X:
        heads.append(np.asarray([float(v) for v in x]))
        count += len(x)
        if count > _MOST:
            break
    values = np.concatenate(heads)
    low, different = values.min(), len(np.unique(values))
    if low < 0:
        return f"some are negative, such as {int(low)}"
    if different > 20 and different > len(values) / 4:
        return f"{different:,} of {len(values):,} are different"
    if different > 10 and _similarity([h for h in heads if len(h) > 1], values) > 0.5:
        return "neighbours in time are alike"
    return ""


def _similarity(sequences: Sequence[NDArray[np.float64]], values: NDArray[np.float64]) -> float:
    """Return 1 - E(x_t - x_{t-1})^2 / (2 Var x): 1 for a smooth series, 0 for unordered values."""
    steps = [np.diff(x) for x in sequences]
    spread = float(values.var())
    if not steps or not spread:
        return 0.0
    return 1.0 - float(np.mean(np.concatenate(steps) ** 2)) / (2 * spread)


def _are_padded_ids(X: NDArray[Any]) -> bool:
    """Whether an array (n, T) of integers has unordered values, with zeros before or after them."""
    if X.dtype.kind not in "iu" or X.ndim != 2 or X.shape[1] < 4 or not X.size:
        return False
    rows = X[: max(1, _MOST // X.shape[1])]
    if (rows < 0).any():
        return False
    full = rows != 0
    lengths = full.sum(1)
    after = np.argmin(full, axis=1) == lengths  # zeros only after the values
    before = np.argmin(full[:, ::-1], axis=1) == lengths
    ragged = (after | before | (lengths == X.shape[1])).mean() > 0.95
    if not ragged or not (lengths < X.shape[1]).mean() > 0.3 or len(np.unique(lengths)) < 3:
        return False
    values = [row[keep].astype(np.float64) for row, keep in zip(rows, full, strict=True)]
    every = np.concatenate(values)
    return len(np.unique(every)) > 10 and _similarity(values, every) < 0.3


def hint_unknown_numbers(vocabulary: Mapping[str, int], tokens: NDArray[Any]) -> None:
    """Warn of tokens that were not in training, if those of the vocabulary are whole numbers."""
    if not all(token.lstrip("-").isdecimal() for token in vocabulary):
        return
    total = len(tokens)
    unknown = sum(token not in vocabulary for token in tokens.tolist())
    if not unknown:
        return
    _warn(
        f"X: {unknown:,} of {total:,} tokens ({unknown / total:.0%}) were not in the training data "
        "and are read as unknown. They are whole numbers: to learn from their size, train with "
        "inputs='numbers'"
    )


def _warn(message: str) -> None:
    warnings.warn(message, DataWarning, stacklevel=6)


def from_channels_first(X: Any) -> NDArray[Any] | list[NDArray[Any]]:
    """Transpose sequences from channels first to steps first.

    Args:
        X: (n, C, T) or (n, T) array, or a list of (C, T_i) or (T_i,) arrays.
    Returns: (n, T, C) array, or a list of (T_i, C) arrays; views of the input.
    Raises: ShapeError for other shapes.
    """
    if isinstance(X, list | tuple):
        return [_time_first(i, to_array(x, f"sequence {i}")) for i, x in enumerate(X)]
    array = to_array(X, "X")
    if array.ndim == 2:
        return array[:, :, None]
    if array.ndim != 3:
        raise ShapeError(f"X: got shape {array.shape}, expected (n, C, T) or (n, T)")
    return array.swapaxes(1, 2)


def _time_first(index: int, sequence: NDArray[Any]) -> NDArray[Any]:
    if sequence.ndim not in (1, 2):
        raise ShapeError(f"sequence {index}: got shape {sequence.shape}, expected (C, T) or (T,)")
    return sequence[:, None] if sequence.ndim == 1 else sequence.T
