"""Exercise 3: truncated backpropagation through time.

    h_t = tanh(W x_t + U h_{t-1} + b_h)           h_0 = 0, t = 1 ... T
    y_t = V h_t + b_y
    L   = 1/2 sum over t of (y_t - target_t)^2

The sequence is read in chunks of k steps; the last one may be shorter. The state in which one
chunk ends is the state in which the next one begins, but as a constant: the gradient of a chunk's
losses goes back to the beginning of the chunk and no further. Return the sum over all chunks.

Check your answer with

    python examples/exercises/check.py 3
"""

import numpy as np  # noqa: F401


def truncated_gradients(params, x, target, k):
    """Return {"W": dL/dW, "U": dL/dU, "b_h": dL/db_h, "V": dL/dV, "b_y": dL/db_y}, truncated.

    Args:
        params: {"W": (H, C), "U": (H, H), "b_h": (H,), "V": (1, H), "b_y": (1,)}.
        x: one sequence, (T, C); x[0] is x_1.
        target: (T,), a number for every step.
        k: steps of a chunk, at least 1.
    """
    raise NotImplementedError
