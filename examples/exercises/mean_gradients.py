"""Exercise 2: backpropagation through time when the output reads the mean of all states.

    h_t = tanh(W x_t + U h_{t-1} + b_h)           h_0 = 0, t = 1 ... T
    y   = V m + b_y                               m is the mean of h_1 ... h_T

The loss L depends on y, and dL/dy is given. Start from `loss_and_gradients` in
examples/rnn_from_scratch.py, which reads the last state only. A state now matters in two ways:
through the mean, and through the next state.

Check your answer with

    python examples/exercises/check.py 2
"""

import numpy as np  # noqa: F401


def mean_gradients(params, x, h, dy):
    """Return {"W": dL/dW, "U": dL/dU, "b_h": dL/db_h, "V": dL/dV, "b_y": dL/db_y}.

    Args:
        params: {"W": (H, C), "U": (H, H), "b_h": (H,), "V": (K, H), "b_y": (K,)}.
        x: one sequence, (T, C); x[0] is x_1.
        h: the states, (T+1, H); h[0] is h_0, and h[t] is h_t.
        dy: dL/dy, (K,).
    """
    raise NotImplementedError
