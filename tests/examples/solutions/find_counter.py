"""A solution of exercise 5."""

import numpy as np


def find_counter(cells, missing):
    """Return the unit that counts, and by how much its cell changes for each missing b."""
    c, m = np.concatenate(cells), np.concatenate(missing)
    c, m = c - c.mean(axis=0), m - m.mean()
    slopes = m @ c / (m @ m)
    size = np.linalg.norm(c, axis=0)
    match = np.abs(m @ c) / np.where(size > 0, size, np.inf)
    unit = int(match.argmax())
    return unit, slopes[unit]
