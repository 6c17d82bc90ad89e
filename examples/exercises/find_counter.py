"""Exercise 5: find the unit that counts.

An LSTM has read many strings of a's and b's. One of its cells follows the number of b's that are
still missing, c_t = start + slope * missing_t. A counter may count down as well as up, its steps
need not be 1, it need not be the unit with the largest values, and a unit may be constant.

Check your answer with

    python examples/exercises/check.py 5

and try it on the network of section 12 of docs/understand-training.md.
"""

import numpy as np  # noqa: F401


def find_counter(cells, missing):
    """Return (unit, slope): the unit, from 0, whose cell goes along best, and its change per b.

    Args:
        cells: the cells of each string, a list of (T, H) arrays; T differs from string to string.
        missing: for each string, how many b's are missing after each step, a list of (T,) arrays.
    """
    raise NotImplementedError
