"""Comparing two datasets exactly: every value, its type, and what belongs to each sequence."""

import numpy as np

from elman.data.ragged import Ragged, flatten


def plain(values):
    """Values with their types, NaN equal to itself, -0.0 unlike 0.0."""
    if values is None:
        return None
    if values.dtype != object:
        bits = np.ascontiguousarray(values)
        return values.shape, str(values.dtype), bits.tobytes()
    return values.shape, [(type(v).__name__, repr(v)) for v in values.reshape(-1).tolist()]


def sets_in_order(values):
    """Object arrays with sets as sorted lists, whose `repr` depends on the process."""
    if values.dtype != object:
        return values
    out = np.empty(values.shape, object)
    pairs = enumerate(values.reshape(-1).tolist())
    for i, v in pairs:
        out.reshape(-1)[i] = sorted(v, key=repr) if isinstance(v, frozenset) else v
    return out


def assert_same(got, expected):
    """Assert that two datasets hold the same sequences in the same order."""
    assert len(got) == len(expected)
    if isinstance(expected.inputs, Ragged):
        assert plain(got.inputs.offsets) == plain(expected.inputs.offsets)
        assert plain(got.inputs.values) == plain(expected.inputs.values)
    else:
        assert got.inputs == expected.inputs
    assert isinstance(got.target, Ragged) == isinstance(expected.target, Ragged)
    assert (got.target is None) == (expected.target is None)
    if expected.target is not None:
        labels, wanted = flatten(got.target), flatten(expected.target)
        assert plain(sets_in_order(labels)) == plain(sets_in_order(wanted))
    if isinstance(expected.target, Ragged):
        assert plain(got.target.offsets) == plain(expected.target.offsets)
    for name in ("lines", "starts", "windows"):
        assert plain(getattr(got, name)) == plain(getattr(expected, name)), name
    assert (got.ids, got.groups, got.source) == (expected.ids, expected.groups, expected.source)
    assert (got.static is None) == (expected.static is None)
    if expected.static is not None:
        assert got.static.names == expected.static.names
        assert got.static.units == expected.static.units
        assert plain(got.static.numbers) == plain(expected.static.numbers)
        assert plain(got.static.categories) == plain(expected.static.categories)
