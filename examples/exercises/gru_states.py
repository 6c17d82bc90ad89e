"""Exercise 1: the states of a GRU, in NumPy.

For each step t, with s for the sigmoid s(a) = 1 / (1 + exp(-a)) and * element by element:

    r_t = s(W_r x_t + b_r + U_r h_{t-1} + c_r)
    z_t = s(W_z x_t + b_z + U_z h_{t-1} + c_z)
    n_t = tanh(W_n x_t + b_n + r_t * (U_n h_{t-1} + c_n))
    h_t = (1 - z_t) * n_t + z_t * h_{t-1}         h_0 = 0

Check your answer with

    python examples/exercises/check.py 1
"""

import numpy as np  # noqa: F401


def gru_states(W, U, b, c, x):
    """Return the states h_1 ... h_T, (T, H).

    Args:
        W: {"r": (H, C), "z": (H, C), "n": (H, C)}, arrays; W["r"] is W_r, and so on.
        U: {"r": (H, H), "z": (H, H), "n": (H, H)}.
        b, c: {"r": (H,), "z": (H,), "n": (H,)} each.
        x: the sequence, (T, C).
    """
    raise NotImplementedError
